#include "uring/proxy.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <utility>
#include <vector>

#include "async/sync.h"
#include "async/task_group.h"
#include "uring/address.h"
#include "uring/wait.h"

namespace resilver::uring {
namespace {

constexpr std::size_t kMinPiece = 4 * 1024;
constexpr std::size_t kMaxPiece = 64 * 1024;
constexpr std::uint64_t kPiecesPerSecond = 1000;  // a piece is what passes in a millisecond, within the limits above
constexpr std::size_t kPieceCost = 256;  // of memory, beside its bytes: a million pieces of one byte are bounded too
// Small, so that what the kernels hold of a connection counts little beside the link's own queue.
constexpr int kSocketBuffer = 256 * 1024;
constexpr Nanos kHangUpPoll = 50 * kMillisecond;
constexpr Nanos kAcceptPause = 10 * kMillisecond;

// One direction of the link; all connections share it.
struct Wire {
  explicit Wire(const LinkParameters& parameters) noexcept : timer(parameters) {}
  std::size_t piece_bytes() noexcept {
    const std::uint64_t bandwidth = timer.parameters().bandwidth;
    if (bandwidth == 0) return kMaxPiece;
    return static_cast<std::size_t>(std::clamp<std::uint64_t>(bandwidth / kPiecesPerSecond, kMinPiece, kMaxPiece));
  }
  LinkTimer timer;
  bool dropped = false;
  std::uint64_t bytes = 0;
  std::uint64_t pieces = 0;
};
using Wires = std::array<Wire, 2>;  // to the target, from the target

enum class PieceKind : std::uint8_t { data, end, reset };

struct Piece {
  PieceKind kind;
  Nanos arrival;
  std::vector<std::byte> bytes;
  std::size_t cost() const noexcept { return bytes.size() + kPieceCost; }
};

void set_small_buffers(int fd) noexcept {
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSocketBuffer, sizeof kSocketBuffer);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kSocketBuffer, sizeof kSocketBuffer);
}

// Sends a RST now, which closing (with SO_LINGER) does only when the ring has let go of the file.
void reset_socket(int fd) noexcept {
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  if (fd >= 0) ::connect(fd, &nowhere, sizeof nowhere);
}

