// What is said about a repair: why it never ended, what held it back, how fast it was.
#include <gtest/gtest.h>

#include "base/units.h"
#include "scenario/measures.h"
#include "scenario/parse.h"
#include "scenario/run.h"

namespace resilver::scenario {
namespace {

constexpr const char* kRaid5 = R"(node.A = { raid = 5, disks = 4, spares = 1, chunk = "64K" })";
constexpr const char* kRaid6 = R"(node.A = { raid = 6, disks = 5, spares = 1, chunk = "64K" })";
constexpr const char* kNoSpare = R"(node.A = { raid = 5, disks = 4, chunk = "64K" })";
constexpr const char* kRaid0 = R"(node.A = { raid = 0, disks = 3, chunk = "64K" })";
constexpr const char* kPair = R"(nodes = ["A", "B"]
each = { raid = 0, disks = 1 }
replicate = { ack = "durable", primary = "A", detect = "200ms", link = "lan" })";

std::string event(const std::string& name, const std::string& at, const std::string& verb, const std::string& target) {
  return "[[event]]\nname = \"" + name + "\"\nat = \"" + at + "\"\ndo = \"" + verb + "\"\ntarget = \"" + target + "\"\n";
}

// Three seconds of a few small requests against one contender, and one more to settle.
ContenderResult run(const std::string& contender, const std::string& events, const std::string& rebuild = {}) {
  const std::string text = R"(schema = 1
title = "t"
goal = "g"
volume = "16MiB"
fair = "same-usable"
length = "3s"
settle = "1s"
[disk]
model = "sata-ssd"
[link.lan]
rtt = "0.2ms"
[workload]
rw = "randrw"
bs = "4K"
rate_iops = 100
retry = "500ms"
[[contender]]
name = "c"
)" + contender + "\n" + events +
                           (rebuild.empty() ? "" : "[rebuild]\n" + rebuild);
  const auto scenario = parse_scenario(text, "x.toml");
  EXPECT_TRUE(scenario) << (scenario ? "" : to_string(scenario.error().front()));
  if (!scenario) return {};
  auto results = run_virtual(*scenario, {});
  EXPECT_TRUE(results);
  return results ? results->contenders.front() : ContenderResult{};
}

std::string because(const ContenderResult& result, std::size_t event = 0) {
  const WindowResult& window = result.events[event].window;
  return window.repair.needed ? window.repair.never_because : window.node_repair.never_because;
}

TEST(Because, NeverHasTheRightReason) {
  const std::string first = event("first", "1s", "disk.fail", "A.disk0");
  EXPECT_EQ(because(run(kNoSpare, first)), "no spare");
  EXPECT_EQ(because(run(kRaid0, first)), "the data is lost");
  EXPECT_EQ(because(run(kRaid5, first, "speed_min = \"16MiB/s\"\n")), "") << "it ended";
  EXPECT_EQ(because(run(kRaid5, first, "speed_max = \"1MiB/s\"\n")).substr(0, 9), "still at ");
  EXPECT_EQ(because(run(kPair, event("crash", "1s", "node.crash", "B"))), "a node is away: B");
  const auto both = run(kRaid6, first + event("second", "1200ms", "disk.fail", "A.disk1"), "speed_max = \"4MiB/s\"\n");
  EXPECT_FALSE(because(both, 0).empty());
  EXPECT_NE(because(both, 0), "no spare") << "there was one when the first disk failed";
}

// It comes back while the volume is read back after the run: that is no reason to have none.
TEST(Because, NeverHasAReasonThoughAllIsWholeRightAfterTheRun) {
  const std::string mirror = R"(reboot = "500ms"
node.A = { raid = 1, disks = 3, spares = 1, member_timeout = "300ms" })";
  const auto result =
      run(mirror, event("crash", "1557ms", "node.crash", "A") + "for = \"1800ms\"\n", "speed_min = \"4MiB/s\"\n");
  const RepairResult& repair = result.events[0].window.node_repair;
  ASSERT_TRUE(repair.needed && !repair.finished) << "it was still resyncing when the run ended";
  EXPECT_NE(repair.never_because, "");
}

