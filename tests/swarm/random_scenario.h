// Random scenarios for the swarm: one contender, a small volume, a random workload and random faults that never exceed what
// the design promises to survive, so that every red run is a bug.
#pragma once

#include <cstdint>

#include "scenario/scenario.h"

namespace resilver::swarm {

// Which contenders may be drawn.
enum class Kind : std::uint8_t { any, local, parity, replicated };

// The same seed gives the same scenario.
scenario::Scenario random_scenario(std::uint64_t seed, Kind kind = Kind::any);

}  // namespace resilver::swarm