bool hung_up(int fd) noexcept {
  pollfd ask{fd, POLLRDHUP, 0};
  return ::poll(&ask, 1, 0) > 0 && (ask.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

// One connection through the proxy. Each direction has a reader, which stamps what it reads with the time of its arrival,
// and a writer, which delivers it then, unless the direction is dropped.
class Relay : public ListHook {
 public:
  Relay(Ring& ring, Wires& wires, int source, std::string target)
      : ring_(ring),
        source_(source),
        target_address_(std::move(target)),
        pumps_{Pump(ring, wires[0]), Pump(ring, wires[1])},
        change_(ring) {
    set_no_delay(source_);
  }
  ~Relay() {
    ::close(source_);
    if (target_ >= 0) ::close(target_);
  }

  Task<void> run();
  // Both ends see a reset; run() ends soon.
  void abort() noexcept;
  // The state of a wire changed.
  void dropped(std::size_t way) noexcept;
  void restored(std::size_t way) noexcept;
  void retimed(std::size_t way) noexcept { pumps_[way].room.wake_all(); }

 private:
  struct Pump {
    Pump(Ring& ring, Wire& w) : wire(w), due(ring), room(ring), staging(new std::byte[kMaxPiece]) {}
    Wire& wire;
    int from = -1;
    int to = -1;
    std::deque<Piece> queue;
    std::size_t queued = 0;      // cost of the queue
    std::size_t front_sent = 0;  // bytes of its first piece
    bool broken = false;         // the receiver is dead: what is still read goes nowhere
    bool ended = false;          // the end of the stream was delivered
    Wait* reading = nullptr;
    Wait* sending = nullptr;
    Event due;   // for the writer
    Event room;  // for the reader
    std::unique_ptr<std::byte[]> staging;
  };

  Pump& other(Pump& pump) noexcept { return &pump == &pumps_[0] ? pumps_[1] : pumps_[0]; }
  Nanos round_trip() noexcept {
    return pumps_[0].wire.timer.parameters().latency + pumps_[1].wire.timer.parameters().latency;
  }
  Task<bool> handshake();
  Task<bool> connect();
  Task<void> read(Pump& pump);
  Task<void> write(Pump& pump);
  Task<void> send_front(Pump& pump);
  void push(Pump& pump, PieceKind kind, std::size_t size);
  void receiver_died(Pump& pump);

  Ring& ring_;
  int source_;
  int target_ = -1;
  std::string target_address_;
  std::array<Pump, 2> pumps_;
  Event change_;  // of anything that the handshake waits for
  Wait* connecting_ = nullptr;
  bool established_ = false;
  bool aborted_ = false;
};

Task<void> Relay::run() {
  pumps_[0].from = pumps_[1].to = source_;
  TaskGroup tasks(ring_);
  tasks.spawn(read(pumps_[0]));  // from the start, so that what wants to pass is seen also while nothing can
  bool connected = co_await handshake();
  if (connected) connected = co_await connect();
  if (connected) {
    established_ = true;
    change_.wake_all();
    tasks.spawn(write(pumps_[0]));
    tasks.spawn(read(pumps_[1]));
    tasks.spawn(write(pumps_[1]));
  } else {
    abort();
  }
  co_await tasks.join();
}

// Plays the round trip that connecting takes over a real link. A client that gives up while the link is dropped never had
// a connection there: false.
Task<bool> Relay::handshake() {
  Nanos ready_at = ring_.now() + round_trip();
  while (!aborted_) {
    if (pumps_[0].wire.dropped || pumps_[1].wire.dropped) {
      co_await change_.wait_until(ring_.now() + kHangUpPoll);
      if (hung_up(source_)) co_return false;
      ready_at = ring_.now() + round_trip();
    } else if (ring_.now() < ready_at) {
      co_await change_.wait_until(ready_at);
    } else {
      co_return true;
    }
  }
  co_return false;
}

Task<bool> Relay::connect() {
  const auto address = parse_address(target_address_);
  if (!address) co_return false;
  const auto fd = socket_for(*address);
  if (!fd) co_return false;
  target_ = pumps_[0].to = pumps_[1].from = *fd;
  set_small_buffers(target_);
  set_no_delay(target_);
  Wait wait = Wait::connect(ring_, target_, address->get(), address->size, kNever);
  connecting_ = &wait;
  const int result = co_await wait;
  connecting_ = nullptr;
  co_return result == 0 && !aborted_ && !connected_to_itself(target_);
}

Task<void> Relay::read(Pump& pump) {
  while (!aborted_) {
    const std::size_t size = pump.wire.piece_bytes();
    const Nanos now = ring_.now();
    const Nanos room_at = pump.wire.timer.room_at(now);
    if (pump.queued + size + kPieceCost > Proxy::kMaxQueued) {
      co_await pump.room.wait();
      continue;
    }
    if (room_at > now) {
      co_await pump.room.wait_until(room_at);
      continue;
    }
    Wait wait = Wait::recv(ring_, pump.from, pump.staging.get(), size, 0, kNever);
    pump.reading = &wait;
    const int got = co_await wait;
    pump.reading = nullptr;
    if (got == -EINTR || got == -EAGAIN) continue;
    if (got > 0) ++pump.wire.pieces;
    while (!established_ && !aborted_) co_await change_.wait();
    if (aborted_) break;
    if (got <= 0) {
      push(pump, got == 0 ? PieceKind::end : PieceKind::reset, 0);
      break;
    }
    push(pump, PieceKind::data, static_cast<std::size_t>(got));
  }
}

void Relay::push(Pump& pump, PieceKind kind, std::size_t size) {
  if (pump.broken) return;
  const Nanos arrival = pump.wire.timer.arrive_at(size, ring_.now());
  const std::byte* data = pump.staging.get();
  const bool was_empty = pump.queue.empty();
  pump.queue.push_back({kind, arrival, std::vector<std::byte>(data, data + size)});
  pump.queued += pump.queue.back().cost();
  if (was_empty) pump.due.wake_all();
}

// Stays until both streams have ended: after the end of its own a reset may still have to pass.
Task<void> Relay::write(Pump& pump) {
  while (!aborted_ && !(pump.ended && other(pump).ended)) {
    if (pump.queue.empty() || pump.wire.dropped) {
      co_await pump.due.wait();
      continue;
    }
    const Piece& front = pump.queue.front();
    if (front.arrival > ring_.now()) {
      co_await pump.due.wait_until(front.arrival);
    } else if (front.kind == PieceKind::data) {
      co_await send_front(pump);
    } else if (front.kind == PieceKind::end) {
      ::shutdown(pump.to, SHUT_WR);
      pump.queued -= front.cost();
      pump.queue.pop_front();
      pump.ended = true;
      other(pump).due.wake_all();
    } else {
      abort();
    }
  }
}

// One send: short ones are gone on with by the loop above, which looks first whether the wire was dropped meanwhile.
Task<void> Relay::send_front(Pump& pump) {
  const std::vector<std::byte>& bytes = pump.queue.front().bytes;
  Wait wait =
      Wait::send(ring_, pump.to, bytes.data() + pump.front_sent, bytes.size() - pump.front_sent, MSG_NOSIGNAL, kNever);
  pump.sending = &wait;
  const int sent = co_await wait;
  pump.sending = nullptr;
  if (sent == -ECANCELED || sent == -EINTR || sent == -EAGAIN) co_return;
  if (sent < 0) {
    receiver_died(pump);
    co_return;
  }
  pump.wire.bytes += static_cast<std::uint64_t>(sent);
  pump.front_sent += static_cast<std::size_t>(sent);
  if (pump.front_sent < bytes.size()) co_return;
  pump.front_sent = 0;
  pump.queued -= pump.queue.front().cost();
  pump.queue.pop_front();
  pump.room.wake_all();
}

// The sender learns it when the news has travelled back.
void Relay::receiver_died(Pump& pump) {
  Pump& back = other(pump);
  if (back.broken) return abort();
  push(back, PieceKind::reset, 0);
  pump.broken = true;
  pump.queue.clear();
  pump.queued = pump.front_sent = 0;
  pump.room.wake_all();
}

void Relay::abort() noexcept {
  if (aborted_) return;
  aborted_ = true;
  reset_socket(source_);
  reset_socket(target_);
  if (connecting_ != nullptr) connecting_->cancel();
  for (Pump& pump : pumps_) {
    if (pump.reading != nullptr) pump.reading->cancel();
    if (pump.sending != nullptr) pump.sending->cancel();
    pump.due.wake_all();
    pump.room.wake_all();
  }
  change_.wake_all();
}

void Relay::dropped(std::size_t way) noexcept {
  if (pumps_[way].sending != nullptr) pumps_[way].sending->cancel();
  change_.wake_all();
}

// What was under way is sent again from here. Precondition: the wire is idle, as a new one.
void Relay::restored(std::size_t way) noexcept {
  Pump& pump = pumps_[way];
  for (Piece& piece : pump.queue) piece.arrival = pump.wire.timer.arrive_at(piece.bytes.size(), ring_.now());
  pump.due.wake_all();
  pump.room.wake_all();
  change_.wake_all();
}

class LinkProxy final : public Proxy {
 public:
  LinkProxy(Ring& ring, ListeningSocket socket, std::string target, const LinkParameters& parameters)
      : ring_(ring),
        fd_(socket.fd),
        address_(std::move(socket.address)),
        target_(std::move(target)),
        wires_{Wire(parameters), Wire(parameters)},
        change_(ring) {}
  ~LinkProxy() override {
    CHECK(!running_, "a proxy must outlive its run()");
    close_listener();
  }

  Task<void> run() override;
  void stop() noexcept override;
  const std::string& address() const noexcept override { return address_; }
  void set_target(std::string target) override { target_ = std::move(target); }
  void drop(Direction direction) noexcept override;
  void restore(Direction direction) noexcept override;
  void reset() noexcept override;
  void set_latency(Direction direction, Nanos one_way) noexcept override;
  void set_bandwidth(Direction direction, std::uint64_t bytes_per_second) noexcept override;
  std::uint64_t bytes(Direction direction) const noexcept override { return wire(direction).bytes; }
  std::uint64_t pieces(Direction direction) const noexcept override { return wire(direction).pieces; }
  std::size_t connections() const noexcept override { return connections_; }

 private:
  static bool covers(Direction direction, std::size_t way) noexcept {
    return direction == Direction::both || (direction == Direction::to_target) == (way == 0);
  }
  const Wire& wire(Direction direction) const noexcept {
    CHECK(direction != Direction::both);
    return wires_[direction == Direction::to_target ? 0 : 1];
  }
  void close_listener() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  Task<void> relay(int fd, std::string target);

  Ring& ring_;
  int fd_;
  std::string address_;
  std::string target_;
  Wires wires_;
  IntrusiveList<Relay> relays_;
  std::size_t connections_ = 0;
  Event change_;
  Wait* accepting_ = nullptr;
  bool running_ = false;
  bool stopped_ = false;
};

Task<void> LinkProxy::run() {
  if (stopped_) co_return;
  CHECK(!running_ && fd_ >= 0, "run() is for once");
  running_ = true;
  TaskGroup relays(ring_);
  while (!stopped_) {
    if (connections_ >= kMaxConnections) {  // the next ones wait in the kernel
      co_await change_.wait();
      continue;
    }
    Wait wait = Wait::accept(ring_, fd_);
    accepting_ = &wait;
    const int fd = co_await wait;
    accepting_ = nullptr;
    if (fd >= 0) {
      ++connections_;
      relays.spawn(relay(fd, target_));
    } else if (!stopped_) {
      co_await change_.wait_until(ring_.now() + kAcceptPause);
    }
  }
  close_listener();
  co_await relays.join();
  running_ = false;
}

Task<void> LinkProxy::relay(int fd, std::string target) {
  {
    Relay relay(ring_, wires_, fd, std::move(target));
    relays_.push_back(relay);
    if (stopped_) relay.abort();
    co_await relay.run();
  }
  --connections_;
  change_.wake_all();
}

void LinkProxy::stop() noexcept {
  stopped_ = true;
  if (!running_) return close_listener();
  if (accepting_ != nullptr) accepting_->cancel();
  change_.wake_all();
  reset();
}

void LinkProxy::drop(Direction direction) noexcept {
  for (std::size_t way = 0; way < wires_.size(); ++way) {
    if (!covers(direction, way) || std::exchange(wires_[way].dropped, true)) continue;
    relays_.for_each([way](Relay& relay) { relay.dropped(way); });
  }
}

void LinkProxy::restore(Direction direction) noexcept {
  for (std::size_t way = 0; way < wires_.size(); ++way) {
    if (!covers(direction, way) || !std::exchange(wires_[way].dropped, false)) continue;
    wires_[way].timer = LinkTimer(wires_[way].timer.parameters());
    relays_.for_each([way](Relay& relay) { relay.restored(way); });
  }
}

void LinkProxy::reset() noexcept {
  relays_.for_each([](Relay& relay) { relay.abort(); });
}

void LinkProxy::set_latency(Direction direction, Nanos one_way) noexcept {
  for (std::size_t way = 0; way < wires_.size(); ++way) {
    if (covers(direction, way)) wires_[way].timer.parameters().latency = one_way;
  }
}

void LinkProxy::set_bandwidth(Direction direction, std::uint64_t bytes_per_second) noexcept {
  for (std::size_t way = 0; way < wires_.size(); ++way) {
    if (!covers(direction, way)) continue;
    wires_[way].timer.parameters().bandwidth = bytes_per_second;
    relays_.for_each([way](Relay& relay) { relay.retimed(way); });
  }
}

}  // namespace

Result<std::unique_ptr<Proxy>> Proxy::create(Ring& ring, std::string_view listen, std::string target,
                                             const LinkParameters& parameters) {
  if (const auto address = parse_address(target); !address) return std::unexpected(address.error());
  auto socket = listen_on(listen);
  if (!socket) return std::unexpected(socket.error());
  set_small_buffers(socket->fd);  // those of the connections that it accepts
  return std::make_unique<LinkProxy>(ring, std::move(*socket), std::move(target), parameters);
}

}  // namespace resilver::uring
