// What a user does with a volume: make it, use it, lose a node, get it back, hand over, compare, bring up to date.
#include <signal.h>

#include "tests/e2e/volume.h"

namespace resilver::test {
namespace {

class Volume : public VolumeTest {};

void expect_nothing_lost(const Ended& load) {
  EXPECT_EQ(load.code, 0) << load.all();
  const State report(load.out);
  for (const char* key :
       {"failed", "lost_writes", "stale_reads", "corrupt_reads", "unknown_writes", "unreadable_bytes"}) {
    EXPECT_EQ(report.at(key), "0") << key << load.all();
  }
  EXPECT_GT(report.number("writes"), 50u);
  EXPECT_GT(report.number("bytes_read_back"), 0u);
}

TEST_F(Volume, SurvivesItsPrimaryAndCatchesUpByBitmap) {
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const State whole = status();
  EXPECT_EQ(whole.at("primary"), "A");
  EXPECT_EQ(whole.number("redundancy"), 2u);
  EXPECT_EQ(whole.number("size_bytes"), kVolume);
  EXPECT_EQ(whole.of("B", "role"), "secondary");
  const std::string text = noise(1'500'000);
  import(text);
  ASSERT_TRUE(eventually_in_sync(3));
  kill("A");
  EXPECT_TRUE(export_text(text.size()) == text);
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_EQ(status().at("primary"), "B");
  EXPECT_EQ(status().of("A", "role"), "unreachable");
  EXPECT_NE(done({"status"}).out.find("to do: start A"), std::string::npos);
  import(noise(200'000, 2));
  start("A");
  ASSERT_TRUE(eventually_in_sync(3));
  EXPECT_EQ(status().of("A", "why"), "bitmap");
  for (const std::string& name : names_) stop(name);
  expect_equal(names_);
}

TEST_F(Volume, PlannedSwitchoverAndStopCostNoRequest) {
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  Program load(with_config({"attach", "--load", "2500ms", "--json"}));
  ASSERT_TRUE(eventually_status([](const State& now) { return now.number_of("A", "writes") > 100; }));
  EXPECT_NE(done({"promote", "C"}).out.find("C is the primary now"), std::string::npos);
  EXPECT_NE(done({"demote"}).out.find("C handed over; A is the primary now"), std::string::npos);
  EXPECT_NE(stop("A").err.find("hands over first"), std::string::npos);
  ASSERT_TRUE(eventually_in_sync(2));
  const Ended ended = load.wait(30);
  expect_nothing_lost(ended);
  EXPECT_GE(State(ended.out).number("failovers"), 1u);
  EXPECT_EQ(status().at("primary"), "B");
}

}  // namespace
}  // namespace resilver::test
