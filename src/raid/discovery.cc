#include "raid/discovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace resilver::raid {
namespace {

bool current(const Superblock& super, const Superblock& fresh) noexcept { return super.events + 1 >= fresh.events; }

std::uint16_t role_in(const Superblock& fresh, const Superblock& super) noexcept {
  return super.dev_number < fresh.roles.size() ? fresh.roles[super.dev_number] : kRoleFaulty;
}

// One line if this superblock does not describe the same array as the freshest does.
std::string difference(const Superblock& super, const Superblock& fresh) {
  if (super.level != fresh.level)
    return fmt::format("level is {}, the array's {}", name(super.level), name(fresh.level));
  if (super.layout != fresh.layout)
    return fmt::format("layout is {}, the array's {}", name(super.layout), name(fresh.layout));
  if (super.raid_disks != fresh.raid_disks) {
    return fmt::format("raid_disks is {}, the array's {}", super.raid_disks, fresh.raid_disks);
  }
  if (super.chunk_sectors != fresh.chunk_sectors) {
    return fmt::format("chunksize is {}, the array's {}", super.chunk_sectors, fresh.chunk_sectors);
  }
  if (super.size_sectors != fresh.size_sectors) {
    return fmt::format("size is {}, the array's {}", super.size_sectors, fresh.size_sectors);
  }
  return {};
}

DiskVerdict verdict_of(const Superblock& super, const Superblock& fresh) noexcept {
  const std::uint16_t role = role_in(fresh, super);
  if (role == kRoleFaulty) return DiskVerdict::faulty;
  // One that was away holds nothing that could be old, so (as in md) its events do not count. Its number may be another's by
  // now: it gets a new one.
  if (super.role() == kRoleSpare && !current(super, fresh)) return DiskVerdict::spare;
  if (!current(super, fresh)) return DiskVerdict::stale;
  if (role == kRoleSpare) return DiskVerdict::spare;
  if (role == kRoleJournal) return DiskVerdict::journal;
  const bool whole = knows_its_slot(super, role) && (super.feature_map & kFeatureRecoveryOffset) == 0;
  return whole ? DiskVerdict::member : DiskVerdict::rebuilding;
}

bool has_slot(DiskVerdict verdict) noexcept {
  return verdict == DiskVerdict::member || verdict == DiskVerdict::rebuilding || verdict == DiskVerdict::replacement;
}

class Discovery {
 public:
  Discovery(std::span<const GivenDisk> given, AssemblyReport& report) : given_(given), report_(report) {}

