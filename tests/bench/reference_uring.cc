// reference_uring: the work of stripe_work.h as a pipeline on one thread: io_uring with registered files and buffers,
// O_DIRECT, windows of 128 KiB × 4 in flight.
#include <liburing.h>
#include <sys/mman.h>

#include "stripe_work.h"

namespace {

using namespace resilver::bench;

struct Window {
  std::uint64_t at = 0;  // offset in the image
  std::uint32_t length = 0;
  unsigned waiting = 0;  // operations in flight
  bool writing = false;
  Byte* buffers[kMaxImages];  // by file: lost members have none, spares the result
};

class Pipeline {
 public:
  explicit Pipeline(const StripeWork& work);
  void run();

 private:
  void start(Window& window);
  void queue(Window& window, unsigned file, bool write);
  void completed(io_uring_cqe& cqe);

  const StripeWork& work_;
  StripeMath math_;
  std::uint64_t next_;
  unsigned busy_ = 0;
  Window windows_[kDepth];
  io_uring ring_;
};

Pipeline::Pipeline(const StripeWork& work) : work_(work), math_(work), next_(work.begin) {
  const std::size_t arena_bytes = kDepth * kMaxImages * kWindow;
  void* mapped = mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) die("no memory");
  for (unsigned w = 0; w < kDepth; ++w)
    for (unsigned i = 0; i < kMaxImages; ++i)
      windows_[w].buffers[i] = static_cast<Byte*>(mapped) + (w * kMaxImages + i) * kWindow;

  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  if (io_uring_queue_init_params(64, &ring_, &parameters) != 0) die("no io_uring here");
  const iovec arena{mapped, arena_bytes};
  if (io_uring_register_buffers(&ring_, &arena, 1) != 0) die("cannot register buffers");
  if (io_uring_register_files(&ring_, work.fds.data(), static_cast<unsigned>(work.fds.size())) != 0)
    die("cannot register files");
}

void Pipeline::queue(Window& window, unsigned file, bool write) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  const int slot = static_cast<int>(file);
  if (write) {
    io_uring_prep_write_fixed(sqe, slot, window.buffers[file], window.length, window.at, 0);
  } else {
    io_uring_prep_read_fixed(sqe, slot, window.buffers[file], window.length, window.at, 0);
  }
  sqe->flags |= IOSQE_FIXED_FILE;
  io_uring_sqe_set_data(sqe, &window);
  ++window.waiting;
}

void Pipeline::start(Window& window) {
  if (next_ == work_.end) return;
  window.at = next_;
  window.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(kWindow, work_.end - next_));
  window.writing = false;
  next_ += window.length;
  ++busy_;
  for (unsigned member = work_.lost; member < work_.members; ++member) queue(window, member, false);
}

void Pipeline::completed(io_uring_cqe& cqe) {
  auto& window = *static_cast<Window*>(io_uring_cqe_get_data(&cqe));
  if (cqe.res != static_cast<int>(window.length)) die("an I/O failed or was short");
  if (--window.waiting > 0) return;
  if (window.writing || work_.scrub) {
    if (work_.scrub) math_.check(window.buffers, window.at, window.length);
    --busy_;
    start(window);
    return;
  }
  math_.restore(window.buffers, window.at, window.length);
  window.writing = true;
  for (unsigned spare = 0; spare < work_.lost; ++spare) queue(window, work_.members + spare, true);
}

void Pipeline::run() {
  for (Window& window : windows_) start(window);
  while (busy_ > 0) {
    io_uring_submit_and_wait(&ring_, 1);
    io_uring_cqe* cqe;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      completed(*cqe);
      io_uring_cqe_seen(&ring_, cqe);
    }
  }
  for (unsigned spare = 0; spare < work_.lost; ++spare)
    if (fdatasync(work_.fds[work_.members + spare]) != 0) die("cannot sync");
}

}  // namespace

int main(int argc, char** argv) {
  const StripeWork work = stripe_work(argc, argv);
  Pipeline pipeline(work);
  Meter meter;
  meter.start();
  pipeline.run();
  meter.stop();
  meter.print(work.bytes() / kWindow, work.bytes());
}
