// Payload memory: reference-counted blocks of a bounded pool, 4096-byte aligned, in one arena that a ring can register.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"

namespace resilver {

class BufferPool;

// A counted reference to (a part of) one pool block. Copying shares the bytes. Every leaf I/O holds its own reference until
// its own completion, so a block lives while a hung disk may still write into it. Not thread-safe: one pool, one thread.
class Buffer {
 public:
  Buffer() noexcept = default;
  Buffer(const Buffer& other) noexcept : block_(other.block_), data_(other.data_), size_(other.size_) { retain(); }
  Buffer(Buffer&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(block_, other.block_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() { drop(); }

  explicit operator bool() const noexcept { return data_ != nullptr; }
  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  std::span<std::byte> bytes() const noexcept { return {data_, size_}; }

  // A reference to [offset, offset + size) of the same block.
  Buffer slice(std::size_t offset, std::size_t size) const noexcept {
    CHECK(offset <= size_ && size <= size_ - offset);
    Buffer part(*this);
    part.data_ += offset;
    part.size_ = size;
    return part;
  }

  // This and `next` as one, if `next` lies right behind in the same block; else empty.
  Buffer joined(const Buffer& next) const noexcept {
    if (block_ == nullptr || block_ != next.block_ || data_ + size_ != next.data_) return {};
    Buffer both(*this);
    both.size_ += next.size_;
    return both;
  }

 private:
  friend class BufferPool;
  struct Block {
    BufferPool* pool;
    std::byte* memory;
    std::uint32_t size_class;
    std::uint32_t references;
    Block* next_free;
  };
  Buffer(Block* block, std::size_t size) noexcept : block_(block), data_(block->memory), size_(size) {
    block_->references = 1;
  }
  void retain() noexcept {
    if (block_ != nullptr) ++block_->references;
  }
  void drop() noexcept;

  Block* block_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Blocks of 4 KiB to 1 MiB in powers of two, cut from one arena of a fixed size, and put together again when larger ones are
// needed. Must outlive its buffers.
class BufferPool {
 public:
  static constexpr std::size_t kAlignment = 4096;
  static constexpr std::size_t kMaxBlock = std::size_t{1} << 20;

  // `arena_bytes` of address space are reserved at once (touched only when used); a multiple of 2 MiB.
  // Where there are not as many, the arena is empty and nothing can be allocated.
  explicit BufferPool(std::size_t arena_bytes);
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool();  // precondition: no buffer is left, or keep() was called

  // The memory stays until the process ends: the kernel may write to it.
  void keep() noexcept { kept_ = true; }

  // 1 <= size <= kMaxBlock. Contents are unspecified. An empty Buffer when the arena is used up: the caller fails the
  // request with Errc::limit (and bounds its concurrency so that this stays rare).
  Buffer allocate(std::size_t size) noexcept;

  std::span<std::byte> arena() const noexcept { return {arena_, arena_bytes_}; }
  std::size_t bytes_in_use() const noexcept { return in_use_; }

 private:
  friend class Buffer;
  static constexpr std::size_t kClasses = 9;          // 4K, 8K, … 1M
  static constexpr std::uint32_t kMergeAtLeast = 16;  // so many tries later
  using Block = Buffer::Block;

  static std::uint32_t class_of(std::size_t size) noexcept;
  Block* carve(std::uint32_t size_class) noexcept;
  Block* split_free_block(std::uint32_t size_class) noexcept;
  bool merge_free_blocks(std::size_t wanted) noexcept;
  Block* new_block(std::byte* memory, std::uint32_t size_class);
  void give_back(Block* block) noexcept;

  std::byte* arena_ = nullptr;
  std::size_t arena_bytes_;
  std::size_t carved_ = 0;
  std::size_t in_use_ = 0;
  std::size_t given_back_ = 0;  // bytes since blocks were merged
  std::uint32_t merges_refused_ = 0;
  bool kept_ = false;
  Block* free_[kClasses] = {};
  Block* idle_headers_ = nullptr;
  std::vector<Block*> headers_;
};

inline void Buffer::drop() noexcept {
  if (block_ != nullptr && --block_->references == 0) block_->pool->give_back(block_);
}

}  // namespace resilver
