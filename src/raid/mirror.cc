// RAID 1 and 10: every byte has copies on several members. Requests and their locks, resync and scrub go by logical addresses;
// a rebuild goes by the offsets of the member that it fills. With RAID 1 these are the same.
//
// A piece is contiguous in every copy and never on both sides of a rebuild's watermark.
#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {

static constexpr std::uint64_t kMirrorBatch = 4 << 20;  // of a long request (write_zeroes) so much at a time

// Bytes from `logical` on that are contiguous in every copy.
std::uint64_t Core::mirrored_run(std::uint64_t logical) const noexcept {
  return geometry_.is_mirror() ? geometry_.capacity_bytes() - logical : geometry_.mirrored_run(logical);
}

// Of the row that begins at `logical`: the last one of a RAID 1 may be short.
std::uint64_t Core::mirror_row(std::uint64_t logical) const noexcept {
  return std::min(kRowBytes, geometry_.capacity_bytes() - logical);
}

bool Core::copy_readable(std::uint64_t logical, std::uint64_t bytes, std::uint32_t copy) const noexcept {
  const CopyPlace place = geometry_.copy_of(logical, copy);
  return readable(place.member, place.member_offset, place.member_offset + bytes);
}

// A copy of a piece that can be read. While a resync is due it is always the first (rule 8); else the one where the last read
// ended just before, or the one on the member with the least to do, in turn; one that is write-mostly if there is no other.
std::optional<CopyPlace> Core::mirror_source(std::uint64_t logical, std::uint64_t bytes) noexcept {
  const std::uint32_t count = geometry_.copies();
  std::optional<CopyPlace> best;
  std::optional<CopyPlace> write_mostly;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t copy = resync_needed_ ? i : (mirror_turn_ + i) % count;
    if (!copy_readable(logical, bytes, copy)) continue;
    const CopyPlace place = geometry_.copy_of(logical, copy);
    if (resync_needed_) return place;
    const Member& member = *slots_[place.member];
    if ((member.super.devflags & kWriteMostly) != 0) {
      write_mostly = place;
      continue;
    }
    if (member.next_sequential == place.member_offset && place.member_offset != 0) {
      best = place;
      break;
    }
    if (!best || member.in_flight_count < slots_[best->member]->in_flight_count) best = place;
  }
  if (!best) best = write_mostly;
  if (!best) return best;
  ++mirror_turn_;
  slots_[best->member]->next_sequential = best->member_offset + bytes;
  return best;
}

// A read that can be answered by copies that hold all of it: leaves at once, no coroutine.
bool Core::try_mirror_read(Op& op) noexcept {
  const IoRequest& request = *op.request;
  for (std::uint64_t at = 0; at < request.length;) {
    const std::uint64_t logical = request.offset + at;
    const std::uint64_t bytes = std::min(request.length - at, mirrored_run(logical));
    bool found = false;
    for (std::uint32_t copy = 0; copy < geometry_.copies(); ++copy)
      found = found || copy_readable(logical, bytes, copy);
    if (!found) return false;
    at += bytes;
  }
  const Payload payload(request.segments);
  op.pending = 1;  // this function's own, so that nothing ends before all is sent
  for (std::uint64_t at = 0; at < request.length;) {
    const std::uint64_t logical = request.offset + at;
    const std::uint64_t bytes = std::min(request.length - at, mirrored_run(logical));
    const CopyPlace place = *mirror_source(logical, bytes);
    Member& member = *slots_[place.member];
    for (std::uint64_t done = 0; done < bytes;) {
      Leaf& leaf = leaves_->take();
      const std::uint64_t taken = payload.gather(leaf, at + done, bytes - done);
      ++op.pending;
      send(leaf, member, op, IoOp::read, member.data_offset + place.member_offset + done, taken, false,
           cause_of(request.use), 0);
      done += taken;
    }
    at += bytes;
  }
  if (--op.pending == 0) straight_done(op);
  return true;
}

Task<Errc> Core::read_mirror(const Transfer& transfer) {
  Buffer block = pool_.allocate(kRowBytes);
  std::optional<SemaphoreGuard> permit;
  if (!block) {
    co_await rows_.acquire();
    permit.emplace(rows_);
    block = metadata_block();
    if (!block) co_return Errc::unavailable;
  }
  for (std::uint64_t at = 0; at < transfer.length; at += kRowBytes) {
    const Errc status = co_await read_mirror_row(transfer.offset + at, block, cause_of(transfer.use));
    if (status != Errc::ok) co_return status;
    transfer.payload.copy_from(block.data(), at, mirror_row(transfer.offset + at));
  }
  co_return Errc::ok;
}

