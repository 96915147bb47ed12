// How well rebuild, resync and scrub go: what they read, where they go on, how much they are in the way; slow members.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

ArrayConfig config(Level level, Consistency consistency = Consistency::resync, ArrayTuning tuning = {}) {
  tuning.member_timeout_ms = 2000;
  return array_config(level, "recovery", consistency, tuning);
}

void run(unsigned disks, const std::function<Task<void>(Lab&)>& body, std::uint64_t bytes = 9 * kMiB,
         const DiskParameters& model = quick_disk()) {
  Rig rig(disks, bytes, 1, model);
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await body(lab);
    if (lab.array) co_await lab.finish();
  }));
}

// ---- what is read -------------------------------------------------------------------------------------------------------

TEST(Recovery, Raid6RebuildsTwoMembersInOnePass) {
  run(8, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid6), 6, 2);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    lab.disks[1]->fail();
    lab.disks[4]->fail();
    EXPECT_EQ(co_await lab.write(0, kMiB, 2), Errc::ok);  // notices both
    co_await lab.array->recovered();
    EXPECT_TRUE(lab.array->redundancy_full());
    EXPECT_EQ(lab.io(Cause::rebuild).read_bytes, 4 * 8 * kMiB);
    EXPECT_EQ(lab.io(Cause::rebuild).write_bytes, 2 * 8 * kMiB);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

TEST(Recovery, ScrubReadsEachMemberOncePerWindow) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    run(4, [level](Lab& lab) -> Task<void> {
      co_await lab.create(config(level), 4);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      const IoCounters io = lab.io(Cause::scrub);
      EXPECT_EQ(io.read_bytes, 4 * 8 * kMiB);
      EXPECT_EQ(io.writes, 0u);
      if (level != Level::raid10) EXPECT_LE(io.reads, 4 * 8 * kMiB / (128 * kKiB)) << name(level);
    });
  }
}

TEST(Recovery, ALatentErrorCostsItsOwnBlocksOnly) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    run(5, [level](Lab& lab) -> Task<void> {
      co_await lab.create(config(level), 4, 1);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      std::uint64_t reads[2];
      for (const bool damaged : {false, true}) {
        if (damaged) {
          for (std::uint64_t at = 40 * kKiB; at < 8 * kMiB; at += 512 * kKiB) {
            EXPECT_TRUE(lab.disks[2]->latent({lab.array->data_offset_bytes() + at, kBlockBytes}).has_value());
          }
        }
        const std::uint64_t before = lab.io(Cause::rebuild).reads;
        EXPECT_TRUE((co_await lab.array->fail_member(damaged ? "d4" : "d1")).has_value());
        if (damaged) EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(1))).has_value());
        co_await lab.array->recovered();
        EXPECT_TRUE(lab.array->redundancy_full());
        reads[damaged] = lab.io(Cause::rebuild).reads - before;
      }
      const bool can_lose = level == Level::raid5;
      EXPECT_EQ(lab.member(1).bad_blocks, can_lose ? 16u : 0u) << name(level);
      // In 16 windows of 256 KiB the rows of one member one by one, and 16 rows of all members.
      EXPECT_LE(reads[1], reads[0] + 16 * (64 + 4)) << name(level);
      if (!can_lose) EXPECT_EQ(co_await lab.verify_all(), Errc::ok) << name(level);
    });
  }
}

// ---- where it goes on -----------------------------------------------------------------------------------------------------

