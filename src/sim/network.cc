#include "sim/network.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "env/frame.h"
#include "sim/fabric.h"

namespace resilver::sim {
namespace {

constexpr std::size_t kFabricMemory = std::size_t{1}
                                      << 30;  // address space; touched as far as messages are on their way
constexpr Nanos kLoopbackLatency = 10 * kMicrosecond;

}  // namespace

void Link::apply() noexcept {
  LinkParameters& now = timer.parameters();
  now = parameters;
  now.latency += extra_latency;
  if (bandwidth != 0) now.bandwidth = bandwidth;
}

// ---- state -----------------------------------------------------------------------------------------------------------

FabricState::FabricState(World& w) : world(w), random(w.random_for("network")), memory(kFabricMemory) {}

Node& FabricState::node(std::string_view name) {
  Node* found = world.find_node(name);
  CHECK(found != nullptr, "no node of this name");
  return *found;
}

Link& FabricState::link(Node& from, Node& to) {
  auto& found = links[{from.actor(), to.actor()}];
  if (found == nullptr) {
    const LinkParameters parameters = &from == &to ? LinkParameters{kLoopbackLatency, 0, 0} : default_parameters;
    found.reset(new Link{.from = from,
                         .to = to,
                         .parameters = parameters,
                         .timer = LinkTimer(parameters),
                         .faults = {},
                         .next_fault = {},
                         .counters = {}});
  }
  return *found;
}

Nanos FabricState::room_at(const Socket& from, std::uint64_t bytes) const noexcept {
  const Socket& to = *from.peer;
  if (to.window_used > 0 && to.window_used + bytes > kWindowBytes) return kNever;
  return from.out->timer.room_at(world.now());
}

// False: the fabric's memory is used up.
bool FabricState::fill(Socket::InFlight& item, std::span<const std::byte> head, std::span<const std::byte> body) {
  if (!body.empty()) {
    Buffer copy = memory.allocate(body.size());
    if (!copy) return false;
    std::memcpy(copy.data(), body.data(), copy.size());
    item.message.body = std::move(copy);
  }
  item.message.head.assign(head.begin(), head.end());
  item.bytes = wire_bytes(item.message);
  return true;
}

bool FabricState::send(Socket& from, Message&& message) {
  Socket& to = *from.peer;
  Socket::InFlight item;
  if (!fill(item, message.head, message.body.bytes())) return false;
  message = {};
  ++from.out->counters.messages;
  from.out->counters.bytes += item.bytes;
  auto replay = std::exchange(to.replay, {});
  if (const auto fault = std::exchange(from.out->next_fault, {})) {
    spoil(to, std::move(item), *fault);
  } else {
    misbehave(to, std::move(item), from.out->faults);
  }
  if (replay) put_on_wire(to, std::move(*replay));
  return true;
}

void FabricState::put_on_wire(Socket& to, Socket::InFlight&& item) {
  to.window_used += item.bytes;
  item.at = to.in->timer.arrive_at(item.bytes, world.now());
  if (!to.wire.empty()) item.at = std::max(item.at, to.wire.back().at);
  to.wire.push_back(std::move(item));
  set_arrival(to);
}

void FabricState::misbehave(Socket& to, Socket::InFlight&& item, const MessageFaults& faults) {
  if (happens(faults.lost_percent)) return;
  item.broken = happens(faults.corrupted_percent);
  if (happens(faults.duplicated_percent)) {
    Socket::InFlight twin = item;
    twin.number = to.sent++;
    put_on_wire(to, std::move(twin));
  }
  item.number = to.sent++;
  put_on_wire(to, std::move(item));
}

void FabricState::spoil(Socket& to, Socket::InFlight&& item, FrameFault fault) {
  item.number = to.sent++;
  if (fault == FrameFault::drop) return;
  encode_frame(item.message, item.number, item.sealed.emplace());
  if (fault == FrameFault::duplicate || fault == FrameFault::replay) {
    Socket::InFlight again = item;
    put_on_wire(to, std::move(item));
    if (fault == FrameFault::duplicate) {
      put_on_wire(to, std::move(again));
    } else {
      to.replay = std::move(again);
    }
    return;
  }
  if (fault == FrameFault::truncate) {
    item.message.head.resize(item.message.head.size() / 2);
  } else {
    const std::size_t head = item.message.head.size(), at = random.below(head + item.message.body.size());
    std::byte& hit = at < head ? item.message.head[at] : item.message.body.data()[at - head];
    hit ^= std::byte{1} << random.below(8);
  }
  put_on_wire(to, std::move(item));
}

bool FabricState::accepted(const Socket& to, const Socket::InFlight& item) {
  if (item.broken) return false;
  if (!item.sealed && item.number == to.taken) return true;  // nothing happened to it or before it
  std::array<std::byte, kFrameBytes> prefix;
  if (item.sealed) {
    prefix = *item.sealed;
  } else {
    encode_frame(item.message, item.number, prefix);
  }
  const auto read = decode_frame(prefix);
  return read && check_frame_head(prefix, to.taken, item.message.head) &&
         check_frame_body(*read, item.message.body.bytes());
}

void FabricState::set_arrival(Socket& to) noexcept {
  if (!to.stalled && !to.scheduled() && !to.wire.empty()) world.schedule(to, to.wire.front().at);
}

void Socket::arrive(WorldEvent& self) noexcept {
  auto& socket = static_cast<Socket&>(self);
  socket.fabric.deliver(socket);
}

void FabricState::deliver(Socket& to) noexcept {
  while (!to.wire.empty() && to.wire.front().at <= world.now()) {
    if (to.in->dropped || !to.node->powered()) {
      to.stalled = true;
      return;
    }
    Socket::InFlight item = std::move(to.wire.front());
    to.wire.pop_front();
    if (item.end) {
      to.ended = true;
      to.wire.clear();
      wake(to);
      return;
    }
    if (to.gone) {  // nobody there: the machine answers with a reset
      to.wire.clear();
      send_end(*to.peer);
      return;
    }
    world.trace(to.node->actor(), TraceOp::deliver, to.peer->node->actor(), item.bytes, Errc::ok);
    to.received.push_back(std::move(item));
    wake(to);
  }
  set_arrival(to);
}

void FabricState::wake(Socket& socket) noexcept {
  if (socket.app != nullptr) socket.app->wake();
}

// The window opens for the peer, unless the acknowledgement cannot get back to it.
void FabricState::acknowledge(Socket& reader, std::uint64_t bytes) noexcept {
  if (reader.out->dropped) {
    reader.unacknowledged += bytes;
    return;
  }
  reader.window_used -= bytes;
  if (!reader.peer->gone) wake(*reader.peer);
}

void FabricState::send_end(Socket& to) noexcept {
  if (to.ended || to.gone || (!to.wire.empty() && to.wire.back().end)) return;
  Socket::InFlight item;
  item.end = true;
  item.at = to.in->timer.arrive_at(0, world.now());
  if (!to.wire.empty()) item.at = std::max(item.at, to.wire.back().at);
  to.wire.push_back(std::move(item));
  set_arrival(to);
}

void FabricState::end_now(Socket& socket) noexcept {
  socket.wire.clear();
  socket.stalled = false;
  socket.ended = true;
  world.cancel(socket);
  wake(socket);
}

void FabricState::detach(Socket& socket, bool tell) noexcept {
  if (socket.gone) return;
  socket.gone = true;
  if (socket.app != nullptr) std::exchange(socket.app, nullptr)->lost();
  if (socket.dial != nullptr) std::exchange(socket.dial, nullptr)->socket = nullptr;
  socket.received.clear();
  Socket& peer = *socket.peer;
  if (peer.gone) {
    world.cancel(socket);
    world.cancel(peer);
    const Pair* ended = &socket.pair;
    std::erase_if(pairs, [ended](const auto& pair) { return pair.get() == ended; });
    return;
  }
  // Of what has not arrived a part still gets out, the rest dies with the sender.
  if (!peer.wire.empty() && !peer.wire.back().end) {
    const std::uint64_t kept = random.between(0, peer.wire.size());
    while (peer.wire.size() > kept) peer.wire.pop_back();
    if (peer.wire.empty()) world.cancel(peer);
  }
  if (tell) send_end(peer);
}

Pair& FabricState::make_pair(Node& client, Node& server) {
  pairs.push_back(std::make_unique<Pair>(*this));
  Pair& pair = *pairs.back();
  Node* nodes[2] = {&client, &server};
  for (int i = 0; i < 2; ++i) {
    Socket& socket = pair.ends[i];
    socket.peer = &pair.ends[1 - i];
    socket.node = nodes[i];
    socket.out = &link(*nodes[i], *nodes[1 - i]);
    socket.in = &link(*nodes[1 - i], *nodes[i]);
  }
  return pair;
}

void FabricState::detach_all(Node& node, bool tell) noexcept {
  std::erase_if(listeners, [&](SimListener* listener) {
    if (&listener->node() != &node) return false;
    listener->lost();
    return true;
  });
  for (std::size_t i = 0; i < pairs.size();) {
    Pair* pair = pairs[i].get();
    for (int end = 0; end < 2 && i < pairs.size() && pairs[i].get() == pair; ++end) {
      if (pair->ends[end].node == &node) detach(pair->ends[end], tell);
    }
    if (i < pairs.size() && pairs[i].get() == pair) ++i;
  }
}

// What stalled on this direction is sent again, in order.
void FabricState::resume(Link& link) noexcept {
  if (link.dropped || !link.to.powered()) return;
  LinkTimer fresh(link.timer.parameters());
  link.timer = fresh;
  for (const auto& pair : pairs) {
    for (Socket& socket : pair->ends) {
      if (socket.out == &link && socket.unacknowledged > 0) {
        acknowledge(socket, std::exchange(socket.unacknowledged, 0));
      }
      if (socket.in != &link || !socket.stalled) continue;
      socket.stalled = false;
      for (auto& item : socket.wire) item.at = link.timer.arrive_at(item.bytes, world.now());
      set_arrival(socket);
    }
  }
  dials.for_each([&](Dial& dial) {
    Node& there = dial.answered ? dial.from : dial.to;
    Node& sender = dial.answered ? dial.to : dial.from;
    if (!dial.stalled || &there != &link.to || &sender != &link.from) return;
    dial.stalled = false;
    world.schedule(dial, link.timer.arrive_at(kFrameBytes, world.now()));
  });
}

SimListener* FabricState::find_listener(std::string_view address) noexcept {
  for (SimListener* listener : listeners) {
    if (listener->address() == address) return listener;
  }
  return nullptr;
}

// ---- controls --------------------------------------------------------------------------------------------------------

Fabric::Fabric(World& world) : state_(std::make_unique<FabricState>(world)) {}
Fabric::~Fabric() = default;

void Fabric::set_default_link(const LinkParameters& parameters) { state_->default_parameters = parameters; }

void Fabric::set_link(std::string_view from, std::string_view to, const LinkParameters& parameters) {
  struct Link& link = state_->link(state_->node(from), state_->node(to));
  link.parameters = parameters;
  link.apply();
}

LinkParameters Fabric::link(std::string_view from, std::string_view to) {
  return state_->link(state_->node(from), state_->node(to)).parameters;
}

void Fabric::drop(std::string_view from, std::string_view to) {
  state_->link(state_->node(from), state_->node(to)).dropped = true;
}

void Fabric::restore(std::string_view from, std::string_view to) {
  struct Link& link = state_->link(state_->node(from), state_->node(to));
  if (!std::exchange(link.dropped, false)) return;
  state_->resume(link);
}

bool Fabric::dropped(std::string_view from, std::string_view to) {
  return state_->link(state_->node(from), state_->node(to)).dropped;
}

void Fabric::damage(std::string_view from, std::string_view to, FrameFault what) {
  state_->link(state_->node(from), state_->node(to)).next_fault = what;
}

void Fabric::reset(std::string_view one, std::string_view other) {
  Node* a = &state_->node(one);
  Node* b = &state_->node(other);
  for (const auto& pair : state_->pairs) {
    const Node* from = pair->ends[0].node;
    const Node* to = pair->ends[1].node;
    if (!((from == a && to == b) || (from == b && to == a))) continue;
    for (Socket& socket : pair->ends) state_->end_now(socket);
  }
}

void Fabric::set_extra_latency(std::string_view from, std::string_view to, Nanos latency) {
  struct Link& link = state_->link(state_->node(from), state_->node(to));
  link.extra_latency = latency;
  link.apply();
}

void Fabric::set_bandwidth(std::string_view from, std::string_view to, std::uint64_t bytes_per_second) {
  struct Link& link = state_->link(state_->node(from), state_->node(to));
  link.bandwidth = bytes_per_second;
  link.apply();
}

void Fabric::set_message_faults(std::string_view from, std::string_view to, const MessageFaults& faults) {
  state_->link(state_->node(from), state_->node(to)).faults = faults;
}

LinkCounters Fabric::counters(std::string_view from, std::string_view to) {
  return state_->link(state_->node(from), state_->node(to)).counters;
}

// ---- for Node --------------------------------------------------------------------------------------------------------

std::unique_ptr<Network> Fabric::make_network(Node& node) { return std::make_unique<SimNetwork>(*state_, node); }

void Fabric::process_ended(Node& node) { state_->detach_all(node, true); }
void Fabric::power_lost(Node& node) { state_->detach_all(node, false); }

void Fabric::power_restored(Node& node) {
  for (const auto& [key, link] : state_->links) {
    if (&link->to == &node) state_->resume(*link);
  }
}

}  // namespace resilver::sim
