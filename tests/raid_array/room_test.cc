// Disks without room, and disks that know their holes.
#include <algorithm>
#include <set>

#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

ArrayConfig config(Level level, Consistency consistency = Consistency::resync) {
  return array_config(level, "room", consistency, {}, 65536);
}

// Remembers which blocks were ever written; the others are holes.
struct HoleDisk final : BlockDevice {
  explicit HoleDisk(BlockDevice& below) : inner(below) {}
  std::uint64_t size_bytes() const noexcept override { return inner.size_bytes(); }
  std::uint64_t next_data(std::uint64_t from) const noexcept override {
    const auto at = written.lower_bound(from / kBlockBytes * kBlockBytes);
    return at == written.end() ? size_bytes() : std::max(*at, from);
  }
  void submit(IoRequest& request) noexcept override {
    for (std::uint64_t at = 0; at < request.length; at += kBlockBytes) {
      if (request.op == IoOp::write) written.insert(request.offset + at);
      if (request.op == IoOp::discard) written.erase(request.offset + at);
    }
    moved += request.op == IoOp::discard ? 0 : request.length;
    // A discard of the simulator's disk may leave what was there: a hole is zeroes.
    if (request.op == IoOp::discard) request.op = IoOp::write_zeroes;
    inner.submit(request);
  }

  BlockDevice& inner;
  std::set<std::uint64_t> written;
  std::uint64_t moved = 0;
};

struct RoomLab : Lab {
  using Lab::Lab;
  Task<void> create_gated(ArrayConfig configuration, unsigned members, bool with_holes = false) {
    co_await open();
    for (auto& disk : disks) {
      holes.push_back(std::make_unique<HoleDisk>(*disk));
      BlockDevice& below = with_holes ? static_cast<BlockDevice&>(*holes.back()) : *disk;
      gates.push_back(std::make_unique<GateDisk>(env.scheduler(), below));
    }
    std::vector<MemberDisk> list;
    for (unsigned i = 0; i < members; ++i) list.push_back(gate(i));
    auto made =
        co_await Array::create(env.scheduler(), env.buffers(), env.random(), configuration, {list, {}, {}}, true);
    CHECK(made.has_value());
    take(std::move(*made));
  }
  MemberDisk gate(unsigned i) { return {rig.disks[i]->name(), gates[i].get()}; }
  // From now on the disk has no room for what is in the data area.
  void fill(unsigned i, IoOp op = IoOp::write) {
    gates[i]->answers = [op, from = array->data_offset_bytes()](const IoRequest& request) {
      return request.op == op && request.offset >= from ? Errc::no_space : Errc::ok;
    };
  }
  std::string states() const {
    std::string text;
    for (const MemberStatus& member : array->status().members) text += std::string(name(member.state)) + " ";
    return text;
  }
  std::vector<std::unique_ptr<HoleDisk>> holes;
  std::vector<std::unique_ptr<GateDisk>> gates;
};

// What a write without room left half done a resync makes whole, once there is room.
TEST(Room, ADiskWithoutRoomIsNotFaulty) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    for (const Consistency consistency : {Consistency::resync, Consistency::bitmap}) {
      Rig rig(4, 9 * kMiB, 1, quick_disk());
      ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
        RoomLab lab(env, rig);
        co_await lab.create_gated(config(level, consistency), 4);
        EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
        lab.fill(2);
        EXPECT_EQ(co_await lab.write(0, 512 * kKiB, 2), Errc::no_space);
        EXPECT_EQ(lab.states(), "in_sync in_sync in_sync in_sync ") << name(level);
        EXPECT_EQ(lab.array->status().full, "d2");
        const std::uint64_t writes = lab.member(0).io.writes;
        EXPECT_EQ(co_await lab.write(0, kBlockBytes, 2), Errc::no_space);
        EXPECT_EQ(lab.member(0).io.writes, writes) << "the array is read-only for now";
        EXPECT_EQ(co_await lab.verify(kMiB, kMiB), Errc::ok) << "reads go on";
        EXPECT_FALSE(lab.array->redundancy_full());
        lab.gates[2]->answers = nullptr;
        EXPECT_TRUE(co_await lab.whole());
        EXPECT_EQ(co_await lab.mismatches(), 0u);
        EXPECT_EQ(co_await lab.write(0, 512 * kKiB, 3), Errc::ok);
        EXPECT_EQ(lab.array->status().full, "");
        EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
        co_await lab.finish();
      }));
    }
  }
}

