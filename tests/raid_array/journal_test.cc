// Arrays with a journal disk: the log wraps, is replayed, and its loss stops writes. Cuts at every write are in tests/crash.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

constexpr std::uint64_t kChunk = 16 * kKiB;

ArrayConfig config(Level level) {
  return {.level = level,
          .layout = {},
          .chunk_bytes = kChunk,
          .consistency = Consistency::journal,
          .bitmap_chunk_bytes = 0,
          .name = "journal",
          .tuning = {}};
}

// Disks 0 .. members-1, and the journal behind them. 8 MiB: two are left for the log, which so wraps soon.
struct JournalLab : Lab {
  JournalLab(Env& environment, Rig& r, unsigned count) : Lab(environment, r), members(count) {}

  Task<void> create_journalled(Level level) {
    co_await open();
    auto made = co_await Array::create(env.scheduler(), env.buffers(), env.random(), config(level),
                                       {some(0, members), {}, disk(members)}, true);
    CHECK(made.has_value(), "create");
    take(std::move(*made));
  }

  unsigned members;
};

void run(unsigned members, const std::function<Task<void>(JournalLab&)>& body) {
  Rig rig(members + 1, 8 * kMiB, 1, quick_disk(20 * kMicrosecond));
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    JournalLab lab(env, rig, members);
    co_await body(lab);
    if (lab.array) co_await lab.finish();
  }));
}

Task<void> random_writes(JournalLab& lab, std::uint64_t seed, unsigned count) {
  Random random(seed);
  for (unsigned i = 0; i < count; ++i) {
    const std::uint64_t blocks = 1 + random.below(24);
    const std::uint64_t at = random.below(lab.array->size_bytes() / kBlockBytes - blocks) * kBlockBytes;
    EXPECT_EQ(co_await lab.write(at, blocks * kBlockBytes, seed * 1000 + i), Errc::ok);
  }
}

TEST(Journal, TheLogWrapsManyTimesAndNothingIsLost) {
  for (const Level level : {Level::raid4, Level::raid5, Level::raid6}) {
    run(4, [level](JournalLab& lab) -> Task<void> {
      co_await lab.create_journalled(level);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      co_await random_writes(lab, 2, 400);
      // Everything goes through a log of some MiB: it was won back many times.
      EXPECT_GT(lab.member(4).io.write_bytes, 20 * kMiB);
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      co_await lab.finish();
      EXPECT_TRUE((co_await lab.assemble(lab.some(0, 5))).has_value());
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      EXPECT_EQ(lab.member(4).state, MemberState::journal);
    });
  }
}

// Writers, until they are killed, of every third block of a region: the two between must keep what they had.
constexpr std::uint64_t kRegion = 96 * kBlockBytes;
constexpr std::uint64_t kWriters = 8;

Task<void> write_thirds(JournalLab& lab, std::uint64_t writer) {
  for (std::uint64_t version = 2;; ++version) {
    for (std::uint64_t at = writer * 3 * kBlockBytes; at < kRegion; at += kWriters * 3 * kBlockBytes) {
      co_await lab.write(at, kBlockBytes, version);
    }
  }
}

bool is_quiet(std::uint64_t at) { return at >= kRegion || at / kBlockBytes % 3 != 0; }

TEST(Journal, AKilledArrayWithALostMemberIsRightAfterReplay) {
  constexpr unsigned kMembers = 4;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Rig rig(kMembers + 1, 8 * kMiB, seed, quick_disk(20 * kMicrosecond));
    std::vector<std::byte> model;
    bool begun = false;
    rig.node.start([&](Env& env) -> Task<void> {
      JournalLab lab(env, rig, kMembers);
      co_await lab.create_journalled(Level::raid5);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
      EXPECT_EQ(co_await lab.flush(), Errc::ok);
      model = lab.model;
      begun = true;
      TaskGroup writers(env.scheduler());
      for (std::uint64_t i = 0; i < kWriters; ++i) writers.spawn(write_thirds(lab, i));
      co_await writers.join();
    });
    rig.world.run_while([&] { return !begun; }, rig.world.now() + 10 * kHour);
    rig.world.run_while([] { return true; }, rig.world.now() + static_cast<Nanos>(seed * 170 * kMicrosecond));
    rig.node.power_loss();
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      JournalLab lab(env, rig, kMembers);
      co_await lab.open();
      const Status assembled = co_await lab.assemble(lab.some(0, kMembers + 1));
      EXPECT_TRUE(assembled.has_value()) << (assembled ? "" : assembled.error().what);
      if (!assembled) co_return;
      lab.model = model;
      for (std::uint64_t at = 0; at < lab.array->size_bytes(); at += kBlockBytes) {
        if (is_quiet(at))
          EXPECT_EQ(co_await lab.verify(at, kBlockBytes), Errc::ok) << "seed " << seed << " block " << at / kBlockBytes;
      }
      co_await lab.finish();
    }));
  }
}

