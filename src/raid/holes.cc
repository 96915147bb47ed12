// What reads as zeroes on every member needs no work: zeroes are what redundancy makes of zeroes. Files are asked for their
// holes, so that passes over sparse members take time for what is in them, and leave them sparse.
#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {
namespace {

constexpr std::uint64_t kHoleBytes = 64 << 10;    // of a window: so much in one piece is worth leaving out
constexpr std::uint64_t kClearBytes = 256 << 20;  // in one request

std::uint64_t round_down(std::uint64_t value, std::uint64_t unit) { return value / unit * unit; }

std::uint64_t next_data_of(const Member& member, std::uint64_t from) noexcept {
  if (member.device == nullptr) return from;
  const std::uint64_t at = std::min(member.data_offset + from, member.device->size_bytes());
  const std::uint64_t data = member.device->next_data(at);
  return data == at ? from : std::max(from, round_down(data - member.data_offset, kRowBytes));
}

}  // namespace

// Where, from `from` on, one of these members may hold anything but zeroes, or a block is known to be lost.
std::uint64_t Core::next_data(MemberSet of, std::uint64_t from) const noexcept {
  std::uint64_t first = geometry_.member_bytes();
  for (const std::uint32_t slot : of) {
    const Member& member = *slots_[slot];
    if (const auto bad = member.bad.lower_bound(from); bad != member.bad.end()) first = std::min(first, *bad);
    first = std::min(first, next_data_of(member, from));
    if (first <= from) return from;
  }
  return first;
}

// The same by logical addresses, of what all members hold together: by rows of chunks.
std::uint64_t Core::next_logical_data(std::uint64_t from) const noexcept {
  const std::uint64_t capacity = geometry_.capacity_bytes();
  if (from >= capacity) return capacity;
  if (too_many_lost()) return from;  // nobody knows
  const std::uint64_t row = geometry_.member_range(from, from + 1).begin;
  const std::uint64_t data = next_data(geometry_.all_members() - not_in_sync(), row);
  if (data == row) return from;
  std::uint64_t first = capacity;
  for (std::uint32_t slot = 0; slot < geometry_.disks(); ++slot) {
    if (data >= geometry_.member_bytes(slot)) continue;
    const auto logical = geometry_.logical_at(slot, round_down(data, geometry_.chunk_bytes()));
    if (logical) first = std::min(first, *logical);
  }
  return std::max(from, first);
}

// A rebuild by bitmap: where, from `from` on, members may differ. As windows count, at the begin of one.
std::uint64_t Core::unmarked_until(const Pass& pass, std::uint64_t from) const noexcept {
  if (!pass.by_bitmap || from >= pass.total) return from;
  const std::uint64_t begin = lock_range(pass, from, from + kRowBytes).begin;
  std::uint64_t set = bitmap_->next_set(begin);
  if (set == begin) return from;
  if (set >= geometry_.sync_bytes()) return pass.total;
  if (pass.slot) set = geometry_.member_range(set, set + 1).begin;  // of a RAID 10: the row that holds its first copy
  return std::max(from, round_down(set, kBandBytes));
}

// Where, from `from` on, a window of this pass has anything to read. Other copies of what a member of a RAID 10
// holds lie in the same row of chunks or in one next to it.
std::uint64_t Core::hole_until(const Pass& pass, std::uint64_t from) const noexcept {
  if (from >= pass.total) return pass.total;
  const bool replaces = pass.kind == RecoveryKind::replace;
  const bool ten = geometry_.is_mirrored() && !geometry_.is_mirror();
  std::uint64_t data = 0;
  if (ten && !pass.slot) {
    data = next_logical_data(from);
  } else {
    const std::uint64_t slack = ten && !replaces ? geometry_.chunk_bytes() : 0;
    const auto before = [slack](std::uint64_t at) { return at - std::min(at, slack); };
    data = next_data(replaces ? targets(pass) : geometry_.all_members() - not_in_sync(), before(from));
    if (data < pass.total) data = before(data);
  }
  return data >= pass.total ? pass.total : std::max(from, round_down(data, kBandBytes));
}

// A hole of those that are read is to be one of those that are written: what they hold there goes. A device that does not
// punch, or does not tell, gets zeroes.
Task<bool> Core::clear_targets(Pass& pass, std::uint64_t begin, std::uint64_t end) {
  const bool writes = pass.kind == RecoveryKind::rebuild || pass.kind == RecoveryKind::replace;
  for (const std::uint32_t slot : writes ? targets(pass) : MemberSet{}) {
    for (std::uint64_t at = begin; !interrupted(pass);) {
      Member& member = target(pass, slot);
      at = next_data_of(member, at);
      if (at >= end) break;
      const std::uint64_t to = std::min(end, at + kClearBytes);
      for (const IoOp op : {IoOp::discard, IoOp::write_zeroes}) {
        if (interrupted(pass) || next_data_of(member, at) >= to) break;
        Batch batch(*this, pass.cause);
        batch.on_range(op, member, at, to - at);
        co_await batch;
        judge(batch);
      }
      at = to;
    }
  }
  co_return !interrupted(pass);
}

// What a window gives to a member, but for zeroes over a hole that it has there from the window's begin on. It is asked only
// where there are zeroes, and once: a file may make whoever asks wait for the writes that are under way.
void Core::write_target(Batch& batch, Member& member, std::uint64_t begin, const Buffer& content) {
  std::optional<std::uint64_t> hole_end;
  const auto over_hole = [&](std::uint64_t from, std::uint64_t to) {
    if (content.data()[from] != std::byte{0}) return false;  // decides mostly
    if (!hole_end) hole_end = next_data_of(member, begin);
    return begin + to <= *hole_end && is_zero(content.data() + from, to - from);
  };
  std::uint64_t from = 0;
  const auto send = [&](std::uint64_t to) {
    if (to > from) batch.write(member, begin + from, content.slice(from, to - from), false);
  };
  for (std::uint64_t at = 0; at < content.size();) {
    const std::uint64_t next = std::min<std::uint64_t>(at + kHoleBytes, content.size());
    if (over_hole(at, next)) {
      send(at);
      from = next;
    }
    at = next;
  }
  send(content.size());
}

}  // namespace resilver::raid
