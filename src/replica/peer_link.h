// The primary's side of its session with one peer: opens it, keeps the lease alive, streams the writes, resyncs a
// joiner.
//
// What must never happen, and the rule against it:
// * A gap in what a peer got. -> Writes are numbered and travel on one ordered session from its Configure on; when the
//   session breaks, the peer leaves the in-sync set by compare-and-swap before the next acknowledgement, and comes back
//   by resync; nothing is sent again. No new session is opened while the set still names the peer.
// * A joiner is added but lacks writes. -> Live writes are streamed (and waited for) from before the first copied
//   extent; each extent is copied under an exclusive range lock until the peer has it durable; then the peer takes over
//   the primary's intent bits, then it is added.
// * A resync by bitmap misses blocks. -> The bitmap is used only if the returner's history is ours, it is not below the
//   mark that this node knows of it, and each of the two has prepared the clearings of bits after which the other
//   dropped some; its own bits are added. Otherwise every block is compared by a 128-bit hash (peer_resync.cc).
// * A copy that went back, another disk, or another copy of the same image is taken for the member that was there. -> A
//   member is known by its copy's id, its mark and its clearings; one that does not match leaves and comes back as a
//   joiner.
// * A member whose link flaps stops the writes for a lease each time. -> After the second time that it leaves within
//   kSettled graces of its return it is held back: a grace, then two, four, up to kMostHeld; forgotten when it has
//   stayed for kSettled. Never where writes wait for one more copy.
// * A copy that broke off goes on as if nothing had been written meanwhile. -> What was not yet copied is remembered
//   here for the reign, with every write that the peer did not get or may not have; the peer keeps the copy's id
//   durably.
// * Everybody waits for an answer that does not come. -> A peer that answers beacons, but none of the questions that
//   are open for congestion_ms, is given up as one that is too slow with writes. On a thin line answers come late, but
//   they come.
// * Two histories are merged silently, or acknowledged writes that a returner proves are overwritten. -> split_brain.h.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>

#include "async/sync.h"
#include "async/task_group.h"
#include "replica/core.h"

namespace resilver::replica {

class Primary;

class PeerLink {
 public:
  PeerLink(Primary& primary, Core& core, const Peer& peer);

  NodeId id() const noexcept { return id_; }
  std::uint64_t name() const noexcept { return name_; }
  Task<void> run();  // until the reign ends

  bool streaming() const noexcept { return streaming_; }  // gets every write; acknowledgements wait for it
  bool ready() const noexcept { return ready_; }          // a joiner that has everything: may be added
  // A member at promotion that told what it has, and has what this primary had; a joiner that has everything.
  bool placed() const noexcept { return placed_; }
  bool starting() const noexcept { return starting_; }  // member at promotion whose first session is not there yet
  bool connected() const noexcept { return session_ != nullptr; }
  std::uint64_t durable_seq() const noexcept { return durable_seq_; }
  std::uint64_t received_seq() const noexcept { return received_seq_; }
  // Under `quorum`: its position in this reign is durably at least this; 0 while it is not placed.
  std::uint64_t stored_seq() const noexcept { return stored_seq_; }
  Nanos lease_until() const noexcept { return lease_until_; }
  std::uint64_t configured() const noexcept { return configured_; }  // last Configure acknowledged
  Clearing prepared() const noexcept { return prepared_; }
  // What its last welcome told; nothing before the first.
  const CopyId& copy_id() const noexcept { return welcome_.copy; }
  std::uint64_t life() const noexcept { return welcome_.life; }
  const Record& known() const noexcept { return welcome_.known; }
  std::uint64_t mark() const noexcept { return mark_; }
  ArbiterKey arbiter_known() const noexcept { return arbiter_; }  // by its last answer to a beacon
  std::size_t queued() const noexcept { return session_ == nullptr ? 0 : session_->queued(); }

  void send(const Body& body, Buffer payload = {});
  void send_write(const Replicate& write, Buffer data);
  // How much may travel in one message, in bytes.
  std::uint64_t message_bytes() const noexcept;
  // Bytes of writes that the peer has not made durable; how long the oldest of them has waited.
  std::uint64_t behind_bytes() const noexcept { return session_ == nullptr ? 0 : session_->unanswered_bytes(); }
  bool has_room() const noexcept;
  Nanos behind_for() const noexcept;
  void close() noexcept {
    if (session_ != nullptr) session_->close();
  }

  // A write was numbered: it is sent next, if the peer is streaming, and must be remembered if a copy is not finished.
  void note_write(std::uint64_t seq, Extent extent);

  // Copies `data` (empty: zeroes) to `extent` there; ok when durable. closed when the session ended first.
  Task<Errc> copy(Extent extent, Buffer data);
  // Reads `extent` there.
  Task<Result<Buffer>> read(Extent extent);
  // kHashBytes per block of `extent` there, after all writes sent before; zeroes for blocks that it cannot read.
  Task<Result<Buffer>> hashes(Extent extent);

  // Waits as long as the configured rate of copies and comparisons asks for.
  Task<void> pace(std::uint64_t bytes);

