// What each mode of acknowledgement promises, and what it loses when the primary dies: the list of acknowledged writes that are
// gone, write by write.
#include "base/planted_bug.h"
#include "tests/replica/log_writer.h"

namespace resilver::replica {
namespace {

Cluster::Options with(AckMode ack) {
  Cluster::Options options;
  options.ack = ack;
  options.clear_bits_ms = 60'000;
  return options;
}

class EachMode : public ::testing::TestWithParam<AckMode> {
 protected:
  void TearDown() override { planted_bug_now = PlantedBug::none; }
};

// The primary's cables to its peers are pulled; it dies before they miss it. The survivors live.
TEST_P(EachMode, LosesAtMostTheWritesThatTheSurvivorsDidNotReceive) {
  const AckMode ack = GetParam();
  for (const bool power : {false, true}) {
    Cluster cluster(31, with(ack));
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    ASSERT_EQ(cluster.status(0).ack, ack);
    LogWriter writer(cluster);
    ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() >= 50; }));
    cluster.world.network().drop("A", "B");
    cluster.world.network().drop("A", "C");
    const std::size_t before = writer.acked.size();
    cluster.run_for(30 * kMillisecond);
    const std::size_t after = writer.acked.size() - before;
    writer.kill();
    power ? cluster.node(0).power_loss() : cluster.node(0).crash();
    ASSERT_TRUE(cluster.wait_serving());
    EXPECT_NE(cluster.primary(), 0);
    const auto lost = writer.lost();
    if (ack == AckMode::async) {
      EXPECT_GT(after, 20u) << "it does not wait for its peers";
      EXPECT_GE(lost.size(), after - 1);
      EXPECT_LE(lost.size(), after + 1) << "one may have been on its way";
      EXPECT_EQ(lost, writer.last(lost.size())) << "what is kept is a prefix";
    } else {
      EXPECT_LE(after, 1u) << ack_mode_name(ack);
      EXPECT_TRUE(lost.empty()) << ack_mode_name(ack) << " lost " << lost.size();
    }
  }
}

// The survivors have the writes in memory only, and everybody loses power.
TEST_P(EachMode, LosesWhatNoSurvivorMadeDurableWhenAllLosePower) {
  const AckMode ack = GetParam();
  Cluster cluster(32, with(ack));
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  LogWriter writer(cluster);
  ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() >= 50; }));
  cluster.run_for(kMillisecond);
  cluster.faults(1).hold = cluster.faults(2).hold = true;
  const std::size_t before = writer.acked.size();
  cluster.run_for(30 * kMillisecond);
  const std::size_t after = writer.acked.size() - before;
  writer.kill();
  for (int i = 0; i < Cluster::kNodes; ++i) cluster.node(i).power_loss();
  cluster.faults(1).hold = cluster.faults(2).hold = false;
  cluster.start_node(1, false);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_serving());
  const auto lost = writer.lost();
  if (ack == AckMode::async || ack == AckMode::received) {
    EXPECT_GT(after, 20u);
    EXPECT_GE(lost.size() + 1, after);
    EXPECT_LE(lost.size(), after + 1);
    EXPECT_EQ(lost, writer.last(lost.size())) << "here nothing was applied, so that it is a prefix";
  } else {
    EXPECT_LE(after, 1u);
    EXPECT_TRUE(lost.empty()) << ack_mode_name(ack) << " lost " << lost.size();
  }
}

// A peer that is in time and one that is not: who waits for whom.
TEST_P(EachMode, WaitsForAsManyDisksAsItSays) {
  const AckMode ack = GetParam();
  Cluster cluster(33, with(ack));
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  LogWriter writer(cluster);
  ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() >= 10; }));
  cluster.faults(2).hold = true;
  cluster.run_for(kMillisecond);
  const std::size_t before = writer.acked.size();
  cluster.run_for(30 * kMillisecond);
  if (ack == AckMode::durable) {
    EXPECT_LE(writer.acked.size(), before + 1);
  } else {
    EXPECT_GT(writer.acked.size(), before + 20);
  }
  cluster.release(2);
  ASSERT_TRUE(writer.stop());
  EXPECT_EQ(writer.failed, 0);
  cluster.run_for(100 * kMillisecond);
  EXPECT_TRUE(cluster.copies_equal());
  EXPECT_EQ(cluster.count(EventKind::peer_left), 0);
}

