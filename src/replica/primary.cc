#include "replica/primary.h"

#include <algorithm>
#include <utility>

#include "base/planted_bug.h"

namespace resilver::replica {

Primary::Primary(Core& core, Arbiter& arbiter, VersionedRecord won, bool virgin)
    : core_(core),
      arbiter_(arbiter),
      won_(won),
      virgin_(virgin),
      effective_(won.record.in_sync),
      lost_(core.scheduler),
      changed_(core.scheduler),
      lease_changed_(core.scheduler),
      settled_(core.scheduler),
      locks_(core.scheduler),
      next_seq_(core.durable_seq + 1),
      last_client_io_(core.now() - kSecond),
      group_(core.scheduler) {
  for (const auto& peer : core.config.peers) links_.push_back(std::make_unique<PeerLink>(*this, core, peer.id));
  core_.recent.new_reign();
  if (core_.recent.known()) {
    must_settle(core_.recent.list());
  } else {
    core_.bits.add_to(unsettled_);
  }
}

Task<void> Primary::run() {
  for (auto& link : links_) group_.spawn(link->run());
  group_.spawn(keep_members());
  group_.spawn(reconcile());
  group_.spawn(clear_bits());
  while (!lost_.is_set()) {
    if (core_.stopping.is_set()) lose();
    if (core_.newer_epoch > won_.record.epoch && !check_record_) suspect_newer_record();
    if (core_.device_failed && !resigned_) co_await resign();
    core_.serving = serving();
    if (!lost_.is_set()) co_await core_.changed.wait_until(core_.now() + core_.beacon());
  }
  core_.serving = false;
  co_await group_.join();
}

void Primary::lose() {
  lost_.set();
  for (auto& link : links_) link->close();
  for (auto& [seq, write] : in_flight_) write->settled.set();
  changed_.wake_all();
  lease_changed_.wake_all();
  settled_.wake_all();
  core_.changed.wake_all();
}

// The device is gone: no acknowledgement and no read from here on, and the members may propose themselves at once.
Task<void> Primary::resign() {
  resigned_ = true;
  for (auto& link : links_) {
    if (members().contains(link->id())) link->send(Resign{});
  }
  const Nanos until = core_.now() + core_.lease();
  const auto queued = [&] {
    return std::any_of(links_.begin(), links_.end(), [](const auto& link) { return link->queued() > 0; });
  };
  while (queued() && core_.now() < until && !core_.stopping.is_set()) co_await sleep_for(core_.scheduler, kMillisecond);
  co_await sleep_for(core_.scheduler, kMillisecond);
  lose();
}

void Primary::changed() {
  advance();
  lease_changed_.wake_all();
  changed_.wake_all();
}

Configure Primary::configuration() const {
  const Superblock& super = core_.metadata.now();
  return Configure{serial_, won_.record, super.attachment, last_seq(), super.history};
}

// ---- leases and acknowledgement ------------------------------------------------------------------------------------

bool Primary::lease_valid() const {
  if (planted(PlantedBug::lease_ignored)) return true;
  if (resigned_ || lost_.is_set()) return false;
  for (const auto& link : links_) {
    if (effective_.contains(link->id()) && link->lease_until() <= core_.now()) return false;
  }
  return true;
}

bool Primary::serving() const { return open_ && !lost_.is_set() && !resigned_ && lease_valid(); }

Task<Errc> Primary::wait_lease() {
  for (;;) {
    if (lost_.is_set()) co_return Errc::not_primary;
    if (open_ && lease_valid()) co_return Errc::ok;
    co_await lease_changed_.wait_until(core_.now() + core_.beacon());
  }
}

// The acknowledgement mode `durable`: all members, and every joiner that gets the writes.
bool Primary::covered(std::uint64_t seq) const {
  return members().count() >= core_.config.min_in_sync && durable_everywhere(seq);
}

bool Primary::durable_everywhere(std::uint64_t seq) const {
  if (planted(PlantedBug::ack_before_durable)) return true;
  for (const auto& link : links_) {
    const bool needed = effective_.contains(link->id());
    if (needed && !link->streaming()) return false;
    if ((needed || link->streaming()) && link->durable_seq() < seq) return false;
  }
  return true;
}

void Primary::advance() {
  for (auto& [seq, write] : in_flight_) {
    if (!covered(seq)) break;
    if (write->local_done) write->settled.set();
  }
}

Task<Errc> Primary::acknowledge(std::uint64_t seq, InFlight& write, const Event& abandoned) {
  for (;;) {
    if (covered(seq)) write.settled.set();
    while (!write.settled.is_set()) {
      co_await write.settled.wait_until(core_.now() + core_.lease());
      // Nobody waits for the answer any more: a session must not be held up for as long as copies are missing.
      const bool too_few = members().count() < core_.config.min_in_sync;
      if (abandoned.is_set() && too_few && durable_everywhere(seq)) co_return Errc::unavailable;
    }
    if (lost_.is_set() || resigned_) co_return Errc::not_primary;
    const Errc lease = co_await wait_lease();
    if (lease != Errc::ok) co_return lease;
    if (covered(seq)) co_return Errc::ok;  // still: the set may have changed while we waited for the lease
    write.settled.reset();
  }
}

// ---- client requests -----------------------------------------------------------------------------------------------

Task<Errc> Primary::write(IoOp op, Extent extent, Buffer data, const Event& abandoned) {
  if (op == IoOp::discard) op = IoOp::write_zeroes;  // a hint that copies would follow differently
  last_client_io_ = core_.now();
  Errc status = co_await wait_settled(extent);
  if (status != Errc::ok) co_return status;
  RangeLock::Guard lock(locks_, extent.offset, extent.length, RangeLock::Mode::write);
  co_await lock.acquire();
  if (lost_.is_set()) co_return Errc::not_primary;
  status = co_await core_.bits.set(extent);
  if (status != Errc::ok) co_return local_failure(status);
  if (lost_.is_set() || resigned_) co_return Errc::not_primary;

  const std::uint64_t seq = next_seq_++;
  InFlight write(core_.scheduler);
  in_flight_.emplace(seq, &write);
  core_.recent.add(seq, extent);
  for (auto& link : links_) {
    link->note_write(seq, extent);
    if (!link->streaming()) continue;
    core_.replication_bytes += data.size();
    link->send(Replicate{seq, committed_seq(), op, extent.offset, extent.length}, data);
  }
  status = co_await core_.write_local(op, extent, std::move(data));
  if (status == Errc::ok) {
    write.local_done = true;
    lock.written();
    status = co_await acknowledge(seq, write, abandoned);
  } else {
    status = local_failure(status);
  }
  // A write of unknown outcome stays on the list of what a successor must settle.
  if (status == Errc::not_primary) commit_limit_ = std::min(commit_limit_, seq - 1);
  in_flight_.erase(seq);
  core_.recent.committed(committed_seq());
  core_.durable_seq = std::max(core_.durable_seq, committed_seq());
  if (status == Errc::ok) ++core_.writes;
  co_return status;
}

Task<Errc> Primary::read(Extent extent, Buffer data) {
  last_client_io_ = core_.now();
  Errc status = co_await wait_settled(extent);
  if (status != Errc::ok) co_return status;
  {
    RangeLock::Guard lock(locks_, extent.offset, extent.length, RangeLock::Mode::read);
    co_await lock.acquire();
    if (lost_.is_set()) co_return Errc::not_primary;
    status = co_await core_.read_local(extent, data);
    if (status == Errc::ok) status = co_await wait_lease();
  }
  if (status == Errc::medium || status == Errc::io || status == Errc::corrupt) {
    RangeLock::Guard lock(locks_, extent.offset, extent.length, RangeLock::Mode::write);
    co_await lock.acquire();
    if (lost_.is_set()) co_return Errc::not_primary;
    status = co_await read_healing(extent, data);
    if (status == Errc::ok) status = co_await wait_lease();
  }
  if (status == Errc::device_gone || status == Errc::timeout) status = local_failure(status);
  if (status == Errc::ok) ++core_.reads;
  co_return status;
}

// Every acknowledged write is durable: there is nothing to flush, but only a primary may say so.
Task<Errc> Primary::flush() { co_return co_await wait_lease(); }

// The device refuses: with others in sync this node hands over (run() resigns); alone, the caller gets the error, as from
// a single disk, and joiners start again, since they may have what this copy lacks.
Errc Primary::local_failure(Errc status) {
  if (lost_.is_set()) return Errc::not_primary;
  give_up_joiners();
  if (members().count() <= 1) return status;
  core_.fail_device();
  return Errc::not_primary;
}

void Primary::give_up_joiners() noexcept {
  for (auto& link : links_) {
    if (!effective_.contains(link->id())) link->close();
  }
}

Task<Errc> Primary::read_healing(Extent extent, Buffer data) {
  for (std::uint64_t at = 0; at < extent.length; at += kBlockBytes) {
    const Extent block{extent.offset + at, kBlockBytes};
    const Buffer part = data.slice(at, kBlockBytes);
    Errc status = co_await core_.read_local(block, part);
    if (status == Errc::ok) continue;
    if (status == Errc::device_gone || status == Errc::timeout) co_return status;
    bool healed = false;
    for (auto& link : links_) {
      if (healed || !members().contains(link->id()) || !link->streaming()) continue;
      Result<Buffer> copy = co_await link->read(block);
      if (!copy || copy->size() != kBlockBytes) continue;
      std::copy_n(copy->data(), kBlockBytes, part.data());
      core_.heal_bytes += kBlockBytes;
      healed = true;
    }
    if (!healed) co_return status;
    status = co_await core_.write_local(IoOp::write, block, part);
    if (status != Errc::ok) co_return Errc::device_gone;  // cannot even be rewritten
    ++core_.reads_healed;
    core_.emit({.kind = EventKind::block_healed, .offset = block.offset, .bytes = kBlockBytes});
  }
  co_return Errc::ok;
}

Task<Errc> Primary::attach(std::uint64_t number) {
  if (number < core_.metadata.now().attachment && !planted(PlantedBug::no_fencing)) co_return Errc::fenced;
  if (number > core_.metadata.now().attachment) {
    const Errc stored =
        co_await core_.metadata.update([&](Superblock& s) { s.attachment = std::max(s.attachment, number); });
    if (stored != Errc::ok) co_return local_failure(stored);
    ++serial_;
    for (auto& link : links_) {
      if (link->streaming()) link->send(configuration());
    }
  }
  const std::uint64_t serial = serial_;
  const auto known_everywhere = [&] {
    return std::all_of(links_.begin(), links_.end(), [&](const auto& link) {
      return !effective_.contains(link->id()) || (link->streaming() && link->configured() >= serial);
    });
  };
  while (!known_everywhere() && !lost_.is_set()) co_await changed_.wait_until(core_.now() + core_.beacon());
  co_return lost_.is_set() ? Errc::not_primary : Errc::ok;
}

std::vector<PeerStatus> Primary::peers() const {
  std::vector<PeerStatus> all;
  for (const auto& link : links_) {
    all.push_back(link->status());
    all.back().in_sync = members().contains(link->id());
  }
  return all;
}

}  // namespace resilver::replica
