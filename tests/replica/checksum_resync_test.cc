// What is copied to a joiner, why, and how many bytes it takes: every rule of direction (rule 8) but the bitmap, which
// resync_test.cc has.
#include <algorithm>

#include "base/planted_bug.h"
#include "tests/replica/cluster.h"

namespace resilver::replica {
namespace {

struct Planted {
  explicit Planted(PlantedBug bug) { planted_bug_now = bug; }
  ~Planted() { planted_bug_now = PlantedBug::none; }
};

ReplicaEvent last_finished(const Cluster& cluster) {
  ReplicaEvent found;
  for (const auto& [node, event] : cluster.events) {
    if (event.kind == EventKind::resync_finished) found = event;
  }
  return found;
}

std::uint64_t bytes_between(Cluster& cluster, int one, int other) {
  sim::Fabric& fabric = cluster.world.network();
  return fabric.counters(Cluster::name(one), Cluster::name(other)).bytes +
         fabric.counters(Cluster::name(other), Cluster::name(one)).bytes;
}

// Node C, down, with a disk as it was before `blocks` others were written and all intent bits were cleared again.
void put_back_an_old_disk(Cluster& cluster, std::uint64_t first, std::uint64_t end) {
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 512, 1);
  cluster.run_for(2 * kSecond);
  cluster.node(2).crash();
  const auto old = cluster.image(2);
  cluster.write_range(600, 601, 1);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(first, end, 2);
  cluster.run_for(2 * kSecond);
  ASSERT_EQ(cluster.status(0).dirty_bits, 0u);
  cluster.node(2).crash();
  cluster.restore(2, old);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 2; }));
}

TEST(ChecksumResync, OnlyBlocksThatDifferTravelWhenAnOldImageIsPutBack) {
  Cluster cluster(41);
  put_back_an_old_disk(cluster, 100, 139);
  const std::uint64_t before = bytes_between(cluster, 0, 2);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  const std::uint64_t sent = bytes_between(cluster, 0, 2) - before;
  const ReplicaEvent done = last_finished(cluster);
  EXPECT_EQ(done.why, ResyncWhy::checksum_went_back);
  EXPECT_EQ(done.bytes, 40 * kBlockBytes);  // 39, and block 600
  const std::uint64_t allowed = 40 * kBlockBytes * 105 / 100 + Cluster::kVolume / 100;
  EXPECT_LE(sent, allowed) << "all messages of the session, with heads, beacons and bitmaps";
  EXPECT_TRUE(cluster.copies_equal());
  RecordProperty("bytes_sent", static_cast<int>(sent));
}

TEST(ChecksumResync, ABlockThatTheComparisonSkipsIsFound) {
  const Planted bug(PlantedBug::checksum_skips_a_block);
  Cluster cluster(41);
  put_back_an_old_disk(cluster, 0, 4);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_FALSE(cluster.copies_equal()) << "block 1 was left out";
}

TEST(ChecksumResync, AReturnerAfterManyChangesOfTheSetIsStillKnown) {
  Cluster cluster(42);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 512, 1);
  cluster.node(2).crash();
  cluster.write_range(40, 44, 2);
  for (int i = 0; i < 5; ++i) {
    const int left = cluster.count(EventKind::peer_left, 0), joined = cluster.count(EventKind::peer_joined, 0);
    cluster.node(1).crash();
    ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left, 0) > left; }));
    cluster.start_node(1, false);
    ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_joined, 0) > joined; }));
  }
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(last_finished(cluster).why, ResyncWhy::bitmap) << "ten changes of the set are one reign";
  EXPECT_EQ(cluster.count(EventKind::split_brain), 0);
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(ChecksumResync, AReturnerWithOtherIntentBitsIsCompared) {
  Cluster::Options options;
  options.intent_bits_of_c = 65536;
  Cluster cluster(43, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 512, 1);
  cluster.node(2).crash();
  cluster.write_range(40, 44, 2);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(last_finished(cluster).why, ResyncWhy::checksum_geometry);
  EXPECT_EQ(last_finished(cluster).bytes, 4 * kBlockBytes);
  EXPECT_TRUE(cluster.copies_equal());
  cluster.run_for(2 * kSecond);
  EXPECT_EQ(cluster.status(2).dirty_bits, 0u) << "cleared there too, in its own geometry";
}

