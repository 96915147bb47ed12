// What no single key can tell: names used twice, impossible arrays, volumes that do not fit, targets that nobody has,
// triggers that can never fire, expectations on what is not measured.
#pragma once

#include <functional>
#include <string>

#include "scenario/scenario.h"

namespace resilver::scenario {

using Complain = std::function<void(Position, std::string)>;

// Calls `complain` for everything that is unsound. A Scenario without complaints can be built and run.
void validate(const Scenario& scenario, const Complain& complain);

}  // namespace resilver::scenario
