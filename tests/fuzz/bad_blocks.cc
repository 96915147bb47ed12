// Bad-block logs from anywhere: the ranges are in order, apart, cover what the entries say and nothing else, and read back as
// the same after they were written.
#include "raid/bad_blocks.h"
#include "tests/fuzz/fuzz.h"

using namespace resilver::raid;

namespace {

bool covered(std::span<const BadRange> ranges, std::uint64_t sector) {
  for (const BadRange& range : ranges) {
    if (sector >= range.sector && sector - range.sector < range.sectors) return true;
  }
  return false;
}

}  // namespace

FUZZ_TARGET(data) {
  const auto block = padded_input<kBadBlockLogBytes>(data, std::byte{0xff});
  const auto ranges = decode_bad_blocks(block);
  if (!ranges) return;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < ranges->size(); ++i) {
    const BadRange& range = (*ranges)[i];
    FUZZ_ASSERT(range.sectors > 0);
    if (i > 0) FUZZ_ASSERT(range.sector > (*ranges)[i - 1].sector + (*ranges)[i - 1].sectors);
    total += range.sectors;
  }
  std::uint64_t told = 0;
  for (std::size_t at = 0; at < block.size(); at += 8) {
    const auto entry = load_at<std::uint64_t>(block, at);
    if (entry == ~std::uint64_t{0}) break;
    FUZZ_ASSERT(covered(*ranges, entry >> 10));
    FUZZ_ASSERT(covered(*ranges, (entry >> 10) + (entry & 0x3ff) - 1));
    told += entry & 0x3ff;
  }
  FUZZ_ASSERT(total <= told);
  // Only a range that ends beyond what an entry can say cannot be written; merging never makes more entries.
  const auto written = encode_bad_blocks(*ranges);
  if (!written) {
    FUZZ_ASSERT(ranges->back().sector + ranges->back().sectors >= std::uint64_t{1} << 54);
    return;
  }
  FUZZ_ASSERT(decode_bad_blocks(*written) == *ranges);
}
