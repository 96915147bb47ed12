#include "sim/network.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>

#include "async/sync.h"
#include "env/frame.h"
#include "sim/node.h"

namespace resilver::sim {
namespace {

constexpr std::uint64_t kWindowBytes = std::uint64_t{4} << 20;  // sent and not yet taken by the receiving program
constexpr std::size_t kBacklog = 128;
constexpr std::uint64_t kSmallFrame = 64;  // wire bytes of what opens and closes a connection

}  // namespace

class SimConnection;
class SimListener;

enum class FlightKind : std::uint8_t { syn, accepted, refused, data, fin };

// One direction of the wire between two machines.
struct Fabric::Link {
  Node* from = nullptr;
  Node* to = nullptr;
  LinkParameters parameters;
  LinkTimer timer{LinkParameters{}};
  Nanos extra_latency = 0;
  std::uint64_t bandwidth_override = 0;
  bool dropped = false;
  Nanos last_arrival = 0;  // nothing overtakes
  LinkCounters counters;

  void apply() {
    timer.parameters() = parameters;
    timer.parameters().latency += extra_latency;
    if (bandwidth_override != 0) timer.parameters().bandwidth = bandwidth_override;
  }
};

// One end of a connection as the machine's kernel keeps it.
struct Fabric::Socket {
  Node* node = nullptr;
  SimConnection* connection = nullptr;  // the program's handle; null before accept and after it is gone
  bool gone = false;         // the process has ended or closed it: nobody will read
  bool powerless = false;    // the machine lost power: it says nothing, not even that it is gone
  bool peer_closed = false;  // the other side's end has arrived
  bool missed = false;       // something arrived while the machine had no power
  std::deque<Message> inbox;
  std::uint64_t unread = 0;         // bytes on their way to it or in its inbox
  std::uint64_t withheld = 0;       // read, but the acknowledgement cannot get through
};

struct Fabric::Pair {
  Socket side[2];  // 0 dialled, 1 accepted
  Link* link[2] = {};  // [i]: what side i sends
  Dial* dial = nullptr;
  std::string service;
  bool established = false;
  std::uint32_t flights = 0;

  bool unused() const {
    return flights == 0 && dial == nullptr && side[0].connection == nullptr && side[1].connection == nullptr;
  }
};

// Somebody who waits for a connection to be established.
struct Fabric::Dial {
  explicit Dial(Scheduler& scheduler) : answered(scheduler) {}
  Event answered;
};

struct Flight : WorldEvent {
  explicit Flight(Fabric::Implementation& f) noexcept : WorldEvent(&arrive), fabric(f) {}
  static void arrive(WorldEvent& self) noexcept;

  Fabric::Implementation& fabric;
  Fabric::Pair* pair = nullptr;
  Fabric::Link* link = nullptr;
  int to = 0;  // side
  FlightKind kind = FlightKind::data;
  Message message;
  std::uint64_t bytes = 0;
  bool held = false;
};

struct Fabric::Implementation {
  explicit Implementation(World& w) : world(w) {}

  World& world;
  LinkParameters default_link{kDefaultLatency, 0, 0};
  std::vector<std::unique_ptr<Link>> links;
  std::vector<std::unique_ptr<Pair>> pairs;
  std::vector<std::unique_ptr<Flight>> flights;
  std::vector<Flight*> free_flights;
  std::deque<Flight*> held;  // by a dropped link, in order
  std::map<std::pair<std::string, std::string>, SimListener*> listeners;  // by node and service

  Flight& fly(Pair& pair, int from, FlightKind kind, Message message, std::uint64_t bytes);
  void land(Flight& flight) noexcept;
  void land_data(Pair& pair, int to, Flight& flight) noexcept;
  void land_syn(Pair& pair);
  void done(Flight& flight) noexcept;
  void close_side(Pair& pair, int side) noexcept;
  void give_credit(Pair& pair, int reader, std::uint64_t bytes) noexcept;
  void release_withheld() noexcept;
  void forget_inbox(Pair& pair, int side) noexcept;
  void collect() noexcept;
};

// ---- the programs' ends ---------------------------------------------------------------------------------------------

class SimConnection final : public Connection {
 public:
  SimConnection(Fabric::Implementation& fabric, Fabric::Pair& pair, int side, NodeScheduler& scheduler)
      : fabric_(fabric), pair_(&pair), side_(side), scheduler_(scheduler), readable_(scheduler), writable_(scheduler) {
    mine().connection = this;
  }
  ~SimConnection() override {
    close();
    if (pair_ != nullptr) {
      mine().connection = nullptr;
      fabric_.forget_inbox(*pair_, side_);
    }
  }

