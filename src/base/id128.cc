#include "base/id128.h"

#include <fmt/format.h>

#include <charconv>

namespace resilver {

std::string to_string(const Id128& id) { return fmt::format("{:016x}{:016x}", id.high, id.low); }

std::string short_text(const Id128& id) { return fmt::format("{:08x}", id.high >> 32); }

std::optional<Id128> id128_from(std::string_view text) noexcept {
  Id128 id;
  if (text.size() != 32) return std::nullopt;
  for (auto [part, from] : {std::pair(&id.high, 0u), std::pair(&id.low, 16u)}) {
    const char* const begin = text.data() + from;
    const auto [end, error] = std::from_chars(begin, begin + 16, *part, 16);
    if (error != std::errc() || end != begin + 16) return std::nullopt;
  }
  return id.none() ? std::nullopt : std::optional(id);
}

}  // namespace resilver
