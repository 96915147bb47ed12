// What the arbiter keeps of a volume, and how histories are compared.
//
// What must never happen: a copy is overwritten because its number is lower, though its history is another one. An
// arbiter's file that is restored from a backup, or lost, counts from an old number again; two sides of a forced
// promotion count each for itself. Rule: a history is a list of *reigns* (as Kafka's leader epochs), each from one
// promotion to the next, with a nonce that nobody draws twice. A record is accepted only if the newest one that a copy
// knows is its ancestor. Anything else, also a higher epoch of another branch, is a fork: shown at both ends,
// resolvable, nothing overwritten. So nine changes of the set are one reign, and never nine generations that somebody
// did not hear of.
//
// Within a reign its primary alone changes the record, one epoch at a time. A swap whose outcome is unknown is retried
// byte for byte, or its epoch is never used again: (reign, epoch) names one content.
//
// Bounds: the newest kMaxReigns reigns, and for each configured copy the newest that named it in sync, however old, so
// that a copy which comes back after years is still known. At most 9 KiB as bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "replica/types.h"

namespace resilver::replica {

// From one promotion to the next.
struct Reign {
  std::uint64_t nonce = 0;            // never 0
  std::uint64_t first = 0, last = 0;  // epochs
  Position start = {};                // what its primary had, of the reign before; seq may be kUnknownSeq
  // The mark of its primary's copy then (marks.h), by which one that had gone back shows; 0: told by the primary before
  // it, whom that copy had followed without a break.
  std::uint64_t start_mark = 0;
  std::uint64_t seed = 0;  // a new one begins where history is not known to go on: see Record::consulted
  NodeId primary = kNoNode;
  bool operator==(const Reign&) const = default;
};

// A configured node and its copy.
struct Slot {
  std::uint64_t name = 0;   // hash of the node's name (name_hash()); 0: this number is free
  CopyId copy;              // none: not seen yet
  std::uint64_t reign = 0;  // the newest that named this copy in sync (its nonce; 0: none did) ...
  std::uint64_t until = 0;  // ... and the last epoch in which it did
  bool operator==(const Slot&) const = default;
};

// A point in a history: an epoch of a reign.
struct Head {
  std::uint64_t reign = 0;  // its nonce; 0: none
  std::uint64_t epoch = 0;
  bool none() const noexcept { return reign == 0; }
  bool operator==(const Head&) const = default;
};

// A copy with a history of its own that the members know of: it stands in the way of nobody's promotion.
struct ForkNote {
  CopyId copy;
  Head head;
  bool operator==(const ForkNote&) const = default;
};

struct Record {
  static constexpr std::size_t kMaxReigns = 88;

  VolumeId volume;
  std::uint64_t epoch = 0;  // 0: virgin, no volume yet
  NodeId primary = kNoNode;
  NodeSet in_sync;
  std::uint64_t nonce = 0;         // of this very record: one swap's from another's
  AckMode ack = AckMode::durable;  // of the volume
  std::uint64_t lease_ms = 0;      // the longest that its primary may hold
  std::uint64_t life = 0;          // of the primary's process
  // Where the present seed began: by force, or by a recovery that could not prove that it had the newest; and where a
  // split brain was resolved. These copies were asked and follow it, whatever they had then: what they had of their own
  // is given_up ...
  NodeSet consulted;
  static constexpr std::size_t kMaxGivenUp = 16;
  std::vector<Head> given_up;  // reigns, each with its last epoch
  // ... and these follow it where it begun: they were in sync then, and have nothing acknowledged beyond it. Any other
  // one that was in sync then keeps its history (a fork).
  NodeSet covered;
  std::vector<Slot> slots;    // by node id, at most kMaxNodes
  std::vector<Reign> reigns;  // newest first
  bool operator==(const Record&) const = default;

  bool virgin() const noexcept { return epoch == 0; }
  Head head() const noexcept { return reigns.empty() ? Head{} : Head{reigns.front().nonce, epoch}; }
  std::uint64_t seed() const noexcept { return reigns.empty() ? 0 : reigns.front().seed; }
  // The reign under way. Precondition: not virgin.
  const Reign& reign() const noexcept { return reigns.front(); }
  const Reign* find(std::uint64_t reign_nonce) const noexcept;
  // The reign that followed the one with this nonce; null: none is known.
  const Reign* after(std::uint64_t reign_nonce) const noexcept;
  // Whether that point is in this history.
  bool lists(Head point) const noexcept;

  unsigned configured() const noexcept;                 // nodes
  NodeId find_name(std::uint64_t name) const noexcept;  // kNoNode: not listed
  NodeId find_copy(const CopyId& copy) const noexcept;  // kNoNode: not listed
  const CopyId& copy_of(NodeId id) const noexcept;      // none where nothing is known
};

// Whether its parts fit each other: what comes from outside is checked once, at the door.
bool sound(const Record& record) noexcept;

std::uint64_t name_hash(std::string_view name) noexcept;  // never 0

// Lists the node with this name, and its copy (none: what stands there stays), under this number. A name and a copy have
// one number: of two nodes that have exchanged their devices each gets the other's.
void list_node(Record& record, NodeId id, std::uint64_t name, const CopyId& copy);

// What an offered record is to someone who knows another one.
enum class Kinship : std::uint8_t {
  same,     // the same point of the same history
  newer,    // what is known is its ancestor
  stale,    // it is an ancestor of what is known
  horizon,  // one seed, but what is known is older than all that is listed: nobody can tell
  fork,
};
Kinship kinship(const Record& known, const Record& offered) noexcept;
// The same where of the known record only this is known: stale and fork look alike, as fork.
Kinship kinship(Head known, std::uint64_t known_seed, const Record& offered) noexcept;

// The newest point that both histories have; none: there is no such.
Head common_ancestor(const Record& one, const Record& other) noexcept;

// Whether the copy with this number, which knows `known` and is consistent, must keep its history where `record`
// reigns, though `known` may be an ancestor: a seed began without asking it, the present one or one before, and it was
// in sync then and may have more.
bool left_behind(const Record& record, NodeId id, const Record& known) noexcept;

// Who follows the present seed whatever came before it, and was not in sync since: of the next seed they are covered, too.
NodeSet covered_before(const Record& now) noexcept;

// Whether a copy leaves what it has for what the record has, unasked: it was consulted, or has nothing of its own, and
// what it knows is no more than what was given up then.
bool gives_up(const Record& record, NodeId id, Head known, bool inconsistent) noexcept;
// Adds to what is given up: the reigns of `other` that `record` has not.
void give_up(Record& record, const Record& other);

// ---- the next record -------------------------------------------------------------------------------------------------
// By the primary of the reign under way.
Record next_epoch(const Record& now, NodeSet in_sync, std::uint64_t nonce);
// By whoever is promoted. `reign` has nonce, start, start_mark, seed and primary; its epochs are set here.
Record next_reign(const Record& now, Reign reign, NodeSet in_sync, std::uint64_t nonce);

// ---- as bytes: docs/wire-protocol.md -----------------------------------------------------------------------------------
std::vector<std::byte> to_bytes(const Record& record);
// Errors: corrupt.
Result<Record> record_from(std::span<const std::byte> bytes);
inline constexpr std::size_t kMaxRecordBytes = 10 * 1024;

}  // namespace resilver::replica
