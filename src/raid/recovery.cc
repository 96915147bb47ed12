// Rebuild, resync and scrub: windows of the members' data areas under an exclusive lock, several under way, retired in order.
//
// What must never happen: a window overwrites newer application data, or a request meets a window half done. The lock forbids
// both. A rebuild's watermark moves only when a window retires, still under its lock; so whatever an application write
// decides by the watermark stays true until that write has ended.
#include <algorithm>
#include <bit>

#include "raid/core.h"

namespace resilver::raid {
namespace {

constexpr std::uint64_t kWindowMemory = 8 << 20;
constexpr std::uint64_t kLargestWindow = 256 << 10;
constexpr Nanos kLookForRoom = 100 * kMillisecond;  // the least pause
constexpr Nanos kBusy = 50 * kMillisecond;          // the foreground counts as busy for so long after a request

std::uint64_t rate_of(std::uint64_t bytes, Nanos time) noexcept {
  if (time <= 0) return 0;
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(bytes) * kSecond / static_cast<std::uint64_t>(time));
}

}  // namespace

MemberSet Core::replaced() const noexcept {
  MemberSet set;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot]->twin != nullptr) set.add(slot);
  }
  return set;
}

// The slots that a pass writes a new member for, and that member.
MemberSet Core::targets(const Pass& pass) const noexcept {
  const MemberSet all = pass.kind == RecoveryKind::replace ? replaced() : targets();
  return pass.slot ? all & MemberSet{*pass.slot} : all;
}

Member& Core::target(const Pass& pass, std::uint32_t slot) noexcept {
  if (pass.kind != RecoveryKind::replace) return *slots_[slot];
  return slots_[slot]->twin != nullptr ? *slots_[slot]->twin : absent_;
}

MemberSet Core::targets() const noexcept {
  MemberSet set;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot]->state == MemberState::rebuilding) set.add(slot);
  }
  return set;
}

bool Core::foreground_busy() const noexcept { return scheduler_.now() - last_foreground_ < kBusy; }

bool Core::interrupted(const Pass& pass) const noexcept {
  return stopping_ || failed_ || pass.stop || pass.version != version_;
}

// What is to be done next; false: nothing.
bool Core::choose_pass(Pass& pass) {
  if (failed_ || tuning_.hold_recovery || !has_room()) return false;
  pass.total = geometry_.sync_bytes();
  const bool comparable = geometry_.is_mirrored() || forced_ || redundancy_left() == geometry_.redundancy();
  if (!targets().empty()) {
    pass.kind = RecoveryKind::rebuild;
    pass.by_bitmap = bitmap_ != nullptr;
    for (const std::uint32_t slot : targets()) pass.by_bitmap = pass.by_bitmap && slots_[slot]->by_bitmap;
  } else if (resync_needed_ && comparable) {
    // With a member lost nothing can be compared: the array stays dirty until it is whole again (rule 4).
    pass.kind = RecoveryKind::resync;
    pass.cause = Cause::resync;
    pass.repair = true;
    pass.only_marked = bitmap_ != nullptr;
    if (!pass.only_marked) pass.next = resync_reached_;
    emit(EventKind::resync_started, {}, 0, pass.total);
    return true;
  } else if (!replaced().empty()) {
    pass.kind = RecoveryKind::replace;
  } else {
    return false;
  }
  pass.cause = Cause::rebuild;
  pass.next = pass.total = geometry_.member_bytes();
  // The members of a RAID 10 hold different things at the same offset: one after the other.
  if (!geometry_.is_mirror() && geometry_.is_mirrored()) pass.slot = targets(pass).lowest();
  const MemberSet slots = targets(pass);
  for (const std::uint32_t slot : slots) pass.next = std::min(pass.next, target(pass, slot).watermark);
  pass.next = pass.next / kBandBytes * kBandBytes;
  emit(EventKind::rebuild_started, target(pass, slots.lowest()).name, pass.next, pass.total);
  return true;
}

// Does what is to be done, until the array stops. What that is, is decided when it can begin: a scrub may have to end first.
Task<void> Core::manage() {
  while (!stopping_ && geometry_.is_redundant()) {
    if (!failed_ && !full_ && !tuning_.hold_recovery && co_await take_spares()) continue;
    if (pass_ != nullptr) {
      manager_idle_ = false;
      co_await pass_event_.wait();
      continue;
    }
    Pass pass(scheduler_);
    if (!choose_pass(pass)) {
      manager_idle_ = true;
      pass_event_.wake_all();
      co_await manager_event_.wait_until(full_ ? std::max(full_until_, scheduler_.now() + kLookForRoom) : kNever);
      continue;
    }
    co_await run_pass(pass);
    if (interrupted(pass)) {
      if (!stopping_ && pass.version == version_) co_await sleep_for(scheduler_, kMillisecond);
      continue;
    }
    if (pass.kind == RecoveryKind::rebuild) co_await finish_rebuild(pass);
    if (pass.kind == RecoveryKind::resync) co_await finish_resync();
    if (pass.kind == RecoveryKind::replace) co_await finish_replace(pass);
  }
}

