// src/env: THE SEAM between the engine and the world. Everything that src/raid, src/replica, src/fault and src/workload
// know of disks, memory and networks is declared here; src/uring implements it on Linux, src/sim in virtual time. Code
// behind the seam never names a world, a file or a socket.
//
// This header: block devices. An array, a replicated volume, a fault wrapper, an image and a simulated disk are all one.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>

#include "async/scheduler.h"
#include "base/error.h"
#include "env/buffer.h"

namespace resilver {

inline constexpr std::uint64_t kBlockBytes = 4096;  // unit of offset and length of every request
inline constexpr std::uint64_t kSectorBytes = 512;  // unit of atomicity when power is lost

// reserve: see BlockDevice::may_lack_room().
enum class IoOp : std::uint8_t { read, write, flush, discard, write_zeroes, reserve };

const char* io_op_name(IoOp op) noexcept;

// What a request moves bytes for: a device that makes requests of its own for it counts them by that, and does nothing else
// with it. observer: a question whether the volume serves. replica_*: what a copy writes for itself, and what brings it up
// to date.
enum class IoUse : std::uint8_t { client, observer, replica_metadata, replica_resync };
inline constexpr std::size_t kIoUses = 4;
const char* io_use_name(IoUse use) noexcept;

// One request and its completion. It belongs to whoever submits it (mostly an awaiter in a coroutine frame) and stays
// there, unchanged but for `use`, which a device on the way may name better, until the device has posted it to the scheduler;
// it is posted exactly once, never inside submit().
struct IoRequest : Runnable {
  using Runnable::Runnable;

  IoOp op = IoOp::read;
  IoUse use = IoUse::client;
  bool fua = false;                  // write, write_zeroes: durable when completed
  std::uint64_t offset = 0;          // bytes, a multiple of kBlockBytes
  std::uint64_t length = 0;          // bytes, a multiple of kBlockBytes; 0 for flush
  std::span<const Buffer> segments;  // read, write: together `length` bytes, each 4096-aligned; storage is the submitter's
  Errc status = Errc::ok;            // valid when completed

  // For devices: sets the outcome and queues the owner.
  void complete(Scheduler& scheduler, Errc outcome) noexcept {
    status = outcome;
    scheduler.post(*this);
  }
};

// A device of 4096-byte blocks on one scheduler.
//
// Completed means visible to later reads, not durable. A write is durable after a flush that was submitted after the write
// completed has completed, or at its own completion when fua is set. Requests in flight at the same time are unordered.
// A failed or abandoned write leaves each of its 512-byte sectors old or new. discard: reads give zeroes afterwards or the
// old data (a hint); write_zeroes: reads give zeroes.
class BlockDevice {
 public:
  virtual ~BlockDevice() = default;

  // Usable size in bytes, a multiple of kBlockBytes; constant.
  virtual std::uint64_t size_bytes() const noexcept = 0;

  // Takes a request whose range lies inside the device. Errors arrive as the completion's status:
  // medium (these blocks cannot be read), device_gone, timeout, io, no_space, limit, not_primary, fenced, unavailable.
  virtual void submit(IoRequest& request) noexcept = 0;

  // Where, from `from` (at most size_bytes()) on, it may hold anything but zeroes, as far as it can tell without reading: what
  // lies before reads as zeroes, size_bytes() means that all of it does. Requests in flight may count or not. Cheap where
  // there is data; only a device that knows its holes says more than this.
  virtual std::uint64_t next_data(std::uint64_t from) const noexcept { return from; }

  // True: a write of this range may need room that the device has not got yet, as over a hole of a file. Then IoOp::reserve
  // gets it or completes with no_space, and changes nothing that is read. Sent to those only that say so.
  virtual bool may_lack_room(std::uint64_t /*offset*/, std::uint64_t /*length*/) const noexcept { return false; }

  // True while it holds a request that it has not completed. Whoever may give up on requests asks: until then the device must
  // neither be destroyed nor be given to anybody else, over whose writes an old one could come. A device whose submitters
  // wait for every request may leave it at this.
  virtual bool busy() const noexcept { return false; }
};

// CHECKs what every submitter must guarantee; devices call it at their door.
void check_request(const BlockDevice& device, const IoRequest& request) noexcept;
// The same for a device of `size` bytes that takes offsets and lengths in smaller units, and a last unit that is not whole.
void check_request(const IoRequest& request, std::uint64_t size, std::uint64_t unit) noexcept;

// An awaitable request in the awaiter's frame: no allocation. `Errc status = co_await Io::read(device, offset, buffer);`
struct Io : IoRequest {
  static Io read(BlockDevice& device, std::uint64_t offset, Buffer buffer) noexcept {
    return Io(device, IoOp::read, offset, buffer.size(), std::move(buffer), false);
  }
  static Io write(BlockDevice& device, std::uint64_t offset, Buffer buffer, bool fua = false) noexcept {
    return Io(device, IoOp::write, offset, buffer.size(), std::move(buffer), fua);
  }
  static Io flush(BlockDevice& device) noexcept { return Io(device, IoOp::flush, 0, 0, {}, false); }
  static Io discard(BlockDevice& device, std::uint64_t offset, std::uint64_t length) noexcept {
    return Io(device, IoOp::discard, offset, length, {}, false);
  }
  static Io write_zeroes(BlockDevice& device, std::uint64_t offset, std::uint64_t length, bool fua = false) noexcept {
    return Io(device, IoOp::write_zeroes, offset, length, {}, fua);
  }

  // Io::read(...).for_use(what)
  Io&& for_use(IoUse what) && noexcept {
    use = what;
    return std::move(*this);
  }

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    waiting_ = handle;
    if (buffer_) segments = {&buffer_, 1};
    device_.submit(*this);
  }
  Errc await_resume() const noexcept { return status; }

 private:
  Io(BlockDevice& device, IoOp operation, std::uint64_t at, std::uint64_t bytes, Buffer buffer, bool force) noexcept
      : IoRequest(&resume), device_(device), buffer_(std::move(buffer)) {
    op = operation;
    fua = force;
    offset = at;
    length = bytes;
  }
  static void resume(Runnable& self) noexcept { static_cast<Io&>(self).waiting_.resume(); }

  BlockDevice& device_;
  Buffer buffer_;
  std::coroutine_handle<> waiting_;
};

}  // namespace resilver
