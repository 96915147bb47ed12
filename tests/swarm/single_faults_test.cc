// Single faults of two replicas under load: what each verb of links does is felt, ends, and costs nothing but time.
#include <gtest/gtest.h>

#include "scenario/parse.h"
#include "scenario/run.h"
#include "tests/swarm/state_watch.h"

namespace resilver::swarm {
namespace {

scenario::Scenario pair_with(const std::string& events) {
  const std::string text = R"(
schema = 1
title = "a bad link"
goal = "who notices?"
seed = 5
volume = "3MiB"
length = "1500ms"
settle = "20s"
[disk]
model = "nvme"
size = "24MiB"
[link.lan]
rtt = "0.2ms"
[[contender]]
name = "pair"
nodes = ["A", "B"]
each = { raid = 0, disks = 1, spares = 1, member_timeout = "300ms" }
replicate = { ack = "durable", primary = "A", detect = "200ms", link = "lan" }
[workload]
rw = "randrw"
rate_iops = 500
[[event]]
name = "fault"
at = "300ms"
)" + events;
  auto parsed = scenario::parse_scenario(text, "pair.toml");
  EXPECT_TRUE(parsed) << events;
  return std::move(*parsed);
}

struct Case {
  const char* name;
  const char* event;
  bool noticed;  // B leaves the set, and comes back
};

class BadLink : public testing::TestWithParam<Case> {};

TEST_P(BadLink, CostsNothingButTime) {
  const scenario::Scenario drawn = pair_with(std::string("target = \"A-B\"\n") + GetParam().event);
  StateWatch watch(drawn);
  const auto results = scenario::run_virtual(drawn, {}, &watch).value();
  const scenario::ContenderResult& pair = results.contenders.front();
  EXPECT_EQ(watch.complaint(), "");
  EXPECT_EQ(pair.inconclusive, "");
  const scenario::EventResult& event = pair.events.front();
  EXPECT_EQ(event.state, scenario::EventState::applied);
  EXPECT_GT(event.hits, 0u);
  EXPECT_EQ(event.window.node_repair.needed, GetParam().noticed);
  EXPECT_EQ(event.window.node_repair.finished, GetParam().noticed);
  EXPECT_EQ(pair.oracle.lost_writes + pair.oracle.stale_reads + pair.oracle.corrupt_reads, 0u);
  EXPECT_EQ(pair.whole.client_errors, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Verbs, BadLink,
    testing::Values(Case{"reset", "do = \"link.reset\"", true},
                    Case{"flap_short", "do = \"link.flap\"\nperiod = \"20ms\"\nfor = \"500ms\"", false},
                    Case{"flap_long", "do = \"link.flap\"\nperiod = \"300ms\"\nfor = \"1s\"", true},
                    Case{"duplicate", "do = \"link.duplicate\"\npercent = 10\nfor = \"500ms\"", true},
                    Case{"corrupt", "do = \"link.corrupt\"\npercent = 10\nfor = \"500ms\"", true},
                    Case{"loss", "do = \"link.loss\"\npercent = 10\nfor = \"500ms\"", true}),
    [](const testing::TestParamInfo<Case>& info) { return std::string(info.param.name); });

// One node's disk hangs and the other restarts: that one must not be left out, or nobody has a copy once the disk is given up.
void hang_and_restart(const std::string& hung, const std::string& restarted) {
  const scenario::Scenario drawn =
      pair_with("do = \"disk.hang\"\ntarget = \"" + hung + ".disk0\"\n" +
                "[[event]]\nname = \"restart\"\nat = \"320ms\"\ndo = \"node.crash\"\ntarget = \"" + restarted +
                "\"\nfor = \"400ms\"");
  StateWatch watch(drawn);
  const auto results = scenario::run_virtual(drawn, {}, &watch).value();
  EXPECT_EQ(watch.complaint(), "");
  EXPECT_EQ(results.contenders.front().oracle.lost_writes, 0u);
}

TEST(HungDisk, OfThePrimaryShutsNobodyOut) { hang_and_restart("A", "B"); }

TEST(HungDisk, OfTheSecondaryShutsNobodyOut) { hang_and_restart("B", "A"); }

}  // namespace
}  // namespace resilver::swarm
