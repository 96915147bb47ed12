// Members: sending to them, giving up on them, replacing them.
#include <algorithm>

#include "base/planted_bug.h"
#include "raid/core.h"

namespace resilver::raid {

void Core::send(Leaf& leaf, Member& member, LeafSink& sink, IoOp op, std::uint64_t device_offset, std::uint64_t length,
                bool fua, Cause cause, std::uint32_t tag) noexcept {
  leaf.op = op;
  leaf.offset = device_offset;
  leaf.length = length;
  leaf.fua = fua;
  leaf.segments = {leaf.buffers.data(), leaf.count};
  leaf.member = &member;
  leaf.sink = &sink;
  leaf.cause = cause;
  leaf.tag = tag;
  leaf.started = scheduler_.now();
  member.in_flight.push_back(leaf);
  ++member.in_flight_count;
  if (member.state == MemberState::faulty) {
    leaf.complete(scheduler_, Errc::device_gone);
    return;
  }
  for (IoCounters* io : {&member.io, &io_[static_cast<std::size_t>(cause)]}) {
    if (op == IoOp::read) {
      ++io->reads;
      io->read_bytes += length;
    } else if (op == IoOp::flush) {
      ++io->flushes;
    } else {
      ++io->writes;
      io->write_bytes += length;
    }
  }
  if (!watchdog_.pending) watch();
  member.device->submit(leaf);
}

// ---- the watchdog ----

void Core::watch() noexcept {
  Nanos oldest = kNever;
  for (const auto& member : members_) {
    if (!member->in_flight.empty()) oldest = std::min(oldest, member->in_flight.front().started);
  }
  watchdog_.pending = oldest != kNever;
  if (watchdog_.pending) scheduler_.arm(watchdog_, oldest + tuning_.member_timeout_ms * kMillisecond);
}

void Core::watchdog_fired() noexcept {
  const Nanos limit = scheduler_.now() - tuning_.member_timeout_ms * kMillisecond;
  for (const auto& member : members_) {
    if (member->state == MemberState::faulty || member->in_flight.empty()) continue;
    if (member->in_flight.front().started > limit) continue;
    mark_faulty(*member, Errc::timeout);
    give_up(*member);
  }
  watch();
}

// Nobody waits any longer for what this member has: its leaves become orphans.
void Core::give_up(Member& member) noexcept {
  while (!member.in_flight.empty()) {
    Leaf& leaf = member.in_flight.pop_front();
    LeafSink* sink = leaf.sink;
    leaf.status = Errc::timeout;
    leaf.sink = nullptr;
    --member.in_flight_count;
    ++member.orphans;
    ++member.errors;
    sink->leaf_done(leaf);
  }
}

// ---- states ----

std::uint32_t Core::in_sync_count() const noexcept {
  return static_cast<std::uint32_t>(std::ranges::count_if(
      slots_, [](const Member* member) { return member != nullptr && member->state == MemberState::in_sync; }));
}

std::uint32_t Core::redundancy_left() const noexcept {
  const std::uint32_t lost = geometry_.disks() - in_sync_count();
  return lost >= geometry_.redundancy() ? 0 : geometry_.redundancy() - lost;
}

MemberSet Core::lost_for(std::uint64_t, std::uint64_t end) const noexcept {
  MemberSet lost;
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i] == nullptr || !slots_[i]->holds(end)) lost.add(i);
  }
  return lost;
}

void Core::mark_faulty(Member& member, Errc why) {
  if (member.state == MemberState::faulty) return;
  const MemberState before = member.state;
  member.state = MemberState::faulty;
  if (before == MemberState::spare) member.replaced = true;
  ++version_;
  emit(EventKind::member_failed, member.name, 0, 0, why);
  if (geometry_.redundancy() == 0) {
    failed_ = true;
    emit(EventKind::array_failed, member.name);
  } else if (before == MemberState::in_sync && !failed_) {
    if (geometry_.disks() - in_sync_count() > geometry_.redundancy()) {
      failed_ = true;  // nothing is acknowledged from now on, so the superblocks stay as they are
      emit(EventKind::array_failed, member.name);
    } else {
      emit(EventKind::degraded, member.name, redundancy_left());
    }
  }
  if (!failed_) {
    const std::uint32_t dev = member.super.dev_number;
    if (dev < common_.roles.size()) common_.roles[dev] = kRoleFaulty;
    if (!planted(PlantedBug::member_not_marked_faulty)) fault_seq_ = ++sb_wanted_;
  }
  if (failed_) sb_event_.wake_all();
  manager_event_.wake_all();
  pass_event_.wake_all();
}

