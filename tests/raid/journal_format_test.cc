// The journal's records: what decodes encodes to the same bytes, and what is not a record is refused by name.
#include "raid/journal_format.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/endian.h"
#include "base/random.h"

namespace resilver::raid {
namespace {

using Block = std::array<std::byte, kJournalBlockBytes>;
constexpr std::uint32_t kSeed = 0x1234abcd;

JournalMeta example() {
  JournalMeta meta;
  meta.seq = 77;
  meta.position_sectors = 4096;
  meta.payloads.push_back({PayloadType::data, 8000, 1, {0xdeadbeef, 0}, {}});
  meta.payloads.push_back({PayloadType::parity, 1600, 2, {1, 2}, {}});
  meta.payloads.push_back({PayloadType::parity, 1608, 1, {3, 0}, {}});
  meta.payloads.push_back({PayloadType::flush, 0, 0, {}, {8, 16, 4096}});
  return meta;
}

Block encoded(const JournalMeta& meta) {
  Block block;
  encode_journal_meta(meta, kSeed, block);
  return block;
}

// Changes a field and makes the checksum right again.
std::string refusal(std::size_t at, std::uint32_t value) {
  Block block = encoded(example());
  store_le<std::uint32_t>(&block[at], value);
  store_le<std::uint32_t>(&block[4], 0);
  store_le<std::uint32_t>(&block[4], journal_checksum(kSeed, block));
  const auto meta = decode_journal_meta(block, kSeed);
  return meta ? "accepted" : meta.error().what;
}

TEST(JournalFormat, WhatIsEncodedDecodesToTheSame) {
  const auto meta = decode_journal_meta(encoded(example()), kSeed);
  ASSERT_TRUE(meta.has_value());
  EXPECT_EQ(*meta, example());
  EXPECT_EQ(meta->sectors(), 5 * kJournalBlockSectors);  // the meta block, one data page, P and Q, P
}

TEST(JournalFormat, FieldsLieWhereTheKernelPutsThem) {
  const Block block = encoded(example());
  EXPECT_EQ(load_le<std::uint32_t>(&block[0]), 0x6433c509u);
  EXPECT_EQ(load_le<std::uint8_t>(&block[8]), 1);
  EXPECT_EQ(load_le<std::uint32_t>(&block[12]), 32u + 20 + 24 + 20 + 8 + 24);
  EXPECT_EQ(load_le<std::uint64_t>(&block[16]), 77u);
  EXPECT_EQ(load_le<std::uint64_t>(&block[24]), 4096u);
  EXPECT_EQ(load_le<std::uint16_t>(&block[52]), 1);    // second payload: parity
  EXPECT_EQ(load_le<std::uint32_t>(&block[56]), 16u);  // two pages
  EXPECT_EQ(load_le<std::uint64_t>(&block[60]), 1600u);
}

TEST(JournalFormat, ChecksumIsTheKernelsCrc32cWithoutFinalInversion) {
  const char* digits = "123456789";
  const auto bytes = std::as_bytes(std::span(digits, 9));
  EXPECT_EQ(journal_checksum(~0u, bytes), ~0xE3069283u);
  // A checksum seeded with that of a is the checksum of a followed by b.
  EXPECT_EQ(journal_checksum(journal_checksum(~0u, bytes.first(4)), bytes.subspan(4)), ~0xE3069283u);
}

TEST(JournalFormat, WhatIsNoMetaBlockEndsTheLog) {
  const Block good = encoded(example());
  for (const std::size_t at : {std::size_t{0}, std::size_t{4}, std::size_t{8}, std::size_t{40}, std::size_t{4095}}) {
    Block block = good;
    block[at] ^= std::byte{1};
    const auto meta = decode_journal_meta(block, kSeed);
    ASSERT_FALSE(meta.has_value()) << at;
    EXPECT_EQ(meta.error().code, Errc::not_found) << at;
  }
  EXPECT_EQ(decode_journal_meta(good, kSeed + 1).error().code, Errc::not_found);  // of another array
}

TEST(JournalFormat, ImpossibleFieldsUnderARightChecksumAreRefusedByName) {
  EXPECT_EQ(refusal(12, 31), "journal: meta_size 31");
  EXPECT_EQ(refusal(12, 4097), "journal: meta_size 4097");
  EXPECT_EQ(refusal(12, 50), "journal: meta_size cuts a payload");
  EXPECT_EQ(refusal(32, 3), "journal: payload type 3 is not known");
  EXPECT_EQ(refusal(36, 16), "journal: payload size 16 sectors");  // data is one page
  EXPECT_EQ(refusal(36, 7), "journal: payload size 7 sectors");
  EXPECT_EQ(refusal(40, 8001), "journal: payload location 8001 is no block");
  EXPECT_EQ(refusal(100, 1u << 30), "journal: a flush payload's size");
}

TEST(JournalFormat, RandomRecordsSurviveTheWay) {
  Random random(3);
  for (int i = 0; i < 2000; ++i) {
    JournalMeta meta;
    meta.seq = random.next();
    meta.position_sectors = random.next();
    std::size_t used = kJournalHeaderBytes;
    while (used + payload_bytes(2) <= kJournalBlockBytes && random.below(40) != 0) {
      JournalPayload payload;
      payload.type = random.below(2) == 0 ? PayloadType::data : PayloadType::parity;
      payload.pages = payload.type == PayloadType::data ? 1 : static_cast<std::uint32_t>(1 + random.below(2));
      payload.location_sectors = random.next() / 8 * 8;
      for (std::uint32_t p = 0; p < payload.pages; ++p)
        payload.checksums[p] = static_cast<std::uint32_t>(random.next());
      used += payload_bytes(payload.pages);
      meta.payloads.push_back(payload);
    }
    const auto back = decode_journal_meta(encoded(meta), kSeed);
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(*back, meta);
  }
}

}  // namespace
}  // namespace resilver::raid
