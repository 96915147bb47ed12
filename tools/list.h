// Finding the scenarios that ship.
#pragma once

#include <string>

namespace resilver::tools {

// $RESILVER_SCENARIOS, else the first that holds any of ./scenarios and what is installed or built beside the program; empty
// if none does.
std::string scenario_directory();

// A path as given if there is such a file, else the shipped scenario of that name ("disk-loss"); else as given.
std::string find_scenario(const std::string& name);

}  // namespace resilver::tools
