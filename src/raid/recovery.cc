// Rebuild, resync and scrub: windows of the members' data areas under an exclusive lock, several under way, retired in order.
//
// What must never happen: a window overwrites newer application data, or a request meets a window half done. The lock forbids
// both. A rebuild's watermark moves only when a window retires, still under its lock; so whatever an application write
// decides by the watermark stays true until that write has ended.
#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {
namespace {

constexpr Nanos kBusy = 50 * kMillisecond;  // the foreground counts as busy for so long after a request

}  // namespace

MemberSet Core::targets() const noexcept {
  MemberSet set;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot] != nullptr && slots_[slot]->state == MemberState::rebuilding) set.add(slot);
  }
  return set;
}

bool Core::foreground_busy() const noexcept { return scheduler_.now() - last_foreground_ < kBusy; }

bool Core::interrupted(const Pass& pass) const noexcept {
  return stopping_ || failed_ || pass.stop || pass.version != version_;
}

// Decides what is to be done next, until the array stops.
Task<void> Core::manage() {
  while (!stopping_ && geometry_.redundancy() > 0) {
    if (failed_) {
      co_await manager_event_.wait();
      continue;
    }
    if (co_await take_spares()) continue;
    Pass pass(scheduler_);
    if (!targets().empty()) {
      pass.kind = RecoveryKind::rebuild;
      pass.cause = Cause::rebuild;
      pass.total = geometry_.member_bytes();
      pass.next = geometry_.member_bytes();
      for (const std::uint32_t slot : targets()) pass.next = std::min(pass.next, slots_[slot]->watermark);
      pass.next = pass.next / kBandBytes * kBandBytes;
      emit(EventKind::rebuild_started, slots_[targets().lowest()]->name, pass.next, pass.total);
    } else if (resync_needed_ && (geometry_.is_mirror() || forced_ || redundancy_left() == geometry_.redundancy())) {
      // With a member lost nothing can be compared: the array stays dirty until it is whole again (rule 4).
      pass.kind = RecoveryKind::resync;
      pass.cause = Cause::resync;
      pass.repair = true;
      pass.only_marked = bitmap_ != nullptr;
      pass.total = geometry_.member_bytes();
      emit(EventKind::resync_started, {}, 0, pass.total);
    } else {
      co_await manager_event_.wait();
      continue;
    }
    co_await run_pass(pass);
    if (interrupted(pass)) {
      if (!stopping_ && pass.version == version_) co_await sleep_for(scheduler_, kMillisecond);
      continue;
    }
    if (pass.kind == RecoveryKind::rebuild) {
      co_await finish_rebuild();
    } else {
      co_await finish_resync();
    }
  }
}

// Puts spares into slots without a working disk. True if one was taken.
Task<bool> Core::take_spares() {
  bool taken = false;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot] != nullptr && slots_[slot]->live()) continue;
    const auto spare = std::find_if(members_.begin(), members_.end(),
                                    [](const auto& member) { return member->state == MemberState::spare; });
    if (spare == members_.end()) break;
    Member& member = **spare;
    if (slots_[slot] != nullptr) slots_[slot]->replaced = true;
    member.state = MemberState::rebuilding;
    member.slot = slot;
    member.watermark = member.checkpoint = 0;
    member.bad.clear();
    slots_[slot] = &member;
    common_.roles[member.super.dev_number] = static_cast<std::uint16_t>(slot);
    ++version_;
    if (bitmap_) co_await bitmap_->write_all(member);
    taken = true;
  }
  if (taken) co_await commit();
  co_return taken;
}

Task<void> Core::run_pass(Pass& pass) {
  while (pass_ != nullptr && !stopping_) co_await pass_event_.wait();
  pass.version = version_;
  if (stopping_) co_return;
  pass.started = scheduler_.now();
  pass.retired = pass.next;
  pass.next_checkpoint = pass.started + tuning_.checkpoint_ms * kMillisecond;
  pass.next_progress = pass.started + tuning_.progress_event_ms * kMillisecond;
  pass_ = &pass;
  {
    TaskGroup workers(scheduler_);
    for (std::uint32_t i = 0; i < std::max<std::uint32_t>(tuning_.window_depth, 1); ++i) workers.spawn(worker(pass));
    co_await workers.join();
  }
  last_recovery_ = recovery_of(pass);
  pass_ = nullptr;
  pass_event_.wake_all();
}

