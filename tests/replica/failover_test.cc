// One fault at a time, on three nodes: who serves afterwards, and what the copies hold.
#include "async/task_group.h"
#include "base/planted_bug.h"
#include "tests/replica/cluster.h"

namespace resilver::replica {
namespace {

// Writes blocks [first, end) with `version`, several at a time.
Task<void> write_range(Client& client, Env& env, std::uint64_t first, std::uint64_t end, std::uint64_t version,
                       int& failures) {
  TaskGroup group(env.scheduler());
  for (std::uint64_t block = first; block < end; ++block) {
    group.spawn([](Client& c, Env& e, std::uint64_t b, std::uint64_t v, int& bad) -> Task<void> {
      Buffer data = e.buffers().allocate(kBlockBytes);
      Cluster::fill(data.bytes(), b, v);
      if (co_await Io::write(c, b * kBlockBytes, data) != Errc::ok) ++bad;
    }(client, env, block, version, failures));
  }
  co_await group.join();
}

int write_blocks(Cluster& cluster, std::uint64_t first, std::uint64_t end, std::uint64_t version) {
  int failures = 0;
  cluster.client_main([&](Client& client) -> Task<void> {
    co_await write_range(client, cluster.client_node().env(), first, end, version, failures);
  });
  EXPECT_TRUE(cluster.run_until([&] { return !cluster.client_node().running(); }, 60 * kSecond));
  return failures;
}

std::uint64_t version_on_disk(Cluster& cluster, int node, std::uint64_t block) {
  std::vector<std::byte> data(kBlockBytes);
  cluster.disk(node).peek(block * kBlockBytes, data);
  return Cluster::version_of(data, block);
}

TEST(Failover, AVirginVolumeStartsInSyncAndReplicatesWhatIsWritten) {
  Cluster cluster(1);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(cluster.primary(), 0);
  EXPECT_EQ(cluster.status(0).redundancy, 2u);
  EXPECT_EQ(cluster.count(EventKind::resync_started), 0);
  EXPECT_EQ(write_blocks(cluster, 0, 300, 7), 0);
  for (int i = 0; i < Cluster::kNodes; ++i) EXPECT_EQ(version_on_disk(cluster, i, 299), 7u);
  EXPECT_TRUE(cluster.copies_equal());
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(123, &version), Errc::ok);
  EXPECT_EQ(version, 7u);
  EXPECT_EQ(cluster.status(1).role, Role::secondary);
}

TEST(Failover, LargeRequestsAndZeroesReachEveryCopy) {
  Cluster cluster(2);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  Errc wrote = Errc::io, zeroed = Errc::io, flushed = Errc::io;
  cluster.client_main([&](Client& client) -> Task<void> {
    BufferPool& buffers = cluster.client_node().env().buffers();
    std::vector<Buffer> parts;  // 2.5 MiB
    for (int i = 0; i < 5; ++i) parts.push_back(buffers.allocate(512 * 1024));
    for (std::uint64_t b = 0; b < 640; ++b)
      Cluster::fill(parts[b / 128].slice(b % 128 * kBlockBytes, kBlockBytes).bytes(), b + 3, 5);
    struct Large : IoRequest {
      Large() : IoRequest([](Runnable& self) noexcept { static_cast<Large&>(self).done = true; }) {}
      bool done = false;
    } request;
    request.op = IoOp::write;
    request.offset = 3 * kBlockBytes;
    request.length = 640 * kBlockBytes;
    request.segments = parts;
    client.submit(request);
    while (!request.done) co_await sleep_for(cluster.client_node().scheduler(), kMillisecond);
    wrote = request.status;
    zeroed = co_await Io::write_zeroes(client, 10 * kBlockBytes, 4 * kBlockBytes);
    flushed = co_await Io::flush(client);
  });
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.client_node().running(); }));
  EXPECT_EQ(wrote, Errc::ok);
  EXPECT_EQ(zeroed, Errc::ok);
  EXPECT_EQ(flushed, Errc::ok);
  EXPECT_TRUE(cluster.copies_equal());
  EXPECT_EQ(version_on_disk(cluster, 2, 9), 5u);
  EXPECT_EQ(version_on_disk(cluster, 2, 10), 0u);
  EXPECT_EQ(version_on_disk(cluster, 2, 642), 5u);
}

