// Bitmap headers from anywhere: what is accepted reads back as the same, and every bit of it can be reached.
#include "raid/bitmap_format.h"
#include "tests/fuzz/fuzz.h"

using namespace resilver::raid;

FUZZ_TARGET(data) {
  auto block = padded_input<4096>(data, std::byte{0});
  const auto head = std::span(block).first<kBitmapHeaderBytes>();
  const auto header = decode_bitmap_header(head);
  if (!header) return;
  std::array<std::byte, kBitmapHeaderBytes> written;
  encode_bitmap_header(*header, written);
  const auto again = decode_bitmap_header(written);
  FUZZ_ASSERT(again.has_value() && *again == *header);
  const std::uint64_t bits = bitmap_bits(header->sync_size_sectors, header->chunk_bytes);
  FUZZ_ASSERT(bits > 0);
  const std::uint64_t chunk_sectors = header->chunk_bytes / kSectorBytes;
  FUZZ_ASSERT((bits - 1) * chunk_sectors < header->sync_size_sectors);
  FUZZ_ASSERT(bits * chunk_sectors >= header->sync_size_sectors);
  FUZZ_ASSERT(bitmap_block_of(bits - 1) + 4096 == bitmap_bytes(bits));
  const std::uint64_t index = std::min<std::uint64_t>(bits, (4096 - kBitmapHeaderBytes) * 8) - 1;
  const bool was = bitmap_bit(block, index);
  const auto before = block;
  was ? clear_bitmap_bit(block, index) : set_bitmap_bit(block, index);
  FUZZ_ASSERT(bitmap_bit(block, index) != was);
  was ? set_bitmap_bit(block, index) : clear_bitmap_bit(block, index);
  FUZZ_ASSERT(block == before);
}
