// Histories: what two records are to each other, against trees of records in which that is known by construction.
#include "replica/record.h"

#include <gtest/gtest.h>

#include "tests/replica/history.h"

namespace resilver::replica {
namespace {

// What a record may still know of its own past, from the tree alone: the newest 88 reigns, and for each copy the newest that
// named it in sync.
std::vector<Slot> slots_of(const History& tree, int at) {
  std::vector<Slot> slots = tree[History::kRoot].slots;
  for (; at != History::kRoot; at = tree.parent(at)) {
    for (NodeId id = 0; id < slots.size(); ++id) {
      if (slots[id].reign != 0 || !tree[at].in_sync.contains(id)) continue;
      slots[id].reign = tree[at].reign().nonce;
      slots[id].until = tree[at].epoch;
    }
  }
  return slots;
}
std::vector<Reign> kept_of(const History& tree, int at) {
  std::vector<Reign> kept;
  const std::vector<Slot> slots = slots_of(tree, at);
  for (const Reign& reign : tree.path(at)) {
    if (kept.size() < Record::kMaxReigns || std::ranges::find(slots, reign.nonce, &Slot::reign) != slots.end())
      kept.push_back(reign);
  }
  return kept;
}

struct Truth {
  explicit Truth(const History& t) : tree(t) {
    for (int at = 0; at < tree.size(); ++at) kept.push_back(kept_of(tree, at));
  }
  bool knows(int at, std::uint64_t reign) const {
    const auto& reigns = kept[static_cast<std::size_t>(at)];
    return std::ranges::find(reigns, reign, &Reign::nonce) != reigns.end();
  }
  std::uint64_t reign(int at) const { return at == History::kRoot ? 0 : tree[at].reign().nonce; }

  // Newer: it lists what is known. Stale: the other way round. One seed, and what is known is older than all that is
  // listed: nobody can tell. Else a fork.
  Kinship kinship(int known, int offered) const {
    if (known == offered) return Kinship::same;
    if (known == History::kRoot) return Kinship::newer;
    if (offered == History::kRoot) return Kinship::stale;
    if (tree.is_ancestor(known, offered) && knows(offered, reign(known))) return Kinship::newer;
    if (tree.is_ancestor(offered, known) && knows(known, reign(offered))) return Kinship::stale;
    const auto& listed = kept[static_cast<std::size_t>(offered)];
    const bool one_seed = std::ranges::find(listed, tree[known].seed(), &Reign::seed) != listed.end();
    const bool older = tree[known].epoch < listed.back().first;
    return one_seed && older && !knows(offered, reign(known)) ? Kinship::horizon : Kinship::fork;
  }
  Head ancestor(int one, int other) const {
    for (int at = tree.common(one, other); at != History::kRoot; at = tree.parent(at)) {
      if (knows(one, reign(at)) && knows(other, reign(at))) return tree[at].head();
    }
    return {};
  }

