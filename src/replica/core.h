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
#include "replica/marks.h"
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

// A configured node other than this one.
struct Peer {
  NodeId id = kNoNode;     // its number in the record
  NodeId place = kNoNode;  // in the configuration
  std::uint64_t name = 0;  // hash of its name
  std::string address;
};

// What this node has seen of the arbiter.
struct ArbiterView {
  bool away = false;                      // the last call had no answer
  std::optional<VersionedRecord> record;  // that it told last
};

// What one that asks the arbiter may find: one of them at a time.
inline constexpr Reason kOfArbiter[] = {Reason::arbiter_away, Reason::two_arbiters, Reason::arbiter_full};

struct SwapOutcome {
  bool known = false;
  bool won = false;
  VersionedRecord now;  // where known: the record won, or the one that was in the way
};

struct Core {
  Core(Env& e, ReplicaConfig c, BlockDevice& d);

  Env& env;
  Scheduler& scheduler;
  ReplicaConfig config;
  BlockDevice& device;
  std::uint64_t volume_bytes = 0;
  MetadataStore metadata;
  MarkStore marks;
  IntentBitmap bits;
  const std::uint64_t life;         // of this process, of all that serve this copy
  Event changed;                    // woken whenever something below changes that a waiting loop may care for
  Event stopping;                   // set: everybody ends
  IntrusiveList<Session> sessions;  // all that are open, to be closed at the end

  // Who is who (number()).
  NodeId self = kNoNode;  // this node's number in the record
  std::uint64_t name;     // hash of its name
  std::vector<Peer> peers;

  Role role = Role::idle;
  NodeSet in_sync;
  NodeId primary = kNoNode;
  bool serving = false;
  bool device_failed = false;
  Errc storage_trouble = Errc::ok;  // no_space or read_only: this copy takes no part until storage_retry
  Nanos storage_retry = 0, storage_since = 0;

  // As a follower.
  std::optional<Record> other_history;  // split brain: of the primary that told us so
  ResyncWhy other_why = ResyncWhy::none;
  bool force_promotion = false;   // asked for by the operator, not done yet
  Errc force_refused = Errc::ok;  // why the last one was not done
  Nanos last_heard = 0;           // last beacon received, or the start of this process
  CopyId heard_copy;              // whose that was ...
  std::uint64_t heard_life = 0;   // ... and of which process
  bool primary_resigned = false;
  bool proposing = false;  // a compare-and-swap of ours is under way: no primary is obeyed
  // The newest record that a session was accepted under. It becomes durable with the Configure that lets this node act
  // on it; until then it keeps older primaries out.
  Record obeyed;
  bool deposed = false;  // somebody follows a newer record than this primary's
  Position position;
  Position committed;                     // durable on all members, as far as told
  std::optional<VersionedRecord> handed;  // a primary made this node its successor by this record
  RecentWrites recent;
  Marks told;  // by others, newer than what marks.now() has kept: only `peers` counts
  ArbiterView arbiter_view;
  std::map<Reason, Finding> findings;  // of this node's place, its storage and the arbiter: at most one of each

  std::map<NodeId, Nanos> refused_at;
  std::uint64_t refusals = 0;
  std::uint64_t replication_bytes = 0, resync_bytes = 0, heal_bytes = 0, reads_healed = 0, writes = 0, reads = 0;

