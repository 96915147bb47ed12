// What all commands of persistent arrays share on the command line: options, help, numbers, exit codes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace resilver::tools {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;    // refused or gone wrong; one line on standard error
inline constexpr int kBadUsage = 2;  // the command line makes no sense
inline constexpr int kInterrupted = 130;

struct OptionSpec {
  const char* name;   // "size", or "help,h" with a short form
  const char* value;  // "SIZE"; null: a switch
  const char* meaning;
  bool many = false;  // takes all words that follow
};

inline constexpr OptionSpec kDryRun = {"dry-run", nullptr, "check everything and say what would be done; write nothing"};

struct CommandSpec {
  const char* name;
  const char* usage;  // "Usage: …" and what it is for
  std::span<const OptionSpec> options;
  const char* examples;  // "Examples:\n…"
};

// A command line that was read.
struct CommandLine {
  std::string command;
  std::vector<std::string> words;
  std::map<std::string, std::vector<std::string>> options;  // those given; a switch has no values

  bool has(const char* name) const { return options.contains(name); }
  std::string text(const char* name) const;  // empty if not given
  // Errors: bad_input, one line that begins with the option.
  Result<std::uint64_t> size_of(const char* name, std::uint64_t otherwise) const;
  Result<std::uint32_t> count_of(const char* name, std::uint32_t otherwise) const;
  Result<std::uint64_t> rate_of(const char* name) const;  // "200M" or "200MiB/s"; 0 if not given
};

// Nothing if there is nothing to do any more: `code` is then the exit code (help was printed, or what is wrong).
std::optional<CommandLine> read_command_line(int argc, char** argv, const CommandSpec& spec, int& code);

// Prints what was done; of a dry run with "would: " before it.
void say(bool dry_run, const std::string& line);

// "its size is 4 MiB, 16 MiB are needed"; in bytes where these would look the same.
std::string too_small_text(std::uint64_t bytes, std::uint64_t needed);

// "resilver NAME: WHY; see resilver NAME --help" on standard error; gives kBadUsage.
int refuse_usage(const std::string& command, const std::string& why);
// "resilver NAME: WHAT" on standard error; gives kFailed.
int refuse(const std::string& command, const Error& error);

}  // namespace resilver::tools
