#include "replica/peer_link.h"

#include <algorithm>
#include <utility>

#include "replica/primary.h"

namespace resilver::replica {

PeerLink::PeerLink(Primary& primary, Core& core, NodeId id)
    : primary_(primary), core_(core), id_(id), answered_(core.scheduler), starting_(primary.may_be_member(id)) {}

Task<void> PeerLink::run() {
  const Nanos patience = core_.now() + core_.lease();  // for the first session of a member
  while (!primary_.lost().is_set()) {
    const bool must_leave_first = primary_.may_be_member(id_) && !starting_;
    if (!must_leave_first) co_await one_session();
    if (starting_ && core_.now() >= patience) {
      starting_ = false;
      primary_.changed();
    }
    // A resync that broke off is not begun again at once: its cause may be a block that nobody can read.
    const Nanos pause = std::exchange(broken_resync_, false) ? kSecond : core_.beacon();
    if (!primary_.lost().is_set()) (void)co_await primary_.lost().wait_until(core_.now() + pause);
  }
}

Task<void> PeerLink::one_session() {
  const std::string* address = core_.address_of(id_);
  auto connection = co_await core_.env.network().connect(*address, core_.now() + core_.lease());
  if (!connection || primary_.lost().is_set()) co_return;
  {
    OpenSession session(core_, std::move(*connection));
    session_ = &*session;
    heard_ = core_.now();
    auto welcome = co_await greet(*session);
    if (welcome && !session->closed() && !primary_.lost().is_set()) {
      TaskGroup group(core_.scheduler);
      group.spawn(session->pump());
      group.spawn(listen(*session));
      group.spawn(beat(*session));
      co_await conduct(*session, std::move(*welcome));
      co_await group.join();
    }
    session->close();
    session_ = nullptr;
  }
  const bool had_writes = std::exchange(streaming_, false);
  broken_resync_ = resyncing_;
  ready_ = resync_acked_ = resyncing_ = false;
  if (had_writes) starting_ = false;
  beacons_.clear();
  configured_ = 0;
  bits_.reset();
  bits_data_ = {};
  primary_.changed();
}

Task<std::optional<PeerWelcome>> PeerLink::greet(Session& session) {
  const Record record = primary_.record();
  const Nanos deadline = core_.now() + core_.lease();
  const Status sent = co_await session.send_now(
      encode(record.epoch, PeerHello{core_.config.volume, core_.config.self, record}), deadline);
  if (!sent) co_return std::nullopt;
  auto received = co_await session.receive(deadline);
  if (!received) co_return std::nullopt;
  const auto* welcome = std::get_if<PeerWelcome>(&received->body);
  if (welcome == nullptr || welcome->node != id_) co_return std::nullopt;
  if (welcome->status == Errc::fenced) primary_.suspect_newer_record();
  if (welcome->status != Errc::ok || welcome->size != core_.volume_bytes) co_return std::nullopt;
  co_return *welcome;
}

Task<void> PeerLink::conduct(Session& session, PeerWelcome welcome) {
  // The set may have changed while we greeted: a member that is not starting must leave first.
  const bool member = primary_.may_be_member(id_);
  if (member && !starting_) {
    session.close();
    co_return;
  }
  const bool good = member ? co_await start_member(session, welcome) : co_await resync(session, welcome);
  if (!good) session.close();
}

void PeerLink::start_streaming() {
  durable_seq_ = primary_.last_seq();
  streaming_ = true;
  send(primary_.configuration());
}

// After a promotion: a member tells the writes that it may have and others not, then gets everything from here on.
Task<bool> PeerLink::start_member(Session& session, const PeerWelcome& welcome) {
  const bool fresh = welcome.generation.epoch == 0;
  if (welcome.inconsistent || (fresh && !primary_.virgin())) {
    starting_ = false;  // its disk was exchanged: it leaves and comes back by resync
    co_return false;
  }
  why_ = ResyncWhy::reconcile;
  if (welcome.attachment > core_.metadata.now().attachment) {
    const Errc stored = co_await core_.metadata.update(
        [&](Superblock& s) { s.attachment = std::max(s.attachment, welcome.attachment); });
    if (stored != Errc::ok) {
      core_.fail_device();
      co_return false;
    }
  }
  if (welcome.recent_known) {
    primary_.must_settle(welcome.recent);
  } else if (!fresh) {
    send(BitsRequest{});
    co_await wait_bits(session);
    if (!bits_) co_return false;
    ExtentSet dirty;
    IntentBitmap::add_to(bits_data_.bytes(), bits_->granule, core_.volume_bytes, dirty);
    primary_.must_settle(dirty);
    bits_data_ = {};
  }
  if (session.closed()) co_return false;
  start_streaming();
  starting_ = false;
  primary_.changed();
  co_return true;
}

Task<void> PeerLink::wait_bits(Session& session) {
  while (!bits_ && !session.closed()) co_await answered_.wait_until(core_.now() + core_.beacon());
}

ResyncWhy PeerLink::judge(const PeerWelcome& welcome) const {
  const Superblock& mine = core_.metadata.now();
  if (welcome.generation.epoch == 0) return ResyncWhy::full_new_disk;
  if (!mine.knows(welcome.generation)) return ResyncWhy::full_generation;
  if (welcome.generation.epoch < mine.bits_since) return ResyncWhy::full_bits_cleared;
  return ResyncWhy::bitmap;
}

Task<bool> PeerLink::resync(Session& session, const PeerWelcome& welcome) {
  why_ = judge(welcome);
  send(ResyncBegin{why_});
  co_await wait_bits(session);
  if (!bits_) co_return false;
  const bool same_geometry = bits_->granule == core_.bits.granule() && bits_->count == core_.bits.count();
  if (why_ == ResyncWhy::bitmap && !same_geometry) {
    bits_.reset();
    why_ = ResyncWhy::full_geometry;
    send(ResyncBegin{why_});
    co_await wait_bits(session);
    if (!bits_) co_return false;
  }
  if (session.closed() || primary_.lost().is_set()) co_return false;
  start_streaming();  // together with the choice of what to copy: what is written later is sent
  to_copy_ = {};
  if (why_ == ResyncWhy::bitmap) {
    core_.bits.add_to(to_copy_);
    IntentBitmap::add_to(bits_data_.bytes(), bits_->granule, core_.volume_bytes, to_copy_);
  } else {
    to_copy_.add({0, core_.volume_bytes});
  }
  bits_data_ = {};
  total_bytes_ = to_copy_.bytes();
  done_bytes_ = 0;
  resyncing_ = true;
  core_.emit({.kind = EventKind::resync_started, .peer = id_, .why = why_, .bytes = total_bytes_});
  if (!co_await copy_all(session)) co_return false;
  if (!co_await finish_resync(session)) co_return false;
  core_.emit({.kind = EventKind::resync_finished, .peer = id_, .why = why_, .bytes = done_bytes_});
  resyncing_ = false;
  ready_ = true;
  primary_.changed();
  co_return true;
}

Task<bool> PeerLink::copy_all(Session& session) {
  bool good = true;
  TaskGroup workers(core_.scheduler);
  const std::uint32_t count = std::max<std::uint32_t>(1, core_.config.resync_window);
  for (std::uint32_t i = 0; i < count; ++i) workers.spawn(copy_worker(session, good));
  co_await workers.join();
  co_return good && !session.closed();
}

Task<void> PeerLink::copy_worker(Session& session, bool& good) {
  while (good && !session.closed()) {
    auto next = to_copy_.first_in({0, core_.volume_bytes});
    if (!next) co_return;
    next->length = std::min<std::uint64_t>(next->length, kMaxTransfer);
    to_copy_.remove(*next);
    co_await pace(next->length);
    RangeLock::Guard lock(primary_.locks(), next->offset, next->length, RangeLock::Mode::copy);
    co_await lock.acquire();
    if (session.closed()) break;
    Buffer data = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), next->length);
    if (!data || co_await primary_.read_healing(*next, data) != Errc::ok) break;
    core_.resync_bytes += data.size();
    if (co_await copy(*next, std::move(data)) != Errc::ok) break;
    done_bytes_ += next->length;
  }
  good = false;
}

