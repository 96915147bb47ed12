// Random scenarios for the swarm: one contender, a small volume, a random workload and random faults that never exceed what
// the design promises to survive, so that every red run is a bug.
#pragma once

#include <cstdint>
#include <string_view>

#include "scenario/scenario.h"

namespace resilver::swarm {

// What may be drawn. split_brain: replicas, whose faults split_brain.h plays.
enum class Kind : std::uint8_t { any, local, parity, replicated, split_brain };

const char* kind_name(Kind kind);
Kind kind_from_name(std::string_view name);  // CHECKed: one of the names

// The same seed gives the same scenario.
scenario::Scenario random_scenario(std::uint64_t seed, Kind kind = Kind::any);

}  // namespace resilver::swarm
