// RAID 10 near-2, with even and odd numbers of members, and RAID 0 and linear whose members are of unequal size.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

ArrayConfig config(Level level, std::uint64_t chunk, Consistency consistency = Consistency::resync,
                   ArrayTuning tuning = {}) {
  return {.level = level,
          .layout = {},
          .chunk_bytes = chunk,
          .consistency = consistency,
          .bitmap_chunk_bytes = consistency == Consistency::bitmap ? 65536u : 0u,
          .name = "ten",
          .tuning = tuning};
}

Task<void> some_io(Lab& lab, std::uint64_t seed, const std::string& what) {
  const std::uint64_t blocks = lab.array->size_bytes() / kBlockBytes;
  Random random(seed);
  for (std::uint64_t i = 0; i < 10; ++i) {
    const std::uint64_t length = 1 + random.below(std::min<std::uint64_t>(blocks, 60));
    const std::uint64_t at = random.below(blocks - length + 1);
    if (i == 5) EXPECT_EQ(co_await lab.zero(at * kBlockBytes, length * kBlockBytes), Errc::ok) << what;
    if (i != 5) EXPECT_EQ(co_await lab.write(at * kBlockBytes, length * kBlockBytes, 10 + i, i == 1), Errc::ok) << what;
    EXPECT_EQ(co_await lab.verify(at * kBlockBytes, length * kBlockBytes), Errc::ok) << what;
  }
}

MemberSet set_of(std::uint32_t bits) { return MemberSet::from_bits(bits); }

TEST(Raid10, SurvivesEveryLossThatLeavesACopy) {
  for (const std::uint32_t members : {2u, 3u, 4u, 5u, 6u}) {
    for (const std::uint64_t chunk : {4 * kKiB, 64 * kKiB, 256 * kKiB}) {
      Rig rig(members, kMiB + 4 * chunk);
      for (std::uint32_t lost = 0; lost < 1u << members; ++lost) {
        if (std::popcount(lost) > 3) continue;
        const std::string what =
            std::to_string(members) + " members, chunk " + std::to_string(chunk) + ", lost " + std::to_string(lost);
        ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
          Lab lab(env, rig);
          co_await lab.create(config(Level::raid10, chunk), members);
          EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
          MemberSet gone;
          for (const std::uint32_t slot : set_of(lost)) {
            const bool survives = lab.array->geometry().survives(gone | MemberSet{slot});
            const Status done = co_await lab.array->fail_member("d" + std::to_string(slot));
            EXPECT_EQ(done.has_value(), survives) << what;
            if (done) gone.add(slot);
          }
          co_await some_io(lab, lost, what);
          EXPECT_EQ(co_await lab.verify_all(), Errc::ok) << what;
          EXPECT_EQ(lab.array->status().redundancy_left, gone.empty() ? 1u : 0u) << what;
          co_await lab.finish();
        }));
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST(Raid10, RebuildsTwoMembersOfDifferentPairsUnderWrites) {
  for (const unsigned members : {3u, 4u, 5u}) {
    Rig rig(members + 2, 3 * kMiB, members, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      ArrayTuning unhurried;
      unhurried.speed_min = 0;
      unhurried.speed_max = 20 * kMiB;
      co_await lab.create(config(Level::raid10, 64 * kKiB, Consistency::resync, unhurried), members, 2);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      EXPECT_TRUE((co_await lab.array->fail_member("d0")).has_value());
      if (members > 3) EXPECT_TRUE((co_await lab.array->fail_member("d2")).has_value());
      Random random(5);
      for (std::uint64_t i = 0; i < 200 || !lab.array->redundancy_full(); ++i) {
        if (i == 20000) break;
        const std::uint64_t length = 1 + random.below(60);
        const std::uint64_t at = random.below(lab.array->size_bytes() / kBlockBytes - length + 1);
        if (i % 2 == 0) EXPECT_EQ(co_await lab.write(at * kBlockBytes, length * kBlockBytes, 10 + i), Errc::ok);
        if (i % 2 == 1) EXPECT_EQ(co_await lab.verify(at * kBlockBytes, length * kBlockBytes), Errc::ok);
      }
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_EQ(co_await lab.mismatches(), 0u) << members;
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok) << members;
      co_await lab.finish();
    }));
  }
}

TEST(Raid10, ScrubFindsAndRepairsWhatDiffers) {
  for (const unsigned members : {3u, 4u}) {
    Rig rig(members, 3 * kMiB, 6, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.create(config(Level::raid10, 64 * kKiB), members);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      std::vector<std::uint64_t> wrong;
      for (const std::uint64_t at : {0 * kKiB, 4 * kKiB, 200 * kKiB}) {
        EXPECT_TRUE((co_await lab.disks[1]->corrupt({lab.array->data_offset_bytes() + at, kBlockBytes}, env.buffers(),
                                                    env.random()))
                        .has_value());
        wrong.push_back(*lab.array->geometry().logical_at(1, at));
      }
      EXPECT_EQ(co_await lab.mismatches(), 24u);
      std::vector<std::uint64_t> found;
      for (const auto& mismatch : lab.array->status().mismatches) found.push_back(mismatch.logical.value_or(1));
      std::sort(wrong.begin(), wrong.end());
      EXPECT_EQ(found, wrong);
      EXPECT_EQ(co_await lab.mismatches(true), 24u);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      co_await lab.finish();
    }));
  }
}

