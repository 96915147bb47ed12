// Geometry against formulas and tables that were written down independently of geometry.cc.
#include "raid/geometry.h"

#include <gtest/gtest.h>

#include <algorithm>
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
    {Level::raid1, Layout::none, 1},
    {Level::raid4, Layout::none, 2},
    {Level::raid5, Layout::left_symmetric, 2},
    {Level::raid5, Layout::left_asymmetric, 2},
    {Level::raid5, Layout::right_symmetric, 2},
    {Level::raid5, Layout::right_asymmetric, 2},
    {Level::raid5, Layout::parity_first, 2},
    {Level::raid5, Layout::parity_last, 2},
    {Level::raid6, Layout::left_symmetric, 4},
    {Level::raid6, Layout::left_asymmetric, 4},
    {Level::raid6, Layout::right_symmetric, 4},
    {Level::raid6, Layout::right_asymmetric, 4},
    {Level::raid6, Layout::parity_first, 4},
    {Level::raid6, Layout::parity_last, 4},
    {Level::raid6, Layout::left_symmetric_6, 4},
    {Level::raid6, Layout::left_asymmetric_6, 4},
    {Level::raid6, Layout::right_symmetric_6, 4},
    {Level::raid6, Layout::right_asymmetric_6, 4},
    {Level::raid6, Layout::parity_first_6, 4},
    {Level::raid6, Layout::ddf_zero_restart, 4},
    {Level::raid6, Layout::ddf_n_restart, 4},
    {Level::raid6, Layout::ddf_n_continue, 4},
    {Level::raid10, Layout::near_2, 2},
    {Level::raid10, near_layout(3), 3},
    {Level::raid10, near_layout(4), 4},
};

std::string refusal(Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk, std::uint64_t member) {
  auto geometry = Geometry::make(level, layout, disks, chunk, member);
  return geometry ? "accepted" : to_string(geometry.error());
}

TEST(Geometry, EveryBlockHasOnePlaceAndEveryPlaceOneBlock) {
  for (const Shape& shape : kShapes) {
    for (std::uint32_t disks = shape.least; disks <= (shape.level == Level::raid1 ? 8u : 9u); ++disks) {
      for (std::uint64_t chunk : {4096ull, 12288ull, 65536ull}) {
        if (chunk == 12288 && shape.level != Level::raid0) continue;
        const std::uint64_t unit = shape.level == Level::raid1 ? kMirrorUnit : chunk;
        const Geometry g = make(shape.level, shape.layout, disks, chunk, unit * (disks * 3 + 1));
        std::set<std::pair<std::uint32_t, std::uint64_t>> places;
        for (std::uint64_t logical = 0; logical < g.capacity_bytes(); logical += 4096) {
          const Location where = g.map(logical);
          ASSERT_TRUE(places.insert({where.member, where.member_offset}).second);
          ASSERT_LT(where.member_offset, g.member_bytes());
          ASSERT_EQ(g.role_of(where.stripe, where.member), (Role{RoleKind::data, where.data_index}));
          ASSERT_EQ(g.member_of(where.stripe, where.column), where.member);
          ASSERT_EQ(g.column_at(where.stripe, where.data_index), where.column);
          ASSERT_EQ(g.data_index(where.stripe, where.column), where.data_index);
          ASSERT_EQ(g.column_logical(where.stripe, where.column) + where.chunk_offset, logical);
          const MemberPlace back = g.at(where.member, where.member_offset);
          ASSERT_EQ(back.logical, logical);
          ASSERT_EQ(back.stripe, where.stripe);
          ASSERT_EQ(back.chunk_offset, where.chunk_offset);
          // Also in the middle of a block.
          ASSERT_EQ(g.at(g.map(logical + 1234).member, g.map(logical + 1234).member_offset).logical, logical + 1234);
        }
        if (g.is_mirrored()) continue;  // MirroredGeometry
        // The rest is parity, and only parity.
        std::uint64_t parity_blocks = 0;
        for (std::uint32_t member = 0; member < disks; ++member) {
          for (std::uint64_t offset = 0; offset < g.member_bytes(); offset += 4096) {
            const bool is_data = g.at(member, offset).logical.has_value();
            ASSERT_EQ(is_data, places.contains({member, offset}));
            parity_blocks += !is_data;
          }
        }
        if (chunk != 12288) ASSERT_EQ(parity_blocks, g.parity_disks() * (g.member_bytes() / 4096));
      }
    }
  }
}

