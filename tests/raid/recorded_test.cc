// Blocks that Linux 6.1 and mdadm 4.2 wrote (user-mode-linux, members of 32 MiB; one of 48): they are read as what they are,
// and what is written for them is the same to the byte. tests/raid/data holds their first bytes; the rest of a superblock's
// 4096 is zero, the rest of a bad-block log is unused entries.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>

#include "raid/bitmap_format.h"
#include "raid/superblock.h"

namespace resilver::raid {
namespace {

constexpr std::uint64_t kDeviceSectors = 65536;

using Block = std::array<std::byte, kSuperblockBytes>;

Block load(const std::string& name, std::byte rest = std::byte{0}) {
  Block block;
  block.fill(rest);
  std::ifstream file("tests/raid/data/" + name, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << name << ": run the test from the root of the repository";
  file.read(reinterpret_cast<char*>(block.data()), block.size());
  EXPECT_GT(file.gcount(), 0) << name;
  return block;
}

Superblock read(const std::string& name, std::uint64_t device_sectors = kDeviceSectors) {
  const Block block = load("superblock/" + name);
  auto superblock = decode_superblock(block, device_sectors);
  EXPECT_TRUE(superblock.has_value()) << name << ": " << superblock.error().what;
  if (!superblock) return {};
  EXPECT_EQ(encode_superblock(*superblock), block) << name;
  EXPECT_EQ(superblock->set_name, "host:lab");
  EXPECT_EQ(read_only_reason(*superblock).empty(), name != "raid5-ppl");
  return *superblock;
}

std::string refused(const std::string& name) {
  const auto superblock = decode_superblock(load("superblock/" + name), kDeviceSectors);
  return superblock ? "accepted" : to_string(superblock.error());
}

// The roles up to the last that is not spare.
std::vector<std::uint16_t> roles(const Superblock& superblock) {
  std::vector<std::uint16_t> list = superblock.roles;
  while (!list.empty() && list.back() == kRoleSpare) list.pop_back();
  return list;
}

TEST(Recorded, Raid0OfEqualAndUnequalMembers) {
  const Superblock equal = read("raid0-equal");
  EXPECT_EQ(equal.level, Level::raid0);
  EXPECT_EQ(equal.layout, Layout::raid0_original);
  EXPECT_EQ(equal.feature_map, 0u);
  EXPECT_EQ(equal.size_sectors, 0u);
  EXPECT_EQ(equal.data_size_sectors, 63488u);
  EXPECT_EQ(equal.bblog_offset, choose_bad_block_offset(Level::raid0, kDeviceSectors, 0));
  const Superblock unequal = read("raid0-unequal", 98304);
  EXPECT_EQ(unequal.feature_map, kFeatureRaid0Layout);
  EXPECT_EQ(unequal.layout, Layout::raid0_original);
  EXPECT_EQ(unequal.role(), 2);
  const auto shape = geometry_of_zoned(unequal, std::array<std::uint64_t, 3>{63488, 63488, 96256});
  ASSERT_TRUE(shape.has_value());
  EXPECT_EQ(shape->capacity_bytes(), (63488 * 2 + 96256) * 512u);
  EXPECT_EQ(geometry_of_zoned(equal, std::array<std::uint64_t, 3>{63488, 63488, 96256}).error().what,
            "superblock: layout of a raid0 with unequal members is not told (feature_map lacks raid0-layout, 0x1000); "
            "resilver assemble --update=layout-original or layout-alternate says which it is");
}

TEST(Recorded, Raid1WithBitmapAndWriteMostly) {
  const Superblock super = read("raid1-bitmap-writemostly");
  EXPECT_EQ(super.level, Level::raid1);
  EXPECT_EQ(super.feature_map, kFeatureBitmap);
  EXPECT_EQ(super.bitmap_offset, 8);
  EXPECT_EQ(super.devflags, 1);
  EXPECT_EQ(super.chunk_sectors, 0u);
  EXPECT_EQ(super.resync_offset_sectors, kResyncDone);
}

TEST(Recorded, AReplacementAndWhatItReplacesHaveOneSlot) {
  const Superblock replacement = read("raid1-replacement");
  EXPECT_EQ(replacement.feature_map, kFeatureReplacement | kFeatureRecoveryOffset);
  EXPECT_EQ(replacement.dev_number, 2u);
  EXPECT_EQ(replacement.role(), 0);
  EXPECT_EQ(replacement.recovery_offset_sectors, 4352u);
  EXPECT_EQ(roles(replacement), (std::vector<std::uint16_t>{0, 1, 0}));
  const Superblock replaced = read("raid1-replaced");
  EXPECT_EQ(replaced.feature_map, 0u);
  EXPECT_EQ(replaced.role(), 0);
  EXPECT_EQ(roles(replaced), roles(replacement));
}

TEST(Recorded, ARaid5IsRebuiltOntoItsLastMemberAfterCreation) {
  const Superblock last = read("raid5-recovering");
  EXPECT_EQ(last.feature_map, kFeatureBitmap | kFeatureRecoveryOffset);
  EXPECT_EQ(last.layout, Layout::left_symmetric);
  EXPECT_EQ(last.dev_number, 4u);
  EXPECT_EQ(last.role(), 3);
  EXPECT_EQ(last.recovery_offset_sectors, 2304u);
  EXPECT_EQ(last.resync_offset_sectors, kResyncDone);
  EXPECT_EQ(roles(last), (std::vector<std::uint16_t>{0, 1, 2, kRoleSpare, 3}));
  const Superblock first = read("raid5-recovering-other");
  EXPECT_EQ(first.feature_map, kFeatureBitmap);
  EXPECT_EQ(first.events, last.events);
}

TEST(Recorded, Raid4AndRaid6InTheMiddleOfAResync) {
  const Superblock four = read("raid4");
  EXPECT_EQ(four.level, Level::raid4);
  EXPECT_EQ(four.layout, Layout::none);
  const Superblock six = read("raid6-resyncing");
  EXPECT_EQ(six.level, Level::raid6);
  EXPECT_EQ(six.layout, Layout::left_asymmetric);
  EXPECT_EQ(six.resync_offset_sectors, 1536u);
}

TEST(Recorded, Raid10WithASpareThatTakesOver) {
  const Superblock spare = read("raid10-spare");
  EXPECT_EQ(spare.level, Level::raid10);
  EXPECT_EQ(spare.layout, Layout::near_2);
  EXPECT_EQ(spare.raid_disks, 3u);
  EXPECT_EQ(spare.role(), kRoleSpare);
  EXPECT_EQ(spare.resync_offset_sectors, 0u);
  const Superblock recovering = read("raid10-spare-recovering");
  EXPECT_EQ(recovering.feature_map, kFeatureBitmap | kFeatureRecoveryOffset);
  EXPECT_EQ(recovering.role(), 0);
  EXPECT_EQ(roles(recovering), (std::vector<std::uint16_t>{kRoleFaulty, 1, 2, 0}));
  EXPECT_EQ(read("raid10-degraded").role(), 1);
  const auto shape = geometry_of(spare);
  ASSERT_TRUE(shape.has_value());
  EXPECT_EQ(shape->capacity_bytes(), 63488 * 512u * 3 / 2);
}

TEST(Recorded, AJournalIsNoMember) {
  const Superblock member = read("raid5-journal-member");
  EXPECT_EQ(member.feature_map, kFeatureJournal);
  EXPECT_EQ(member.role(), 0);
  EXPECT_FALSE(member.is_journal());
  EXPECT_EQ(roles(member), (std::vector<std::uint16_t>{kRoleJournal, 0, 1, 2}));
  const Superblock journal = read("raid5-journal-device");
  EXPECT_TRUE(journal.is_journal());
  EXPECT_EQ(journal.feature_map, kFeatureJournal);
  EXPECT_EQ(journal.recovery_offset_sectors, 8u);
  EXPECT_EQ(journal.set_uuid, member.set_uuid);
}

TEST(Recorded, APartialParityLogIsReadOnly) {
  const Superblock super = read("raid5-ppl");
  EXPECT_EQ(super.feature_map, kFeaturePpl);
  EXPECT_EQ(read_only_reason(super), "superblock: feature_map has ppl (0x400), which is not kept here");
}

TEST(Recorded, BadBlocksComeInAnyOrder) {
  EXPECT_EQ(read("raid5-bad-blocks").feature_map, kFeatureBadBlocks);
  const Block log = load("bad_blocks/three-ranges", std::byte{0xff});
  std::uint64_t second = 0;
  std::memcpy(&second, log.data() + 8, 8);
  EXPECT_EQ(second, (8704ull << 10) | 88);  // md wrote the end of 8192 + 600 first
  const auto ranges = decode_bad_blocks(log);
  ASSERT_TRUE(ranges.has_value());
  EXPECT_EQ(*ranges, (std::vector<BadRange>{{4096, 8}, {8192, 600}}));
}

TEST(Recorded, BitmapsReadBackToTheByte) {
  struct Expected {
    const char* name;
    std::uint64_t events, cleared, sync;
    bool marked;
  };
  // RAID 10: the bits count the array, not a member.
  constexpr Expected kAll[] = {{"raid1", 2, 1, 63488, false},
                               {"raid5", 5, 0, 63488, false},
                               {"raid5-dirty", 2, 0, 63488, true},
                               {"raid10", 8, 1, 95232, false}};
  for (const Expected& expected : kAll) {
    const Block block = load(std::string("bitmap/") + expected.name);
    const auto head = std::span(block).first<kBitmapHeaderBytes>();
    const auto header = decode_bitmap_header(head);
    ASSERT_TRUE(header.has_value()) << expected.name;
    EXPECT_EQ(header->events, expected.events);
    EXPECT_EQ(header->events_cleared, expected.cleared);
    EXPECT_EQ(header->sync_size_sectors, expected.sync);
    EXPECT_EQ(header->chunk_bytes, kBitmapDefaultChunk);
    EXPECT_EQ(bitmap_bit(block, 0), expected.marked) << expected.name;
    std::array<std::byte, kBitmapHeaderBytes> again;
    encode_bitmap_header(*header, again);
    EXPECT_TRUE(std::ranges::equal(again, head)) << expected.name;
  }
}

TEST(Recorded, WhatIsNotOfferedIsRefusedByName) {
  EXPECT_EQ(refused("raid5-reshape"),
            "superblock: feature_map has reshape-active (0x4): the array is in reshape (unsupported)");
  EXPECT_EQ(refused("raid6-ddf"), "accepted");
  EXPECT_EQ(refused("raid10-offset"),
            "superblock: layout offset-2 (0x10201) of raid10 is not offered (near-2 to near-255 is) (unsupported)");
}

TEST(Recorded, OtherMetadataVersionsAreRecognised) {
  const auto places = other_metadata(kDeviceSectors);
  EXPECT_EQ(places[0].sector, 65408u);
  EXPECT_EQ(places[1].sector, 65520u);
  EXPECT_EQ(places[2].sector, 0u);
  for (std::size_t block_of = 0; block_of < places.size(); ++block_of) {
    const Block block = load(std::string("superblock/metadata-") + name(places[block_of].version));
    for (std::size_t place = 0; place < places.size(); ++place) {
      EXPECT_EQ(holds_metadata(std::span(block).first<512>(), places[place]), place == block_of);
    }
    EXPECT_NE(decode_superblock(block, kDeviceSectors), read("raid4"));
    const auto super = decode_superblock(block, kDeviceSectors, places[block_of]);
    if (places[block_of].version == MetadataVersion::v0_90) {  // what was recorded is an eighth of it
      ASSERT_FALSE(super.has_value());
      EXPECT_NE(super.error().what.find("sb_csum is 0xb6df71a2"), std::string::npos);
      continue;
    }
    ASSERT_TRUE(super.has_value()) << super.error().what;
    EXPECT_EQ(super->place, places[block_of]);
    EXPECT_NE(read_only_reason(*super).find("is only read here"), std::string::npos);
    EXPECT_FALSE(encode_superblock(*super).has_value());
    EXPECT_EQ(super->role(), 0);
    EXPECT_EQ(super->resync_offset_sectors, kResyncDone);
    EXPECT_GE(super->data_offset_sectors, places[block_of].version == MetadataVersion::v1_1 ? 8u : 0u);
    EXPECT_GE(super->data_size_sectors, super->size_sectors);
    EXPECT_EQ(geometry_of(*super)->disks(), super->raid_disks);
  }
}

TEST(Recorded, ASuperblockAtTheEndOfTheLastPartitionIsNotTheDisks) {
  std::array<std::byte, 512> boot{};
  const MetadataPlace place{MetadataVersion::v0_90, 65408};
  const auto partition = [&](std::uint32_t begin, std::uint32_t sectors) {
    boot[510] = std::byte{0x55};
    boot[511] = std::byte{0xaa};
    boot[446 + 16 + 4] = std::byte{0xfd};
    std::memcpy(&boot[446 + 16 + 8], &begin, 4);
    std::memcpy(&boot[446 + 16 + 12], &sectors, 4);
  };
  EXPECT_FALSE(belongs_to_partition(boot, place));
  partition(2048, 65536 - 2048);
  EXPECT_TRUE(belongs_to_partition(boot, place));
  partition(2048, 60000);  // one of the array that lies on the disk
  EXPECT_FALSE(belongs_to_partition(boot, place));
  std::vector<std::byte> gpt(kPartitionTableBytes);
  std::memcpy(&gpt[512], "EFI PART", 8);
  const std::uint64_t first = 4096, last = 65502;
  std::memcpy(&gpt[1024 + 128 + 32], &first, 8);
  std::memcpy(&gpt[1024 + 128 + 40], &last, 8);
  EXPECT_TRUE(belongs_to_partition(gpt, {MetadataVersion::v0_90, 4096 + (last - first + 1) / 128 * 128 - 128}));
  EXPECT_FALSE(belongs_to_partition(gpt, place));
}

// What mdadm 4.2 chose when it made an array on one member of each size: data_offset without a chunk (RAID 1; the same for
// 64K), with 512K (RAID 5 and 10), and bblog_offset. Above 100 GiB it adds a bitmap of its own accord.
TEST(Recorded, MetadataLiesWhereMdadmPutsIt) {
  struct Row {
    std::uint64_t mib, offset, offset_512k;
    std::int32_t log;
    std::uint64_t bitmap_bytes;
  };
  constexpr Row kRows[] = {
      {16, 2048, 4096, 16, 0},
      {64, 2048, 4096, 16, 0},
      {256, 2048, 4096, 16, 0},
      {512, 2048, 4096, 16, 0},
      {1024, 4096, 4096, 16, 0},
      {2048, 6144, 6144, 16, 0},
      {4096, 10240, 10240, 16, 0},
      {8192, 18432, 18432, 16, 0},
      {9216, 18432, 18432, 136, 0},
      {16384, 34816, 34816, 136, 0},
      {65536, 133120, 133120, 136, 0},
      {112640, 133120, 133120, 16, 4096},
      {262144, 264192, 264192, 16, 4096},
      {1048576, 264192, 264192, 16, 4096},
      {4194304, 264192, 264192, 32, 12288},
  };
  for (const Row& row : kRows) {
    const std::uint64_t sectors = row.mib * 2048;
    EXPECT_EQ(choose_data_offset(sectors, 0), row.offset) << row.mib;
    EXPECT_EQ(choose_data_offset(sectors, 128), row.offset) << row.mib;
    EXPECT_EQ(choose_data_offset(sectors, 1024), row.offset_512k) << row.mib;
    EXPECT_EQ(choose_bad_block_offset(Level::raid5, sectors, row.bitmap_bytes), row.log) << row.mib;
    if (row.bitmap_bytes != 0) {
      EXPECT_EQ(bitmap_bytes(bitmap_bits(sectors - row.offset, kBitmapDefaultChunk)), row.bitmap_bytes) << row.mib;
    }
  }
}

}  // namespace
}  // namespace resilver::raid
