// Reading a command line by the specs.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cli/spec.h"

namespace resilver::cli {

// What was given to a command.
class CommandLine {
 public:
  CommandLine() = default;
  explicit CommandLine(const CommandSpec& spec) : command(spec.name), spec_(&spec) {}

  std::string command;                                                   // its name
  std::string typed;                                                     // all of it, from the program's name on
  std::vector<std::string> words;                                        // what is no option
  std::map<std::string, std::vector<std::string>, std::less<>> options;  // those given; a switch has no values

  bool has(std::string_view name) const { return options.contains(name); }
  // What was given, else what the spec says, else empty.
  std::string text(std::string_view name) const;
  std::vector<std::string> all(std::string_view name) const;
  // The same as numbers; `otherwise` where neither says anything. Errors: bad_input, one line that begins with the option.
  Result<std::uint64_t> size_of(std::string_view name, std::uint64_t otherwise = 0) const;
  Result<std::uint32_t> count_of(std::string_view name, std::uint32_t otherwise = 0,
                                 std::uint32_t most = std::numeric_limits<std::uint32_t>::max()) const;
  Result<std::uint64_t> rate_of(std::string_view name) const;  // "200M" or "200MiB/s"; 0 if not given

 private:
  const CommandSpec* spec_ = nullptr;
};

// What a command line asks for: a command, or only a text (`command` is null).
struct Request {
  const CommandSpec* command = nullptr;
  CommandLine line;
  std::string text;
};

// `words` follow the program's name. Errors: bad_input, the line to print as it is.
Result<Request> read_request(const ProgramSpec& program, const std::vector<std::string>& words);
// `words` follow the command's name.
Result<Request> read_request(const CommandSpec& command, const std::vector<std::string>& words);

// "resilver NAME: WHY; see resilver NAME --help"
std::string usage_error(std::string_view command, std::string_view why);

}  // namespace resilver::cli
