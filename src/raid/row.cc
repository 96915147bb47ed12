// One row: the same 4096 bytes of every chunk of a stripe, when something in it cannot be read, or when there is no memory for
// more at a time: a few rows can always be worked on, with memory of the reserve.
#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {

std::uint64_t Core::logical_of(std::uint64_t stripe, std::uint32_t column, std::uint64_t row) const noexcept {
  if (geometry_.is_mirrored()) return stripe * geometry_.chunk_bytes() + row;
  return geometry_.column_logical(stripe, column) + row;
}

void Core::note_lost(std::uint64_t stripe, std::uint64_t row, ColumnSet columns) {
  for (const std::uint32_t column : columns) {
    const bool data = column < geometry_.data_disks();
    const std::uint64_t logical = data ? logical_of(stripe, column, row) : kNoAddress;
    if (data && lost_blocks_.size() < kMaxLostBlocks && !lost_blocks_.insert(logical).second) continue;
    emit(EventKind::block_lost, {}, logical);
  }
}

// Reads everything that can be read of a row and computes what redundancy gives; rewrites what was unreadable on live
// members. Precondition: the row is locked.
Task<Core::Row> Core::load_row(std::uint64_t stripe, std::uint64_t row, Cause cause) {
  Row found(geometry_);
  const std::uint64_t at = geometry_.stripe_member_offset(stripe) + row;
  const Band band{stripe, geometry_.stripe_member_offset(stripe), row, row + kRowBytes};
  const ColumnSet all = ColumnSet::first(geometry_.columns());
  if (!allocate(band, all, found.columns)) {
    found.columns = Columns(geometry_);
    co_await rows_.acquire();
    found.permit.emplace(rows_);
    for (const std::uint32_t column : all) {
      if (!(found.columns.buffer[column] = metadata_block())) {
        found.lost = all;
        co_return found;  // the array has failed
      }
    }
  }
  {
    Batch batch(*this, cause);
    for (std::uint32_t column = 0; column < geometry_.columns(); ++column) {
      Member* member = slots_[geometry_.member_of(stripe, column)];
      if (!member->holds(at + kRowBytes)) {
        found.lost.add(column);
      } else if (member->has_bad(at, at + kRowBytes)) {
        found.unreadable.add(column);
      } else {
        found.known.add(column);
        batch.read(*member, at, found.columns.buffer[column], column);
      }
    }
    co_await batch;
    judge(batch);
    for (const Batch::Failure& failure : batch.failures()) {
      found.known.remove(failure.tag);
      (failure.member->live() ? found.unreadable : found.lost).add(failure.tag);
      // A late answer would come into this block, over what is computed.
      if (failure.status == Errc::timeout) found.columns.buffer[failure.tag] = metadata_block();
    }
  }
  const ColumnSet missing = found.lost | found.unreadable;
  if (missing.empty() || failed_) co_return found;
  if (missing.count() > geometry_.parity_disks()) {
    if (!failed_) note_lost(stripe, row, missing);
    co_return found;
  }
  recover(band, missing, missing, found.columns);
  found.known = ColumnSet::first(geometry_.columns());
  if (!found.unreadable.empty()) co_await heal_row(found, stripe, at, cause);
  co_return found;
}

Task<void> Core::heal_row(Row& row, std::uint64_t stripe, std::uint64_t at, Cause cause) {
  if (read_only_) co_return;
  MemberSet healed;
  {
    Batch batch(*this, cause);
    for (const std::uint32_t column : row.unreadable) {
      const std::uint32_t slot = geometry_.member_of(stripe, column);
      if (!slots_[slot]->live()) continue;
      batch.write(*slots_[slot], at, row.columns.buffer[column], true, column);
      healed.add(slot);
    }
    co_await batch;
    judge(batch);  // a rewrite that fails makes the member faulty
    if (batch.lacks_room()) co_return;
  }
  co_await clear_bad(at, at + kRowBytes, healed);
  for (const std::uint32_t column : row.unreadable) {
    ++healed_blocks_;
    const bool data = column < geometry_.data_disks();
    const std::uint64_t in_chunk = at - geometry_.stripe_member_offset(stripe);
    emit(EventKind::block_healed, {}, data ? logical_of(stripe, column, in_chunk) : kNoAddress);
  }
  row.unreadable = {};
}

