// Members that hang, die and forget blocks; rebuild, scrub and what is refused at the start.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

constexpr std::uint64_t kChunk = 64 * kKiB;

ArrayConfig config(Level level, Consistency consistency = Consistency::resync, ArrayTuning tuning = {}) {
  tuning.member_timeout_ms = 500;
  return {.level = level,
          .layout = {},
          .chunk_bytes = kChunk,
          .consistency = consistency,
          .bitmap_chunk_bytes = 0,
          .name = "faults",
          .tuning = tuning};
}

void run(unsigned disks, const std::function<Task<void>(Lab&)>& body, std::uint64_t bytes = 3 * kMiB,
         const DiskParameters& model = quick_disk()) {
  Rig rig(disks, bytes, 1, model);
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await body(lab);
    if (lab.array) co_await lab.finish();
  }));
}

// The place of a slot's row in a disk, for faults.
fault::BlockRange row_at(Lab& lab, std::uint64_t member_offset) {
  return {lab.array->data_offset_bytes() + member_offset, kBlockBytes};
}

TEST(Faults, HungMemberIsGivenUpAndItsLateAnswersAreHarmless) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    lab.disks[1]->hang();
    const Nanos before = lab.env.scheduler().now();
    EXPECT_EQ(co_await lab.write(0, 1 * kMiB, 2), Errc::ok);
    EXPECT_GE(lab.env.scheduler().now() - before, 500 * kMillisecond);
    EXPECT_EQ(lab.member(1).state, MemberState::faulty);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    const Status again = co_await lab.array->add_disk(lab.disk(1));
    EXPECT_FALSE(again.has_value());  // its old I/O is still out
    lab.disks[1]->clear(fault::FaultKind::hang);
    co_await lab.sleep(kSecond);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(1))).has_value());
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

TEST(Faults, StopsWhileAHungMemberHoldsRequests) {
  Rig rig(3, 3 * kMiB, 1, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid1), 3);
    lab.disks[2]->hang();
    EXPECT_EQ(co_await lab.write(0, kMiB, 1), Errc::ok);
    co_await lab.array->stop();
    lab.array.reset();
    EXPECT_GT(lab.disks[2]->hanging(), 0u);
    lab.disks[2]->release();  // completes after the array is gone
    co_await lab.sleep(kSecond);
  }));
}

// What was given up on holds memory of the pool, and there is no array any more that could free it. The process then ends by
// itself, is killed, or lives until the disk has answered.
TEST(Faults, WhatAnArrayLeavesAtASlowDiskEndsWithTheProcess) {
  for (const bool killed : {false, true}) {
    Rig rig(3, 3 * kMiB, 1, quick_disk());
    bool gone = false;
    rig.node.start([&](Env& env) -> Task<void> {
      const std::size_t before = env.buffers().bytes_in_use();
      {
        Lab lab(env, rig);
        co_await lab.create(config(Level::raid0, Consistency::none), 3);
        lab.disks[1]->slow({.factor_percent = 100, .add = 10 * kSecond, .bandwidth = 0});
        EXPECT_EQ(co_await lab.write(0, 256 * kKiB, 1), Errc::timeout);
        co_await lab.array->stop();
        lab.array.reset();
        EXPECT_TRUE(lab.disks[1]->busy());
        EXPECT_FALSE(lab.disks[0]->busy());
        EXPECT_GT(env.buffers().bytes_in_use(), before);
        gone = true;
        while (lab.disks[1]->busy()) co_await lab.sleep(kMillisecond);
        co_await lab.sleep(kMillisecond);
      }
      EXPECT_EQ(env.buffers().bytes_in_use(), before);
      EXPECT_FALSE(env.scheduler().anything_left_behind());
    });
    rig.world.run_while([&] { return killed ? !gone : rig.node.running(); }, kHour);
    EXPECT_EQ(rig.node.running(), killed);
    rig.node.crash();
  }
}

TEST(Faults, DiesUnderWritesAndASecondFailureIsUnavailable) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    TaskGroup writers(lab.env.scheduler());
    for (std::uint64_t i = 0; i < 16; ++i) {
      writers.spawn([](Lab& l, std::uint64_t n) -> Task<void> {
        EXPECT_EQ(co_await l.write(n * 100 * kKiB, 100 * kKiB, 2 + n), Errc::ok);
      }(lab, i));
    }
    co_await lab.sleep(150 * kMicrosecond);
    lab.disks[0]->fail();
    co_await writers.join();
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    lab.disks[3]->fail();
    EXPECT_EQ(co_await lab.verify(0, kMiB), Errc::unavailable);
    EXPECT_EQ(co_await lab.write(0, 64 * kKiB, 99), Errc::unavailable);
    EXPECT_EQ(lab.array->status().state, ArrayState::failed);
    EXPECT_EQ(lab.recorder.count(EventKind::array_failed), 1u);
  });
}

