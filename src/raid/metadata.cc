// What is durable beside data: superblocks, the dirty flag, bad-block logs; and who keeps them tidy.
#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {

// ---- superblocks --------------------------------------------------------------------------------------------------------

// Who uses the reserve at a time: one write of superblocks (a block for each disk), one of the bitmap (32) and one bad-block
// log, a meta block for each stripe operation under way (kMaxBands), rows that are worked on (4 of up to 257 members, 1 of
// 1920; a block for each), zeroes (32), and at the start superblocks (64) and records of the journal (512). With 32 disks that
// is a third of it, the rest is for what hung disks hold: of each some 50 blocks.
Buffer Core::metadata_block() {
  Buffer block = leaves_->reserve().allocate(kBlockBytes);
  if (!block) block = pool_.allocate(kBlockBytes);
  if (!block && !failed_) {
    failed_ = true;
    emit(EventKind::array_failed, {}, 0, 0, Errc::limit);
    wake_manager();
    pass_event_.wake_all();
  }
  return block;
}

std::uint64_t Core::unix_seconds() const noexcept {
  return tuning_.unix_time_at_zero + static_cast<std::uint64_t>(scheduler_.now() / kSecond);
}

// A member's own superblock with what all members share; the rest stays as it was read (Superblock::kept too).
Superblock Core::superblock_for(const Member& member) const {
  constexpr std::uint32_t kOwned = kFeatureBitmap | kFeatureRecoveryOffset | kFeatureBadBlocks | kFeatureReplacement |
                                   kFeatureRecoveryBitmap | kFeatureJournal;
  Superblock super = member.super;
  super.set_uuid = common_.set_uuid;
  super.set_name = common_.set_name;
  super.ctime = common_.ctime;
  super.level = common_.level;
  super.layout = common_.layout;
  super.size_sectors = common_.size_sectors;
  super.chunk_sectors = common_.chunk_sectors;
  super.raid_disks = common_.raid_disks;
  super.roles = common_.roles;
  super.events = common_.events;
  super.utime = common_.utime;
  super.failed_by_hand = false;
  // md's way: while the array is written everything may differ, between writes only what no resync has reached yet.
  super.resync_offset_sectors = dirty_ ? 0 : resync_needed_ ? resync_reached_ / kSectorBytes : kResyncDone;
  super.recovery_offset_sectors = 0;
  super.feature_map = (super.feature_map & ~kOwned) | (bitmap_ ? kFeatureBitmap : 0);
  if (journal_) super.feature_map |= kFeatureJournal;
  if (journal_ && member.state == MemberState::journal) super.recovery_offset_sectors = journal_->tail_sectors();
  if (geometry_.has_zones() && super.level == Level::raid0) super.feature_map |= kFeatureRaid0Layout;
  if (!member.bad.empty()) super.feature_map |= kFeatureBadBlocks;
  if (member.state == MemberState::rebuilding || member.state == MemberState::replacement) {
    super.feature_map |= kFeatureRecoveryOffset;
    if (member.by_bitmap && bitmap_) super.feature_map |= kFeatureRecoveryBitmap;
    if (member.state == MemberState::replacement) super.feature_map |= kFeatureReplacement;
    super.recovery_offset_sectors = member.checkpoint / kSectorBytes;
  }
  return super;
}

// Waits until a write of all superblocks that began after `wanted` was asked for has ended. When the array has failed, whether
// it could be made is not told: nothing is acknowledged any more.
Task<void> Core::settle(std::uint64_t wanted) {
  if (read_only_) co_return;
  while (sb_done_ < wanted) {
    if (sb_busy_) {
      co_await sb_event_.wait();
    } else {
      co_await write_superblocks();
    }
  }
}

// A disk on which the array's superblock cannot stand.
void Core::refuse_member(Member& member) {
  if (member.live()) {
    mark_faulty(member, Errc::bad_input);
  } else {
    member.state = MemberState::faulty;
    common_.roles[member.super.dev_number] = kRoleFaulty;
    ++sb_wanted_;
  }
}

