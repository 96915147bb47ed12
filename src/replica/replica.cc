#include "replica/replica.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "async/task_group.h"
#include "replica/client_session.h"
#include "replica/core.h"
#include "replica/election.h"
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
  if (c.intent_bits == 0 || c.intent_bits % IntentBitmap::kBitsPerBlock != 0 || c.intent_bits > kMaxIntentBits)
    return bad("replica: intent_bits must be a multiple of 32768, at most 4194304");
  if (c.arbiter.empty()) return c.peers.empty() ? Status{} : bad("replica: peers need an arbiter");
  NodeSet seen = NodeSet::of(c.self);
  for (const auto& peer : c.peers) {
    if (peer.id >= kMaxNodes || seen.contains(peer.id)) return bad("replica: node ids must be 0 to 31, each once");
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

// The smallest power of two of at least 64 KiB with which `bits` bits cover the volume.
std::uint64_t granule_for(std::uint64_t volume_bytes, std::uint64_t bits) {
  return std::max<std::uint64_t>(64 * 1024, std::bit_ceil((volume_bytes + bits - 1) / bits));
}

}  // namespace

struct Replica::Impl {
  Impl(Env& env, const ReplicaConfig& config, BlockDevice& device, std::uint64_t volume_bytes, std::uint64_t metadata_at)
      : core(env, config, device, volume_bytes, metadata_at, granule_for(volume_bytes, config.intent_bits)),
        secondary(core),
        door(core),
        arbiter(env, core.config.arbiter),
        connections(env.scheduler()) {}

  Core core;
  Secondary secondary;
  ClientDoor door;
  ArbiterClient arbiter;
  std::unique_ptr<Election> election;
  std::unique_ptr<Primary> primary;
  std::size_t open_connections = 0;
  std::size_t operator_calls = 0;  // inside `primary`
  TaskGroup connections;

  Task<Status> prepare(bool format);
  Task<void> accept(Listener& listener);
  Task<void> welcome(std::unique_ptr<Connection> connection);
  Task<void> play();
  Task<void> play_alone();
  Task<void> reign(Election::Win win);
};

std::uint64_t Replica::metadata_bytes(std::uint64_t intent_bits) noexcept {
  return MetadataStore::kSlotBytes + intent_bits / 8;
}

