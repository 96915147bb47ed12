// A 128-bit hash of bytes, for comparing blocks that lie on different machines: XXH3 (Y. Collet, xxhash 0.8), the same on
// every build and machine. Two different blocks have the same hash by accident once in 2^128; it is no defence against
// someone who wants a collision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace resilver {

struct Hash128 {
  std::uint64_t low = 0, high = 0;
  bool operator==(const Hash128&) const = default;
};

Hash128 hash128(std::span<const std::byte> bytes) noexcept;

}  // namespace resilver
