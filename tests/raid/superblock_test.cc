// The md superblock to the byte: round trips, a vector that mdadm accepts, and every field refused by its name.
#include "raid/superblock.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

namespace resilver::raid {
namespace {

using Block = std::array<std::byte, kSuperblockBytes>;

constexpr std::uint64_t kDeviceSectors = 256 * 2048;  // 256 MiB

Superblock sample() {
  Superblock sb;
  for (std::size_t i = 0; i < 16; ++i) {
    sb.set_uuid[i] = static_cast<std::uint8_t>(i * 17);
    sb.device_uuid[i] = static_cast<std::uint8_t>(0xf0 + i);
  }
  sb.set_name = "resilver:0";
  sb.ctime = 1700000000;
  sb.utime = 1700000100;
  sb.level = Level::raid5;
  sb.layout = Layout::left_symmetric;
  sb.chunk_sectors = 1024;
  sb.raid_disks = 4;
  sb.data_offset_sectors = 4096;
  sb.data_size_sectors = kDeviceSectors - 4096;
  sb.size_sectors = sb.data_size_sectors;
  sb.dev_number = 4;
  sb.bblog_size_sectors = 8;
  sb.bblog_offset = 16;
  sb.events = 18;
  sb.feature_map = kFeatureBitmap;
  sb.bitmap_offset = 8;
  sb.roles = {0, 1, 2, kRoleSpare, 3};
  return sb;
}

Block encode(const Superblock& sb) {
  auto block = encode_superblock(sb);
  EXPECT_TRUE(block.has_value());
  return *block;
}

template <typename T>
void put(Block& block, std::size_t offset, T value) {
  std::memcpy(block.data() + offset, &value, sizeof value);
}

// Sets the checksum anew, so that the refusal is about the field and not about the sum.
void seal(Block& block) {
  std::uint32_t max_dev;
  std::memcpy(&max_dev, block.data() + 220, 4);
  put<std::uint32_t>(block, 216, superblock_checksum(std::span(block).first(256 + 2 * max_dev)));
}

std::string refusal(const Block& block, std::uint64_t device_sectors = kDeviceSectors) {
  auto sb = decode_superblock(block, device_sectors);
  return sb ? "accepted" : to_string(sb.error());
}

template <typename T>
std::string refusal_with(std::size_t offset, T value, std::function<void(Superblock&)> change = {}) {
  Superblock sb = sample();
  if (change) change(sb);
  Block block = encode(sb);
  put(block, offset, value);
  seal(block);
  return refusal(block);
}

// What a superblock does not name is written back: padding, what lies behind the name, a layout's number where the level has
// none, the length of dev_roles, the rest of the block.
TEST(Superblock, KeepsWhatItDoesNotKnow) {
  Superblock sb = sample();
  sb.level = Level::raid1;
  sb.layout = Layout::none;
  sb.chunk_sectors = 0;
  Block block = encode(sb);
  put<std::uint32_t>(block, 12, 0x11111111);
  put<std::uint32_t>(block, 32 + 16, 0x22222222);
  put<std::uint32_t>(block, 76, 5);
  put<std::uint32_t>(block, 104, 0x33333333);
  put<std::uint64_t>(block, 224, 0x4444444444444444);
  put<std::uint32_t>(block, 220, 384);
  put<std::uint64_t>(block, 3000, 0x5555555555555555);
  for (std::size_t i = 128; i < 384; ++i) put<std::uint16_t>(block, 256 + 2 * i, kRoleSpare);
  seal(block);
  auto read = decode_superblock(block, kDeviceSectors);
  ASSERT_TRUE(read.has_value()) << read.error().what;
  EXPECT_TRUE(encode(*read) == block);
  read->events += 5;
  Block changed = encode(*read);
  put<std::uint64_t>(changed, 200, sb.events);
  seal(changed);
  EXPECT_TRUE(changed == block);
}

// Beside all that md reads, and only of the superblock that it was written with.
TEST(Superblock, AMarkOfBeingFailedByHandGoesWithItsEvents) {
  Superblock sb = sample();
  const Block unmarked = encode(sb);
  sb.failed_by_hand = true;
  Block block = encode(sb);
  EXPECT_TRUE(std::equal(block.begin(), block.end() - 16, unmarked.begin()));
  EXPECT_TRUE(decode_superblock(block, kDeviceSectors)->failed_by_hand);
  put<std::uint64_t>(block, 200, sb.events + 1);  // md took it back
  seal(block);
  auto later = decode_superblock(block, kDeviceSectors);
  EXPECT_FALSE(later->failed_by_hand);
  const Block again = encode(*later);
  EXPECT_TRUE(std::all_of(again.end() - 16, again.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(Superblock, ReadsBackWhatWasWritten) {
  const Superblock sb = sample();
  auto back = decode_superblock(encode(sb), kDeviceSectors);
  ASSERT_TRUE(back.has_value()) << back.error().what;
  EXPECT_EQ(back->role(), 3);
  EXPECT_EQ(back->roles.size(), 128u);  // as mdadm: whole sectors
  Superblock expected = sb;
  expected.roles.resize(128, kRoleSpare);
  EXPECT_EQ(*back, expected);
  EXPECT_EQ(encode(*back), encode(sb));
}

TEST(Superblock, EveryLevelReadsBack) {
  for (Level level :
       {Level::linear, Level::raid0, Level::raid1, Level::raid4, Level::raid5, Level::raid6, Level::raid10}) {
    Superblock sb = sample();
    sb.level = level;
    sb.layout = default_layout(level);
    if (!is_redundant(level)) sb.size_sectors = 0;
    if (level == Level::linear || level == Level::raid1) sb.chunk_sectors = 0;
    sb.feature_map |= kFeatureRecoveryOffset | kFeatureBadBlocks;
    sb.recovery_offset_sectors = 2048;
    sb.resync_offset_sectors = 4096;
    sb.roles.resize(128, kRoleSpare);
    auto back = decode_superblock(encode(sb), kDeviceSectors);
    ASSERT_TRUE(back.has_value()) << back.error().what;
    EXPECT_EQ(*back, sb);
    auto geometry = geometry_of(*back);
    ASSERT_TRUE(geometry.has_value()) << geometry.error().what;
    EXPECT_EQ(geometry->level(), level);
    EXPECT_EQ(geometry->member_bytes(), (kDeviceSectors - 4096) * 512);
  }
}

// Field by field at the documented offsets of struct mdp_superblock_1 (linux/raid/md_p.h).
TEST(Superblock, LiesOnDiskAsMdWritesIt) {
  const Block block = encode(sample());
  const auto u32 = [&](std::size_t at) {
    std::uint32_t v;
    std::memcpy(&v, block.data() + at, 4);
    return v;
  };
  const auto u64 = [&](std::size_t at) {
    std::uint64_t v;
    std::memcpy(&v, block.data() + at, 8);
    return v;
  };
  const auto u16 = [&](std::size_t at) {
    std::uint16_t v;
    std::memcpy(&v, block.data() + at, 2);
    return v;
  };
  EXPECT_EQ(u32(0), 0xa92b4efcu);
  EXPECT_EQ(u32(4), 1u);
  EXPECT_EQ(u32(8), 1u);
  EXPECT_EQ(block[17], std::byte{17});
  EXPECT_EQ(std::memcmp(block.data() + 32, "resilver:0\0\0", 12), 0);
  EXPECT_EQ(u64(64), 1700000000u);
  EXPECT_EQ(u32(72), 5u);
  EXPECT_EQ(u32(76), 2u);
  EXPECT_EQ(u64(80), kDeviceSectors - 4096);
  EXPECT_EQ(u32(88), 1024u);
  EXPECT_EQ(u32(92), 4u);
  EXPECT_EQ(u32(96), 8u);
  EXPECT_EQ(u64(128), 4096u);
  EXPECT_EQ(u64(136), kDeviceSectors - 4096);
  EXPECT_EQ(u64(144), 8u);
  EXPECT_EQ(u32(160), 4u);
  EXPECT_EQ(block[168], std::byte{0xf0});
  EXPECT_EQ(u16(186), 8u);
  EXPECT_EQ(u32(188), 16u);
  EXPECT_EQ(u64(200), 18u);
  EXPECT_EQ(u64(208), ~0ull);
  EXPECT_EQ(u32(220), 128u);
  EXPECT_EQ(u16(256 + 6), 0xffff);
  EXPECT_EQ(u16(256 + 8), 3);
  EXPECT_EQ(u32(216), 0x9dc8efbau);  // mdadm 4.2 --examine: "Checksum : 9dc8efba - correct"
}

TEST(Superblock, ChecksumIsMdsSumOfWords) {
  std::array<std::byte, 260> bytes{};
  EXPECT_EQ(superblock_checksum(bytes), 0u);
  std::memset(bytes.data(), 0xff, 12);  // 3 · 0xffffffff = 0x2_ffff_fffd; the high half is added once
  EXPECT_EQ(superblock_checksum(bytes), 0xffffffffu);
  std::memset(bytes.data() + 216, 0xff, 4);  // the sum does not count itself
  EXPECT_EQ(superblock_checksum(bytes), 0xffffffffu);
  std::array<std::byte, 258> odd{};
  odd[256] = std::byte{0x34};
  odd[257] = std::byte{0x12};
  EXPECT_EQ(superblock_checksum(odd), 0x1234u);  // a trailing half word
}

TEST(Superblock, EveryFlippedByteIsNoticed) {
  const Block good = encode(sample());
  for (std::size_t at = 0; at < 512; ++at) {
    Block bad = good;
    bad[at] ^= std::byte{0x10};
    EXPECT_NE(refusal(bad), "accepted") << at;
  }
}

TEST(Superblock, RefusesWhatItIsNotByName) {
  EXPECT_EQ(refusal(Block{}), "superblock: magic is 0x00000000, not 0xa92b4efc (corrupt)");
  EXPECT_EQ(refusal_with<std::uint32_t>(4, 2), "superblock: major_version 2 is not 1 (unsupported)");
  Block block = encode(sample());
  put<std::uint32_t>(block, 220, 5000);
  EXPECT_EQ(refusal(block), "superblock: max_dev 5000 is more than 1920 (bad input)");
  block = encode(sample());
  put<std::uint32_t>(block, 216, 1);
  EXPECT_EQ(refusal(block).substr(0, 34), "superblock: sb_csum is 0x00000001,");
}

TEST(Superblock, RefusesUnknownFeaturesByName) {
  const std::string reshape = ": the array is in reshape (unsupported)";
  EXPECT_EQ(refusal_with<std::uint32_t>(8, 4), "superblock: feature_map has reshape-active (0x4)" + reshape);
  EXPECT_EQ(refusal_with<std::uint32_t>(8, 32), "superblock: feature_map has reshape-backwards (0x20)" + reshape);
  EXPECT_EQ(refusal_with<std::uint32_t>(8, 64), "superblock: feature_map has new-offset (0x40)" + reshape);
  EXPECT_EQ(refusal_with<std::uint32_t>(8, 256), "superblock: feature_map has clustered (0x100) (unsupported)");
  EXPECT_EQ(refusal_with<std::uint32_t>(8, 1u << 20),
            "superblock: feature_map has unknown bits 0x100000 (unsupported)");
}

TEST(Superblock, RefusesFeaturesThatDoNotGoTogether) {
  EXPECT_EQ(refusal_with<std::uint32_t>(8, kFeatureRaid0Layout),
            "superblock: feature_map has raid0-layout (0x1000), level is 5 (bad input)");
  const auto ten = [](Superblock& sb) {
    sb.level = Level::raid10;
    sb.layout = Layout::near_2;
  };
  EXPECT_EQ(refusal_with<std::uint32_t>(8, kFeatureJournal, ten),
            "superblock: feature_map has journal (0x200), level is 10 (bad input)");
  EXPECT_EQ(refusal_with<std::uint32_t>(8, kFeatureMultiplePpls, ten),
            "superblock: feature_map has ppl (0xc00), level is 10 (bad input)");
  EXPECT_EQ(refusal_with<std::uint32_t>(8, kFeatureBitmap | kFeatureJournal),
            "superblock: feature_map 0x201 has more than one of bitmap, journal and ppl (bad input)");
  EXPECT_EQ(refusal_with<std::uint32_t>(8, kFeatureBitmap | kFeatureReplacement | kFeatureRecoveryBitmap), "accepted");
  const auto zero = [](Superblock& sb) {
    sb.level = Level::raid0;
    sb.layout = Layout::none;
    sb.size_sectors = 0;
    sb.feature_map = kFeatureRaid0Layout;
  };
  EXPECT_EQ(refusal_with<std::int32_t>(76, 0, zero),
            "superblock: layout 0 with feature raid0-layout (0x1000) (bad input)");
  EXPECT_EQ(refusal_with<std::int32_t>(76, 7, zero), "superblock: layout 0x7 of raid0 is unknown (bad input)");
  EXPECT_EQ(refusal_with<std::int32_t>(76, 2, zero), "accepted");
  EXPECT_EQ(refusal_with<std::uint64_t>(80, 6000, [](Superblock& sb) { sb.level = Level::linear; }), "accepted");
}

TEST(Superblock, AJournalHasATailAndAnySize) {
  const auto journal = [](Superblock& sb) {
    sb.feature_map = kFeatureJournal;
    sb.dev_number = 5;
    sb.roles.push_back(kRoleJournal);
    sb.data_size_sectors = 1000;  // less than the members use
    sb.recovery_offset_sectors = 16;
  };
  EXPECT_EQ(refusal_with<std::uint64_t>(152, 16, journal), "accepted");
  EXPECT_EQ(refusal_with<std::uint64_t>(152, 1000, journal),
            "superblock: journal_tail 1000 is not inside data_size 1000 (bad input)");
  EXPECT_EQ(refusal_with<std::uint16_t>(256 + 2 * 7, kRoleJournal, journal),
            "superblock: dev_roles[7] is a second journal (bad input)");
}

TEST(Superblock, CountsARaid10sResyncInArraySectors) {
  const auto ten = [](Superblock& sb) {
    sb.level = Level::raid10;
    sb.layout = Layout::near_2;
  };
  const std::uint64_t member = kDeviceSectors - 4096;
  EXPECT_EQ(refusal_with<std::uint64_t>(208, member * 2, ten), "accepted");
  EXPECT_EQ(refusal_with<std::uint64_t>(208, member * 2 + 1, ten).substr(0, 34), "superblock: resync_offset 1040385 ");
}

TEST(Superblock, RefusesImpossibleShapesByName) {
  EXPECT_EQ(refusal_with<std::int32_t>(72, 2), "superblock: level 2 is not -1, 0, 1, 4, 5, 6 or 10 (unsupported)");
  EXPECT_EQ(refusal_with<std::int32_t>(72, -4), "superblock: level -4 is not -1, 0, 1, 4, 5, 6 or 10 (unsupported)");
  EXPECT_EQ(refusal_with<std::int32_t>(76, 17), "superblock: layout 0x11 of raid5 is unknown (bad input)");
  EXPECT_EQ(refusal_with<std::int32_t>(76, 3), "accepted");
  EXPECT_EQ(refusal_with<std::uint32_t>(88, 1000),
            "superblock: level, layout, raid_disks or chunksize: chunk of 512000 bytes: must be a power of two from "
            "4 KiB to 512 GiB (invalid argument)");
  EXPECT_EQ(
      refusal_with<std::uint32_t>(92, 1),
      "superblock: level, layout, raid_disks or chunksize: raid5 needs at least 2 disks, not 1 (invalid argument)");
  EXPECT_NE(refusal_with<std::uint32_t>(92, 0xffffffff), "accepted");
  EXPECT_NE(refusal_with<std::uint32_t>(88, 0xffffffff), "accepted");
}

TEST(Superblock, RefusesImpossiblePlacesByName) {
  const auto starts = [](const std::string& text, const std::string& with) {
    EXPECT_EQ(text.substr(0, with.size()), with);
  };
  starts(refusal_with<std::uint64_t>(144, 0), "superblock: super_offset 0 is not 8");
  starts(refusal_with<std::uint64_t>(128, 8), "superblock: data_offset 8 ");
  starts(refusal_with<std::uint64_t>(128, ~0ull), "superblock: data_offset 18446744073709551615 ");
  starts(refusal_with<std::uint64_t>(136, 0), "superblock: data_size 0 ");
  starts(refusal_with<std::uint64_t>(136, ~0ull), "superblock: data_size 18446744073709551615 ");
  starts(refusal_with<std::uint64_t>(80, 0), "superblock: size 0 ");
  starts(refusal_with<std::uint64_t>(80, kDeviceSectors), "superblock: size 524288 ");
  starts(refusal_with<std::uint64_t>(80, 100), "superblock: size or data_size: member of 0 bytes");
  starts(refusal_with<std::int32_t>(96, 0), "superblock: bitmap_offset 0 ");
  starts(refusal_with<std::int32_t>(96, -8), "superblock: bitmap_offset -8 ");
  starts(refusal_with<std::int32_t>(96, 0x7fffffff), "superblock: bitmap_offset 2147483647 ");
  starts(refusal_with<std::int32_t>(188, 4090), "superblock: bblog_offset 4090 ");
  const auto bad_blocks = [](Superblock& sb) { sb.feature_map |= kFeatureBadBlocks; };
  starts(refusal_with<std::int32_t>(188, 0, bad_blocks), "superblock: bblog_size and bblog_offset are 0 ");
  starts(refusal_with<std::uint8_t>(185, 3, bad_blocks), "superblock: bblog_shift 3 ");
  EXPECT_EQ(refusal_with<std::uint8_t>(185, 9), "accepted");  // mdadm writes 9 while the log is empty
  const auto recovering = [](Superblock& sb) { sb.feature_map |= kFeatureRecoveryOffset; };
  starts(refusal_with<std::uint64_t>(152, kDeviceSectors, recovering), "superblock: recovery_offset 524288 ");
  starts(refusal_with<std::uint64_t>(208, kDeviceSectors), "superblock: resync_offset 524288 ");
  EXPECT_EQ(refusal_with<std::uint64_t>(208, 0), "accepted");
  starts(refusal(encode(sample()), 1000), "superblock: data_offset 4096 ");
  starts(refusal(encode(sample()), 8192), "superblock: data_size 520192 ");
}

TEST(Superblock, RefusesImpossibleRolesByName) {
  const auto with = [](std::size_t index, std::uint16_t role) {
    return refusal_with<std::uint16_t>(256 + 2 * index, role);
  };
  EXPECT_EQ(with(3, kRoleJournal), "superblock: dev_roles[3] is a journal, feature_map has none (bad input)");
  EXPECT_EQ(with(3, 4), "superblock: dev_roles[3] is 4, the array has 4 disks (bad input)");
  EXPECT_EQ(with(3, 2), "accepted");  // one replaces the other
  EXPECT_EQ(refusal_with<std::uint16_t>(256 + 2 * 3, 2, [](Superblock& sb) { sb.roles.push_back(2); }),
            "superblock: dev_roles[5] is 2 a third time (bad input)");
  EXPECT_EQ(with(2, kRoleFaulty), "accepted");
  EXPECT_EQ(refusal_with<std::uint32_t>(160, 128), "superblock: dev_number 128 is not below max_dev 128 (bad input)");
}

TEST(Superblock, RefusesToWriteWhatDoesNotFit) {
  Superblock sb = sample();
  sb.set_name.assign(33, 'x');
  EXPECT_EQ(encode_superblock(sb).error().code, Errc::invalid_argument);
  sb.set_name.assign(32, 'x');
  EXPECT_EQ(decode_superblock(encode(sb), kDeviceSectors)->set_name, sb.set_name);
  sb.roles.resize(kMaxDevs, kRoleSpare);
  EXPECT_EQ(decode_superblock(encode(sb), kDeviceSectors)->roles.size(), kMaxDevs);
  sb.roles.resize(kMaxDevs + 1, kRoleSpare);
  EXPECT_EQ(encode_superblock(sb).error().code, Errc::invalid_argument);
}

TEST(Superblock, ReservesBitmapSpaceBySize) {
  EXPECT_EQ(bitmap_space_sectors(100), 0u);
  EXPECT_EQ(bitmap_space_sectors(8 * 1024 * 2048), 8u);
  EXPECT_EQ(bitmap_space_sectors(8 * 1024 * 2048 + 2048), 128u);
  EXPECT_EQ(bitmap_space_sectors(256ull * 1024 * 2048), 256u);
}

TEST(Superblock, PrintsUuidsAsMdadmDoes) {
  EXPECT_EQ(format_uuid(sample().set_uuid), "00112233:44556677:8899aabb:ccddeeff");
}

}  // namespace
}  // namespace resilver::raid
