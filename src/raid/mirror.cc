// RAID 1: every member holds everything.
#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {

static constexpr std::uint64_t kMirrorBatch = 4 << 20;  // of a long request (write_zeroes) so much at a time

// A member that holds the range. While a resync is due the same one answers for all (rule 8); else the one where the last
// read ended just before, or the next in turn.
Member* Core::mirror_source(std::uint64_t begin, std::uint64_t end, MemberSet except) noexcept {
  Member* first = nullptr;
  Member* turn = nullptr;
  const auto count = static_cast<std::uint32_t>(slots_.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    if (except.contains(i) || !readable(i, begin, end)) continue;
    Member* member = slots_[i];
    if (first == nullptr) first = member;
    if (member->next_sequential == begin && !resync_needed_) turn = member;
  }
  if (first == nullptr || resync_needed_) return first;
  for (std::uint32_t i = 0; i < count && turn == nullptr; ++i) {
    const std::uint32_t slot = (mirror_turn_ + i) % count;
    if (!except.contains(slot) && readable(slot, begin, end)) {
      turn = slots_[slot];
      mirror_turn_ = slot + 1;
    }
  }
  turn->next_sequential = end;
  return turn;
}

Task<Errc> Core::read_mirror(const Transfer& transfer) {
  for (std::uint64_t at = 0; at < transfer.length; at += kRowBytes) {
    const Errc status = co_await read_mirror_row(transfer, at);
    if (status != Errc::ok) co_return status;
  }
  co_return Errc::ok;
}

// Tries one copy after the other; what could not be read is rewritten from the one that could.
Task<Errc> Core::read_mirror_row(const Transfer& transfer, std::uint64_t at) {
  const std::uint64_t begin = transfer.offset + at;
  const std::uint64_t end = begin + kRowBytes;
  Buffer block = pool_.allocate(kRowBytes);
  if (!block) co_return Errc::limit;
  MemberSet bad;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot] != nullptr && slots_[slot]->has_bad(begin, end)) bad.add(slot);
  }
  while (!failed_) {
    Member* source = mirror_source(begin, end, bad);
    if (source == nullptr) {
      note_lost(begin / geometry_.chunk_bytes(), begin % geometry_.chunk_bytes(), ColumnSet{0});
      co_return Errc::medium;
    }
    Batch batch(*this, Cause::foreground);
    batch.read(*source, begin, block);
    co_await batch;
    judge(batch);
    if (batch.failures().empty()) break;
    if (source->live()) bad.add(*source->slot);
  }
  if (failed_) co_return Errc::unavailable;
  transfer.payload.copy_from(block.data(), at, kRowBytes);
  if (bad.empty()) co_return Errc::ok;
  co_await heal_copies(begin, block, bad, Cause::foreground);
  co_await settle(faults_settled_);
  co_return Errc::ok;
}

// Rewrites one row of copies that could not be read.
Task<void> Core::heal_copies(std::uint64_t begin, Buffer block, MemberSet bad, Cause cause) {
  if (read_only_) co_return;
  const std::uint64_t end = begin + kRowBytes;
  MemberSet healed;
  Batch batch(*this, cause);
  for (const std::uint32_t slot : bad) {
    if (!slots_[slot]->holds(end)) continue;
    batch.write(*slots_[slot], begin, block, true);
    healed.add(slot);
  }
  co_await batch;
  judge(batch);
  co_await clear_bad(begin, end, healed);
  healed_blocks_ += healed.count();
  if (!healed.empty()) emit(EventKind::block_healed, {}, begin);
}

// Pieces end at multiples of kBandBytes, so none is on both sides of a watermark.
Task<Errc> Core::write_mirror(const Transfer& transfer) {
  MemberSet written;
  // What heals a bad block is durable before the log forgets the block.
  const std::uint64_t end = transfer.offset + transfer.length;
  const bool heals = std::any_of(slots_.begin(), slots_.end(), [&](const Member* member) {
    return member != nullptr && member->has_bad(transfer.offset, end);
  });
  for (std::uint64_t at = 0; at < transfer.length && !failed_;) {
    Batch batch(*this, Cause::foreground);
    for (const std::uint64_t stop = at + kMirrorBatch; at < transfer.length && at < stop;) {
      const std::uint64_t begin = transfer.offset + at;
      const std::uint64_t bytes = std::min(transfer.length - at, kBandBytes - begin % kBandBytes);
      for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
        Member* member = slots_[slot];
        if (member == nullptr || !member->holds(begin + bytes)) continue;
        batch.transfer(IoOp::write, *member, begin, transfer.payload, at, bytes, transfer.fua || heals);
        written.add(slot);
      }
      at += bytes;
    }
    co_await batch;
    judge(batch);
  }
  co_await clear_bad(transfer.offset, end, written);
  co_return failed_ ? Errc::unavailable : Errc::ok;
}

// ---- windows ----------------------------------------------------------------------------------------------------------------