TEST(Failover, AKilledPrimaryIsReplacedSoonAfterItsGrace) {
  Cluster cluster(3);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(write_blocks(cluster, 0, 50, 1), 0);
  const Nanos killed = cluster.world.now();
  cluster.node(0).crash();
  ASSERT_TRUE(cluster.wait_serving());
  EXPECT_LE(cluster.world.now() - killed, 200 * kMillisecond);
  EXPECT_NE(cluster.primary(), 0);
  EXPECT_EQ(cluster.status(cluster.primary()).in_sync.count(), 2u);
  EXPECT_EQ(write_blocks(cluster, 25, 75, 2), 0);
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.wait_full()) << cluster.describe();
  EXPECT_TRUE(cluster.copies_equal());
  EXPECT_EQ(version_on_disk(cluster, 0, 60), 2u);
}

TEST(Failover, AStoppedNodeLeavesAndComesBack) {
  Cluster cluster(4);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.stop_node(0);
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.node(0).running(); }, kSecond));
  ASSERT_TRUE(cluster.wait_serving());
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.wait_full());
  cluster.stop_node(2);
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.node(2).running(); }, kSecond));
  EXPECT_EQ(write_blocks(cluster, 0, 20, 3), 0);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Failover, PowerLossOfThePrimaryLosesNothingAcknowledged) {
  Cluster cluster(5);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(write_blocks(cluster, 0, 200, 1), 0);
  cluster.node(0).power_loss();
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(199, &version), Errc::ok);
  EXPECT_EQ(version, 1u);
  cluster.start_node(0, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Failover, AllNodesLosingPowerAtOnceComeBackWithEverything) {
  Cluster cluster(6);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(write_blocks(cluster, 0, 200, 1), 0);
  const int before = cluster.count(EventKind::resync_started);
  for (int i = 0; i < Cluster::kNodes; ++i) cluster.node(i).power_loss();
  cluster.run_for(kSecond);
  for (int i : {2, 1, 0}) {
    cluster.start_node(i, false);
    cluster.run_for(20 * kMillisecond);
  }
  ASSERT_TRUE(cluster.wait_full());
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(150, &version), Errc::ok);
  EXPECT_EQ(version, 1u);
  EXPECT_TRUE(cluster.copies_equal());
  EXPECT_EQ(cluster.count(EventKind::resync_started), before) << "members that start together stay members";
}

TEST(Failover, AFrozenPrimaryServesNothingStaleWhenItThaws) {
  Cluster cluster(7);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_EQ(write_blocks(cluster, 0, 10, 1), 0);
  cluster.node(0).freeze();
  EXPECT_EQ(write_blocks(cluster, 0, 10, 2), 0);  // by the new primary
  EXPECT_NE(cluster.primary(), 0);
  cluster.node(0).thaw();
  for (int i = 0; i < 10; ++i) {
    cluster.world.run_for(100 * kMicrosecond);
    EXPECT_FALSE(cluster.status(0).serving) << "deposed, whatever it believes";
  }
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(5, &version), Errc::ok);
  EXPECT_EQ(version, 2u);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
}

