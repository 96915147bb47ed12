// What can never be in results, whatever happened: times that are negative or longer than the run, sums that
// do not add up, an event that is charged to one that does not know it.
#pragma once

#include <string>

#include "scenario/results.h"

namespace resilver::swarm {

// Empty, or the first contradiction.
std::string contradiction_in(const scenario::ContenderResult& contender);

}  // namespace resilver::swarm
