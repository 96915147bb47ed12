// `volume upgrade`, on what version 1 of the program itself wrote (data/README.md).
#include <gtest/gtest.h>

#include "replica/arbiter.h"
#include "tests/replica/version_1.h"

namespace resilver::replica {
namespace {

using namespace version_1;

// As images are extended for it.
Content extended(const std::string& state, int node) {
  Content content = device(state, node);
  content.resize(wanted_upgraded_bytes(kVolume));
  return content;
}
Content upgraded(const std::string& state, int node, const UpgradePlan& plan) {
  Content content = extended(state, node);
  EXPECT_TRUE(run_on(content, upgrading(plan, node)));
  return content;
}

// ---- what version 1 wrote --------------------------------------------------------------------------------------------

TEST(VersionOne, CopiesAreReadAsTheyWere) {
  const auto epochs = [](const old::Copy& copy) {
    std::vector<std::uint64_t> list;
    for (const old::Generation& g : copy.history) list.push_back(g.epoch);
    return list;
  };
  const auto read = [](const std::string& state, int node) {
    Content content = device(state, node);
    return copy_on(content);
  };
  for (const char* state : kStates) {
    for (int node = 0; node < 3; ++node) {
      const old::Copy copy = read(state, node);
      EXPECT_EQ(copy.at, kVolume);
      EXPECT_EQ(copy.volume, old::volume_number("v"));
      EXPECT_EQ(copy.node, static_cast<NodeId>(node));
      EXPECT_EQ(copy.volume_bytes, kVolume);
      EXPECT_EQ(copy.granule, 64u * 1024);
      EXPECT_EQ(copy.bit_count, old::kBits);
      EXPECT_EQ(copy.bits.size(), old::kBits / 64);
      EXPECT_TRUE(copy.lost.empty());
    }
  }
  using Epochs = std::vector<std::uint64_t>;
  EXPECT_EQ(epochs(read("new", 0)), Epochs{});
  EXPECT_EQ(epochs(read("clean", 2)), (Epochs{3, 2, 1}));
  EXPECT_EQ(epochs(read("behind", 1)), (Epochs{4, 3, 2, 1}));
  EXPECT_EQ(epochs(read("behind", 2)), (Epochs{3, 2, 1}));
  EXPECT_EQ(epochs(read("split", 0)), (Epochs{5, 4, 3, 2, 1}));
  EXPECT_EQ(epochs(read("split", 1)), (Epochs{6, 3, 2, 1}));
  EXPECT_EQ(epochs(read("handed_over", 0)), (Epochs{3, 2, 1}));
  EXPECT_EQ(read("behind", 0).position, (Position{1, 1}));
  EXPECT_EQ(read("behind", 0).bits[0], 0xfu);
  EXPECT_FALSE(read("half", 0).inconsistent);
  EXPECT_TRUE(read("half", 2).inconsistent);
  EXPECT_NE(read("half", 2).resync_id, 0u);
}

TEST(VersionOne, RecordsAreReadAsTheyWere) {
  const auto is = [](const std::string& state, std::uint64_t version, std::uint64_t epoch, NodeId primary,
                     unsigned in_sync) {
    const old::Record r = record_of(state);
    return r.version == version && r.generation.epoch == epoch && r.generation.primary == primary &&
           r.in_sync.bits == in_sync && r.ack == AckMode::durable;
  };
  EXPECT_EQ(record_of("new").generation.epoch, 0u);
  EXPECT_TRUE(is("clean", 3, 3, 0, 7));
  EXPECT_TRUE(is("behind", 4, 4, 0, 3));
  EXPECT_TRUE(is("half", 4, 4, 0, 3));
  EXPECT_TRUE(is("split", 6, 6, 1, 2));
  EXPECT_TRUE(is("handed_over", 4, 4, 1, 7));
}

TEST(VersionOne, OneBadSlotFallsBackToTheOtherAndTwoAreDamage) {
  for (int bad = 0; bad < 3; ++bad) {
    Content content = device("clean", 1);
    if (bad != 1) content.flip(kVolume + 50);
    if (bad != 0) content.flip(kVolume + kBlockBytes + 50);
    EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& d) -> Task<void> {
      const auto found = co_await old::find_copy(env.scheduler(), env.buffers(), d, kVolume);
      if (bad == 2) {
        EXPECT_EQ(found ? Errc::ok : found.error().code, Errc::corrupt);
      } else {
        EXPECT_TRUE(found.has_value() && found->has_value());
      }
    }));
    EXPECT_EQ(kind_on(content, kVolume), bad == 2 ? Held::Kind::damaged : Held::Kind::old_copy);
  }
}

