#include "replica/primary.h"

#include <algorithm>
#include <utility>

#include "base/planted_bug.h"

namespace resilver::replica {

Primary::Primary(Core& core, Arbiter& arbiter, VersionedRecord won, bool virgin, NodeSet heard)
    : core_(core),
      arbiter_(arbiter),
      won_(std::move(won)),
      virgin_(virgin),
      heard_(heard),
      reign_(won_.record.reign().first),
      effective_(won_.record.in_sync),
      lost_(core.scheduler),
      changed_(core.scheduler),
      lease_changed_(core.scheduler),
      settled_(core.scheduler),
      locks_(core.scheduler),
      next_seq_(core.position.seq + 1),
      acked_seq_(core.position.seq),
      committed_(core.position.seq),
      local_seq_(core.position.seq),
      stored_seq_(core.position.seq),
      local_changed_(core.scheduler),
      wanted_ack_(won_.record.ack),
      tried_epoch_(won_.record.epoch),
      exact_(won_.record.ack == AckMode::quorum),
      last_client_io_(core.now() - kSecond),
      group_(core.scheduler) {
  for (const Peer& peer : core.peers) links_.push_back(std::make_unique<PeerLink>(*this, core, peer));
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
  group_.spawn(store_position());
  group_.spawn(watch_arbiter());
  group_.spawn(watch_storage());
  while (!lost_.is_set()) {
    if (core_.stopping.is_set()) lose();
    if (std::exchange(core_.deposed, false) && !check_record_) suspect_newer_record();
    const bool of_no_use = core_.device_failed || (!core_.storage_usable() && members().count() > 1);
    if (of_no_use && !resigned_) co_await resign();
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
  local_changed_.wake_all();
  core_.changed.wake_all();
}

// This node's own storage is watched as the others' is: one that lets a request wait for as long as a peer may is given
// up, as long as there is another copy. Alone it is waited for.
Task<void> Primary::watch_storage() {
  while (!lost_.is_set()) {
    core_.note_alive();
    if (core_.oldest_io() > core_.congestion() && members().count() > 1) core_.storage_slow();
    co_await lost_.wait_until(core_.now() + core_.beacon());
  }
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
  if (!reconciled_) settled_.wake_all();
}

Configure Primary::configuration() const {
  const Superblock& super = core_.metadata.now();
  return Configure{serial_, won_.record, super.attachment, last_seq(), reign_, super.forks};
}

void Primary::send_configuration() {
  ++serial_;
  for (auto& link : links_) {
    if (link->streaming()) link->send(configuration());
  }
}

PeerLink* Primary::link_to(NodeId id) const noexcept {
  const auto at = std::ranges::find_if(links_, [id](const auto& link) { return link->id() == id; });
  return at == links_.end() ? nullptr : at->get();
}

// ---- leases and acknowledgement ------------------------------------------------------------------------------------

bool Primary::lease_valid() const {
  if (planted(PlantedBug::lease_ignored)) return true;
  if (resigned_ || lost_.is_set()) return false;
  return each(effective_, [&](const PeerLink& link) { return link.lease_until() > core_.now(); });
}

Nanos Primary::lease() const noexcept {
  return std::min(core_.lease(), static_cast<Nanos>(won_.record.lease_ms) * kMillisecond);
}

bool Primary::serving() const { return open_ && !closed_ && !lost_.is_set() && !resigned_ && lease_valid(); }

// Whatever a member that is gone, or an arbiter that cannot take it out, keeps waiting shows as a lease that is not
// there.
bool Primary::writable() const {
  return serving() && !too_few() && core_.storage_usable() &&
         each(members(), [](const PeerLink& link) { return link.streaming(); });
}

Task<Errc> Primary::wait_lease() {
  for (;;) {
    if (lost_.is_set()) co_return Errc::not_primary;
    if (open_ && lease_valid()) co_return Errc::ok;
    co_await lease_changed_.wait_until(core_.now() + core_.beacon());
  }
}

bool Primary::covered(std::uint64_t seq) const {
  if (planted(PlantedBug::ack_before_durable)) return true;
  if (!covered_by(won_.record, seq) || !joiners_have(seq)) return false;
  if (!proposed_ || planted(PlantedBug::joiner_not_waited_for)) return true;
  return covered_by(*proposed_, seq) && (proposed_->ack == won_.record.ack || durable_everywhere(seq));
}

// Rule 3. In every mode a member without a session leaves the set before the next acknowledgement.
bool Primary::covered_by(const Record& record, std::uint64_t seq) const {
  if (record.in_sync.count() < core_.config.min_in_sync) return false;
  const bool all = each(record.in_sync, [&](const PeerLink& link) {
    if (!link.streaming()) return false;
    if (record.ack == AckMode::durable) return link.durable_seq() >= seq;
    return record.ack != AckMode::received || link.received_seq() >= seq;
  });
  if (!all) return false;
  return record.ack != AckMode::quorum || stored_on(record.in_sync, seq) >= majority();
}

// Whoever gets the writes and may be a member soon is waited for already, where a member is.
bool Primary::joiners_have(std::uint64_t seq) const {
  if (planted(PlantedBug::joiner_not_waited_for)) return true;
  return std::all_of(links_.begin(), links_.end(), [&](const auto& link) {
    if (!link->streaming() || effective_.contains(link->id())) return true;
    if (won_.record.ack == AckMode::durable) return link->durable_seq() >= seq;
    return won_.record.ack != AckMode::received || link->received_seq() >= seq;
  });
}

// How many of `members` have all writes up to `seq`, and will still know it after a power loss.
unsigned Primary::stored_on(NodeSet members, std::uint64_t seq) const {
  unsigned count = members.contains(core_.self) && stored_seq_ >= seq ? 1 : 0;
  for (const auto& link : links_) {
    if (planted(PlantedBug::ack_counts_the_unsynced)) {
      count += link->streaming() && link->durable_seq() >= seq ? 1 : 0;
    } else if (members.contains(link->id()) && link->placed() && link->stored_seq() >= seq) {
      ++count;
    }
  }
  return count;
}

// Everything that was acknowledged is where a promotion under `next` will find it.
bool Primary::may_propose(const Record& next) const {
  if (next.ack != won_.record.ack || next.configured() != won_.record.configured())
    return durable_everywhere(acked_seq_);
  if (next.ack != AckMode::quorum) return true;
  return stored_on(next.in_sync, acked_seq_) >= std::min(majority(), next.in_sync.count());
}

bool Primary::too_few() const {
  const unsigned least = won_.record.ack == AckMode::quorum ? majority() : 0;
  return members().count() < std::max(least, core_.config.min_in_sync);
}

bool Primary::durable_everywhere(std::uint64_t seq) const {
  const auto has = [&](const PeerLink& link) { return link.streaming() && link.durable_seq() >= seq; };
  return each(effective_, has) &&
         std::ranges::all_of(links_, [&](const auto& link) { return !link->streaming() || has(*link); });
}

void Primary::note_committed() {
  if (!each(effective_, [](const PeerLink& link) { return link.streaming(); })) return;
  std::uint64_t all = won_.record.ack == AckMode::quorum ? stored_seq_ : local_seq_;
  for (const auto& link : links_) {
    if (link->streaming()) all = std::min(all, link->durable_seq());
  }
  if (all <= committed_) return;
  committed_ = all;
  core_.committed = {reign_, committed_};
  core_.recent.committed(committed_);
}

// The writes first..last are durable on this node.
void Primary::done_here(std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t seq = first; seq <= last; ++seq) local_ahead_.insert(seq);
  while (!local_ahead_.empty() && *local_ahead_.begin() == local_seq_ + 1) {
    local_ahead_.erase(local_ahead_.begin());
    ++local_seq_;
  }
  core_.position = {reign_, local_seq_};
  note_committed();
  if (won_.record.ack == AckMode::quorum) local_changed_.wake_all();
}

// Under `quorum` this node counts with what its marks tell: one write of them for all that came since the last.
Task<void> Primary::store_position() {
  while (!lost_.is_set()) {
    if (won_.record.ack != AckMode::quorum || stored_seq_ >= local_seq_) {
      co_await local_changed_.wait_until(core_.now() + core_.lease());
      continue;
    }
    const Position next{reign_, local_seq_};
    const auto keep = [&](Marks& m) {
      m.position = std::max(m.position, next);
      m.exact = exact_;
    };
    const Errc status = co_await core_.marks.update(keep, MarkStore::Blocks::first);
    if (status != Errc::ok) {
      core_.storage_failed(status);
      (void)co_await lost_.wait_until(core_.now() + core_.beacon());
      continue;
    }
    stored_seq_ = next.seq;
    advance();
  }
}

void Primary::advance() {
  note_committed();
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
      if (abandoned.is_set() && too_few() && durable_everywhere(seq)) co_return Errc::unavailable;
    }
    if (lost_.is_set() || resigned_) co_return Errc::not_primary;
    const Errc lease = co_await wait_lease();
    if (lease != Errc::ok) co_return lease;
    if (covered(seq)) {  // still: the set may have changed while we waited for the lease
      acked_seq_ = std::max(acked_seq_, seq);
      co_return Errc::ok;
    }
    write.settled.reset();
  }
}

