#include "raid/superblock.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/endian.h"

namespace resilver::raid {

namespace {

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

// Ours, at the end of the block, where md neither reads nor writes (its padding must be zero): "FAILHAND", then the events of
// the superblock that it goes with. Once somebody has written that anew the mark means nothing.
constexpr std::uint64_t kFailedByHand = 0x444e41484c494146;
constexpr std::size_t kFailedByHandAt = kSuperblockBytes - 16;

struct Feature {
  std::uint32_t bit;
  const char* name;
};
constexpr Feature kRefusedFeatures[] = {
    {4, "reshape-active"}, {32, "reshape-backwards"}, {64, "new-offset"}, {256, "clustered"}};
constexpr std::uint32_t kReshapeFeatures = 4 | 32 | 64;
constexpr Feature kReadOnlyFeatures[] = {{kFeaturePpl, "ppl"}, {kFeatureMultiplePpls, "multiple-ppls"}};
constexpr std::uint32_t kKnownFeatures = kFeatureBitmap | kFeatureRecoveryOffset | kFeatureBadBlocks |
                                         kFeatureReplacement | kFeatureRecoveryBitmap | kFeatureJournal | kFeaturePpl |
                                         kFeatureMultiplePpls | kFeatureRaid0Layout;
constexpr std::uint32_t kPplFeatures = kFeaturePpl | kFeatureMultiplePpls;

template <typename... Args>
std::unexpected<Error> refuse(Errc code, fmt::format_string<Args...> format, Args&&... args) {
  return fail(code, "superblock: " + fmt::format(format, std::forward<Args>(args)...));
}

Status check_identity(const OnDisk& disk, std::span<const std::byte> block) {
  if (disk.magic != kSuperblockMagic)
    return refuse(Errc::corrupt, "magic is {:#010x}, not {:#010x}", disk.magic, kSuperblockMagic);
  if (disk.major_version != 1) return refuse(Errc::unsupported, "major_version {} is not 1", disk.major_version);
  if (disk.max_dev > kMaxDevs) return refuse(Errc::bad_input, "max_dev {} is more than {}", disk.max_dev, kMaxDevs);
  const std::uint32_t sum = superblock_checksum(block.first(kHeader + std::size_t{2} * disk.max_dev));
  if (sum != disk.sb_csum) {
    return refuse(Errc::corrupt, "sb_csum is {:#010x}, the content sums to {:#010x}", disk.sb_csum, sum);
  }
  const std::uint32_t unknown = disk.feature_map & ~kKnownFeatures;
  for (const Feature& feature : kRefusedFeatures) {
    if ((unknown & feature.bit) != 0) {
      return refuse(Errc::unsupported, "feature_map has {} ({:#x}){}", feature.name, feature.bit,
                    (feature.bit & kReshapeFeatures) != 0 ? ": the array is in reshape" : "");
    }
  }
  if (unknown != 0) return refuse(Errc::unsupported, "feature_map has unknown bits {:#x}", unknown);
  return {};
}

// Features that go with a level or with each other; level is known.
Status check_features(const OnDisk& disk) {
  const auto has = [&](std::uint32_t feature) { return (disk.feature_map & feature) != 0; };
  if (has(kFeatureRaid0Layout) && disk.level != 0) {
    return refuse(Errc::bad_input, "feature_map has raid0-layout (0x1000), level is {}", disk.level);
  }
  if (has(kFeatureJournal) && disk.level != 4 && disk.level != 5 && disk.level != 6) {
    return refuse(Errc::bad_input, "feature_map has journal (0x200), level is {}", disk.level);
  }
  if (has(kPplFeatures) && disk.level != 5) {
    return refuse(Errc::bad_input, "feature_map has ppl (0xc00), level is {}", disk.level);
  }
  if (has(kFeatureBitmap) + has(kFeatureJournal) + has(kPplFeatures) > 1) {
    return refuse(Errc::bad_input, "feature_map {:#x} has more than one of bitmap, journal and ppl", disk.feature_map);
  }
  return {};
}

// Level, layout, disks, chunk: known ones, then whatever Geometry refuses.
Result<Layout> check_shape(const OnDisk& disk) {
  const std::optional<Level> level = level_from_number(disk.level);
  if (!level) return refuse(Errc::unsupported, "level {} is not -1, 0, 1, 4, 5, 6 or 10", disk.level);
  Result<Layout> layout = layout_from_number(*level, disk.layout);
  // Without the feature md does not look at a RAID 0's layout.
  if (!layout && disk.level == 0 && (disk.feature_map & kFeatureRaid0Layout) == 0) layout = Layout::none;
  if (!layout) return refuse(layout.error().code, "{}", layout.error().what);
  if (*layout == Layout::none && (disk.feature_map & kFeatureRaid0Layout) != 0) {
    return refuse(Errc::bad_input, "layout {} with feature raid0-layout (0x1000)", disk.layout);
  }
  const std::uint64_t chunk = std::uint64_t{disk.chunksize} * kSectorBytes;
  const std::uint64_t example_bytes = *level == Level::raid1 || chunk == 0 ? kMinChunk : chunk;
  if (auto shape = Geometry::make(*level, *layout, disk.raid_disks, chunk, example_bytes); !shape) {
    return refuse(shape.error().code, "level, layout, raid_disks or chunksize: {}", shape.error().what);
  }
  return layout;
}

// Between superblock and data; version 1.0 has its superblock behind the data, and these on either side of it.
bool fits_before_data(const OnDisk& disk, std::int64_t offset, std::int64_t sectors, std::uint64_t device_sectors) {
  const auto at = static_cast<std::int64_t>(disk.super_offset) + offset;
  if (disk.super_offset > disk.data_offset) {
    return at >= 0 && at + sectors <= static_cast<std::int64_t>(device_sectors);
  }
  return offset >= 2 && at + sectors <= static_cast<std::int64_t>(disk.data_offset);
}

Status check_places(const OnDisk& disk, std::uint64_t device_sectors, const MetadataPlace& place) {
  if (disk.super_offset != place.sector) {
    return refuse(Errc::unsupported, "super_offset {} is not {} (metadata {})", disk.super_offset, place.sector,
                  name(place.version));
  }
  const bool behind = place.version == MetadataVersion::v1_0;
  const std::uint64_t least = behind ? 0 : place.sector + kSuperblockBytes / kSectorBytes;
  const std::uint64_t end = behind ? place.sector : device_sectors;
  if (disk.data_offset < least || disk.data_offset >= end) {
    return refuse(Errc::bad_input, "data_offset {} is not behind the superblock and inside {} sectors",
                  disk.data_offset, device_sectors);
  }
  if (disk.data_size == 0 || disk.data_size > end - disk.data_offset) {
    return refuse(Errc::bad_input, "data_size {} does not fit behind data_offset {} in {} sectors", disk.data_size,
                  disk.data_offset, device_sectors);
  }
  if ((disk.feature_map & kFeatureBitmap) != 0 && !fits_before_data(disk, disk.bitmap_offset, 1, device_sectors)) {
    return refuse(Errc::bad_input, "bitmap_offset {} is not between superblock and data", disk.bitmap_offset);
  }
  if ((disk.feature_map & kFeatureBadBlocks) != 0 && disk.bblog_shift != 0) {
    return refuse(Errc::unsupported, "bblog_shift {} is not 0", disk.bblog_shift);
  }
  const bool has_log = disk.bblog_size != 0 && disk.bblog_offset != 0;
  if (has_log && disk.bblog_size > kBadBlockLogBytes / kSectorBytes) {
    return refuse(Errc::unsupported, "bblog_size {} is more than {}", disk.bblog_size, kBadBlockLogBytes / kSectorBytes);
  }
  if ((disk.feature_map & kFeatureBadBlocks) != 0 && !has_log) {
    return refuse(Errc::bad_input, "bblog_size and bblog_offset are 0 but feature_map says there are bad blocks");
  }
  if (has_log && !fits_before_data(disk, disk.bblog_offset, disk.bblog_size, device_sectors)) {
    return refuse(Errc::bad_input, "bblog_offset {} with bblog_size {} is not between superblock and data",
                  disk.bblog_offset, disk.bblog_size);
  }
  return {};
}

// Sizes and offsets into the data, for a member or the journal; the geometry of the array is known.
Status check_extents(const OnDisk& disk, const Superblock& superblock, const Geometry& geometry) {
  const bool journal = superblock.is_journal();
  const bool redundant = is_redundant(superblock.level);
  if (!journal && redundant && disk.size > disk.data_size) {
    return refuse(Errc::bad_input, "size {} is impossible with level {} and data_size {}", disk.size, disk.level,
                  disk.data_size);
  }
  if (journal && disk.recovery_offset >= disk.data_size) {
    return refuse(Errc::bad_input, "journal_tail {} is not inside data_size {}", disk.recovery_offset, disk.data_size);
  }
  if (!journal && (disk.feature_map & kFeatureRecoveryOffset) != 0 && disk.recovery_offset > disk.data_size) {
    return refuse(Errc::bad_input, "recovery_offset {} is more than data_size {}", disk.recovery_offset, disk.data_size);
  }
  const std::uint64_t most = disk.level == 10 ? geometry.sync_bytes() / kSectorBytes
                             : !redundant     ? disk.data_size
                                              : disk.size;
  if (disk.resync_offset != kResyncDone && disk.resync_offset > most) {
    return refuse(Errc::bad_input, "resync_offset {} is more than {}", disk.resync_offset, most);
  }
  return {};
}

Result<std::vector<std::uint16_t>> read_roles(const OnDisk& disk, std::span<const std::byte> block) {
  std::vector<std::uint16_t> roles(disk.max_dev);
  std::vector<std::uint8_t> taken(disk.raid_disks);
  bool journal = false;
  for (std::uint32_t i = 0; i < disk.max_dev; ++i) {
    const auto role = load_le<std::uint16_t>(block.data() + kHeader + std::size_t{2} * i);
    if (role == kRoleJournal) {
      if ((disk.feature_map & kFeatureJournal) == 0) {
        return refuse(Errc::bad_input, "dev_roles[{}] is a journal, feature_map has none", i);
      }
      if (journal) return refuse(Errc::bad_input, "dev_roles[{}] is a second journal", i);
      journal = true;
    } else if (role < kRoleJournal) {
      if (role >= disk.raid_disks) {
        return refuse(Errc::bad_input, "dev_roles[{}] is {}, the array has {} disks", i, role, disk.raid_disks);
      }
      // Twice while one member replaces another.
      if (++taken[role] > 2) return refuse(Errc::bad_input, "dev_roles[{}] is {} a third time", i, role);
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

// What a name's field holds up to its end.
std::string name_of(const OnDisk& disk) {
  return std::string(disk.set_name, std::find(disk.set_name, disk.set_name + sizeof disk.set_name, '\0'));
}

// `kept`: `disk` holds what was read. Two fields say more on disk than their host form: what lies behind the name, and a
// layout's number where the level has no choice.
void store_fields(const Superblock& superblock, OnDisk& disk, bool kept) {
  const auto layout = kept ? layout_from_number(superblock.level, disk.layout) : fail(Errc::not_found);
  const bool same_layout = kept && (layout ? *layout == superblock.layout : superblock.layout == Layout::none);
  disk.magic = kSuperblockMagic;
  disk.major_version = 1;
  disk.feature_map = superblock.feature_map;
  std::ranges::copy(superblock.set_uuid, disk.set_uuid);
  if (!kept || name_of(disk) != superblock.set_name) {
    std::ranges::fill(disk.set_name, '\0');
    std::ranges::copy(superblock.set_name, disk.set_name);
  }
  disk.ctime = superblock.ctime;
  disk.level = static_cast<int>(superblock.level);
  if (!same_layout) disk.layout = layout_number(superblock.level, superblock.layout);
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
  disk.max_dev = std::max(kept ? disk.max_dev : 0, padded_devs(superblock.roles.size()));
}

void mark_failed_by_hand(const Superblock& superblock, std::span<std::byte> block) {
  const bool marked = load_le<std::uint64_t>(block.data() + kFailedByHandAt) == kFailedByHand;
  if (!marked && !superblock.failed_by_hand) return;
  store_le(block.data() + kFailedByHandAt, superblock.failed_by_hand ? kFailedByHand : std::uint64_t{0});
  store_le(block.data() + kFailedByHandAt + 8, superblock.failed_by_hand ? superblock.events : std::uint64_t{0});
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
  if (superblock.place != MetadataPlace()) return refuse(Errc::unsupported, "{}", read_only_reason(superblock));
  if (superblock.set_name.size() > sizeof(OnDisk::set_name)) {
    return refuse(Errc::invalid_argument, "set_name '{}' is longer than 32 bytes", superblock.set_name);
  }
  if (superblock.roles.size() > kMaxDevs) {
    return refuse(Errc::invalid_argument, "{} dev_roles are more than {}", superblock.roles.size(), kMaxDevs);
  }
  std::array<std::byte, kSuperblockBytes> block{};
  const bool kept = superblock.kept.bytes.size() == block.size();
  if (kept) std::ranges::copy(superblock.kept.bytes, block.begin());
  OnDisk disk;
  std::memcpy(&disk, block.data(), sizeof disk);
  store_fields(superblock, disk, kept);

  const std::span<std::byte> out(block);
  std::memcpy(block.data(), &disk, sizeof disk);
  mark_failed_by_hand(superblock, out);
  for (std::uint32_t i = 0; i < disk.max_dev; ++i) {
    store_le(out.data() + kHeader + std::size_t{2} * i, i < superblock.roles.size() ? superblock.roles[i] : kRoleSpare);
  }
  store_le(out.data() + offsetof(OnDisk, sb_csum),
           superblock_checksum(out.first(kHeader + std::size_t{2} * disk.max_dev)));
  return block;
}

namespace {

// Fields that need no more than copying; what they mean was or will be checked.
Superblock to_host(const OnDisk& disk, Layout layout, std::vector<std::uint16_t> roles) {
  Superblock superblock;
  superblock.feature_map = disk.feature_map;
  std::ranges::copy(disk.set_uuid, superblock.set_uuid.begin());
  superblock.set_name = name_of(disk);
  superblock.ctime = disk.ctime;
  superblock.level = static_cast<Level>(disk.level);
  superblock.layout = layout;
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
  superblock.roles = std::move(roles);
  return superblock;
}

}  // namespace

Result<Superblock> decode_superblock(std::span<const std::byte, kSuperblockBytes> block, std::uint64_t device_sectors,
                                     const MetadataPlace& place) {
  if (place.version == MetadataVersion::v0_90) return decode_superblock_090(block, place);
  OnDisk disk;
  std::memcpy(&disk, block.data(), sizeof disk);
  if (Status status = check_identity(disk, block); !status) return std::unexpected(status.error());
  Result<Layout> layout = check_shape(disk);
  if (!layout) return std::unexpected(layout.error());
  if (Status status = check_features(disk); !status) return std::unexpected(status.error());
  if (Status status = check_places(disk, device_sectors, place); !status) return std::unexpected(status.error());
  auto roles = read_roles(disk, block);
  if (!roles) return std::unexpected(roles.error());
  // Where each member is used as far as it goes, md keeps what mdadm was given as --size and does not look at it.
  if (disk.size == 0 && is_redundant(static_cast<Level>(disk.level))) {
    return refuse(Errc::bad_input, "size {} is impossible with level {}", disk.size, disk.level);
  }
  Superblock superblock = to_host(disk, *layout, std::move(*roles));
  superblock.place = place;
  superblock.kept.bytes.assign(block.begin(), block.end());
  superblock.failed_by_hand = load_le<std::uint64_t>(block.data() + kFailedByHandAt) == kFailedByHand &&
                              load_le<std::uint64_t>(block.data() + kFailedByHandAt + 8) == disk.events;
  const auto shape = geometry_of(superblock);
  if (!shape) return refuse(Errc::bad_input, "size or data_size: {}", shape.error().what);
  if (Status status = check_extents(disk, superblock, *shape); !status) return std::unexpected(status.error());
  return superblock;
}

Result<std::array<std::byte, kSuperblockBytes>> writable_superblock(const Superblock& superblock,
                                                                    std::uint64_t device_bytes) {
  auto block = encode_superblock(superblock);
  if (!block) return block;
  if (const auto read = decode_superblock(*block, device_bytes / kSectorBytes); !read) {
    return std::unexpected(read.error());
  }
  return block;
}

std::string read_only_reason(const Superblock& superblock) {
  if (superblock.place.version != MetadataVersion::v1_2) {
    return fmt::format("metadata {} is only read here", name(superblock.place.version));
  }
  // What is written in whole blocks needs a block of its own.
  const auto crowded = [](std::int32_t offset) { return offset < std::int32_t{kSuperblockBytes / kSectorBytes}; };
  if ((superblock.feature_map & kFeatureBitmap) != 0 && crowded(superblock.bitmap_offset)) {
    return fmt::format("superblock: bitmap_offset {} lies in the superblock's own block", superblock.bitmap_offset);
  }
  if (superblock.has_bad_block_log() && crowded(superblock.bblog_offset)) {
    return fmt::format("superblock: bblog_offset {} lies in the superblock's own block", superblock.bblog_offset);
  }
  if (superblock.has_bad_block_log() && superblock.bblog_size_sectors != kBadBlockLogBytes / kSectorBytes) {
    return fmt::format("superblock: bblog_size is {}, not {}", superblock.bblog_size_sectors,
                       kBadBlockLogBytes / kSectorBytes);
  }
  for (const Feature& feature : kReadOnlyFeatures) {
    if ((superblock.feature_map & feature.bit) != 0) {
      return fmt::format("superblock: feature_map has {} ({:#x}), which is not kept here", feature.name, feature.bit);
    }
  }
  return {};
}

}  // namespace resilver::raid
