#include "replica/intent_bitmap.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/crc32c.h"
#include "base/endian.h"
#include "replica/small_record.h"

namespace resilver::replica {
namespace {

// Behind the bits of a sector: which one it is (so that zeroes are none), and the crc32c of all before.
constexpr std::size_t kAtTag = kSectorBytes - 8, kAtCrc = kSectorBytes - 4;

std::uint32_t tag_of(std::uint64_t sector) { return 0x5253'4249u ^ static_cast<std::uint32_t>(sector); }

bool good_sector(std::span<const std::byte> bytes, std::uint64_t index) {
  return load_le<std::uint32_t>(bytes.data() + kAtTag) == tag_of(index) &&
         load_le<std::uint32_t>(bytes.data() + kAtCrc) == crc32c(bytes.first(kAtCrc));
}

}  // namespace

void IntentBitmap::place(std::uint64_t offset, std::uint64_t count, std::uint64_t granule, std::uint64_t volume_bytes) {
  CHECK(count % 64 == 0 && count > 0 && granule > 0);
  offset_ = offset;
  count_ = count;
  granule_ = granule;
  volume_bytes_ = volume_bytes;
  want_.assign(count / 64, 0);
  stable_ = touched_ = want_;
  writing_.assign(disk_bytes(count) / kBlockBytes, false);
  stale_ = writing_;
}

// The bits of a word that stand for some part of the volume.
std::uint64_t IntentBitmap::used_in(std::uint64_t word) const noexcept {
  const std::uint64_t used = (volume_bytes_ + granule_ - 1) / granule_;
  if (used <= word * 64) return 0;
  return used >= word * 64 + 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << (used % 64)) - 1;
}

void IntentBitmap::take_sector(std::span<const std::byte> bytes, std::uint64_t index, bool readable) {
  const bool good = readable && good_sector(bytes, index);
  if (!good) ++damaged_;
  const std::uint64_t begin = index * kWordsPerSector;
  for (std::uint64_t i = begin; i < std::min<std::uint64_t>(begin + kWordsPerSector, want_.size()); ++i) {
    const std::uint64_t word = good ? load_le<std::uint64_t>(bytes.data() + 8 * (i - begin)) : used_in(i);
    want_[i] = word;
    stable_[i] = good ? word : 0;
    set_count_ += static_cast<std::uint64_t>(std::popcount(word));
  }
}

void IntentBitmap::put_sector(std::span<std::byte> bytes, std::uint64_t index) const {
  std::ranges::fill(bytes, std::byte{0});
  const std::uint64_t begin = index * kWordsPerSector;
  for (std::uint64_t i = begin; i < std::min<std::uint64_t>(begin + kWordsPerSector, want_.size()); ++i)
    store_le<std::uint64_t>(bytes.data() + 8 * (i - begin), want_[i]);
  store_le<std::uint32_t>(bytes.data() + kAtTag, tag_of(index));
  store_le<std::uint32_t>(bytes.data() + kAtCrc, crc32c(bytes.first(kAtCrc)));
}

Task<Errc> IntentBitmap::load() {
  set_count_ = damaged_ = 0;
  if (!reserve_) reserve_ = co_await allocate_patiently(scheduler_, buffers_, kBlockBytes);
  if (!reserve_) co_return Errc::limit;
  constexpr std::uint64_t kSectors = kBlockBytes / kSectorBytes;
  for (std::uint64_t block = 0; block < writing_.size(); ++block) {
    const Errc status = co_await Io::read(device_, offset_ + block * kBlockBytes, reserve_);
    const bool damaged = status == Errc::medium || status == Errc::corrupt || status == Errc::io;
    if (status != Errc::ok && !damaged) co_return status;
    for (std::uint64_t i = 0; i < kSectors && (block * kSectors + i) * kBitsPerSector < count_; ++i)
      take_sector(reserve_.bytes().subspan(i * kSectorBytes, kSectorBytes), block * kSectors + i, !damaged);
  }
  co_return Errc::ok;
}

Task<Errc> IntentBitmap::format() {
  if (!reserve_) reserve_ = co_await allocate_patiently(scheduler_, buffers_, kBlockBytes);
  if (!reserve_) co_return Errc::limit;
  co_return co_await write_all();
}

Task<Errc> IntentBitmap::write_all() {
  for (std::uint64_t block = 0; block < writing_.size(); ++block) {
    const Errc status = co_await write_block(block);
    if (status != Errc::ok) co_return status;
  }
  co_return Errc::ok;
}

Task<Errc> IntentBitmap::format_with(const ExtentSet& dirty) {
  dirty.for_each([&](Extent e) {
    if (e.offset >= volume_bytes_) return;
    for (std::uint64_t bit = e.offset / granule_; bit <= (std::min(e.end(), volume_bytes_) - 1) / granule_; ++bit)
      mark(bit);
  });
  co_return co_await format();
}

void IntentBitmap::mark(std::uint64_t bit) noexcept {
  const std::uint64_t mask = std::uint64_t{1} << (bit % 64);
  if ((want_[bit / 64] & mask) == 0) ++set_count_;
  want_[bit / 64] |= mask;
  touched_[bit / 64] |= mask;
}

bool IntentBitmap::stable(std::uint64_t first, std::uint64_t last) const noexcept {
  for (std::uint64_t bit = first; bit <= last; ++bit) {
    if ((stable_[bit / 64] >> (bit % 64) & 1) == 0) return false;
  }
  return true;
}

// One write of a block at a time. What is being cleared no longer counts as set on disk from the start of the write, what
// is being set does from its end.
Task<Errc> IntentBitmap::write_block(std::uint64_t block) {
  writing_[block] = true;
  Buffer buffer = buffers_.allocate(kBlockBytes);
  const bool reserved = !buffer;
  if (reserved) {
    co_await reserve_busy_.acquire();
    buffer = reserve_;
  }
  stale_[block] = false;
  const std::uint64_t begin = block * kWords, end = end_word(block);
  const std::vector<std::uint64_t> written(want_.begin() + static_cast<std::ptrdiff_t>(begin),
                                           want_.begin() + static_cast<std::ptrdiff_t>(end));
  for (std::uint64_t i = begin; i < end; ++i) stable_[i] &= want_[i];
  constexpr std::uint64_t kSectors = kBlockBytes / kSectorBytes;
  for (std::uint64_t i = 0; i < kSectors; ++i)
    put_sector(buffer.bytes().subspan(i * kSectorBytes, kSectorBytes), block * kSectors + i);
  const Errc status = co_await Io::write(device_, offset_ + block * kBlockBytes, buffer, true);
  if (reserved) reserve_busy_.release();
  if (status == Errc::ok) std::ranges::copy(written, stable_.begin() + static_cast<std::ptrdiff_t>(begin));
  writing_[block] = false;
  written_.wake_all();
  co_return status;
}

// Bits first..last lie in one block and are marked.
Task<Errc> IntentBitmap::make_stable(std::uint64_t first, std::uint64_t last) {
  const std::uint64_t block = first / kBitsPerBlock;
  while (!stable(first, last)) {
    if (writing_[block]) {
      co_await written_.wait();
      continue;
    }
    const Errc status = co_await write_block(block);
    if (status != Errc::ok) co_return status;
  }
  co_return Errc::ok;
}

Task<Errc> IntentBitmap::set(Extent extent) {
  const std::uint64_t last = (extent.end() - 1) / granule_;
  std::uint64_t first = extent.offset / granule_;
  for (std::uint64_t bit = first; bit <= last; ++bit) mark(bit);
  while (first <= last) {
    const std::uint64_t end = std::min(last, first / kBitsPerBlock * kBitsPerBlock + kBitsPerBlock - 1);
    if (!stable(first, end)) {
      const Errc status = co_await make_stable(first, end);
      if (status != Errc::ok) co_return status;
    }
    first = end + 1;
  }
  co_return Errc::ok;
}

Task<Errc> IntentBitmap::merge(std::span<const std::byte> bits) {
  CHECK(bits.size() == bytes());
  for (std::uint64_t i = 0; i < want_.size(); ++i) {
    const std::uint64_t merged = want_[i] | load_le<std::uint64_t>(bits.data() + 8 * i);
    set_count_ += static_cast<std::uint64_t>(std::popcount(merged) - std::popcount(want_[i]));
    want_[i] = merged;
  }
  for (std::uint64_t block = 0; block < writing_.size(); ++block) {
    const auto is_stable = [&] {
      for (std::uint64_t i = block * kWords; i < end_word(block); ++i) {
        const std::uint64_t theirs = load_le<std::uint64_t>(bits.data() + 8 * i);
        if ((stable_[i] & theirs) != theirs) return false;
      }
      return true;
    };
    while (!is_stable()) {
      if (writing_[block]) {
        co_await written_.wait();
        continue;
      }
      const Errc status = co_await write_block(block);
      if (status != Errc::ok) co_return status;
    }
  }
  co_return Errc::ok;
}

void IntentBitmap::clear(Extent extent) noexcept {
  const std::uint64_t first = (extent.offset + granule_ - 1) / granule_;
  const std::uint64_t end =
      extent.end() >= volume_bytes_ ? (volume_bytes_ + granule_ - 1) / granule_ : extent.end() / granule_;
  for (std::uint64_t bit = first; bit < std::min(count_, end); ++bit) {
    if (!test(bit)) continue;
    want_[bit / 64] &= ~(std::uint64_t{1} << (bit % 64));
    --set_count_;
    stale_[bit / kBitsPerBlock] = true;
  }
}

Task<Errc> IntentBitmap::write_back() {
  for (std::uint64_t block = 0; block < writing_.size(); ++block) {
    while (stale_[block]) {
      if (writing_[block]) {
        co_await written_.wait();
        continue;
      }
      const Errc status = co_await write_block(block);
      if (status != Errc::ok) co_return status;
    }
  }
  co_return Errc::ok;
}

void IntentBitmap::forget_touched() noexcept { std::fill(touched_.begin(), touched_.end(), 0); }

Extent IntentBitmap::extent_of(std::uint64_t bit) const noexcept {
  const std::uint64_t begin = std::min(volume_bytes_, bit * granule_);
  return {begin, std::min(granule_, volume_bytes_ - begin)};
}

void IntentBitmap::copy_to(std::span<std::byte> out) const noexcept {
  CHECK(out.size() == bytes());
  for (std::size_t i = 0; i < want_.size(); ++i) store_le<std::uint64_t>(out.data() + 8 * i, want_[i]);
}

void IntentBitmap::add_to(ExtentSet& extents) const {
  for (std::uint64_t i = 0; i < want_.size(); ++i) {
    for (std::uint64_t word = want_[i]; word != 0; word &= word - 1)
      extents.add(extent_of(i * 64 + static_cast<std::uint64_t>(std::countr_zero(word))));
  }
}

void IntentBitmap::add_to(std::span<const std::byte> bits, std::uint64_t granule, std::uint64_t volume_bytes,
                          ExtentSet& extents) {
  for (std::uint64_t i = 0; i < bits.size() / 8; ++i) {
    for (std::uint64_t word = load_le<std::uint64_t>(bits.data() + 8 * i); word != 0; word &= word - 1) {
      const std::uint64_t bit = i * 64 + static_cast<std::uint64_t>(std::countr_zero(word));
      if (bit >= (volume_bytes + granule - 1) / granule) return;
      extents.add({bit * granule, std::min(granule, volume_bytes - bit * granule)});
    }
  }
}

}  // namespace resilver::replica