// A stop without room leaves it as dirty as it is; the next start makes it whole.
TEST(Room, AStopWithoutRoomLeavesAResyncToDo) {
  for (const Level level : {Level::raid1, Level::raid5}) {
    Rig rig(4, 9 * kMiB, 1, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      RoomLab lab(env, rig);
      co_await lab.create_gated(config(level), 4);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      lab.fill(2);
      EXPECT_EQ(co_await lab.write(0, 512 * kKiB, 2), Errc::no_space);
      co_await lab.finish();
    }));
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.open();
      EXPECT_TRUE(co_await lab.assemble(lab.some(0, 4)));
      EXPECT_FALSE(lab.array->redundancy_full());
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      co_await lab.finish();
    }));
  }
}

// Degraded, nothing of a stripe is written unless there is room for all of it: what was lost lives in the stripe.
TEST(Room, ADegradedStripeIsWrittenWholeOrNotAtAll) {
  for (const Level level : {Level::raid5, Level::raid6}) {
    Rig rig(4, 9 * kMiB, 1, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      RoomLab lab(env, rig);
      co_await lab.create_gated(config(level), 4);
      for (auto& gate : lab.gates) gate->reserves = true;
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      EXPECT_TRUE(co_await lab.array->fail_member("d1"));
      EXPECT_EQ(co_await lab.write(kMiB, 640 * kKiB, 2), Errc::ok);
      const std::vector<std::byte> before = lab.model;
      lab.fill(2, IoOp::reserve);
      EXPECT_EQ(co_await lab.write(0, lab.array->geometry().stripe_data_bytes(), 3), Errc::no_space);
      lab.model = before;
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      co_await lab.finish();
    }));
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      co_await lab.open();
      const Status started = co_await lab.assemble(lab.some(0, 4));  // not by force: it is clean
      EXPECT_TRUE(started) << to_string(started.error());
      co_await lab.finish();
    }));
  }
}

TEST(Room, ARebuildGoesOnWhenThereIsRoom) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid10}) {
    Rig rig(5, 9 * kMiB, 1, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      RoomLab lab(env, rig);
      co_await lab.create_gated(config(level), 4);
      EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
      EXPECT_TRUE(co_await lab.array->fail_member("d1"));
      lab.fill(4);
      EXPECT_TRUE(co_await lab.array->add_disk(lab.gate(4)));
      co_await lab.array->recovered();
      EXPECT_EQ(lab.member(1).state, MemberState::rebuilding);
      EXPECT_EQ(lab.array->status().full, "d4");
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      lab.gates[4]->answers = nullptr;
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      co_await lab.finish();
    }));
  }
}

// ---- holes --------------------------------------------------------------------------------------------------------------

// A rebuild, a scrub and a resync move what is there; a target that held something else is emptied.
TEST(Holes, PassesMoveOnlyData) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    for (const unsigned members : {4u, 5u}) {
      Rig rig(6, 65 * kMiB, 1, quick_disk());
      ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
        RoomLab lab(env, rig);
        co_await lab.create_gated(config(level), members, true);
        const std::uint64_t where = lab.array->size_bytes() / 2 / kMiB * kMiB;
        EXPECT_EQ(co_await lab.write(where, kMiB, 1), Errc::ok);
        EXPECT_EQ(co_await lab.write(kMiB, kBlockBytes, 1), Errc::ok);
        Buffer old = env.buffers().allocate(kMiB);
        std::memset(old.data(), 0xee, old.size());
        for (std::uint64_t at = 4 * kMiB; at < 60 * kMiB; at += kMiB) {
          EXPECT_EQ(co_await Io::write(*lab.gates[5], at, old), Errc::ok);
        }
        const auto moved = [&lab] {
          std::uint64_t bytes = 0;
          for (auto& disk : lab.holes) bytes += std::exchange(disk->moved, 0);
          return bytes;
        };
        moved();
        EXPECT_TRUE(co_await lab.array->fail_member("d1"));
        EXPECT_TRUE(co_await lab.array->add_disk(lab.gate(5)));
        EXPECT_TRUE(co_await lab.whole());
        EXPECT_LT(moved(), 10 * kMiB) << name(level);
        EXPECT_LT(lab.array->status().last_recovery.rate, kMiB * 1024);
        EXPECT_EQ(co_await lab.mismatches(), 0u);
        EXPECT_LT(moved(), 10 * kMiB) << name(level);
        EXPECT_LT(lab.holes[5]->written.size(), 1024u);
        EXPECT_TRUE(co_await lab.array->fail_member("d0"));
        EXPECT_EQ(co_await lab.verify_all(), Errc::ok) << name(level);
        co_await lab.finish();
      }));
    }
  }
}

