// What is on the members beside data: superblocks, the dirty flag, bad-block logs.
#include <algorithm>

#include "base/planted_bug.h"
#include "raid/core.h"

namespace resilver::raid {

Result<std::array<std::byte, kSuperblockBytes>> Core::encode_for(const Member& member) const {
  Superblock super = common_;
  const Superblock& own = member.super;
  super.dev_number = own.dev_number;
  super.device_uuid = own.device_uuid;
  super.data_offset_sectors = own.data_offset_sectors;
  super.data_size_sectors = own.data_size_sectors;
  super.bblog_offset = own.bblog_offset;
  super.bblog_size_sectors = own.bblog_size_sectors;
  super.bitmap_offset = bitmap_ ? own.bitmap_offset : 0;
  super.feature_map = bitmap_ ? kFeatureBitmap : 0;
  if (member.state == MemberState::rebuilding) {
    super.feature_map |= kFeatureRecoveryOffset;
    super.recovery_offset_sectors = member.checkpoint / kSectorBytes;
  }
  if (!member.bad.empty()) super.feature_map |= kFeatureBadBlocks;
  super.utime = static_cast<std::uint64_t>(scheduler_.now() / kSecond);
  super.resync_offset_sectors = dirty_ || resync_needed_ ? 0 : kResyncDone;
  return encode_superblock(super);
}

// One update of all superblocks. Faults that show up while it is written raise sb_wanted_ and need another one.
Task<void> Core::write_superblocks() {
  ++common_.events;
  const bool dirty = dirty_;
  bool written = true;
  {
    Batch batch(*this, Cause::metadata);
    for (const auto& member : members_) {
      if (member->state == MemberState::faulty) continue;
      const auto block = encode_for(*member);
      Buffer buffer = pool_.allocate(kSuperblockBytes);
      if (!block || !buffer) {
        written = false;
        break;
      }
      std::memcpy(buffer.data(), block->data(), kSuperblockBytes);
      batch.write_raw(*member, kSuperOffsetSectors * kSectorBytes, buffer);
    }
    co_await batch;
    judge(batch);
  }
  if (written && bitmap_ && !failed_) co_await bitmap_->update_header();
  if (!written) co_await sleep_for(scheduler_, kMillisecond);  // no memory: settle() tries again
  if (written) dirty_durable_ = dirty && dirty_;
  sb_busy_ = false;
  sb_event_.wake_all();
}

// Returns when the superblocks as they were wanted then are durable on all members that live, or the array has failed.
Task<void> Core::settle(std::uint64_t wanted) {
  while (sb_done_ < wanted && !failed_) {
    if (sb_busy_) {
      co_await sb_event_.wait();
      continue;
    }
    sb_busy_ = true;
    const std::uint64_t target = sb_wanted_;
    const std::uint64_t version = version_;
    co_await write_superblocks();
    if (version == version_ || sb_wanted_ == target) sb_done_ = std::max(sb_done_, target);
  }
}

Task<void> Core::ensure_dirty() {
  while (!dirty_durable_ && !failed_) {
    dirty_ = true;
    co_await commit();
    wake_housekeeping();
  }
}

Task<Errc> Core::flush_members(Cause cause) {
  {
    Batch batch(*this, cause);
    for (Member* member : slots_) {
      if (member != nullptr && member->live()) batch.flush(*member);
    }
    co_await batch;
    judge(batch);
  }
  if (sb_done_ < fault_seq_) co_await settle(fault_seq_);
  co_return failed_ ? Errc::unavailable : Errc::ok;
}

Task<Errc> Core::write_bad_log(Member& member) {
  std::vector<BadRange> ranges;
  constexpr std::uint64_t kRowSectors = kBlockBytes / kSectorBytes;
  for (std::uint64_t offset : member.bad) {
    const std::uint64_t sector = (member.data_offset + offset) / kSectorBytes;
    const bool follows = !ranges.empty() && ranges.back().sector + ranges.back().sectors == sector &&
                         ranges.back().sectors + kRowSectors <= kBadBlockMaxSectors;
    if (follows) {
      ranges.back().sectors += kRowSectors;
    } else {
      ranges.push_back({sector, kRowSectors});
    }
  }
  const auto block = encode_bad_blocks(ranges);
  if (!block) co_return block.error().code;
  Buffer buffer = pool_.allocate(kBadBlockLogBytes);
  if (!buffer) co_return Errc::limit;
  std::memcpy(buffer.data(), block->data(), kBadBlockLogBytes);
  Batch batch(*this, Cause::metadata);
  const auto at = static_cast<std::uint64_t>(static_cast<std::int64_t>(kSuperOffsetSectors) + member.super.bblog_offset);
  batch.write_raw(member, at * kSectorBytes, buffer);
  co_await batch;
  judge(batch);
  co_return member.state == MemberState::faulty ? Errc::device_gone : Errc::ok;
}

// Durable when it returns true. False: the log is full or cannot be written, and the member is faulty for it, as with md.
Task<bool> Core::add_bad(Member& member, std::uint64_t row_offset) {
  if (member.bad.contains(row_offset)) co_return true;
  const bool first = member.bad.empty();
  member.bad.insert(row_offset);
  const Errc written = member.super.bblog_size_sectors == 0 ? Errc::no_space : co_await write_bad_log(member);
  if (written != Errc::ok) {
    mark_faulty(member, written);
    co_return false;
  }
  if (first) co_await commit();  // the superblock says whether there is a log
  co_return member.state != MemberState::faulty;
}

// Precondition: what was written to the blocks is durable.
Task<void> Core::clear_bad(Member& member, std::uint64_t begin, std::uint64_t end) {
  if (!member.has_bad(begin, end)) co_return;
  member.bad.erase(member.bad.lower_bound(begin), member.bad.lower_bound(end));
  if (const Errc written = co_await write_bad_log(member); written != Errc::ok) mark_faulty(member, written);
}

}  // namespace resilver::raid
