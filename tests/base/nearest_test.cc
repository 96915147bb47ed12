#include "base/nearest.h"

#include <gtest/gtest.h>

namespace resilver {
namespace {

TEST(Nearest, IsASlipOfThePenAway) {
  EXPECT_EQ(nearest_hint("rnu", {"list", "run"}), " (did you mean 'run'?)");
  EXPECT_EQ(nearest_hint("--consitency", {"--chunk", "--consistency"}), " (did you mean '--consistency'?)");
  EXPECT_EQ(nearest_hint("atach", {"ack", "attach"}), " (did you mean 'attach'?)");
}

TEST(Nearest, IsNothingWhereAllAreFar) {
  EXPECT_EQ(nearest_hint("frobnicate", {"list", "run"}), "");
  EXPECT_EQ(nearest_hint("ab", {"io"}), "") << "all its letters differ";
  EXPECT_EQ(nearest_hint("", {}), "");
}

}  // namespace
}  // namespace resilver