TEST(VersionOne, ABitmapThatCannotBeReadIsAllOnes) {
  Content content = device("clean", 1);
  content.unreadable.insert(content.size_bytes() / kBlockBytes - 8);  // its first block
  const old::Copy copy = copy_on(content);
  EXPECT_EQ(copy.bits[0], ~std::uint64_t{0});
  EXPECT_EQ(copy.bits[511], ~std::uint64_t{0});
  EXPECT_EQ(copy.bits[512], 0u);
}

// ---- what becomes of it ----------------------------------------------------------------------------------------------

TEST(Upgrade, EachCopyGoesOnWithTheHistoryThatItHas) {
  for (const std::string state : kStates) {
    const UpgradePlan plan = version_1::plan(state);
    const Record record = upgraded_record(plan);
    ASSERT_TRUE(sound(record));
    for (int node = 0; node < 3; ++node) {
      SCOPED_TRACE(state + " " + Cluster::name(node));
      Content before = device(state, node);
      const old::Copy was = copy_on(before);
      Content content = upgraded(state, node, plan);
      ASSERT_TRUE(content.same(before, 0, kVolume)) << "the data";
      const Looked now = look(content, kVolume);
      ASSERT_EQ(now.code, Errc::ok);
      EXPECT_EQ(now.damaged, 0u);
      const Superblock& s = now.super;
      EXPECT_EQ(s.volume, Cluster::kVolumeId);
      EXPECT_EQ(s.copy, upgraded_copy_id(plan.volume, Cluster::name(node)));
      EXPECT_EQ(s.node, Cluster::name(node));
      EXPECT_EQ(s.bit_count, old::kBits);
      EXPECT_EQ(s.granule, was.granule);
      EXPECT_EQ(s.attachment, was.attachment);
      EXPECT_EQ(s.inconsistent, was.inconsistent);
      EXPECT_EQ(s.growing_from, 0u);
      EXPECT_TRUE(sound(s.known));
      EXPECT_EQ(s.base, s.known.head());
      EXPECT_EQ(now.marks.position, was.position);
      EXPECT_EQ(now.marks.prepared, (Clearing{was.bits_since, 0}));
      EXPECT_EQ(now.dirty, was.bits[0] == 0 ? std::vector<Extent>{} : (std::vector<Extent>{{0, 256 * 1024}}));
      ASSERT_EQ(s.known.reigns.size(), was.inconsistent ? 0 : was.history.size());
      for (std::size_t i = 0; i < s.known.reigns.size(); ++i) {
        EXPECT_EQ(s.known.reigns[i].first, was.history[i].epoch);
        EXPECT_EQ(s.known.reigns[i].last, was.history[i].epoch);
        EXPECT_EQ(s.known.reigns[i].primary, was.history[i].primary);
      }
      const auto magic = before.get(kVolume, 8);
      for (std::uint64_t at = kVolume; at < content.size_bytes(); at += kBlockBytes)
        ASSERT_NE(content.get(at, 8), magic);
    }
  }
}

TEST(Upgrade, TheRecordIsWhatTheCopiesKnowOrFollowsIt) {
  const auto kin = [](const std::string& state, int node) {
    const UpgradePlan plan = version_1::plan(state);
    Content content = upgraded(state, node, plan);
    return kinship(look(content, kVolume).super.known, upgraded_record(plan));
  };
  for (const std::string state : kStates) {
    const Record record = upgraded_record(version_1::plan(state));
    const old::Record was = record_of(state);
    EXPECT_EQ(record.epoch, was.generation.epoch);
    if (record.virgin()) continue;
    EXPECT_EQ(record.volume, Cluster::kVolumeId);
    EXPECT_EQ(record.primary, was.generation.primary);
    EXPECT_EQ(record.in_sync, was.in_sync);
    EXPECT_EQ(record.ack, was.ack);
    EXPECT_EQ(record.lease_ms, 80u);
    EXPECT_EQ(record.configured(), 3u);
    for (NodeId id = 0; id < 3; ++id) {
      EXPECT_EQ(record.find_name(name_hash(Cluster::name(static_cast<int>(id)))), id);
      EXPECT_EQ(record.find_copy(upgraded_copy_id(Cluster::kVolumeId, Cluster::name(static_cast<int>(id)))), id);
    }
  }
  EXPECT_TRUE(upgraded_record(version_1::plan("new")).virgin());
  for (int node = 0; node < 3; ++node) {
    EXPECT_EQ(kin("clean", node), Kinship::same);
    EXPECT_EQ(kin("behind", node), node == 2 ? Kinship::newer : Kinship::same);
    EXPECT_EQ(kin("handed_over", node), Kinship::newer) << "nobody has stored the last one";
  }
  EXPECT_EQ(kin("half", 2), Kinship::newer) << "it knows nothing";
  EXPECT_EQ(kin("split", 0), Kinship::fork);
  EXPECT_EQ(kin("split", 1), Kinship::same);
  EXPECT_EQ(kin("split", 2), Kinship::newer);
}

