#include "tests/sim/machine.h"

#include <set>
#include <vector>

namespace resilver::sim {
namespace {

TEST(Disk, ReadsSeeCompletedWritesAndZeroesElsewhere) {
  Machine machine;
  EXPECT_TRUE(machine.run([](Env& env) -> Task<void> {
    auto device = co_await open(env);
    co_await put(env, *device, 5, 1);
    co_await put(env, *device, 5, 2);
    EXPECT_EQ(co_await get(env, *device, 5), 2);
    EXPECT_EQ(co_await get(env, *device, 6), 0);
  }));
  EXPECT_EQ(machine.disk.counters().writes, 2u);
  EXPECT_EQ(machine.disk.counters().read_bytes, 2 * kBlockBytes);
}

TEST(Disk, RequestsTakeTheModelsTime) {
  Machine machine(1, slow_disk());
  machine.run([](Env& env) -> Task<void> {
    auto device = co_await open(env);
    co_await put(env, *device, 5, 1);
    EXPECT_EQ(env.scheduler().now(), kMillisecond);
  });
}

TEST(Disk, SegmentsNeedNotEndAtPages) {
  Machine machine;
  EXPECT_TRUE(machine.run([](Env& env) -> Task<void> {
    auto device = co_await open(env);
    Buffer whole = filled(env, 1, 3 * kBlockBytes);
    std::memset(whole.data() + 4608, 2, 3 * kBlockBytes - 4608);
    const Buffer parts[] = {whole.slice(0, 4608), whole.slice(4608, 512), whole.slice(5120, 3 * kBlockBytes - 5120)};
    bool done = false;
    struct Request : IoRequest {
      explicit Request(bool& d)
          : IoRequest([](Runnable& self) noexcept { static_cast<Request&>(self).flag = true; }), flag(d) {}
      bool& flag;
    } write(done);
    write.op = IoOp::write;
    write.length = 3 * kBlockBytes;
    write.segments = parts;
    device->submit(write);
    co_await sleep_for(env.scheduler(), kSecond);
    EXPECT_TRUE(done);
    Buffer back = filled(env, 9, 3 * kBlockBytes);
    co_await Io::read(*device, 0, back);
    EXPECT_EQ(std::memcmp(back.data(), whole.data(), back.size()), 0);
  }));
}

TEST(Disk, AReadThatOverlapsAWriteSeesEachSectorOldOrNew) {
  std::set<std::array<int, 8>> seen;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Machine machine(seed, slow_disk());
    machine.run([&](Env& env) -> Task<void> {
      auto device = co_await open(env);
      co_await put(env, *device, 5, 1);
      Buffer buffer = filled(env, 9);
      const auto read = [](BlockDevice& d, Buffer into) -> Task<void> { co_await Io::read(d, 5 * kBlockBytes, into); };
      TaskGroup group(env.scheduler());
      group.spawn(read(*device, buffer));
      co_await sleep_for(env.scheduler(), kMicrosecond);
      group.spawn(put(env, *device, 5, 2));
      co_await group.join();
      std::array<int, 8> first;
      for (std::size_t i = 0; i < 8; ++i) first[i] = std::to_integer<int>(buffer.data()[i * kSectorBytes]);
      for (const int value : first) EXPECT_TRUE(value == 1 || value == 2);
      seen.insert(first);
    });
  }
  EXPECT_GT(seen.size(), 10u);
}

TEST(Disk, ACrashKeepsEverythingCompleted) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Machine machine(seed);
    machine.node.start([](Env& env) -> Task<void> {
      auto device = co_await open(env);
      for (int i = 0; i < 10; ++i) co_await put(env, *device, static_cast<std::uint64_t>(i), i + 1);
      co_await sleep_for(env.scheduler(), kHour);
    });
    machine.world.run_until(kSecond);
    machine.node.crash();
    for (int i = 0; i < 10; ++i) EXPECT_EQ(machine.value(static_cast<std::uint64_t>(i)), i + 1);
  }
}

TEST(Disk, WritesInFlightAtACrashHappenOrNotOrInPart) {
  std::set<std::array<int, 8>> seen;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Machine machine(seed, slow_disk());
    machine.node.start([](Env& env) -> Task<void> {
      auto device = co_await open(env);
      co_await put(env, *device, 1, 1);
      co_await put(env, *device, 1, 2);
    });
    machine.world.run_until(1500 * kMicrosecond);
    machine.node.crash();
    const auto sectors = machine.sectors(1);
    for (const int value : sectors) EXPECT_TRUE(value == 1 || value == 2);
    seen.insert(sectors);
  }
  EXPECT_TRUE(seen.contains({1, 1, 1, 1, 1, 1, 1, 1}));
  EXPECT_TRUE(seen.contains({2, 2, 2, 2, 2, 2, 2, 2}));
  EXPECT_GT(seen.size(), 5u);
}

