// What replicas exchange to compare blocks without sending them: 16 bytes for each block of 4096.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include "base/endian.h"
#include "base/hash128.h"
#include "env/block_device.h"

namespace resilver::replica {

inline constexpr std::size_t kHashBytes = 16;

// The hash of a block as it travels; never all zeroes, which stands for a block that cannot be read.
inline void put_hash(std::span<const std::byte> block, std::span<std::byte> out, std::size_t index) noexcept {
  Hash128 hash = hash128(block);
  if (hash == Hash128{}) hash.low = 1;
  store_le<std::uint64_t>(out.data() + index * kHashBytes, hash.low);
  store_le<std::uint64_t>(out.data() + index * kHashBytes + 8, hash.high);
}

inline void put_unreadable(std::span<std::byte> out, std::size_t index) noexcept {
  std::memset(out.data() + index * kHashBytes, 0, kHashBytes);
}

inline bool is_zero(std::span<const std::byte> block) noexcept {
  return block.empty() ||
         (block[0] == std::byte{0} && std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0);
}

inline bool is_unreadable(std::span<const std::byte> hashes, std::size_t index) noexcept {
  return is_zero(hashes.subspan(index * kHashBytes, kHashBytes));
}

inline bool same_hash(std::span<const std::byte> block, std::span<const std::byte> hashes, std::size_t index) noexcept {
  std::byte own[kHashBytes];
  put_hash(block, own, 0);
  return std::memcmp(own, hashes.data() + index * kHashBytes, kHashBytes) == 0;
}

}  // namespace resilver::replica
