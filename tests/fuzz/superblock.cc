// Superblocks from anywhere: what is accepted can be written, and reads back as the same; its shape can be asked for.
#include <vector>

#include "raid/superblock.h"
#include "tests/fuzz/fuzz.h"

using namespace resilver::raid;

namespace {

constexpr std::uint64_t kDeviceSectors = 1u << 21;

// What is written fills whole sectors with spare roles.
Superblock padded(Superblock superblock, std::size_t roles) {
  superblock.roles.resize(std::max(superblock.roles.size(), roles), kRoleSpare);
  return superblock;
}

void check(const Superblock& superblock) {
  const auto written = encode_superblock(superblock);
  FUZZ_ASSERT(written.has_value());
  const auto again = decode_superblock(*written, kDeviceSectors);
  FUZZ_ASSERT(again.has_value());
  FUZZ_ASSERT(*again == padded(superblock, again->roles.size()));
  FUZZ_ASSERT(encode_superblock(*again) == *written);
  const auto shape = geometry_of(superblock);
  FUZZ_ASSERT(shape.has_value());
  const std::uint64_t last = shape->capacity_bytes() - 1;
  const Location where = shape->map(last);
  FUZZ_ASSERT(shape->logical_at(where.member, where.member_offset) == last);
  FUZZ_ASSERT(superblock.data_offset_sectors + superblock.data_size_sectors <= kDeviceSectors);
}

}  // namespace

// The checksum hides everything behind it from a blind search: each input is tried as it is and sealed.
FUZZ_TARGET(data) {
  auto block = padded_input<kSuperblockBytes>(data, std::byte{0});
  for (const MetadataPlace& place : other_metadata(kDeviceSectors)) {
    holds_metadata(std::span<const std::byte>(block).first<512>(), place);
    belongs_to_partition(block, place);
    const auto other = decode_superblock(block, kDeviceSectors, place);
    FUZZ_ASSERT(!other || geometry_of(*other).has_value());
    FUZZ_ASSERT(!other || !encode_superblock(*other).has_value());
  }
  if (const auto superblock = decode_superblock(block, kDeviceSectors)) check(*superblock);
  const auto roles = load_at<std::uint32_t>(block, 220) % (kMaxDevs + 1);
  store_at<std::uint32_t>(block, 220, roles);
  store_at<std::uint32_t>(block, 216, superblock_checksum(std::span(block).first(256 + 2 * roles)));
  if (const auto superblock = decode_superblock(block, kDeviceSectors)) check(*superblock);
}
