// RAID 0 with members of unequal size (md's raid0.c, create_strip_zones and map_sector), and linear (linear.c).
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "raid/geometry.h"

namespace resilver::raid {

static constexpr std::uint64_t kSector = 512;

Result<Geometry> Geometry::make_zoned(Level level, Layout layout, std::uint64_t chunk_bytes,
                                      std::span<const std::uint64_t> member_bytes) {
  CHECK(!raid::is_redundant(level));
  const auto disks = static_cast<std::uint32_t>(member_bytes.size());
  const std::uint64_t unit = level == Level::linear && chunk_bytes == 0 ? kSector : chunk_bytes;
  if (disks == 0 || unit == 0 || unit % kSector != 0) return checked(level, layout, disks, unit, unit);  // says why
  std::vector<std::uint64_t> chunks;
  for (std::uint64_t bytes : member_bytes) {
    if (bytes < unit) {
      return fail(Errc::invalid_argument, fmt::format("member of {} bytes: less than a chunk of {}", bytes, unit));
    }
    chunks.push_back(bytes / unit);
  }
  const auto [least, most] = std::ranges::minmax(chunks);
  auto geometry = checked(level, layout, disks, unit, most * unit);
  if (!geometry || (level == Level::raid0 && least == most)) return geometry;
  if (level == Level::raid0 && layout == Layout::none) {
    return fail(Errc::invalid_argument,
                fmt::format("raid0 of unequal members needs a layout ({})", layout_choices(Level::raid0)));
  }
  geometry->make_zones(chunks);
  return geometry;
}

void Geometry::make_zones(std::span<const std::uint64_t> member_chunks) {
  for (const std::uint64_t chunks : member_chunks) zoned_bytes_.push_back(chunks * chunk_bytes_);
  if (level_ == Level::linear) {
    for (std::uint32_t member = 0; member < disks_; ++member) {
      add_zone(0, member_chunks[member], {static_cast<std::uint16_t>(member)});
    }
  } else {
    const std::uint64_t last = std::ranges::max(member_chunks);
    for (std::uint64_t row = 0, end = last; row < last; row = std::exchange(end, last)) {
      std::vector<std::uint16_t> members;
      for (std::uint32_t member = 0; member < disks_; ++member) {
        if (member_chunks[member] <= row) continue;
        members.push_back(static_cast<std::uint16_t>(member));
        end = std::min(end, member_chunks[member]);
      }
      add_zone(row, end, std::move(members));
    }
  }
  capacity_ = level_ == Level::linear ? zones_.back().end_chunk * chunk_bytes_ : striped_capacity();
}

void Geometry::add_zone(std::uint64_t first_row, std::uint64_t end_row, std::vector<std::uint16_t> members) {
  Zone zone;
  if (!zones_.empty()) {
    const Zone& before = zones_.back();
    zone.first_chunk = before.end_chunk;
    zone.first_stripe = before.first_stripe + (before.end_chunk - before.first_chunk) / before.width;
  }
  zone.first_row = first_row;
  zone.members = std::move(members);
  zone.width = static_cast<std::uint32_t>(zone.members.size());
  zone.end_chunk = zone.first_chunk + (end_row - first_row) * zone.width;
  // Original: the member follows from the chunk's number in the array, alternate: from its number in the zone.
  if (layout_ == Layout::raid0_original) zone.rotation = static_cast<std::uint32_t>(zone.first_chunk % zone.width);
  zones_.push_back(std::move(zone));
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
  return *(std::ranges::upper_bound(zones_, stripe, {}, &Zone::first_stripe) - 1);
}

const Geometry::Zone& Geometry::zone_of_chunk(std::uint64_t chunk) const {
  return *(std::ranges::upper_bound(zones_, chunk, {}, &Zone::first_chunk) - 1);
}

Location Geometry::map_zoned(std::uint64_t logical) const {
  const std::uint64_t chunk = in_chunks(logical);
  const Zone& zone = zone_of_chunk(chunk);
  const std::uint64_t in_zone = chunk - zone.first_chunk;
  const std::uint64_t row = in_zone / zone.width;
  Location where;
  where.chunk_offset = logical - chunk * chunk_bytes_;
  where.run_bytes = (zone.width == 1 ? zone.end_chunk - chunk : 1) * chunk_bytes_ - where.chunk_offset;
  where.stripe = zone.first_stripe + row;
  where.data_index = static_cast<std::uint32_t>(in_zone - row * zone.width);
  where.column = where.data_index;
  where.member = member_in(zone, where.column);
  where.member_offset = (zone.first_row + row) * chunk_bytes_ + where.chunk_offset;
  return where;
}

}  // namespace resilver::raid
