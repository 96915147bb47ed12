#include "workload/prober.h"

#include "tests/support/test_scheduler.h"
#include "tests/workload/memory_device.h"

namespace resilver::workload {
namespace {

constexpr std::uint64_t kVolumeBytes = 4 << 20;

struct Probing {
  explicit Probing(std::uint64_t seed = 0)
      : scheduler(seed),
        buffers(8 << 20),
        device(scheduler, kVolumeBytes, kMillisecond),
        oracle(config()),
        prober(scheduler, buffers, device, oracle,
               {kVolumeBytes - Prober::kRegionBytes, Prober::kLeastPeriod, 3 * Prober::kLeastPeriod}) {}

  static OracleConfig config() {
    OracleConfig c;
    c.volume_bytes = kVolumeBytes;
    return c;
  }
  // Probes for `length`; `break_it` at `from`, `mend_it` at `to` (if it comes before the end).
  void run(Nanos length, Nanos from, std::function<void()> break_it, Nanos to, std::function<void()> mend_it) {
    EXPECT_TRUE(scheduler.run(course(*this, length, from, std::move(break_it), to, std::move(mend_it))));
  }
  static Task<void> course(Probing& p, Nanos length, Nanos from, std::function<void()> break_it, Nanos to,
                           std::function<void()> mend_it) {
    Event stop(p.scheduler);
    TaskGroup group(p.scheduler);
    group.spawn(p.prober.run(stop));
    co_await sleep_until(p.scheduler, from);
    break_it();
    co_await sleep_until(p.scheduler, std::min(to, length));
    if (to < length) mend_it();
    co_await sleep_until(p.scheduler, length);
    stop.set();
    if (to >= length) {
      co_await sleep_for(p.scheduler, kMillisecond);
      mend_it();  // so that what is outstanding ends
    }
    co_await group.join();
  }

  TestScheduler scheduler;
  BufferPool buffers;
  MemoryDevice device;
  Oracle oracle;
  Prober prober;
};

TEST(Prober, AVolumeThatServesHasNoOutage) {
  Probing p;
  p.run(10 * kSecond, kSecond, [] {}, 2 * kSecond, [] {});
  EXPECT_EQ(p.prober.outage(0, 10 * kSecond).total, 0);
  EXPECT_FALSE(p.prober.outage(0, 10 * kSecond).never_ended);
  EXPECT_TRUE(p.prober.served(0, kSecond));
  EXPECT_NEAR(static_cast<double>(p.device.submitted), 2000, 4);
  EXPECT_EQ(p.oracle.counts().stale_reads + p.oracle.counts().corrupt_reads, 0u);
}

TEST(Prober, AStandStillIsMeasuredToAPeriod) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Probing p(seed);
    p.run(
        10 * kSecond, 3 * kSecond, [&p] { p.device.freeze(true); }, 4500 * kMillisecond,
        [&p] { p.device.freeze(false); });
    const auto outage = p.prober.outage(0, 10 * kSecond);
    EXPECT_NEAR(static_cast<double>(outage.total), 1.5e9, 2e7);
    EXPECT_FALSE(outage.never_ended);
    EXPECT_EQ(p.prober.outage(0, 3 * kSecond).total, 0);
    EXPECT_NEAR(static_cast<double>(p.prober.outage(3500 * kMillisecond, 4 * kSecond).total), 5e8, 1);
    EXPECT_FALSE(p.prober.served(3500 * kMillisecond, 4 * kSecond));
    EXPECT_TRUE(p.prober.served(4 * kSecond, 5 * kSecond));
    EXPECT_EQ(p.prober.outage(5 * kSecond, 10 * kSecond).total, 0);
    EXPECT_LE(p.device.most_inflight, 2 * Prober::kMaxOutstanding);
  }
}