// At most the configured rate: the lower one while clients are busy.
Task<void> PeerLink::pace(std::uint64_t bytes) {
  const std::uint64_t least = core_.config.resync_min_bytes_per_s, most = core_.config.resync_max_bytes_per_s;
  const std::uint64_t rate = primary_.clients_busy() && least != 0 ? least : most;
  if (rate == 0) co_return;
  const Nanos start = std::max(core_.now(), paced_until_);
  paced_until_ = start + static_cast<Nanos>(bytes * static_cast<std::uint64_t>(kSecond) / rate);
  while (core_.now() < start && session_ != nullptr && !session_->closed()) {
    (void)co_await session_->ended().wait_until(start);
  }
}

// The joiner takes over our bits, durably, and is consistent from then on.
Task<bool> PeerLink::finish_resync(Session& session) {
  Buffer bits = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), core_.bits.bytes());
  if (!bits || session.closed()) co_return false;
  core_.bits.copy_to(bits.bytes());
  const Superblock& mine = core_.metadata.now();
  send(ResyncDone{core_.bits.granule(), core_.bits.count(), mine.bits_since, mine.history}, std::move(bits));
  while (!resync_acked_ && !session.closed()) co_await answered_.wait_until(core_.now() + core_.beacon());
  co_return resync_acked_ && !session.closed();
}

