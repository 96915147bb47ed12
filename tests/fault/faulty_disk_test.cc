#include "fault/faulty_disk.h"

#include <chrono>

#include "fault/paced_disk.h"
#include "tests/fault/wrapped.h"

namespace resilver::fault {
namespace {

using Test = std::function<Task<void>(Env&, FaultyDisk&)>;

// Runs `test` on a faulty disk over a simulated one that takes 1 ms a request.
void with_disk(const Test& test, const FaultState* state = nullptr) {
  Machine machine(1, slow_disk());
  EXPECT_TRUE(machine.run([&](Env& env) -> Task<void> {
    FaultyDisk disk(env.scheduler(), co_await open(env));
    if (state != nullptr) disk.restore(*state);
    co_await test(env, disk);
  }));
}

TEST(FaultyDisk, WithoutAFaultTheRequestItselfIsHandedOn) {
  struct Inner : BlockDevice {
    std::uint64_t size_bytes() const noexcept override { return kBlockBytes; }
    void submit(IoRequest& request) noexcept override { seen = &request; }
    IoRequest* seen = nullptr;
  };
  with_disk([](Env& env, FaultyDisk&) -> Task<void> {
    auto inner = std::make_unique<Inner>();
    Inner& at = *inner;
    FaultyDisk disk(env.scheduler(), std::move(inner));
    IoRequest request;
    disk.submit(request);
    EXPECT_EQ(at.seen, &request);
    co_return;
  });
}

TEST(FaultyDisk, AFailedDiskIsGone) {
  with_disk([](Env& env, FaultyDisk& disk) -> Task<void> {
    disk.fail();
    const Nanos start = env.scheduler().now();
    EXPECT_EQ(co_await Io::read(disk, 0, filled(env, 0)), Errc::device_gone);
    EXPECT_EQ(co_await Io::flush(disk), Errc::device_gone);
    EXPECT_EQ(env.scheduler().now(), start);
    const FaultCounters& counters = disk.counters(FaultKind::fail);
    EXPECT_EQ(counters.hits, 2u);
    EXPECT_EQ(counters.first_hit, start);
    EXPECT_EQ(counters.applied_at, start);
    EXPECT_EQ(counters.cleared_at, kNever);
    disk.clear(FaultKind::fail);
    EXPECT_EQ(co_await Io::flush(disk), Errc::ok);
  });
}

TEST(FaultyDisk, FailingEndsWhatIsInItsHands) {
  with_disk([](Env& env, FaultyDisk& disk) -> Task<void> {
    disk.slow({.factor_percent = 1000});
    Errc waiting_out = kNotYet, inside = kNotYet, hanging = kNotYet;
    TaskGroup group(env.scheduler());
    group.spawn(put_into(env, disk, 1, waiting_out));
    co_await sleep_for(env.scheduler(), 2 * kMillisecond);
    group.spawn(put_into(env, disk, 2, inside));
    co_await sleep_for(env.scheduler(), kMicrosecond);
    disk.hang();
    group.spawn(put_into(env, disk, 3, hanging));
    co_await sleep_for(env.scheduler(), kMicrosecond);
    EXPECT_EQ(disk.hanging(), 1u);
    disk.fail();
    const Nanos failed = env.scheduler().now();
    co_await group.join();
    EXPECT_LT(env.scheduler().now(), failed + kMillisecond);
    EXPECT_EQ(waiting_out, Errc::device_gone);
    EXPECT_EQ(inside, Errc::device_gone);
    EXPECT_EQ(hanging, Errc::device_gone);
  });
}

// Of a disk that is given up on: what is at the inner device has to be waited for, the rest ends at once.
TEST(FaultyDisk, ReleaseLetsGoOfWhatOnlyAFaultHolds) {
  with_disk([](Env& env, FaultyDisk& disk) -> Task<void> {
    EXPECT_FALSE(disk.busy());
    disk.slow({.factor_percent = 100, .add = kHour, .bandwidth = 0});
    Errc waiting_out = kNotYet, inside = kNotYet, hanging = kNotYet;
    TaskGroup group(env.scheduler());
    group.spawn(put_into(env, disk, 1, waiting_out));
    co_await sleep_for(env.scheduler(), 2 * kMillisecond);
    group.spawn(put_into(env, disk, 2, inside));
    co_await sleep_for(env.scheduler(), kMicrosecond);
    disk.hang();
    group.spawn(put_into(env, disk, 3, hanging));
    co_await sleep_for(env.scheduler(), kMicrosecond);
    const Nanos begin = env.scheduler().now();
    disk.release();
    co_await sleep_for(env.scheduler(), kMicrosecond);
    EXPECT_EQ(waiting_out, Errc::ok);
    EXPECT_EQ(inside, kNotYet);
    EXPECT_EQ(hanging, Errc::device_gone);
    while (disk.busy()) {
      disk.release();
      co_await sleep_for(env.scheduler(), kMillisecond);
    }
    co_await group.join();
    EXPECT_LT(env.scheduler().now(), begin + 5 * kMillisecond);
    EXPECT_EQ(inside, Errc::ok);
    EXPECT_TRUE(disk.active(FaultKind::slow) && disk.active(FaultKind::hang));
  });
}

// Every flush and every promise of a write ends well; the device below hears of none.
TEST(FaultyDisk, ADiskThatLosesFlushesHandsNoneOn) {
  struct Inner : BlockDevice {
    explicit Inner(Scheduler& s) : scheduler(s) {}
    std::uint64_t size_bytes() const noexcept override { return 1 << 20; }
    void submit(IoRequest& request) noexcept override {
      flushes += request.op == IoOp::flush ? 1 : 0;
      promised += request.fua ? 1 : 0;
      ++all;
      request.complete(scheduler, Errc::ok);
    }
    Scheduler& scheduler;
    int flushes = 0, promised = 0, all = 0;
  };
  with_disk([](Env& env, FaultyDisk&) -> Task<void> {
    auto inner = std::make_unique<Inner>(env.scheduler());
    Inner& at = *inner;
    FaultyDisk disk(env.scheduler(), std::move(inner));
    for (const bool slow : {false, true}) {
      disk.lose_flushes();
      if (slow) disk.slow({.factor_percent = 100, .add = kMillisecond, .bandwidth = 0});
      const Nanos begin = env.scheduler().now();
      EXPECT_EQ(co_await Io::flush(disk), Errc::ok);
      EXPECT_EQ(env.scheduler().now() - begin, slow ? kMillisecond : 0);
      EXPECT_EQ(co_await Io::write(disk, 0, filled(env, 1), true), Errc::ok);
      EXPECT_EQ(co_await Io::write(disk, 0, filled(env, 1), false), Errc::ok);
      EXPECT_EQ(co_await Io::write_zeroes(disk, 0, kBlockBytes, true), Errc::ok);
    }
    EXPECT_EQ(at.flushes, 0);
    EXPECT_EQ(at.promised, 0);
    EXPECT_EQ(at.all, 6);
    EXPECT_EQ(disk.counters(FaultKind::lost_flush).hits, 6u);
    disk.clear(FaultKind::lost_flush);
    EXPECT_EQ(co_await Io::flush(disk), Errc::ok);
    EXPECT_EQ(co_await Io::write(disk, 0, filled(env, 1), true), Errc::ok);
    EXPECT_EQ(at.flushes, 1);
    EXPECT_EQ(at.promised, 1);
  });
}

TEST(FaultyDisk, LatentErrorsHealWhenRewritten) {
  with_disk([](Env& env, FaultyDisk& disk) -> Task<void> {
    for (std::uint64_t i = 0; i < 8; ++i) co_await put(env, disk, i, 7);
    EXPECT_TRUE(disk.latent({2 * kBlockBytes, 4 * kBlockBytes}));
    EXPECT_EQ(co_await get(env, disk, 1), 7);
    EXPECT_EQ(co_await Io::read(disk, 3 * kBlockBytes, filled(env, 0)), Errc::medium);
    EXPECT_EQ(co_await Io::read(disk, 0, filled(env, 0, 3 * kBlockBytes)), Errc::medium);
    co_await put(env, disk, 3, 8);
    EXPECT_EQ(co_await get(env, disk, 3), 8);
    EXPECT_EQ(co_await Io::read(disk, 2 * kBlockBytes, filled(env, 0)), Errc::medium);
    EXPECT_EQ(co_await Io::read(disk, 5 * kBlockBytes, filled(env, 0)), Errc::medium);
    EXPECT_EQ(disk.counters(FaultKind::latent).hits, 4u);
    co_await Io::write_zeroes(disk, 0, 8 * kBlockBytes);
    EXPECT_FALSE(disk.active(FaultKind::latent));
    EXPECT_EQ(co_await get(env, disk, 2), 0);
  });
}

TEST(FaultyDisk, LatentRangesAreBounded) {
  with_disk([](Env& env, FaultyDisk& disk) -> Task<void> {
    FaultState state = disk.snapshot();
    for (std::uint64_t i = 0; i < FaultyDisk::kMaxRanges; ++i)
      state.latent.push_back({i * 3 * kBlockBytes, kBlockBytes});
    FaultyDisk full(
        env.scheduler(), co_await [](Env&) -> Task<std::unique_ptr<BlockDevice>> {
          struct Large : BlockDevice {
            std::uint64_t size_bytes() const noexcept override { return std::uint64_t{1} << 40; }
            void submit(IoRequest&) noexcept override {}
          };
          co_return std::make_unique<Large>();
        }(env));
    full.restore(state);
    EXPECT_EQ(full.latent({1 * kBlockBytes, kBlockBytes}).error().code, Errc::limit);
    EXPECT_TRUE(full.latent({0, 3 * kBlockBytes}));  // takes the place of another one
  });
}

TEST(FaultyDisk, CorruptionIsSilentAndTouchesEverySector) {
  with_disk([](Env& env, FaultyDisk& disk) -> Task<void> {
    for (std::uint64_t i = 0; i < 4; ++i) co_await put(env, disk, i, 7);
    EXPECT_TRUE(co_await disk.corrupt({kBlockBytes, 2 * kBlockBytes}, env.buffers(), env.random()));
    const Buffer good = filled(env, 7);
    for (std::uint64_t block = 0; block < 4; ++block) {
      Buffer buffer = filled(env, 0);
      EXPECT_EQ(co_await Io::read(disk, block * kBlockBytes, buffer), Errc::ok);
      for (std::size_t at = 0; at < kBlockBytes; at += kSectorBytes) {
        EXPECT_EQ(std::memcmp(buffer.data() + at, good.data() + at, kSectorBytes) == 0, block == 0 || block == 3);
      }
    }
    EXPECT_EQ(disk.counters(FaultKind::corrupt).hits, 2u);
    co_await Io::write(disk, kBlockBytes, filled(env, 9, 2 * kBlockBytes));
    EXPECT_FALSE(disk.active(FaultKind::corrupt));
    EXPECT_EQ(co_await get(env, disk, 1), 9);
  });
}

TEST(FaultyDisk, SlownessMultipliesAddsAndLimits) {
  with_disk([](Env& env, FaultyDisk& disk) -> Task<void> {
    const auto timed = [](Env& e, FaultyDisk& d) -> Task<Nanos> {
      const Nanos start = e.scheduler().now();
      co_await put(e, d, 0, 1);
      co_return e.scheduler().now() - start;
    };
    EXPECT_EQ(co_await timed(env, disk), kMillisecond);
    disk.slow({.factor_percent = 250});
    EXPECT_EQ(co_await timed(env, disk), 2500 * kMicrosecond);
    disk.slow({.add = 3 * kMillisecond});
    EXPECT_EQ(co_await timed(env, disk), 4 * kMillisecond);
    disk.slow({.bandwidth = 4096 * 10});
    EXPECT_EQ(co_await timed(env, disk), 100 * kMillisecond);
    EXPECT_EQ(disk.counters(FaultKind::slow).applied, 3u);
    EXPECT_EQ(disk.counters(FaultKind::slow).hits, 3u);
    disk.clear(FaultKind::slow);
    EXPECT_EQ(co_await timed(env, disk), kMillisecond);
    EXPECT_NE(disk.counters(FaultKind::slow).cleared_at, kNever);
  });
}

TEST(FaultyDisk, HangingRequestsGoOnWhenCleared) {
  with_disk([](Env& env, FaultyDisk& disk) -> Task<void> {
    disk.hang();
    Errc write = kNotYet, read = kNotYet;
    TaskGroup group(env.scheduler());
    group.spawn(put_into(env, disk, 1, write));
    group.spawn(read_into(env, disk, 1, read));
    co_await sleep_for(env.scheduler(), kMinute);
    EXPECT_EQ(write, kNotYet);
    EXPECT_EQ(disk.hanging(), 2u);
    disk.clear(FaultKind::hang);
    co_await group.join();
    EXPECT_EQ(write, Errc::ok);
    EXPECT_EQ(read, Errc::ok);
    disk.hang();
    group.spawn(put_into(env, disk, 1, write));
    co_await sleep_for(env.scheduler(), kSecond);
    disk.release();
    co_await group.join();
    EXPECT_EQ(write, Errc::device_gone);
    EXPECT_TRUE(disk.active(FaultKind::hang));
  });
}

TEST(FaultyDisk, FaultsComeBackAfterARestart) {
  FaultState state;
  with_disk([&](Env& env, FaultyDisk& disk) -> Task<void> {
    EXPECT_TRUE(disk.latent({kBlockBytes, kBlockBytes}));
    disk.slow({.add = kMillisecond});
    co_await Io::read(disk, kBlockBytes, filled(env, 0));
    state = disk.snapshot();
  });
  with_disk(
      [](Env& env, FaultyDisk& disk) -> Task<void> {
        EXPECT_TRUE(disk.active(FaultKind::slow));
        EXPECT_EQ(disk.counters(FaultKind::latent).hits, 1u);
        EXPECT_EQ(co_await Io::read(disk, kBlockBytes, filled(env, 0)), Errc::medium);
        EXPECT_EQ(env.scheduler().now(), 2 * kMillisecond);
      },
      &state);
}

TEST(FaultyDisk, AKillWithRequestsInAllHandsIsClean) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Machine machine(seed, slow_disk());
    machine.node.start([](Env& env) -> Task<void> {
      FaultyDisk disk(env.scheduler(), std::make_unique<PacedDisk>(env.scheduler(), co_await open(env),
                                                                   DiskParameters{.random_access = 3 * kMillisecond}));
      EXPECT_TRUE(disk.latent({0, kBlockBytes}));
      disk.slow({.factor_percent = 200});
      TaskGroup group(env.scheduler());
      Errc ignored = Errc::ok;
      for (std::uint64_t i = 0; i < 20; ++i) {
        group.spawn(put_into(env, disk, i, ignored));
        group.spawn(read_into(env, disk, i, ignored));
        co_await sleep_for(env.scheduler(), 300 * kMicrosecond);
        if (i == 15) disk.hang();
      }
      co_await group.join();
    });
    machine.world.run_until(static_cast<Nanos>(seed) * 500 * kMicrosecond);
    machine.node.crash();
  }
}