  const History& tree;
  std::vector<std::vector<Reign>> kept;
};

void check_record(const History& tree, const Truth& truth, int at) {
  const Record& record = tree[at];
  ASSERT_TRUE(sound(record));
  ASSERT_EQ(record.reigns, truth.kept[static_cast<std::size_t>(at)]);
  ASSERT_EQ(record.slots, slots_of(tree, at));
  std::uint64_t depth = 0;
  for (int above = at; above != History::kRoot; above = tree.parent(above)) ++depth;
  ASSERT_EQ(record.epoch, depth);
  const auto bytes = to_bytes(record);
  ASSERT_LE(bytes.size(), kMaxRecordBytes);
  const auto again = record_from(bytes);
  ASSERT_TRUE(again.has_value());
  ASSERT_EQ(*again, record);
  for (std::size_t i = 0; i < record.reigns.size(); ++i) {
    const Reign& reign = record.reigns[i];
    ASSERT_EQ(record.after(reign.nonce), i == 0 ? nullptr : &record.reigns[i - 1]);
    ASSERT_TRUE(record.lists({reign.nonce, reign.first}) && record.lists({reign.nonce, reign.last}));
    ASSERT_FALSE(record.lists({reign.nonce, reign.first - 1}) || record.lists({reign.nonce, reign.last + 1}));
  }
}

std::array<int, 5> check_pairs(const History& tree, const Truth& truth, int stride) {
  std::array<int, 5> seen{};
  for (int known = 0; known < tree.size(); known += stride) {
    for (int offered = 0; offered < tree.size(); ++offered) {
      const Kinship expected = truth.kinship(known, offered);
      ++seen[static_cast<std::size_t>(expected)];
      EXPECT_EQ(kinship(tree[known], tree[offered]), expected) << known << " " << offered;
      const Kinship blind = expected == Kinship::stale ? Kinship::fork : expected;
      EXPECT_EQ(kinship(tree[known].head(), tree[known].seed(), tree[offered]), blind) << known << " " << offered;
      const Head ancestor = truth.ancestor(known, offered);
      EXPECT_EQ(common_ancestor(tree[known], tree[offered]), ancestor) << known << " " << offered;
      if (::testing::Test::HasFailure()) return seen;
    }
  }
  return seen;
}

// `bushy`: out of 100, how often it grows elsewhere than at its newest end.
History random_tree(std::uint64_t seed, int size, unsigned bushy) {
  History tree(5, seed);
  while (tree.size() < size) {
    const bool anywhere = tree.random().percent(bushy);
    (void)tree.grow(anywhere ? static_cast<int>(tree.random().below(static_cast<std::uint64_t>(tree.size())))
                             : tree.size() - 1);
  }
  return tree;
}

TEST(Record, KinshipIsWhatTheTreeSays) {
  std::array<int, 5> seen{};
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const History tree = random_tree(seed, 120, 30);
    const Truth truth(tree);
    for (int at = 0; at < tree.size(); ++at) check_record(tree, truth, at);
    const auto here = check_pairs(tree, truth, 1);
    for (std::size_t i = 0; i < 5; ++i) seen[i] += here[i];
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  for (const Kinship k : {Kinship::same, Kinship::newer, Kinship::stale, Kinship::fork})
    EXPECT_GT(seen[static_cast<std::size_t>(k)], 1000) << static_cast<int>(k);
}

TEST(Record, LongHistoriesForgetTheOldestReignsThatNobodyRefersTo) {
  std::array<int, 5> seen{};
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const History tree = random_tree(seed, 600, 2);
    const Truth truth(tree);
    for (int at = 0; at < tree.size(); at += 7) check_record(tree, truth, at);
    const auto here = check_pairs(tree, truth, 11);
    for (std::size_t i = 0; i < 5; ++i) seen[i] += here[i];
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  for (const int n : seen) EXPECT_GT(n, 0);
}

TEST(Record, NineChangesOfTheSetAreNoFork) {
  History tree(3);
  int at = tree.promote(History::kRoot, 0, {7});
  const int left = at;
  for (int i = 0; i < 9; ++i) at = tree.change(at, {i % 2 == 0 ? 1u : 3u});
  EXPECT_EQ(kinship(tree[left], tree[at]), Kinship::newer);
  EXPECT_EQ(kinship(tree[at], tree[left]), Kinship::stale);
  EXPECT_EQ(tree[at].reigns.size(), 1u);
  EXPECT_EQ(tree[at].slots[2].until, 1u);
  EXPECT_FALSE(left_behind(tree[at], 2, tree[left]));
}

TEST(Record, AForkThatWasOvertakenIsAForkStill) {
  History tree(3);
  const int base = tree.promote(History::kRoot, 0, {7});
  const int left = tree.change(base, {1});  // A alone
  int right = tree.promote(base, 1, {6});   // B and C, by an arbiter that went back
  EXPECT_EQ(kinship(tree[left], tree[right]), Kinship::fork);
  for (int i = 0; i < 20; ++i) right = i % 3 == 0 ? tree.promote(right, 2, {6}) : tree.change(right, {6});
  EXPECT_EQ(kinship(tree[left], tree[right]), Kinship::fork);
  EXPECT_EQ(kinship(tree[right], tree[left]), Kinship::fork);
  EXPECT_EQ(common_ancestor(tree[left], tree[right]), tree[base].head());
}

TEST(Record, OnePointHasOneContent) {
  History tree(3);
  const int base = tree.promote(History::kRoot, 0, {7});
  const Record one = next_epoch(tree[base], {3}, 1), other = next_epoch(tree[base], {5}, 2);
  EXPECT_EQ(kinship(one, other), Kinship::fork);
  EXPECT_EQ(kinship(one, one), Kinship::same);
}

TEST(Record, ACopyThatWasAwayForAHundredReignsIsKnown) {
  History tree(3);
  const int base = tree.promote(History::kRoot, 2, {7});
  const int alone = tree.promote(base, 0, {3});
  int at = alone;
  for (int i = 0; i < 100; ++i) at = tree.promote(at, static_cast<NodeId>(i % 2), {3});
  EXPECT_EQ(tree[at].reigns.size(), Record::kMaxReigns + 1);
  EXPECT_EQ(kinship(tree[base], tree[at]), Kinship::newer) << "C's last";
  EXPECT_EQ(kinship(tree[alone], tree[at]), Kinship::fork) << "forgotten, between those that are listed";
  at = tree.change(at, {7});  // C is back
  EXPECT_EQ(tree[at].reigns.size(), Record::kMaxReigns);
  EXPECT_EQ(kinship(tree[base], tree[at]), Kinship::horizon);
}

// ---- seeds -----------------------------------------------------------------------------------------------------------

TEST(Record, WhoWasInSyncAndNotAskedIsLeftBehindByAForcedPromotion) {
  History tree(4);
  const int base = tree.promote(History::kRoot, 0, {7});
  const int left = tree.change(base, {3});  // C went before
  const int forced = tree.promote(left, 1, {2}, true);
  EXPECT_EQ(kinship(tree[left], tree[forced]), Kinship::newer);
  EXPECT_TRUE(left_behind(tree[forced], 0, tree[left]));
  EXPECT_FALSE(left_behind(tree[forced], 1, tree[left])) << "it was asked";
  EXPECT_FALSE(left_behind(tree[forced], 2, tree[base])) << "it had left";
  EXPECT_FALSE(left_behind(tree[forced], 3, tree[base])) << "it never was there";
  EXPECT_FALSE(left_behind(tree[forced], 9, tree[base])) << "no such node";
  EXPECT_FALSE(left_behind(tree[left], 0, tree[base])) << "one seed";
  Record covered = tree[forced];
  covered.covered.add(0);
  EXPECT_FALSE(left_behind(covered, 0, tree[left])) << "it has nothing beyond";
  int at = forced;
  for (int i = 0; i < 5; ++i) at = i % 2 == 0 ? tree.change(at, {6}) : tree.promote(at, 2, {6});
  EXPECT_TRUE(left_behind(tree[at], 0, tree[left]));
  const int joined = tree.change(at, {7});
  EXPECT_FALSE(left_behind(tree[joined], 0, tree[joined])) << "it follows since";
}

TEST(Record, ASecondForcedPromotionDoesNotFetchThoseWhomTheFirstLeftBehind) {
  History tree(3);
  const int base = tree.promote(History::kRoot, 0, {7});
  const int once = tree.promote(base, 1, {6}, true);
  const int twice = tree.promote(once, 2, {4}, true);
  EXPECT_TRUE(left_behind(tree[once], 0, tree[base]));
  EXPECT_TRUE(left_behind(tree[twice], 0, tree[base])) << "by the first";
  EXPECT_TRUE(left_behind(tree[twice], 1, tree[once])) << "by the second";
  const int thrice = tree.promote(tree.change(twice, {6}), 2, {4}, true);
  EXPECT_TRUE(left_behind(tree[thrice], 0, tree[base]));
  EXPECT_TRUE(left_behind(tree[thrice], 1, tree[once])) << "an older image of it";
}

// Under `durable` those in sync have nothing beyond the record, also when the seed that passed them over is not the last one.
TEST(Record, WhoWasCoveredByASeedIsCoveredByTheNextUnlessItWasBackInBetween) {
  History tree(3);
  const int base = tree.promote(History::kRoot, 0, {7});
  Record once = tree[tree.promote(base, 1, {6}, true)];
  once.covered = {7};
  EXPECT_EQ(covered_before(once), NodeSet{1});
  Record twice = next_reign(once, {.nonce = 5, .seed = 6, .primary = 2}, {4}, 7);
  twice.consulted = {4};
  twice.covered = covered_before(once);
  EXPECT_FALSE(left_behind(twice, 0, tree[base]));
  EXPECT_TRUE(left_behind(twice, 1, once));
  const Record back = next_epoch(once, {7}, 8);
  EXPECT_EQ(covered_before(back), NodeSet{});
}

TEST(Record, WhoWasAskedGivesUpWhatWasGivenUpThenAndNoMore) {
  History tree(3);
  const int base = tree.promote(History::kRoot, 0, {7});
  const int left = tree.change(tree.promote(base, 0, {1}), {1});
  const int later = tree.change(left, {1});
  Record recovered = tree[tree.promote(base, 1, {2}, true)];
  recovered.consulted.add(0);
  give_up(recovered, tree[left]);
  ASSERT_EQ(recovered.given_up, (std::vector<Head>{tree[left].head()}));
  EXPECT_TRUE(gives_up(recovered, 0, tree[base].head(), false)) << "an ancestor";
  EXPECT_TRUE(gives_up(recovered, 0, tree[left].head(), false));
  EXPECT_FALSE(gives_up(recovered, 0, tree[later].head(), false)) << "it went on since";
  EXPECT_FALSE(gives_up(recovered, 2, tree[left].head(), false)) << "it was not asked";
  EXPECT_TRUE(gives_up(recovered, 2, tree[left].head(), true)) << "it has nothing of its own";
  EXPECT_FALSE(gives_up(recovered, 2, tree[later].head(), true));
  EXPECT_FALSE(gives_up(recovered, kNoNode, tree[left].head(), false));
  give_up(recovered, tree[later]);
  EXPECT_EQ(recovered.given_up, (std::vector<Head>{tree[later].head()})) << "one reign, one entry";
  EXPECT_TRUE(gives_up(recovered, 0, tree[later].head(), false));
  give_up(recovered, tree[base]);
  EXPECT_EQ(recovered.given_up.size(), 1u) << "nothing of it is missing here";
}

TEST(Record, GivenUpIsWhatOneHistoryHasAndTheOtherHasNot) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    const History tree = random_tree(seed, 60, 50);
    for (int one = 1; one < tree.size(); ++one) {
      const int other = 1 + static_cast<int>(seed * 7 + static_cast<std::uint64_t>(one) * 13) % (tree.size() - 1);
      Record record = tree[one];
      record.consulted = NodeSet::of(0);
      record.given_up.clear();
      give_up(record, tree[other]);
      ASSERT_LE(record.given_up.size(), Record::kMaxGivenUp);
      std::size_t missing = 0;
      for (int at = other; at != History::kRoot; at = tree.parent(at)) {
        const bool its_own = !tree.is_ancestor(at, one);
        missing += its_own && (at == other || tree[at].head().reign != tree[other].head().reign);
        const bool listed =
            std::ranges::any_of(record.given_up, [&](Head h) { return h.reign == tree[at].head().reign; });
        if (record.given_up.size() < Record::kMaxGivenUp) ASSERT_TRUE(!its_own || listed) << seed << " " << one;
        if (listed || !its_own) ASSERT_TRUE(gives_up(record, 0, tree[at].head(), false));
      }
      ASSERT_TRUE(missing > 0 || record.given_up.empty());
    }
  }
}