Replica::Replica(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Replica::~Replica() = default;

Task<Result<std::unique_ptr<Replica>>> Replica::open(Env& env, ReplicaConfig config, BlockDevice& device, bool format) {
  if (const Status good = check(config); !good) co_return std::unexpected(good.error());
  const std::uint64_t reserved = metadata_bytes(config.intent_bits);
  if (device.size_bytes() < reserved + kBlockBytes)
    co_return fail(Errc::invalid_argument, "replica: the device is too small");
  const std::uint64_t most = device.size_bytes() - reserved;
  const std::uint64_t size = config.volume_bytes == 0 ? most : config.volume_bytes;
  if (size > most || size % kBlockBytes != 0)
    co_return fail(Errc::invalid_argument,
                   "replica: the volume does not fit the device, or is no multiple of 4096 bytes");
  std::unique_ptr<Replica> replica(new Replica(std::make_unique<Impl>(env, config, device, size, most)));
  const Status prepared = co_await replica->impl_->prepare(format);
  if (!prepared) co_return std::unexpected(prepared.error());
  co_return replica;
}

Task<Status> Replica::Impl::prepare(bool format) {
  if (format) {
    Superblock initial;
    initial.volume = core.config.volume;
    initial.node = core.config.self;
    initial.volume_bytes = core.volume_bytes;
    initial.granule = core.bits.granule();
    initial.bit_count = core.bits.count();
    Errc status = co_await core.bits.format();
    if (status == Errc::ok) status = co_await core.metadata.format(std::move(initial));
    if (status != Errc::ok) co_return fail(status, "replica: the metadata cannot be written");
    co_return Status{};
  }
  const Status loaded = co_await core.metadata.load();
  if (!loaded) co_return loaded;
  const Superblock& s = core.metadata.now();
  if (s.volume != core.config.volume || s.node != core.config.self)
    co_return fail(Errc::bad_input, "replica: the device belongs to another volume or node");
  if (s.volume_bytes != core.volume_bytes || s.granule != core.bits.granule() || s.bit_count != core.bits.count())
    co_return fail(Errc::bad_input, "replica: the device was formatted with another size or number of intent bits");
  core.position = s.position;
  const Errc status = co_await core.bits.load();
  if (status != Errc::ok) co_return fail(status, "replica: the intent bits cannot be read");
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
      } else if (const auto* query = std::get_if<PromoteQuery>(&first->body);
                 query != nullptr && query->volume == core.config.volume && election != nullptr) {
        (void)co_await session->send_now(encode(core.epoch(), election->answer()), core.now() + core.lease());
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

// ---- roles ---------------------------------------------------------------------------------------------------------

Task<void> Replica::Impl::play_alone() {
  const Errc stored = co_await core.metadata.update([](Superblock& s) { ++s.epoch; });
  if (stored != Errc::ok) core.fail_device();
  core.role = Role::primary;
  core.primary = core.config.self;
  core.in_sync = NodeSet::of(core.config.self);
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
  core.role = Role::primary;
  core.primary = core.config.self;
  core.other_history.clear();
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
      const bool asked = hears && impl_->secondary.request_handover();
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
  if (impl_->primary->members() == NodeSet::of(core.config.self))
    co_return fail(Errc::unavailable, "no other copy is in sync");
  Nanos ask_at = core.now();
  while (core.now() < deadline && !core.stopping.is_set()) {
    if (impl_->primary == nullptr) co_return Status{};
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
  co_return report;
}

void Replica::end_verify() noexcept {
  if (impl_->primary != nullptr) impl_->primary->end_verify();
}

Task<Status> Replica::invalidate(bool full) {
  Core& core = impl_->core;
  if (core.role == Role::primary || core.stand_alone())
    co_return fail(Errc::invalid_argument, "the primary's copy is the volume: another node must be the primary first");
  if (!core.other_history.empty())
    co_return fail(Errc::invalid_argument, "there is a split brain: choose a side first");
  const bool follows = core.role == Role::secondary || core.role == Role::joining;
  if (!follows || core.now() >= core.last_heard + core.lease())
    co_return fail(Errc::unavailable, "no primary is heard that could bring this copy up to date");
  do {  // again, if a copy into this one ended in between
    const Errc stored = co_await core.metadata.update([full](Superblock& s) {
      s.inconsistent = !full;  // without a generation and consistent is what a new disk is
      s.resync_id = 0;
      s.history.clear();
      s.position = {};
    });
    if (stored != Errc::ok) co_return fail(stored, "the metadata cannot be written");
    core.position = {};
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
  if (std::exchange(core.force_promotion, false))
    co_return fail(Errc::unavailable,
                   core.device_failed ? "this node's device has failed" : "the arbiter does not answer");
  if (core.force_refused == Errc::busy)
    co_return fail(Errc::busy, "a primary is there: stop it, or promote without force");
  if (core.force_refused != Errc::ok)
    co_return fail(core.force_refused, "this copy is new, failed, or a resync into it has not ended");
  co_return Status{};
}

Task<Status> Replica::resolve(NodeId peer, Resolution choice) {
  Core& core = impl_->core;
  if (impl_->primary != nullptr) {
    ++impl_->operator_calls;
    Status done = co_await impl_->primary->resolve(peer, choice);
    --impl_->operator_calls;
    co_return done;
  }
  if (core.other_history.empty() || peer != core.primary)
    co_return fail(Errc::invalid_argument, "there is no split brain with this peer");
  if (choice == Resolution::discard_remote)
    co_return fail(Errc::not_primary,
                   "the other side holds the record: discard it there, or promote this node by force");
  Superblock other;
  other.history = core.other_history;
  const Errc stored = co_await discard_since(core, common_generation(other, core.metadata.now().history));
  if (stored != Errc::ok) co_return fail(stored, "the metadata cannot be written");
  co_await impl_->secondary.expel();  // the next session makes this node a joiner
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
  s.in_sync = core.in_sync;
  s.primary = core.primary;
  s.serving = serving();
  if (impl_->primary != nullptr) {
    s.in_sync = impl_->primary->members();
    s.ack = impl_->primary->record().ack;
    s.peers = impl_->primary->peers();
    s.verifying = impl_->primary->verifying();
    s.verify_done_bytes = impl_->primary->verify_done();
    s.verify_total_bytes = impl_->primary->verify_total();
    s.redundancy = s.in_sync.count() - 1;
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
  s.diverged = !core.other_history.empty();
  s.lost_bytes = core.metadata.now().lost.size() * kBlockBytes;
  s.refusals = core.refusals;
  return s;
}

}  // namespace resilver::replica