// The primary A freezes and B takes over, alone in the set; about when A thaws B freezes. A may not serve then, however long
// it waits; B thaws and serves, and A is resynced. The third node is away throughout, so that nobody else can help.
TEST(Failover, TwoFreezesThatMeetEndInServiceAndTwoEqualCopies) {
  for (const Nanos overlap : {-kMillisecond, Nanos{0}, 5 * kMillisecond, 150 * kMillisecond}) {
    Cluster cluster(1819);
    cluster.start_all();
    ASSERT_TRUE(cluster.wait_full());
    cluster.node(2).crash();
    ASSERT_TRUE(cluster.run_until([&] { return cluster.status(0).in_sync.count() == 2; }, kSecond));
    bool finish = false;
    int failures = 0, rounds = 0;
    cluster.client_main([&](Client& client) -> Task<void> {
      while (!finish) {
        const auto version = static_cast<std::uint64_t>(rounds + 1);
        co_await write_range(client, cluster.client_node().env(), 0, 16, version, failures);
        ++rounds;
      }
    });
    cluster.run_for(30 * kMillisecond);
    cluster.node(0).freeze();
    ASSERT_TRUE(cluster.run_until([&] { return cluster.primary() == 1; }, kSecond));
    cluster.run_for(50 * kMillisecond);
    if (overlap < 0) {
      cluster.node(0).thaw();
      cluster.run_for(-overlap);
      cluster.node(1).freeze();
    } else {
      cluster.node(1).freeze();
      cluster.run_for(overlap);
      cluster.node(0).thaw();
    }
    const bool alone = cluster.status(1).in_sync == NodeSet::of(1);
    cluster.run_for(400 * kMillisecond);
    if (alone) EXPECT_EQ(cluster.primary(), -1) << "A lacks what B acknowledged, overlap " << overlap;
    cluster.node(1).thaw();
    EXPECT_TRUE(cluster.run_until(
        [&] { return cluster.primary() >= 0 && cluster.status(cluster.primary()).in_sync.count() == 2; }, 5 * kSecond))
        << "overlap " << overlap;
    const int before = rounds;
    cluster.run_for(100 * kMillisecond);
    EXPECT_GT(rounds, before) << "overlap " << overlap;
    finish = true;
    ASSERT_TRUE(cluster.run_until([&] { return !cluster.client_node().running(); }, 5 * kSecond));
    EXPECT_EQ(failures, 0);
    for (std::uint64_t block = 0; block < 16; ++block) {
      EXPECT_EQ(version_on_disk(cluster, 0, block), static_cast<std::uint64_t>(rounds)) << "overlap " << overlap;
      EXPECT_EQ(version_on_disk(cluster, 1, block), static_cast<std::uint64_t>(rounds)) << "overlap " << overlap;
    }
  }
}

TEST(Failover, APrimaryCutOffFromItsPeersStopsServing) {
  Cluster cluster(8);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  auto& net = cluster.world.network();
  for (const char* other : {"B", "C", "arbiter"}) {
    net.drop("A", other);
    net.drop(other, "A");
  }
  EXPECT_EQ(write_blocks(cluster, 0, 10, 2), 0);
  EXPECT_NE(cluster.primary(), 0);
  EXPECT_FALSE(cluster.status(0).serving);
  for (const char* other : {"B", "C", "arbiter"}) {
    net.restore("A", other);
    net.restore(other, "A");
  }
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
  EXPECT_EQ(cluster.count(EventKind::lost_primary, 0), 1);
}

TEST(Failover, WithoutTheArbiterServiceGoesOnAndNothingChanges) {
  Cluster cluster(9);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.arbiter_node().crash();
  EXPECT_EQ(write_blocks(cluster, 0, 50, 1), 0);
  cluster.run_for(2 * kSecond);
  EXPECT_EQ(cluster.primary(), 0);
  EXPECT_EQ(cluster.status(0).in_sync.count(), 3u);
  cluster.node(2).crash();
  cluster.run_for(kSecond);
  EXPECT_EQ(cluster.primary(), -1) << "a member that may be promoted cannot be left out without the arbiter";
  cluster.start_arbiter();
  ASSERT_TRUE(cluster.wait_serving());
  EXPECT_EQ(write_blocks(cluster, 50, 60, 1), 0);
  cluster.start_node(2, false);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Failover, BelowMinInSyncNoWriteIsAcknowledged) {
  Cluster::Options options;
  options.min_in_sync = 2;
  options.op_timeout_ms = 2000;
  Cluster cluster(10, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.node(1).crash();
  EXPECT_EQ(write_blocks(cluster, 0, 5, 1), 0);
  cluster.node(2).crash();
  EXPECT_EQ(cluster.write(9, 1), Errc::timeout);
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(1, &version), Errc::ok) << "reads go on";
  cluster.start_node(1, false);
  ASSERT_TRUE(cluster.run_until(
      [&] { return cluster.primary() >= 0 && cluster.status(cluster.primary()).in_sync.count() == 2; }));
  EXPECT_EQ(cluster.write(9, 2), Errc::ok);
}

