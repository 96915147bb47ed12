// Arrays whose pool of buffers is used up, mostly by requests that wait for that very array. Everybody moves on: metadata
// and work row by row have memory of their own; who needs more waits without holding what others need; and our lack of
// memory is nobody's fault but ours: it fails neither members nor requests.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

constexpr std::size_t kPool = 4 * kMiB;
constexpr std::uint64_t kPiece = 64 * kKiB;

struct Shape {
  const char* name;
  Level level;
  unsigned members;
  Consistency consistency;
};

const Shape kShapes[] = {
    {"raid0", Level::raid0, 4, Consistency::none},
    {"raid1", Level::raid1, 3, Consistency::bitmap},
    {"raid4", Level::raid4, 4, Consistency::resync},
    {"raid5", Level::raid5, 4, Consistency::bitmap},
    {"raid5_journal", Level::raid5, 4, Consistency::journal},
    {"raid6", Level::raid6, 5, Consistency::bitmap},
    {"raid10", Level::raid10, 4, Consistency::bitmap},
};

ArrayConfig config(const Shape& shape) {
  ArrayTuning tuning;
  tuning.member_timeout_ms = 500;
  tuning.idle_clean_ms = 20;  // so that superblocks are written all the time
  tuning.bitmap_sleep_ms = 50;
  return array_config(shape.level, "memory", shape.consistency, tuning, 4096);
}

std::vector<Buffer> take_memory(Env& env) {
  std::vector<Buffer> taken;
  for (std::size_t size = BufferPool::kMaxBlock; size >= kBlockBytes; size /= 2) {
    while (Buffer piece = env.buffers().allocate(size)) taken.push_back(std::move(piece));
  }
  return taken;
}

Task<void> create(Lab& lab, const Shape& shape, unsigned spares = 0) {
  co_await lab.open();
  ArrayDisks disks{lab.some(0, shape.members), lab.some(6, spares), {}};
  if (shape.consistency == Consistency::journal) disks.journal = lab.disk(5);
  auto made =
      co_await Array::create(lab.env.scheduler(), lab.env.buffers(), lab.env.random(), config(shape), disks, true);
  CHECK(made.has_value(), "create");
  lab.take(std::move(*made));
}

// With no more memory at a time than there is in any case.
Task<Errc> verify_all(Lab& lab) {
  for (std::uint64_t at = 0; at < lab.array->size_bytes(); at += kPiece) {
    const Errc status = co_await lab.verify(at, std::min(kPiece, lab.array->size_bytes() - at));
    if (status != Errc::ok) co_return status;
  }
  co_return Errc::ok;
}

// Writers that hold all memory there is, each in one buffer, and write it again and again to places of their own.
class Crowd {
 public:
  explicit Crowd(Lab& lab) : lab_(lab), group_(lab.env.scheduler()) {
    std::uint64_t at = 0;
    while (Buffer piece = lab.env.buffers().allocate(kPiece)) {
      buffers_.push_back(std::move(piece));
      places_.push_back(at);
      at = (at + kPiece + kBlockBytes) % (lab.array->size_bytes() - kPiece) / kBlockBytes * kBlockBytes;
    }
    rest_ = take_memory(lab.env);
    CHECK(buffers_.size() >= kPool / kPiece / 2, "the pool is not what it should be");
  }
  void start(unsigned rounds) {
    for (std::size_t i = 0; i < buffers_.size(); ++i) group_.spawn(write(i, rounds));
  }
  Task<void> join() { co_await group_.join(); }
  std::uint64_t written() const { return written_; }
  std::uint64_t failed() const { return failed_; }
  std::size_t writers() const { return buffers_.size(); }
  void go_home() {
    buffers_.clear();
    rest_.clear();
  }

 private:
  Task<void> write(std::size_t i, unsigned rounds) {
    for (unsigned round = 0; round < rounds; ++round) {
      Buffer& buffer = buffers_[i];
      for (std::uint64_t block = 0; block < kPiece; block += kBlockBytes) {
        fill_block(buffer.data() + block, places_[i] + block, round + 1);
        fill_block(lab_.model.data() + places_[i] + block, places_[i] + block, round + 1);
      }
      const Errc status = co_await Io::write(*lab_.array, places_[i], buffer, round % 3 == 0);
      (status == Errc::ok ? written_ : failed_) += 1;
      if (round % 4 == 3) co_await sleep_for(lab_.env.scheduler(), 60 * kMillisecond);  // it becomes clean
    }
  }