TEST(Raid10, ResyncAfterACrashReadsOnlyDirtyRegions) {
  for (const unsigned members : {3u, 4u}) {
    Rig rig(members, 17 * kMiB, 3, quick_disk());
    rig.node.start([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.create(config(Level::raid10, 64 * kKiB, Consistency::bitmap), members);
      EXPECT_EQ(co_await lab.write(0, 4 * kKiB, 1), Errc::ok);
      EXPECT_EQ(co_await lab.write(20 * kMiB, 4 * kKiB, 1), Errc::ok);
      co_await lab.sleep(kHour);
    });
    rig.world.run_until(150 * kMillisecond);
    rig.node.crash();
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.open();
      EXPECT_TRUE((co_await lab.assemble(lab.some(0, members))).has_value());
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_GT(lab.io(Cause::resync).read_bytes, 0u);
      EXPECT_LE(lab.io(Cause::resync).read_bytes, 2 * 2 * 128 * kKiB);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      co_await lab.finish();
    }));
  }
}

TEST(Raid10, RebuildReadsAndWritesEachBlockOnce) {
  for (const unsigned members : {3u, 4u}) {
    Rig rig(members + 1, 9 * kMiB, 6, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.create(config(Level::raid10, 64 * kKiB), members, 1);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_EQ(lab.io(Cause::rebuild).read_bytes, 8 * kMiB);
      EXPECT_EQ(lab.io(Cause::rebuild).write_bytes, 8 * kMiB);
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      co_await lab.finish();
    }));
  }
}

TEST(Mirror, ReadsAreSharedAmongTheCopies) {
  Rig rig(8, 3 * kMiB, 6, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid1, 64 * kKiB), 8);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    TaskGroup readers(env.scheduler());
    for (std::uint64_t reader = 0; reader < 16; ++reader) {
      readers.spawn([](Lab& l, std::uint64_t seed) -> Task<void> {
        Random random(seed);
        for (unsigned i = 0; i < 50; ++i) {
          EXPECT_EQ(co_await l.verify(random.below(500) * kBlockBytes, kBlockBytes), Errc::ok);
        }
      }(lab, reader));
    }
    co_await readers.join();
    for (unsigned slot = 0; slot < 8; ++slot) {
      EXPECT_GE(lab.member(slot).io.reads, 80u) << slot;  // 100 each would be even
      EXPECT_LE(lab.member(slot).io.reads, 120u) << slot;
    }
    co_await lab.finish();
  }));
}

void uses_all_of_unequal_members(const ArrayConfig& made, std::uint64_t bytes) {
  Rig rig(0, 0, 8, quick_disk());
  const std::uint64_t sizes[] = {3 * kMiB, 5 * kMiB + 20 * kKiB, 2 * kMiB, 5 * kMiB};
  for (unsigned i = 0; i < 4; ++i) {
    const std::string name = "d" + std::to_string(i);
    rig.disks.push_back(&rig.world.add_disk(name, sizes[i], {.model = quick_disk()}));
    rig.node.attach_disk(name, *rig.disks.back());
  }
  std::vector<std::byte> model;
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(made, 4);
    EXPECT_EQ(lab.array->size_bytes(), bytes);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    co_await some_io(lab, 1, "zones");
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    model = lab.model;
    co_await lab.finish();
  }));
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    lab.model = model;
    co_await lab.open();
    EXPECT_TRUE((co_await lab.assemble({lab.disk(3), lab.disk(1), lab.disk(0), lab.disk(2)})).has_value());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    co_await lab.array->stop();
    lab.array.reset();
    const Status missing = co_await lab.assemble(lab.some(0, 3));
    EXPECT_FALSE(missing.has_value());
    if (!missing) EXPECT_EQ(missing.error().code, Errc::unavailable);
  }));
}

TEST(UnequalMembers, AreAllUsedAndOpenAgain) {
  uses_all_of_unequal_members(config(Level::raid0, 64 * kKiB), (2 + 4 + 1 + 4) * kMiB);
  uses_all_of_unequal_members(config(Level::linear, 64 * kKiB), (2 + 4 + 1 + 4) * kMiB);
  uses_all_of_unequal_members(config(Level::linear, 0), (2 + 4 + 1 + 4) * kMiB + 20 * kKiB);
}

}  // namespace
}  // namespace resilver::raid
