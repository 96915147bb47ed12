#include "replica/replica.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "async/task_group.h"
#include "replica/client_session.h"
#include "replica/core.h"
#include "replica/election.h"
#include "replica/metadata_fields.h"
#include "replica/offline.h"
#include "replica/primary.h"
#include "replica/secondary.h"
#include "replica/split_brain.h"

namespace resilver::replica {

namespace {

constexpr std::size_t kMaxConnections = 128;
constexpr Nanos kFirstMessage = 5 * kSecond;

Status check(const ReplicaConfig& c) {
  const auto bad = [](const char* what) { return fail(Errc::invalid_argument, what); };
  if (c.self >= kMaxNodes) return bad("replica: node ids are 0 to 31");
  if (c.volume.none()) return bad("replica: the volume needs an id");
  if (c.name.size() > kMaxTextBytes) return bad("replica: the node's name is too long");
  if (c.intent_bits == 0 || c.intent_bits % kLeastIntentBits != 0 || c.intent_bits > kMaxIntentBits)
    return bad("replica: intent_bits must be a multiple of 32768, at most 4194304");
  if (c.arbiter.empty()) return c.peers.empty() ? Status{} : bad("replica: peers need an arbiter");
  NodeSet seen = NodeSet::of(c.self);
  for (const auto& peer : c.peers) {
    if (peer.id >= kMaxNodes || seen.contains(peer.id)) return bad("replica: node ids must be 0 to 31, each once");
    if (!peer.name.empty() && peer.name == c.name) return bad("replica: two nodes have one name");
    seen.add(peer.id);
  }
  if (!seen.contains(c.first_primary)) return bad("replica: first_primary is not a configured node");
  if (c.lease_ms == 0 || c.beacon_ms == 0 || c.beacon_ms > c.lease_ms / 2)
    return bad("replica: the beacon interval must be at most half of the lease");
  if (c.grace_ms * 4 < c.lease_ms * 5) return bad("replica: grace must be at least 1.25 times the lease");
  if (c.min_in_sync > seen.count()) return bad("replica: min_in_sync exceeds the configured nodes");
  if (c.send_queue_bytes < kMaxTransfer || c.congestion_ms == 0)
    return bad("replica: send_queue_bytes must be at least 1 MiB, congestion_ms not 0");
  if (c.max_in_flight == 0 || c.clear_bits_ms == 0)
    return bad("replica: max_in_flight and clear_bits_ms must not be 0");
  return Status{};
}

}  // namespace

struct Replica::Impl {
  Impl(Env& env, const ReplicaConfig& config, BlockDevice& device)
      : core(env, config, device),
        arbiter(env, core.config.arbiter),
        secondary(core, arbiter),
        door(core),
        connections(env.scheduler()) {}

  Core core;
  ArbiterClient arbiter;
  Secondary secondary;
  ClientDoor door;
  std::unique_ptr<Election> election;
  std::unique_ptr<Primary> primary;
  std::size_t open_connections = 0;
  std::size_t operator_calls = 0;  // inside `primary`
  TaskGroup connections;