bool Core::judge(const Batch& batch) {
  bool unreadable = false;
  for (const Batch::Failure& failure : batch.failures()) {
    const bool damaged =
        failure.status == Errc::medium || failure.status == Errc::io || failure.status == Errc::corrupt;
    if (failure.op == IoOp::read && damaged) {
      unreadable = true;
    } else {
      mark_faulty(*failure.member, failure.status);
    }
  }
  return unreadable;
}

Member* Core::find(const std::string& disk_name) const noexcept {
  Member* found = nullptr;
  for (const auto& member : members_) {
    if (member->name != disk_name) continue;
    if (found == nullptr || found->state == MemberState::faulty) found = member.get();
  }
  return found;
}

Task<Status> Core::fail_member(std::string disk_name) {
  Member* member = find(disk_name);
  if (member == nullptr) co_return fail(Errc::not_found, "no disk '" + disk_name + "' in the array");
  if (member->state == MemberState::faulty) co_return Status{};
  if (member->state == MemberState::in_sync && redundancy_left() == 0) {
    co_return fail(Errc::unavailable, "the array would not survive the loss of '" + disk_name + "'");
  }
  mark_faulty(*member, Errc::device_gone);
  if (sb_done_ < fault_seq_) co_await settle(fault_seq_);
  co_return Status{};
}

// The part of a superblock that is this disk's own. data_offset and sizes are those that mdadm would choose.
void Core::shape_superblock(Member& member) {
  Superblock& super = member.super;
  const std::uint64_t sectors = member.device->size_bytes() / kSectorBytes;
  super.data_offset_sectors = choose_data_offset(sectors, common_.chunk_sectors);
  const std::uint64_t space = sectors > super.data_offset_sectors ? sectors - super.data_offset_sectors : 0;
  super.data_size_sectors = space;
  super.bitmap_offset = static_cast<std::int32_t>(kSuperOffsetSectors);
  super.bblog_offset = static_cast<std::int32_t>(kSuperOffsetSectors + bitmap_space_sectors(sectors));
  super.bblog_size_sectors = kBadBlockLogBytes / kSectorBytes;
  for (std::size_t i = 0; i < super.device_uuid.size(); i += 8) {
    const std::uint64_t word = random_.next();
    std::memcpy(super.device_uuid.data() + i, &word, 8);
  }
  member.data_offset = super.data_offset_sectors * kSectorBytes;
}

Result<Member*> Core::new_member(const MemberDisk& disk, std::uint32_t dev_number) {
  auto member = std::make_unique<Member>();
  member->name = disk.name;
  member->device = disk.device;
  member->super.dev_number = dev_number;
  shape_superblock(*member);
  if (member->super.data_size_sectors * kSectorBytes < geometry_.member_bytes()) {
    return fail(Errc::invalid_argument, "disk '" + disk.name + "' is too small");
  }
  if (bitmap_ && bitmap_->size_on_disk() > bitmap_space_sectors(disk.device->size_bytes() / kSectorBytes) * kSectorBytes) {
    return fail(Errc::invalid_argument, "disk '" + disk.name + "' has no room for the array's bitmap");
  }
  members_.push_back(std::move(member));
  return members_.back().get();
}

Task<Status> Core::add_disk(MemberDisk disk) {
  if (geometry_.redundancy() == 0) co_return fail(Errc::unsupported, "RAID 0 has no use for a spare");
  if (failed_ || stopping_) co_return fail(Errc::unavailable, "the array is not running");
  for (const auto& member : members_) {
    if (member->name == disk.name && member->state != MemberState::faulty) {
      co_return fail(Errc::exists, "disk '" + disk.name + "' is in use");
    }
    if (member->device == disk.device && (member->orphans != 0 || member->in_flight_count != 0)) {
      co_return fail(Errc::busy, "disk '" + disk.name + "' still has requests of its former life");
    }
  }
  if (common_.roles.size() >= kMaxDevs) co_return fail(Errc::limit, "too many disks were added to this array");
  auto member = new_member(disk, static_cast<std::uint32_t>(common_.roles.size()));
  if (!member) co_return std::unexpected(member.error());
  common_.roles.push_back(kRoleSpare);
  for (const auto& old : members_) {
    if (old->name == disk.name && old.get() != *member) old->replaced = true;
  }
  co_await commit();
  if ((*member)->state == MemberState::faulty) co_return fail(Errc::io, "disk '" + disk.name + "' cannot be written");
  if (failed_) co_return fail(Errc::unavailable, "the array has failed");
  emit(EventKind::disk_added, disk.name);
  manager_event_.wake_all();
  co_return Status{};
}

}  // namespace resilver::raid
