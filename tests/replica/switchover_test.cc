// Planned switchover: another primary by command, without a failed request and nearly without a pause.
#include "tests/replica/log_writer.h"

namespace resilver::replica {
namespace {

constexpr Nanos kPause = 50 * kMillisecond;

struct Outcome {
  bool ended = false;
  Status status;
};

void promote(Cluster& cluster, int node, Outcome& outcome, Nanos patience = kSecond) {
  cluster.order(node, [&, patience](Replica& replica) -> Task<void> {
    Outcome& out = outcome;
    out.status = co_await replica.promote(cluster.world.now() + patience);
    out.ended = true;
  });
}

TEST(Switchover, ByCommandNoRequestFailsAndThePauseIsShort) {
  for (const AckMode ack : {AckMode::durable, AckMode::quorum, AckMode::received, AckMode::async}) {
    Cluster::Options options;
    options.ack = ack;
    Cluster cluster(51, options);
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    LogWriter writer(cluster, 0, 4);
    cluster.run_for(20 * kMillisecond);
    for (const int to : {1, 2, 0}) {
      Outcome outcome;
      promote(cluster, to, outcome);
      ASSERT_TRUE(cluster.run_until([&] { return outcome.ended; }, 2 * kSecond));
      EXPECT_TRUE(outcome.status) << ack_mode_name(ack);
      EXPECT_EQ(cluster.primary(), to);
      const std::size_t before = writer.acked.size();
      ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() > before + 20; }, kSecond));
      EXPECT_EQ(cluster.status(to).in_sync.count(), 3u) << "the former primary stays a member";
    }
    ASSERT_TRUE(writer.stop());
    EXPECT_EQ(writer.failed, 0);
    EXPECT_LE(writer.longest_gap, kPause) << ack_mode_name(ack);
    EXPECT_GT(writer.longest_gap, 0);
    EXPECT_EQ(cluster.count(EventKind::resync_started), 0);
    EXPECT_TRUE(writer.lost().empty());
    cluster.run_for(100 * kMillisecond);
    EXPECT_TRUE(cluster.copies_equal());
  }
}

TEST(Switchover, DemoteHandsOverToTheLowestId) {
  Cluster cluster(52);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  Outcome outcome;
  cluster.order(0, [&](Replica& replica) -> Task<void> {
    Outcome& out = outcome;
    out.status = co_await replica.demote(cluster.world.now() + kSecond);
    out.ended = true;
  });
  ASSERT_TRUE(cluster.run_until([&] { return outcome.ended; }, 2 * kSecond));
  EXPECT_TRUE(outcome.status);
  ASSERT_TRUE(cluster.wait_serving(kPause));
  EXPECT_EQ(cluster.primary(), 1);
}

TEST(Switchover, WithoutTheArbiterOrWithAFullQueueThePrimaryGoesOn) {
  Cluster::Options options;
  options.ack = AckMode::async;
  Cluster cluster(53, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  LogWriter writer(cluster);
  cluster.arbiter_node().crash();
  Outcome outcome;
  promote(cluster, 1, outcome, 300 * kMillisecond);
  ASSERT_TRUE(cluster.run_until([&] { return outcome.ended; }));
  EXPECT_FALSE(outcome.status);
  EXPECT_EQ(outcome.status.error().code, Errc::timeout);
  EXPECT_EQ(cluster.primary(), 0);
  EXPECT_LE(writer.longest_gap, kPause) << "the arbiter is asked before the requests are held up";
  cluster.start_arbiter();
  cluster.faults(1).hold = true;  // it cannot drain
  cluster.run_for(10 * kMillisecond);
  Outcome second;
  promote(cluster, 1, second, 90 * kMillisecond);
  ASSERT_TRUE(cluster.run_until([&] { return second.ended; }));
  EXPECT_FALSE(second.status);
  cluster.run_for(100 * kMillisecond);
  EXPECT_EQ(cluster.primary(), 0);
  cluster.release(1);
  ASSERT_TRUE(writer.stop());
  EXPECT_EQ(writer.failed, 0);
}

TEST(Switchover, ACopyThatIsNotInSyncIsRefused) {
  Cluster cluster(54);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.world.network().drop("A", "B");
  ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 1; }));
  cluster.run_for(100 * kMillisecond);
  Outcome outcome;
  promote(cluster, 1, outcome);
  ASSERT_TRUE(cluster.run_until([&] { return outcome.ended; }));
  EXPECT_FALSE(outcome.status);
  EXPECT_EQ(outcome.status.error().code, Errc::not_primary);
  EXPECT_EQ(cluster.primary(), 0);
}

// Whenever the successor dies, the volume serves again, and nothing is lost.
TEST(Switchover, ASuccessorThatDiesAtAnyMomentCostsAFailover) {
  for (Nanos later = 0; later <= 8 * kMillisecond; later += kMillisecond / 4) {
    Cluster cluster(55);
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    LogWriter writer(cluster, 0, 2);
    cluster.run_for(10 * kMillisecond);
    Outcome outcome;
    promote(cluster, 1, outcome);
    cluster.run_for(later);
    cluster.node(1).power_loss();
    const std::size_t before = writer.acked.size();
    ASSERT_TRUE(cluster.run_until([&] { return writer.acked.size() > before + 20; }, 2 * kSecond)) << later;
    ASSERT_TRUE(writer.stop());
    EXPECT_EQ(writer.failed, 0);
    EXPECT_TRUE(writer.lost().empty()) << later;
    cluster.start_node(1, false);
    ASSERT_TRUE(cluster.wait_full());
    EXPECT_TRUE(cluster.copies_equal());
  }
}

}  // namespace
}  // namespace resilver::replica
