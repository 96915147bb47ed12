#include "replica/layout.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/endian.h"
#include "replica/codec.h"
#include "replica/intent_bitmap.h"
#include "replica/marks.h"

namespace resilver::replica {
namespace {

constexpr std::uint64_t kWantedStride = 1 << 20;
constexpr std::uint64_t kAnchorMagic = 0x646e'6572'6c73'7265ull;  // "erslrend"

std::uint64_t fixed_bytes(std::uint64_t bit_count) { return IntentBitmap::disk_bytes(bit_count) + MarkStore::kBytes; }

}  // namespace

template <typename F>
static void fields(F& f, Anchor& v) {
  f(v.volume, v.copy, v.volume_bytes, v.bit_count);
}

Layout Layout::of(std::uint64_t volume_bytes, std::uint64_t bit_count, SmallRecord::Place record) noexcept {
  const std::uint64_t bits_at = volume_bytes;
  return {volume_bytes, bit_count, bits_at, bits_at + IntentBitmap::disk_bytes(bit_count), record};
}

std::uint64_t Layout::record_at(std::uint64_t volume_bytes, std::uint64_t bit_count) noexcept {
  return volume_bytes + fixed_bytes(bit_count);
}

std::uint64_t Layout::furthest_copy(std::uint64_t volume_bytes, std::uint64_t bit_count) noexcept {
  return record_at(volume_bytes, bit_count) + (SmallRecord::kCopies - 1) * kWantedStride;
}

std::optional<Layout> Layout::fit(std::uint64_t volume_bytes, std::uint64_t bit_count, std::uint64_t device_bytes) {
  for (const std::uint64_t room : {SmallRecord::kMostRoom, kBlockBytes}) {
    const std::uint64_t before = record_at(volume_bytes, bit_count) + room + kBlockBytes;
    if (device_bytes < before) continue;
    const std::uint64_t gap = (device_bytes - before) / (SmallRecord::kCopies - 1) / kBlockBytes * kBlockBytes;
    if (gap < room) continue;
    return of(volume_bytes, bit_count, {record_at(volume_bytes, bit_count), std::min(gap, kWantedStride), room});
  }
  return std::nullopt;
}

std::uint64_t Layout::wanted_bytes(std::uint64_t bit_count) noexcept {
  return fixed_bytes(bit_count) + (SmallRecord::kCopies - 1) * kWantedStride + SmallRecord::kMostRoom + kBlockBytes;
}

std::uint64_t Layout::least_bytes(std::uint64_t bit_count) noexcept {
  return fixed_bytes(bit_count) + SmallRecord::kCopies * kBlockBytes + kBlockBytes;
}

Task<std::optional<Anchor>> read_anchor(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device) {
  Buffer buffer = co_await allocate_patiently(scheduler, buffers, kBlockBytes);
  if (!buffer || device.size_bytes() < kBlockBytes) co_return std::nullopt;
  if (co_await Io::read(device, device.size_bytes() - kBlockBytes, buffer) != Errc::ok) co_return std::nullopt;
  const std::byte* at = buffer.data();
  const auto length = load_le<std::uint32_t>(at + 12);
  if (load_le<std::uint64_t>(at) != kAnchorMagic || length > kBlockBytes - 16) co_return std::nullopt;
  if (load_le<std::uint32_t>(at + 8) != crc32c(buffer.bytes().subspan(12))) co_return std::nullopt;
  Anchor anchor;
  Reader reader(buffer.bytes().subspan(16, length));
  reader(anchor);
  co_return reader.finished() ? std::optional(anchor) : std::nullopt;
}

Task<Errc> write_anchor(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, Anchor anchor) {
  Buffer buffer = co_await allocate_patiently(scheduler, buffers, kBlockBytes);
  if (!buffer) co_return Errc::limit;
  std::vector<std::byte> content;
  Writer writer(content);
  writer(anchor);
  std::ranges::fill(buffer.bytes(), std::byte{0});
  store_le<std::uint64_t>(buffer.data(), kAnchorMagic);
  store_le<std::uint32_t>(buffer.data() + 12, static_cast<std::uint32_t>(content.size()));
  std::ranges::copy(content, buffer.data() + 16);
  store_le<std::uint32_t>(buffer.data() + 8, crc32c(buffer.bytes().subspan(12)));
  co_return co_await Io::write(device, device.size_bytes() - kBlockBytes, buffer, true);
}

}  // namespace resilver::replica
