// Removing, replacing and re-adding disks; the numbers of disks in the superblock.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

ArrayConfig config(Level level, Consistency consistency = Consistency::resync, ArrayTuning tuning = {}) {
  tuning.member_timeout_ms = 500;
  return array_config(level, "membership", consistency, tuning, 65536);
}

ArrayTuning slowly(std::uint64_t speed = kMiB) {
  ArrayTuning tuning;
  tuning.speed_max = speed;
  tuning.checkpoint_ms = 100;
  return tuning;
}

void run(unsigned disks, const std::function<Task<void>(Lab&)>& body, std::uint64_t bytes = 3 * kMiB) {
  Rig rig(disks, bytes, 1, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await body(lab);
    if (lab.array) co_await lab.finish();
  }));
}

MemberStatus of(Lab& lab, const std::string& disk) {
  for (const auto& member : lab.array->status().members) {
    if (member.name == disk) return member;
  }
  return {};
}

TEST(Membership, FaultyDisksAndSparesAreRemovedAndTheirNumbersUsedAgain) {
  run(5, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    EXPECT_EQ((co_await lab.array->remove_disk("d1")).error().code, Errc::busy);
    EXPECT_EQ((co_await lab.array->remove_disk("d9")).error().code, Errc::not_found);
    for (unsigned round = 0; round < 200; ++round) {  // far more than the 128 numbers of one sector
      const unsigned out = round % 2 == 0 ? 1 : 4;
      const unsigned in = round % 2 == 0 ? 4 : 1;
      EXPECT_TRUE((co_await lab.array->fail_member(lab.disk(out).name)).has_value());
      EXPECT_TRUE((co_await lab.array->remove_disk(lab.disk(out).name)).has_value());
      EXPECT_EQ(lab.member(1).state, MemberState::missing);
      EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(in))).has_value());
      EXPECT_TRUE(co_await lab.whole());
    }
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(4))).has_value());
    EXPECT_EQ(lab.array->status().members.size(), 5u);
    EXPECT_TRUE((co_await lab.array->remove_disk("d4")).has_value());
    EXPECT_EQ(lab.array->status().members.size(), 4u);
    Buffer block = lab.env.buffers().allocate(kBlockBytes);
    EXPECT_EQ(co_await Io::read(*lab.disks[0], 4096, block), Errc::ok);
    std::uint32_t max_dev = 0;
    std::memcpy(&max_dev, block.data() + 220, 4);
    EXPECT_EQ(max_dev, 128u);
    // A removed disk that comes back is not taken for what it was, nor for a spare.
    co_await lab.array->stop();
    lab.array.reset();
    AssemblyReport report;
    auto again =
        co_await Array::assemble(lab.env.scheduler(), lab.env.buffers(), lab.env.random(), {}, lab.some(0, 5), &report);
    CHECK(again.has_value());
    lab.take(std::move(*again));
    EXPECT_EQ(report.at(4).verdict, DiskVerdict::faulty);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
  });
}

// Commands may be given fewer images than the array has.
TEST(Membership, SpareThatWasAwayIsASpareStillAlsoIfItsNumberIsAnothers) {
  run(7, [](Lab& lab) -> Task<void> {
    co_await lab.create(config(Level::raid5), 4, 2);  // d4, d5
    EXPECT_TRUE((co_await lab.array->remove_disk("d5")).has_value());
    const auto reopen = [&lab](std::vector<MemberDisk> list, AssemblyReport& report) -> Task<void> {
      co_await lab.array->stop();
      lab.array.reset();
      auto again = co_await Array::assemble(lab.env.scheduler(), lab.env.buffers(), lab.env.random(), {},
                                            std::move(list), &report);
      CHECK(again.has_value());
      lab.take(std::move(*again));
    };
    AssemblyReport report;
    for (std::uint64_t version : {1, 2, 3}) {
      co_await reopen(lab.some(0, 4), report);
      EXPECT_EQ(co_await lab.write_all(version), Errc::ok);
    }
    co_await reopen(lab.some(0, 6), report);
    EXPECT_EQ(report.at(4).verdict, DiskVerdict::spare);
    EXPECT_EQ(report.at(5).verdict, DiskVerdict::faulty) << "it was removed";
    co_await reopen(lab.some(0, 4), report);
    EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(6))).has_value());  // with the number of d4
    EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_EQ(lab.member(1).name, "d6");
    co_await reopen(lab.some(0, 7), report);
    EXPECT_EQ(report.at(1).verdict, DiskVerdict::faulty);
    EXPECT_EQ(report.at(4).verdict, DiskVerdict::spare);
    EXPECT_EQ(report.at(5).verdict, DiskVerdict::faulty);
    EXPECT_EQ(report.at(6).slot, 1u);
    EXPECT_TRUE((co_await lab.array->fail_member("d0")).has_value());
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_EQ(lab.member(0).name, "d4");
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    co_await reopen(lab.some(0, 7), report);
    EXPECT_EQ(report.at(4).slot, 0u);
    EXPECT_EQ(report.at(6).slot, 1u);
  });
}