// On whatever machine the arbiter's state is, with whatever copies at hand.
TEST(Upgrade, AHistoryOfACopyThatWasNotInSyncIsNoAncestorOfTheRecord) {
  for (const std::string state : kStates) {
    const UpgradePlan all = version_1::plan(state);
    for (unsigned at_hand = 0; at_hand < 8; ++at_hand) {
      UpgradePlan plan = all;
      std::erase_if(plan.histories, [&](const auto& h) { return (at_hand >> h.node & 1) == 0; });
      const Record record = upgraded_record(plan);
      ASSERT_TRUE(sound(record));
      for (int node = 0; node < 3; ++node) {
        Content content = upgraded(state, node, plan);
        const Kinship seen = kinship(look(content, kVolume).super.known, record);
        if (state == "split" && node == 0)
          EXPECT_TRUE(seen == Kinship::fork || seen == Kinship::horizon) << at_hand;
        else if (all.record->in_sync.contains(static_cast<NodeId>(node)) && state != "handed_over")
          EXPECT_EQ(seen, Kinship::same) << state << " " << node << " " << at_hand;
      }
    }
  }
}

// ---- it serves -------------------------------------------------------------------------------------------------------

std::vector<std::byte> new_arbiter_state(const Record& record, std::uint64_t version) {
  Content content(1 << 20);
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& d) -> Task<void> {
    ArbiterStore store(env, d);
    EXPECT_EQ(co_await store.format({{1, 1}, 0, version, record}), Errc::ok);
  }));
  return content.get(0, content.size_bytes());
}

// The nodes of that state, brought over and started.
void start(Cluster& cluster, const std::string& state) {
  const UpgradePlan plan = version_1::plan(state);
  for (int node = 0; node < 3; ++node) {
    Content content = upgraded(state, node, plan);
    cluster.insert_disk(node, content.get(0, content.size_bytes()));
  }
  cluster.restore_arbiter(new_arbiter_state(upgraded_record(plan), plan.record->version));
  cluster.start_arbiter();
  for (int node = 0; node < 3; ++node) cluster.start_node(node, false);
}
constexpr Cluster::Options kAsUpgraded = {.intent_bits = old::kBits, .intent_bits_of_c = old::kBits};

void expect_data(Cluster& cluster, const std::string& state, int as_of) {
  for (std::uint64_t block = 0; block < 80; ++block) {
    std::uint64_t version = 0;
    ASSERT_EQ(cluster.read(block, &version), Errc::ok);
    ASSERT_EQ(version, version_at(state, as_of, block)) << "block " << block;
  }
}

