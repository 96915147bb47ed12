// RAID 0 with members of unequal size (md's raid0.c, create_strip_zones and map_sector).
#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "raid/geometry.h"

namespace resilver::raid {

static constexpr std::uint64_t kSector = 512;

Result<Geometry> Geometry::make_raid0(Layout layout, std::uint64_t chunk_bytes,
                                      std::span<const std::uint64_t> member_bytes) {
  if (member_bytes.empty()) return make(Level::raid0, layout, 0, chunk_bytes, 0);
  const std::uint64_t largest = std::ranges::max(member_bytes);
  if (chunk_bytes == 0 || chunk_bytes % kSector != 0) {
    return make(Level::raid0, layout, static_cast<std::uint32_t>(member_bytes.size()), chunk_bytes, largest);
  }
  std::vector<std::uint64_t> chunks;
  for (std::uint64_t bytes : member_bytes) {
    if (bytes < chunk_bytes) {
      return fail(Errc::invalid_argument,
                  fmt::format("member of {} bytes: less than a chunk of {}", bytes, chunk_bytes));
    }
    chunks.push_back(bytes / chunk_bytes);
  }
  auto geometry = make(Level::raid0, layout, static_cast<std::uint32_t>(member_bytes.size()), chunk_bytes,
                       largest / chunk_bytes * chunk_bytes);
  if (!geometry || std::ranges::min(chunks) == std::ranges::max(chunks)) return geometry;
  if (layout == Layout::none) {
    return fail(Errc::invalid_argument,
                fmt::format("raid0 of unequal members needs a layout ({})", layout_choices(Level::raid0)));
  }
  geometry->make_zones(chunks);
  return geometry;
}

void Geometry::make_zones(std::span<const std::uint64_t> member_chunks) {
  std::uint64_t first_stripe = 0;
  std::uint64_t first_chunk = 0;
  for (;;) {
    Zone zone;
    zone.first_stripe = first_stripe;
    zone.first_chunk = first_chunk;
    std::uint64_t end = ~std::uint64_t{0};
    for (std::size_t member = 0; member < member_chunks.size(); ++member) {
      if (member_chunks[member] <= first_stripe) continue;
      zone.members.push_back(static_cast<std::uint8_t>(member));
      ++zone.width;
      end = std::min(end, member_chunks[member]);
    }
    if (zone.width == 0) break;
    // Original: the member follows from the chunk's number in the array, alternate: from its number in the zone.
    if (layout_ == Layout::raid0_original) zone.rotation = static_cast<std::uint32_t>(first_chunk % zone.width);
    first_chunk += (end - first_stripe) * zone.width;
    first_stripe = end;
    zones_.push_back(zone);
  }
  capacity_ = striped_capacity();
}

// md's raid0_size() clears the bits of (chunk - 1) in the size of each member, also where that is no mask.
std::uint64_t Geometry::striped_capacity() const {
  std::uint64_t sum = 0;
  for (std::uint32_t member = 0; member < disks_; ++member) {
    const std::uint64_t sectors = member_bytes(member) / kSector;
    sum += (sectors & ~(chunk_bytes_ / kSector - 1)) * kSector;
  }
  return sum;
}

const Geometry::Zone& Geometry::zone_of_stripe(std::uint64_t stripe) const {
  return *std::find_if(zones_.rbegin(), zones_.rend() - 1,
                       [&](const Zone& zone) { return stripe >= zone.first_stripe; });
}

const Geometry::Zone& Geometry::zone_of_chunk(std::uint64_t chunk) const {
  return *std::find_if(zones_.rbegin(), zones_.rend() - 1, [&](const Zone& zone) { return chunk >= zone.first_chunk; });
}

// A member ends where the last zone that it belongs to does.
std::uint64_t Geometry::zoned_bytes(std::uint32_t member) const {
  CHECK(member < disks_);
  for (std::size_t i = zones_.size(); i-- > 0;) {
    const Zone& zone = zones_[i];
    if (std::find(zone.members.begin(), zone.members.end(), member) == zone.members.end()) continue;
    return i + 1 == zones_.size() ? member_bytes_ : zones_[i + 1].first_stripe * chunk_bytes_;
  }
  return 0;
}

}  // namespace resilver::raid
