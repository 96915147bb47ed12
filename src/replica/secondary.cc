#include "replica/secondary.h"

#include <algorithm>
#include <utility>

#include "base/planted_bug.h"
#include "replica/block_hash.h"
#include "replica/range_lock.h"
#include "replica/split_brain.h"

namespace resilver::replica {

struct Secondary::Reign {
  Reign(Core& core, Session& s, const Record& record)
      : session(s),
        epoch(record.epoch),
        primary(record.primary),
        ack(record.ack),
        order(core.scheduler),
        applying(core.scheduler) {}

  Session& session;
  std::uint64_t epoch;
  NodeId primary;
  AckMode ack;
  bool streaming = false;  // numbered writes may come
  bool copying = false;    // between ResyncBegin and ResyncDone
  bool full = false;
  bool left = false;    // the session ends for a good reason
  bool placed = false;  // Core::position is of this reign
  bool storing = false;
  std::uint64_t id = 0;        // Position::reign
  std::uint64_t last_seq = 0;  // received
  std::uint64_t durable_seq = 0;
  std::set<std::uint64_t> ahead;  // durable above durable_seq
  RangeLock order;
  TaskGroup applying;
};

struct Secondary::Turn {
  Turn(Reign& reign, Extent e, RangeLock::Mode mode) : guard(reign.order, e.offset, e.length, mode) { guard.queue(); }
  RangeLock::Guard guard;
};

Errc Secondary::judge(const PeerHello& hello, std::uint64_t epoch) const {
  const bool known = core_.address_of(hello.node) != nullptr;
  if (hello.volume != core_.config.volume || !known || core_.stand_alone()) return Errc::bad_input;
  if (hello.record.epoch != epoch || hello.record.primary != hello.node) return Errc::bad_input;
  if (core_.device_failed) return Errc::device_gone;
  if (epoch < core_.epoch() && !planted(PlantedBug::no_fencing)) return Errc::fenced;
  if (core_.proposing || core_.role == Role::primary) return Errc::busy;
  return Errc::ok;
}

PeerWelcome Secondary::welcome(Errc status) const {
  const Superblock& super = core_.metadata.now();
  PeerWelcome answer;
  answer.node = core_.config.self;
  answer.status = status;
  answer.inconsistent = super.inconsistent;
  answer.generation = super.generation();
  answer.durable_seq = core_.position.seq;
  answer.attachment = super.attachment;
  answer.size = core_.volume_bytes;
  answer.recent_known = core_.recent.known();
  if (answer.recent_known) answer.recent = core_.recent.list();
  answer.resync_id = super.resync_id;
  answer.history = super.history;
  return answer;
}

Task<void> Secondary::expel() {
  if (current_ != nullptr) current_->close();
  while (current_ != nullptr) co_await free_.wait();
}

Task<void> Secondary::serve(Session& session, PeerHello hello, std::uint64_t epoch) {
  Errc verdict = judge(hello, epoch);
  if (verdict == Errc::busy && core_.role == Role::primary && epoch > core_.epoch()) {
    core_.newer_epoch = std::max(core_.newer_epoch, epoch);  // we are deposed; the caller will find us free soon
    core_.changed.wake_all();
  }
  if (verdict == Errc::ok && !planted(PlantedBug::no_fencing)) co_await expel();
  co_await slot_.acquire();
  {
    SemaphoreGuard guard(slot_);
    if (!planted(PlantedBug::no_fencing)) {
      while (verdict == Errc::ok && current_ != nullptr) co_await expel();
    }
    if (verdict == Errc::ok) verdict = judge(hello, epoch);
    if (verdict == Errc::ok && epoch > core_.epoch()) {
      const Errc stored = co_await core_.metadata.update([&](Superblock& s) { s.epoch = std::max(s.epoch, epoch); });
      if (stored != Errc::ok) core_.fail_device();
      verdict = judge(hello, epoch);
    }
    if (verdict == Errc::ok) current_ = &session;
  }
  if (verdict != Errc::ok) {
    (void)co_await session.send_now(encode(core_.epoch(), welcome(verdict)), core_.now() + core_.lease());
    co_return;
  }
  co_await follow(session, hello, epoch);
  if (current_ == &session) {
    current_ = nullptr;
    if (core_.role != Role::primary && core_.role != Role::failed) core_.role = Role::idle;
    free_.wake_all();
  }
  core_.changed.wake_all();
}

Task<void> Secondary::follow(Session& session, const PeerHello& hello, std::uint64_t epoch) {
  Reign reign(core_, session, hello.record);
  current_epoch_ = epoch;
  core_.primary = hello.node;
  core_.primary_resigned = false;
  core_.recent.new_reign();
  session.send(encode(core_.epoch(), welcome(Errc::ok)));
  reign.applying.spawn(session.pump());
  while (!session.closed()) {
    // A primary that is there sends beacons: one that is silent for so long is not waited for.
    auto received = co_await session.receive(core_.now() + std::max(4 * core_.grace(), 5 * kSecond));
    if (!received) break;
    if (received->epoch != reign.epoch && !std::holds_alternative<Configure>(received->body) &&
        !std::holds_alternative<Beacon>(received->body)) {
      break;  // nothing of another epoch follows without a Configure
    }
    if (co_await handle(reign, std::move(*received))) continue;
    if (!reign.left) core_.refuse(hello.node, Errc::bad_input);
    break;
  }
  if (session.garbage() != Errc::ok) core_.refuse(hello.node, session.garbage());
  session.close();
  co_await reign.applying.join();
}

// False ends the session: the peer broke the protocol, or this node cannot follow any more.
Task<bool> Secondary::handle(Reign& reign, Received message) {
  if (const auto* beacon = std::get_if<Beacon>(&message.body)) {
    if (message.epoch != reign.epoch) co_return true;  // overtook its Configure: the next one counts
    if (core_.proposing && !planted(PlantedBug::no_fencing)) {
      reign.left = true;
      co_return false;
    }
    core_.last_heard = core_.now();
    core_.recent.committed(beacon->committed_seq);
    reign.session.send_urgent(encode(reign.epoch, BeaconAck{beacon->cookie}));
    co_return true;
  }
  if (const auto* write = std::get_if<Replicate>(&message.body)) {
    co_return start_write(reign, *write, std::move(message.payload));
  }
  if (const auto* copy = std::get_if<CopyExtent>(&message.body)) {
    co_return start_copy(reign, *copy, std::move(message.payload));
  }
  if (std::holds_alternative<ReadExtent>(message.body) || std::holds_alternative<HashRequest>(message.body))
    co_return start_reading(reign, message);
  if (const auto* change = std::get_if<Configure>(&message.body)) {
    if (message.epoch < reign.epoch || change->record.epoch != message.epoch) co_return false;
    co_return co_await configure(reign, *change);
  }
  if (const auto* begin = std::get_if<ResyncBegin>(&message.body)) co_return co_await begin_resync(reign, *begin);
  if (const auto* done = std::get_if<ResyncDone>(&message.body)) {
    co_return co_await end_resync(reign, *done, message.payload);
  }
  if (std::holds_alternative<BitsRequest>(message.body)) co_return co_await send_bits(reign);
  if (const auto* clear = std::get_if<ClearBits>(&message.body)) co_return co_await clear_bits(reign, *clear);
  if (std::holds_alternative<ReconcileDone>(message.body)) co_return co_await reconciled(reign);
  if (const auto* handover = std::get_if<Handover>(&message.body)) co_return succeed(reign, *handover);
  if (const auto* other = std::get_if<Diverged>(&message.body)) co_return co_await stay_diverged(reign, *other);
  if (const auto* choice = std::get_if<Discard>(&message.body)) {
    if (core_.other_history.empty()) co_return false;
    const Errc stored = co_await discard_since(core_, choice->base);
    if (stored != Errc::ok) failed(reign, stored);
    reign.left = true;
    co_return false;  // the next session makes this node a joiner
  }
  if (std::holds_alternative<Resign>(message.body)) {
    core_.primary_resigned = true;
    core_.changed.wake_all();
    reign.left = true;
    co_return false;
  }
  co_return false;
}

void Secondary::failed(Reign& reign, Errc) {
  core_.fail_device();
  core_.role = Role::failed;
  reign.left = true;
  reign.session.close();
}

Task<bool> Secondary::configure(Reign& reign, const Configure& message) {
  const bool member = message.record.in_sync.contains(core_.config.self);
  const Errc stored = co_await core_.metadata.update([&](Superblock& s) {
    s.epoch = std::max(s.epoch, message.record.epoch);
    s.attachment = std::max(s.attachment, message.attachment);
    if (member && !s.inconsistent) s.history = message.history;
    if (reign.placed) s.position = {reign.id, reign.durable_seq};
  });
  if (stored != Errc::ok) {
    failed(reign, stored);
    co_return false;
  }
  reign.epoch = current_epoch_ = message.record.epoch;
  reign.ack = message.record.ack;
  core_.in_sync = message.record.in_sync;
  core_.role = member ? Role::secondary : Role::joining;
  if (!reign.streaming) {
    reign.streaming = true;
    reign.last_seq = reign.durable_seq = message.seq;
    reign.id = message.reign;
  }
  reign.session.send(encode(reign.epoch, ConfigureAck{message.serial}));
  if (reign.placed)
    reign.session.send(encode(reign.epoch, DurableAck{core_.metadata.now().position.seq, reign.last_seq}));
  core_.changed.wake_all();
  co_return true;
}

bool Secondary::start_write(Reign& reign, const Replicate& m, Buffer data) {
  if (!reign.streaming || m.seq != reign.last_seq + 1) return false;
  if (m.op != IoOp::write && m.op != IoOp::write_zeroes) return false;
  const bool in_volume = m.offset % kBlockBytes == 0 && m.length % kBlockBytes == 0 && m.length > 0 &&
                         m.offset <= core_.volume_bytes && m.length <= core_.volume_bytes - m.offset;
  if (!in_volume || data.size() != (m.op == IoOp::write ? m.length : 0)) return false;
  if (reign.applying.running() > kMaxApplying) return false;
  reign.last_seq = m.seq;
  core_.recent.committed(m.committed_seq);
  core_.recent.add(m.seq, {m.offset, m.length});
  reign.applying.spawn(apply(reign, m, std::move(data),
                             std::make_unique<Turn>(reign, Extent{m.offset, m.length}, RangeLock::Mode::write)));
  if (reign.ack == AckMode::received) {
    reign.session.send(encode(reign.epoch, DurableAck{reign.durable_seq, reign.last_seq}));
  }
  return true;
}

Task<void> Secondary::apply(Reign& reign, Replicate m, Buffer data, std::unique_ptr<Turn> turn) {
  co_await turn->guard.acquire();
  const Extent extent{m.offset, m.length};
  Errc status = co_await core_.bits.set(extent);
  if (status == Errc::ok) status = co_await core_.write_local(m.op, extent, std::move(data));
  if (status != Errc::ok) {
    failed(reign, status);
    co_return;
  }
  reign.ahead.insert(m.seq);
  while (!reign.ahead.empty() && *reign.ahead.begin() == reign.durable_seq + 1) {
    reign.ahead.erase(reign.ahead.begin());
    ++reign.durable_seq;
  }
  applied(reign);
}

void Secondary::applied(Reign& reign) {
  if (reign.placed) core_.position = {reign.id, reign.durable_seq};
  if (reign.ack != AckMode::quorum || !reign.placed) {
    reign.session.send(encode(reign.epoch, DurableAck{reign.durable_seq, reign.last_seq}));
  } else if (!reign.storing) {
    reign.storing = true;
    reign.applying.spawn(store_position(reign));
  }
}

// One write of the superblock tells of all writes that became durable during the one before.
Task<void> Secondary::store_position(Reign& reign) {
  std::uint64_t stored = 0;
  while (stored < reign.durable_seq) {
    const Position next{reign.id, reign.durable_seq};
    const Errc status = co_await core_.metadata.update([&](Superblock& s) { s.position = std::max(s.position, next); });
    if (status != Errc::ok) {
      failed(reign, status);
      break;
    }
    stored = next.seq;
    reign.session.send(encode(reign.epoch, DurableAck{stored, reign.last_seq}));
  }
  reign.storing = false;
}

// This copy has what the primary had when its reign began, and the writes since: its position is of that reign.
Task<bool> Secondary::reconciled(Reign& reign) {
  if (!reign.streaming || reign.copying) co_return false;
  Position here;
  const Errc stored = co_await core_.metadata.update([&](Superblock& s) {
    here = {reign.id, reign.durable_seq};
    s.position = here;
  });
  if (stored != Errc::ok) {
    failed(reign, stored);
    co_return false;
  }
  core_.recent.settled();
  reign.placed = true;
  core_.position = {reign.id, reign.durable_seq};
  reign.session.send(encode(reign.epoch, ReconcileDoneAck{}));
  reign.session.send(encode(reign.epoch, DurableAck{here.seq, reign.last_seq}));
  applied(reign);
  co_return true;
}

bool Secondary::request_handover() {
  if (current_ == nullptr || current_->closed()) return false;
  current_->send(encode(current_epoch_, HandoverRequest{}));
  return true;
}

// The primary swapped the record for one that names this node; it serves nothing any more. The session ends: what follows is
// Election's.
bool Secondary::succeed(Reign& reign, const Handover& message) {
  const Record& r = message.record;
  const bool fits = r.primary == core_.config.self && r.in_sync.contains(core_.config.self) && r.epoch > reign.epoch;
  if (!fits || !reign.placed || core_.proposing) return false;
  core_.handed = VersionedRecord{message.version, r};
  core_.primary_resigned = true;
  core_.changed.wake_all();
  reign.left = true;
  return false;
}

bool Secondary::start_copy(Reign& reign, const CopyExtent& m, Buffer data) {
  if (!valid_range(m.extent.offset, m.extent.length, core_.volume_bytes)) return false;
  if (data.size() != (m.zeroes ? 0 : m.extent.length)) return false;
  if (!reign.streaming || reign.applying.running() > kMaxApplying) return false;
  if (!reign.copying) core_.recent.add_copy(m.extent);
  reign.applying.spawn(
      apply_copy(reign, m, std::move(data), std::make_unique<Turn>(reign, m.extent, RangeLock::Mode::write)));
  return true;
}

Task<void> Secondary::apply_copy(Reign& reign, CopyExtent m, Buffer data, std::unique_ptr<Turn> turn) {
  co_await turn->guard.acquire();
  Errc status = Errc::ok;
  if (!reign.full) status = co_await core_.bits.set(m.extent);
  if (status == Errc::ok)
    status = co_await core_.write_local(m.zeroes ? IoOp::write_zeroes : IoOp::write, m.extent, std::move(data));
  if (status != Errc::ok) {
    failed(reign, status);
    co_return;
  }
  reign.session.send(encode(reign.epoch, CopyAck{m.tag}));
}

Task<void> Secondary::read_for_peer(Reign& reign, ReadExtent m, std::unique_ptr<Turn> turn) {
  co_await turn->guard.acquire();
  ExtentData answer{m.tag, Errc::limit};
  Buffer buffer = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), m.extent.length);
  if (buffer) answer.status = co_await core_.read_local(m.extent, buffer);
  if (answer.status != Errc::ok) buffer = {};
  reign.session.send(encode(reign.epoch, answer, std::move(buffer)));
}

