// What nodes tell of an arbiter that is away, restarted or exchanged, and what they take for it.
#include <algorithm>
#include <set>

#include "replica/arbiter.h"
#include "replica/offline.h"
#include "tests/replica/cluster.h"
#include "tests/replica/test_device.h"

namespace resilver::replica {
namespace {

bool tells(Cluster& cluster, int node, Reason reason) {
  const auto findings = cluster.status(node).findings;
  return std::ranges::any_of(findings, [&](const Finding& f) { return f.reason == reason; });
}

bool anybody_tells(Cluster& cluster, Reason reason) {
  for (int node = 0; node < Cluster::kNodes; ++node) {
    if (cluster.replica(node) != nullptr && tells(cluster, node, reason)) return true;
  }
  return false;
}

std::vector<std::byte> state_of_another_volume(std::size_t size) {
  Content content(size);
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& d) -> Task<void> {
    Reign reign;
    reign.nonce = 77;
    reign.primary = 0;
    reign.seed = 78;
    Record record;
    record.volume = {0xbad, 1};
    list_node(record, 0, name_hash("other"), {5, 5});
    ArbiterStore store(env, d);
    EXPECT_EQ(co_await store.format({{9, 9}, 3, 4, next_reign(record, reign, NodeSet::of(0), 79)}), Errc::ok);
  }));
  return content.get(0, content.size_bytes());
}

TEST(ArbiterSeen, AFollowerTellsNothingOfAnArbiterThatItDoesNotAskAnyMore) {
  for (int i = 0; i < 20; ++i) {
    SCOPED_TRACE(i);
    Cluster cluster(330 + static_cast<std::uint64_t>(i));
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    cluster.arbiter_node().crash();
    for (int node = 0; node < Cluster::kNodes; ++node) cluster.node(node).crash();
    for (int node = 0; node < Cluster::kNodes; ++node) cluster.start_node(node, false);
    ASSERT_TRUE(cluster.run_until([&] {
      return tells(cluster, 0, Reason::arbiter_away) && tells(cluster, 1, Reason::arbiter_away) &&
             tells(cluster, 2, Reason::arbiter_away);
    })) << cluster.describe();
    // C does not reach it, and follows a primary soon.
    cluster.world.network().drop("C", "arbiter");
    cluster.run_for(i * 5 * kMillisecond);
    cluster.start_arbiter();
    ASSERT_TRUE(cluster.wait_full());
    EXPECT_TRUE(cluster.run_until([&] { return !anybody_tells(cluster, Reason::arbiter_away); })) << cluster.describe();
  }
}

// The restarted follower may ask the new process before the primary does, which tells of the former one meanwhile.
TEST(ArbiterSeen, OneThatRestartsTogetherWithAFollowerIsTheArbiterOfBoth) {
  for (int i = 0; i < 40; ++i) {
    SCOPED_TRACE(i);
    Cluster cluster(310 + static_cast<std::uint64_t>(i));
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    const int primary = cluster.primary(), follower = (primary + 1) % 3;
    cluster.node((primary + 2) % 3).crash();
    cluster.node(follower).crash();
    ASSERT_TRUE(cluster.run_until([&] { return cluster.status(primary).in_sync.count() == 1; }));
    cluster.arbiter_node().crash();
    cluster.run_for(i * 20 * kMillisecond);
    cluster.start_arbiter();
    cluster.start_node(follower, false);
    ASSERT_TRUE(cluster.run_until([&] {
      return cluster.status(primary).in_sync.count() == 2 && cluster.status(follower).role == Role::secondary;
    })) << cluster.describe();
    cluster.node(primary).crash();
    ASSERT_TRUE(cluster.wait_serving()) << cluster.describe();
  }
}

