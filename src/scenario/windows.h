// The story of one contender: from what observer, prober and client saw to the measures of each event and of the whole run.
// Pure: all of it is decided by times.
//
// Windows are those of charge.h; they are intervals and may overlap. What is a state or a flow is measured over an event's
// window: latencies, time exposed, bytes moved by repairs. What begins at a moment is charged to one event, by the one rule
// of charge.h: outages of prober and client, stalls, errors, failovers, losses of redundancy, mismatches, unreadable parts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "scenario/charge.h"
#include "scenario/course.h"
#include "scenario/observer.h"
#include "scenario/results.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

// What was seen of one contender; times on the clock of the client machine.
struct Evidence {
  Nanos start = 0;
  Nanos measured_from = 0;  // the end of the warm-up
  Nanos load_end = 0;
  Nanos settle_end = 0;                                // of all observation
  std::vector<AppliedEvent> events;                    // in the order of the file
  std::vector<FleetState> changes;                     // of the fleet
  std::vector<Stretch> outages;                        // of the prober
  Nanos resolution = 0;                                // of the prober
  bool nothing_under_way = false;                      // at the end: no repair ran, no event had an end to come
  std::string why_not_full;                            // at the end; empty: it is
  std::function<std::uint64_t(Nanos)> restored_until;  // bytes that repairs had put back by then; empty: none
  std::function<std::string(Nanos, Nanos)> limited_by;  // what held back an array's repair in a stretch; empty: not known
};

// Fills the window, `charged_with` and `others` of each applied event, and the whole run's.
void tell_story(const Evidence& evidence, const Course& course, std::vector<EventResult>& events, WindowResult& whole);

// Why redundancy is not full now, in words.
std::string why_not_full(const Observer& observer, const ContenderSpec& contender);

}  // namespace resilver::scenario
