#include "base/crc32c.h"

#include <isa-l/crc.h>

namespace resilver {

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t seed) noexcept {
  // ISA-L only reads, and leaves it to the caller to invert.
  auto* bytes = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(data.data()));
  return ~crc32_iscsi(bytes, static_cast<int>(data.size()), ~seed);
}

}  // namespace resilver