// ---- client requests -----------------------------------------------------------------------------------------------

Task<Errc> Primary::write(IoOp op, Extent extent, Buffer data, const Event& abandoned) {
  if (op == IoOp::discard) op = IoOp::write_zeroes;  // a hint that copies would follow differently
  last_client_io_ = core_.now();
  Errc status = co_await wait_settled(extent);
  if (status != Errc::ok) co_return status;
  ++writing_;
  status = co_await write_settled(op, extent, std::move(data), abandoned);
  --writing_;
  if (closed_) changed_.wake_all();
  co_return status;
}

Task<Errc> Primary::write_settled(IoOp op, Extent extent, Buffer data, const Event& abandoned) {
  RangeLock::Guard lock(locks_, extent.offset, extent.length, RangeLock::Mode::write);
  co_await lock.acquire();
  if (lost_.is_set()) co_return Errc::not_primary;
  Errc status = co_await core_.bits.set(extent);
  if (status != Errc::ok) co_return local_failure(status);
  if (!co_await wait_room()) co_return Errc::not_primary;

  const std::uint64_t first = next_seq_;
  send_to_peers(op, extent, data);
  const std::uint64_t last = next_seq_ - 1;
  InFlight write(core_.scheduler);
  in_flight_.emplace(last, &write);
  status = co_await core_.write_local(op, extent, std::move(data), IoUse::client);
  if (status == Errc::ok) {
    write.local_done = true;
    lock.written();
    done_here(first, last);
    status = co_await acknowledge(last, write, abandoned);
  } else {
    status = local_failure(status);
    if (status != Errc::not_primary)
      done_here(first, last);  // the only copy refused it: it stays what it is, and is told
  }
  in_flight_.erase(last);
  if (status == Errc::ok) ++core_.writes;
  co_return status;
}