// ---- as bytes --------------------------------------------------------------------------------------------------------

Record maximal() {
  Record record;
  record.volume = {1, 2};
  record.in_sync = {~0u};
  for (unsigned i = 0; i < kMaxNodes; ++i) record.slots.push_back({1 + i, {3, i + 1}, 0, 0});
  Random random(5);
  for (unsigned i = 0; i < Record::kMaxReigns + 200; ++i) {
    Reign reign{
        .nonce = random.next() | 1, .start = {random.next(), random.next()}, .seed = random.next(), .primary = i % 32};
    // At first each of them leaves for good, one after the other.
    const NodeSet in_sync = i < 32 ? NodeSet{~0u << i} | NodeSet::of(31) : NodeSet::of(31);
    reign.primary = 31;
    record = next_reign(record, reign, in_sync, random.next());
  }
  for (std::size_t i = 0; i < Record::kMaxGivenUp; ++i) record.given_up.push_back({random.next() | 1, random.next()});
  return record;
}

TEST(Record, OneOfMaximalSizeFits) {
  const Record record = maximal();
  EXPECT_EQ(record.reigns.size(), Record::kMaxReigns + 31);
  ASSERT_TRUE(sound(record));
  const auto bytes = to_bytes(record);
  EXPECT_GT(bytes.size(), 8000u);
  EXPECT_LE(bytes.size(), kMaxRecordBytes);
  const auto again = record_from(bytes);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(*again, record);
}

