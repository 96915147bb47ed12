// Random walks over an array's images; see array_plan.h for the steps, array_judge.cc and array_model.h for what is asked
// of them. RESILVER_WALK_FIRST and RESILVER_WALK_ROUNDS choose other seeds than those of `make check`; with
// RESILVER_WALK_TALK good rounds are told, too.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <vector>

#include "tests/walk/array_walker.h"
#include "tests/walk/seeds.h"

namespace resilver::test::array_walk {
namespace {

// Short ones, of most levels: kills, images away, aged, damaged, exchanged.
constexpr std::uint64_t kCheckSeeds[] = {5, 22, 42, 51};

Outcome take_walk(const Plan& plan) {
  return take_interruptibly([&plan] { return walk(plan); });
}

TEST(ArrayWalk, RandomRounds) {
  for (const std::uint64_t seed : seeds_or(kCheckSeeds)) {
    const Outcome outcome = take_walk(draw_plan(seed));
    EXPECT_TRUE(outcome.good) << outcome.complaints << outcome.report;
    if (outcome.good && std::getenv("RESILVER_WALK_TALK") != nullptr) std::cout << outcome.report;
  }
}

// ---- the walk itself -------------------------------------------------------------------------------------------------

Plan small_array(int level) {
  Plan plan;
  plan.level = level;
  plan.disks = 3;
  plan.member_mib = 5;
  plan.steps = {{Verb::import, 0, 5000}};
  return plan;
}

TEST(ArrayWalk, SeesAnAcknowledgedWriteThatIsLost) {
  Plan plan = small_array(1);
  plan.chunk_kib = 0;
  plan.steps.insert(plan.steps.end(), {{Verb::meddle, 1'000'000, 512}, {Verb::export_all}});
  const Outcome outcome = take_walk(plan);
  EXPECT_NE(outcome.complaints.find("2 sectors are wrong; sector 1953"), std::string::npos)
      << outcome.complaints << outcome.report;
}

TEST(ArrayWalk, SeesARescueThatIsWrong) {
  Plan plan = small_array(1);
  plan.chunk_kib = 0;
  plan.steps.insert(plan.steps.end(), {{Verb::meddle, 1'000'000, 512}, {Verb::rescue}});
  const Outcome outcome = take_walk(plan);
  EXPECT_NE(outcome.complaints.find("--rescue"), std::string::npos) << outcome.complaints << outcome.report;
  EXPECT_NE(outcome.complaints.find("2 sectors are wrong; sector 1953"), std::string::npos) << outcome.complaints;
}

TEST(ArrayWalk, SeesRedundancyThatDoesNotMatch) {
  Plan plan = small_array(5);
  plan.steps.push_back({Verb::meddle, 3 << 20, 512});
  const Outcome outcome = take_walk(plan);
  EXPECT_NE(outcome.complaints.find("redundancy does not match"), std::string::npos)
      << outcome.complaints << outcome.report;
}

}  // namespace
}  // namespace resilver::test::array_walk