// Tries one copy after the other; what could not be read is rewritten from the one that could.
Task<Errc> Core::read_mirror_row(std::uint64_t logical, Buffer& block, Cause cause) {
  const std::uint64_t bytes = mirror_row(logical);
  CopySet bad;
  for (std::uint32_t copy = 0; copy < geometry_.copies(); ++copy) {
    const CopyPlace place = geometry_.copy_of(logical, copy);
    const Member* member = slots_[place.member];
    if (member->has_bad(place.member_offset, place.member_offset + bytes)) bad.add(copy);
  }
  while (!failed_) {
    std::optional<CopyPlace> source;
    std::uint32_t copy = 0;
    for (; copy < geometry_.copies() && !source; ++copy) {
      if (!bad.contains(copy) && copy_readable(logical, bytes, copy)) source = geometry_.copy_of(logical, copy);
    }
    if (!source) {
      note_lost(logical / geometry_.chunk_bytes(), logical % geometry_.chunk_bytes(), ColumnSet{0});
      co_return Errc::medium;
    }
    Batch batch(*this, cause);
    batch.read(*slots_[source->member], source->member_offset, block.slice(0, bytes));
    co_await batch;
    judge(batch);
    if (batch.failures().empty()) break;
    if (batch.failures().front().member->live()) bad.add(copy - 1);
    // A late answer would come into this block.
    if (batch.failures().front().status == Errc::timeout) block = metadata_block();
  }
  if (failed_) co_return Errc::unavailable;
  if (bad.empty()) co_return Errc::ok;
  co_await heal_copies(logical, block, bad, cause);
  co_await settle(faults_settled_);
  co_return Errc::ok;
}

// Rewrites one row of copies that could not be read.
Task<void> Core::heal_copies(std::uint64_t logical, Buffer block, CopySet bad, Cause cause) {
  if (read_only_) co_return;
  CopySet healed;
  const std::uint64_t bytes = mirror_row(logical);
  {
    Batch batch(*this, cause);
    for (const std::uint32_t copy : bad) {
      const CopyPlace place = geometry_.copy_of(logical, copy);
      Member* member = slots_[place.member];
      if (!member->holds(place.member_offset + bytes)) continue;
      batch.write(*member, place.member_offset, block.slice(0, bytes), true);
      healed.add(copy);
    }
    co_await batch;
    judge(batch);
    if (batch.lacks_room()) co_return;
  }
  co_await clear_bad_copies(logical, bytes, healed);
  healed_blocks_ += healed.count();
  if (!healed.empty()) emit(EventKind::block_healed, {}, logical);
}

Task<void> Core::clear_bad_copies(std::uint64_t logical, std::uint64_t bytes, CopySet copies) {
  for (const std::uint32_t copy : copies) {
    const CopyPlace place = geometry_.copy_of(logical, copy);
    co_await clear_bad(place.member_offset, place.member_offset + bytes, MemberSet{place.member});
  }
}

Task<Errc> Core::write_mirror(const Transfer& transfer) {
  struct Healed {
    std::uint64_t logical, bytes;
    CopySet copies;
  };
  for (std::uint64_t at = 0; at < transfer.length && !failed_;) {
    std::vector<Healed> healed;
    {
      Batch batch(*this, cause_of(transfer.use));
      for (const std::uint64_t stop = at + kMirrorBatch; at < transfer.length && at < stop;) {
        const std::uint64_t logical = transfer.offset + at;
        std::uint64_t bytes = std::min(transfer.length - at, mirrored_run(logical));
        bytes = std::min(bytes, kBandBytes - geometry_.copy_of(logical, 0).member_offset % kBandBytes);
        Healed piece{logical, bytes, {}};
        for (std::uint32_t copy = 0; copy < geometry_.copies(); ++copy) {
          const CopyPlace place = geometry_.copy_of(logical, copy);
          Member* member = slots_[place.member];
          if (!member->holds(place.member_offset + bytes)) continue;
          const bool heals = member->has_bad(place.member_offset, place.member_offset + bytes);
          if (heals) piece.copies.add(copy);
          // What heals a bad block is durable before the log forgets the block.
          batch.transfer(IoOp::write, *member, place.member_offset, transfer.payload, at, bytes, transfer.fua || heals);
        }
        if (!piece.copies.empty()) healed.push_back(piece);
        at += bytes;
      }
      co_await batch;
      judge(batch);
      if (batch.lacks_room()) {
        need_resync();
        co_return failed_ ? Errc::unavailable : Errc::no_space;
      }
    }
    for (const Healed& piece : healed) co_await clear_bad_copies(piece.logical, piece.bytes, piece.copies);
  }
  co_return failed_ ? Errc::unavailable : Errc::ok;
}

// ---- rebuild ----------------------------------------------------------------------------------------------------------------

