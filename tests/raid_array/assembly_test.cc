// What assemble() says of each disk, what it refuses, and that a read-only array writes nothing.
#include <functional>

#include "raid/superblock.h"
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

ArrayConfig config(Level level, Consistency consistency = Consistency::resync) {
  return array_config(level, "assembly", consistency);
}

Task<Status> assemble(Lab& lab, std::vector<MemberDisk> list, AssembleOptions options, AssemblyReport& report) {
  auto made = co_await Array::assemble(lab.env.scheduler(), lab.env.buffers(), lab.env.random(), options,
                                       std::move(list), &report);
  if (!made) co_return std::unexpected(made.error());
  lab.take(std::move(*made));
  co_return Status{};
}

Task<void> copy_disk(Lab& lab, unsigned from, unsigned to) {
  for (std::uint64_t at = 0; at < lab.disks[from]->size_bytes(); at += 512 * kKiB) {
    Buffer piece = lab.env.buffers().allocate(512 * kKiB);
    EXPECT_EQ(co_await Io::read(*lab.disks[from], at, piece), Errc::ok);
    EXPECT_EQ(co_await Io::write(*lab.disks[to], at, piece), Errc::ok);
  }
}

struct Content {
  std::vector<std::byte> model;
  std::uint64_t writes = 0;  // of the whole world
};

// d0..d3 an array with a spare d4; d5, d6 another one; d7 nothing.
void make_arrays(Rig& rig, Level level, Content& content, Consistency consistency = Consistency::resync) {
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(level, consistency), 4, 1);
    auto other = co_await Array::create(env.scheduler(), env.buffers(), env.random(), config(Level::raid1),
                                        {lab.some(5, 2), {}, {}}, true);
    CHECK(other.has_value());
    co_await (*other)->stop();
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    content.model = lab.model;
    co_await lab.finish();
  }));
}

TEST(Assembly, ReportsAVerdictForEveryDisk) {
  Rig rig(8, 3 * kMiB, 21, quick_disk());
  Content content;
  make_arrays(rig, Level::raid6, content);
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    lab.model = content.model;
    co_await lab.open();
    AssemblyReport report;
    const Status foreign = co_await assemble(lab, lab.some(0, 8), {}, report);
    EXPECT_FALSE(foreign.has_value());
    if (!foreign) EXPECT_EQ(foreign.error().code, Errc::bad_input);
    if (!foreign) EXPECT_NE(foreign.error().what.find("d5: a member of another array than d"), std::string::npos);
    EXPECT_EQ(report.at(6).verdict, DiskVerdict::other_array);
    EXPECT_EQ(report.at(7).verdict, DiskVerdict::unusable);
    EXPECT_FALSE(report.at(7).why.empty());
    EXPECT_TRUE((co_await assemble(lab, {lab.disk(7), lab.disk(4), lab.disk(0), lab.disk(2), lab.disk(1), lab.disk(3)},
                                   {}, report))
                    .has_value());
    EXPECT_EQ(report.at(0).verdict, DiskVerdict::unusable);
    EXPECT_EQ(report.at(1).verdict, DiskVerdict::spare);
    EXPECT_EQ(report.at(3).verdict, DiskVerdict::member);
    EXPECT_EQ(report.at(3).slot, 2u);
    EXPECT_EQ(report.at(3).events, report.at(2).events);
    EXPECT_TRUE((co_await lab.array->fail_member("d2")).has_value());
    EXPECT_TRUE(co_await lab.whole());
    co_await lab.array->stop();
    lab.array.reset();
    EXPECT_TRUE((co_await assemble(lab, lab.some(0, 5), {}, report)).has_value());
    EXPECT_EQ(report.at(2).verdict, DiskVerdict::faulty);
    EXPECT_EQ(report.at(4).verdict, DiskVerdict::member);
    EXPECT_EQ(report.at(4).slot, 2u);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    co_await lab.finish();
  }));
}

