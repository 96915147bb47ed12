// src/workload: what the client does to a volume and how its answers are judged: sectors that describe themselves,
// deterministic load, an independent prober, the history and the oracle. The room sees a volume only as a BlockDevice and
// works alike in both worlds. It may assume nothing about what lies under the volume, and never: retries a request, keeps
// more memory than the part of the volume that was written needs, lets a float or an unordered container decide anything.
//
// This header: the self-describing 512-byte sector, the unit of data and of judgement. One 64-byte record, eight times:
//
//    0  u32  magic "rslv"                 24  u32  version: number of the write, unique in a run, > 0
//    4  u32  crc32c of bytes 8..63        28  u32  kind (SectorKind)
//    8  u64  volume id                    32  u64  operation id, as in the history
//   16  u64  sector address (bytes/512)   40  24 bytes mixed from volume, sector and version, not linearly
//
// Little-endian. The repetition lets simulated disks keep a 4 KiB block as patterns (scenarios.md, 'virtual time at size').
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "env/block_device.h"

namespace resilver::workload {

inline constexpr std::size_t kRecordBytes = 64;

enum class SectorKind : std::uint32_t {
  data = 1,
  damage = 2,  // a deliberate overwrite by the client ("human error"): acknowledged data like any other
};

struct SectorId {
  std::uint64_t volume = 0;
  std::uint64_t sector = 0;
  std::uint32_t version = 0;
  SectorKind kind = SectorKind::data;
  std::uint64_t operation = 0;

  bool operator==(const SectorId&) const = default;
};

// Writes the 512 bytes that describe `id` to `out` (kSectorBytes of room).
void encode_sector(const SectorId& id, std::byte* out) noexcept;

enum class SectorState : std::uint8_t {
  ok,             // described itself correctly, at this address of this volume
  never_written,  // all zero
  corrupt,        // checksum, magic, mixed bytes or repetition is wrong
  misplaced,      // whole, but of another address or another volume
};
const char* sector_state_name(SectorState state) noexcept;

struct SectorCheck {
  SectorState state = SectorState::corrupt;
  SectorId id;  // valid if state is ok or misplaced
};

// Judges kSectorBytes at `data` that were read from `sector` of `volume`.
SectorCheck check_sector(const std::byte* data, std::uint64_t volume, std::uint64_t sector) noexcept;

}  // namespace resilver::workload
