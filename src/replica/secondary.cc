#include "replica/secondary.h"

#include <algorithm>
#include <utility>

#include "base/planted_bug.h"
#include "replica/block_hash.h"
#include "replica/range_lock.h"
#include "replica/split_brain.h"

namespace resilver::replica {

struct Secondary::Following {
  Following(Core& core, Session& s, const PeerHello& hello)
      : session(s),
        record(hello.record),
        epoch(hello.record.epoch),
        primary(hello.record.primary),
        primary_copy(hello.copy),
        ack(hello.record.ack),
        inbox(core.scheduler, kMaxWaiting),
        order(core.scheduler),
        applying(core.scheduler) {}

  Session& session;
  const Record record;  // of the hello
  std::uint64_t epoch;
  NodeId primary;
  CopyId primary_copy;
  AckMode ack;
  bool streaming = false;  // numbered writes may come
  bool copying = false;    // between ResyncBegin and ResyncDone
  bool full = false;
  bool left = false;    // the session ends for a good reason
  bool placed = false;  // Core::position is of this reign
  bool storing = false;
  bool looking = false;        // for the arbiter
  bool exact = false;          // each acknowledgement waits for Marks::position
  std::uint64_t id = 0;        // Position::reign
  std::uint64_t last_seq = 0;  // received
  std::uint64_t durable_seq = 0;
  std::set<std::uint64_t> ahead;  // durable above durable_seq
  Channel<Received> inbox;        // what came and waits for what came before; bounded by the primary's window
  RangeLock order;
  TaskGroup applying;
};

struct Secondary::Turn {
  Turn(Following& reign, Extent e, RangeLock::Mode mode) : guard(reign.order, e.offset, e.length, mode) {
    guard.queue();
  }
  RangeLock::Guard guard;
};

// ---- who may open a session ------------------------------------------------------------------------------------------

Refusal Secondary::judge(const PeerHello& hello, std::uint64_t epoch) {
  const Record& record = hello.record;
  if (hello.volume != core_.config.volume || core_.stand_alone()) return Refusal::other_volume;
  if (record.volume != hello.volume || record.virgin() || record.epoch != epoch) return Refusal::other_volume;
  if (hello.size != core_.volume_bytes) return Refusal::other_size;
  if (core_.role == Role::primary || core_.proposing) return Refusal::busy;
  const std::uint64_t from = record.slots[record.primary].name;
  if (std::ranges::find(core_.peers, from, &Peer::name) == core_.peers.end()) return Refusal::not_listed;
  if (core_.metadata.now().promise.run != 0) return Refusal::promised;
  if (!core_.storage_usable()) return Refusal::device;
  const bool newest =
      kinship(core_.known(), record) != Kinship::stale && kinship(core_.obeyed, record) != Kinship::stale;
  if (!newest && !planted(PlantedBug::no_fencing)) return Refusal::stale;
  if (hears_another(record) && !planted(PlantedBug::fork_obeyed)) return Refusal::other_history;
  if (record.life != hello.life && !planted(PlantedBug::second_life_accepted)) return Refusal::second_life;
  return Refusal::none;
}

// Whether this copy is in sync with a primary whose history is another one than this record's. That primary may be the
// one that the arbiter knows; the caller finds out.
bool Secondary::hears_another(const Record& record) const {
  const Kinship seen = kinship(core_.known(), record);
  return current_ != nullptr && core_.role == Role::secondary && core_.now() < core_.last_heard + core_.lease() &&
         seen != Kinship::newer && seen != Kinship::same;
}

PeerWelcome Secondary::welcome(Refusal refusal) const {
  const Superblock& super = core_.metadata.now();
  PeerWelcome answer;
  answer.refusal = refusal;
  answer.volume = core_.config.volume;
  answer.name = core_.name;
  answer.copy = super.copy;
  answer.life = core_.life;
  answer.inconsistent = super.inconsistent;
  answer.base = super.base;
  answer.known = super.known;
  answer.marks = core_.marks.now();
  for (const PeerMark& told : core_.told.peers) answer.marks.note(told.copy, told.counter);
  answer.durable_seq = core_.position.seq;
  answer.attachment = super.attachment;
  answer.size = core_.volume_bytes;
  answer.recent_known = core_.recent.known();
  if (answer.recent_known) answer.recent = core_.recent.list();
  answer.resync_id = super.resync_id;
  answer.settings = core_.settings();
  answer.suspect = super.suspect;
  answer.usurped = super.usurped;
  return answer;
}

// Whether what this copy holds may be made what the primary of that record holds, without anybody's choice.
bool Secondary::may_overwrite(const Record& record) const {
  const Superblock& super = core_.metadata.now();
  if (super.inconsistent || super.fresh()) return true;
  if (gives_up(record, record.find_copy(super.copy), super.known.head(), false)) return true;
  const Kinship seen = kinship(super.known, record);
  return seen == Kinship::newer || seen == Kinship::same || planted(PlantedBug::fork_obeyed) ||
         planted(PlantedBug::older_record_obeyed);
}

Task<void> Secondary::expel() {
  if (current_ != nullptr) current_->close();
  while (current_ != nullptr) co_await free_.wait();
}

Task<void> Secondary::serve(Session& session, PeerHello hello, std::uint64_t epoch) {
  Refusal verdict = judge(hello, epoch);
  if (verdict == Refusal::busy && core_.role == Role::primary && hello.volume == core_.config.volume) {
    core_.deposed = true;  // perhaps: the record tells. The caller will find us free soon
    core_.changed.wake_all();
  }
  if (verdict == Refusal::none && !planted(PlantedBug::no_fencing)) co_await expel();
  co_await slot_.acquire();
  {
    SemaphoreGuard guard(slot_);
    if (!planted(PlantedBug::no_fencing)) {
      while (verdict == Refusal::none && current_ != nullptr) co_await expel();
    }
    if (verdict == Refusal::none) verdict = judge(hello, epoch);
    if (verdict == Refusal::none) {
      current_ = &session;
      core_.number(hello.record);
    }
  }
  if (verdict != Refusal::none) {
    (void)co_await session.send_now(encode(core_.epoch(), welcome(verdict)), core_.now() + core_.lease());
    co_return;
  }
  const Kinship seen = kinship(core_.obeyed, hello.record);
  if (seen == Kinship::newer || seen == Kinship::same) core_.obeyed = hello.record;
  co_await follow(session, hello);
  if (current_ == &session) {
    current_ = nullptr;
    if (core_.role != Role::primary && core_.role != Role::failed) core_.role = Role::idle;
    free_.wake_all();
  }
  core_.changed.wake_all();
}

// ---- following -------------------------------------------------------------------------------------------------------

Task<void> Secondary::follow(Session& session, const PeerHello& hello) {
  Following reign(core_, session, hello);
  current_epoch_ = reign.epoch;
  core_.primary = reign.primary;
  core_.heard_copy = hello.copy;
  core_.heard_life = hello.life;
  core_.primary_resigned = false;
  core_.recent.new_reign();
  session.send(encode(core_.epoch(), welcome(Refusal::none)));
  reign.applying.spawn(session.pump());
  reign.applying.spawn(work(reign));
  while (!session.closed()) {
    // A primary that is there sends beacons: one that is silent for so long is not waited for.
    auto received = co_await session.receive(core_.now() + std::max(4 * core_.grace(), 5 * kSecond));
    if (!received) break;
    if (const auto* beacon = std::get_if<Beacon>(&received->body)) {
      if (!heard(reign, *received, *beacon)) break;
    } else if (!reign.inbox.try_push(std::move(*received))) {
      if (!reign.left) core_.refuse(reign.primary, Errc::limit);
      break;
    }
  }
  if (session.garbage() != Errc::ok) core_.refuse(reign.primary, session.garbage());
  reign.inbox.close();
  session.close();
  co_await reign.applying.join();
}

// The epoch of a beacon may be ahead of a Configure that waits for the disk: it is the same primary's all the same.
bool Secondary::heard(Following& reign, const Received& message, const Beacon& beacon) {
  if (message.epoch < reign.record.epoch) return false;
  if (core_.proposing && !planted(PlantedBug::no_fencing)) {
    reign.left = true;
    return false;
  }
  core_.last_heard = core_.now();
  core_.recent.committed(beacon.committed_seq);
  if (reign.placed) core_.committed = {reign.id, std::min(beacon.committed_seq, reign.durable_seq)};
  if (reign.streaming) {  // what a reign tells that this copy has no part in proves nothing against it
    core_.told.note(reign.primary_copy, beacon.mark);
    for (const PeerMark& mark : beacon.marks) core_.told.note(mark.copy, mark.counter);
  }
  const bool news = beacon.arbiter != ArbiterKey{} && !arbiter_.knows(beacon.arbiter);
  if (news && !std::exchange(reign.looking, true)) reign.applying.spawn(look_for(reign, beacon.arbiter));
  for (const Reason one : kOfArbiter) core_.cease(one);  // whoever hears a primary leaves the arbiter to it
  reign.session.send_urgent(encode(reign.epoch, BeaconAck{beacon.cookie, core_.marks.now().counter, arbiter_.key()}));
  return true;
}

Task<void> Secondary::look_for(Following& reign, ArbiterKey told) {
  co_await arbiter_.hear_of(told, core_.now() + core_.lease() / 4);  // the end of the session waits for it
  reign.looking = false;
}

// What came is done in its order; what only the disk keeps waiting does not hold back what follows (start_write and the
// like).
Task<void> Secondary::work(Following& reign) {
  while (auto message = co_await reign.inbox.pop()) {
    const bool later =
        std::holds_alternative<Configure>(message->body) || std::holds_alternative<Discard>(message->body);
    const bool of_now = message->epoch == reign.epoch || (later && message->epoch > reign.epoch);
    if (reign.session.closed()) break;
    if (of_now && co_await handle(reign, std::move(*message))) continue;
    if (!reign.left && !reign.session.closed()) core_.refuse(reign.primary, Errc::bad_input);
    break;
  }
  reign.inbox.close();
  reign.session.close();
}

// False ends the session: the peer broke the protocol, or this node cannot follow any more.
Task<bool> Secondary::handle(Following& reign, Received message) {
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
  if (const auto* prepare = std::get_if<ClearPrepare>(&message.body)) {
    co_return co_await prepare_clearing(reign, *prepare);
  }
  if (const auto* clear = std::get_if<ClearBits>(&message.body)) co_return co_await clear_bits(reign, *clear);
  if (std::holds_alternative<ReconcileDone>(message.body)) co_return co_await reconciled(reign);
  if (const auto* handover = std::get_if<Handover>(&message.body)) co_return succeed(reign, *handover);
  if (const auto* other = std::get_if<Diverged>(&message.body)) co_return co_await stay_diverged(reign, *other);
  if (const auto* choice = std::get_if<Discard>(&message.body)) co_return co_await discard(reign, *choice);
  if (std::holds_alternative<Resign>(message.body)) {
    core_.primary_resigned = true;
    core_.changed.wake_all();
    reign.left = true;
    co_return false;
  }
  co_return false;
}

// Somebody chose the other side: what this copy has since the two were one is given up. The next session makes it a
// joiner.
Task<bool> Secondary::discard(Following& reign, const Discard& choice) {
  if (!core_.other_history) co_return false;
  const Errc stored = co_await discard_since(core_, choice.base, choice.record);
  if (stored != Errc::ok) failed(reign, stored);
  reign.left = true;
  co_return false;
}

void Secondary::failed(Following& reign, Errc status) {
  core_.storage_failed(status);
  if (core_.device_failed) core_.role = Role::failed;
  reign.left = true;
  reign.session.close();
}

Task<bool> Secondary::configure(Following& reign, const Configure& message) {
  const Record& record = message.record;
  const Kinship seen = kinship(core_.known(), record);
  const bool continues = seen == Kinship::newer || seen == Kinship::same || planted(PlantedBug::older_record_obeyed) ||
                         planted(PlantedBug::fork_obeyed);
  if (!continues || record.primary != reign.primary) co_return false;
  const bool member = record.in_sync.contains(core_.self) && record.copy_of(core_.self) == core_.metadata.now().copy;
  const bool quorum = record.ack == AckMode::quorum;
  reign.exact = reign.exact && quorum;
  Errc stored = co_await core_.metadata.update([&](Superblock& s) {
    if (member && !s.inconsistent) {
      s.follow(record);
    } else {
      s.known = record;
    }
    s.arbiter = arbiter_.key();
    s.attachment = std::max(s.attachment, message.attachment);
    for (const ForkNote& fork : message.forks) s.note_fork(fork);
  });
  const Position here{reign.id, reign.durable_seq};
  if (stored == Errc::ok && (reign.placed || (core_.marks.now().exact && !quorum))) {
    stored = co_await core_.marks.update([&](Marks& m) {
      if (reign.placed) m.position = std::max(m.position, here);
      m.exact = m.exact && quorum;
    });
  }
  if (stored != Errc::ok) {
    failed(reign, stored);
    co_return false;
  }
  core_.obeyed = record;
  reign.epoch = current_epoch_ = record.epoch;
  reign.ack = record.ack;
  reign.exact = quorum;  // from here on
  core_.in_sync = record.in_sync;
  core_.role = member ? Role::secondary : Role::joining;
  core_.waits(std::nullopt);
  if (member && core_.storage_usable()) core_.storage_works();
  if (!reign.streaming) {
    reign.streaming = true;
    reign.last_seq = reign.durable_seq = message.seq;
    reign.id = message.reign;
  }
  reign.session.send(encode(reign.epoch, ConfigureAck{message.serial}));
  if (reign.placed) reign.session.send(encode(reign.epoch, DurableAck{core_.marks.now().position.seq, reign.last_seq}));
  core_.changed.wake_all();
  co_return true;
}

bool Secondary::start_write(Following& reign, const Replicate& m, Buffer data) {
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

Task<void> Secondary::apply(Following& reign, Replicate m, Buffer data, std::unique_ptr<Turn> turn) {
  co_await turn->guard.acquire();
  const Extent extent{m.offset, m.length};
  Errc status = co_await core_.bits.set(extent);
  if (status == Errc::ok) status = co_await core_.write_local(m.op, extent, std::move(data), IoUse::client);
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

void Secondary::applied(Following& reign) {
  if (reign.placed) core_.position = {reign.id, reign.durable_seq};
  if (reign.ack != AckMode::quorum || !reign.placed) {
    reign.session.send(encode(reign.epoch, DurableAck{reign.durable_seq, reign.last_seq}));
  } else if (!reign.storing) {
    reign.storing = true;
    reign.applying.spawn(store_position(reign));
  }
}

// One write of the marks tells of all writes that became durable during the one before.
Task<void> Secondary::store_position(Following& reign) {
  std::uint64_t stored = 0;
  while (stored < reign.durable_seq) {
    const Position next{reign.id, reign.durable_seq};
    const auto keep = [&](Marks& m) {
      m.position = std::max(m.position, next);
      m.exact = reign.exact;
    };
    const Errc status = co_await core_.marks.update(keep, MarkStore::Blocks::first);
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
Task<bool> Secondary::reconciled(Following& reign) {
  if (!reign.streaming || reign.copying) co_return false;
  Position here;
  const Errc stored = co_await core_.marks.update([&](Marks& m) {
    here = {reign.id, reign.durable_seq};
    m.position = here;
    m.exact = reign.exact;
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

bool Secondary::request(const Body& body) {
  if (current_ == nullptr || current_->closed()) return false;
  current_->send(encode(current_epoch_, body));
  return true;
}

// The primary swapped the record for one that names this node; it serves nothing any more. The session ends: what
// follows is Election's.
bool Secondary::succeed(Following& reign, const Handover& message) {
  const Record& r = message.record;
  const bool fits = r.primary == core_.self && r.in_sync.contains(core_.self) && r.epoch > reign.epoch;
  if (!fits || !reign.placed || core_.proposing) return false;
  core_.handed = VersionedRecord{message.key, message.version, r};
  core_.primary_resigned = true;
  core_.changed.wake_all();
  reign.left = true;
  return false;
}

bool Secondary::start_copy(Following& reign, const CopyExtent& m, Buffer data) {
  if (!valid_range(m.extent.offset, m.extent.length, core_.volume_bytes)) return false;
  if (data.size() != (m.zeroes ? 0 : m.extent.length)) return false;
  if (!reign.streaming || reign.applying.running() > kMaxApplying) return false;
  if (!reign.copying) core_.recent.add_copy(m.extent);
  reign.applying.spawn(
      apply_copy(reign, m, std::move(data), std::make_unique<Turn>(reign, m.extent, RangeLock::Mode::write)));
  return true;
}

Task<void> Secondary::apply_copy(Following& reign, CopyExtent m, Buffer data, std::unique_ptr<Turn> turn) {
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

Task<void> Secondary::read_for_peer(Following& reign, ReadExtent m, std::unique_ptr<Turn> turn) {
  co_await turn->guard.acquire();
  ExtentData answer{m.tag, Errc::limit};
  Buffer buffer = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), m.extent.length);
  if (buffer) answer.status = co_await core_.read_local(m.extent, buffer);
  if (answer.status != Errc::ok) buffer = {};
  reign.session.send(encode(reign.epoch, answer, std::move(buffer)));
}

bool Secondary::start_reading(Following& reign, const Received& message) {
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
Task<void> Secondary::hash_for_peer(Following& reign, HashRequest m, std::unique_ptr<Turn> turn) {
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

// This copy stays as it is, readable, until someone chooses.
Task<bool> Secondary::stay_diverged(Following& reign, const Diverged& message) {
  if (reign.streaming || message.record.virgin()) co_return false;
  core_.other_history = message.record;
  core_.other_why = message.why;
  core_.waits(message.why == ResyncWhy::lost_writes ? Reason::lost_writes : Reason::fork, reign.primary);
  core_.emit({.kind = EventKind::split_brain, .peer = core_.primary, .why = message.why});
  co_return co_await send_bits(reign);
}

Task<bool> Secondary::send_bits(Following& reign) {
  Buffer buffer = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), core_.bits.bytes());
  if (!buffer) {
    reign.left = true;  // our own lack of memory is nobody's fault
    co_return false;
  }
  core_.bits.copy_to(buffer.bytes());
  reign.session.send(encode(reign.epoch, Bits{core_.bits.granule(), core_.bits.count()}, std::move(buffer)));
  co_return true;
}

Task<bool> Secondary::begin_resync(Following& reign, const ResyncBegin& message) {
  if (reign.streaming || message.id == 0) co_return false;
  if (!may_overwrite(reign.record)) {
    core_.waits(Reason::fork, reign.primary);
    co_return false;
  }
  const bool goes_on = message.why == ResyncWhy::resumed;
  if (goes_on && message.id != core_.metadata.now().resync_id) co_return false;
  const bool by_bits = message.why == ResyncWhy::bitmap;
  const Errc stored = co_await core_.metadata.update([&](Superblock& s) {
    s.inconsistent = true;
    s.resync_id = message.id;
    s.promise = {};
    const Kinship seen = kinship(s.known, reign.record);
    const bool anew = !by_bits && !goes_on;
    if (anew || (seen != Kinship::newer && seen != Kinship::same)) s.known = reign.record;  // what it was is given up
    if (!anew) return;
    s.base = {};
    s.suspect = s.usurped = false;
  });
  reign.full = core_.metadata.now().fresh();
  core_.other_history.reset();
  if (stored != Errc::ok) {
    failed(reign, stored);
    co_return false;
  }
  reign.copying = true;
  core_.role = Role::joining;
  core_.waits(std::nullopt);
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

Task<bool> Secondary::end_resync(Following& reign, const ResyncDone& message, const Buffer& bits) {
  if (!reign.copying || message.record.virgin() || message.granule == 0 || message.granule % kBlockBytes != 0 ||
      message.count % 64 != 0 || bits.size() != message.count / 8) {
    co_return false;
  }
  const bool good_list = std::all_of(message.lost.begin(), message.lost.end(), [&](Extent e) {
    return e.length == kBlockBytes && valid_range(e.offset, e.length, core_.volume_bytes);
  });
  const Kinship seen = kinship(core_.known(), message.record);
  const bool continues = seen == Kinship::newer || seen == Kinship::same || planted(PlantedBug::older_record_obeyed) ||
                         planted(PlantedBug::fork_obeyed);
  if (!good_list || !continues) co_return false;
  bool room = true;
  Position here;
  Errc stored = co_await take_over(message, bits);
  if (stored == Errc::ok) {  // these bits hold since the same clearings as the primary's
    stored = co_await core_.marks.update([&](Marks& m) {
      here = {reign.id, reign.durable_seq};
      m.position = here;
      m.exact = reign.exact;
      m.prepared = message.prepared;
      m.dropped = message.dropped;
      m.counter = std::max(m.counter, core_.mark_of(core_.metadata.now().copy)) + 1;
    });
  }
  if (stored == Errc::ok) {
    stored = co_await core_.metadata.update([&](Superblock& s) {
      s.inconsistent = false;
      s.resync_id = 0;
      s.follow(message.record);
      for (const Extent& block : message.lost) room = s.add_lost(block) && room;
      if (!room) s.inconsistent = true;
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

Task<bool> Secondary::prepare_clearing(Following& reign, const ClearPrepare& message) {
  if (!reign.streaming || reign.copying) co_return false;
  const Errc stored =
      co_await core_.marks.update([&](Marks& m) { m.prepared = std::max(m.prepared, message.clearing); });
  if (stored != Errc::ok) {
    failed(reign, stored);
    co_return false;
  }
  reign.session.send(encode(reign.epoch, ClearPrepared{message.clearing}));
  co_return true;
}

Task<bool> Secondary::clear_bits(Following& reign, const ClearBits& message) {
  if (!reign.streaming || reign.copying) co_return false;
  for (const Extent& run : message.runs) {
    if (run.end() > core_.volume_bytes) co_return false;
  }
  const Errc stored = co_await core_.marks.update([&](Marks& m) { m.dropped = std::max(m.dropped, message.clearing); });
  if (stored != Errc::ok) {
    failed(reign, stored);
    co_return false;
  }
  for (const Extent& run : message.runs) core_.bits.clear(run);
  reign.applying.spawn([](Secondary& self, Following& r) -> Task<void> {
    const Errc written = co_await self.core_.bits.write_back();
    if (written != Errc::ok) self.failed(r, written);
  }(*this, reign));
  co_return true;
}

}  // namespace resilver::replica
