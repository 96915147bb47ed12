// The process or the machine dies at the n-th write to any disk: what was flushed is there, everything else is old or new
// sector by sector, and after the resync redundancy matches the data.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

struct Case {
  Level level;
  std::uint32_t members;
  Consistency consistency;
  bool power;
};

constexpr std::uint64_t kChunk = 16 * kKiB;

// What each 512-byte sector may hold: one of these versions (0: zeroes).
struct Ledger {
  explicit Ledger(std::uint64_t bytes) : blocks(bytes / kBlockBytes) {}
  struct Block {
    std::uint64_t durable = 0;            // the version that was flushed last
    std::vector<std::uint64_t> possible;  // written since, or being written
  };
  std::vector<Block> blocks;
};

ArrayTuning quick_tuning() {
  ArrayTuning tuning;
  tuning.idle_clean_ms = 5;
  tuning.bitmap_sleep_ms = 10;
  tuning.speed_min = 0;
  return tuning;
}

// Writes over eight stripes with flushes, FUA writes and idle times between them, until killed or done.
Task<void> workload(Env& env, Rig& rig, Case which, std::uint64_t seed, Ledger*& ledger, bool& started) {
  Lab lab(env, rig);
  co_await lab.create({.level = which.level,
                       .layout = {},
                       .chunk_bytes = kChunk,
                       .consistency = which.consistency,
                       .bitmap_chunk_bytes = which.consistency == Consistency::bitmap ? 16384u : 0u,
                       .name = "crash",
                       .tuning = quick_tuning()},
                      which.members);
  ledger = new Ledger(lab.array->size_bytes());
  started = true;
  Random random(seed);
  for (std::uint64_t version = 1; version <= 24; ++version) {
    const std::uint64_t length = 1 + random.below(10);
    const std::uint64_t at = random.below(ledger->blocks.size() - length + 1);
    const bool fua = random.percent(20);
    for (std::uint64_t i = at; i < at + length; ++i) ledger->blocks[i].possible.push_back(version);
    EXPECT_EQ(co_await lab.write(at * kBlockBytes, length * kBlockBytes, version, fua), Errc::ok);
    if (fua) {
      for (std::uint64_t i = at; i < at + length; ++i) ledger->blocks[i] = {version, {}};
    }
    if (random.percent(25)) {
      EXPECT_EQ(co_await lab.flush(), Errc::ok);
      for (auto& block : ledger->blocks) {
        if (!block.possible.empty()) block = {block.possible.back(), {}};
      }
    }
    if (random.percent(15)) co_await lab.sleep(30 * kMillisecond);
  }
  co_await lab.sleep(kSecond);
  co_await lab.finish();
}

bool sector_is(const std::byte* sector, std::uint64_t address, std::uint64_t version) {
  std::array<std::byte, kBlockBytes> expected{};
  if (version != 0) fill_block(expected.data(), address / kBlockBytes * kBlockBytes, version);
  return std::memcmp(sector, expected.data() + address % kBlockBytes, kSectorBytes) == 0;
}

Task<std::uint64_t> wrong_sectors(Lab& lab, const Ledger& ledger) {
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < ledger.blocks.size(); ++i) {
    LongIo io(lab.env, *lab.array, IoOp::read, i * kBlockBytes, kBlockBytes);
    EXPECT_EQ(co_await io, Errc::ok);
    for (std::uint64_t sector = 0; sector < kBlockBytes; sector += kSectorBytes) {
      const std::byte* bytes = io.buffers[0].data() + sector;
      const std::uint64_t address = i * kBlockBytes + sector;
      bool fine = sector_is(bytes, address, ledger.blocks[i].durable);
      for (const std::uint64_t version : ledger.blocks[i].possible) fine = fine || sector_is(bytes, address, version);
      wrong += fine ? 0 : 1;
    }
  }
  co_return wrong;
}

void crash_at_every_write(Case which, std::uint64_t step) {
  for (std::uint64_t n = 1; n <= 100; n += step) {
    SCOPED_TRACE(std::string(name(which.level)) + ", " + name(which.consistency) +
                 (which.power ? ", power loss" : ", crash") + " at write " + std::to_string(n));
    Rig rig(which.members, kMiB + 8 * kChunk, n, quick_disk(20 * kMicrosecond));
    Ledger* made = nullptr;
    bool started = false;
    bool killed = false;
    rig.node.start([&](Env& env) -> Task<void> { co_await workload(env, rig, which, n, made, started); });
    rig.world.run_while([&] { return !started; }, kHour);
    rig.world.stop_at_write(rig.world.disk_writes_started() + n, [&] {
      which.power ? rig.node.power_loss() : rig.node.crash();
      killed = true;
    });
    rig.world.run_while([&] { return !killed && rig.node.running(); }, kHour);
    std::unique_ptr<Ledger> ledger(made);
    rig.world.stop_at_write(0, {});  // the workload may have ended before
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.open();
      const Status assembled = co_await lab.assemble(lab.some(0, which.members), {.tuning = quick_tuning()});
      if (!assembled) {
        ADD_FAILURE() << assembled.error().what;
        co_return;
      }
      EXPECT_EQ(co_await wrong_sectors(lab, *ledger), 0u) << "before the resync";
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      EXPECT_EQ(co_await wrong_sectors(lab, *ledger), 0u) << "after the resync";
      co_await lab.finish();
    }));
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Crash, Raid1WithResync) { crash_at_every_write({Level::raid1, 3, Consistency::resync, false}, 1); }
TEST(Crash, Raid1WithBitmap) { crash_at_every_write({Level::raid1, 2, Consistency::bitmap, false}, 1); }
TEST(Crash, Raid5WithResync) { crash_at_every_write({Level::raid5, 4, Consistency::resync, false}, 1); }
TEST(Crash, Raid5WithBitmap) { crash_at_every_write({Level::raid5, 4, Consistency::bitmap, false}, 1); }
TEST(Crash, Raid6WithResync) { crash_at_every_write({Level::raid6, 5, Consistency::resync, false}, 1); }
TEST(Crash, Raid6WithBitmap) { crash_at_every_write({Level::raid6, 5, Consistency::bitmap, false}, 1); }
TEST(PowerLoss, Raid1WithResync) { crash_at_every_write({Level::raid1, 3, Consistency::resync, true}, 1); }
TEST(PowerLoss, Raid1WithBitmap) { crash_at_every_write({Level::raid1, 2, Consistency::bitmap, true}, 1); }
TEST(PowerLoss, Raid5WithResync) { crash_at_every_write({Level::raid5, 4, Consistency::resync, true}, 1); }
TEST(PowerLoss, Raid5WithBitmap) { crash_at_every_write({Level::raid5, 4, Consistency::bitmap, true}, 1); }
TEST(PowerLoss, Raid6WithResync) { crash_at_every_write({Level::raid6, 5, Consistency::resync, true}, 1); }
TEST(PowerLoss, Raid6WithBitmap) { crash_at_every_write({Level::raid6, 5, Consistency::bitmap, true}, 1); }

}  // namespace
}  // namespace resilver::raid