  Task<Status> send(Message message, Nanos deadline) override {
    CHECK(message.head.size() <= Message::kMaxHead && message.body.size() <= Message::kMaxBody);
    const std::uint64_t bytes = wire_bytes(message);
    while (open() && peer().unread != 0 && peer().unread + bytes > kWindowBytes) {
      if (!co_await writable_.wait_until(deadline)) co_return fail(Errc::timeout);
    }
    if (!open()) co_return fail(Errc::closed);
    Message copy;
    copy.head = std::move(message.head);
    if (message.body && !peer().gone && peer().node->running()) {
      copy.body = peer().node->env().buffers().allocate(message.body.size());
      CHECK(copy.body, "a simulated node ran out of buffers");
      std::memcpy(copy.body.data(), message.body.data(), message.body.size());
    }
    message = Message{};
    Fabric::Link* link = pair_->link[side_];
    peer().unread += bytes;
    fabric_.fly(*pair_, side_, FlightKind::data, std::move(copy), bytes);
    const Nanos world_now = fabric_.world.now();
    const Nanos room = link->timer.room_at(world_now);
    if (room <= world_now) co_return Status{};
    const Nanos until = scheduler_.now() + (room - world_now);
    co_await writable_.wait_until(std::min(until, deadline));
    if (!open()) co_return fail(Errc::closed);
    co_return Status{};
  }

  Task<Result<Message>> receive(Nanos deadline) override {
    while (true) {
      if (pair_ == nullptr || closed_) co_return fail(Errc::closed);
      if (!mine().inbox.empty()) {
        Message message = std::move(mine().inbox.front());
        mine().inbox.pop_front();
        fabric_.give_credit(*pair_, side_, wire_bytes(message));
        co_return message;
      }
      if (mine().peer_closed) co_return fail(Errc::closed);
      if (!co_await readable_.wait_until(deadline)) co_return fail(Errc::timeout);
    }
  }

  void close() noexcept override {
    if (closed_) return;
    closed_ = true;
    if (pair_ != nullptr && !scheduler_.killed()) fabric_.close_side(*pair_, side_);
    readable_.wake_all();
    writable_.wake_all();
  }

  void wake_reader() noexcept { readable_.wake_all(); }
  void wake_writer() noexcept { writable_.wake_all(); }

 private:
  Fabric::Socket& mine() { return pair_->side[side_]; }
  Fabric::Socket& peer() { return pair_->side[1 - side_]; }
  bool open() { return pair_ != nullptr && !closed_ && !mine().peer_closed; }

  Fabric::Implementation& fabric_;
  Fabric::Pair* pair_;
  int side_;
  NodeScheduler& scheduler_;
  bool closed_ = false;
  Event readable_;
  Event writable_;
};

class SimListener final : public Listener {
 public:
  SimListener(Fabric::Implementation& fabric, std::pair<std::string, std::string> name, NodeScheduler& scheduler)
      : fabric_(fabric), name_(std::move(name)), scheduler_(scheduler), arrived_(scheduler) {
    fabric_.listeners[name_] = this;
  }
  ~SimListener() override { close(); }

  Task<Result<std::unique_ptr<Connection>>> accept() override {
    while (!closed_ && backlog_.empty()) co_await arrived_.wait();
    if (closed_) co_return fail(Errc::closed);
    std::unique_ptr<Connection> connection = std::move(backlog_.front());
    backlog_.pop_front();
    co_return connection;
  }

  void close() noexcept override {
    if (closed_) return;
    closed_ = true;
    fabric_.listeners.erase(name_);
    backlog_.clear();
    arrived_.wake_all();
  }

  bool take(Fabric::Pair& pair) {
    if (closed_ || backlog_.size() >= kBacklog) return false;
    backlog_.push_back(std::make_unique<SimConnection>(fabric_, pair, 1, scheduler_));
    arrived_.wake_all();
    return true;
  }

