#include "base/crc32c.h"

#include <array>

#include "base/check.h"
#include "base/endian.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace resilver {
namespace internal {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0u);
    table[byte] = crc;
  }
  return table;
}

constexpr auto kTable = make_table();

}  // namespace

std::uint32_t crc32c_table(std::span<const std::byte> data, std::uint32_t seed) noexcept {
  std::uint32_t crc = ~seed;
  for (const std::byte byte : data) crc = (crc >> 8) ^ kTable[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xff];
  return ~crc;
}

#if defined(__x86_64__)

bool has_crc32c_hardware() noexcept { return __builtin_cpu_supports("sse4.2"); }

[[gnu::target("sse4.2")]] std::uint32_t crc32c_hardware(std::span<const std::byte> data, std::uint32_t seed) noexcept {
  std::uint64_t crc = static_cast<std::uint32_t>(~seed);
  const std::byte* at = data.data();
  std::size_t left = data.size();
  for (; left >= 8; left -= 8, at += 8) crc = _mm_crc32_u64(crc, load_le<std::uint64_t>(at));
  auto crc32 = static_cast<std::uint32_t>(crc);
  for (; left > 0; --left, ++at) crc32 = _mm_crc32_u8(crc32, std::to_integer<std::uint8_t>(*at));
  return ~crc32;
}

#else

bool has_crc32c_hardware() noexcept { return false; }

std::uint32_t crc32c_hardware(std::span<const std::byte>, std::uint32_t) noexcept {
  CHECK(false, "no crc32c instruction here");
}

#endif

}  // namespace internal

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t seed) noexcept {
  static const bool hardware = internal::has_crc32c_hardware();
  return hardware ? internal::crc32c_hardware(data, seed) : internal::crc32c_table(data, seed);
}

}  // namespace resilver
