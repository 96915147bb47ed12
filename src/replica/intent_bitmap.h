// The write-intent bitmap of one node (rule 6).
//
// What must never happen: two copies differ in a block and no bit of either names it, so that a resync by bitmap leaves
// them different. Rules: a bit is durable before the data it covers is written; it is cleared only when every
// configured node is in sync and durable there (primary_bits.cc). In memory a bit may already be cleared while it is
// still set on disk; the other way round never counts as set. Bits that rot or are zeroed are not "nothing was
// written": on disk each sector of 512 bytes has 4032 bits and a checksum (a block that was being written when power
// failed is old or new in each), and one that is bad means all ones.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "base/error.h"
#include "env/block_device.h"
#include "env/buffer.h"
#include "replica/extent_set.h"
#include "replica/types.h"

namespace resilver::replica {

class IntentBitmap {
 public:
  static constexpr std::uint64_t kBitsPerSector = (kSectorBytes - 8) * 8;
  static constexpr std::uint64_t kBitsPerBlock = kBitsPerSector * (kBlockBytes / kSectorBytes);
  // Bytes on the device for so many bits.
  static constexpr std::uint64_t disk_bytes(std::uint64_t count) noexcept {
    return (count + kBitsPerBlock - 1) / kBitsPerBlock * kBlockBytes;
  }

  IntentBitmap(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device)
      : scheduler_(scheduler), buffers_(buffers), device_(device), written_(scheduler), reserve_busy_(scheduler) {}

  // Before anything else: `count` bits, a multiple of 64, each for `granule` bytes of a volume of `volume_bytes`; at
  // `offset` on the device.
  void place(std::uint64_t offset, std::uint64_t count, std::uint64_t granule, std::uint64_t volume_bytes);

  std::uint64_t granule() const noexcept { return granule_; }
  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t bits_set() const noexcept { return set_count_; }
  std::size_t bytes() const noexcept { return count_ / 8; }

  Task<Errc> load();    // what cannot be read, or is damaged, counts as ones
  Task<Errc> format();  // all zeroes
  // These bits and no others, on the device as well.
  Task<Errc> format_with(const ExtentSet& dirty);
  Task<Errc> write_all();                                              // as they are
  std::uint64_t damaged_sectors() const noexcept { return damaged_; }  // that load() met

  // Durably sets the bits of `extent`; at once if they are. Concurrent calls for one block share a write.
  Task<Errc> set(Extent extent);
  // Durably adds a peer's bits (bytes() bytes).
  Task<Errc> merge(std::span<const std::byte> bits);

  // Clears the bits of all granules that lie wholly inside, in memory, and marks them for write_back(). The caller has
  // proved that they are not needed.
  void clear(Extent extent) noexcept;
  // Writes blocks whose cleared bits are still set on disk.
  Task<Errc> write_back();

  bool test(std::uint64_t bit) const noexcept { return (want_[bit / 64] >> (bit % 64) & 1) != 0; }
  bool empty_word(std::uint64_t bit) const noexcept { return want_[bit / 64] == 0; }
  // The bits touched by set() since the last forget_touched().
  bool touched(std::uint64_t bit) const noexcept { return (touched_[bit / 64] >> (bit % 64) & 1) != 0; }
  void forget_touched() noexcept;

  Extent extent_of(std::uint64_t bit) const noexcept;
  void copy_to(std::span<std::byte> out) const noexcept;  // bytes() bytes
  void add_to(ExtentSet& extents) const;
  static void add_to(std::span<const std::byte> bits, std::uint64_t granule, std::uint64_t volume_bytes,
                     ExtentSet& extents);

 private:
  static constexpr std::uint64_t kWordsPerSector = kBitsPerSector / 64;
  static constexpr std::uint64_t kWords = kBitsPerBlock / 64;
  std::uint64_t end_word(std::uint64_t block) const noexcept {
    return std::min((block + 1) * kWords, static_cast<std::uint64_t>(want_.size()));
  }
  std::uint64_t used_in(std::uint64_t word) const noexcept;
  void take_sector(std::span<const std::byte> bytes, std::uint64_t index, bool readable);
  void put_sector(std::span<std::byte> bytes, std::uint64_t index) const;
  bool stable(std::uint64_t first, std::uint64_t last) const noexcept;
  Task<Errc> write_block(std::uint64_t block);
  Task<Errc> make_stable(std::uint64_t first, std::uint64_t last);
  void mark(std::uint64_t bit) noexcept;

  Scheduler& scheduler_;
  BufferPool& buffers_;
  BlockDevice& device_;
  std::uint64_t offset_ = 0, count_ = 0, granule_ = 0, volume_bytes_ = 0;
  std::uint64_t set_count_ = 0;
  std::uint64_t damaged_ = 0;
  std::vector<std::uint64_t> want_;    // what counts
  std::vector<std::uint64_t> stable_;  // surely set on disk
  std::vector<std::uint64_t> touched_;
  std::vector<bool> writing_;  // per block
  std::vector<bool> stale_;    // per block: bits were cleared in memory only
  Event written_;
  Mutex reserve_busy_;
  Buffer reserve_;  // for when data fills all memory
};

}  // namespace resilver::replica