TEST(ChecksumResync, AfterAFailoverAnInterruptedFullCopyIsComparedNotRepeated) {
  Cluster::Options options;
  options.resync_rate = 4 << 20;  // a second for the volume
  Cluster cluster(44, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 1000, 1);
  cluster.node(2).crash();
  cluster.replace_disk(2);
  cluster.start_node(2, true);
  ASSERT_TRUE(cluster.run_until([&] {
    const auto s = cluster.status(0);
    return s.peers.size() == 2 && s.peers[1].resync_done_bytes >= Cluster::kVolume / 2;
  }));
  cluster.node(0).crash();
  ASSERT_TRUE(cluster.wait_serving());
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.wait_full());
  ReplicaEvent of_c;
  for (const auto& [node, event] : cluster.events) {
    if (event.kind == EventKind::resync_finished && event.peer == 2) of_c = event;
  }
  EXPECT_EQ(of_c.why, ResyncWhy::checksum_interrupted);
  EXPECT_LE(of_c.bytes, Cluster::kVolume * 6 / 10);
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(ChecksumResync, ACopyWhoseConnectionBreaksGoesOnWhereItWas) {
  Cluster::Options options;
  options.resync_rate = 4 << 20;
  Cluster cluster(45, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 1000, 1);
  cluster.node(2).crash();
  cluster.replace_disk(2);
  const std::uint64_t before = cluster.status(0).resync_bytes;
  cluster.start_node(2, true);
  for (int quarter = 1; quarter <= 3; ++quarter) {
    const std::uint64_t target = before + Cluster::kVolume * static_cast<std::uint64_t>(quarter) / 4;
    ASSERT_TRUE(cluster.run_until([&] { return cluster.status(0).resync_bytes >= target; }));
    cluster.world.network().reset("A", "C");
    cluster.write_range(quarter * 7, quarter * 7 + 3, 2);  // to what has been copied
  }
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(last_finished(cluster).why, ResyncWhy::resumed);
  EXPECT_LE(cluster.status(0).resync_bytes - before, Cluster::kVolume + 3 * kMaxTransfer + 100'000)
      << "only what was under way goes again: a piece of 1 MiB each time";
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(ChecksumResync, ANewDiskGetsNoPayloadOfZeroBlocks) {
  Cluster cluster(46);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 50, 1);
  cluster.write_range(200, 250, 1);
  cluster.node(2).crash();
  cluster.replace_disk(2);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 1; }));
  const std::uint64_t before = bytes_between(cluster, 0, 2);
  cluster.start_node(2, true);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(last_finished(cluster).why, ResyncWhy::full_new_disk);
  EXPECT_LE(bytes_between(cluster, 0, 2) - before, 100 * kBlockBytes * 105 / 100 + Cluster::kVolume / 100);
  EXPECT_TRUE(cluster.copies_equal());
}

// How long the copy onto a new disk takes, with or without a client at work.
Nanos copy_time(bool busy) {
  Cluster::Options options;
  options.resync_rate = 64 << 20;
  options.resync_rate_busy = 2 << 20;
  Cluster cluster(49, options);
  cluster.start_all();
  EXPECT_TRUE(cluster.wait_full());
  cluster.write_range(0, 1000, 1);
  cluster.node(2).crash();
  cluster.replace_disk(2);
  EXPECT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 1; }));
  bool stop = false;
  cluster.client_main([&](Client& client) -> Task<void> {
    Buffer data = cluster.client_node().env().buffers().allocate(kBlockBytes);
    while (busy && !stop) EXPECT_EQ(co_await Io::read(client, 0, data), Errc::ok);
  });
  cluster.run_for(200 * kMillisecond);  // a client counts as at work for a while
  cluster.start_node(2, true);
  EXPECT_TRUE(cluster.wait_full());
  stop = true;
  Nanos begin = 0, end = 0;
  for (const auto& [node, event] : cluster.events) {
    if (event.kind == EventKind::resync_started) begin = event.at;
    if (event.kind == EventKind::resync_finished) end = event.at;
  }
  return end - begin;
}