// A parity member without a bad-block log, or with a full one, cannot say that its parity is none. It works: the array does not
// give it up for one row that is lost already.
bool Core::can_forget_parity(std::uint64_t stripe, std::uint64_t at) const noexcept {
  for (std::uint32_t column = geometry_.data_disks(); column < geometry_.columns(); ++column) {
    const Member* member = slots_[geometry_.member_of(stripe, column)];
    if (member->holds(at + kRowBytes) && !member->has_bad(at, at + kRowBytes) && !can_note(*member)) return false;
  }
  return true;
}

// Other data of this row is lost, so nobody knows its parity either: durably noted before data is written that the old
// parity does not go with. False: the array has failed, or there is no room for it.
Task<bool> Core::forget_parity(std::uint64_t stripe, std::uint64_t at) {
  for (std::uint32_t column = geometry_.data_disks(); column < geometry_.columns(); ++column) {
    Member* member = slots_[geometry_.member_of(stripe, column)];
    if (!member->holds(at + kRowBytes)) continue;
    Member* twin = member->twin != nullptr && at < member->twin->watermark ? member->twin : nullptr;
    // A member that cannot note it is faulty.
    if (!member->has_bad(at, at + kRowBytes)) co_await add_bad(*member, at);
    if (twin != nullptr && twin->live() && !twin->has_bad(at, at + kRowBytes)) co_await add_bad(*twin, at);
  }
  co_return !failed_ && !full_;
}

// Writes what is given of one row, over unreadable blocks too: what is given anew need not be read.
Task<Errc> Core::write_row(const BandWrite& write, std::uint64_t row) {
  const std::uint64_t stripe = write.band.stripe;
  const std::uint64_t at = write.band.base + row;
  const BandWrite one = write.part(row, row + kRowBytes);
  const ColumnSet fresh = one.touched;
  if (fresh.empty()) co_return Errc::ok;
  Row found = co_await load_row(stripe, row, parity_cause(write.use));
  if (failed_) co_return Errc::unavailable;
  for (const Span& span : one.spans) {
    span.payload->copy_to(found.columns.at(span.column), span.at, kRowBytes);
    found.known.add(span.column);
  }
  const ColumnSet data = geometry_.all_data();
  const bool parity_known = (data - found.known).empty();
  if (parity_known) {
    std::vector<const std::byte*> bytes(geometry_.data_disks());
    for (const std::uint32_t column : data) bytes[column] = found.columns.at(column);
    std::byte* q = geometry_.parity_disks() > 1 ? found.columns.at(geometry_.q_column()) : nullptr;
    code_->generate(stripe, bytes, found.columns.at(geometry_.p_column()), q, kRowBytes);
  } else {
    // What is for a lost member could only live on in parity, which nobody can compute.
    if (!(fresh & found.lost).empty() || !can_forget_parity(stripe, at)) co_return Errc::medium;
    if (!co_await forget_parity(stripe, at)) co_return failed_ ? Errc::unavailable : Errc::no_space;
  }
  // What heals a bad block is durable before the log forgets the block.
  BandWrite durable = one;
  const bool heals = has_bad(one.band);
  durable.fua = one.fua || heals;
  ColumnSet writes = fresh;
  if (parity_known) writes = writes | (ColumnSet::first(geometry_.columns()) - data);
  MemberSet written;
  for (const std::uint32_t column : writes) {
    const std::uint32_t slot = geometry_.member_of(stripe, column);
    if (slots_[slot]->holds(at + kRowBytes)) {
      written.add(slot);
    } else {
      writes.remove(column);
    }
  }
  const Errc status = co_await store(durable, writes, found.columns);
  if (heals && status == Errc::ok) co_await clear_bad(at, at + kRowBytes, written);
  co_return status;
}

}  // namespace resilver::raid
