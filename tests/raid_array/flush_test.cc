// A flush as the proof that storage is alive: it reaches every disk that the array needs, whether or not anything was written,
// and does not end well before each of them has answered or is durably excluded.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

constexpr std::uint32_t kTimeoutMs = 500;

struct Shape {
  const char* name;
  Level level;
  unsigned members;
  Consistency consistency = Consistency::bitmap;
  unsigned survives = 1;
};

const Shape kShapes[] = {
    {"raid0", Level::raid0, 4, Consistency::none, 0},
    {"raid1", Level::raid1, 2},
    {"raid4", Level::raid4, 4, Consistency::resync},
    {"raid5", Level::raid5, 4},
    {"raid5_journal", Level::raid5, 4, Consistency::journal},
    {"raid6", Level::raid6, 5, Consistency::bitmap, 2},
    {"raid10", Level::raid10, 4},
};

Task<void> create(Lab& lab, const Shape& shape, unsigned spares = 0) {
  ArrayTuning tuning;
  tuning.member_timeout_ms = kTimeoutMs;
  const ArrayConfig config{.level = shape.level,
                           .layout = {},
                           .chunk_bytes = 64 * kKiB,
                           .consistency = shape.consistency,
                           .bitmap_chunk_bytes = 0,
                           .name = "flush",
                           .tuning = tuning};
  co_await lab.open();
  ArrayDisks disks{lab.some(0, shape.members), lab.some(shape.members, spares), {}};
  if (shape.consistency == Consistency::journal) disks.journal = lab.disk(shape.members);
  auto made = co_await Array::create(lab.env.scheduler(), lab.env.buffers(), lab.env.random(), config, disks, true);
  CHECK(made.has_value());
  lab.take(std::move(*made));
  EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
  EXPECT_EQ(co_await lab.flush(), Errc::ok);
  co_await lab.sleep(kSecond);  // marked clean
}

class Flush : public testing::TestWithParam<Shape> {
 protected:
  void run(const std::function<Task<void>(Lab&)>& body) {
    Rig rig(8, 6 * kMiB, 1, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await body(lab);
      co_await lab.finish();
    }));
  }
  static std::vector<std::uint64_t> flushes(Lab& lab) {
    std::vector<std::uint64_t> counts;
    for (const auto* disk : lab.rig.disks) counts.push_back(disk->counters().flushes);
    return counts;
  }
};

TEST_P(Flush, ReachesEveryDiskThatIsNeededAlsoWhenNothingWasWritten) {
  run([](Lab& lab) -> Task<void> {
    co_await create(lab, GetParam());
    const auto before = flushes(lab);
    EXPECT_EQ(co_await lab.flush(), Errc::ok);
    const auto after = flushes(lab);
    const unsigned needed = GetParam().members + (GetParam().consistency == Consistency::journal ? 1 : 0);
    for (unsigned i = 0; i < after.size(); ++i) EXPECT_EQ(after[i] - before[i], i < needed ? 1u : 0u) << "disk " << i;
  });
}

// As many hung disks as the level survives are given up first, one more is an error, at once from then on.
TEST_P(Flush, WaitsForADiskThatHangs) {
  for (unsigned hung = 1; hung <= GetParam().survives + 1; ++hung) {
    run([hung](Lab& lab) -> Task<void> {
      co_await create(lab, GetParam());
      for (unsigned i = 0; i < hung; ++i) lab.disks[i]->hang();
      const Nanos begin = lab.env.scheduler().now();
      const bool survived = hung <= GetParam().survives;
      EXPECT_EQ(co_await lab.flush() == Errc::ok, survived) << hung;
      EXPECT_GE(lab.env.scheduler().now() - begin, kTimeoutMs * kMillisecond);
      for (unsigned i = 0; i < hung; ++i) EXPECT_EQ(lab.member(i).state, MemberState::faulty);
      const Nanos again = lab.env.scheduler().now();
      EXPECT_EQ(co_await lab.flush() == Errc::ok, survived) << hung;
      EXPECT_LT(lab.env.scheduler().now() - again, kTimeoutMs * kMillisecond / 2);
    });
  }
}

TEST_P(Flush, NeedsNoDiskThatHasFailed) {
  run([](Lab& lab) -> Task<void> {
    co_await create(lab, GetParam());
    lab.disks[0]->fail();
    for (int i = 0; i < 2; ++i) EXPECT_EQ(co_await lab.flush() == Errc::ok, GetParam().survives > 0) << i;
  });
}

// No write can be acknowledged without the journal's disk.
TEST(FlushOfAJournal, WaitsForTheJournalToo) {
  Rig rig(5, 6 * kMiB, 1, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await create(lab, {"", Level::raid5, 4, Consistency::journal});
    lab.disks[4]->hang();
    const Nanos begin = env.scheduler().now();
    EXPECT_EQ(co_await lab.flush(), Errc::unavailable);
    EXPECT_GE(env.scheduler().now() - begin, kTimeoutMs * kMillisecond);
    EXPECT_EQ(co_await lab.flush(), Errc::unavailable);
    EXPECT_EQ(co_await lab.write(0, kBlockBytes, 2), Errc::unavailable);
    co_await lab.finish();
  }));
}

// Rule 3: also the members in the making, below their watermarks.
TEST(FlushOfNewMembers, ReachesARebuildingMemberAndAReplacement) {
  for (const bool replace : {false, true}) {
    Rig rig(5, 6 * kMiB, 1, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await create(lab, {"", Level::raid5, 4}, 1);
      for (unsigned i = 0; i < 4; ++i)
        lab.disks[i]->slow({.factor_percent = 100, .add = 50 * kMillisecond, .bandwidth = 0});
      if (replace) {
        EXPECT_TRUE(co_await lab.array->replace_member("d1"));
      } else {
        EXPECT_TRUE(co_await lab.array->fail_member("d1"));
      }
      co_await lab.sleep(100 * kMillisecond);
      EXPECT_FALSE(lab.array->status().recovery.kind == RecoveryKind::none);
      const std::uint64_t before = rig.disks[4]->counters().flushes;
      EXPECT_EQ(co_await lab.flush(), Errc::ok);
      EXPECT_GT(rig.disks[4]->counters().flushes, before);
      co_await lab.finish();
    }));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Flush, testing::ValuesIn(kShapes),
                         [](const testing::TestParamInfo<Shape>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace resilver::raid
