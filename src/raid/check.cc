// Windows of resync and scrub: redundancy is compared with data, and made anew.
#include <fmt/format.h>

#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {

// Every member is read in one request for the whole window, however many stripes lie in it.
Task<bool> Core::check_window(Pass& pass, std::uint64_t begin, std::uint64_t end, WindowBuffers& buffers) {
  const MemberSet lost = lost_for(end);
  // Forced: dirty and degraded. Without redundancy to spare there is nothing to compare: the lost is what parity says.
  if (lost.count() >= geometry_.parity_disks()) co_return true;
  const std::vector<Damage> damage = co_await read_window(pass, geometry_.all_members() - lost, begin, end, buffers);
  if (interrupted(pass)) co_return false;
  std::set<std::uint64_t> unknown;
  for (const Damage& row : damage) {
    if (unknown.contains(row.at)) continue;
    const bool healed = co_await heal_window_row(pass, row.at, begin, buffers);  // all that it could not read, at once
    if (interrupted(pass)) co_return false;
    if (!healed) unknown.insert(row.at);
  }
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t stripe = geometry_.stripe_of_member_offset(at);
    const std::uint64_t base = geometry_.stripe_member_offset(stripe);
    std::uint64_t stop = std::min(end, base + geometry_.chunk_bytes());
    const auto next_unknown = unknown.lower_bound(at);
    if (next_unknown != unknown.end() && *next_unknown == at) {
      at += kRowBytes;
      continue;
    }
    if (next_unknown != unknown.end()) stop = std::min(stop, *next_unknown);
    const Band band{stripe, base, at - base, stop - base};
    Columns columns(geometry_);
    for (std::uint32_t column = 0; column < geometry_.columns(); ++column) {
      columns.buffer[column] = buffers[geometry_.member_of(stripe, column)].slice(at - begin, band.size());
    }
    if (!co_await check_band(pass, band, geometry_.columns_lost(stripe, lost), columns)) co_return false;
    at = stop;
  }
  co_return true;
}

// Heals a row that could not be read everywhere, and completes the window with it. False: nobody knows all of it.
Task<bool> Core::heal_window_row(Pass& pass, std::uint64_t at, std::uint64_t begin, WindowBuffers& buffers) {
  const std::uint64_t stripe = geometry_.stripe_of_member_offset(at);
  Row found = co_await load_row(stripe, at - geometry_.stripe_member_offset(stripe), pass.cause);
  if (found.known != ColumnSet::first(geometry_.columns())) {
    LostRow row{stripe, at, {}, {}};
    for (const std::uint32_t column : found.unreadable | found.lost) {
      row.slots.push_back(geometry_.member_of(stripe, column));
      const std::uint64_t in_chunk = at - geometry_.stripe_member_offset(stripe);
      if (column < geometry_.data_disks()) row.logical.push_back(logical_of(stripe, column, in_chunk));
    }
    record_lost(pass, std::move(row));
    co_return false;
  }
  for (std::uint32_t column = 0; column < geometry_.columns(); ++column) {
    std::memcpy(buffers[geometry_.member_of(stripe, column)].data() + (at - begin), found.columns.at(column), kRowBytes);
  }
  co_return true;
}

// Compares all rows of a band that was read, and rewrites what does not match if the pass is to.
Task<bool> Core::check_band(Pass& pass, Band band, ColumnSet lost, Columns& columns) {
  ColumnSet rewrite;
  if (lost.empty()) {
    for (std::uint64_t row = band.begin; row < band.end; row += kRowBytes) check_row(pass, band, row, columns, rewrite);
  } else {
    rewrite = renew_parity(band, lost, columns);
  }
  if (!pass.repair || rewrite.empty()) co_return true;
  Batch batch(*this, pass.cause);
  for (const std::uint32_t column : rewrite) {
    Member* member = slots_[geometry_.member_of(band.stripe, column)];
    batch.write(*member, band.base + band.begin, columns.buffer[column], false, column);
  }
  co_await batch;
  judge(batch);
  co_return !interrupted(pass);
}

// RAID 6 with one column lost: the other parity is made anew from what data and one parity say.
ColumnSet Core::renew_parity(const Band& band, ColumnSet lost, Columns& columns) {
  const std::uint32_t renewed = lost.contains(geometry_.q_column()) ? geometry_.p_column() : geometry_.q_column();
  const ColumnSet both = lost | ColumnSet{renewed};
  recover(band, both, both, columns);
  return {renewed};
}

