// One reign as primary: from the compare-and-swap that was won until the record names another, this node's device fails
// or the program stops. It numbers the writes, acknowledges them, keeps the set of members and answers reads.
//
// What must never happen, and the rule against it:
// * A deposed primary answers a read with old data. -> Leases: it answers only while every member answered a beacon
//   that was *sent* less than lease_ms ago on this node's clock, checked after the data has arrived. A member proposes
//   itself only 1.25 of the record's lease after it last *received* one, so with clocks that drift less than 10 %
//   either way the lease has run out before. Any one silent member is enough to stop the primary. Alone in the set it
//   needs no lease.
// * The arbiter's file is restored under a primary, and a member of long ago is promoted by it, or the primary
//   overwrites a newer reign by its next change. -> The primary asks now and then. A record of another branch ends the
//   reign. One that is an ancestor of its own freezes the set: it goes on serving under its leases, and, while it holds
//   all of them (so nobody has proposed himself), puts its record back, one epoch on, against exactly what it read.
//   Members know the arbiter that it found before.
// * An acknowledged write is not on a member that may be promoted. -> covered(): acknowledged when the mode's condition
//   holds for the record, for a record that may have been written by a compare-and-swap without answer, and for
//   joiners. A record is proposed only when all that was acknowledged satisfies it (may_propose()): under `quorum`,
//   min(W, |I|) of the new set have it. A change of the mode passes through `durable`.
// * A primary whose disk hangs removes a member that restarts, then fails: nobody is left. -> Before a record that
//   leaves a member out is proposed, this node's disk has answered a write.
// * Under `quorum`, a promotion shrinks the set to members that lack what only the dead had. -> It leaves the set as it
//   is; the primary first makes those that answered equal (placed()), then removes the others, then serves.
// * A member without a session is promoted after a write it lacks was acknowledged. -> It stays in the way of covered()
//   until the compare-and-swap that removes it is won and durable here.
// * After a promotion a read shows a write that a further failure takes back. -> Extents of writes that were under way
//   are locked until they are equal on all members (reconcile()); nothing is served before all members told theirs.
// * A read shows a write that is not yet acknowledged. -> Reads take a shared, writes an exclusive range lock until the
//   end.
// * An older attachment writes after a newer one was let in. -> The number, given by the primary, is durable on all
//   members before `attached`.
// * A member that keeps leaving and returning stops the writes each time. -> It is held back longer and longer
//   (peer_link.h).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "async/sync.h"
#include "async/task_group.h"
#include "replica/arbiter.h"
#include "replica/core.h"
#include "replica/peer_link.h"
#include "replica/range_lock.h"

namespace resilver::replica {

class Primary {
 public:
  // `won`: the record by which this node became primary, already durable here; `virgin`: it is the volume's first;
  // `heard`: the members that are expected to be there.
  Primary(Core& core, Arbiter& arbiter, VersionedRecord won, bool virgin, NodeSet heard);

  // Reigns. When it returns, no request is under way any more, provided that nobody calls the functions below again and
  // those who did have returned: the owner ends the client sessions when lost() is set.
  Task<void> run();
  Event& lost() noexcept { return lost_; }

  // ---- for client sessions. not_primary: the reign is over, the outcome of a write is unknown. ----
  // ok: as the mode of the record says. `abandoned` set: the session is gone, nobody waits for the answer (unavailable
  // then, when too few copies are in sync to give one).
  Task<Errc> write(IoOp op, Extent extent, Buffer data, const Event& abandoned);
  Task<Errc> read(Extent extent, Buffer data);
  Task<Errc> flush();
  // The number of the attachment: `number`, or a new one if that is 0. Errors: fenced (a higher number is known).
  Task<Result<std::uint64_t>> attach(std::uint64_t number);
  bool serving() const;   // reads
  bool writable() const;  // a write would be acknowledged, as far as can be known

