#include "replica/intent_bitmap.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/endian.h"
#include "replica/metadata.h"

namespace resilver::replica {

IntentBitmap::IntentBitmap(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, std::uint64_t offset,
                           std::uint64_t count, std::uint64_t granule, std::uint64_t volume_bytes)
    : scheduler_(scheduler),
      buffers_(buffers),
      device_(device),
      offset_(offset),
      count_(count),
      granule_(granule),
      volume_bytes_(volume_bytes),
      want_(count / 64),
      stable_(count / 64),
      touched_(count / 64),
      writing_(count / kBitsPerBlock),
      stale_(count / kBitsPerBlock),
      written_(scheduler) {
  CHECK(count % kBitsPerBlock == 0 && granule > 0);
}

Task<Errc> IntentBitmap::load() {
  set_count_ = 0;
  for (std::uint64_t block = 0; block < writing_.size(); ++block) {
    Buffer buffer = co_await allocate_patiently(scheduler_, buffers_, kBlockBytes);
    if (!buffer) co_return Errc::limit;
    const Errc status = co_await Io::read(device_, offset_ + block * kBlockBytes, buffer);
    if (status != Errc::ok && status != Errc::medium) co_return status;
    for (std::uint64_t i = 0; i < kWords; ++i) {
      const std::uint64_t word =
          status == Errc::medium ? ~std::uint64_t{0} : load_le<std::uint64_t>(buffer.data() + 8 * i);
      want_[block * kWords + i] = word;
      stable_[block * kWords + i] = status == Errc::medium ? 0 : word;
      set_count_ += static_cast<std::uint64_t>(std::popcount(word));
    }
  }
  co_return Errc::ok;
}

Task<Errc> IntentBitmap::format() {
  for (std::uint64_t block = 0; block < writing_.size(); ++block) {
    const Errc status = co_await write_block(block);
    if (status != Errc::ok) co_return status;
  }
  co_return Errc::ok;
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
  stale_[block] = false;
  Buffer buffer = co_await allocate_patiently(scheduler_, buffers_, kBlockBytes);
  Errc status = Errc::limit;
  if (buffer) {
    for (std::uint64_t i = block * kWords; i < (block + 1) * kWords; ++i) {
      store_le<std::uint64_t>(buffer.data() + 8 * (i % kWords), want_[i]);
      stable_[i] &= want_[i];
    }
    status = co_await Io::write(device_, offset_ + block * kBlockBytes, buffer, true);
  }
  if (status == Errc::ok) {
    for (std::uint64_t i = block * kWords; i < (block + 1) * kWords; ++i)
      stable_[i] = load_le<std::uint64_t>(buffer.data() + 8 * (i % kWords));
  }
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
      for (std::uint64_t i = block * kWords; i < (block + 1) * kWords; ++i) {
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
