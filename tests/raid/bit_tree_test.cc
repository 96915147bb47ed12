#include "raid/bit_tree.h"

#include <gtest/gtest.h>

#include <set>

namespace resilver::raid {
namespace {

TEST(BitTree, AgreesWithASet) {
  for (const std::uint64_t size : {1ull, 63ull, 64ull, 65ull, 4096ull, 4097ull, 300'000ull}) {
    BitTree tree(size);
    std::set<std::uint64_t> model;
    std::uint64_t state = size;
    for (int i = 0; i < 3000; ++i) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      const std::uint64_t bit = (state >> 33) % size;
      if ((state >> 20) % 3 == 0) {
        tree.remove(bit);
        model.erase(bit);
      } else {
        tree.add(bit);
        model.insert(bit);
      }
      const auto next = model.lower_bound(bit / 2);
      ASSERT_EQ(tree.next(bit / 2), next == model.end() ? size : *next) << size;
      ASSERT_EQ(tree.contains(bit), model.contains(bit));
      ASSERT_EQ(tree.empty(), model.empty());
    }
    EXPECT_EQ(tree.next(size), size);
    tree.clear();
    EXPECT_TRUE(tree.empty());
    EXPECT_EQ(tree.next(0), size);
  }
}

}  // namespace
}  // namespace resilver::raid