class UpgradedCluster : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(States, UpgradedCluster, ::testing::Values("new", "clean", "behind", "half", "handed_over"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(UpgradedCluster, ServesWhatWasThereAndBringsTheOthersUpToDate) {
  const std::string state = GetParam();
  Cluster cluster(31, kAsUpgraded);
  start(cluster, state);
  ASSERT_TRUE(cluster.wait_full()) << cluster.describe();
  expect_data(cluster, state, 0);
  EXPECT_TRUE(cluster.copies_equal());
  for (std::uint64_t block = 60; block < 70; ++block) ASSERT_EQ(cluster.write(block, 9), Errc::ok);
  cluster.node(cluster.primary()).crash();
  ASSERT_TRUE(cluster.wait_serving());
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(65, &version), Errc::ok);
  EXPECT_EQ(version, 9u);
  EXPECT_EQ(cluster.count(EventKind::split_brain), 0);
  std::vector<ResyncWhy> whys;
  for (const auto& [node, event] : cluster.events) {
    if (event.kind == EventKind::resync_started && event.why != ResyncWhy::reconcile) whys.push_back(event.why);
  }
  if (state == "behind") EXPECT_EQ(whys, std::vector{ResyncWhy::bitmap});
  if (state == "half") EXPECT_EQ(whys.size(), 1u);
  if (state == "clean" || state == "handed_over") EXPECT_TRUE(whys.empty());
}

TEST(Upgrade, ASplitBrainIsOneStillUntilSomebodyChooses) {
  for (const Resolution choice : {Resolution::discard_remote, Resolution::discard_local}) {
    Cluster cluster(32, kAsUpgraded);
    start(cluster, "split");
    ASSERT_TRUE(cluster.run_until([&] {
      return cluster.status(1).serving && !cluster.status(1).peers.empty() && cluster.status(1).peers[0].diverged &&
             cluster.status(1).in_sync.contains(2);
    })) << cluster.describe();
    for (const std::uint64_t block : {10, 20, 28, 40}) {
      EXPECT_EQ(cluster.read_copy(0, block), version_at("split", 0, block));
      EXPECT_EQ(cluster.read_copy(1, block), version_at("split", 1, block));
    }
    ASSERT_TRUE(cluster.run_until([&] { return cluster.status(1).peers[0].divergent_bytes == 32 * kBlockBytes; }));
    cluster.operate(1, [](Replica& replica, Resolution side) -> Task<void> {
      EXPECT_TRUE((co_await replica.resolve(0, side)).has_value());
    }(*cluster.replica(1), choice));
    ASSERT_TRUE(cluster.wait_full()) << cluster.describe();
    expect_data(cluster, "split", choice == Resolution::discard_remote ? 1 : 0);
    EXPECT_TRUE(cluster.copies_equal());
  }
}

// ---- interrupted -----------------------------------------------------------------------------------------------------

// Half of it done, it is recognised as what it was or what it is to be, and goes on to the same end.
void check_interrupted(const Content& before, const UpgradePlan& plan, int node) {
  Content whole = before;
  ASSERT_TRUE(run_on(whole, upgrading(plan, node)));
  const Looked expected = look(whole, kVolume);
  ASSERT_EQ(expected.code, Errc::ok);
  const auto check = [&](Content& left) {
    const Held::Kind kind = kind_on(left, kVolume);
    ASSERT_TRUE(kind == Held::Kind::old_copy || kind == Held::Kind::copy) << static_cast<int>(kind);
    ASSERT_TRUE(run_on(left, upgrading(plan, node)));
    expect_same(look(left, kVolume), expected);
    ASSERT_TRUE(left.same(before, 0, kVolume));
    ASSERT_TRUE(run_on(left, [&](TestEnv& env, TestDevice& d) -> Task<void> {
      const auto found = co_await old::find_copy(env.scheduler(), env.buffers(), d, kVolume);
      EXPECT_TRUE(found.has_value() && !found->has_value()) << "nothing is left of version 1";
    }));
  };
  at_every_cut(before, upgrading(plan, node), check, Ways::few);
}

TEST(Upgrade, InterruptedAnywhereItIsRunAgain) {
  for (const auto& [state, node] : {std::pair(std::string("behind"), 0), {"behind", 2}, {"half", 2}, {"split", 1}}) {
    const UpgradePlan plan = version_1::plan(state);
    SCOPED_TRACE(state + " " + Cluster::name(node));
    check_interrupted(extended(state, node), plan, node);
    if (HasFailure()) return;
  }
}

// Where the metadata have to make room first, or lie in between, or the device was grown by much.
TEST(Upgrade, InterruptedOnDevicesOfAllKindsItIsRunAgain) {
  constexpr std::uint64_t kMiB = 1 << 20;
  struct Case {
    std::uint64_t gap, bytes;  // bytes: of the device; 0: it ends behind the metadata
    int node;                  // A and C have their newest slots at different places
  };
  const std::uint64_t least = least_upgraded_bytes(kVolume);
  const Case cases[] = {{0, least, 0},
                        {0, least, 2},
                        {0, kVolume + 6 * kMiB, 2},
                        {0, kVolume + 70 * kMiB, 0},
                        {13 * kBlockBytes, least, 2},
                        {13 * kBlockBytes, least + 40 * kBlockBytes, 0},
                        {kMiB, 0, 0},
                        {kMiB, kVolume + 3 * kMiB, 2}};
  const UpgradePlan plan = version_1::plan("behind");
  for (const auto& [gap, bytes, node] : cases) {
    Content before = device("behind", node, gap);
    if (bytes != 0) before.resize(bytes);
    SCOPED_TRACE("gap " + std::to_string(gap) + ", device " + std::to_string(before.size_bytes()));
    check_interrupted(before, plan, node);
    if (HasFailure()) return;
  }
}

// ---- sizes -----------------------------------------------------------------------------------------------------------

TEST(Upgrade, WhatIsTooSmallIsRefusedUnchangedAndWhatIsToldToBeEnoughIsEnough) {
  const UpgradePlan plan = version_1::plan("clean");
  const std::uint64_t least = least_upgraded_bytes(kVolume), wanted = wanted_upgraded_bytes(kVolume);
  for (std::uint64_t gap = 0; gap < 40 * kBlockBytes; gap += 3 * kBlockBytes) {
    for (std::uint64_t more = 0; more < 48; ++more) {
      Content content = device("clean", 1, gap);
      content.resize(content.size_bytes() + more * kBlockBytes);
      const Content before = content;
      const bool can = can_be_upgraded(copy_on(content), content.size_bytes());
      if (content.size_bytes() >= least) ASSERT_TRUE(can) << gap << " " << content.size_bytes();
      ASSERT_TRUE(run_on(content, upgrading(plan, 1, can ? Errc::ok : Errc::no_space)));
      if (!can) {
        ASSERT_TRUE(content == before);
        continue;
      }
      const Looked now = look(content, kVolume);
      ASSERT_EQ(now.code, Errc::ok) << gap << " " << more;
      ASSERT_GE(now.super.bit_count, 1u << 16);
      ASSERT_EQ(now.dirty, (std::vector<Extent>{{0, 256 * 1024}}));
    }
  }
  for (const std::uint64_t gap : {std::uint64_t{0}, wanted - kVolume - 3 * kBytes, wanted - kVolume - kBytes}) {
    Content content = device("clean", 1, gap);
    content.resize(std::max(content.size_bytes(), wanted));
    ASSERT_TRUE(run_on(content, upgrading(plan, 1)));
    EXPECT_EQ(look(content, kVolume).super.bit_count, old::kBits) << gap;
  }
}

TEST(Upgrade, FewerBitsNameTheSame) {
  const UpgradePlan plan = version_1::plan("behind");
  Content content = device("behind", 0, 0);
  const old::Copy before = copy_on(content);
  while (!can_be_upgraded(before, content.size_bytes())) content.resize(content.size_bytes() + kBlockBytes);
  ASSERT_TRUE(run_on(content, upgrading(plan, 0)));
  const Looked now = look(content, kVolume);
  EXPECT_EQ(now.super.bit_count, 1u << 16);
  EXPECT_EQ(now.super.granule, granule_for(kVolume, now.super.bit_count));
  EXPECT_EQ(now.dirty, (std::vector<Extent>{{0, 256 * 1024}}));
}

// Three of these with two blocks for each superblock serve, too.
TEST(Upgrade, TightDevicesServe) {
  Cluster cluster(33, kAsUpgraded);
  const UpgradePlan plan = version_1::plan("behind");
  for (int node = 0; node < 3; ++node) {
    Content content = device("behind", node);
    content.resize(least_upgraded_bytes(kVolume) + static_cast<std::uint64_t>(node) * 30 * kBlockBytes);
    ASSERT_TRUE(run_on(content, upgrading(plan, node)));
    cluster.insert_disk(node, content.get(0, content.size_bytes()));
  }
  cluster.restore_arbiter(new_arbiter_state(upgraded_record(plan), plan.record->version));
  cluster.start_arbiter();
  for (int node = 0; node < 3; ++node) cluster.start_node(node, false);
  ASSERT_TRUE(cluster.wait_full()) << cluster.describe();
  expect_data(cluster, "behind", 0);
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Upgrade, WhatIsNotItsCopyIsRefused) {
  const UpgradePlan plan = version_1::plan("clean");
  Content content = extended("clean", 1);
  const Content before = content;
  EXPECT_TRUE(run_on(content, upgrading(plan, 0, Errc::bad_input))) << "another node's";
  Content empty(content.size_bytes());
  EXPECT_TRUE(run_on(empty, upgrading(plan, 0, Errc::not_found)));
  EXPECT_TRUE(content == before);
  ASSERT_TRUE(run_on(content, upgrading(plan, 1)));
  UpgradePlan other = plan;
  other.volume = {7, 7};
  EXPECT_TRUE(run_on(content, upgrading(other, 1, Errc::bad_input))) << "brought over as another volume's";
  EXPECT_TRUE(run_on(content, upgrading(plan, 1)));
}

}  // namespace
}  // namespace resilver::replica
