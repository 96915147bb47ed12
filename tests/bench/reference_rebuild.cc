// reference_rebuild LEVEL MEMBER... SPARE...: the yardstick for array_rebuild. A plain read, compute, write pipeline on one
// thread: io_uring with registered files and buffers, O_DIRECT, windows of 128 KiB × 4 in flight, ISA-L. No locks, no
// foreground I/O, no metadata, no checkpoints, no error handling: what a rebuild costs at least. The restored bytes are
// exactly those that the array restores.
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <isa-l/erasure_code.h>
#include <isa-l/raid.h>

#include <algorithm>

#include "measure.h"
#include "raid/superblock.h"
#include "rebuild_work.h"

namespace {

using namespace resilver::bench;
using Byte = unsigned char;

constexpr unsigned kMaxImages = 8;

// O_NONBLOCK, as the ring's images: on tmpfs io_uring then does the I/O at once instead of handing it to a kernel worker.
int open_image(const std::string& path, int mode) {
  int fd = open(path.c_str(), mode | O_DIRECT | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fd = open(path.c_str(), mode | O_CLOEXEC);
  if (fd < 0) die("cannot open", path.c_str());
  return fd;
}

// How the two lost members of RAID 6 follow from the four that are left. md's left-symmetric layout: P of stripe s on member
// 5 - s mod 6, Q on the next one, data from there on; the pattern repeats after 6 stripes.
class Raid6Tables {
 public:
  Raid6Tables() {
    for (unsigned turn = 0; turn < kMembers; ++turn) make(turn);
  }
  void restore(std::uint64_t stripe, Byte** left, Byte** lost) {
    ec_encode_data(kChunk, kData, 2, tables_[stripe % kMembers], left, lost);
  }

 private:
  static constexpr unsigned kMembers = 6, kData = 4;

  static unsigned column_of(unsigned turn, unsigned member) {  // 0..3 data, 4 P, 5 Q
    const unsigned p = kMembers - 1 - turn;
    const unsigned after_p = (member + kMembers - p) % kMembers;
    return after_p < 2 ? kData + after_p : after_p - 2;
  }
  void make(unsigned turn) {
    Byte code[kMembers * kData], left[kData * kData], inverse[kData * kData], rows[2 * kData] = {};
    gf_gen_rs_matrix(code, kMembers, kData);
    for (unsigned i = 0; i < kData; ++i) std::copy_n(code + column_of(turn, i + 2) * kData, kData, left + i * kData);
    if (gf_invert_matrix(left, inverse, kData) != 0) die("singular matrix");
    for (unsigned lost = 0; lost < 2; ++lost)
      for (unsigned to = 0; to < kData; ++to)
        for (unsigned k = 0; k < kData; ++k)
          rows[lost * kData + to] ^= gf_mul(code[column_of(turn, lost) * kData + k], inverse[k * kData + to]);
    ec_init_tables(kData, 2, rows, tables_[turn]);
  }

  Byte tables_[kMembers][32 * kData * 2];
};

struct Window {
  std::uint64_t at = 0;  // offset in the image
  std::uint32_t length = 0;
  unsigned waiting = 0;  // operations in flight
  bool writing = false;
  Byte* buffers[kMaxImages];  // by file: lost members have none, spares the result
};

class Pipeline {
 public:
  explicit Pipeline(const RebuildWork& work);
  std::uint64_t run();  // returns the bytes restored

 private:
  void start(Window& window);
  void queue(Window& window, unsigned file, bool write);
  void compute(Window& window);
  void completed(io_uring_cqe& cqe);

  const RebuildWork& work_;
  unsigned members_;
  std::vector<int> fds_;  // members, then spares
  std::uint64_t next_ = 0;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
  unsigned busy_ = 0;
  Byte* arena_ = nullptr;
  Window windows_[kDepth];
  Raid6Tables tables_;
  io_uring ring_;
};

Pipeline::Pipeline(const RebuildWork& work) : work_(work), members_(static_cast<unsigned>(work.members.size())) {
  for (const auto& path : work.members) fds_.push_back(open_image(path, O_RDONLY));
  for (const auto& path : work.spares) fds_.push_back(open_image(path, O_RDWR));
  struct stat info{};
  fstat(fds_[0], &info);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  begin_ = next_ = resilver::raid::choose_data_offset(size / 512, kChunk / 512) * 512;
  end_ = begin_ + (size - begin_) / kChunk * kChunk;

  const std::size_t arena_bytes = kDepth * kMaxImages * kWindow;
  arena_ = static_cast<Byte*>(mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (arena_ == MAP_FAILED) die("no memory");
  for (unsigned w = 0; w < kDepth; ++w)
    for (unsigned i = 0; i < kMaxImages; ++i) windows_[w].buffers[i] = arena_ + (w * kMaxImages + i) * kWindow;

  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  if (io_uring_queue_init_params(64, &ring_, &parameters) != 0) die("no io_uring here");
  const iovec arena{arena_, arena_bytes};
  if (io_uring_register_buffers(&ring_, &arena, 1) != 0) die("cannot register buffers");
  if (io_uring_register_files(&ring_, fds_.data(), static_cast<unsigned>(fds_.size())) != 0)
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
  if (next_ == end_) return;
  window.at = next_;
  window.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(kWindow, end_ - next_));
  window.writing = false;
  next_ += window.length;
  ++busy_;
  for (unsigned member = work_.lost(); member < members_; ++member) queue(window, member, false);
}

void Pipeline::compute(Window& window) {
  Byte** left = window.buffers + work_.lost();
  Byte** lost = window.buffers + members_;
  if (!work_.raid6) {
    void* vector[] = {left[0], left[1], left[2], lost[0]};
    xor_gen(4, static_cast<int>(window.length), vector);
    return;
  }
  for (std::uint32_t chunk = 0; chunk < window.length; chunk += kChunk) {
    Byte* from[] = {left[0] + chunk, left[1] + chunk, left[2] + chunk, left[3] + chunk};
    Byte* to[] = {lost[0] + chunk, lost[1] + chunk};
    tables_.restore((window.at + chunk - begin_) / kChunk, from, to);
  }
}

void Pipeline::completed(io_uring_cqe& cqe) {
  auto& window = *static_cast<Window*>(io_uring_cqe_get_data(&cqe));
  if (cqe.res != static_cast<int>(window.length)) die("an I/O failed or was short");
  if (--window.waiting > 0) return;
  if (window.writing) {
    --busy_;
    start(window);
    return;
  }
  compute(window);
  window.writing = true;
  for (unsigned spare = 0; spare < work_.lost(); ++spare) queue(window, members_ + spare, true);
}

std::uint64_t Pipeline::run() {
  for (Window& window : windows_) start(window);
  while (busy_ > 0) {
    io_uring_submit_and_wait(&ring_, 1);
    io_uring_cqe* cqe;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      completed(*cqe);
      io_uring_cqe_seen(&ring_, cqe);
    }
  }
  for (unsigned spare = 0; spare < work_.lost(); ++spare)
    if (fdatasync(fds_[members_ + spare]) != 0) die("cannot sync");
  return (end_ - begin_) * work_.lost();
}

}  // namespace

int main(int argc, char** argv) {
  const RebuildWork work = rebuild_work(argc, argv);
  Pipeline pipeline(work);
  Meter meter;
  meter.start();
  const std::uint64_t bytes = pipeline.run();
  meter.stop();
  meter.print(bytes / kWindow, bytes);
}