  Result<Lineup> run(bool take_stale) {
    if (Status one = choose_array(); !one) return std::unexpected(one.error());
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (given_[i].super) judge(i);
    }
    if (Status once = refuse_copies(); !once) return std::unexpected(once.error());
    if (Status once = refuse_sides(); !once) return std::unexpected(once.error());
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (report_[i].verdict == DiskVerdict::stale && number_taken(i)) report_[i].verdict = DiskVerdict::faulty;
    }
    if (Status once = seat(); !once) return std::unexpected(once.error());
    if (take_stale) {
      if (Status taken = take_back(); !taken) return std::unexpected(taken.error());
    }
    return std::move(lineup_);
  }

 private:
  const Superblock& super(std::size_t i) const { return *given_[i].super; }
  bool of_array(std::size_t i) const {
    return report_[i].verdict != DiskVerdict::unusable && report_[i].verdict != DiskVerdict::other_array;
  }

  Status choose_array() {
    report_.assign(given_.size(), {});
    const GivenDisk* freshest = nullptr;
    for (std::size_t i = 0; i < given_.size(); ++i) {
      report_[i].name = given_[i].disk.name;
      if (!given_[i].super) {
        report_[i].why = given_[i].super.error().what;
        continue;
      }
      report_[i].events = super(i).events;
      if (freshest == nullptr || super(i).events > freshest->super->events) freshest = &given_[i];
    }
    CHECK(freshest != nullptr);
    freshest_ = static_cast<std::size_t>(freshest - given_.data());
    lineup_.fresh = *freshest->super;
    Status status;
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (!given_[i].super || super(i).set_uuid == lineup_.fresh.set_uuid) continue;
      report_[i].verdict = DiskVerdict::other_array;
      if (!status) continue;
      status = fail(Errc::bad_input, fmt::format("{}: a member of another array than {} (set_uuid {}, not {})",
                                                 given_[i].disk.name, freshest->disk.name,
                                                 format_uuid(super(i).set_uuid), format_uuid(lineup_.fresh.set_uuid)));
    }
    return status;
  }

  void judge(std::size_t i) {
    DiskFound& found = report_[i];
    if (std::string other = difference(super(i), lineup_.fresh); !other.empty()) {
      found.why = "superblock: " + other;
      return;
    }
    found.verdict = verdict_of(super(i), lineup_.fresh);
    if (has_slot(found.verdict)) found.slot = role_in(lineup_.fresh, super(i));
    if (found.verdict == DiskVerdict::rebuilding && (super(i).feature_map & kFeatureReplacement) != 0) {
      found.verdict = DiskVerdict::replacement;
    }
  }

  Status twice(std::size_t a, std::size_t b, const std::string& what) {
    report_[a].verdict = report_[b].verdict = DiskVerdict::duplicate;
    return fail(Errc::bad_input, fmt::format("{} and {}: {}", given_[a].disk.name, given_[b].disk.name, what));
  }

  Status refuse_copies() {
    for (std::size_t a = 0; a < given_.size(); ++a) {
      for (std::size_t b = a + 1; b < given_.size(); ++b) {
        if (!of_array(a) || !of_array(b) || super(a).device_uuid != super(b).device_uuid) continue;
        return twice(a, b, fmt::format("the same member twice (device_uuid {})", format_uuid(super(a).device_uuid)));
      }
    }
    return {};
  }

  // Halves of a mirror that were used one after the other: each says that the other had failed.
  Status refuse_sides() {
    Status status;
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (!of_array(i) || has_slot(report_[i].verdict)) continue;
      if (report_[i].verdict == DiskVerdict::stale && !number_taken(i))
        continue;  // it is counted on: an old copy of itself
      if (!went_on_alone(super(i), lineup_.fresh)) continue;
      report_[i].verdict = DiskVerdict::diverged;
      if (!status) continue;
      status = fail(Errc::bad_input, fmt::format("{} and {}: each went on without the other; neither is newer",
                                                 given_[freshest_].disk.name, given_[i].disk.name));
    }
    return status;
  }

  // Every slot has one member, and perhaps one that is to replace it.
  Status seat() {
    for (std::uint32_t slot = 0; slot < lineup_.fresh.raid_disks; ++slot) {
      std::optional<std::size_t> holder;
      std::optional<std::size_t> second;
      for (std::size_t i = 0; i < given_.size(); ++i) {
        if (!has_slot(report_[i].verdict) || report_[i].slot != slot) continue;
        const bool yields = report_[i].verdict == DiskVerdict::replacement || !knows_its_slot(super(i), slot);
        std::optional<std::size_t>& place = yields ? second : holder;
        if (place) return twice(*place, i, fmt::format("both say that they are member {}", slot));
        place = i;
      }
      if (!second) continue;
      report_[*second].verdict = holder ? DiskVerdict::replacement : DiskVerdict::rebuilding;
    }
    return {};
  }

  MemberSet lost() const {
    MemberSet set = MemberSet::first(lineup_.fresh.raid_disks);
    for (const DiskFound& found : report_) {
      if (found.verdict == DiskVerdict::member) set.remove(*found.slot);
    }
    return set;
  }

  // What mdadm --assemble --force does: the freshest of those that missed something, while too few are there.
  Status take_back() {
    const auto geometry = geometry_of(lineup_.fresh);
    if (!geometry) return std::unexpected(geometry.error());
    while (!geometry->survives(lost())) {
      std::optional<std::size_t> best;
      for (std::size_t i = 0; i < given_.size(); ++i) {
        const DiskVerdict verdict = report_[i].verdict;
        if (verdict != DiskVerdict::stale && verdict != DiskVerdict::faulty) continue;
        const bool whole = (super(i).feature_map & kFeatureRecoveryOffset) == 0;
        if (!whole || super(i).role() >= lineup_.fresh.raid_disks || !lost().contains(super(i).role())) continue;
        if (super(i).failed_by_hand) continue;
        if (number_taken(i)) continue;
        if (!best || super(i).events > super(*best).events) best = i;
      }
      if (!best) return {};
      give_slot(*best);
    }
    return {};
  }

  // A disk that came later has the number of this one.
  bool number_taken(std::size_t i) const {
    for (std::size_t other = 0; other < given_.size(); ++other) {
      const DiskVerdict verdict = report_[other].verdict;
      const bool used = has_slot(verdict) || verdict == DiskVerdict::journal ||
                        (verdict == DiskVerdict::spare && current(super(other), lineup_.fresh));
      if (used && super(other).dev_number == super(i).dev_number) return true;
    }
    return false;
  }

  void give_slot(std::size_t i) {
    const std::uint16_t slot = super(i).role();
    // Whoever was to be rebuilt there has less.
    for (DiskFound& found : report_) {
      if (has_slot(found.verdict) && found.slot == slot) {
        found.verdict = DiskVerdict::stale;
        found.slot.reset();
      }
    }
    DiskFound& found = report_[i];
    found.verdict = DiskVerdict::member;
    found.slot = slot;
    found.why = fmt::format("taken back by force, {} events behind", lineup_.fresh.events - super(i).events);
    auto& roles = lineup_.fresh.roles;
    for (auto& role : roles) {
      if (role == slot) role = kRoleFaulty;
    }
    if (super(i).dev_number >= roles.size()) roles.resize(super(i).dev_number + std::size_t{1}, kRoleSpare);
    roles[super(i).dev_number] = slot;
    lineup_.forced = true;
  }

  std::span<const GivenDisk> given_;
  AssemblyReport& report_;
  Lineup lineup_;
  std::size_t freshest_ = 0;
};

}  // namespace

