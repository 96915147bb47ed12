// `resilver show`: what a scenario says, in prose.
#pragma once

#include <string>

namespace resilver::scenario {
struct Scenario;
}

namespace resilver::tools {

// argv[0] is the subcommand's name. Returns 0, or 2 after what is wrong on standard error.
int show_main(int argc, char** argv);

// The text that show prints.
std::string scenario_in_prose(const scenario::Scenario& scenario);

}  // namespace resilver::tools
