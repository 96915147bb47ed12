// Linux md superblock, metadata version 1.2, to the byte.
//
// Source: include/uapi/linux/raid/md_p.h (struct mdp_superblock_1), mdadm super1.c for placement; confirmed on images made
// by the kernel (tests/raid/data, docs/on-disk-format.md). All fields are little-endian. On a member: the superblock at sector
// 8 (byte 4096), then (if there are) write-intent bitmap and bad-block log (bad_blocks.h), then data at data_offset. Nothing
// here does I/O.
//
// A crash can leave a torn superblock (it is 512 bytes for up to 128 devices, one sector): the checksum then fails, and
// decode() refuses it. A member whose superblock is old is told by `events`, not here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "raid/bad_blocks.h"
#include "raid/geometry.h"

namespace resilver::raid {

inline constexpr std::uint32_t kSuperblockMagic = 0xa92b4efc;
inline constexpr std::uint64_t kSuperOffsetSectors = 8;  // version 1.2: 4 KiB from the start
inline constexpr std::size_t kSuperblockBytes = 4096;    // the block that is written; also the largest superblock
inline constexpr std::uint32_t kMaxDevs = (kSuperblockBytes - 256) / 2;  // 1920

inline constexpr std::uint16_t kRoleSpare = 0xffff;
inline constexpr std::uint16_t kRoleFaulty = 0xfffe;
inline constexpr std::uint16_t kRoleJournal = 0xfffd;

inline constexpr std::uint64_t kResyncDone = ~std::uint64_t{0};  // resync_offset of a clean array

// Bits of feature_map. Others (reshape: 4, 32, 64; clustered: 256) are refused by name, unknown ones too.
inline constexpr std::uint32_t kFeatureBitmap = 1;  // bitmap_offset is meaningful
inline constexpr std::uint32_t kFeatureRecoveryOffset =
    2;                                                    // recovery_offset is meaningful: this member is being rebuilt
inline constexpr std::uint32_t kFeatureBadBlocks = 8;     // the bad-block log is not empty
inline constexpr std::uint32_t kFeatureReplacement = 16;  // this member is to take over the slot from another one
inline constexpr std::uint32_t kFeatureRecoveryBitmap = 128;  // the rebuild only copies what the bitmap marks (a re-add)
inline constexpr std::uint32_t kFeatureJournal = 512;         // the array has a journal; on all members and the journal
inline constexpr std::uint32_t kFeaturePpl = 1024;            // partial parity log: read only here (read_only_reason())
inline constexpr std::uint32_t kFeatureMultiplePpls = 2048;   // the same
inline constexpr std::uint32_t kFeatureRaid0Layout = 4096;    // RAID 0 with zones: `layout` is meaningful

inline constexpr std::uint8_t kWriteMostly = 1;  // of devflags: read from only where no other member can be
inline constexpr std::uint8_t kFailFast = 2;

using Uuid = std::array<std::uint8_t, 16>;

// Where a superblock is, and by that of which version. All but 1.2 are only read here (read_only_reason()).
enum class MetadataVersion : std::uint8_t { v0_90, v1_0, v1_1, v1_2 };
const char* name(MetadataVersion version) noexcept;  // "0.90", "1.0", ...
struct MetadataPlace {
  MetadataVersion version = MetadataVersion::v1_2;
  std::uint64_t sector = kSuperOffsetSectors;
  bool operator==(const MetadataPlace&) const = default;
};

// The block that a superblock was read from. Whatever Superblock does not name (padding, fields of later kernels, what lies
// behind it in the block) is written back as it was. Not compared.
struct KeptBlock {
  std::vector<std::byte> bytes;  // kSuperblockBytes, or none: of a superblock that is new
  bool operator==(const KeptBlock&) const { return true; }
};

// Host form. Units are in the names; what the fields mean is md's.
struct Superblock {
  MetadataPlace place;
  std::uint32_t feature_map = 0;
  Uuid set_uuid{};
  std::string set_name;     // at most 32 bytes
  std::uint64_t ctime = 0;  // low 40 bits seconds, high 24 bits microseconds
  Level level = Level::raid0;
  Layout layout = Layout::none;     // linear, RAID 1, 4: none; RAID 0: may be none without kFeatureRaid0Layout
  std::uint64_t size_sectors = 0;   // used per member; linear and RAID 0: nothing, and mostly 0
  std::uint32_t chunk_sectors = 0;  // 0 for RAID 1; linear: what members are rounded down to, or 0
  std::uint32_t raid_disks = 0;
  // Sectors from the superblock, signed; with kFeatureBitmap. With a PPL md keeps that log's offset and size in it.
  std::int32_t bitmap_offset = 0;

  std::uint64_t data_offset_sectors = 0;
  std::uint64_t data_size_sectors = 0;  // usable on this member, ≥ size_sectors (but for a journal)
  // Rebuilt so far (from data_offset), with kFeatureRecoveryOffset; on a journal disk where its log begins (journal_tail).
  std::uint64_t recovery_offset_sectors = 0;
  std::uint32_t dev_number = 0;  // index into roles; not the role
  std::uint32_t corrected_reads = 0;
  Uuid device_uuid{};
  std::uint8_t devflags = 0;             // kWriteMostly, kFailFast
  std::uint8_t bblog_shift = 0;          // log entries count blocks of (512 << shift) bytes; 0 once the log was used
  std::uint16_t bblog_size_sectors = 0;  // 0: no log reserved
  std::int32_t bblog_offset = 0;         // sectors from the superblock, signed; 0: no log
  // Ours, behind what md reads: somebody failed this disk by hand; it comes back by re-add or add only.
  bool failed_by_hand = false;

