#include "raid/geometry.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace resilver::raid {

namespace {

constexpr std::uint64_t kSector = 512;

Status check_layout(Level level, Layout layout) {
  if (layout == Layout::none) {
    if (layout_choices(level).empty() || level == Level::raid0) return {};
    return fail(Errc::invalid_argument, fmt::format("{} needs a layout", name(level)));
  }
  if (layout_choices(level).empty()) {
    return fail(Errc::invalid_argument, fmt::format("{} has no choice of layout ({} given)", name(level), name(layout)));
  }
  if (const auto same = layout_from_number(level, layout_number(level, layout)); same && *same == layout) return {};
  return fail(Errc::invalid_argument,
              fmt::format("{} has no layout {} ({} was expected)", name(level), name(layout), layout_choices(level)));
}

Status check_disks(Level level, Layout layout, std::uint32_t disks) {
  std::uint32_t least = 1;
  std::uint32_t most = kMaxDisks;
  switch (level) {
    case Level::linear:
    case Level::raid0:
    case Level::raid1: break;
    case Level::raid4:
    case Level::raid5: least = 2; break;
    case Level::raid6:
      least = 4;
      most = kMaxRaid6Disks;
      break;
    case Level::raid10: least = near_copies(layout); break;
  }
  if (disks < least) {
    const std::string what = least > 2 && level == Level::raid10 ? " " + name(layout) : "";
    return fail(Errc::invalid_argument, fmt::format("{}{} needs at least {} disk{}, not {}", name(level), what, least,
                                                    least == 1 ? "" : "s", disks));
  }
  if (disks > most) {
    return fail(Errc::invalid_argument, fmt::format("{} takes at most {} disks, not {}", name(level), most, disks));
  }
  return {};
}

Status check_sizes(Level level, std::uint64_t chunk_bytes, std::uint64_t member_bytes, std::uint32_t data_disks) {
  if (!is_redundant(level) && (chunk_bytes == 0 || chunk_bytes % kSector != 0 || chunk_bytes > kMaxChunk)) {
    return fail(Errc::invalid_argument,
                fmt::format("chunk of {} bytes: must be a multiple of 512 up to 512 GiB", chunk_bytes));
  }
  if (is_redundant(level) && level != Level::raid1 &&
      (!std::has_single_bit(chunk_bytes) || chunk_bytes < kMinChunk || chunk_bytes > kMaxChunk)) {
    return fail(Errc::invalid_argument,
                fmt::format("chunk of {} bytes: must be a power of two from 4 KiB to 512 GiB", chunk_bytes));
  }
  const std::uint64_t unit = level == Level::raid1 ? kSector : chunk_bytes;
  if (member_bytes == 0 || member_bytes % unit != 0) {
    return fail(Errc::invalid_argument,
                fmt::format("member of {} bytes: must be a positive multiple of {}", member_bytes, unit));
  }
  if (member_bytes > kMaxCapacity / data_disks) {
    return fail(Errc::invalid_argument,
                fmt::format("{} data members of {} bytes: an array holds at most 4 EiB", data_disks, member_bytes));
  }
  return {};
}

std::uint32_t parity_of(Level level) {
  switch (level) {
    case Level::linear:
    case Level::raid0:
    case Level::raid1:
    case Level::raid10: return 0;
    case Level::raid4:
    case Level::raid5: return 1;
    case Level::raid6: return 2;
  }
  return 0;
}

}  // namespace

Result<Geometry> Geometry::make(Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk_bytes,
                                std::uint64_t member_bytes) {
  auto geometry = checked(level, layout, disks, chunk_bytes, member_bytes);
  if (geometry && level == Level::linear) {
    geometry->make_zones(std::vector(disks, geometry->in_chunks(member_bytes)));
  }
  return geometry;
}

// Without zones yet.
Result<Geometry> Geometry::checked(Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk_bytes,
                                   std::uint64_t member_bytes) {
  if (level == Level::linear && chunk_bytes == 0) chunk_bytes = kSector;
  if (Status status = check_layout(level, layout); !status) return std::unexpected(status.error());
  if (Status status = check_disks(level, layout, disks); !status) return std::unexpected(status.error());
  const std::uint32_t parity = parity_of(level);
  const bool mirrored = level == Level::raid1 || level == Level::raid10;
  if (Status status = check_sizes(level, chunk_bytes, member_bytes, level == Level::raid1 ? 1 : disks - parity);
      !status) {
    return std::unexpected(status.error());
  }
  Geometry geometry;
  geometry.level_ = level;
  geometry.layout_ = layout;
  geometry.disks_ = disks;
  geometry.data_disks_ = mirrored || level == Level::linear ? 1 : disks - parity;
  geometry.parity_disks_ = parity;
  geometry.copies_ = level == Level::raid1 ? disks : level == Level::raid10 ? near_copies(layout) : 1;
  geometry.chunk_bytes_ = level == Level::raid1 ? kMirrorUnit : chunk_bytes;
  if (std::has_single_bit(geometry.chunk_bytes_)) {
    geometry.chunk_shift_ = static_cast<std::uint32_t>(std::countr_zero(geometry.chunk_bytes_));
  }
  geometry.member_bytes_ = member_bytes;
  geometry.capacity_ = level == Level::raid0 ? geometry.striped_capacity() : member_bytes * geometry.data_disks_;
  if (level == Level::raid10) {
    geometry.capacity_ = geometry.in_chunks(member_bytes) * disks / geometry.copies_ * geometry.chunk_bytes_;
  }
  return geometry;
}

