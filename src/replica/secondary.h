// A node that follows a primary: one session, opened by the primary.
//
// What must never happen, and the rule against it:
// * A write of an old primary lands after the new one's. -> Every message carries the epoch; a lower one than this node's
//   durable epoch ends the session. A new session first ends the older one and waits until its last write is on the device;
//   a higher epoch is durable before the session is answered.
// * Two writes to one block land in different orders on two nodes. -> What overlaps is applied in the order in which it came
//   (writes, copies, and reads for a peer): a lock taken when the message is received.
// * A primary counts on a lease while this node proposes itself. -> last_heard is the last beacon *received*; proposals wait
//   grace_ms from there, and while one is under way (Core::proposing) no session is open and no beacon is answered.
// * A half-copied device is promoted. -> ResyncBegin makes it durably inconsistent before the first copied block,
//   ResyncDone ends that after the last; an inconsistent or fresh node is not eligible (election.h).
// * A copy is promoted that claims more than it has. -> Core::position counts for a promotion. It moves to a new reign only
//   when this copy has what that reign's primary had (ReconcileDone, ResyncDone). Under `quorum`, where members may
//   differ in acknowledged writes, it is durable before DurableAck tells of it.
// * Data differs where no intent bit says so. -> Every write, live or copied, first makes its bit durable; only a full copy
//   does without, since it starts by giving up the node's generation: if it breaks off, the next one is full again.
#pragma once

#include <memory>
#include <set>

#include "async/sync.h"
#include "async/task_group.h"
#include "replica/core.h"

namespace resilver::replica {

class Secondary {
 public:
  explicit Secondary(Core& core) : core_(core), slot_(core.scheduler), free_(core.scheduler) {}

  // Serves a session that a peer opened with `hello`, until it ends.
  Task<void> serve(Session& session, PeerHello hello, std::uint64_t epoch);

  // Ends the session, if there is one, and waits for its last write.
  Task<void> expel();

  bool active() const noexcept { return current_ != nullptr; }

  // Asks the primary to hand over to this node. False: there is no session.
  bool request_handover();

  // Writes under way at a time; an honest primary keeps far below.
  static constexpr std::size_t kMaxApplying = 4096;

 private:
  struct Reign;  // the state of one session
  Errc judge(const PeerHello& hello, std::uint64_t epoch) const;
  PeerWelcome welcome(Errc status) const;
  Task<void> follow(Session& session, const PeerHello& hello, std::uint64_t epoch);
  Task<bool> handle(Reign& reign, Received message);
  Task<bool> configure(Reign& reign, const Configure& message);
  Task<bool> begin_resync(Reign& reign, const ResyncBegin& message);
  Task<bool> end_resync(Reign& reign, const ResyncDone& message, const Buffer& bits);
  Task<Errc> take_over(const ResyncDone& message, const Buffer& bits);
  Task<bool> clear_bits(Reign& reign, const ClearBits& message);
  Task<bool> send_bits(Reign& reign);
  bool start_write(Reign& reign, const Replicate& message, Buffer data);
  bool start_copy(Reign& reign, const CopyExtent& message, Buffer data);
  struct Turn;  // a place in the order of what overlaps
  Task<void> apply(Reign& reign, Replicate message, Buffer data, std::unique_ptr<Turn> turn);
  Task<void> apply_copy(Reign& reign, CopyExtent message, Buffer data, std::unique_ptr<Turn> turn);
  Task<void> read_for_peer(Reign& reign, ReadExtent message, std::unique_ptr<Turn> turn);
  Task<void> hash_for_peer(Reign& reign, HashRequest message, std::unique_ptr<Turn> turn);
  bool start_reading(Reign& reign, const Received& message);
  Task<bool> stay_diverged(Reign& reign, const Diverged& message);
  void applied(Reign& reign);
  Task<void> store_position(Reign& reign);
  Task<bool> reconciled(Reign& reign);
  bool succeed(Reign& reign, const Handover& message);
  void failed(Reign& reign, Errc status);

  Core& core_;
  Mutex slot_;
  Event free_;
  Session* current_ = nullptr;
  std::uint64_t current_epoch_ = 0;
};

}  // namespace resilver::replica
