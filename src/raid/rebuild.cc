// Windows of rebuild and replace: what a new member is to hold is computed from the others, or copied from the old one.
#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {

// Whose content a window of this pass holds in memory.
MemberSet Core::window_slots(const Pass& pass) const noexcept {
  const bool checks = pass.kind == RecoveryKind::resync || pass.kind == RecoveryKind::scrub;
  if (pass.kind == RecoveryKind::replace) return targets(pass);
  if (!geometry_.is_mirrored()) return geometry_.all_members();
  if (!checks) return MemberSet{0};
  if (!geometry_.is_mirror()) return MemberSet::first(geometry_.copies());
  MemberSet there;  // of a mirror most slots may be empty
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot]->live()) there.add(slot);
  }
  return there;
}

// One buffer for each of these slots, or none and false.
bool Core::window_buffers(MemberSet slots, std::uint64_t bytes, WindowBuffers& buffers) noexcept {
  buffers.resize(slots_.size());
  for (const std::uint32_t slot : slots) {
    if ((buffers[slot] = pool_.allocate(bytes))) continue;
    buffers.clear();
    return false;
  }
  return true;
}

// The memory of a window, which is made smaller if there is only so much. Waits while there is too little: before the window's
// lock is asked for, since those who have the memory may wait for that. False: the pass is to end.
Task<bool> Core::window_memory(Pass& pass, std::uint64_t begin, std::uint64_t& end, WindowBuffers& buffers) {
  for (;;) {
    if (interrupted(pass)) co_return false;
    const MemberSet slots = window_slots(pass);
    if (window_buffers(slots, end - begin, buffers)) co_return true;
    const std::uint64_t least = std::min(begin + unit_bytes_, end);
    if (window_buffers(slots, least - begin, buffers)) {
      end = least;
      co_return true;
    }
    co_await sleep_for(scheduler_, kMillisecond);
  }
}

// Reads a window of these members, each in one request; where that fails, its rows one by one, but all at once. Returns the
// rows that could not be read: a latent error costs no more than its own blocks (rule 6).
Task<std::vector<Core::Damage>> Core::read_window(Pass& pass, MemberSet from, std::uint64_t begin, std::uint64_t end,
                                                  const WindowBuffers& buffers) {
  std::vector<Damage> damage;
  MemberSet by_rows;
  const Nanos started = scheduler_.now();
  {
    Batch batch(*this, pass.cause);
    for (const std::uint32_t slot : from) {
      if (slots_[slot]->has_bad(begin, end)) {
        by_rows.add(slot);
      } else {
        batch.read(*slots_[slot], begin, buffers[slot], slot);
      }
    }
    co_await batch;
    judge(batch);
    for (const Batch::Failure& failure : batch.failures()) by_rows.add(failure.tag);
  }
  if (!by_rows.empty() && !interrupted(pass)) {
    Batch batch(*this, pass.cause);
    const auto tag_of = [begin](std::uint32_t slot, std::uint64_t at) {
      return static_cast<std::uint32_t>((at - begin) / kRowBytes * kMaxDisks + slot);
    };
    for (const std::uint32_t slot : by_rows) {
      for (std::uint64_t at = begin; at < end; at += kRowBytes) {
        if (slots_[slot]->has_bad(at, at + kRowBytes)) {
          damage.push_back({slot, at});
        } else {
          batch.read(*slots_[slot], at, buffers[slot].slice(at - begin, std::min(kRowBytes, end - at)),
                     tag_of(slot, at));
        }
      }
    }
    co_await batch;
    judge(batch);
    for (const Batch::Failure& failure : batch.failures()) {
      damage.push_back({failure.tag % kMaxDisks, begin + failure.tag / kMaxDisks * kRowBytes});
    }
    std::sort(damage.begin(), damage.end(), [](const Damage& a, const Damage& b) { return a.at < b.at; });
  }
  pass.reading += scheduler_.now() - started;
  co_return damage;
}