std::uint64_t Geometry::column_bytes(std::uint64_t stripe) const {
  CHECK(stripe < stripes());
  return is_mirror() ? std::min(chunk_bytes(), member_bytes_ - stripe_member_offset(stripe)) : chunk_bytes();
}

bool Geometry::survives(MemberSet lost) const {
  lost = lost & all_members();
  if (level_ != Level::raid10) return lost.count() <= redundancy();
  // The sets of members that hold a chunk repeat after `disks` chunks at the latest.
  for (std::uint64_t chunk = 0; chunk < std::min<std::uint64_t>(disks_, stripes()); ++chunk) {
    if (!columns_lost(chunk, lost).empty()) return false;
  }
  return true;
}

// ---- parity layouts -------------------------------------------------------------------------------------------------

// Columns are the data members in rising order. In all other layouts: Q on the member after P, then the data columns on the
// next ones, wrapping.
bool Geometry::rises() const { return layout_ >= Layout::left_asymmetric_6 && layout_ <= Layout::ddf_n_continue; }

// The member that holds P.
std::uint32_t Geometry::p_place(std::uint64_t stripe) const {
  const auto turn = [&](std::uint32_t members, std::uint64_t first) {
    return static_cast<std::uint32_t>((stripe + first) % members);
  };
  switch (layout_) {
    case Layout::left_asymmetric:
    case Layout::left_symmetric:
    case Layout::ddf_n_continue: return disks_ - 1 - turn(disks_, 0);
    case Layout::ddf_n_restart: return disks_ - 1 - turn(disks_, 1);
    case Layout::right_asymmetric:
    case Layout::right_symmetric:
    case Layout::ddf_zero_restart: return turn(disks_, 0);
    case Layout::left_asymmetric_6:
    case Layout::left_symmetric_6: return disks_ - 2 - turn(disks_ - 1, 0);
    case Layout::right_asymmetric_6:
    case Layout::right_symmetric_6: return turn(disks_ - 1, 0);
    case Layout::parity_first:
    case Layout::parity_first_6: return 0;
    case Layout::parity_last:
    case Layout::near_2:
    case Layout::raid0_original:
    case Layout::raid0_alternate:
    case Layout::none: break;
  }
  return data_disks_ % disks_;  // RAID 4 and parity-last; RAID 0: 0
}

// The member that holds Q where P is on `p`, in the layouts that rise.
std::uint32_t Geometry::q_place(std::uint32_t p) const {
  if (!is_ddf()) return disks_ - 1;
  const std::uint32_t step = layout_ == Layout::ddf_n_continue ? disks_ - 1 : 1;
  return (p + step) % disks_;
}

// Column 0 holds this data index.
std::uint32_t Geometry::rotation(std::uint64_t stripe) const {
  switch (layout_) {
    // Data in rising order of members, so those below P come first; where Q has wrapped to member 0 nothing is below parity.
    case Layout::left_asymmetric:
    case Layout::right_asymmetric: {
      const std::uint32_t p = p_place(stripe);
      return p >= data_disks_ ? 0 : p;
    }
    // Columns rise, and data begins behind P, wrapping: as many columns as data members before P hold the last of it.
    case Layout::left_symmetric_6:
    case Layout::right_symmetric_6: return (data_disks_ - p_place(stripe) % data_disks_) % data_disks_;
    case Layout::ddf_n_continue: {
      const std::uint32_t p = p_place(stripe);
      return p == 0 ? 0 : (data_disks_ - (p - 1) % data_disks_) % data_disks_;
    }
    default: return 0;
  }
}

std::uint32_t Geometry::column_at(std::uint64_t stripe, std::uint32_t data_index) const {
  CHECK(data_index < data_disks_);
  const std::uint32_t shift = rotation(stripe);
  return data_index >= shift ? data_index - shift : data_index + data_disks_ - shift;
}

