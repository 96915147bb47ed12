// Promotion by force, and the split brain that it may cause: found, shown, resolved, never merged silently (rule 11).
#include "base/planted_bug.h"
#include "replica/metadata.h"
#include "tests/replica/cluster.h"
#include "tests/replica/log_writer.h"

namespace resilver::replica {
namespace {

struct Planted {
  explicit Planted(PlantedBug bug) { planted_bug_now = bug; }
  ~Planted() { planted_bug_now = PlantedBug::none; }
};

Status force(Cluster& cluster, int node) {
  Status result = fail(Errc::cancelled);
  if (!cluster.run_until([&] { return cluster.replica(node) != nullptr; })) return result;
  cluster.operate(node, [](Replica& replica, Status& out) -> Task<void> {
    out = co_await replica.promote_by_force();
  }(*cluster.replica(node), result));
  return result;
}

Status resolve(Cluster& cluster, int node, int peer, Resolution choice) {
  Status result = fail(Errc::cancelled);
  cluster.operate(node, [](Replica& replica, NodeId other, Resolution side, Status& out) -> Task<void> {
    out = co_await replica.resolve(other, side);
  }(*cluster.replica(node), static_cast<NodeId>(peer), choice, result));
  return result;
}

void isolate(Cluster& cluster, int node, bool cut) {
  for (const char* other : {"A", "B", "C", "arbiter", "client"}) {
    if (Cluster::name(node) == other) continue;
    for (const auto& [from, to] :
         {std::pair(Cluster::name(node), std::string(other)), std::pair(std::string(other), Cluster::name(node))}) {
      cut ? cluster.world.network().drop(from, to) : cluster.world.network().restore(from, to);
    }
  }
}

// A alone has blocks 0 .. 3 in version 2; C, forced, has 2 .. 5 in version 3; before, both had version 1. B is down.
void split(Cluster& cluster) {
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 100, 1);
  cluster.run_for(kSecond);
  cluster.node(1).crash();
  cluster.node(2).crash();
  cluster.write_range(0, 4, 2);
  isolate(cluster, 0, true);
  cluster.start_node(2, false);
  cluster.run_for(2 * kSecond);
  EXPECT_EQ(cluster.status(2).role, Role::idle) << "an outdated copy waits for the newer one, unless forced";
  const Status forced = force(cluster, 2);
  ASSERT_TRUE(forced.has_value()) << to_string(forced.error());
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(2).serving; }));
  EXPECT_TRUE(cluster.status(0).serving) << "nobody told it: two primaries, by force only";
  cluster.write_range(2, 6, 3);
  isolate(cluster, 0, false);
}

bool found(Cluster& cluster) {
  return cluster.run_until([&] {
    const auto s = cluster.status(2);
    return !s.peers.empty() && s.peers[0].diverged && s.peers[0].divergent_bytes == 6 * kBlockBytes;
  });
}

// What only A had was acknowledged under `async`; nobody asked it, whoever was forced last.
TEST(SplitBrain, IsFoundAlsoWhereSomebodyWasForcedTwice) {
  Cluster cluster(85, {.ack = AckMode::async});
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.node(2).crash();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(0).in_sync.count() == 2; }));
  LogWriter writer(cluster, 100);
  cluster.run_for(200 * kMillisecond);
  cluster.world.network().drop("A", "arbiter");
  cluster.node(1).crash();
  const std::size_t before = writer.acked.size();
  cluster.run_for(30 * kMillisecond);  // its lease lasts as long
  ASSERT_GT(writer.acked.size(), before);
  const std::uint64_t last = writer.acked.back();
  writer.kill();
  cluster.node(0).crash();
  ASSERT_EQ(cluster.arbiter_record().in_sync.count(), 2u);
  cluster.world.network().restore("A", "arbiter");
  cluster.start_node(1, false);
  ASSERT_TRUE(force(cluster, 1).has_value());
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(1).in_sync.count() == 2; }));
  cluster.node(2).crash();
  ASSERT_EQ(cluster.write(50, 3), Errc::ok);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(1).in_sync.count() == 1; }));
  cluster.node(1).crash();
  cluster.start_node(2, false);
  ASSERT_TRUE(force(cluster, 2).has_value());
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(2).serving; }));
  cluster.start_node(0, false);
  EXPECT_TRUE(cluster.run_until([&] {
    const auto s = cluster.status(2);
    return !s.peers.empty() && s.peers[0].diverged;
  })) << cluster.describe();
  EXPECT_EQ(cluster.read_copy(0, last), 1u) << "as it was";
  EXPECT_EQ(cluster.read_copy(2, last), 0u);
}

