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
  for (const std::uint32_t count : {0u, 1u, 63u, 64u, 65u, 128u, 255u, 320u, 321u, kMaxDisks}) {
    const MemberSet set = MemberSet::first(count);
    EXPECT_EQ(set.count(), count);
    EXPECT_FALSE(set.contains(count));
    if (count != 0) EXPECT_TRUE(set.contains(count - 1));
  }
}

// Sets have as many words as they needed so far, whatever is in them now.
TEST(IndexSet, ShortAndLongOnesMix) {
  MemberSet emptied{5, 700};
  emptied.remove(700);
  emptied.remove(1500);
  EXPECT_EQ(emptied, MemberSet{5});
  EXPECT_EQ(MemberSet{5}, emptied);
  EXPECT_NE(emptied, (MemberSet{5, 700}));
  emptied.remove(5);
  EXPECT_TRUE(emptied.empty());
  EXPECT_EQ(emptied, MemberSet());
  EXPECT_EQ(emptied.begin(), emptied.end());
  const MemberSet small{1, 2};
  const MemberSet large{2, 400, 1900};
  EXPECT_EQ(listed(small | large), (std::vector<std::uint32_t>{1, 2, 400, 1900}));
  EXPECT_EQ(large | small, small | large);
  EXPECT_EQ(small & large, MemberSet{2});
  EXPECT_EQ(large & small, MemberSet{2});
  EXPECT_EQ(small - large, MemberSet{1});
  EXPECT_EQ(large - small, (MemberSet{400, 1900}));
  MemberSet copy = large;
  copy = small;
  EXPECT_EQ(copy, small);
  copy.add(1000);  // what was there before is not in it
  EXPECT_EQ(listed(copy), (std::vector<std::uint32_t>{1, 2, 1000}));
  copy = large;
  EXPECT_EQ(copy, large);
  const MemberSet& same = copy;
  copy = same;
  EXPECT_EQ(copy, large);
}

}  // namespace
}  // namespace resilver::raid
