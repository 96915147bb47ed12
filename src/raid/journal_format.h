// Linux md's journal of RAID 4, 5 and 6 (raid5-cache), to the byte.
//
// Source: include/uapi/linux/raid/md_p.h (struct r5l_meta_block and its payloads); drivers/md/raid5-cache.c for the
// rules of recovery. All fields are little-endian. The log is a ring over the journal disk's data area; positions are
// counted in sectors from data_offset, in units of 4096 bytes. It is a chain of *records*: a meta block of 4096 bytes that
// lists pages, and these pages behind it, in the order of the list. A record is valid if its magic, version, checksum and
// position are right, its sequence number is the one before plus 1, and all its pages have their checksums. Where a record
// is not valid, the log ends. Checksums are CRC-32C seeded with that of the array's UUID, without the final inversion.
// Nothing here does I/O.
//
//   meta block: u32 magic, u32 checksum, u8 version, 3 bytes zero, u32 meta_size (bytes used), u64 seq, u64 position
//   payload:    u16 type, u16 flags, u32 size (sectors), u64 location (sectors), u32 checksum for every 4096 bytes
//     data:     location is the array's own address; one page
//     parity:   location is the row's offset in the members' data areas; P, and Q behind it for RAID 6
//     flush:    size in bytes of a list of u64 stripe addresses that are on the members already; no pages
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "raid/superblock.h"

namespace resilver::raid {

inline constexpr std::uint64_t kJournalBlockBytes = 4096;
inline constexpr std::uint64_t kJournalBlockSectors = kJournalBlockBytes / kSectorBytes;
inline constexpr std::size_t kJournalHeaderBytes = 32;

enum class PayloadType : std::uint16_t { data = 0, parity = 1, flush = 2 };

struct JournalPayload {
  PayloadType type = PayloadType::data;
  std::uint64_t location_sectors = 0;
  std::uint32_t pages = 1;                     // that follow in the log: data 1, parity 1 or 2, flush 0
  std::array<std::uint32_t, 2> checksums{};    // of the pages
  std::vector<std::uint64_t> flushed_sectors;  // flush only
  bool operator==(const JournalPayload&) const = default;
};

struct JournalMeta {
  std::uint64_t seq = 0;
  std::uint64_t position_sectors = 0;
  std::vector<JournalPayload> payloads;
  // Of the whole record, the meta block included.
  std::uint64_t sectors() const noexcept;
  bool operator==(const JournalMeta&) const = default;
};

// Bytes that a payload takes in the meta block.
constexpr std::size_t payload_bytes(std::uint32_t pages) noexcept { return 16 + 4 * pages; }

// What all checksums of an array's journal begin with.
std::uint32_t journal_seed(const Uuid& set_uuid) noexcept;
std::uint32_t journal_checksum(std::uint32_t seed, std::span<const std::byte> bytes) noexcept;

// Precondition: the payloads fit (CHECKed).
void encode_journal_meta(const JournalMeta& meta, std::uint32_t seed, std::span<std::byte, kJournalBlockBytes> out);

// Errors, one line that begins with "journal: ": not_found (no meta block here: magic, version or checksum),
// bad_input (a valid checksum over fields that cannot be), unsupported (a payload of an unknown type).
Result<JournalMeta> decode_journal_meta(std::span<const std::byte, kJournalBlockBytes> in, std::uint32_t seed);

}  // namespace resilver::raid
