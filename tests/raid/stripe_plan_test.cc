// What accesses cost, against the textbook and by enumeration.
#include <gtest/gtest.h>

#include "raid/geometry.h"

namespace resilver::raid {
namespace {

Geometry make(Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk, std::uint64_t member) {
  auto geometry = Geometry::make(level, layout, disks, chunk, member);
  EXPECT_TRUE(geometry.has_value()) << (geometry ? "" : geometry.error().what);
  return *geometry;
}

StripeCost write_cost(const Geometry& g, ColumnSet columns, MemberSet lost = {}) {
  return plan_write(g, 0, columns, columns, lost).cost;
}

TEST(Cost, HealthyWritesCostWhatTheTextbookSays) {
  const Geometry r0 = make(Level::raid0, Layout::none, 4, 4096, 4096 * 4);
  EXPECT_EQ(write_cost(r0, {0}), (StripeCost{0, 1}));
  const Geometry r1 = make(Level::raid1, Layout::none, 3, 0, 4096 * 4);
  EXPECT_EQ(write_cost(r1, {0}), (StripeCost{0, 3}));
  EXPECT_EQ(write_cost(r1, {0}, {1}), (StripeCost{0, 2}));
  const Geometry r5 = make(Level::raid5, Layout::left_symmetric, 5, 4096, 4096 * 5);
  EXPECT_EQ(write_cost(r5, {0}), (StripeCost{2, 2}));  // the small-write problem: four I/Os
  EXPECT_EQ(write_cost(r5, {0, 1}), (StripeCost{2, 3}));
  EXPECT_EQ(write_cost(r5, {0, 1, 2}), (StripeCost{1, 4}));
  EXPECT_EQ(write_cost(r5, {0, 1, 2, 3}), (StripeCost{0, 5}));
  const Geometry r6 = make(Level::raid6, Layout::left_symmetric, 8, 4096, 4096 * 8);
  EXPECT_EQ(write_cost(r6, {0}), (StripeCost{3, 3}));
  EXPECT_EQ(write_cost(r6, ColumnSet::first(6)), (StripeCost{0, 8}));
}

TEST(Cost, ARaid10WritesBothCopiesAndReadsOne) {
  const Geometry g = make(Level::raid10, Layout::near_2, 5, 4096, 4096 * 4);
  EXPECT_EQ(plan_write(g, 2, {0}, {0}, {}).cost, (StripeCost{0, 2}));  // chunk 2: disks 4 and 0
  EXPECT_EQ(plan_write(g, 2, {0}, {0}, {0, 1}).cost, (StripeCost{0, 1}));
  EXPECT_EQ(plan_write(g, 2, {0}, {0}, {0, 4}).way, WriteWay::impossible);
  EXPECT_EQ(plan_read(g, 2, {0}, {4}).cost, (StripeCost{1, 0}));
  EXPECT_FALSE(plan_read(g, 2, {0}, {0, 4}).possible);
  EXPECT_TRUE(plan_read(g, 0, {0}, {0, 4}).possible);
}

TEST(Cost, ChoosesTheCheaperWayAndReconstructsOnATie) {
  const Geometry wide = make(Level::raid5, Layout::left_symmetric, 8, 4096, 4096 * 8);        // 7 data
  EXPECT_EQ(plan_write(wide, 0, {0, 1}, {0, 1}, {}).way, WriteWay::read_modify_write);        // 3 reads against 5
  EXPECT_EQ(plan_write(wide, 0, {0, 1, 2}, {0, 1, 2}, {}).way, WriteWay::reconstruct_write);  // 4 against 4
  EXPECT_EQ(plan_write(wide, 0, {0, 1, 2}, {0, 1}, {}).way, WriteWay::read_modify_write);     // 4 against 5
  EXPECT_EQ(plan_write(wide, 0, ColumnSet::first(7), ColumnSet::first(7), {}).way, WriteWay::full_stripe);
  EXPECT_EQ(plan_write(wide, 0, ColumnSet::first(7), ColumnSet::first(6), {}).way, WriteWay::reconstruct_write);
}

TEST(Cost, DegradedWritesReadOnlyWhatTheyMust) {
  const Geometry r5 = make(Level::raid5, Layout::left_symmetric, 5, 4096, 4096 * 5);  // stripe 0: D0..D3 P
  // The written chunk is lost: the others make its parity.
  WritePlan plan = plan_write(r5, 0, {0}, {0}, {0});
  EXPECT_EQ(plan.way, WriteWay::reconstruct_write);
  EXPECT_EQ(plan.reads, (ColumnSet{1, 2, 3}));
  EXPECT_EQ(plan.writes, (ColumnSet{4}));
  // Another chunk is lost: only read-modify-write can keep it in the parity.
  plan = plan_write(r5, 0, {0, 1}, {0, 1}, {3});
  EXPECT_EQ(plan.way, WriteWay::read_modify_write);
  EXPECT_EQ(plan.reads, (ColumnSet{0, 1, 4}));
  // P is lost: nothing to keep in step.
  plan = plan_write(r5, 0, {0}, {0}, {4});
  EXPECT_EQ(plan.way, WriteWay::data_only);
  EXPECT_EQ(plan.cost, (StripeCost{0, 1}));
  // The lost chunk is written in part: its old content is needed.
  plan = plan_write(r5, 0, {0, 1}, {1}, {0});
  EXPECT_EQ(plan.way, WriteWay::rebuild_write);
  EXPECT_EQ(plan.reads, (ColumnSet{1, 2, 3, 4}));
  EXPECT_EQ(plan.recovers, (ColumnSet{0}));
  EXPECT_EQ(plan.writes, (ColumnSet{1, 4}));
  EXPECT_EQ(plan_write(r5, 0, {0}, {0}, {0, 1}).way, WriteWay::impossible);

  const Geometry r6 = make(Level::raid6, Layout::left_symmetric, 6, 4096, 4096 * 6);  // stripe 0: Q D0..D3 P
  plan = plan_write(r6, 0, {0}, {0}, {1, 2});                                         // D0 (written) and D1 lost
  EXPECT_EQ(plan.way, WriteWay::rebuild_write);
  EXPECT_EQ(plan.reads, (ColumnSet{2, 3, 4, 5}));
  EXPECT_EQ(plan.recovers, (ColumnSet{1}));
  EXPECT_EQ(plan.writes, (ColumnSet{4, 5}));
}

TEST(Cost, DegradedReadsReadTheRestOfTheStripe) {
  const Geometry r5 = make(Level::raid5, Layout::left_symmetric, 5, 4096, 4096 * 5);
  EXPECT_EQ(plan_read(r5, 0, {0}, {}).cost, (StripeCost{1, 0}));
  EXPECT_EQ(plan_read(r5, 0, {1}, {0}).cost, (StripeCost{1, 0}));
  ReadPlan plan = plan_read(r5, 0, {0, 1}, {0});
  EXPECT_EQ(plan.reads, (ColumnSet{1, 2, 3, 4}));
  EXPECT_EQ(plan.recovers, (ColumnSet{0}));
  EXPECT_FALSE(plan_read(r5, 0, {0}, {0, 4}).possible);
  EXPECT_TRUE(plan_read(r5, 0, {1}, {0, 4}).possible);
  const Geometry r6 = make(Level::raid6, Layout::left_symmetric, 6, 4096, 4096 * 6);  // stripe 0: Q D0..D3 P
  EXPECT_EQ(plan_read(r6, 0, {0}, {1}).reads, (ColumnSet{1, 2, 3, 4}));               // P, not Q
  EXPECT_EQ(plan_read(r6, 0, {0}, {1, 5}).reads, (ColumnSet{1, 2, 3, 5}));            // P lost too: Q
  EXPECT_EQ(plan_read(r6, 0, {0}, {1, 2}).reads, (ColumnSet{2, 3, 4, 5}));
  const Geometry r0 = make(Level::raid0, Layout::none, 2, 4096, 4096 * 4);
  EXPECT_FALSE(plan_read(r0, 0, {0}, {0}).possible);
  const Geometry r1 = make(Level::raid1, Layout::none, 2, 0, 4096 * 4);
  EXPECT_TRUE(plan_read(r1, 0, {0}, {0}).possible);
  EXPECT_FALSE(plan_read(r1, 0, {0}, {0, 1}).possible);
}

struct Shape {
  Level level;
  Layout layout;
  std::uint32_t least;
};
constexpr Shape kShapes[] = {
    {Level::raid0, Layout::none, 1},
    {Level::raid4, Layout::none, 3},
    {Level::raid5, Layout::left_symmetric, 3},
    {Level::raid5, Layout::left_asymmetric, 3},
    {Level::raid5, Layout::right_symmetric, 3},
    {Level::raid5, Layout::right_asymmetric, 3},
    {Level::raid5, Layout::parity_first, 3},
    {Level::raid5, Layout::parity_last, 3},
    {Level::raid6, Layout::left_symmetric, 4},
    {Level::raid6, Layout::left_asymmetric, 4},
    {Level::raid6, Layout::right_symmetric, 4},
    {Level::raid6, Layout::right_asymmetric, 4},
    {Level::raid6, Layout::parity_first, 4},
    {Level::raid6, Layout::parity_last, 4},
};

// For every written set, every lost set: never touches a lost member, and what it reads is enough to know the new parity.
TEST(Cost, EveryPlanIsSufficientAndAvoidsLostMembers) {
  for (const Shape& shape : kShapes) {
    for (std::uint32_t disks = shape.least; disks <= 6; ++disks) {
      const Geometry g = make(shape.level, shape.layout, disks, 4096, 4096 * disks);
      for (std::uint64_t lost_bits = 0; lost_bits < (1u << disks); ++lost_bits) {
        const MemberSet lost = MemberSet::from_bits(lost_bits);
        for (std::uint64_t stripe = 0; stripe < disks; ++stripe) {
          const ColumnSet gone = g.columns_lost(stripe, lost);
          for (std::uint64_t t = 1; t < (1u << g.data_disks()); ++t) {
            for (std::uint64_t f = t;; f = (f - 1) & t) {
              const ColumnSet touched = ColumnSet::from_bits(t);
              const ColumnSet full = ColumnSet::from_bits(f);
              const WritePlan plan = plan_write(g, stripe, touched, full, lost);
              ASSERT_EQ(plan.way == WriteWay::impossible, lost.count() > g.redundancy());
              ASSERT_TRUE((plan.reads & gone).empty());
              ASSERT_TRUE((plan.writes & gone).empty());
              if (plan.way == WriteWay::reconstruct_write) ASSERT_EQ(plan.reads | full, g.all_data());
              if (plan.way == WriteWay::rebuild_write) {
                ASSERT_EQ((plan.reads - g.all_data()).count(), (gone & g.all_data()).count());
                ASSERT_EQ(plan.reads | plan.recovers | full | (gone & full), plan.reads | g.all_data());
              }
              if (plan.way == WriteWay::read_modify_write) ASSERT_EQ(plan.reads, plan.writes);
              if (f == 0) break;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace resilver::raid