Task<void> Core::write_superblocks() {
  sb_busy_ = true;
  if (bitmap_) co_await bitmap_->take_turn();  // the header shares its block with bits
  const std::uint64_t covers = sb_wanted_;
  ++common_.events;
  common_.utime = unix_seconds();
  std::vector<Member*> unwritable;
  {
    Batch batch(*this, Cause::superblock);
    const Buffer bitmap_header = bitmap_ ? metadata_block() : Buffer();
    if (bitmap_header) bitmap_->copy_header(bitmap_header);
    // With no member left nothing is written: a spare that alone knows of that would outdate all that were.
    const bool anyone = std::any_of(members_.begin(), members_.end(), [](const auto& one) { return one->live(); });
    for (auto& owned : members_) {
      Member& member = *owned;
      if (!anyone) break;
      if (!member.live() && member.state != MemberState::spare && member.state != MemberState::journal) continue;
      const auto encoded = writable_superblock(superblock_for(member), member.device->size_bytes());
      if (!encoded) {
        unwritable.push_back(&member);
        continue;
      }
      const Buffer block = metadata_block();
      if (!block) break;
      std::memcpy(block.data(), encoded->data(), encoded->size());
      batch.write_raw(member, kSuperOffsetSectors * kSectorBytes, block);
      if (bitmap_header && member.live()) batch.write_raw(member, Bitmap::device_offset(member), bitmap_header);
    }
    co_await batch;
    judge(batch);
    if (batch.lacks_room()) faults_settled_ = ++sb_wanted_;  // once more, before anything is acknowledged
    for (const Batch::Failure& failure : batch.failures()) {
      if (failure.status == Errc::no_space) no_room(*failure.member);
      if (failure.member->state == MemberState::spare) failure.member->state = MemberState::faulty;
      if (failure.member->state == MemberState::journal && journal_) journal_->give_up(failure.status);
    }
  }
  for (Member* member : unwritable) refuse_member(*member);
  if (bitmap_) bitmap_->give_turn();
  sb_done_ = std::max(sb_done_, covers);
  sb_busy_ = false;
  sb_event_.wake_all();
}

// ---- bad blocks -----------------------------------------------------------------------------------------------------------

static std::vector<BadRange> bad_ranges(const Member& member) {
  std::vector<BadRange> ranges;
  for (const std::uint64_t offset : member.bad) {
    const std::uint64_t sector = (member.data_offset + offset) / kSectorBytes;
    // The last row of a mirror may be short.
    const std::uint64_t last = member.data_offset / kSectorBytes + member.super.data_size_sectors;
    const std::uint64_t sectors = std::min(kRowBytes / kSectorBytes, last - std::min(last, sector));
    if (sectors == 0) continue;
    if (!ranges.empty() && ranges.back().sector + ranges.back().sectors == sector &&
        ranges.back().sectors + sectors <= kBadBlockMaxSectors) {
      ranges.back().sectors += sectors;
    } else {
      ranges.push_back({sector, sectors});
    }
  }
  return ranges;
}

// Does its log take one more row?
bool Core::can_note(const Member& member) noexcept {
  return member.super.has_bad_block_log() && bad_ranges(member).size() < kBadBlockEntries;
}

// False: it has no log, or not for so much, or cannot be written.
Task<bool> Core::write_bad_log(Member& member) {
  if (read_only_) co_return true;
  if (!member.super.has_bad_block_log()) co_return member.bad.empty();
  member.super.bblog_shift = 0;  // md's, too, once the log is used
  // Two writes of one log are never in flight together: the older one could land last.
  co_await bad_log_turn_.acquire();
  SemaphoreGuard turn(bad_log_turn_);
  const Buffer block = metadata_block();
  if (!block) co_return false;
  const auto encoded = encode_bad_blocks(bad_ranges(member));
  if (!encoded) co_return false;
  std::memcpy(block.data(), encoded->data(), encoded->size());
  Batch batch(*this, Cause::superblock);
  batch.write_raw(member, member.super.sector_of(member.super.bblog_offset) * kSectorBytes, block);
  co_await batch;
  judge(batch);
  co_return batch.failures().empty();
}

// Durably notes that a row of this member is lost. False if it cannot be noted: the member is then no use.
Task<bool> Core::add_bad(Member& member, std::uint64_t row_offset) {
  if (!member.live()) co_return false;
  member.bad.insert(row_offset);
  if (!co_await write_bad_log(member)) {
    if (!failed_ && !full_) mark_faulty(member, Errc::no_space);  // its log is full, not its file system
    co_return false;
  }
  co_await commit();  // feature flag
  co_return member.live();
}

