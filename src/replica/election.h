// How a node becomes primary: by winning a compare-and-swap on the arbiter's record, never otherwise.
//
// What must never happen, and the rule against it:
// * Two primaries serve. -> The record is swapped as it was read, by a node whose copy the record names in sync (or by
//   the copy that a new volume starts from, on a virgin record). A follower asks only a grace after the last beacon it
//   received; before the swap it ends its session and answers no beacon until the outcome is known, so that no lease is
//   granted meanwhile. The grace is of the longest lease that any primary may hold (Record::lease_ms), whatever this
//   node's file says.
// * A node that restarted goes on as if nothing had happened. -> A process that starts wins a new epoch first. The
//   record's own primary need not wait for grace: only it could serve under that record, and that process is dead; so
//   it asks the others whether they hear another process of that copy. Any other member waits a grace from its start,
//   since it may have answered a beacon just before.
// * Two processes of one copy, a machine and its clone, take turns as the primary. -> The record names the process, too: a
//   node whose copy is named under a life that it never had does not take that for its own. And one that has heard from
//   another node that such a process lives proposes nothing until it hears that it is gone, or is started again.
// * A late swap of an earlier life, or one that timed out, takes effect unnoticed. -> Each carries a nonce; a timed out
//   swap is repeated with the same expectation and record until the record has moved on.
// * A stale or half-copied disk is promoted. -> Fresh and inconsistent copies never propose, and are not put into the
//   set; nor is one that went back behind a mark that somebody knows.
// * The arbiter's file was restored, and a member of long ago is promoted. -> *All* configured copies are asked, not
//   only those that the record names: one whose record goes on from the arbiter's is a veto. One of another history is,
//   too, unless that fork is noted; a candidate that has followed the very reign of the record notes it itself, since
//   the histories have parted before. A veto holds, also of a copy that does not answer any more, until the record has
//   changed. Copies that never answered do not stand in the way: then the fork is found when they meet.
// * Under `quorum`, a member is promoted that lacks an acknowledged write. -> It counts answers only from members whose
//   position is not above its own, and needs |I| - W + 1 of them, itself among them: one of any so many has every
//   acknowledged write, so that it has, too. The set stays as it is until those that answered are equal (primary.h).
//   Among those that answer, the highest position, then the lowest id goes first; the others give it three rounds.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "replica/arbiter.h"
#include "replica/core.h"
#include "replica/secondary.h"

namespace resilver::replica {

class Election {
 public:
  Election(Core& core, Arbiter& arbiter, Secondary& secondary)
      : core_(core), arbiter_(arbiter), secondary_(secondary), started_(core.now()), next_ask_(core.now()) {}

  struct Win {
    VersionedRecord record;
    bool virgin = false;
    NodeSet heard;  // members that answered, or that the former primary named
  };
  // Waits until this node must act; gives its win (durable here), or nothing: look again. Returns soon when stopping.
  Task<std::optional<Win>> wait_and_try();

  PromoteAnswer answer(const PromoteQuery& query) const;  // to a candidate's query

 private:
  struct Answers {
    NodeSet answered;
    NodeSet usable;              // of those asked: may be in the set
    NodeSet behind;              // of the usable, those that have no more than this node
    NodeSet heard;               // members or not
    bool another_lives = false;  // of this copy's processes
    bool hears_primary = false;
    bool better = false;
    std::map<NodeId, CopyId> copies;
    std::vector<ForkNote> forks;      // to be noted first
    std::map<NodeId, Reason> vetoes;  // what forbids to go on, and by whom
  };
  struct Veto {
    Reason reason;
    NodeId by = kNoNode;
  };
  Nanos due() const;
  bool may_look(const VersionedRecord& now);
  Task<bool> promised(const VersionedRecord& now);
  std::optional<Reason> why_not(const Record& record) const;
  Task<std::optional<Win>> force(VersionedRecord now);
  Task<std::optional<Win>> propose(VersionedRecord now);
  Task<Answers> query(const Record& record);
  Task<void> query_one(const Peer& peer, const Record& record, Nanos deadline, Answers& answers);
  void weigh(const Peer& peer, const Record& record, const PromoteAnswer& answer, Answers& answers) const;
  std::optional<Veto> forbidden(const VersionedRecord& now, const Answers& answers);
  bool stands_aside(const Record& record, const PromoteAnswer& answer, Answers& answers) const;
  Task<bool> note(const std::vector<ForkNote>& forks);
  bool waits_for_all(const VersionedRecord& now, const Answers& answers) const;
  Record wanted(const Record& now, NodeSet members, const Answers& answers, bool forced);
  Task<std::optional<Win>> swap(VersionedRecord now, Record next, NodeSet heard);
  Task<std::optional<Win>> succeed();
  Task<bool> store(const VersionedRecord& won);
  bool eligible(bool virgin) const;
  bool chosen(const Record& record) const;
  bool usurped(const Record& record) const;

  Core& core_;
  Arbiter& arbiter_;
  Secondary& secondary_;
  Nanos started_;
  Nanos next_ask_;
  unsigned rounds_ = 0;  // given to others
  // Somebody has heard another process of this copy, and nobody has told since that it is gone.
  bool another_lives_ = false;
  // Who has forbidden to go on from this record, as it was last heard.
  std::map<NodeId, Reason> vetoes_;
  std::uint64_t vetoed_nonce_ = 0;
};

}  // namespace resilver::replica
