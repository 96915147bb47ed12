// What a contender's disks can serve by their model, in integers: how dear a question of the prober may be, and whether the
// load is more than they can do. Rotation of P and Q, merging of writes and caches are left out: an estimate, good to a third.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scenario/scenario.h"

namespace resilver::scenario {

// The time in which one disk serves one request of `bytes`, if requests keep all its channels busy.
Nanos service_time(const DiskSpec& disk, bool write, bool sequential, std::uint64_t bytes);

// I/Os of one node's disks for a small write: 1, a mirror's copies, at most 4 (RAID 4, 5) or 6 (RAID 6); with a journal one
// more.
std::uint32_t ios_per_small_write(const NodeSpec& node);

// How often the prober may ask: a read and a write of 4 KiB every so often cost each contender at most 1 % of what its disks
// serve and its lines between copies carry; at least Prober::kLeastPeriod. The same for all contenders, so that all are seen
// alike.
Nanos probe_period(const Scenario& scenario);

// How long an answer may take before the prober, or the client, has an outage: 25 accesses of a disk, at least 30 ms, and the
// way to the farthest copy and back, behind a request of the client's on each line. A queue of the client that is longer than
// any disk serves leaves such gaps between two answers.
Nanos probe_tolerance(const Scenario& scenario);

// The load in 1/1000 of what the disks of the node that serves can do: above 1000 requests queue for as long as it lasts.
std::uint64_t load_permille(const Scenario& scenario, const ContenderSpec& contender);

// A line for each contender for whom the load is too much.
std::vector<std::string> overload_words(const Scenario& scenario);

}  // namespace resilver::scenario
