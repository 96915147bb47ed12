// Members that were away, disks that are new or broken: what is copied, why, and what may be promoted.
#include "async/task_group.h"
#include "base/planted_bug.h"
#include "tests/replica/cluster.h"

namespace resilver::replica {
namespace {

void write_some(Cluster& cluster, std::uint64_t first, std::uint64_t end, std::uint64_t version) {
  cluster.client_main([&cluster, first, end, version](Client& client) -> Task<void> {
    Buffer data = cluster.client_node().env().buffers().allocate(kBlockBytes);
    for (std::uint64_t block = first; block < end; ++block) {
      Cluster::fill(data.bytes(), block, version);
      EXPECT_EQ(co_await Io::write(client, block * kBlockBytes, data), Errc::ok);
    }
  });
  EXPECT_TRUE(cluster.run_until([&] { return !cluster.client_node().running(); }, 60 * kSecond));
}

const ReplicaEvent* last_event(const Cluster& cluster, EventKind kind) {
  const ReplicaEvent* found = nullptr;
  for (const auto& [node, event] : cluster.events) {
    if (event.kind == kind) found = &event;
  }
  return found;
}

TEST(Resync, AReturnerGetsOnlyWhatTheIntentBitsName) {
  Cluster cluster(21);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  write_some(cluster, 0, 512, 1);
  cluster.run_for(2 * kSecond);  // the bits are cleared meanwhile
  EXPECT_EQ(cluster.status(0).dirty_bits, 0u);
  EXPECT_EQ(cluster.status(1).dirty_bits, 0u);
  cluster.node(2).crash();
  write_some(cluster, 40, 44, 2);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  const ReplicaEvent* done = last_event(cluster, EventKind::resync_finished);
  ASSERT_NE(done, nullptr);
  EXPECT_EQ(done->why, ResyncWhy::bitmap);
  EXPECT_EQ(done->peer, 2u);
  EXPECT_LE(done->bytes, 128u * 1024);
  EXPECT_TRUE(cluster.copies_equal());
  cluster.run_for(2 * kSecond);
  EXPECT_EQ(cluster.status(0).dirty_bits, 0u);
}

TEST(Resync, BitsAreKeptWhileAConfiguredNodeIsAway) {
  Cluster cluster(22);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.node(2).crash();
  write_some(cluster, 0, 3, 1);
  cluster.run_for(3 * kSecond);
  EXPECT_GT(cluster.status(0).dirty_bits, 0u);
  // The successor has them as well.
  cluster.node(0).crash();
  ASSERT_TRUE(cluster.wait_serving());
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(cluster.primary()).in_sync.count() == 2; }));
  EXPECT_EQ(last_event(cluster, EventKind::resync_finished)->why, ResyncWhy::bitmap);
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Resync, ANewDiskIsFilledInFull) {
  Cluster cluster(23);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  write_some(cluster, 0, 100, 1);
  cluster.node(1).crash();
  cluster.replace_disk(1);
  cluster.start_node(1, true);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 1; }));
  ASSERT_TRUE(cluster.wait_full());
  const ReplicaEvent* done = last_event(cluster, EventKind::resync_finished);
  ASSERT_NE(done, nullptr);
  EXPECT_EQ(done->why, ResyncWhy::full_new_disk);
  EXPECT_EQ(done->bytes, Cluster::kVolume);
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Resync, ANewDiskInTheFirstPrimaryIsNotPromotedThoughTheRecordNamesIt) {
  Cluster cluster(24);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  write_some(cluster, 0, 20, 1);
  for (int i = 0; i < Cluster::kNodes; ++i) cluster.node(i).crash();
  cluster.replace_disk(0);
  cluster.start_node(0, true);
  cluster.run_for(2 * kSecond);
  EXPECT_EQ(cluster.primary(), -1);
  cluster.start_node(1, false);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_NE(cluster.primary(), 0);
  EXPECT_TRUE(cluster.copies_equal());
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(19, &version), Errc::ok);
  EXPECT_EQ(version, 1u);
}