Task<void> Core::recovered() {
  const bool managed = geometry_.is_redundant() && !read_only_ && !tuning_.hold_recovery;
  while (!stopping_ && !failed_ && (pass_ != nullptr || scrub_waiting_ || (managed && !manager_idle_))) {
    co_await pass_event_.wait();
  }
}

Task<void> Core::run_pass(Pass& pass) {
  CHECK(pass_ == nullptr, "one at a time");
  pass.version = version_;
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
  last_recovery_.rate = rate_of(pass.processed, scheduler_.now() - pass.started);
  // What a resync has done counts once it is flushed: finish_resync() or stop() sees to that.
  if (pass.kind == RecoveryKind::resync && stopping_ && !pass.only_marked) resync_reached_ = pass.retired;
  pass_ = nullptr;
  pass_event_.wake_all();
}

// What locks and bitmap know a window by. RAID 10: the logical addresses of what the member holds there, and what lies
// between; they rise with the windows.
MemberRange Core::lock_range(const Pass& pass, std::uint64_t begin, std::uint64_t end) const noexcept {
  if (!pass.slot) return {begin, end};
  const std::uint64_t chunk = geometry_.chunk_bytes();
  const auto first = geometry_.logical_at(*pass.slot, begin);
  if (!first) return {geometry_.capacity_bytes(), geometry_.capacity_bytes() + 1};
  // Only its last chunk may hold nothing.
  auto last = geometry_.logical_at(*pass.slot, end - 1);
  if (!last) last = geometry_.logical_at(*pass.slot, (end - 1) / chunk * chunk - 1);
  return {*first, *last + 1};
}

// 256 KiB: on a disk 1.7 times the work per CPU-second of 128 KiB, and no less on tmpfs, where 512 KiB cost 10 % (caches).
// Small while the foreground is busy, which waits for a window's lock, where single regions are looked for, and when many
// members would take too much memory. A multiple of unit_bytes_.
std::uint64_t Core::window_bytes(const Pass& pass) const noexcept {
  if (foreground_busy() || pass.only_marked || pass.by_bitmap) return unit_bytes_;
  const std::uint64_t buffers = std::max<std::uint64_t>(window_slots(pass).count(), 1);
  const std::uint64_t bytes = kWindowMemory / (buffers * std::max<std::uint64_t>(tuning_.window_depth, 1));
  return std::clamp(std::bit_floor(bytes), unit_bytes_, kLargestWindow);
}

// Locks are asked for in the order of the windows. Else: the second window has its lock, a request for both queues behind
// it, the first window queues behind the request, and the second waits to retire after the first, for ever.
Task<bool> Core::run_window(Pass& pass) {
  co_await pass.turn.acquire();
  std::optional<SemaphoreGuard> turn(pass.turn);
  if (pass.only_marked && pass.next < pass.total) {
    const std::uint64_t marked = bitmap_->next_marked(pass.next);
    pass.next = marked < pass.total ? std::max(pass.next, marked / kBandBytes * kBandBytes) : pass.total;
  }
  if (pass.next >= pass.total) co_return false;
  const std::uint64_t begin = pass.next;
  // What lies between regions with bits, and what is a hole everywhere, is one window, in which there is nothing to do: the
  // watermark passes it under its lock, like any other.
  std::uint64_t end = unmarked_until(pass, begin);
  if (end == begin) end = hole_until(pass, begin);
  const bool idle = end != begin;
  if (!idle) end = std::min(begin + window_bytes(pass), pass.total);
  WindowBuffers buffers;
  if (!idle && !co_await window_memory(pass, begin, end, buffers)) co_return false;
  pass.next = end;
  pass.order.push_back(begin);
  if (!idle) co_await pace(pass, end - begin);
  const MemberRange locked = lock_range(pass, begin, end);
  RangeGuard lock(locks_, locked.begin, locked.end, true);
  co_await lock;
  turn.reset();
  std::uint64_t moved = 0;
  const bool done = !interrupted(pass) && co_await process_parts(pass, begin, end, buffers, moved);
  buffers.clear();
  while (pass.order.front() != begin) co_await pass_event_.wait();
  pass.order.pop_front();
  if (done && !interrupted(pass)) {
    retire(pass, end, moved);
  } else {
    pass.stop = true;
  }
  pass_event_.wake_all();
  co_return !pass.stop;
}

Task<void> Core::worker(Pass& pass) {
  while (!interrupted(pass) && co_await run_window(pass)) {
    const bool noted = pass.kind != RecoveryKind::scrub && !pass.only_marked;
    if (noted && scheduler_.now() >= pass.next_checkpoint && !interrupted(pass)) {
      pass.next_checkpoint = scheduler_.now() + tuning_.checkpoint_ms * kMillisecond;
      co_await checkpoint(pass);
    }
  }
}

void Core::retire(Pass& pass, std::uint64_t end, std::uint64_t moved) {
  pass.retired = end;
  pass.processed += moved;
  sample(pass);
  if (pass.kind != RecoveryKind::rebuild && pass.kind != RecoveryKind::replace) return;
  for (const std::uint32_t slot : targets(pass)) {
    Member& member = target(pass, slot);
    member.watermark = std::max(member.watermark, end);
  }
  if (scheduler_.now() < pass.next_progress) return;
  pass.next_progress = scheduler_.now() + tuning_.progress_event_ms * kMillisecond;
  emit(EventKind::rebuild_progress, {}, end, pass.total);
}

