#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "env/frame.h"
#include "sim/fabric.h"

namespace resilver::sim {
namespace {

constexpr Nanos kMemoryPoll = kMillisecond;  // how often a full buffer pool is asked again

std::string_view node_part(std::string_view address) { return address.substr(0, address.find(':')); }

}  // namespace

// ---- SimConnection ---------------------------------------------------------------------------------------------------

SimConnection::SimConnection(Node& node, Socket& socket)
    : node_(node),
      scheduler_(node.scheduler()),
      buffers_(node.env().buffers()),
      socket_(&socket),
      readable_(scheduler_),
      writable_(scheduler_) {
  socket.app = this;
}

Task<Status> SimConnection::send(Message message, Nanos deadline) {
  CHECK(message.head.size() <= Message::kMaxHead && message.body.size() <= Message::kMaxBody);
  const std::uint64_t bytes = wire_bytes(message);
  for (;;) {
    if (socket_ == nullptr || socket_->ended) co_return fail(Errc::closed);
    FabricState& fabric = socket_->fabric;
    Nanos room = fabric.room_at(*socket_, bytes);
    if (room <= node_.world().now()) {
      if (fabric.send(*socket_, std::move(message))) co_return Status{};
      room = node_.world().now() + kMemoryPoll;
    }
    if (scheduler_.now() >= deadline) co_return fail(Errc::timeout);
    const Nanos wake_at = room == kNever ? deadline : std::min(deadline, node_.clock_at(room) + 1);
    co_await writable_.wait_until(wake_at);
  }
}

// The copy out of the kernel's memory into the process's. False: the process has none left.
bool SimConnection::take(Message& into) {
  Socket::InFlight& next = socket_->received.front();
  if (next.message.body) {
    Buffer body = buffers_.allocate(next.message.body.size());
    if (!body) return false;
    std::memcpy(body.data(), next.message.body.data(), body.size());
    into.body = std::move(body);
  }
  into.head = std::move(next.message.head);
  const std::uint64_t bytes = next.bytes;
  socket_->received.pop_front();
  ++socket_->taken;
  socket_->fabric.acknowledge(*socket_, bytes);
  return true;
}

Task<Result<Message>> SimConnection::receive(Nanos deadline) {
  for (;;) {
    if (socket_ == nullptr) co_return fail(Errc::closed);
    Nanos wake_at = deadline;
    if (!socket_->received.empty()) {
      if (!FabricState::accepted(*socket_, socket_->received.front())) {
        close();
        co_return fail(Errc::corrupt, "a broken frame");
      }
      Message message;
      if (take(message)) co_return std::move(message);
      wake_at = std::min(deadline, scheduler_.now() + kMemoryPoll);
    } else if (socket_->ended) {
      co_return fail(Errc::closed);
    }
    if (scheduler_.now() >= deadline) co_return fail(Errc::timeout);
    co_await readable_.wait_until(wake_at);
  }
}

void SimConnection::close() noexcept {
  if (socket_ == nullptr) return;
  Socket* socket = std::exchange(socket_, nullptr);
  socket->app = nullptr;
  socket->fabric.detach(*socket, true);
  wake();
}

// ---- SimListener -----------------------------------------------------------------------------------------------------

SimListener::SimListener(FabricState& fabric, Node& node, std::string address)
    : fabric_(fabric), node_(node), address_(std::move(address)), changed_(node.scheduler()) {
  fabric_.listeners.push_back(this);
}

Task<Result<std::unique_ptr<Connection>>> SimListener::accept() {
  while (open_ && backlog_.empty()) co_await changed_.wait();
  if (!open_) co_return fail(Errc::closed);
  Socket* socket = backlog_.front();
  backlog_.pop_front();
  co_return std::make_unique<SimConnection>(node_, *socket);
}

void SimListener::close() noexcept {
  if (!open_) return;
  open_ = false;
  std::erase(fabric_.listeners, this);
  for (Socket* socket : std::exchange(backlog_, {})) fabric_.detach(*socket, true);
  changed_.wake_all();
}

// ---- SimNetwork ------------------------------------------------------------------------------------------------------

Task<Result<std::unique_ptr<Connection>>> SimNetwork::connect(std::string address, Nanos deadline) {
  Node* to = fabric_.world.find_node(node_part(address));
  if (to == nullptr) co_return fail(Errc::bad_input, "no node of the address '" + address + "'");
  Dial dial(fabric_, node_, *to, std::move(address));
  while (!dial.done) {
    if (!co_await dial.finished.wait_until(deadline) && !dial.done) co_return fail(Errc::timeout);
  }
  if (dial.socket == nullptr) co_return fail(Errc::closed, "connection refused by " + dial.address);
  Socket* socket = std::exchange(dial.socket, nullptr);
  socket->dial = nullptr;
  co_return std::make_unique<SimConnection>(node_, *socket);
}

Result<std::unique_ptr<Listener>> SimNetwork::listen(std::string_view address) {
  if (node_part(address) != node_.name()) {
    return fail(Errc::bad_input, "node " + node_.name() + " cannot listen on '" + std::string(address) + "'");
  }
  if (fabric_.find_listener(address) != nullptr) return fail(Errc::exists, "address '" + std::string(address) + "'");
  return std::make_unique<SimListener>(fabric_, node_, std::string(address));
}

// ---- Dial ------------------------------------------------------------------------------------------------------------

Dial::Dial(FabricState& f, Node& a, Node& b, std::string name)
    : WorldEvent(&arrive), fabric(f), from(a), to(b), address(std::move(name)), finished(a.scheduler()) {
  fabric.dials.push_back(*this);
  fabric.world.schedule(*this, fabric.link(from, to).timer.arrive_at(kFrameBytes, fabric.world.now()));
}

Dial::~Dial() {
  fabric.world.cancel(*this);
  if (socket == nullptr) return;
  socket->dial = nullptr;
  fabric.detach(*socket, true);
}

void Dial::arrive(WorldEvent& self) noexcept {
  auto& dial = static_cast<Dial&>(self);
  dial.fabric.dial_arrived(dial);
}

void FabricState::dial_arrived(Dial& dial) noexcept {
  Node& there = dial.answered ? dial.from : dial.to;
  Node& sender = dial.answered ? dial.to : dial.from;
  if (link(sender, there).dropped || !there.powered()) {
    dial.stalled = true;
    return;
  }
  if (dial.answered) {
    dial.done = true;
    dial.finished.set();
    return;
  }
  SimListener* listener = find_listener(dial.address);
  if (listener != nullptr && listener->waiting() < kBacklog) {
    Pair& pair = make_pair(dial.from, dial.to);
    dial.socket = &pair.ends[0];
    dial.socket->dial = &dial;
    listener->add(pair.ends[1]);
  }
  dial.answered = true;
  world.schedule(dial, link(dial.to, dial.from).timer.arrive_at(kFrameBytes, world.now()));
}

}  // namespace resilver::sim