TEST(Recovery, AnInterruptedResyncGoesOnWhereItWas) {
  ArrayTuning slow;
  slow.speed_max = kMiB;
  slow.speed_min = 0;
  slow.checkpoint_ms = 250;
  for (const bool killed : {false, true}) {
    for (const Level level : {Level::raid1, Level::raid5, Level::raid10}) {
      Rig rig(4, 9 * kMiB, 1, quick_disk());
      bool stopped = false;
      rig.node.start([&](Env& env) -> Task<void> {
        Lab lab(env, rig);
        co_await lab.create(config(level, Consistency::resync, slow), 4, 0, false);
        co_await lab.sleep(6 * kSecond);
        if (killed) co_await lab.sleep(kHour);
        co_await lab.finish();
        stopped = true;
      });
      rig.world.run_while([&] { return !stopped; }, 6 * kSecond + 100 * kMillisecond);
      EXPECT_EQ(stopped, !killed);
      if (killed) rig.node.power_loss();
      rig.world.run_while([&] { return rig.node.running(); }, rig.world.now() + kSecond);
      ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
        Lab lab(env, rig);
        co_await lab.open();
        EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4))).has_value());
        co_await lab.array->recovered();
        EXPECT_TRUE(lab.array->redundancy_full());
        const std::uint64_t all = 4 * 8 * kMiB;
        const std::uint64_t rest = lab.io(Cause::resync).read_bytes;
        const std::uint64_t per_second = level == Level::raid10 ? 2 * kMiB : 4 * kMiB;
        EXPECT_GT(rest, 0u);
        EXPECT_LE(rest, all - 5 * per_second) << name(level) << killed;
        EXPECT_GE(rest, all - 7 * per_second) << name(level) << killed;
        EXPECT_EQ(co_await lab.mismatches(), 0u);
        co_await lab.finish();
      }));
    }
  }
}

// What was written below the place that a resync has reached is resynced again if the array was not clean.
TEST(Recovery, AResyncBeginsAnewAfterACrashUnderWrites) {
  ArrayTuning slow;
  slow.speed_max = kMiB;
  slow.speed_min = 0;
  slow.checkpoint_ms = 250;
  Rig rig(4, 9 * kMiB, 1, quick_disk());
  rig.node.start([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid5, Consistency::resync, slow), 4, 0, false);
    co_await lab.sleep(6 * kSecond);
    for (std::uint64_t i = 0;; ++i) EXPECT_EQ(co_await lab.write(i % 400 * 4 * kKiB, 4 * kKiB, i + 1), Errc::ok);
  });
  rig.world.run_until(6 * kSecond + 50 * kMillisecond);
  rig.node.power_loss();
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4))).has_value());
    co_await lab.array->recovered();
    EXPECT_EQ(lab.io(Cause::resync).read_bytes, 4 * 8 * kMiB);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
    co_await lab.finish();
  }));
}

TEST(Recovery, AResyncDoesNotEndWhenAMemberIsLostMeanwhile) {
  for (const Level level : {Level::raid5, Level::raid6}) {
    ArrayTuning slow;
    slow.speed_max = kMiB;
    run(5, [level, slow](Lab& lab) -> Task<void> {
      co_await lab.create(config(level, Consistency::resync, slow), 5, 0, false);
      co_await lab.sleep(kSecond);
      EXPECT_EQ(lab.array->status().recovery.kind, RecoveryKind::resync);
      lab.disks[2]->fail();
      EXPECT_EQ(co_await lab.write(0, 64 * kKiB, 1), Errc::ok);
      co_await lab.array->recovered();
      EXPECT_EQ(lab.recorder.count(EventKind::resync_finished), 0u);
      EXPECT_FALSE(lab.array->redundancy_full());
      lab.disks[2]->clear(fault::FaultKind::fail);
      EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(2))).has_value());
      co_await lab.array->recovered();
      EXPECT_EQ(lab.recorder.count(EventKind::resync_finished), 1u);
      EXPECT_TRUE(lab.array->redundancy_full());
      EXPECT_EQ(co_await lab.mismatches(), 0u) << name(level);
    });
  }
}

TEST(Recovery, AReAddGoesOnAfterACrash) {
  ArrayTuning slow;
  slow.speed_max = 256 * kKiB;
  slow.bitmap_sleep_ms = 50;
  Rig rig(4, 9 * kMiB, 1, quick_disk());
  std::vector<std::byte> model;
  rig.node.start([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    ArrayConfig with_bits = config(Level::raid5, Consistency::bitmap, slow);
    with_bits.bitmap_chunk_bytes = 65536;
    co_await lab.create(with_bits, 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    co_await lab.sleep(kSecond);
    EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
    for (std::uint64_t at = 0; at < 20 * kMiB; at += 5 * kMiB) {
      EXPECT_EQ(co_await lab.write(at, 300 * kKiB, 2), Errc::ok);
    }
    co_await lab.sleep(kSecond);  // clean
    EXPECT_TRUE((co_await lab.array->readd_disk(lab.disk(1))).has_value());
    model = lab.model;
    co_await lab.sleep(kHour);
  });
  rig.world.run_while([&] { return model.empty(); }, kHour);
  rig.world.run_until(rig.world.now() + kSecond);
  rig.node.power_loss();
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    lab.model = model;
    co_await lab.open();
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4))).has_value());
    EXPECT_EQ(lab.member(1).state, MemberState::rebuilding);
    co_await lab.array->recovered();
    EXPECT_TRUE(lab.array->redundancy_full());
    EXPECT_LE(lab.io(Cause::rebuild).write_bytes, 8 * 128 * kKiB);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    co_await lab.finish();
  }));
}