TEST(Disk, PowerLossKeepsLosesOrTearsEachUnflushedWrite) {
  std::set<std::array<int, 8>> seen;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Machine machine(seed);
    machine.run([](Env& env) -> Task<void> {
      auto device = co_await open(env);
      co_await put(env, *device, 1, 1);
      co_await Io::flush(*device);
      co_await put(env, *device, 1, 2);
      co_await put(env, *device, 1, 3);
    });
    machine.node.power_loss();
    for (const int value : machine.sectors(1)) EXPECT_TRUE(value >= 1 && value <= 3);
    seen.insert(machine.sectors(1));
    EXPECT_EQ(machine.disk.unflushed_blocks(), 0u);
  }
  for (const int value : {1, 2, 3}) {
    std::array<int, 8> whole;
    whole.fill(value);
    EXPECT_TRUE(seen.contains(whole)) << value;
  }
  EXPECT_GT(seen.size(), 20u);
}

TEST(Disk, AFlushCoversWhatWasCompletedBeforeItWasSubmitted) {
  bool other_lost = false;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    DiskParameters model = slow_disk();
    model.flush = kMillisecond;
    Machine machine(seed, model);
    machine.node.start([](Env& env) -> Task<void> {
      auto device = co_await open(env);
      co_await put(env, *device, 1, 1);
      TaskGroup group(env.scheduler());
      group.spawn(put(env, *device, 2, 2));
      co_await sleep_for(env.scheduler(), kMicrosecond);  // in flight
      co_await Io::flush(*device);                        // ends after the write, does not cover it
      co_await group.join();
      co_await sleep_for(env.scheduler(), kHour);
    });
    machine.world.run_until(kSecond);
    EXPECT_EQ(machine.disk.counters().flushes, 1u);
    EXPECT_EQ(machine.disk.unflushed_blocks(), 1u);
    machine.node.power_loss();
    EXPECT_EQ(machine.value(1), 1);
    other_lost = other_lost || machine.value(2) == 0;
  }
  EXPECT_TRUE(other_lost);
}

TEST(Disk, AFuaWriteIsDurableOverOlderUnflushedOnes) {
  bool later_lost = false;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Machine machine(seed);
    machine.run([](Env& env) -> Task<void> {
      auto device = co_await open(env);
      co_await put(env, *device, 1, 1);
      co_await put(env, *device, 1, 2, true);
      co_await put(env, *device, 2, 3, true);
      co_await put(env, *device, 4, 4);
      co_await Io::write_zeroes(*device, 4 * kBlockBytes, kBlockBytes, true);
      co_await put(env, *device, 2, 5);
    });
    machine.node.power_loss();
    for (const int value : machine.sectors(1)) EXPECT_EQ(value, 2);
    for (const int value : machine.sectors(2)) EXPECT_TRUE(value == 3 || value == 5);
    for (const int value : machine.sectors(4)) EXPECT_EQ(value, 0);
    later_lost = later_lost || machine.value(2) == 3;
  }
  EXPECT_TRUE(later_lost);
}

TEST(Disk, ZeroingIsLostLikeAnyWrite) {
  std::set<int> seen;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Machine machine(seed);
    machine.run([](Env& env) -> Task<void> {
      auto device = co_await open(env);
      co_await put(env, *device, 1, 1);
      co_await Io::flush(*device);
      co_await Io::discard(*device, 0, 16 * kMiB);
      EXPECT_EQ(co_await get(env, *device, 1), 0);
    });
    machine.node.power_loss();
    seen.insert(machine.value(1));
  }
  EXPECT_EQ(seen, (std::set<int>{0, 1}));
}

TEST(Disk, BeyondTheCachesSizeTheOldestWritesBecomeDurable) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Machine machine(seed, {}, 4 * kBlockBytes);
    machine.run([](Env& env) -> Task<void> {
      auto device = co_await open(env);
      for (int i = 1; i <= 10; ++i) co_await put(env, *device, static_cast<std::uint64_t>(i), i);
    });
    EXPECT_EQ(machine.disk.unflushed_blocks(), 4u);
    machine.node.power_loss();
    for (int i = 1; i <= 6; ++i) EXPECT_EQ(machine.value(static_cast<std::uint64_t>(i)), i);
  }
}