 private:
  Fabric::Implementation& fabric_;
  std::pair<std::string, std::string> name_;
  NodeScheduler& scheduler_;
  bool closed_ = false;
  std::deque<std::unique_ptr<Connection>> backlog_;
  Event arrived_;
};

namespace {

std::pair<std::string, std::string> split_address(std::string_view address) {
  const std::size_t colon = std::min(address.find(':'), address.size());
  return {std::string(address.substr(0, colon)),
          colon < address.size() ? std::string(address.substr(colon + 1)) : std::string()};
}

}  // namespace

class SimNetwork final : public Network {
 public:
  SimNetwork(Fabric& fabric, Node& node) : fabric_(fabric), node_(node) {}

  Task<Result<std::unique_ptr<Connection>>> connect(std::string address, Nanos deadline) override {
    auto [name, service] = split_address(address);
    Fabric::Implementation& implementation = *fabric_.implementation_;
    Node* target = implementation.world.find_node(name);
    if (target == nullptr) co_return fail(Errc::bad_input, address + ": no such node");
    implementation.collect();
    implementation.pairs.push_back(std::make_unique<Fabric::Pair>());
    Fabric::Pair& pair = *implementation.pairs.back();
    pair.side[0].node = &node_;
    pair.side[1].node = target;
    pair.link[0] = &fabric_.link_between(node_, *target);
    pair.link[1] = &fabric_.link_between(*target, node_);
    pair.service = std::move(service);
    // Its destructor runs also when this node is killed while it waits.
    struct Waiting {
      explicit Waiting(Fabric::Pair& p, Scheduler& s) : pair(p), dial(s) { pair.dial = &dial; }
      ~Waiting() { pair.dial = nullptr; }
      Fabric::Pair& pair;
      Fabric::Dial dial;
    } waiting(pair, node_.scheduler());
    implementation.fly(pair, 0, FlightKind::syn, {}, kSmallFrame);
    const bool answered = co_await waiting.dial.answered.wait_until(deadline);
    if (answered && pair.established) {
      co_return std::unique_ptr<Connection>(
          std::make_unique<SimConnection>(implementation, pair, 0, node_.scheduler()));
    }
    pair.side[0].gone = true;
    if (pair.established) implementation.close_side(pair, 0);
    co_return fail(answered ? Errc::closed : Errc::timeout, address);
  }

  Result<std::unique_ptr<Listener>> listen(std::string_view address) override {
    auto name = split_address(address);
    if (name.first != node_.name()) return fail(Errc::bad_input, std::string(address) + ": not an address of this node");
    if (fabric_.implementation_->listeners.contains(name)) return fail(Errc::exists, std::string(address));
    return std::make_unique<SimListener>(*fabric_.implementation_, std::move(name), node_.scheduler());
  }

