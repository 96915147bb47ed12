#include "raid/superblock.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/endian.h"

namespace resilver::raid {

namespace {

constexpr std::uint32_t kMagic = 0xa92b4efc;

static_assert(std::endian::native == std::endian::little, "OnDisk is copied as it is");

// struct mdp_superblock_1; the asserts below hold its offsets against md_p.h.
struct [[gnu::packed]] OnDisk {
  std::uint32_t magic;
  std::uint32_t major_version;
  std::uint32_t feature_map;
  std::uint32_t pad0;
  std::uint8_t set_uuid[16];
  char set_name[32];
  std::uint64_t ctime;
  std::int32_t level;
  std::int32_t layout;
  std::uint64_t size;
  std::uint32_t chunksize;
  std::uint32_t raid_disks;
  std::int32_t bitmap_offset;
  std::uint32_t new_level;  // this and the next five only for reshapes, which are refused
  std::uint64_t reshape_position;
  std::uint32_t delta_disks;
  std::uint32_t new_layout;
  std::uint32_t new_chunk;
  std::uint32_t new_offset;
  std::uint64_t data_offset;
  std::uint64_t data_size;
  std::uint64_t super_offset;
  std::uint64_t recovery_offset;
  std::uint32_t dev_number;
  std::uint32_t cnt_corrected_read;
  std::uint8_t device_uuid[16];
  std::uint8_t devflags;
  std::uint8_t bblog_shift;
  std::uint16_t bblog_size;
  std::int32_t bblog_offset;
  std::uint64_t utime;
  std::uint64_t events;
  std::uint64_t resync_offset;
  std::uint32_t sb_csum;
  std::uint32_t max_dev;
  std::uint8_t pad3[32];
};
static_assert(sizeof(OnDisk) == 256);
static_assert(offsetof(OnDisk, set_uuid) == 16 && offsetof(OnDisk, set_name) == 32 && offsetof(OnDisk, ctime) == 64);
static_assert(offsetof(OnDisk, level) == 72 && offsetof(OnDisk, size) == 80 && offsetof(OnDisk, raid_disks) == 92);
static_assert(offsetof(OnDisk, bitmap_offset) == 96 && offsetof(OnDisk, reshape_position) == 104);
static_assert(offsetof(OnDisk, data_offset) == 128 && offsetof(OnDisk, recovery_offset) == 152);
static_assert(offsetof(OnDisk, dev_number) == 160 && offsetof(OnDisk, device_uuid) == 168);
static_assert(offsetof(OnDisk, devflags) == 184 && offsetof(OnDisk, bblog_offset) == 188);
static_assert(offsetof(OnDisk, utime) == 192 && offsetof(OnDisk, resync_offset) == 208);
static_assert(offsetof(OnDisk, sb_csum) == 216 && offsetof(OnDisk, max_dev) == 220);

constexpr std::size_t kHeader = sizeof(OnDisk);

struct Feature {
  std::uint32_t bit;
  const char* name;
};
constexpr Feature kRefusedFeatures[] = {
    {4, "reshape-active"},    {32, "reshape-backwards"}, {64, "new-offset"},
    {128, "recovery-bitmap"}, {256, "clustered"},        {1024, "ppl"},
    {2048, "multiple-ppls"},  {4096, "raid0-layout"},
};
constexpr std::uint32_t kKnownFeatures =
    kFeatureBitmap | kFeatureRecoveryOffset | kFeatureBadBlocks | kFeatureReplacement | kFeatureJournal;

template <typename... Args>
std::unexpected<Error> refuse(Errc code, fmt::format_string<Args...> format, Args&&... args) {
  return fail(code, "superblock: " + fmt::format(format, std::forward<Args>(args)...));
}

Status check_identity(const OnDisk& disk, std::span<const std::byte> block) {
  if (disk.magic != kMagic) return refuse(Errc::corrupt, "magic is {:#010x}, not {:#010x}", disk.magic, kMagic);
  if (disk.major_version != 1) return refuse(Errc::unsupported, "major_version {} is not 1", disk.major_version);
  if (disk.max_dev > kMaxDevs) return refuse(Errc::bad_input, "max_dev {} is more than {}", disk.max_dev, kMaxDevs);
  const std::uint32_t sum = superblock_checksum(block.first(kHeader + std::size_t{2} * disk.max_dev));
  if (sum != disk.sb_csum) {
    return refuse(Errc::corrupt, "sb_csum is {:#010x}, the content sums to {:#010x}", disk.sb_csum, sum);
  }
  const std::uint32_t unknown = disk.feature_map & ~kKnownFeatures;
  for (const Feature& feature : kRefusedFeatures) {
    if ((unknown & feature.bit) != 0) {
      return refuse(Errc::unsupported, "feature_map has {} ({:#x})", feature.name, feature.bit);
    }
  }
  if (unknown != 0) return refuse(Errc::unsupported, "feature_map has unknown bits {:#x}", unknown);
  return {};
}

// Level, layout, disks, chunk: known ones, then whatever Geometry refuses.
Result<Layout> check_shape(const OnDisk& disk) {
  const std::optional<Level> level = level_from_number(disk.level);
  if (!level) return refuse(Errc::unsupported, "level {} is not 0, 1, 4, 5, 6 or 10", disk.level);
  const Result<Layout> layout = layout_from_number(*level, disk.layout);
  if (!layout) return refuse(layout.error().code, "{}", layout.error().what);
  const std::uint64_t chunk = std::uint64_t{disk.chunksize} * kSectorBytes;
  const std::uint64_t example_bytes = *level == Level::raid1 ? kMinChunk : chunk;
  if (auto shape = Geometry::make(*level, *layout, disk.raid_disks, chunk, example_bytes); !shape) {
    return refuse(shape.error().code, "level, layout, raid_disks or chunksize: {}", shape.error().what);
  }
  return layout;
}

bool is_journal(const OnDisk& disk, std::span<const std::byte> block) {
  return (disk.feature_map & kFeatureJournal) != 0 && disk.dev_number < disk.max_dev &&
         load_le<std::uint16_t>(block.data() + kHeader + std::size_t{2} * disk.dev_number) == kRoleJournal;
}

// `journal`: the disk holds a log of its own size, not a member's data.
Status check_places(const OnDisk& disk, std::uint64_t device_sectors, bool journal) {
  if (disk.super_offset != kSuperOffsetSectors) {
    return refuse(Errc::unsupported, "super_offset {} is not {} (metadata 1.2)", disk.super_offset, kSuperOffsetSectors);
  }
  if (disk.data_offset < kSuperOffsetSectors + kSuperblockBytes / kSectorBytes || disk.data_offset >= device_sectors) {
    return refuse(Errc::bad_input, "data_offset {} is not behind the superblock and inside {} sectors",
                  disk.data_offset, device_sectors);
  }
  if (disk.data_size == 0 || disk.data_size > device_sectors - disk.data_offset) {
    return refuse(Errc::bad_input, "data_size {} does not fit behind data_offset {} in {} sectors", disk.data_size,
                  disk.data_offset, device_sectors);
  }
  if (disk.level == 0 ? disk.size != 0 : (disk.size == 0 || (disk.size > disk.data_size && !journal))) {
    return refuse(Errc::bad_input, "size {} is impossible with level {} and data_size {}", disk.size, disk.level,
                  disk.data_size);
  }
  const auto fits = [&](std::int64_t offset, std::int64_t sectors) {  // between superblock and data
    return offset >= 2 && static_cast<std::int64_t>(kSuperOffsetSectors) + offset + sectors <=
                              static_cast<std::int64_t>(disk.data_offset);
  };
  if ((disk.feature_map & kFeatureBitmap) != 0 && !fits(disk.bitmap_offset, 1)) {
    return refuse(Errc::bad_input, "bitmap_offset {} is not between superblock and data", disk.bitmap_offset);
  }
  if ((disk.feature_map & kFeatureBadBlocks) != 0 && disk.bblog_shift != 0) {
    return refuse(Errc::unsupported, "bblog_shift {} is not 0", disk.bblog_shift);
  }
  const bool has_log = disk.bblog_size != 0 && disk.bblog_offset != 0;
  if ((disk.feature_map & kFeatureBadBlocks) != 0 && !has_log) {
    return refuse(Errc::bad_input, "bblog_size and bblog_offset are 0 but feature_map says there are bad blocks");
  }
  if (has_log && !fits(disk.bblog_offset, disk.bblog_size)) {
    return refuse(Errc::bad_input, "bblog_offset {} with bblog_size {} is not between superblock and data",
                  disk.bblog_offset, disk.bblog_size);
  }
  if ((disk.feature_map & kFeatureRecoveryOffset) != 0 && disk.recovery_offset > disk.data_size) {
    return refuse(Errc::bad_input, "recovery_offset {} is more than data_size {}", disk.recovery_offset, disk.data_size);
  }
  if (disk.resync_offset != kResyncDone && disk.resync_offset > disk.data_size) {
    return refuse(Errc::bad_input, "resync_offset {} is more than data_size {}", disk.resync_offset, disk.data_size);
  }
  return {};
}

Result<std::vector<std::uint16_t>> read_roles(const OnDisk& disk, std::span<const std::byte> block) {
  std::vector<std::uint16_t> roles(disk.max_dev);
  std::uint64_t twice = 0;
  std::uint64_t taken = 0;  // raid_disks ≤ kMaxDisks was checked
  for (std::uint32_t i = 0; i < disk.max_dev; ++i) {
    const auto role = load_le<std::uint16_t>(block.data() + kHeader + std::size_t{2} * i);
    if (role == kRoleJournal && (disk.feature_map & kFeatureJournal) == 0) {
      return refuse(Errc::bad_input, "dev_roles[{}] is a journal, but feature_map knows none", i);
    }
    if (role < kRoleJournal) {
      if (role >= disk.raid_disks) {
        return refuse(Errc::bad_input, "dev_roles[{}] is {}, the array has {} disks", i, role, disk.raid_disks);
      }
      // Twice while one device replaces another.
      if (((twice >> role) & 1) != 0) return refuse(Errc::bad_input, "dev_roles[{}] is {} a third time", i, role);
      twice |= taken & std::uint64_t{1} << role;
      taken |= std::uint64_t{1} << role;
    }
    roles[i] = role;
  }
  if (disk.dev_number >= disk.max_dev) {
    return refuse(Errc::bad_input, "dev_number {} is not below max_dev {}", disk.dev_number, disk.max_dev);
  }
  return roles;
}

std::uint32_t padded_devs(std::size_t roles) {
  const std::size_t bytes =
      (kHeader + std::max<std::size_t>(roles, 1) * 2 + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  return static_cast<std::uint32_t>((bytes - kHeader) / 2);
}

}  // namespace

std::uint32_t superblock_checksum(std::span<const std::byte> superblock) {
  std::uint64_t sum = 0;
  std::size_t at = 0;
  for (; at + 4 <= superblock.size(); at += 4) {
    if (at != offsetof(OnDisk, sb_csum)) sum += load_le<std::uint32_t>(superblock.data() + at);
  }
  if (at + 2 <= superblock.size()) sum += load_le<std::uint16_t>(superblock.data() + at);
  return static_cast<std::uint32_t>((sum & 0xffffffffu) + (sum >> 32));
}

Result<std::array<std::byte, kSuperblockBytes>> encode_superblock(const Superblock& superblock) {
  if (superblock.set_name.size() > sizeof(OnDisk::set_name)) {
    return refuse(Errc::invalid_argument, "set_name '{}' is longer than 32 bytes", superblock.set_name);
  }
  if (superblock.roles.size() > kMaxDevs) {
    return refuse(Errc::invalid_argument, "{} dev_roles are more than {}", superblock.roles.size(), kMaxDevs);
  }
  OnDisk disk{};
  disk.magic = kMagic;
  disk.major_version = 1;
  disk.feature_map = superblock.feature_map;
  std::ranges::copy(superblock.set_uuid, disk.set_uuid);
  std::ranges::copy(superblock.set_name, disk.set_name);
  disk.ctime = superblock.ctime;
  disk.level = static_cast<int>(superblock.level);
  disk.layout = layout_number(superblock.level, superblock.layout);
  disk.size = superblock.size_sectors;
  disk.chunksize = superblock.chunk_sectors;
  disk.raid_disks = superblock.raid_disks;
  disk.bitmap_offset = superblock.bitmap_offset;
  disk.data_offset = superblock.data_offset_sectors;
  disk.data_size = superblock.data_size_sectors;
  disk.super_offset = kSuperOffsetSectors;
  disk.recovery_offset = superblock.recovery_offset_sectors;
  disk.dev_number = superblock.dev_number;
  disk.cnt_corrected_read = superblock.corrected_reads;
  std::ranges::copy(superblock.device_uuid, disk.device_uuid);
  disk.devflags = superblock.devflags;
  disk.bblog_shift = superblock.bblog_shift;
  disk.bblog_size = superblock.bblog_size_sectors;
  disk.bblog_offset = superblock.bblog_offset;
  disk.utime = superblock.utime;
  disk.events = superblock.events;
  disk.resync_offset = superblock.resync_offset_sectors;
  disk.max_dev = padded_devs(superblock.roles.size());

  std::array<std::byte, kSuperblockBytes> block{};
  const std::span<std::byte> out(block);
  std::memcpy(block.data(), &disk, sizeof disk);
  for (std::uint32_t i = 0; i < disk.max_dev; ++i) {
    store_le(out.data() + kHeader + std::size_t{2} * i, i < superblock.roles.size() ? superblock.roles[i] : kRoleSpare);
  }
  store_le(out.data() + offsetof(OnDisk, sb_csum),
           superblock_checksum(out.first(kHeader + std::size_t{2} * disk.max_dev)));
  return block;
}

Result<Superblock> decode_superblock(std::span<const std::byte, kSuperblockBytes> block, std::uint64_t device_sectors) {
  OnDisk disk;
  std::memcpy(&disk, block.data(), sizeof disk);
  if (Status status = check_identity(disk, block); !status) return std::unexpected(status.error());
  Result<Layout> layout = check_shape(disk);
  if (!layout) return std::unexpected(layout.error());
  if (Status status = check_places(disk, device_sectors, is_journal(disk, block)); !status)
    return std::unexpected(status.error());
  auto roles = read_roles(disk, block);
  if (!roles) return std::unexpected(roles.error());

  Superblock superblock;
  superblock.feature_map = disk.feature_map;
  std::ranges::copy(disk.set_uuid, superblock.set_uuid.begin());
  superblock.set_name.assign(disk.set_name, std::find(disk.set_name, disk.set_name + sizeof disk.set_name, '\0'));
  superblock.ctime = disk.ctime;
  superblock.level = static_cast<Level>(disk.level);
  superblock.layout = *layout;
  superblock.size_sectors = disk.size;
  superblock.chunk_sectors = disk.chunksize;
  superblock.raid_disks = disk.raid_disks;
  superblock.bitmap_offset = disk.bitmap_offset;
  superblock.data_offset_sectors = disk.data_offset;
  superblock.data_size_sectors = disk.data_size;
  superblock.recovery_offset_sectors = disk.recovery_offset;
  superblock.dev_number = disk.dev_number;
  superblock.corrected_reads = disk.cnt_corrected_read;
  std::ranges::copy(disk.device_uuid, superblock.device_uuid.begin());
  superblock.devflags = disk.devflags;
  superblock.bblog_shift = disk.bblog_shift;
  superblock.bblog_size_sectors = disk.bblog_size;
  superblock.bblog_offset = disk.bblog_offset;
  superblock.utime = disk.utime;
  superblock.events = disk.events;
  superblock.resync_offset_sectors = disk.resync_offset;
  superblock.roles = std::move(*roles);
  if (auto shape = geometry_of(superblock); !shape) {
    return refuse(Errc::bad_input, "size or data_size: {}", shape.error().what);
  }
  return superblock;
}

Result<Geometry> geometry_of(const Superblock& superblock) {
  const std::uint64_t chunk = std::uint64_t{superblock.chunk_sectors} * kSectorBytes;
  const std::uint64_t unit = superblock.level == Level::raid1 ? kMinChunk / kSectorBytes : superblock.chunk_sectors;
  const std::uint64_t sectors =
      superblock.level == Level::raid0 ? superblock.data_size_sectors : superblock.size_sectors;
  if (sectors > kMaxCapacity / kSectorBytes || unit == 0) {
    return fail(Errc::invalid_argument, fmt::format("{} sectors per member in chunks of {}", sectors, unit));
  }
  // md, too, uses whole chunks only and leaves the rest of a member unused.
  return Geometry::make(superblock.level, superblock.layout, superblock.raid_disks, chunk,
                        sectors / unit * unit * kSectorBytes);
}

std::uint64_t bitmap_space_sectors(std::uint64_t device_sectors) noexcept {
  constexpr std::uint64_t kGibSectors = 2 * 1024 * 1024;
  if (device_sectors < 128) return 0;
  if (device_sectors - 128 >= 200 * kGibSectors) return 256;
  if (device_sectors - 8 > 8 * kGibSectors) return 128;
  return 8;
}

std::uint64_t choose_data_offset(std::uint64_t device_sectors, std::uint32_t chunk_sectors) noexcept {
  constexpr std::uint64_t kOneMib = 2048;
  const std::uint64_t chunk_kib = chunk_sectors / 2;
  std::uint64_t headroom = 128 * kOneMib;
  while (headroom * 1024 > device_sectors && headroom > 1 && (chunk_sectors == 0 || headroom / 2 >= chunk_kib * 4)) {
    headroom /= 2;
  }
  const std::uint64_t offset = 24 + bitmap_space_sectors(device_sectors) + headroom;
  return (offset + kOneMib - 1) / kOneMib * kOneMib;
}

std::string format_uuid(const Uuid& uuid) {
  std::string text;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i != 0 && i % 4 == 0) text += ':';
    text += fmt::format("{:02x}", uuid[i]);
  }
  return text;
}