TEST(Disk, WithoutACacheNothingCompletedIsLost) {
  Machine machine(1, {}, 0);
  machine.run([](Env& env) -> Task<void> {
    auto device = co_await open(env);
    co_await put(env, *device, 1, 1);
  });
  machine.node.power_loss();
  EXPECT_EQ(machine.value(1), 1);
}

TEST(Disk, TheNthWriteCanEndANode) {
  for (std::uint64_t n = 1; n <= 5; ++n) {
    Machine machine(n, slow_disk());
    machine.world.stop_at_write(n, [&] { machine.node.crash(); });
    machine.node.start([](Env& env) -> Task<void> {
      auto device = co_await open(env);
      for (std::uint64_t i = 1; i <= 10; ++i) co_await put(env, *device, i, 1);
    });
    machine.world.run_until(kSecond);
    EXPECT_EQ(machine.disk.writes_started(), n);
    EXPECT_FALSE(machine.node.running());
    for (std::uint64_t i = 1; i < n; ++i) EXPECT_EQ(machine.value(i), 1);
    for (std::uint64_t i = n + 1; i <= 10; ++i) EXPECT_EQ(machine.value(i), 0);
  }
}

TEST(Disk, ContentAndHashSurviveARestart) {
  Machine machine;
  machine.run([](Env& env) -> Task<void> {
    auto device = co_await open(env);
    co_await put(env, *device, 1, 1);
  });
  const auto hash = machine.disk.hash_content();
  EXPECT_TRUE(machine.run([](Env& env) -> Task<void> {
    auto device = co_await open(env);
    EXPECT_EQ(co_await get(env, *device, 1), 1);
    co_await Io::write_zeroes(*device, 0, 16 * kMiB);
  }));
  EXPECT_NE(machine.disk.hash_content(), hash);
  EXPECT_EQ(machine.disk.hash_content(), SectorStore(1).hash());
}

// ---- SectorStore -----------------------------------------------------------------------------------------------------

std::vector<std::byte> page(bool patterned, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::byte> bytes(SectorStore::kPageBytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const bool repeat = patterned && i % SectorStore::kSectorBytes >= SectorStore::kPatternBytes;
    bytes[i] = repeat ? bytes[i - SectorStore::kPatternBytes] : static_cast<std::byte>(random.next());
  }
  return bytes;
}

TEST(SectorStore, GivesBackWhatWasStored) {
  SectorStore store(10'000);
  for (std::uint64_t i = 0; i < 200; ++i) store.release(store.exchange(i * 50, store.make(page(i % 2 == 0, i).data())));
  std::vector<std::byte> back(SectorStore::kPageBytes);
  for (std::uint64_t i = 0; i < 200; ++i) {
    store.load(store.slot(i * 50), back.data());
    EXPECT_EQ(back, page(i % 2 == 0, i));
  }
}

TEST(SectorStore, PatternedPagesTakeAnEighthAndZeroesNothing) {
  SectorStore store(std::uint64_t{1} << 28);  // 1 TiB
  const std::vector<std::byte> zero(SectorStore::kPageBytes);
  for (std::uint64_t i = 0; i < 8192; ++i) store.release(store.exchange(i, store.make(zero.data())));
  EXPECT_EQ(store.memory_bytes(), 0u);
  for (std::uint64_t i = 0; i < 8192; ++i) store.release(store.exchange(i, store.make(page(true, i).data())));
  EXPECT_LE(store.memory_bytes(), 8192 * 512 + 8192 * 4u);
  for (std::uint64_t i = 0; i < 8192; ++i) store.release(store.exchange(i, store.make(page(true, i + 1).data())));
  EXPECT_LE(store.memory_bytes(), 8192 * 512 + 8192 * 4 + 64 * 512u);
}

TEST(SectorStore, OneOddByteMakesAPageFull) {
  SectorStore store(10);
  for (const std::size_t odd : {0u, 64u, 511u, 4095u}) {
    auto bytes = page(true, 3);
    bytes[odd] ^= std::byte{1};
    const auto slot = store.make(bytes.data());
    std::vector<std::byte> back(SectorStore::kPageBytes);
    store.load(slot, back.data());
    EXPECT_EQ(back, bytes);
    store.release(slot);
  }
}

}  // namespace
}  // namespace resilver::sim