// A resync believes the data and makes parity anew, and so does a repair, unless it is to believe P and Q where they agree on
// one culprit.
void Core::check_row(Pass& pass, const Band& band, std::uint64_t row, Columns& columns, ColumnSet& rewrite) {
  const std::uint64_t skip = row - band.begin;
  std::array<const std::byte*, kMaxColumns> bytes;
  for (std::uint32_t c = 0; c < geometry_.columns(); ++c) bytes[c] = columns.at(c) + skip;
  const std::span<const std::byte* const> all(bytes.data(), geometry_.columns());
  if (code_->consistent(band.stripe, all, kRowBytes)) return;
  Located located;
  if (pass.kind == RecoveryKind::scrub) {
    located = code_->locate(band.stripe, all, kRowBytes);
    std::optional<std::uint32_t> slot;
    if (located.verdict == Located::Verdict::single) slot = geometry_.member_of(band.stripe, located.column);
    record_mismatch(pass, band.stripe, row, slot);
  }
  if (!pass.repair) return;
  if (pass.locate && located.verdict == Located::Verdict::single && located.column < geometry_.data_disks()) {
    std::array<std::byte*, kMaxColumns> writable;
    for (std::uint32_t c = 0; c < geometry_.columns(); ++c) writable[c] = columns.at(c) + skip;
    code_->recover(band.stripe, std::span(writable.data(), geometry_.columns()), ColumnSet{located.column}, kRowBytes);
    rewrite.add(located.column);
    return;
  }
  std::byte* q = geometry_.parity_disks() > 1 ? columns.at(geometry_.q_column()) + skip : nullptr;
  code_->generate(band.stripe, all.first(geometry_.data_disks()), columns.at(geometry_.p_column()) + skip, q, kRowBytes);
  rewrite.add(geometry_.p_column());
  if (q != nullptr) rewrite.add(geometry_.q_column());
}

void Core::record_lost(Pass& pass, LostRow row) {
  ++pass.lost.count;
  for (const std::uint32_t slot : row.slots) ++pass.lost.by_slot[slot];
  if (pass.lost.first.size() < kMaxListed) pass.lost.first.push_back(std::move(row));
}

void Core::record_mismatch(Pass& pass, std::uint64_t stripe, std::uint64_t row, std::optional<std::uint32_t> slot) {
  ++pass.mismatch_rows;
  if (pass.mismatches.size() >= kMaxListed) return;
  Mismatch mismatch;
  mismatch.stripe = stripe;
  mismatch.member_offset = geometry_.stripe_member_offset(stripe) + row;
  mismatch.slot = slot;
  if (slot) mismatch.logical = geometry_.at(*slot, mismatch.member_offset).logical;
  pass.mismatches.push_back(mismatch);
}

Task<void> Core::finish_resync() {
  const std::uint64_t version = version_;
  if (journal_) co_await journal_->trim();
  if (co_await flush_members(Cause::resync) != Errc::ok || version != version_) co_return;
  resync_needed_ = false;
  resync_reached_ = 0;
  full_disk_.clear();
  may_locate_ = true;
  if (bitmap_) bitmap_->resynced();
  emit(EventKind::resync_finished, {}, geometry_.sync_bytes());
  last_write_ = scheduler_.now();
  house_event_.wake_all();
  if (journal_) dirty_ = dirty_durable_ = false;  // from here on the journal covers what is being written
  if (!dirty_) co_await commit();
  if (redundancy_full()) emit(EventKind::redundancy_full);
}

// A mirror has something to compare as long as two members are there; often it has slots that no disk was ever meant for.
bool Core::comparable() const noexcept {
  const bool two = geometry_.is_mirror() && not_in_sync().count() + 2 <= geometry_.disks() && targets().empty();
  return !failed_ && !resync_needed_ && (two || redundancy_full());
}

Status Core::may_scrub() const {
  if (!geometry_.is_redundant())
    return fail(Errc::unsupported, fmt::format("{} has nothing to compare", name(geometry_.level())));
  return comparable() ? Status{} : fail(Errc::unavailable, "the array is not whole");
}

Task<Status> Core::scrub(ScrubOptions options) {
  if (read_only_) co_return fail(Errc::read_only, "the array was assembled read-only");
  if (Status fine = may_scrub(); !fine) co_return fine;
  if (pass_ != nullptr || scrub_waiting_) co_return fail(Errc::unavailable, "another recovery runs");
  scrub_waiting_ = true;
  Pass pass(scheduler_);
  pass.kind = RecoveryKind::scrub;
  pass.cause = Cause::scrub;
  pass.repair = options.repair;
  pass.locate = options.locate && may_locate_;
  pass.total = geometry_.sync_bytes();
  co_await run_pass(pass);
  const bool whole = !interrupted(pass);
  if (whole && options.repair && journal_) co_await journal_->trim();  // an old record would undo the repair
  if (whole && options.repair) co_await flush_members(Cause::scrub);
  scrub_waiting_ = false;
  pass_event_.wake_all();
  if (!whole && full_) co_return fail(Errc::no_space, full_disk_ + ": no room for what is to be written");
  if (!whole) co_return fail(Errc::cancelled, "something else came first");
  mismatch_rows_ = pass.mismatch_rows;
  mismatches_ = std::move(pass.mismatches);
  std::sort(mismatches_.begin(), mismatches_.end(), [](const Mismatch& a, const Mismatch& b) {  // windows overlap in time
    return std::pair(a.stripe, a.member_offset) < std::pair(b.stripe, b.member_offset);
  });
  lost_rows_ = std::move(pass.lost);
  std::ranges::sort(lost_rows_.first, {}, [](const LostRow& row) { return std::pair(row.stripe, row.member_offset); });
  emit(EventKind::scrub_finished, {}, mismatch_rows_ * (kRowBytes / kSectorBytes));
  co_return Status{};
}

}  // namespace resilver::raid
