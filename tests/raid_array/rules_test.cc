// Rules that are easy to break unseen: who missed a write is excluded before the acknowledgement, queues are bounded, an
// unreadable bitmap means everything, a spare that was just given a slot holds nothing, repairs go by location only if asked.
#include "base/planted_bug.h"
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

ArrayConfig config(Level level, Consistency consistency = Consistency::resync, ArrayTuning tuning = {}) {
  return {.level = level,
          .layout = {},
          .chunk_bytes = 64 * kKiB,
          .consistency = consistency,
          .bitmap_chunk_bytes = 0,
          .name = "rules",
          .tuning = tuning};
}

// A member fails under a write; power is cut as soon as that is acknowledged; then all disks are there again.
Errc read_after_acknowledged_loss(Level level) {
  Rig rig(4, 3 * kMiB, 2, quick_disk());
  std::vector<std::byte> model;
  rig.node.start([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(level), level == Level::raid1 ? 2 : 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    EXPECT_EQ(co_await lab.flush(), Errc::ok);
    lab.disks[0]->fail();
    EXPECT_EQ(co_await lab.write(0, 512 * kKiB, 2, true), Errc::ok);
    model = lab.model;
    co_await lab.sleep(kHour);
  });
  rig.world.run_while([&] { return model.empty(); }, kHour);
  rig.node.power_loss();
  Errc verdict = Errc::cancelled;
  EXPECT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    lab.model = model;
    co_await lab.open();
    AssembleOptions options;
    options.force = true;  // dirty and degraded
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, level == Level::raid1 ? 2 : 4), options)).has_value());
    verdict = co_await lab.verify_all();
    co_await lab.finish();
  }));
  return verdict;
}

TEST(Rules, WhoMissedAWriteIsExcludedBeforeItIsAcknowledged) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    EXPECT_EQ(read_after_acknowledged_loss(level), Errc::ok) << name(level);
    planted_bug_now = PlantedBug::member_not_marked_faulty;
    EXPECT_EQ(read_after_acknowledged_loss(level), Errc::corrupt) << name(level) << ": the planted bug was not caught";
    planted_bug_now = PlantedBug::none;
  }
}

TEST(Rules, NoMoreRequestsAreUnderWayThanTheQueueAllows) {
  for (const Level level : {Level::raid0, Level::raid1, Level::raid5}) {
    Rig rig(3, 3 * kMiB, 2, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      ArrayTuning tuning;
      tuning.max_requests = 8;
      tuning.member_timeout_ms = 100'000;
      tuning.idle_clean_ms = 100'000;
      co_await lab.create(config(level, level == Level::raid0 ? Consistency::none : Consistency::resync, tuning), 3);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      for (auto& disk : lab.disks) disk->hang();
      TaskGroup readers(env.scheduler());
      unsigned done = 0;
      for (std::uint64_t i = 0; i < 200; ++i) {
        readers.spawn([](Lab& l, std::uint64_t at, unsigned& count) -> Task<void> {
          EXPECT_EQ(co_await l.verify(at, kBlockBytes), Errc::ok);
          ++count;
        }(lab, i * kBlockBytes, done));
      }
      co_await lab.sleep(kSecond);
      EXPECT_EQ(done, 0u);
      EXPECT_EQ(lab.disks[0]->hanging() + lab.disks[1]->hanging() + lab.disks[2]->hanging(), 8u) << name(level);
      for (auto& disk : lab.disks) disk->clear(fault::FaultKind::hang);
      co_await readers.join();
      EXPECT_EQ(done, 200u);
      co_await lab.finish();
    }));
  }
}

TEST(Rules, AnUnreadableBitmapBlockMeansThatEverythingMayDiffer) {
  for (const bool readable : {true, false}) {
    Rig rig(4, 9 * kMiB, 3, quick_disk());
    rig.node.start([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.create(config(Level::raid5, Consistency::bitmap), 4);
      for (std::uint64_t i = 0;; ++i) EXPECT_EQ(co_await lab.write(i % 10 * 4 * kKiB, 4 * kKiB, i), Errc::ok);
    });
    rig.world.run_until(50 * kMillisecond);
    rig.node.crash();
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.open();
      if (!readable) EXPECT_TRUE(lab.disks[2]->latent({8192, kBlockBytes}).has_value());
      EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4))).has_value());
      co_await lab.array->recovered();
      EXPECT_TRUE(lab.array->redundancy_full());
      const std::uint64_t read = lab.io(Cause::resync).read_bytes;
      if (readable) EXPECT_LE(read, 4 * 128 * kKiB);
      if (!readable) EXPECT_EQ(read, 4 * 8 * kMiB);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      co_await lab.finish();
    }));
  }
}

