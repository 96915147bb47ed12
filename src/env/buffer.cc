#include "env/buffer.h"

#include <sys/mman.h>

#include <bit>

namespace resilver {

BufferPool::BufferPool(std::size_t arena_bytes) : arena_bytes_(arena_bytes) {
  CHECK(arena_bytes >= kMaxBlock && arena_bytes % (std::size_t{2} << 20) == 0);
  void* memory = mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(memory != MAP_FAILED, "no address space for the buffer arena");
  arena_ = static_cast<std::byte*>(memory);
}

BufferPool::~BufferPool() {
  if (kept_) {
    static std::vector<std::vector<Block*>> kept;  // buffers that are out point at them
    kept.push_back(std::move(headers_));
    return;
  }
  CHECK(in_use_ == 0, "a buffer outlives its pool");
  for (Block* block : headers_) delete block;
  munmap(arena_, arena_bytes_);
}

std::uint32_t BufferPool::class_of(std::size_t size) noexcept {
  const std::size_t rounded = std::bit_ceil(size < kAlignment ? kAlignment : size);
  return static_cast<std::uint32_t>(std::countr_zero(rounded) - std::countr_zero(kAlignment));
}

Buffer BufferPool::allocate(std::size_t size) noexcept {
  CHECK(size >= 1 && size <= kMaxBlock);
  const std::uint32_t size_class = class_of(size);
  Block* block = free_[size_class];
  if (block != nullptr) {
    free_[size_class] = block->next_free;
  } else {
    block = carve(size_class);
    if (block == nullptr) block = split_free_block(size_class);
    if (block == nullptr) return {};
  }
  in_use_ += kAlignment << size_class;
  return Buffer(block, size);
}

BufferPool::Block* BufferPool::new_block(std::byte* memory, std::uint32_t size_class) {
  Block* block = idle_headers_;
  if (block != nullptr) {
    idle_headers_ = block->next_free;
  } else {
    block = new Block{};
    headers_.push_back(block);
  }
  *block = Block{this, memory, size_class, 0, nullptr};
  return block;
}

BufferPool::Block* BufferPool::carve(std::uint32_t size_class) noexcept {
  const std::size_t bytes = kAlignment << size_class;
  if (arena_bytes_ - carved_ < bytes) return nullptr;
  std::byte* memory = arena_ + carved_;
  carved_ += bytes;
  return new_block(memory, size_class);
}

// The arena is used up: halves a larger idle block. Halves are not merged again; the classes in use settle quickly.
BufferPool::Block* BufferPool::split_free_block(std::uint32_t size_class) noexcept {
  std::uint32_t from = size_class + 1;
  while (from < kClasses && free_[from] == nullptr) ++from;
  if (from >= kClasses) return nullptr;
  Block* large = free_[from];
  free_[from] = large->next_free;
  std::byte* memory = large->memory;
  large->next_free = idle_headers_;
  idle_headers_ = large;
  while (from > size_class) {
    --from;
    Block* upper = new_block(memory + (kAlignment << from), from);
    upper->next_free = free_[from];
    free_[from] = upper;
  }
  return new_block(memory, size_class);
}

void BufferPool::give_back(Block* block) noexcept {
  in_use_ -= kAlignment << block->size_class;
  block->next_free = free_[block->size_class];
  free_[block->size_class] = block;
}

}  // namespace resilver