// ---- made with members missing ----

// On disks full of noise: what was written survives the loss of as many more as the level can bear.
TEST(Missing, ArrayMadeWithMembersMissingKeepsWhatIsWritten) {
  struct Case {
    Level level;
    unsigned members;
    std::vector<unsigned> missing;
    std::vector<unsigned> lost;
  };
  for (const Case& one : std::vector<Case>{{Level::raid5, 4, {1}, {}},
                                           {Level::raid6, 5, {0}, {3}},
                                           {Level::raid6, 5, {1, 4}, {}},
                                           {Level::raid1, 3, {0}, {1}},
                                           {Level::raid10, 4, {2}, {0}}}) {
    for (const Consistency consistency : {Consistency::resync, Consistency::bitmap}) {
      run(6, [&](Lab& lab) -> Task<void> {
        co_await lab.open();
        for (unsigned i = 0; i < 6; ++i) {
          Buffer noise = lab.env.buffers().allocate(64 * kKiB);
          for (std::size_t at = 0; at < noise.size(); ++at) noise.data()[at] = static_cast<std::byte>(at * 7 + i * 13);
          for (std::uint64_t at = 0; at < 3 * kMiB; at += noise.size()) {
            EXPECT_EQ(co_await Io::write(*lab.disks[i], at, noise), Errc::ok);
          }
        }
        ArrayDisks disks{lab.some(0, one.members), {}, {}};
        for (const unsigned slot : one.missing) disks.members[slot] = {};
        auto made = co_await Array::create(lab.env.scheduler(), lab.env.buffers(), lab.env.random(),
                                           config(one.level, consistency), disks, false);
        CHECK(made.has_value());
        lab.take(std::move(*made));
        co_await lab.array->recovered();
        EXPECT_EQ(lab.array->status().state, ArrayState::degraded);
        EXPECT_EQ(co_await lab.write(64 * kKiB, 128 * kKiB, 1), Errc::ok);
        co_await lab.array->stop();
        lab.array.reset();
        std::vector<MemberDisk> left;
        for (unsigned i = 0; i < one.members; ++i) {
          const bool gone = std::ranges::find(one.missing, i) != one.missing.end() ||
                            std::ranges::find(one.lost, i) != one.lost.end();
          if (!gone) left.push_back(lab.disk(i));
        }
        const Status started = co_await lab.assemble(left);
        EXPECT_TRUE(started.has_value()) << name(one.level);
        if (started) EXPECT_EQ(co_await lab.verify(64 * kKiB, 128 * kKiB), Errc::ok);
      });
    }
  }
}

TEST(Missing, MoreThanTheLevelSurvivesAreRefused) {
  run(5, [](Lab& lab) -> Task<void> {
    co_await lab.open();
    for (const auto& [level, gone] : {std::pair(Level::raid5, 2u), std::pair(Level::raid6, 3u),
                                      std::pair(Level::raid0, 1u), std::pair(Level::raid1, 5u)}) {
      ArrayDisks disks{lab.some(0, 5), {}, {}};
      for (unsigned i = 0; i < gone; ++i) disks.members[i] = {};
      const auto made =
          co_await Array::create(lab.env.scheduler(), lab.env.buffers(), lab.env.random(), config(level), disks, true);
      EXPECT_FALSE(made.has_value());
      if (!made) EXPECT_EQ(made.error().code, Errc::invalid_argument);
    }
  });
}

