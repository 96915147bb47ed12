// Disks that come and go: failing by hand, adding, removing, replacing, re-adding, and spares that are taken.
#include <algorithm>

#include <fmt/format.h>

#include "raid/core.h"
#include "raid/discovery.h"

namespace resilver::raid {
namespace {

Status refuse_read_only() { return fail(Errc::read_only, "the array was assembled read-only"); }

}  // namespace

// The lowest number in the superblocks' list of roles that belongs to no disk here. One that was never used if there is any:
// a disk that was failed or removed keeps being known as such. A disk that had the number before is not taken for the new
// one: it missed at least the event that freed the number and the one that gave it anew.
std::uint32_t Core::free_number() const noexcept {
  for (const std::uint16_t unused : {kRoleSpare, kRoleFaulty}) {
    for (std::uint32_t number = 0; number < common_.roles.size(); ++number) {
      if (common_.roles[number] == unused && !number_used(number, nullptr)) return number;
    }
  }
  return static_cast<std::uint32_t>(common_.roles.size());
}

// By a disk here other than this one.
bool Core::number_used(std::uint32_t number, const Member* self) const noexcept {
  return std::any_of(members_.begin(), members_.end(), [number, self](const auto& member) {
    return member.get() != self && !member->replaced_disk && member->super.dev_number == number;
  });
}

Member& Core::new_member(const MemberDisk& disk) {
  const std::uint32_t number = free_number();
  Member& member = *members_.emplace_back(std::make_unique<Member>());
  member.name = disk.name;
  member.device = disk.device;
  member.state = MemberState::spare;
  member.super.dev_number = number;
  if (number == common_.roles.size()) common_.roles.push_back(kRoleSpare);
  common_.roles[number] = kRoleSpare;
  return member;
}

Status Core::may_fail(const std::string& disk_name) const {
  const Member* member = find(disk_name);
  if (member == nullptr) return fail(Errc::not_found, disk_name + ": no such disk in the array");
  if (member->state != MemberState::in_sync) return {};
  if (!survives_without(*member)) {
    return fail(Errc::unavailable, disk_name + ": the array would not survive the loss of this member");
  }
  if (resync_needed_ && geometry_.parity_disks() > 0) {
    return fail(Errc::unavailable, disk_name + ": the array is dirty: without this member it would not start any more");
  }
  return {};
}

Task<Status> Core::fail_member(std::string disk_name) {
  if (read_only_) co_return refuse_read_only();
  if (Status fine = may_fail(disk_name); !fine) co_return fine;
  Member* member = find(disk_name);
  if (journal_ && !journal_->failed() && member == &journal_->disk()) co_return co_await fail_journal(disk_name);
  if (member->state == MemberState::spare) {
    member->state = MemberState::faulty;
    common_.roles[member->super.dev_number] = kRoleFaulty;
    ++sb_wanted_;
  } else {
    mark_faulty(*member, Errc::ok);
  }
  co_await settle(sb_wanted_);
  co_return Status{};
}

// What add_disk() and readd_disk() refuse. A faulty disk of the same name makes room: it is the same disk, or was in its place.
Status Core::check_new(const MemberDisk& disk, std::uint64_t needed_bytes) {
  if (read_only_) return refuse_read_only();
  if (!geometry_.is_redundant())
    return fail(Errc::unsupported, fmt::format("{} takes no spares", name(geometry_.level())));
  if (const Member* old = find(disk.name); old != nullptr) {
    if (old->state != MemberState::faulty) return fail(Errc::exists, disk.name + ": in use");
    // A write that was given up on would land on the new member.
    if (old->orphans + old->in_flight_count != 0) return fail(Errc::busy, disk.name + ": I/O to it is still out");
  }
  if (members_.size() + gone_.size() >= kMaxDevs) return fail(Errc::limit, "too many disks have come and gone");
  if (disk.device->size_bytes() < needed_bytes) {
    return fail(Errc::invalid_argument, fmt::format("{}: too small for this array: {} bytes, {} are needed", disk.name,
                                                    disk.device->size_bytes(), needed_bytes));
  }
  return {};
}

Task<Status> Core::add_disk(MemberDisk disk) {
  if (Status fine = check_new(disk, data_offset_bytes() + geometry_.member_bytes()); !fine) co_return fine;
  if (Member* old = find(disk.name); old != nullptr) {
    old->name += " (replaced)";
    old->replaced_disk = true;
  }
  Member& member = new_member(disk);
  member.state = MemberState::spare;
  place_metadata(member, disk.device->size_bytes());
  member.super.devflags = disk.write_mostly ? kWriteMostly : 0;
  emit(EventKind::disk_added, member.name);
  co_await commit();
  wake_manager();
  if (member.state == MemberState::faulty) {
    co_return fail(full_ ? Errc::no_space : Errc::io, disk.name + ": cannot be written");
  }
  co_return Status{};
}

void Core::forget(Member& member) {
  if (member.slot && slots_[*member.slot] == &member) slots_[*member.slot] = &absent_;
  const auto at =
      std::find_if(members_.begin(), members_.end(), [&](const auto& owned) { return owned.get() == &member; });
  gone_.push_back(std::move(*at));
  members_.erase(at);
  member.device = nullptr;  // whoever waits with this member in hand must not find it any more
  member.super.roles.clear();
  member.bad.clear();
}

Status Core::may_remove(const std::string& disk_name) const {
  const Member* member = find(disk_name);
  if (member == nullptr) return fail(Errc::not_found, disk_name + ": no such disk in the array");
  if (member->state == MemberState::faulty || member->state == MemberState::spare) return {};
  return fail(Errc::busy, fmt::format("{}: in use ({})", disk_name, name(member->state)));
}

Task<Status> Core::remove_disk(std::string disk_name) {
  if (read_only_) co_return refuse_read_only();
  if (Status fine = may_remove(disk_name); !fine) co_return fine;
  Member* member = find(disk_name);
  member->state = MemberState::faulty;  // nothing is written to a spare any more
  co_await settle(sb_wanted_);
  member = find(disk_name);
  if (member == nullptr || member->state != MemberState::faulty) co_return Status{};
  if (member->orphans + member->in_flight_count != 0)
    co_return fail(Errc::busy, disk_name + ": I/O to it is still out");
  const std::uint32_t number = member->super.dev_number;
  forget(*member);
  const bool taken = std::any_of(members_.begin(), members_.end(),
                                 [number](const auto& other) { return other->super.dev_number == number; });
  // Faulty, not spare: should it come back, it is not to be taken as if it had been given.
  if (!taken && number < common_.roles.size()) common_.roles[number] = kRoleFaulty;
  co_await commit();
  co_return Status{};
}

// ---- spares, replacement ------------------------------------------------------------------------------------------------

// Puts spares into slots without a working disk. True if one was taken.
Task<bool> Core::take_spares() {
  bool taken = false;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot]->live()) continue;
    Member* spare = first_that_is(MemberState::spare);
    if (spare == nullptr) break;
    slots_[slot]->replaced = true;
    spare->state = MemberState::rebuilding;
    spare->slot = slot;
    spare->watermark = spare->checkpoint = 0;
    spare->bad.clear();
    slots_[slot] = spare;
    common_.roles[spare->super.dev_number] = static_cast<std::uint16_t>(slot);
    ++version_;
    if (bitmap_) co_await bitmap_->write_all(*spare);
    taken = true;
  }
  if (taken) co_await commit();
  co_return taken;
}

