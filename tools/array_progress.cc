#include "tools/array_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "report/progress.h"

namespace resilver::tools {

ProgressLine::ProgressLine(std::string label, std::string phase)
    : label_(std::move(label)), phase_(std::move(phase)), terminal_(isatty(STDERR_FILENO) != 0) {}

void ProgressLine::show(std::uint64_t done, std::uint64_t total, std::uint64_t bytes_per_second, std::string_view limit) {
  if (!terminal_) return;
  const std::uint64_t left = total - std::min(done, total);
  const auto permille = static_cast<std::uint32_t>(total == 0 ? 0 : static_cast<double>(done) * 1000 / total);
  const Nanos wait =
      bytes_per_second == 0
          ? kNever
          : static_cast<Nanos>(static_cast<double>(left) / static_cast<double>(bytes_per_second) * kSecond);
  std::string line = report::format_progress({label_, phase_, permille, bytes_per_second, wait});
  if (!limit.empty()) line += fmt::format(" ({})", limit);
  fmt::print(stderr, "\r{:<79.79}", line);
  std::fflush(stderr);
  open_ = true;
}

void ProgressLine::end() {
  if (open_) fmt::print(stderr, "\r{:<79}\r", "");  // what remains is one summary line
  open_ = false;
}

std::uint64_t Rate::of(std::uint64_t bytes, Nanos now) const noexcept {
  const Nanos passed = std::max<Nanos>(now - begin_, kMillisecond);
  return static_cast<std::uint64_t>(static_cast<double>(bytes) * static_cast<double>(kSecond) /
                                    static_cast<double>(passed));
}

}  // namespace resilver::tools