// In messages that every line can carry while a beacon waits, each with a number of its own.
void Primary::send_to_peers(IoOp op, Extent extent, const Buffer& data) {
  std::uint64_t most = extent.length;
  for (const auto& link : links_) {
    if (link->streaming() && data) most = std::min(most, link->message_bytes());
  }
  std::uint64_t done = 0;
  do {
    const Extent part{extent.offset + done, std::min(most, extent.length - done)};
    const std::uint64_t seq = next_seq_++;
    core_.recent.add(seq, part);
    for (auto& link : links_) {
      link->note_write(seq, part);
      if (!link->streaming()) continue;
      const Buffer content = data ? data.slice(done, part.length) : Buffer();
      core_.replication_bytes += content.size();
      link->send_write(Replicate{seq, committed_seq(), op, part.offset, part.length}, content);
    }
    done += part.length;
  } while (done < extent.length);
}

// Before a write gets its number: a peer whose queue is full holds the writes up until it gets on or leaves. False: the
// reign is over.
Task<bool> Primary::wait_room() {
  const auto room = [&] {
    return std::all_of(links_.begin(), links_.end(), [](const auto& link) { return link->has_room(); });
  };
  while (!lost_.is_set() && !resigned_) {
    if (room()) co_return true;
    co_await lease_changed_.wait_until(core_.now() + core_.beacon());
  }
  co_return false;
}

