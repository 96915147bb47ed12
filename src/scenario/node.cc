#include "scenario/node.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/log.h"
#include "fault/paced_disk.h"
#include "fault/volatile_cache.h"
#include "scenario/fault_text.h"
#include "scenario/node_slot.h"
#include "scenario/shape.h"
#include "workload/prober.h"

namespace resilver::scenario {
namespace {

constexpr Nanos kOpenTimeout = 10 * kSecond;         // a predecessor's ring may hold the lock for a while
constexpr Nanos kWatchInterval = 20 * kMillisecond;  // of an array that may have to be made anew
constexpr Nanos kReleaseInterval = 10 * kMillisecond;
constexpr std::size_t kMaxOrders = 64;
constexpr std::uint64_t kCacheBytes = std::uint64_t{16} << 20;

raid::ArrayTuning tuning_of(const NodeConfig& config) {
  raid::ArrayTuning tuning;
  tuning.member_timeout_ms = static_cast<std::uint32_t>(config.spec.member_timeout / kMillisecond);
  if (config.rebuild.speed_min != 0) tuning.speed_min = config.rebuild.speed_min;
  tuning.speed_max = config.rebuild.speed_max;
  return tuning;
}

replica::AckMode ack_mode(Ack ack) {
  switch (ack) {
    case Ack::durable: return replica::AckMode::durable;
    case Ack::quorum: return replica::AckMode::quorum;
    case Ack::received: return replica::AckMode::received;
    case Ack::async: return replica::AckMode::async;
  }
  return replica::AckMode::durable;
}

replica::ReplicaConfig replica_config_of(const NodeConfig& config) {
  replica::ReplicaConfig replica;
  replica.volume = config.volume;
  replica.self = config.self;
  replica.name = config.spec.name;
  replica.volume_bytes = config.volume_bytes;
  replica.resync_min_bytes_per_s = config.rebuild.speed_min;
  replica.resync_max_bytes_per_s = config.rebuild.speed_max;
  if (!config.replicate) return replica;
  replica.arbiter = config.arbiter;
  replica.ack = ack_mode(config.replicate->ack);
  replica.congestion_ms = static_cast<std::uint64_t>(config.replicate->congestion / kMillisecond);
  replica.clear_bits_ms = static_cast<std::uint64_t>(config.replicate->clear_bits / kMillisecond);
  replica.min_in_sync = config.replicate->min_in_sync;
  replica.grace_ms = static_cast<std::uint64_t>(config.replicate->grace / kMillisecond);
  replica.lease_ms = static_cast<std::uint64_t>(config.replicate->lease / kMillisecond);
  replica.beacon_ms = std::max<std::uint64_t>(1, replica.lease_ms / 8);
  for (std::uint32_t i = 0; i < config.nodes.size(); ++i) {
    if (config.nodes[i].name == config.replicate->primary) replica.first_primary = i;
    if (i != config.self) replica.peers.push_back({i, config.nodes[i].address, config.nodes[i].name});
  }
  return replica;
}

}  // namespace

NodeProgram::NodeProgram(Env& env, NodeConfig config)
    : env_(env),
      scheduler_(env.scheduler()),
      config_(std::move(config)),
      orders_(env.scheduler(), kMaxOrders),
      scrubs_(env.scheduler()) {}

NodeProgram::~NodeProgram() = default;

Task<Status> NodeProgram::run(MakeListener make_listener, resilver::Event& stop) {
  if (Status opened = co_await open_disks(); !opened) co_return opened;
  TaskGroup orders(scheduler_);
  orders.spawn(carry_out_orders(stop));
  bool format = config_.format;
  bool first = config_.format;
  Status result;
  while (!stop.is_set()) {
    Status built = co_await build_array(format);
    if (!built && !format && co_await can_start_over()) built = co_await build_array(format = true);
    if (!built && first) {
      result = built;
      break;
    }
    first = false;
    if (!built) {
      trouble_ = to_string(built.error());
      co_await stop.wait_until(scheduler_.now() + kWatchInterval);
      continue;
    }
    trouble_.clear();
    result = co_await serve(make_listener, stop, format);
    const bool lost = array_->status().state == raid::ArrayState::failed;
    co_await end_array();
    if (!result && lost && !stop.is_set()) {  // it went while the replica was being opened: as if it had not assembled
      trouble_ = to_string(std::exchange(result, Status{}).error());
      co_await stop.wait_until(scheduler_.now() + kWatchInterval);
      continue;
    }
    if (!result) break;
    format = true;  // only an array that is to be made anew gets here again
  }
  stop.set();
  orders_.close();
  co_await orders.join();
  co_await close_disks();
  co_return result;
}

Task<Status> NodeProgram::open_disks() {
  for (std::size_t i = 0; i < config_.disks.size(); ++i) {
    slots_.push_back(std::make_unique<Slot>());
    if (Status opened = co_await open_disk(i); !opened) co_return opened;
  }
  co_return Status{};
}

Task<Status> NodeProgram::open_disk(std::size_t index) {
  const NodeDisk& disk = config_.disks[index];
  Slot& slot = *slots_[index];
  if (slot.name.empty()) slot.name = disk_label(config_.spec, static_cast<std::uint32_t>(index));
  slot.blank = disk.blank;
  auto opened = co_await env_.open_disk(disk.path, scheduler_.now() + kOpenTimeout);
  if (!opened) co_return std::unexpected(opened.error());
  std::unique_ptr<BlockDevice> device = std::move(*opened);
  if (config_.withhold_writes) {
    device = std::make_unique<fault::VolatileCacheDisk>(scheduler_, std::move(device), kCacheBytes);
  }
  if (config_.paced) device = std::make_unique<fault::PacedDisk>(scheduler_, std::move(device), config_.pace);
  slot.disk = std::make_unique<fault::FaultyDisk>(scheduler_, std::move(device));
  slot.door = std::make_unique<Meter>(*slot.disk, at_disks_);
  auto faults = fault_from_text(disk.faults);
  if (!faults) co_return std::unexpected(faults.error());
  slot.disk->restore(*faults);
  co_return Status{};
}

NodeProgram::Slot* NodeProgram::journal_slot() const {
  return has_journal(config_.spec) ? slots_.back().get() : nullptr;
}

// Does this disk do its work? Whoever uses it knows; else it is asked. A disk that still has what an array gave up on does not:
// it has not answered, and an old write of it could come over a new array.
Task<bool> NodeProgram::answers(const Slot& slot) const {
  if (!slot.disk) co_return false;
  if (array_) {
    for (const raid::MemberStatus& member : array_->status().members) {
      if (member.name == slot.name) co_return member.state != raid::MemberState::faulty;
    }
  }
  if (slot.disk->busy()) co_return false;
  co_return co_await raid::Array::probe(scheduler_, *slot.disk, config_.spec.member_timeout) == Errc::ok;
}

// By slot. All are asked at once: however many hang, that takes one time-out.
Task<std::vector<bool>> NodeProgram::answering() const {
  std::vector<bool> answered(slots_.size());
  TaskGroup asking(scheduler_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    asking.spawn([](const NodeProgram& self, const Slot& slot, std::vector<bool>& all, std::size_t index) -> Task<void> {
      const bool answer = co_await self.answers(slot);
      all[index] = answer;
    }(*this, *slots_[i], answered, i));
  }
  co_await asking.join();
  co_return answered;
}

// A node whose data is gone but whose peers have it begins again with what disks are left.
Task<bool> NodeProgram::can_start_over() const {
  if (!config_.replicate) co_return false;
  const std::vector<bool> answered = co_await answering();
  std::size_t disks = 0;
  for (std::size_t i = 0; i < answered.size(); ++i) {
    if (slots_[i].get() == journal_slot()) {
      if (!answered[i]) co_return false;
    } else {
      disks += answered[i] ? 1 : 0;
    }
  }
  co_return disks >= config_.spec.disks;
}

Task<Status> NodeProgram::build_array(bool format) {
  std::vector<raid::MemberDisk> members, spares;
  std::optional<raid::MemberDisk> journal;
  std::vector<bool> usable;  // a new array needs disks that work; one that is there finds out by itself
  if (format) usable = co_await answering();
  at_disks_ = {};
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot* slot = slots_[i].get();
    if (!slot->disk || (format ? !usable[i] : slot->blank || slot->disk->busy())) continue;
    if (format && slot == journal_slot()) {
      journal = slot->member();
      continue;
    }
    auto& to = format && members.size() == config_.spec.disks ? spares : members;
    to.push_back(slot->member());
  }
  Result<std::unique_ptr<raid::Array>> built;
  if (format) {
    // Images and simulated disks start as zeroes, whose parity is zero.
    const bool assume_clean = config_.format;
    raid::ArrayConfig array = array_config_of(config_.spec);
    array.tuning = tuning_of(config_);
    built = co_await raid::Array::create(scheduler_, env_.buffers(), env_.random(), std::move(array),
                                         {std::move(members), std::move(spares), std::move(journal)}, assume_clean);
  } else {
    raid::AssembleOptions options;
    options.tuning = tuning_of(config_);
    options.force = config_.spec.force;
    built = co_await raid::Array::assemble(scheduler_, env_.buffers(), env_.random(), options, std::move(members));
  }
  if (!built) co_return std::unexpected(built.error());
  array_ = std::move(*built);
  if (format) {
    for (auto& slot : slots_) slot->blank = false;
  }
  co_return co_await add_blank_disks();
}

