#include "tools/command.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/units.h"
#include "env/block_device.h"

namespace resilver::tools {

void say(bool dry_run, const std::string& line) { fmt::print("{}{}\n", dry_run ? "would: " : "", line); }

std::string too_small_text(std::uint64_t bytes, std::uint64_t needed) {
  const std::string is = format_size(bytes), wanted = format_size(needed);
  if (is != wanted) return fmt::format("its size is {}, {} ({} bytes) are needed", is, wanted, needed);
  return fmt::format("its size is {} bytes, {} are needed: {} bytes ({} sectors) too few", bytes, needed,
                     needed - bytes, (needed - bytes + kSectorBytes - 1) / kSectorBytes);
}

int refuse_usage(const std::string& command, const std::string& why) {
  fmt::print(stderr, "{}\n", cli::usage_error(command, why));
  return kBadUsage;
}

int refuse(const std::string& command, const Error& error, int code) {
  fmt::print(stderr, "resilver {}: {}\n", command, error.what.empty() ? to_string(error) : error.what);
  return code;
}

}  // namespace resilver::tools
