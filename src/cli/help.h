// Help as a terminal shows it.
#pragma once

#include <string>

#include "cli/spec.h"

namespace resilver::cli {

// What `--help` prints.
std::string help_text(const ProgramSpec& program);
std::string help_text(const CommandSpec& command);

}  // namespace resilver::cli
