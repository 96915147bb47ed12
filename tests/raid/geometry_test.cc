// Geometry against formulas and tables that were written down independently of geometry.cc.
#include "raid/geometry.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace resilver::raid {
namespace {

Geometry make(Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk, std::uint64_t member) {
  auto geometry = Geometry::make(level, layout, disks, chunk, member);
  EXPECT_TRUE(geometry.has_value()) << (geometry ? "" : geometry.error().what);
  return *geometry;
}

struct Shape {
  Level level;
  Layout layout;
  std::uint32_t least;
};
constexpr Shape kShapes[] = {
    {Level::raid0, Layout::none, 1},
    {Level::raid1, Layout::none, 2},
    {Level::raid4, Layout::none, 3},
    {Level::raid5, Layout::left_symmetric, 3},
    {Level::raid5, Layout::left_asymmetric, 3},
    {Level::raid6, Layout::left_symmetric, 4},
};

std::string refusal(Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk, std::uint64_t member) {
  auto geometry = Geometry::make(level, layout, disks, chunk, member);
  return geometry ? "accepted" : to_string(geometry.error());
}

TEST(Geometry, EveryBlockHasOnePlaceAndEveryPlaceOneBlock) {
  for (const Shape& shape : kShapes) {
    for (std::uint32_t disks = shape.least; disks <= (shape.level == Level::raid1 ? 8u : 9u); ++disks) {
      for (std::uint64_t chunk : {4096ull, 65536ull}) {
        const std::uint64_t unit = shape.level == Level::raid1 ? kMirrorUnit : chunk;
        const Geometry g = make(shape.level, shape.layout, disks, chunk, unit * (disks * 3 + 1));
        std::set<std::pair<std::uint32_t, std::uint64_t>> places;
        for (std::uint64_t logical = 0; logical < g.capacity_bytes(); logical += 4096) {
          const Location where = g.map(logical);
          ASSERT_TRUE(places.insert({where.member, where.member_offset}).second);
          ASSERT_LT(where.member_offset, g.member_bytes());
          ASSERT_EQ(g.role_of(where.stripe, where.member), (Role{RoleKind::data, where.data_index}));
          const MemberPlace back = g.at(where.member, where.member_offset);
          ASSERT_EQ(back.logical, logical);
          ASSERT_EQ(back.stripe, where.stripe);
          ASSERT_EQ(back.chunk_offset, where.chunk_offset);
          // Also in the middle of a block.
          ASSERT_EQ(g.at(g.map(logical + 1234).member, g.map(logical + 1234).member_offset).logical, logical + 1234);
        }
        // The rest is parity, and only parity.
        std::uint64_t parity_blocks = 0;
        for (std::uint32_t member = 0; member < (g.is_mirror() ? 1 : disks); ++member) {
          for (std::uint64_t offset = 0; offset < g.member_bytes(); offset += 4096) {
            const bool is_data = g.at(member, offset).logical.has_value();
            ASSERT_EQ(is_data, places.contains({member, offset}));
            parity_blocks += !is_data;
          }
        }
        ASSERT_EQ(parity_blocks, g.parity_disks() * (g.member_bytes() / 4096));
      }
    }
  }
}

TEST(Geometry, ColumnsAndMembersOfAStripeAreInverse) {
  for (const Shape& shape : kShapes) {
    if (shape.level == Level::raid1) continue;
    for (std::uint32_t disks = shape.least; disks <= 9; ++disks) {
      const Geometry g = make(shape.level, shape.layout, disks, 4096, 4096 * disks * 2);
      for (std::uint64_t stripe = 0; stripe < g.stripes(); ++stripe) {
        MemberSet seen;
        for (std::uint32_t column = 0; column < g.columns(); ++column) {
          const std::uint32_t member = g.member_of(stripe, column);
          ASSERT_EQ(g.column_of(stripe, member), column);
          ASSERT_EQ(g.columns_lost(stripe, MemberSet{member}), ColumnSet{column});
          ASSERT_EQ(g.members_of(stripe, ColumnSet{column}), MemberSet{member});
          seen.add(member);
        }
        ASSERT_EQ(seen, g.all_members());
        if (g.parity_disks() > 0) ASSERT_EQ(g.role_of(stripe, g.p_member(stripe)).kind, RoleKind::p);
        if (g.parity_disks() > 1) ASSERT_EQ(g.role_of(stripe, g.q_member(stripe)).kind, RoleKind::q);
      }
    }
  }
}

// md's layouts, in words of md(4) and md-facts: P on n-1-(stripe mod n); symmetric: data from the member after parity.
TEST(Geometry, AgreesWithMdsFormulas) {
  for (std::uint32_t n = 3; n <= 9; ++n) {
    const Geometry ls = make(Level::raid5, Layout::left_symmetric, n, 4096, 4096 * 40);
    const Geometry la = make(Level::raid5, Layout::left_asymmetric, n, 4096, 4096 * 40);
    const Geometry r4 = make(Level::raid4, Layout::none, n, 4096, 4096 * 40);
    for (std::uint64_t s = 0; s < 40; ++s) {
      const std::uint64_t p = n - 1 - s % n;
      EXPECT_EQ(ls.p_member(s), p);
      EXPECT_EQ(la.p_member(s), p);
      EXPECT_EQ(r4.p_member(s), n - 1);
      for (std::uint64_t d = 0; d + 1 < n; ++d) {
        EXPECT_EQ(ls.map((s * (n - 1) + d) * 4096).member, (p + 1 + d) % n);
        EXPECT_EQ(la.map((s * (n - 1) + d) * 4096).member, d < p ? d : d + 1);
        EXPECT_EQ(r4.map((s * (n - 1) + d) * 4096).member, d);
      }
      if (n < 4) continue;
      const Geometry r6 = make(Level::raid6, Layout::left_symmetric, n, 4096, 4096 * 40);
      EXPECT_EQ(r6.p_member(s), p);
      EXPECT_EQ(r6.q_member(s), (p + 1) % n);
      for (std::uint64_t d = 0; d + 2 < n; ++d) EXPECT_EQ(r6.data_member(s, d), (p + 2 + d) % n);
    }
  }
}

// A stripe table as strings, a row per stripe: chunk numbers in order of members, "P", "Q".
std::vector<std::string> draw(const Geometry& g, std::uint64_t stripes) {
  std::vector<std::string> rows;
  for (std::uint64_t stripe = 0; stripe < stripes; ++stripe) {
    std::string row;
    for (std::uint32_t member = 0; member < g.disks(); ++member) {
      const MemberPlace place = g.at(member, stripe * g.chunk_bytes());
      if (!row.empty()) row += ' ';
      row += place.logical ? std::to_string(*place.logical / g.chunk_bytes())
                           : (place.role.kind == RoleKind::p ? "P" : "Q");
    }
    rows.push_back(row);
  }
  return rows;
}

// As in "Operating Systems: Three Easy Pieces", chapter 38, and its raid.py (-L 5 with -5 LS and -5 LA).
TEST(Geometry, DrawsTheTablesOfTheTextbook) {
  using Rows = std::vector<std::string>;
  EXPECT_EQ(draw(make(Level::raid0, Layout::none, 4, 4096, 1 << 20), 4),
            (Rows{"0 1 2 3", "4 5 6 7", "8 9 10 11", "12 13 14 15"}));
  EXPECT_EQ(draw(make(Level::raid4, Layout::none, 5, 4096, 1 << 20), 4),
            (Rows{"0 1 2 3 P", "4 5 6 7 P", "8 9 10 11 P", "12 13 14 15 P"}));
  EXPECT_EQ(draw(make(Level::raid5, Layout::left_symmetric, 5, 4096, 1 << 20), 6),
            (Rows{"0 1 2 3 P", "5 6 7 P 4", "10 11 P 8 9", "15 P 12 13 14", "P 16 17 18 19", "20 21 22 23 P"}));
  EXPECT_EQ(draw(make(Level::raid5, Layout::left_asymmetric, 5, 4096, 1 << 20), 6),
            (Rows{"0 1 2 3 P", "4 5 6 P 7", "8 9 P 10 11", "12 P 13 14 15", "P 16 17 18 19", "20 21 22 23 P"}));
  // md's RAID 6, as observed on images that the kernel wrote: P, then Q, then data, wrapping.
  EXPECT_EQ(
      draw(make(Level::raid6, Layout::left_symmetric, 6, 4096, 1 << 20), 6),
      (Rows{"Q 0 1 2 3 P", "4 5 6 7 P Q", "9 10 11 P Q 8", "14 15 P Q 12 13", "19 P Q 16 17 18", "P Q 20 21 22 23"}));
}

TEST(Geometry, CountsDisksAndBytes) {
  const Geometry r6 = make(Level::raid6, Layout::left_symmetric, 6, 65536, 65536 * 100);
  EXPECT_EQ(r6.data_disks(), 4u);
  EXPECT_EQ(r6.redundancy(), 2u);
  EXPECT_EQ(r6.capacity_bytes(), 65536u * 400);
  EXPECT_EQ(r6.stripe_data_bytes(), 65536u * 4);
  EXPECT_EQ(r6.stripes(), 100u);
  const Geometry mirror = make(Level::raid1, Layout::none, 3, 0, kMirrorUnit + 4096);
  EXPECT_EQ(mirror.redundancy(), 2u);
  EXPECT_EQ(mirror.capacity_bytes(), kMirrorUnit + 4096);
  EXPECT_EQ(mirror.stripes(), 2u);
  EXPECT_EQ(mirror.column_bytes(0), kMirrorUnit);
  EXPECT_EQ(mirror.column_bytes(1), 4096u);
  EXPECT_EQ(mirror.members_of(1, ColumnSet{0}), mirror.all_members());
  EXPECT_TRUE(mirror.columns_lost(0, MemberSet{0, 2}).empty());
  EXPECT_EQ(mirror.columns_lost(0, MemberSet{0, 1, 2}), ColumnSet{0});
  EXPECT_EQ(make(Level::raid0, Layout::none, 3, 4096, 4096).redundancy(), 0u);
}

TEST(Geometry, RefusesImpossibleArraysByName) {
  const Layout ls = Layout::left_symmetric;
  EXPECT_EQ(refusal(Level::raid6, ls, 2, 4096, 4096), "raid6 needs at least 4 disks, not 2 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid5, ls, 2, 4096, 4096), "raid5 needs at least 3 disks, not 2 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid1, Layout::none, 1, 4096, 4096),
            "raid1 needs at least 2 disks, not 1 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid1, Layout::none, 9, 4096, 4096),
            "raid1 takes at most 8 disks, not 9 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid0, Layout::none, 0, 4096, 4096),
            "raid0 needs at least 1 disk, not 0 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid5, ls, 33, 4096, 4096), "raid5 takes at most 32 disks, not 33 (invalid argument)");
  for (std::uint64_t chunk : {0ull, 2048ull, 12288ull, 32ull << 20}) {
    EXPECT_EQ(
        refusal(Level::raid5, ls, 3, chunk, 1 << 25),
        "chunk of " + std::to_string(chunk) + " bytes: must be a power of two from 4 KiB to 16 MiB (invalid argument)");
  }
  EXPECT_EQ(refusal(Level::raid5, ls, 3, 8192, 4096),
            "member of 4096 bytes: must be a positive multiple of 8192 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid1, Layout::none, 2, 0, 0),
            "member of 0 bytes: must be a positive multiple of 4096 (invalid argument)");
  EXPECT_NE(refusal(Level::raid0, Layout::none, 32, 4096, 1ull << 60), "accepted");
  EXPECT_EQ(refusal(Level::raid0, Layout::none, 4, 4096, 1ull << 60), "accepted");
  EXPECT_EQ(refusal(Level::raid5, Layout::right_symmetric, 4, 4096, 4096),
            "layout right-symmetric of raid5 is not offered (left-symmetric or left-asymmetric is) (unsupported)");
  EXPECT_EQ(refusal(Level::raid6, Layout::left_asymmetric, 4, 4096, 4096),
            "layout left-asymmetric of raid6 is not offered (left-symmetric is) (unsupported)");
  EXPECT_EQ(refusal(Level::raid4, ls, 4, 4096, 4096),
            "raid4 has no choice of layout (left-symmetric given) (invalid argument)");
  EXPECT_EQ(refusal(Level::raid5, Layout::none, 4, 4096, 4096), "raid5 needs a layout (invalid argument)");
}

TEST(Geometry, NamesReadBack) {
  EXPECT_EQ(layout_from_name("left-symmetric"), Layout::left_symmetric);
  EXPECT_EQ(layout_from_name("right-asymmetric"), Layout::right_asymmetric);
  EXPECT_EQ(layout_from_name("-"), std::nullopt);
  EXPECT_EQ(level_from_number(6), Level::raid6);
  EXPECT_EQ(level_from_number(10), std::nullopt);
  EXPECT_STREQ(name(Level::raid5), "raid5");
}

TEST(StripePart, PartsOfARangeCoverItOnceInOrder) {
  for (const Shape& shape : kShapes) {
    const std::uint32_t disks = shape.least + 2;
    const std::uint64_t chunk = 16384;
    const Geometry g = make(shape.level, shape.layout, disks, chunk, kMirrorUnit * 3);
    for (std::uint64_t start = 0; start < g.capacity_bytes(); start += 4096) {
      const std::uint64_t most = std::min(g.capacity_bytes() - start, 2 * g.stripe_data_bytes() + 4096);
      for (std::uint64_t length = 4096; length <= most; length += 4096) {
        std::uint64_t at = start;
        std::uint64_t rest = length;
        while (rest > 0) {
          const StripePart part = g.first_part(at, rest);
          ASSERT_EQ(part.logical, at);
          ASSERT_GT(part.length, 0u);
          ASSERT_LE(part.length, rest);
          ASSERT_LT(part.begin, part.end);
          ASSERT_LE(part.end, g.chunk_bytes());
          ColumnSet touched;
          std::vector<std::uint64_t> covered(g.data_disks());
          for (std::uint64_t byte = at; byte < at + part.length; byte += 4096) {
            const Location where = g.map(byte);
            ASSERT_EQ(where.stripe, part.stripe);
            ASSERT_GE(where.chunk_offset, part.begin);
            ASSERT_LT(where.chunk_offset, part.end);
            touched.add(where.data_index);
            covered[where.data_index] += 4096;
          }
          ASSERT_EQ(touched, part.touched);
          for (std::uint32_t d = 0; d < g.data_disks(); ++d) {
            ASSERT_EQ(part.full.contains(d), covered[d] == part.end - part.begin);
          }
          at += part.length;
          rest -= part.length;
        }
      }
    }
  }
}

TEST(StripePart, AShortWriteAcrossAChunkBorderDoesNotSpanWholeChunks) {
  const Geometry g = make(Level::raid5, Layout::left_symmetric, 4, 65536, 65536 * 8);
  const StripePart part = g.first_part(65536 - 4096, 8192);
  EXPECT_EQ(part.length, 4096u);
  EXPECT_EQ(part.begin, 65536u - 4096);
  EXPECT_EQ(part.full, part.touched);
}

// ---- costs ----------------------------------------------------------------------------------------------------------

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

// For every written set, every lost set: never touches a lost member, and what it reads is enough to know the new parity.
TEST(Cost, EveryPlanIsSufficientAndAvoidsLostMembers) {
  for (const Shape& shape : kShapes) {
    if (shape.level == Level::raid1) continue;
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