bool Secondary::start_reading(Reign& reign, const Received& message) {
  const auto* read = std::get_if<ReadExtent>(&message.body);
  const auto* hash = std::get_if<HashRequest>(&message.body);
  const Extent extent = read != nullptr ? read->extent : hash->extent;
  if (!valid_range(extent.offset, extent.length, core_.volume_bytes)) return false;
  if (reign.applying.running() > kMaxApplying) return false;
  auto turn = std::make_unique<Turn>(reign, extent, RangeLock::Mode::read);
  reign.applying.spawn(read != nullptr ? read_for_peer(reign, *read, std::move(turn))
                                       : hash_for_peer(reign, *hash, std::move(turn)));
  return true;
}

// All writes that came before the question are on the device when it is read; a block that cannot be read has no hash.
Task<void> Secondary::hash_for_peer(Reign& reign, HashRequest m, std::unique_ptr<Turn> turn) {
  co_await turn->guard.acquire();
  Buffer data = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), m.extent.length);
  const std::uint64_t blocks = m.extent.length / kBlockBytes;
  Buffer hashes = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), blocks * kHashBytes);
  if (!data || !hashes) {
    reign.session.send(encode(reign.epoch, Hashes{m.tag, Errc::limit}));
    co_return;
  }
  const Errc whole = co_await core_.read_local(m.extent, data);
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const Buffer block = data.slice(i * kBlockBytes, kBlockBytes);
    Errc status = whole;
    if (whole == Errc::medium || whole == Errc::io || whole == Errc::corrupt)
      status = co_await core_.read_local({m.extent.offset + i * kBlockBytes, kBlockBytes}, block);
    if (status == Errc::device_gone || status == Errc::timeout) co_return failed(reign, status);
    status == Errc::ok ? put_hash(block.bytes(), hashes.bytes(), i) : put_unreadable(hashes.bytes(), i);
  }
  reign.session.send(encode(reign.epoch, Hashes{m.tag, Errc::ok}, std::move(hashes)));
}