  // ---- for links ----
  const Record& record() const noexcept { return won_.record; }
  NodeSet members() const noexcept { return won_.record.in_sync; }
  // How long a beacon's answer counts: as long as the record allows, so that candidates know.
  Nanos lease() const noexcept;
  bool expected(NodeId id) const noexcept { return may_be_member(id) && heard_.contains(id); }
  bool may_be_member(NodeId id) const noexcept { return effective_.contains(id); }
  bool virgin() const noexcept { return virgin_; }
  // The arbiter's record went back: the set stays as it is until the record is put back.
  bool frozen() const noexcept { return older_.has_value(); }
  std::uint64_t last_seq() const noexcept { return next_seq_ - 1; }
  // All writes up to it are durable on every member.
  std::uint64_t committed_seq() const noexcept { return committed_; }
  // The epoch in which this primary began to number its writes, and the Configure from which positions are durable.
  std::uint64_t reign() const noexcept { return reign_; }
  std::uint64_t quorum_serial() const noexcept { return quorum_serial_; }
  RangeLock& locks() noexcept { return locks_; }
  // Clients have requests that a copy would slow down. When writes wait for one more copy nothing goes before that copy.
  bool clients_busy() const { return !too_few() && core_.now() - last_client_io_ < 100 * kMillisecond; }
  bool too_few() const;  // members, for writes
  bool device_gone() const noexcept { return resigned_; }
  Configure configuration() const;
  void must_settle(const std::vector<Extent>& extents);  // a member's recent writes
  void must_settle(const ExtentSet& extents);
  void changed();  // of a link: acknowledgements, lease, sessions; wakes whom it concerns
  void suspect_newer_record() {
    check_record_ = true;
    changed();
  }
  // This copy has a history of its own that the members should know of.
  void note_fork(const ForkNote& note);
  // Raises the record's epoch above this one, soon.
  void outdo(std::uint64_t epoch);
  // A process of that copy, connected under a lease; 0: none.
  std::uint64_t life_of(const CopyId& copy) const noexcept;
  ArbiterKey arbiter_key() const { return arbiter_.key(); }
  // A member takes another process for the arbiter than this node does.
  void check_arbiter() { check_record_ = true; }
  // Reads under a lock that the caller holds; blocks that cannot be read are fetched from members and rewritten.
  Task<Errc> read_healing(Extent extent, Buffer data);
  Task<Errc> read_or_give_up(Extent extent, Buffer data, std::vector<bool>& wanted);  // verify.cc
  void give_up_joiners() noexcept;

  // ---- for the node's operator: replica.h ----
  Task<Result<VerifyReport>> verify(bool repair);  // verify.cc
  void end_verify() noexcept { end_verify_ = true; }
  bool verifying() const noexcept { return verifying_; }
  std::uint64_t verify_done() const noexcept { return verify_done_; }
  std::uint64_t verify_total() const noexcept { return verify_total_; }
  Task<Status> resolve(NodeId peer, Resolution choice);  // split_brain.cc
  // Changes the mode, or hands over to a member, as soon as that is safe. For a handover a second call counts only after
  // the first has failed.
  void set_ack(AckMode mode);
  void switch_over_to(NodeId id);
  std::optional<NodeId> successor() const;  // a member that could take over

  std::vector<PeerStatus> peers() const;
  // Further node failures that the volume survives, serving on and without losing anything acknowledged.
  unsigned redundancy() const;
  void add_findings(std::vector<Finding>& to) const;

