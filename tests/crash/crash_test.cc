// A power loss at every single write of a client's work: what was durable is right, what was being written is old or new,
// redundancy matches after the recovery, and all of it holds with any member left out.
#include "base/planted_bug.h"
#include "tests/crash/experiment.h"

namespace resilver::raid {
namespace {

void expect_safe(const Case& which) {
  for_seeds(which, [](const Case& each) {
    const Verdict verdict = Experiment(each).cut_everywhere();
    EXPECT_GT(verdict.cuts, 20u) << verdict.text();
    EXPECT_EQ(verdict.wrong(), 0u) << verdict.text();
  });
}

TEST(PowerLoss, Raid0) { expect_safe({.level = Level::raid0, .consistency = Consistency::none}); }
TEST(PowerLoss, Raid1WithResync) { expect_safe({.level = Level::raid1, .members = 3}); }
TEST(PowerLoss, Raid1WithBitmap) {
  expect_safe({.level = Level::raid1, .members = 2, .consistency = Consistency::bitmap, .stripes = 18});
}
TEST(PowerLoss, Raid10WithResync) { expect_safe({.level = Level::raid10, .members = 4}); }
TEST(PowerLoss, Raid10WithBitmap) {
  expect_safe({.level = Level::raid10, .members = 5, .consistency = Consistency::bitmap, .stripes = 18});
}
TEST(PowerLoss, Raid4WithResync) { expect_safe({.level = Level::raid4}); }
TEST(PowerLoss, Raid4WithBitmap) {
  expect_safe({.level = Level::raid4, .consistency = Consistency::bitmap, .stripes = 18});
}
TEST(PowerLoss, Raid5WithResync) { expect_safe({.level = Level::raid5}); }
TEST(PowerLoss, Raid5WithBitmap) {
  expect_safe({.level = Level::raid5, .consistency = Consistency::bitmap, .stripes = 18});
}
TEST(PowerLoss, Raid6WithResync) { expect_safe({.level = Level::raid6, .members = 5}); }
TEST(PowerLoss, Raid6WithBitmap) {
  expect_safe({.level = Level::raid6, .members = 5, .consistency = Consistency::bitmap, .stripes = 18});
}

TEST(Crash, Raid1WithBitmap) {
  expect_safe({.level = Level::raid1, .members = 3, .consistency = Consistency::bitmap, .power = false});
}
TEST(Crash, Raid10OfThreeWithBitmap) {
  expect_safe({.level = Level::raid10, .members = 3, .consistency = Consistency::bitmap, .power = false});
}
TEST(Crash, Raid5WithBitmap) { expect_safe({.consistency = Consistency::bitmap, .power = false}); }
TEST(Crash, Raid6WithResync) { expect_safe({.level = Level::raid6, .members = 5, .power = false}); }

// A member dies in the middle of the work and is there again after the cut, with what it missed (rule 2).
constexpr Nanos kMeanwhile = 700 * kMicrosecond;
TEST(AMemberDies, OfRaid1) { expect_safe({.level = Level::raid1, .members = 3, .dies_after = kMeanwhile}); }
TEST(AMemberDies, OfRaid10) { expect_safe({.level = Level::raid10, .members = 4, .dies_after = kMeanwhile}); }
TEST(AMemberDies, OfRaid6WithBitmap) {
  expect_safe({.level = Level::raid6, .members = 5, .consistency = Consistency::bitmap, .dies_after = kMeanwhile});
}

// The tests must be able to fail: each of these bugs is seen by them.
struct Planted {
  explicit Planted(PlantedBug bug) { planted_bug_now = bug; }
  ~Planted() { planted_bug_now = PlantedBug::none; }
};

TEST(PlantedBugs, ABitClearedEarlyLeavesParityThatDoesNotMatch) {
  const Planted bug(PlantedBug::bitmap_cleared_early);
  const Verdict verdict = Experiment({.consistency = Consistency::bitmap, .rounds = 6, .stripes = 24}).cut_everywhere();
  EXPECT_GT(verdict.mismatches, 0u) << verdict.text();
  EXPECT_GT(verdict.lost, 0u) << "read with a member left out: " << verdict.text();
}

}  // namespace
}  // namespace resilver::raid