TEST(Journal, WithoutItsDiskAnArrayIsStartedOnlyByForce) {
  run(4, [](JournalLab& lab) -> Task<void> {
    co_await lab.create_journalled(Level::raid5);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    co_await lab.finish();
    const Status refused = co_await lab.assemble(lab.some(0, 4));
    EXPECT_FALSE(refused.has_value());
    if (!refused) EXPECT_EQ(refused.error().code, Errc::unavailable);
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4), {.tuning = {}, .force = true})).has_value());
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(co_await lab.write(0, kMiB, 2), Errc::ok);  // by resync from now on
    EXPECT_EQ(co_await lab.mismatches(), 0u);
    co_await lab.finish();
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4))).has_value());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
  });
}

TEST(Journal, ADeadJournalRefusesWritesAndReadsGoOn) {
  run(4, [](JournalLab& lab) -> Task<void> {
    co_await lab.create_journalled(Level::raid6);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    lab.disks[4]->fail();
    std::vector<std::byte> before = lab.model;
    EXPECT_EQ(co_await lab.write(0, kBlockBytes, 2), Errc::unavailable);
    EXPECT_EQ(co_await lab.write(8 * kMiB, kMiB, 2), Errc::unavailable);
    lab.model = before;
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(lab.member(4).state, MemberState::faulty);
    EXPECT_EQ(lab.recorder.count(EventKind::member_failed), 1u);
  });
}

TEST(Journal, FailedByHandItRefusesWritesUntilTheArrayStartsWithoutIt) {
  run(4, [](JournalLab& lab) -> Task<void> {
    co_await lab.create_journalled(Level::raid5);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    const std::vector<std::byte> before = lab.model;
    EXPECT_TRUE((co_await lab.array->fail_member("d4")).has_value());
    EXPECT_EQ(lab.member(4).state, MemberState::faulty);
    EXPECT_TRUE(lab.array->status().journal_missing);
    EXPECT_EQ(co_await lab.write(0, kBlockBytes, 2), Errc::unavailable);
    lab.model = before;
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    co_await lab.finish();
    const Status refused = co_await lab.assemble(lab.some(0, 5));
    EXPECT_FALSE(refused.has_value());
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 5), {.tuning = {}, .force = true})).has_value());
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(co_await lab.write(0, kMiB, 2), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

TEST(Journal, OfADegradedArrayIsNotFailedByHand) {
  run(4, [](JournalLab& lab) -> Task<void> {
    co_await lab.create_journalled(Level::raid5);
    EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
    const Status refused = co_await lab.array->fail_member("d4");
    EXPECT_FALSE(refused.has_value());
    EXPECT_EQ(co_await lab.write(0, kMiB, 2), Errc::ok);
    EXPECT_EQ(lab.member(4).state, MemberState::journal);
  });
}

// A new journal for an array that had lost its own; while it is written, killed at any moment: never a stripe that parity does
// not go with, also with a member lost right after.
TEST(Journal, AnotherDiskTakesThePlaceOfALostOne) {
  run(4, [](JournalLab& lab) -> Task<void> {
    co_await lab.create_journalled(Level::raid6);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    const Status second = co_await lab.array->add_journal(lab.disk(4));
    EXPECT_EQ(second.error().code, Errc::exists);
    co_await lab.finish();
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 4), {.tuning = {}, .force = true})).has_value());
    const Status early = co_await lab.array->add_journal(lab.disk(4));
    EXPECT_EQ(early.error().code, Errc::unavailable) << "a resync is due";
    EXPECT_TRUE(co_await lab.whole());
    TaskGroup writers(lab.env.scheduler());
    writers.spawn(random_writes(lab, 7, 200));
    co_await lab.sleep(3 * kMillisecond);
    const Status added = co_await lab.array->add_journal(lab.disk(4));
    EXPECT_TRUE(added.has_value()) << (added ? "" : added.error().what);
    co_await writers.join();
    EXPECT_GT(lab.member(4).io.write_bytes, kMiB) << "writes go through it";
    co_await lab.finish();
    EXPECT_FALSE((co_await lab.assemble(lab.some(0, 4))).has_value());
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 5))).has_value());
    EXPECT_EQ(lab.member(4).state, MemberState::journal);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