// Rows that were written anew are good again.
Task<void> Core::clear_bad(std::uint64_t from, std::uint64_t to, MemberSet members) {
  for (const std::uint32_t slot : members) {
    Member* const holder = slots_[slot];
    for (Member* member : {holder, holder->twin}) {
      if (member == nullptr || !member->live() || !member->has_bad(from, to)) continue;  // the twin may be none
      member->bad.erase(member->bad.lower_bound(from), member->bad.lower_bound(to));
      co_await write_bad_log(*member);
    }
  }
}

// ---- dirty and clean --------------------------------------------------------------------------------------------------------

Task<void> Core::ensure_dirty() {
  if (!geometry_.is_redundant() || consistency_ == Consistency::none || journal_) co_return;
  last_write_ = scheduler_.now();
  while (!dirty_durable_ && !failed_ && !full_) {
    if (!dirty_) {
      dirty_ = true;
      ++sb_wanted_;
      house_event_.wake_all();
    }
    co_await settle(sb_wanted_);
    if (dirty_ && !full_) dirty_durable_ = true;
  }
}

Task<Errc> Core::flush_members(Cause cause, Journal* journal) {
  Batch batch(*this, cause);
  if (journal != nullptr) batch.flush(journal->disk());
  for (Member* member : slots_) {
    if (member->live()) batch.flush(*member);
  }
  co_await batch;
  judge(batch);
  for (const Batch::Failure& failure : batch.failures()) {
    if (journal != nullptr && failure.member == &journal->disk()) journal->give_up(failure.status);
  }
  co_await settle(faults_settled_);
  co_return failed_ ? Errc::unavailable : batch.lacks_room() ? Errc::no_space : Errc::ok;
}

// After some time without writes: everything durable, then "clean".
Task<void> Core::try_clean() {
  const Nanos seen = last_write_;
  if (!dirty_ || active_writes_ != 0 || failed_) co_return;
  if (co_await flush_members(Cause::superblock) != Errc::ok) co_return;
  if (active_writes_ != 0 || last_write_ != seen || failed_) co_return;
  dirty_ = dirty_durable_ = false;
  co_await commit();
}

Task<void> Core::housekeeping() {
  const Nanos idle = tuning_.idle_clean_ms * kMillisecond;
  const Nanos sleep = tuning_.bitmap_sleep_ms * kMillisecond;
  Nanos next_sweep = scheduler_.now() + sleep;
  while (!stopping_) {
    const bool bits = bitmap_ && bitmap_->any_set();
    Nanos wake = kNever;
    if (dirty_ && !failed_) wake = std::max(last_write_ + idle, scheduler_.now() + std::max(idle / 4, kMillisecond));
    if (bits) wake = std::min(wake, std::max(next_sweep, scheduler_.now()));
    co_await house_event_.wait_until(wake);
    if (stopping_) break;
    if (scheduler_.now() >= next_sweep) {
      if (bitmap_ && !failed_) co_await bitmap_->sweep();
      next_sweep = scheduler_.now() + sleep;
    }
    if (dirty_ && scheduler_.now() >= last_write_ + idle) co_await try_clean();
  }
}

Task<void> Core::stop() {
  stopping_ = true;
  leaves_->stop();
  while (!queued_.empty()) {
    queued_.front()->complete(scheduler_, Errc::closed);
    queued_.pop_front();
  }
  wake_manager();
  house_event_.wake_all();
  pass_event_.wake_all();
  while (ops_in_use_ != 0) co_await drained_.wait();
  co_await tasks_.join();
  while (scrub_waiting_) co_await pass_event_.wait();
  if (journal_ && !read_only_) co_await journal_->trim();
  if (!failed_ && !read_only_) {
    const bool flushed = co_await flush_members(Cause::superblock) == Errc::ok;
    for (const auto& member : members_) {
      if (flushed && member->live()) member->checkpoint = member->watermark;
    }
    // Nothing is under way: no bit has anything to say. The first sweep only finds out which bits are idle.
    if (bitmap_ && flushed) co_await bitmap_->sweep();
    if (bitmap_ && flushed) co_await bitmap_->sweep();
    if (flushed) dirty_ = false;
    co_await commit();
  }
  co_await rest();
}

// Of an array that does nothing any more, or never came to be: its last tasks and the watchdog.
Task<void> Core::rest() {
  co_await tasks_.join();
  if (scheduler_.disarm(watchdog_)) watchdog_.pending = false;
  while (watchdog_.pending) co_await yield(scheduler_);  // it has expired and is about to run
}

}  // namespace resilver::raid
