// Clocks that run up to 10 % slow or fast, in every combination, and a primary that loses time altogether.
#include "base/planted_bug.h"
#include "tests/replica/log_writer.h"

namespace resilver::replica {
namespace {

// Before every event: at most one node serves.
void watch(Cluster& cluster, int& twice) {
  cluster.each_event = [&cluster, &twice] {
    int serving = 0;
    for (int i = 0; i < Cluster::kNodes; ++i) {
      Replica* replica = cluster.replica(i);
      serving += replica != nullptr && !cluster.node(i).frozen() && replica->serving() ? 1 : 0;
    }
    twice += serving > 1 ? 1 : 0;
  };
}

// Lease, grace and beacon of the cluster are a tenth of the defaults.
TEST(Clocks, TenPercentApartNoFailoverIsNeedlessAndNoTwoNodesServe) {
  for (int combination = 0; combination < 27; ++combination) {
    Cluster cluster(200 + static_cast<std::uint64_t>(combination));
    for (int i = 0, rest = combination; i < Cluster::kNodes; ++i, rest /= 3)
      cluster.node(i).set_clock_rate((rest % 3 - 1) * 100'000);
    int twice = 0;
    watch(cluster, twice);
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full()) << combination;
    LogWriter writer(cluster, 0, 2, 2 * kMillisecond);
    cluster.run_for(500 * kMillisecond);
    EXPECT_EQ(cluster.count(EventKind::became_primary), 1) << combination;
    EXPECT_EQ(cluster.count(EventKind::peer_left), 0) << combination;
    for (const char* other : {"B", "C", "arbiter"}) {
      cluster.world.network().drop("A", other);
      cluster.world.network().drop(other, "A");
    }
    EXPECT_TRUE(cluster.run_until([&] { return cluster.primary() > 0; }, 300 * kMillisecond)) << combination;
    for (const char* other : {"B", "C", "arbiter"}) {
      cluster.world.network().restore("A", other);
      cluster.world.network().restore(other, "A");
    }
    ASSERT_TRUE(cluster.wait_full()) << combination;
    ASSERT_TRUE(writer.stop());
    EXPECT_EQ(writer.failed, 0);
    EXPECT_TRUE(writer.lost().empty());
    EXPECT_EQ(twice, 0) << combination;
  }
}

// A reads for the old client when it freezes, `later` after the request was sent; B takes over and a newer client writes; A
// thaws. Returns whether the old client gets an answer then.
bool answers_after_a_freeze(Nanos later) {
  Cluster cluster(230);
  cluster.start_all();
  EXPECT_TRUE(cluster.wait_full());
  EXPECT_EQ(cluster.write(5, 1), Errc::ok);
  sim::Node& old_client = cluster.world.add_node("old");
  bool asked = false, thawed = false, answered = false;
  old_client.start([&](Env& env) -> Task<void> {
    auto connection = co_await env.network().connect("A", kNever);
    if (!connection) co_return;
    (void)co_await (*connection)->send(encode(0, ClientHello{Cluster::kVolumeId, 1, 1, false}), kNever);
    (void)co_await (*connection)->receive(kNever);  // Attached
    (void)co_await (*connection)->send(encode(0, Request{1, 1, IoOp::read, false, 5 * kBlockBytes, kBlockBytes}), kNever);
    asked = true;
    while (co_await (*connection)->receive(kNever)) answered = answered || thawed;
  });
  EXPECT_TRUE(cluster.world.run_while([&] { return !asked; }, cluster.world.now() + kSecond) == sim::Stop::condition);
  cluster.run_for(later);
  cluster.node(0).freeze();
  cluster.world.network().drop("client", "A");  // else its hello would end the old session
  cluster.client_main([&](Client& client) -> Task<void> {
    Buffer data = cluster.client_node().env().buffers().allocate(kBlockBytes);
    Cluster::fill(data.bytes(), 5, 2);
    EXPECT_EQ(co_await Io::write(client, 5 * kBlockBytes, data), Errc::ok);
  });
  EXPECT_TRUE(cluster.run_until([&] { return !cluster.client_node().running(); }));
  cluster.run_for(kSecond);
  thawed = true;
  cluster.node(0).thaw();
  cluster.run_for(100 * kMillisecond);
  old_client.crash();
  return answered;
}

TEST(Clocks, AReadUnderWayWhenThePrimaryFreezesIsNotAnsweredWhenItThaws) {
  int with_the_bug = 0;
  for (const Nanos later : {50, 105, 120, 150}) {  // on its way, there, at the disk, back from it
    EXPECT_FALSE(answers_after_a_freeze(later * kMicrosecond)) << later;
    planted_bug_now = PlantedBug::lease_ignored;
    with_the_bug += answers_after_a_freeze(later * kMicrosecond) ? 1 : 0;
    planted_bug_now = PlantedBug::none;
  }
  EXPECT_GT(with_the_bug, 0) << "the planted bug must show";
}

}  // namespace
}  // namespace resilver::replica
