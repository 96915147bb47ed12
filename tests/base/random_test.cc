#include "base/random.h"

#include <gtest/gtest.h>

#include <array>

namespace resilver {
namespace {

TEST(RandomNumbers, SplitmixGivesThePublishedSequence) {
  std::uint64_t state = 1234567;
  EXPECT_EQ(splitmix64(state), 6457827717110365317ull);
  EXPECT_EQ(splitmix64(state), 3203168211198807973ull);
  EXPECT_EQ(splitmix64(state), 9817491932198370423ull);
}

TEST(RandomNumbers, SameSeedGivesTheSameSequence) {
  Random a(7), b(7), c(8);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const auto value = a.next();
    EXPECT_EQ(value, b.next());
    differs |= value != c.next();
  }
  EXPECT_TRUE(differs);
}

TEST(RandomNumbers, BelowStaysBelowAndReachesEveryValue) {
  Random random(1);
  std::array<int, 10> seen{};
  for (int i = 0; i < 10'000; ++i) ++seen[random.below(10)];
  for (const int n : seen) EXPECT_GT(n, 800);
}

TEST(RandomNumbers, BetweenIncludesBothEnds) {
  Random random(2);
  bool low = false, high = false;
  for (int i = 0; i < 1000; ++i) {
    const auto value = random.between(5, 7);
    ASSERT_GE(value, 5u);
    ASSERT_LE(value, 7u);
    low |= value == 5;
    high |= value == 7;
  }
  EXPECT_TRUE(low && high);
}

TEST(RandomNumbers, ForksAreIndependentStreams) {
  Random a(3), b(3);
  Random first = a.fork(1), same = b.fork(1);
  EXPECT_EQ(first.next(), same.next());
  Random c(3);
  Random other = c.fork(2);
  Random again = Random(3).fork(1);
  EXPECT_NE(other.next(), again.next());
}

}  // namespace
}  // namespace resilver
