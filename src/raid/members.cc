// Leaves to members, members that fail, and what the array says of itself.
#include <algorithm>

#include <fmt/format.h>

#include "raid/core.h"

namespace resilver::raid {

static constexpr Nanos kFullPause = kSecond;  // then room is looked for again

// Of each member in a stripe operation or window. Of a mirror they hold the copies alone.
static std::uint64_t unit_bytes_of(const Geometry& geometry) noexcept {
  if (geometry.parity_disks() == 0) return kBandBytes;
  return std::clamp(std::bit_floor(kUnitMemory / (geometry.disks() + 1)), kRowBytes, kBandBytes);
}

Core::Core(LeafPoolOwner leaves, BufferPool& pool, Random random, const ArrayTuning& tuning, const Geometry& geometry,
           Consistency consistency)
    : scheduler_(leaves->scheduler()),
      pool_(pool),
      random_(random),
      tuning_(tuning),
      geometry_(geometry),
      consistency_(consistency),
      leaves_(std::move(leaves)),
      slots_(geometry.disks(), &absent_),
      locks_(scheduler_),
      zeroes_(leaves_->reserve().allocate(kBandBytes)),
      watchdog_(*this),
      runs_(geometry.disks()),
      bands_(scheduler_,
             std::clamp<std::size_t>(tuning.stripe_memory_bytes / (unit_bytes_of(geometry) * (geometry.disks() + 1)), 2,
                                     kMaxBands)),
      rows_(scheduler_, std::clamp<std::size_t>(kMaxRows * kMaxQColumns / geometry.columns(), 1, kMaxRows)),
      unit_bytes_(unit_bytes_of(geometry)),
      bad_log_turn_(scheduler_),
      sb_event_(scheduler_),
      manager_event_(scheduler_),
      house_event_(scheduler_),
      pass_event_(scheduler_),
      drained_(scheduler_),
      plug_event_(scheduler_),
      tasks_(scheduler_) {
  if (geometry.parity_disks() > 0) code_ = std::make_unique<StripeCode>(geometry_);
  stream_ends_.fill(kNoAddress);
  CHECK(zeroes_, "the reserve is fresh");
  std::memset(zeroes_.data(), 0, zeroes_.size());
}

Core::~Core() {
  if (!scheduler_.killed()) {
    scheduler_.disarm(watchdog_);
    CHECK(!watchdog_.pending || !watchdog_.armed());
  }
}

void Core::send(Leaf& leaf, Member& member, LeafSink& sink, IoOp op, std::uint64_t device_offset, std::uint64_t length,
                bool fua, Cause cause, std::uint32_t tag) noexcept {
  CHECK(op == IoOp::read || !read_only_, "a read-only array writes nothing");
  leaf.op = op;
  leaf.fua = fua;
  leaf.offset = device_offset;
  leaf.length = length;
  leaf.segments = {leaf.buffers.data(), leaf.count};
  leaf.status = Errc::ok;
  leaf.tag = tag;
  leaf.cause = cause;
  leaf.member = &member;
  leaf.sink = &sink;
  leaf.started = scheduler_.turn_time();
  if (member.in_flight.empty()) member.oldest_since = leaf.started;
  member.in_flight.push_back(leaf);
  ++member.in_flight_count;
  for (IoCounters* io : {&member.io, &io_[static_cast<std::size_t>(cause)]}) {
    io->add(leaf);
    if (op == IoOp::flush) ++io->flushes;
  }
  watch();
  if (member.device != nullptr) {
    member.device->submit(leaf);
  } else {  // absent, or removed while somebody waited
    leaf.complete(scheduler_, Errc::device_gone);
  }
}

// ---- hung members -----------------------------------------------------------------------------------------------------

void Core::watch() noexcept {
  if (watchdog_.pending || scheduler_.killed()) return;
  watchdog_.pending = true;
  scheduler_.arm(watchdog_, scheduler_.now() + tuning_.member_timeout_ms * kMillisecond);
}

void Core::watchdog_fired() noexcept {
  // pending stays set: what is sent from here on must not arm the timer, which is armed below.
  const Nanos timeout = tuning_.member_timeout_ms * kMillisecond;
  const Nanos now = scheduler_.now();
  // Late: this process did not run (it was stopped), so its members had no chance to answer. They get their time anew.
  const bool slept = now - watchdog_.at > timeout / 4;
  for (auto& owned : members_) {
    Member& member = *owned;
    if (slept) {
      member.in_flight.for_each([now](Leaf& leaf) { leaf.started = now; });
      member.oldest_since = now;
    }
    if (member.in_flight.empty() || member.oldest_since + timeout > now) continue;
    if (member.live()) mark_faulty(member, Errc::timeout);
    // Nobody waits for these any more: they live on by themselves until the device gives them back.
    std::vector<Leaf*> given_up;
    member.in_flight.for_each([&](Leaf& leaf) { given_up.push_back(&leaf); });
    for (Leaf* leaf : given_up) leaves_->orphan(*leaf);
  }
  Nanos next = kNever;
  for (const auto& member : members_) {
    if (!member->in_flight.empty()) next = std::min(next, member->oldest_since + timeout);
  }
  watchdog_.pending = next != kNever;
  if (watchdog_.pending) scheduler_.arm(watchdog_, next);
}

// ---- slow members -----------------------------------------------------------------------------------------------------

bool Core::seems_slow(Member& member) const noexcept {
  const Nanos limit = tuning_.slow_member_ms * kMillisecond;
  const bool waits = !member.in_flight.empty() && scheduler_.now() - member.in_flight.front().started > limit;
  return member.latency > limit || waits;
}

// A member is slow if it is so by itself: fewer than half of the others are. Then the load is not to blame.
void Core::judge_slowness(Member& member) {
  const bool idle = member.answered == member.answered_before && member.in_flight.empty();
  member.answered_before = member.answered;
  if (idle) return;
  std::uint32_t others = 0;
  std::uint32_t slow = 0;
  for (Member* other : slots_) {
    if (!other->live() || other == &member) continue;
    ++others;
    slow += seems_slow(*other) ? 1 : 0;
  }
  if (!seems_slow(member) || slow * 2 >= others || !survives_without(member)) {
    member.slow_since = kNever;
    return;
  }
  const Nanos now = scheduler_.now();
  member.slow_since = std::min(member.slow_since, now);
  if (now - member.slow_since < tuning_.slow_member_after_ms * kMillisecond) return;
  emit(EventKind::member_slow, member.name, static_cast<std::uint64_t>(member.latency / kMicrosecond));
  mark_faulty(member, Errc::timeout);
}

Task<void> Core::watch_slowness() {
  const Nanos pause = std::max<Nanos>(tuning_.slow_member_after_ms * kMillisecond / 16, kMillisecond);
  Nanos next = scheduler_.now() + pause;
  while (!stopping_) {
    co_await house_event_.wait_until(next);
    if (stopping_ || scheduler_.now() < next) continue;
    next = scheduler_.now() + pause;
    for (std::uint32_t slot = 0; slot < slots_.size() && !failed_; ++slot) {
      if (slots_[slot]->live()) judge_slowness(*slots_[slot]);
    }
    co_await settle(faults_settled_);
  }
}

// ---- failing ------------------------------------------------------------------------------------------------------------

bool Core::judge(const Batch& batch) {
  bool damaged = false;
  for (const Batch::Failure& failure : batch.failures()) {
    if (failure.status == Errc::limit)
      failed_ = true;  // while it stops: nobody knows what was done; it ends as dirty as it is
    if (!failure.member->live() || failure.status == Errc::limit) continue;
    const bool blocks_only = failure.op == IoOp::read && failure.status != Errc::device_gone &&
                             failure.status != Errc::timeout && failure.status != Errc::closed;
    if (blocks_only) {
      damaged = true;
    } else if (failure.status == Errc::no_space) {
      no_room(*failure.member);
    } else {
      mark_faulty(*failure.member, failure.status);
    }
  }
  return damaged;
}

void Core::no_room(const Member& disk) {
  full_ = true;
  full_until_ = scheduler_.now() + kFullPause;
  full_disk_ = disk.name;
  if (pass_ != nullptr) pass_->stop = true;
  wake_manager();
  pass_event_.wake_all();
}

// Asked by whoever is about to write anything. Tried again only when all has ended that met a disk without room.
bool Core::has_room() noexcept {
  if (full_ && scheduler_.now() >= full_until_ && active_writes_ == 0 && pass_ == nullptr) full_ = false;
  return !full_;
}

// A write reached some members only, and all of them live on.
void Core::need_resync() {
  resync_needed_ = true;
  resync_reached_ = 0;
  may_locate_ = false;
  if (bitmap_) bitmap_->mark_all_for_resync();
}

MemberSet Core::not_in_sync() const noexcept {
  MemberSet lost;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot]->state != MemberState::in_sync) lost.add(slot);
  }
  return lost;
}