TEST(ArbiterSeen, OneThatKeepsAnotherVolumesRecordIsToldByAPrimaryThatWantsAChange) {
  Cluster cluster(302);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  const auto right = cluster.arbiter_image();
  cluster.arbiter_node().crash();
  cluster.restore_arbiter(state_of_another_volume(right.size()));
  const int primary = cluster.primary(), gone = (primary + 1) % 3;
  cluster.node(gone).crash();
  cluster.start_arbiter();
  ASSERT_TRUE(cluster.run_until([&] { return tells(cluster, primary, Reason::other_record); })) << cluster.describe();
  cluster.run_for(2 * kSecond);
  EXPECT_TRUE(tells(cluster, primary, Reason::other_record));
  EXPECT_FALSE(tells(cluster, primary, Reason::arbiter_away)) << "it is there";
  cluster.start_node(gone, false);
  cluster.arbiter_node().crash();
  cluster.restore_arbiter(right);
  cluster.start_arbiter();
  ASSERT_TRUE(cluster.wait_full()) << cluster.describe();
  EXPECT_TRUE(cluster.run_until([&] { return !anybody_tells(cluster, Reason::other_record); }));
}

TEST(ArbiterSeen, ACopyThatKnewMoreIsRememberedWhenItIsGone) {
  Cluster cluster(304);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  const auto before = cluster.arbiter_image();
  cluster.node(0).crash();
  ASSERT_EQ(cluster.write(3, 2), Errc::ok);
  ASSERT_NE(cluster.primary(), 0);
  cluster.arbiter_node().crash();
  cluster.node(1).crash();
  cluster.restore_arbiter(before);
  cluster.start_arbiter();
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.replica(0) && tells(cluster, 0, Reason::newer_elsewhere); }))
      << cluster.describe();
  cluster.node(2).crash();
  cluster.run_for(5 * kSecond);
  EXPECT_FALSE(cluster.status(0).serving);
  EXPECT_TRUE(tells(cluster, 0, Reason::newer_elsewhere)) << cluster.describe();
  cluster.arbiter_node().crash();  // restarted on the same file: it is still the record that was vetoed
  cluster.start_arbiter();
  cluster.run_for(5 * kSecond);
  EXPECT_FALSE(cluster.status(0).serving);
  cluster.start_node(1, false);
  cluster.start_node(2, false);
  cluster.run_for(5 * kSecond);
  EXPECT_EQ(cluster.read_copy(1, 3), 2u) << "nobody has overwritten it";
  EXPECT_EQ(cluster.read_copy(2, 3), 2u);
}

// The set is frozen until all members hold a lease and know the arbiter; one that has just restarted does, too.
TEST(ArbiterSeen, ARecordIsPutBackAlsoWhereAMemberRestartedMeanwhile) {
  for (const AckMode ack : {AckMode::durable, AckMode::quorum}) {
    for (const bool freeze : {false, true}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(ack)) + (freeze ? " frozen" : " killed"));
      Cluster cluster(306, {.ack = ack});
      cluster.start_all();
      ASSERT_TRUE(cluster.wait_full());
      const auto before = cluster.arbiter_image();
      const int primary = cluster.primary(), gone = (primary + 1) % 3, member = (primary + 2) % 3;
      cluster.node(gone).crash();
      ASSERT_TRUE(cluster.run_until([&] { return cluster.status(primary).in_sync.count() == 2; }));
      ASSERT_EQ(cluster.write(3, 2), Errc::ok);
      cluster.arbiter_node().crash();
      cluster.restore_arbiter(before);
      freeze ? cluster.node(member).freeze() : cluster.node(member).crash();
      cluster.run_for(kSecond);
      cluster.start_arbiter();
      cluster.run_for(300 * kMillisecond);
      freeze ? cluster.node(member).thaw() : cluster.start_node(member, false);
      EXPECT_TRUE(cluster.run_until([&] {
        return cluster.status(primary).serving && cluster.status(primary).in_sync.count() == 2;
      })) << cluster.describe();
      EXPECT_FALSE(anybody_tells(cluster, Reason::frozen));
      EXPECT_EQ(cluster.count(EventKind::record_reinstalled), 1);
      cluster.start_node(gone, false);
      ASSERT_TRUE(cluster.wait_full()) << cluster.describe();
      std::uint64_t version = 0;
      EXPECT_EQ(cluster.read(3, &version), Errc::ok);
      EXPECT_EQ(version, 2u);
    }
  }
}