Task<Status> NodeProgram::add_blank_disks() {
  if (array_->geometry().redundancy() == 0) co_return Status{};  // its spare serves when the array is made anew
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = *slots_[i];  // stays, also when it is replaced meanwhile
    if (!slot.blank || &slot == journal_slot() || !co_await answers(slot)) continue;
    if (Status added = co_await array_->add_disk(slot.member()); !added) co_return added;
    slot.blank = false;
  }
  co_return Status{};
}

Task<Status> NodeProgram::open_replica(bool format) {
  replica::ReplicaConfig config = replica_config_of(config_);
  const std::uint64_t needed = config.volume_bytes + replica::Replica::least_metadata_bytes(config.intent_bits);
  if (array_->size_bytes() < needed) {
    co_return fail(Errc::invalid_argument,
                   fmt::format("the array of {} bytes cannot hold the volume and its metadata ({} bytes)",
                               array_->size_bytes(), needed));
  }
  config.blank_devices = config_.format;
  if (!config_.control.empty()) config.on_event = log_event;  // of a real node; the simulator's would speak all at once
  const replica::Start start = !format          ? replica::Start::as_it_is
                               : config_.format ? replica::Start::new_volume
                                                : replica::Start::new_copy;
  volume_door_ = std::make_unique<Meter>(*array_, at_array_);
  volume_door_->name_uses(config.volume_bytes - workload::Prober::kRegionBytes, config.volume_bytes);
  auto opened = co_await replica::Replica::open(env_, std::move(config), *volume_door_, start);
  if (!opened) co_return std::unexpected(opened.error());
  replica_ = std::move(*opened);
  co_return Status{};
}