// What a window of a member's data area holds, as logical addresses; the place that an odd RAID 10 leaves unused is left out.
std::vector<Core::MirrorPiece> Core::mirror_pieces(std::uint32_t slot, std::uint64_t begin, std::uint64_t end) const {
  if (geometry_.is_mirror()) return {{begin, begin, end - begin}};
  std::vector<MirrorPiece> pieces;
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t bytes = std::min(end - at, geometry_.chunk_bytes() - at % geometry_.chunk_bytes());
    if (const auto logical = geometry_.logical_at(slot, at)) pieces.push_back({*logical, at, bytes});
    at += bytes;
  }
  return pieces;
}

// Whole pieces first, then the rows of those that could not be read, all at once, then what is left row by row.
Task<bool> Core::rebuild_mirror_window(Pass& pass, std::uint64_t begin, std::uint64_t end, const Buffer& window) {
  const MemberSet to = targets(pass);
  const Nanos started = scheduler_.now();
  std::vector<MirrorPiece> pieces = mirror_pieces(to.lowest(), begin, end);
  if (!geometry_.is_mirror()) std::memset(window.data(), 0, window.size());  // places that hold nothing
  for (const bool rows : {false, true}) {
    Batch batch(*this, pass.cause);
    std::vector<MirrorPiece> unread;
    for (std::uint32_t i = 0; i < pieces.size(); ++i) {
      const MirrorPiece& piece = pieces[i];
      const auto source = mirror_source(piece.logical, piece.bytes);
      if (!source) {
        unread.push_back(piece);
        continue;
      }
      batch.read(*slots_[source->member], source->member_offset, window.slice(piece.at - begin, piece.bytes), i);
    }
    co_await batch;
    judge(batch);
    if (interrupted(pass)) co_return false;
    for (const Batch::Failure& failure : batch.failures()) unread.push_back(pieces[failure.tag]);
    pieces.clear();
    for (const MirrorPiece& piece : unread) {
      for (std::uint64_t skip = 0; skip < piece.bytes; skip += kRowBytes) {
        pieces.push_back({piece.logical + skip, piece.at + skip, mirror_row(piece.logical + skip)});
      }
    }
    if (pieces.empty() || rows) break;
  }
  pass.reading += scheduler_.now() - started;
  for (const MirrorPiece& row : pieces) {
    if (!co_await copy_mirror_row(pass, row, to, window.slice(row.at - begin, row.bytes))) co_return false;
  }
  const Nanos write_started = scheduler_.now();
  Batch batch(*this, pass.cause);
  for (const std::uint32_t slot : to) write_target(batch, target(pass, slot), begin, window);
  co_await batch;
  judge(batch);
  pass.writing += scheduler_.now() - write_started;
  co_return !interrupted(pass);
}

// A row that its source cannot read: from another copy, which heals the source, or recorded as bad on the new members.
Task<bool> Core::copy_mirror_row(Pass& pass, MirrorPiece row, MemberSet to, Buffer block) {
  const Errc status = co_await read_mirror_row(row.logical, block, pass.cause);
  if (interrupted(pass)) co_return false;
  if (status == Errc::ok) co_return true;
  if (status != Errc::medium) co_return false;
  std::memset(block.data(), 0, row.bytes);
  for (const std::uint32_t slot : to) {
    if (!co_await add_bad(target(pass, slot), row.at)) co_return false;
  }
  co_return true;
}

// ---- resync and scrub -------------------------------------------------------------------------------------------------------

// Reads every copy of a logical window, each piece in one request; where that fails, row by row, all at once. For each row the
// copies that were read.
Task<std::vector<Core::CopySet>> Core::read_copies(Pass& pass, std::uint64_t begin, std::uint64_t end,
                                                   const WindowBuffers& buffers) {
  struct Part {
    std::uint64_t logical, bytes;
    std::uint32_t copy;
  };
  std::vector<CopySet> known((end - begin + kRowBytes - 1) / kRowBytes);
  std::vector<Part> parts;
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t bytes = std::min(end - at, mirrored_run(at));
    for (std::uint32_t copy = 0; copy < geometry_.copies(); ++copy) parts.push_back({at, bytes, copy});
    at += bytes;
  }
  const Nanos started = scheduler_.now();
  for (const bool rows : {false, true}) {
    Batch batch(*this, pass.cause);
    std::vector<Part> unread;
    std::vector<bool> asked(parts.size());
    for (std::uint32_t i = 0; i < parts.size(); ++i) {
      const Part& part = parts[i];
      const CopyPlace place = geometry_.copy_of(part.logical, part.copy);
      Member* member = slots_[place.member];
      if (!member->holds(place.member_offset + part.bytes)) continue;
      if (member->has_bad(place.member_offset, place.member_offset + part.bytes)) {
        if (!rows) unread.push_back(part);
        continue;
      }
      asked[i] = true;
      batch.read(*member, place.member_offset, buffers[part.copy].slice(part.logical - begin, part.bytes), i);
    }
    co_await batch;
    judge(batch);
    for (const Batch::Failure& failure : batch.failures()) {
      asked[failure.tag] = false;
      if (!rows) unread.push_back(parts[failure.tag]);
    }
    for (std::uint32_t i = 0; i < parts.size(); ++i) {
      for (std::uint64_t skip = 0; asked[i] && skip < parts[i].bytes; skip += kRowBytes) {
        known[(parts[i].logical - begin + skip) / kRowBytes].add(parts[i].copy);
      }
    }
    if (unread.empty() || interrupted(pass)) break;
    parts.clear();
    for (const Part& part : unread) {
      for (std::uint64_t skip = 0; skip < part.bytes; skip += kRowBytes) {
        parts.push_back({part.logical + skip, mirror_row(part.logical + skip), part.copy});
      }
    }
  }
  pass.reading += scheduler_.now() - started;
  co_return known;
}