TEST(Journal, AKillWhileAJournalIsAddedLosesNothing) {
  constexpr unsigned kMembers = 4;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Rig rig(kMembers + 1, 8 * kMiB, seed, quick_disk(20 * kMicrosecond));
    std::vector<std::byte> model;
    bool begun = false;
    rig.node.start([&](Env& env) -> Task<void> {
      JournalLab lab(env, rig, kMembers);
      co_await lab.open();
      ArrayConfig plain = config(Level::raid5);
      plain.consistency = Consistency::resync;
      auto made = co_await Array::create(env.scheduler(), env.buffers(), env.random(), plain,
                                         {lab.some(0, kMembers), {}, {}}, true);
      CHECK(made.has_value());
      lab.take(std::move(*made));
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      EXPECT_EQ(co_await lab.flush(), Errc::ok);
      model = lab.model;
      begun = true;
      TaskGroup writers(env.scheduler());
      for (std::uint64_t i = 0; i < kWriters; ++i) writers.spawn(write_thirds(lab, i));
      co_await lab.array->add_journal(lab.disk(kMembers));
      co_await writers.join();
    });
    rig.world.run_while([&] { return !begun; }, rig.world.now() + 10 * kHour);
    rig.world.run_while([] { return true; }, rig.world.now() + static_cast<Nanos>(seed * 60 * kMicrosecond));
    rig.node.power_loss();
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      JournalLab lab(env, rig, kMembers);
      co_await lab.open();
      const Status assembled = co_await lab.assemble(lab.some(0, kMembers + 1));
      EXPECT_TRUE(assembled.has_value()) << "seed " << seed << (assembled ? "" : assembled.error().what);
      if (!assembled) co_return;
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_EQ(co_await lab.mismatches(), 0u) << "seed " << seed;
      lab.model = model;
      for (std::uint64_t at = 0; at < lab.array->size_bytes(); at += kBlockBytes) {
        if (is_quiet(at)) EXPECT_EQ(co_await lab.verify(at, kBlockBytes), Errc::ok) << "seed " << seed;
      }
      co_await lab.finish();
    }));
  }
}

// What waits in it for a lost member nobody knows then.
TEST(Journal, OneThatCannotBeReadMakesReadingADegradedArrayDoubtful) {
  Rig rig(5, 8 * kMiB, 1, quick_disk(20 * kMicrosecond));
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    JournalLab lab(env, rig, 4);
    co_await lab.create_journalled(Level::raid5);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    co_await lab.finish();
  }));
  for (const bool readable : {true, false}) {
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      JournalLab lab(env, rig, 4);
      co_await lab.open();
      if (!readable) {
        constexpr std::uint64_t kHead = kMiB;  // superblock and what lies before the log
        EXPECT_TRUE(lab.disks[4]->latent({kHead, lab.disks[4]->size_bytes() - kHead}).has_value());
      }
      std::vector<MemberDisk> some = lab.some(1, 4);
      EXPECT_TRUE((co_await lab.assemble(some, {.tuning = {}, .read_only = true})).has_value());
      if (lab.array) EXPECT_EQ(lab.array->doubtful(), !readable);
      co_await lab.finish();
    }));
  }
}