// Split brain: this copy stays as it is, readable, until someone chooses.
Task<bool> Secondary::stay_diverged(Reign& reign, const Diverged& message) {
  if (reign.streaming || message.history.empty()) co_return false;
  core_.other_history = message.history;
  core_.emit({.kind = EventKind::split_brain, .peer = core_.primary, .why = ResyncWhy::diverged});
  co_return co_await send_bits(reign);
}

Task<bool> Secondary::send_bits(Reign& reign) {
  Buffer buffer = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), core_.bits.bytes());
  if (!buffer) co_return false;
  core_.bits.copy_to(buffer.bytes());
  reign.session.send(encode(reign.epoch, Bits{core_.bits.granule(), core_.bits.count()}, std::move(buffer)));
  co_return true;
}

Task<bool> Secondary::begin_resync(Reign& reign, const ResyncBegin& message) {
  if (reign.streaming || message.id == 0) co_return false;
  const bool goes_on = message.why == ResyncWhy::resumed;
  if (goes_on && message.id != core_.metadata.now().resync_id) co_return false;
  const bool by_bits = message.why == ResyncWhy::bitmap;
  const Errc stored = co_await core_.metadata.update([&](Superblock& s) {
    s.inconsistent = true;
    s.resync_id = message.id;
    if (!by_bits && !goes_on) s.history.clear();
  });
  reign.full = core_.metadata.now().fresh();
  core_.other_history.clear();
  if (stored != Errc::ok) {
    failed(reign, stored);
    co_return false;
  }
  reign.copying = true;
  core_.role = Role::joining;
  co_return co_await send_bits(reign);
}

