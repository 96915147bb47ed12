// A disk of the real world: an image file or a block device behind a ring.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "async/task.h"
#include "base/error.h"
#include "env/block_device.h"
#include "uring/ring.h"

namespace resilver::uring {

enum class Allocation : std::uint8_t {
  sparse,        // nothing is reserved: a full file system shows as no_space later
  preallocated,  // room is reserved; reads give zeroes
  zeroed,        // really written once, so that timed writes meet extents that need no conversion
};

enum class Access : std::uint8_t {
  read_write,  // nobody else has it open: flock LOCK_EX, and O_EXCL on a block device (not mounted, in no other array)
  read_only,   // LOCK_SH; writes fail
  look,        // no lock; writes fail, and what is read may be changing
};

// Room on the file system that holds `directory`. Errors: no_space (says how much is needed and there), not_found.
Status check_room(const std::string& directory, std::uint64_t bytes);

// Makes an image of `size_bytes` (a multiple of 4096, > 0); a failure leaves no file behind. Synchronous.
// Errors: exists, no_space, permission, not_found, io.
Status create_image(const std::string& path, std::uint64_t size_bytes, Allocation allocation);

// Reserves room for [offset, offset + bytes) of a file that is there; what it reads as does not change. Where the file
// system cannot reserve, nothing is done. Errors: no_space, permission, io.
Status reserve(const std::string& path, std::uint64_t offset, std::uint64_t bytes);

// Makes a file larger, up to `size_bytes`; it reads as zeroes there. Nothing if it is as large. Errors: no_space,
// permission, not_found, io.
Status extend_image(const std::string& path, std::uint64_t size_bytes);

// Makes names in the file's folder durable. Errors: io, not_found, permission.
Status sync_directory(const std::string& path);

// Reads and writes go O_DIRECT through the ring; see BlockDevice for the contract. Durability is the kernel's: flush is
// fdatasync, fua is RWF_DSYNC. A request's segments are the submitter's until it completes, so no copy and no reference
// is taken here. Short transfers are finished, EINTR and EAGAIN retried a bounded number of times; nothing else is.
// Bounded: kMaxInFlight reads and writes in the kernel, kMaxSlow discards and zeroings, one flush (those that come
// while one runs share the next); the others wait here. Errors: medium (the block device named these blocks: ENODATA,
// EILSEQ), no_space, read_only (the file system is), device_gone, timeout, io.
class Image final : public BlockDevice {
 public:
  static constexpr std::uint32_t kMaxInFlight = 512;
  static constexpr std::uint32_t kMaxSlow = 2;

  // Opens and locks (flock on the very description that the ring uses; the ring of a predecessor that was killed may hold
  // it some 66 ms beyond its death). Without O_DIRECT it falls back to the page cache and says so once.
  // Errors: not_found, permission, bad_input (no file or block device, or of a size that is none of 4096 bytes),
  // busy (locked until `deadline`), io.
  static Task<Result<std::unique_ptr<Image>>> open(Ring& ring, std::string path, Nanos deadline,
                                                   Access access = Access::read_write);
  ~Image() override;  // precondition: no request is in flight

  std::uint64_t size_bytes() const noexcept override { return size_; }
  void submit(IoRequest& request) noexcept override;

  // False: the file system refuses O_DIRECT, the page cache is in between.
  bool direct() const noexcept { return direct_; }
  const std::string& path() const noexcept { return path_; }

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

  Image(Ring& ring, std::string path, int fd, std::uint64_t size, bool direct);
  void start_transfer(IoRequest& request) noexcept;
  void end_transfer(Transfer& transfer, Errc outcome) noexcept;
  void start_slow(IoRequest& request) noexcept;
  void end_slow(Slow& slow, Errc outcome) noexcept;
  void start_flush() noexcept;
  void end_flush(Errc outcome) noexcept;

  Ring& ring_;
  std::string path_;
  int fd_;
  std::uint64_t size_;
  bool direct_;
  bool zero_range_works_ = true;
  int target_ = 0;  // slot in the ring's file table, or the fd
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
