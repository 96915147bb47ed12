// The operator's orders to a copy: give it up and be brought up to date, end a verify early, hand over.
#include "tests/replica/cluster.h"

namespace resilver::replica {
namespace {

Status invalidate(Cluster& cluster, int node, bool full) {
  Status outcome = fail(Errc::cancelled);
  cluster.operate(node, [](Replica& replica, bool all, Status& out) -> Task<void> {
    out = co_await replica.invalidate(all);
  }(*cluster.replica(node), full, outcome));
  return outcome;
}

// The last copy into node 1, as its primary told it.
ReplicaEvent last_resync(const Cluster& cluster, EventKind kind) {
  ReplicaEvent found;
  for (const auto& [node, event] : cluster.events) {
    if (event.kind == kind && event.peer == 1) found = event;
  }
  return found;
}

struct Given {
  bool full;
  ResyncWhy why;
  std::uint64_t copied;
};

class ResyncOrder : public testing::TestWithParam<Given> {};

// What no intent bit names is found: a block that went bad behind everybody's back.
TEST_P(ResyncOrder, BringsTheCopyThatWasGivenUpUpToDate) {
  Cluster cluster(71);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 64, 1);
  cluster.run_for(2 * kSecond);
  std::vector<std::byte> bytes(kBlockBytes, std::byte{0x5a});
  cluster.disk(1).poke(9 * kBlockBytes, bytes);
  ASSERT_FALSE(cluster.copies_equal());
  const Status given_up = invalidate(cluster, 1, GetParam().full);
  ASSERT_TRUE(given_up.has_value()) << to_string(given_up.error());
  ASSERT_TRUE(cluster.run_until([&] { return last_resync(cluster, EventKind::resync_finished).peer == 1; }));
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
  EXPECT_EQ(last_resync(cluster, EventKind::resync_started).why, GetParam().why);
  EXPECT_EQ(last_resync(cluster, EventKind::resync_started).bytes, Cluster::kVolume);
  EXPECT_EQ(last_resync(cluster, EventKind::resync_finished).bytes, GetParam().copied);
}

INSTANTIATE_TEST_SUITE_P(ByChecksumOrWhole, ResyncOrder,
                         testing::Values(Given{false, ResyncWhy::checksum_interrupted, kBlockBytes},
                                         Given{true, ResyncWhy::full_new_disk, Cluster::kVolume}));

TEST(ResyncOrders, CopyThatWasGivenUpIsNotPromotedBeforeItIsWhole) {
  Cluster::Options options;
  options.resync_rate = options.resync_rate_busy = 1 << 20;
  Cluster cluster(72, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 64, 1);
  cluster.node(2).crash();
  ASSERT_TRUE(invalidate(cluster, 1, true).has_value());
  cluster.node(0).crash();
  EXPECT_FALSE(cluster.wait_serving(3 * kSecond)) << "the only whole copy is gone";
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.wait_serving());
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full(30 * kSecond));
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(ResyncOrders, PrimaryAndAnOrphanAreRefused) {
  Cluster cluster(73);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(invalidate(cluster, 0, false).error().code, Errc::invalid_argument);
  cluster.node(0).crash();
  cluster.run_for(10 * kMillisecond);  // its session has ended, and nobody has been promoted yet
  EXPECT_EQ(invalidate(cluster, 1, false).error().code, Errc::unavailable);
}

TEST(ResyncOrders, VerifyTellsHowFarItIsAndEndsEarly) {
  Cluster::Options options;
  options.resync_rate = options.resync_rate_busy = 1 << 20;
  Cluster cluster(74, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full(30 * kSecond));
  Result<VerifyReport> report = fail(Errc::busy);
  bool ended = false;
  cluster.order(0, [&](Replica& replica) -> Task<void> {
    report = co_await replica.verify(false);
    ended = true;
  });
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(0).verify_done_bytes >= 1 << 20; }));
  EXPECT_TRUE(cluster.status(0).verifying);
  EXPECT_EQ(cluster.status(0).verify_total_bytes, Cluster::kVolume);
  cluster.replica(0)->end_verify();
  ASSERT_TRUE(cluster.run_until([&] { return ended; }, 3 * kSecond));
  EXPECT_EQ(report.error().code, Errc::cancelled);
  EXPECT_FALSE(cluster.status(0).verifying);
}

TEST(Orders, DemoteIsTriedAgainWhenTheFirstHandoverWasGivenUp) {
  Cluster cluster(75);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.arbiter_node().crash();
  Status outcome = fail(Errc::busy);
  bool ended = false;
  cluster.order(0, [&](Replica& replica) -> Task<void> {
    outcome = co_await replica.demote(cluster.world.now() + 2 * kSecond);
    ended = true;
  });
  cluster.run_for(300 * kMillisecond);  // some leases
  EXPECT_EQ(cluster.primary(), 0);
  cluster.start_arbiter();
  ASSERT_TRUE(cluster.run_until([&] { return ended; }, 3 * kSecond));
  EXPECT_TRUE(outcome.has_value()) << to_string(outcome.error());
  ASSERT_TRUE(cluster.wait_serving());
  EXPECT_EQ(cluster.primary(), 1);
}

}  // namespace
}  // namespace resilver::replica
