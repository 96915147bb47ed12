// Inside of network.h: the state of links and sockets. A Socket is the kernel's half of a connection's end and outlives the
// process; SimConnection is the process's half. All of this runs at the level of the world, beside any node.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "async/intrusive_list.h"
#include "async/sync.h"
#include "base/random.h"
#include "env/frame.h"
#include "env/link_model.h"
#include "env/network.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/world.h"

namespace resilver::sim {

class SimConnection;
class SimListener;
struct Dial;
struct Pair;

struct Link {  // one direction
  Node& from;
  Node& to;
  LinkParameters parameters;
  LinkTimer timer;
  Nanos extra_latency = 0;
  std::uint64_t bandwidth = 0;  // instead of the parameters'; 0: theirs
  bool dropped = false;
  MessageFaults faults;
  std::optional<FrameFault> next_fault;
  LinkCounters counters;

  void apply() noexcept;  // parameters and overrides to the timer
};

struct Socket : WorldEvent {  // the event: the next arrival
  Socket(FabricState& f, Pair& p) noexcept : WorldEvent(&arrive), fabric(f), pair(p) {}
  static void arrive(WorldEvent& self) noexcept;

  struct InFlight {
    Message message;  // its body in the fabric's own memory
    std::uint64_t bytes = 0;
    Nanos at = 0;
    bool end = false;                                          // no message: the other side has ended
    bool broken = false;                                       // does not match its checksums
    std::uint32_t number = 0;                                  // of the frame
    std::optional<std::array<std::byte, kFrameBytes>> sealed;  // if something happened to it: its prefix, from before
  };

  FabricState& fabric;
  Pair& pair;
  Socket* peer = nullptr;
  Node* node = nullptr;
  Link* out = nullptr;                // what this end sends
  Link* in = nullptr;                 // what it receives
  SimConnection* app = nullptr;       // null: not accepted yet, or gone
  Dial* dial = nullptr;               // that waits for this socket
  bool gone = false;                  // this end was closed or its process is dead
  bool ended = false;                 // nothing more will arrive
  bool stalled = false;               // arrivals wait for a cable or for power
  std::deque<InFlight> wire;          // towards this end, in order
  std::deque<InFlight> received;      // not read by the process yet
  std::uint64_t window_used = 0;      // bytes on the wire or received, not acknowledged
  std::uint64_t unacknowledged = 0;   // read here, but the acknowledgement cannot get back
  std::uint32_t sent = 0, taken = 0;  // frames towards this end: numbers of the next ones
  std::optional<InFlight> replay;     // comes behind the next message
};

struct Pair {
  Pair(FabricState& fabric) noexcept : ends{Socket(fabric, *this), Socket(fabric, *this)} {}
  Socket ends[2];
};

// A connect() under way; lives in its frame.
struct Dial : WorldEvent, ListHook {
  Dial(FabricState& fabric, Node& from, Node& to, std::string address);
  ~Dial();
  static void arrive(WorldEvent& self) noexcept;

  FabricState& fabric;
  Node& from;
  Node& to;
  std::string address;
  bool answered = false;  // the answer is on its way back
  bool stalled = false;
  bool done = false;
  Socket* socket = nullptr;  // null when done: refused
  Event finished;
};

struct FabricState {
  explicit FabricState(World& w);

  static constexpr std::uint64_t kWindowBytes = std::uint64_t{4} << 20;  // as Linux grows a TCP window by default
  static constexpr std::size_t kBacklog = 128;

  Link& link(Node& from, Node& to);
  Node& node(std::string_view name);

  // Can `bytes` be handed over by this end now? The world time at which they can; kNever: when the peer has read more.
  Nanos room_at(const Socket& from, std::uint64_t bytes) const noexcept;
  // False: the fabric's memory is used up.
  bool send(Socket& from, Message&& message);
  bool fill(Socket::InFlight& item, std::span<const std::byte> head, std::span<const std::byte> body);
  void put_on_wire(Socket& to, Socket::InFlight&& item);
  void misbehave(Socket& to, Socket::InFlight&& item, const MessageFaults& faults);
  void spoil(Socket& to, Socket::InFlight&& item, FrameFault fault);
  // Whether the receiver's framing takes this frame for its next one.
  static bool accepted(const Socket& to, const Socket::InFlight& item);
  bool happens(std::uint32_t percent) { return percent != 0 && random.percent(percent); }
  void acknowledge(Socket& reader, std::uint64_t bytes) noexcept;
  void deliver(Socket& to) noexcept;      // what has arrived
  void send_end(Socket& to) noexcept;     // its peer has ended
  void end_now(Socket& socket) noexcept;  // reset
  void set_arrival(Socket& to) noexcept;
  void wake(Socket& socket) noexcept;
  // This end is no more; with `tell`, the peer learns it. May delete the pair.
  void detach(Socket& socket, bool tell) noexcept;
  Pair& make_pair(Node& client, Node& server);
  void detach_all(Node& node, bool tell) noexcept;
  void resume(Link& link) noexcept;  // after a cable was mended or power came back
  SimListener* find_listener(std::string_view address) noexcept;
  void dial_arrived(Dial& dial) noexcept;

  World& world;
  Random random;
  LinkParameters default_parameters{Fabric::kDefaultLatency, 0, 0};
  BufferPool memory;                                                               // of messages on their way
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::unique_ptr<Link>> links;  // by actors
  std::vector<std::unique_ptr<Pair>> pairs;
  std::vector<SimListener*> listeners;
  IntrusiveList<Dial> dials;
};

// ---- the process's half (connection.cc) ------------------------------------------------------------------------------

class SimConnection final : public Connection {
 public:
  SimConnection(Node& node, Socket& socket);
  ~SimConnection() override { close(); }
  Task<Status> send(Message message, Nanos deadline) override;
  Task<Result<Message>> receive(Nanos deadline) override;
  void close() noexcept override;

  void lost() noexcept { socket_ = nullptr; }  // the socket is no more
  void wake() noexcept {
    readable_.wake_all();
    writable_.wake_all();
  }

 private:
  bool take(Message& into);

  Node& node_;
  NodeScheduler& scheduler_;
  BufferPool& buffers_;
  Socket* socket_;
  Event readable_;
  Event writable_;
};

class SimListener final : public Listener {
 public:
  SimListener(FabricState& fabric, Node& node, std::string address);
  ~SimListener() override { close(); }
  Task<Result<std::unique_ptr<Connection>>> accept() override;
  void close() noexcept override;

  const std::string& address() const noexcept { return address_; }
  Node& node() noexcept { return node_; }
  std::size_t waiting() const noexcept { return backlog_.size(); }
  void add(Socket& socket) {
    backlog_.push_back(&socket);
    changed_.wake_all();
  }
  // The process is dead: its sockets are the fabric's business.
  void lost() noexcept {
    open_ = false;
    backlog_.clear();
  }

 private:
  FabricState& fabric_;
  Node& node_;
  std::string address_;
  bool open_ = true;
  std::deque<Socket*> backlog_;
  Event changed_;
};

class SimNetwork final : public Network {
 public:
  SimNetwork(FabricState& fabric, Node& node) noexcept : fabric_(fabric), node_(node) {}
  Task<Result<std::unique_ptr<Connection>>> connect(std::string address, Nanos deadline) override;
  Result<std::unique_ptr<Listener>> listen(std::string_view address) override;

 private:
  FabricState& fabric_;
  Node& node_;
};

}  // namespace resilver::sim
