// What all commands share: how they refuse and what their exit codes mean.
#pragma once

#include <string>

#include "base/error.h"
#include "cli/command_line.h"

namespace resilver::tools {

using cli::CommandLine;
using cli::CommandSpec;
using cli::OptionSpec;

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;    // refused or gone wrong; one line on standard error
inline constexpr int kBadUsage = 2;  // the command line makes no sense
inline constexpr int kInterrupted = 130;

inline constexpr OptionSpec kDryRun = {"dry-run", nullptr, "check everything and say what would be done; write nothing"};
inline constexpr OptionSpec kConfigOption = {"config", "FILE", "the volume's configuration"};

// Prints what was done; of a dry run with "would: " before it.
void say(bool dry_run, const std::string& line);

// "its size is 4 MiB, 16 MiB are needed"; in bytes where these would look the same.
std::string too_small_text(std::uint64_t bytes, std::uint64_t needed);

// "resilver NAME: WHY; see resilver NAME --help" on standard error; gives kBadUsage.
int refuse_usage(const std::string& command, const std::string& why);
// "resilver NAME: WHAT" on standard error; gives `code`.
int refuse(const std::string& command, const Error& error, int code = kFailed);

}  // namespace resilver::tools
