// Random scenarios in virtual time: nothing acknowledged may be lost, nothing stale or corrupt returned, and once the faults
// stop everything must become whole again.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/hash.h"
#include "scenario/run.h"
#include "tests/swarm/random_scenario.h"
#include "tests/swarm/verdict.h"

namespace resilver::swarm {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != 0 ? std::strtoull(text, nullptr, 10) : otherwise;
}

scenario::RunResults run(std::uint64_t seed, Kind kind) {
  return scenario::run_virtual(random_scenario(seed, kind), {}).value();
}

std::uint64_t hash_of(std::uint64_t first, std::uint64_t count) {
  Hash64 hash;
  for (std::uint64_t seed = first; seed < first + count; ++seed) hash.add(run(seed, Kind::any).header.trace_hash);
  return hash.value();
}

void expect_green(Kind kind, std::uint64_t seeds) {
  const std::uint64_t first = from_environment("RESILVER_SWARM_FIRST", 1);
  std::uint64_t failed = 0;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    const std::string wrong = complaint_of(seed, kind);
    if (wrong.empty()) continue;
    ++failed;
    ADD_FAILURE() << "seed " << seed << ": " << wrong << "\n"
                  << story(seed, kind) << "\nreplay: make swarm N=1 SEED=" << seed << " KIND=" << kind_name(kind);
    if (failed == 10) break;
  }
}

TEST(Swarm, RandomScenarios) {
  const char* word = std::getenv("RESILVER_SWARM_KIND");
  expect_green(kind_from_name(word == nullptr ? "any" : word), from_environment("RESILVER_SWARM_SEEDS", 500));
}

TEST(Swarm, SplitBrains) { expect_green(Kind::split_brain, from_environment("RESILVER_SWARM_SEEDS", 500) / 5); }

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

}  // namespace
}  // namespace resilver::swarm
