// `resilver list`: the scenarios that ship, with their titles. Also finds them for the other subcommands.
#pragma once

#include <string>
#include <vector>

namespace resilver::tools {

// argv[0] is the subcommand's name. Returns 0, or 2 after one line on standard error.
int list_main(int argc, char** argv);

// The first that exists of $RESILVER_SCENARIOS, ./scenarios, and what is installed or built beside the program; empty if none.
std::string scenario_directory();

// A path as given if there is such a file, else the shipped scenario of that name ("disk-loss"); else as given.
std::string find_scenario(const std::string& name);

}  // namespace resilver::tools