INSTANTIATE_TEST_SUITE_P(Modes, EachMode,
                         ::testing::Values(AckMode::durable, AckMode::quorum, AckMode::received, AckMode::async),
                         [](const auto& info) { return ack_mode_name(info.param); });

class Modes : public ::testing::Test {
 protected:
  void TearDown() override { planted_bug_now = PlantedBug::none; }
};

// B lags, so that A and C alone have the last acknowledged writes; then A is gone for good. C must be promoted, and must make B
// equal before anything is shown. With `power` nobody remembers anything that is not on its disk.
std::size_t lost_when_the_lower_id_lags(bool power) {
  Cluster cluster(34, with(AckMode::quorum));
  cluster.start_all();
  EXPECT_TRUE(cluster.wait_full());
  LogWriter writer(cluster);
  EXPECT_TRUE(cluster.run_until([&] { return writer.acked.size() >= 10; }));
  cluster.faults(1).hold = true;
  cluster.run_for(20 * kMillisecond);
  EXPECT_GT(writer.acked.size(), 25u);
  writer.kill();
  if (power) {
    for (int i = 0; i < Cluster::kNodes; ++i) cluster.node(i).power_loss();
    cluster.faults(1).hold = false;
    cluster.start_node(1, false);
    cluster.start_node(2, false);
  } else {
    cluster.world.network().reset("A", "B");  // what B held is not applied any more
    cluster.node(1).crash();
    cluster.faults(1).hold = false;
    cluster.node(0).crash();
    cluster.start_node(1, false);
  }
  EXPECT_TRUE(cluster.wait_serving());
  return writer.lost().size();
}

TEST_F(Modes, UnderQuorumTheMemberWithMoreIsPromoted) {
  for (const bool power : {true, false}) {
    EXPECT_EQ(lost_when_the_lower_id_lags(power), 0u) << power;
    planted_bug_now = PlantedBug::quorum_promotes_the_shorter;
    EXPECT_GT(lost_when_the_lower_id_lags(power), 10u) << "the planted bug must show";
    planted_bug_now = PlantedBug::none;
  }
}

// C is promoted as above, and dies as soon as it has won, before B is equal. B may not be promoted alone: what C had is needed.
TEST_F(Modes, UnderQuorumADeathDuringReconciliationLosesNothing) {
  for (const Nanos later : {Nanos{0}, kMillisecond, 3 * kMillisecond, 10 * kMillisecond}) {
    Cluster cluster(35, with(AckMode::quorum));
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    LogWriter writer(cluster);
    ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() >= 10; }));
    cluster.faults(1).hold = true;
    cluster.run_for(20 * kMillisecond);
    writer.kill();
    for (int i = 0; i < Cluster::kNodes; ++i) cluster.node(i).power_loss();
    cluster.faults(1).hold = false;
    cluster.start_node(1, false);
    cluster.start_node(2, false);
    ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::became_primary, 2) > 0; }));
    cluster.run_for(later);
    const bool served = cluster.primary() == 2;
    cluster.node(2).power_loss();
    cluster.run_for(kSecond);
    if (!served) EXPECT_EQ(cluster.primary(), -1) << "alone it cannot know, " << later;
    cluster.start_node(0, false);
    ASSERT_TRUE(cluster.wait_serving()) << later;
    EXPECT_TRUE(writer.lost().empty()) << later;
    cluster.start_node(2, false);
    ASSERT_TRUE(cluster.wait_full());
    EXPECT_TRUE(cluster.copies_equal());
  }
}

