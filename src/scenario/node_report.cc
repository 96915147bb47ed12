// The state of a node program in the runner's words.
#include <algorithm>

#include "scenario/fault_text.h"
#include "scenario/node.h"
#include "scenario/node_slot.h"

namespace resilver::scenario {
namespace {

const char* limit_words(raid::LimitedBy limit) {
  switch (limit) {
    case raid::LimitedBy::nothing: return "";
    case raid::LimitedBy::target_writes: return "spare's writes";
    case raid::LimitedBy::survivor_reads: return "survivors' reads";
    case raid::LimitedBy::cpu: return "CPU";
    case raid::LimitedBy::set_limit: return "the set limit";
    case raid::LimitedBy::speed_min: return "speed_min (client busy)";
  }
  return "";
}

DiskRole role_of(raid::MemberState state) {
  switch (state) {
    case raid::MemberState::in_sync: return DiskRole::member;
    case raid::MemberState::rebuilding:
    case raid::MemberState::replacement: return DiskRole::rebuilding;
    case raid::MemberState::spare: return DiskRole::spare;
    case raid::MemberState::faulty: return DiskRole::faulty;
    case raid::MemberState::journal: return DiskRole::journal;
    case raid::MemberState::missing: return DiskRole::unused;
  }
  return DiskRole::unused;
}

const raid::IoCounters& io(const raid::ArrayStatus& status, raid::Cause cause) {
  return status.io[static_cast<std::size_t>(cause)];
}

}  // namespace

NodeReport NodeProgram::report() const {
  NodeReport report;
  report.trouble = trouble_;
  report.scrubs_finished = scrubs_finished_;
  report.mismatches = mismatches_;
  report.mismatches_named = mismatches_named_;
  report.disks.resize(slots_.size());
  if (array_) report_array(report);
  if (replica_) report_replica(report);
  report_disks(report);
  return report;
}

void NodeProgram::report_array(NodeReport& report) const {
  const raid::ArrayStatus status = array_->status();
  report.assembled = replica_ != nullptr;
  report.array_failed = status.state == raid::ArrayState::failed;
  report.redundancy_left = status.redundancy_left;
  report.recovering =
      status.recovery.kind == raid::RecoveryKind::rebuild || status.recovery.kind == raid::RecoveryKind::resync;
  if (report.recovering) {
    report.recovery_done = status.recovery.done_bytes;
    report.recovery_total = status.recovery.total_bytes;
    report.limited_by = limit_words(status.recovery.limited_by);
  }
  report.restored_bytes = io(status, raid::Cause::rebuild).write_bytes;
  std::copy(std::begin(status.io), std::end(status.io), report.causes.begin());
  for (const Traffic& traffic : at_disks_) report.at_disks += traffic;
  report.volume = at_array_;
  report.unavailable_bytes = status.lost_blocks.size() * kBlockBytes;
  std::uint64_t faulty = 0;
  for (const raid::MemberStatus& member : status.members) {
    if (member.slot && member.state != raid::MemberState::in_sync) ++faulty;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i]->name == member.name) report.disks[i].role = role_of(member.state);
    }
  }
  if (report.array_failed) {
    const bool striped_only = !is_redundant(status.level);
    report.unavailable_bytes = striped_only ? config_.volume_bytes / config_.spec.disks * faulty : config_.volume_bytes;
  }
}

void NodeProgram::report_replica(NodeReport& report) const {
  const replica::ReplicaStatus status = replica_->status();
  report.serving = status.serving;
  report.epoch = status.epoch;
  for (std::uint32_t i = 0; i < std::max<std::size_t>(config_.nodes.size(), 1); ++i) {
    if (status.in_sync.contains(i)) report.in_sync.push_back(i);
  }
  report.copied_bytes = status.resync_bytes + status.heal_bytes;
  report.array_failed = report.array_failed || status.device_failed;
  if (config_.replicate) report.unavailable_bytes = status.lost_bytes;  // what the array lacks a peer has
  for (const replica::PeerStatus& peer : status.peers) {
    if (!peer.resyncing) continue;
    report.resync_peer = static_cast<std::int32_t>(peer.id);
    report.resync_done = peer.resync_done_bytes;
    report.resync_total = peer.resync_total_bytes;
  }
}

void NodeProgram::report_disks(NodeReport& report) const {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = *slots_[i];
    if (!slot.disk) continue;
    DiskReport& disk = report.disks[i];
    const fault::FaultCounters& counters = slot.disk->counters(slot.latest);
    disk.hits = counters.hits - slot.hits_before;
    if (counters.first_hit != kNever) disk.first_hit = counters.first_hit;
    disk.faults = fault_text(slot.disk->snapshot());
    if (disk.role == DiskRole::unused && slot.blank) disk.role = DiskRole::spare;
  }
}

}  // namespace resilver::scenario