std::uint32_t Geometry::data_index(std::uint64_t stripe, std::uint32_t column) const {
  CHECK(column < data_disks_);
  const std::uint32_t index = column + rotation(stripe);
  return index < data_disks_ ? index : index - data_disks_;
}

std::uint32_t Geometry::member_of(std::uint64_t stripe, std::uint32_t column) const {
  CHECK(column < columns());
  if (is_mirrored()) return is_mirror() ? 0 : copy_of(stripe * chunk_bytes_, 0).member;
  if (has_zones()) {
    const Zone& zone = zone_of_stripe(stripe);
    CHECK(column < zone.width);
    return member_in(zone, column);
  }
  const std::uint32_t p = p_place(stripe);
  if (rises()) {
    const std::uint32_t q = q_place(p);
    if (column >= data_disks_) return column == p_column() ? p : q;
    const std::uint32_t behind_one = column + (column >= std::min(p, q) ? 1 : 0);
    return behind_one + (behind_one >= std::max(p, q) ? 1 : 0);
  }
  const std::uint32_t after_p = column < data_disks_ ? parity_disks_ + column : column - data_disks_;
  const std::uint32_t member = p + after_p;
  return member < disks_ ? member : member - disks_;
}

std::uint32_t Geometry::column_of(std::uint64_t stripe, std::uint32_t member) const {
  CHECK(member < disks_);
  if (is_mirrored()) return 0;
  if (has_zones()) {
    const Zone& zone = zone_of_stripe(stripe);
    const auto found = std::find(zone.members.begin(), zone.members.end(), member);
    CHECK(found != zone.members.end());
    return (static_cast<std::uint32_t>(found - zone.members.begin()) + zone.width - zone.rotation) % zone.width;
  }
  const std::uint32_t p = p_place(stripe);
  if (rises()) {
    const std::uint32_t q = q_place(p);
    if (member == p || member == q) return member == p ? p_column() : q_column();
    return member - (member > p ? 1 : 0) - (member > q ? 1 : 0);
  }
  const std::uint32_t after_p = member >= p ? member - p : member + disks_ - p;
  return after_p < parity_disks_ ? data_disks_ + after_p : after_p - parity_disks_;
}

Role Geometry::role_of(std::uint64_t stripe, std::uint32_t member) const {
  const std::uint32_t column = column_of(stripe, member);
  if (column < data_disks_) return Role{RoleKind::data, data_index(stripe, column)};
  return Role{column == p_column() ? RoleKind::p : RoleKind::q, 0};
}

// ---- from logical bytes to members and back -------------------------------------------------------------------------

Location Geometry::map(std::uint64_t logical) const {
  CHECK(logical < capacity_);
  if (has_zones()) return map_zoned(logical);
  const std::uint64_t chunk = in_chunks(logical);
  Location where;
  where.chunk_offset = logical - chunk * chunk_bytes_;
  where.run_bytes = chunk_bytes_ - where.chunk_offset;
  if (level_ == Level::raid10) {
    const CopyPlace first = copy_of(logical, 0);
    where.stripe = chunk;
    where.member = first.member;
    where.member_offset = first.member_offset;
    return where;
  }
  where.stripe = chunk / data_disks_;
  where.data_index = static_cast<std::uint32_t>(chunk - where.stripe * data_disks_);
  where.column = column_at(where.stripe, where.data_index);
  where.member = member_of(where.stripe, where.column);
  where.member_offset = stripe_member_offset(where.stripe) + where.chunk_offset;
  return where;
}

std::uint64_t Geometry::logical_chunk(std::uint64_t stripe, std::uint32_t data_index) const {
  if (!has_zones()) return stripe * data_disks_ + data_index;
  const Zone& zone = zone_of_stripe(stripe);
  return zone.first_chunk + (stripe - zone.first_stripe) * zone.width + data_index;
}

MemberPlace Geometry::at(std::uint32_t member, std::uint64_t member_offset) const {
  CHECK(member < disks_ && member_offset < member_bytes(member));
  MemberPlace place;
  place.stripe = stripe_of_member_offset(member_offset);
  place.chunk_offset = member_offset - stripe_member_offset(place.stripe);
  if (level_ == Level::raid10) {
    place.stripe = (place.stripe * disks_ + member) / copies_;
    if (place.stripe >= stripes()) {
      place.role.kind = RoleKind::unused;
    } else {
      place.logical = place.stripe * chunk_bytes_ + place.chunk_offset;
    }
    return place;
  }
  if (level_ == Level::linear) place.stripe += zones_[member].first_stripe;
  place.role = role_of(place.stripe, member);
  if (place.role.kind == RoleKind::data) {
    place.logical = logical_chunk(place.stripe, place.role.data_index) * chunk_bytes_ + place.chunk_offset;
  }
  if (place.logical >= capacity_) {
    place.role = {RoleKind::unused, 0};
    place.logical.reset();
  }
  return place;
}