Task<Errc> Primary::read(Extent extent, Buffer data) {
  last_client_io_ = core_.now();
  Errc status = co_await wait_settled(extent);
  if (status != Errc::ok) co_return status;
  {
    RangeLock::Guard lock(locks_, extent.offset, extent.length, RangeLock::Mode::read);
    if (!planted(PlantedBug::read_not_ordered)) co_await lock.acquire();
    if (lost_.is_set()) co_return Errc::not_primary;
    status = co_await core_.read_local(extent, data, IoUse::client);
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
  if (status == Errc::limit) return status;  // our own lack of memory says nothing of the device
  give_up_joiners();
  if (members().count() <= 1) {
    if (status == Errc::no_space || status == Errc::read_only) core_.storage_failed(status);
    return status;
  }
  core_.storage_failed(status);
  return Errc::not_primary;
}

void Primary::give_up_joiners() noexcept {
  for (auto& link : links_) {
    if (!effective_.contains(link->id())) link->close();
  }
}

Task<Errc> Primary::read_healing(Extent extent, Buffer data) {
  const Errc whole = co_await core_.read_local(extent, data);
  if (whole == Errc::ok || whole == Errc::device_gone || whole == Errc::timeout) co_return whole;
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

Task<Result<std::uint64_t>> Primary::attach(std::uint64_t number) {
  const std::uint64_t highest = core_.metadata.now().attachment;
  if (number != 0 && number < highest && !planted(PlantedBug::old_attachment_served)) co_return fail(Errc::fenced);
  if (number == 0) number = highest + 1;
  if (number > core_.metadata.now().attachment) {
    const Errc stored =
        co_await core_.metadata.update([&](Superblock& s) { s.attachment = std::max(s.attachment, number); });
    if (stored != Errc::ok) co_return fail(local_failure(stored));
    send_configuration();
  }
  const std::uint64_t serial = serial_;
  const auto known_everywhere = [&] {
    return each(effective_, [&](const PeerLink& link) { return link.streaming() && link.configured() >= serial; });
  };
  while (!known_everywhere() && !lost_.is_set()) co_await changed_.wait_until(core_.now() + core_.beacon());
  if (lost_.is_set()) co_return fail(Errc::not_primary);
  co_return number;
}

void Primary::note_fork(const ForkNote& note) {
  if (core_.metadata.now().noted(note)) return;
  group_.spawn([](Primary& self, ForkNote fork) -> Task<void> {
    const Errc stored = co_await self.core_.metadata.update([&](Superblock& s) { s.note_fork(fork); });
    self.core_.storage_failed(stored);
    if (stored == Errc::ok) self.send_configuration();
  }(*this, note));
}

std::uint64_t Primary::life_of(const CopyId& copy) const noexcept {
  for (const auto& link : links_) {
    if (link->connected() && link->copy_id() == copy && link->lease_until() > core_.now()) return link->life();
  }
  return 0;
}

// What the mode promises, as far as the members are there now, and the arbiter, without which a member that fails
// cannot be left out.
unsigned Primary::redundancy() const {
  if (!writable() || older_ || core_.arbiter_view.away) return 0;
  const unsigned here = members().count(), least = std::max(1u, core_.config.min_in_sync);
  const auto beyond = [&](unsigned needed) { return here > needed ? here - needed : 0; };
  switch (won_.record.ack) {
    case AckMode::durable: return beyond(least);
    case AckMode::quorum: return std::min(majority() - 1, beyond(std::max(majority(), least)));
    case AckMode::received: return std::min(1u, beyond(least));
    case AckMode::async: return 0;  // the primary's failure loses what only it has
  }
  return 0;
}

void Primary::add_findings(std::vector<Finding>& to) const {
  const auto add = [&](Reason reason, std::string detail = {}) {
    to.push_back({reason, kNoNode, 0, 0, std::move(detail)});
  };
  if (resigned_ || closed_) add(Reason::handing_over);
  if (!lease_valid() && !resigned_) add(Reason::no_lease);
  if (too_few()) add(Reason::too_few_copies);
  for (NodeId id = 0; id < won_.record.slots.size(); ++id) {
    const bool listed = id == core_.self || link_to(id) != nullptr;
    if (won_.record.slots[id].name != 0 && !listed)
      add(Reason::not_listed, "number " + std::to_string(id) + " of the record");
  }
  for (const auto& link : links_) link->add_findings(to);
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
