// Disks that do not answer while an array is started, or while a disk is taken back: no step waits for them for ever, and
// what is found out late counts as if it had been known at once.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

constexpr std::uint32_t kTimeoutMs = 500;
constexpr Nanos kTimeout = kTimeoutMs * kMillisecond;

ArrayTuning tuning() {
  ArrayTuning quick;
  quick.member_timeout_ms = kTimeoutMs;
  return quick;
}

ArrayConfig config(Level level, Consistency consistency) { return array_config(level, "hung", consistency, tuning()); }

struct Made {
  std::vector<std::byte> model;
  std::uint64_t data_offset = 0;
};

// An array of the first `members` disks (and a journal behind them) with content; `clean`, or killed while it is written.
Made make(Rig& rig, Level level, unsigned members, Consistency consistency, bool clean = true) {
  Made made;
  bool written = false;
  rig.node.start([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    ArrayDisks disks{lab.some(0, members), {}, {}};
    if (consistency == Consistency::journal) disks.journal = lab.disk(members);
    auto created =
        co_await Array::create(env.scheduler(), env.buffers(), env.random(), config(level, consistency), disks, true);
    CHECK(created.has_value());
    lab.take(std::move(*created));
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    EXPECT_EQ(co_await lab.flush(), Errc::ok);
    made.model = lab.model;
    made.data_offset = lab.array->data_offset_bytes();
    if (clean) co_await lab.finish();
    written = true;
    if (!clean) co_await lab.sleep(kHour);
  });
  rig.world.run_while([&] { return !written || (clean && rig.node.running()); }, kHour);
  rig.node.crash();
  return made;
}

// Assembles in a new process with `hangs` deciding what each disk does not answer; tells what came of it, and how long it took.
struct Start {
  Status status;
  Nanos taken = 0;
  AssemblyReport report;
};

void start(Rig& rig, unsigned disks, const std::function<bool(unsigned, const IoRequest&)>& hangs,
           AssembleOptions options, const std::function<Task<void>(Lab&, Start&)>& then) {
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    std::vector<std::unique_ptr<GateDisk>> gates;
    std::vector<MemberDisk> given;
    for (unsigned i = 0; i < disks; ++i) {
      gates.push_back(std::make_unique<GateDisk>(env.scheduler(), *lab.disks[i]));
      gates.back()->holds = [&hangs, i](const IoRequest& request) { return hangs(i, request); };
      given.push_back({rig.disks[i]->name(), gates.back().get()});
    }
    options.tuning = tuning();
    Start start;
    const Nanos begin = env.scheduler().now();
    auto made = co_await Array::assemble(env.scheduler(), env.buffers(), env.random(), options, given, &start.report);
    start.taken = env.scheduler().now() - begin;
    if (made) {
      lab.take(std::move(*made));
    } else {
      start.status = std::unexpected(made.error());
    }
    co_await then(lab, start);
    if (lab.array) co_await lab.finish();
    for (auto& gate : gates) gate->open();
    for (auto& gate : gates) {
      while (gate->busy()) co_await lab.sleep(kMillisecond);
    }
    co_await lab.sleep(kMillisecond);
    EXPECT_FALSE(env.scheduler().anything_left_behind());
  })) << "the array was never started";
}

TEST(HungStart, AnArrayStartsWithoutDisksThatHang) {
  struct Case {
    Level level;
    unsigned members;
    unsigned hung;
  };
  for (const Case& one :
       {Case{Level::raid6, 5, 2}, Case{Level::raid5, 4, 1}, Case{Level::raid1, 3, 2}, Case{Level::raid10, 4, 1}}) {
    Rig rig(one.members, 3 * kMiB, 1, quick_disk());
    const Made made = make(rig, one.level, one.members, Consistency::resync);
    start(
        rig, one.members, [&](unsigned disk, const IoRequest&) { return disk < one.hung; }, {},
        [&](Lab& lab, Start& start) -> Task<void> {
          EXPECT_TRUE(start.status) << name(one.level) << ": " << to_string(start.status.error());
          if (!start.status) co_return;
          EXPECT_LT(start.taken, 2 * kTimeout) << "however many hang, one time-out is enough";
          for (unsigned i = 0; i < one.members; ++i) {
            EXPECT_EQ(start.report[i].verdict, i < one.hung ? DiskVerdict::unusable : DiskVerdict::member);
          }
          lab.model = made.model;
          EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
          EXPECT_EQ(co_await lab.write(0, kMiB, 2), Errc::ok);
          EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
        });
  }
}

TEST(HungStart, TooManyHungDisksAreAnErrorInTime) {
  for (const Level level : {Level::raid0, Level::raid5}) {
    Rig rig(3, 3 * kMiB, 1, quick_disk());
    make(rig, level, 3, level == Level::raid0 ? Consistency::none : Consistency::resync);
    start(
        rig, 3, [&](unsigned disk, const IoRequest&) { return disk < 2; }, {},
        [&](Lab&, Start& start) -> Task<void> {
          EXPECT_FALSE(start.status);
          EXPECT_LT(start.taken, 2 * kTimeout);
          co_return;
        });
  }
}

