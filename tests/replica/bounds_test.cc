// The promises with a number in them (issue 4, "How good"), in virtual time: how long a volume is without service, and what a
// returning copy costs in bytes and reads. tests/bench measures the same with real processes.
#include "base/random.h"
#include "tests/replica/log_writer.h"

namespace resilver::replica {
namespace {

constexpr Nanos kSlack = 100 * kMillisecond;  // beyond lease and grace
constexpr Nanos kPlanned = 50 * kMillisecond;

// The longest that a write waits when the primary is killed at a random moment.
Nanos outage_of_a_kill(std::uint64_t seed, AckMode ack, std::uint64_t detect_ms) {
  Cluster::Options options;
  options.ack = ack;
  options.detect_ms = detect_ms;
  Cluster cluster(seed, options);
  cluster.start_all();
  EXPECT_TRUE(cluster.wait_full());
  Random random(seed);
  LogWriter writer(cluster, 0, 2, kMillisecond);
  cluster.run_for(static_cast<Nanos>(random.between(20, 300)) * kMillisecond +
                  static_cast<Nanos>(random.below(static_cast<std::uint64_t>(kMillisecond))));
  EXPECT_FALSE(writer.acked.empty());
  cluster.node(0).crash();
  EXPECT_TRUE(cluster.wait_serving());
  EXPECT_TRUE(writer.stop());
  EXPECT_EQ(writer.failed, 0);
  EXPECT_TRUE(writer.lost().empty());
  return writer.longest_gap;
}

TEST(Bounds, AfterTheDeathOfAPrimaryServiceIsBackWithinLeaseGraceAnd100Ms) {
  constexpr std::uint64_t kDetect = 100;  // lease 80, grace 100
  Nanos longest = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const AckMode ack = seed % 2 == 0 ? AckMode::durable : AckMode::quorum;
    const Nanos outage = outage_of_a_kill(seed, ack, kDetect);
    ASSERT_LE(outage, 180 * kMillisecond + kSlack) << "seed " << seed << ", " << ack_mode_name(ack);
    longest = std::max(longest, outage);
  }
  EXPECT_GT(longest, 80 * kMillisecond) << "nobody may take over within a lease: the kill was not one";
}

TEST(Bounds, AtTheDefaultsServiceIsBackWithin1200Ms) {
  const ReplicaConfig defaults;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const AckMode ack = seed % 2 == 0 ? AckMode::durable : AckMode::quorum;
    const Nanos outage = outage_of_a_kill(seed, ack, defaults.grace_ms);
    ASSERT_LE(outage, 1200 * kMillisecond) << "seed " << seed << ", " << ack_mode_name(ack);
    ASSERT_GT(outage, static_cast<Nanos>(defaults.lease_ms) * kMillisecond) << "seed " << seed;
  }
}

// It seems to be there: connections to it are opened, nothing answers.
TEST(Bounds, AFrozenPrimaryIsNotWaitedForByThoseWhoAreThere) {
  const ReplicaConfig defaults;
  for (const AckMode ack : {AckMode::durable, AckMode::quorum}) {
    Cluster::Options options;
    options.ack = ack;
    options.detect_ms = defaults.grace_ms;
    Cluster cluster(5, options);
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    cluster.run_for(30 * kMillisecond);
    const Nanos frozen = cluster.world.now();
    cluster.node(0).freeze();
    ASSERT_TRUE(cluster.wait_serving());
    EXPECT_LE(cluster.world.now() - frozen, 1200 * kMillisecond) << ack_mode_name(ack);
  }
}

TEST(Bounds, APlannedSwitchoverPausesWritesForAtMost50Ms) {
  const ReplicaConfig defaults;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Cluster::Options options;
    options.ack = seed % 2 == 0 ? AckMode::durable : AckMode::quorum;
    options.detect_ms = defaults.grace_ms;
    Cluster cluster(seed, options);
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    LogWriter writer(cluster, 0, 4, kMillisecond);
    cluster.run_for(static_cast<Nanos>(Random(seed).between(10, 100)) * kMillisecond);
    bool served = false, ended = false;
    cluster.order(1 + static_cast<int>(seed % 2), [&](Replica& replica) -> Task<void> {
      served = (co_await replica.promote(cluster.world.now() + kSecond)).has_value();
      ended = true;
    });
    ASSERT_TRUE(cluster.run_until([&] { return ended; }));
    ASSERT_TRUE(writer.stop());
    ASSERT_TRUE(served) << "seed " << seed;
    ASSERT_EQ(writer.failed, 0);
    ASSERT_LE(writer.longest_gap, kPlanned) << "seed " << seed;
  }
}

TEST(Bounds, AResyncByBitmapSendsAtMost5PercentMoreThanIsDirty) {
  Cluster cluster(3);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, Cluster::kBlocks, 1);
  cluster.run_for(2 * kSecond);
  ASSERT_EQ(cluster.status(0).dirty_bits, 0u);
  cluster.node(2).crash();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 1; }));
  cluster.write_range(128, 640, 2);  // 2 MiB, whole granules of 64 KiB
  const std::uint64_t dirty = 512 * kBlockBytes;
  sim::Fabric& network = cluster.world.network();
  const auto sent = [&] { return network.counters("A", "C").bytes + network.counters("C", "A").bytes; };
  const std::uint64_t sent_before = sent(), counted_before = cluster.status(0).resync_bytes;
  const std::uint64_t reads_before = cluster.disk(0).counters().reads;
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  ASSERT_EQ(cluster.count(EventKind::resync_finished), 1);
  EXPECT_LE(cluster.status(0).resync_bytes - counted_before, dirty * 105 / 100);
  EXPECT_LE(sent() - sent_before, dirty * 105 / 100) << "everything that the session carried";
  EXPECT_GE(sent() - sent_before, dirty);
  EXPECT_LE(cluster.disk(0).counters().reads - reads_before, 10u) << "a piece of 1 MiB is one read, not one per block";
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Bounds, AResyncByChecksumSendsTheDifferenceAndOnePercentOfWhatIsCompared) {
  Cluster::Options options;
  options.intent_bits_of_c = 65'536;  // another geometry: C's bits say nothing
  Cluster cluster(4, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 900, 1);
  cluster.node(2).crash();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 1; }));
  for (std::uint64_t block = 3; block < 900; block += 30) cluster.write_range(block, block + 1, 2);  // 30 of them
  sim::Fabric& network = cluster.world.network();
  const auto sent = [&] { return network.counters("A", "C").bytes + network.counters("C", "A").bytes; };
  const std::uint64_t sent_before = sent(), counted_before = cluster.status(0).resync_bytes;
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  const std::uint64_t differing = 30 * kBlockBytes;
  const std::uint64_t allowed = differing * 105 / 100 + Cluster::kVolume / 100;
  EXPECT_LE(cluster.status(0).resync_bytes - counted_before, allowed);
  EXPECT_GE(sent() - sent_before, differing);
  EXPECT_LE(sent() - sent_before, allowed) << "everything that the session carried";
  EXPECT_TRUE(cluster.copies_equal());
}

}  // namespace
}  // namespace resilver::replica