TEST(Geometry, ColumnsAndMembersOfAStripeAreInverse) {
  for (const Shape& shape : kShapes) {
    if (shape.level == Level::raid1 || shape.level == Level::raid10) continue;
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

// md's layouts as md(4) and the names say them, with a search instead of a formula: which member is P, and the order of the
// members for the data.
struct MdStripe {
  std::vector<std::uint32_t> parity;
  std::vector<std::uint32_t> data;      // in logical order
  std::vector<std::uint32_t> syndrome;  // in the order that Q counts
};
// The RAID 5 of one member less that a layout with Q on the last member is; none: it is no such layout.
Layout base_of(Layout layout) {
  switch (layout) {
    case Layout::left_symmetric_6: return Layout::left_symmetric;
    case Layout::left_asymmetric_6: return Layout::left_asymmetric;
    case Layout::right_symmetric_6: return Layout::right_symmetric;
    case Layout::right_asymmetric_6: return Layout::right_asymmetric;
    case Layout::parity_first_6: return Layout::parity_first;
    default: return Layout::none;
  }
}

MdStripe md_stripe(Level level, Layout layout, std::uint32_t n, std::uint64_t s) {
  if (const Layout base = base_of(layout); base != Layout::none) {
    MdStripe stripe = md_stripe(Level::raid5, base, n - 1, s);
    stripe.parity.push_back(n - 1);
    stripe.syndrome = stripe.data;
    std::ranges::sort(stripe.syndrome);
    return stripe;
  }
  // SNIA's DDF: the layouts of other names but for where Q is, the parities after each other and the order of Q.
  if (layout == Layout::ddf_zero_restart || layout == Layout::ddf_n_restart) {
    const bool zero = layout == Layout::ddf_zero_restart;
    MdStripe stripe = md_stripe(level, zero ? Layout::right_asymmetric : Layout::left_asymmetric, n, zero ? s : s + 1);
    stripe.syndrome = stripe.data;
    return stripe;
  }
  if (layout == Layout::ddf_n_continue) {
    MdStripe stripe = md_stripe(Level::raid5, Layout::left_symmetric, n, s);
    stripe.parity.push_back(stripe.data.back());  // Q before P, which is where the data of a RAID 5 ends
    stripe.data.pop_back();
    stripe.syndrome = stripe.data;
    std::ranges::sort(stripe.syndrome);
    return stripe;
  }
  const std::uint32_t parities = level == Level::raid6 ? 2 : 1;
  const bool left = layout == Layout::left_symmetric || layout == Layout::left_asymmetric;
  const bool symmetric = layout == Layout::left_symmetric || layout == Layout::right_symmetric;
  const auto turn = static_cast<std::uint32_t>(s % n);
  std::uint32_t p = left ? n - 1 - turn : turn;
  if (layout == Layout::parity_first) p = 0;
  if (layout == Layout::parity_last || level == Level::raid4) p = n - parities;
  MdStripe stripe;
  for (std::uint32_t i = 0; i < parities; ++i) stripe.parity.push_back((p + i) % n);
  const auto is_parity = [&](std::uint32_t m) { return std::ranges::find(stripe.parity, m) != stripe.parity.end(); };
  // The syndrome begins after the last parity (raid6_d0), and so does the data of the symmetric layouts.
  for (std::uint32_t i = 1; i <= n; ++i) {
    const std::uint32_t m = (stripe.parity.back() + i) % n;
    if (!is_parity(m)) stripe.syndrome.push_back(m);
  }
  for (std::uint32_t m = 0; m < n && !symmetric; ++m) {
    if (!is_parity(m)) stripe.data.push_back(m);
  }
  if (symmetric) stripe.data = stripe.syndrome;
  return stripe;
}

TEST(Geometry, AgreesWithMdsLayouts) {
  for (const Shape& shape : kShapes) {
    for (std::uint32_t n = shape.least; n <= 9; ++n) {
      const Geometry g = shape.level == Level::raid1 ? make(shape.level, shape.layout, 2, 0, 4096)
                                                     : make(shape.level, shape.layout, n, 4096, 4096 * 40);
      if (g.parity_disks() == 0) continue;
      for (std::uint64_t s = 0; s < 40; ++s) {
        const MdStripe md = md_stripe(shape.level, shape.layout, n, s);
        ASSERT_EQ(g.p_member(s), md.parity[0]);
        if (g.parity_disks() == 2) ASSERT_EQ(g.q_member(s), md.parity[1]);
        for (std::uint32_t d = 0; d < g.data_disks(); ++d) {
          ASSERT_EQ(g.map((s * g.data_disks() + d) * 4096).member, md.data[d])
              << name(shape.level) << ' ' << name(shape.layout) << ' ' << n << " stripe " << s << " data " << d;
          ASSERT_EQ(g.member_of(s, d), md.syndrome[d]);
        }
      }
    }
  }
}

TEST(Geometry, OfAsManyMembersAsASuperblockHasRoomFor) {
  for (const Level level : {Level::raid0, Level::raid4, Level::raid5}) {
    const Geometry g = make(level, default_layout(level), kMaxDisks, 4096, 4096 * 4);
    for (std::uint64_t at = 0; at < g.capacity_bytes(); at += 4096 * 7) {
      const Location where = g.map(at);
      ASSERT_EQ(g.logical_at(where.member, where.member_offset), at);
      ASSERT_EQ(g.member_of(where.stripe, where.column), where.member);
    }
    const StripePart whole = g.first_part(g.stripe_data_bytes(), g.stripe_data_bytes());
    EXPECT_EQ(whole.full.count(), g.data_disks());
    EXPECT_EQ(g.members_of(1, whole.touched).count(), g.data_disks());
    EXPECT_EQ(g.columns_lost(1, g.all_members()).count(), kMaxDisks);
  }
}

TEST(Geometry, DdfCountsTheCoefficientsOfQByMember) {
  for (const Shape& shape : kShapes) {
    const Geometry g = make(shape.level, shape.layout, 5, 4096, 4096 * 12);
    for (std::uint64_t stripe = 0; stripe < (g.parity_disks() == 2 ? g.stripes() : 0); ++stripe) {
      for (std::uint32_t column = 0; column < g.data_disks(); ++column) {
        ASSERT_EQ(g.code_column(stripe, column), g.is_ddf() ? g.member_of(stripe, column) : column);
      }
      ASSERT_EQ(g.code_column(stripe, g.p_column()), g.code_data_disks());
      ASSERT_EQ(g.code_column(stripe, g.q_column()), g.code_data_disks() + 1);
    }
  }
}

TEST(Geometry, OnlyTheAsymmetricLayoutsCountDataInAnotherOrderThanTheArray) {
  for (const Shape& shape : kShapes) {
    if (base_of(shape.layout) != Layout::none || shape.layout == Layout::ddf_n_continue)
      continue;  // columns rise there
    const Geometry g = make(shape.level, shape.layout, 6, 4096, 4096 * 12);
    bool differs = false;
    for (std::uint64_t stripe = 0; stripe < g.stripes(); ++stripe) {
      for (std::uint32_t i = 0; i < g.data_disks(); ++i) differs = differs || g.column_at(stripe, i) != i;
    }
    EXPECT_EQ(differs, shape.layout == Layout::left_asymmetric || shape.layout == Layout::right_asymmetric);
  }
}

TEST(Geometry, MemberRangesHoldWhatTheyShould) {
  for (const Shape& shape : kShapes) {
    const Geometry g = make(shape.level, shape.layout, 5, 4096, 4096 * 11);
    for (std::uint64_t begin = 0; begin < g.capacity_bytes(); begin += 4096) {
      for (std::uint64_t end = begin + 4096; end <= g.capacity_bytes(); end += 4096) {
        MemberRange least{~0ull, 0};
        for (std::uint64_t at = begin; at < end; at += 4096) {
          for (std::uint32_t copy = 0; copy < g.copies(); ++copy) {
            const std::uint64_t offset = g.is_mirrored() ? g.copy_of(at, copy).member_offset : g.map(at).member_offset;
            least = {std::min(least.begin, offset), std::max(least.end, offset + 4096)};
          }
        }
        ASSERT_EQ(g.member_range(begin, end), least);
      }
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
      row += place.logical                         ? std::to_string(*place.logical / g.chunk_bytes())
             : place.role.kind == RoleKind::unused ? "-"
             : place.role.kind == RoleKind::p      ? "P"
                                                   : "Q";
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

// Linux 6.1: 5 MiB on each of three members in chunks of 48 KiB are 30336 sectors, though 106 chunks fit on each.
TEST(Geometry, ARaid0WithAnOddChunkIsAsLargeAsMdsIs) {
  const std::uint64_t member = (5u << 20) / 49152 * 49152;
  const Geometry g = make(Level::raid0, Layout::none, 3, 49152, member);
  EXPECT_EQ(g.capacity_bytes(), 30336u * 512);
  EXPECT_EQ(g.at(2, member - 1).role.kind, RoleKind::unused);
  EXPECT_EQ(g.map(g.capacity_bytes() - 1).chunk_offset, 49151u);
  const std::uint64_t odd[] = {2 * member, member, member};
  const auto zones = Geometry::make_zoned(Level::raid0, Layout::raid0_original, 49152, odd);
  ASSERT_TRUE(zones.has_value());
  EXPECT_EQ(zones->capacity_bytes(), 30336u * 512 / 3 * 2 + (20352u & ~95u) * 512);
}

TEST(Geometry, RefusesImpossibleArraysByName) {
  const Layout ls = Layout::left_symmetric;
  EXPECT_EQ(refusal(Level::raid6, ls, 2, 4096, 4096), "raid6 needs at least 4 disks, not 2 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid6, Layout::left_symmetric_6, 3, 4096, 4096),
            "raid6 needs at least 4 disks, not 3 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid5, ls, 1, 4096, 4096), "raid5 needs at least 2 disks, not 1 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid1, Layout::none, 0, 4096, 4096),
            "raid1 needs at least 1 disk, not 0 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid1, Layout::none, 1921, 4096, 4096),
            "raid1 takes at most 1920 disks, not 1921 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid0, Layout::none, 0, 4096, 4096),
            "raid0 needs at least 1 disk, not 0 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid6, ls, 256, 4096, 4096), "raid6 takes at most 255 disks, not 256 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid5, ls, 1921, 4096, 4096), "raid5 takes at most 1920 disks, not 1921 (invalid argument)");
  for (std::uint64_t chunk : {0ull, 2048ull, 12288ull, 1ull << 40}) {
    EXPECT_EQ(refusal(Level::raid5, ls, 3, chunk, 1 << 25),
              "chunk of " + std::to_string(chunk) +
                  " bytes: must be a power of two from 4 KiB to 512 GiB (invalid argument)");
  }
  EXPECT_EQ(refusal(Level::raid5, ls, 3, 64 << 20, 64 << 20), "accepted");
  EXPECT_EQ(refusal(Level::raid0, Layout::none, 3, 12288, 12288), "accepted");
  EXPECT_EQ(refusal(Level::raid10, near_layout(3), 2, 4096, 4096),
            "raid10 near-3 needs at least 3 disks, not 2 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid5, ls, 3, 8192, 4096),
            "member of 4096 bytes: must be a positive multiple of 8192 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid1, Layout::none, 2, 0, 0),
            "member of 0 bytes: must be a positive multiple of 512 (invalid argument)");
  EXPECT_NE(refusal(Level::raid0, Layout::none, 32, 4096, 1ull << 60), "accepted");
  EXPECT_EQ(refusal(Level::raid0, Layout::none, 4, 4096, 1ull << 60), "accepted");
  EXPECT_EQ(refusal(Level::raid10, Layout::near_2, 1, 4096, 4096),
            "raid10 needs at least 2 disks, not 1 (invalid argument)");
  EXPECT_EQ(refusal(Level::raid10, ls, 4, 4096, 4096),
            "raid10 has no layout left-symmetric (near-2 to near-255 was expected) (invalid argument)");
  EXPECT_EQ(refusal(Level::raid0, Layout::parity_first, 4, 4096, 4096),
            "raid0 has no layout parity-first (original or alternate was expected) (invalid argument)");
  EXPECT_EQ(refusal(Level::raid4, ls, 4, 4096, 4096),
            "raid4 has no choice of layout (left-symmetric given) (invalid argument)");
  EXPECT_EQ(refusal(Level::raid5, Layout::none, 4, 4096, 4096), "raid5 needs a layout (invalid argument)");
}

TEST(Geometry, NamesAndNumbersReadBack) {
  for (const Shape& shape : kShapes) {
    EXPECT_EQ(level_from_number(static_cast<int>(shape.level)), shape.level);
    EXPECT_EQ(layout_from_number(shape.level, layout_number(shape.level, shape.layout)), shape.layout);
    if (shape.layout != Layout::none) EXPECT_EQ(layout_from_name(name(shape.layout)), shape.layout);
  }
  EXPECT_EQ(layout_number(Level::raid5, Layout::left_symmetric), 2);
  EXPECT_EQ(layout_number(Level::raid6, Layout::parity_last), 5);
  EXPECT_EQ(layout_number(Level::raid10, Layout::near_2), 0x102);
  EXPECT_EQ(layout_number(Level::raid10, near_layout(4)), 0x104);
  EXPECT_EQ(layout_number(Level::raid6, Layout::left_symmetric_6), 18);
  EXPECT_EQ(layout_number(Level::raid6, Layout::ddf_n_continue), 10);
  EXPECT_EQ(layout_number(Level::raid0, Layout::raid0_alternate), 2);
  for (const char* text : {"near-", "near-1", "near-02", "near-256", "near-2x", "near-4294967298"}) {
    EXPECT_EQ(layout_from_name(text), std::nullopt) << text;
  }
  EXPECT_EQ(layout_from_name("-"), std::nullopt);
  EXPECT_EQ(level_from_number(2), std::nullopt);
  EXPECT_STREQ(name(Level::raid5), "raid5");
  EXPECT_EQ(default_layout(Level::raid10), Layout::near_2);
  EXPECT_EQ(default_layout(Level::raid1), Layout::none);
}

TEST(Geometry, RefusesMdsOtherLayoutsByName) {
  const auto refused = [](Level level, int number) {
    const auto layout = layout_from_number(level, number);
    return layout ? "accepted" : to_string(layout.error());
  };
  const std::string offered = "of raid10 is not offered (near-2 to near-255 is) (unsupported)";
  EXPECT_EQ(refused(Level::raid6, 7), "layout 0x7 of raid6 is unknown (bad input)");
  EXPECT_EQ(refused(Level::raid6, 21), "layout 0x15 of raid6 is unknown (bad input)");
  EXPECT_EQ(refused(Level::raid5, 18), "layout 0x12 of raid5 is unknown (bad input)");
  EXPECT_EQ(refused(Level::raid5, -1), "layout -0x1 of raid5 is unknown (bad input)");
  EXPECT_EQ(refused(Level::raid10, 0x103), "accepted");
  EXPECT_EQ(refused(Level::raid10, 0x201), "layout far-2 (0x201) " + offered);
  EXPECT_EQ(refused(Level::raid10, 0x10201), "layout offset-2 (0x10201) " + offered);
  EXPECT_EQ(refused(Level::raid10, 0x202), "layout near-2 far-2 (0x202) " + offered);
  EXPECT_EQ(refused(Level::raid10, 0x101), "layout 0x101 of raid10 is unknown (bad input)");
  EXPECT_EQ(refused(Level::raid10, 0), "layout 0x0 of raid10 is unknown (bad input)");
  EXPECT_EQ(refused(Level::raid0, 3), "layout 0x3 of raid0 is unknown (bad input)");
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
            touched.add(where.column);
            covered[where.column] += 4096;
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

}  // namespace
}  // namespace resilver::raid
