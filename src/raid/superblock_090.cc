// md's first superblock that persists, version 0.90: read only. 1024 words in the order of the machine that made it:
//
//   0 magic, 1 major_version 0, 2 minor_version 90 (91: in reshape), 5 set_uuid0, 6 ctime, 7 level, 8 size (KiB),
//   10 raid_disks, 13 .. 15 set_uuid1 .. 3, 32 utime, 33 state (1 clean, 256 bitmap), 38 sb_csum, 39 .. 40 events and
//   41 .. 42 cp_events (little endian: the low word first), 43 recovery_cp, 64 layout, 65 chunk_size (bytes),
//   128 .. 991 27 disks of 32 words (0 number, 3 raid_disk, 4 state), 992 .. 1023 this disk
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/endian.h"
#include "raid/superblock.h"

namespace resilver::raid {
namespace {

constexpr std::size_t kWords = kSuperblockBytes / 4;
constexpr std::uint32_t kDisks = 27;
constexpr std::size_t kFirstDisk = 128;
constexpr std::size_t kThisDisk = 992;
constexpr std::size_t kDiskWords = 32;
constexpr std::size_t kChecksum = 38;
constexpr std::uint32_t kClean = 1;
constexpr std::uint32_t kHasBitmap = 1u << 8;
constexpr std::uint32_t kDiskFaulty = 1, kDiskInSync = 4, kDiskWriteMostly = 1u << 9;
constexpr std::int32_t kBitmapOffset = kSuperblockBytes / kSectorBytes;  // behind the superblock, always

template <typename... Args>
std::unexpected<Error> refuse(Errc code, fmt::format_string<Args...> format, Args&&... args) {
  return fail(code, "superblock: " + fmt::format(format, std::forward<Args>(args)...));
}

struct Words {
  explicit Words(std::span<const std::byte, kSuperblockBytes> block)
      : bytes(block), big_endian(load_le<std::uint32_t>(block.data()) == std::byteswap(kSuperblockMagic)) {}
  std::uint32_t operator[](std::size_t i) const {
    const auto word = load_le<std::uint32_t>(bytes.data() + i * 4);
    return big_endian ? std::byteswap(word) : word;
  }
  std::uint64_t pair(std::size_t i) const {  // 64 bits in the machine's order
    const std::uint64_t first = (*this)[i], second = (*this)[i + 1];
    return big_endian ? first << 32 | second : second << 32 | first;
  }
  std::uint32_t sum() const {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < kWords; ++i) total += i == kChecksum ? 0 : (*this)[i];
    return static_cast<std::uint32_t>((total & 0xffffffffu) + (total >> 32));
  }

  std::span<const std::byte, kSuperblockBytes> bytes;
  bool big_endian;
};

Status check_identity(const Words& words) {
  if (words[0] != kSuperblockMagic) return refuse(Errc::corrupt, "magic is {:#010x}", words[0]);
  if (words[1] != 0) return refuse(Errc::unsupported, "major_version {} is not 0", words[1]);
  if (words[2] == 91) return refuse(Errc::unsupported, "minor_version is 91: the array is in reshape");
  if (words[2] != 90) return refuse(Errc::unsupported, "minor_version {} is not 90", words[2]);
  if (words.sum() != words[kChecksum]) {
    return refuse(Errc::corrupt, "sb_csum is {:#010x}, the content sums to {:#010x}", words[kChecksum], words.sum());
  }
  return {};
}

// By number. A disk that has no slot any more is told from one that failed, as in the newer versions.
Result<std::vector<std::uint16_t>> roles_of(const Words& words) {
  std::vector<std::uint16_t> roles(kDisks, kRoleSpare);
  std::vector<bool> taken(words[10]);
  for (std::uint32_t number = 0; number < kDisks; ++number) {
    const std::size_t disk = kFirstDisk + number * kDiskWords;
    const std::uint32_t slot = words[disk + 3];
    const std::uint32_t state = words[disk + 4];
    if ((state & kDiskFaulty) != 0) roles[number] = kRoleFaulty;
    if ((state & (kDiskFaulty | kDiskInSync)) != kDiskInSync) continue;
    if (slot >= words[10]) {
      return refuse(Errc::bad_input, "disks[{}] is {}, the array has {} disks", number, slot, words[10]);
    }
    if (taken[slot]) return refuse(Errc::bad_input, "disks[{}] is {} a second time", number, slot);
    taken[slot] = true;
    roles[number] = static_cast<std::uint16_t>(slot);
  }
  return roles;
}

// Bytes in the order in which mdadm prints the words.
Uuid uuid_of(const Words& words) {
  Uuid uuid;
  std::size_t at = 0;
  for (const std::size_t i : {5, 13, 14, 15}) {
    for (int shift = 24; shift >= 0; shift -= 8) uuid[at++] = static_cast<std::uint8_t>(words[i] >> shift);
  }
  return uuid;
}

std::uint64_t resync_offset_of(const Words& words) {
  if ((words[33] & kClean) != 0) return kResyncDone;
  return words.pair(39) == words.pair(41) ? words[43] : 0;
}

Result<Superblock> to_host(const Words& words, const MetadataPlace& place) {
  const auto level = level_from_number(static_cast<std::int32_t>(words[7]));
  if (!level) {
    return refuse(Errc::unsupported, "level {} is not -1, 0, 1, 4, 5, 6 or 10", static_cast<std::int32_t>(words[7]));
  }
  Superblock super;
  super.place = place;
  super.level = *level;
  // Of a RAID 0 these never told which of the two layouts.
  const auto layout =
      *level == Level::raid0 ? Layout::none : layout_from_number(*level, static_cast<std::int32_t>(words[64]));
  if (!layout) return refuse(layout.error().code, "{}", layout.error().what);
  super.layout = *layout;
  super.set_uuid = uuid_of(words);
  super.ctime = words[6];
  super.utime = words[32];
  super.events = words.pair(39);
  super.size_sectors = is_redundant(*level) ? std::uint64_t{words[8]} * 2 : 0;
  super.chunk_sectors = *level == Level::raid1 ? 0 : words[65] / static_cast<std::uint32_t>(kSectorBytes);
  super.raid_disks = words[10];
  super.data_size_sectors = place.sector;
  super.resync_offset_sectors = resync_offset_of(words);
  if ((words[33] & kHasBitmap) != 0) {
    super.feature_map = kFeatureBitmap;
    super.bitmap_offset = kBitmapOffset;
  }
  super.dev_number = words[kThisDisk];
  super.devflags = (words[kThisDisk + 4] & kDiskWriteMostly) != 0 ? kWriteMostly : 0;
  super.device_uuid = super.set_uuid;
  super.device_uuid[15] ^= static_cast<std::uint8_t>(super.dev_number + 1);
  return super;
}

}  // namespace

