#include "base/crc32c.h"

#include <isa-l/crc.h>

#include "base/vector_registers.h"

namespace resilver {

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t seed) noexcept {
  // ISA-L only reads, and leaves it to the caller to invert.
  auto* bytes = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(data.data()));
  const std::uint32_t crc = ~crc32_iscsi(bytes, static_cast<int>(data.size()), ~seed);
  clear_vector_registers();
  return crc;
}

}  // namespace resilver