// One that has just been copied knows a record whose set it is not in. Forced, it vouches for nobody in that set.
TEST(SplitBrain, IsFoundWhereOneThatHadJustBeenCopiedIsForced) {
  Cluster cluster(86);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 10, 1);
  cluster.node(2).crash();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(0).in_sync.count() == 2; }));
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.replica(2) != nullptr && cluster.status(2).inconsistent; }));
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.status(2).inconsistent; }));
  cluster.node(2).crash();
  cluster.run_for(kSecond);
  ASSERT_FALSE(cluster.arbiter_record().in_sync.contains(2));
  ASSERT_EQ(cluster.write(3, 2), Errc::ok);
  cluster.node(0).crash();
  cluster.node(1).crash();
  cluster.start_node(2, false);
  ASSERT_TRUE(force(cluster, 2).has_value());
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(2).serving; }));
  cluster.start_node(0, false);
  EXPECT_TRUE(cluster.run_until([&] {
    const auto s = cluster.status(2);
    return !s.peers.empty() && s.peers[0].diverged;
  })) << cluster.describe();
  EXPECT_EQ(cluster.read_copy(0, 3), 2u);
}

TEST(SplitBrain, IsFoundAtReconnectAndBothSidesStayReadable) {
  Cluster cluster(81);
  split(cluster);
  ASSERT_TRUE(found(cluster));
  const PeerStatus a = cluster.status(2).peers[0];
  EXPECT_EQ(a.why, ResyncWhy::diverged);
  EXPECT_EQ(a.divergent, (std::vector<Extent>{{0, 6 * kBlockBytes}}));
  EXPECT_TRUE(cluster.status(0).diverged);
  EXPECT_EQ(cluster.read_copy(0, 2), 2u);
  EXPECT_EQ(cluster.read_copy(0, 5), 1u);
  EXPECT_EQ(cluster.read_copy(2, 2), 3u);
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(2, &version), Errc::ok);
  EXPECT_EQ(version, 3u) << "the record's holder serves";
  cluster.run_for(10 * kSecond);
  EXPECT_EQ(cluster.read_copy(0, 0), 2u) << "nothing is merged by waiting";
}

TEST(SplitBrain, DiscardRemoteCopiesOnlyWhatEitherSideWrote) {
  Cluster cluster(82);
  split(cluster);
  ASSERT_TRUE(found(cluster));
  ASSERT_TRUE(resolve(cluster, 2, 0, Resolution::discard_remote).has_value());
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(2).in_sync.contains(0); }));
  cluster.start_node(1, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(0, &version), Errc::ok);
  EXPECT_EQ(version, 1u);
  EXPECT_EQ(cluster.read(3, &version), Errc::ok);
  EXPECT_EQ(version, 3u);
  bool by_bitmap = false;
  for (const auto& [node, event] : cluster.events)
    by_bitmap |= event.kind == EventKind::resync_finished && event.peer == 0 && event.why == ResyncWhy::bitmap;
  EXPECT_TRUE(by_bitmap) << "no bit was cleared while they were apart";
}

TEST(SplitBrain, DiscardLocalHandsTheRecordToTheOtherSide) {
  Cluster cluster(83);
  split(cluster);
  ASSERT_TRUE(found(cluster));
  ASSERT_TRUE(resolve(cluster, 2, 0, Resolution::discard_local).has_value());
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(0).in_sync.contains(2) && cluster.primary() == 0; }));
  cluster.start_node(1, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(2, &version), Errc::ok);
  EXPECT_EQ(version, 2u);
  EXPECT_EQ(cluster.read(5, &version), Errc::ok);
  EXPECT_EQ(version, 1u);
}

TEST(SplitBrain, TheSideWithoutTheRecordMayGiveItselfUp) {
  Cluster cluster(84);
  split(cluster);
  ASSERT_TRUE(found(cluster));
  EXPECT_EQ(resolve(cluster, 0, 2, Resolution::discard_remote).error().code, Errc::not_primary);
  EXPECT_EQ(resolve(cluster, 2, 1, Resolution::discard_remote).error().code, Errc::invalid_argument);
  ASSERT_TRUE(resolve(cluster, 0, 2, Resolution::discard_local).has_value());
  EXPECT_FALSE(cluster.status(0).diverged);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(2).in_sync.contains(0); }));
  cluster.start_node(1, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(SplitBrain, ANewerCopyThatReturnsAfterAForcedPromotionIsNotOverwritten) {
  Cluster cluster(85);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 10, 1);
  cluster.node(1).crash();
  cluster.node(2).crash();
  cluster.write_range(0, 4, 2);
  cluster.node(0).crash();
  cluster.start_node(2, false);
  ASSERT_TRUE(force(cluster, 2).has_value());
  ASSERT_TRUE(cluster.run_until([&] { return cluster.primary() == 2; }));
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(0).diverged; }));
  EXPECT_EQ(cluster.read_copy(0, 3), 2u);
  cluster.start_node(1, false);  // it has no history of its own: an ordinary returner
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(2).in_sync.contains(1); }));
  EXPECT_FALSE(cluster.status(2).in_sync.contains(0));
}