// Locks are asked for in the order of the windows. Else: the second window has its lock, a request for both queues behind
// it, the first window queues behind the request, and the second waits to retire after the first, for ever.
Task<void> Core::worker(Pass& pass) {
  while (!interrupted(pass)) {
    co_await pass.turn.acquire();
    std::optional<SemaphoreGuard> turn(pass.turn);
    if (pass.only_marked && pass.next < pass.total) {
      const std::uint64_t marked = bitmap_->next_marked(pass.next);
      pass.next = marked < pass.total ? std::max(pass.next, marked / kBandBytes * kBandBytes) : pass.total;
    }
    if (pass.next >= pass.total) co_return;
    const std::uint64_t begin = pass.next;
    const std::uint64_t end = std::min(begin + kBandBytes, pass.total);
    pass.next = end;
    pass.order.push_back(begin);
    co_await pace(pass, end - begin);
    RangeGuard lock(locks_, begin, end, true);
    co_await lock;
    turn.reset();
    const bool done = !interrupted(pass) && co_await process(pass, begin, end);
    while (pass.order.front() != begin) co_await pass_event_.wait();
    pass.order.pop_front();
    if (done && !interrupted(pass)) {
      retire(pass, begin, end);
    } else {
      pass.stop = true;
    }
    pass_event_.wake_all();
    if (pass.kind == RecoveryKind::rebuild && scheduler_.now() >= pass.next_checkpoint && !interrupted(pass)) {
      pass.next_checkpoint = scheduler_.now() + tuning_.checkpoint_ms * kMillisecond;
      co_await checkpoint(pass);
    }
  }
}

void Core::retire(Pass& pass, std::uint64_t begin, std::uint64_t end) {
  pass.retired = end;
  pass.processed += end - begin;
  if (pass.kind != RecoveryKind::rebuild) return;
  for (const std::uint32_t slot : targets()) slots_[slot]->watermark = std::max(slots_[slot]->watermark, end);
  if (scheduler_.now() < pass.next_progress) return;
  pass.next_progress = scheduler_.now() + tuning_.progress_event_ms * kMillisecond;
  emit(EventKind::rebuild_progress, {}, end, pass.total);
}

Task<bool> Core::process(Pass& pass, std::uint64_t begin, std::uint64_t end) {
  if (pass.kind == RecoveryKind::rebuild) {
    co_return geometry_.is_mirror() ? co_await rebuild_mirror_window(pass, begin, end)
                                    : co_await rebuild_window(pass, begin, end);
  }
  co_return geometry_.is_mirror() ? co_await check_mirror_window(pass, begin, end)
                                  : co_await check_window(pass, begin, end);
}

// Holds the rate to speed_max, and to speed_min while the foreground is busy.
Task<void> Core::pace(Pass& pass, std::uint64_t bytes) {
  if (pass.kind == RecoveryKind::scrub && tuning_.speed_max == 0) co_return;
  std::uint64_t speed = tuning_.speed_max;
  if (foreground_busy() && tuning_.speed_min != 0 && (speed == 0 || tuning_.speed_min < speed))
    speed = tuning_.speed_min;
  if (speed == 0) co_return;
  const Nanos now = scheduler_.now();
  const Nanos at = std::max(pass.next_allowed, now);
  pass.next_allowed = at + static_cast<Nanos>(static_cast<unsigned __int128>(bytes) * kSecond / speed);
  pass.paced += at - now;
  while (scheduler_.now() < at && !interrupted(pass)) co_await pass_event_.wait_until(at);
}

// ---- rebuild ------------------------------------------------------------------------------------------------------------

// Each survivor is read and each target written in one request for the whole window, however many stripes lie in it.
Task<bool> Core::rebuild_window(Pass& pass, std::uint64_t begin, std::uint64_t end) {
  const MemberSet lost = lost_for(begin, end);
  const MemberSet to = targets() & lost;  // a target may be ahead of the window already
  const MemberSet from = geometry_.all_members() - lost;
  std::array<Buffer, kMaxDisks> buffers;
  if (!co_await window_buffers(from | to, end - begin, buffers)) co_return false;
  bool damaged = false;
  for (const std::uint32_t slot : from) damaged = damaged || slots_[slot]->has_bad(begin, end);
  if (!damaged) {
    const Nanos started = scheduler_.now();
    Batch batch(*this, pass.cause);
    for (const std::uint32_t slot : from) batch.read(*slots_[slot], begin, buffers[slot], slot);
    co_await batch;
    damaged = judge(batch);
    pass.reading += scheduler_.now() - started;
    if (interrupted(pass)) co_return false;
  }
  if (damaged) {
    for (std::uint64_t at = begin; at < end; at += kRowBytes) {
      const std::uint64_t stripe = geometry_.stripe_of_member_offset(at);
      if (!co_await rebuild_row(pass, stripe, at - geometry_.stripe_member_offset(stripe), to)) co_return false;
    }
    co_return true;
  }
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t stripe = geometry_.stripe_of_member_offset(at);
    const std::uint64_t bytes = std::min(end, geometry_.stripe_member_offset(stripe + 1)) - at;
    std::array<std::byte*, kMaxDisks> columns{};
    for (std::uint32_t column = 0; column < geometry_.columns(); ++column) {
      const Buffer& buffer = buffers[geometry_.member_of(stripe, column)];
      columns[column] = buffer ? buffer.data() + (at - begin) : nullptr;
    }
    code_->recover(std::span(columns.data(), geometry_.columns()), geometry_.columns_lost(stripe, lost), bytes);
    at += bytes;
  }
  const Nanos write_started = scheduler_.now();
  Batch batch(*this, pass.cause);
  for (const std::uint32_t slot : to) batch.write(*slots_[slot], begin, buffers[slot], false, slot);
  co_await batch;
  judge(batch);
  pass.writing += scheduler_.now() - write_started;
  co_return !interrupted(pass);
}

