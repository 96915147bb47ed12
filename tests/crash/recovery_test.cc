// A power loss while the array recovers: during a rebuild, during the first resync and the resync after a power loss.
#include "tests/crash/experiment.h"

namespace resilver::raid {
namespace {

void expect_safe(const Verdict& verdict) {
  EXPECT_GT(verdict.cuts, 20u) << verdict.text();
  EXPECT_EQ(verdict.wrong(), 0u) << verdict.text();
}
void cut_rebuild(const Case& which) {
  for_seeds(which, [](const Case& each) { expect_safe(Experiment(each).cut_everywhere()); });
}
void cut_resync(const Case& which) {
  for_seeds(which, [](const Case& each) { expect_safe(Experiment(each).cut_recovery(10, full_matrix() ? 1 : 2)); });
}

TEST(PowerLossInRebuild, OfAnIdleRaid5) { cut_rebuild({.lost = 1, .added = 1, .rounds = 0, .stripes = 18}); }
TEST(PowerLossInRebuild, OfAnIdleRaid5WithBitmap) {
  cut_rebuild({.consistency = Consistency::bitmap, .lost = 1, .added = 1, .rounds = 0, .stripes = 18});
}
TEST(PowerLossInRebuild, OfTwoMembersOfAnIdleRaid6) {
  cut_rebuild({.level = Level::raid6, .members = 5, .lost = 2, .added = 2, .rounds = 0, .stripes = 18});
}
TEST(PowerLossInRebuild, OfARaid1UnderWrites) {
  cut_rebuild({.level = Level::raid1, .members = 3, .lost = 1, .added = 1, .stripes = 18});
}
TEST(PowerLossInRebuild, OfARaid5UnderWrites) { cut_rebuild({.lost = 1, .added = 1, .stripes = 18}); }

TEST(PowerLossInReplace, OfAnIdleRaid5) { cut_rebuild({.added = 1, .rounds = 0, .stripes = 18}); }
TEST(PowerLossInReplace, OfARaid5UnderWrites) { cut_rebuild({.added = 1, .stripes = 18}); }
TEST(PowerLossInReplace, OfARaid6WithBitmapUnderWrites) {
  cut_rebuild({.level = Level::raid6, .members = 5, .consistency = Consistency::bitmap, .added = 1, .stripes = 18});
}
// Both take over at the same moment: what is written then must not be acknowledged too early.
TEST(PowerLossInReplace, OfTwoMembersOfARaid5WithBitmapUnderWrites) {
  cut_rebuild({.consistency = Consistency::bitmap, .added = 2, .stripes = 18});
}

TEST(PowerLossInResync, OfANewRaid5UnderWrites) { cut_rebuild({.initial_sync = true, .stripes = 18}); }
TEST(PowerLossInResync, AfterAPowerLossOfRaid1) { cut_resync({.level = Level::raid1, .members = 3}); }
TEST(PowerLossInResync, AfterAPowerLossOfRaid5) { cut_resync({}); }
TEST(PowerLossInResync, AfterAPowerLossOfRaid5WithBitmap) { cut_resync({.consistency = Consistency::bitmap}); }
TEST(PowerLossInResync, AfterAPowerLossOfRaid6) { cut_resync({.level = Level::raid6, .members = 5}); }

}  // namespace
}  // namespace resilver::raid