  Lab& lab_;
  TaskGroup group_;
  std::vector<Buffer> buffers_;
  std::vector<Buffer> rest_;
  std::vector<std::uint64_t> places_;
  std::uint64_t written_ = 0;
  std::uint64_t failed_ = 0;
};

class Memory : public testing::TestWithParam<Shape> {
 protected:
  void run(const std::function<Task<void>(Lab&)>& body) {
    Rig rig(8, 16 * kMiB, 1, quick_disk(), kPool);
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await body(lab);
      if (lab.array) co_await lab.finish();
    })) << "nobody moves";
  }
};

TEST_P(Memory, AnArrayIsMadeAndStartedWithoutAny) {
  Rig rig(8, 16 * kMiB, 1, quick_disk(), kPool);
  for (const bool make : {true, false}) {
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      const std::vector<Buffer> taken = take_memory(env);
      if (make) {
        co_await create(lab, GetParam());
      } else {
        co_await lab.open();
        std::vector<MemberDisk> disks = lab.some(0, GetParam().members);
        if (GetParam().consistency == Consistency::journal) disks.push_back(lab.disk(5));
        const Status started = co_await lab.assemble(disks);
        EXPECT_TRUE(started) << to_string(started.error());
      }
      if (lab.array) co_await lab.finish();
    }));
  }
}

TEST_P(Memory, WritesThatHoldAllOfItAreDone) {
  run([](Lab& lab) -> Task<void> {
    co_await create(lab, GetParam());
    Crowd crowd(lab);
    crowd.start(8);
    co_await crowd.join();
    EXPECT_EQ(crowd.written(), 8 * crowd.writers());
    crowd.go_home();
    EXPECT_EQ(co_await verify_all(lab), Errc::ok);
    EXPECT_EQ(lab.array->status().state == ArrayState::failed, false);
  });
}

// A member fails under them: it has to be excluded durably before they are acknowledged, and what it held is recovered.
TEST_P(Memory, AMemberFailsWhileAllOfItIsHeld) {
  if (GetParam().level == Level::raid0) return;
  for (const bool hangs : {false, true}) {
    run([hangs](Lab& lab) -> Task<void> {
      co_await create(lab, GetParam());
      Crowd crowd(lab);
      crowd.start(12);
      co_await lab.sleep(70 * kMillisecond);
      hangs ? lab.disks[1]->hang() : lab.disks[1]->fail();
      co_await crowd.join();
      EXPECT_EQ(crowd.failed(), 0u);
      EXPECT_EQ(lab.member(1).state, MemberState::faulty);
      for (unsigned i = 0; i < GetParam().members; ++i) {
        if (i != 1) EXPECT_EQ(lab.member(i).state, MemberState::in_sync) << i;
      }
      crowd.go_home();
      lab.disks[1]->release();  // what was given up on is held until then
      co_await lab.sleep(kMillisecond);
      EXPECT_EQ(co_await verify_all(lab), Errc::ok);
    });
  }
}

// A rebuild needs memory that others hold who wait for its locks: it does not wait with these in hand.
TEST_P(Memory, ARebuildAndItsForegroundDoNotWaitForEachOther) {
  if (GetParam().level == Level::raid0) return;
  run([](Lab& lab) -> Task<void> {
    co_await create(lab, GetParam(), 1);
    Crowd crowd(lab);
    crowd.start(30);
    co_await lab.sleep(20 * kMillisecond);
    EXPECT_TRUE(co_await lab.array->fail_member(lab.disk(1).name));
    co_await crowd.join();
    EXPECT_EQ(crowd.failed(), 0u);
    crowd.go_home();
    EXPECT_TRUE(co_await lab.whole(kMinute));
    EXPECT_EQ(co_await verify_all(lab), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
  });
}

TEST_P(Memory, AStopDoesNotWaitForIt) {
  if (GetParam().level == Level::raid0) return;
  run([](Lab& lab) -> Task<void> {
    co_await create(lab, GetParam(), 1);
    const std::vector<Buffer> taken = take_memory(lab.env);
    EXPECT_TRUE(co_await lab.array->fail_member(lab.disk(1).name));
    co_await lab.sleep(100 * kMillisecond);
    const Nanos begin = lab.env.scheduler().now();
    co_await lab.finish();
    EXPECT_LT(lab.env.scheduler().now(), begin + kSecond);
  });
}

TEST_P(Memory, BlocksThatCannotBeReadAreHealedWithoutAny) {
  if (GetParam().level == Level::raid0) return;
  run([](Lab& lab) -> Task<void> {
    co_await create(lab, GetParam());
    EXPECT_EQ(co_await lab.write(0, 256 * kKiB, 3), Errc::ok);
    co_await lab.sleep(kSecond);
    EXPECT_TRUE(lab.disks[0]->latent({lab.array->data_offset_bytes(), 16 * kKiB}));
    std::vector<Buffer> taken = take_memory(lab.env);
    const Buffer mine = std::exchange(taken.back(), {}).slice(0, kBlockBytes);
    for (std::uint64_t at = 0; at < 256 * kKiB; at += kBlockBytes) {
      EXPECT_EQ(co_await Io::read(*lab.array, at, mine), Errc::ok);
      EXPECT_EQ(std::memcmp(mine.data(), lab.model.data() + at, kBlockBytes), 0) << at;
    }
    EXPECT_EQ(lab.member(0).state, MemberState::in_sync);
  });
}

INSTANTIATE_TEST_SUITE_P(Levels, Memory, testing::ValuesIn(kShapes),
                         [](const testing::TestParamInfo<Shape>& info) { return std::string(info.param.name); });

// ---- the disk's side is short of memory (ENOMEM of the kernel) -----------------------------------------------------------

struct Gated {
  Gated(Env& env, Lab& lab, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      gates.push_back(std::make_unique<GateDisk>(env.scheduler(), *lab.disks[i]));
      given.push_back({lab.rig.disks[i]->name(), gates.back().get()});
    }
  }
  std::vector<std::unique_ptr<GateDisk>> gates;
  std::vector<MemberDisk> given;
};

