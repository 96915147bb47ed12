#include "report/progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace resilver::report {

std::string format_progress(const Progress& progress) {
  const std::uint64_t tenths = progress.bytes_per_second * 10 / kMiB;
  const std::string rate = tenths == 0 ? std::string() : fmt::format("{}.{} MiB/s", tenths / 10, tenths % 10);
  constexpr Nanos kLongest = 1000 * kHour;
  // Whole seconds: a line that is drawn again and again should not flicker.
  const Nanos seconds = progress.left == kNever ? 0 : (std::min(progress.left, kLongest) + kSecond - 1) / kSecond;
  const std::string left = progress.left == kNever ? std::string() : format_duration(seconds * kSecond) + " left";
  std::string line = fmt::format("{:<10.20} {:<14.20} {:>3} %  {:>13}  {}", progress.contender, progress.phase,
                                 std::min(progress.permille, 1000u) / 10, rate, left);
  line.erase(line.find_last_not_of(' ') + 1);
  return line.substr(0, 79);
}

}  // namespace resilver::report
