// Whatever takes the power of all copies of a volume, the oracle is told of it: what was not promised is not missed.
#include <gtest/gtest.h>

#include <map>
#include <string>

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

// A disk that lies about flushes costs acknowledged writes at the next power loss, unless another copy has them; one that was
// honest again costs none. Real time has the same wrapper.
TEST(PowerLoss, OfADiskThatLosesFlushesTakesWhatItAcknowledged) {
  const auto lost = [](const std::string& until) {
    std::string text(kHead);
    text.replace(text.find("rw = \"randrw\""), 13, "rw = \"randrw\"\nflush_every = 8");
    text +=
        "[[contender]]\nname = \"single\"\nnode.A = { raid = 0, disks = 1 }\nsites = { hall = [\"A\"] }\nreboot = "
        "\"200ms\"\n";
    text += "[[event]]\nname = \"lies\"\nat = \"600ms\"\ndo = \"disk.lost_flush\"\ntarget = \"A.disk0\"\n" + until;
    const auto scenario = parse_scenario(text, "lies.toml");
    if (!scenario) ADD_FAILURE() << to_string(scenario.error().front());
    const auto results = run_virtual(*scenario, {});
    if (!results) ADD_FAILURE() << to_string(results.error());
    std::map<std::string, std::uint64_t> by_name;
    for (const ContenderResult& contender : results->contenders) {
      EXPECT_EQ(contender.inconclusive, "") << contender.name;
      EXPECT_EQ(contender.oracle.corrupt_reads, 0u) << contender.name;
      EXPECT_GT(contender.events.back().hits, 0u) << contender.name;
      by_name[contender.name] = contender.oracle.lost_writes + contender.oracle.stale_reads;
    }
    return by_name;
  };
  const auto to_the_end = lost("");
  EXPECT_GT(to_the_end.at("single"), 0u);
  EXPECT_GT(to_the_end.at("mirror"), 0u) << "a mirror cannot tell which side is right";
  for (const auto& [name, count] : lost("for = \"1s\"\n")) EXPECT_EQ(count, 0u) << name;
}

}  // namespace
}  // namespace resilver::scenario