TEST_F(Modes, UnderQuorumNothingIsWrittenWithoutAMajority) {
  Cluster cluster(36, with(AckMode::quorum));
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(cluster.write(1, 1), Errc::ok);
  cluster.node(1).crash();
  EXPECT_EQ(cluster.write(2, 1), Errc::ok);
  cluster.node(2).crash();
  LogWriter writer(cluster, 3);
  cluster.run_for(2 * kSecond);
  EXPECT_TRUE(writer.acked.empty());
  EXPECT_EQ(cluster.primary(), 0) << "reads go on";
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() > 5; }));
  ASSERT_TRUE(writer.stop());
  EXPECT_EQ(writer.failed, 0);
}

// The arbiter is frozen when the primary dies; the primary is back before anybody else was promoted, or soon after.
TEST_F(Modes, UnderQuorumTheVolumeComesBackAfterTheArbiter) {
  for (const Nanos frozen : {50 * kMillisecond, 400 * kMillisecond, kSecond}) {
    Cluster cluster(40, with(AckMode::quorum));
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    LogWriter writer(cluster, 0, 4, kMillisecond);
    cluster.run_for(20 * kMillisecond);
    cluster.arbiter_node().freeze();
    cluster.node(0).crash();
    cluster.run_for(frozen);
    cluster.arbiter_node().thaw();
    cluster.run_for(150 * kMillisecond);
    cluster.start_node(0, false);
    ASSERT_TRUE(cluster.wait_full()) << frozen;
    ASSERT_TRUE(writer.stop());
    EXPECT_EQ(writer.failed, 0);
    EXPECT_TRUE(writer.lost().empty());
  }
}

// B's disk hangs while C is being copied to: A must not count C, which is no member. Then A is gone for good and B, the only
// other member, serves.
std::size_t lost_when_a_joiner_lends_its_disk() {
  Cluster::Options options = with(AckMode::quorum);
  options.resync_rate = 4 << 20;
  Cluster cluster(37, options);
  cluster.start_all();
  EXPECT_TRUE(cluster.wait_full());
  cluster.node(2).crash();
  cluster.replace_disk(2);
  EXPECT_EQ(cluster.write(4000 % Cluster::kBlocks, 1), Errc::ok);
  cluster.start_node(2, true);
  EXPECT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::resync_started) == 1; }));
  LogWriter writer(cluster);
  EXPECT_TRUE(cluster.run_until([&] { return writer.acked.size() >= 10; }));
  cluster.faults(1).hold = true;
  cluster.run_for(30 * kMillisecond);
  writer.kill();
  cluster.node(0).power_loss();
  cluster.node(1).power_loss();
  cluster.faults(1).hold = false;
  cluster.start_node(1, false);
  EXPECT_TRUE(cluster.wait_serving());
  EXPECT_EQ(cluster.primary(), 1);
  return writer.lost().size();
}

TEST_F(Modes, UnderQuorumAJoinerDoesNotCount) {
  EXPECT_EQ(lost_when_a_joiner_lends_its_disk(), 0u);
  planted_bug_now = PlantedBug::ack_counts_the_unsynced;
  EXPECT_GT(lost_when_a_joiner_lends_its_disk(), 10u) << "the planted bug must show";
}

// C has everything that was copied and is about to be a member, but its disk hangs. As soon as the record names it, A and B are
// gone for good.
std::size_t lost_when_a_joiner_is_not_waited_for() {
  Cluster cluster(38, with(AckMode::durable));
  cluster.start_all();
  EXPECT_TRUE(cluster.wait_full());
  cluster.node(2).crash();
  EXPECT_EQ(cluster.write(1000, 1), Errc::ok);
  cluster.start_node(2, false);
  LogWriter writer(cluster, 0, 4);
  // The copy is done; what is written from here on hangs at C while the arbiter is asked.
  cluster.world.network().set_extra_latency("A", "arbiter", 20 * kMillisecond);
  EXPECT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::resync_finished) == 1; }));
  cluster.faults(2).hold = true;
  cluster.run_for(30 * kMillisecond);
  const bool member = cluster.status(0).in_sync.contains(2);
  EXPECT_TRUE(member);
  writer.kill();
  for (int i = 0; i < Cluster::kNodes; ++i) cluster.node(i).power_loss();
  cluster.faults(2).hold = false;
  cluster.start_node(2, false);
  EXPECT_TRUE(cluster.wait_serving());
  return writer.lost().size();
}