MemberRange Geometry::member_range(std::uint64_t begin, std::uint64_t end) const {
  CHECK(begin < end && end <= capacity_);
  if (is_mirror()) return {begin, end};
  const bool ten = level_ == Level::raid10;
  const std::uint64_t first = ten ? flat_of_copy(begin, 0) / disks_ : map(begin).stripe;
  const std::uint64_t last = ten ? flat_of_copy(end - 1, copies_ - 1) / disks_ : map(end - 1).stripe;
  return {first * chunk_bytes_, (last + 1) * chunk_bytes_};
}

// RAID 10: the number of a copy of a chunk, counted row by row over the members.
std::uint64_t Geometry::flat_of_copy(std::uint64_t logical, std::uint32_t copy) const {
  return in_chunks(logical) * copies_ + copy;
}

CopyPlace Geometry::copy_of(std::uint64_t logical, std::uint32_t copy) const {
  CHECK(is_mirrored() && logical < capacity_ && copy < copies());
  if (is_mirror()) return {copy, logical};
  const std::uint64_t flat = flat_of_copy(logical, copy);
  const std::uint64_t row = flat / disks_;
  return {static_cast<std::uint32_t>(flat - row * disks_), row * chunk_bytes_ + within_chunk(logical)};
}

std::uint64_t Geometry::mirrored_run(std::uint64_t logical) const {
  CHECK(is_mirrored() && logical < capacity_);
  return std::min(chunk_bytes_ - within_chunk(logical), capacity_ - logical);
}

ColumnSet Geometry::columns_lost(std::uint64_t stripe, MemberSet lost_members) const {
  if (is_mirrored()) return (members_of(stripe, {0}) - lost_members).empty() ? ColumnSet{0} : ColumnSet{};
  ColumnSet lost;
  if (has_zones()) {
    const Zone& zone = zone_of_stripe(stripe);
    for (std::uint32_t column = 0; column < zone.width; ++column) {
      if (lost_members.contains(member_in(zone, column))) lost.add(column);
    }
    return lost;
  }
  for (std::uint32_t member : lost_members& all_members()) lost.add(column_of(stripe, member));
  return lost;
}

MemberSet Geometry::members_of(std::uint64_t stripe, ColumnSet columns) const {
  if (is_mirror()) return columns.empty() ? MemberSet{} : all_members();
  MemberSet members;
  if (is_mirrored()) {
    if (columns.empty()) return members;
    for (std::uint32_t copy = 0; copy < copies(); ++copy) members.add(copy_of(stripe * chunk_bytes_, copy).member);
    return members;
  }
  for (std::uint32_t column : columns) members.add(member_of(stripe, column));
  return members;
}

StripePart Geometry::first_part(std::uint64_t logical, std::uint64_t length) const {
  CHECK(length > 0 && logical < capacity_ && length <= capacity_ - logical);
  const Location first = map(logical);
  const std::uint64_t chunk = chunk_bytes();
  const std::uint64_t in_first = chunk - first.chunk_offset;
  const std::uint64_t start = first.data_index * chunk + first.chunk_offset;  // within the stripe's data
  StripePart part;
  part.stripe = first.stripe;
  part.logical = logical;
  // Stripes of zones differ in width: a chunk at a time.
  part.length = std::min(length, has_zones() ? in_first : stripe_data_bytes() - start);
  if (part.length > in_first && part.length - in_first < first.chunk_offset) {
    // The end of one chunk and the start of the next with a gap between their column ranges: one part each, or a few
    // KiB across a chunk's border would read and write whole chunks.
    part.length = in_first;
  }
  const std::uint64_t stop = start + part.length;
  const std::uint64_t last_index = in_chunks(stop - 1);
  const bool one_column = last_index == first.data_index;
  part.begin = one_column ? first.chunk_offset : 0;
  part.end = one_column ? first.chunk_offset + part.length : chunk;
  for (std::uint64_t index = first.data_index; index <= last_index; ++index) {
    const std::uint64_t from = std::max(start, index * chunk) - index * chunk;
    const std::uint64_t to = std::min(stop, (index + 1) * chunk) - index * chunk;
    const std::uint32_t column = column_at(part.stripe, static_cast<std::uint32_t>(index));
    part.touched.add(column);
    if (from <= part.begin && to >= part.end) part.full.add(column);
  }
  return part;
}

}  // namespace resilver::raid
