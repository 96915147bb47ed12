// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected; RFC 3720 appendix B.4), as iSCSI, ext4 and md's journal use it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace resilver {

// The checksum of `data` (less than 2 GiB); of "123456789" it is 0xE3069283, of nothing 0. With `seed` = crc32c(a), the
// result for b is that of a followed by b. May be called from any thread.
std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t seed = 0) noexcept;

}  // namespace resilver
