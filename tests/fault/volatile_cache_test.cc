#include "fault/volatile_cache.h"

#include <map>

#include "fault/faulty_disk.h"
#include "tests/fault/wrapped.h"

namespace resilver::fault {
namespace {

constexpr std::uint64_t kLimit = VolatileCacheDisk::kMinLimit;

// Runs `test` on a caching disk over a simulated one without a cache of its own. Nothing is written but by the wrapper.
void with_cache(Machine& machine, const std::function<Task<void>(Env&, VolatileCacheDisk&)>& test) {
  EXPECT_TRUE(machine.run([&](Env& env) -> Task<void> {
    VolatileCacheDisk disk(env.scheduler(), co_await open(env), kLimit);
    co_await test(env, disk);
  }));
}

TEST(VolatileCache, WritesStayInMemoryUntilAFlush) {
  Machine machine(1, slow_disk(), 0);
  with_cache(machine, [&](Env& env, VolatileCacheDisk& disk) -> Task<void> {
    co_await put(env, disk, 1, 1);
    co_await put(env, disk, 2, 2);
    EXPECT_EQ(env.scheduler().now(), 0);
    EXPECT_EQ(co_await get(env, disk, 1), 1);
    EXPECT_EQ(machine.value(1), 0);
    EXPECT_EQ(co_await Io::flush(disk), Errc::ok);
    EXPECT_EQ(machine.value(1), 1);
    EXPECT_EQ(machine.value(2), 2);
    EXPECT_EQ(disk.withheld_bytes(), 0u);
    EXPECT_EQ(machine.disk.counters().writes, 1u);  // one run
    EXPECT_EQ(machine.disk.counters().flushes, 1u);
    co_await put(env, disk, 3, 3);
  });
  EXPECT_EQ(machine.value(3), 0);  // lost with the process
}

TEST(VolatileCache, AFuaWriteTakesOnlyItsOwnBlocksAlong) {
  Machine machine(1, slow_disk(), 0);
  with_cache(machine, [&](Env& env, VolatileCacheDisk& disk) -> Task<void> {
    co_await put(env, disk, 1, 1);
    co_await put(env, disk, 5, 5);
    co_await put(env, disk, 5, 6, true);
    EXPECT_EQ(machine.value(5), 6);
    EXPECT_EQ(machine.value(1), 0);
    EXPECT_EQ(disk.withheld_bytes(), kBlockBytes);
  });
}

TEST(VolatileCache, ReadsMixCachedAndStoredBlocks) {
  Machine machine(1, slow_disk(), 0);
  with_cache(machine, [&](Env& env, VolatileCacheDisk& disk) -> Task<void> {
    co_await Io::write(disk, 0, filled(env, 1, 4 * kBlockBytes));
    co_await Io::flush(disk);
    co_await put(env, disk, 2, 2);
    Buffer buffer = filled(env, 9, 4 * kBlockBytes);
    EXPECT_EQ(co_await Io::read(disk, 0, buffer), Errc::ok);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(buffer.data()[i * kBlockBytes + 77], std::byte(i == 2 ? 2 : 1));
  });
}

TEST(VolatileCache, WritesWaitForRoomAndNothingIsLostOnTheWay) {
  Machine machine(1, slow_disk(), 0);
  with_cache(machine, [&](Env& env, VolatileCacheDisk& disk) -> Task<void> {
    for (std::uint64_t i = 0; i < 3000; ++i) {
      co_await put(env, disk, i, static_cast<int>(i % 251) + 1);
      EXPECT_LE(disk.withheld_bytes(), kLimit);
    }
    for (std::uint64_t i = 0; i < 3000; ++i) EXPECT_EQ(co_await get(env, disk, i), static_cast<int>(i % 251) + 1);
  });
  EXPECT_EQ(machine.value(0), 1);
  EXPECT_EQ(machine.value(2999), 0);
}

TEST(VolatileCache, ZeroingAndLargeWritesGoThroughAndReplaceWhatWasCached) {
  Machine machine(1, slow_disk(), 0);
  with_cache(machine, [&](Env& env, VolatileCacheDisk& disk) -> Task<void> {
    co_await put(env, disk, 1, 1);
    co_await put(env, disk, 300, 2);
    EXPECT_EQ(co_await Io::write_zeroes(disk, 0, 8 * kBlockBytes), Errc::ok);
    EXPECT_EQ(co_await get(env, disk, 1), 0);
    EXPECT_EQ(co_await get(env, disk, 300), 2);
    EXPECT_EQ(disk.withheld_bytes(), kBlockBytes);
    std::vector<Buffer> parts(2, filled(env, 3, sim::kMiB));
    struct Large : IoRequest {
      explicit Large(Event& e)
          : IoRequest([](Runnable& self) noexcept { static_cast<Large&>(self).done.set(); }), done(e) {}
      Event& done;
    };
    Event done(env.scheduler());
    Large large(done);
    large.op = IoOp::write;
    large.length = 2 * sim::kMiB;
    large.segments = parts;
    disk.submit(large);
    co_await done.wait();
    EXPECT_EQ(co_await get(env, disk, 300), 3);
    EXPECT_EQ(disk.withheld_bytes(), 0u);
    EXPECT_EQ(machine.value(300), 3);
  });
}

TEST(VolatileCache, ALostWriteBackFailsEverythingAfterwards) {
  Machine machine(1, slow_disk(), 0);
  EXPECT_TRUE(machine.run([](Env& env) -> Task<void> {
    auto faulty = std::make_unique<FaultyDisk>(env.scheduler(), co_await open(env));
    FaultyDisk& below = *faulty;
    VolatileCacheDisk disk(env.scheduler(), std::move(faulty), kLimit);
    co_await put(env, disk, 1, 1);
    below.fail();
    EXPECT_EQ(co_await Io::flush(disk), Errc::device_gone);
    EXPECT_EQ(co_await Io::write(disk, 0, filled(env, 1)), Errc::device_gone);
    EXPECT_EQ(co_await Io::read(disk, 0, filled(env, 1)), Errc::device_gone);
  }));
}

// Many tasks, each on its own blocks: what was flushed must be on the disk after a kill, and every read sees the last write.
TEST(VolatileCache, FlushedWritesSurviveAKillInARandomMix) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Machine machine(seed, slow_disk(), 0);
    std::map<std::uint64_t, std::pair<int, int>> durable_and_last;  // per block
    machine.node.start([&](Env& env) -> Task<void> {
      VolatileCacheDisk disk(env.scheduler(), co_await open(env), kLimit);
      TaskGroup group(env.scheduler());
      const auto worker = [](Env& e, BlockDevice& d, std::uint64_t base, auto& state) -> Task<void> {
        for (;;) {
          const std::uint64_t block = base + e.random().below(300);
          auto& [durable, last] = state[block];
          const auto choice = e.random().below(100);
          if (choice < 70) {
            const int value = last % 250 + 1;
            last = value;
            durable = 0;  // in doubt
            const bool fua = e.random().percent(10);
            co_await put(e, d, block, value, fua);
            durable = fua ? value : durable;
          } else if (choice < 95) {
            const int seen = co_await get(e, d, block);
            EXPECT_EQ(seen, last);
          } else {
            EXPECT_EQ(co_await Io::flush(d), Errc::ok);
            for (auto& [at, values] : state) {
              if (at >= base && at < base + 300) values.first = values.second;
            }
          }
        }
      };
      for (std::uint64_t i = 0; i < 6; ++i) group.spawn(worker(env, disk, i * 300, durable_and_last));
      co_await group.join();
    });
    machine.world.run_until(static_cast<Nanos>(seed) * 17 * kMillisecond);
    machine.node.crash();
    for (const auto& [block, values] : durable_and_last) {
      if (values.first > 0) {
        EXPECT_EQ(machine.value(block), values.first) << block;
      }
    }
  }
}

}  // namespace
}  // namespace resilver::fault