TEST(Resync, AnInterruptedResyncIsNeverPromoted) {
  Cluster::Options options;
  options.resync_rate = 4 << 20;  // a second for the volume
  Cluster cluster(25, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  write_some(cluster, 0, 200, 1);
  cluster.node(1).crash();
  cluster.node(2).crash();
  cluster.replace_disk(1);
  write_some(cluster, 0, 100, 2);
  cluster.start_node(1, true);
  ASSERT_TRUE(cluster.run_until([&] {
    const auto s = cluster.status(0);
    return !s.peers.empty() && s.peers[0].resync_done_bytes >= Cluster::kVolume / 4;
  }));
  EXPECT_TRUE(cluster.status(1).inconsistent);
  cluster.node(0).crash();
  cluster.start_node(2, false);  // consistent once, but it left: not in the set
  cluster.run_for(3 * kSecond);
  EXPECT_EQ(cluster.primary(), -1) << "neither the half copy nor the stale one may serve";
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(50, &version), Errc::ok);
  EXPECT_EQ(version, 2u);
}

TEST(Resync, WritesDuringAResyncReachTheJoiner) {
  Cluster::Options options;
  options.resync_rate = 8 << 20;
  Cluster cluster(26, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.node(2).crash();
  cluster.replace_disk(2);
  write_some(cluster, 0, 1024, 1);
  cluster.start_node(2, true);
  write_some(cluster, 0, 1024, 2);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Resync, ACopyThatWritesWaitForIsNotSlowedDownForReaders) {
  Cluster::Options options;
  options.min_in_sync = 2;
  options.resync_rate_busy = 64 << 10;  // a minute for the volume
  Cluster cluster(27, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  write_some(cluster, 0, Cluster::kBlocks, 1);
  for (const int node : {1, 2}) cluster.node(node).crash();
  cluster.replace_disk(1);
  bool stop = false;
  cluster.client_main([&](Client& client) -> Task<void> {
    Buffer data = cluster.client_node().env().buffers().allocate(kBlockBytes);
    while (!stop) {
      EXPECT_EQ(co_await Io::read(client, 0, data), Errc::ok);
      co_await sleep_for(cluster.client_node().scheduler(), 5 * kMillisecond);
    }
  });
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(0).serving && cluster.status(0).in_sync.count() == 1; }));
  cluster.start_node(1, true);
  EXPECT_TRUE(cluster.run_until([&] { return cluster.status(0).in_sync.count() == 2; }, 5 * kSecond));
  stop = true;
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.client_node().running(); }));
}

TEST(Resync, AnUnreadableBlockIsServedAndHealedFromAPeer) {
  Cluster cluster(27);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  write_some(cluster, 0, 20, 1);
  cluster.faults(0).unreadable = {7};
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(7, &version), Errc::ok);
  EXPECT_EQ(version, 1u);
  EXPECT_TRUE(cluster.faults(0).unreadable.empty());
  EXPECT_EQ(cluster.status(0).reads_healed, 1u);
  EXPECT_EQ(cluster.count(EventKind::block_healed, 0), 1);
  cluster.faults(0).unreadable = {8};
  cluster.faults(1).unreadable = {8};
  EXPECT_EQ(cluster.read(8, &version), Errc::ok) << "the third copy has it";
  EXPECT_EQ(version, 1u);
  cluster.faults(0).unreadable = cluster.faults(1).unreadable = cluster.faults(2).unreadable = {9};
  EXPECT_EQ(cluster.read(9, &version), Errc::medium) << "never wrong data";
}

TEST(Resync, AFailedDiskOfThePrimaryHandsOverAtOnce) {
  Cluster cluster(28);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  write_some(cluster, 0, 20, 1);
  cluster.faults(0).dead = true;
  const Nanos start = cluster.world.now();
  EXPECT_EQ(cluster.write(3, 2), Errc::ok);
  EXPECT_LE(cluster.world.now() - start, 15 * kMillisecond) << "without waiting for anybody";
  EXPECT_EQ(cluster.status(0).role, Role::failed);
  EXPECT_EQ(cluster.count(EventKind::device_failed, 0), 1);
  cluster.stop_node(0);
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.node(0).running(); }));
  cluster.replace_disk(0);
  cluster.start_node(0, true);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Resync, AFailedDiskOfASecondaryLeavesTheSet) {
  Cluster cluster(29);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.faults(2).dead = true;
  EXPECT_EQ(cluster.write(3, 2), Errc::ok);
  EXPECT_EQ(cluster.primary(), 0);
  EXPECT_EQ(cluster.status(0).in_sync.count(), 2u);
  EXPECT_EQ(cluster.count(EventKind::peer_left, 0), 1);
}

}  // namespace
}  // namespace resilver::replica
