#include "env/block_device.h"

#include "base/check.h"

namespace resilver {

const char* io_use_name(IoUse use) noexcept {
  static constexpr const char* kNames[] = {"client", "observer", "replica_metadata", "replica_resync"};
  return kNames[static_cast<std::size_t>(use)];
}

const char* io_op_name(IoOp op) noexcept {
  switch (op) {
    case IoOp::read: return "read";
    case IoOp::write: return "write";
    case IoOp::flush: return "flush";
    case IoOp::discard: return "discard";
    case IoOp::write_zeroes: return "write_zeroes";
    case IoOp::reserve: return "reserve";
  }
  return "?";
}

void check_request(const BlockDevice& device, const IoRequest& request) noexcept {
  check_request(request, device.size_bytes(), kBlockBytes);
}

void check_request(const IoRequest& request, std::uint64_t size, std::uint64_t unit) noexcept {
  if (request.op == IoOp::flush) return;
  CHECK(request.offset <= size && request.length <= size - request.offset, "request beyond the end of the device");
  const bool whole = request.length % unit == 0 || request.offset + request.length == size;
  CHECK(request.offset % unit == 0 && whole && request.length > 0);
  if (request.op != IoOp::read && request.op != IoOp::write) return;
  std::uint64_t bytes = 0;
  for (const Buffer& segment : request.segments) {
    CHECK(reinterpret_cast<std::uintptr_t>(segment.data()) % kSectorBytes == 0);
    bytes += segment.size();
  }
  CHECK(bytes == request.length, "segments do not add up to the length");
}

}  // namespace resilver
