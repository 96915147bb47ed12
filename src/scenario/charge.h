// Whose doing was it? The one rule by which outages, stalls, errors, failovers, repairs and mismatches are charged to events,
// for every contender alike:
//
//   Trouble that began at T is charged to the latest event that was applied by T (with the resolution of who saw it) and is
//   still going on then; if none is, to the latest that was applied by T; if there was none yet, to nobody. Of events at one
//   instant (kOneInstant) it is the first in the order of the file. The others are named beside it.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "scenario/observer.h"
#include "scenario/results.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

// Applications so close together count as at one instant: nobody here can tell what either of them did.
inline constexpr Nanos kOneInstant = kSampleInterval;

// An applied event, on the clock of the client machine, with what decides how long it goes on.
struct AppliedEvent {
  std::size_t index = 0;  // in the file
  Nanos at = 0;
  bool lasts = false;                 // a verb whose effect goes on until something ends it
  bool ends = false;                  // `for` or `until` ends it
  std::optional<Nanos> cleared = {};  // when it was ended, the last time
  bool of_redundancy = false;         // its verb takes a disk or a node away, or gives one back
  bool of_disks = false;              // its verb is about disks
};

// The window of an event: [begin, end).
struct Span {
  std::size_t index = 0;
  Nanos begin = 0;
  Nanos end = 0;
};

// The first time in [from, end) at which redundancy is full (or, with `full` false, is not); `end` if there is none.
Nanos first_time(const std::vector<FleetState>& changes, Nanos from, Nanos end, bool full);

// `start`: of the run on that clock. An event that is repeated (`every`) is one, from its first application to its last end.
AppliedEvent applied_event(std::size_t index, const Event& spec, const EventResult& result, Nanos start);

// The windows of `events` (in the order of the file), which may overlap: from the application until the event was ended and
// redundancy is full again, at most until `end`. If nothing ends it: a slow disk, a bad link, a clock or a frozen node goes
// on to the end; a disk or a node that was lost or came back is over when redundancy, not full at some time after, is full
// again; an act (link.reset, volume.promote, a scrub) when it is so, or when the next event is applied. A later loss of
// redundancy that is charged to an event (a failover when a freeze is over) prolongs its window until that is repaired.
std::vector<Span> spans_of(const std::vector<AppliedEvent>& events, const std::vector<FleetState>& changes, Nanos end);

struct Charge {
  std::optional<std::size_t> event;  // its index in the file
  std::vector<std::size_t> mates;    // others at the same instant
};
Charge charge(const std::vector<Span>& spans, Nanos began, Nanos resolution);

// When redundancy became worse than just before: no longer full, or one node or one disk fewer to lose.
std::vector<Nanos> losses_of_redundancy(const std::vector<FleetState>& changes, Nanos from, Nanos to);

}  // namespace resilver::scenario