TEST(Because, TheRunIsWholeIfItsEndIs) {
  const auto both = run(
      kRaid6,
      event("first", "500ms", "disk.fail", "A.disk0") + event("slow", "600ms", "disk.slow", "A.disk2") + "factor = 2\n",
      "speed_min = \"16MiB/s\"\n");
  EXPECT_TRUE(both.whole.repair.needed && both.whole.repair.finished) << both.whole.repair.never_because;
  EXPECT_EQ(both.whole.repair.never_because, "");
  EXPECT_FALSE(both.events[0].window.exposed.never_ended) << "another event came, not the end";
}

TEST(Because, WhatHeldARepairBackIsWhatDid) {
  const std::string dies = event("dies", "1s", "disk.fail", "A.disk0");
  const auto limit = [&](const std::string& rebuild) {
    return run(kRaid5, dies, rebuild).events[0].window.repair.limited_by;
  };
  EXPECT_EQ(limit(""), "speed_min (client busy)") << "the default, which nobody set";
  EXPECT_EQ(limit("speed_min = \"4MiB/s\"\nspeed_max = \"8MiB/s\"\n"), "speed_min (client busy)");
  EXPECT_EQ(limit("speed_min = \"4MiB/s\"\nspeed_max = \"4MiB/s\"\n"), "the set limit");
  EXPECT_EQ(run(kNoSpare, dies, "speed_max = \"4MiB/s\"\n").events[0].window.repair.limited_by, "")
      << "nothing was copied";
}

TEST(Because, NoRepairIsFasterThanItsLimit) {
  const std::string dies = event("dies", "1s", "disk.fail", "A.disk0");
  for (const std::uint64_t limit : {4, 16, 48}) {
    const std::string speed = std::to_string(limit) + "MiB/s\"\n";
    const auto result = run(kRaid5, dies, "speed_min = \"" + speed + "speed_max = \"" + speed);
    const Value rate = value_of(result, MeasureId::repair_rate, "dies");
    if (rate.kind == Value::Kind::absent) continue;  // too short to tell
    EXPECT_LE(rate.number, 1.1 * static_cast<double>(limit * kMiB)) << limit;
    EXPECT_GE(rate.number, 0.5 * static_cast<double>(limit * kMiB)) << limit;
  }
}

TEST(Because, AShortRepairHasNoRate) {
  WindowResult window;
  window.repair.needed = window.repair.finished = true;
  window.repair.copying = 20 * kMillisecond;
  window.repair.copied = 5 * kMiB;
  ContenderResult contender;
  contender.whole = window;
  EXPECT_EQ(value_of(contender, MeasureId::repair_rate).kind, Value::Kind::absent);
  contender.whole.repair.copying = 100 * kMillisecond;
  EXPECT_EQ(value_of(contender, MeasureId::repair_rate).number, 50.0 * kMiB);
}

TEST(Because, WhatSomebodyAskedForIsNotNeedless) {
  const auto planned = run(kPair, event("to B", "1s", "volume.promote", "B"));
  EXPECT_EQ(planned.whole.failovers, 1u);
  EXPECT_EQ(planned.whole.needless_failovers, 0u);
}

TEST(Because, DamageOfTheClientIsCounted) {
  const auto result =
      run(kRaid5, "[[event]]\nname = \"oops\"\nat = \"1s\"\ndo = \"volume.overwrite\"\nrange = [\"1MiB\", \"2MiB\"]\n");
  EXPECT_GT(result.oracle.damaged_bytes, kMiB);
  EXPECT_LE(result.oracle.damaged_bytes, 2 * kMiB);
  EXPECT_EQ(result.oracle.lost_writes, 0u);
}

}  // namespace
}  // namespace resilver::scenario