 private:
  struct InFlight {
    explicit InFlight(Scheduler& scheduler) : settled(scheduler) {}
    Event settled;  // covered, or the reign is over
    bool local_done = false;
  };
  bool covered(std::uint64_t seq) const;
  bool covered_by(const Record& record, std::uint64_t seq) const;
  bool joiners_have(std::uint64_t seq) const;
  bool durable_everywhere(std::uint64_t seq) const;
  unsigned majority() const noexcept { return won_.record.configured() / 2 + 1; }
  // Every one of these but this node has a link for which `good` holds.
  template <typename Good>
  bool each(NodeSet nodes, Good&& good) const {
    nodes.remove(core_.self);
    for (const auto& link : links_) {
      if (nodes.contains(link->id()) && good(*link)) nodes.remove(link->id());
    }
    return nodes.bits == 0;
  }
  unsigned stored_on(NodeSet members, std::uint64_t seq) const;
  bool may_propose(const Record& next) const;
  Task<Errc> write_settled(IoOp op, Extent extent, Buffer data, const Event& abandoned);
  Task<bool> wait_room();
  void send_to_peers(IoOp op, Extent extent, const Buffer& data);
  void done_here(std::uint64_t first, std::uint64_t last);
  void note_committed();
  Task<void> store_position();
  Task<void> switch_over(NodeId to);
  Task<void> leave_to(NodeId to, VersionedRecord next);
  bool drained(NodeId to);
  bool told() const;
  bool lease_valid() const;
  Task<Errc> wait_lease();
  Task<Errc> wait_settled(Extent extent);
  Task<Errc> acknowledge(std::uint64_t seq, InFlight& write, const Event& abandoned);
  void advance();
  Errc local_failure(Errc status);

  Task<void> keep_members();
  NodeSet desired() const;
  bool unlisted() const;
  bool changes_wanted() const;
  Task<void> reconfigure(NodeSet next);
  Record changed_record(NodeSet next, AckMode ack) const;
  Task<bool> adopt(VersionedRecord won);
  Task<void> watch_arbiter();
  Task<void> check_record();
  void consider(const VersionedRecord& now);
  void note_usurper();
  Task<void> reinstall();
  void send_configuration();
  Task<void> watch_storage();
  Task<void> reconcile();
  Task<bool> settle(Extent extent);
  Task<void> clear_bits();  // primary_bits.cc
  ClearBits clearable();
  Task<bool> all_prepared(Clearing clearing);
  Task<void> resign();
  class Verification;  // verify.cc
  PeerLink* link_to(NodeId id) const noexcept;
  Task<void> hand_over();
  bool everybody_in_sync() const;
  void lose();

  Core& core_;
  Arbiter& arbiter_;
  VersionedRecord won_;
  bool virgin_;
  NodeSet heard_;
  std::uint64_t reign_;
  NodeSet effective_;  // members, and those of compare-and-swaps whose outcome is unknown
  Event lost_;
  Event changed_;
  Event lease_changed_;
  Event settled_;  // reconciliation got on
  RangeLock locks_;
  std::vector<std::unique_ptr<PeerLink>> links_;

  std::uint64_t next_seq_;
  std::map<std::uint64_t, InFlight*> in_flight_;  // by their last numbers
  std::uint64_t acked_seq_;                       // nothing above it was acknowledged
  std::uint64_t committed_;
  std::uint64_t local_seq_;              // durable here, all up to it ...
  std::set<std::uint64_t> local_ahead_;  // ... and these
  std::uint64_t stored_seq_;             // the same, as the superblock knows it: counts under `quorum`
  Event local_changed_;
  std::optional<Record> proposed_;        // holds for acknowledgements beside the record
  std::optional<VersionedRecord> older_;  // that the arbiter keeps instead of ours: the set is frozen
  AckMode wanted_ack_;
  std::uint64_t outdone_ = 0;  // the record's epoch is to be higher
  std::uint64_t tried_epoch_;  // the highest proposed: one whose swap was lost is never used again
  std::uint64_t quorum_serial_ = 0;
  bool exact_;  // this node counts with what Marks::position tells
  std::optional<NodeId> switch_to_;
  bool closed_ = false;        // handing over: requests wait for the end of the reign
  std::uint64_t writing_ = 0;  // writes past that gate
  std::uint64_t serial_ = 1;
  bool check_record_ = false;
  bool resigned_ = false;
  bool open_ = false;  // all members told their recent writes
  bool reconciled_ = false;
  bool verifying_ = false;
  bool end_verify_ = false;
  std::uint64_t verify_done_ = 0, verify_total_ = 0;
  NodeId hand_over_ = kNoNode;  // whose side of a split brain was chosen ...
  bool given_up_ = false;       // ... and has the record now
  ExtentSet unsettled_;
  std::deque<Extent> urgent_;
  Nanos last_client_io_ = 0;
  TaskGroup group_;
};

}  // namespace resilver::replica
