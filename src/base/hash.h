// A running 64-bit hash for traces: did two runs do the same things in the same order? Not cryptographic: no defence
// against someone who wants a collision, and no checksum for data on disk.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/endian.h"
#include "base/random.h"

namespace resilver {

// The order of adds counts, and so do the boundaries of add_bytes; the result is the same on every build and machine.
class Hash64 {
 public:
  constexpr Hash64() noexcept = default;
  constexpr explicit Hash64(std::uint64_t seed) noexcept : state_(seed ^ kStart) {}

  // Every step is a bijection of the state, so a difference once made never fades by itself.
  constexpr void add(std::uint64_t value) noexcept {
    state_ = std::rotl(state_ ^ (value * 0x9e3779b97f4a7c15ull), 31) * 0xbf58476d1ce4e5b9ull + 0x94d049bb133111ebull;
  }

  constexpr void add_bytes(std::span<const std::byte> bytes) noexcept {
    add(bytes.size());
    while (bytes.size() >= 8) {
      add(load_le<std::uint64_t>(bytes.data()));
      bytes = bytes.subspan(8);
    }
    if (bytes.empty()) return;
    std::uint64_t last = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) last = (last << 8) | std::to_integer<std::uint64_t>(bytes[i]);
    add(last);
  }

  // The hash of all added so far; adding may go on.
  constexpr std::uint64_t value() const noexcept {
    std::uint64_t state = state_;
    return splitmix64(state);
  }

 private:
  static constexpr std::uint64_t kStart = 0x243f6a8885a308d3ull;
  std::uint64_t state_ = kStart;
};

}  // namespace resilver
