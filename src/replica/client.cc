#include "replica/client.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <utility>

#include "async/sync.h"
#include "async/task_group.h"
#include "base/planted_bug.h"
#include "replica/metadata.h"
#include "replica/range_lock.h"
#include "replica/session.h"

namespace resilver::replica {

struct Client::Impl {
  Impl(Scheduler& s, BufferPool& b, Network& n, ClientConfig c)
      : scheduler(s),
        buffers(b),
        network(n),
        config(std::move(c)),
        slots(s, config.max_in_flight),
        locks(s),
        closing(s),
        news(s),
        probes(s),
        requests(s) {}

  struct Piece {
    explicit Piece(Scheduler& scheduler) : since(scheduler.now()), done(scheduler) {}
    Nanos since;
    Request request;
    Buffer data;  // of a write; of a read when done
    Errc status = Errc::timeout;
    bool sent = false;  // on some session
    bool cut = false;   // too large for this session: ended, to be sent in smaller pieces
    Event done;
  };

  Scheduler& scheduler;
  BufferPool& buffers;
  Network& network;
  ClientConfig config;
  std::uint64_t size = 0;
  std::uint64_t reign = 0;  // of the primary that served last
  ClientStatus state;
  Errc permanent = Errc::ok;  // fenced or bad_input: nothing will ever be answered
  Session* current = nullptr;
  std::uint64_t next_id = 1;
  std::map<std::uint64_t, Piece*> pending;
  std::deque<std::uint64_t> unsent;  // of the pending, not given to the present session
  struct Outside {
    std::uint64_t bytes;
    Nanos at;
  };
  std::map<std::uint64_t, Outside> outside;  // given to it and not answered ...
  std::uint64_t outside_bytes = 0;           // ... data both ways, within the session's send window ...
  std::uint64_t most = 0;                    // ... and of at most so many
  std::uint64_t first_window = SendWindow::kFirst;
  Semaphore slots;
  RangeLock locks;
  Event closing;
  Event news;  // attached, a session ended, closing
  TaskGroup probes;
  TaskGroup requests;

  static constexpr std::uint64_t kPiecesAtOnce = 16;  // of one request
  // What a request moves over the line, one way or the other.
  static std::uint64_t bytes_of(const Request& request) noexcept {
    return request.op == IoOp::read || request.op == IoOp::write ? request.length : 0;
  }

  Nanos ms(std::uint64_t n) const noexcept { return static_cast<Nanos>(n) * kMillisecond; }
  Task<void> probe(ClientConfig::Node node);
  Task<void> try_node(const ClientConfig::Node& node);
  Task<void> converse(Session& session, NodeId node);
  Task<void> keep_alive(Session& session);
  Task<void> listen(Session& session);
  bool handle(Received& message);
  void send_more();
  void give_up(Errc status);
  Task<void> serve(IoRequest& request);
  Task<Errc> carry_out(IoRequest& request);
  Task<Errc> piece(IoRequest& request, std::uint64_t at, std::uint64_t length, Nanos deadline);
  Task<Errc> one_piece(IoRequest& request, std::uint64_t at, std::uint64_t length, Nanos deadline, bool& cut);
  Task<Errc> in_pieces(IoRequest& request, std::uint64_t at, std::uint64_t length, Nanos deadline);
  Task<void> one_of(IoRequest& request, std::uint64_t at, std::uint64_t length, Nanos deadline, Semaphore& room,
                    Errc& status);

  std::uint64_t piece_bytes() const noexcept {
    return std::min(current != nullptr ? current->send_window().part() : first_window / 2, kMaxTransfer);
  }
  // What a ping may wait behind requests: a quarter of the silence after which the node is given up.
  Nanos most_queueing() const noexcept { return ms(config.detect_ms) / 4; }

