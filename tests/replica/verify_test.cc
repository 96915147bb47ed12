// Online verify: finds what differs, nothing else, while clients write; repairs on demand.
#include "tests/replica/cluster.h"

namespace resilver::replica {
namespace {

// Same process, same node: the report is there when the operator's task has ended.
Result<VerifyReport> verify(Cluster& cluster, int node, bool repair) {
  Result<VerifyReport> report = fail(Errc::cancelled);
  cluster.operate(node, [](Replica& replica, bool fix, Result<VerifyReport>& out) -> Task<void> {
    out = co_await replica.verify(fix);
  }(*cluster.replica(node), repair, report));
  return report;
}

void damage(Cluster& cluster, int node, std::uint64_t block) {
  std::vector<std::byte> bytes(kBlockBytes, std::byte{0x5a});
  cluster.disk(node).poke(block * kBlockBytes, bytes);
}

TEST(Verify, FindsAndRepairsWhatDiffers) {
  Cluster cluster(61);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 200, 1);
  damage(cluster, 1, 70);
  damage(cluster, 1, 71);
  damage(cluster, 2, 150);
  damage(cluster, 2, 900);
  cluster.faults(2).unreadable = {33};
  auto report = verify(cluster, 0, false);
  ASSERT_TRUE(report.has_value()) << to_string(report.error());
  EXPECT_EQ(report->compared_bytes, 2 * Cluster::kVolume);
  EXPECT_EQ(report->compared.count(), 2u);
  EXPECT_EQ(report->different_bytes, 5 * kBlockBytes);
  EXPECT_EQ(report->repaired_bytes, 0u);
  ASSERT_EQ(report->different.size(), 4u);
  EXPECT_EQ(report->different[1].node, 1u) << "in the order of the volume";
  EXPECT_EQ(report->different[1].extent, (Extent{70 * kBlockBytes, 2 * kBlockBytes}));
  EXPECT_FALSE(cluster.copies_equal());
  report = verify(cluster, 0, true);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->repaired_bytes, 5 * kBlockBytes);
  EXPECT_TRUE(cluster.copies_equal());
  EXPECT_TRUE(cluster.faults(2).unreadable.empty());
  report = verify(cluster, 0, false);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->different_bytes, 0u);
  cluster.run_for(2 * kSecond);
  for (int i = 0; i < Cluster::kNodes; ++i) EXPECT_EQ(cluster.status(i).dirty_bits, 0u) << "a repair leaves no bit";
}

// Whose copy is the odd one out is told by what most have, and nobody is made like it.
TEST(Verify, AWrongPrimaryIsNamedAndRepairedFromTheOthers) {
  Cluster cluster(65);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 200, 1);
  damage(cluster, 0, 70);
  damage(cluster, 2, 71);
  cluster.faults(0).unreadable = {100};
  const std::vector<std::byte> good = cluster.image(1);
  auto report = verify(cluster, 0, false);
  ASSERT_TRUE(report.has_value()) << to_string(report.error());
  ASSERT_EQ(report->different.size(), 2u);
  EXPECT_EQ(report->different[0].node, 0u);
  EXPECT_EQ(report->different[0].extent, (Extent{70 * kBlockBytes, kBlockBytes}));
  EXPECT_EQ(report->different[1].node, 2u);
  EXPECT_TRUE(report->different[0].decided && report->different[1].decided);
  EXPECT_EQ(report->undecided_bytes, 0u);
  report = verify(cluster, 0, true);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->repaired_bytes, 2 * kBlockBytes);
  EXPECT_TRUE(cluster.copies_equal());
  EXPECT_TRUE(std::equal(good.begin(), good.begin() + Cluster::kVolume, cluster.image(0).begin()));
}

