#include "replica/core.h"

namespace resilver::replica {

NodeSet Core::configured() const noexcept {
  NodeSet all = NodeSet::of(config.self);
  for (const auto& peer : config.peers) all.add(peer.id);
  return all;
}

const std::string* Core::address_of(NodeId id) const noexcept {
  for (const auto& peer : config.peers) {
    if (peer.id == id) return &peer.address;
  }
  return nullptr;
}

void Core::emit(ReplicaEvent event) {
  if (!config.on_event) return;
  event.at = now();
  event.epoch = epoch();
  config.on_event(event);
}

void Core::refuse(NodeId peer, Errc reason) {
  ++refusals;
  const auto [at, first] = refused_at.try_emplace(peer < kMaxNodes ? peer : kNoNode, now());
  if (!first && now() - at->second < kMinute) return;
  at->second = now();
  emit({.kind = EventKind::peer_refused, .peer = at->first, .reason = reason});
}

Task<bool> Core::disk_answers() {
  const Errc status = co_await metadata.update([](Superblock&) {});
  if (status != Errc::ok) fail_device();
  co_return status == Errc::ok;
}

void Core::fail_device() {
  if (device_failed) return;
  device_failed = true;
  emit({.kind = EventKind::device_failed});
  changed.wake_all();
}

Task<Errc> Core::read_local(Extent extent, Buffer buffer) {
  if (metadata.now().lost_in(extent)) co_return Errc::medium;
  for (int attempt = 0;; ++attempt) {
    const Errc status = co_await Io::read(device, extent.offset, buffer);
    if (status != Errc::limit || attempt >= 1000) co_return status;
    co_await sleep_for(scheduler, kMillisecond);
  }
}

Task<Errc> Core::write_local(IoOp op, Extent extent, Buffer buffer) {
  for (int attempt = 0;; ++attempt) {
    Errc status;
    if (op == IoOp::write) {
      status = co_await Io::write(device, extent.offset, buffer, true);
    } else {
      status = co_await Io::write_zeroes(device, extent.offset, extent.length, true);
    }
    if (status == Errc::ok && metadata.now().lost_in(extent)) {
      status = co_await metadata.update([&](Superblock& s) { s.remove_lost(extent); });
    }
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
  }
  return "?";
}

}  // namespace resilver::replica
