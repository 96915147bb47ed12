// Leaf I/O: one request to one member, and the member it goes to.
//
// Leaves are pooled. Each holds references to its payload until the device has completed it, so the array can give up on a
// member that hangs: the leaf is then an *orphan*, nobody waits for it, and its late completion only frees it. The pool
// outlives the array while orphans are out: it is left behind at the scheduler and deletes itself with the last one. When the
// scheduler was killed, devices have forgotten their requests, and everything is freed at once.
//
// The pool of leaves also has the *reserve*: memory of the array's own, that no data ever fills, for what must go on when
// everybody else's memory is used up by requests that wait for this very array: superblocks, bitmap, logs, and work row by
// row. It is here because orphans hold parts of it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "async/intrusive_list.h"
#include "async/task.h"
#include "env/block_device.h"
#include "raid/array.h"
#include "raid/superblock.h"

namespace resilver::raid {

struct Leaf;
class LeafPool;

// Who waits for leaves. Called from the scheduler's loop, never inside a submit.
class LeafSink {
 public:
  virtual void leaf_done(Leaf& leaf) noexcept = 0;

 protected:
  ~LeafSink() = default;
};

struct Member {
  std::string name;
  BlockDevice* device = nullptr;  // null: no disk (any more)
  MemberState state = MemberState::missing;
  std::optional<std::uint32_t> slot;
  // The replacement that is to take this member's slot over. What is written to this member goes there too, as far as it has
  // been copied (Batch sees to it).
  Member* twin = nullptr;
  bool replaced = false;          // faulty, and its slot has another disk now (or none needs it)
  bool replaced_disk = false;     // faulty, and another disk has its name and number now
  bool by_bitmap = false;         // rebuilding: it came back, and only regions whose bits are set differ
  std::uint64_t data_offset = 0;  // bytes
  std::uint64_t watermark = 0;    // rebuilding, replacement: rebuilt below this (bytes of the data area)
  std::uint64_t checkpoint = 0;   // what the superblock says of it
  Superblock super;               // the fields that are this member's own
  std::set<std::uint64_t> bad;    // 4096-byte blocks that are lost here, by offset in the data area

  IntrusiveList<Leaf> in_flight;  // oldest first
  std::uint32_t in_flight_count = 0;
  // Since when the oldest of them is the oldest. A device that hangs does not get past it; one that has more to do than it can
  // comes to everything in its turn, however late.
  Nanos oldest_since = 0;
  std::uint32_t orphans = 0;
  std::uint64_t next_sequential = 0;  // where the last read ended
  IoCounters io;
  std::uint64_t errors = 0;
  Nanos latency = 0;                  // of its I/Os, averaged exponentially (an eighth of each new one)
  std::uint64_t answered = 0;         // I/Os that it completed
  std::uint64_t answered_before = 0;  // when judge_slowness() last looked
  Nanos slow_since = kNever;

  bool holds(std::uint64_t end) const noexcept {
    return state == MemberState::in_sync || (state == MemberState::rebuilding && watermark >= end);
  }
  bool live() const noexcept {
    return state == MemberState::in_sync || state == MemberState::rebuilding || state == MemberState::replacement;
  }
  void left_flight(Leaf& leaf, Nanos now) noexcept;
  bool has_bad(std::uint64_t begin, std::uint64_t end) const noexcept {
    if (bad.empty()) return false;
    const auto at = bad.lower_bound(begin);
    return at != bad.end() && *at < end;
  }
};

struct Leaf final : IoRequest, ListHook {
  Leaf() noexcept : again(*this) {}

  static constexpr std::size_t kMaxSegments = 16;

  std::array<Buffer, kMaxSegments> buffers;
  std::uint32_t count = 0;
  std::uint32_t tag = 0;  // the sink's
  Cause cause = Cause::data;
  LeafPool* pool = nullptr;
  Member* member = nullptr;
  LeafSink* sink = nullptr;  // null: orphan
  Nanos started = 0;
  Leaf* next_free = nullptr;
  struct Again : Timer {  // until it is sent once more
    explicit Again(Leaf& l) noexcept;
    Leaf& leaf;
  } again;
};

class LeafPool final : LeftBehind {
 public:
  explicit LeafPool(Scheduler& scheduler) : scheduler_(scheduler), reserve_(kReserveBytes) {}
  LeafPool(const LeafPool&) = delete;
  LeafPool& operator=(const LeafPool&) = delete;

  Leaf& take() {
    ++out_;
    Leaf* leaf = free_;
    if (leaf == nullptr) return grow();
    free_ = leaf->next_free;
    return *leaf;
  }
  void give_back(Leaf& leaf) noexcept;
  // Waits for no leaf any more that a device has: a late completion only frees it. Precondition: it has a sink.
  void orphan(Leaf& leaf) noexcept;
  // The array stops: what a device refuses for lack of memory is not sent again.
  void stop() noexcept { stopping_ = true; }
  // Nobody uses the pool any more: deletes it now or with the last orphan.
  void release() noexcept;

  Scheduler& scheduler() noexcept { return scheduler_; }
  BufferPool& reserve() noexcept { return reserve_; }

 private:
  // Address space: what is used of it is far less. See Core::metadata_block() for who uses it and how much.
  static constexpr std::size_t kReserveBytes = std::size_t{16} << 20;

  ~LeafPool() override = default;
  Leaf& grow();
  static void completed(Runnable& self) noexcept;
  bool try_again(Leaf& leaf) noexcept;

  Scheduler& scheduler_;
  BufferPool reserve_;  // before the leaves, which hold parts of it
  std::vector<std::unique_ptr<Leaf>> leaves_;
  Leaf* free_ = nullptr;
  std::size_t out_ = 0;
  bool stopping_ = false;
  bool released_ = false;
};

struct ReleaseLeaves {
  void operator()(LeafPool* pool) const noexcept { pool->release(); }
};
using LeafPoolOwner = std::unique_ptr<LeafPool, ReleaseLeaves>;

// Reads from a device that no array watches (yet), all of `into`. timeout: it has not answered by then; it may still do so,
// into memory that nobody uses any more, and is busy() until then. A process that was stopped meanwhile gives it its time anew.
// limit: there was no memory for it in all that time, which says nothing of the device.
Task<Errc> read_within(LeafPool& leaves, BlockDevice& device, std::uint64_t offset, Buffer into, Nanos timeout);

}  // namespace resilver::raid