// A controller that takes all members with it, but not the spare: what the members say of each other stays as it was.
TEST(Faults, WhenAllMembersAreGoneTheSpareDoesNotOutdateThem) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid10}) {
    Rig rig(5, 3 * kMiB, 1, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.create(config(level), 4, 1);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      for (unsigned i = 0; i < 4; ++i) lab.disks[i]->fail();
      EXPECT_EQ(co_await lab.write(0, kMiB, 2), Errc::unavailable);
      co_await lab.finish();
    }));
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.open();
      const Status started = co_await lab.assemble(lab.some(0, 5));
      EXPECT_TRUE(started) << name(level) << ": " << to_string(started.error());
      if (!started) co_return;
      EXPECT_TRUE(co_await lab.whole());
      co_await lab.finish();
    }));
  }
}

TEST(Faults, LatentErrorsAreHealedByReads) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    run(4, [level](Lab& lab) -> Task<void> {
      co_await lab.create(config(level), 4);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      for (unsigned slot = 0; slot < 4; ++slot) {
        EXPECT_TRUE(lab.disks[slot]->latent(row_at(lab, slot * 8 * kKiB)).has_value());
      }
      EXPECT_EQ(co_await lab.mismatches(), 0u);  // finds and heals all
      EXPECT_EQ(lab.array->status().healed_blocks, 4u) << name(level);
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      for (auto& disk : lab.disks) EXPECT_FALSE(disk->active(fault::FaultKind::latent));
      EXPECT_EQ(lab.array->status().state == ArrayState::degraded, false);
    });
  }
}

// The logical addresses of a row's data columns on two slots.
std::vector<std::uint64_t> logical_blocks(const Geometry& geometry, std::uint64_t at,
                                          std::initializer_list<unsigned> slots) {
  std::vector<std::uint64_t> found;
  for (const unsigned slot : slots) {
    if (const auto logical = geometry.at(slot, at).logical) found.push_back(*logical);
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST(Faults, Raid5RebuildLosesExactlyTheBlocksThatNobodyHas) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 3, 1);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    std::vector<std::uint64_t> lost;
    for (const std::uint64_t at : {0 * kKiB, 68 * kKiB, 132 * kKiB, 136 * kKiB}) {
      EXPECT_TRUE(lab.disks[1]->latent(row_at(lab, at)).has_value());
      for (const auto logical : logical_blocks(lab.array->geometry(), at, {0, 1})) lost.push_back(logical);
    }
    std::sort(lost.begin(), lost.end());
    lab.disks[0]->fail();
    EXPECT_EQ(co_await lab.write(512 * kKiB, 4 * kKiB, 2), Errc::ok);  // notices
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_EQ(lab.array->status().lost_blocks, lost);
    EXPECT_EQ(lab.member(0).bad_blocks, 4u);
    for (std::uint64_t at = 0; at < lab.array->size_bytes(); at += kBlockBytes) {
      const bool is_lost = std::binary_search(lost.begin(), lost.end(), at);
      EXPECT_EQ(co_await lab.verify(at, kBlockBytes), is_lost ? Errc::medium : Errc::ok) << at;
    }
    // The log survives a restart.
    co_await lab.array->stop();
    lab.array.reset();
    EXPECT_TRUE((co_await lab.assemble(lab.some(1, 3), {.tuning = {}})).has_value());
    EXPECT_EQ(lab.member(0).bad_blocks, 4u);
    for (const std::uint64_t at : lost) EXPECT_EQ(co_await lab.verify(at, kBlockBytes), Errc::medium);
    // One by one, a write heals.
    for (std::size_t i = 0; i < lost.size(); ++i) {
      EXPECT_EQ(co_await lab.write(lost[i], kBlockBytes, 7), Errc::ok) << lost[i];
      EXPECT_EQ(co_await lab.verify(lost[i], kBlockBytes), Errc::ok) << lost[i];
      if (i + 1 < lost.size()) EXPECT_EQ(co_await lab.verify(lost.back(), kBlockBytes), Errc::medium);
    }
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_TRUE(lab.array->status().lost_blocks.empty());
    EXPECT_EQ(co_await lab.mismatches(), 0u);
    for (unsigned slot = 0; slot < 3; ++slot) EXPECT_EQ(lab.member(slot).bad_blocks, 0u);
  });
}

