#include "raid/journal_format.h"

#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/endian.h"

namespace resilver::raid {
namespace {

constexpr std::uint32_t kMagic = 0x6433c509;
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kPayloadBytes = 16;  // without checksums or stripes
constexpr std::uint32_t kSectorsOfPage = static_cast<std::uint32_t>(kJournalBlockSectors);

// The block's checksum is taken with its own field as zero.
std::uint32_t block_checksum(std::span<const std::byte, kJournalBlockBytes> block, std::uint32_t seed) {
  std::array<std::byte, kJournalBlockBytes> copy;
  std::memcpy(copy.data(), block.data(), copy.size());
  std::memset(copy.data() + 4, 0, 4);
  return journal_checksum(seed, copy);
}

Result<JournalPayload> decode_payload(std::span<const std::byte> rest, std::size_t& used) {
  if (rest.size() < kPayloadBytes) return fail(Errc::bad_input, "journal: meta_size cuts a payload");
  JournalPayload payload;
  const auto type = load_le<std::uint16_t>(&rest[0]);
  const auto size = load_le<std::uint32_t>(&rest[4]);
  if (type == static_cast<std::uint16_t>(PayloadType::flush)) {
    used = 8 + std::size_t{size};
    if (size % 8 != 0 || used > rest.size()) return fail(Errc::bad_input, "journal: a flush payload's size");
    payload.type = PayloadType::flush;
    payload.pages = 0;
    for (std::size_t at = 8; at < used; at += 8) payload.flushed_sectors.push_back(load_le<std::uint64_t>(&rest[at]));
    return payload;
  }
  if (type > static_cast<std::uint16_t>(PayloadType::flush)) {
    return fail(Errc::unsupported, fmt::format("journal: payload type {} is not known", type));
  }
  payload.type = static_cast<PayloadType>(type);
  payload.pages = size / kSectorsOfPage;
  const std::uint32_t most = payload.type == PayloadType::data ? 1 : 2;
  if (size % kSectorsOfPage != 0 || payload.pages < 1 || payload.pages > most) {
    return fail(Errc::bad_input, fmt::format("journal: payload size {} sectors", size));
  }
  used = payload_bytes(payload.pages);
  if (used > rest.size()) return fail(Errc::bad_input, "journal: meta_size cuts a payload");
  payload.location_sectors = load_le<std::uint64_t>(&rest[8]);
  if (payload.location_sectors % kJournalBlockSectors != 0) {
    return fail(Errc::bad_input, fmt::format("journal: payload location {} is no block", payload.location_sectors));
  }
  for (std::uint32_t i = 0; i < payload.pages; ++i) payload.checksums[i] = load_le<std::uint32_t>(&rest[16 + 4 * i]);
  return payload;
}

}  // namespace

std::uint64_t JournalMeta::sectors() const noexcept {
  std::uint64_t blocks = 1;
  for (const JournalPayload& payload : payloads) blocks += payload.pages;
  return blocks * kJournalBlockSectors;
}

// base/crc32c.h inverts before and after; md does neither.
std::uint32_t journal_checksum(std::uint32_t seed, std::span<const std::byte> bytes) noexcept {
  return ~crc32c(bytes, ~seed);
}

std::uint32_t journal_seed(const Uuid& set_uuid) noexcept {
  return journal_checksum(~std::uint32_t{0}, std::as_bytes(std::span(set_uuid)));
}

void encode_journal_meta(const JournalMeta& meta, std::uint32_t seed, std::span<std::byte, kJournalBlockBytes> out) {
  std::memset(out.data(), 0, out.size());
  std::size_t at = kJournalHeaderBytes;
  for (const JournalPayload& payload : meta.payloads) {
    const bool flush = payload.type == PayloadType::flush;
    const std::size_t bytes = flush ? 8 + 8 * payload.flushed_sectors.size() : payload_bytes(payload.pages);
    CHECK(at + bytes <= out.size(), "a journal record has too many payloads");
    store_le<std::uint16_t>(&out[at], static_cast<std::uint16_t>(payload.type));
    if (flush) {
      store_le<std::uint32_t>(&out[at + 4], static_cast<std::uint32_t>(bytes - 8));
      for (std::size_t i = 0; i < payload.flushed_sectors.size(); ++i) {
        store_le<std::uint64_t>(&out[at + 8 + 8 * i], payload.flushed_sectors[i]);
      }
    } else {
      store_le<std::uint32_t>(&out[at + 4], payload.pages * kSectorsOfPage);
      store_le<std::uint64_t>(&out[at + 8], payload.location_sectors);
      for (std::uint32_t i = 0; i < payload.pages; ++i) {
        store_le<std::uint32_t>(&out[at + 16 + 4 * i], payload.checksums[i]);
      }
    }
    at += bytes;
  }
  store_le<std::uint32_t>(&out[0], kMagic);
  out[8] = std::byte{kVersion};
  store_le<std::uint32_t>(&out[12], static_cast<std::uint32_t>(at));
  store_le<std::uint64_t>(&out[16], meta.seq);
  store_le<std::uint64_t>(&out[24], meta.position_sectors);
  store_le<std::uint32_t>(&out[4], block_checksum(out, seed));
}

Result<JournalMeta> decode_journal_meta(std::span<const std::byte, kJournalBlockBytes> in, std::uint32_t seed) {
  if (load_le<std::uint32_t>(&in[0]) != kMagic) return fail(Errc::not_found, "journal: no meta block: magic");
  if (in[8] != std::byte{kVersion}) return fail(Errc::not_found, "journal: no meta block: version");
  if (load_le<std::uint32_t>(&in[4]) != block_checksum(in, seed)) {
    return fail(Errc::not_found, "journal: no meta block: checksum");
  }
  const auto meta_size = load_le<std::uint32_t>(&in[12]);
  if (meta_size < kJournalHeaderBytes || meta_size > in.size()) {
    return fail(Errc::bad_input, fmt::format("journal: meta_size {}", meta_size));
  }
  JournalMeta meta;
  meta.seq = load_le<std::uint64_t>(&in[16]);
  meta.position_sectors = load_le<std::uint64_t>(&in[24]);
  for (std::size_t at = kJournalHeaderBytes; at < meta_size;) {
    std::size_t used = 0;
    auto payload = decode_payload(in.subspan(at, meta_size - at), used);
    if (!payload) return std::unexpected(payload.error());
    meta.payloads.push_back(std::move(*payload));
    at += used;
  }
  return meta;
}

}  // namespace resilver::raid
