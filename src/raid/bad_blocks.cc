#include "raid/bad_blocks.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/endian.h"

namespace resilver::raid {

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
  std::vector<BadRange> entries;
  for (std::size_t i = 0; i < kBadBlockEntries; ++i) {
    const auto entry = load_le<std::uint64_t>(block.data() + i * 8);
    if (entry == ~std::uint64_t{0}) break;
    const BadRange range{entry >> 10, entry & 0x3ff};
    if (range.sectors == 0 || range.sectors > kBadBlockMaxSectors) {
      return fail(Errc::bad_input, fmt::format("bad-block log: entry {} has {} sectors at {}, not 1 to {}", i,
                                               range.sectors, range.sector, kBadBlockMaxSectors));
    }
    entries.push_back(range);
  }
  std::ranges::sort(entries, {}, &BadRange::sector);
  std::vector<BadRange> ranges;
  for (const BadRange& range : entries) {
    if (ranges.empty() || range.sector > ranges.back().sector + ranges.back().sectors) {
      ranges.push_back(range);
    } else {
      BadRange& last = ranges.back();
      last.sectors = std::max(last.sector + last.sectors, range.sector + range.sectors) - last.sector;
    }
  }
  return ranges;
}

}  // namespace resilver::raid
