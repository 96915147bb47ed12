// Small writes: neighbours become full stripes, streams are waited for a short time, order per stripe stays.
#include <set>

#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

constexpr std::uint64_t kChunk = 64 * kKiB;

ArrayConfig config(Level level, Consistency consistency = Consistency::none) {
  return {.level = level,
          .layout = {},
          .chunk_bytes = kChunk,
          .consistency = consistency,
          .bitmap_chunk_bytes = 0,
          .name = "stripes",
          .tuning = {}};
}

void run(unsigned disks, const std::function<Task<void>(Lab&)>& body) {
  Rig rig(disks, 18 * kMiB, 1, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await body(lab);
    co_await lab.finish();
  }));
}

// Requests of `bytes` from `begin` to `end` in rising order, `depth` at a time.
Task<void> stream(Lab& lab, std::uint64_t begin, std::uint64_t end, std::uint64_t bytes, unsigned depth,
                  std::uint64_t version) {
  std::uint64_t next = begin;
  const auto writer = [&]() -> Task<void> {
    while (next < end) {
      const std::uint64_t at = next;
      next += bytes;
      EXPECT_EQ(co_await lab.write(at, std::min(bytes, end - at), version), Errc::ok);
    }
  };
  TaskGroup writers(lab.env.scheduler());
  for (unsigned i = 0; i < depth; ++i) writers.spawn(writer());
  co_await writers.join();
}

TEST(StripeWrite, SequentialMegabytesReadNothing) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4);
    const std::uint64_t size = lab.array->geometry().stripe_data_bytes() * 240;
    co_await stream(lab, 0, size, kMiB, 16, 1);
    EXPECT_EQ(lab.client_io().reads, 0u);
    const std::uint64_t written = size / 3 * 4;
    EXPECT_EQ(lab.client_io().write_bytes, written);
    EXPECT_EQ(co_await lab.verify(0, size), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

TEST(StripeWrite, TwoRequestsAtATimeAreEnoughForAStream) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4);
    const std::uint64_t size = lab.array->geometry().stripe_data_bytes() * 80;
    co_await stream(lab, 0, size, 256 * kKiB, 2, 1);
    EXPECT_LE(lab.client_io().reads, 12u);  // of 80 stripes a few, at the start; without waiting it is 60
    EXPECT_EQ(co_await lab.verify(0, size), Errc::ok);
  });
}

TEST(StripeWrite, SmallNeighboursInFlightTogetherBecomeOneFullStripe) {
  run(5, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid6), 5);
    const std::uint64_t stripe = lab.array->geometry().stripe_data_bytes();
    co_await stream(lab, stripe, 2 * stripe, kBlockBytes, static_cast<unsigned>(stripe / kBlockBytes), 1);
    EXPECT_EQ(lab.client_io().reads, 0u);
    EXPECT_EQ(lab.client_io().write_bytes, stripe / 3 * 5);
    EXPECT_EQ(co_await lab.verify(0, 3 * stripe), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

TEST(StripeWrite, MergedPiecesReadEachChunkAtMostOnce) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    const IoCounters before = lab.client_io();
    // Eight blocks next to each other in one chunk: one read-modify-write of 32 KiB, not eight of 4 KiB.
    co_await stream(lab, 0, 8 * kBlockBytes, kBlockBytes, 8, 2);
    const IoCounters after = lab.client_io();
    EXPECT_EQ(after.reads - before.reads, 2u);
    EXPECT_EQ(after.read_bytes - before.read_bytes, 16 * kBlockBytes);
    EXPECT_EQ(after.writes - before.writes, 2u);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

TEST(StripeWrite, PiecesFarApartInAStripeDoNotReadWhatLiesBetween) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    const IoCounters before = lab.client_io();
    TaskGroup writers(lab.env.scheduler());
    const auto one = [&](std::uint64_t at) -> Task<void> {
      EXPECT_EQ(co_await lab.write(at, kBlockBytes, 2), Errc::ok);
    };
    writers.spawn(one(0));
    writers.spawn(one(kChunk - kBlockBytes));
    co_await writers.join();
    EXPECT_EQ(lab.client_io().read_bytes - before.read_bytes, 4 * kBlockBytes);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

// Requests in flight together have no order, but each block is what one of them gave, and parity goes with it.
TEST(StripeWrite, OverlappingWritesInFlightLeaveEachBlockToOneOfThem) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4);
    TaskGroup writers(lab.env.scheduler());
    std::vector<std::set<std::uint64_t>> given(8);
    const auto one = [&](std::uint64_t block, std::uint64_t blocks, std::uint64_t version) -> Task<void> {
      for (std::uint64_t i = block; i < block + blocks; ++i) given[i].insert(version);
      EXPECT_EQ(co_await lab.write(block * kBlockBytes, blocks * kBlockBytes, version), Errc::ok);
    };
    for (std::uint64_t version = 1; version <= 8; ++version) writers.spawn(one(version % 3, 2 + version % 5, version));
    co_await writers.join();
    std::vector<std::byte> expected(kBlockBytes);
    for (std::uint64_t block = 0; block < given.size(); ++block) {
      LongIo read(lab.env, *lab.array, IoOp::read, block * kBlockBytes, kBlockBytes);
      EXPECT_EQ(co_await read, Errc::ok);
      const auto is = [&](std::uint64_t version) {
        fill_block(expected.data(), block * kBlockBytes, version);
        return std::memcmp(read.buffers[0].data(), expected.data(), kBlockBytes) == 0;
      };
      if (!given[block].empty()) EXPECT_TRUE(std::any_of(given[block].begin(), given[block].end(), is)) << block;
    }
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

TEST(StripeWrite, AStreamThatEndsIsNotKeptWaiting) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4);
    const Nanos before = lab.env.scheduler().now();
    co_await stream(lab, 0, kMiB, 100 * kKiB / kBlockBytes * kBlockBytes, 4, 1);
    // Eleven requests of four I/Os each at 100 us, and one plug that was in vain.
    EXPECT_LT(lab.env.scheduler().now() - before, 20 * kMillisecond);
    EXPECT_EQ(co_await lab.verify(0, kMiB), Errc::ok);
  });
}

TEST(StripeWrite, RandomWritesOfAllSizesAtDepthMatchTheModel) {
  for (const Level level : {Level::raid4, Level::raid5, Level::raid6}) {
    run(5, [level](Lab& lab) -> Task<void> {
      co_await lab.create(config(level), 5);
      Random random(7);
      TaskGroup writers(lab.env.scheduler());
      const std::uint64_t blocks = 4 * kMiB / kBlockBytes;
      // Regions of their own, so that the model is exact; all of them share stripes with their neighbours.
      const auto writer = [&](std::uint64_t turn) -> Task<void> {
        for (std::uint64_t i = 0; i < 60; ++i) {
          const std::uint64_t block = random.below(blocks / 8) * 8 + turn;
          EXPECT_EQ(co_await lab.write(block * kBlockBytes, kBlockBytes, 1 + i), Errc::ok);
        }
      };
      for (std::uint64_t turn = 0; turn < 8; ++turn) writers.spawn(writer(turn));
      co_await writers.join();
      EXPECT_EQ(co_await lab.verify(0, 4 * kMiB), Errc::ok);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
    });
  }
}

}  // namespace
}  // namespace resilver::raid