bool knows_its_slot(const Superblock& super, std::uint32_t slot) noexcept { return super.role() == slot; }

bool went_on_alone(const Superblock& other, const Superblock& fresh) noexcept {
  if (other.role() >= other.raid_disks || (other.feature_map & kFeatureRecoveryOffset) != 0) return false;
  if (other.failed_by_hand) return false;  // and not written since
  MemberSet its_slots;
  for (std::uint32_t number = 0; number < other.roles.size(); ++number) {
    const std::uint16_t role = other.roles[number];
    if (role >= other.raid_disks) continue;
    its_slots.add(role);
    if (number != other.dev_number && number < fresh.roles.size() && fresh.roles[number] == role)
      return false;  // one who was with both
  }
  return its_slots != MemberSet::first(other.raid_disks);  // else it left while all were there
}

Result<Lineup> line_up(std::span<const GivenDisk> given, bool take_stale, AssemblyReport& report) {
  return Discovery(given, report).run(take_stale);
}

namespace {

Task<bool> is_of_partition(LeafPool& leaves, BlockDevice& device, MetadataPlace place, Nanos timeout) {
  const Buffer start = leaves.reserve().allocate(kPartitionTableBytes);
  if (!start || co_await read_within(leaves, device, 0, start, timeout) != Errc::ok) co_return false;
  co_return belongs_to_partition(start.bytes(), place);
}

// Nothing: there is no such superblock here, or the device does not answer.
Task<std::optional<FoundSuperblock>> find_other(LeafPool& leaves, BlockDevice& device, MetadataPlace place,
                                                Nanos timeout) {
  const Buffer block = leaves.reserve().allocate(kSuperblockBytes);
  if (!block) co_return std::nullopt;
  if (co_await read_within(leaves, device, place.sector * kSectorBytes, block, timeout) != Errc::ok)
    co_return std::nullopt;
  if (!holds_metadata(std::span<const std::byte, 512>(block.data(), 512), place)) co_return std::nullopt;
  if (place.version == MetadataVersion::v0_90 && co_await is_of_partition(leaves, device, place, timeout)) {
    co_return std::nullopt;
  }
  FoundSuperblock found;
  std::memcpy(found.block.data(), block.data(), found.block.size());
  found.super = decode_superblock(found.block, device.size_bytes() / kSectorBytes, place);
  if (!found.super) {
    found.super =
        fail(found.super.error().code, fmt::format("metadata {}: {}", name(place.version), found.super.error().what));
  }
  co_return found;
}

}  // namespace

Task<FoundSuperblock> find_superblock(LeafPool& leaves, BlockDevice& device, Nanos timeout) {
  FoundSuperblock found;
  const std::uint64_t bytes = device.size_bytes();
  if (bytes < 3 * kSuperblockBytes) {
    found.super = fail(Errc::bad_input, fmt::format("superblock: none: {} bytes are too few for one", bytes));
    co_return found;
  }
  const Buffer block = leaves.reserve().allocate(kSuperblockBytes);
  if (!block) {
    found.super = fail(Errc::limit, "no memory for a buffer");
    co_return found;
  }
  const Errc status = co_await read_within(leaves, device, kSuperOffsetSectors * kSectorBytes, block, timeout);
  if (status != Errc::ok) {
    found.super = fail(status, fmt::format("superblock: cannot be read: {}", errc_name(status)));
    co_return found;
  }
  std::memcpy(found.block.data(), block.data(), found.block.size());
  found.super = decode_superblock(found.block, bytes / kSectorBytes);
  // One that is there, if damaged, is what counts: others may be left over from before.
  const bool there = holds_metadata(std::span<const std::byte, 512>(block.data(), 512), MetadataPlace());
  if (found.super || there || bytes < 128 * kSectorBytes) co_return found;
  for (const MetadataPlace& place : other_metadata(bytes / kSectorBytes)) {
    if (auto other = co_await find_other(leaves, device, place, timeout)) co_return std::move(*other);
  }
  co_return found;
}

}  // namespace resilver::raid
