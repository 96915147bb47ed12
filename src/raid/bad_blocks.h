// md's bad-block log: the ranges of one member that cannot be read, or whose content is not what it should be.
//
// One block of 512 le64 entries (first sector << 10 | sectors), unused ones all ones. Sectors count from the start of the
// device (data_offset included), as md writes them. An entry has 1 .. 512 sectors; longer ranges take several. Where it lies:
// bblog_offset and bblog_size of the superblock; it is not empty if and only if feature 8 is set.
// Source: drivers/md/md.c (super_1_load, super_1_sync), block/badblocks.c, and logs that the kernel wrote.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"

namespace resilver::raid {

inline constexpr std::uint64_t kSectorBytes = 512;
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
// In rising order, neighbours and overlaps merged: the kernel (6.1) writes the parts of a range of more than 512 sectors in
// the wrong order. Stops at the first unused entry, as md does. Errors: bad_input for an entry of 0 or too many sectors.
Result<std::vector<BadRange>> decode_bad_blocks(std::span<const std::byte, kBadBlockLogBytes> block);

}  // namespace resilver::raid