bool Core::too_many_lost() const noexcept { return !geometry_.survives(not_in_sync()); }

bool Core::survives_without(const Member& member) const noexcept {
  return geometry_.survives(not_in_sync() | MemberSet{*member.slot});
}

void Core::mark_faulty(Member& member, Errc why) {
  if (!member.live()) return;
  const bool was_member = member.state == MemberState::in_sync;
  const bool was_replacement = member.state == MemberState::replacement;
  member.state = MemberState::faulty;
  common_.roles[member.super.dev_number] = kRoleFaulty;
  ++version_;
  if (was_replacement) slots_[*member.slot]->twin = nullptr;
  if (member.twin != nullptr) end_replacement(member);
  faults_settled_ = ++sb_wanted_;
  emit(EventKind::member_failed, member.name, 0, 0, why);
  if (was_member) emit(EventKind::degraded, member.name, redundancy_left());
  if (too_many_lost() && !failed_ && !rescue_) {
    failed_ = true;
    emit(EventKind::array_failed, member.name);
  }
  wake_manager();
  pass_event_.wake_all();
  house_event_.wake_all();
}

// Nothing can be logged any more: no stripe is written from now on.
void Core::journal_failed(Member& disk, Errc why) {
  disk.state = MemberState::faulty;
  common_.roles[disk.super.dev_number] = kRoleFaulty;
  faults_settled_ = ++sb_wanted_;
  emit(EventKind::member_failed, disk.name, 0, 0, why);
}