TEST(Assembly, RefusesTheSameDiskTwiceAndNamesBoth) {
  Rig rig(8, 3 * kMiB, 22, quick_disk());
  Content content;
  make_arrays(rig, Level::raid5, content);
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    lab.model = content.model;
    co_await lab.open();
    co_await copy_disk(lab, 1, 7);
    AssemblyReport report;
    const std::uint64_t writes = rig.world.disk_writes_started();
    const Status refused =
        co_await assemble(lab, {lab.disk(0), lab.disk(1), lab.disk(2), lab.disk(3), lab.disk(7)}, {}, report);
    EXPECT_FALSE(refused.has_value());
    if (!refused) EXPECT_EQ(refused.error().code, Errc::bad_input);
    if (!refused) EXPECT_NE(refused.error().what.find("d1 and d7: the same member twice"), std::string::npos);
    EXPECT_EQ(report.at(1).verdict, DiskVerdict::duplicate);
    EXPECT_EQ(report.at(4).verdict, DiskVerdict::duplicate);
    EXPECT_EQ(rig.world.disk_writes_started(), writes);
  }));
}

TEST(Assembly, ReadOnlyWritesNothingAtAll) {
  for (const Level level : {Level::raid1, Level::raid5, Level::raid6, Level::raid10}) {
    Rig rig(8, 3 * kMiB, 23, quick_disk());
    Content content;
    make_arrays(rig, level, content);
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
      Lab lab(env, rig);
      lab.model = content.model;
      co_await lab.open();
      AssemblyReport report;
      const std::uint64_t writes = rig.world.disk_writes_started();
      EXPECT_TRUE((co_await assemble(lab, lab.some(0, 5), {.tuning = {}, .read_only = true}, report)).has_value());
      EXPECT_TRUE(lab.disks[1]->latent({lab.array->data_offset_bytes(), kBlockBytes}).has_value());
      EXPECT_EQ(co_await lab.verify_all(), Errc::ok);  // reads around it, and heals nothing
      lab.disks[0]->fail();
      if (level == Level::raid1 || level == Level::raid6) EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
      const auto before = lab.model;
      EXPECT_EQ(co_await lab.write(0, kBlockBytes, 9), Errc::read_only);
      EXPECT_EQ(co_await lab.zero(0, kBlockBytes), Errc::read_only);
      lab.model = before;
      EXPECT_EQ(co_await lab.flush(), Errc::ok);
      const Status added = co_await lab.array->add_disk(lab.disk(7));
      EXPECT_EQ(added.error().code, Errc::read_only);
      EXPECT_EQ((co_await lab.array->fail_member("d2")).error().code, Errc::read_only);
      EXPECT_EQ((co_await lab.array->remove_disk("d4")).error().code, Errc::read_only);
      EXPECT_EQ((co_await lab.array->replace_member("d2")).error().code, Errc::read_only);
      EXPECT_EQ((co_await lab.array->readd_disk(lab.disk(7))).error().code, Errc::read_only);
      EXPECT_EQ((co_await lab.array->scrub({.repair = true})).error().code, Errc::read_only);
      co_await lab.array->recovered();
      co_await lab.sleep(kMinute);
      co_await lab.finish();
      EXPECT_EQ(rig.world.disk_writes_started(), writes) << name(level);
    }));
  }
}

TEST(Assembly, ReadOnlyReadsADirtyAndDegradedArrayAsItLiesThere) {
  Rig rig(5, 3 * kMiB, 24, quick_disk());
  rig.node.start([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid5), 5);
    for (std::uint64_t i = 0;; ++i) EXPECT_EQ(co_await lab.write(i % 40 * 8 * kKiB, 4 * kKiB, i + 1), Errc::ok);
  });
  rig.world.run_until(50 * kMillisecond);
  rig.node.power_loss();
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    AssemblyReport report;
    EXPECT_FALSE((co_await assemble(lab, lab.some(0, 4), {}, report)).has_value());
    const std::uint64_t writes = rig.world.disk_writes_started();
    EXPECT_TRUE((co_await assemble(lab, lab.some(0, 4), {.tuning = {}, .read_only = true}, report)).has_value());
    for (std::uint64_t at = 0; at < lab.array->size_bytes(); at += 256 * kKiB) {
      EXPECT_NE(co_await lab.verify(at, 256 * kKiB), Errc::medium);
    }
    co_await lab.finish();
    EXPECT_EQ(rig.world.disk_writes_started(), writes);
  }));
}

