// Planted bugs prove that the swarm sees what it must see. Each is known by a stored seed; one that does not bite any more,
// since something else is drawn now, is searched anew and printed, to be stored.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "base/planted_bug.h"
#include "tests/swarm/verdict.h"

namespace resilver::swarm {
namespace {

struct Planted {
  PlantedBug bug;
  const char* name;
  Kind kind;
  std::uint64_t stored_seed;
};

class SwarmFinds : public testing::TestWithParam<Planted> {
 protected:
  std::string with_the_bug(std::uint64_t seed) {
    planted_bug_now = GetParam().bug;
    std::string wrong = complaint_of(seed, GetParam().kind);
    planted_bug_now = PlantedBug::none;
    return wrong;
  }
};

TEST_P(SwarmFinds, ThePlantedBug) {
  constexpr std::uint64_t kSeeds = 2000;
  std::uint64_t seed = GetParam().stored_seed;
  std::string wrong = with_the_bug(seed);
  if (wrong.empty()) {
    for (seed = 1; wrong.empty() && seed <= kSeeds; ++seed) wrong = with_the_bug(seed);
    ASSERT_NE(wrong, "") << GetParam().name << " was not found by " << kSeeds << " seeds";
    --seed;
    std::printf("the stored seed %llu does not bite any more: store %llu\n",
                static_cast<unsigned long long>(GetParam().stored_seed), static_cast<unsigned long long>(seed));
  }
  EXPECT_EQ(complaint_of(seed, GetParam().kind), "") << "seed " << seed << " must be green without the bug";
  std::printf("%s found by seed %llu: %s\n", GetParam().name, static_cast<unsigned long long>(seed), wrong.c_str());
}

INSTANTIATE_TEST_SUITE_P(
    Bugs, SwarmFinds,
    testing::Values(Planted{PlantedBug::no_range_lock, "no_range_lock", Kind::parity, 1},
                    Planted{PlantedBug::parity_not_updated_degraded, "parity_not_updated_degraded", Kind::parity, 1},
                    Planted{PlantedBug::fork_obeyed, "fork_obeyed", Kind::split_brain, 1},
                    Planted{PlantedBug::inconsistent_promoted, "inconsistent_promoted", Kind::split_brain, 442},
                    Planted{PlantedBug::quorum_promotes_the_shorter, "quorum_promotes_the_shorter", Kind::replicated, 3},
                    Planted{PlantedBug::lease_ignored, "lease_ignored", Kind::replicated, 31},
                    Planted{PlantedBug::bitmap_cleared_early, "bitmap_cleared_early", Kind::any, 62},
                    Planted{PlantedBug::ack_before_durable, "ack_before_durable", Kind::replicated, 9},
                    Planted{PlantedBug::no_fencing, "no_fencing", Kind::replicated, 754},
                    Planted{PlantedBug::checksum_skips_a_block, "checksum_skips_a_block", Kind::split_brain, 101},
                    Planted{PlantedBug::reconciliation_skipped, "reconciliation_skipped", Kind::replicated, 55}),
    [](const testing::TestParamInfo<Planted>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace resilver::swarm
