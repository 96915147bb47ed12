// One seed of the swarm, run and judged.
#pragma once

#include <cstdint>
#include <string>

#include "tests/swarm/random_scenario.h"

namespace resilver::swarm {

// Empty if the run kept every promise; else what went wrong first.
std::string complaint_of(std::uint64_t seed, Kind kind);

// What the seed draws, in prose.
std::string story(std::uint64_t seed, Kind kind);

}  // namespace resilver::swarm
