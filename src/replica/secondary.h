// A node that follows a primary: one session, opened by the primary.
//
// What must never happen, and the rule against it:
// * A write of an old primary lands after the new one's. -> A session is taken under a record that continues the newest
//   that this node knows, or was offered since it started; a new session first ends the older one and waits until its
//   last write is on the device. The record is durable before its Configure is acknowledged, and nothing is written
//   before its Configure.
// * A copy is overwritten by a primary of another history. -> ResyncBegin is obeyed only under a record that continues
//   this copy's own, or that names it among those who were asked when its history was begun anew; else this copy stays
//   as it is.
// * Two writes to one block land in different orders on two nodes. -> What overlaps is applied in the order in which it
//   came (writes, copies, and reads for a peer): a lock taken when the message is received.
// * A primary counts on a lease while this node proposes itself. -> last_heard is the last beacon *received*; proposals
//   wait a grace from there, and while one is under way (Core::proposing) no session is open and no beacon is answered.
// * A slow disk makes this node look silent. -> Beacons are answered when they come; what needs the disk waits in a
//   queue of its own.
// * A half-copied device is promoted. -> ResyncBegin makes it durably inconsistent before the first copied block,
//   ResyncDone ends that after the last; an inconsistent or fresh node is not eligible (election.h).
// * A copy is promoted that claims more than it has. -> Core::position counts for a promotion. It moves to a new reign
//   only when this copy has what that reign's primary had (ReconcileDone, ResyncDone). Under `quorum`, where members
//   may differ in acknowledged writes, it is durable before DurableAck tells of it.
// * Data differs where no intent bit says so. -> Every write, live or copied, first makes its bit durable; only a full
//   copy does without, since it starts by giving up the node's generation: if it breaks off, the next one is full
//   again.
#pragma once

#include <memory>
#include <set>

#include "async/sync.h"
#include "async/task_group.h"
#include "replica/core.h"

namespace resilver::replica {

class Secondary {
 public:
  Secondary(Core& core, Arbiter& arbiter)
      : core_(core), arbiter_(arbiter), slot_(core.scheduler), free_(core.scheduler) {}

  // Serves a session that a peer opened with `hello`, until it ends.
  Task<void> serve(Session& session, PeerHello hello, std::uint64_t epoch);

  // Ends the session, if there is one, and waits for its last write.
  Task<void> expel();

  bool active() const noexcept { return current_ != nullptr; }

  // Asks the primary for something (HandoverRequest, GiveUp). False: there is no session.
  bool request(const Body& body);

  // Writes under way at a time; an honest primary keeps far below.
  static constexpr std::size_t kMaxApplying = 4096;
  // Messages that wait for those before them.
  static constexpr std::size_t kMaxWaiting = 8192;

 private:
  struct Following;  // the state of one session
  Refusal judge(const PeerHello& hello, std::uint64_t epoch);
  bool hears_another(const Record& record) const;
  PeerWelcome welcome(Refusal refusal) const;
  bool may_overwrite(const Record& record) const;
  Task<void> follow(Session& session, const PeerHello& hello);
  bool heard(Following& reign, const Received& message, const Beacon& beacon);
  Task<void> look_for(Following& reign, ArbiterKey told);
  Task<void> work(Following& reign);
  Task<bool> handle(Following& reign, Received message);
  Task<bool> discard(Following& reign, const Discard& choice);
  Task<bool> configure(Following& reign, const Configure& message);
  Task<bool> begin_resync(Following& reign, const ResyncBegin& message);
  Task<bool> end_resync(Following& reign, const ResyncDone& message, const Buffer& bits);
  Task<Errc> take_over(const ResyncDone& message, const Buffer& bits);
  Task<bool> prepare_clearing(Following& reign, const ClearPrepare& message);
  Task<bool> clear_bits(Following& reign, const ClearBits& message);
  Task<bool> send_bits(Following& reign);
  bool start_write(Following& reign, const Replicate& message, Buffer data);
  bool start_copy(Following& reign, const CopyExtent& message, Buffer data);
  struct Turn;  // a place in the order of what overlaps
  Task<void> apply(Following& reign, Replicate message, Buffer data, std::unique_ptr<Turn> turn);
  Task<void> apply_copy(Following& reign, CopyExtent message, Buffer data, std::unique_ptr<Turn> turn);
  Task<void> read_for_peer(Following& reign, ReadExtent message, std::unique_ptr<Turn> turn);
  Task<void> hash_for_peer(Following& reign, HashRequest message, std::unique_ptr<Turn> turn);
  bool start_reading(Following& reign, const Received& message);
  Task<bool> stay_diverged(Following& reign, const Diverged& message);
  void applied(Following& reign);
  Task<void> store_position(Following& reign);
  Task<bool> reconciled(Following& reign);
  bool succeed(Following& reign, const Handover& message);
  void failed(Following& reign, Errc status);

  Core& core_;
  Arbiter& arbiter_;
  Mutex slot_;
  Event free_;
  Session* current_ = nullptr;
  std::uint64_t current_epoch_ = 0;
};

}  // namespace resilver::replica
