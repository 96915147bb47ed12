#include "env/block_device.h"

#include "base/check.h"

namespace resilver {

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
  if (request.op == IoOp::flush) return;
  CHECK(request.offset % kBlockBytes == 0 && request.length % kBlockBytes == 0 && request.length > 0);
  CHECK(request.offset <= device.size_bytes() && request.length <= device.size_bytes() - request.offset,
        "request beyond the end of the device");
  if (request.op != IoOp::read && request.op != IoOp::write) return;
  std::uint64_t bytes = 0;
  for (const Buffer& segment : request.segments) {
    CHECK(reinterpret_cast<std::uintptr_t>(segment.data()) % kSectorBytes == 0);
    bytes += segment.size();
  }
  CHECK(bytes == request.length, "segments do not add up to the length");
}

}  // namespace resilver