 private:
  Fabric& fabric_;
  Node& node_;
};

// ---- flights --------------------------------------------------------------------------------------------------------

void Flight::arrive(WorldEvent& self) noexcept {
  auto& flight = static_cast<Flight&>(self);
  flight.fabric.land(flight);
}

Flight& Fabric::Implementation::fly(Pair& pair, int from, FlightKind kind, Message message, std::uint64_t bytes) {
  if (free_flights.empty()) {
    flights.push_back(std::make_unique<Flight>(*this));
    free_flights.push_back(flights.back().get());
  }
  Flight& flight = *free_flights.back();
  free_flights.pop_back();
  Link& link = *pair.link[from];
  flight.pair = &pair;
  flight.link = &link;
  flight.to = 1 - from;
  flight.kind = kind;
  flight.message = std::move(message);
  flight.bytes = bytes;
  ++pair.flights;
  ++link.counters.messages;
  link.counters.bytes += bytes;
  link.last_arrival = std::max(link.last_arrival, link.timer.arrive_at(bytes, world.now()));
  world.schedule(flight, link.last_arrival);
  return flight;
}

void Fabric::Implementation::done(Flight& flight) noexcept {
  flight.message = Message{};
  --flight.pair->flights;
  flight.pair = nullptr;
  free_flights.push_back(&flight);
}

void Fabric::Implementation::land(Flight& flight) noexcept {
  if (flight.link->dropped) {
    flight.held = true;
    held.push_back(&flight);
    return;
  }
  Pair& pair = *flight.pair;
  Socket& socket = pair.side[flight.to];
  if (!socket.node->powered()) {
    socket.missed = true;
    done(flight);
    return;
  }
  switch (flight.kind) {
    case FlightKind::syn: land_syn(pair); break;
    case FlightKind::accepted:
      pair.established = true;
      if (pair.dial != nullptr) {
        pair.dial->answered.set();
      } else {
        close_side(pair, 0);  // nobody waits any more
      }
      break;
    case FlightKind::refused:
      if (pair.dial != nullptr) pair.dial->answered.set();
      break;
    case FlightKind::data: land_data(pair, flight.to, flight); break;
    case FlightKind::fin:
      socket.peer_closed = true;
      if (socket.connection != nullptr) {
        socket.connection->wake_reader();
        socket.connection->wake_writer();
      }
      break;
  }
  done(flight);
}

void Fabric::Implementation::land_syn(Pair& pair) {
  auto found = listeners.find({pair.side[1].node->name(), pair.service});
  const bool taken = found != listeners.end() && found->second->take(pair);
  fly(pair, 1, taken ? FlightKind::accepted : FlightKind::refused, {}, kSmallFrame);
}

void Fabric::Implementation::land_data(Pair& pair, int to, Flight& flight) noexcept {
  Socket& socket = pair.side[to];
  if (socket.gone) {
    // As a kernel answers what comes for a process that has ended.
    socket.unread -= std::min(socket.unread, flight.bytes);
    if (!pair.side[1 - to].peer_closed) fly(pair, to, FlightKind::fin, {}, kSmallFrame);
    return;
  }
  world.trace(socket.node->actor(), TraceOp::deliver, pair.side[1 - to].node->actor(), flight.bytes, Errc::ok);
  socket.inbox.push_back(std::move(flight.message));
  if (socket.connection != nullptr) socket.connection->wake_reader();
}

void Fabric::Implementation::close_side(Pair& pair, int side) noexcept {
  Socket& socket = pair.side[side];
  if (socket.gone) return;
  socket.gone = true;
  if (!socket.peer_closed) fly(pair, side, FlightKind::fin, {}, kSmallFrame);
}

void Fabric::Implementation::give_credit(Pair& pair, int reader, std::uint64_t bytes) noexcept {
  Socket& socket = pair.side[reader];
  if (pair.link[reader]->dropped) {
    socket.withheld += bytes;
    return;
  }
  socket.unread -= std::min(socket.unread, bytes + std::exchange(socket.withheld, 0));
  SimConnection* writer = pair.side[1 - reader].connection;
  if (writer != nullptr) writer->wake_writer();
}

void Fabric::Implementation::release_withheld() noexcept {
  for (auto& pair : pairs) {
    for (int side = 0; side < 2; ++side) {
      if (pair->side[side].withheld != 0 && !pair->link[side]->dropped) give_credit(*pair, side, 0);
    }
  }
}

void Fabric::Implementation::forget_inbox(Pair& pair, int side) noexcept {
  Socket& socket = pair.side[side];
  socket.inbox.clear();
}

void Fabric::Implementation::collect() noexcept {
  std::erase_if(pairs, [](const auto& pair) { return pair->unused(); });
}

// ---- the fabric -----------------------------------------------------------------------------------------------------

Fabric::Fabric(World& world) : implementation_(std::make_unique<Implementation>(world)) {}

Fabric::~Fabric() {
  for (auto& flight : implementation_->flights) implementation_->world.cancel(*flight);
}

void Fabric::set_default_link(const LinkParameters& parameters) { implementation_->default_link = parameters; }

Fabric::Link& Fabric::link_between(Node& from, Node& to) {
  for (auto& link : implementation_->links) {
    if (link->from == &from && link->to == &to) return *link;
  }
  auto link = std::make_unique<Link>();
  link->from = &from;
  link->to = &to;
  link->parameters = &from == &to ? LinkParameters{10 * kMicrosecond, 0, 0} : implementation_->default_link;
  link->apply();
  implementation_->links.push_back(std::move(link));
  return *implementation_->links.back();
}

Fabric::Link& Fabric::link_between(std::string_view from, std::string_view to) {
  Node* sender = implementation_->world.find_node(from);
  Node* receiver = implementation_->world.find_node(to);
  CHECK(sender != nullptr && receiver != nullptr, "no such node");
  return link_between(*sender, *receiver);
}

void Fabric::set_link(std::string_view from, std::string_view to, const LinkParameters& parameters) {
  Link& link = link_between(from, to);
  link.parameters = parameters;
  link.apply();
}

LinkParameters Fabric::link(std::string_view from, std::string_view to) { return link_between(from, to).parameters; }

void Fabric::drop(std::string_view from, std::string_view to) { link_between(from, to).dropped = true; }

bool Fabric::dropped(std::string_view from, std::string_view to) { return link_between(from, to).dropped; }

void Fabric::restore(std::string_view from, std::string_view to) {
  Link& link = link_between(from, to);
  if (!link.dropped) return;
  link.dropped = false;
  std::deque<Flight*> still_held;
  for (Flight* flight : implementation_->held) {
    if (flight->link != &link) {
      still_held.push_back(flight);
      continue;
    }
    flight->held = false;
    link.last_arrival = std::max(link.last_arrival, implementation_->world.now() + link.parameters.latency);
    implementation_->world.schedule(*flight, link.last_arrival);
  }
  implementation_->held = std::move(still_held);
  implementation_->release_withheld();
}

void Fabric::reset(std::string_view one, std::string_view other) {
  for (auto& pair : implementation_->pairs) {
    const std::string& dialled = pair->side[0].node->name();
    const std::string& accepted = pair->side[1].node->name();
    if (!((dialled == one && accepted == other) || (dialled == other && accepted == one))) continue;
    for (Socket& socket : pair->side) {
      socket.gone = socket.peer_closed = true;
      socket.inbox.clear();
      if (socket.connection == nullptr) continue;
      socket.connection->wake_reader();
      socket.connection->wake_writer();
    }
  }
}

void Fabric::set_extra_latency(std::string_view from, std::string_view to, Nanos latency) {
  Link& link = link_between(from, to);
  link.extra_latency = latency;
  link.apply();
}

void Fabric::set_bandwidth(std::string_view from, std::string_view to, std::uint64_t bytes_per_second) {
  Link& link = link_between(from, to);
  link.bandwidth_override = bytes_per_second;
  link.apply();
}

LinkCounters Fabric::counters(std::string_view from, std::string_view to) { return link_between(from, to).counters; }

std::unique_ptr<Network> Fabric::make_network(Node& node) { return std::make_unique<SimNetwork>(*this, node); }

// The buffers of what is under way to the process belong to its memory and go with it.
void Fabric::process_ended(Node& node) {
  for (auto& flight : implementation_->flights) {
    if (flight->pair != nullptr && flight->pair->side[flight->to].node == &node) flight->message.body = Buffer();
  }
  for (auto& pair : implementation_->pairs) {
    for (int side = 0; side < 2; ++side) {
      Socket& socket = pair->side[side];
      if (socket.node != &node) continue;
      socket.inbox.clear();
      if (!socket.powerless) implementation_->close_side(*pair, side);
    }
  }
}

void Fabric::power_lost(Node& node) {
  for (auto& flight : implementation_->flights) {
    if (flight->pair != nullptr && flight->pair->side[flight->to].node == &node) flight->message.body = Buffer();
  }
  for (auto& pair : implementation_->pairs) {
    for (Socket& socket : pair->side) {
      if (socket.node != &node) continue;
      socket.inbox.clear();
      if (!socket.gone) socket.powerless = true;
      socket.gone = true;
    }
  }
}

void Fabric::power_restored(Node& node) {
  for (auto& pair : implementation_->pairs) {
    for (int side = 0; side < 2; ++side) {
      Socket& socket = pair->side[side];
      if (socket.node != &node || !socket.powerless) continue;
      socket.powerless = false;
      if (std::exchange(socket.missed, false)) implementation_->fly(*pair, side, FlightKind::fin, {}, kSmallFrame);
    }
  }
}

}  // namespace resilver::sim