  Task<Status> format(bool founder);
  Task<Status> load();
  Status fits(const Superblock& super) const;
  PromoteAnswer answer(const PromoteQuery& query) const;
  std::vector<Finding> findings() const;
  Task<void> keep_marks();
  Task<void> accept(Listener& listener);
  Task<void> welcome(std::unique_ptr<Connection> connection);
  Task<void> play();
  Task<void> play_alone();
  Task<void> reign(Election::Win win);
};

std::uint64_t Replica::metadata_bytes(std::uint64_t intent_bits) noexcept { return Layout::wanted_bytes(intent_bits); }
std::uint64_t Replica::least_metadata_bytes(std::uint64_t intent_bits) noexcept {
  return Layout::least_bytes(intent_bits);
}

Replica::Replica(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Replica::~Replica() = default;

Task<Result<std::unique_ptr<Replica>>> Replica::open(Env& env, ReplicaConfig config, BlockDevice& device, Start start) {
  if (const Status good = check(config); !good) co_return std::unexpected(good.error());
  if (config.volume_bytes == 0 && device.size_bytes() > metadata_bytes(config.intent_bits))
    config.volume_bytes = device.size_bytes() - metadata_bytes(config.intent_bits);
  if (config.volume_bytes == 0 || config.volume_bytes % kBlockBytes != 0)
    co_return fail(Errc::invalid_argument, "replica: the volume is no multiple of 4096 bytes");
  std::unique_ptr<Replica> replica(new Replica(std::make_unique<Impl>(env, config, device)));
  Impl& impl = *replica->impl_;
  impl.core.volume_bytes = config.volume_bytes;
  const bool founder = start == Start::new_volume && config.first_primary == config.self;
  const Status prepared = start == Start::as_it_is ? co_await impl.load() : co_await impl.format(founder);
  if (!prepared) co_return std::unexpected(prepared.error());
  co_return replica;
}

Task<Status> Replica::Impl::format(bool founder) {
  Superblock initial;
  initial.volume = core.config.volume;
  initial.copy = CopyId::draw(core.env.random());
  initial.node = core.config.name;
  initial.founder = founder;
  initial.add_life(core.life);
  initial.volume_bytes = core.volume_bytes;
  initial.bit_count = core.config.intent_bits;
  initial.granule = granule_for(core.volume_bytes, initial.bit_count);
  const auto layout = Layout::fit(core.volume_bytes, initial.bit_count, core.device.size_bytes());
  if (!layout) {
    co_return fail(Errc::no_space, fmt::format("replica: {} bytes are needed behind the volume",
                                               Layout::least_bytes(initial.bit_count)));
  }
  core.bits.place(layout->bits_at, initial.bit_count, initial.granule, core.volume_bytes);
  // The superblock first: interrupted, a copy that was here has its bits still, or is none any more. Those of another copy
  // say too much of a new one, never too little.
  Errc status = co_await core.metadata.format(initial);
  if (status == Errc::ok) status = co_await core.bits.format();
  if (status == Errc::ok) status = co_await core.marks.format(layout->marks_at, initial.copy, {});
  if (status != Errc::ok) co_return fail(status, "replica: the metadata cannot be written");
  co_return Status{};
}

Status Replica::Impl::fits(const Superblock& s) const {
  if (s.volume != core.config.volume) {
    return fail(Errc::bad_input, fmt::format("it holds a copy of another volume (id {}, not {})", short_text(s.volume),
                                             short_text(core.config.volume)));
  }
  if (s.node != core.config.name)
    return fail(Errc::bad_input, fmt::format("it holds the copy of node {}, not of {}", s.node, core.config.name));
  if (s.growing_from != 0) return fail(Errc::bad_input, "growing it was interrupted");
  return {};
}

Task<Status> Replica::Impl::load() {
  const Status loaded = co_await core.metadata.load(core.volume_bytes, core.config.intent_bits, SmallRecord::Mend::yes);
  if (!loaded) co_return loaded;
  const Superblock& s = core.metadata.now();
  if (Status good = fits(s); !good) co_return good;
  const Layout& layout = core.metadata.layout();
  core.bits.place(layout.bits_at, s.bit_count, s.granule, core.volume_bytes);
  Errc status = co_await core.marks.load(layout.marks_at, s.copy);
  if (status == Errc::ok) status = co_await core.bits.load();
  if (status == Errc::ok) status = co_await core.metadata.set_anchor();
  if (status != Errc::ok) co_return fail(status, "the copy's metadata cannot be read");
  if (status == Errc::ok) {
    status = co_await core.metadata.update([&](Superblock& super) {
      super.add_life(core.life);
      super.suspect = super.suspect || core.config.suspect_device;
    });
  }
  if (status != Errc::ok) co_return fail(status, "the copy's metadata cannot be written");
  core.position = core.marks.now().position;
  core.obeyed = s.known;
  core.number(s.known);
  const unsigned bad = core.metadata.bad_copies();
  if (bad + core.bits.damaged_sectors() != 0) {
    core.find(Reason::damaged_metadata, kNoNode,
              fmt::format("{} of {} superblocks, {} of the sectors with intent bits", bad, SmallRecord::kCopies,
                          core.bits.damaged_sectors()));
  }
  if (s.bit_count < core.config.intent_bits)
    core.find(Reason::few_intent_bits, kNoNode, fmt::format("{} bytes a bit", s.granule));
  co_return Status{};
}

// ---- connections ---------------------------------------------------------------------------------------------------

Task<void> Replica::Impl::accept(Listener& listener) {
  for (;;) {
    auto connection = co_await listener.accept();
    if (!connection) break;
    if (open_connections >= kMaxConnections || core.stopping.is_set()) continue;
    ++open_connections;
    connections.spawn(welcome(std::move(*connection)));
  }
}

// The first message tells what a connection is for.
Task<void> Replica::Impl::welcome(std::unique_ptr<Connection> connection) {
  {
    OpenSession session(core, std::move(connection));
    auto first = co_await session->receive(core.now() + kFirstMessage);
    if (first && !core.stopping.is_set()) {
      if (const auto* client = std::get_if<ClientHello>(&first->body)) {
        if (client->own_copy) {
          co_await serve_copy(core, *session, *client);
        } else {
          co_await door.serve(*session, *client);
        }
      } else if (const auto* peer = std::get_if<PeerHello>(&first->body)) {
        co_await secondary.serve(*session, *peer, first->epoch);
      } else if (const auto* query = std::get_if<PromoteQuery>(&first->body); query != nullptr && election != nullptr) {
        if (query->volume != core.config.volume) core.refuse(kNoNode, Errc::bad_input);
        (void)co_await session->send_now(encode(core.epoch(), answer(*query)), core.now() + core.lease());
        // The asker closes: what is queued when we close may be lost.
        (void)co_await session->receive(core.now() + core.lease());
      } else {
        core.refuse(kNoNode, Errc::bad_input);
      }
    } else if (!first && first.error().code != Errc::closed && !core.stopping.is_set()) {
      core.refuse(kNoNode, first.error().code);  // garbage, or it stopped before its first message
    }
    session->close();
  }
  --open_connections;
}

PromoteAnswer Replica::Impl::answer(const PromoteQuery& query) const {
  PromoteAnswer a = election->answer(query);
  const std::uint64_t other = primary != nullptr ? primary->life_of(query.copy) : 0;
  if (other != 0 && other != query.life) a.other_life = other;
  return a;
}

// What others may hold against this copy later is durable once a second while something changes, and once after the
// last change.
Task<void> Replica::Impl::keep_marks() {
  while (!core.stopping.is_set() && !core.device_failed) {
    co_await core.stopping.wait_until(core.now() + kSecond);
    const Marks& now = core.marks.now();
    const bool moved = core.position != now.position || core.committed > now.committed;
    const bool told = std::ranges::any_of(core.told.peers, [&](const PeerMark& mark) {
      return mark.counter > now.of(mark.copy) && mark.copy != core.metadata.now().copy;
    });
    if ((!moved && !told) || core.stopping.is_set() || !core.storage_usable()) continue;
    const Errc status = co_await core.marks.update([&](Marks& m) {
      m.position = core.position;
      m.committed = std::max(m.committed, core.committed);
      for (const PeerMark& mark : core.told.peers) {
        if (mark.copy != core.metadata.now().copy) m.note(mark.copy, mark.counter);
      }
    });
    core.storage_failed(status);
  }
}

// ---- roles ---------------------------------------------------------------------------------------------------------

Task<void> Replica::Impl::play_alone() {
  const Errc stored = co_await core.metadata.update([&](Superblock& s) {
    Reign reign;
    reign.nonce = core.new_nonce();
    reign.primary = core.self;
    reign.seed = s.known.virgin() ? core.new_nonce() : s.known.seed();
    reign.start = {core.position.reign, kUnknownSeq};
    Record now = s.known;
    now.volume = core.config.volume;
    list_node(now, core.self, core.name, s.copy);
    s.follow(next_reign(now, reign, NodeSet::of(core.self), core.new_nonce()));
  });
  core.storage_failed(stored);
  core.role = Role::primary;
  core.primary = core.self;
  core.in_sync = NodeSet::of(core.self);
  core.serving = true;
  core.emit({.kind = EventKind::became_primary});
  door.open(nullptr);
  co_await core.stopping.wait();
  core.serving = false;
  co_await door.shut();
}

Task<void> Replica::Impl::play() {
  while (!core.stopping.is_set()) {
    if (core.device_failed) {
      core.role = Role::failed;
      co_await core.stopping.wait();
      break;
    }
    auto win = co_await election->wait_and_try();
    if (win && !core.stopping.is_set()) co_await reign(*win);
  }
}

Task<void> Replica::Impl::reign(Election::Win win) {
  core.number(win.record.record);
  core.role = Role::primary;
  core.primary = core.self;
  core.other_history.reset();
  core.obeyed = win.record.record;
  core.deposed = false;
  core.waits(std::nullopt);
  core.in_sync = win.record.record.in_sync;
  core.emit({.kind = EventKind::became_primary});
  primary = std::make_unique<Primary>(core, arbiter, win.record, win.virgin, win.heard);
  door.open(primary.get());
  co_await primary->run();
  co_await door.shut();
  while (operator_calls != 0) co_await sleep_for(core.scheduler, kMillisecond);  // they see that the reign is lost
  primary.reset();
  core.role = core.device_failed ? Role::failed : Role::idle;
  core.last_heard = core.now();
  core.emit({.kind = EventKind::lost_primary});
}

Task<void> Replica::run(Listener& listener, Event& stop) {
  Impl& impl = *impl_;
  Core& core = impl.core;
  core.last_heard = core.now();
  impl.election = std::make_unique<Election>(core, impl.arbiter, impl.secondary);
  TaskGroup group(core.scheduler);
  group.spawn(impl.accept(listener));
  group.spawn(impl.keep_marks());
  group.spawn(core.stand_alone() ? impl.play_alone() : impl.play());
  co_await stop.wait();
  core.stopping.set();
  core.changed.wake_all();
  listener.close();
  core.sessions.for_each([](Session& s) { s.close(); });
  co_await group.join();
  core.sessions.for_each([](Session& s) { s.close(); });
  co_await impl.connections.join();
}

// ---- commands ------------------------------------------------------------------------------------------------------

Task<Status> Replica::promote(Nanos deadline) {
  Core& core = impl_->core;
  Nanos ask_at = core.now();
  while (core.now() < deadline && !core.stopping.is_set()) {
    if (impl_->primary != nullptr && impl_->primary->serving()) co_return Status{};
    if (core.role != Role::primary && !core.handed && !core.proposing && core.now() >= ask_at) {
      const bool hears = core.role == Role::secondary && core.now() < core.last_heard + core.lease();
      const bool asked = hears && impl_->secondary.request(HandoverRequest{});
      if (!asked) co_return fail(Errc::not_primary, "this copy is not in sync with a primary");
      ask_at = core.now() + core.grace();
    }
    co_await core.changed.wait_until(std::min(deadline, core.now() + core.beacon()));
  }
  co_return fail(Errc::timeout, "the primary did not hand over in time");
}

Task<Status> Replica::demote(Nanos deadline) {
  Core& core = impl_->core;
  if (impl_->primary == nullptr) co_return fail(Errc::not_primary, "this node is not the primary");
  Nanos ask_at = core.now();
  while (core.now() < deadline && !core.stopping.is_set()) {
    if (impl_->primary == nullptr) co_return Status{};
    if (impl_->primary->members() == NodeSet::of(core.self))
      co_return fail(Errc::unavailable, "no other copy is in sync");
    // Again now and then: a handover that could not be finished within a lease was given up.
    if (const auto to = impl_->primary->successor(); to && core.now() >= ask_at) {
      impl_->primary->switch_over_to(*to);
      ask_at = core.now() + core.grace();
    }
    co_await core.changed.wait_until(std::min(deadline, core.now() + core.beacon()));
  }
  co_return fail(Errc::timeout, "the other copy did not take over in time");
}

Task<Status> Replica::set_ack(AckMode mode, Nanos deadline) {
  Core& core = impl_->core;
  if (impl_->primary != nullptr) impl_->primary->set_ack(mode);
  while (impl_->primary != nullptr && core.now() < deadline && !core.stopping.is_set()) {
    if (impl_->primary->record().ack == mode) co_return Status{};
    co_await core.changed.wait_until(std::min(deadline, core.now() + core.beacon()));
  }
  if (impl_->primary == nullptr) co_return fail(Errc::not_primary, "this node is not the primary");
  co_return fail(Errc::timeout, "the mode could not be changed in time");
}

std::uint64_t Replica::volume_bytes() const noexcept { return impl_->core.volume_bytes; }

Task<Result<VerifyReport>> Replica::verify(bool repair) {
  if (impl_->primary == nullptr) co_return fail(Errc::not_primary, "only the primary can verify");
  ++impl_->operator_calls;
  auto report = co_await impl_->primary->verify(repair);
  --impl_->operator_calls;
  if (report) {
    const Core& core = impl_->core;
    report->compared = core.places_of(report->compared);
    for (VerifyReport::Difference& difference : report->different) difference.node = core.place_of(difference.node);
  }
  co_return report;
}

void Replica::end_verify() noexcept {
  if (impl_->primary != nullptr) impl_->primary->end_verify();
}

Task<Status> Replica::invalidate(bool full) {
  Core& core = impl_->core;
  if (core.role == Role::primary || core.stand_alone())
    co_return fail(Errc::invalid_argument, "the primary's copy is the volume: another node must be the primary first");
  if (core.other_history) co_return fail(Errc::invalid_argument, "there is a split brain: choose a side first");
  const bool follows = core.role == Role::secondary || core.role == Role::joining;
  if (!follows || core.now() >= core.last_heard + core.lease())
    co_return fail(Errc::unavailable, "no primary is heard that could bring this copy up to date");
  const CopyId fresh = CopyId::draw(core.env.random());
  do {  // again, if a copy into this one ended in between
    Errc stored = co_await core.metadata.update([&](Superblock& s) {
      s.inconsistent = !full;  // without a generation and consistent is what a new disk is
      s.resync_id = 0;
      s.base = {};
      if (full) s.copy = fresh;  // what is copied from nothing is another copy
    });
    if (stored == Errc::ok && full) {
      const Marks kept = core.marks.now();
      stored = co_await core.marks.format(core.metadata.layout().marks_at, fresh, kept);
    }
    if (stored != Errc::ok) co_return fail(stored, "the metadata cannot be written");
    core.position = {};
    core.committed = {};
    co_await impl_->secondary.expel();  // the next session makes this node a joiner
  } while (!core.metadata.now().fresh());
  co_return Status{};
}

Task<Status> Replica::promote_by_force() {
  Core& core = impl_->core;
  if (core.stand_alone() || core.role == Role::primary) co_return Status{};
  core.force_promotion = true;
  core.force_refused = Errc::ok;
  core.changed.wake_all();
  const Nanos until = core.now() + 10 * kSecond;
  while (core.force_promotion && core.now() < until && !core.stopping.is_set() && !core.device_failed)
    co_await core.changed.wait_until(std::min(until, core.now() + core.beacon()));
  if (std::exchange(core.force_promotion, false)) {
    co_return fail(Errc::unavailable, core.device_failed                 ? "this node's device has failed"
                                      : core.found(Reason::two_arbiters) ? "two arbiters answer in turn"
                                      : core.found(Reason::arbiter_full) ? "the arbiter cannot write its record"
                                                                         : "the arbiter does not answer");
  }
  if (core.force_refused == Errc::busy)
    co_return fail(Errc::busy, "a primary is there: stop it, or promote without force");
  if (core.force_refused == Errc::bad_input)
    co_return fail(Errc::bad_input, "the arbiter keeps another volume's record");
  if (core.force_refused != Errc::ok)
    co_return fail(core.force_refused, "this copy is new, failed, or a resync into it has not ended");
  co_return Status{};
}

Task<Status> Replica::resolve(NodeId place, Resolution choice) {
  Core& core = impl_->core;
  const NodeId peer = core.id_at(place);
  if (impl_->primary != nullptr) {
    ++impl_->operator_calls;
    Status done = co_await impl_->primary->resolve(peer, choice);
    --impl_->operator_calls;
    co_return done;
  }
  if (!core.other_history || peer != core.primary)
    co_return fail(Errc::invalid_argument, "there is no split brain with this peer");
  if (choice == Resolution::discard_remote)
    co_return fail(Errc::not_primary,
                   "the other side holds the record: discard it there, or promote this node by force");
  // The other side proves first that it is the primary: it discards this one.
  const Nanos until = core.now() + std::max(4 * core.grace(), 5 * kSecond);
  while (core.other_history && core.now() < until && !core.stopping.is_set()) {
    impl_->secondary.request(GiveUp{});  // again, if the session was another one
    co_await core.changed.wait_until(std::min(until, core.now() + core.beacon()));
  }
  if (core.other_history)
    co_return fail(Errc::busy, "the other side did not confirm that it is the primary; try again");
  co_return Status{};
}

template <typename F>
static void fields(F& f, CopyFacts& v) {
  f(v.volume, v.copy, v.life, v.eligible, v.fresh, v.primary, v.serving, v.position, v.super, v.marks);
}

std::vector<std::byte> to_bytes(const CopyFacts& facts) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  CopyFacts copy = facts;
  writer(copy);
  return bytes;
}

Result<CopyFacts> facts_from(std::span<const std::byte> bytes) {
  CopyFacts facts;
  Reader reader(bytes);
  reader(facts);
  if (!reader.finished()) return fail(Errc::corrupt, "these are no facts of a copy");
  return facts;
}

// ---- a recovery ------------------------------------------------------------------------------------------------------

CopyFacts Replica::facts() const {
  const Core& core = impl_->core;
  CopyFacts facts;
  facts.super = core.metadata.now();
  facts.marks = core.marks.now();
  for (const PeerMark& mark : core.told.peers) facts.marks.note(mark.copy, mark.counter);
  facts.volume = facts.super.volume;
  facts.copy = facts.super.copy;
  facts.life = core.life;
  facts.fresh = facts.super.fresh();
  facts.eligible = core.storage_usable() && !facts.super.inconsistent && !facts.fresh;
  facts.primary = impl_->primary != nullptr;
  facts.serving = serving();
  facts.position = core.position;
  return facts;
}

Task<Status> Replica::promise(Promise promise) {
  Core& core = impl_->core;
  if (impl_->primary != nullptr || core.proposing || core.handed)
    co_return fail(Errc::busy, "this node is a primary, or about to be one");
  const Errc stored = co_await core.metadata.update([&](Superblock& s) { s.promise = promise; });
  if (stored != Errc::ok) co_return fail(stored, "the metadata cannot be written");
  co_await impl_->secondary.expel();
  if (impl_->primary != nullptr || core.proposing) co_return fail(Errc::busy, "this node has just become a primary");
  core.changed.wake_all();
  co_return Status{};
}

Task<Status> Replica::abort_recovery() {
  Core& core = impl_->core;
  const Errc stored = co_await core.metadata.update([](Superblock& s) { s.promise = {}; });
  if (stored != Errc::ok) co_return fail(stored, "the metadata cannot be written");
  core.cease(Reason::promised);
  core.changed.wake_all();
  co_return Status{};
}

bool Replica::serving() const noexcept {
  return impl_->primary != nullptr ? impl_->primary->serving() : impl_->core.serving;
}

std::uint64_t Replica::epoch() const noexcept { return impl_->core.epoch(); }

ReplicaStatus Replica::status() const {
  const Core& core = impl_->core;
  ReplicaStatus s;
  s.role = core.role;
  s.epoch = epoch();
  s.in_sync = core.places_of(core.in_sync);
  s.primary = core.place_of(core.primary);
  s.serving = serving();
  s.writable = core.stand_alone() && s.serving;
  if (impl_->primary != nullptr) {
    s.in_sync = core.places_of(impl_->primary->members());
    s.ack = impl_->primary->record().ack;
    s.peers = impl_->primary->peers();
    s.verifying = impl_->primary->verifying();
    s.verify_done_bytes = impl_->primary->verify_done();
    s.verify_total_bytes = impl_->primary->verify_total();
    s.redundancy = impl_->primary->redundancy();
    s.writable = impl_->primary->writable();
  }
  s.replication_bytes = core.replication_bytes;
  s.resync_bytes = core.resync_bytes;
  s.heal_bytes = core.heal_bytes;
  s.reads_healed = core.reads_healed;
  s.writes = core.writes;
  s.reads = core.reads;
  s.dirty_bits = core.bits.bits_set();
  s.inconsistent = core.metadata.now().inconsistent;
  s.device_failed = core.device_failed;
  s.diverged = core.other_history.has_value();
  s.lost_bytes = core.metadata.now().lost.size() * kBlockBytes;
  s.refusals = core.refusals;
  s.copy = core.metadata.now().copy;
  s.mark = core.marks.now().counter;
  s.findings = impl_->findings();
  return s;
}

// Whoever neither serves nor follows has a reason, also where nobody has found a better one yet.
std::vector<Finding> Replica::Impl::findings() const {
  std::vector<Finding> all;
  for (const auto& [reason, finding] : core.findings) all.push_back(finding);
  if (core.device_failed) all.push_back({Reason::device_failed, kNoNode, 0, 0, {}});
  if (primary != nullptr) primary->add_findings(all);
  const bool follows = core.role == Role::secondary || core.role == Role::joining || core.role == Role::primary;
  if (all.empty() && !follows && !core.stand_alone()) all.push_back({Reason::starting, kNoNode, 0, 0, {}});
  return all;
}

}  // namespace resilver::replica
