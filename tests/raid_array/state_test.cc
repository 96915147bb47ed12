// What starts and what is refused; bitmap; scrub; how many member I/Os a request costs.
#include "raid/bitmap_format.h"
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

constexpr std::uint64_t kChunk = 64 * kKiB;

ArrayConfig config(Level level, Consistency consistency = Consistency::resync) {
  return {.level = level,
          .layout = {},
          .chunk_bytes = kChunk,
          .consistency = consistency,
          .bitmap_chunk_bytes = 0,
          .name = "state",
          .tuning = {}};
}

TEST(Bitmap, IsEmptyAfterAStop) {
  Rig rig(4, 17 * kMiB, 3, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid5, Consistency::bitmap), 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    co_await lab.finish();  // long before a bit would have been idle for long enough
    for (unsigned i = 0; i < 4; ++i) {
      Buffer block = env.buffers().allocate(kBlockBytes);
      EXPECT_EQ(co_await Io::read(*lab.disks[i], 8192, block), Errc::ok);
      const auto first = block.bytes().begin() + kBitmapHeaderBytes;
      EXPECT_TRUE(std::all_of(first, first + 8, [](std::byte bits) { return bits == std::byte{0}; })) << "disk " << i;
    }
  }));
}

TEST(Bitmap, ResyncAfterACrashReadsOnlyDirtyRegions) {
  Rig rig(4, 17 * kMiB, 3, quick_disk());
  rig.node.start([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid5, Consistency::bitmap), 4);
    EXPECT_EQ(co_await lab.write(0, 4 * kKiB, 1), Errc::ok);
    EXPECT_EQ(co_await lab.write(20 * kMiB, 4 * kKiB, 1), Errc::ok);
    co_await lab.sleep(kHour);
  });
  rig.world.run_until(150 * kMillisecond);
  rig.node.crash();
  for (const bool second : {false, true}) {
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.open();
      EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4), {.tuning = {}})).has_value());
      EXPECT_TRUE(co_await lab.whole());
      const auto read = lab.io(Cause::resync).read_bytes;
      if (second) EXPECT_EQ(read, 0u);
      if (!second) EXPECT_GT(read, 0u);
      EXPECT_LE(read, 4 * 2 * 128 * kKiB);
      co_await lab.sleep(kMinute);
      const auto writes = lab.metadata_io().writes;
      const auto flushes = lab.metadata_io().flushes;
      co_await lab.sleep(kHour);  // all bits are clear and all is quiet
      EXPECT_EQ(lab.metadata_io().writes, writes);
      EXPECT_EQ(lab.metadata_io().flushes, flushes);
      co_await lab.finish();
    }));
  }
}

TEST(Assembly, RefusesDirtyAndDegradedWithoutForce) {
  for (const Consistency consistency : {Consistency::resync, Consistency::bitmap}) {
    for (const Level level : {Level::raid5, Level::raid6}) {
      Rig rig(5, 3 * kMiB, 4, quick_disk());
      rig.node.start([&](Env& env) -> Task<void> {
        Lab lab(env, rig);
        co_await lab.create(config(level, consistency), 5);
        for (std::uint64_t i = 0;; ++i) EXPECT_EQ(co_await lab.write(i % 40 * 8 * kKiB, 4 * kKiB, i + 1), Errc::ok);
      });
      rig.world.run_until(50 * kMillisecond);
      rig.node.power_loss();
      ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
        Lab lab(env, rig);
        co_await lab.open();
        const Status refused = co_await lab.assemble(lab.some(0, 4), {.tuning = {}});
        EXPECT_FALSE(refused.has_value());
        EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4), {.tuning = {}, .force = true})).has_value());
        EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(4))).has_value());
        EXPECT_TRUE(co_await lab.whole());
        EXPECT_EQ(co_await lab.mismatches(), 0u);
        co_await lab.finish();
      }));
    }
  }
}

TEST(Assembly, ForcedRaid6MakesItsOtherParityAnew) {
  Rig rig(5, 3 * kMiB, 9, quick_disk());
  rig.node.start([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid6), 5);
    for (std::uint64_t i = 0;; ++i) EXPECT_EQ(co_await lab.write(i % 40 * 8 * kKiB, 4 * kKiB, i + 1), Errc::ok);
  });
  rig.world.run_until(50 * kMillisecond);
  rig.node.power_loss();
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4), {.tuning = {}, .force = true})).has_value());
    co_await lab.sleep(kMinute);  // resynced as far as can be, then clean
    EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(4))).has_value());
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_EQ(co_await lab.mismatches(), 0u);
    co_await lab.finish();
  }));
}

