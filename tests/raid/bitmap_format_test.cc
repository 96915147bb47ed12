#include "raid/bitmap_format.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

namespace resilver::raid {
namespace {

using Header = std::array<std::byte, kBitmapHeaderBytes>;

BitmapHeader sample() {
  BitmapHeader header;
  for (std::size_t i = 0; i < 16; ++i) header.uuid[i] = static_cast<std::uint8_t>(i + 1);
  header.events = 42;
  header.events_cleared = 41;
  header.sync_size_sectors = 1 << 20;
  header.chunk_bytes = 64 << 20;
  header.sectors_reserved = 8;
  return header;
}

Header encode(const BitmapHeader& header) {
  Header bytes;
  bytes.fill(std::byte{0xee});
  encode_bitmap_header(header, bytes);
  return bytes;
}

template <typename T>
std::string refusal_with(std::size_t offset, T value) {
  Header bytes = encode(sample());
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  auto header = decode_bitmap_header(bytes);
  return header ? "accepted" : to_string(header.error());
}

TEST(BitmapFormat, ReadsBackWhatWasWritten) {
  auto back = decode_bitmap_header(encode(sample()));
  ASSERT_TRUE(back.has_value()) << back.error().what;
  EXPECT_EQ(*back, sample());
}

// At the offsets of bitmap_super_t (drivers/md/md-bitmap.h).
TEST(BitmapFormat, LiesOnDiskAsMdWritesIt) {
  const Header bytes = encode(sample());
  EXPECT_EQ(std::memcmp(bytes.data(), "bitm\x04\0\0\0\x01\x02", 10), 0);
  EXPECT_EQ(bytes[24], std::byte{42});
  EXPECT_EQ(bytes[32], std::byte{41});
  EXPECT_EQ(bytes[42], std::byte{0x10});
  EXPECT_EQ(bytes[55], std::byte{0x04});
  EXPECT_EQ(bytes[56], std::byte{5});
  EXPECT_EQ(bytes[64], std::byte{8});
  for (std::size_t at = 68; at < bytes.size(); ++at) EXPECT_EQ(bytes[at], std::byte{0});
}

TEST(BitmapFormat, RefusesCorruptFieldsByName) {
  EXPECT_EQ(refusal_with<std::uint32_t>(0, 0), "bitmap: magic is 0x00000000, not 0x6d746962 (corrupt)");
  EXPECT_EQ(refusal_with<std::uint32_t>(4, 3), "bitmap: version 3 is not 4 (unsupported)");
  EXPECT_EQ(refusal_with<std::uint32_t>(4, 5), "bitmap: version 5 is not 4 (unsupported)");
  EXPECT_EQ(refusal_with<std::uint32_t>(68, 4),
            "bitmap: nodes is 4: clustered bitmaps are not supported (unsupported)");
  for (std::uint32_t chunk : {0u, 2048u, 12288u}) {
    EXPECT_EQ(refusal_with<std::uint32_t>(52, chunk),
              "bitmap: chunksize " + std::to_string(chunk) + " is not a power of two from 4096 (bad input)");
  }
  EXPECT_EQ(refusal_with<std::uint64_t>(40, 0), "bitmap: sync_size 0 is 0 or too large (bad input)");
  EXPECT_EQ(refusal_with<std::uint64_t>(40, ~0ull),
            "bitmap: sync_size 18446744073709551615 is 0 or too large (bad input)");
  EXPECT_EQ(refusal_with<std::uint32_t>(64, 1), "bitmap: sectors_reserved 1 is too little for 4096 bytes (bad input)");
  EXPECT_EQ(refusal_with<std::uint32_t>(64, 0), "accepted");
}

TEST(BitmapFormat, BitsFollowTheHeaderInLittleEndianOrder) {
  std::vector<std::byte> bitmap(8192);
  for (std::uint64_t index : {0ull, 1ull, 9ull, 30719ull, 30720ull, 63487ull}) {
    EXPECT_FALSE(bitmap_bit(bitmap, index));
    set_bitmap_bit(bitmap, index);
    EXPECT_TRUE(bitmap_bit(bitmap, index));
  }
  EXPECT_EQ(bitmap[256], std::byte{3});
  EXPECT_EQ(bitmap[257], std::byte{2});
  EXPECT_EQ(bitmap[4095], std::byte{0x80});
  EXPECT_EQ(bitmap[4096], std::byte{1});
  EXPECT_EQ(bitmap[8191], std::byte{0x80});
  EXPECT_EQ(bitmap_block_of(30719), 0u);
  EXPECT_EQ(bitmap_block_of(30720), 4096u);
  clear_bitmap_bit(bitmap, 1);
  EXPECT_EQ(bitmap[256], std::byte{1});
}

TEST(BitmapFormat, ChoosesTheSmallestChunkWhoseBitsFit) {
  constexpr std::uint64_t kGibSectors = 2 * 1024 * 1024;
  EXPECT_EQ(bitmap_bits(2048, 4096), 256u);
  EXPECT_EQ(bitmap_bits(2049, 4096), 257u);
  EXPECT_EQ(bitmap_bytes(30720), 4096u);
  EXPECT_EQ(bitmap_bytes(30721), 8192u);
  EXPECT_EQ(choose_bitmap_chunk(kGibSectors, 8), 64u << 20);        // mdadm's least choice
  EXPECT_EQ(choose_bitmap_chunk(kGibSectors, 8, 4096), 64u << 10);  // 16384 bits; 32K would need 32768
  EXPECT_EQ(choose_bitmap_chunk(30720 * 8, 8, 4096), 4096u);
  EXPECT_EQ(choose_bitmap_chunk(30720 * 8 + 1, 8, 4096), 8192u);
  for (std::uint64_t gib : {1ull, 100ull, 5000ull}) {
    for (std::uint64_t reserved : {8ull, 128ull, 256ull}) {
      const auto chunk = choose_bitmap_chunk(gib * kGibSectors, reserved, 4096);
      ASSERT_TRUE(chunk.has_value());
      EXPECT_LE(bitmap_bytes(bitmap_bits(gib * kGibSectors, *chunk)), reserved * 512);
    }
  }
  EXPECT_EQ(choose_bitmap_chunk(kGibSectors, 0).error().code, Errc::no_space);
  EXPECT_EQ(choose_bitmap_chunk(1ull << 50, 8).error().code, Errc::no_space);
  EXPECT_EQ(choose_bitmap_chunk(kGibSectors, 8, 5000).error().code, Errc::invalid_argument);
}

}  // namespace
}  // namespace resilver::raid
