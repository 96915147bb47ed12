// docs/verbs.md and docs/scenario-keys.md, made of the tables that the parser reads (verbs.h, keys.h). `make reference` writes
// them; a test holds what is there against what would be written.
#pragma once

#include <string>

namespace resilver::scenario {

std::string verbs_reference();  // Markdown
std::string keys_reference();

}  // namespace resilver::scenario