TEST(Missing, DataOffsetAndUuidAreAsGiven) {
  run(3, [](Lab& lab) -> Task<void> {
    co_await lab.open();
    ArrayConfig wanted = config(Level::raid5, Consistency::bitmap);
    wanted.level = Level::raid5;
    for (const std::uint64_t offset : {20480u, 12288u, 8192u, 1'048'576u, 139'264u}) {
      wanted.data_offset_bytes = offset;
      wanted.uuid.emplace();
      wanted.uuid->fill(0xab);
      wanted.bitmap_chunk_bytes = 0;
      wanted.consistency = offset >= 16384 ? Consistency::bitmap : Consistency::resync;
      auto made = co_await Array::create(lab.env.scheduler(), lab.env.buffers(), lab.env.random(), wanted,
                                         {lab.some(0, 3), {}, {}}, false);
      CHECK(made.has_value());
      lab.take(std::move(*made));
      EXPECT_EQ(lab.array->data_offset_bytes(), offset);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      co_await lab.array->stop();
      lab.array.reset();
      EXPECT_TRUE((co_await lab.assemble(lab.some(0, 3))).has_value()) << offset;
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      co_await lab.array->stop();
      lab.array.reset();
    }
    for (const std::uint64_t offset : {4096u, 0u, 8704u, 3u << 20}) {
      wanted.data_offset_bytes = offset;
      auto made = co_await Array::create(lab.env.scheduler(), lab.env.buffers(), lab.env.random(), wanted,
                                         {lab.some(0, 3), {}, {}}, true);
      EXPECT_FALSE(made.has_value()) << offset;
    }
  });
}

TEST(Replace, CopiesTheMemberWhileItIsReadAndWritten) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    run(5, [level](Lab& lab) -> Task<void> {
      co_await lab.create(config(level, Consistency::resync, slowly(4 * kMiB)), 4, 1);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      EXPECT_TRUE((co_await lab.array->replace_member("d1")).has_value());
      EXPECT_EQ((co_await lab.array->replace_member("d1")).error().code, Errc::unavailable);
      EXPECT_EQ((co_await lab.array->replace_member("d2")).error().code, Errc::unavailable);
      EXPECT_EQ(of(lab, "d4").state, MemberState::replacement);
      EXPECT_EQ(of(lab, "d4").slot, 1u);
      EXPECT_TRUE(lab.array->redundancy_full());
      Random random(5);
      std::uint64_t during = 0;
      for (std::uint64_t i = 0; i < 4000 && lab.member(1).name == "d1"; ++i) {
        if (lab.array->status().recovery.kind == RecoveryKind::replace) ++during;
        const std::uint64_t blocks = lab.array->size_bytes() / kBlockBytes;
        const std::uint64_t length = 1 + random.below(60);
        const std::uint64_t at = random.below(blocks - length + 1);
        if (i % 2 == 0) EXPECT_EQ(co_await lab.write(at * kBlockBytes, length * kBlockBytes, 10 + i), Errc::ok);
        if (i % 2 == 1) EXPECT_EQ(co_await lab.verify(at * kBlockBytes, length * kBlockBytes), Errc::ok);
      }
      EXPECT_GT(during, 20u);
      co_await lab.array->recovered();
      EXPECT_EQ(lab.member(1).name, "d4");
      EXPECT_EQ(lab.member(1).state, MemberState::in_sync);
      EXPECT_EQ(of(lab, "d1").state, MemberState::faulty);
      EXPECT_TRUE(lab.array->redundancy_full());
      EXPECT_EQ(co_await lab.mismatches(), 0u) << name(level);
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      EXPECT_EQ(lab.io(Cause::rebuild).read_bytes, lab.io(Cause::rebuild).write_bytes);  // one member read, one written
      EXPECT_TRUE((co_await lab.array->fail_member("d0")).has_value());
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);  // asks the new member
    });
  }
}

TEST(Replace, WhatTheOldMemberCannotReadComesFromRedundancy) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    run(5, [level](Lab& lab) -> Task<void> {
      co_await lab.create(config(level), 4, 1);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      for (const std::uint64_t at : {0 * kKiB, 68 * kKiB, 300 * kKiB}) {
        EXPECT_TRUE(lab.disks[1]->latent({lab.array->data_offset_bytes() + at, kBlockBytes}).has_value());
      }
      EXPECT_TRUE((co_await lab.array->replace_member("d1")).has_value());
      co_await lab.array->recovered();
      EXPECT_EQ(lab.member(1).name, "d4");
      EXPECT_EQ(lab.member(1).bad_blocks, 0u);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    });
  }
}