// ---- bad-block log --------------------------------------------------------------------------------------------------

Result<std::array<std::byte, kBadBlockLogBytes>> encode_bad_blocks(std::span<const BadRange> ranges) {
  constexpr std::uint64_t kEnd = std::uint64_t{1} << 54;
  std::array<std::byte, kBadBlockLogBytes> block;
  block.fill(std::byte{0xff});
  std::size_t used = 0;
  std::uint64_t last = 0;
  for (const BadRange& range : ranges) {
    if (range.sectors == 0 || range.sector < last || range.sector >= kEnd || range.sectors >= kEnd - range.sector) {
      return fail(Errc::invalid_argument,
                  fmt::format("bad-block log: range of {} sectors at {} is empty, out of order or "
                              "out of bounds",
                              range.sectors, range.sector));
    }
    last = range.sector + range.sectors;
    for (std::uint64_t sector = range.sector; sector < last;) {
      const std::uint64_t sectors = std::min(kBadBlockMaxSectors, last - sector);
      if (used == kBadBlockEntries) return fail(Errc::no_space, "bad-block log: more than 512 entries");
      store_le<std::uint64_t>(block.data() + used++ * 8, sector << 10 | sectors);
      sector += sectors;
    }
  }
  return block;
}

Result<std::vector<BadRange>> decode_bad_blocks(std::span<const std::byte, kBadBlockLogBytes> block) {
  std::vector<BadRange> ranges;
  for (std::size_t i = 0; i < kBadBlockEntries; ++i) {
    const auto entry = load_le<std::uint64_t>(block.data() + i * 8);
    if (entry == ~std::uint64_t{0}) break;
    const BadRange range{entry >> 10, entry & 0x3ff};
    const std::uint64_t last = ranges.empty() ? 0 : ranges.back().sector + ranges.back().sectors;
    if (range.sectors == 0 || range.sectors > kBadBlockMaxSectors || range.sector < last) {
      return fail(Errc::bad_input,
                  fmt::format("bad-block log: entry {} ({} sectors at {}) is empty, too long or out of order", i,
                              range.sectors, range.sector));
    }
    if (!ranges.empty() && range.sector == last) {
      ranges.back().sectors += range.sectors;
    } else {
      ranges.push_back(range);
    }
  }
  return ranges;
}

}  // namespace resilver::raid
