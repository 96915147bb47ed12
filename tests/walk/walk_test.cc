// Random walks over real processes; see plan.h for the steps, judge.cc for what is asked of them. RESILVER_WALK_FIRST and
// RESILVER_WALK_ROUNDS choose other seeds than those of `make check`; with RESILVER_WALK_TALK good rounds are told, too.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "tests/walk/interrupt.h"
#include "tests/walk/walker.h"

namespace resilver::test {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* set = std::getenv(variable);
  return set == nullptr ? otherwise : std::strtoull(set, nullptr, 10);
}

Outcome take_walk(const Plan& plan) {
  note_interrupts();
  Outcome outcome = walk(plan);
  if (interrupted()) end_interrupted();
  return outcome;
}

TEST(Walk, RandomRounds) {
  const std::uint64_t first = number_from("RESILVER_WALK_FIRST", 1), rounds = number_from("RESILVER_WALK_ROUNDS", 4);
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
    const Outcome outcome = take_walk(draw_plan(seed));
    EXPECT_TRUE(outcome.good) << outcome.complaints << outcome.report;
    if (outcome.good && std::getenv("RESILVER_WALK_TALK") != nullptr) std::cout << outcome.report;
  }
}

// ---- the walk itself -------------------------------------------------------------------------------------------------

Plan two_nodes() {
  Plan plan;
  plan.nodes = 2;
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
