// A member that keeps leaving and returning is held back, so that the others' writes do not wait each time.
#include <algorithm>

#include "tests/replica/cluster.h"

namespace resilver::replica {
namespace {

void cut(Cluster& cluster, int a, int b, bool down) {
  for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
    sim::Fabric& network = cluster.world.network();
    down ? network.drop(Cluster::name(from), Cluster::name(to))
         : network.restore(Cluster::name(from), Cluster::name(to));
  }
}

std::optional<Finding> held_back(Cluster& cluster, int primary) {
  const auto findings = cluster.status(primary).findings;
  const auto at = std::ranges::find(findings, Reason::held_back, &Finding::reason);
  return at == findings.end() ? std::nullopt : std::optional(*at);
}

struct Service {
  int writable = 0, looks = 0;
  int percent() const { return looks == 0 ? 0 : 100 * writable / looks; }
};

// The link from the primary to a follower goes down and up, `times` times.
Service flap(Cluster& cluster, int primary, int follower, int times) {
  Service service;
  for (int i = 0; i < times; ++i) {
    for (const bool down : {true, false}) {
      cut(cluster, primary, follower, down);
      for (int ms = 0; ms < 150; ++ms) {
        cluster.run_for(kMillisecond);
        ++service.looks;
        service.writable += cluster.status(primary).writable ? 1 : 0;
      }
    }
  }
  return service;
}

TEST(Flapping, CostsLessAndLess) {
  Cluster cluster(401);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  const int primary = cluster.primary(), follower = (primary + 1) % 3;
  const Service first = flap(cluster, primary, follower, 3);
  const Service later = flap(cluster, primary, follower, 30);
  EXPECT_GE(later.percent(), 90) << "of the first three rounds: " << first.percent() << " %";
  EXPECT_GT(later.percent(), first.percent());
  EXPECT_EQ(cluster.primary(), primary);
}

TEST(Flapping, IsToldWithItsEndAndEnds) {
  Cluster cluster(402);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  const int primary = cluster.primary(), follower = (primary + 1) % 3;
  flap(cluster, primary, follower, 10);
  const auto told = held_back(cluster, primary);
  ASSERT_TRUE(told.has_value()) << cluster.describe();
  EXPECT_EQ(told->node, static_cast<NodeId>(follower));
  const Nanos now = cluster.node(primary).clock();
  EXPECT_GT(told->until, now);
  constexpr Nanos kGrace = 100 * kMillisecond;
  EXPECT_LE(told->until, now + 64 * kGrace) << "the longest that anybody is held back";
  EXPECT_FALSE(cluster.status(primary).in_sync.contains(static_cast<NodeId>(follower)));
  EXPECT_TRUE(cluster.wait_full(64 * kGrace + kSecond)) << cluster.describe();
  EXPECT_FALSE(held_back(cluster, primary).has_value());
  // In sync for 32 graces it is as new: its next leaving costs it nothing.
  cluster.run_for(40 * kGrace);
  cluster.node(follower).crash();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(primary).in_sync.count() == 2; }));
  EXPECT_FALSE(held_back(cluster, primary).has_value());
  cluster.start_node(follower, false);
  EXPECT_TRUE(cluster.wait_full(kSecond));
}

TEST(Flapping, ACopyWithoutWhichWritesWaitIsNeverHeldBack) {
  for (const bool quorum : {false, true}) {
    Cluster cluster(403, quorum ? Cluster::Options{.ack = AckMode::quorum} : Cluster::Options{.min_in_sync = 2});
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    const int primary = cluster.primary(), follower = (primary + 1) % 3;
    flap(cluster, primary, follower, 10);
    ASSERT_TRUE(held_back(cluster, primary).has_value());
    cluster.node((primary + 2) % 3).crash();
    const auto both = [&] {
      const auto now = cluster.status(primary);
      return now.writable && now.in_sync.count() == 2 && now.in_sync.contains(static_cast<NodeId>(follower));
    };
    EXPECT_TRUE(cluster.run_until(both, 2 * kSecond)) << cluster.describe();
  }
}

}  // namespace
}  // namespace resilver::replica
