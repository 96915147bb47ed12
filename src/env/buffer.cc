#include "env/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

namespace resilver {

BufferPool::BufferPool(std::size_t arena_bytes) : arena_bytes_(arena_bytes) {
  CHECK(arena_bytes >= kMaxBlock && arena_bytes % (std::size_t{2} << 20) == 0);
  void* memory = mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    arena_bytes_ = 0;
    return;
  }
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
  if (arena_bytes_ != 0) munmap(arena_, arena_bytes_);
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
    if (block == nullptr && merge_free_blocks(size)) block = split_free_block(size_class);
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

// The arena is used up: halves a larger idle block.
BufferPool::Block* BufferPool::split_free_block(std::uint32_t size_class) noexcept {
  std::uint32_t from = size_class;
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

// The arena was cut up into blocks that are too small: idle ones that lie next to each other become one, so that nobody waits
// for ever for a large block because of what small ones were once needed. It costs more the more there is to look
// through, so it is not done again for every try before much has changed. False: nothing was done.
bool BufferPool::merge_free_blocks(std::size_t wanted) noexcept {
  const std::size_t idle_bytes = arena_bytes_ - in_use_;
  if (idle_bytes < wanted || given_back_ == 0) return false;
  if (given_back_ < std::max(wanted, idle_bytes / 8) && ++merges_refused_ < kMergeAtLeast) return false;
  std::vector<Block*> idle;
  while (Block* rest = carve(0)) idle.push_back(rest);  // what is left of the arena was too little
  for (Block*& list : free_) {
    for (; list != nullptr; list = list->next_free) idle.push_back(list);
  }
  std::sort(idle.begin(), idle.end(), [](const Block* a, const Block* b) { return a->memory < b->memory; });
  for (std::size_t i = 0; i < idle.size();) {
    std::byte* at = idle[i]->memory;
    std::byte* end = at;
    for (; i < idle.size() && idle[i]->memory == end; ++i) {
      end += kAlignment << idle[i]->size_class;
      idle[i]->next_free = idle_headers_;
      idle_headers_ = idle[i];
    }
    while (at < end) {
      const auto left = static_cast<std::size_t>(end - at);
      const std::uint32_t size_class = class_of(std::bit_floor(std::min(left, kMaxBlock)));
      Block* block = new_block(at, size_class);
      block->next_free = free_[size_class];
      free_[size_class] = block;
      at += kAlignment << size_class;
    }
  }
  given_back_ = 0;
  merges_refused_ = 0;
  return true;
}

void BufferPool::give_back(Block* block) noexcept {
  given_back_ += kAlignment << block->size_class;
  in_use_ -= kAlignment << block->size_class;
  block->next_free = free_[block->size_class];
  free_[block->size_class] = block;
}

}  // namespace resilver