// ---- what is there ------------------------------------------------------------------------------------------------------

Member* Core::find(const std::string& disk_name) const noexcept {
  for (const auto& member : members_) {
    if (member->name == disk_name) return member.get();
  }
  return nullptr;
}

Member* Core::first_that_is(MemberState state) const noexcept {
  const auto found =
      std::find_if(members_.begin(), members_.end(), [state](const auto& member) { return member->state == state; });
  return found == members_.end() ? nullptr : found->get();
}

MemberSet Core::lost_for(std::uint64_t end) const noexcept {
  MemberSet lost;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot]->holds(end)) lost.add(slot);
  }
  return lost;
}

std::uint32_t Core::redundancy_left() const noexcept {
  std::uint32_t lost = 0;
  for (const Member* member : slots_) lost += member->state != MemberState::in_sync ? 1 : 0;
  return lost >= geometry_.redundancy() ? 0 : geometry_.redundancy() - lost;
}

bool Core::redundancy_full() const noexcept {
  if (failed_ || resync_needed_) return false;
  return std::all_of(slots_.begin(), slots_.end(),
                     [](const Member* member) { return member->state == MemberState::in_sync; });
}

std::string Core::doubt() const {
  if (!rescue_) return {};
  const auto there =
      std::ranges::count_if(slots_, [](const Member* member) { return member->state == MemberState::in_sync; });
  if (too_many_lost()) {
    return fmt::format("{} of {} members are there: what the others alone held is lost", there, geometry_.disks());
  }
  if (!doubtful_) return {};
  return "dirty and degraded: what the missing members held is computed, and may be wrong where it was being written";
}

void Core::emit(EventKind kind, std::string member, std::uint64_t value, std::uint64_t total, Errc error) {
  if (listener_ == nullptr) return;
  listener_->on_event({scheduler_.now(), kind, std::move(member), value, total, error});
}

static MemberStatus status_of(const Member& member) {
  MemberStatus status;
  status.name = member.name;
  status.slot = member.slot;
  status.state = member.state;
  const bool partly = member.state == MemberState::rebuilding || member.state == MemberState::replacement;
  status.rebuilt_bytes = partly ? member.watermark : 0;
  status.io = member.io;
  status.errors = member.errors;
  status.bad_blocks = member.bad.size();
  return status;
}

ArrayStatus Core::status() const {
  ArrayStatus status;
  status.level = geometry_.level();
  status.events = common_.events;
  bool degraded = false;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    status.members.push_back(slots_[slot] == &absent_ ? MemberStatus{} : status_of(*slots_[slot]));
    status.members.back().slot = slot;
    degraded = degraded || status.members.back().state != MemberState::in_sync;
  }
  for (const auto& member : members_) {
    const bool in_slot = member->slot && slots_[*member->slot] == member.get();
    if (!in_slot) status.members.push_back(status_of(*member));
  }
  status.state = failed_    ? ArrayState::failed
                 : degraded ? ArrayState::degraded
                 : dirty_   ? ArrayState::active
                            : ArrayState::clean;
  status.redundancy_left = failed_ ? 0 : redundancy_left();
  if (pass_ != nullptr) status.recovery = recovery_of(*pass_);
  status.last_recovery = last_recovery_;
  status.mismatch_sectors = mismatch_rows_ * (kRowBytes / kSectorBytes);
  status.mismatches = mismatches_;
  status.lost_row_count = lost_rows_.count;
  status.lost_rows = lost_rows_.first;
  status.lost_by_slot.assign(lost_rows_.by_slot.begin(), lost_rows_.by_slot.begin() + geometry_.disks());
  for (const std::uint64_t block : lost_blocks_) {
    if (status.lost_blocks.size() == kMaxListed) break;
    status.lost_blocks.push_back(block);
  }
  status.healed_blocks = healed_blocks_;
  const bool wants_journal = read_only_ && (common_.feature_map & kFeatureJournal) != 0;
  status.journal_missing = journal_ ? journal_->failed() : wants_journal;
  status.notes = notes_;
  status.full = full_disk_;
  std::copy(std::begin(io_), std::end(io_), std::begin(status.io));
  return status;
}

}  // namespace resilver::raid