Task<bool> Core::rebuild_mirror_window(Pass& pass, std::uint64_t begin, std::uint64_t end) {
  const MemberSet to = targets();
  std::array<Buffer, kMaxDisks> buffers;
  Member* source = mirror_source(begin, end, {});
  if (source == nullptr) source = mirror_source(begin, begin + kRowBytes, {});
  for (std::uint32_t slot = 0; slot < slots_.size() && source == nullptr; ++slot) {
    if (slots_[slot] != nullptr && slots_[slot]->holds(end)) source = slots_[slot];
  }
  if (source == nullptr) co_return false;
  const std::uint32_t from = *source->slot;
  if (!co_await window_buffers(MemberSet{from}, end - begin, buffers)) co_return false;
  const std::vector<Damage> damage = co_await read_window(pass, MemberSet{from}, begin, end, buffers);
  if (interrupted(pass)) co_return false;
  for (const Damage& row : damage) {
    if (!co_await copy_mirror_row(pass, row.at, to, begin, buffers[from])) co_return false;
  }
  const Nanos write_started = scheduler_.now();
  Batch batch(*this, pass.cause);
  for (const std::uint32_t slot : to) batch.write(*slots_[slot], begin, buffers[from], false);
  co_await batch;
  judge(batch);
  pass.writing += scheduler_.now() - write_started;
  co_return !interrupted(pass);
}

// A row of a window that its source cannot read: from another copy, which heals the source, or recorded as bad on the new
// members.
Task<bool> Core::copy_mirror_row(Pass& pass, std::uint64_t at, MemberSet to, std::uint64_t begin, Buffer window) {
  const Payload payload({&window, 1});
  const Transfer transfer{payload, begin, window.size(), false};
  const Errc status = co_await read_mirror_row(transfer, at - begin);
  if (interrupted(pass)) co_return false;
  if (status == Errc::ok) co_return true;
  if (status != Errc::medium) co_return false;
  std::memset(window.data() + (at - begin), 0, kRowBytes);
  for (const std::uint32_t slot : to) {
    if (!co_await add_bad(*target(pass, slot), at)) co_return false;
  }
  co_return true;
}

// Resync: the source's copy goes to the others. Scrub: counts, and with three copies a majority names the odd one.
Task<bool> Core::check_mirror_window(Pass& pass, std::uint64_t begin, std::uint64_t end) {
  const auto count = static_cast<std::uint32_t>(slots_.size());
  std::array<Buffer, kMaxDisks> copies;
  MemberSet live;
  MemberSet unreadable;
  for (std::uint32_t slot = 0; slot < count; ++slot) {
    if (slots_[slot] == nullptr || !slots_[slot]->holds(end)) continue;
    (readable(slot, begin, end) ? live : unreadable).add(slot);
  }
  if (!co_await window_buffers(live, end - begin, copies)) co_return false;
  const Nanos started = scheduler_.now();
  {
    Batch batch(*this, pass.cause);
    for (const std::uint32_t slot : live) batch.read(*slots_[slot], begin, copies[slot], slot);
    co_await batch;
    judge(batch);
    pass.reading += scheduler_.now() - started;
    if (interrupted(pass)) co_return false;
    for (const Batch::Failure& failure : batch.failures()) {
      live.remove(failure.tag);
      unreadable.add(failure.tag);
    }
  }
  if (!unreadable.empty() && end - begin > kRowBytes) {
    for (std::uint64_t at = begin; at < end; at += kRowBytes) {
      if (!co_await check_mirror_window(pass, at, at + kRowBytes)) co_return false;
    }
    co_return true;
  }
  if (!unreadable.empty() && !live.empty()) {
    co_await heal_copies(begin, copies[live.lowest()], unreadable, pass.cause);
    if (interrupted(pass)) co_return false;
  }
  if (live.count() < 2) co_return true;
  for (std::uint64_t at = 0; at < end - begin; at += kRowBytes) {
    std::uint32_t good = live.lowest();
    MemberSet odd;
    for (const std::uint32_t slot : live) {
      if (std::memcmp(copies[slot].data() + at, copies[good].data() + at, kRowBytes) != 0) odd.add(slot);
    }
    if (odd.empty()) continue;
    // A resync never asks the majority: until it has passed, all reads were answered by the first copy, so that is the one
    // that counts.
    const bool may_vote = pass.kind == RecoveryKind::scrub && live.count() >= 3 && may_locate_;
    std::optional<std::uint32_t> wrong;
    if (may_vote && odd.count() == 1) wrong = odd.lowest();
    if (may_vote && odd.count() == live.count() - 1) {
      const std::uint32_t other = odd.lowest();
      bool all_same = true;
      for (const std::uint32_t slot : odd) {
        all_same = all_same && std::memcmp(copies[slot].data() + at, copies[other].data() + at, kRowBytes) == 0;
      }
      if (all_same) {
        wrong = good;
        if (!pass.repair || pass.locate) {
          good = other;
          odd = MemberSet{*wrong};
        }
      }
    }
    if (pass.kind == RecoveryKind::scrub) {
      const std::uint64_t row = begin + at;
      record_mismatch(pass, row / geometry_.chunk_bytes(), row % geometry_.chunk_bytes(), wrong);
    }
    if (!pass.repair) continue;
    Batch batch(*this, pass.cause);
    for (const std::uint32_t slot : odd) {
      batch.write(*slots_[slot], begin + at, copies[good].slice(at, kRowBytes), false);
    }
    co_await batch;
    judge(batch);
    if (interrupted(pass)) co_return false;
  }
  co_return true;
}

}  // namespace resilver::raid
