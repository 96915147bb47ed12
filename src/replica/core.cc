#include "replica/core.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/hash.h"

namespace resilver::replica {

namespace {

// Storage without room is tried again after so long: it ends by itself.
constexpr Nanos kStorageRetry = 2 * kSecond;
// The watch over the storage runs so often; if it comes so much later, the process stood still.
constexpr Nanos kStoodStill = kSecond;

std::string name_at(const std::string& name, NodeId place) { return name.empty() ? fmt::format("#{}", place) : name; }

}  // namespace

Core::Core(Env& e, ReplicaConfig c, BlockDevice& d)
    : env(e),
      scheduler(e.scheduler()),
      config(std::move(c)),
      device(d),
      metadata(scheduler, env.buffers(), device),
      marks(scheduler, env.buffers(), device),
      bits(scheduler, env.buffers(), device),
      life(e.random().next() | 1),
      changed(scheduler),
      stopping(scheduler),
      self(config.self),
      alive_at_(scheduler.now()) {
  config.name = name_at(config.name, config.self);
  name = name_hash(config.name);
  for (const auto& peer : config.peers)
    peers.push_back({peer.id, peer.id, name_hash(name_at(peer.name, peer.id)), peer.address});
}

// ---- who is who ------------------------------------------------------------------------------------------------------

// This node is where its copy is listed, the others where their names are; where two had one number by that (copies that were
// moved), the other one has this node's former number.
void Core::number(const Record& record) {
  if (record.virgin()) return;
  const NodeId by_name = record.find_name(name), by_copy = record.find_copy(metadata.now().copy);
  NodeSet taken;
  for (NodeId id = 0; id < record.slots.size(); ++id) {
    if (record.slots[id].name != 0) taken.add(id);
  }
  const auto free_number = [&] {
    NodeId id = 0;
    while (taken.contains(id)) ++id;
    taken.add(id);
    return id;
  };
  self = by_copy != kNoNode ? by_copy : by_name != kNoNode ? by_name : free_number();
  for (Peer& peer : peers) {
    peer.id = record.find_name(peer.name);
    if (peer.id == self) peer.id = by_name != self ? by_name : kNoNode;
    if (peer.id == kNoNode) peer.id = free_number();
  }
}

const Peer* Core::peer(NodeId id) const noexcept {
  const auto at = std::ranges::find(peers, id, &Peer::id);
  return at == peers.end() ? nullptr : &*at;
}

NodeId Core::place_of(NodeId id) const noexcept {
  if (id == self) return config.self;
  const Peer* found_peer = peer(id);
  return found_peer == nullptr ? kNoNode : found_peer->place;
}

NodeSet Core::places_of(NodeSet ids) const noexcept {
  NodeSet places;
  for (NodeId id = 0; id < kMaxNodes; ++id) {
    const NodeId place = ids.contains(id) ? place_of(id) : kNoNode;
    if (place != kNoNode) places.add(place);
  }
  return places;
}

NodeId Core::id_at(NodeId place) const noexcept {
  if (place == config.self) return self;
  const auto at = std::ranges::find(peers, place, &Peer::place);
  return at == peers.end() ? kNoNode : at->id;
}

unsigned Core::configured() const noexcept {
  const unsigned listed = known().configured(), in_file = static_cast<unsigned>(peers.size()) + 1;
  return listed != 0 ? listed : in_file;
}

Nanos Core::grace() const noexcept {
  std::uint64_t longest = std::max(known().lease_ms, obeyed.lease_ms);
  if (arbiter_view.record) longest = std::max(longest, arbiter_view.record->record.lease_ms);
  return static_cast<Nanos>(std::max(config.grace_ms, (longest * 5 + 3) / 4)) * kMillisecond;
}

// A node does not know how the others reach it: names and their order are compared, addresses are not.
Settings Core::settings() const {
  Hash64 names;
  for (NodeId place = 0; place <= peers.size(); ++place) {
    const auto at = std::ranges::find(peers, place, &Peer::place);
    names.add(at == peers.end() ? name : at->name);
  }
  return {config.grace_ms, config.congestion_ms, config.min_in_sync,
          config.ack,      names.value(),        name_hash(config.arbiter)};
}

std::uint64_t Core::mark_of(const CopyId& copy) const noexcept { return std::max(marks.now().of(copy), told.of(copy)); }

// ---- telling ---------------------------------------------------------------------------------------------------------

void Core::emit(ReplicaEvent event) {
  if (!config.on_event) return;
  event.at = now();
  event.epoch = epoch();
  if (event.peer != kNoNode) event.peer = place_of(event.peer);
  config.on_event(event);
}

void Core::refuse(NodeId peer_id, Errc reason) {
  ++refusals;
  const auto [at, first] = refused_at.try_emplace(peer_id < kMaxNodes ? peer_id : kNoNode, now());
  if (!first && now() - at->second < kMinute) return;
  at->second = now();
  emit({.kind = EventKind::peer_refused, .peer = at->first, .reason = reason});
}

void Core::find(Reason reason, NodeId node, std::string detail) {
  const NodeId place = node == kNoNode ? kNoNode : place_of(node);
  const auto [at, fresh] = findings.try_emplace(reason, Finding{reason, place, now(), 0, {}});
  if (!fresh && at->second.node != place) at->second.since = now();
  at->second.node = place;
  at->second.detail = std::move(detail);
}

void Core::cease(Reason reason) { findings.erase(reason); }

void Core::waits(std::optional<Reason> reason, NodeId node, std::string detail) {
  for (const Reason one : {Reason::starting, Reason::no_primary, Reason::waits_for_copies, Reason::newer_elsewhere,
                           Reason::new_copy, Reason::half_copied, Reason::fork, Reason::horizon, Reason::lost_writes,
                           Reason::went_back, Reason::second_life, Reason::promised, Reason::suspect, Reason::no_record,
                           Reason::older_record, Reason::forked_record, Reason::other_record}) {
    if (one != reason) cease(one);
  }
  if (reason) find(*reason, node, std::move(detail));
}

bool Core::of_arbiter() const noexcept {
  constexpr Reason kOfRecord[] = {Reason::no_record, Reason::older_record, Reason::forked_record, Reason::other_record,
                                  Reason::frozen};
  const auto is_told = [&](Reason reason) { return found(reason); };
  return std::ranges::any_of(kOfArbiter, is_told) || std::ranges::any_of(kOfRecord, is_told);
}

// ---- the arbiter -----------------------------------------------------------------------------------------------------

Task<Result<VersionedRecord>> Core::ask(Arbiter& arbiter, Nanos deadline) {
  Result<VersionedRecord> answer = co_await arbiter.get(deadline);
  arbiter_answered(answer ? Errc::ok : answer.error().code);
  if (answer) arbiter_view.record = *answer;
  co_return answer;
}

Task<SwapOutcome> Core::swap(Arbiter& arbiter, VersionedRecord expected, Record wanted, Event& end) {
  while (!end.is_set()) {
    auto result = co_await arbiter.compare_and_swap(expected, wanted, now() + lease());
    arbiter_answered(result ? Errc::ok : result.error().code);
    if (!result) {
      (void)co_await end.wait_until(now() + beacon());
      if (result.error().code != Errc::bad_input || end.is_set()) continue;
      auto other = co_await ask(arbiter, now() + lease());
      if (other && other->record.volume != wanted.volume) co_return SwapOutcome{true, false, std::move(*other)};
      continue;
    }
    VersionedRecord& there = result->now;
    if (result->swapped || there.record.nonce == wanted.nonce) co_return SwapOutcome{true, true, std::move(there)};
    const bool restarted = there.key != expected.key && there.key.arbiter == expected.key.arbiter &&
                           there.version == expected.version && there.record.nonce == expected.record.nonce;
    if (!restarted) co_return SwapOutcome{true, false, std::move(there)};
    expected.key = there.key;
  }
  co_return SwapOutcome{};
}

// One that keeps another volume's record, or cannot write, is there.
void Core::arbiter_answered(Errc status) {
  const bool full = status == Errc::no_space || status == Errc::read_only || status == Errc::io;
  const bool there = status == Errc::ok || status == Errc::bad_input || full;
  arbiter_view.away = !there;
  std::optional<Reason> trouble;
  if (full) trouble = Reason::arbiter_full;
  if (!there) trouble = status == Errc::busy ? Reason::two_arbiters : Reason::arbiter_away;
  for (const Reason one : kOfArbiter) {
    if (one != trouble) cease(one);
  }
  if (trouble) find(*trouble, kNoNode, full ? errc_name(status) : "");
}

// ---- the storage -----------------------------------------------------------------------------------------------------

Nanos Core::oldest_io() const noexcept {
  auto& list = const_cast<IntrusiveList<Watched>&>(watched_);
  if (list.empty()) return 0;
  return std::max<Nanos>(0, now() - std::max(list.front().begun, stood_still_until_));
}

void Core::note_alive() noexcept {
  if (now() - alive_at_ > kStoodStill + 2 * beacon()) stood_still_until_ = now();
  alive_at_ = now();
}

void Core::fail_device() {
  if (device_failed) return;
  device_failed = true;
  emit({.kind = EventKind::device_failed});
  changed.wake_all();
}

void Core::storage_failed(Errc status) {
  if (status == Errc::ok || status == Errc::limit) return;
  if (status != Errc::no_space && status != Errc::read_only) return fail_device();
  if (storage_trouble == Errc::ok) storage_since = now();
  storage_trouble = status;
  storage_retry = now() + kStorageRetry;
  find(status == Errc::no_space ? Reason::no_space : Reason::read_only_storage);
  changed.wake_all();
}

void Core::storage_slow() {
  if (storage_trouble != Errc::ok || device_failed) return;
  storage_trouble = Errc::timeout;
  storage_since = now();
  storage_retry = now() + kStorageRetry;
  find(Reason::slow_storage);
  changed.wake_all();
}

bool Core::storage_usable() const noexcept {
  if (device_failed) return false;
  if (storage_trouble == Errc::ok) return true;
  return now() >= storage_retry && (storage_trouble != Errc::timeout || oldest_io() < congestion() / 2);
}

void Core::storage_works() {
  storage_trouble = Errc::ok;
  cease(Reason::slow_storage);
  cease(Reason::no_space);
  cease(Reason::read_only_storage);
}

Task<bool> Core::disk_answers() {
  Errc status;
  {
    Watched watched(*this);
    status = co_await metadata.update([](Superblock&) {});
    if (status == Errc::ok) status = co_await Io::flush(device);
  }
  storage_failed(status);
  // Whether there is room for data is another question: the next write tells.
  if (status == Errc::ok && storage_trouble == Errc::timeout && storage_usable()) storage_works();
  co_return status == Errc::ok;
}

Task<Errc> Core::read_local(Extent extent, Buffer buffer, IoUse use) {
  if (metadata.now().lost_in(extent)) co_return Errc::medium;
  Watched watched(*this);
  for (int attempt = 0;; ++attempt) {
    const Errc status = co_await Io::read(device, extent.offset, buffer).for_use(use);
    if (status != Errc::limit || attempt >= 1000) co_return status;
    co_await sleep_for(scheduler, kMillisecond);
  }
}

Task<Errc> Core::write_local(IoOp op, Extent extent, Buffer buffer, IoUse use) {
  Watched watched(*this);
  for (int attempt = 0;; ++attempt) {
    Errc status;
    if (op == IoOp::write) {
      status = co_await Io::write(device, extent.offset, buffer, true).for_use(use);
    } else {
      status = co_await Io::write_zeroes(device, extent.offset, extent.length, true).for_use(use);
    }
    if (status == Errc::ok && metadata.now().lost_in(extent)) {
      status = co_await metadata.update([&](Superblock& s) { s.remove_lost(extent); });
    }
    if (status == Errc::ok && storage_trouble != Errc::ok && storage_usable()) storage_works();
    if (status != Errc::limit || attempt >= 1000) co_return status;
    co_await sleep_for(scheduler, kMillisecond);
  }
}

const char* role_name(Role role) noexcept {
  switch (role) {
    case Role::idle: return "idle";
    case Role::joining: return "joining";
    case Role::secondary: return "secondary";
    case Role::primary: return "primary";
    case Role::failed: return "failed";
  }
  return "?";
}

const char* event_kind_name(EventKind kind) noexcept {
  switch (kind) {
    case EventKind::became_primary: return "became_primary";
    case EventKind::lost_primary: return "lost_primary";
    case EventKind::peer_left: return "peer_left";
    case EventKind::peer_joined: return "peer_joined";
    case EventKind::resync_started: return "resync_started";
    case EventKind::resync_finished: return "resync_finished";
    case EventKind::block_healed: return "block_healed";
    case EventKind::device_failed: return "device_failed";
    case EventKind::block_lost: return "block_lost";
    case EventKind::split_brain: return "split_brain";
    case EventKind::peer_refused: return "peer_refused";
    case EventKind::record_reinstalled: return "record_reinstalled";
  }
  return "?";
}

}  // namespace resilver::replica