TEST(Replace, IfTheOldMemberDiesTheRestIsRebuilt) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    run(
        5,
        [level](Lab& lab) -> Task<void> {
          co_await lab.create(config(level, Consistency::resync, slowly(4 * kMiB)), 4, 1);
          EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
          EXPECT_TRUE((co_await lab.array->replace_member("d1")).has_value());
          co_await lab.sleep(kSecond);
          const std::uint64_t copied = of(lab, "d4").rebuilt_bytes;
          EXPECT_GT(copied, 2 * kMiB);
          EXPECT_EQ(co_await lab.write(0, kMiB, 2), Errc::ok);  // reaches the copy too
          lab.disks[1]->fail();
          EXPECT_EQ(co_await lab.write(kMiB, kMiB, 3), Errc::ok);
          EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
          EXPECT_EQ(lab.member(1).name, "d4");
          EXPECT_EQ(lab.member(1).state, MemberState::rebuilding);
          EXPECT_GE(lab.member(1).rebuilt_bytes, copied);
          EXPECT_TRUE(co_await lab.whole());
          EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
          EXPECT_EQ(co_await lab.mismatches(), 0u) << name(level);
        },
        9 * kMiB);
  }
}

TEST(Replace, IfTheNewDiskDiesTheOldMemberStays) {
  run(
      5,
      [](Lab& lab) -> Task<void> {
        co_await lab.create(config(Level::raid5, Consistency::bitmap, slowly(4 * kMiB)), 4, 1);
        EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
        EXPECT_TRUE((co_await lab.array->replace_member("d1")).has_value());
        co_await lab.sleep(kSecond);
        lab.disks[4]->fail();
        EXPECT_EQ(co_await lab.write(0, kMiB, 2), Errc::ok);
        EXPECT_EQ(of(lab, "d4").state, MemberState::faulty);
        EXPECT_TRUE(lab.array->redundancy_full());
        co_await lab.array->recovered();
        EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
        EXPECT_EQ(co_await lab.mismatches(), 0u);
      },
      9 * kMiB);
}

// Killed at several moments; then goes on at the checkpoint, for the array was clean.
TEST(Replace, GoesOnAfterACrash) {
  for (const Nanos life : {1500 * kMillisecond, 4 * kSecond, 9500 * kMillisecond, 9900 * kMillisecond, 20 * kSecond}) {
    Rig rig(5, 9 * kMiB, 1, quick_disk());
    std::vector<std::byte> model;
    Nanos begun = 0;
    rig.node.start([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.create(config(Level::raid5, Consistency::bitmap, slowly()), 4, 1);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      co_await lab.sleep(kSecond);  // clean
      model = lab.model;
      EXPECT_TRUE((co_await lab.array->replace_member("d1")).has_value());
      begun = env.scheduler().now();
      co_await lab.sleep(kHour);
    });
    rig.world.run_while([&] { return begun == 0; }, kHour);
    rig.world.run_until(rig.world.now() + life);
    rig.node.power_loss();
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      lab.model = model;
      co_await lab.open();
      EXPECT_TRUE((co_await lab.assemble(lab.some(0, 5), {.tuning = slowly()})).has_value());
      EXPECT_TRUE(lab.array->redundancy_full());
      co_await lab.array->recovered();
      EXPECT_EQ(lab.member(1).name, "d4") << life;
      EXPECT_EQ(lab.member(1).state, MemberState::in_sync);
      const std::uint64_t total = lab.array->geometry().member_bytes();
      const std::uint64_t before = static_cast<std::uint64_t>(life) * kMiB / kSecond;
      const std::uint64_t saved = before > total ? total : before - 512 * kKiB;
      EXPECT_LE(lab.io(Cause::rebuild).write_bytes, total - saved) << life;
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      co_await lab.finish();
    }));
  }
}

TEST(ReAdd, CopiesOnlyWhatWasWrittenMeanwhile) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    run(
        5,
        [level](Lab& lab) -> Task<void> {
          ArrayTuning tuning;
          tuning.bitmap_sleep_ms = 50;
          co_await lab.create(config(level, Consistency::bitmap, tuning), 4);
          EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
          co_await lab.sleep(kSecond);  // bits are cleared
          EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
          EXPECT_EQ(co_await lab.write(64 * kKiB, 4 * kKiB, 2), Errc::ok);
          EXPECT_EQ(co_await lab.write(5 * kMiB, 300 * kKiB, 3), Errc::ok);
          co_await lab.sleep(kSecond);  // no bit may be cleared now
          EXPECT_EQ((co_await lab.array->readd_disk(lab.disk(4))).error().code, Errc::not_found);
          EXPECT_TRUE((co_await lab.array->readd_disk(lab.disk(1))).has_value());
          EXPECT_EQ((co_await lab.array->readd_disk(lab.disk(1))).error().code, Errc::exists);
          EXPECT_TRUE(co_await lab.whole());
          const auto written = lab.io(Cause::rebuild).write_bytes;
          EXPECT_GT(written, 0u);
          EXPECT_LE(written, 6 * 128 * kKiB) << name(level);
          EXPECT_EQ(co_await lab.mismatches(), 0u) << name(level);
          EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
          EXPECT_TRUE((co_await lab.array->fail_member("d0")).has_value());
          EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
        },
        9 * kMiB);
  }
}

