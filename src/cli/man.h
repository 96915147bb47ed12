// Man pages in scdoc's language.
#pragma once

#include <string>

#include "cli/spec.h"

namespace resilver::cli {

// resilver.1.scd
std::string man_page(const ProgramSpec& program);
// resilver-COMMAND.1.scd, with its verbs.
std::string man_page(const CommandSpec& command);

}  // namespace resilver::cli
