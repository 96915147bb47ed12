// Random walks over real processes; see plan.h for the steps, judge.cc for what is asked of them. RESILVER_WALK_FIRST and
// RESILVER_WALK_ROUNDS choose other seeds than those of `make check`; with RESILVER_WALK_TALK good rounds are told, too.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "tests/walk/seeds.h"
#include "tests/walk/walker.h"

namespace resilver::test {
namespace {

// Short ones: crashes under load; a record lost, another restored; images cloned, restored, grown, exchanged.
constexpr std::uint64_t kCheckSeeds[] = {2102, 2106, 2108, 2117};

Outcome take_walk(const Plan& plan) {
  return take_interruptibly([&plan] { return walk(plan); });
}

TEST(Walk, RandomRounds) {
  for (const std::uint64_t seed : seeds_or(kCheckSeeds)) {
    const Outcome outcome = take_walk(draw_plan(seed));
    EXPECT_TRUE(outcome.good) << outcome.complaints << outcome.report;
    if (outcome.good && std::getenv("RESILVER_WALK_TALK") != nullptr) std::cout << outcome.report;
  }
}

// ---- the walk itself -------------------------------------------------------------------------------------------------

// Nothing happens but what is written: no busy machine makes a node leave.
Plan two_nodes() {
  Plan plan;
  plan.nodes = 2;
  plan.detect_ms = 5000;
  plan.steps = {{Verb::settle, '-', 5000}, {Verb::write, '-', 100, 8}};
  return plan;
}

TEST(Walk, SeesAnAcknowledgedWriteThatIsOnNoCopyAnyMore) {
  Plan plan = two_nodes();
  plan.steps.insert(plan.steps.end(), {{Verb::meddle, 'A', 103, 1}, {Verb::meddle, 'B', 103, 1}});
  const Outcome outcome = take_walk(plan);
  EXPECT_NE(outcome.complaints.find("1 blocks are on no copy any more: block 103:"), std::string::npos)
      << outcome.complaints << outcome.report;
}

TEST(Walk, SeesThatCopiesInSyncDiffer) {
  Plan plan = two_nodes();
  plan.steps.push_back({Verb::meddle, 'B', 103, 1});
  const Outcome outcome = take_walk(plan);
  EXPECT_NE(outcome.complaints.find("verify: copies in sync differ"), std::string::npos)
      << outcome.complaints << outcome.report;
}

TEST(Walk, SeesAWrongRead) {
  Plan plan = two_nodes();
  plan.steps.insert(plan.steps.end(), {{Verb::meddle, 'A', 103, 1}, {Verb::read}});
  const Outcome outcome = take_walk(plan);
  EXPECT_NE(outcome.complaints.find("1 blocks were read wrong: block 103:"), std::string::npos)
      << outcome.complaints << outcome.report;
}

}  // namespace
}  // namespace resilver::test