// One buffer for each of these slots; waits while memory is short. False if the array stops meanwhile.
Task<bool> Core::window_buffers(MemberSet slots, std::uint64_t bytes, std::array<Buffer, kMaxDisks>& buffers) {
  for (const std::uint32_t slot : slots) {
    while (!(buffers[slot] = pool_.allocate(bytes))) {
      if (stopping_ || failed_) co_return false;
      co_await sleep_for(scheduler_, kMillisecond);
    }
  }
  co_return true;
}

// A latent error on the way costs no more than its own blocks (rule 6).
Task<bool> Core::rebuild_row(Pass& pass, std::uint64_t stripe, std::uint64_t row, MemberSet to) {
  Row found = co_await load_row(stripe, row, pass.cause);
  if (interrupted(pass)) co_return false;
  const std::uint64_t at = geometry_.stripe_member_offset(stripe) + row;
  for (const std::uint32_t slot : to) {
    Member& member = *slots_[slot];
    if (member.watermark >= at + kRowBytes) continue;
    const std::uint32_t column = geometry_.column_of(stripe, slot);
    if (!found.columns.buffer[column]) co_return false;
    const bool lost = !found.known.contains(column);
    if (lost) {
      std::memset(found.columns.at(column), 0, kRowBytes);
      if (!co_await add_bad(member, at)) co_return false;
    }
    Batch batch(*this, pass.cause);
    batch.write(member, at, found.columns.buffer[column], false, column);
    co_await batch;
    judge(batch);
  }
  co_return !interrupted(pass);
}

// A checkpoint is written only after a flush of its target (rule 3).
Task<void> Core::checkpoint(Pass& pass) {
  const std::uint64_t reached = pass.retired;
  {
    Batch batch(*this, pass.cause);
    for (const std::uint32_t slot : targets()) batch.flush(*slots_[slot]);
    co_await batch;
    judge(batch);
  }
  if (interrupted(pass)) co_return;
  for (const std::uint32_t slot : targets()) slots_[slot]->checkpoint = reached;
  co_await commit();
}

Task<void> Core::finish_rebuild() {
  const std::uint64_t version = version_;
  if (co_await flush_members(Cause::rebuild) != Errc::ok || version != version_) co_return;
  for (const std::uint32_t slot : targets()) {
    Member& member = *slots_[slot];
    member.watermark = geometry_.member_bytes();
    member.state = MemberState::in_sync;
    emit(EventKind::rebuild_finished, member.name, geometry_.member_bytes(), geometry_.member_bytes());
  }
  ++version_;
  co_await commit();
  if (redundancy_full()) emit(EventKind::redundancy_full);
}

// ---- resync and scrub ---------------------------------------------------------------------------------------------------

