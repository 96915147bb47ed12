#include "async/frame_pool.h"

#include <array>
#include <cstdlib>
#include <new>

#include "base/check.h"

namespace resilver::frame_pool {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RESILVER_FRAME_POOL_OFF 1  // so that the sanitizer sees every use after free
#endif
#endif

constexpr std::size_t kClassBytes = 128;
constexpr std::size_t kClasses = 32;                          // frames up to 4 KiB
[[maybe_unused]] constexpr std::size_t kKeptPerClass = 1024;  // at most 1024 × 4 KiB of the largest class stay idle

struct FreeFrame {
  FreeFrame* next;
};

struct FreeLists {
  std::array<FreeFrame*, kClasses> head{};
  std::array<std::size_t, kClasses> kept{};

  ~FreeLists() {
    for (FreeFrame* frame : head) {
      while (frame != nullptr) {
        FreeFrame* next = frame->next;
        std::free(frame);
        frame = next;
      }
    }
  }
};

#ifndef RESILVER_FRAME_POOL_OFF
thread_local FreeLists lists;
#endif

[[maybe_unused]] std::size_t class_of(std::size_t size) { return (size + kClassBytes - 1) / kClassBytes - 1; }

void* from_heap(std::size_t size) noexcept {
  void* memory = std::malloc(size);
  CHECK(memory != nullptr, "out of memory for a coroutine frame");
  return memory;
}

}  // namespace

void* allocate(std::size_t size) noexcept {
#ifdef RESILVER_FRAME_POOL_OFF
  return from_heap(size);
#else
  const std::size_t index = class_of(size);
  if (index >= kClasses) return from_heap(size);
  FreeFrame* frame = lists.head[index];
  if (frame == nullptr) return from_heap((index + 1) * kClassBytes);
  lists.head[index] = frame->next;
  --lists.kept[index];
  return frame;
#endif
}

void release(void* frame, std::size_t size) noexcept {
#ifdef RESILVER_FRAME_POOL_OFF
  static_cast<void>(size);
  std::free(frame);
#else
  const std::size_t index = class_of(size);
  if (index >= kClasses || lists.kept[index] >= kKeptPerClass) {
    std::free(frame);
    return;
  }
  auto* free_frame = new (frame) FreeFrame{lists.head[index]};
  lists.head[index] = free_frame;
  ++lists.kept[index];
#endif
}

}  // namespace resilver::frame_pool