TEST(PacedDisk, CompletesWhenTheModelSaysOrLater) {
  Machine machine(1, slow_disk());
  EXPECT_TRUE(machine.run([](Env& env) -> Task<void> {
    PacedDisk disk(env.scheduler(), co_await open(env),
                   {.random_access = 5 * kMillisecond, .sequential_access = 100 * kMicrosecond});
    co_await put(env, disk, 100, 1);
    EXPECT_EQ(env.scheduler().now(), 5 * kMillisecond);
    EXPECT_EQ(disk.overruns(), 0u);
    co_await put(env, disk, 101, 2);  // the model would take 100 us, the inner device 1 ms
    EXPECT_EQ(env.scheduler().now(), 6 * kMillisecond);
    EXPECT_EQ(disk.overruns(), 1u);
    EXPECT_EQ(co_await get(env, disk, 100), 1);
    EXPECT_EQ(disk.requests(), 3u);
  }));
}

TEST(FaultyDisk, CostWhenIdleIsPrinted) {
  struct Sink : BlockDevice {
    std::uint64_t size_bytes() const noexcept override { return 1 << 20; }
    void submit(IoRequest& request) noexcept override { last = &request; }
    IoRequest* last = nullptr;
  };
  with_disk([](Env& env, FaultyDisk&) -> Task<void> {
    FaultyDisk disk(env.scheduler(), std::make_unique<Sink>());
    BlockDevice& device = disk;
    IoRequest request;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 1'000'000; ++i) device.submit(request);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    std::printf("[ idle     ] %.1f ns a request\n", taken.count() * 1e3);
    co_return;
  });
}

}  // namespace
}  // namespace resilver::fault
