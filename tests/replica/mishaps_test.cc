// Seeded schedules of mishaps (mishaps.h). Replay one with --gtest_filter=Mishaps.* and RESILVER_REPLICA_FIRST=n
// RESILVER_REPLICA_SEEDS=1. RESILVER_REPLICA_SEEDS: how many.
#include "tests/replica/mishaps.h"

#include <cstdio>
#include <cstdlib>

#include "base/planted_bug.h"

namespace resilver::replica {
namespace {

std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(Mishaps, LoseNothingSilentlyAndEndWholeOrWithAReason) {
  const std::uint64_t first = number("RESILVER_REPLICA_FIRST", 1), count = number("RESILVER_REPLICA_SEEDS", 10);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const std::string wrong = Mishaps(seed).run();
    EXPECT_EQ(wrong, "") << "seed " << seed << "; replay: RESILVER_REPLICA_FIRST=" << seed
                         << " RESILVER_REPLICA_SEEDS=1 build/release/tests/replica --gtest_filter='Mishaps.*'";
  }
}

// 173: a primary that heard late of an arbiter's process which was gone refused the one that was there, for ever.
TEST(Mishaps, SeedsThatOnceFoundAFault) {
  for (const std::uint64_t seed : {173}) EXPECT_EQ(Mishaps(seed).run(), "") << "seed " << seed;
}

struct Stored {
  const char* name;
  PlantedBug bug;
  std::uint64_t seed;  // finds it
};

class MishapsFindTheRuleThatIsOff : public ::testing::TestWithParam<Stored> {
 protected:
  void TearDown() override { planted_bug_now = PlantedBug::none; }
};

TEST_P(MishapsFindTheRuleThatIsOff, BySeed) {
  const Stored& stored = GetParam();
  EXPECT_EQ(Mishaps(stored.seed).run(), "") << "seed " << stored.seed << " without the bug";
  planted_bug_now = stored.bug;
  if (!Mishaps(stored.seed).run().empty()) return;
  std::string found;
  std::uint64_t seed = 0;
  while (found.empty() && seed < 2000) found = Mishaps(++seed).run();
  ASSERT_NE(found, "") << stored.name << ": not found in " << seed << " seeds";
  std::printf("%s: seed %llu finds it (%.100s ...), %llu does not any more: store it\n", stored.name,
              static_cast<unsigned long long>(seed), found.c_str(), static_cast<unsigned long long>(stored.seed));
}

constexpr Stored kRules[] = {
    {"bits_dropped_unprepared", PlantedBug::bits_dropped_unprepared, 1},
    {"fork_obeyed", PlantedBug::fork_obeyed, 44},
    {"older_record_obeyed", PlantedBug::older_record_obeyed, 8},
};
INSTANTIATE_TEST_SUITE_P(Replica, MishapsFindTheRuleThatIsOff, ::testing::ValuesIn(kRules),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace resilver::replica