Status Core::may_replace(const std::string& disk_name) const {
  if (!geometry_.is_redundant()) {
    return fail(Errc::unsupported, fmt::format("{} has no spares to replace members with", name(geometry_.level())));
  }
  const Member* member = find(disk_name);
  if (member == nullptr) return fail(Errc::not_found, disk_name + ": no such disk in the array");
  if (member->state != MemberState::in_sync) {
    return fail(Errc::unavailable, fmt::format("{}: not in sync ({})", disk_name, name(member->state)));
  }
  if (member->twin != nullptr) return fail(Errc::unavailable, disk_name + ": being replaced already");
  if (first_that_is(MemberState::spare) != nullptr) return {};
  return fail(Errc::unavailable, disk_name + ": there is no spare to replace it with");
}

Task<Status> Core::replace_member(std::string disk_name) {
  if (read_only_) co_return refuse_read_only();
  if (Status fine = may_replace(disk_name); !fine) co_return fine;
  Member* member = find(disk_name);
  Member* spare = first_that_is(MemberState::spare);
  spare->state = MemberState::replacement;
  spare->slot = member->slot;
  spare->watermark = spare->checkpoint = 0;
  spare->bad.clear();
  member->twin = spare;
  common_.roles[spare->super.dev_number] = static_cast<std::uint16_t>(*member->slot);
  ++version_;
  if (bitmap_) co_await bitmap_->write_all(*spare);
  co_await commit();
  wake_manager();
  if (!spare->live()) co_return fail(Errc::io, spare->name + ": cannot be written");
  co_return Status{};
}

// The member that is being replaced has failed: what was copied counts, the rest is rebuilt from redundancy.
void Core::end_replacement(Member& member) {
  Member& twin = *std::exchange(member.twin, nullptr);
  twin.state = MemberState::rebuilding;
  member.replaced = true;
  slots_[*twin.slot] = &twin;
}

// ---- re-add -------------------------------------------------------------------------------------------------------------

