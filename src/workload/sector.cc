#include "workload/sector.h"

#include <bit>
#include <cstring>

#include "base/crc32c.h"
#include "base/random.h"

namespace resilver::workload {

namespace {

static_assert(std::endian::native == std::endian::little, "records are little-endian");

constexpr std::uint32_t kMagic = 0x766c7372;  // "rslv"
constexpr std::size_t kChecked = 8;           // the checksum covers the record from here on

struct Record {
  std::uint32_t magic;
  std::uint32_t checksum;
  std::uint64_t volume;
  std::uint64_t sector;
  std::uint32_t version;
  std::uint32_t kind;
  std::uint64_t operation;
  std::uint64_t mixed[3];
};
static_assert(sizeof(Record) == kRecordBytes && sizeof(Record) * 8 == kSectorBytes);

std::uint32_t checksum(const Record& record) noexcept {
  const auto* bytes = reinterpret_cast<const std::byte*>(&record);
  return crc32c({bytes + kChecked, kRecordBytes - kChecked});
}

void mix(Record& record) noexcept {
  std::uint64_t state = record.volume ^ (record.sector << 24) ^ record.version;
  for (auto& word : record.mixed) word = splitmix64(state);
}

bool all_zero(const std::byte* data) noexcept {
  // A block of zeroes equals itself shifted by one word, and starts with zero.
  std::uint64_t first;
  std::memcpy(&first, data, sizeof first);
  return first == 0 && std::memcmp(data, data + sizeof first, kSectorBytes - sizeof first) == 0;
}

}  // namespace

const char* sector_state_name(SectorState state) noexcept {
  switch (state) {
    case SectorState::ok: return "ok";
    case SectorState::never_written: return "never written";
    case SectorState::corrupt: return "corrupt";
    case SectorState::misplaced: return "misplaced";
  }
  return "?";
}

void encode_sector(const SectorId& id, std::byte* out) noexcept {
  Record record{kMagic, 0, id.volume, id.sector, id.version, static_cast<std::uint32_t>(id.kind), id.operation, {}};
  mix(record);
  record.checksum = checksum(record);
  for (std::size_t at = 0; at < kSectorBytes; at += kRecordBytes) std::memcpy(out + at, &record, kRecordBytes);
}

SectorCheck check_sector(const std::byte* data, std::uint64_t volume, std::uint64_t sector) noexcept {
  Record record;
  std::memcpy(&record, data, kRecordBytes);
  if (record.magic != kMagic) return {all_zero(data) ? SectorState::never_written : SectorState::corrupt, {}};
  if (std::memcmp(data, data + kRecordBytes, kSectorBytes - kRecordBytes) != 0) return {};
  if (checksum(record) != record.checksum) return {};
  // A CRC is linear: the XOR of three sound records has a sound checksum, and that is what parity that does not match gives.
  Record expected = record;
  mix(expected);
  if (std::memcmp(expected.mixed, record.mixed, sizeof record.mixed) != 0) return {};
  const auto kind = static_cast<SectorKind>(record.kind);
  const SectorId id{record.volume, record.sector, record.version, kind, record.operation};
  const bool here = record.volume == volume && record.sector == sector;
  return {here ? SectorState::ok : SectorState::misplaced, id};
}

}  // namespace resilver::workload
