// The caller's memory of one request, addressed by offset in the request: segments, or zeroes for write_zeroes.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>

#include "env/block_device.h"
#include "raid/leaf.h"
#include "raid/parity.h"

namespace resilver::raid {

class Payload {
 public:
  explicit Payload(std::span<const Buffer> segments) noexcept : segments_(segments) {}
  // Every byte is zero; `zeroes` is a zeroed buffer of any size.
  static Payload of_zeroes(const Buffer& zeroes) noexcept {
    Payload payload({&zeroes, 1});
    payload.repeats_ = true;
    return payload;
  }

  // Appends up to `length` bytes from `offset` to the leaf while it has room for segments; returns how many.
  std::uint64_t gather(Leaf& leaf, std::uint64_t offset, std::uint64_t length) const {
    std::uint64_t taken = 0;
    visit(offset, length, [&](const Buffer& segment, std::uint64_t within, std::uint64_t bytes) {
      if (leaf.count == Leaf::kMaxSegments) return false;
      leaf.buffers[leaf.count++] = segment.slice(within, bytes);
      taken += bytes;
      return true;
    });
    return taken;
  }

  // The bytes if they lie in one piece, else null.
  std::byte* contiguous(std::uint64_t offset, std::uint64_t length) const noexcept {
    std::byte* found = nullptr;
    visit(offset, length, [&](const Buffer& segment, std::uint64_t within, std::uint64_t bytes) {
      if (bytes == length) found = segment.data() + within;
      return false;
    });
    return found;
  }

  // One block of the payload; `offset` is a multiple of kBlockBytes.
  Buffer block(std::uint64_t offset) const {
    Buffer found;
    visit(offset, kBlockBytes, [&](const Buffer& segment, std::uint64_t within, std::uint64_t) {
      found = segment.slice(within, kBlockBytes);
      return false;
    });
    return found;
  }

  void copy_to(std::byte* to, std::uint64_t offset, std::uint64_t length) const noexcept {
    visit(offset, length, [&](const Buffer& segment, std::uint64_t within, std::uint64_t bytes) {
      std::memcpy(to, segment.data() + within, bytes);
      to += bytes;
      return true;
    });
  }
  // to ^= the bytes
  void add_to(std::byte* to, std::uint64_t offset, std::uint64_t length) const noexcept {
    visit(offset, length, [&](const Buffer& segment, std::uint64_t within, std::uint64_t bytes) {
      xor_into(to, segment.data() + within, bytes);
      to += bytes;
      return true;
    });
  }
  void copy_from(const std::byte* from, std::uint64_t offset, std::uint64_t length) const noexcept {
    visit(offset, length, [&](const Buffer& segment, std::uint64_t within, std::uint64_t bytes) {
      std::memcpy(segment.data() + within, from, bytes);
      from += bytes;
      return true;
    });
  }

 private:
  template <typename Visit>
  void visit(std::uint64_t offset, std::uint64_t length, Visit&& visitor) const {
    if (repeats_) {
      while (length > 0) {
        const std::uint64_t bytes = std::min<std::uint64_t>(length, segments_[0].size());
        if (!visitor(segments_[0], std::uint64_t{0}, bytes)) return;
        length -= bytes;
      }
      return;
    }
    for (const Buffer& segment : segments_) {
      if (length == 0) return;
      if (offset >= segment.size()) {
        offset -= segment.size();
        continue;
      }
      const std::uint64_t bytes = std::min<std::uint64_t>(length, segment.size() - offset);
      if (!visitor(segment, offset, bytes)) return;
      offset = 0;
      length -= bytes;
    }
  }

  std::span<const Buffer> segments_;
  bool repeats_ = false;
};

}  // namespace resilver::raid