TEST(Failover, ANewerAttachmentEndsTheOlderOne) {
  Cluster cluster(11);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  sim::Node& second = cluster.world.add_node("client2");
  Errc old_first = Errc::io, old_later = Errc::io, newer = Errc::io;
  bool taken_over = false;
  cluster.client_main([&](Client& client) -> Task<void> {
    Env& env = cluster.client_node().env();
    Buffer data = env.buffers().allocate(kBlockBytes);
    Cluster::fill(data.bytes(), 1, 1);
    old_first = co_await Io::write(client, kBlockBytes, data);
    while (!taken_over) co_await sleep_for(env.scheduler(), kMillisecond);
    old_later = co_await Io::write(client, kBlockBytes, data);
  });
  ASSERT_TRUE(cluster.run_until([&] { return old_first == Errc::ok; }));
  second.start([&](Env& env) -> Task<void> {
    return [](Cluster& c, Env& e, Errc& result, bool& done) -> Task<void> {
      auto client = co_await Client::attach(e.scheduler(), e.buffers(), e.network(), c.client_config());
      CHECK(client.has_value());
      Buffer data = e.buffers().allocate(kBlockBytes);
      Cluster::fill(data.bytes(), 1, 2);
      result = co_await Io::write(**client, kBlockBytes, data);
      done = true;
      co_await sleep_for(e.scheduler(), kSecond);
      co_await (*client)->close();
    }(cluster, env, newer, taken_over);
  });
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.client_node().running() && !second.running(); }));
  EXPECT_EQ(newer, Errc::ok);
  EXPECT_EQ(old_later, Errc::fenced);
  EXPECT_EQ(version_on_disk(cluster, 0, 1), 2u);
  cluster.node(0).crash();  // the fence holds on the next primary too
  ASSERT_TRUE(cluster.wait_serving());
  Errc reattach = Errc::ok;
  second.start([&](Env& env) -> Task<void> {
    return [](Cluster& c, Env& e, Errc& result) -> Task<void> {
      // What the fenced client would say if it did not give up: its number, to the new primary.
      auto connection = co_await e.network().connect(Cluster::name(c.primary()), kNever);
      CHECK(connection.has_value());
      CHECK(co_await (*connection)->send(encode(0, ClientHello{Cluster::kVolumeId, 1, 0}), kNever));
      const auto answer = co_await (*connection)->receive(kNever);
      const auto decoded = answer ? decode(answer->head) : fail(Errc::closed);
      const auto* refused = decoded ? std::get_if<Redirect>(&decoded->body) : nullptr;
      result = refused != nullptr ? refused->status : Errc::ok;
    }(cluster, env, reattach);
  });
  ASSERT_TRUE(cluster.run_until([&] { return !second.running(); }));
  EXPECT_EQ(reattach, Errc::fenced);
}

