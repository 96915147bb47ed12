// While somebody waits, for a disk, for memory or for a scrub, disks are failed, removed and replaced: what was seen before the
// wait is not there any more, and what was decided before it does not hold.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

ArrayConfig config(Level level, Consistency consistency = Consistency::resync) {
  ArrayTuning tuning;
  tuning.member_timeout_ms = 100'000;
  return {.level = level,
          .layout = {},
          .chunk_bytes = 64 * kKiB,
          .consistency = consistency,
          .bitmap_chunk_bytes = consistency == Consistency::bitmap ? 65536u : 0u,
          .name = "waiting",
          .tuning = tuning};
}

// An array whose disks have gates.
struct GatedLab : Lab {
  using Lab::Lab;
  Task<void> create_gated(ArrayConfig configuration, unsigned members) {
    co_await open();
    for (auto& disk : disks) gates.push_back(std::make_unique<GateDisk>(env.scheduler(), *disk));
    auto made = co_await Array::create(env.scheduler(), env.buffers(), env.random(), configuration,
                                       {given(0, members), {}, {}}, true);
    CHECK(made.has_value());
    take(std::move(*made));
  }
  MemberDisk gate(unsigned i) { return {rig.disks[i]->name(), gates[i].get()}; }
  std::vector<MemberDisk> given(unsigned first, unsigned count) {
    std::vector<MemberDisk> list;
    for (unsigned i = first; i < first + count; ++i) list.push_back(gate(i));
    return list;
  }
  // From now on the disk holds what is in the data area back.
  void hold_data(unsigned i) {
    gates[i]->holds = [from = array->data_offset_bytes()](const IoRequest& request) { return request.offset >= from; };
  }
  std::vector<std::unique_ptr<GateDisk>> gates;
};

// Takes all memory that is left, in large and small pieces.
std::vector<Buffer> take_memory(Env& env) {
  std::vector<Buffer> taken;
  for (std::size_t size = BufferPool::kMaxBlock; size >= kBlockBytes; size /= 2) {
    while (Buffer piece = env.buffers().allocate(size)) taken.push_back(std::move(piece));
  }
  return taken;
}

Task<void> write(Lab& lab, std::uint64_t at, std::uint64_t bytes, std::uint64_t version, Errc& status) {
  status = co_await lab.write(at, bytes, version);
}

// Makes the parity of row 0 unknown, and noted so in the bad-block logs of its members, while all of its data can be read.
Task<void> forget_parity(Lab& lab) {
  const Geometry& geometry = lab.array->geometry();
  for (std::uint32_t column = 0; column < 3; ++column) {
    const fault::BlockRange row{lab.array->data_offset_bytes(), kBlockBytes};
    EXPECT_TRUE(lab.disks[geometry.member_of(0, column)]->latent(row));
  }
  EXPECT_EQ(co_await lab.verify(0, kBlockBytes), Errc::medium);
  EXPECT_EQ(co_await lab.write(0, kBlockBytes, 2), Errc::ok);
  for (auto& disk : lab.disks) disk->clear(fault::FaultKind::latent);
  EXPECT_EQ(lab.member(geometry.p_member(0)).bad_blocks, 1u);
}

// A block of M is known to be bad, the others are asked, N takes its time, and M is removed meanwhile.
TEST(Waiting, AMemberIsRemovedWhileItsBlockIsReadFromTheOthers) {
  Rig rig(5, 3 * kMiB, 1, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    GatedLab lab(env, rig);
    co_await lab.create_gated(config(Level::raid6), 5);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    co_await forget_parity(lab);
    co_await lab.sleep(kSecond);
    const std::uint32_t bad = lab.array->geometry().p_member(0);
    lab.hold_data(lab.array->geometry().member_of(0, 1));
    Errc status = Errc::busy;
    TaskGroup group(env.scheduler());
    group.spawn(write(lab, 0, kBlockBytes, 3, status));
    co_await lab.sleep(kSecond);
    EXPECT_TRUE(co_await lab.array->fail_member(rig.disks[bad]->name()));
    const Status removed = co_await lab.array->remove_disk(rig.disks[bad]->name());
    EXPECT_TRUE(removed) << to_string(removed.error());
    for (auto& gate : lab.gates) gate->open();
    co_await group.join();
    EXPECT_EQ(status, Errc::ok);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    co_await lab.finish();
  }));
}

// The same while a window of a scrub or a rebuild waits for memory.
TEST(Waiting, AMemberIsRemovedWhileAWindowWaitsForMemory) {
  for (const Level level : {Level::raid6, Level::raid1}) {
    for (const bool rebuild : {false, true}) {
      Rig rig(6, 3 * kMiB, 1, quick_disk(), 8 * kMiB);
      ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
        GatedLab lab(env, rig);
        co_await lab.create_gated(config(level), 5);
        EXPECT_EQ(co_await lab.write(0, kMiB, 1), Errc::ok);
        co_await lab.sleep(kSecond);
        std::vector<Buffer> taken = take_memory(env);
        Status scrubbed;
        TaskGroup group(env.scheduler());
        if (rebuild) {
          EXPECT_TRUE(co_await lab.array->fail_member("d0"));
          EXPECT_TRUE(co_await lab.array->add_disk(lab.gate(5)));
        } else {
          group.spawn([](Array& array, Status& status) -> Task<void> { status = co_await array.scrub({}); }(*lab.array,
                                                                                                            scrubbed));
        }
        co_await lab.sleep(kSecond);
        EXPECT_TRUE(co_await lab.array->fail_member("d1"));
        EXPECT_TRUE(co_await lab.array->remove_disk("d1"));
        taken.clear();
        co_await group.join();
        if (!rebuild) EXPECT_EQ(scrubbed.error().code, Errc::cancelled);
        co_await lab.array->recovered();
        EXPECT_EQ(lab.array->status().members[0].state, MemberState::in_sync);
        EXPECT_EQ(co_await lab.verify(0, kMiB), Errc::ok);
        co_await lab.finish();
      }));
    }
  }
}

