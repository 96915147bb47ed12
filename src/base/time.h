// Time is integer nanoseconds everywhere, on a clock that a Scheduler gives (monotonic in the real world, virtual in
// the simulator). Only the difference of two readings means anything.
#pragma once

#include <cstdint>
#include <limits>

namespace resilver {

using Nanos = std::int64_t;

inline constexpr Nanos kMicrosecond = 1'000;
inline constexpr Nanos kMillisecond = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;
inline constexpr Nanos kMinute = 60 * kSecond;
inline constexpr Nanos kHour = 60 * kMinute;
inline constexpr Nanos kNever = std::numeric_limits<Nanos>::max();  // a deadline that does not come

}  // namespace resilver