TEST(Rules, ASpareThatWasJustTakenHoldsNothingAfterACrash) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid10}) {
    for (std::uint64_t n = 1; n <= 24; ++n) {  // a crash and a power loss by turns
      Rig rig(5, kMiB + 256 * kKiB, n, quick_disk());
      std::vector<std::byte> model;
      bool killed = false;
      rig.node.start([&](Env& env) -> Task<void> {
        Lab lab(env, rig);
        co_await lab.create(config(level), 4, 1);
        EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
        co_await lab.sleep(kSecond);  // clean
        model = lab.model;
        rig.world.stop_at_write(rig.world.disk_writes_started() + (n + 1) / 2, [&] {
          n % 2 == 0 ? rig.node.power_loss() : rig.node.crash();
          killed = true;
        });
        EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
        co_await lab.sleep(kHour);
      });
      rig.world.run_while([&] { return !killed; }, kHour);
      rig.world.stop_at_write(0, {});
      ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
        Lab lab(env, rig);
        lab.model = model;
        co_await lab.open();
        EXPECT_TRUE((co_await lab.assemble(lab.some(0, 5))).has_value()) << n;
        EXPECT_EQ(co_await lab.verify_all(), Errc::ok) << n;
        co_await lab.array->recovered();
        EXPECT_TRUE(lab.array->redundancy_full()) << n;
        EXPECT_EQ(co_await lab.mismatches(), 0u) << name(level) << " " << n;
        EXPECT_EQ(co_await lab.verify_all(), Errc::ok) << n;
        co_await lab.finish();
      }));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// ---- what a repair believes -------------------------------------------------------------------------------------------------

// Corrupts a data block, repairs, and says whether the data is right afterwards.
Task<bool> repaired_to_the_truth(Lab& lab, bool locate) {
  const Location place = lab.array->geometry().map(256 * kKiB);
  EXPECT_TRUE(
      (co_await lab.disks[place.member]->corrupt({lab.array->data_offset_bytes() + place.member_offset, kBlockBytes},
                                                 lab.env.buffers(), lab.env.random()))
          .has_value());
  EXPECT_TRUE((co_await lab.array->scrub({.repair = true, .locate = locate})).has_value());
  EXPECT_EQ(lab.array->status().mismatch_sectors, 8u);
  EXPECT_EQ(co_await lab.mismatches(), 0u);
  const bool right = co_await lab.verify_all() == Errc::ok;
  EXPECT_EQ(co_await lab.write(256 * kKiB, kBlockBytes, 1), Errc::ok);
  co_return right;
}

TEST(Rules, ARepairGoesByLocationOnlyIfAskedAndAfterACleanStop) {
  Rig rig(5, 3 * kMiB, 3, quick_disk());
  std::vector<std::byte> model;
  rig.node.start([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid6), 5);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    EXPECT_TRUE(co_await repaired_to_the_truth(lab, true));
    EXPECT_FALSE(co_await repaired_to_the_truth(lab, false));  // parity follows the data, as in md
    model = lab.model;
    co_await lab.sleep(kHour);  // killed while it is dirty
  });
  rig.world.run_while([&] { return model.empty(); }, kHour);
  rig.node.crash();
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    lab.model = model;
    co_await lab.open();
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 5))).has_value());
    EXPECT_EQ((co_await lab.array->scrub({.repair = true, .locate = true})).error().code, Errc::unavailable);
    co_await lab.array->recovered();  // a resync makes parity right: from here on a location means something again
    EXPECT_TRUE(co_await repaired_to_the_truth(lab, true));
    co_await lab.finish();
  }));
}

}  // namespace
}  // namespace resilver::raid
