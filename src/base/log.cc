#include "base/log.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>

namespace resilver {
namespace {

std::atomic<LogLevel> level_now{LogLevel::info};

std::string& prefix() {
  static std::string text;
  return text;
}

}  // namespace

void set_log_level(LogLevel level) noexcept { level_now.store(level, std::memory_order_relaxed); }

LogLevel log_level() noexcept { return level_now.load(std::memory_order_relaxed); }

void set_log_name(std::string name) { prefix() = name.empty() ? std::string() : std::move(name) + ": "; }

void log_line(std::string_view text) noexcept {
  static constexpr std::string_view kCut = " [cut]";
  std::array<char, kMaxLogLine + 1> line;
  std::size_t size = 0;
  const auto append = [&](std::string_view part) {
    const std::size_t n = std::min(part.size(), kMaxLogLine - size);
    std::copy_n(part.begin(), n, line.begin() + static_cast<std::ptrdiff_t>(size));
    size += n;
    return n == part.size();
  };
  if (!append(prefix()) || !append(text)) {
    std::copy(kCut.begin(), kCut.end(), line.begin() + static_cast<std::ptrdiff_t>(kMaxLogLine - kCut.size()));
  }
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  std::replace_if(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(size), is_control, '?');
  line[size++] = '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), size);
}

}  // namespace resilver
