// Random walks over real processes; see plan.h for the steps, judge.cc for what is asked of them. RESILVER_WALK_FIRST and
// RESILVER_WALK_ROUNDS choose other seeds than those of `make check`.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "tests/walk/walker.h"

namespace resilver::test {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* set = std::getenv(variable);
  return set == nullptr ? otherwise : std::strtoull(set, nullptr, 10);
}

TEST(Walk, RandomRounds) {
  const std::uint64_t first = number_from("RESILVER_WALK_FIRST", 1), rounds = number_from("RESILVER_WALK_ROUNDS", 4);
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
    const Outcome outcome = walk(draw_plan(seed));
    EXPECT_TRUE(outcome.good) << outcome.complaints << outcome.report;
    if (std::getenv("RESILVER_WALK_TALK") != nullptr) std::cout << outcome.report;
  }
}

}  // namespace
}  // namespace resilver::test