Task<bool> Core::check_window(Pass& pass, std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t stripe = geometry_.stripe_of_member_offset(at);
    const std::uint64_t base = geometry_.stripe_member_offset(stripe);
    const Band band{stripe, base, at - base, std::min(end - base, geometry_.chunk_bytes())};
    at = base + band.end;
    const ColumnSet all = ColumnSet::first(geometry_.columns());
    const ColumnSet lost = geometry_.columns_lost(stripe, lost_for(base + band.begin, base + band.end));
    // Forced: dirty and degraded. Without redundancy to spare there is nothing to compare: the lost is what parity says.
    if (lost.count() >= geometry_.parity_disks()) continue;
    Columns columns;
    const Nanos started = scheduler_.now();
    const Loaded loaded = has_bad(band) ? Loaded::damaged : co_await load(band, all - lost, columns, pass.cause);
    pass.reading += scheduler_.now() - started;
    if (interrupted(pass)) co_return false;
    if (loaded == Loaded::no_memory || (loaded == Loaded::ok && !allocate(band, all, columns))) {
      co_await sleep_for(scheduler_, kMillisecond);
      at = base + band.begin;
      continue;
    }
    if (loaded == Loaded::ok) {
      if (!co_await check_band(pass, band, lost, columns)) co_return false;
      continue;
    }
    if (loaded != Loaded::damaged) co_return false;
    for (std::uint64_t row = band.begin; row < band.end; row += kRowBytes) {
      Row found = co_await load_row(stripe, row, pass.cause);  // heals what can be healed
      if (interrupted(pass) || found.no_memory) co_return false;
      if (found.known != all) continue;
      if (!co_await check_band(pass, {stripe, base, row, row + kRowBytes}, lost, found.columns)) co_return false;
    }
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

// A resync believes the data and makes parity anew. A scrub that repairs believes P and Q where they agree on one culprit.
void Core::check_row(Pass& pass, const Band& band, std::uint64_t row, Columns& columns, ColumnSet& rewrite) {
  const std::uint64_t skip = row - band.begin;
  std::array<const std::byte*, kMaxDisks> bytes{};
  for (std::uint32_t c = 0; c < geometry_.columns(); ++c) bytes[c] = columns.at(c) + skip;
  const std::span<const std::byte* const> all(bytes.data(), geometry_.columns());
  if (code_->consistent(all, kRowBytes)) return;
  Located located;
  if (pass.kind == RecoveryKind::scrub) {
    located = code_->locate(all, kRowBytes);
    std::optional<std::uint32_t> slot;
    if (located.verdict == Located::Verdict::single) slot = geometry_.member_of(band.stripe, located.column);
    record_mismatch(pass, band.stripe, row, slot);
  }
  if (!pass.repair) return;
  if (located.verdict == Located::Verdict::single && located.column < geometry_.data_disks()) {
    std::array<std::byte*, kMaxDisks> writable{};
    for (std::uint32_t c = 0; c < geometry_.columns(); ++c) writable[c] = columns.at(c) + skip;
    code_->recover(std::span(writable.data(), geometry_.columns()), ColumnSet{located.column}, kRowBytes);
    rewrite.add(located.column);
    return;
  }
  std::byte* q = geometry_.parity_disks() > 1 ? columns.at(geometry_.q_column()) + skip : nullptr;
  code_->generate(all.first(geometry_.data_disks()), columns.at(geometry_.p_column()) + skip, q, kRowBytes);
  rewrite.add(geometry_.p_column());
  if (q != nullptr) rewrite.add(geometry_.q_column());
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
  if (co_await flush_members(Cause::resync) != Errc::ok || version != version_) co_return;
  resync_needed_ = false;
  if (bitmap_) bitmap_->resynced();
  emit(EventKind::resync_finished, {}, geometry_.member_bytes());
  last_write_ = scheduler_.now();
  house_event_.wake_all();
  if (redundancy_full()) emit(EventKind::redundancy_full);
}

Task<Status> Core::scrub(ScrubOptions options) {
  if (geometry_.redundancy() == 0) co_return fail(Errc::unsupported, "RAID 0 has nothing to compare");
  if (!redundancy_full()) co_return fail(Errc::unavailable, "the array is not whole");
  if (pass_ != nullptr || scrub_waiting_) co_return fail(Errc::unavailable, "another recovery runs");
  scrub_waiting_ = true;
  Pass pass(scheduler_);
  pass.kind = RecoveryKind::scrub;
  pass.cause = Cause::scrub;
  pass.repair = options.repair;
  pass.total = geometry_.member_bytes();
  co_await run_pass(pass);
  const bool whole = !interrupted(pass);
  if (whole && options.repair) co_await flush_members(Cause::scrub);
  scrub_waiting_ = false;
  pass_event_.wake_all();
  if (!whole) co_return fail(Errc::cancelled, "something else came first");
  mismatch_rows_ = pass.mismatch_rows;
  mismatches_ = std::move(pass.mismatches);
  emit(EventKind::scrub_finished, {}, mismatch_rows_ * (kRowBytes / kSectorBytes));
  co_return Status{};
}

// ---- telling ------------------------------------------------------------------------------------------------------------

LimitedBy Core::limit_of(const Pass& pass) const noexcept {
  const Nanos most = std::max({pass.paced, pass.reading, pass.writing});
  if (most == 0) return LimitedBy::cpu;
  if (most == pass.paced) return LimitedBy::set_limit;
  return most == pass.reading ? LimitedBy::survivor_reads : LimitedBy::target_writes;
}

RecoveryStatus Core::recovery_of(const Pass& pass) const noexcept {
  RecoveryStatus status;
  status.kind = pass.kind;
  status.done_bytes = pass.retired;
  status.total_bytes = pass.total;
  const Nanos elapsed = scheduler_.now() - pass.started;
  if (elapsed > 0) {
    status.rate = static_cast<std::uint64_t>(static_cast<unsigned __int128>(pass.processed) * kSecond /
                                             static_cast<std::uint64_t>(elapsed));
  }
  status.limited_by = limit_of(pass);
  return status;
}

}  // namespace resilver::raid