// Each survivor is read and each target written in one request for the whole window, however many stripes lie in it.
Task<bool> Core::rebuild_window(Pass& pass, std::uint64_t begin, std::uint64_t end, WindowBuffers& buffers) {
  const MemberSet lost = lost_for(end);
  const MemberSet to = targets() & lost;  // a target may be ahead of the window already
  const MemberSet from = geometry_.all_members() - lost;
  const std::vector<Damage> damage = co_await read_window(pass, from, begin, end, buffers);
  if (interrupted(pass)) co_return false;
  std::vector<std::byte*> columns(geometry_.columns());
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t stripe = geometry_.stripe_of_member_offset(at);
    const std::uint64_t bytes = std::min(end, geometry_.stripe_member_offset(stripe + 1)) - at;
    for (std::uint32_t column = 0; column < geometry_.columns(); ++column) {
      const std::uint32_t slot = geometry_.member_of(stripe, column);
      columns[column] = (from | to).contains(slot) ? buffers[slot].data() + (at - begin) : nullptr;
    }
    code_->recover(stripe, columns, geometry_.columns_lost(stripe, lost), bytes);
    at += bytes;
  }
  for (std::size_t i = 0; i < damage.size(); ++i) {
    if (i > 0 && damage[i].at == damage[i - 1].at) continue;
    if (!co_await rebuild_row(pass, damage[i].at, to, begin, buffers)) co_return false;
  }
  const Nanos write_started = scheduler_.now();
  Batch batch(*this, pass.cause);
  for (const std::uint32_t slot : to) write_target(batch, *slots_[slot], begin, buffers[slot]);
  co_await batch;
  judge(batch);
  pass.writing += scheduler_.now() - write_started;
  co_return !interrupted(pass);
}

// What these slots hold in a row that some member cannot read, into the window's buffers. What nobody knows is recorded as
// bad on the new member: reads fail there, a write heals.
Task<bool> Core::rebuild_row(Pass& pass, std::uint64_t at, MemberSet to, std::uint64_t begin, WindowBuffers& buffers) {
  const std::uint64_t stripe = geometry_.stripe_of_member_offset(at);
  Row found = co_await load_row(stripe, at - geometry_.stripe_member_offset(stripe), pass.cause);
  if (interrupted(pass)) co_return false;
  for (const std::uint32_t slot : to) {
    std::byte* const row = buffers[slot].data() + (at - begin);
    const std::uint32_t column = geometry_.column_of(stripe, slot);
    if (found.known.contains(column)) {
      std::memcpy(row, found.columns.at(column), kRowBytes);
      continue;
    }
    std::memset(row, 0, kRowBytes);
    if (!co_await add_bad(target(pass, slot), at)) co_return false;
  }
  co_return !interrupted(pass);
}

// ---- replace --------------------------------------------------------------------------------------------------------------

// Copies what the old members can read; the rest comes from redundancy.
Task<bool> Core::replace_window(Pass& pass, std::uint64_t begin, std::uint64_t end, WindowBuffers& buffers) {
  MemberSet from;
  for (const std::uint32_t slot : targets(pass)) {
    if (slots_[slot]->twin->watermark < end) from.add(slot);
  }
  const std::vector<Damage> damage = co_await read_window(pass, from, begin, end, buffers);
  if (interrupted(pass)) co_return false;
  for (const Damage& row : damage) {
    const MemberSet slot{row.slot};
    if (!geometry_.is_mirrored()) {
      if (!co_await rebuild_row(pass, row.at, slot, begin, buffers)) co_return false;
      continue;
    }
    for (const MirrorPiece& piece : mirror_pieces(row.slot, row.at, std::min(row.at + kRowBytes, end))) {
      if (!co_await copy_mirror_row(pass, piece, slot, buffers[row.slot].slice(row.at - begin, piece.bytes)))
        co_return false;
    }
  }
  const Nanos write_started = scheduler_.now();
  Batch batch(*this, pass.cause);
  for (const std::uint32_t slot : from) write_target(batch, *slots_[slot]->twin, begin, buffers[slot]);
  co_await batch;
  judge(batch);
  pass.writing += scheduler_.now() - write_started;
  co_return !interrupted(pass);
}

