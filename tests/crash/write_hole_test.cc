// A degraded array computes the lost member's blocks from parity. A power loss between the writes of a stripe leaves parity
// that does not match, and blocks that nobody was writing change with it: the write hole. md refuses to start such an array;
// force starts it, and the loss is there. A journal closes the hole.
#include "tests/crash/experiment.h"

namespace resilver::raid {
namespace {

void expect_hole(const Case& which) {
  for_seeds(which, [](const Case& each) {
    const Verdict verdict = Experiment(each).cut_everywhere();
    EXPECT_GT(verdict.cuts, 20u);
    EXPECT_GT(verdict.refused, verdict.cuts / 2) << verdict.text();
    EXPECT_GT(verdict.holes, 0u) << "force loses nothing: " << verdict.text();
    EXPECT_EQ(verdict.wrong(), 0u) << verdict.text();
  });
}

TEST(WriteHole, Raid4WithResync) { expect_hole({.level = Level::raid4, .lost = 1}); }
TEST(WriteHole, Raid4WithBitmap) {
  expect_hole({.level = Level::raid4, .consistency = Consistency::bitmap, .lost = 1});
}
TEST(WriteHole, Raid5WithResync) { expect_hole({.lost = 1}); }
TEST(WriteHole, Raid5WithBitmap) { expect_hole({.consistency = Consistency::bitmap, .lost = 1}); }
TEST(WriteHole, Raid6WithoutOneWithResync) { expect_hole({.level = Level::raid6, .members = 5, .lost = 1}); }
TEST(WriteHole, Raid6WithoutTwoWithResync) { expect_hole({.level = Level::raid6, .members = 5, .lost = 2}); }
TEST(WriteHole, Raid6WithoutTwoWithBitmap) {
  expect_hole({.level = Level::raid6, .members = 5, .consistency = Consistency::bitmap, .lost = 2});
}

}  // namespace
}  // namespace resilver::raid
