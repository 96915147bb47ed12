// Leaf I/O: one request to one member, and the member it goes to.
//
// Leaves are pooled. Each holds references to its payload until the device has completed it, so the array can give up on a
// member that hangs: the leaf is then an *orphan*, nobody waits for it, and its late completion only frees it. The pool
// outlives the array while orphans are out: it is left behind at the scheduler and deletes itself with the last one. When the
// scheduler was killed, devices have forgotten their requests, and everything is freed at once.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "async/intrusive_list.h"
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
  BlockDevice* device = nullptr;
  MemberState state = MemberState::spare;
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
  bool has_bad(std::uint64_t begin, std::uint64_t end) const noexcept {
    if (bad.empty()) return false;
    const auto at = bad.lower_bound(begin);
    return at != bad.end() && *at < end;
  }
};

struct Leaf final : IoRequest, ListHook {
  static constexpr std::size_t kMaxSegments = 16;

  std::array<Buffer, kMaxSegments> buffers;
  std::uint32_t count = 0;
  std::uint32_t tag = 0;  // the sink's
  Cause cause = Cause::foreground;
  LeafPool* pool = nullptr;
  Member* member = nullptr;
  LeafSink* sink = nullptr;  // null: orphan
  Nanos started = 0;
  Leaf* next_free = nullptr;
};

class LeafPool final : LeftBehind {
 public:
  explicit LeafPool(Scheduler& scheduler) noexcept : scheduler_(scheduler) {}
  LeafPool(const LeafPool&) = delete;
  LeafPool& operator=(const LeafPool&) = delete;

  Leaf& take() {
    Leaf* leaf = free_;
    if (leaf == nullptr) return grow();
    free_ = leaf->next_free;
    ++out_;
    return *leaf;
  }
  void give_back(Leaf& leaf) noexcept;
  // The array goes: deletes the pool now or with the last orphan.
  void release() noexcept;

 private:
  ~LeafPool() override = default;
  Leaf& grow();
  static void completed(Runnable& self) noexcept;

  Scheduler& scheduler_;
  std::vector<std::unique_ptr<Leaf>> leaves_;
  Leaf* free_ = nullptr;
  std::size_t out_ = 0;
  bool released_ = false;
};

}  // namespace resilver::raid
