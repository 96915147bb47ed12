// Records of a journal from anywhere. Each is tried as it is, and with magic, version and checksum made right, else nothing
// would get past these: then what decodes has its pages counted within bounds, encodes again, and decodes to the same.
#include "raid/journal_format.h"
#include "tests/fuzz/fuzz.h"

using namespace resilver::raid;

FUZZ_TARGET(data) {
  constexpr std::uint32_t kSeed = 0x5eed;
  auto block = padded_input<kJournalBlockBytes>(data, std::byte{0});
  const auto raw = decode_journal_meta(block, kSeed);
  FUZZ_ASSERT(raw || raw.error().what.starts_with("journal: "));
  store_at<std::uint32_t>(block, 0, 0x6433c509);
  store_at<std::uint32_t>(block, 4, 0);
  store_at<std::uint8_t>(block, 8, 1);
  store_at<std::uint32_t>(block, 4, journal_checksum(kSeed, block));
  const auto meta = decode_journal_meta(block, kSeed);
  if (!meta) {
    FUZZ_ASSERT(meta.error().what.starts_with("journal: "));
    return;
  }
  // A payload takes at least 8 bytes of the block and names at most two pages.
  FUZZ_ASSERT(meta->payloads.size() <= (kJournalBlockBytes - kJournalHeaderBytes) / 8);
  FUZZ_ASSERT(meta->sectors() <= kJournalBlockSectors * (1 + 2 * meta->payloads.size()));
  std::array<std::byte, kJournalBlockBytes> written;
  encode_journal_meta(*meta, kSeed, written);
  const auto again = decode_journal_meta(written, kSeed);
  FUZZ_ASSERT(again && *again == *meta);
}