// The primary's bits, added durably to our own; they may stand for other lengths.
Task<Errc> Secondary::take_over(const ResyncDone& message, const Buffer& bits) {
  if (message.granule == core_.bits.granule() && message.count == core_.bits.count())
    co_return co_await core_.bits.merge(bits.bytes());
  ExtentSet dirty;
  IntentBitmap::add_to(bits.bytes(), message.granule, core_.volume_bytes, dirty);
  std::vector<Extent> list;
  dirty.for_each([&](Extent e) { list.push_back(e); });
  Errc status = Errc::ok;
  for (std::size_t i = 0; i < list.size() && status == Errc::ok; ++i) status = co_await core_.bits.set(list[i]);
  co_return status;
}

Task<bool> Secondary::end_resync(Reign& reign, const ResyncDone& message, const Buffer& bits) {
  if (!reign.copying || message.history.empty() || message.granule == 0 || message.granule % kBlockBytes != 0 ||
      message.count % 64 != 0 || bits.size() != message.count / 8) {
    co_return false;
  }
  bool room = true;
  const bool good_list = std::all_of(message.lost.begin(), message.lost.end(), [&](Extent e) {
    return e.length == kBlockBytes && valid_range(e.offset, e.length, core_.volume_bytes);
  });
  if (!good_list) co_return false;
  Position here;
  Errc stored = co_await take_over(message, bits);
  if (stored == Errc::ok) {
    stored = co_await core_.metadata.update([&](Superblock& s) {
      s.inconsistent = false;
      s.resync_id = 0;
      s.history = message.history;
      s.bits_since = message.bits_since;
      for (const Extent& block : message.lost) room = s.add_lost(block) && room;
      if (!room) s.inconsistent = true;
      here = {reign.id, reign.durable_seq};
      s.position = here;
    });
  }
  if (stored != Errc::ok) {
    failed(reign, stored);
    co_return false;
  }
  if (!room) co_return false;  // too many blocks that nobody can read: not a copy to rely on
  reign.copying = reign.full = false;
  core_.recent.settled();  // this copy is now as the primary's
  reign.placed = true;
  core_.position = {reign.id, reign.durable_seq};
  reign.session.send(encode(reign.epoch, ResyncDoneAck{}));
  reign.session.send(encode(reign.epoch, DurableAck{here.seq, reign.last_seq}));
  applied(reign);
  co_return true;
}

Task<bool> Secondary::clear_bits(Reign& reign, const ClearBits& message) {
  if (!reign.streaming || reign.copying) co_return false;
  for (const Extent& run : message.runs) {
    if (run.end() > core_.volume_bytes) co_return false;
  }
  if (core_.metadata.now().bits_since < reign.epoch) {
    const Errc stored = co_await core_.metadata.update([&](Superblock& s) { s.bits_since = reign.epoch; });
    if (stored != Errc::ok) {
      failed(reign, stored);
      co_return false;
    }
  }
  for (const Extent& run : message.runs) core_.bits.clear(run);
  reign.applying.spawn([](Secondary& self, Reign& r) -> Task<void> {
    const Errc written = co_await self.core_.bits.write_back();
    if (written != Errc::ok) self.failed(r, written);
  }(*this, reign));
  co_return true;
}

}  // namespace resilver::replica
