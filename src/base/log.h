// Messages for people, one line each on standard error. Not for results (standard output) and not for the data path.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

namespace resilver {

enum class LogLevel { quiet, info, debug };  // quiet: errors only

inline constexpr std::size_t kMaxLogLine = 1000;  // bytes; what is longer is cut

// May be called from any thread. Default: info.
void set_log_level(LogLevel level) noexcept;
LogLevel log_level() noexcept;

// Who speaks ("node A"): opens every line. Empty (the default): nothing. Call before there are threads.
void set_log_name(std::string name);

// Writes the line with one write(2), so that lines of several processes do not mix; control characters, which may come
// from a peer or a file, become '?'. Never waits: a line that the reader has no room for (a terminal that is held, a
// pipe that nobody empties) is dropped, and how many were is told with the next one; where it cannot be written at all,
// it is lost silently.
void log_line(std::string_view text) noexcept;

template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_line(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() >= LogLevel::info) log_line(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (log_level() >= LogLevel::debug) log_line(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace resilver
