// Peers that are slow, links that flap or work one way only.
#include "tests/replica/log_writer.h"

namespace resilver::replica {
namespace {

TEST(SlowPeer, LeavesTheSetAfterTheCongestionTimeOutAndComesBack) {
  Cluster::Options options;
  options.congestion_ms = 300;
  Cluster cluster(61, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  LogWriter writer(cluster, 0, 2, kMillisecond);
  cluster.run_for(20 * kMillisecond);
  cluster.faults(2).hold = true;
  const Nanos held = cluster.world.now();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 1; }));
  EXPECT_GE(cluster.world.now() - held, 290 * kMillisecond) << "not because of its beacons, which it answers";
  EXPECT_LE(cluster.world.now() - held, 350 * kMillisecond);
  const std::size_t before = writer.acked.size();
  cluster.run_for(100 * kMillisecond);
  EXPECT_GT(writer.acked.size(), before + 50);
  cluster.release(2);
  ASSERT_TRUE(writer.stop());
  EXPECT_EQ(writer.failed, 0);
  ASSERT_TRUE(cluster.wait_full());
  cluster.run_for(100 * kMillisecond);
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(SlowPeer, TheLagUnderAsyncIsBounded) {
  Cluster::Options options;
  options.ack = AckMode::async;
  options.send_queue_bytes = 1 << 20;
  options.congestion_ms = 400;
  Cluster cluster(62, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  LogWriter writer(cluster, 0, 8);
  ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() > 10; }));
  cluster.faults(2).hold = true;
  std::uint64_t most = 0;
  bool waited = false;
  std::size_t acked = 0;
  ASSERT_TRUE(cluster.run_until([&] {
    for (const auto& peer : cluster.status(0).peers) most = std::max(most, peer.behind_bytes);
    waited = waited || (most >= options.send_queue_bytes && writer.acked.size() == acked);
    acked = writer.acked.size();
    return cluster.count(EventKind::peer_left) == 1;
  }));
  EXPECT_TRUE(waited) << "a full queue holds the writes up";
  EXPECT_LE(most, options.send_queue_bytes + 8 * kBlockBytes);
  ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() > 300; })) << "and then they go on without it";
  cluster.release(2);
  ASSERT_TRUE(writer.stop());
  EXPECT_EQ(writer.failed, 0);
  ASSERT_TRUE(cluster.wait_full());
  cluster.run_for(100 * kMillisecond);
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(SlowPeer, FlappingConnectionsCostNoRequest) {
  for (const AckMode ack : {AckMode::durable, AckMode::quorum, AckMode::async}) {
    Cluster::Options options;
    options.ack = ack;
    Cluster cluster(63, options);
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    LogWriter writer(cluster, 0, 4, kMillisecond);
    for (int round = 0; round < 20; ++round) {
      cluster.world.network().reset("A", round % 3 == 0 ? "B" : "C");
      cluster.run_for((round % 5) * 13 * kMillisecond);
      if (round % 4 == 0) cluster.world.network().reset("A", "arbiter");
      if (round % 6 == 0) cluster.world.network().reset("client", "A");
    }
    ASSERT_TRUE(writer.stop());
    EXPECT_EQ(writer.failed, 0) << ack_mode_name(ack);
    ASSERT_TRUE(cluster.wait_full());
    cluster.run_for(100 * kMillisecond);
    EXPECT_TRUE(writer.lost().empty());
    EXPECT_TRUE(cluster.copies_equal());
    EXPECT_EQ(cluster.primary(), 0) << "nobody else was needed";
  }
}

// One direction of one cable is dead.
TEST(SlowPeer, AHalfDeadLinkCostsAMemberOrAPrimaryButNoWrite) {
  for (const auto& [from, to] :
       {std::pair("A", "C"), std::pair("C", "A"), std::pair("A", "arbiter"), std::pair("arbiter", "A"),
        std::pair("client", "A"), std::pair("A", "client"), std::pair("B", "C")}) {
    Cluster cluster(64);
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    LogWriter writer(cluster, 0, 2, kMillisecond);
    cluster.run_for(20 * kMillisecond);
    cluster.world.network().drop(from, to);
    cluster.run_for(500 * kMillisecond);
    const bool client_reaches = std::string(from) != "client" && std::string(to) != "client";
    const std::size_t before = writer.acked.size();
    cluster.run_for(300 * kMillisecond);
    if (client_reaches) EXPECT_GT(writer.acked.size(), before + 50) << from << ">" << to;
    cluster.world.network().restore(from, to);
    ASSERT_TRUE(writer.stop()) << from << ">" << to;
    EXPECT_EQ(writer.failed, 0) << from << ">" << to;
    ASSERT_TRUE(cluster.wait_full());
    cluster.run_for(100 * kMillisecond);
    EXPECT_TRUE(writer.lost().empty());
    EXPECT_TRUE(cluster.copies_equal());
  }
}

}  // namespace
}  // namespace resilver::replica