// What an operator should read in the log; the rest is in the report.
void NodeProgram::log_event(const replica::ReplicaEvent& event) {
  switch (event.kind) {
    case replica::EventKind::resync_started:
      log_info("node {} is brought up to date, {} bytes to look at: {}", event.peer, event.bytes,
               replica::resync_why_name(event.why));
      return;
    case replica::EventKind::split_brain:
      log_info("split brain: node {} has a history of its own; nothing is copied until someone chooses", event.peer);
      return;
    case replica::EventKind::block_lost: log_info("no copy can read the block at {}: lost", event.offset); return;
    case replica::EventKind::peer_refused:
      log_info("a session with {} was ended: {}",
               event.peer == replica::kNoNode ? std::string("a stranger") : fmt::format("node {}", event.peer),
               errc_name(event.reason));
      return;
    default: return;
  }
}

// One life of the replica: until `stop`, or until its array has to be made anew.
Task<Status> NodeProgram::serve(const MakeListener& make_listener, resilver::Event& stop, bool format) {
  if (Status opened = co_await open_replica(format); !opened) co_return opened;
  auto listener = make_listener();
  if (!listener) {
    replica_.reset();
    co_return std::unexpected(listener.error());
  }
  resilver::Event session_end(scheduler_);
  TaskGroup watch(scheduler_);
  watch.spawn(watch_array(stop, session_end));
  co_await replica_->run(**listener, session_end);
  session_end.set();
  co_await watch.join();
  while (volume_orders_ != 0) co_await sleep_for(scheduler_, kMillisecond);  // they see that the replica has ended
  replica_.reset();
  co_return Status{};
}

Task<void> NodeProgram::watch_array(resilver::Event& stop, resilver::Event& session_end) {
  while (!stop.is_set() && !session_end.is_set()) {
    const bool lost = array_->status().state == raid::ArrayState::failed;
    if (lost && co_await can_start_over()) {
      trouble_ = "the array is lost; made anew from the disks that are left";
      break;
    }
    co_await stop.wait_until(scheduler_.now() + kWatchInterval);
  }
  session_end.set();
}

// So that nobody waits for a fault to end when it is time to go.
void NodeProgram::release_disks() {
  for (auto* disks : {&slots_, &replaced_}) {
    for (auto& slot : *disks) {
      if (slot->disk) slot->disk->release();
    }
  }
}

Task<void> NodeProgram::keep_released(resilver::Event& until) {
  while (!until.is_set()) {
    release_disks();
    co_await until.wait_until(scheduler_.now() + kReleaseInterval);
  }
}

// A disk that the array gave up on may still have requests of it: such a disk stays, and is not for the next array.
Task<void> NodeProgram::end_array() {
  if (!array_) co_return;
  resilver::Event stopped(scheduler_);
  TaskGroup releasing(scheduler_);
  releasing.spawn(keep_released(stopped));
  co_await array_->stop();
  co_await scrubs_.join();
  while (array_orders_ != 0) co_await sleep_for(scheduler_, kMillisecond);
  stopped.set();
  co_await releasing.join();
  volume_door_.reset();
  array_.reset();
  std::erase_if(replaced_, [](const auto& slot) { return !slot->disk || !slot->disk->busy(); });
}

// Only a disk that holds nothing of ours may go, whatever was given up on before.
Task<void> NodeProgram::close_disks() {
  const auto any_busy = [](const std::vector<std::unique_ptr<Slot>>& slots) {
    return std::any_of(slots.begin(), slots.end(), [](const auto& slot) { return slot->disk && slot->disk->busy(); });
  };
  for (;;) {
    release_disks();
    if (!any_busy(slots_) && !any_busy(replaced_)) co_return;
    co_await sleep_for(scheduler_, kMillisecond);
  }
}

}  // namespace resilver::scenario
