// A disk of the real world: an image file or a block device behind a ring.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "async/task.h"
#include "base/error.h"
#include "env/block_device.h"
#include "uring/image_file.h"
#include "uring/ring.h"

namespace resilver::uring {

enum class Allocation : std::uint8_t {
  sparse,        // nothing is reserved: a full file system shows as no_space later
  preallocated,  // room is reserved; reads give zeroes
  zeroed,        // really written once, so that timed writes meet extents that need no conversion
};

enum class Access : std::uint8_t {
  read_write,  // nobody else has it open: flock LOCK_EX, and O_EXCL on a block device (not mounted, in no other array)
  // Writes redundancy only, and data as it is already: LOCK_SH, so that others may read meanwhile; and, against others like it,
  // a write lock on one byte far behind any end (F_OFD_SETLK); O_EXCL on a block device.
  maintain,
  read_only,  // LOCK_SH; writes fail
  look,       // no lock; writes fail, and what is read may be changing
};

// What a size is rounded down to, and requests are multiples of.
enum class Grain : std::uint8_t {
  block,   // kBlockBytes
  sector,  // kSectorBytes: members of arrays, which may be of any size and begin their data anywhere
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
// is taken here. next_data() asks the file system (SEEK_DATA); what was allocated and never written counts as a hole.
// Short transfers are finished, EINTR and EAGAIN retried a bounded number of times; nothing else is.
// Bounded: kMaxInFlight reads and writes in the kernel, kMaxSlow discards, zeroings and reservations, one flush (those
// that come while one runs share the next); the others wait here. Errors: medium (the block device named these blocks:
// ENODATA, EILSEQ), no_space (also beyond the process's limit of file sizes), read_only (the file system is), device_gone,
// timeout, limit (the kernel had no memory for the request), io.
class Image final : public BlockDevice {
 public:
  static constexpr std::uint32_t kMaxInFlight = ImageFile::kMaxInFlight;
  static constexpr std::uint32_t kMaxSlow = ImageFile::kMaxSlow;

  // Opens and locks (flock on the very description that the ring uses; the ring of a predecessor that was killed may hold
  // it some 66 ms beyond its death). Without O_DIRECT it falls back to the page cache and says so once. What is behind the
  // last whole grain is not used. Where O_DIRECT wants more than sectors, requests that are no whole blocks go through the
  // page cache. Errors: not_found, permission, bad_input (no file or block device, or of less than 4096 bytes), busy (locked
  // until `deadline`), io.
  static Task<Result<std::unique_ptr<Image>>> open(Ring& ring, std::string path, Nanos deadline,
                                                   Access access = Access::read_write, Grain grain = Grain::block);
  // Requests may be out that nobody waits for any more: file and lock then stay until the kernel has ended them.
  ~Image() override;

  std::uint64_t size_bytes() const noexcept override { return file_->size_bytes(); }
  void submit(IoRequest& request) noexcept override;
  std::uint64_t next_data(std::uint64_t from) const noexcept override { return file_->next_data(from); }
  bool may_lack_room(std::uint64_t offset, std::uint64_t length) const noexcept override {
    return file_->may_lack_room(offset, length);
  }
  bool busy() const noexcept override { return file_->busy(); }

  // False: the file system refuses O_DIRECT, the page cache is in between.
  bool direct() const noexcept { return direct_; }
  const std::string& path() const noexcept { return path_; }

 private:
  Image(std::string path, std::unique_ptr<ImageFile> file, bool direct, Grain grain);

  std::string path_;
  bool direct_;
  std::uint64_t unit_;
  std::unique_ptr<ImageFile> file_;
};

}  // namespace resilver::uring
