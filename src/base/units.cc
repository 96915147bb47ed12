#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <optional>
#include <span>

namespace resilver {
namespace {

using Wide = unsigned __int128;

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::uint64_t kPiB = 1024 * kTiB;
constexpr auto kSizeUnits = std::to_array<Unit>({{"", 1},
                                                 {"K", kKiB},
                                                 {"KiB", kKiB},
                                                 {"M", kMiB},
                                                 {"MiB", kMiB},
                                                 {"G", kGiB},
                                                 {"GiB", kGiB},
                                                 {"T", kTiB},
                                                 {"TiB", kTiB},
                                                 {"P", kPiB},
                                                 {"PiB", kPiB}});
constexpr auto kDurationUnits =
    std::to_array<Unit>({{"us", kMicrosecond}, {"ms", kMillisecond}, {"s", kSecond}, {"min", kMinute}, {"h", kHour}});
constexpr auto kBitRateUnits = std::to_array<Unit>(
    {{"kbit/s", 1'000}, {"Mbit/s", 1'000'000}, {"Gbit/s", 1'000'000'000}, {"Tbit/s", 1'000'000'000'000}});

constexpr std::string_view kSizeHint = "expected a size such as 4096, 64K, 256MiB or 1TiB (powers of 1024)";
constexpr std::string_view kDurationHint = "expected a duration such as 5us, 10ms, 1.5s, 2min or 1h";
constexpr std::string_view kRateHint = "expected a rate such as 50MiB/s or 10Gbit/s";

// mantissa / divisor, and what follows it.
struct Number {
  std::uint64_t mantissa = 0;
  std::uint64_t divisor = 1;
  std::string_view unit;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Nothing if there is no plain decimal number, or one of more than 19 digits (which fit 64 bits).
std::optional<Number> split_number(std::string_view text) {
  Number number;
  std::size_t at = 0, digits = 0;
  bool point = false;
  for (; at < text.size(); ++at) {
    if (text[at] == '.' && !point && digits > 0) {
      point = true;
      continue;
    }
    if (!is_digit(text[at])) break;
    if (++digits > 19) return std::nullopt;
    number.mantissa = number.mantissa * 10 + static_cast<std::uint64_t>(text[at] - '0');
    if (point) number.divisor *= 10;
  }
  if (digits == 0 || text[at - 1] == '.') return std::nullopt;
  if (at + 1 < text.size() && text[at] == ' ') ++at;
  number.unit = text.substr(at);
  return number;
}

// What the user wrote, short and printable, as part of a one-line message.
std::string quoted(std::string_view text) {
  std::string shown(text.substr(0, 40));
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return '"' + shown + (text.size() > 40 ? "...\"" : "\"");
}

std::unexpected<Error> refuse(std::string_view text, std::string_view hint, std::string_view why = {}) {
  return fail(Errc::bad_input, fmt::format("{}, found {}{}{}", hint, quoted(text), why.empty() ? "" : ": ", why));
}

std::optional<std::uint64_t> find_factor(std::span<const Unit> units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.factor;
  }
  return std::nullopt;
}

// number * factor / (its divisor * divisor), if that is whole and at most `limit`.
Result<std::uint64_t> scale(const Number& number, std::uint64_t factor, std::uint64_t divisor, std::uint64_t limit,
                            std::string_view text, std::string_view hint, std::string_view base_unit) {
  const Wide product = Wide{number.mantissa} * factor;
  const Wide by = Wide{number.divisor} * divisor;
  if (product % by != 0) return refuse(text, hint, fmt::format("not a whole number of {}", base_unit));
  if (product / by > limit) return refuse(text, hint, "too large");
  return static_cast<std::uint64_t>(product / by);
}

std::string_view why_no_size_unit(std::string_view unit) {
  if (unit == "B") return "bytes take no unit";
  if (!unit.empty() && std::string_view("kmgtp").find(unit[0]) != std::string_view::npos) {
    return "units are capital letters";
  }
  if (unit.size() == 2 && unit[1] == 'B')
    return "write KiB, MiB, GiB or TiB, which cannot be mistaken for powers of 1000";
  return "the unit is K, M, G, T or P, with or without iB";
}

// value / scale with about three digits: {9.99, 99.9, 999}; zeros after the point dropped.
std::string three_digits(Wide value, Wide scale) {
  const Wide whole = value / scale;
  const int places = whole < 10 ? 2 : whole < 100 ? 1 : 0;
  const std::uint64_t power = places == 2 ? 100 : places == 1 ? 10 : 1;
  const auto rounded = static_cast<std::uint64_t>((value * power + scale / 2) / scale);
  std::string text = fmt::format("{}", rounded / power);
  if (rounded % power == 0) return text;
  text += fmt::format(".{:0{}}", rounded % power, places);
  if (text.back() == '0') text.pop_back();
  return text;
}

// Rounded to a whole number, does value / scale reach `limit`? Then the next larger unit reads better.
bool rounds_to(Wide value, Wide scale, std::uint64_t limit) { return (value + scale / 2) / scale >= limit; }

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  const auto number = split_number(text);
  if (!number) return refuse(text, kSizeHint);
  const auto factor = find_factor(kSizeUnits, number->unit);
  if (!factor) return refuse(text, kSizeHint, why_no_size_unit(number->unit));
  return scale(*number, *factor, 1, std::numeric_limits<std::uint64_t>::max(), text, kSizeHint, "bytes");
}

Result<Nanos> parse_duration(std::string_view text) {
  const auto number = split_number(text);
  if (!number) return refuse(text, kDurationHint);
  const auto factor = find_factor(kDurationUnits, number->unit);
  if (!factor) return refuse(text, kDurationHint, number->unit.empty() ? "the unit is missing" : "unknown unit");
  const auto value =
      scale(*number, *factor, 1, static_cast<std::uint64_t>(kNever - 1), text, kDurationHint, "nanoseconds");
  if (!value) return std::unexpected(value.error());
  return static_cast<Nanos>(*value);
}

Result<std::uint64_t> parse_rate(std::string_view text) {
  constexpr auto kLimit = std::numeric_limits<std::uint64_t>::max();
  const auto number = split_number(text);
  if (!number) return refuse(text, kRateHint);
  std::string_view unit = number->unit;
  if (const auto factor = find_factor(kBitRateUnits, unit)) {
    return scale(*number, *factor, 8, kLimit, text, kRateHint, "bytes per second");
  }
  if (!unit.ends_with("/s"))
    return refuse(text, kRateHint, unit.empty() ? "the unit is missing" : "the unit must end in /s");
  unit.remove_suffix(2);
  const auto factor = unit.empty() ? std::nullopt : find_factor(kSizeUnits, unit);
  if (!factor) return refuse(text, kRateHint, "unknown unit");
  return scale(*number, *factor, 1, kLimit, text, kRateHint, "bytes per second");
}

Result<std::uint64_t> parse_count(std::string_view text) {
  constexpr std::string_view kHint = "expected a count (digits only)";
  Wide value = 0;
  if (text.empty() || text.size() > 20) return refuse(text, kHint);
  for (const char c : text) {
    if (!is_digit(c)) return refuse(text, kHint);
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  if (value > std::numeric_limits<std::uint64_t>::max()) return refuse(text, kHint, "too large");
  return static_cast<std::uint64_t>(value);
}

std::string format_size(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 7> kNames{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes == 0) return "0";
  std::size_t unit = 0;
  Wide scale = 1;
  while (unit + 1 < kNames.size() && rounds_to(bytes, scale, 1024)) {
    scale *= 1024;
    ++unit;
  }
  return fmt::format("{} {}", three_digits(bytes, scale), kNames[unit]);
}

std::string format_duration(Nanos duration) {
  if (duration == kNever) return "never";
  if (duration == 0) return "0";
  const bool negative = duration < 0;
  const Wide value = negative ? -static_cast<Wide>(duration) : static_cast<Wide>(duration);
  const char* sign = negative ? "-" : "";
  if (!rounds_to(value, 1, 1000)) return fmt::format("{}{} ns", sign, static_cast<std::uint64_t>(value));
  if (!rounds_to(value, kMicrosecond, 1000)) return fmt::format("{}{} us", sign, three_digits(value, kMicrosecond));
  if (!rounds_to(value, kMillisecond, 1000)) return fmt::format("{}{} ms", sign, three_digits(value, kMillisecond));
  // From 10 s on three_digits shows tenths: 59.95 s reads as a minute.
  if (!rounds_to(value, kSecond / 10, 600)) return fmt::format("{}{} s", sign, three_digits(value, kSecond));
  const auto seconds = static_cast<std::uint64_t>((value + kSecond / 2) / kSecond);
  const auto two = [&](std::uint64_t major, const char* name, std::uint64_t minor, const char* minor_name) {
    if (minor == 0) return fmt::format("{}{} {}", sign, major, name);
    return fmt::format("{}{} {} {} {}", sign, major, name, minor, minor_name);
  };
  if (seconds < 3600) return two(seconds / 60, "min", seconds % 60, "s");
  const std::uint64_t minutes = (seconds + 30) / 60;
  return two(minutes / 60, "h", minutes % 60, "min");
}

std::string format_rate(std::uint64_t bytes_per_second) {
  return bytes_per_second == 0 ? "0" : format_size(bytes_per_second) + "/s";
}

std::string format_bit_rate(std::uint64_t bytes_per_second) {
  static constexpr std::array<std::string_view, 7> kNames{"bit/s",  "kbit/s", "Mbit/s", "Gbit/s",
                                                          "Tbit/s", "Pbit/s", "Ebit/s"};
  if (bytes_per_second == 0) return "0";
  const Wide bits = Wide{bytes_per_second} * 8;
  std::size_t unit = 0;
  Wide scale = 1;
  while (unit + 1 < kNames.size() && rounds_to(bits, scale, 1000)) {
    scale *= 1000;
    ++unit;
  }
  return fmt::format("{} {}", three_digits(bits, scale), kNames[unit]);
}

}  // namespace resilver
