#include "tests/walk/array_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/random.h"

namespace resilver::test::array_walk {
namespace {

constexpr std::uint64_t kBlockSectors = 8;
using Sector = std::array<char, kSector>;

// Version 0 is zeroes; the others look random and begin with version and sector, and have pieces of zeroes, too.
Sector sector_of(std::uint32_t version, std::uint64_t sector) {
  Sector bytes{};
  if (version == 0) return bytes;
  std::uint64_t piece = version * 1'000'003ull + sector / 64;
  if (splitmix64(piece) % 8 == 0) return bytes;
  std::uint64_t state = version * 0x9e3779b97f4a7c15ull ^ sector << 20;
  for (std::size_t at = 0; at < kSector; at += 8) {
    const std::uint64_t word = at == 0 ? std::uint64_t{version} << 40 | sector : splitmix64(state);
    std::memcpy(bytes.data() + at, &word, 8);
  }
  return bytes;
}

std::string what_it_is(std::string_view bytes) {
  if (std::ranges::all_of(bytes, [](char byte) { return byte == 0; })) return "zeroes";
  std::uint64_t word = 0;
  std::memcpy(&word, bytes.data(), 8);
  const auto version = static_cast<std::uint32_t>(word >> 40);
  const std::uint64_t sector = word & ((1ull << 40) - 1);
  if (version < 10'000 && sector < 1'000'000 && std::ranges::equal(bytes, sector_of(version, sector)))
    return fmt::format("version {} of sector {}", version, sector);
  return "garbage";
}

}  // namespace

Model::Model(const Plan& plan, std::uint64_t bytes) : plan_(&plan), kept_(bytes / kSector) {}

std::string Model::content(std::uint32_t version, Range range) const {
  std::string bytes;
  for (std::uint64_t i = 0; i < range.count; ++i) {
    const Sector sector = sector_of(version, range.first + i);
    bytes.append(sector.data(), sector.size());
  }
  return bytes;
}

void Model::acknowledge(std::uint32_t version, Range range) {
  for (std::uint64_t i = range.first; i < range.first + range.count; ++i) {
    kept_[i].versions = {version};
    kept_[i].anything = kept_[i].damaged;
  }
}

void Model::cut_short(std::uint32_t version, Range range) {
  for (std::uint64_t i = range.first; i < range.first + range.count; ++i) kept_[i].versions.push_back(version);
}

Range Model::clipped(std::uint64_t first, std::uint64_t end) const {
  first = std::min<std::uint64_t>(first, sectors());
  return {first, std::min<std::uint64_t>(end, sectors()) - first};
}

// Whole rows of chunks; of mirrors whole blocks, since a write under way reaches one copy or the other.
Range Model::rows_of(Range range) const {
  const std::uint64_t row =
      plan_->has_parity() ? static_cast<std::uint64_t>(plan_->chunk_kib * 2 * plan_->data_disks()) : kBlockSectors;
  const std::uint64_t end = range.first + range.count;
  return clipped(range.first / row * row, (end + row - 1) / row * row);
}

void Model::may_be_wrong(Range range) {
  const Range rows = rows_of(range);
  for (std::uint64_t i = rows.first; i < rows.first + rows.count; ++i) kept_[i].anything = true;
}

void Model::damage_member(std::uint64_t offset, std::uint64_t bytes) {
  Range rows;
  const std::uint64_t begin = offset / kSector, end = (offset + bytes + kSector - 1) / kSector;
  const auto chunk = static_cast<std::uint64_t>(plan_->chunk_kib) * 2;
  if (plan_->level == 1) {
    rows = clipped(begin, end);
  } else {
    // Near-2: a row of N chunks holds N / 2 different ones.
    const auto disks = static_cast<std::uint64_t>(plan_->disks);
    const std::uint64_t halves = plan_->level == 10 ? disks : 2 * static_cast<std::uint64_t>(plan_->data_disks());
    const std::uint64_t first = begin / chunk, last = (end + chunk - 1) / chunk;
    rows = clipped(first * halves / 2 * chunk, (last * halves + 1) / 2 * chunk);
  }
  damaged_rows_ = true;
  for (std::uint64_t i = rows.first; i < rows.first + rows.count; ++i) kept_[i].anything = kept_[i].damaged = true;
}

void Model::repaired() {
  damaged_rows_ = false;
  for (Kept& kept : kept_) kept.damaged = false;
}

void Model::all_may_be_wrong() {
  std::vector<std::uint64_t> written;
  for (std::uint64_t i = 0; i < sectors(); ++i) {
    if (kept_[i].versions != std::vector<std::uint32_t>{0}) written.push_back(i);
  }
  for (const std::uint64_t sector : written) may_be_wrong({sector, 1});
}

bool Model::fits(const Kept& kept, std::string_view bytes, std::uint64_t sector) const {
  return kept.anything || std::ranges::any_of(kept.versions, [&](std::uint32_t version) {
           const Sector expected = sector_of(version, sector);
           return std::memcmp(bytes.data(), expected.data(), kSector) == 0;
         });
}

std::string Model::judge(std::string_view bytes, std::uint64_t first) const {
  std::string wrong;
  std::uint64_t count = 0;
  for (std::uint64_t i = 0; i < bytes.size() / kSector; ++i) {
    const std::string_view held = bytes.substr(i * kSector, kSector);
    const Kept& kept = kept_[first + i];
    if (fits(kept, held, first + i)) continue;
    if (++count > 3) continue;
    wrong += fmt::format("; sector {} (byte {}) holds {}, expected version {}", first + i, (first + i) * kSector,
                         what_it_is(held), fmt::join(kept.versions, " or "));
  }
  return count == 0 ? "" : fmt::format("{} sectors are wrong{}", count, wrong);
}

void Model::settle(std::string_view bytes, std::uint64_t first) {
  for (std::uint64_t i = 0; i < bytes.size() / kSector; ++i) {
    Kept& kept = kept_[first + i];
    if (kept.versions.size() < 2 || kept.anything) continue;
    const std::string_view held = bytes.substr(i * kSector, kSector);
    std::erase_if(kept.versions, [&](std::uint32_t version) {
      return std::memcmp(held.data(), sector_of(version, first + i).data(), kSector) != 0;
    });
  }
}

}  // namespace resilver::test::array_walk