// Durably whole first: should the old member be gone after a crash, the replacement needs no rebuild. Then the slots change
// hands between two requests: what is sent from here on goes to the new members, and is acknowledged only when the
// superblocks say so. Nothing is waited for in between: a write could be acknowledged that an old member lacks which still
// counts (rule 2).
Task<void> Core::finish_replace(const Pass& pass) {
  const std::uint64_t version = version_;
  if (co_await flush_members(Cause::rebuild) != Errc::ok || version != version_) co_return;
  for (const std::uint32_t slot : targets(pass)) slots_[slot]->twin->checkpoint = geometry_.member_bytes();
  co_await commit();
  for (const std::uint32_t slot : bitmap_ ? targets(pass) : MemberSet{}) {
    if (version == version_) co_await bitmap_->write_all(*slots_[slot]->twin);
  }
  if (version != version_) co_return;
  for (const std::uint32_t slot : targets(pass)) {
    Member& old = *slots_[slot];
    Member& fresh = *std::exchange(old.twin, nullptr);
    old.state = MemberState::faulty;
    old.replaced = true;
    common_.roles[old.super.dev_number] = kRoleFaulty;
    fresh.state = MemberState::in_sync;
    slots_[slot] = &fresh;
    emit(EventKind::rebuild_finished, fresh.name, geometry_.member_bytes(), geometry_.member_bytes());
  }
  ++version_;
  faults_settled_ = ++sb_wanted_;  // the old members miss what is written from now on (rule 2)
  co_await settle(sb_wanted_);
  if (redundancy_full()) emit(EventKind::redundancy_full);
}

// ---- checkpoints and ends -----------------------------------------------------------------------------------------------

// A checkpoint is written only after a flush of what it is about (rule 3). A resync's is on disk only between writes: while
// the array is written its superblocks say that everything may differ.
Task<void> Core::checkpoint(Pass& pass) {
  const std::uint64_t reached = pass.retired;
  // No record may know less of a member than its superblock is going to say: replay would put it over what was rebuilt.
  if (journal_) co_await journal_->trim();
  if (interrupted(pass)) co_return;
  if (pass.kind == RecoveryKind::resync) {
    if (co_await flush_members(pass.cause) != Errc::ok || interrupted(pass)) co_return;
    resync_reached_ = reached;
    if (!dirty_) co_await commit();
    co_return;
  }
  {
    Batch batch(*this, pass.cause);
    for (const std::uint32_t slot : targets(pass)) batch.flush(target(pass, slot));
    co_await batch;
    judge(batch);
  }
  if (interrupted(pass)) co_return;
  for (const std::uint32_t slot : targets(pass)) {
    Member& member = target(pass, slot);
    member.checkpoint = std::max(member.checkpoint, std::min(reached, member.watermark));
  }
  co_await commit();
}

Task<void> Core::finish_rebuild(const Pass& pass) {
  const std::uint64_t version = version_;
  if (journal_) co_await journal_->trim();
  if (co_await flush_members(Cause::rebuild) != Errc::ok || version != version_) co_return;
  for (const std::uint32_t slot : targets(pass)) {
    Member& member = *slots_[slot];
    member.watermark = geometry_.member_bytes();
    member.state = MemberState::in_sync;
    member.by_bitmap = false;
    emit(EventKind::rebuild_finished, member.name, geometry_.member_bytes(), geometry_.member_bytes());
  }
  ++version_;
  full_disk_.clear();
  co_await commit();
  if (redundancy_full()) emit(EventKind::redundancy_full);
}

}  // namespace resilver::raid