  bool diverged() const noexcept { return diverged_; }
  // Makes the peer give up what it has since the common ancestor; it comes back as a joiner. Precondition: diverged().
  void discard_remote() noexcept {
    discard_ = true;
    answered_.wake_all();
  }

  PeerStatus status() const;
  void add_findings(std::vector<Finding>& to) const;
  // A record was adopted: was it in it before, is it now?
  void note_membership(bool was, bool is);

  static constexpr Nanos kSettled = 32;   // graces
  static constexpr Nanos kMostHeld = 64;  // graces
  // So long may a beacon wait behind what was given to the connection; an eighth of a lease, if that is less.
  static constexpr Nanos kMostQueueing = 20 * kMillisecond;

 private:
  struct Asked {
    std::size_t answer;  // the alternative of Body that is waited for
    Nanos at;
  };
  void note_answer(std::size_t answer);
  struct Call {  // a CopyExtent or ReadExtent under way
    explicit Call(Scheduler& scheduler) : done(scheduler) {}
    Event done;
    Errc status = Errc::closed;
    Buffer data;
  };
  Task<void> one_session();
  Task<bool> greet(Session& session);
  bool look_at(const PeerWelcome& welcome);
  Task<void> conduct(Session& session);
  bool is_the_member() const;
  Task<bool> start_member(Session& session);
  bool held_back() const;
  Task<Errc> call(Call& call, std::uint64_t tag, const Body& request, Buffer payload = {});
  std::uint64_t piece_bytes() const noexcept;
  Nanos most_queueing() const noexcept;
  Task<bool> resync(Session& session);
  Task<bool> choose(Session& session);
  Task<bool> copy_all(Session& session);
  Task<void> copy_worker(Session& session, bool& good);
  Task<bool> make_equal(Extent extent);
  Task<bool> copy_runs(Extent extent, Buffer data, const std::vector<bool>& wanted);
  Task<void> copy_run(Extent extent, Buffer data, bool& good);
  void keep_for_resume();
  Task<void> stay_diverged(Session& session);
  Task<void> list_divergent(Session& session);
  Task<bool> finish_resync(Session& session);
  Task<void> listen(Session& session);
  bool handle(Received& message);
  Task<void> beat(Session& session);
  Beacon beacon_with(std::uint64_t cookie) const;
  Task<void> wait_bits(Session& session);
  ResyncWhy judge() const;
  bool proves_loss() const;
  Task<bool> outdo(Session& session);
  Task<bool> raise_epoch(Session& session, std::uint64_t to);
  void start_streaming();
  void left(Reason why, std::string detail = {});

  Primary& primary_;
  Core& core_;
  NodeId id_;
  std::uint64_t name_;
  std::string address_;
  Session* session_ = nullptr;
  // Of the next session: less where the last one found a thin line.
  std::uint64_t first_send_window_ = SendWindow::kFirst;
  Event answered_;  // Bits or ResyncDoneAck came
  bool starting_ = false;
  bool streaming_ = false;
  bool ready_ = false;
  bool placed_ = false;
  bool resync_acked_ = false;
  std::optional<Bits> bits_;
  Buffer bits_data_;
  std::uint64_t durable_seq_ = 0, received_seq_ = 0, stored_seq_ = 0;
  std::uint64_t configured_ = 0;
  Clearing prepared_;
  PeerWelcome welcome_;           // the last
  std::uint64_t known_mark_ = 0;  // of its copy, before that welcome
  std::uint64_t mark_ = 0;        // of its copy, as told
  ArbiterKey arbiter_;
  std::vector<std::uint64_t> lives_;  // of its copy, the last few, in the order of their coming
  // Why there is no session, or no more than a refusal; nothing while there is one.
  std::optional<Finding> away_;
  Nanos member_since_ = 0;
  Nanos held_until_ = 0;
  unsigned flaps_ = 0;
  Nanos lease_until_ = std::numeric_limits<Nanos>::min();
  std::deque<SentBeacon> beacons_;
  std::deque<Asked> asked_;  // and not answered, the oldest first
  Nanos answered_at_ = 0;    // the last of those that were
  Nanos heard_ = 0;          // when the last answered beacon was sent, or the session opened
  std::uint64_t next_tag_ = 1;
  std::map<std::uint64_t, Call*> calls_;

  // Resync.
  static constexpr std::size_t kMaxRemembered = 65'536;
  ExtentSet to_copy_;            // also what is left of a copy that broke off
  std::uint64_t resume_id_ = 0;  // of that copy, or of the present one; 0: none
  bool compare_ = false;
  struct Sent {
    std::uint64_t seq;
    Extent extent;
  };
  std::deque<Sent> sent_;  // during a copy: not yet durable there
  ResyncWhy why_ = ResyncWhy::none;
  bool resyncing_ = false;
  bool stuck_ = false;
  std::uint64_t total_bytes_ = 0, done_bytes_ = 0, copied_bytes_ = 0;
  Nanos paced_until_ = 0;

  // Split brain.
  bool diverged_ = false;
  bool discard_ = false;
  ExtentSet divergent_;  // at most kMaxListedExtents extents
  std::uint64_t divergent_bytes_ = 0;
};

}  // namespace resilver::replica