TEST(Assembly, TakesDisksInAnyOrderAndLeavesStaleAndForeignOnesOut) {
  Rig rig(7, 3 * kMiB, 5, quick_disk());
  std::vector<std::byte> model;
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid6, Consistency::bitmap), 4, 1);
    auto other = co_await Array::create(env.scheduler(), env.buffers(), env.random(), config(Level::raid1),
                                        {lab.some(5, 2), {}, {}}, true);
    CHECK(other.has_value());
    co_await (*other)->stop();
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    model = lab.model;
    co_await lab.finish();
  }));
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {  // the spare comes first
    Lab lab(env, rig);
    lab.model = model;
    co_await lab.open();
    EXPECT_TRUE((co_await lab.assemble({lab.disk(4), lab.disk(2), lab.disk(0), lab.disk(3), lab.disk(1)}, {.tuning = {}}))
                    .has_value());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(lab.member(2).name, "d2");
    EXPECT_TRUE((co_await lab.array->fail_member("d2")).has_value());
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_EQ(co_await lab.write_all(2), Errc::ok);
    model = lab.model;
    co_await lab.finish();
  }));
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {  // d2 is back, with old content
    Lab lab(env, rig);
    lab.model = model;
    co_await lab.open();
    EXPECT_FALSE((co_await lab.assemble({lab.disk(0), lab.disk(5), lab.disk(1)}, {.tuning = {}})).has_value());
    EXPECT_TRUE(
        (co_await lab.assemble({lab.disk(2), lab.disk(0), lab.disk(1), lab.disk(3)}, {.tuning = {}})).has_value());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(lab.member(2).state, MemberState::missing);
    co_await lab.finish();
  }));
}

// ---- scrub --------------------------------------------------------------------------------------------------------------

TEST(Scrub, CountsNamesAndRepairsCorruption) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6}) {
    Rig rig(4, 3 * kMiB, 6, quick_disk());
    const unsigned members = level == Level::raid1 ? 3 : 4;
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.create(config(level), members);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      for (const std::uint64_t at : {0 * kKiB, 4 * kKiB, 200 * kKiB}) {
        EXPECT_TRUE((co_await lab.disks[1]->corrupt({lab.array->data_offset_bytes() + at, kBlockBytes}, env.buffers(),
                                                    env.random()))
                        .has_value());
      }
      EXPECT_EQ(co_await lab.mismatches(), 24u) << name(level);
      const auto status = lab.array->status();
      EXPECT_EQ(status.mismatches.size(), 3u);
      for (const auto& mismatch : status.mismatches) {
        EXPECT_EQ(mismatch.slot, level == Level::raid5 ? std::nullopt : std::optional<std::uint32_t>(1)) << name(level);
      }
      EXPECT_EQ(co_await lab.mismatches(true), 24u);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      if (level != Level::raid5) EXPECT_EQ(co_await lab.verify_all(), Errc::ok) << name(level);
      co_await lab.finish();
    }));
  }
}

// ---- what a write costs ----------------------------------------------------------------------------------------------

TEST(Cost, WritesReadAndWriteWhatThePlanSays) {
  for (const Level level : {Level::raid4, Level::raid5, Level::raid6}) {
    Rig rig(7, 3 * kMiB, 7);
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.create(config(level), 7);
      const Geometry& geometry = lab.array->geometry();
      for (std::uint32_t columns = 1; columns <= geometry.data_disks(); ++columns) {
        for (const std::uint64_t stripe : {0, 1, 2}) {
          const auto touched = ColumnSet::first(columns);
          const WritePlan plan = plan_write(geometry, stripe, touched, touched, {});
          const auto before = lab.client_io();
          EXPECT_EQ(co_await lab.write(stripe * geometry.stripe_data_bytes(), columns * kChunk, columns), Errc::ok);
          const auto after = lab.client_io();
          EXPECT_EQ(after.reads - before.reads, plan.cost.reads) << name(level) << " " << columns;
          EXPECT_EQ(after.writes - before.writes, plan.cost.writes) << name(level) << " " << columns;
          if (columns == geometry.data_disks()) EXPECT_EQ(after.reads, before.reads);
        }
      }
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      co_await lab.finish();
    }));
  }
}

}  // namespace
}  // namespace resilver::raid