// ---- how much it is in the way ----------------------------------------------------------------------------------------------

struct Latencies {
  std::vector<Nanos> all;
  Nanos at(std::uint64_t per_mille) {
    std::sort(all.begin(), all.end());
    return all[all.size() * per_mille / 1000];
  }
};

// Eight clients that read and write 4 KiB at random with pauses, as long as `go` says.
Task<void> load(Lab& lab, Latencies& latencies, const std::function<bool()>& go) {
  TaskGroup clients(lab.env.scheduler());
  for (std::uint64_t client = 0; client < 8; ++client) {
    clients.spawn([](Lab& l, std::uint64_t seed, Latencies& to, const std::function<bool()>& more) -> Task<void> {
      Random random(seed);
      Buffer block = l.env.buffers().allocate(kBlockBytes);
      while (more()) {
        const std::uint64_t at = random.below(l.array->size_bytes() / kBlockBytes) * kBlockBytes;
        const Nanos from = l.env.scheduler().now();
        const Errc status =
            random.percent(70) ? co_await Io::read(*l.array, at, block) : co_await Io::write(*l.array, at, block);
        EXPECT_EQ(status, Errc::ok);
        to.all.push_back(l.env.scheduler().now() - from);
        co_await l.sleep(static_cast<Nanos>(random.below(8)) * kMillisecond);
      }
    }(lab, client, latencies, go));
  }
  co_await clients.join();
}

TEST(Recovery, AtSpeedMinTheForegroundWaitsAtMostTwiceAsLong) {
  for (const char* model : {"hdd", "sata-ssd"}) {
    for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
      if (model == std::string("sata-ssd") && level != Level::raid5) continue;
      run(
          5,
          [level](Lab& lab) -> Task<void> {
            co_await lab.create(config(level), 4, 1);
            EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
            const Nanos until = lab.env.scheduler().now() + 8 * kSecond;
            Latencies healthy;
            co_await load(lab, healthy, [&] { return lab.env.scheduler().now() < until; });
            EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
            Latencies busy;
            const Nanos from = lab.env.scheduler().now();
            co_await load(lab, busy, [&] { return !lab.array->redundancy_full(); });
            const Nanos took = lab.env.scheduler().now() - from;
            EXPECT_GE(took, 7 * kSecond) << name(level);  // 8 MiB at 1 MiB/s
            EXPECT_LE(took, 9 * kSecond) << name(level);
            EXPECT_EQ(lab.array->status().last_recovery.limited_by, LimitedBy::speed_min);
            EXPECT_GT(healthy.at(990), 0);
            EXPECT_LE(busy.at(990), 2 * healthy.at(990)) << name(level);
          },
          9 * kMiB, *disk_preset(model));
    }
  }
}

TEST(Recovery, TellsTheRateOfTheLastSecond) {
  ArrayTuning tuning;
  tuning.speed_min = kMiB;
  tuning.speed_max = 8 * kMiB;
  run(
      5,
      [tuning](Lab& lab) -> Task<void> {
        co_await lab.create(config(Level::raid5, Consistency::resync, tuning), 4, 1);
        EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
        co_await lab.sleep(2 * kSecond);
        const RecoveryStatus fast = lab.array->status().recovery;
        EXPECT_GE(fast.rate, 7 * kMiB);
        EXPECT_LE(fast.rate, 9 * kMiB);
        for (unsigned i = 0; i < 300; ++i) {  // the foreground is busy now
          EXPECT_EQ(co_await lab.write(0, 4 * kKiB, 2), Errc::ok);
          co_await lab.sleep(10 * kMillisecond);
        }
        const RecoveryStatus slow = lab.array->status().recovery;
        EXPECT_GE(slow.rate, kMiB / 2);
        EXPECT_LE(slow.rate, 2 * kMiB);
        EXPECT_EQ(slow.limited_by, LimitedBy::speed_min);
        co_await lab.array->recovered();
        EXPECT_GT(lab.array->status().last_recovery.rate, 2 * kMiB);
      },
      33 * kMiB);
}

