// endian, crc32c, hash.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <set>
#include <string_view>
#include <vector>

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/hash.h"
#include "base/random.h"

namespace resilver {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

constexpr bool constant_round_trip() {
  std::array<std::byte, 9> buffer{};
  store_le<std::uint64_t>(buffer.data() + 1, 0x0102030405060708ull);
  store_le<std::int16_t>(buffer.data() + 3, -2);
  return buffer[1] == std::byte{8} && buffer[3] == std::byte{0xfe} && load_le<std::int16_t>(buffer.data() + 3) == -2 &&
         load_le<std::uint16_t>(buffer.data() + 1) == 0x0708 && load_le<std::uint8_t>(buffer.data() + 8) == 1;
}
static_assert(constant_round_trip());

TEST(Endian, FieldsAreLittleEndianAtAnyAlignment) {
  std::array<std::byte, 16> buffer{};
  for (std::size_t at = 0; at < 8; ++at) {
    store_le<std::uint64_t>(buffer.data() + at, 0x0102030405060708ull);
    EXPECT_EQ(buffer[at], std::byte{8});
    EXPECT_EQ(buffer[at + 7], std::byte{1});
    EXPECT_EQ(load_le<std::uint64_t>(buffer.data() + at), 0x0102030405060708ull);
    EXPECT_EQ(load_le<std::uint32_t>(buffer.data() + at), 0x05060708u);
  }
  store_le<std::int32_t>(buffer.data() + 3, -5);
  EXPECT_EQ(load_le<std::int32_t>(buffer.data() + 3), -5);
}

TEST(Crc32c, GivesThePublishedValues) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c({}), 0u);
  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0})), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0xff})), 0x62a8ab43u);
}

// Bit by bit, as the standard defines it.
std::uint32_t slow_crc32c(std::span<const std::byte> data, std::uint32_t seed) {
  std::uint32_t crc = ~seed;
  for (const std::byte byte : data) {
    crc ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
  }
  return ~crc;
}

TEST(Crc32c, IsThatOfTheDefinitionAtEveryLength) {
  Random random(1);
  std::vector<std::byte> data(20'000);
  for (auto& byte : data) byte = static_cast<std::byte>(random.below(256));
  std::vector<std::size_t> sizes(300);
  std::iota(sizes.begin(), sizes.end(), std::size_t{0});
  sizes.insert(sizes.end(), {4095, 4096, 4097, 8160, 9001, 16'384});
  for (const std::size_t size : sizes) {
    const auto part = std::span(data).subspan(random.below(900), size);
    const auto seed = static_cast<std::uint32_t>(random.next());
    ASSERT_EQ(crc32c(part, seed), slow_crc32c(part, seed)) << size;
  }
}

TEST(Crc32c, ASeedContinues) {
  const auto whole = bytes_of("a checksum over two pieces");
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    EXPECT_EQ(crc32c(whole.subspan(cut), crc32c(whole.first(cut))), crc32c(whole));
  }
}

TEST(Hash64, IsTheSameOnEveryBuild) {
  Hash64 hash;
  hash.add(1);
  hash.add(2);
  hash.add_bytes(bytes_of("redundancy is not a backup"));
  EXPECT_EQ(hash.value(), 0xf5ea0c6baabd4315ull);
}

TEST(Hash64, OrderZerosAndBoundariesCount) {
  const auto of = [](std::initializer_list<std::uint64_t> values) {
    Hash64 hash;
    for (const auto value : values) hash.add(value);
    return hash.value();
  };
  const auto of_bytes = [](std::initializer_list<std::string_view> parts) {
    Hash64 hash;
    for (const auto part : parts) hash.add_bytes(bytes_of(part));
    return hash.value();
  };
  const std::set<std::uint64_t> different{of({}),
                                          of({0}),
                                          of({0, 0}),
                                          of({1, 2}),
                                          of({2, 1}),
                                          of({1}),
                                          of_bytes({"ab"}),
                                          of_bytes({"a", "b"}),
                                          of_bytes({"b"}),
                                          Hash64(1).value(),
                                          of_bytes({"12345678"}),
                                          of_bytes({"123456789"})};
  EXPECT_EQ(different.size(), 12u);
}

TEST(Hash64, OneBitChangesAboutHalfOfTheResult) {
  for (int bit = 0; bit < 64; ++bit) {
    Hash64 a, b;
    a.add(0x1234);
    b.add(0x1234 ^ (1ull << bit));
    for (int i = 0; i < 3; ++i) a.add(7), b.add(7);
    const int changed = std::popcount(a.value() ^ b.value());
    EXPECT_GT(changed, 12) << bit;
    EXPECT_LT(changed, 52) << bit;
  }
}

}  // namespace
}  // namespace resilver