// The superblock could be read, what comes later could not: the bad-block log, or the bitmap, or nothing but writes.
TEST(HungStart, ADiskThatHangsLaterIsLeftOutToo) {
  for (const char* what : {"log", "bitmap", "write"}) {
    Rig rig(4, 9 * kMiB, 1, quick_disk());
    Made made = make(rig, Level::raid6, 4, Consistency::bitmap);
    if (std::string(what) == "log") {  // without an entry nobody reads it
      ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
        Lab lab(env, rig);
        co_await lab.open();
        EXPECT_TRUE(co_await lab.assemble(lab.some(0, 4)));
        lab.model = made.model;
        for (unsigned i = 0; i < 3; ++i) EXPECT_TRUE(lab.disks[i]->latent({made.data_offset, kBlockBytes}));
        EXPECT_EQ(co_await lab.verify(0, kBlockBytes), Errc::medium);
        EXPECT_EQ(co_await lab.write(0, kBlockBytes, 7), Errc::ok);  // parity is not known: noted in the log
        made.model = lab.model;
        co_await lab.finish();
      }));
    }
    const auto hangs = [&](unsigned disk, const IoRequest& request) {
      if (disk != 3) return false;
      if (request.op != IoOp::read) return true;
      return std::string(what) != "write" && request.offset > 4096 && request.offset < made.data_offset;
    };
    start(rig, 4, hangs, {}, [&](Lab& lab, Start& start) -> Task<void> {
      EXPECT_TRUE(start.status) << what << ": " << to_string(start.status.error());
      if (!start.status) co_return;
      EXPECT_LT(start.taken, 3 * kTimeout) << what;
      EXPECT_EQ(lab.array->status().state, ArrayState::degraded) << what;
      EXPECT_EQ(lab.array->status().redundancy_left, 1u) << what;
      lab.model = made.model;
      EXPECT_EQ(co_await lab.verify(kMiB, kMiB), Errc::ok) << what;
      EXPECT_EQ(co_await lab.write(kMiB, kMiB, 9), Errc::ok) << what;
    });
  }
}

// Rule 4, by what is known at the end.
TEST(HungStart, DirtyAndDegradedIsRefusedAlsoWhenItIsFoundLate) {
  for (const bool force : {false, true}) {
    Rig rig(4, 9 * kMiB, 1, quick_disk());
    const Made made = make(rig, Level::raid5, 4, Consistency::bitmap, false);
    const auto bitmap = [&](unsigned disk, const IoRequest& request) {
      return disk == 2 && request.offset > 4096 && request.offset < made.data_offset;
    };
    AssembleOptions options;
    options.force = force;
    start(rig, 4, bitmap, options, [&](Lab&, Start& start) -> Task<void> {
      EXPECT_EQ(start.status.has_value(), force);
      if (!start.status) {
        EXPECT_NE(start.status.error().what.find("dirty and degraded"), std::string::npos);
      }
      co_return;
    });
  }
}

TEST(HungStart, AJournalThatHangsIsAnErrorInTime) {
  for (const bool later : {false, true}) {
    Rig rig(5, 9 * kMiB, 1, quick_disk());
    const Made made = make(rig, Level::raid5, 4, Consistency::journal, false);
    const auto hangs = [&](unsigned disk, const IoRequest& request) {
      return disk == 4 && (!later || request.offset >= made.data_offset);
    };
    start(rig, 5, hangs, {}, [&](Lab&, Start& start) -> Task<void> {
      EXPECT_FALSE(start.status);
      EXPECT_LT(start.taken, 3 * kTimeout);
      co_return;
    });
  }
}

TEST(HungStart, DisksThatHangAreNotTaken) {
  Rig rig(5, 9 * kMiB, 1, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid5, Consistency::bitmap), 4);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    EXPECT_TRUE(co_await lab.array->fail_member("d1"));
    EXPECT_TRUE(co_await lab.array->remove_disk("d1"));
    lab.disks[1]->hang();
    const Nanos begin = env.scheduler().now();
    EXPECT_FALSE(co_await lab.array->readd_disk(lab.disk(1)));
    lab.disks[4]->hang();
    EXPECT_FALSE(co_await lab.array->add_disk(lab.disk(4)));
    EXPECT_LT(env.scheduler().now() - begin, 3 * kTimeout);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    lab.disks[1]->clear(fault::FaultKind::hang);
    co_await lab.sleep(kSecond);
    EXPECT_TRUE(co_await lab.array->readd_disk(lab.disk(1)));
    EXPECT_TRUE(co_await lab.whole());
    co_await lab.finish();
    while (lab.disks[4]->busy()) {
      lab.disks[4]->release();
      co_await lab.sleep(kMillisecond);
    }
  })) << "never ends";
}

// A process that is stopped in the middle of it must not hold its disks for dead when it goes on.
TEST(HungStart, AStoppedProcessGivesItsDisksTheirTimeAnew) {
  Rig rig(4, 3 * kMiB, 1, quick_disk(20 * kMillisecond));
  make(rig, Level::raid5, 4, Consistency::resync);
  bool asked = false;
  bool started = false;
  rig.node.start([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    asked = true;
    AssembleOptions options;
    options.tuning = tuning();
    EXPECT_TRUE(co_await lab.assemble(lab.some(0, 4), options));
    EXPECT_TRUE(lab.array->redundancy_full());
    started = true;
    co_await lab.finish();
  });
  rig.world.run_while([&] { return !asked; }, rig.world.now() + kHour);
  rig.world.run_until(rig.world.now() + kMillisecond);
  rig.node.freeze();
  rig.world.run_until(rig.world.now() + 10 * kSecond);
  rig.node.thaw();
  rig.world.run_while([&] { return rig.node.running(); }, rig.world.now() + kHour);
  EXPECT_TRUE(started);
  rig.node.crash();
}

}  // namespace
}  // namespace resilver::raid
