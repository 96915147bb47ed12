#include "replica/peer_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/planted_bug.h"
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
  if (std::holds_alternative<ClearPrepare>(question)) return kIndex<ClearPrepared>;
  if (std::holds_alternative<CopyExtent>(question)) return kIndex<CopyAck>;
  if (std::holds_alternative<ReadExtent>(question)) return kIndex<ExtentData>;
  if (std::holds_alternative<HashRequest>(question)) return kIndex<Hashes>;
  const bool bits = std::holds_alternative<BitsRequest>(question) || std::holds_alternative<ResyncBegin>(question) ||
                    std::holds_alternative<Diverged>(question);
  if (bits) return kIndex<Bits>;
  return std::nullopt;
}

}  // namespace

PeerLink::PeerLink(Primary& primary, Core& core, const Peer& peer)
    : primary_(primary),
      core_(core),
      id_(peer.id),
      name_(peer.name),
      address_(peer.address),
      answered_(core.scheduler),
      starting_(primary.expected(peer.id)) {}

Task<void> PeerLink::run() {
  const Nanos patience = core_.now() + core_.lease();  // for the first session of a member
  member_since_ = core_.now();
  while (!primary_.lost().is_set()) {
    const bool must_leave_first = primary_.may_be_member(id_) && !starting_ && !primary_.frozen();
    if (!must_leave_first && !held_back()) co_await one_session();
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

// ---- flapping --------------------------------------------------------------------------------------------------------

bool PeerLink::held_back() const { return core_.now() < held_until_ && !primary_.too_few() && !starting_; }

void PeerLink::note_membership(bool was, bool is) {
  const Nanos grace = core_.grace();
  if (!was && is) member_since_ = core_.now();
  if (!was || is) return;
  if (core_.now() - member_since_ >= kSettled * grace) flaps_ = 0;
  if (flaps_++ == 0) return;
  const Nanos hold = std::min<Nanos>(kMostHeld, Nanos{1} << std::min(flaps_ - 2, 30u)) * grace;
  held_until_ = core_.now() + hold;
}

void PeerLink::left(Reason why, std::string detail) {
  if (away_ && away_->reason == why && away_->detail == detail) return;
  away_ = Finding{why, core_.place_of(id_), core_.now(), 0, std::move(detail)};
}

void PeerLink::add_findings(std::vector<Finding>& to) const {
  const NodeId place = core_.place_of(id_);
  if (held_back()) {
    const std::string rest = fmt::format("{} s more", (held_until_ - core_.now() + kSecond - 1) / kSecond);
    to.push_back({Reason::held_back, place, member_since_, held_until_, rest});
  }
  if (away_) {
    to.push_back(*away_);
  } else if (session_ == nullptr) {
    to.push_back({Reason::unreachable, place, 0, 0, {}});
  }
  if (diverged_) {
    const bool lost = why_ == ResyncWhy::lost_writes;
    to.push_back({lost ? Reason::lost_writes : Reason::fork, place, 0, 0, {}});
  }
  const bool joins = session_ != nullptr && !primary_.members().contains(id_) && !diverged_;
  // One that has everything is put into the record, which the arbiter may be in the way of.
  const bool waits_for_record = ready_ && core_.of_arbiter();
  if (joins && !waits_for_record) to.push_back({Reason::being_copied, place, 0, 0, resync_why_name(why_)});
  if (why_ == ResyncWhy::checksum_went_back && joins) to.push_back({Reason::went_back, place, 0, 0, {}});
  const Settings mine = core_.settings();
  if (welcome_.name == name_ && welcome_.settings != mine) {
    std::string keys;
    const auto differ = [&](bool differs, const char* key) {
      if (differs) keys += (keys.empty() ? "" : ", ") + std::string(key);
    };
    const Settings& theirs = welcome_.settings;
    differ(theirs.grace_ms != mine.grace_ms, "detect");
    differ(theirs.congestion_ms != mine.congestion_ms, "congestion_timeout");
    differ(theirs.min_in_sync != mine.min_in_sync, "min_in_sync");
    differ(theirs.ack != mine.ack, "ack");
    differ(theirs.nodes != mine.nodes, "the nodes or their order");
    differ(theirs.arbiter != mine.arbiter, "arbiter");
    to.push_back({Reason::files_differ, place, 0, 0, keys});
  }
}

// ---- a session -------------------------------------------------------------------------------------------------------

Task<void> PeerLink::one_session() {
  auto connection = co_await core_.env.network().connect(address_, core_.now() + core_.lease());
  if (!connection || primary_.lost().is_set()) {
    if (!connection && !primary_.lost().is_set()) left(Reason::unreachable);
    co_return;
  }
  {
    OpenSession session(core_, std::move(*connection));
    session_ = &*session;
    session->send_window().set(first_send_window_);
    heard_ = core_.now();
    const bool welcomed = co_await greet(*session);
    if (welcomed && !session->closed() && !primary_.lost().is_set()) {
      away_.reset();
      TaskGroup group(core_.scheduler);
      group.spawn(session->pump());
      group.spawn(listen(*session));
      group.spawn(beat(*session));
      co_await conduct(*session);
      co_await group.join();
      if (!away_) left(Reason::unreachable);
    }
    session->close();
    first_send_window_ = session->send_window().next_first();
    session_ = nullptr;
  }
  keep_for_resume();
  const bool had_writes = std::exchange(streaming_, false);
  ready_ = placed_ = resync_acked_ = resyncing_ = diverged_ = discard_ = false;
  stored_seq_ = 0;
  prepared_ = {};
  if (had_writes) starting_ = false;
  beacons_.clear();
  asked_.clear();
  configured_ = 0;
  arbiter_ = {};
  bits_.reset();
  bits_data_ = {};
  primary_.changed();
}

Task<bool> PeerLink::greet(Session& session) {
  const Record& record = primary_.record();
  const Nanos deadline = core_.now() + core_.lease();
  const Superblock& super = core_.metadata.now();
  const PeerHello hello{core_.config.volume, record,          super.copy, core_.life, core_.marks.now().counter,
                        core_.volume_bytes,  core_.settings()};
  if (!co_await session.send_now(encode(record.epoch, hello), deadline)) {
    left(Reason::unreachable);
    co_return false;
  }
  auto received = co_await session.receive(deadline);
  if (!received) {
    if (session.garbage() != Errc::ok) core_.refuse(id_, session.garbage());
    left(Reason::unreachable);
    co_return false;
  }
  const auto* welcome = std::get_if<PeerWelcome>(&received->body);
  if (welcome == nullptr) {
    core_.refuse(id_, Errc::bad_input);
    left(Reason::refuses, "it does not speak this protocol");
    co_return false;
  }
  co_return look_at(*welcome);
}

// Who is it, and does it take us? Nothing else is read before that is known.
bool PeerLink::look_at(const PeerWelcome& welcome) {
  if (welcome.volume != core_.config.volume) {
    left(Reason::other_volume, "volume " + short_text(welcome.volume) + ", not " + short_text(core_.config.volume));
    return false;
  }
  if (welcome.name != name_) {
    left(Reason::refuses, "another node of the volume is at its address");
    return false;
  }
  if (welcome.refusal == Refusal::stale || welcome.refusal == Refusal::other_history) primary_.suspect_newer_record();
  if (welcome.refusal != Refusal::none) {
    left(welcome.refusal == Refusal::device ? Reason::left_disk : Reason::refuses, refusal_name(welcome.refusal));
    return false;
  }
  if (welcome.size != core_.volume_bytes) {
    left(Reason::refuses, refusal_name(Refusal::other_size));
    return false;
  }
  if (welcome.copy == core_.metadata.now().copy) {
    left(Reason::second_life, "its device holds a copy of this node's");
    return false;
  }
  constexpr std::size_t kMostLives = 16;
  const bool before = std::ranges::find(lives_, welcome.life) != lives_.end();
  if (before && lives_.back() != welcome.life && welcome.copy == welcome_.copy &&
      !planted(PlantedBug::second_life_accepted)) {
    left(Reason::second_life, "two processes of its copy answer in turn");
    return false;
  }
  if (!before) lives_.push_back(welcome.life);
  if (lives_.size() > kMostLives) lives_.erase(lives_.begin());
  welcome_ = welcome;
  known_mark_ = core_.mark_of(welcome.copy);
  mark_ = welcome.marks.counter;
  core_.told.note(welcome.copy, mark_);
  for (const PeerMark& mark : welcome.marks.peers) core_.told.note(mark.copy, mark.counter);
  return true;
}

Task<void> PeerLink::conduct(Session& session) {
  // A member that is not starting must leave first (the set may have changed while we greeted). Where the set is frozen it
  // cannot: its lease and whom it takes for the arbiter are what is needed until then.
  const bool member = primary_.may_be_member(id_);
  if (member && !starting_) {
    while (primary_.frozen() && !session.closed()) co_await answered_.wait_until(core_.now() + core_.beacon());
    session.close();
    co_return;
  }
  why_ = member ? ResyncWhy::reconcile : judge();
  bool good = false;
  if (member) {
    good = co_await start_member(session);
  } else if (why_ == ResyncWhy::diverged || why_ == ResyncWhy::lost_writes) {
    co_await stay_diverged(session);
  } else {
    good = co_await outdo(session) && co_await resync(session);
  }
  if (!good) session.close();
}

// The epochs that a node obeys only grow, also where its history is given up for this one.
Task<bool> PeerLink::outdo(Session& session) { co_return co_await raise_epoch(session, welcome_.known.epoch); }

// That the record could be swapped proves that this primary is the one.
Task<bool> PeerLink::raise_epoch(Session& session, std::uint64_t to) {
  if (primary_.record().epoch < to) primary_.outdo(to - 1);
  while (primary_.record().epoch < to && !session.closed()) co_await answered_.wait_until(core_.now() + core_.beacon());
  co_return !session.closed();
}

void PeerLink::start_streaming() {
  durable_seq_ = received_seq_ = primary_.last_seq();
  streaming_ = true;
  send(primary_.configuration());
}

// Whether what answers is the copy that the record names, as it was.
bool PeerLink::is_the_member() const {
  const bool fresh = welcome_.base.none();
  if (welcome_.inconsistent || welcome_.suspect || (fresh && !primary_.virgin())) return false;
  if (primary_.record().copy_of(id_) != welcome_.copy) return false;
  if (primary_.virgin()) return true;
  const Kinship seen = kinship(welcome_.known, primary_.record());
  if (seen != Kinship::newer && seen != Kinship::same) return false;
  if (welcome_.marks.counter < known_mark_ && !planted(PlantedBug::marks_ignored)) return false;
  const Marks& mine = core_.marks.now();
  return welcome_.marks.prepared >= mine.dropped && mine.prepared >= welcome_.marks.dropped && !proves_loss();
}

// After a promotion: a member tells the writes that it may have and others not, then gets everything from here on.
Task<bool> PeerLink::start_member(Session& session) {
  if (!is_the_member()) {
    starting_ = false;  // it leaves, and comes back as a joiner
    co_return false;
  }
  if (welcome_.attachment > core_.metadata.now().attachment) {
    const Errc stored = co_await core_.metadata.update(
        [&](Superblock& s) { s.attachment = std::max(s.attachment, welcome_.attachment); });
    if (stored != Errc::ok) {
      core_.storage_failed(stored);
      co_return false;
    }
  }
  if (welcome_.recent_known) {
    primary_.must_settle(welcome_.recent);
  } else if (!welcome_.base.none()) {
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
  Message message = encode(primary_.record().epoch, body, std::move(payload));
  if (const auto* piece = std::get_if<CopyExtent>(&body)) {
    session_->send_piece(piece->tag, std::move(message));
  } else {
    session_->send(std::move(message));
  }
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
  const Errc status = co_await call(one, tag, ReadExtent{tag, extent});
  if (status != Errc::ok) co_return fail(status);
  co_return std::move(one.data);
}

Task<Result<Buffer>> PeerLink::hashes(Extent extent) {
  Call one(core_.scheduler);
  const std::uint64_t tag = next_tag_++;
  const Errc status = co_await call(one, tag, HashRequest{tag, extent});
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

Nanos PeerLink::most_queueing() const noexcept { return std::min(primary_.lease() / 8, kMostQueueing); }

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
    if (session_ != nullptr)
      session_->send_window().note_round_trip(sent->at, sent->filled, core_.now(), most_queueing());
    lease_until_ = std::max(lease_until_, sent->at + primary_.lease());
    beacons_.erase(beacons_.begin(), sent + 1);
    mark_ = std::max(mark_, ack->mark);
    core_.told.note(welcome_.copy, ack->mark);
    if (std::exchange(arbiter_, ack->arbiter) != ack->arbiter && arbiter_ != primary_.arbiter_key())
      primary_.check_arbiter();
    primary_.changed();
    return true;
  }
  if (const auto* ack = std::get_if<DurableAck>(&message.body)) {
    if (ack->durable_seq > primary_.last_seq() || ack->received_seq > primary_.last_seq()) return false;
    durable_seq_ = std::max(durable_seq_, ack->durable_seq);
    while (!sent_.empty() && sent_.front().seq <= durable_seq_) sent_.pop_front();
    received_seq_ = std::max({received_seq_, ack->received_seq, durable_seq_});
    if (placed_ && configured_ >= primary_.quorum_serial()) stored_seq_ = std::max(stored_seq_, ack->durable_seq);
    if (session_ != nullptr) session_->answered(durable_seq_, core_.now(), most_queueing());
    primary_.changed();
    return true;
  }
  if (const auto* ack = std::get_if<ConfigureAck>(&message.body)) {
    configured_ = std::max(configured_, ack->serial);
    primary_.changed();
    return true;
  }
  if (const auto* ready = std::get_if<ClearPrepared>(&message.body)) {
    prepared_ = std::max(prepared_, ready->clearing);
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
  if (std::holds_alternative<GiveUp>(message.body)) {
    discard_remote();
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
  if (const auto* ack = std::get_if<CopyAck>(&message.body)) {
    if (session_ != nullptr) session_->answered_piece(ack->tag, core_.now(), most_queueing());
    return finish(ack->tag, Errc::ok);
  }
  if (const auto* data = std::get_if<ExtentData>(&message.body)) return finish(data->tag, data->status);
  if (const auto* data = std::get_if<Hashes>(&message.body)) return finish(data->tag, data->status);
  return false;
}

Beacon PeerLink::beacon_with(std::uint64_t cookie) const {
  Beacon beacon{cookie, primary_.committed_seq(), core_.marks.now().counter, {}, primary_.arbiter_key()};
  for (const Slot& slot : primary_.record().slots) {
    const std::uint64_t counter = slot.copy.none() ? 0 : core_.mark_of(slot.copy);
    if (counter != 0) beacon.marks.push_back({slot.copy, counter});
  }
  return beacon;
}

// Beacons, and the watch over their answers: a peer silent for a lease is given up.
Task<void> PeerLink::beat(Session& session) {
  std::uint64_t cookie = 0;
  while (!session.closed()) {
    const bool unanswered =
        !asked_.empty() && core_.now() - std::max(asked_.front().at, answered_at_) > core_.congestion();
    if (behind_for() > core_.congestion() || unanswered) left(Reason::left_slow);  // the others go on without it
    if (core_.now() - heard_ > core_.lease() || away_) break;
    if (beacons_.size() < 256) {
      beacons_.push_back({++cookie, core_.now(), session.send_window_filled()});
      session.send_urgent(encode(primary_.record().epoch, beacon_with(cookie)));
    }
    (void)co_await session.ended().wait_until(core_.now() + core_.beacon());
  }
  session.close();
}

PeerStatus PeerLink::status() const {
  PeerStatus s;
  s.id = core_.place_of(id_);
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