TEST(Assembly, ForceTakesTheFreshestStaleDisksBack) {
  Rig rig(5, 3 * kMiB, 25, quick_disk());
  std::vector<std::byte> model;
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {  // d3 goes first, d2 later, nothing is written after that
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid6), 5);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    EXPECT_TRUE((co_await lab.array->fail_member("d3")).has_value());
    EXPECT_EQ(co_await lab.write(0, kMiB, 2), Errc::ok);
    EXPECT_TRUE((co_await lab.array->fail_member("d2")).has_value());
    model = lab.model;
    co_await lab.finish();
  }));
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {  // d4 is missing: three are lost
    Lab lab(env, rig);
    lab.model = model;
    co_await lab.open();
    AssemblyReport report;
    const Status refused = co_await assemble(lab, lab.some(0, 4), {}, report);
    EXPECT_FALSE(refused.has_value());
    if (!refused) EXPECT_EQ(refused.error().code, Errc::unavailable);
    EXPECT_TRUE(
        (co_await assemble(lab, lab.some(0, 4), {.tuning = {}, .force = true, .take_stale = true}, report)).has_value());
    EXPECT_EQ(report.at(2).verdict, DiskVerdict::member);
    EXPECT_NE(report.at(2).why.find("by force"), std::string::npos);
    EXPECT_EQ(report.at(3).verdict, DiskVerdict::faulty);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    co_await lab.finish();
  }));
}

TEST(Assembly, WithRecoveryHeldNothingIsRebuilt) {
  Rig rig(8, 3 * kMiB, 26, quick_disk());
  Content content;
  make_arrays(rig, Level::raid5, content);
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    lab.model = content.model;
    co_await lab.open();
    AssembleOptions held;
    held.tuning.hold_recovery = true;
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 5), held)).has_value());
    EXPECT_TRUE((co_await lab.array->fail_member("d1")).has_value());
    co_await lab.array->recovered();
    co_await lab.sleep(kMinute);
    EXPECT_EQ(lab.array->status().members.at(4).state, MemberState::spare);
    EXPECT_TRUE((co_await lab.array->replace_member("d2")).has_value());
    co_await lab.sleep(kMinute);
    EXPECT_EQ(lab.array->status().members.at(4).state, MemberState::replacement);
    EXPECT_EQ(lab.io(Cause::rebuild).writes, 0u);
    co_await lab.array->stop();
    lab.array.reset();
    EXPECT_TRUE((co_await lab.assemble(lab.some(0, 5))).has_value());
    co_await lab.array->recovered();
    EXPECT_EQ(lab.member(2).name, "d4");
    EXPECT_EQ(lab.member(1).state, MemberState::missing);
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    co_await lab.finish();
  }));
}

// Changes the superblock of a disk.
Task<void> edit(Lab& lab, unsigned disk, std::function<void(Superblock&)> change) {
  Buffer block = lab.env.buffers().allocate(kSuperblockBytes);
  EXPECT_EQ(co_await Io::read(*lab.disks[disk], kSuperOffsetSectors * kSectorBytes, block), Errc::ok);
  auto super = decode_superblock(std::span<const std::byte, kSuperblockBytes>(block.data(), kSuperblockBytes),
                                 lab.disks[disk]->size_bytes() / kSectorBytes);
  CHECK(super.has_value());
  change(*super);
  const auto encoded = encode_superblock(*super);
  CHECK(encoded.has_value());
  std::ranges::copy(*encoded, block.data());
  EXPECT_EQ(co_await Io::write(*lab.disks[disk], kSuperOffsetSectors * kSectorBytes, block), Errc::ok);
}