// Resync: the source's copy goes to the others. Scrub: counts, and with three copies a majority names the odd one.
Task<bool> Core::check_mirror_window(Pass& pass, std::uint64_t begin, std::uint64_t end, const WindowBuffers& buffers) {
  const std::vector<CopySet> known = co_await read_copies(pass, begin, end, buffers);
  if (interrupted(pass)) co_return false;
  for (std::uint64_t at = begin; at < end; at += kRowBytes) {
    const std::uint64_t bytes = mirror_row(at);
    const CopySet read = known[(at - begin) / kRowBytes];
    CopySet unreadable;
    for (std::uint32_t copy = 0; copy < geometry_.copies(); ++copy) {
      const CopyPlace place = geometry_.copy_of(at, copy);
      const Member* member = slots_[place.member];
      const bool held = member->holds(place.member_offset + bytes);
      if (held && !read.contains(copy)) unreadable.add(copy);
    }
    if (!unreadable.empty() && read.empty()) {
      LostRow row{at / geometry_.chunk_bytes(), geometry_.copy_of(at, 0).member_offset, {}, {at}};
      for (const std::uint32_t copy : unreadable) row.slots.push_back(geometry_.copy_of(at, copy).member);
      record_lost(pass, std::move(row));
    }
    if (!unreadable.empty() && !read.empty()) {
      co_await heal_copies(at, buffers[read.lowest()].slice(at - begin, bytes), unreadable, pass.cause);
      if (interrupted(pass)) co_return false;
    }
    if (read.count() >= 2 && !co_await check_copies(pass, at, at - begin, read, buffers)) co_return false;
  }
  co_return true;
}

// One row of copies that were read.
Task<bool> Core::check_copies(Pass& pass, std::uint64_t logical, std::uint64_t skip, const CopySet& read,
                              const WindowBuffers& buffers) {
  const std::uint64_t bytes = mirror_row(logical);
  const auto same = [&](std::uint32_t a, std::uint32_t b) {
    return std::memcmp(buffers[a].data() + skip, buffers[b].data() + skip, bytes) == 0;
  };
  std::uint32_t good = read.lowest();
  CopySet odd;
  for (const std::uint32_t copy : read) {
    if (!same(copy, good)) odd.add(copy);
  }
  if (odd.empty()) co_return true;
  // A resync never asks the majority: until it has passed, all reads were answered by the first copy, so that is the one
  // that counts.
  const bool may_vote = pass.kind == RecoveryKind::scrub && read.count() >= 3 && may_locate_;
  std::optional<std::uint32_t> wrong;
  if (may_vote && odd.count() == 1) wrong = odd.lowest();
  if (may_vote && odd.count() == read.count() - 1) {
    const std::uint32_t other = odd.lowest();
    bool agree = true;
    for (const std::uint32_t copy : odd) agree = agree && same(copy, other);
    if (agree) wrong = good;
  }
  if (pass.kind == RecoveryKind::scrub) {
    ++pass.mismatch_rows;
    if (pass.mismatches.size() < kMaxListed) {
      std::optional<std::uint32_t> slot;
      if (wrong) slot = geometry_.copy_of(logical, *wrong).member;
      pass.mismatches.push_back(
          {logical / geometry_.chunk_bytes(), geometry_.copy_of(logical, 0).member_offset, slot, logical});
    }
  }
  if (!pass.repair) co_return true;
  if (wrong == good && pass.locate) {
    good = odd.lowest();
    odd = CopySet{*wrong};
  }
  Batch batch(*this, pass.cause);
  for (const std::uint32_t copy : odd) {
    const CopyPlace place = geometry_.copy_of(logical, copy);
    batch.write(*slots_[place.member], place.member_offset, buffers[good].slice(skip, bytes), false);
  }
  co_await batch;
  judge(batch);
  co_return !interrupted(pass);
}

}  // namespace resilver::raid
