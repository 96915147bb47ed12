// A node that follows a primary: one session, opened by the primary.
//
// What must never happen, and the rule against it:
// * A write of an old primary lands after the new one's. -> Every message carries the epoch; a lower one than this node's
//   durable epoch ends the session. A new session first ends the older one and waits until its last write is on the device;
//   a higher epoch is durable before the session is answered.
// * Two writes to one block land in different orders on two nodes. -> The primary has no overlapping writes under way; each
//   is applied as it comes.
// * A primary counts on a lease while this node proposes itself. -> last_heard is the last beacon *received*; proposals wait
//   grace_ms from there, and while one is under way (Core::proposing) no session is open and no beacon is answered.
// * A half-copied device is promoted. -> ResyncBegin makes it durably inconsistent before the first copied block,
//   ResyncDone ends that after the last; an inconsistent or fresh node is not eligible (election.h).
// * Data differs where no intent bit says so. -> Every write, live or copied, first makes its bit durable; only a full copy
//   does without, since it starts by giving up the node's generation: if it breaks off, the next one is full again.
#pragma once

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
  Task<void> apply(Reign& reign, Replicate message, Buffer data);
  Task<void> apply_copy(Reign& reign, CopyExtent message, Buffer data);
  Task<void> read_for_peer(Reign& reign, ReadExtent message);
  Task<void> hash_for_peer(Reign& reign, HashRequest message, std::uint64_t after);
  bool start_reading(Reign& reign, const Received& message);
  Task<bool> stay_diverged(Reign& reign, const Diverged& message);
  void failed(Reign& reign, Errc status);

  Core& core_;
  Mutex slot_;
  Event free_;
  Session* current_ = nullptr;
};

}  // namespace resilver::replica
