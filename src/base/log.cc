#include "base/log.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>

namespace resilver {
namespace {

std::atomic<LogLevel> level_now{LogLevel::info};

std::string& prefix() {
  static std::string text;
  return text;
}

// A pipe has room for PIPE_BUF bytes when it says so: more than two lines. A file always has.
bool reader_has_room() noexcept {
  static_assert(2 * (kMaxLogLine + 1) <= PIPE_BUF);
  pollfd reader{STDERR_FILENO, POLLOUT, 0};
  return ::poll(&reader, 1, 0) != 0;
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
  static std::atomic<std::uint64_t> dropped{0};
  if (!reader_has_room()) {
    ++dropped;
    return;
  }
  [[maybe_unused]] ssize_t written = 0;
  if (const std::uint64_t lost = dropped.exchange(0); lost != 0) {
    std::array<char, 64> told;
    const auto end = fmt::format_to_n(told.data(), told.size(), "({} lines were dropped: nobody read them)\n", lost);
    written = ::write(STDERR_FILENO, told.data(), std::min(end.size, told.size()));
  }
  written = ::write(STDERR_FILENO, line.data(), size);
}

}  // namespace resilver