// The client's own answers are observations: while they come, nothing is asked; when they end, it is within a period.
TEST(Prober, AsksOnlyWhereNobodyElseIsAnswered) {
  Probing p;
  struct Client {
    static Task<void> answers(Probing& p, Nanos until) {
      while (p.scheduler.now() < until) {
        p.prober.observe(false);
        p.prober.observe(true);
        co_await sleep_for(p.scheduler, 7 * kMillisecond);
      }
    }
    static Task<void> both(Probing& p) {
      Event stop(p.scheduler);
      TaskGroup group(p.scheduler);
      group.spawn(p.prober.run(stop));
      group.spawn(answers(p, 2 * kSecond));
      co_await sleep_until(p.scheduler, kSecond);
      EXPECT_EQ(p.device.submitted, 2u);  // at the very start nobody had been answered yet
      p.device.freeze(true);
      co_await sleep_until(p.scheduler, 3 * kSecond);
      p.device.freeze(false);
      co_await sleep_until(p.scheduler, 4 * kSecond);
      stop.set();
      co_await group.join();
    }
  };
  EXPECT_TRUE(p.scheduler.run(Client::both(p)));
  const auto outages = p.prober.outages(0, 4 * kSecond);
  ASSERT_EQ(outages.size(), 1u);
  EXPECT_GE(outages[0].begin, 2 * kSecond - 7 * kMillisecond);
  EXPECT_LE(outages[0].begin, 2 * kSecond + p.prober.resolution());
  EXPECT_NEAR(static_cast<double>(outages[0].end), 3e9, 2e6);
}

// A slow disk that answers is no outage, however seldom it is asked.
TEST(Prober, ASlowAnswerWithinTheToleranceIsService) {
  TestScheduler scheduler(0);
  BufferPool buffers(8 << 20);
  MemoryDevice device(scheduler, kVolumeBytes, 90 * kMillisecond);
  Oracle oracle(Probing::config());
  Prober prober(scheduler, buffers, device, oracle, {kVolumeBytes - Prober::kRegionBytes, kSecond, 100 * kMillisecond});
  struct Run {
    static Task<void> course(Scheduler& scheduler, Prober& prober) {
      Event stop(scheduler);
      TaskGroup group(scheduler);
      group.spawn(prober.run(stop));
      co_await sleep_until(scheduler, 20 * kSecond);
      stop.set();
      co_await group.join();
    }
  };
  EXPECT_TRUE(scheduler.run(Run::course(scheduler, prober)));
  EXPECT_EQ(prober.outage(0, 20 * kSecond).total, 0);
  EXPECT_LE(device.submitted, 42u);
}

TEST(Prober, NoWritesIsAnOutageAsMuchAsNoReads) {
  for (const IoOp broken : {IoOp::read, IoOp::write}) {
    Probing p;
    p.run(
        5 * kSecond, 2 * kSecond,
        [&] {
          p.device.verdict = [broken](const IoRequest& r) { return r.op == broken ? Errc::unavailable : Errc::ok; };
        },
        3 * kSecond, [&] { p.device.verdict = nullptr; });
    EXPECT_NEAR(static_cast<double>(p.prober.outage(0, 5 * kSecond).total), 1e9, 2e7);
  }
}

TEST(Prober, AnOutageThatNeverEndsIsDown) {
  Probing p;
  p.run(5 * kSecond, 2 * kSecond, [&p] { p.device.freeze(true); }, kNever, [&p] { p.device.freeze(false); });
  const auto outage = p.prober.outage(0, 5 * kSecond);
  EXPECT_TRUE(outage.never_ended);
  EXPECT_NEAR(static_cast<double>(outage.total), 3e9, 2e7);
  EXPECT_FALSE(p.prober.outage(0, 4 * kSecond).never_ended) << "the window ends before the probing";
}

TEST(Prober, StaysInItsRegion) {
  Probing p;
  bool inside = true;
  p.run(
      3 * kSecond, 0,
      [&] {
        p.device.verdict = [&](const IoRequest& r) {
          inside &= r.offset >= kVolumeBytes - Prober::kRegionBytes && r.length == kBlockBytes;
          return Errc::ok;
        };
      },
      kSecond, [] {});
  EXPECT_TRUE(inside);
}

}  // namespace
}  // namespace resilver::workload
