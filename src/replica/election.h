// How a node becomes primary: by winning a compare-and-swap on the arbiter's record, never otherwise.
//
// What must never happen, and the rule against it:
// * Two primaries serve. -> The record is swapped at the version that was read, by a node that the record names in sync (or
//   by first_primary on a virgin record). A follower asks only grace_ms after the last beacon it received; before the swap
//   it ends its session and answers no beacon until the outcome is known, so that no lease is granted meanwhile.
// * A node that restarted goes on as if nothing had happened. -> A process that starts wins a new epoch first. The record's
//   own primary need not wait for grace: only it could serve under that record, and that process is dead. Any other
//   member waits grace_ms from its start, since it may have answered a beacon just before.
// * A late swap of an earlier life, or one that timed out, takes effect unnoticed. -> Each carries a nonce; a timed out swap
//   is repeated with the same version and record until the version has moved on.
// * A stale or half-copied disk is promoted. -> Fresh and inconsistent nodes never propose, and are not put into the set.
// * Under `quorum`, a member is promoted that lacks an acknowledged write. -> It counts answers only from
//   members whose position
//   is not above its own, and needs |I| - W + 1 of them, itself among them: one of any so many has every acknowledged
//   write, so that it has, too. The set stays as it is until those that answered are equal (primary.h).
// Among those that answer, the highest position, then the lowest id goes first; the others give it three rounds.
#pragma once

#include <optional>

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

  PromoteAnswer answer() const;  // to a candidate's query

 private:
  struct Answers {
    NodeSet usable;
    NodeSet answered;
    bool hears_primary = false;
    NodeSet behind;  // of the usable, those that have no more than this node
    bool better = false;
  };
  Nanos due() const;
  Task<std::optional<Win>> force(VersionedRecord now);
  Task<std::optional<Win>> propose(VersionedRecord now);
  Task<Answers> query(NodeSet members, const Record& record);
  Task<void> query_one(NodeId id, bool virgin, Nanos deadline, Answers& answers);
  Task<std::optional<Win>> swap(VersionedRecord now, NodeSet members, NodeSet heard, bool forced = false);
  Task<std::optional<Win>> succeed();
  Task<bool> store(const Record& before, const Record& won);
  bool eligible(bool virgin) const;

  Core& core_;
  Arbiter& arbiter_;
  Secondary& secondary_;
  Nanos started_;
  Nanos next_ask_;
  unsigned rounds_ = 0;  // given to others
};

}  // namespace resilver::replica
