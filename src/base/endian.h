// Little-endian fields in disk and wire formats, at any alignment. No bounds are checked: callers decode fixed layouts
// whose size they have checked once, at the door.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <type_traits>

namespace resilver {

// Reads sizeof(T) bytes at `from`.
template <std::integral T>
constexpr T load_le(const std::byte* from) noexcept {
  if consteval {
    std::make_unsigned_t<T> value = 0;
    for (std::size_t i = sizeof(T); i-- > 0;)
      value = static_cast<decltype(value)>((value << 8) | std::to_integer<T>(from[i]));
    return static_cast<T>(value);
  }
  T value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (std::endian::native == std::endian::big) value = std::byteswap(value);
  return value;
}

// Writes sizeof(T) bytes at `to`.
template <std::integral T>
constexpr void store_le(std::byte* to, T value) noexcept {
  if consteval {
    auto rest = static_cast<std::make_unsigned_t<T>>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      to[i] = static_cast<std::byte>(rest & 0xff);
      if constexpr (sizeof(T) > 1) rest >>= 8;
    }
    return;
  }
  if constexpr (std::endian::native == std::endian::big) value = std::byteswap(value);
  std::memcpy(to, &value, sizeof value);
}

}  // namespace resilver
