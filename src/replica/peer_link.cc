#include "replica/peer_link.h"

#include <algorithm>
#include <utility>

#include "replica/block_hash.h"
#include "replica/primary.h"

namespace resilver::replica {
namespace {

template <typename T>
constexpr std::size_t kIndex = Body(std::in_place_type<T>).index();

// What a message is answered with, as an alternative of Body; nothing: it is not.
std::optional<std::size_t> answer_of(const Body& question) {
  if (std::holds_alternative<Configure>(question)) return kIndex<ConfigureAck>;
  if (std::holds_alternative<ReconcileDone>(question)) return kIndex<ReconcileDoneAck>;
  if (std::holds_alternative<ResyncDone>(question)) return kIndex<ResyncDoneAck>;
  if (std::holds_alternative<CopyExtent>(question)) return kIndex<CopyAck>;
  if (std::holds_alternative<ReadExtent>(question)) return kIndex<ExtentData>;
  if (std::holds_alternative<HashRequest>(question)) return kIndex<Hashes>;
  const bool bits = std::holds_alternative<BitsRequest>(question) || std::holds_alternative<ResyncBegin>(question) ||
                    std::holds_alternative<Diverged>(question);
  if (bits) return kIndex<Bits>;
  return std::nullopt;
}

}  // namespace

PeerLink::PeerLink(Primary& primary, Core& core, NodeId id)
    : primary_(primary), core_(core), id_(id), answered_(core.scheduler), starting_(primary.expected(id)) {}

Task<void> PeerLink::run() {
  const Nanos patience = core_.now() + core_.lease();  // for the first session of a member
  while (!primary_.lost().is_set()) {
    const bool must_leave_first = primary_.may_be_member(id_) && !starting_;
    if (!must_leave_first) co_await one_session();
    if (starting_ && core_.now() >= patience) {
      starting_ = false;
      primary_.changed();
    }
    // A copy that cannot be finished because too many blocks are unreadable is tried again now and then.
    Nanos pause = std::exchange(stuck_, false) ? kMinute : core_.beacon();
    if (starting_) pause = std::min<Nanos>(pause, 5 * kMillisecond);  // nothing is served before it is there
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
  keep_for_resume();
  const bool had_writes = std::exchange(streaming_, false);
  ready_ = placed_ = resync_acked_ = resyncing_ = diverged_ = discard_ = false;
  stored_seq_ = 0;
  if (had_writes) starting_ = false;
  beacons_.clear();
  asked_.clear();
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
  if (!received) {
    if (session.garbage() != Errc::ok) core_.refuse(id_, session.garbage());
    co_return std::nullopt;
  }
  const auto* welcome = std::get_if<PeerWelcome>(&received->body);
  if (welcome == nullptr || welcome->node != id_) {
    core_.refuse(id_, Errc::bad_input);
    co_return std::nullopt;
  }
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
  why_ = member ? ResyncWhy::reconcile : judge(welcome);
  bool good = false;
  if (member) {
    good = co_await start_member(session, welcome);
  } else if (why_ == ResyncWhy::diverged) {
    co_await stay_diverged(session, welcome);
  } else {
    good = co_await resync(session);
  }
  if (!good) session.close();
}

void PeerLink::start_streaming() {
  durable_seq_ = received_seq_ = primary_.last_seq();
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

// ---- messages ------------------------------------------------------------------------------------------------------

void PeerLink::send(const Body& body, Buffer payload) {
  if (session_ == nullptr) return;
  if (const auto answer = answer_of(body)) asked_.push_back({*answer, core_.now()});
  session_->send(encode(primary_.record().epoch, body, std::move(payload)));
}

void PeerLink::note_answer(std::size_t answer) {
  const auto asked = std::ranges::find(asked_, answer, &Asked::answer);
  if (asked == asked_.end()) return;
  asked_.erase(asked);
  answered_at_ = core_.now();
}

void PeerLink::send_write(const Replicate& write, Buffer data) {
  if (session_ == nullptr) return;
  session_->send_numbered(write.seq, encode(primary_.record().epoch, write, std::move(data)), core_.now());
}

// Writes without data count by their number.
bool PeerLink::has_room() const noexcept {
  return session_ == nullptr || (session_->unanswered_bytes() < core_.config.send_queue_bytes &&
                                 session_->unanswered() < Session::kMaxQueued / 2);
}

Nanos PeerLink::behind_for() const noexcept {
  if (session_ == nullptr || session_->unanswered() == 0) return 0;
  return core_.now() - session_->oldest_unanswered();
}

// Sends a request and waits for what answers its tag.
Task<Errc> PeerLink::call(Call& call, std::uint64_t tag, const Body& request, Buffer payload) {
  if (session_ == nullptr || session_->closed()) co_return Errc::closed;
  calls_.emplace(tag, &call);
  send(request, std::move(payload));
  co_await call.done.wait();
  co_return call.status;
}

Task<Errc> PeerLink::copy(Extent extent, Buffer data) {
  Call one(core_.scheduler);
  const std::uint64_t tag = next_tag_++;
  core_.resync_bytes += data.size();
  const bool zeroes = data.size() == 0;
  co_return co_await call(one, tag, CopyExtent{tag, extent, zeroes}, std::move(data));
}

Task<Result<Buffer>> PeerLink::read(Extent extent) {
  Call one(core_.scheduler);
  const std::uint64_t tag = next_tag_++;
  const Errc status = co_await call(one, tag, ReadExtent{tag, extent}, {});
  if (status != Errc::ok) co_return fail(status);
  co_return std::move(one.data);
}

Task<Result<Buffer>> PeerLink::hashes(Extent extent) {
  Call one(core_.scheduler);
  const std::uint64_t tag = next_tag_++;
  const Errc status = co_await call(one, tag, HashRequest{tag, extent}, {});
  core_.resync_bytes += one.data.size();
  if (status != Errc::ok) co_return fail(status);
  if (one.data.size() != extent.length / kBlockBytes * kHashBytes) {
    close();
    co_return fail(Errc::corrupt);
  }
  co_return std::move(one.data);
}

Task<void> PeerLink::listen(Session& session) {
  while (!session.closed()) {
    auto received = co_await session.receive(kNever);
    if (!received) break;
    if (handle(*received)) continue;
    if (received->epoch <= primary_.record().epoch) core_.refuse(id_, Errc::bad_input);
    break;
  }
  if (session.garbage() != Errc::ok) core_.refuse(id_, session.garbage());
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
  note_answer(message.body.index());
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
    if (ack->durable_seq > primary_.last_seq() || ack->received_seq > primary_.last_seq()) return false;
    durable_seq_ = std::max(durable_seq_, ack->durable_seq);
    while (!sent_.empty() && sent_.front().seq <= durable_seq_) sent_.pop_front();
    received_seq_ = std::max({received_seq_, ack->received_seq, durable_seq_});
    if (placed_ && configured_ >= primary_.quorum_serial()) stored_seq_ = std::max(stored_seq_, ack->durable_seq);
    if (session_ != nullptr) session_->answered(durable_seq_);
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
    resync_acked_ = placed_ = true;
    answered_.wake_all();
    return true;
  }
  if (std::holds_alternative<ReconcileDoneAck>(message.body)) {
    placed_ = true;
    return true;
  }
  if (std::holds_alternative<HandoverRequest>(message.body)) {
    primary_.switch_over_to(id_);
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
  if (const auto* data = std::get_if<Hashes>(&message.body)) return finish(data->tag, data->status);
  return false;
}

// Beacons, and the watch over their answers: a peer silent for a lease is given up.
Task<void> PeerLink::beat(Session& session) {
  std::uint64_t cookie = 0;
  while (!session.closed()) {
    if (core_.now() - heard_ > core_.lease()) break;
    if (behind_for() > core_.congestion()) break;  // too slow: the others go on without it
    if (!asked_.empty() && core_.now() - std::max(asked_.front().at, answered_at_) > core_.congestion()) break;
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
  s.diverged = diverged_;
  s.divergent_bytes = divergent_bytes_;
  if (diverged_) divergent_.for_each([&](Extent e) { s.divergent.push_back(e); });
  s.resync_done_bytes = done_bytes_;
  s.resync_total_bytes = total_bytes_;
  s.behind_bytes = behind_bytes();
  return s;
}

}  // namespace resilver::replica
