// What a node program is told to do to its disks and its array.
#include <fmt/format.h>

#include <algorithm>

#include "scenario/node.h"
#include "scenario/node_slot.h"
#include "scenario/verbs.h"

namespace resilver::scenario {
namespace {

constexpr Nanos kPromoteTimeout = 5 * kSecond;

std::optional<fault::FaultKind> fault_kind(Verb verb) {
  switch (verb) {
    case Verb::disk_fail: return fault::FaultKind::fail;
    case Verb::disk_latent: return fault::FaultKind::latent;
    case Verb::disk_corrupt: return fault::FaultKind::corrupt;
    case Verb::disk_slow: return fault::FaultKind::slow;
    case Verb::disk_hang: return fault::FaultKind::hang;
    case Verb::disk_lost_flush: return fault::FaultKind::lost_flush;
    default: return std::nullopt;
  }
}

// Does this place of a member hold what the fault is meant for, in the part of the volume that is used?
bool fits(const raid::MemberPlace& place, BlockChoice where, const NodeCommand& command) {
  const bool in_use = place.logical && *place.logical >= command.used_begin && *place.logical < command.used_end;
  switch (where) {
    case BlockChoice::data: return in_use;
    case BlockChoice::parity: return !place.logical.has_value();
    case BlockChoice::rebuild_path:
    case BlockChoice::any: return in_use || !place.logical.has_value();
  }
  return false;
}

}  // namespace

Status NodeProgram::command(NodeCommand command) {
  const bool of_disk = command.verb != Verb::array_scrub && command.verb != Verb::volume_promote;
  if (of_disk && command.disk >= slots_.size()) {
    return fail(Errc::invalid_argument, fmt::format("no disk{} here", command.disk));
  }
  if (!orders_.try_push(std::move(command))) return fail(Errc::limit, "too many orders wait");
  return {};
}

Task<void> NodeProgram::carry_out_orders(resilver::Event& stop) {
  while (!stop.is_set()) {
    std::optional<NodeCommand> order = co_await orders_.pop();
    if (!order) co_return;
    const Status done = co_await carry_out(*order);
    if (!done) trouble_ = fmt::format("{}: {}", verb_info(order->verb).name, to_string(done.error()));
  }
}

Task<Status> NodeProgram::carry_out(const NodeCommand& command) {
  if (command.verb == Verb::array_scrub) {
    if (!array_) co_return fail(Errc::unavailable, "no array runs");
    scrubs_.spawn(scrub(command.arguments.repair));
    co_return Status{};
  }
  if (command.verb == Verb::volume_promote || command.verb == Verb::volume_resolve) {
    if (!replica_) co_return fail(Errc::unavailable, "no replica runs");
    ++volume_orders_;
    Status done;
    if (command.verb == Verb::volume_resolve) {
      done = co_await resolve(command.arguments);
    } else if (command.arguments.force) {
      done = co_await replica_->promote_by_force();
    } else {
      done = co_await replica_->promote(scheduler_.now() + kPromoteTimeout);
    }
    --volume_orders_;
    co_return done;
  }
  if (command.verb == Verb::disk_replace) co_return co_await replace(command);
  const auto kind = fault_kind(command.verb);
  if (!kind) co_return fail(Errc::invalid_argument, "not a verb for a node");
  Slot& slot = *slots_[command.disk];
  if (command.clear) {
    slot.disk->clear(*kind);
    co_return Status{};
  }
  slot.latest = *kind;
  slot.hits_before = slot.disk->counters(*kind).hits;
  switch (*kind) {
    case fault::FaultKind::fail: slot.disk->fail(); break;
    case fault::FaultKind::hang: slot.disk->hang(); break;
    case fault::FaultKind::lost_flush: slot.disk->lose_flushes(); break;
    case fault::FaultKind::slow:
      slot.disk->slow({command.arguments.factor_percent, command.arguments.add, command.arguments.bandwidth});
      break;
    case fault::FaultKind::latent:
    case fault::FaultKind::corrupt: co_return co_await damage(command);
  }
  co_return Status{};
}

Task<Status> NodeProgram::damage(const NodeCommand& command) {
  if (!array_) co_return fail(Errc::unavailable, "no array runs");
  Random random(command.seed);
  const std::vector<std::uint64_t> places = choose_places(command);
  if (places.empty()) co_return fail(Errc::not_found, "no such place on this disk");
  for (const std::uint64_t offset : places) {
    Slot& slot = *slots_[command.disk];
    const fault::BlockRange range{offset, command.arguments.size_bytes};
    Status done = command.verb == Verb::disk_latent ? slot.disk->latent(range)
                                                    : co_await slot.disk->corrupt(range, env_.buffers(), random);
    if (!done) co_return done;
  }
  co_return Status{};
}

// Offsets on the disk, drawn without repetition from its part of the used range. A mirror's and a RAID 0's members hold data
// only: `parity` finds nothing there.
std::vector<std::uint64_t> NodeProgram::choose_places(const NodeCommand& command) const {
  const raid::Geometry& geometry = array_->geometry();
  std::optional<std::uint32_t> member;
  for (const raid::MemberStatus& status : array_->status().members) {
    if (status.name == slots_[command.disk]->name) member = status.slot;
  }
  std::vector<std::uint64_t> places;
  if (!member) return places;
  const std::uint64_t used_end = std::min(command.used_end, geometry.capacity_bytes());
  if (command.used_begin >= used_end) return places;
  const auto [begin, end] = geometry.member_range(command.used_begin, used_end);
  const std::uint64_t size = std::max<std::uint64_t>(command.arguments.size_bytes, kBlockBytes);
  Random random(command.seed);
  constexpr std::uint32_t kTriesPerPlace = 64;
  for (std::uint32_t tries = 0; tries < command.arguments.count * kTriesPerPlace && end >= begin + size; ++tries) {
    if (places.size() == command.arguments.count) break;
    const std::uint64_t at = begin + random.below((end - begin - size) / kBlockBytes + 1) * kBlockBytes;
    if (!fits(geometry.at(*member, at), command.arguments.where, command)) continue;
    const std::uint64_t offset = array_->data_offset_bytes() + at;
    const bool taken = std::any_of(places.begin(), places.end(),
                                   [&](std::uint64_t other) { return offset < other + size && other < offset + size; });
    if (!taken) places.push_back(offset);
  }
  std::sort(places.begin(), places.end());
  return places;
}

Task<Status> NodeProgram::replace(const NodeCommand& command) {
  config_.disks[command.disk] = {command.path, true, {}};
  auto fresh = std::make_unique<Slot>();
  fresh->name = fmt::format("disk{}.new{}", command.disk, ++replacements_);
  // The array, if there is one, stays until this order is done with it.
  ++array_orders_;
  Slot& old = *slots_[command.disk];
  if (old.disk) {
    old.disk->release();
    old.disk->fail();  // gone for good, whether or not anybody has noticed that it failed
  }
  if (array_) static_cast<void>(co_await array_->fail_member(old.name));
  replaced_.push_back(std::move(slots_[command.disk]));
  slots_[command.disk] = std::move(fresh);
  Status done = co_await open_disk(command.disk);
  if (done && array_) done = co_await add_blank_disks();
  --array_orders_;
  co_return done;
}

// Either side of a split brain with a peer: the one that is named, else the one that there is.
Task<Status> NodeProgram::resolve(const VerbArguments& arguments) {
  const replica::ReplicaStatus status = replica_->status();
  replica::NodeId other = status.diverged ? status.primary : replica::kNoNode;
  for (const replica::PeerStatus& peer : status.peers) {
    if (peer.diverged && (arguments.peer.empty() || config_.nodes[peer.id].name == arguments.peer)) other = peer.id;
  }
  co_return co_await replica_->resolve(
      other, arguments.discard_local ? replica::Resolution::discard_local : replica::Resolution::discard_remote);
}

Task<void> NodeProgram::scrub(bool repair) {
  const Status done = co_await array_->scrub({.repair = repair, .locate = repair});
  if (!done) {
    trouble_ = "scrub: " + to_string(done.error());
    co_return;
  }
  const raid::ArrayStatus status = array_->status();
  ++scrubs_finished_;
  mismatches_ += status.mismatch_sectors / (kBlockBytes / kSectorBytes);
  for (const raid::Mismatch& mismatch : status.mismatches) mismatches_named_ += mismatch.slot.has_value() ? 1 : 0;
}

}  // namespace resilver::scenario