  bool stand_alone() const noexcept { return config.arbiter.empty(); }
  const Record& known() const noexcept { return metadata.now().known; }
  std::uint64_t epoch() const noexcept { return metadata.now().epoch(); }
  Nanos now() const noexcept { return scheduler.now(); }
  // The lease that this node grants itself as a primary, and how long it waits as a candidate: the longest that any
  // primary may hold, as far as it knows, not what its own file says.
  Nanos lease() const noexcept { return static_cast<Nanos>(config.lease_ms) * kMillisecond; }
  Nanos grace() const noexcept;
  Nanos congestion() const noexcept { return static_cast<Nanos>(config.congestion_ms) * kMillisecond; }
  Nanos beacon() const noexcept { return static_cast<Nanos>(config.beacon_ms) * kMillisecond; }
  const Peer* peer(NodeId id) const noexcept;  // null: the file does not list it
  // For reports: its place in the configuration.
  NodeId place_of(NodeId id) const noexcept;
  NodeSet places_of(NodeSet ids) const noexcept;
  NodeId id_at(NodeId place) const noexcept;
  // How many nodes the volume has: W, the majority, is of them.
  unsigned configured() const noexcept;
  unsigned majority() const noexcept { return configured() / 2 + 1; }
  std::uint64_t new_nonce() { return env.random().next() | 1; }
  Settings settings() const;

  // Takes the nodes' numbers from a record; those that it does not list get free ones. Not while this node is a primary.
  void number(const Record& record);

  // The highest mark that is known of a copy.
  std::uint64_t mark_of(const CopyId& copy) const noexcept;
  bool went_back(std::uint64_t told_of_us) const noexcept { return told_of_us > marks.now().counter; }

  void emit(ReplicaEvent event);
  // What this peer (kNoNode: nobody knows who) sent ended its session. Told once per peer and minute, so that a strange
  // one cannot fill a log.
  void refuse(NodeId peer, Errc reason);
  // A reason that holds from now on, or no longer.
  void find(Reason reason, NodeId node = kNoNode, std::string detail = {});
  void cease(Reason reason);
  // Why this node is neither a primary nor follows one: of these reasons one at a time. Nothing: it is one, or does.
  void waits(std::optional<Reason> reason, NodeId node = kNoNode, std::string detail = {});
  bool found(Reason reason) const noexcept { return findings.contains(reason); }
  // Whether something about the arbiter or its record is told: until it ends, the record does not change.
  bool of_arbiter() const noexcept;

  // Reads the arbiter's record, and notes what that tells of the arbiter.
  Task<Result<VersionedRecord>> ask(Arbiter& arbiter, Nanos deadline);
  // Swaps, again and again with the same record, until the outcome is known or `end` is set (given up: it may have
  // happened, and may happen later), and notes what that tells of the arbiter. One that has restarted is asked in its
  // new name, as long as its record is what was expected.
  Task<SwapOutcome> swap(Arbiter& arbiter, VersionedRecord expected, Record wanted, Event& end);
  void arbiter_answered(Errc status);

  void fail_device();  // once: the device is given up
  // What a failed request of the storage means: a device that is gone, one that has no room now, or nothing (our own
  // limits).
  void storage_failed(Errc status);
  // A request has waited for too long: until none does.
  void storage_slow();
  void storage_works();
  bool storage_usable() const noexcept;
  // Asked by a write, and a flush, which reaches every disk below: before this node shuts others out of the set, or
  // proposes itself. One whose disk hangs would take the volume along.
  Task<bool> disk_answers();

  // Local I/O. Running out of a bounded resource is waited out; what remains is an error of the device.
  Task<Errc> read_local(Extent extent, Buffer buffer, IoUse use = IoUse::replica_resync);
  // FUA; discard is done as write_zeroes, alike on all copies.
  Task<Errc> write_local(IoOp op, Extent extent, Buffer buffer, IoUse use = IoUse::replica_resync);
  // How long the oldest request of the storage has been waiting; 0: none does. Time during which this process stood
  // still does not count (note_alive()).
  Nanos oldest_io() const noexcept;
  void note_alive() noexcept;

 private:
  // A request of the storage under way.
  struct Watched : ListHook {
    explicit Watched(Core& core) : begun(core.now()) { core.watched_.push_back(*this); }
    const Nanos begun;
  };
  IntrusiveList<Watched> watched_;
  Nanos alive_at_ = 0;
  Nanos stood_still_until_ = 0;
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
