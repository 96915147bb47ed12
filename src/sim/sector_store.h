// The content of a simulated disk in little memory: pages of 4096 bytes, of which only those that are not zero are kept, and
// those whose eight 512-byte sectors each repeat a 64-byte pattern as 8 x 64 bytes. XOR and GF(2^8) act bytewise, so parity of
// such pages is such a page again.
//
// A page's content is a Slot, a value of its own: writing makes a new slot, and the old one can be kept for as long as the
// write may still be undone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace resilver::sim {

class SectorStore {
 public:
  using Slot = std::uint32_t;
  static constexpr Slot kZero = 0;
  static constexpr std::size_t kPageBytes = 4096;
  static constexpr std::size_t kPatternBytes = 64;
  static constexpr std::size_t kSectorBytes = 512;

  explicit SectorStore(std::uint64_t pages);  // all zero
  SectorStore(const SectorStore&) = delete;
  SectorStore& operator=(const SectorStore&) = delete;
  ~SectorStore();

  std::uint64_t pages() const noexcept { return pages_; }

  // The content of a page. It stays the page's.
  Slot slot(std::uint64_t page) const noexcept {
    const Slot* leaf = leaves_[page / kLeafPages];
    return leaf == nullptr ? kZero : leaf[page % kLeafPages];
  }
  // Gives the page another content and returns the one before, which is the caller's now.
  Slot exchange(std::uint64_t page, Slot content);
  // The first page >= `page` that may differ from zero; pages() if there is none.
  std::uint64_t next_written(std::uint64_t page) const noexcept;

  // A content of its own, made of 4096 bytes.
  Slot make(const std::byte* bytes);
  void load(Slot content, std::byte* bytes) const noexcept;
  void release(Slot content) noexcept;

  std::uint64_t memory_bytes() const noexcept;
  std::uint64_t hash() const;  // of the content of all pages

 private:
  static constexpr std::uint64_t kLeafPages = 1024;
  static constexpr Slot kPatterned = 0x80000000;

  class Slab {
   public:
    explicit Slab(std::size_t slot_bytes) noexcept : slot_bytes_(slot_bytes) {}
    std::uint32_t take();
    void give_back(std::uint32_t index) { free_.push_back(index); }
    std::byte* at(std::uint32_t index) const noexcept {
      return chunks_[index / kChunkSlots].get() + (index % kChunkSlots) * slot_bytes_;
    }
    std::uint64_t memory_bytes() const noexcept { return chunks_.size() * kChunkSlots * slot_bytes_; }

   private:
    static constexpr std::uint32_t kChunkSlots = 64;
    std::size_t slot_bytes_;
    std::uint32_t used_ = 0;
    std::vector<std::unique_ptr<std::byte[]>> chunks_;
    std::vector<std::uint32_t> free_;
  };

  std::uint64_t pages_;
  std::uint64_t leaf_count_;
  std::uint64_t leaves_made_ = 0;
  Slot** leaves_;  // from calloc: what is never touched takes no memory
  Slab patterns_{kPatternBytes * 8};
  Slab full_{kPageBytes};
};

}  // namespace resilver::sim
