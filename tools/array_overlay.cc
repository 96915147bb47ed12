#include "tools/array_overlay.h"

#include <cstring>

namespace resilver::tools {
namespace {

// Calls act(offset on the device, its 4096 bytes in memory) for each block of a read or write.
template <typename Act>
void each_block(const IoRequest& request, Act act) {
  std::uint64_t offset = request.offset;
  for (const Buffer& segment : request.segments) {
    for (std::size_t at = 0; at < segment.size(); at += kBlockBytes, offset += kBlockBytes) {
      act(offset, segment.data() + at);
    }
  }
}

}  // namespace

// A read of the device underneath, in front of the request that asked for it.
struct Overlay::Reading : IoRequest {
  Reading(Overlay& owner, IoRequest& wanted) noexcept : IoRequest(&done), overlay(owner), request(wanted) {
    op = IoOp::read;
    offset = wanted.offset;
    length = wanted.length;
    segments = wanted.segments;
  }
  static void done(Runnable& self) noexcept {
    const std::unique_ptr<Reading> reading(static_cast<Reading*>(&self));
    if (reading->status == Errc::ok) reading->overlay.put_over(reading->request);
    reading->request.complete(reading->overlay.scheduler_, reading->status);
  }

  Overlay& overlay;
  IoRequest& request;
};

void Overlay::submit(IoRequest& request) noexcept {
  check_request(*this, request);
  if (request.op == IoOp::read) {
    under_.submit(*new Reading(*this, request));  // deletes itself
    return;
  }
  request.complete(scheduler_, keep(request));
}

// Flushes and discards ask for nothing here.
Errc Overlay::keep(const IoRequest& request) {
  const bool zeroes = request.op == IoOp::write_zeroes;
  if (!zeroes && request.op != IoOp::write) return Errc::ok;
  if (request.length / kBlockBytes > kMaxBlocks - blocks_.size()) return Errc::no_space;
  const auto block_at = [this](std::uint64_t offset) -> Block& {
    std::unique_ptr<Block>& block = blocks_[offset];
    if (!block) block = std::make_unique<Block>();
    return *block;
  };
  if (zeroes) {
    for (std::uint64_t at = 0; at < request.length; at += kBlockBytes) block_at(request.offset + at).fill(std::byte{0});
  } else {
    each_block(request, [&](std::uint64_t offset, const std::byte* bytes) {
      std::memcpy(block_at(offset).data(), bytes, kBlockBytes);
    });
  }
  return Errc::ok;
}

void Overlay::put_over(const IoRequest& request) const noexcept {
  each_block(request, [this](std::uint64_t offset, std::byte* bytes) {
    const auto found = blocks_.find(offset);
    if (found != blocks_.end()) std::memcpy(bytes, found->second->data(), kBlockBytes);
  });
}

}  // namespace resilver::tools