// Whoever reads it later relies on what sound() checks, and on its size.
void check_read(std::span<const std::byte> bytes) {
  const auto record = record_from(bytes);
  if (!record) {
    ASSERT_EQ(record.error().code, Errc::corrupt);
    return;
  }
  ASSERT_TRUE(sound(*record));
  ASSERT_TRUE(std::ranges::equal(to_bytes(*record), bytes));
  ASSERT_LE(record->given_up.size(), Record::kMaxGivenUp);
  ASSERT_LE(record->slots.size(), kMaxNodes);
}

TEST(Record, NoTruncationAndNoFlippedBitDoesMoreThanFail) {
  History tree(3);
  const int base = tree.promote(tree.promote(History::kRoot, 1, {7}), 0, {7}, true);
  Record small = tree[tree.change(base, {3})];
  small.given_up = {{77, 1}, {78, 2}};
  for (const auto& bytes : {to_bytes(small), to_bytes(Record{}), to_bytes(maximal())}) {
    for (std::size_t n = 0; n < bytes.size(); ++n)
      ASSERT_FALSE(record_from(std::span(bytes).first(n)).has_value()) << n;
    auto longer = bytes;
    longer.push_back(std::byte{0});
    ASSERT_FALSE(record_from(longer).has_value());
    const std::size_t step = bytes.size() > 2000 ? 13 : 1;
    for (std::size_t bit = 0; bit < bytes.size() * 8; bit += step) {
      auto flipped = bytes;
      flipped[bit / 8] ^= std::byte{1} << (bit % 8);
      check_read(flipped);
      ASSERT_FALSE(HasFailure()) << "bit " << bit;
    }
  }
}

