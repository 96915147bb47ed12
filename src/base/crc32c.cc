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

namespace {

// The instruction takes three cycles but can begin one in each: three lanes side by side. 3 x 1360 bytes and two words are a
// block of 4096.
constexpr std::size_t kLane = 1360;

// kSkip[i][b]: what kLane zero bytes make of the register `b << 8 * i`. The register is linear in its bits.
constexpr std::array<std::array<std::uint32_t, 256>, 4> make_skip() {
  std::array<std::array<std::uint32_t, 256>, 4> skip{};
  for (std::size_t bit = 0; bit < 32; ++bit) {
    std::uint32_t crc = std::uint32_t{1} << bit;
    for (std::size_t i = 0; i < kLane; ++i) crc = (crc >> 8) ^ kTable[crc & 0xff];
    skip[bit / 8][std::size_t{1} << bit % 8] = crc;
  }
  for (auto& table : skip) {
    for (std::size_t byte = 1; byte < 256; ++byte) table[byte] = table[byte & (byte - 1)] ^ table[byte & (~byte + 1)];
  }
  return skip;
}

constexpr auto kSkip = make_skip();

std::uint64_t skip_lane(std::uint64_t crc) noexcept {
  return kSkip[0][crc & 0xff] ^ kSkip[1][crc >> 8 & 0xff] ^ kSkip[2][crc >> 16 & 0xff] ^ kSkip[3][crc >> 24 & 0xff];
}

}  // namespace

[[gnu::target("sse4.2")]] std::uint32_t crc32c_hardware(std::span<const std::byte> data, std::uint32_t seed) noexcept {
  std::uint64_t crc = static_cast<std::uint32_t>(~seed);
  const std::byte* at = data.data();
  std::size_t left = data.size();
  for (; left >= 3 * kLane; left -= 3 * kLane, at += 3 * kLane) {
    std::uint64_t second = 0, third = 0;
    for (const std::byte* lane = at; lane != at + kLane; lane += 8) {
      crc = _mm_crc32_u64(crc, load_le<std::uint64_t>(lane));
      second = _mm_crc32_u64(second, load_le<std::uint64_t>(lane + kLane));
      third = _mm_crc32_u64(third, load_le<std::uint64_t>(lane + 2 * kLane));
    }
    crc = skip_lane(skip_lane(crc) ^ second) ^ third;
  }
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
