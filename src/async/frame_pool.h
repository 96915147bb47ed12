// Recycles coroutine frames: per thread, by size class, bounded. A frame is freed on the thread that allocated it, since a
// scheduler and everything it runs stay on one thread; a frame that does not fit a class goes to the heap.
#pragma once

#include <cstddef>

namespace resilver::frame_pool {

// At least `size` bytes, aligned to 16. Terminates when memory is exhausted. Coroutine locals must not be over-aligned.
void* allocate(std::size_t size) noexcept;

// `size` as it was given to allocate().
void release(void* frame, std::size_t size) noexcept;

}  // namespace resilver::frame_pool
