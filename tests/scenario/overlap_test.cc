// A shipped scenario whose requests conflict half of the time, over several seeds: the volumes stay linearizable.
#include <gtest/gtest.h>

#include "scenario/parse.h"
#include "scenario/run.h"

namespace resilver::scenario {
namespace {

TEST(Overlap, AShippedScenarioHoldsWithConflictingRequests) {
  ParseOptions options;
  options.set = {{"workload.overlap", "50%"}};
  auto scenario = load_scenario("scenarios/node-loss.toml", options);
  ASSERT_TRUE(scenario) << to_string(scenario.error().front());
  ASSERT_EQ(scenario->workload.overlap, 50u);
  for (scenario->seed = 1; scenario->seed <= 4; ++scenario->seed) {
    const auto results = run_virtual(*scenario, {});
    ASSERT_TRUE(results) << to_string(results.error());
    for (const ContenderResult& contender : results->contenders) {
      EXPECT_EQ(contender.inconclusive, "") << contender.name;
      const OracleResult& oracle = contender.oracle;
      EXPECT_EQ(oracle.lost_writes + oracle.stale_reads + oracle.corrupt_reads, 0u)
          << contender.name << " seed " << scenario->seed;
    }
  }
}

}  // namespace
}  // namespace resilver::scenario