  std::uint64_t utime = 0;
  std::uint64_t events = 0;
  std::uint64_t resync_offset_sectors = kResyncDone;
  // By dev_number: slot, kRoleSpare, kRoleFaulty or kRoleJournal; its size is md's max_dev. A slot stands here twice while one
  // member replaces another.
  std::vector<std::uint16_t> roles;
  KeptBlock kept;

  // The slot of this member, or kRoleSpare / kRoleFaulty / kRoleJournal.
  std::uint16_t role() const { return dev_number < roles.size() ? roles[dev_number] : kRoleSpare; }
  bool is_journal() const { return role() == kRoleJournal; }
  // Of what lies `offset` sectors from the superblock.
  std::uint64_t sector_of(std::int32_t offset) const {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(place.sector) + offset);
  }
  bool has_bad_block_log() const { return bblog_size_sectors != 0 && bblog_offset != 0; }
  bool operator==(const Superblock&) const = default;
};

// The block to write at sector 8: the one that was kept, with the fields above. roles is padded with kRoleSpare so that the
// superblock fills whole sectors (max_dev 128, 384, ...), as mdadm does, and is as long as it was at least.
// Errors: invalid_argument if the name is longer than 32 bytes or there are more than kMaxDevs roles. What decode() thinks of
// the rest: see writable_superblock().
Result<std::array<std::byte, kSuperblockBytes>> encode_superblock(const Superblock& superblock);

// Checks everything that can be checked without other members. device_sectors: the size of the whole member. Errors, one
// line that begins with "superblock: FIELD ": corrupt (magic, checksum), unsupported (version, level, layout, feature,
// reshape), bad_input or invalid_argument (a value that cannot be).
Result<Superblock> decode_superblock(std::span<const std::byte, kSuperblockBytes> block, std::uint64_t device_sectors,
                                     const MetadataPlace& place = {});

// The block to write on a device of this size, accepted by our own reader: nothing else is ever written. Errors: those of
// encode_superblock() and decode_superblock().
Result<std::array<std::byte, kSuperblockBytes>> writable_superblock(const Superblock& superblock,
                                                                    std::uint64_t device_bytes);

// Why an array with this superblock may be read but not written, with the field's name; empty: it may be written.
std::string read_only_reason(const Superblock& superblock);

// md's checksum over 256 + 2·max_dev bytes with the checksum field taken as 0 (size: a multiple of 2).
std::uint32_t superblock_checksum(std::span<const std::byte> superblock);

// The shape that a superblock describes. Linear, RAID 0: as if all members were as large as this one (geometry_of_zoned()
// knows).
Result<Geometry> geometry_of(const Superblock& superblock);
// Linear or RAID 0 of members with these data_size, in the order of slots. Errors: as make_zoned(); unsupported: a RAID 0 of
// unequal members whose superblock does not say which layout (kernels before 5.4 used both; md asks the administrator, too).
Result<Geometry> geometry_of_zoned(const Superblock& superblock, std::span<const std::uint64_t> data_size_sectors);

// ---- where mdadm puts things (super1.c), metadata 1.2 ---------------------------------------------------------------

// Sectors reserved for the bitmap on a member of this size: 8, 128 above 8 GiB, 256 above 200 GiB.
std::uint64_t bitmap_space_sectors(std::uint64_t device_sectors) noexcept;
// Where the data begins on a member of this size. chunk_sectors 0: RAID 1, linear without rounding.
std::uint64_t choose_data_offset(std::uint64_t device_sectors, std::uint32_t chunk_sectors) noexcept;
// Where the bad-block log begins, in sectors from the superblock: behind the bitmap (bitmap_bytes > 0: what bitmap_bytes()
// of bitmap_format.h says), or behind the space reserved for one; linear and RAID 0 reserve none.
std::int32_t choose_bad_block_offset(Level level, std::uint64_t device_sectors, std::uint64_t bitmap_bytes) noexcept;

// Gives a new bad-block log its place: where mdadm would, but behind the bitmap, which ends so many sectors from the
// superblock, and before the data. False: there is no room, and it has none.
bool place_bad_block_log(Superblock& superblock, std::uint64_t device_sectors, std::uint64_t bitmap_end) noexcept;

// ---- other metadata versions ----------------------------------------------------------------------------------------

// Where md's other metadata versions keep their superblocks. device_sectors ≥ 128 (64 KiB).
std::array<MetadataPlace, 3> other_metadata(std::uint64_t device_sectors) noexcept;
// True if the first 512 bytes at that place are such a superblock (by magic, version and, for 1.x, its own place; the
// checksum is not looked at).
bool holds_metadata(std::span<const std::byte, 512> sector, const MetadataPlace& place) noexcept;

// Version 0.90 (superblock_090.cc; struct mdp_superblock_s of md_p.h, kernel and mdadm for what md does with it): words in the
// order of the machine that made it, 27 disks at most, sizes in KiB, no offset of the data. What it has not is made up: a
// disk's UUID from the array's and its number. decode_superblock() is the way to it.
Result<Superblock> decode_superblock_090(std::span<const std::byte, kSuperblockBytes> block, const MetadataPlace& place);
// The disk that begins like this (kPartitionTableBytes of it) has a partition, by master boot record or GPT, which would have
// its superblock of version 0.90 at `place`, too. Such a superblock knows no place of its own: it is the partition's.
bool belongs_to_partition(std::span<const std::byte> start, const MetadataPlace& place);
inline constexpr std::size_t kPartitionTableBytes = 20480;

std::string format_uuid(const Uuid& uuid);  // as mdadm prints: "01234567:89abcdef:01234567:89abcdef"
// 32 hexadecimal digits, with any of ":.- " between. Errors: bad_input.
Result<Uuid> parse_uuid(std::string_view text);

}  // namespace resilver::raid