Task<bool> Core::process(Pass& pass, std::uint64_t begin, std::uint64_t end, WindowBuffers& buffers) {
  if (pass.kind == RecoveryKind::replace) co_return co_await replace_window(pass, begin, end, buffers);
  if (pass.kind == RecoveryKind::rebuild) {
    co_return geometry_.is_mirrored() ? co_await rebuild_mirror_window(pass, begin, end, buffers[0])
                                      : co_await rebuild_window(pass, begin, end, buffers);
  }
  co_return geometry_.is_mirrored() ? co_await check_mirror_window(pass, begin, end, buffers)
                                    : co_await check_window(pass, begin, end, buffers);
}

// A window under its lock. One that has memory is done as it is; in one without there was nothing to do, but a bit may have
// been set or a hole been filled while it waited for the lock. Then there may be no memory, and nobody waits for that under a
// lock; the pass begins again from here. `moved`: bytes of each member that were worked on.
Task<bool> Core::process_parts(Pass& pass, std::uint64_t begin, std::uint64_t end, WindowBuffers& buffers,
                               std::uint64_t& moved) {
  const MemberSet slots = window_slots(pass);
  if (!buffers.empty()) {
    moved = end - begin;
    co_return co_await process(pass, begin, end, buffers);
  }
  for (std::uint64_t at = begin; at < end && !interrupted(pass);) {
    if (const std::uint64_t marked = unmarked_until(pass, at); marked != at) {
      at = marked;
    } else if (const std::uint64_t data = std::min(hole_until(pass, at), end); data != at) {
      if (!co_await clear_targets(pass, at, data)) co_return false;
      at = data;
      co_await yield(scheduler_);  // there may be many
    } else {
      const std::uint64_t stop = std::min(at + unit_bytes_, end);
      if (buffers.empty() && !window_buffers(slots, unit_bytes_, buffers)) co_return false;
      WindowBuffers parts(buffers.size());
      for (const std::uint32_t slot : slots) parts[slot] = buffers[slot].slice(0, stop - at);
      if (!co_await process(pass, at, stop, parts)) co_return false;
      moved += stop - at;
      at = stop;
    }
  }
  co_return !interrupted(pass);
}

// Holds the rate to speed_max, and to speed_min while the foreground is busy.
Task<void> Core::pace(Pass& pass, std::uint64_t bytes) {
  if (pass.kind == RecoveryKind::scrub && tuning_.speed_max == 0) co_return;
  std::uint64_t speed = tuning_.speed_max;
  const bool held_back = foreground_busy() && tuning_.speed_min != 0 && (speed == 0 || tuning_.speed_min < speed);
  if (held_back) speed = tuning_.speed_min;
  if (speed == 0) co_return;
  const Nanos now = scheduler_.now();
  const Nanos at = std::max(pass.next_allowed, now);
  pass.next_allowed = at + static_cast<Nanos>(static_cast<unsigned __int128>(bytes) * kSecond / speed);
  pass.paced += at - now;
  if (held_back) pass.held_back += at - now;
  while (scheduler_.now() < at && !interrupted(pass)) co_await pass_event_.wait_until(at);
}

// ---- telling ------------------------------------------------------------------------------------------------------------

LimitedBy Core::limit_of(const Pass& pass) const noexcept {
  if (pass.processed == 0 && pass.retired != 0) return LimitedBy::nothing;
  const Nanos most = std::max({pass.paced, pass.reading, pass.writing});
  if (most == 0) return LimitedBy::cpu;
  if (most == pass.paced) return pass.held_back > pass.paced / 2 ? LimitedBy::speed_min : LimitedBy::set_limit;
  return most == pass.reading ? LimitedBy::survivor_reads : LimitedBy::target_writes;
}

void Core::sample(Pass& pass) const {
  const Nanos now = scheduler_.now();
  pass.samples.push_back({now, pass.processed});
  // At most 64 a second, and one that is older.
  while (pass.samples.size() > 2 && pass.samples[1].at <= now - kSecond) pass.samples.pop_front();
  const std::size_t last = pass.samples.size() - 1;
  if (last >= 2 && now - pass.samples[last - 2].at < kSecond / 64) pass.samples.erase(pass.samples.end() - 2);
}

RecoveryStatus Core::recovery_of(const Pass& pass) const noexcept {
  RecoveryStatus status;
  status.kind = pass.kind;
  status.done_bytes = pass.retired;
  status.total_bytes = pass.total;
  const Nanos now = scheduler_.now();
  const bool young = now - pass.started <= kSecond || pass.samples.empty();
  status.rate = young ? rate_of(pass.processed, now - pass.started)
                      : rate_of(pass.processed - pass.samples.front().processed, now - pass.samples.front().at);
  status.limited_by = limit_of(pass);
  return status;
}

}  // namespace resilver::raid
