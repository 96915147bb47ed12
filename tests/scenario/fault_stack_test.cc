// Two faults of one kind at one place: a stack and a fold over it, and in runs the end of one never ends the other.
#include "scenario/fault_stack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "scenario/parse.h"
#include "scenario/run.h"

namespace resilver::scenario {
namespace {

using Kind = NodeStacks::Kind;
constexpr LinkEnd kA = {LinkEnd::Kind::node, 0};
constexpr LinkEnd kB = {LinkEnd::Kind::node, 1};
constexpr LinkEnd kClient = {LinkEnd::Kind::client, 0};

VerbArguments slow(std::uint32_t factor, Nanos add, std::uint64_t bandwidth) {
  VerbArguments arguments;
  arguments.factor_percent = factor;
  arguments.add = add;
  arguments.bandwidth = bandwidth;
  return arguments;
}

TEST(LinkStack, LatenciesAddTheNarrowestCountsAndChancesAreIndependent) {
  LinkStacks links;
  links.put(0, kA, kB, {false, 5, 1000, 20, 0, 50});
  links.put(1, kA, kB, {true, 7, 0, 30, 0, 50});
  links.put(2, kA, kB, {false, 0, 400, 0, 1, 0});
  links.put(3, kB, kA, {false, 9, 1, 1, 1, 1});
  LinkFault fold = links.fold(kA, kB);
  EXPECT_TRUE(fold.dropped);
  EXPECT_EQ(fold.add_latency, 12);
  EXPECT_EQ(fold.bandwidth, 400u);
  EXPECT_EQ(fold.lost_percent, 44u);
  EXPECT_EQ(fold.duplicated_percent, 1u);
  EXPECT_EQ(fold.corrupted_percent, 75u);
  links.take(1, kA, kB);
  fold = links.fold(kA, kB);
  EXPECT_FALSE(fold.dropped);
  EXPECT_EQ(fold.add_latency, 5);
  links.put(0, kA, kB, {false, 6, 1000, 20, 0, 0});
  EXPECT_EQ(links.fold(kA, kB).add_latency, 6) << "applied again it replaces itself";
  EXPECT_EQ(links.fold(kA, kClient).add_latency, 0);
}

TEST(DiskStack, FactorsMultiplyAdditionsAddAndOneHangIsEnough) {
  DiskStacks disks;
  const DiskPlace place = {0, 1};
  EXPECT_FALSE(disks.fold(place, Verb::disk_slow));
  disks.put(0, place, Verb::disk_slow, slow(300, 5, 0));
  disks.put(1, place, Verb::disk_slow, slow(150, 7, 2000));
  disks.put(2, place, Verb::disk_slow, slow(100, 0, 1000));
  disks.put(3, place, Verb::disk_hang, {});
  disks.put(4, place, Verb::disk_hang, {});
  const auto fold = disks.fold(place, Verb::disk_slow);
  ASSERT_TRUE(fold);
  EXPECT_EQ(fold->factor_percent, 450u);
  EXPECT_EQ(fold->add, 12);
  EXPECT_EQ(fold->bandwidth, 1000u);
  EXPECT_TRUE(disks.take(3, place));
  EXPECT_TRUE(disks.fold(place, Verb::disk_hang));
  EXPECT_FALSE(disks.take(3, place)) << "once";
  disks.new_disk(place);
  EXPECT_FALSE(disks.fold(place, Verb::disk_hang));
  EXPECT_FALSE(disks.take(4, place)) << "it went with the old disk";
}

TEST(NodeStack, IsHeldUntilTheLastOneLetsGo) {
  NodeStacks nodes;
  nodes.put(0, 1, Kind::down);
  nodes.put(1, 1, Kind::down);
  nodes.put(2, 1, Kind::clock, 60'000);
  nodes.put(3, 1, Kind::clock, 70'000);
  nodes.take(0, 1, Kind::down);
  EXPECT_TRUE(nodes.any(1, Kind::down));
  EXPECT_FALSE(nodes.any(1, Kind::frozen));
  nodes.release(1, Kind::down);
  EXPECT_FALSE(nodes.any(1, Kind::down));
  EXPECT_EQ(nodes.rate_ppm(1), 100'000) << "a clock is never more than a tenth off";
  nodes.take(2, 1, Kind::clock);
  EXPECT_EQ(nodes.rate_ppm(1), 70'000);
}

// ---- in runs ---------------------------------------------------------------------------------------------------------

constexpr const char* kHead = R"(schema = 1
title = "Faults on faults"
goal = "does the end of one end the other?"
seed = 3
volume = "16MiB"
fair = "same-usable"
length = "8s"
settle = "6s"
[disk]
model = "nvme"
[link.lan]
rtt = "0.2ms"
bandwidth = "10Gbit/s"
[workload]
rw = "randrw"
bs = "4K"
rate_iops = 500
retry = "20s"
warmup = "500ms"
[rebuild]
speed_min = "64MiB/s"
)";
constexpr const char* kOne = R"([[contender]]
name = "one"
node.A = { raid = 1, disks = 2, consistency = "bitmap" }
sites = { here = ["A"] }
)";

// One contender's events after a run in virtual time.
std::vector<EventResult> events_of(const std::string& contender, const std::string& events) {
  const auto scenario = parse_scenario(kHead + contender + events, "stack.toml");
  EXPECT_TRUE(scenario) << (scenario ? "" : to_string(scenario.error().front()));
  if (!scenario) return {};
  const auto results = run_virtual(*scenario, {});
  EXPECT_TRUE(results);
  if (!results) return {};
  EXPECT_EQ(results->contenders[0].inconclusive, "");
  EXPECT_EQ(results->contenders[0].oracle.corrupt_reads, 0u);
  return results->contenders[0].events;
}

std::string event(const std::string& name, const std::string& at, const std::string& verb, const std::string& target,
                  const std::string& more) {
  return "[[event]]\nname = \"" + name + "\"\nat = \"" + at + "\"\ndo = \"" + verb + "\"\ntarget = \"" + target +
         "\"\n" + more + "\n";
}

Nanos median(const EventResult& event, Phase phase) {
  const PhaseResult& result = event.window.phases[static_cast<std::size_t>(phase)];
  EXPECT_GT(result.read_latency.count(), 50u) << event.name << " " << phase_name(phase);
  return result.read_latency.percentile(5000);
}

// A long and a short fault: what is measured while both are on, and after the short one has ended, is known beforehand.
TEST(FaultsOnFaults, LatenciesOfALinkAddAndTheLongerOneStays) {
  const auto events =
      events_of(kOne, event("long", "1s", "link.latency", "client-A", "add = \"10ms\"\nfor = \"6s\"") +
                          event("short", "3s", "link.latency", "client-A", "add = \"5ms\"\nfor = \"2s\""));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_NEAR(static_cast<double>(median(events[1], Phase::before)), 20.3e6, 0.4e6);
  EXPECT_NEAR(static_cast<double>(median(events[1], Phase::during)), 30.3e6, 0.4e6);
  EXPECT_NEAR(static_cast<double>(median(events[1], Phase::after)), 20.3e6, 2e6) << "until the long one ended, too";
}

TEST(FaultsOnFaults, ASlowDiskStaysSlowWhenASecondSlownessEnds) {
  const auto both = [](const std::string& one, const std::string& two) {
    return events_of(kOne, event("a", "1s", "disk.slow", "A.disk0", one + "\nfor = \"6s\"") +
                               event("b", "1s", "disk.slow", "A.disk1", one + "\nfor = \"6s\"") +
                               event("c", "3s", "disk.slow", "A.disk0", two + "\nfor = \"2s\"") +
                               event("d", "3s", "disk.slow", "A.disk1", two + "\nfor = \"2s\""));
  };
  const auto events = both("add = \"10ms\"", "add = \"5ms\"");
  ASSERT_EQ(events.size(), 4u);
  EXPECT_NEAR(static_cast<double>(median(events[2], Phase::before)), 10.3e6, 0.4e6);
  EXPECT_NEAR(static_cast<double>(median(events[2], Phase::during)), 15.3e6, 0.4e6);
  EXPECT_NEAR(static_cast<double>(median(events[2], Phase::after)), 10.3e6, 2e6);
}

TEST(FaultsOnFaults, AHungDiskHangsUntilTheLastHangEnds) {
  const std::string raid0 = R"([[contender]]
name = "one"
node.A = { raid = 0, disks = 2, chunk = "64K", member_timeout = "20s" }
)";
  const auto events = events_of(raid0, event("long", "2s", "disk.hang", "A.disk0", "for = \"3s\"") +
                                           event("short", "2200ms", "disk.hang", "A.disk0", "for = \"500ms\""));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_GE(events[0].window.longest_stall, 2800 * kMillisecond);
  EXPECT_LE(events[0].window.longest_stall, 3100 * kMillisecond);
}

TEST(FaultsOnFaults, ANodeComesBackWhenTheLastThatHoldsItDownEnds) {
  for (const bool turned : {false, true}) {
    const std::string first = turned ? "for = \"1s\"" : "for = \"3s\"";
    const std::string second = turned ? "for = \"2500ms\"" : "for = \"1s\"";
    const auto events = events_of(kOne, event("power", "2s", "node.power_loss", "A", first) +
                                            event("site", "2500ms", "site.lose", "here", second));
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[1].state, EventState::applied) << events[1].note;
    EXPECT_GE(events[0].window.outage.total, 2900 * kMillisecond) << "from 2 s to 5 s, whichever ends last";
    EXPECT_LE(events[0].window.outage.total, 3500 * kMillisecond);
    EXPECT_EQ(events[1].window.outage.total, 0);
    EXPECT_EQ(events[1].charged_with, "power");
  }
}

TEST(FaultsOnFaults, AFrozenNodeThawsWhenTheLastFreezeEnds) {
  const auto events = events_of(kOne, event("long", "2s", "node.freeze", "A", "for = \"3s\"") +
                                          event("short", "3s", "node.freeze", "A", "for = \"500ms\""));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_GE(events[0].window.client_outage.total, 2900 * kMillisecond);
  EXPECT_LE(events[0].window.client_outage.total, 3100 * kMillisecond);
}

TEST(FaultsOnFaults, AFaultThatEndsWhileItsNodeIsDownIsGoneWhenItIsBack) {
  const auto events =
      events_of(kOne, event("slow", "1s", "disk.slow", "A.disk0", "add = \"20ms\"\nfor = \"2s\"") +
                          event("slow too", "1s", "disk.slow", "A.disk1", "add = \"20ms\"\nfor = \"2s\"") +
                          event("crash", "2500ms", "node.crash", "A", "for = \"1s\""));
  ASSERT_EQ(events.size(), 3u);
  EXPECT_LT(median(events[2], Phase::after), 2 * kMillisecond);
  EXPECT_NEAR(static_cast<double>(events[2].window.client_outage.total), 1.05e9, 0.1e9)
      << "the crash's, not the slow disks'";
  EXPECT_EQ(events[0].window.client_outage.total, 0);
}

TEST(FaultsOnFaults, TwoEventsAtOneInstantAreNeverBothWithoutOutage) {
  const std::string pair = R"([[contender]]
name = "pair"
nodes = ["A", "B"]
each = { raid = 0, disks = 1 }
replicate = { ack = "durable", primary = "A", detect = "400ms", link = "lan" }
)";
  const std::string a = event("A dark", "2s", "node.power_loss", "A", "for = \"2s\"");
  const std::string b = event("B dark", "2s", "node.power_loss", "B", "for = \"2s\"");
  for (const std::string& order : {a + b, b + a}) {
    const auto events = events_of(pair, order);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_GE(events[0].window.outage.total, 1900 * kMillisecond) << events[0].name << ", the first in the file";
    EXPECT_EQ(events[1].window.outage.total, 0);
    EXPECT_EQ(events[1].charged_with, events[0].name);
  }
}

TEST(FaultsOnFaults, AFlapThatIsUpLiftsNoDrop) {
  const auto events =
      events_of(kOne, event("flap", "1500ms", "link.flap", "client-A", "period = \"100ms\"\nfor = \"3s\"") +
                          event("cable", "2s", "link.drop", "client-A", "for = \"3s\""));
  ASSERT_EQ(events.size(), 2u);
  const Nanos stall = std::max(events[0].window.longest_stall, events[1].window.longest_stall);
  EXPECT_GE(stall, 2950 * kMillisecond) << "the cable was out for 3 s";
  EXPECT_LE(stall, 3300 * kMillisecond);
}

TEST(FaultsOnFaults, AnArbiterIsBackWhenTheLastStopEnds) {
  const std::string three = R"([[contender]]
name = "three"
nodes = ["A", "B", "C"]
each = { raid = 0, disks = 1 }
replicate = { ack = "durable", primary = "A", detect = "400ms", link = "lan" }
)";
  const auto events = events_of(three, event("long", "1s", "arbiter.stop", "arbiter", "for = \"4s\"") +
                                           event("short", "2s", "arbiter.stop", "arbiter", "for = \"500ms\"") +
                                           event("crash", "3s", "node.crash", "A", "for = \"4s\""));
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1].state, EventState::applied) << events[1].note;
  EXPECT_GE(events[2].window.outage.total, 1900 * kMillisecond) << "nobody can take over before 5 s";
  EXPECT_LE(events[2].window.outage.total, 3 * kSecond);
}

}  // namespace
}  // namespace resilver::scenario