  std::deque<SentBeacon> pings;  // of the present session
  Nanos heard = 0;               // last message
  Nanos served = 0;              // last word that the node serves
};

// ---- sessions ------------------------------------------------------------------------------------------------------

// One task per node, so that a dead one never delays the search for the one that serves.
Task<void> Client::Impl::probe(ClientConfig::Node node) {
  while (!closing.is_set() && permanent == Errc::ok) {
    if (current == nullptr) co_await try_node(node);
    if (closing.is_set()) break;
    if (current == nullptr) {
      (void)co_await closing.wait_until(scheduler.now() + ms(config.retry_ms));
    } else {
      (void)co_await news.wait();
    }
  }
}

Task<void> Client::Impl::try_node(const ClientConfig::Node& node) {
  auto connection = co_await network.connect(node.address, scheduler.now() + ms(config.detect_ms));
  if (!connection || closing.is_set() || current != nullptr) co_return;
  Session session(scheduler, std::move(*connection));
  const Nanos deadline = scheduler.now() + 2 * ms(config.detect_ms);  // older requests may have to end there first
  const Nanos asked = scheduler.now();
  const ClientHello hello{config.volume, state.attachment, config.client, config.own_copy, config.read_only};
  if (!co_await session.send_now(encode(0, hello), deadline)) co_return;
  auto answer = co_await session.receive(deadline);
  if (answer) {
    if (const auto* refused = std::get_if<Redirect>(&answer->body)) {
      if (refused->status == Errc::fenced || refused->status == Errc::bad_input) give_up(refused->status);
    } else if (const auto* attached = std::get_if<Attached>(&answer->body)) {
      const bool fits = attached->size % kBlockBytes == 0 && (size == 0 || size == attached->size);
      if (fits && attached->size > 0 && current == nullptr && !closing.is_set()) {
        size = attached->size;
        state.attachment = attached->attachment;
        most = std::max<std::uint64_t>(1, attached->max_in_flight);
        const bool other = state.sessions > 0 && attached->reign != reign;
        reign = attached->reign;
        if (other && config.on_reign) config.on_reign();
        session.send_window().set(first_window);
        session.send_window().note_round_trip(asked, false, scheduler.now(), most_queueing());
        co_await converse(session, node.id);
      }
    }
  }
  session.close();
}

Task<void> Client::Impl::converse(Session& session, NodeId node) {
  if (state.sessions > 0 && state.node != node) ++state.failovers;
  ++state.sessions;
  state.node = node;
  state.attached = true;
  current = &session;
  heard = served = scheduler.now();
  outside.clear();
  outside_bytes = 0;
  pings.clear();
  unsent.clear();
  const std::uint64_t largest = piece_bytes();
  for (auto at = pending.begin(); at != pending.end();) {
    const auto [id, piece] = *at++;
    if (piece->sent) ++state.resent;
    piece->request.attachment = state.attachment;
    if (bytes_of(piece->request) <= largest) {
      unsent.push_back(id);
    } else {
      piece->cut = true;
      piece->done.set();
      pending.erase(id);
    }
  }
  send_more();
  news.wake_all();
  TaskGroup group(scheduler);
  group.spawn(session.pump());
  group.spawn(keep_alive(session));
  co_await listen(session);
  session.close();
  co_await group.join();
  current = nullptr;
  first_window = session.send_window().next_first();
  state.attached = false;
  news.wake_all();
}

// A frozen node, a cut cable and a primary that lost its peers look alike: no service.
Task<void> Client::Impl::keep_alive(Session& session) {
  const Nanos detect = ms(config.detect_ms);
  std::uint64_t cookie = 0;
  while (!session.closed()) {
    const Nanos now = scheduler.now();
    if (now - heard > detect || now - served > 2 * detect) break;
    pings.push_back({++cookie, now, session.send_window().filled(outside_bytes)});
    session.send_urgent(encode(0, Ping{cookie}));
    (void)co_await session.ended().wait_until(now + std::max<Nanos>(detect / 4, kMillisecond));
  }
  session.close();
}

Task<void> Client::Impl::listen(Session& session) {
  while (!session.closed()) {
    auto received = co_await session.receive(kNever);
    if (!received) break;
    heard = scheduler.now();
    if (!handle(*received)) break;
  }
}

// As many as the node takes (what is more would end the session), and as much as the line does while a ping may wait.
void Client::Impl::send_more() {
  while (current != nullptr && outside.size() < most && !unsent.empty()) {
    const std::uint64_t id = unsent.front();
    const auto at = pending.find(id);
    if (at != pending.end() && !current->send_window().takes(outside_bytes, bytes_of(at->second->request))) return;
    unsent.pop_front();
    if (at == pending.end()) continue;  // given up meanwhile
    Piece& piece = *at->second;
    piece.sent = true;
    const std::uint64_t bytes = bytes_of(piece.request);
    outside.emplace(id, Outside{bytes, scheduler.now()});
    outside_bytes += bytes;
    current->send(encode(0, piece.request, piece.request.op == IoOp::write ? piece.data : Buffer{}));
  }
}

bool Client::Impl::handle(Received& message) {
  if (const auto* pong = std::get_if<Pong>(&message.body)) {
    if (pong->serving) served = scheduler.now();
    while (!pings.empty() && pings.front().cookie < pong->cookie) pings.pop_front();
    if (!pings.empty() && pings.front().cookie == pong->cookie) {
      const auto [cookie, at, filled] = pings.front();
      current->send_window().note_round_trip(at, filled, scheduler.now(), most_queueing());
      pings.pop_front();
    }
    return true;
  }
  const auto* reply = std::get_if<Reply>(&message.body);
  if (reply == nullptr) return false;
  if (const auto sent = outside.find(reply->id); sent != outside.end()) {
    const auto [bytes, at] = sent->second;
    current->send_window().note_stored(bytes, outside_bytes, scheduler.now() - at, most_queueing());
    outside_bytes -= bytes;
    outside.erase(sent);
  }
  const auto at = pending.find(reply->id);
  if (at == pending.end()) return send_more(), true;  // given up here meanwhile
  Piece& piece = *at->second;
  if (piece.request.op == IoOp::read && reply->status == Errc::ok && message.payload.size() != piece.request.length)
    return false;
  served = scheduler.now();
  piece.status = reply->status;
  piece.data = std::move(message.payload);
  pending.erase(at);
  piece.done.set();
  if (piece.status == Errc::fenced) give_up(Errc::fenced);
  send_more();
  return true;
}

void Client::Impl::give_up(Errc status) {
  if (permanent == Errc::ok) permanent = status;
  state.fenced = permanent == Errc::fenced;
  for (auto& [id, piece] : pending) {
    piece->status = status;
    piece->done.set();
  }
  pending.clear();
  if (current != nullptr) current->close();
  news.wake_all();
}

// ---- requests ------------------------------------------------------------------------------------------------------

Task<Errc> Client::Impl::piece(IoRequest& request, std::uint64_t at, std::uint64_t length, Nanos deadline) {
  bool cut = false;
  const Errc status = co_await one_piece(request, at, length, deadline, cut);
  if (cut) co_return co_await in_pieces(request, at, length, deadline);
  co_return status;
}

Task<Errc> Client::Impl::one_piece(IoRequest& request, std::uint64_t at, std::uint64_t length, Nanos deadline,
                                   bool& cut) {
  co_await slots.acquire();
  SemaphoreGuard slot(slots);
  if (permanent != Errc::ok || closing.is_set()) co_return permanent != Errc::ok ? permanent : Errc::closed;
  if (scheduler.now() >= deadline) co_return Errc::timeout;
  Piece piece(scheduler);
  piece.request = {next_id++, state.attachment, request.op, request.fua, request.offset + at, length};

  // The part of each segment that belongs to this piece: begin in the segment, in the piece, and its length.
  const auto for_each_part = [&](auto&& visit) {
    std::uint64_t begin = 0;
    for (const Buffer& segment : request.segments) {
      const std::uint64_t from = std::max(begin, at), to = std::min(begin + segment.size(), at + length);
      if (from < to) visit(segment.slice(from - begin, to - from), from - at);
      begin += segment.size();
    }
  };
  if (request.op == IoOp::write) {  // copied: after a timeout the submitter may reuse its memory while ours is on its way
    piece.data = co_await allocate_patiently(scheduler, buffers, length);
    if (!piece.data) co_return Errc::limit;
    for_each_part([&](Buffer part, std::uint64_t to) { std::memcpy(piece.data.data() + to, part.data(), part.size()); });
    if (permanent != Errc::ok || closing.is_set()) co_return permanent != Errc::ok ? permanent : Errc::closed;
  }
  const std::uint64_t id = piece.request.id;
  pending.emplace(id, &piece);
  unsent.push_back(id);
  send_more();
  const bool answered = co_await piece.done.wait_until(deadline);
  cut = piece.cut;
  if (!answered) {
    pending.erase(id);
    if (request.op != IoOp::read && current != nullptr) current->close();
    co_return Errc::timeout;
  }
  if (request.op == IoOp::read && piece.status == Errc::ok) {
    for_each_part(
        [&](Buffer part, std::uint64_t from) { std::memcpy(part.data(), piece.data.data() + from, part.size()); });
  }
  co_return piece.status;
}

Task<void> Client::Impl::one_of(IoRequest& request, std::uint64_t at, std::uint64_t length, Nanos deadline,
                                Semaphore& room, Errc& status) {
  SemaphoreGuard held(room);
  const Errc mine = co_await piece(request, at, length, deadline);
  if (status == Errc::ok) status = mine;
}

// The `length` bytes from `at` on, kPiecesAtOnce at a time.
Task<Errc> Client::Impl::in_pieces(IoRequest& request, std::uint64_t at, std::uint64_t length, Nanos deadline) {
  const bool has_data = request.op == IoOp::read || request.op == IoOp::write;
  Errc status = Errc::ok;
  Semaphore room(scheduler, kPiecesAtOnce);
  TaskGroup pieces(scheduler);
  for (const std::uint64_t end = at + length; at < end && status == Errc::ok;) {
    co_await room.acquire();
    const std::uint64_t next = std::min(has_data ? piece_bytes() : kMaxTransfer, end - at);
    pieces.spawn(one_of(request, at, next, deadline, room, status));
    at += next;
  }
  co_await pieces.join();
  co_return status;
}

Task<Errc> Client::Impl::carry_out(IoRequest& request) {
  const Nanos deadline = scheduler.now() + ms(config.op_timeout_ms);
  if (request.op == IoOp::flush) co_return co_await piece(request, 0, 0, deadline);
  RangeLock::Guard lock(locks, request.offset, request.length,
                        request.op == IoOp::read ? RangeLock::Mode::read : RangeLock::Mode::write);
  if (request.op != IoOp::read || !planted(PlantedBug::read_not_ordered)) co_await lock.acquire();
  co_return co_await in_pieces(request, 0, request.length, deadline);
}

Task<void> Client::Impl::serve(IoRequest& request) {
  const Errc status = co_await carry_out(request);
  request.complete(scheduler, status);
}

// ---- the device ----------------------------------------------------------------------------------------------------

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

Task<Result<std::unique_ptr<Client>>> Client::attach(Scheduler& scheduler, BufferPool& buffers, Network& network,
                                                     ClientConfig config) {
  if (config.nodes.empty() || config.nodes.size() > kMaxNodes || config.detect_ms == 0 || config.retry_ms == 0 ||
      config.max_in_flight == 0) {
    co_return fail(Errc::invalid_argument, "client: it needs nodes, and times and limits that are not 0");
  }
  std::unique_ptr<Client> client(new Client(std::make_unique<Impl>(scheduler, buffers, network, std::move(config))));
  Impl& impl = *client->impl_;
  for (const auto& node : impl.config.nodes) impl.probes.spawn(impl.probe(node));
  const Nanos deadline = scheduler.now() + impl.ms(impl.config.op_timeout_ms);
  while (impl.current == nullptr && impl.permanent == Errc::ok && scheduler.now() < deadline) {
    (void)co_await impl.news.wait_until(deadline);
  }
  if (impl.current != nullptr) co_return client;
  const Errc why = impl.permanent != Errc::ok ? impl.permanent : Errc::timeout;
  co_await client->close();
  co_return fail(why, "client: no node serves the volume");
}

std::uint64_t Client::size_bytes() const noexcept { return impl_->size; }

ClientStatus Client::status() const {
  ClientStatus now = impl_->state;
  if (!impl_->pending.empty()) now.waits_since = impl_->pending.begin()->second->since;
  return now;
}

void Client::submit(IoRequest& request) noexcept {
  check_request(*this, request);
  if (impl_->closing.is_set()) return request.complete(impl_->scheduler, Errc::closed);
  if (impl_->requests.running() >= kMaxQueued) return request.complete(impl_->scheduler, Errc::limit);
  impl_->requests.spawn(impl_->serve(request));
}

Task<void> Client::close() {
  Impl& impl = *impl_;
  impl.closing.set();
  impl.give_up(Errc::closed);
  co_await impl.requests.join();
  co_await impl.probes.join();
}

}  // namespace resilver::replica
