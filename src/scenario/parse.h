// From the text of a scenario (TOML) to a sound Scenario, or to everything that is wrong with it.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scenario/scenario.h"

namespace resilver::scenario {

inline constexpr std::size_t kMaxDiagnostics = 20;  // then it says that there are more
inline constexpr std::size_t kMaxScenarioFileBytes = 1 << 20;

struct Diagnostic {
  std::string where;    // "file:line:column", or "--set key", or "--only"
  std::string message;  // what is wrong and what was expected, one line
};
std::string to_string(const Diagnostic& diagnostic);  // "where: message"

struct ParseOptions {
  bool real = false;                                     // apply [world.real]
  std::vector<std::pair<std::string, std::string>> set;  // dotted key, value; applied after [world.real], before the checks
  std::vector<std::string> only;                         // names of contenders to keep; empty: all
};

using ParseResult = std::expected<Scenario, std::vector<Diagnostic>>;

// Reads `text`; `file` is only for messages and for Scenario::name. Both worlds are checked, whichever is asked for.
// Errors come in the order of the file. Never throws, never aborts, whatever the text is.
ParseResult parse_scenario(std::string_view text, const std::string& file, const ParseOptions& options = {});

// The same from a file.
ParseResult load_scenario(const std::string& path, const ParseOptions& options = {});

}  // namespace resilver::scenario
