// A day under load, in virtual time: every hour a node dies and comes back and the mode changes. What the three nodes, the
// arbiter, the client and their world hold in memory at the end is what they held in the second hour. Rates are low, so that it
// takes seconds: a leak is per request, session, promotion or beacon, and there are eighty thousand of most.
#include <malloc.h>

#include "tests/replica/cluster.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RESILVER_ASAN 1
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();
#endif
#endif

namespace resilver::replica {
namespace {

std::size_t heap_in_use() {
#ifdef RESILVER_ASAN
  return __sanitizer_get_current_allocated_bytes();
#else
  return mallinfo2().uordblks;
#endif
}

struct Held {
  std::size_t heap = 0;
  std::size_t buffers = 0;
  std::uint64_t dirty_bits = 0, behind_bytes = 0;
};

struct Day {
  static constexpr std::uint64_t kBlocks = 64;

  Day() : cluster(77, options()) {}
  static Cluster::Options options() {
    Cluster::Options o;
    o.detect_ms = 10'000;
    o.clear_bits_ms = 10'000;
    return o;
  }

  // One write and one read every second, each read of what the write before left.
  void start_client() {
    cluster.client_node().start([this](Env& env) -> Task<void> {
      ClientConfig config = cluster.client_config();
      config.detect_ms = 10'000;
      config.retry_ms = 1000;
      config.op_timeout_ms = 600'000;
      auto client = co_await Client::attach(env.scheduler(), env.buffers(), env.network(), config);
      CHECK(client.has_value());
      Buffer data = env.buffers().allocate(kBlockBytes);
      for (std::uint64_t n = 1;; ++n) {
        const std::uint64_t block = n % kBlocks * 15;
        Cluster::fill(data.bytes(), block, n);
        if (co_await Io::write(**client, block * kBlockBytes, data) != Errc::ok) ++wrong;
        co_await sleep_for(env.scheduler(), 500 * kMillisecond);
        if (co_await Io::read(**client, block * kBlockBytes, data) != Errc::ok) ++wrong;
        if (Cluster::version_of(data.bytes(), block) != n) ++wrong;
        co_await sleep_for(env.scheduler(), 500 * kMillisecond);
        operations += 2;
      }
    });
  }

  void an_hour(int hour) {
    const int victim = hour % Cluster::kNodes;
    cluster.node(victim).crash();
    cluster.run_for(kMinute);
    cluster.start_node(victim, false);
    ASSERT_TRUE(cluster.wait_full(5 * kMinute)) << hour;
    const AckMode modes[] = {AckMode::quorum, AckMode::received, AckMode::async, AckMode::durable};
    cluster.order(cluster.primary(), [&, mode = modes[hour % 4]](Replica& replica) -> Task<void> {
      (void)co_await replica.set_ack(mode, cluster.world.now() + kMinute);
    });
    cluster.run_for(50 * kMinute);
    cluster.events.clear();
  }

  // A record lists the newest reigns: from then on it does not grow.
  void fill_the_history() {
    for (std::size_t i = 0; i < Record::kMaxReigns + 8; ++i) {
      const int next = (cluster.primary() + 1) % Cluster::kNodes;
      cluster.order(
          next, [&](Replica& replica) -> Task<void> { (void)co_await replica.promote(cluster.world.now() + kMinute); });
      ASSERT_TRUE(cluster.run_until([&] { return cluster.primary() == next; }, kMinute));
      ASSERT_TRUE(cluster.wait_full(kMinute));
    }
  }

  Held held() {
    Held now{.heap = heap_in_use(), .buffers = cluster.client_node().env().buffers().bytes_in_use()};
    for (int i = 0; i < Cluster::kNodes; ++i) {
      now.buffers += cluster.node(i).env().buffers().bytes_in_use();
      now.dirty_bits += cluster.status(i).dirty_bits;
      for (const PeerStatus& peer : cluster.status(i).peers) now.behind_bytes += peer.behind_bytes;
    }
    return now;
  }

  Cluster cluster;
  std::uint64_t wrong = 0, operations = 0;
};

TEST(Day, OfLoadAndOneFailoverAnHourDoesNotGrowMemory) {
  Day day;
  day.cluster.start_all();
  ASSERT_TRUE(day.cluster.wait_full(kMinute));
  ASSERT_NO_FATAL_FAILURE(day.fill_the_history());
  day.start_client();
  std::vector<Held> at_hour;
  at_hour.reserve(24);
  for (int hour = 0; hour < 24; ++hour) {
    ASSERT_NO_FATAL_FAILURE(day.an_hour(hour));
    at_hour.push_back(day.held());
  }
  EXPECT_GT(day.cluster.world.now(), 20 * 3600 * kSecond);
  EXPECT_GT(day.operations, 140'000u);
  EXPECT_EQ(day.wrong, 0u);
  // Hours twelve apart are alike: the same node died, the same mode holds.
  const Held& first = at_hour[11];
  const Held& last = at_hour[23];
  EXPECT_LE(last.heap, first.heap + 16 * 1024);
  EXPECT_LE(last.buffers, 160 * 1024u) << "nearly nothing is under way, beside what metadata always has";
  EXPECT_LE(last.dirty_bits, 3 * Day::kBlocks);
  EXPECT_LE(last.behind_bytes, 4 * kBlockBytes);
  RecordProperty("heap_bytes", static_cast<int>(last.heap));
  std::printf("heap after 1, 2, 12, 24 hours: %zu %zu %zu %zu KiB\n", at_hour[0].heap >> 10, at_hour[1].heap >> 10,
              first.heap >> 10, last.heap >> 10);
}

}  // namespace
}  // namespace resilver::replica
