// The disk of the journal: failing it by hand, and giving one to an array that has none (any more).
#include <cstring>

#include <fmt/format.h>

#include "raid/core.h"

namespace resilver::raid {

// All that it holds is on the members first, so that nothing is lost with it. From then on nothing is written: to go on without
// a journal is for the user to say (force), as with one that is lost.
Task<Status> Core::fail_journal(std::string disk_name) {
  if (redundancy_left() < geometry_.redundancy()) {
    co_return fail(Errc::unavailable,
                   disk_name + ": the array is degraded: without its journal nothing would start it but force");
  }
  co_await journal_->trim();
  if (failed_) co_return fail(Errc::unavailable, "the array has failed");
  journal_->give_up(Errc::ok);
  co_await settle(sb_wanted_);
  co_return Status{};
}

Status Core::check_new_journal(const MemberDisk& disk) {
  if (geometry_.parity_disks() == 0) {
    return fail(Errc::unsupported, fmt::format("{} has no journal: only levels 4, 5 and 6", name(geometry_.level())));
  }
  if (bitmap_) return fail(Errc::unsupported, "the array has a bitmap: a journal takes its place, it cannot have both");
  if (journal_ && !journal_->failed()) {
    return fail(Errc::exists, fmt::format("the array has a journal already, {}", journal_->disk().name));
  }
  if (journal_) return fail(Errc::unavailable, "its journal has failed: assemble it anew by force, then add another");
  if (failed_) return fail(Errc::unavailable, "the array has failed");
  if (resync_needed_) {
    return fail(Errc::unavailable,
                "a resync is due first, which resilver assemble does: a journal only keeps parity right");
  }
  return check_new(disk, data_offset_bytes() + Journal::kMinBytes);
}

// The new disk's own superblock: it is this array's journal, whatever the others say.
Task<bool> Core::write_journal_superblock(Member& disk) {
  Superblock super = superblock_for(disk);
  super.feature_map |= kFeatureJournal;
  super.roles[disk.super.dev_number] = kRoleJournal;
  const auto encoded = writable_superblock(super, disk.device->size_bytes());
  const Buffer block = metadata_block();
  if (!encoded || !block) co_return false;
  std::memcpy(block.data(), encoded->data(), encoded->size());
  Batch batch(*this, Cause::superblock);
  batch.write_raw(disk, kSuperOffsetSectors * kSectorBytes, block);
  co_await batch;
  co_return batch.failures().empty();
}

// What must never happen: the superblocks say that a journal covers what is being written, and it does not. So the disk's own
// superblock and the log's first record are durable before the members say so, and nothing is under way in any stripe when it
// becomes true. A crash before that: the members' superblocks know the disk's number as faulty, so that nobody takes it for a
// spare; should its own be the one that decides (its events are theirs), the array has a journal, which is empty. After it: the
// disk is one event behind, and current.
Task<Status> Core::add_journal(MemberDisk given) {
  if (read_only_) co_return fail(Errc::read_only, "the array was assembled read-only");
  if (Status fine = check_new_journal(given); !fine) co_return fine;
  if (Member* old = find(given.name); old != nullptr) forget(*old);
  Member& disk = place_journal(given);
  const std::uint32_t number = disk.super.dev_number;
  disk.state = MemberState::faulty;
  common_.roles[number] = kRoleFaulty;
  co_await commit();
  auto journal = std::make_unique<Journal>(*this, disk, 0);
  const Status room = co_await journal->make_room();
  if (!room) co_return room;
  const Status formatted = co_await journal->format(random_);
  RangeGuard all(locks_, 0, geometry_.member_bytes(), true);
  co_await all;
  const Errc flushed = co_await flush_members(Cause::superblock);
  if (!formatted || !co_await write_journal_superblock(disk))
    co_return fail(Errc::io, given.name + ": cannot be written");
  if (flushed != Errc::ok || failed_ || resync_needed_) co_return fail(Errc::unavailable, "members failed meanwhile");
  disk.state = MemberState::journal;
  common_.roles[number] = kRoleJournal;
  use_journal(std::move(journal));
  dirty_ = dirty_durable_ = false;  // from here on the journal covers what is being written
  emit(EventKind::disk_added, disk.name);
  co_await commit();
  if (journal_->failed()) co_return fail(Errc::io, given.name + ": cannot be written");
  co_return Status{};
}

}  // namespace resilver::raid