// A member comes back while a scrub's last window is under way: a rebuild by bitmap is due. Before the scrub has ended another
// slot gets a member that holds nothing: that needs all of it.
TEST(Waiting, WhatIsRebuiltIsDecidedWhenItCanBegin) {
  Rig rig(7, 9 * kMiB, 1, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    GatedLab lab(env, rig);
    co_await lab.create_gated(config(Level::raid6, Consistency::bitmap), 6);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    EXPECT_EQ(co_await lab.flush(), Errc::ok);
    co_await lab.sleep(20 * kSecond);  // no bit is set any more
    lab.hold_data(5);
    TaskGroup group(env.scheduler());
    Status scrubbed;
    group.spawn(
        [](Array& array, Status& status) -> Task<void> { status = co_await array.scrub({}); }(*lab.array, scrubbed));
    co_await lab.sleep(kSecond);
    EXPECT_TRUE(co_await lab.array->fail_member("d1"));
    co_await lab.sleep(kSecond);
    const Status back = co_await lab.array->readd_disk(lab.gate(1));
    EXPECT_TRUE(back) << to_string(back.error());
    co_await lab.sleep(kSecond);
    EXPECT_TRUE(co_await lab.array->add_disk(lab.gate(6)));
    EXPECT_TRUE(co_await lab.array->replace_member("d2"));
    EXPECT_TRUE(co_await lab.array->fail_member("d2"));  // its replacement holds nothing yet
    co_await lab.sleep(kSecond);
    lab.gates[5]->open();
    co_await group.join();
    EXPECT_EQ(scrubbed.error().code, Errc::cancelled);
    EXPECT_TRUE(co_await lab.whole());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    EXPECT_EQ(co_await lab.mismatches(), 0u);
    co_await lab.finish();
  }));
}

// Two replacements are whole at the same time. Between the first one's taking over and the second's, a write must not be
// acknowledged that the first old member lacks while the disks still call it a member: power may fail then.
TEST(Waiting, TwoReplacementsTakeOverAtOnce) {
  Rig rig(6, 130 * kMiB, 1, quick_disk());  // two blocks of bitmap
  std::vector<std::byte> content;
  constexpr std::uint64_t kBytes = 256 * kKiB;
  bool written = false;
  rig.node.start([&](Env& env) -> Task<void> {
    GatedLab lab(env, rig);
    ArrayConfig configuration = config(Level::raid5, Consistency::bitmap);
    configuration.bitmap_chunk_bytes = 4096;
    co_await lab.create_gated(configuration, 4);
    EXPECT_EQ(co_await lab.write(0, kBytes, 1), Errc::ok);
    EXPECT_EQ(co_await lab.flush(), Errc::ok);
    EXPECT_TRUE(co_await lab.array->add_disk(lab.gate(4)));
    EXPECT_TRUE(co_await lab.array->add_disk(lab.gate(5)));
    EXPECT_TRUE(co_await lab.array->replace_member("d0"));
    EXPECT_TRUE(co_await lab.array->replace_member("d1"));
    lab.gates[5]->holds = [](const IoRequest& request) {
      return request.op == IoOp::write && request.offset == 8192 + kBlockBytes;  // the bitmap's second block
    };
    while (lab.gates[5]->held.empty()) co_await lab.sleep(kMillisecond);
    EXPECT_EQ(co_await lab.write(0, kBytes, 2, true), Errc::ok);
    content.assign(lab.model.begin(), lab.model.begin() + kBytes);
    written = true;
    co_await lab.sleep(kHour);
  });
  rig.world.run_while([&] { return !written; }, kHour);
  ASSERT_TRUE(written);
  rig.node.power_loss();
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    EXPECT_TRUE(co_await lab.assemble(lab.some(0, 6)));
    std::copy(content.begin(), content.end(), lab.model.begin());
    EXPECT_EQ(co_await lab.verify(0, kBytes), Errc::ok);
    co_await lab.finish();
  }));
}

// ... and a pass that was decided on for a member that has gone must not run at all.
TEST(Waiting, NobodyIsRebuiltInVain) {
  Rig rig(6, 9 * kMiB, 1, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    GatedLab lab(env, rig);
    co_await lab.create_gated(config(Level::raid6, Consistency::bitmap), 6);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    EXPECT_EQ(co_await lab.flush(), Errc::ok);
    co_await lab.sleep(20 * kSecond);
    lab.hold_data(5);
    TaskGroup group(env.scheduler());
    Status scrubbed;
    group.spawn(
        [](Array& array, Status& status) -> Task<void> { status = co_await array.scrub({}); }(*lab.array, scrubbed));
    co_await lab.sleep(kSecond);
    EXPECT_TRUE(co_await lab.array->fail_member("d1"));
    EXPECT_TRUE(co_await lab.array->readd_disk(lab.gate(1)));
    co_await lab.sleep(kSecond);
    EXPECT_TRUE(co_await lab.array->fail_member("d1"));
    lab.gates[5]->open();
    co_await group.join();
    co_await lab.array->recovered();
    EXPECT_EQ(lab.recorder.count(EventKind::rebuild_started), 0u);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    co_await lab.finish();
  }));
}

}  // namespace
}  // namespace resilver::raid
