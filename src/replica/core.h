// What all parts of one node's replica share: configuration, device, metadata, the node's own view of the protocol.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "async/intrusive_list.h"
#include "async/sync.h"
#include "env/env.h"
#include "replica/arbiter.h"
#include "replica/intent_bitmap.h"
#include "replica/metadata.h"
#include "replica/replica.h"
#include "replica/session.h"

namespace resilver::replica {

// Writes that this node has, or may have in part, and that are not known to be on every member: what a promoted primary
// must settle. After a restart the list is gone (known() is false) and the intent bits stand for it.
class RecentWrites {
 public:
  static constexpr std::size_t kMost = kMaxListedExtents;

  // False after a restart, until settled(), and when there were too many.
  bool known() const noexcept { return older_known_ && !live_overflow_ && live_.size() + older_.size() <= kMost; }

  // A write of the present reign, in the order of its numbers.
  void add(std::uint64_t seq, Extent extent) {
    if (live_.size() < kMost) {
      live_.push_back({seq, extent});
    } else {
      live_overflow_ = true;
    }
  }
  // A copy made to settle the writes of an earlier reign.
  void add_copy(Extent extent) {
    if (older_.size() < kMost) {
      older_.push_back(extent);
    } else {
      older_known_ = false;
    }
  }
  // All writes of the present reign up to `seq` are on every member.
  void committed(std::uint64_t seq) {
    while (!live_.empty() && live_.front().seq <= seq) live_.pop_front();
    if (live_.empty()) live_overflow_ = false;
  }
  // Another reign begins: what is listed stays until settled().
  void new_reign() {
    for (const Numbered& write : live_) add_copy(write.extent);
    if (live_overflow_) older_known_ = false;
    live_.clear();
    live_overflow_ = false;
  }
  // Everything from earlier reigns is on every member.
  void settled() {
    older_.clear();
    older_known_ = true;
  }
  // Precondition: known().
  std::vector<Extent> list() const {
    std::vector<Extent> all = older_;
    for (const Numbered& write : live_) all.push_back(write.extent);
    return all;
  }

 private:
  struct Numbered {
    std::uint64_t seq;
    Extent extent;
  };
  std::deque<Numbered> live_;
  std::vector<Extent> older_;
  bool older_known_ = false;
  bool live_overflow_ = false;
};

struct Core {
  Core(Env& e, ReplicaConfig c, BlockDevice& d, std::uint64_t size, std::uint64_t metadata_at, std::uint64_t granule)
      : env(e),
        scheduler(e.scheduler()),
        config(std::move(c)),
        device(d),
        volume_bytes(size),
        metadata(scheduler, env.buffers(), device, metadata_at),
        bits(scheduler, env.buffers(), device, metadata_at + MetadataStore::kSlotBytes, config.intent_bits, granule,
             size),
        changed(scheduler),
        stopping(scheduler) {}

  Env& env;
  Scheduler& scheduler;
  ReplicaConfig config;
  BlockDevice& device;
  std::uint64_t volume_bytes;
  MetadataStore metadata;
  IntentBitmap bits;
  Event changed;                    // woken whenever something below changes that a waiting loop may care for
  Event stopping;                   // set: everybody ends
  IntrusiveList<Session> sessions;  // all that are open, to be closed at the end

  Role role = Role::idle;
  NodeSet in_sync;
  NodeId primary = kNoNode;
  bool serving = false;
  bool device_failed = false;

  // As a follower.
  std::vector<Generation> other_history;  // split brain: of the primary that told us so; else empty
  bool force_promotion = false;           // asked for by the operator, not done yet
  Errc force_refused = Errc::ok;          // why the last one was not done
  Nanos last_heard = 0;                   // last beacon received, or the start of this process
  bool primary_resigned = false;
  bool proposing = false;         // a compare-and-swap of ours is under way: no primary is obeyed
  std::uint64_t newer_epoch = 0;  // somebody showed us this epoch; a primary of a lower one is deposed
  Position position;
  std::optional<VersionedRecord> handed;  // a primary made this node its successor by this record
  RecentWrites recent;

  std::map<NodeId, Nanos> refused_at;
  std::uint64_t refusals = 0;
  std::uint64_t replication_bytes = 0, resync_bytes = 0, heal_bytes = 0, reads_healed = 0, writes = 0, reads = 0;

  bool stand_alone() const noexcept { return config.arbiter.empty(); }
  std::uint64_t epoch() const noexcept { return metadata.now().epoch; }
  Nanos now() const noexcept { return scheduler.now(); }
  Nanos lease() const noexcept { return static_cast<Nanos>(config.lease_ms) * kMillisecond; }
  Nanos grace() const noexcept { return static_cast<Nanos>(config.grace_ms) * kMillisecond; }
  Nanos congestion() const noexcept { return static_cast<Nanos>(config.congestion_ms) * kMillisecond; }
  Nanos beacon() const noexcept { return static_cast<Nanos>(config.beacon_ms) * kMillisecond; }
  NodeSet configured() const noexcept;
  const std::string* address_of(NodeId id) const noexcept;
  std::uint64_t new_nonce(bool forced = false) { return (env.random().next() & ~std::uint64_t{1}) | (forced ? 1 : 0); }

  void emit(ReplicaEvent event);
  // What this peer (kNoNode: nobody knows who) sent ended its session. Told once per peer and minute, so that a strange
  // one cannot fill a log.
  void refuse(NodeId peer, Errc reason);
  void fail_device();  // once: the device is given up
  // Asked by a write, before this node shuts others out of the set: one whose disk hangs would take the volume along.
  Task<bool> disk_answers();

  // Local I/O. Running out of a bounded resource is waited out; what remains is an error of the device.
  Task<Errc> read_local(Extent extent, Buffer buffer);
  Task<Errc> write_local(IoOp op, Extent extent,
                         Buffer buffer);  // FUA; discard is done as write_zeroes, alike on all copies
};

// A session listed in Core::sessions while it lives.
class OpenSession {
 public:
  OpenSession(Core& core, std::unique_ptr<Connection> connection) : session_(core.scheduler, std::move(connection)) {
    core.sessions.push_back(session_);
    if (core.stopping.is_set()) session_.close();
  }
  Session& operator*() noexcept { return session_; }
  Session* operator->() noexcept { return &session_; }

 private:
  Session session_;
};

}  // namespace resilver::replica
