// A random 128-bit name of something that must never be taken for something else: a volume, a copy of it, an arbiter's record.
// Two that were drawn are the same by accident once in 2^128.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/random.h"

namespace resilver {

struct Id128 {
  std::uint64_t high = 0, low = 0;  // both 0: none

  bool none() const noexcept { return high == 0 && low == 0; }
  auto operator<=>(const Id128&) const = default;

  static Id128 draw(Random& random) noexcept { return {random.next(), random.next() | 1}; }
};

// 32 hexadecimal digits, the high ones first.
std::string to_string(const Id128& id);
// The first 8 of them, for messages.
std::string short_text(const Id128& id);
// Nothing if `text` is not 32 hexadecimal digits, or all of them zero.
std::optional<Id128> id128_from(std::string_view text) noexcept;

}  // namespace resilver
