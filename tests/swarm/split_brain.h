// A split brain, made by force in a random topology and at random moments, and what is promised of one (rule 11): both sides
// stay readable, it is found when they meet, nothing is merged silently, and once somebody has chosen all copies are what
// the side that was kept had.
#pragma once

#include <cstdint>
#include <string>

namespace resilver::swarm {

// Empty if every promise was kept; else what went wrong first. The same seed gives the same run.
std::string complaint_of_split_brain(std::uint64_t seed);

}  // namespace resilver::swarm
