// The closing sentences of a report: "LOCAL REBUILD OR REMOTE FAILOVER?", told by comparing the best contender that repairs
// inside one node, the best that replicates whole nodes, and the best that does both, event by event. Every clause comes from
// a comparison of measures; where the numbers turn out the other way, so do the words.
#pragma once

#include <string>
#include <vector>

#include "scenario/results.h"

namespace resilver::report {

enum class Kind : std::uint8_t { bare, local, remote, both };  // bare: no redundancy at all

Kind kind_of(const scenario::ContenderResult& contender);

// The load is more than its disks can serve by their model: its times tell of a queue, too.
bool overloaded(const scenario::ContenderResult& contender);

// An outage no longer than this is within what the prober can tell from none.
inline constexpr Nanos kNoOutage = 20 * kMillisecond;

// True if `value` is better than `other` by more than 10 %; of times below kNoOutage apart nobody leads.
bool leads(double value, double other);

// Names of all events, in the order of the file; also if a contender broke off and knows none.
std::vector<std::string> event_names(const scenario::RunResults& results);

struct Sentence {
  std::string about;  // "disk dies", "both matter", "raid0"
  std::string text;
};
std::vector<Sentence> closing_sentences(const scenario::RunResults& results);

}  // namespace resilver::report
