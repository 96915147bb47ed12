// Places of RAID 1 and 10 copies, of RAID 0 zones and of linear, against counting.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "raid/geometry.h"

namespace resilver::raid {
namespace {

constexpr std::uint64_t kChunk = 4096;

Geometry ten(std::uint32_t disks, std::uint64_t rows, std::uint32_t copies = 2) {
  return *Geometry::make(Level::raid10, near_layout(copies), disks, kChunk, rows * kChunk);
}

Geometry zoned(Layout layout, std::vector<std::uint64_t> chunks) {
  for (std::uint64_t& bytes : chunks) bytes = bytes * kChunk + 512;  // the rest of a member stays unused
  auto geometry = Geometry::make_zoned(Level::raid0, layout, kChunk, chunks);
  EXPECT_TRUE(geometry.has_value());
  return *geometry;
}

// The chunk numbers of each row of the members; "-": unused or beyond the member's end.
std::vector<std::string> draw(const Geometry& g) {
  std::vector<std::string> rows;
  for (std::uint64_t at = 0; at < g.member_bytes(); at += kChunk) {
    std::string row;
    for (std::uint32_t member = 0; member < g.disks(); ++member) {
      const auto logical = at < g.member_bytes(member) ? g.logical_at(member, at) : std::nullopt;
      row += (row.empty() ? "" : " ") + (logical ? std::to_string(*logical / kChunk) : "-");
    }
    rows.push_back(row);
  }
  return rows;
}

TEST(MirroredGeometry, EveryCopyHasItsOwnPlaceAndLeadsBack) {
  std::vector<Geometry> all;
  for (std::uint32_t disks : {1, 2, 3, 9, 100}) {
    all.push_back(*Geometry::make(Level::raid1, Layout::none, disks, 0, 2 * kMirrorUnit + 4096));
  }
  for (std::uint32_t disks = 2; disks <= 9; ++disks) {
    for (std::uint32_t copies = 2; copies <= std::min(disks, 5u); ++copies) {
      for (std::uint64_t rows = 1; rows <= 2 * disks + 1; ++rows) all.push_back(ten(disks, rows, copies));
    }
  }
  for (const Geometry& g : all) {
    std::set<std::pair<std::uint32_t, std::uint64_t>> places;
    for (std::uint64_t at = 0; at < g.capacity_bytes(); at += 4096) {
      MemberSet members;
      for (std::uint32_t copy = 0; copy < g.copies(); ++copy) {
        const CopyPlace place = g.copy_of(at + 77, copy);
        ASSERT_LT(place.member, g.disks());
        ASSERT_LT(place.member_offset, g.member_bytes());
        ASSERT_EQ(g.logical_at(place.member, place.member_offset), at + 77);
        ASSERT_EQ(g.at(place.member, place.member_offset).stripe, g.map(at).stripe);
        members.add(place.member);
        places.insert({place.member, place.member_offset});
      }
      ASSERT_EQ(members.count(), g.copies());
      ASSERT_EQ(members, g.members_of(g.map(at).stripe, {0}));
      ASSERT_EQ(g.copy_of(at, 0), (CopyPlace{g.map(at).member, g.map(at).member_offset}));
      ASSERT_EQ(g.mirrored_run(at + 77), std::min(g.chunk_bytes() - at % g.chunk_bytes(), g.capacity_bytes() - at) - 77);
    }
    ASSERT_EQ(places.size(), g.capacity_bytes() / 4096 * g.copies());
    std::uint64_t unused = 0;
    for (std::uint32_t member = 0; member < g.disks(); ++member) {
      for (std::uint64_t at = 0; at < g.member_bytes(); at += 4096) {
        const MemberPlace place = g.at(member, at);
        ASSERT_EQ(place.logical.has_value(), places.contains({member, at + 77}));
        ASSERT_EQ(place.role.kind == RoleKind::unused, !place.logical);
        unused += !place.logical;
      }
    }
    ASSERT_EQ(unused, g.level() == Level::raid10 ? g.disks() * (g.member_bytes() / kChunk) % g.copies() : 0);
  }
}

TEST(MirroredGeometry, Raid10IsDrawnAsMdDrawsIt) {
  EXPECT_EQ(draw(ten(4, 2)), (std::vector<std::string>{"0 0 1 1", "2 2 3 3"}));
  EXPECT_EQ(draw(ten(3, 3)), (std::vector<std::string>{"0 0 1", "1 2 2", "3 3 -"}));
  EXPECT_EQ(draw(ten(5, 2)), (std::vector<std::string>{"0 0 1 1 2", "2 3 3 4 4"}));
  EXPECT_EQ(draw(ten(4, 3, 3)), (std::vector<std::string>{"0 0 0 1", "1 1 2 2", "2 3 3 3"}));
  EXPECT_EQ(draw(ten(5, 2, 3)), (std::vector<std::string>{"0 0 0 1 1", "1 2 2 2 -"}));
  EXPECT_EQ(ten(3, 3).capacity_bytes(), 4 * kChunk);
}

TEST(MirroredGeometry, SurvivesExactlyWhatLeavesACopyOfEverything) {
  for (std::uint32_t disks = 2; disks <= 9; ++disks) {
    for (std::uint64_t rows : {1, 2, 3, 9}) {
      const Geometry g = ten(disks, rows, disks % 2 == 0 || disks == 3 ? 2 : 3);
      for (std::uint64_t bits = 0; bits < (1u << disks); ++bits) {
        const MemberSet lost = MemberSet::from_bits(bits);
        bool all = true;
        for (std::uint64_t at = 0; at < g.capacity_bytes(); at += kChunk) {
          bool none = true;
          for (std::uint32_t copy = 0; copy < g.copies(); ++copy)
            none = none && lost.contains(g.copy_of(at, copy).member);
          all = all && !none;
        }
        ASSERT_EQ(g.survives(lost), all);
        if (lost.count() <= g.redundancy()) ASSERT_TRUE(all);
      }
    }
  }
  EXPECT_TRUE(ten(4, 4).survives({0, 2}));
  EXPECT_FALSE(ten(4, 4).survives({0, 1}));
  EXPECT_FALSE(ten(5, 5).survives({0, 4}));
}

TEST(Geometry, SurvivesAsManyAsTheLevelSays) {
  const auto survives = [](Level level, Layout layout, MemberSet lost) {
    return Geometry::make(level, layout, 4, kChunk, kChunk * 8)->survives(lost);
  };
  EXPECT_TRUE(survives(Level::raid0, Layout::none, {}));
  EXPECT_FALSE(survives(Level::raid0, Layout::none, {1}));
  EXPECT_TRUE(survives(Level::linear, Layout::none, {}));
  EXPECT_FALSE(survives(Level::linear, Layout::none, {3}));
  EXPECT_TRUE(survives(Level::raid1, Layout::none, {0, 1, 3}));
  EXPECT_FALSE(survives(Level::raid1, Layout::none, {0, 1, 2, 3}));
  EXPECT_TRUE(survives(Level::raid5, Layout::parity_first, {2}));
  EXPECT_FALSE(survives(Level::raid5, Layout::parity_first, {2, 3}));
  EXPECT_TRUE(survives(Level::raid6, Layout::right_symmetric, {2, 3}));
  EXPECT_FALSE(survives(Level::raid6, Layout::right_symmetric, {0, 2, 3}));
}

// ---- zones: RAID 0 and linear --------------------------------------------------------------------------------------

TEST(Zones, AreDrawnAsMdDrawsThem) {
  // Zone 0: two rows over three members; zone 1: two rows over members 0 and 2 from chunk 6 on; zone 2: member 2.
  EXPECT_EQ(draw(zoned(Layout::raid0_alternate, {4, 2, 5})),
            (std::vector<std::string>{"0 1 2", "3 4 5", "6 - 7", "8 - 9", "- - 10"}));
  // Original takes the member from the chunk's number in the array: 9 of two members begins at the second.
  EXPECT_EQ(draw(zoned(Layout::raid0_original, {4, 3, 5})),
            (std::vector<std::string>{"0 1 2", "3 4 5", "6 7 8", "10 - 9", "- - 11"}));
  EXPECT_EQ(draw(zoned(Layout::raid0_alternate, {4, 3, 5})),
            (std::vector<std::string>{"0 1 2", "3 4 5", "6 7 8", "9 - 10", "- - 11"}));
}

TEST(Zones, EveryChunkHasItsOwnPlaceAndLeadsBack) {
  const std::vector<std::vector<std::uint64_t>> sizes = {{1, 2},
                                                         {7, 3, 5},
                                                         {3, 5, 3, 8},
                                                         {9, 1, 1, 9, 4},
                                                         {6, 5, 4, 3, 2, 1},
                                                         {2, 2, 2, 2, 2, 2, 3},
                                                         {1, 2, 3, 4, 5, 6, 7, 8, 9}};
  for (const auto& chunks : sizes) {
    for (Layout layout : {Layout::raid0_original, Layout::raid0_alternate}) {
      const Geometry g = zoned(layout, chunks);
      EXPECT_TRUE(g.has_zones());
      std::uint64_t total = 0;
      for (std::uint32_t member = 0; member < g.disks(); ++member) {
        ASSERT_EQ(g.member_bytes(member), chunks[member] * kChunk);
        total += chunks[member];
      }
      ASSERT_EQ(g.capacity_bytes(), total * kChunk);
      std::set<std::pair<std::uint32_t, std::uint64_t>> places;
      for (std::uint64_t at = 0; at < g.capacity_bytes(); at += kChunk) {
        const Location where = g.map(at + 5);
        ASSERT_LT(where.member_offset, g.member_bytes(where.member));
        ASSERT_TRUE(places.insert({where.member, where.member_offset}).second);
        ASSERT_EQ(g.logical_at(where.member, where.member_offset), at + 5);
        // What is said to be contiguous is.
        ASSERT_GE(where.run_bytes, kChunk - 5);
        const Location last = g.map(at + 5 + where.run_bytes - 1);
        ASSERT_EQ(last.member, where.member);
        ASSERT_EQ(last.member_offset, where.member_offset + where.run_bytes - 1);
        ASSERT_EQ(g.column_of(where.stripe, where.member), where.column);
        const StripePart part = g.first_part(at, g.capacity_bytes() - at);
        ASSERT_EQ(part.length, kChunk);
        ASSERT_EQ(g.members_of(part.stripe, part.touched), MemberSet{where.member});
        const MemberRange range = g.member_range(at, at + kChunk);
        ASSERT_EQ(range.begin, where.member_offset - 5);
      }
    }
  }
}

TEST(Zones, LinearHasOneForEachMember) {
  const auto linear = [](std::uint64_t chunk, std::vector<std::uint64_t> bytes) {
    return *Geometry::make_zoned(Level::linear, Layout::none, chunk, bytes);
  };
  EXPECT_EQ(draw(linear(kChunk, {2 * kChunk + 512, kChunk, 3 * kChunk})),
            (std::vector<std::string>{"0 2 3", "1 - 4", "- - 5"}));
  EXPECT_EQ(draw(*Geometry::make(Level::linear, Layout::none, 3, kChunk, 2 * kChunk)),
            (std::vector<std::string>{"0 2 4", "1 3 5"}));
  std::vector<std::uint64_t> many(kMaxDisks, 1536);
  many[7] = 5120;
  const std::pair<std::uint64_t, std::vector<std::uint64_t>> shapes[] = {
      {0, {10 * kChunk + 512}}, {0, {1024, 512, 5 * kChunk + 1536}}, {12288, {40000, 12288, 25000}}, {0, many}};
  for (const auto& [chunk, bytes] : shapes) {
    const Geometry g = linear(chunk, bytes);
    const std::uint64_t unit = chunk == 0 ? 512 : chunk;
    std::uint64_t logical = 0;
    for (std::uint32_t member = 0; member < g.disks(); ++member) {
      const std::uint64_t used = bytes[member] / unit * unit;
      ASSERT_EQ(g.member_bytes(member), used);
      for (std::uint64_t at = 0; at < used; at += 512, logical += 512) {
        const Location where = g.map(logical + 5);
        ASSERT_EQ(where.member, member);
        ASSERT_EQ(where.member_offset, at + 5);
        ASSERT_EQ(where.run_bytes, used - at - 5);
        ASSERT_EQ(g.logical_at(member, at + 5), logical + 5);
        ASSERT_EQ(where.stripe, logical / unit);
        ASSERT_EQ(g.at(member, at).stripe, where.stripe);
        ASSERT_EQ(g.columns_lost(where.stripe, {member}), ColumnSet{0});
        ASSERT_EQ(g.columns_lost(where.stripe, MemberSet::first(kMaxDisks) - MemberSet{member}), ColumnSet{});
        ASSERT_EQ(g.members_of(where.stripe, {0}), MemberSet{member});
      }
    }
    ASSERT_EQ(g.capacity_bytes(), logical);
    ASSERT_EQ(g.stripes() * unit, logical);
  }
}

TEST(Zones, EqualMembersHaveNone) {
  const std::vector<std::uint64_t> equal = {kChunk * 5 + 100, kChunk * 5, kChunk * 5 + 4000};
  const auto g = Geometry::make_zoned(Level::raid0, Layout::none, kChunk, equal);
  ASSERT_TRUE(g.has_value());
  EXPECT_FALSE(g->has_zones());
  EXPECT_EQ(g->capacity_bytes(), kChunk * 15);
}

TEST(Zones, RefuseImpossibleMembersByName) {
  const auto refused = [](Layout layout, std::uint64_t chunk, std::vector<std::uint64_t> members) {
    const auto g = Geometry::make_zoned(Level::raid0, layout, chunk, members);
    return g ? "accepted" : to_string(g.error());
  };
  EXPECT_EQ(refused(Layout::none, kChunk, {kChunk, kChunk * 2}),
            "raid0 of unequal members needs a layout (original or alternate) (invalid argument)");
  EXPECT_EQ(refused(Layout::raid0_original, kChunk, {kChunk, 100}),
            "member of 100 bytes: less than a chunk of 4096 (invalid argument)");
  EXPECT_EQ(Geometry::make_zoned(Level::linear, Layout::none, 0, std::vector<std::uint64_t>{512, 100}).error().what,
            "member of 100 bytes: less than a chunk of 512");
  EXPECT_EQ(refused(Layout::raid0_original, kChunk, {}), "raid0 needs at least 1 disk, not 0 (invalid argument)");
  EXPECT_EQ(refused(Layout::raid0_original, 5000, {kChunk, kChunk}),
            "chunk of 5000 bytes: must be a multiple of 512 up to 512 GiB (invalid argument)");
  EXPECT_EQ(refused(Layout::raid0_original, 0, {kChunk, kChunk}),
            "chunk of 0 bytes: must be a multiple of 512 up to 512 GiB (invalid argument)");
}

}  // namespace
}  // namespace resilver::raid
