// `resilver show`: what a scenario says, in prose.
#pragma once

#include <string>

namespace resilver::scenario {
struct Scenario;
}

namespace resilver::tools {

// The text that show prints.
std::string scenario_in_prose(const scenario::Scenario& scenario);

}  // namespace resilver::tools
