#include "replica/reason.h"

namespace resilver::replica {

const char* reason_name(Reason reason) noexcept {
  switch (reason) {
    case Reason::starting: return "starting";
    case Reason::no_primary: return "no_primary";
    case Reason::waits_for_copies: return "waits_for_copies";
    case Reason::newer_elsewhere: return "newer_elsewhere";
    case Reason::new_copy: return "new_copy";
    case Reason::half_copied: return "half_copied";
    case Reason::fork: return "fork";
    case Reason::horizon: return "horizon";
    case Reason::lost_writes: return "lost_writes";
    case Reason::went_back: return "went_back";
    case Reason::second_life: return "second_life";
    case Reason::promised: return "promised";
    case Reason::suspect: return "suspect";
    case Reason::arbiter_away: return "arbiter_away";
    case Reason::no_record: return "no_record";
    case Reason::older_record: return "older_record";
    case Reason::forked_record: return "forked_record";
    case Reason::other_record: return "other_record";
    case Reason::two_arbiters: return "two_arbiters";
    case Reason::arbiter_full: return "arbiter_full";
    case Reason::frozen: return "frozen";
    case Reason::device_failed: return "device_failed";
    case Reason::slow_storage: return "slow_storage";
    case Reason::no_space: return "no_space";
    case Reason::read_only_storage: return "read_only_storage";
    case Reason::damaged_metadata: return "damaged_metadata";
    case Reason::few_intent_bits: return "few_intent_bits";
    case Reason::too_few_copies: return "too_few_copies";
    case Reason::handing_over: return "handing_over";
    case Reason::no_lease: return "no_lease";
    case Reason::unreachable: return "unreachable";
    case Reason::left_slow: return "left_slow";
    case Reason::left_disk: return "left_disk";
    case Reason::held_back: return "held_back";
    case Reason::being_copied: return "being_copied";
    case Reason::too_many_lost: return "too_many_lost";
    case Reason::refuses: return "refuses";
    case Reason::other_volume: return "other_volume";
    case Reason::not_listed: return "not_listed";
    case Reason::files_differ: return "files_differ";
    case Reason::array_failed: return "array_failed";
    case Reason::array_degraded: return "array_degraded";
  }
  return "?";
}

}  // namespace resilver::replica