TEST(Journal, WritersThatWaitForSpaceEndWhenTheArrayFails) {
  run(5, [](JournalLab& lab) -> Task<void> {
    co_await lab.create_journalled(Level::raid5);
    lab.disks[2]->hang();
    TaskGroup writers(lab.env.scheduler());
    std::uint32_t answered = 0;
    std::uint32_t refused = 0;
    const auto write = [&](std::uint64_t at) -> Task<void> {
      ++(co_await lab.write(at, kBlockBytes, 2) == Errc::ok ? answered : refused);
    };
    // One write that hangs, so that the log's tail stays; then writes that need no hung member (read-modify-write:
    // of five members it is the cheaper way), until the log is full.
    const Geometry& geometry = lab.array->geometry();
    const auto needs_hung = [&](std::uint64_t at) {
      const Location place = geometry.map(at);
      return place.member == 2 || geometry.p_member(place.stripe) == 2;
    };
    std::uint64_t first = 0;
    while (!needs_hung(first)) first += kChunk;
    writers.spawn(write(first));
    co_await lab.sleep(kMillisecond);
    std::uint32_t asked = 1;
    const std::uint64_t stripe = geometry.stripe_data_bytes();
    const std::uint64_t stripes = lab.array->size_bytes() / stripe;
    for (std::uint64_t i = 1; asked < 1000; ++i) {
      const std::uint64_t at = i % stripes * stripe + i / stripes * kBlockBytes;
      if (needs_hung(at) || at / stripe == first / stripe) continue;
      writers.spawn(write(at));
      if (++asked % 8 == 0) co_await lab.sleep(kMillisecond);
    }
    EXPECT_GT(answered, 100u);
    EXPECT_LT(answered, asked - 1);  // the log is full
    lab.disks[0]->fail();
    lab.disks[1]->fail();
    co_await writers.join();
    EXPECT_GT(refused, 0u);
    EXPECT_EQ(lab.array->status().state, ArrayState::failed);
  });
}

TEST(Journal, ARebuildAfterDegradedWritesIsNotUndoneByOldRecords) {
  for (const Level level : {Level::raid5, Level::raid6}) {
    Rig rig(5, 8 * kMiB, 1, quick_disk(20 * kMicrosecond));
    std::vector<std::byte> model;
    bool whole = false;
    rig.node.start([&](Env& env) -> Task<void> {
      JournalLab lab(env, rig, 4);
      co_await lab.create_journalled(level);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      EXPECT_TRUE((co_await lab.array->fail_member("d2")).has_value());
      co_await random_writes(lab, 3, 12);  // what parity on the lost member would be, nobody knows: the log has zeroes
      EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(2))).has_value());
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      EXPECT_EQ(co_await lab.flush(), Errc::ok);
      model = lab.model;
      whole = true;
      co_await lab.sleep(kHour);
    });
    rig.world.run_while([&] { return !whole; }, rig.world.now() + kHour);
    ASSERT_TRUE(whole);
    rig.node.crash();  // without a word: what the log still holds is replayed
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      JournalLab lab(env, rig, 4);
      co_await lab.open();
      EXPECT_TRUE((co_await lab.assemble(lab.some(0, 5))).has_value());
      lab.model = model;
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      co_await lab.finish();
    }));
  }
}

// A checkpoint says that a member is rebuilt up to there: records from before, with parity of the lost member that nobody
// knew and without its data, must not be replayed over it.
TEST(Journal, ACheckpointedRebuildIsNotUndoneByOldRecords) {
  for (const Level level : {Level::raid5, Level::raid6}) {
    Rig rig(5, 8 * kMiB, 1, quick_disk(20 * kMicrosecond));
    std::vector<std::byte> model;
    bool half = false;
    rig.node.start([&](Env& env) -> Task<void> {
      JournalLab lab(env, rig, 4);
      co_await lab.open();
      ArrayConfig slowly = config(level);
      slowly.tuning.checkpoint_ms = 5;
      slowly.tuning.speed_max = slowly.tuning.speed_min = 8 * kMiB;
      auto made = co_await Array::create(env.scheduler(), env.buffers(), env.random(), slowly,
                                         {lab.some(0, 4), {}, lab.disk(4)}, true);
      CHECK(made.has_value());
      lab.take(std::move(*made));
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      co_await random_writes(lab, 2, 6);
      EXPECT_TRUE((co_await lab.array->fail_member("d2")).has_value());
      co_await random_writes(lab, 3, 12);
      EXPECT_EQ(co_await lab.flush(), Errc::ok);
      model = lab.model;
      EXPECT_TRUE((co_await lab.array->add_disk(lab.disk(2))).has_value());
      while (lab.member(2).rebuilt_bytes < 5 * kMiB) co_await lab.sleep(kMillisecond);
      co_await lab.sleep(20 * kMillisecond);
      half = true;
      co_await lab.sleep(kHour);
    });
    rig.world.run_while([&] { return !half; }, rig.world.now() + kHour);
    ASSERT_TRUE(half);
    rig.node.crash();
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      JournalLab lab(env, rig, 4);
      co_await lab.open();
      EXPECT_TRUE((co_await lab.assemble(lab.some(0, 5))).has_value());
      lab.model = model;
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      co_await lab.finish();
    }));
  }
}

}  // namespace
}  // namespace resilver::raid