TEST(Record, RandomBytesDoNoMoreThanFail) {
  Random random(4);
  const auto good = to_bytes(maximal());
  for (int round = 0; round < 3000; ++round) {
    auto bytes = good;
    for (int n = 0; n < 4; ++n) bytes[random.below(bytes.size())] = static_cast<std::byte>(random.next());
    if (random.percent(30)) bytes.resize(random.below(bytes.size()));
    check_read(bytes);
    ASSERT_FALSE(HasFailure()) << round;
  }
}

// A list that is longer than its bound is refused before anything is stored: a superblock has no room for it.
TEST(Record, MoreIsGivenUpThanARecordHolds) {
  History tree(3);
  Record record = tree[tree.promote(History::kRoot, 0, {7})];
  for (std::uint64_t i = 0; i < Record::kMaxGivenUp; ++i) record.given_up.push_back({i + 1, i});
  auto bytes = to_bytes(record);
  ASSERT_TRUE(record_from(bytes).has_value());
  constexpr std::size_t kAtCount = 61;  // behind volume, epoch, primary, in_sync, nonce, ack, lease_ms, life, consulted
  ASSERT_EQ(bytes[kAtCount], std::byte{Record::kMaxGivenUp});
  bytes[kAtCount] = std::byte{Record::kMaxGivenUp + 1};
  bytes.insert(bytes.begin() + kAtCount + 2, 16, std::byte{1});
  EXPECT_FALSE(record_from(bytes).has_value());
}

TEST(Record, WhatDoesNotFitTogetherIsRefused) {
  History tree(3);
  const Record good = tree[tree.change(tree.promote(tree.promote(History::kRoot, 1, {7}), 0, {7}), {3})];
  ASSERT_TRUE(sound(good));
  const auto spoilt = [&](auto&& change) {
    Record record = good;
    change(record);
    return !sound(record) && !record_from(to_bytes(record)).has_value();
  };
  EXPECT_TRUE(spoilt([](Record& r) { r.reigns.clear(); }));
  EXPECT_TRUE(spoilt([](Record& r) { ++r.epoch; }));
  EXPECT_TRUE(spoilt([](Record& r) { r.epoch = 0; }));
  EXPECT_TRUE(spoilt([](Record& r) { r.reigns[0].nonce = 0; }));
  EXPECT_TRUE(spoilt([](Record& r) { r.reigns[1].nonce = 0; }));
  EXPECT_TRUE(spoilt([](Record& r) { r.reigns[0].first = r.reigns[0].last + 1; }));
  EXPECT_TRUE(spoilt([](Record& r) { r.reigns[1].last = r.reigns[0].first; }));
  EXPECT_TRUE(spoilt([](Record& r) { r.reigns[1].first = 0; }));
  EXPECT_TRUE(spoilt([](Record& r) { std::swap(r.reigns[0], r.reigns[1]); }));
  EXPECT_TRUE(spoilt([](Record& r) { r.primary = kNoNode; }));
  EXPECT_TRUE(spoilt([](Record& r) { r.primary = 2; })) << "not in sync";
  EXPECT_TRUE(spoilt([](Record& r) { r.in_sync.add(5); })) << "not listed";
  EXPECT_TRUE(spoilt([](Record& r) { r.slots[0].name = 0; }));
  EXPECT_TRUE(spoilt([](Record& r) { r.slots.clear(); }));
  Record virgin;
  virgin.in_sync = {1};
  EXPECT_FALSE(sound(virgin));
  EXPECT_TRUE(sound(Record{}));
}

}  // namespace
}  // namespace resilver::replica
