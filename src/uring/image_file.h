// The open file of an Image and its operations in the kernel. It lives on behind an image that was destroyed with requests out
// (a disk that hangs does not give them back), holding file and lock, until the kernel has ended the last of them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "env/block_device.h"
#include "uring/ring.h"

namespace resilver::uring {

class ImageFile final : public LeftBehind {
 public:
  static constexpr std::uint32_t kMaxInFlight = 512;  // see Image
  static constexpr std::uint32_t kMaxSlow = 2;

  // Takes the descriptors over. cached_fd: of the same file without O_DIRECT, for requests that are no whole blocks; -1: they
  // go to `fd`, too.
  ImageFile(Ring& ring, int fd, std::uint64_t size, int cached_fd = -1);
  ~ImageFile() override;  // precondition: not busy()

  std::uint64_t size_bytes() const noexcept { return size_; }
  void submit(IoRequest& request) noexcept;
  bool busy() const noexcept;
  std::uint64_t next_data(std::uint64_t from) const noexcept;  // this and the next: see BlockDevice
  bool may_lack_room(std::uint64_t offset, std::uint64_t length) const noexcept;
  // Its image goes. Deletes itself, now or with the last completion.
  void leave() noexcept;

 private:
  struct Transfer;
  struct Slow;
  struct Queue {  // of requests, linked through what the scheduler uses later
    Runnable* first = nullptr;
    Runnable** tail = &first;
    void push(IoRequest& request) noexcept;
    IoRequest* pop() noexcept;
    bool empty() const noexcept { return first == nullptr; }
  };

  void start_transfer(IoRequest& request) noexcept;
  void end_transfer(Transfer& transfer, Errc outcome) noexcept;
  void start_slow(IoRequest& request) noexcept;
  void end_slow(Slow& slow, Errc outcome) noexcept;
  void start_flush() noexcept;
  void end_flush(Errc outcome) noexcept;
  void operation_ended() noexcept;
  void aim(io_uring_sqe& entry, const IoRequest& request) const noexcept;

  Ring& ring_;
  int fd_;
  int cached_fd_;
  std::uint64_t size_;
  bool block_device_;
  std::uint64_t limit_ = UINT64_MAX;      // the process may write up to here (RLIMIT_FSIZE, when it was opened)
  mutable std::uint64_t data_begin_ = 0;  // a run without holes that may_lack_room() found: punching ends it
  mutable std::uint64_t data_end_ = 0;
  bool zero_range_works_ = true;
  bool left_ = false;  // no image any more
  int target_ = 0;     // slot in the ring's file table, or the fd
  bool registered_ = false;
  std::vector<std::unique_ptr<Transfer>> transfers_;
  Transfer* free_transfer_ = nullptr;
  std::uint32_t transfers_in_flight_ = 0;
  Queue waiting_transfers_;
  std::unique_ptr<Slow> slow_[kMaxSlow];
  Queue waiting_slow_;
  struct Flush;
  std::unique_ptr<Flush> flush_;
  Queue waiting_flushes_;
};

}  // namespace resilver::uring