TEST(Verify, WithoutAMajorityNothingIsRepairedButOfTwoCopies) {
  Cluster cluster(66);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 100, 1);
  damage(cluster, 0, 70);
  std::vector<std::byte> other(kBlockBytes, std::byte{0x77});
  cluster.disk(1).poke(70 * kBlockBytes, other);
  auto report = verify(cluster, 0, true);
  ASSERT_TRUE(report.has_value()) << to_string(report.error());
  EXPECT_EQ(report->undecided_bytes, 2 * kBlockBytes);
  EXPECT_EQ(report->repaired_bytes, 0u);
  ASSERT_EQ(report->different.size(), 2u);
  EXPECT_FALSE(report->different[0].decided);
  EXPECT_EQ(report->different[0].node, 1u);
  EXPECT_EQ(report->different[1].node, 2u);
  cluster.stop_node(2);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.status(0).in_sync.count() == 2; }));
  report = verify(cluster, 0, true);
  ASSERT_TRUE(report.has_value()) << to_string(report.error());
  EXPECT_EQ(report->undecided_bytes, kBlockBytes);
  EXPECT_EQ(report->repaired_bytes, kBlockBytes) << "the primary's, as the caller is told";
}

TEST(Verify, WritesUnderWayAreNoFalseAlarm) {
  Cluster cluster(62);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  bool stop = false;
  std::uint64_t writes = 0;
  cluster.client_main([&](Client& client) -> Task<void> {
    TaskGroup group(cluster.client_node().scheduler());
    for (int worker = 0; worker < 8; ++worker) {
      group.spawn([](Cluster& c, Client& to, int w, bool& end, std::uint64_t& count) -> Task<void> {
        Random random(static_cast<std::uint64_t>(w));
        Buffer data = c.client_node().env().buffers().allocate(kBlockBytes);
        while (!end) {
          const std::uint64_t block = random.below(Cluster::kBlocks);
          Cluster::fill(data.bytes(), block, ++count);
          EXPECT_EQ(co_await Io::write(to, block * kBlockBytes, data), Errc::ok);
        }
      }(cluster, client, worker, stop, writes));
    }
    co_await group.join();
  });
  ASSERT_TRUE(cluster.run_until([&] { return writes > 100; }));
  for (int round = 0; round < 5; ++round) {
    const std::uint64_t before = writes;
    const auto report = verify(cluster, 0, round % 2 == 1);
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report->different_bytes, 0u);
    EXPECT_EQ(report->compared_bytes, 2 * Cluster::kVolume);
    EXPECT_GT(writes, before + 10) << "clients went on";
  }
  stop = true;
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.client_node().running(); }));
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Verify, OnlyThePrimaryVerifiesAndOneAtATime) {
  Cluster cluster(63);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(verify(cluster, 1, false).error().code, Errc::not_primary);
  Result<VerifyReport> first = fail(Errc::cancelled), second = fail(Errc::cancelled);
  cluster.operate(0, [](Scheduler& s, Replica& r, Result<VerifyReport>& a, Result<VerifyReport>& b) -> Task<void> {
    TaskGroup group(s);
    const auto one = [](Replica& replica, Result<VerifyReport>& out) -> Task<void> {
      out = co_await replica.verify(false);
    };
    group.spawn(one(r, a));
    group.spawn(one(r, b));
    co_await group.join();
  }(cluster.node(0).scheduler(), *cluster.replica(0), first, second));
  EXPECT_NE(first.has_value(), second.has_value());
}

TEST(Verify, APeerThatDiesMeanwhileIsNotCounted) {
  Cluster::Options options;
  options.resync_rate = 4 << 20;
  Cluster cluster(64, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  Result<VerifyReport> report = fail(Errc::cancelled);
  cluster.operate(0, [](Cluster& c, Replica& replica, Result<VerifyReport>& out) -> Task<void> {
    TaskGroup group(c.node(0).scheduler());
    group.spawn([](Cluster& cl) -> Task<void> {
      co_await sleep_for(cl.node(0).scheduler(), 300 * kMillisecond);
      cl.node(1).crash();
    }(c));
    out = co_await replica.verify(false);
    co_await group.join();
  }(cluster, *cluster.replica(0), report));
  ASSERT_TRUE(report.has_value());
  EXPECT_FALSE(report->compared.contains(1));
  EXPECT_TRUE(report->compared.contains(2));
  EXPECT_EQ(report->different_bytes, 0u);
}

}  // namespace
}  // namespace resilver::replica
