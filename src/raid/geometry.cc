#include "raid/geometry.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace resilver::raid {

const char* name(Level level) noexcept {
  switch (level) {
    case Level::raid0: return "raid0";
    case Level::raid1: return "raid1";
    case Level::raid4: return "raid4";
    case Level::raid5: return "raid5";
    case Level::raid6: return "raid6";
  }
  return "unknown level";
}

const char* name(Layout layout) noexcept {
  switch (layout) {
    case Layout::left_asymmetric: return "left-asymmetric";
    case Layout::right_asymmetric: return "right-asymmetric";
    case Layout::left_symmetric: return "left-symmetric";
    case Layout::right_symmetric: return "right-symmetric";
    case Layout::none: return "-";
  }
  return "unknown layout";
}

const char* name(WriteWay way) noexcept {
  switch (way) {
    case WriteWay::impossible: return "impossible";
    case WriteWay::data_only: return "data only";
    case WriteWay::full_stripe: return "full stripe";
    case WriteWay::read_modify_write: return "read-modify-write";
    case WriteWay::reconstruct_write: return "reconstruct-write";
    case WriteWay::rebuild_write: return "rebuild-write";
  }
  return "unknown way";
}

std::optional<Level> level_from_number(int number) noexcept {
  switch (number) {
    case 0: return Level::raid0;
    case 1: return Level::raid1;
    case 4: return Level::raid4;
    case 5: return Level::raid5;
    case 6: return Level::raid6;
    default: return std::nullopt;
  }
}

std::optional<Layout> layout_from_name(std::string_view text) noexcept {
  for (Layout layout :
       {Layout::left_asymmetric, Layout::right_asymmetric, Layout::left_symmetric, Layout::right_symmetric}) {
    if (text == name(layout)) return layout;
  }
  return std::nullopt;
}

Layout default_layout(Level level) noexcept {
  return level == Level::raid5 || level == Level::raid6 ? Layout::left_symmetric : Layout::none;
}

namespace {

Status check_layout(Level level, Layout layout) {
  if (level != Level::raid5 && level != Level::raid6) {
    if (layout == Layout::none) return {};
    return fail(Errc::invalid_argument, fmt::format("{} has no choice of layout ({} given)", name(level), name(layout)));
  }
  if (layout == Layout::left_symmetric) return {};
  if (level == Level::raid5 && layout == Layout::left_asymmetric) return {};
  if (layout == Layout::none) return fail(Errc::invalid_argument, fmt::format("{} needs a layout", name(level)));
  return fail(Errc::unsupported,
              fmt::format("layout {} of {} is not offered ({})", name(layout), name(level),
                          level == Level::raid5 ? "left-symmetric or left-asymmetric is" : "left-symmetric is"));
}

Status check_disks(Level level, std::uint32_t disks) {
  std::uint32_t least = 1;
  std::uint32_t most = kMaxDisks;
  switch (level) {
    case Level::raid0: break;
    case Level::raid1:
      least = 2;
      most = 8;
      break;
    case Level::raid4:
    case Level::raid5: least = 3; break;
    case Level::raid6: least = 4; break;
  }
  if (disks < least) {
    return fail(Errc::invalid_argument,
                fmt::format("{} needs at least {} disk{}, not {}", name(level), least, least == 1 ? "" : "s", disks));
  }
  if (disks > most) {
    return fail(Errc::invalid_argument, fmt::format("{} takes at most {} disks, not {}", name(level), most, disks));
  }
  return {};
}

Status check_sizes(Level level, std::uint64_t chunk_bytes, std::uint64_t member_bytes, std::uint32_t data_disks) {
  if (level != Level::raid1 &&
      (!std::has_single_bit(chunk_bytes) || chunk_bytes < kMinChunk || chunk_bytes > kMaxChunk)) {
    return fail(Errc::invalid_argument,
                fmt::format("chunk of {} bytes: must be a power of two from 4 KiB to 16 MiB", chunk_bytes));
  }
  const std::uint64_t unit = level == Level::raid1 ? 4096 : chunk_bytes;
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
    case Level::raid0:
    case Level::raid1: return 0;
    case Level::raid4:
    case Level::raid5: return 1;
    case Level::raid6: return 2;
  }
  return 0;
}

}  // namespace

Result<Geometry> Geometry::make(Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk_bytes,
                                std::uint64_t member_bytes) {
  if (Status status = check_layout(level, layout); !status) return std::unexpected(status.error());
  if (Status status = check_disks(level, disks); !status) return std::unexpected(status.error());
  const std::uint32_t parity = parity_of(level);
  const std::uint32_t data = level == Level::raid1 ? 1 : disks - parity;
  if (Status status = check_sizes(level, chunk_bytes, member_bytes, data); !status) {
    return std::unexpected(status.error());
  }
  Geometry geometry;
  geometry.level_ = level;
  geometry.layout_ = layout;
  geometry.disks_ = disks;
  geometry.data_disks_ = data;
  geometry.parity_disks_ = parity;
  geometry.chunk_shift_ =
      static_cast<std::uint32_t>(std::countr_zero(level == Level::raid1 ? kMirrorUnit : chunk_bytes));
  geometry.member_bytes_ = member_bytes;
  return geometry;
}

