// Linux md superblock, metadata version 1.2, to the byte, and md's bad-block log.
//
// Source: include/uapi/linux/raid/md_p.h (struct mdp_superblock_1), mdadm super1.c for placement; confirmed on images made
// by the kernel. All fields are little-endian. On a member: the superblock at sector 8 (byte 4096), then (if there are)
// write-intent bitmap and bad-block log, then data at data_offset. Nothing here does I/O.
//
// A crash can leave a torn superblock (it is 512 bytes for up to 128 devices, one sector): the checksum then fails, and
// decode() refuses it. A member whose superblock is old is told by `events`, not here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "raid/geometry.h"

namespace resilver::raid {

inline constexpr std::uint64_t kSectorBytes = 512;
inline constexpr std::uint64_t kSuperOffsetSectors = 8;  // version 1.2: 4 KiB from the start
inline constexpr std::size_t kSuperblockBytes = 4096;    // the block that is written; also the largest superblock
inline constexpr std::uint32_t kMaxDevs = (kSuperblockBytes - 256) / 2;  // 1920

inline constexpr std::uint16_t kRoleSpare = 0xffff;
inline constexpr std::uint16_t kRoleFaulty = 0xfffe;
inline constexpr std::uint16_t kRoleJournal = 0xfffd;

inline constexpr std::uint64_t kResyncDone = ~std::uint64_t{0};  // resync_offset of a clean array

// Bits of feature_map. All others are refused by name.
inline constexpr std::uint32_t kFeatureBitmap = 1;  // bitmap_offset is meaningful
inline constexpr std::uint32_t kFeatureRecoveryOffset =
    2;                                                    // recovery_offset is meaningful: this member is being rebuilt
inline constexpr std::uint32_t kFeatureBadBlocks = 8;     // the bad-block log is not empty
inline constexpr std::uint32_t kFeatureReplacement = 16;  // this member is to take over the slot from another one
inline constexpr std::uint32_t kFeatureJournal = 512;     // the array has a journal disk

using Uuid = std::array<std::uint8_t, 16>;

// Host form. Units are in the names; what the fields mean is md's.
struct Superblock {
  std::uint32_t feature_map = 0;
  Uuid set_uuid{};
  std::string set_name;     // at most 32 bytes
  std::uint64_t ctime = 0;  // low 40 bits seconds, high 24 bits microseconds
  Level level = Level::raid0;
  Layout layout = Layout::none;     // RAID 0, 1, 4: none
  std::uint64_t size_sectors = 0;   // used per member; 0 for RAID 0
  std::uint32_t chunk_sectors = 0;  // 0 for RAID 1
  std::uint32_t raid_disks = 0;
  std::int32_t bitmap_offset = 0;  // sectors from the superblock, signed; with kFeatureBitmap

  std::uint64_t data_offset_sectors = 0;
  std::uint64_t data_size_sectors = 0;  // usable on this member, ≥ size_sectors
  // Rebuilt so far (from data_offset), with kFeatureRecoveryOffset; on a journal disk where its log begins (journal_tail).
  std::uint64_t recovery_offset_sectors = 0;
  std::uint32_t dev_number = 0;  // index into roles; not the role
  std::uint32_t corrected_reads = 0;
  Uuid device_uuid{};
  std::uint8_t devflags = 0;
  std::uint8_t bblog_shift = 0;          // log entries count blocks of (512 << shift) bytes; 0 here
  std::uint16_t bblog_size_sectors = 0;  // 0: no log reserved
  std::int32_t bblog_offset = 0;         // sectors from the superblock, signed

  std::uint64_t utime = 0;
  std::uint64_t events = 0;
  std::uint64_t resync_offset_sectors = kResyncDone;
  std::vector<std::uint16_t> roles;  // by dev_number: slot, kRoleSpare or kRoleFaulty; its size is md's max_dev

  // The slot of this member, or kRoleSpare / kRoleFaulty.
  std::uint16_t role() const { return dev_number < roles.size() ? roles[dev_number] : kRoleSpare; }
  bool operator==(const Superblock&) const = default;
};

// The block to write at sector 8. Fields must be ones that decode() accepts (CHECKed by decoding it again in tests, not
// here); roles is padded with kRoleSpare so that the superblock fills whole sectors (max_dev 128, 384, ...), as mdadm does.
// Errors: invalid_argument if the name is longer than 32 bytes or there are more than kMaxDevs roles.
Result<std::array<std::byte, kSuperblockBytes>> encode_superblock(const Superblock& superblock);

// Checks everything that can be checked without other members. device_sectors: the size of the whole member. Errors, one
// line that begins with "superblock: FIELD ": corrupt (magic, checksum), unsupported (version, level, layout, feature,
// reshape), bad_input (a value that cannot be).
Result<Superblock> decode_superblock(std::span<const std::byte, kSuperblockBytes> block, std::uint64_t device_sectors);

// md's checksum over 256 + 2·max_dev bytes with the checksum field taken as 0 (size: a multiple of 2).
std::uint32_t superblock_checksum(std::span<const std::byte> superblock);

// The shape that a superblock describes. RAID 0: member size from data_size, rounded down to the chunk.
Result<Geometry> geometry_of(const Superblock& superblock);

// Sectors that mdadm reserves for the bitmap on a member of this size: 8, 128 above 8 GiB, 256 above 200 GiB.
std::uint64_t bitmap_space_sectors(std::uint64_t device_sectors) noexcept;
// Where mdadm begins the data on a member of this size (super1.c, validate_geometry1). chunk_sectors 0: RAID 1.
std::uint64_t choose_data_offset(std::uint64_t device_sectors, std::uint32_t chunk_sectors) noexcept;

std::string format_uuid(const Uuid& uuid);  // as mdadm prints: "01234567:89abcdef:01234567:89abcdef"

// ---- bad-block log --------------------------------------------------------------------------------------------------
// One block of 512 le64 entries (first sector << 10 | sectors), unused ones all ones. Sectors count from the start of the
// device (data_offset included), as md writes them. A range has 1 .. 512 sectors; longer ones take several entries.

inline constexpr std::size_t kBadBlockLogBytes = 4096;
inline constexpr std::size_t kBadBlockEntries = 512;
inline constexpr std::uint64_t kBadBlockMaxSectors = 512;

struct BadRange {
  std::uint64_t sector = 0;
  std::uint64_t sectors = 0;
  bool operator==(const BadRange&) const = default;
};

// Ranges in rising order without overlap. Errors: no_space if they need more than 512 entries; invalid_argument if a sector
// does not fit in 54 bits or ranges are not in order.
Result<std::array<std::byte, kBadBlockLogBytes>> encode_bad_blocks(std::span<const BadRange> ranges);
// Merges neighbours; stops at the first unused entry. Errors: bad_input for an empty, unordered or overlapping entry.
Result<std::vector<BadRange>> decode_bad_blocks(std::span<const std::byte, kBadBlockLogBytes> block);

}  // namespace resilver::raid
