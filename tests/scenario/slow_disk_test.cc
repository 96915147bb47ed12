// A disk slower than member_timeout, or one that hangs: whatever happens to its node meanwhile, no process of ours ends by a
// CHECK. The array has given the disk up, and the disk still holds the array's requests when pool and devices go.
#include <gtest/gtest.h>

#include <memory>

#include "scenario/parse.h"
#include "scenario/run.h"
#include "tests/support/program.h"

namespace resilver::scenario {
namespace {

using test::Directory;
using test::Ended;
using test::Program;

constexpr const char* kHead = R"(schema = 1
title = "A disk does not answer in time"
goal = "who ends in order?"
seed = 3
volume = "16MiB"
fair = "same-usable"
length = "6s"
settle = "6s"
[disk]
model = "sata-ssd"
[link.lan]
rtt = "0.2ms"
bandwidth = "10Gbit/s"
[world.real]
pace = true
[[contender]]
name = "raid0"
node.A = { raid = 0, disks = 2, spares = 1, chunk = "64K", member_timeout = "1s" }
reboot = "200ms"
[[contender]]
name = "raid5"
node.A = { raid = 5, disks = 3, spares = 1, chunk = "64K", consistency = "bitmap", member_timeout = "1s" }
reboot = "200ms"
[[contender]]
name = "pair"
nodes = ["A", "B"]
each = { raid = 0, disks = 2, spares = 1, chunk = "64K", member_timeout = "1s" }
replicate = { ack = "durable", primary = "A", detect = "400ms", min_in_sync = 1, link = "lan" }
reboot = "200ms"
[[contender]]
name = "hybrid"
nodes = ["A", "B"]
each = { raid = 5, disks = 3, spares = 1, chunk = "64K", consistency = "bitmap", member_timeout = "1s" }
replicate = { ack = "durable", primary = "A", detect = "400ms", min_in_sync = 1, link = "lan" }
reboot = "200ms"
[workload]
rw = "randrw"
bs = "16K"
rate_iops = 300
max_inflight = 128
flush_every = 16
retry = "20s"
warmup = "500ms"
[rebuild]
speed_min = "64MiB/s"
[[expect]]
check = "pair.lost_writes == 0 and hybrid.lost_writes == 0 and raid5.lost_writes == 0"
[[expect]]
check = "stale_reads == 0 and corrupt_reads == 0"
)";

std::string event(const std::string& name, const std::string& at, const std::string& verb, const std::string& target,
                  const std::string& more = {}) {
  return "[[event]]\nname = \"" + name + "\"\nat = \"" + at + "\"\ndo = \"" + verb + "\"\ntarget = \"" + target +
         "\"\n" + more + "\n";
}

struct Case {
  const char* name;
  std::string events;
  bool real = false;  // there too: it takes a quarter of a minute
};

std::vector<Case> cases() {
  const std::string slow = event("slow", "1s", "disk.slow", "A.disk0", "add = \"2s\"");
  const std::string hang = event("hang", "1s", "disk.hang", "A.disk0");
  const std::string replace = event("replaced", "2500ms", "disk.replace", "A.disk0");
  const std::string crash = event("crash", "3s", "node.crash", "A", "for = \"300ms\"");
  const std::string power = event("power", "3s", "node.power_loss", "A", "for = \"300ms\"");
  return {
      {"slow", slow},
      {"slow_for_a_while", event("slow", "1s", "disk.slow", "A.disk0", "add = \"2s\"\nfor = \"3s\"")},
      {"slow_replaced", slow + replace, true},
      {"slow_crash", slow + crash},
      {"slow_power_loss", slow + power},
      {"slow_replaced_crash", slow + replace + crash},
      {"hang_crash", hang + crash},
      {"hang_replaced", hang + replace},
      // The run ends, and with it the nodes, while the disk holds what nobody has given up yet.
      {"slow_to_the_end", event("slow", "5900ms", "disk.slow", "A.disk1", "add = \"1min\""), true},
      {"hang_to_the_end", event("hang", "5900ms", "disk.hang", "A.disk1"), true},
  };
}

std::vector<Case> real_cases() {
  std::vector<Case> all = cases();
  std::erase_if(all, [](const Case& one) { return !one.real; });
  return all;
}

std::string name_of(const testing::TestParamInfo<Case>& info) { return info.param.name; }

class SlowDisk : public testing::TestWithParam<Case> {};
class RealSlowDisk : public testing::TestWithParam<Case> {};

TEST_P(SlowDisk, EndsInOrder) {
  const auto scenario = parse_scenario(kHead + GetParam().events, "slow.toml");
  ASSERT_TRUE(scenario) << to_string(scenario.error().front());
  const auto results = run_virtual(*scenario, {});
  ASSERT_TRUE(results) << to_string(results.error());
  for (const ContenderResult& contender : results->contenders) {
    EXPECT_EQ(contender.inconclusive, "") << contender.name;
    if (contender.name == "raid0" || std::string(GetParam().name).ends_with("to_the_end")) continue;
    const WindowResult& last = contender.events.back().window;
    EXPECT_EQ(last.repair.needed, last.repair.finished) << contender.name << ": " << last.repair.never_because;
    EXPECT_EQ(last.node_repair.needed, last.node_repair.finished) << contender.name;
  }
  for (const Verdict& verdict : results->verdicts) {
    EXPECT_EQ(verdict.outcome, Outcome::passed) << verdict.check << ": " << verdict.detail;
  }
}

// Its array has been started, and its replica is being opened: that is no end of the node, which has a spare and a peer.
TEST(HungDisk, AtTheReturnOfItsNode) {
  const auto scenario = parse_scenario(kHead + event("crash", "2s", "node.crash", "A", "for = \"300ms\"") +
                                           event("hang", "2500200us", "disk.hang", "A.disk1"),
                                       "return.toml");
  ASSERT_TRUE(scenario) << to_string(scenario.error().front());
  Scenario pair = *scenario;
  std::erase_if(pair.contenders, [](const ContenderSpec& contender) { return contender.name != "pair"; });
  const auto results = run_virtual(pair, {});
  ASSERT_TRUE(results) << to_string(results.error());
  const ContenderResult& contender = results->contenders.at(0);
  EXPECT_EQ(contender.inconclusive, "");
  EXPECT_EQ(contender.trouble, "");
  EXPECT_TRUE(contender.events.back().window.repair.finished);
  EXPECT_EQ(contender.oracle.lost_writes + contender.oracle.stale_reads + contender.oracle.corrupt_reads, 0u);
}

TEST_P(RealSlowDisk, EndsInOrder) {
  struct Run {
    Directory work;
    std::unique_ptr<Program> program;
  };
  Directory directory;
  const std::string file = directory / "slow.toml";
  test::write_text(file, kHead + GetParam().events);
  std::vector<Run> runs(4);
  const std::vector<std::string> names = {"raid0", "raid5", "pair", "hybrid"};
  for (std::size_t i = 0; i < runs.size(); ++i) {  // most of each is waiting
    runs[i].program = std::make_unique<Program>(std::vector<std::string>{
        "run", file, "--time", "real", "--only", names[i], "--quiet", "--keep", "--work", runs[i].work.path()});
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Ended ended = runs[i].program->wait(60);
    EXPECT_EQ(ended.code, 0) << names[i] << ": " << ended.all();
    for (const std::string& name : runs[i].work.names()) {
      if (!name.ends_with(".log")) continue;
      const std::string log = test::read_text(runs[i].work / name);
      EXPECT_EQ(log.find("CHECK failed"), std::string::npos) << name << ":\n" << log;
      EXPECT_EQ(log.find("resilver contender-node: "), std::string::npos) << name << " gave up:\n" << log;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Virtual, SlowDisk, testing::ValuesIn(cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Real, RealSlowDisk, testing::ValuesIn(real_cases()), name_of);

}  // namespace
}  // namespace resilver::scenario
