#include "raid/bad_blocks.h"

#include <gtest/gtest.h>

#include <cstring>

namespace resilver::raid {
namespace {

TEST(BadBlockLog, ReadsBackAndSplitsLongRanges) {
  const std::vector<BadRange> ranges = {{4096, 8}, {5000, 512}, {9000, 1300}, {1ull << 40, 1}};
  auto block = encode_bad_blocks(ranges);
  ASSERT_TRUE(block.has_value());
  std::uint64_t first;
  std::memcpy(&first, block->data(), 8);
  EXPECT_EQ(first, (4096ull << 10) | 8);
  EXPECT_EQ((*block)[6 * 8], std::byte{0xff});  // 1 + 1 + 3 + 1 entries, then unused ones
  auto back = decode_bad_blocks(*block);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(*back, ranges);
  EXPECT_TRUE(decode_bad_blocks(*encode_bad_blocks({}))->empty());
}

TEST(BadBlockLog, RefusesWhatCannotBe) {
  std::vector<BadRange> many;
  for (std::uint64_t i = 0; i < 513; ++i) many.push_back({i * 16, 8});
  EXPECT_EQ(encode_bad_blocks(many).error().code, Errc::no_space);
  many.pop_back();
  EXPECT_EQ(decode_bad_blocks(*encode_bad_blocks(many))->size(), 512u);
  EXPECT_EQ(encode_bad_blocks(std::vector<BadRange>{{8, 0}}).error().code, Errc::invalid_argument);
  EXPECT_EQ(encode_bad_blocks(std::vector<BadRange>{{8, 8}, {8, 8}}).error().code, Errc::invalid_argument);
  EXPECT_EQ(encode_bad_blocks(std::vector<BadRange>{{1ull << 54, 8}}).error().code, Errc::invalid_argument);
  EXPECT_EQ(encode_bad_blocks(std::vector<BadRange>{{8, ~0ull}}).error().code, Errc::invalid_argument);
  auto block = *encode_bad_blocks(std::vector<BadRange>{{100, 8}, {200, 8}});
  for (std::uint64_t entry : {100ull << 10, (300ull << 10) | 600}) {
    std::memcpy(block.data() + 8, &entry, 8);
    EXPECT_EQ(decode_bad_blocks(block).error().code, Errc::bad_input) << entry;
  }
}

TEST(BadBlockLog, MergesEntriesInAnyOrder) {
  auto block = *encode_bad_blocks(std::vector<BadRange>{{100, 8}, {200, 8}, {300, 8}, {400, 8}});
  const std::uint64_t entries[] = {(500ull << 10) | 20, (90ull << 10) | 15, (510ull << 10) | 2, (98ull << 10) | 7};
  std::memcpy(block.data(), entries, sizeof entries);
  EXPECT_EQ(decode_bad_blocks(block), (std::vector<BadRange>{{90, 15}, {500, 20}}));
  std::memset(block.data() + 8, 0xff, 8);  // what follows an unused entry is not read
  EXPECT_EQ(decode_bad_blocks(block), (std::vector<BadRange>{{500, 20}}));
}

}  // namespace
}  // namespace resilver::raid
