// From what the observer, the prober and the client saw to the measures of one stretch of the run.
#pragma once

#include <vector>

#include "scenario/observer.h"
#include "scenario/results.h"
#include "scenario/scenario.h"
#include "scenario/timeline.h"

namespace resilver::scenario {

// One stretch, on the clock of the client machine.
struct Window {
  Nanos begin = 0;
  Nanos end = 0;         // of the workload in it
  Nanos repair_end = 0;  // repairs are followed until here
  FleetTotals before;    // at `begin`
  FleetTotals after;     // at `repair_end`
  bool last = true;      // repair_end is the end of the run, not the next event
};

// Redundancy: repair of disks if `of_disks`, else of nodes; exposed times; bytes moved; failovers and scrubs.
void measure_redundancy(const Observer& observer, const Window& window, bool of_disks, WindowResult& result);

// What held the repair of a stretch back, and why it is not over if it is not. `next`: the event that ended the stretch;
// empty: it went on to the end of the run.
void explain_repair(const Observer& observer, const ContenderSpec& contender, const Window& window,
                    const std::string& next, RepairResult& repair);

// Adds `part` (an event's) to the measures of the whole run.
void add_repair(const RepairResult& part, RepairResult& whole);

}  // namespace resilver::scenario
