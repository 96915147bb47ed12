#include "sim/sector_store.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/hash.h"

namespace resilver::sim {
namespace {

constexpr std::size_t kSectors = SectorStore::kPageBytes / SectorStore::kSectorBytes;

bool repeats_patterns(const std::byte* bytes) noexcept {
  for (std::size_t sector = 0; sector < kSectors; ++sector) {
    const std::byte* at = bytes + sector * SectorStore::kSectorBytes;
    // Equal to itself one pattern later: periodic.
    if (std::memcmp(at, at + SectorStore::kPatternBytes, SectorStore::kSectorBytes - SectorStore::kPatternBytes) != 0)
      return false;
  }
  return true;
}

bool all_zero(const std::byte* bytes, std::size_t size) noexcept {
  return bytes[0] == std::byte{0} && std::memcmp(bytes, bytes + 1, size - 1) == 0;
}

}  // namespace

SectorStore::SectorStore(std::uint64_t pages)
    : pages_(pages),
      leaf_count_((pages + kLeafPages - 1) / kLeafPages),
      leaves_(static_cast<Slot**>(std::calloc(leaf_count_ + 1, sizeof(Slot*)))) {
  CHECK(leaves_ != nullptr, "out of memory for the index of a simulated disk");
}

SectorStore::~SectorStore() {
  for (std::uint64_t i = 0; leaves_made_ > 0; ++i) {
    if (leaves_[i] == nullptr) continue;
    delete[] leaves_[i];
    --leaves_made_;
  }
  std::free(leaves_);
}

std::uint32_t SectorStore::Slab::take() {
  if (!free_.empty()) {
    const std::uint32_t index = free_.back();
    free_.pop_back();
    return index;
  }
  if (used_ == chunks_.size() * kChunkSlots) {
    chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(kChunkSlots * slot_bytes_));
  }
  CHECK(used_ < kPatterned - 1, "a simulated disk holds too much");
  return used_++;
}

SectorStore::Slot SectorStore::exchange(std::uint64_t page, Slot content) {
  Slot*& leaf = leaves_[page / kLeafPages];
  if (leaf == nullptr) {
    if (content == kZero) return kZero;
    leaf = new Slot[kLeafPages]();
    ++leaves_made_;
  }
  return std::exchange(leaf[page % kLeafPages], content);
}

std::uint64_t SectorStore::next_written(std::uint64_t page) const noexcept {
  std::uint64_t leaf = page / kLeafPages;
  if (leaf < leaf_count_ && leaves_[leaf] != nullptr) return page;
  while (leaf < leaf_count_ && leaves_[leaf] == nullptr) ++leaf;
  return std::min(leaf * kLeafPages, pages_);
}

SectorStore::Slot SectorStore::make(const std::byte* bytes) {
  if (!repeats_patterns(bytes)) {
    const std::uint32_t index = full_.take();
    std::memcpy(full_.at(index), bytes, kPageBytes);
    return index + 1;
  }
  std::array<std::byte, kPatternBytes * kSectors> patterns;
  for (std::size_t sector = 0; sector < kSectors; ++sector) {
    std::memcpy(&patterns[sector * kPatternBytes], bytes + sector * kSectorBytes, kPatternBytes);
  }
  if (all_zero(patterns.data(), patterns.size())) return kZero;
  const std::uint32_t index = patterns_.take();
  std::memcpy(patterns_.at(index), patterns.data(), patterns.size());
  return kPatterned | index;
}

void SectorStore::load(Slot content, std::byte* bytes) const noexcept {
  if (content == kZero) {
    std::memset(bytes, 0, kPageBytes);
  } else if ((content & kPatterned) != 0) {
    const std::byte* patterns = patterns_.at(content & ~kPatterned);
    for (std::size_t at = 0; at < kPageBytes; at += kPatternBytes) {
      std::memcpy(bytes + at, patterns + at / kSectorBytes * kPatternBytes, kPatternBytes);
    }
  } else {
    std::memcpy(bytes, full_.at(content - 1), kPageBytes);
  }
}

void SectorStore::release(Slot content) noexcept {
  if (content == kZero) return;
  if ((content & kPatterned) != 0) {
    patterns_.give_back(content & ~kPatterned);
  } else {
    full_.give_back(content - 1);
  }
}

std::uint64_t SectorStore::memory_bytes() const noexcept {
  return patterns_.memory_bytes() + full_.memory_bytes() + leaves_made_ * kLeafPages * sizeof(Slot);
}

std::uint64_t SectorStore::hash() const {
  Hash64 hash;
  std::array<std::byte, kPageBytes> bytes;
  for (std::uint64_t page = next_written(0); page < pages_; page = next_written(page + 1)) {
    const Slot content = slot(page);
    if (content == kZero) continue;
    load(content, bytes.data());
    hash.add(page);
    hash.add_bytes(bytes);
  }
  return hash.value();
}

}  // namespace resilver::sim
