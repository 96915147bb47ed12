// Quantities as people write and read them. Parsing is exact integer arithmetic: a value that is not a whole number of
// bytes, nanoseconds or bytes per second is refused, never rounded. One space between number and unit is allowed.
// Every parse error is bad_input and says what was expected and what was found.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"

namespace resilver {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;
inline constexpr std::uint64_t kTiB = 1024 * kGiB;

// "64K", "1GiB", "1.5TiB", "4096" to bytes. Units K, M, G, T, P, with or without "iB", are powers of 1024.
Result<std::uint64_t> parse_size(std::string_view text);

// "5us", "10ms", "1.5s", "2min", "1h" to nanoseconds. A bare number is refused.
Result<Nanos> parse_duration(std::string_view text);

// "50MiB/s" (1024) or "10Gbit/s" (decimal bits: kbit, Mbit, Gbit, Tbit) to bytes per second. A bare number is refused.
Result<std::uint64_t> parse_rate(std::string_view text);

// "300": digits only.
Result<std::uint64_t> parse_count(std::string_view text);

// About three digits, zeros at the end dropped: "0", "512 B", "64 KiB", "1.25 TiB".
std::string format_size(std::uint64_t bytes);

// "0", "800 ns", "2.5 us", "41 ms", "1.06 s", "11 min 30 s", "2 h 5 min"; "never" for kNever.
std::string format_duration(Nanos duration);

// "50 MiB/s"
std::string format_rate(std::uint64_t bytes_per_second);

// "10 Gbit/s", for links.
std::string format_bit_rate(std::uint64_t bytes_per_second);

}  // namespace resilver