// ---- messages ------------------------------------------------------------------------------------------------------

void PeerLink::send(const Body& body, Buffer payload) {
  if (session_ != nullptr) session_->send(encode(primary_.record().epoch, body, std::move(payload)));
}

Task<Errc> PeerLink::copy(Extent extent, Buffer data) {
  Call call(core_.scheduler);
  if (session_ == nullptr || session_->closed()) co_return Errc::closed;
  const std::uint64_t tag = next_tag_++;
  calls_.emplace(tag, &call);
  send(CopyExtent{tag, extent}, std::move(data));
  co_await call.done.wait();
  co_return call.status;
}

Task<Result<Buffer>> PeerLink::read(Extent extent) {
  Call call(core_.scheduler);
  if (session_ == nullptr || session_->closed()) co_return fail(Errc::closed);
  const std::uint64_t tag = next_tag_++;
  calls_.emplace(tag, &call);
  send(ReadExtent{tag, extent});
  co_await call.done.wait();
  if (call.status != Errc::ok) co_return fail(call.status);
  co_return std::move(call.data);
}

Task<void> PeerLink::listen(Session& session) {
  while (!session.closed()) {
    auto received = co_await session.receive(kNever);
    if (!received || !handle(*received)) break;
  }
  session.close();
  for (auto& [tag, call] : calls_) call->done.set();
  calls_.clear();
  answered_.wake_all();
  primary_.changed();
}

bool PeerLink::handle(Received& message) {
  if (message.epoch > primary_.record().epoch) {
    primary_.suspect_newer_record();
    return false;
  }
  if (const auto* ack = std::get_if<BeaconAck>(&message.body)) {
    const auto sent = std::find_if(beacons_.begin(), beacons_.end(), [&](auto& b) { return b.cookie == ack->cookie; });
    if (sent == beacons_.end()) return true;  // a later one was answered first
    heard_ = sent->at;
    lease_until_ = std::max(lease_until_, sent->at + core_.lease());
    beacons_.erase(beacons_.begin(), sent + 1);
    primary_.changed();
    return true;
  }
  if (const auto* ack = std::get_if<DurableAck>(&message.body)) {
    if (ack->durable_seq > primary_.last_seq()) return false;
    durable_seq_ = std::max(durable_seq_, ack->durable_seq);
    primary_.changed();
    return true;
  }
  if (const auto* ack = std::get_if<ConfigureAck>(&message.body)) {
    configured_ = std::max(configured_, ack->serial);
    primary_.changed();
    return true;
  }
  if (const auto* bits = std::get_if<Bits>(&message.body)) {
    if (bits->granule == 0 || bits->granule % kBlockBytes != 0 || bits->count % 64 != 0) return false;
    if (message.payload.size() != bits->count / 8) return false;
    bits_ = *bits;
    bits_data_ = std::move(message.payload);
    answered_.wake_all();
    return true;
  }
  if (std::holds_alternative<ResyncDoneAck>(message.body)) {
    resync_acked_ = true;
    answered_.wake_all();
    return true;
  }
  const auto finish = [&](std::uint64_t tag, Errc status) {
    const auto at = calls_.find(tag);
    if (at == calls_.end()) return false;
    at->second->status = status;
    at->second->data = std::move(message.payload);
    at->second->done.set();
    calls_.erase(at);
    return true;
  };
  if (const auto* ack = std::get_if<CopyAck>(&message.body)) return finish(ack->tag, Errc::ok);
  if (const auto* data = std::get_if<ExtentData>(&message.body)) return finish(data->tag, data->status);
  return false;
}

// Beacons, and the watch over their answers: a peer silent for a lease is given up.
Task<void> PeerLink::beat(Session& session) {
  std::uint64_t cookie = 0;
  while (!session.closed()) {
    if (core_.now() - heard_ > core_.lease()) break;
    if (beacons_.size() < 256) {
      beacons_.push_back({++cookie, core_.now()});
      session.send_urgent(encode(primary_.record().epoch, Beacon{cookie, primary_.committed_seq()}));
    }
    (void)co_await session.ended().wait_until(core_.now() + core_.beacon());
  }
  session.close();
}

PeerStatus PeerLink::status() const {
  PeerStatus s;
  s.id = id_;
  s.connected = session_ != nullptr && !session_->closed();
  s.resyncing = resyncing_;
  s.why = why_;
  s.resync_done_bytes = done_bytes_;
  s.resync_total_bytes = total_bytes_;
  return s;
}

}  // namespace resilver::replica
