#include "raid/bitmap_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/endian.h"

namespace resilver::raid {

namespace {

constexpr std::uint32_t kMagic = 0x6d746962;  // "bitm"
constexpr std::uint32_t kVersion = 4;         // little-endian bits; 3 is host-endian, 5 clustered
constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kMaxSyncSectors = kMaxCapacity / kSectorBytes;

// bitmap_super_t of drivers/md/md-bitmap.h: magic 0, version 4, uuid 8, events 24, events_cleared 32, sync_size 40,
// state 48, chunksize 52, daemon_sleep 56, write_behind 60, sectors_reserved 64, nodes 68, cluster_name 72, zeroes.
enum Offset : std::size_t {
  kAtMagic = 0,
  kAtVersion = 4,
  kAtUuid = 8,
  kAtEvents = 24,
  kAtEventsCleared = 32,
  kAtSyncSize = 40,
  kAtState = 48,
  kAtChunk = 52,
  kAtDaemonSleep = 56,
  kAtWriteBehind = 60,
  kAtSectorsReserved = 64,
  kAtNodes = 68,
};

std::size_t byte_of(std::uint64_t index) { return kBitmapHeaderBytes + static_cast<std::size_t>(index / 8); }

std::byte mask_of(std::uint64_t index) { return std::byte{1} << (index % 8); }

}  // namespace

void encode_bitmap_header(const BitmapHeader& header, std::span<std::byte, kBitmapHeaderBytes> out) {
  std::ranges::fill(out, std::byte{0});
  store_le(out.data() + kAtMagic, kMagic);
  store_le(out.data() + kAtVersion, kVersion);
  std::memcpy(out.data() + kAtUuid, header.uuid.data(), header.uuid.size());
  store_le(out.data() + kAtEvents, header.events);
  store_le(out.data() + kAtEventsCleared, header.events_cleared);
  store_le(out.data() + kAtSyncSize, header.sync_size_sectors);
  store_le(out.data() + kAtState, header.state);
  store_le(out.data() + kAtChunk, header.chunk_bytes);
  store_le(out.data() + kAtDaemonSleep, header.daemon_sleep_s);
  store_le(out.data() + kAtWriteBehind, header.write_behind);
  store_le(out.data() + kAtSectorsReserved, header.sectors_reserved);
}

Result<BitmapHeader> decode_bitmap_header(std::span<const std::byte, kBitmapHeaderBytes> in) {
  if (const auto magic = load_le<std::uint32_t>(in.data() + kAtMagic); magic != kMagic) {
    return fail(Errc::corrupt, fmt::format("bitmap: magic is {:#010x}, not {:#010x}", magic, kMagic));
  }
  if (const auto version = load_le<std::uint32_t>(in.data() + kAtVersion); version != kVersion) {
    return fail(Errc::unsupported, fmt::format("bitmap: version {} is not {}", version, kVersion));
  }
  BitmapHeader header;
  std::memcpy(header.uuid.data(), in.data() + kAtUuid, header.uuid.size());
  header.events = load_le<std::uint64_t>(in.data() + kAtEvents);
  header.events_cleared = load_le<std::uint64_t>(in.data() + kAtEventsCleared);
  header.sync_size_sectors = load_le<std::uint64_t>(in.data() + kAtSyncSize);
  header.state = load_le<std::uint32_t>(in.data() + kAtState);
  header.chunk_bytes = load_le<std::uint32_t>(in.data() + kAtChunk);
  header.daemon_sleep_s = load_le<std::uint32_t>(in.data() + kAtDaemonSleep);
  header.write_behind = load_le<std::uint32_t>(in.data() + kAtWriteBehind);
  header.sectors_reserved = load_le<std::uint32_t>(in.data() + kAtSectorsReserved);

  if (const auto nodes = load_le<std::uint32_t>(in.data() + kAtNodes); nodes != 0) {
    return fail(Errc::unsupported, fmt::format("bitmap: nodes is {}: clustered bitmaps are not supported", nodes));
  }
  if (!std::has_single_bit(header.chunk_bytes) || header.chunk_bytes < kBitmapMinChunk) {
    return fail(Errc::bad_input,
                fmt::format("bitmap: chunksize {} is not a power of two from 4096", header.chunk_bytes));
  }
  if (header.sync_size_sectors == 0 || header.sync_size_sectors > kMaxSyncSectors) {
    return fail(Errc::bad_input, fmt::format("bitmap: sync_size {} is 0 or too large", header.sync_size_sectors));
  }
  const std::uint64_t bytes = bitmap_bytes(bitmap_bits(header.sync_size_sectors, header.chunk_bytes));
  if (header.sectors_reserved != 0 && bytes > std::uint64_t{header.sectors_reserved} * kSectorBytes) {
    return fail(Errc::bad_input,
                fmt::format("bitmap: sectors_reserved {} is too little for {} bytes", header.sectors_reserved, bytes));
  }
  return header;
}

std::uint64_t bitmap_bits(std::uint64_t sync_size_sectors, std::uint32_t chunk_bytes) noexcept {
  const std::uint64_t chunk_sectors = chunk_bytes / kSectorBytes;
  return (sync_size_sectors + chunk_sectors - 1) / chunk_sectors;
}

std::uint64_t bitmap_bytes(std::uint64_t bits) noexcept {
  return (kBitmapHeaderBytes + (bits + 7) / 8 + kBlock - 1) / kBlock * kBlock;
}

Result<std::uint32_t> choose_bitmap_chunk(std::uint64_t sync_size_sectors, std::uint64_t reserved_sectors,
                                          std::uint32_t at_least) {
  if (!std::has_single_bit(at_least) || at_least < kBitmapMinChunk) {
    return fail(Errc::invalid_argument, fmt::format("bitmap: chunksize {} is not a power of two from 4096", at_least));
  }
  if (sync_size_sectors > kMaxSyncSectors) {
    return fail(Errc::invalid_argument, fmt::format("bitmap: sync_size {} is too large", sync_size_sectors));
  }
  for (std::uint64_t chunk = at_least; chunk <= kBitmapMaxChunk; chunk *= 2) {
    const auto choice = static_cast<std::uint32_t>(chunk);
    if (bitmap_bytes(bitmap_bits(sync_size_sectors, choice)) <= reserved_sectors * kSectorBytes) return choice;
  }
  return fail(Errc::no_space, fmt::format("bitmap: {} sectors are too little for a member of {} sectors",
                                          reserved_sectors, sync_size_sectors));
}

bool bitmap_bit(std::span<const std::byte> bitmap, std::uint64_t index) {
  CHECK(byte_of(index) < bitmap.size());
  return (bitmap[byte_of(index)] & mask_of(index)) != std::byte{0};
}

void set_bitmap_bit(std::span<std::byte> bitmap, std::uint64_t index) {
  CHECK(byte_of(index) < bitmap.size());
  bitmap[byte_of(index)] |= mask_of(index);
}

void clear_bitmap_bit(std::span<std::byte> bitmap, std::uint64_t index) {
  CHECK(byte_of(index) < bitmap.size());
  bitmap[byte_of(index)] &= ~mask_of(index);
}

std::uint64_t bitmap_block_of(std::uint64_t index) noexcept { return byte_of(index) / kBlock * kBlock; }

}  // namespace resilver::raid
