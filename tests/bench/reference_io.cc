// reference_io randread|randwrite KIB DEPTH MS IMAGE...: a plain liburing loop with registered files and buffers, O_DIRECT,
// one block of one image at random per request: what the I/O of array_io costs at least.
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/random.h"
#include "measure.h"

namespace {

using namespace resilver::bench;

std::int64_t now_ms() noexcept {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
  return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
}

class Loop {
 public:
  Loop(bool writes, unsigned bytes, unsigned depth, char** begin, char** end);
  void run(std::int64_t duration_ms);
  std::uint64_t ops() const noexcept { return ops_; }

 private:
  void queue(unsigned slot);

  bool writes_;
  unsigned bytes_;
  unsigned depth_;
  unsigned files_ = 0;
  std::uint64_t blocks_ = 0;  // of each image
  std::uint64_t ops_ = 0;
  char* arena_;
  io_uring ring_;
  resilver::Random random_{1};
};

Loop::Loop(bool writes, unsigned bytes, unsigned depth, char** begin, char** end)
    : writes_(writes), bytes_(bytes), depth_(depth) {
  std::vector<int> fds;
  for (char** path = begin; path != end; ++path) {
    fds.push_back(open(*path, O_RDWR | O_DIRECT | O_CLOEXEC | O_NONBLOCK));
    if (fds.back() < 0) die("cannot open", *path);
  }
  files_ = static_cast<unsigned>(fds.size());
  struct stat info{};
  fstat(fds[0], &info);
  blocks_ = static_cast<std::uint64_t>(info.st_size) / bytes_;

  const std::size_t arena_bytes = std::size_t{depth_} * bytes_;
  void* arena = mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (arena == MAP_FAILED) die("no memory");
  arena_ = static_cast<char*>(arena);

  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  if (io_uring_queue_init_params(256, &ring_, &parameters) != 0) die("no io_uring here");
  const iovec whole{arena, arena_bytes};
  if (io_uring_register_buffers(&ring_, &whole, 1) != 0) die("cannot register buffers");
  if (io_uring_register_files(&ring_, fds.data(), files_) != 0) die("cannot register files");
}

void Loop::queue(unsigned slot) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  const int file = static_cast<int>(random_.below(files_));
  const std::uint64_t at = random_.below(blocks_) * bytes_;
  char* buffer = arena_ + std::size_t{slot} * bytes_;
  if (writes_) {
    io_uring_prep_write_fixed(sqe, file, buffer, bytes_, at, 0);
  } else {
    io_uring_prep_read_fixed(sqe, file, buffer, bytes_, at, 0);
  }
  sqe->flags |= IOSQE_FIXED_FILE;
  sqe->user_data = slot;
}

void Loop::run(std::int64_t duration_ms) {
  const std::int64_t end = now_ms() + duration_ms;
  for (unsigned slot = 0; slot < depth_; ++slot) queue(slot);
  for (unsigned under_way = depth_; under_way > 0;) {
    io_uring_submit_and_wait(&ring_, 1);
    const bool more = now_ms() < end;
    io_uring_cqe* cqe;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      if (cqe->res != static_cast<int>(bytes_)) die("an I/O failed or was short");
      const auto slot = static_cast<unsigned>(cqe->user_data);
      io_uring_cqe_seen(&ring_, cqe);
      ++ops_;
      if (more) {
        queue(slot);
      } else {
        --under_way;
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) die("usage: reference_io randread|randwrite KIB DEPTH MS IMAGE...");
  const unsigned bytes = static_cast<unsigned>(std::atoi(argv[2])) * 1024;
  Loop loop(std::string(argv[1]) == "randwrite", bytes, static_cast<unsigned>(std::atoi(argv[3])), argv + 5,
            argv + argc);
  Meter meter;
  meter.start();
  loop.run(std::atoi(argv[4]));
  meter.stop();
  meter.print(loop.ops(), loop.ops() * bytes);
}