TEST(SplitBrain, IsMissedWhenAnotherHistoryIsObeyed) {
  const Planted bug(PlantedBug::fork_obeyed);
  Cluster cluster(85);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.node(1).crash();
  cluster.node(2).crash();
  cluster.write_range(0, 4, 2);
  cluster.node(0).crash();
  cluster.start_node(2, false);
  ASSERT_TRUE(force(cluster, 2).has_value());
  ASSERT_TRUE(cluster.run_until([&] { return cluster.primary() == 2; }));
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(2).in_sync.contains(0); }));
  EXPECT_EQ(cluster.count(EventKind::split_brain), 0);
  EXPECT_EQ(cluster.read_copy(0, 3), 0u) << "an acknowledged write was thrown away, and nobody was asked";
}

// C, half-copied by bitmap, is alone.
void leave_half_copied(Cluster& cluster) {
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 1000, 1);
  cluster.run_for(kSecond);
  cluster.node(2).crash();
  cluster.write_range(0, 1000, 2);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.run_until([&] {
    const auto s = cluster.status(0);
    return s.peers.size() == 2 && s.peers[1].resync_done_bytes >= Cluster::kVolume / 4;
  }));
  cluster.node(0).crash();
  cluster.node(1).crash();
}

TEST(SplitBrain, AHalfCopiedNodeIsNotPromotedEvenByForce) {
  Cluster::Options options;
  options.resync_rate = 4 << 20;
  Cluster cluster(86, options);
  leave_half_copied(cluster);
  const Status forced = force(cluster, 2);
  ASSERT_FALSE(forced.has_value());
  EXPECT_EQ(forced.error().code, Errc::unavailable);
  EXPECT_EQ(cluster.read_copy(2, 3), std::nullopt) << "nor read";
}

TEST(SplitBrain, AHalfCopiedNodeThatIsPromotedServesAMixture) {
  const Planted bug(PlantedBug::inconsistent_promoted);
  Cluster::Options options;
  options.resync_rate = 4 << 20;
  Cluster cluster(86, options);
  leave_half_copied(cluster);
  ASSERT_TRUE(force(cluster, 2).has_value());
  ASSERT_TRUE(cluster.run_until([&] { return cluster.primary() == 2; }));
  std::uint64_t first = 0, last = 0;
  EXPECT_EQ(cluster.read(0, &first), Errc::ok);
  EXPECT_EQ(cluster.read(999, &last), Errc::ok);
  EXPECT_NE(first, last) << "a state that never was";
}

TEST(SplitBrain, ForceIsRefusedWhereAPrimaryIsHeardOrTheArbiterIsNot) {
  Cluster cluster(87);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(force(cluster, 1).error().code, Errc::busy);
  EXPECT_EQ(cluster.primary(), 0);
  cluster.arbiter_node().crash();
  cluster.node(0).crash();
  EXPECT_EQ(force(cluster, 1).error().code, Errc::unavailable);
}

// C hears neither of A's last record nor of B's, which came after it, and takes over from B. A is not cut off from anything
// that was acknowledged: no split brain, although C does not know A's last record.
// A history begun by force that all have followed is everybody's.
TEST(SplitBrain, IsNotSeenLongAfterAPromotionByForceThatAllHaveSeen) {
  Cluster cluster(89);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(cluster.write(1, 1), Errc::ok);
  cluster.node(0).crash();
  cluster.node(2).crash();
  ASSERT_TRUE(force(cluster, 1).has_value());
  cluster.start_node(0, false);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  cluster.node(2).crash();
  const std::uint64_t left_at = cluster.status(1).epoch;
  for (int round = 0; round < 5; ++round) {  // each a change of the set, or two
    for (const unsigned members : {1u, 2u}) {
      members == 1 ? cluster.node(0).crash() : cluster.start_node(0, false);
      ASSERT_TRUE(cluster.run_until([&] {
        const int p = cluster.primary();
        return p >= 0 && cluster.status(p).in_sync.count() == members;
      }));
    }
  }
  EXPECT_EQ(cluster.write(1, 2), Errc::ok);
  ASSERT_GT(cluster.status(cluster.primary()).epoch, left_at + 8) << "nine changes of the set and more";
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(cluster.count(EventKind::split_brain), 0);
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(SplitBrain, IsNotSeenInAGenerationThatOnlyWasNotHeardOf) {
  Cluster cluster(88);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(cluster.write(1, 1), Errc::ok);
  sim::Fabric& network = cluster.world.network();
  for (const char* other : {"B", "C"}) network.drop("A", other);
  cluster.order(0, [&](Replica& replica) -> Task<void> {
    (void)co_await replica.set_ack(AckMode::received, cluster.world.now() + kSecond);
  });
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(0).epoch == 2; }, 50 * kMillisecond));
  cluster.node(0).crash();
  const Nanos deadline = cluster.world.now() + kSecond;
  cluster.world.run_while([&] { return cluster.count(EventKind::became_primary, 1) == 0; }, deadline);
  cluster.node(1).crash();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.primary() == 2; }));
  for (const char* other : {"B", "C"}) network.restore("A", other);
  cluster.start_node(0, false);
  cluster.start_node(1, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(cluster.count(EventKind::split_brain), 0);
  EXPECT_TRUE(cluster.copies_equal());
}

}  // namespace
}  // namespace resilver::replica