// A clone of its device, which has less, was made the primary meanwhile.
TEST(ArbiterSeen, APrimaryThatWasUsurpedByItsOwnCopyKeepsWhatItAcknowledged) {
  Cluster cluster(305);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  const int primary = cluster.primary(), other = (primary + 1) % 3;
  cluster.node(other).crash();
  cluster.node((primary + 2) % 3).crash();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(primary).in_sync.count() == 1; }));
  ASSERT_EQ(cluster.write(3, 2), Errc::ok);
  cluster.client_node().start([&](Env& env) -> Task<void> {
    return [](Env& e, NodeId usurped, NodeId also) -> Task<void> {
      ArbiterClient arbiter(e, "arbiter");
      const auto now = co_await arbiter.get(e.scheduler().now() + kSecond);
      CHECK(now.has_value());
      Record next = now->record;
      next.life = 4711;
      const Reign reign{.nonce = 12345, .seed = next.seed(), .primary = usurped};
      next = next_reign(next, reign, NodeSet::of(usurped) | NodeSet::of(also), 999);
      const auto swapped = co_await arbiter.compare_and_swap(*now, next, e.scheduler().now() + kSecond);
      CHECK(swapped.has_value() && swapped->swapped);
    }(env, static_cast<NodeId>(primary), static_cast<NodeId>(other));
  });
  ASSERT_TRUE(cluster.run_until([&] { return tells(cluster, primary, Reason::second_life); })) << cluster.describe();
  cluster.start_node(other, false);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(other).serving; })) << cluster.describe();
  EXPECT_TRUE(cluster.run_until([&] { return tells(cluster, other, Reason::lost_writes); })) << cluster.describe();
  cluster.node(primary).crash();
  cluster.start_node(primary, false);
  cluster.run_for(2 * kSecond);
  EXPECT_TRUE(tells(cluster, other, Reason::lost_writes)) << "also when it has been restarted";
  EXPECT_EQ(cluster.read_copy(primary, 3), 2u);
  cluster.operate(other, [](Replica& replica, NodeId peer) -> Task<void> {
    EXPECT_TRUE((co_await replica.resolve(peer, Resolution::discard_remote)).has_value());
  }(*cluster.replica(other), static_cast<NodeId>(primary)));
  cluster.start_node((primary + 2) % 3, false);
  EXPECT_TRUE(cluster.wait_full()) << cluster.describe();
}

// What `volume adopt` is for: after it each name and each copy has one number.
TEST(ArbiterSeen, NodesThatHaveExchangedTheirDevicesAreListedOnceEach) {
  for (const bool all_three : {false, true}) {
    Cluster cluster(303);
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    cluster.write_range(0, 50, 1);
    for (int node = 0; node < Cluster::kNodes; ++node) cluster.stop_node(node);
    cluster.run_for(kSecond);
    const int count = all_three ? 3 : 2;
    std::vector<std::vector<std::byte>> images;
    for (int node = 0; node < count; ++node) {
      Content content(cluster.disk(node).size_bytes());
      content.write(0, cluster.image(node));
      const std::string name = Cluster::name((node + 1) % count);
      ASSERT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& d) -> Task<void> {
        EXPECT_TRUE((co_await adopt_copy(env, d, Cluster::kVolume, name)).has_value());
      }));
      images.push_back(content.get(0, content.size_bytes()));
    }
    for (int node = 0; node < count; ++node)
      cluster.insert_disk((node + 1) % count, images[static_cast<std::size_t>(node)]);
    for (int node = 0; node < Cluster::kNodes; ++node) cluster.start_node(node, false);
    ASSERT_TRUE(cluster.wait_full()) << cluster.describe();
    const Record record = cluster.arbiter_record();
    std::set<std::uint64_t> names;
    std::set<std::pair<std::uint64_t, std::uint64_t>> copies;
    for (const Slot& slot : record.slots) {
      names.insert(slot.name);
      copies.emplace(slot.copy.high, slot.copy.low);
    }
    EXPECT_EQ(record.slots.size(), 3u);
    EXPECT_EQ(names.size(), 3u);
    EXPECT_EQ(copies.size(), 3u);
    EXPECT_FALSE(anybody_tells(cluster, Reason::not_listed)) << cluster.describe();
    cluster.node(cluster.primary()).crash();
    ASSERT_TRUE(cluster.wait_serving()) << cluster.describe();
    std::uint64_t version = 0;
    EXPECT_EQ(cluster.read(49, &version), Errc::ok);
    EXPECT_EQ(version, 1u);
  }
}

}  // namespace
}  // namespace resilver::replica