// Has it a free slot here, and do bits say all that it may lack, or hold beside the array?
Status Core::may_readd(const MemberDisk& disk, const Superblock& super, bool discard_its_writes) const {
  if (super.set_uuid != common_.set_uuid) return fail(Errc::not_found, disk.name + ": a member of another array");
  const std::uint32_t slot = super.role();
  if (slot >= slots_.size()) return fail(Errc::not_found, disk.name + ": it had no slot in this array");
  if (slots_[slot]->live()) return fail(Errc::not_found, fmt::format("{}: its slot {} is taken", disk.name, slot));
  if (!bitmap_) return fail(Errc::unavailable, disk.name + ": the array has no bitmap: add it as a new disk");
  if ((super.feature_map & kFeatureRecoveryOffset) != 0) {
    return fail(Errc::unavailable, disk.name + ": it was being rebuilt when it left: add it as a new disk");
  }
  if (went_on_alone(super, common_)) {
    if (discard_its_writes) return {};
    return fail(Errc::unavailable,
                disk.name +
                    ": it was written without the others meanwhile: --force gives up what was written there and "
                    "copies what either side wrote; add copies everything");
  }
  if (super.events < bitmap_->events_cleared()) {
    return fail(Errc::unavailable,
                fmt::format("{}: its events {} are behind {}, when bits were last cleared: add it as a new disk",
                            disk.name, super.events, bitmap_->events_cleared()));
  }
  return {};
}

// What a disk wrote without us is to be copied, too. Neither side cleared bits while it was degraded: both bitmaps know all
// since they parted if ours was not cleared later than its own.
Task<Status> Core::unite_bitmaps(const MemberDisk& disk, const Superblock& super) {
  const Status unknown =
      fail(Errc::unavailable, disk.name + ": its bitmap does not tell what it wrote alone: add it as a new disk");
  if ((super.feature_map & kFeatureBitmap) == 0) co_return unknown;
  const std::uint64_t at = super.sector_of(super.bitmap_offset) * kSectorBytes;
  std::vector<std::byte> image(bitmap_->size_on_disk());
  for (std::size_t done = 0; done < image.size(); done += kBlockBytes) {
    const Buffer block = metadata_block();
    if (!block) co_return fail(Errc::limit, "no memory for a buffer");
    if (co_await read_within(*leaves_, *disk.device, at + done, block, member_timeout()) != Errc::ok) co_return unknown;
    std::memcpy(image.data() + done, block.data(), std::min<std::size_t>(kBlockBytes, image.size() - done));
  }
  const auto header =
      decode_bitmap_header(std::span<const std::byte, kBitmapHeaderBytes>(image.data(), kBitmapHeaderBytes));
  if (!header || header->events_cleared < bitmap_->events_cleared() || !bitmap_->merge(image)) co_return unknown;
  co_await bitmap_->write_set();  // a crash must not forget them while the copy is under way
  co_return Status{};
}

Task<Status> Core::readd_disk(MemberDisk disk, bool discard_its_writes) {
  if (Status fine = check_new(disk, data_offset_bytes() + geometry_.member_bytes()); !fine) co_return fine;
  auto super = co_await read_superblock(*leaves_, *disk.device, member_timeout());
  if (!super) co_return fail(Errc::not_found, disk.name + ": " + super.error().what);
  if (Status fine = may_readd(disk, *super, discard_its_writes); !fine) co_return fine;
  const std::uint32_t slot = super->role();
  auto found = std::make_unique<Member>();  // to see whether its log can be read, before anything changes
  found->name = disk.name;
  found->device = disk.device;
  found->super = *super;
  found->data_offset = super->data_offset_sectors * kSectorBytes;
  if (Status loaded = co_await load_bad_log(*found); !loaded) co_return loaded;
  // The world may have changed: what follows does not wait.
  if (Status fine = check_new(disk, data_offset_bytes() + geometry_.member_bytes()); !fine) co_return fine;
  if (failed_) co_return fail(Errc::unavailable, "the array has failed");
  if (slots_[slot]->live()) {
    co_return fail(Errc::not_found, fmt::format("{}: its slot {} is taken", disk.name, slot));
  }
  if (went_on_alone(*super, common_)) {
    if (Status united = co_await unite_bitmaps(disk, *super); !united) co_return united;
    if (slots_[slot]->live() || failed_) co_return fail(Errc::not_found, disk.name + ": its slot is taken");
  }
  if (Member* old = find(disk.name); old != nullptr) forget(*old);
  Member& member = new_member(disk);
  const std::uint32_t number = member.super.dev_number;
  member.super = found->super;
  member.super.dev_number = number;
  member.data_offset = found->data_offset;
  member.bad = std::move(found->bad);
  slots_[slot]->replaced = true;
  member.state = MemberState::rebuilding;
  member.by_bitmap = true;
  member.slot = slot;
  slots_[slot] = &member;
  common_.roles[number] = static_cast<std::uint16_t>(slot);
  ++version_;
  emit(EventKind::disk_added, member.name);
  co_await bitmap_->write_all(member);
  co_await commit();
  wake_manager();
  if (!member.live()) co_return fail(Errc::io, disk.name + ": cannot be written");
  co_return Status{};
}

}  // namespace resilver::raid
