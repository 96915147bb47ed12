// Random scenarios in virtual time: nothing acknowledged may be lost, nothing stale or corrupt returned, and once the faults
// stop everything must become whole again. Planted bugs prove that the swarm sees what it must see.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/hash.h"
#include "base/planted_bug.h"
#include "random_scenario.h"
#include "scenario/run.h"

namespace resilver::swarm {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != 0 ? std::strtoull(text, nullptr, 10) : otherwise;
}

scenario::RunResults run(std::uint64_t seed, Kind kind) {
  return scenario::run_virtual(random_scenario(seed, kind), {}).value();
}

// Empty if the run kept every promise; else what went wrong.
std::string complaint(const scenario::Scenario& drawn, const scenario::RunResults& results) {
  const auto& replicate = drawn.contenders.front().replicate;
  const bool may_lose = replicate && replicate->ack == scenario::Ack::async;
  const scenario::ContenderResult& contender = results.contenders.front();
  const scenario::OracleResult& oracle = contender.oracle;
  if (oracle.lost_writes != 0 && !may_lose) return fmt::format("{} acknowledged writes lost", oracle.lost_writes);
  if (oracle.stale_reads != 0) return fmt::format("{} stale reads", oracle.stale_reads);
  if (oracle.corrupt_reads != 0) return fmt::format("{} corrupt reads", oracle.corrupt_reads);
  if (oracle.unrecoverable_bytes != 0) return fmt::format("{} bytes unreadable", oracle.unrecoverable_bytes);
  // A fault that came when nobody was there to be hit is no fault of the engine's.
  const bool unlucky = contender.inconclusive.find("hit nothing") != std::string::npos ||
                       contender.inconclusive.find("never came") != std::string::npos;
  if (!contender.inconclusive.empty() && !unlucky) return contender.inconclusive;
  const scenario::EventResult* last = nullptr;
  for (const scenario::EventResult& event : contender.events) {
    if (event.state == scenario::EventState::applied && (last == nullptr || event.at >= last->at)) last = &event;
  }
  if (last == nullptr) return {};
  // Nobody knows yet that it hangs when the load ends.
  if (last->verb == "disk.hang" && last->at > kSecond) return {};
  for (const scenario::RepairResult* repair : {&last->window.repair, &last->window.node_repair}) {
    if (repair->needed && !repair->finished) return "not whole again after the last fault: " + repair->never_because;
  }
  return {};
}

std::string story(std::uint64_t seed, Kind kind) {
  const scenario::Scenario drawn = random_scenario(seed, kind);
  std::string text = scenario::describe(drawn.contenders.front());
  for (const scenario::Event& event : drawn.events) {
    text += fmt::format("\n  {}: {} {}", scenario::describe(event.trigger), scenario::verb_info(event.verb).name,
                        event.targets.front().text);
  }
  return text;
}

std::uint64_t hash_of(std::uint64_t first, std::uint64_t count) {
  Hash64 hash;
  for (std::uint64_t seed = first; seed < first + count; ++seed) hash.add(run(seed, Kind::any).header.trace_hash);
  return hash.value();
}

TEST(Swarm, RandomScenarios) {
  const std::uint64_t seeds = from_environment("RESILVER_SWARM_SEEDS", 300);
  const std::uint64_t first = from_environment("RESILVER_SWARM_FIRST", 1);
  std::uint64_t failed = 0;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    const std::string wrong = complaint(random_scenario(seed, Kind::any), run(seed, Kind::any));
    if (wrong.empty()) continue;
    ++failed;
    ADD_FAILURE() << "seed " << seed << ": " << wrong << "\n"
                  << story(seed, Kind::any) << "\nreplay: make swarm N=1 SEED=" << seed;
    if (failed == 10) break;
  }
}

TEST(Swarm, SameSeedSameTraceOtherSeedOtherTrace) {
  EXPECT_EQ(run(7, Kind::any).header.trace_hash, run(7, Kind::any).header.trace_hash);
  EXPECT_NE(run(7, Kind::any).header.trace_hash, run(8, Kind::any).header.trace_hash);
}

TEST(Swarm, PrintsItsHash) { std::printf("swarm hash %016llx\n", static_cast<unsigned long long>(hash_of(1, 10))); }

// The other build of this very test must come to the same hash: no undefined order, no floating point decides anything.
TEST(Swarm, SanitizerBuildHasTheSameHash) {
  const char* other = std::getenv("RESILVER_SWARM_OTHER");
  const std::string program = other != nullptr ? other : "build/asan/tests/swarm";
  std::FILE* output = popen((program + " --gtest_filter=Swarm.PrintsItsHash 2>/dev/null").c_str(), "r");
  ASSERT_NE(output, nullptr);
  char line[256];
  unsigned long long theirs = 0;
  bool found = false;
  while (std::fgets(line, sizeof line, output) != nullptr) {
    if (std::sscanf(line, "swarm hash %llx", &theirs) == 1) found = true;
  }
  pclose(output);
  if (!found) GTEST_SKIP() << program << " is not built";
  EXPECT_EQ(theirs, hash_of(1, 10));
}

struct Planted {
  PlantedBug bug;
  Kind kind;
  const char* name;
};

class SwarmFinds : public testing::TestWithParam<Planted> {
 protected:
  void TearDown() override { planted_bug_now = PlantedBug::none; }
};

TEST_P(SwarmFinds, ThePlantedBug) {
  constexpr std::uint64_t kSeeds = 2000;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    planted_bug_now = GetParam().bug;
    const std::string wrong = complaint(random_scenario(seed, GetParam().kind), run(seed, GetParam().kind));
    if (wrong.empty()) continue;
    planted_bug_now = PlantedBug::none;
    EXPECT_EQ(complaint(random_scenario(seed, GetParam().kind), run(seed, GetParam().kind)), "")
        << "the seed must be green without the bug";
    std::printf("%s found by seed %llu: %s\n", GetParam().name, static_cast<unsigned long long>(seed), wrong.c_str());
    return;
  }
  FAIL() << GetParam().name << " was not found by " << kSeeds << " seeds";
}

INSTANTIATE_TEST_SUITE_P(Bugs, SwarmFinds,
                         testing::Values(Planted{PlantedBug::no_range_lock, Kind::parity, "no_range_lock"},
                                         Planted{PlantedBug::parity_not_updated_degraded, Kind::parity,
                                                 "parity_not_updated_degraded"},
                                         Planted{PlantedBug::bitmap_cleared_early, Kind::any, "bitmap_cleared_early"},
                                         Planted{PlantedBug::ack_before_durable, Kind::replicated, "ack_before_durable"},
                                         Planted{PlantedBug::no_fencing, Kind::replicated, "no_fencing"}),
                         [](const testing::TestParamInfo<Planted>& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace resilver::swarm
