#include "raid/index_set.h"

#include <gtest/gtest.h>

#include <vector>

namespace resilver::raid {
namespace {

std::vector<std::uint32_t> listed(const MemberSet& set) {
  std::vector<std::uint32_t> all;
  for (const std::uint32_t index : set) all.push_back(index);
  return all;
}

TEST(IndexSet, HoldsIndicesOfAllWords) {
  const MemberSet set{0, 63, 64, 127, 128, 1000, kMaxDisks - 1};
  EXPECT_EQ(listed(set), (std::vector<std::uint32_t>{0, 63, 64, 127, 128, 1000, kMaxDisks - 1}));
  EXPECT_EQ(set.count(), 7u);
  EXPECT_EQ((set - MemberSet::first(64)).lowest(), 64u);
  EXPECT_EQ(listed(set & MemberSet::first(128)), (std::vector<std::uint32_t>{0, 63, 64, 127}));
  EXPECT_FALSE(set.contains(65));
  EXPECT_FALSE(set.contains(kMaxDisks + 64));
  EXPECT_TRUE((set - set).empty());
  EXPECT_TRUE(listed(MemberSet()).empty());
}

TEST(IndexSet, FirstCountsAcrossWords) {
  for (const std::uint32_t count : {0u, 1u, 63u, 64u, 65u, 128u, 255u, kMaxDisks}) {
    const MemberSet set = MemberSet::first(count);
    EXPECT_EQ(set.count(), count);
    EXPECT_FALSE(set.contains(count));
    if (count != 0) EXPECT_TRUE(set.contains(count - 1));
  }
}

}  // namespace
}  // namespace resilver::raid