TEST(Faults, Raid6RebuildLosesNothingToALatentError) {
  run(6, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid6), 5, 1);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    EXPECT_TRUE(lab.disks[1]->latent(row_at(lab, 0)).has_value());
    EXPECT_TRUE(lab.disks[2]->latent(row_at(lab, 72 * kKiB)).has_value());
    EXPECT_TRUE((co_await lab.array->fail_member("d0")).has_value());
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_TRUE(lab.array->status().lost_blocks.empty());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

// ---- rebuild ------------------------------------------------------------------------------------------------------------

TEST(Rebuild, GoesOnUnderForegroundWrites) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    run(7, [level](Lab& lab) -> Task<void> {
      ArrayTuning unhurried;
      unhurried.speed_min = 0;
      unhurried.speed_max = 20 * kMiB;
      co_await lab.create(config(level, Consistency::resync, unhurried), 4, 2);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
      if (level == Level::raid6) EXPECT_TRUE((co_await lab.array->fail_member("d2")).has_value());
      Random random(5);
      for (std::uint64_t i = 0; i < 200 || !lab.array->redundancy_full(); ++i) {
        if (i == 20000) break;
        const std::uint64_t blocks = lab.array->size_bytes() / kBlockBytes;
        const std::uint64_t length = 1 + random.below(60);
        const std::uint64_t at = random.below(blocks - length + 1);
        if (i % 2 == 0) EXPECT_EQ(co_await lab.write(at * kBlockBytes, length * kBlockBytes, 10 + i), Errc::ok);
        if (i % 2 == 1) EXPECT_EQ(co_await lab.verify(at * kBlockBytes, length * kBlockBytes), Errc::ok);
      }
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      EXPECT_EQ(co_await lab.mismatches(), 0u) << name(level);
      const unsigned gone = level == Level::raid6 ? 2 : 1;
      for (unsigned i = 0; i < gone; ++i)
        EXPECT_TRUE((co_await lab.array->fail_member(i == 0 ? "d0" : "d3")).has_value());
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok) << name(level);
    });
  }
}

TEST(Rebuild, ResumesFromItsCheckpointAfterACrash) {
  ArrayTuning slow;
  slow.speed_max = kMiB;
  slow.checkpoint_ms = 500;
  Rig rig(4, 9 * kMiB, 1, quick_disk());
  std::vector<std::byte> model;
  rig.node.start([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid5, Consistency::resync, slow), 3, 1);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    co_await lab.sleep(kSecond);  // clean
    model = lab.model;
    EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
    co_await lab.sleep(kHour);
  });
  rig.world.run_until(6 * kSecond);
  rig.node.crash();
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    lab.model = model;
    co_await lab.open();
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4), {.tuning = slow})).has_value());
    const auto resumed = lab.member(1).rebuilt_bytes;
    EXPECT_GE(resumed, 3 * kMiB);
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_LE(lab.io(Cause::rebuild).write_bytes, 8 * kMiB - resumed + 256 * kKiB);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
    co_await lab.finish();
  }));
}

TEST(Rebuild, ADiskAddedLaterIsTakenAndSpeedsAreKept) {
  ArrayTuning tuning;
  tuning.speed_max = 4 * kMiB;
  tuning.speed_min = kMiB;
  run(
      4,
      [tuning](Lab& lab) -> Task<void> {
        co_await lab.create(config(Level::raid5, Consistency::resync, tuning), 3);
        EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
        EXPECT_TRUE((co_await lab.array->fail_member("d2")).has_value());
        co_await lab.sleep(kSecond);
        Nanos from = lab.env.scheduler().now();
        EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(3))).has_value());
        EXPECT_TRUE(co_await lab.whole());
        Nanos took = lab.env.scheduler().now() - from;
        EXPECT_GE(took, 1900 * kMillisecond);  // 8 MiB at 4 MiB/s
        EXPECT_LE(took, 2300 * kMillisecond);
        EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
        from = lab.env.scheduler().now();
        EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(2))).has_value());
        while (!lab.array->redundancy_full()) {
          EXPECT_EQ(co_await lab.verify(0, 4 * kKiB), Errc::ok);
          co_await lab.sleep(10 * kMillisecond);
        }
        took = lab.env.scheduler().now() - from;
        EXPECT_GE(took, 7500 * kMillisecond);
        EXPECT_LE(took, 9000 * kMillisecond);
        EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      },
      9 * kMiB);
}

}  // namespace
}  // namespace resilver::raid
