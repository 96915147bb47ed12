// Why a copy does not serve, is not in sync, or is less redundant than it should be: a closed list. Whenever one of
// these three is so, at least one reason is told, by status, JSON and log. What helps stands in
// src/service/diagnosis.cc, code by code in docs/volumes.md.
#pragma once

#include <cstdint>
#include <string>

#include "base/time.h"
#include "replica/types.h"

namespace resilver::replica {

enum class Reason : std::uint8_t {
  // ---- of this node's own place ----
  starting,          // it has not yet looked at the record, or waits out a grace
  no_primary,        // none is heard since …, and this copy may not be the next one: it is out of date
  waits_for_copies,  // it would serve, but some of the copies that must answer before do not
  newer_elsewhere,   // a copy that answers knows a record that the arbiter does not have
  new_copy,          // it holds nothing yet, and waits for a primary
  half_copied,       // a copy into it broke off; it waits for a primary
  fork,              // its history is not the one that serves
  horizon,           // it is too old for anybody to tell
  lost_writes,       // it has, or misses, acknowledged writes that the other side …
  second_life,       // another process of the same copy is connected
  went_back,         // it is older than others remember it
  promised,          // a recovery asked it to wait
  suspect,           // its storage was started by force
  // ---- of the arbiter ----
  arbiter_away,
  no_record,      // it keeps none, though this copy belongs to a volume
  older_record,   // it keeps one that is older than this copy knows
  forked_record,  // it keeps one of another history
  other_record,   // of another volume
  two_arbiters,   // that answer in turn
  arbiter_full,   // it cannot write its record: no space, or read-only
  frozen,         // the record went back; the set of members stays as it is until it is put right
  // ---- of the storage ----
  device_failed,
  slow_storage,  // a request waited for longer than congestion_timeout
  no_space,
  read_only_storage,
  damaged_metadata,  // some of the superblock's copies, or of the intent bits, were damaged; mended
  few_intent_bits,   // there was little room: a bit stands for much
  // ---- a primary's, of the volume or of a peer ----
  too_few_copies,  // writes wait
  handing_over,
  no_lease,       // a member's answer is waited for
  unreachable,    // no session with the peer
  left_slow,      // it lagged, or did not answer a question, for longer than congestion_timeout
  left_disk,      // its device failed or is full
  held_back,      // it keeps leaving and returning
  being_copied,   // it is brought up to date
  too_many_lost,  // it cannot be: more blocks are unreadable on all copies than a copy can note
  refuses,        // it takes no session; why stands in `detail`
  other_volume,   // at its address another volume is served
  not_listed,     // a member of the record that this node's file does not list
  files_differ,   // its file says something else
  // ---- of an array below ----
  array_failed,
  array_degraded,
};
inline constexpr std::uint8_t kReasonCount = static_cast<std::uint8_t>(Reason::array_degraded) + 1;

// The code: "no_primary", …
const char* reason_name(Reason reason) noexcept;

struct Finding {
  Reason reason = Reason::starting;
  NodeId node = kNoNode;  // whom it is about, by its place in the configuration; kNoNode: this node
  Nanos since = 0;        // on this node's clock; 0: not known
  Nanos until = 0;        // held_back; 0: not known
  std::string detail;     // for people: what exactly; may be empty
};

}  // namespace resilver::replica