TEST(ReAdd, WritesGoOnMeanwhile) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    run(
        4,
        [level](Lab& lab) -> Task<void> {
          ArrayTuning tuning = slowly(2 * kMiB);
          tuning.bitmap_sleep_ms = 50;
          co_await lab.create(config(level, Consistency::bitmap, tuning), 4);
          EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
          co_await lab.sleep(kSecond);
          Random random(7);
          for (unsigned round = 0; round < 3; ++round) {
            EXPECT_TRUE((co_await lab.array->fail_member("d2")).has_value());
            for (std::uint64_t i = 0; i < 8; ++i) {
              const std::uint64_t at = random.below(lab.array->size_bytes() / kBlockBytes);
              EXPECT_EQ(co_await lab.write(at * kBlockBytes, kBlockBytes, 100 + i), Errc::ok);
            }
            EXPECT_TRUE((co_await lab.array->readd_disk(lab.disk(2))).has_value());
            for (std::uint64_t i = 0; i < 3000 && !lab.array->redundancy_full(); ++i) {
              const std::uint64_t length = 1 + random.below(40);
              const std::uint64_t at = random.below(lab.array->size_bytes() / kBlockBytes - length + 1);
              if (i % 4 == 0) EXPECT_EQ(co_await lab.write(at * kBlockBytes, length * kBlockBytes, 200 + i), Errc::ok);
              if (i % 4 != 0) EXPECT_EQ(co_await lab.verify(at * kBlockBytes, length * kBlockBytes), Errc::ok);
            }
            EXPECT_TRUE(co_await lab.whole());
            EXPECT_EQ(co_await lab.mismatches(), 0u) << name(level);
          }
          EXPECT_TRUE((co_await lab.array->fail_member("d0")).has_value());
          EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
        },
        9 * kMiB);
  }
}

// A write locks first and sets its bit later (its array was clean): a window that found no bit may have waited for it.
TEST(ReAdd, AWriteThatSetsItsBitLateIsNotMissed) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid10}) {
    run(
        4,
        [level](Lab& lab) -> Task<void> {
          ArrayTuning tuning;
          tuning.bitmap_sleep_ms = 20;
          tuning.idle_clean_ms = 5;
          co_await lab.create(config(level, Consistency::bitmap, tuning), 4);
          EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
          co_await lab.sleep(kSecond);
          for (unsigned round = 0; round < 40; ++round) {
            EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
            EXPECT_EQ(co_await lab.write(0, 4 * kKiB, round), Errc::ok);
            co_await lab.sleep(100 * kMillisecond);  // clean
            TaskGroup both(lab.env.scheduler());
            both.spawn(
                [](Lab& l) -> Task<void> { EXPECT_TRUE((co_await l.array->readd_disk(l.disk(1))).has_value()); }(lab));
            co_await lab.sleep(round * 20 * kMicrosecond);
            EXPECT_EQ(co_await lab.write(3 * kMiB, 4 * kKiB, 100 + round), Errc::ok);
            co_await both.join();
            EXPECT_TRUE(co_await lab.whole());
            EXPECT_EQ(co_await lab.mismatches(), 0u) << name(level) << " " << round;
            co_await lab.sleep(100 * kMillisecond);
          }
        },
        5 * kMiB);
  }
}

TEST(ReAdd, IsRefusedWhenBitsThatItNeedsWereCleared) {
  run(5, [](Lab& lab) -> Task<void> {
    ArrayTuning tuning;
    tuning.bitmap_sleep_ms = 50;
    co_await lab.create(config(Level::raid5, Consistency::bitmap, tuning), 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
    EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(4))).has_value());
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_EQ(co_await lab.write_all(2), Errc::ok);
    co_await lab.sleep(kSecond);
    EXPECT_EQ((co_await lab.array->readd_disk(lab.disk(1))).error().code, Errc::not_found);  // its slot is taken
    EXPECT_TRUE((co_await lab.array->fail_member("d4")).has_value());
    EXPECT_EQ((co_await lab.array->readd_disk(lab.disk(1))).error().code, Errc::unavailable);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
  });
}

}  // namespace
}  // namespace resilver::raid