std::uint64_t Geometry::column_bytes(std::uint64_t stripe) const {
  CHECK(stripe < stripes());
  return std::min(chunk_bytes(), member_bytes_ - stripe_member_offset(stripe));
}

std::uint32_t Geometry::member_of(std::uint64_t stripe, std::uint32_t column) const {
  CHECK(column < columns());
  if (level_ != Level::raid5 && level_ != Level::raid6) return column;  // RAID 4: column D is P, on the last member
  const std::uint32_t p = disks_ - 1 - static_cast<std::uint32_t>(stripe % disks_);
  if (layout_ == Layout::left_asymmetric) {  // RAID 5 only
    if (column == data_disks_) return p;
    return column < p ? column : column + 1;
  }
  // Left-symmetric: P, (Q,) data 0, data 1, ... on consecutive members, wrapping.
  const std::uint32_t after_p = column < data_disks_ ? parity_disks_ + column : column - data_disks_;
  const std::uint32_t member = p + after_p;
  return member < disks_ ? member : member - disks_;
}

std::uint32_t Geometry::column_of(std::uint64_t stripe, std::uint32_t member) const {
  CHECK(member < disks_);
  if (is_mirror()) return 0;
  if (level_ != Level::raid5 && level_ != Level::raid6) return member;
  const std::uint32_t p = disks_ - 1 - static_cast<std::uint32_t>(stripe % disks_);
  if (layout_ == Layout::left_asymmetric) {
    if (member == p) return data_disks_;
    return member < p ? member : member - 1;
  }
  const std::uint32_t after_p = member >= p ? member - p : member + disks_ - p;
  return after_p < parity_disks_ ? data_disks_ + after_p : after_p - parity_disks_;
}

Role Geometry::role_of(std::uint64_t stripe, std::uint32_t member) const {
  const std::uint32_t column = column_of(stripe, member);
  if (column < data_disks_) return Role{RoleKind::data, column};
  return Role{column == p_column() ? RoleKind::p : RoleKind::q, 0};
}

Location Geometry::map(std::uint64_t logical) const {
  CHECK(logical < capacity_bytes());
  const std::uint64_t chunk = logical >> chunk_shift_;
  Location where;
  where.stripe = chunk / data_disks_;
  where.data_index = static_cast<std::uint32_t>(chunk - where.stripe * data_disks_);
  where.chunk_offset = logical & (chunk_bytes() - 1);
  where.member = member_of(where.stripe, where.data_index);
  where.member_offset = stripe_member_offset(where.stripe) + where.chunk_offset;
  return where;
}

MemberPlace Geometry::at(std::uint32_t member, std::uint64_t member_offset) const {
  CHECK(member_offset < member_bytes_);
  MemberPlace place;
  place.stripe = stripe_of_member_offset(member_offset);
  place.role = role_of(place.stripe, member);
  place.chunk_offset = member_offset & (chunk_bytes() - 1);
  if (place.role.kind == RoleKind::data) {
    place.logical = ((place.stripe * data_disks_ + place.role.data_index) << chunk_shift_) + place.chunk_offset;
  }
  return place;
}

ColumnSet Geometry::columns_lost(std::uint64_t stripe, MemberSet lost_members) const {
  if (is_mirror()) return (all_members() - lost_members).empty() ? ColumnSet{0} : ColumnSet{};
  ColumnSet lost;
  for (std::uint32_t member : lost_members& all_members()) lost.add(column_of(stripe, member));
  return lost;
}

MemberSet Geometry::members_of(std::uint64_t stripe, ColumnSet columns) const {
  if (is_mirror()) return columns.empty() ? MemberSet{} : all_members();
  MemberSet members;
  for (std::uint32_t column : columns) members.add(member_of(stripe, column));
  return members;
}

StripePart Geometry::first_part(std::uint64_t logical, std::uint64_t length) const {
  CHECK(length > 0 && logical < capacity_bytes() && length <= capacity_bytes() - logical);
  const Location first = map(logical);
  const std::uint64_t chunk = chunk_bytes();
  const std::uint64_t start = first.data_index * chunk + first.chunk_offset;  // within the stripe's data
  StripePart part;
  part.stripe = first.stripe;
  part.logical = logical;
  part.length = std::min(length, stripe_data_bytes() - start);
  const std::uint64_t in_first = chunk - first.chunk_offset;
  if (part.length > in_first && part.length - in_first < first.chunk_offset) {
    // The end of one chunk and the start of the next with a gap between their column ranges: one part each, or a few
    // KiB across a chunk's border would read and write whole chunks.
    part.length = in_first;
  }
  const std::uint64_t stop = start + part.length;
  const std::uint64_t last_index = (stop - 1) >> chunk_shift_;
  const bool one_column = last_index == first.data_index;
  part.begin = one_column ? first.chunk_offset : 0;
  part.end = one_column ? first.chunk_offset + part.length : chunk;
  for (std::uint64_t index = first.data_index; index <= last_index; ++index) {
    const std::uint64_t from = std::max(start, index << chunk_shift_) - (index << chunk_shift_);
    const std::uint64_t to = std::min(stop, (index + 1) << chunk_shift_) - (index << chunk_shift_);
    part.touched.add(static_cast<std::uint32_t>(index));
    if (from <= part.begin && to >= part.end) part.full.add(static_cast<std::uint32_t>(index));
  }
  return part;
}

}  // namespace resilver::raid