// ---- slow members -----------------------------------------------------------------------------------------------------------

ArrayTuning impatient() {
  ArrayTuning tuning;
  tuning.slow_member_ms = 20;
  tuning.slow_member_after_ms = 2000;
  return tuning;
}

Task<void> some_reads(Lab& lab, Nanos duration) {
  const Nanos end = lab.env.scheduler().now() + duration;
  Random random(3);
  while (lab.env.scheduler().now() < end) {
    const std::uint64_t at = random.below(lab.array->size_bytes() / (64 * kKiB)) * 64 * kKiB;
    EXPECT_EQ(co_await lab.verify(at, 64 * kKiB), Errc::ok);
    co_await lab.sleep(kMillisecond);
  }
}

TEST(SlowMember, IsToldThenKickedAndReplaced) {
  run(5, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5, Consistency::resync, impatient()), 4, 1);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    lab.disks[2]->slow({.factor_percent = 100, .add = 50 * kMillisecond});
    const Nanos from = lab.env.scheduler().now();
    co_await some_reads(lab, kSecond);
    EXPECT_EQ(lab.recorder.count(EventKind::member_slow), 0u);  // not at once
    co_await some_reads(lab, 3 * kSecond);
    EXPECT_EQ(lab.recorder.count(EventKind::member_slow), 1u);
    Nanos told = 0, failed = 0;
    for (const ArrayEvent& event : lab.recorder.events) {
      if (event.kind == EventKind::member_slow) {
        EXPECT_EQ(event.member, "d2");
        EXPECT_GE(event.value, 20'000u);
        told = event.at;
      }
      if (event.kind == EventKind::member_failed) {
        EXPECT_GT(told, 0);
        EXPECT_EQ(event.error, Errc::timeout);
        failed = event.at;
      }
    }
    EXPECT_GE(failed - from, 2 * kSecond);
    EXPECT_LE(failed - from, 3 * kSecond);
    co_await lab.array->recovered();
    EXPECT_TRUE(lab.array->redundancy_full());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
  });
}

TEST(SlowMember, StaysIfTheArrayNeedsItOrAllAreSlow) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5, Consistency::resync, impatient()), 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    for (auto& disk : lab.disks) disk->slow({.factor_percent = 100, .add = 50 * kMillisecond});
    co_await some_reads(lab, 5 * kSecond);
    EXPECT_EQ(lab.recorder.count(EventKind::member_slow), 0u);
    for (unsigned i = 0; i < 4; ++i) lab.disks[i]->clear(fault::FaultKind::slow);
    co_await some_reads(lab, 3 * kSecond);
    EXPECT_TRUE((co_await lab.array->fail_member("d0")).has_value());
    lab.disks[2]->slow({.factor_percent = 100, .add = 50 * kMillisecond});
    co_await some_reads(lab, 5 * kSecond);
    EXPECT_EQ(lab.recorder.count(EventKind::member_slow), 0u);
    EXPECT_EQ(lab.member(2).state, MemberState::in_sync);
  });
}

// ---- failed arrays --------------------------------------------------------------------------------------------------------

TEST(FailedArray, StillAnswersReadsOfWhatItsMembersHold) {
  run(4, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    lab.disks[0]->fail();
    lab.disks[3]->fail();
    EXPECT_NE(co_await lab.verify(0, kMiB), Errc::ok);
    EXPECT_EQ(lab.array->status().state, ArrayState::failed);
    const Geometry& geometry = lab.array->geometry();
    for (std::uint64_t at = 0; at < lab.array->size_bytes(); at += 16 * kKiB) {
      const std::uint32_t member = geometry.map(at).member;
      const bool lost = member == 0 || member == 3;
      EXPECT_EQ(co_await lab.verify(at, 4 * kKiB), lost ? Errc::unavailable : Errc::ok) << at;
    }
    EXPECT_EQ(co_await lab.write(0, 4 * kKiB, 2), Errc::unavailable);
  });
}

}  // namespace
}  // namespace resilver::raid