// Client 1 stays on a primary that is cut off from everybody else while client 2 writes elsewhere. Returns what client 1 reads.
std::uint64_t read_at_a_cut_off_primary(std::uint64_t seed) {
  Cluster::Options options;
  options.op_timeout_ms = 3000;
  Cluster cluster(seed, options);
  cluster.start_all();
  EXPECT_TRUE(cluster.wait_full());
  sim::Node& second = cluster.world.add_node("client2");
  bool attached = false, written = false;
  Errc status = Errc::cancelled;
  std::uint64_t version = 0;
  cluster.client_main([&](Client& client) -> Task<void> {
    Env& env = cluster.client_node().env();
    Buffer data = env.buffers().allocate(kBlockBytes);
    Cluster::fill(data.bytes(), 1, 1);
    EXPECT_EQ(co_await Io::write(client, kBlockBytes, data), Errc::ok);
    attached = true;
    while (!written) co_await sleep_for(env.scheduler(), kMillisecond);
    status = co_await Io::read(client, kBlockBytes, data);
    version = Cluster::version_of(data.bytes(), 1);
  });
  EXPECT_TRUE(cluster.run_until([&] { return attached; }));
  for (const char* other : {"B", "C", "arbiter", "client2"}) {
    cluster.world.network().drop("A", other);
    cluster.world.network().drop(other, "A");
  }
  for (const char* other : {"B", "C"}) cluster.world.network().drop("client", other);
  second.start([&](Env& env) -> Task<void> {
    return [](Cluster& c, Env& e, bool& done) -> Task<void> {
      auto client = co_await Client::attach(e.scheduler(), e.buffers(), e.network(), c.client_config());
      CHECK(client.has_value());
      Buffer data = e.buffers().allocate(kBlockBytes);
      Cluster::fill(data.bytes(), 1, 2);
      EXPECT_EQ(co_await Io::write(**client, kBlockBytes, data), Errc::ok);
      done = true;
      co_await (*client)->close();
    }(cluster, env, written);
  });
  EXPECT_TRUE(cluster.run_until([&] { return !cluster.client_node().running() && !second.running(); }));
  return status == Errc::ok ? version : 0;
}

TEST(Failover, ADeposedPrimaryAnswersNoReadOfAnOlderAttachment) {
  EXPECT_EQ(read_at_a_cut_off_primary(14), 0u) << "it has no lease";
  planted_bug_now = PlantedBug::lease_ignored;
  const std::uint64_t stale = read_at_a_cut_off_primary(14);
  planted_bug_now = PlantedBug::none;
  EXPECT_EQ(stale, 1u) << "the planted bug must show";
}

// A write reaches B but not C when the primary and the client die. Returns what is read of it from B's reign, then from C's.
std::pair<std::uint64_t, std::uint64_t> read_a_half_replicated_write() {
  Cluster cluster(15);
  cluster.start_all();
  EXPECT_TRUE(cluster.wait_full());
  EXPECT_EQ(cluster.write(5, 1), Errc::ok);
  cluster.client_main([&](Client& client) -> Task<void> {
    cluster.world.network().drop("A", "C");
    Buffer data = cluster.client_node().env().buffers().allocate(kBlockBytes);
    Cluster::fill(data.bytes(), 5, 2);
    (void)co_await Io::write(client, 5 * kBlockBytes, data);
  });
  EXPECT_TRUE(cluster.run_until([&] { return version_on_disk(cluster, 1, 5) == 2; }, 50 * kMillisecond));
  cluster.client_node().crash();
  cluster.node(0).power_loss();
  EXPECT_TRUE(cluster.wait_serving());
  EXPECT_EQ(cluster.primary(), 1) << "it has more";
  EXPECT_EQ(cluster.status(1).in_sync.count(), 2u);
  std::pair<std::uint64_t, std::uint64_t> seen;
  EXPECT_EQ(cluster.read(5, &seen.first), Errc::ok);
  cluster.node(1).crash();
  EXPECT_EQ(cluster.read(5, &seen.second), Errc::ok);
  return seen;
}

TEST(Failover, AWriteThatOneMemberHasIsSettledBeforeItIsShown) {
  const auto seen = read_a_half_replicated_write();
  EXPECT_EQ(seen.first, seen.second);
  planted_bug_now = PlantedBug::reconciliation_skipped;
  const auto broken = read_a_half_replicated_write();
  planted_bug_now = PlantedBug::none;
  EXPECT_EQ(broken, std::pair(std::uint64_t{2}, std::uint64_t{1})) << "the planted bug must show";
}