TEST_F(Modes, AJoinerIsWaitedForBeforeItIsAMember) {
  EXPECT_EQ(lost_when_a_joiner_is_not_waited_for(), 0u);
  planted_bug_now = PlantedBug::joiner_not_waited_for;
  EXPECT_GT(lost_when_a_joiner_is_not_waited_for(), 0u) << "the planted bug must show";
}

Status set_ack(Cluster& cluster, AckMode ack, Nanos patience) {
  Status result = fail(Errc::cancelled);
  bool done = false;
  cluster.order(cluster.primary(), [&, ack, patience](Replica& replica) -> Task<void> {
    Status& to = result;
    bool& ended = done;
    to = co_await replica.set_ack(ack, cluster.world.now() + patience);
    ended = true;
  });
  EXPECT_TRUE(cluster.run_until([&] { return done; }));
  return result;
}

TEST_F(Modes, TheModeChangesWithAnEpochAndOnlyWhenNothingAcknowledgedIsAtRisk) {
  Cluster cluster(39, with(AckMode::durable));
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  const std::uint64_t epoch = cluster.status(0).epoch;
  EXPECT_TRUE(set_ack(cluster, AckMode::async, kSecond));
  EXPECT_EQ(cluster.status(0).epoch, epoch + 1);
  cluster.run_for(20 * kMillisecond);
  LogWriter writer(cluster);
  ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() >= 20; }));
  cluster.faults(2).hold = true;
  cluster.run_for(5 * kMillisecond);
  EXPECT_FALSE(set_ack(cluster, AckMode::durable, 200 * kMillisecond)) << "C lacks what was acknowledged";
  EXPECT_EQ(cluster.status(0).ack, AckMode::async);
  cluster.release(2);
  EXPECT_TRUE(cluster.run_until([&] { return cluster.status(0).ack == AckMode::durable; }, kSecond));
  EXPECT_TRUE(set_ack(cluster, AckMode::quorum, kSecond));
  ASSERT_TRUE(writer.stop());
  EXPECT_EQ(writer.failed, 0);
  cluster.node(0).crash();
  ASSERT_TRUE(cluster.wait_serving());
  EXPECT_EQ(cluster.status(cluster.primary()).ack, AckMode::quorum) << "the record has it, not a node";
  EXPECT_TRUE(writer.lost().empty());
}

TEST_F(Modes, AMemberThatIsGoneDoesNotKeepTheModeFromChangingOrItselfFromBeingLeftOut) {
  Cluster::Options options = with(AckMode::quorum);
  options.congestion_ms = 300;
  Cluster cluster(40, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  LogWriter writer(cluster);
  ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() >= 20; }));
  cluster.faults(2).hold = true;
  cluster.run_for(5 * kMillisecond);
  EXPECT_FALSE(set_ack(cluster, AckMode::durable, 20 * kMillisecond)) << "C lacks what was acknowledged";
  EXPECT_TRUE(cluster.run_until([&] { return cluster.status(0).ack == AckMode::durable; }, 5 * kSecond));
  EXPECT_EQ(cluster.status(0).in_sync.count(), 2u);
  ASSERT_TRUE(writer.stop());
  EXPECT_EQ(writer.failed, 0);
  cluster.release(2);
  EXPECT_TRUE(cluster.wait_full());
}

}  // namespace
}  // namespace resilver::replica
