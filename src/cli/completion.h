// What completes a command line in a shell: subcommands, verbs, options, and values where the spec says what they are.
#pragma once

#include <string>

#include "cli/spec.h"

namespace resilver::cli {

// A script for bash to source; needs nothing else.
std::string bash_completion(const ProgramSpec& program);
// A function for zsh's completion system, to lie in its function path as _resilver.
std::string zsh_completion(const ProgramSpec& program);

}  // namespace resilver::cli
