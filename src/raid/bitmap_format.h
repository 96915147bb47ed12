// md's internal write-intent bitmap on disk: a 256-byte header, then one bit per bitmap chunk of a member's data area,
// little-endian bit order (bit i is bit i%8 of byte i/8 after the header). Source: drivers/md/md-bitmap.h (bitmap_super_t,
// version 4) and mdadm's super1.c; nothing here does I/O, and which bits may be cleared when is the array's rule.
//
// A set bit: this region may differ between members (a write was in flight, or one missed it). For RAID 1, 4, 5 and 6 the
// region is the same range of every member's data area.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "raid/superblock.h"

namespace resilver::raid {

inline constexpr std::size_t kBitmapHeaderBytes = 256;
inline constexpr std::uint32_t kBitmapMinChunk = 4096;  // bytes
inline constexpr std::uint32_t kBitmapMaxChunk = 1u << 31;
inline constexpr std::uint32_t kBitmapDefaultChunk = 64u << 20;  // mdadm's least choice for internal bitmaps

struct BitmapHeader {
  Uuid uuid{};                          // the array's set_uuid
  std::uint64_t events = 0;             // of the last superblock update that also wrote the bitmap
  std::uint64_t events_cleared = 0;     // events when a bit was last cleared, i.e. the array was last not degraded
  std::uint64_t sync_size_sectors = 0;  // the range the bits cover: size of a member's used data
  std::uint32_t state = 0;              // 0; kBitmapStale, kBitmapWriteError
  std::uint32_t chunk_bytes = 0;        // a power of two
  std::uint32_t daemon_sleep_s = 5;
  std::uint32_t write_behind = 0;
  std::uint32_t sectors_reserved = 0;  // 0 (written by mdadm for 1.2 arrays of old) or the space on disk
  bool operator==(const BitmapHeader&) const = default;
};

inline constexpr std::uint32_t kBitmapStale = 2;  // as mdadm prints: "out of date"
inline constexpr std::uint32_t kBitmapWriteError = 4;

// Writes the header into the first 256 bytes.
void encode_bitmap_header(const BitmapHeader& header, std::span<std::byte, kBitmapHeaderBytes> out);

// Errors, one line that begins with "bitmap: FIELD ": corrupt (magic), unsupported (version, clustered nodes), bad_input.
Result<BitmapHeader> decode_bitmap_header(std::span<const std::byte, kBitmapHeaderBytes> in);

// Number of bits for a member of this size; the last may cover less than a chunk.
std::uint64_t bitmap_bits(std::uint64_t sync_size_sectors, std::uint32_t chunk_bytes) noexcept;
// Bytes on disk, header included, rounded up to whole 4096-byte blocks.
std::uint64_t bitmap_bytes(std::uint64_t bits) noexcept;

// The smallest power of two ≥ at_least (≥ kBitmapMinChunk) whose bits fit, header included, into reserved_sectors.
// Errors: no_space if even kBitmapMaxChunk does not fit; invalid_argument if at_least is no power of two.
Result<std::uint32_t> choose_bitmap_chunk(std::uint64_t sync_size_sectors, std::uint64_t reserved_sectors,
                                          std::uint32_t at_least = kBitmapDefaultChunk);

// Bits within `bitmap` = header and bits, as on disk. index < the number of bits that fit.
bool bitmap_bit(std::span<const std::byte> bitmap, std::uint64_t index);
void set_bitmap_bit(std::span<std::byte> bitmap, std::uint64_t index);
void clear_bitmap_bit(std::span<std::byte> bitmap, std::uint64_t index);
// Byte offset, from the start of the bitmap area, of the 4096-byte block that holds a bit: the unit in which it is written.
std::uint64_t bitmap_block_of(std::uint64_t index) noexcept;

}  // namespace resilver::raid
