// Test-only: deliberately broken behaviour, to prove that the swarm finds what it must find. One bug at a time, off
// unless a test turns it on; no option of the program reaches it.
#pragma once

#include <cstdint>

namespace resilver {

enum class PlantedBug : std::uint8_t {
  none,
  no_range_lock,                // raid: overlapping reads and writes are not ordered
  parity_not_updated_degraded,  // raid: a degraded write skips the parity of the lost chunk
  bitmap_cleared_early,         // raid and replica: an intent bit is cleared before everybody is durable
  member_not_marked_faulty,     // raid: a write is acknowledged before the failed member is durably excluded
  ack_before_durable,           // replica: a write is acknowledged before the secondaries are durable
  no_fencing,                   // replica: an old epoch is obeyed
  lease_ignored,                // replica: a primary serves without its lease
  reconciliation_skipped,       // replica: a promoted primary does not settle the last writes
  inconsistent_promoted,        // replica: a half-copied node may become primary
  checksum_skips_a_block,       // replica: a comparison by checksum leaves a block out
  quorum_promotes_the_shorter,  // replica: under quorum the member with less is promoted
  ack_counts_the_unsynced,      // replica: a joiner counts for the quorum
  joiner_not_waited_for,        // replica: writes are acknowledged before a streaming joiner has them
  read_not_ordered,             // replica: neither client nor primary orders a read after a write in flight
  older_record_obeyed,          // replica: a record of the arbiter is obeyed though it is an ancestor of what is known
  fork_obeyed,                  // replica: ... or of another history, and overwritten by it
  only_members_asked,           // replica: a candidate asks those alone that the record names
  veto_ignored,                 // replica: ... and does not listen to one that knows a newer record
  marks_ignored,                // replica: a copy that went back is taken for what it was
  loss_ignored,                 // replica: ... and so is a proof that acknowledged writes are missing
  bits_dropped_unprepared,      // replica: intent bits go before every copy has noted that
  second_life_accepted,         // replica: two processes of one copy are one
  reinstalled_without_leases,   // replica: a primary puts its record back though a member may have been promoted
  old_attachment_served,        // replica: an attachment is served although a newer one was let in
};

inline PlantedBug planted_bug_now = PlantedBug::none;

inline bool planted(PlantedBug bug) noexcept { return planted_bug_now == bug; }

}  // namespace resilver