Result<Superblock> decode_superblock_090(std::span<const std::byte, kSuperblockBytes> block, const MetadataPlace& place) {
  const Words words(block);
  if (Status status = check_identity(words); !status) return std::unexpected(status.error());
  if (words[10] == 0 || words[10] > kDisks) {
    return refuse(Errc::bad_input, "raid_disks {} is not 1 to {}", words[10], kDisks);
  }
  if (words[kThisDisk] >= kDisks)
    return refuse(Errc::bad_input, "this_disk.number {} is not below {}", words[kThisDisk], kDisks);
  auto super = to_host(words, place);
  if (!super) return super;
  auto roles = roles_of(words);
  if (!roles) return std::unexpected(roles.error());
  super->roles = std::move(*roles);
  if (super->size_sectors > place.sector) {
    return refuse(Errc::bad_input, "size {} KiB does not fit before the superblock at sector {}", words[8],
                  place.sector);
  }
  const auto shape = geometry_of(*super);
  if (!shape) return refuse(Errc::bad_input, "level, layout, raid_disks, chunk_size or size: {}", shape.error().what);
  return super;
}

namespace {

struct Partition {
  std::uint64_t begin = 0;  // sectors
  std::uint64_t sectors = 0;
};

void add_boot_record(std::span<const std::byte> start, std::vector<Partition>& partitions) {
  constexpr std::size_t kFirstEntry = 446, kEntryBytes = 16, kSignature = 510;
  if (start.size() < kSectorBytes || load_le<std::uint16_t>(start.data() + kSignature) != 0xaa55) return;
  for (std::size_t i = 0; i < 4; ++i) {
    const std::byte* entry = start.data() + kFirstEntry + i * kEntryBytes;
    if (entry[4] == std::byte{0}) continue;
    partitions.push_back({load_le<std::uint32_t>(entry + 8), load_le<std::uint32_t>(entry + 12)});
  }
}

void add_gpt(std::span<const std::byte> start, std::vector<Partition>& partitions) {
  constexpr std::uint64_t kMagic = 0x5452415020494645;  // "EFI PART"
  constexpr std::size_t kEntries = 2 * kSectorBytes, kEntryBytes = 128, kMost = 128;
  if (start.size() < kEntries || load_le<std::uint64_t>(start.data() + kSectorBytes) != kMagic) return;
  for (std::size_t i = 0; i < kMost && kEntries + (i + 1) * kEntryBytes <= start.size(); ++i) {
    const std::byte* entry = start.data() + kEntries + i * kEntryBytes;
    const auto first = load_le<std::uint64_t>(entry + 32);
    const auto last = load_le<std::uint64_t>(entry + 40);
    if (first != 0 && last >= first) partitions.push_back({first, last - first + 1});
  }
}

}  // namespace

bool belongs_to_partition(std::span<const std::byte> start, const MetadataPlace& place) {
  std::vector<Partition> partitions;
  add_boot_record(start, partitions);
  add_gpt(start, partitions);
  return std::ranges::any_of(partitions, [&](const Partition& partition) {
    if (partition.begin == 0 || partition.sectors < 128) return false;
    return partition.begin + other_metadata(partition.sectors)[0].sector == place.sector;
  });
}

}  // namespace resilver::raid