TEST(MemoryOfTheKernel, ItsLackIsNoFaultOfTheDisk) {
  for (const Shape& shape : kShapes) {
    if (shape.consistency == Consistency::journal) continue;
    Rig rig(5, 4 * kMiB, 1, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.open();
      Gated disks(env, lab, shape.members);
      auto made = co_await Array::create(env.scheduler(), env.buffers(), env.random(), config(shape),
                                         {disks.given, {}, {}}, true);
      CHECK(made.has_value());
      lab.take(std::move(*made));
      const Nanos until = env.scheduler().now() + 2 * kSecond;  // beyond the time-out of members
      disks.gates[1]->answers = [&env, until](const IoRequest&) {
        return env.scheduler().now() < until ? Errc::limit : Errc::ok;
      };
      EXPECT_EQ(co_await lab.write(0, kMiB, 1), Errc::ok) << shape.name;
      EXPECT_GE(env.scheduler().now(), until);
      for (unsigned i = 0; i < shape.members; ++i) EXPECT_EQ(lab.member(i).state, MemberState::in_sync) << shape.name;
      EXPECT_EQ(co_await verify_all(lab), Errc::ok);
      if (shape.level != Level::raid0) EXPECT_EQ(co_await lab.mismatches(), 0u);
      co_await lab.finish();
    }));
  }
}

// It lasts, and the array is stopped: it ends, and is not marked clean, since nobody knows what was written.
TEST(MemoryOfTheKernel, AnArrayThatStopsMeanwhileStaysDirty) {
  Rig rig(4, 4 * kMiB, 1, quick_disk());
  const Shape shape{"", Level::raid5, 4, Consistency::bitmap};
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    Gated disks(env, lab, shape.members);
    auto made = co_await Array::create(env.scheduler(), env.buffers(), env.random(), config(shape),
                                       {disks.given, {}, {}}, true);
    CHECK(made.has_value());
    lab.take(std::move(*made));
    EXPECT_EQ(co_await lab.write(0, kMiB, 1), Errc::ok);
    disks.gates[1]->answers = [](const IoRequest& request) {
      return request.op == IoOp::write ? Errc::limit : Errc::ok;
    };
    Errc status = Errc::ok;
    TaskGroup group(env.scheduler());
    group.spawn([](Lab& l, Errc& outcome) -> Task<void> { outcome = co_await l.write(0, 512 * kKiB, 2); }(lab, status));
    co_await lab.sleep(kSecond);
    co_await lab.array->stop();
    co_await group.join();
    EXPECT_NE(status, Errc::ok);
    lab.array.reset();
  }));
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    EXPECT_TRUE(co_await lab.assemble(lab.some(0, 4)));
    EXPECT_FALSE(lab.array->redundancy_full()) << "a resync is due";
    co_await lab.array->recovered();
    EXPECT_EQ(lab.recorder.count(EventKind::resync_finished), 1u);
    EXPECT_TRUE(lab.array->redundancy_full());
    EXPECT_EQ(co_await lab.mismatches(), 0u);
    co_await lab.finish();
  }));
}

}  // namespace
}  // namespace resilver::raid