// Two blocks among holes, at any place of chunk and row: each member in turn is lost, and rebuilt from the others.
void rebuild_around(Level level, unsigned members, std::uint64_t where) {
  SCOPED_TRACE(testing::Message() << name(level) << " of " << members << ", blocks from " << where);
  Rig rig(members, 5 * kMiB, 1, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    RoomLab lab(env, rig);
    ArrayConfig large_chunks = config(level);
    large_chunks.chunk_bytes = 256 * kKiB;
    co_await lab.create_gated(large_chunks, members, true);
    EXPECT_EQ(co_await lab.write(where, kBlockBytes, 1), Errc::ok);
    EXPECT_EQ(co_await lab.write(where + kMiB, kBlockBytes, 1), Errc::ok);
    for (unsigned i = 0; i <= members; ++i) {
      const std::string lost = rig.disks[i % members]->name();
      EXPECT_TRUE(co_await lab.array->fail_member(lost));
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok) << "without " << lost;
      EXPECT_TRUE(co_await lab.array->remove_disk(lost));
      EXPECT_TRUE(co_await lab.array->add_disk(lab.gate(i % members)));
      EXPECT_TRUE(co_await lab.whole());
    }
    EXPECT_EQ(co_await lab.mismatches(), 0u);
    co_await lab.finish();
  }));
}

TEST(Holes, BlocksAmongHolesAreRebuiltWhereverTheyAre) {
  for (std::uint64_t where = 0; where < 2 * kMiB; where += 140 * kKiB) {
    for (const Level level : {Level::raid1, Level::raid5, Level::raid6}) rebuild_around(level, 4, where);
    for (const unsigned members : {2u, 3u, 4u, 5u}) rebuild_around(Level::raid10, members, where);
  }
}

// What is written while the window over a hole waits for its lock is copied.
TEST(Holes, AHoleThatIsFilledMeanwhileIsCopied) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid10}) {
    Rig rig(5, 33 * kMiB, 1, quick_disk());
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      RoomLab lab(env, rig);
      co_await lab.create_gated(config(level), 4, true);
      EXPECT_TRUE(co_await lab.array->fail_member("d1"));
      for (unsigned i = 0; i < 4; ++i) {
        lab.gates[i]->holds = [from = lab.array->data_offset_bytes()](const IoRequest& request) {
          return request.op == IoOp::write && request.offset >= from;
        };
      }
      TaskGroup group(env.scheduler());
      group.spawn([](Lab& l) -> Task<void> { EXPECT_EQ(co_await l.write(6 * kMiB, kMiB, 1), Errc::ok); }(lab));
      co_await lab.sleep(kSecond);
      EXPECT_TRUE(co_await lab.array->add_disk(lab.gate(4)));
      co_await lab.sleep(kSecond);
      EXPECT_EQ(lab.array->status().recovery.kind, RecoveryKind::rebuild);
      for (auto& gate : lab.gates) gate->open();
      co_await group.join();
      EXPECT_TRUE(co_await lab.whole());
      EXPECT_EQ(co_await lab.mismatches(), 0u);
      EXPECT_TRUE(co_await lab.array->fail_member("d0"));
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok) << name(level);
      co_await lab.finish();
    }));
  }
}

}  // namespace
}  // namespace resilver::raid