TEST(ChecksumResync, ACopyGivesWayToClients) {
  EXPECT_GE(copy_time(true), kSecond) << "2 MiB a second; the first of the 4 MiB at once";
  EXPECT_LE(copy_time(false), 200 * kMillisecond) << "64 MiB a second";
}

TEST(ChecksumResync, ABlockThatNobodyCanReadDoesNotKeepAJoinerOut) {
  Cluster cluster(47);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 20, 1);
  cluster.node(2).crash();
  cluster.replace_disk(2);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 1; }));
  cluster.faults(0).unreadable = cluster.faults(1).unreadable = {9};
  cluster.start_node(2, true);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(cluster.count(EventKind::block_lost, 0), 1);
  EXPECT_EQ(cluster.status(2).lost_bytes, kBlockBytes);
  // The new disk could be read, but has never had the data: an error, never made-up data, whoever serves.
  cluster.node(0).crash();
  cluster.node(1).crash();
  cluster.start_node(1, false);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.primary() > 0; }));
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(9, &version), Errc::medium);
  EXPECT_EQ(cluster.read(8, &version), Errc::ok);
  EXPECT_EQ(cluster.write(9, 5), Errc::ok) << "a write heals";
  EXPECT_EQ(cluster.read(9, &version), Errc::ok);
  EXPECT_EQ(version, 5u);
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
  EXPECT_EQ(cluster.status(0).lost_bytes + cluster.status(1).lost_bytes + cluster.status(2).lost_bytes, 0u);
}

TEST(ChecksumResync, MoreThanACopyCanNoteAreToldAndEndWhenTheyAreWritten) {
  Cluster cluster(48);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 300, 1);
  cluster.node(2).crash();
  cluster.replace_disk(2);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 1; }));
  for (std::uint64_t block = 0; block < 300; ++block) {
    cluster.faults(0).unreadable.insert(block);
    cluster.faults(1).unreadable.insert(block);
  }
  cluster.start_node(2, true);
  const auto told = [&] {
    const auto findings = cluster.status(cluster.primary()).findings;
    return std::ranges::any_of(findings,
                               [](const Finding& f) { return f.reason == Reason::too_many_lost && f.node == 2; });
  };
  ASSERT_TRUE(cluster.run_until([&] { return cluster.primary() >= 0 && told(); })) << cluster.describe();
  cluster.run_for(30 * kSecond);
  EXPECT_TRUE(told()) << "until it is tried again";
  cluster.write_range(0, 300, 2);
  ASSERT_TRUE(cluster.wait_full(2 * kMinute)) << cluster.describe();
  EXPECT_FALSE(told());
}

TEST(ChecksumResync, LatentErrorsOfBothSidesAreHealedOnTheWay) {
  Cluster cluster(48);
  put_back_an_old_disk(cluster, 100, 110);
  cluster.faults(0).unreadable = {50, 105};
  cluster.faults(2).unreadable = {60, 106};
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.faults(0).unreadable.empty()) << "read from B, rewritten";
  EXPECT_TRUE(cluster.faults(2).unreadable.empty()) << "rewritten";
  EXPECT_EQ(cluster.status(0).reads_healed, 2u);
  EXPECT_TRUE(cluster.copies_equal());
}

}  // namespace
}  // namespace resilver::replica