// Else the first write, still waiting for the disk, could land behind the second.
TEST(Failover, AWriteThatIsGivenUpHasHappenedOrNeverWillWhenTheNextOneBegins) {
  Cluster::Options options;
  options.op_timeout_ms = 50;
  Cluster cluster(16, options);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  Errc first = Errc::ok, last = Errc::cancelled;
  std::uint64_t sessions = 0, version = 0;
  cluster.client_main([&](Client& client) -> Task<void> {
    Buffer data = cluster.client_node().env().buffers().allocate(kBlockBytes);
    Cluster::fill(data.bytes(), 5, 1);
    cluster.faults(0).hold = true;
    first = co_await Io::write(client, 5 * kBlockBytes, data);
    cluster.release(0);
    Cluster::fill(data.bytes(), 5, 2);
    while (last != Errc::ok) last = co_await Io::write(client, 5 * kBlockBytes, data);
    sessions = client.status().sessions;
    EXPECT_EQ(co_await Io::read(client, 5 * kBlockBytes, data), Errc::ok);
    version = Cluster::version_of(data.bytes(), 5);
  });
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.client_node().running(); }, 60 * kSecond));
  EXPECT_EQ(first, Errc::timeout);
  EXPECT_EQ(version, 2u);
  EXPECT_GE(sessions, 2u) << "the server lets all requests of a session end before it takes the next one";
}

TEST(Failover, AStandAloneNodeSpeaksTheSameProtocol) {
  Cluster cluster(12);
  cluster.node(0).start([&](Env& env) -> Task<void> {
    return [](Env& e) -> Task<void> {
      auto disk = co_await e.open_disk("disk", kNever);
      auto listener = e.network().listen("A");
      ReplicaConfig config;
      config.volume = Cluster::kVolumeId;
      config.intent_bits = 32768;
      auto replica = co_await Replica::open(e, config, **disk, Start::new_volume);
      CHECK(replica.has_value());
      Event stop(e.scheduler());
      co_await (*replica)->run(**listener, stop);
    }(env);
  });
  EXPECT_EQ(write_blocks(cluster, 0, 64, 4), 0);
  EXPECT_EQ(version_on_disk(cluster, 0, 63), 4u);
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(63, &version), Errc::ok);
  EXPECT_EQ(version, 4u);
}

TEST(Failover, GarbageFromTheNetworkHarmsNobody) {
  Cluster cluster(13);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  sim::Node& vandal = cluster.world.add_node("vandal");
  const Record cluster_record = cluster.next_record(1);
  vandal.start([cluster_record](Env& env) -> Task<void> {
    Random random(99);
    std::vector<Message> plausible;
    plausible.push_back(encode(50, Cluster::hello_of(cluster_record, 1)));
    plausible.push_back(encode(0, ClientHello{{7, 7}, 9, 1}));
    plausible.push_back(encode(3, Replicate{1, 0, IoOp::write, 4096, 4096}));
    plausible.push_back(encode(0, Request{1, 1, IoOp::read, false, ~0ull - 4095, 4096}));
    plausible.push_back(encode(9, Attached{1, 0, 0, 1}));
    plausible.push_back(encode(9, ArbiterSwap{1, {}, 500, 1, cluster_record}));
    for (int i = 0; i < 300; ++i) {
      const char* targets[] = {"A", "B", "C", "arbiter"};
      auto connection = co_await env.network().connect(targets[random.below(4)], env.scheduler().now() + kSecond);
      if (!connection) continue;
      for (int n = 0; n < 4; ++n) {
        Message message;
        if (random.percent(50)) {
          const Message& model = plausible[1 + random.below(plausible.size() - 1)];
          message.head = model.head;
          if (random.percent(50))
            message.head[random.below(message.head.size())] = static_cast<std::byte>(random.below(256));
        } else {
          message.head.resize(random.below(200));
          for (auto& b : message.head) b = static_cast<std::byte>(random.below(256));
        }
        if (random.percent(30)) message.body = env.buffers().allocate(4096);
        if (!co_await (*connection)->send(std::move(message), env.scheduler().now() + kSecond)) break;
      }
      (void)co_await (*connection)->receive(env.scheduler().now() + kMillisecond);
    }
  });
  EXPECT_EQ(write_blocks(cluster, 0, 100, 1), 0);
  ASSERT_TRUE(cluster.run_until([&] { return !vandal.running(); }));
  EXPECT_EQ(write_blocks(cluster, 100, 200, 1), 0);
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(cluster.copies_equal());
}

}  // namespace
}  // namespace resilver::replica
