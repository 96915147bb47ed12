// src/fault: block devices that make another block device worse, in both worlds alike: failing, slow, silent, forgetful.
//
// Each wrapper owns the device it wraps and lives on the same scheduler. It may assume that submitters keep the contract of
// env/block_device.h; it never touches payload (but for planned corruption), never reorders what it does not have to, and
// costs nothing worth mentioning while no fault is active: the request itself is handed on, its completion is not seen.
//
// faulty_disk.h     FaultyDisk: faults that a scenario or a user injects
// paced_disk.h      PacedDisk: holds a fast device to a disk model
// volatile_cache.h  VolatileCacheDisk: a write cache that dies with the process
// proxy.h           what they share: a request on behalf of another one
//
// A wrapper is destroyed when nothing is in flight through it (busy()), or after its scheduler was killed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "async/task.h"
#include "base/random.h"
#include "env/block_device.h"
#include "env/buffer.h"
#include "fault/proxy.h"

namespace resilver::fault {

enum class FaultKind : std::uint8_t { fail, latent, corrupt, slow, hang, lost_flush };
inline constexpr std::size_t kFaultKinds = 6;
const char* fault_kind_name(FaultKind kind) noexcept;

// Did the fault bite? Times on the scheduler's clock, kNever: not (yet).
struct FaultCounters {
  std::uint64_t applied = 0;  // how often
  Nanos applied_at = kNever;  // last
  Nanos first_hit = kNever;   // first I/O that felt it since it was last applied
  std::uint64_t hits = 0;     // I/Os that felt it, in all
  Nanos cleared_at = kNever;
};

struct SlowFault {
  std::uint32_t factor_percent = 100;  // of the time the inner device takes; >= 100
  Nanos add = 0;                       // to each request
  std::uint64_t bandwidth = 0;         // bytes per second of all reads and writes together; 0: no limit
};

struct BlockRange {
  std::uint64_t offset = 0;  // bytes, multiples of kBlockBytes
  std::uint64_t length = 0;
};

// Everything needed to put the same faults upon the disk again after its node was restarted.
struct FaultState {
  bool failed = false;
  bool hung = false;
  bool loses_flushes = false;
  std::optional<SlowFault> slow;
  std::vector<BlockRange> latent;     // sorted, disjoint
  std::vector<BlockRange> corrupted;  // sorted, disjoint; at rest on the inner device
  std::array<FaultCounters, kFaultKinds> counters;
};

class FaultyDisk final : public BlockDevice {
 public:
  static constexpr std::size_t kMaxRanges = 65536;  // of latent and of corrupted ranges each

  FaultyDisk(Scheduler& scheduler, std::unique_ptr<BlockDevice> inner);
  ~FaultyDisk() override;

  std::uint64_t size_bytes() const noexcept override { return inner_->size_bytes(); }
  void submit(IoRequest& request) noexcept override;
  bool busy() const noexcept override { return !hanging_.empty() || proxies_.in_use() != 0 || inner_->busy(); }

  // From now on every request ends with device_gone, also those that hang or wait out a slowness. A request that was handed
  // on untouched before, and is still with the inner device, ends as that says: as if it had got through just before.
  void fail();
  // Requests are swallowed until clear(FaultKind::hang) hands them to the inner device, in their order.
  void hang();
  void slow(const SlowFault& fault);
  // Flushes end well and are not handed on, and writes with FUA are handed on without it: what the inner device has in a
  // volatile cache it may lose.
  void lose_flushes();
  // Reads that touch these blocks end with Errc::medium until the blocks are written. limit: too many ranges.
  Status latent(BlockRange range);
  // Flips one byte in every sector of the range on the inner device, silently; needs one buffer of 4 KiB. Reads that touch the
  // blocks before they are rewritten count as hits. Errors of the inner device, or limit.
  Task<Status> corrupt(BlockRange range, BufferPool& buffers, Random& random);

  // Ends a fault; nothing happens if it is not active. `corrupt` cannot be cleared: only writes heal it.
  void clear(FaultKind kind);
  bool active(FaultKind kind) const noexcept;
  const FaultCounters& counters(FaultKind kind) const noexcept {
    return state_.counters[static_cast<std::size_t>(kind)];
  }

  // Lets go of what only a fault holds, so that a node can shut down: requests that hang fail (device_gone), those that wait
  // out a slowness end as they would have. The faults stay active. Again while busy(): what is with the inner device yet may
  // have to wait after that.
  void release();
  std::size_t hanging() const noexcept { return hanging_.size(); }

  FaultState snapshot() const { return state_; }
  void restore(const FaultState& state);  // times of an earlier incarnation are taken over as they are

  BlockDevice& inner() noexcept { return *inner_; }

 private:
  struct Held;  // a request in this wrapper's own hands

  static Status fail_limit();
  void pass_on(IoRequest& request) noexcept;
  void hit(FaultKind kind) noexcept;
  void applied(FaultKind kind) noexcept;
  void update_active() noexcept;
  void fail_hanging();
  void inner_done(Held& held) noexcept;
  void finish(Held& held, Errc status) noexcept;
  Nanos slowed_until(const IoRequest& request, Nanos started) noexcept;

  FaultCounters& counters_of(FaultKind kind) noexcept { return state_.counters[static_cast<std::size_t>(kind)]; }

  Scheduler& scheduler_;
  std::unique_ptr<BlockDevice> inner_;
  FaultState state_;
  bool any_active_ = false;
  Nanos bus_free_ = 0;               // SlowFault::bandwidth
  std::vector<IoRequest*> hanging_;  // in their order; as many as the submitters have in flight
  ProxyPool<Held> proxies_;
};

}  // namespace resilver::fault