TEST(Assembly, AnArrayWithAPartialParityLogIsOnlyRead) {
  Rig rig(4, 3 * kMiB, 27, quick_disk());
  std::vector<std::byte> model;
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid5), 4, 0);
    EXPECT_EQ(co_await lab.write_all(1), Errc::ok);
    model = lab.model;
    co_await lab.finish();
  }));
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    lab.model = model;
    co_await lab.open();
    for (unsigned disk = 0; disk < 4; ++disk) {
      co_await edit(lab, disk, [](Superblock& super) { super.feature_map |= kFeaturePpl; });
    }
    AssemblyReport report;
    const Status refused = co_await assemble(lab, lab.some(0, 4), {}, report);
    EXPECT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().what,
              "superblock: feature_map has ppl (0x400), which is not kept here: the array can only be read");
    AssembleOptions options;
    options.read_only = true;
    EXPECT_TRUE((co_await assemble(lab, lab.some(0, 4), options, report)).has_value());
    EXPECT_EQ(co_await lab.verify_all(), Errc::ok);
    co_await lab.finish();
  }));
}

TEST(Assembly, ARaid0OfUnequalMembersHasZones) {
  Rig rig(3, 3 * kMiB, 28, quick_disk());
  std::uint64_t equal = 0;
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.create(config(Level::raid0, Consistency::none), 3, 0);
    equal = lab.array->size_bytes();
    co_await lab.finish();
  }));
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    const auto shorten = [](Superblock& super) { super.data_size_sectors -= 4 * super.chunk_sectors; };
    co_await edit(lab, 1, shorten);
    AssemblyReport report;
    const Status refused = co_await assemble(lab, lab.some(0, 3), {}, report);
    EXPECT_EQ(refused.error().code, Errc::unsupported);  // nobody says which of md's two layouts
    for (unsigned disk = 0; disk < 3; ++disk) {
      co_await edit(lab, disk, [](Superblock& super) { super.feature_map |= kFeatureRaid0Layout; });
    }
    EXPECT_TRUE((co_await assemble(lab, lab.some(0, 3), {}, report)).has_value());
    EXPECT_TRUE(lab.array->geometry().has_zones());
    EXPECT_EQ(lab.array->size_bytes(), equal - 4 * 64 * kKiB);
    co_await lab.finish();
  }));
}

TEST(Assembly, NamesOtherMetadataVersions) {
  Rig rig(1, 3 * kMiB, 29, quick_disk());
  ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> {
    Lab lab(env, rig);
    co_await lab.open();
    AssemblyReport report;
    EXPECT_EQ((co_await assemble(lab, lab.some(0, 1), {}, report)).error().what.find("metadata"), std::string::npos);
    for (const MetadataPlace& place : other_metadata(lab.disks[0]->size_bytes() / kSectorBytes)) {
      Buffer block = lab.env.buffers().allocate(kSuperblockBytes);
      std::memset(block.data(), 0, block.size());
      const bool old = place.version == MetadataVersion::v0_90;
      const std::uint32_t head[] = {kSuperblockMagic, old ? 0u : 1u, old ? 90u : 0u};
      std::memcpy(block.data(), head, sizeof head);
      std::memcpy(block.data() + 144, &place.sector, sizeof place.sector);
      EXPECT_EQ(co_await Io::write(*lab.disks[0], place.sector * kSectorBytes, block), Errc::ok);
      const Status refused = co_await assemble(lab, lab.some(0, 1), {}, report);
      EXPECT_TRUE(refused.error().what.starts_with(std::string("d0: metadata ") + name(place.version) + ": superblock: "))
          << refused.error().what;
      EXPECT_EQ(report[0].why, refused.error().what.substr(4));
      std::memset(block.data(), 0, block.size());
      EXPECT_EQ(co_await Io::write(*lab.disks[0], place.sector * kSectorBytes, block), Errc::ok);
    }
  }));
}

}  // namespace
}  // namespace resilver::raid
