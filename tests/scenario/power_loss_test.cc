// Whatever takes the power of all copies of a volume, the oracle is told of it: what was not promised is not missed.
#include <gtest/gtest.h>

#include "scenario/parse.h"
#include "scenario/run.h"

namespace resilver::scenario {
namespace {

constexpr const char* kHead = R"(schema = 1
title = "A hall without power"
goal = "what comes back after everything lost power"
volume = "16MiB"
fair = "same-usable"
length = "4s"
settle = "4s"
[disk]
model = "sata-ssd"
[link.lan]
rtt = "0.2ms"
bandwidth = "10Gbit/s"
[workload]
rw = "randrw"
bs = "4K"
size = "1MiB"
rate_iops = 1000
max_inflight = 64
retry = "10s"
warmup = "500ms"
[[event]]
name = "the hall goes dark"
at = "2s"
do = "site.lose"
target = "hall"
for = "300ms"
[[contender]]
name = "mirror"
node.A = { raid = 1, disks = 2, chunk = "64K", consistency = "bitmap" }
sites = { hall = ["A"] }
reboot = "200ms"
)";

std::string pair(const std::string& ack) {
  return "[[contender]]\nname = \"" + ack +
         "\"\nnodes = [\"A\", \"B\"]\neach = { raid = 0, disks = 1, chunk = \"64K\" }\nreplicate = { ack = \"" + ack +
         "\", primary = \"A\", detect = \"400ms\", link = \"lan\" }\nsites = { hall = [\"A\", \"B\"] }\nreboot = "
         "\"200ms\"\n";
}

// A mirror promises what was flushed, and nothing was: with these seeds it comes back with older blocks. Replicas promise
// what they acknowledged, or as much of it as the new primary has, also where it is the old one.
TEST(PowerLoss, OfASiteWithAllCopiesIsToldToTheOracle) {
  auto scenario =
      parse_scenario(kHead + pair("durable") + pair("quorum") + pair("received") + pair("async"), "hall.toml");
  ASSERT_TRUE(scenario) << to_string(scenario.error().front());
  for (const std::uint64_t seed : {6, 7}) {
    scenario->seed = seed;
    const auto results = run_virtual(*scenario, {});
    ASSERT_TRUE(results) << to_string(results.error());
    for (const ContenderResult& contender : results->contenders) {
      EXPECT_EQ(contender.inconclusive, "") << contender.name;
      EXPECT_EQ(contender.oracle.lost_writes, 0u) << contender.name << " seed " << seed;
      EXPECT_EQ(contender.oracle.stale_reads, 0u) << contender.name << " seed " << seed;
      EXPECT_EQ(contender.oracle.corrupt_reads, 0u) << contender.name << " seed " << seed;
    }
  }
}

}  // namespace
}  // namespace resilver::scenario
