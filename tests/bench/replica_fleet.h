// Three nodes of one replicated volume, their arbiter and a client, each a process of its own over uring images and loopback
// TCP, without proxies: what users would run, less the program around it. Real processes to be killed and frozen, and
// measured from outside. The process that makes a Fleet has no ring, so that it can fork at any time; what it started ends
// with it, however it ends.
#pragma once

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "async/sync.h"
#include "async/task_group.h"
#include "measure.h"
#include "replica/arbiter.h"
#include "replica/client.h"
#include "replica/replica.h"
#include "uring/address.h"
#include "uring/real_env.h"

namespace resilver::bench {

inline constexpr int kNodes = 3;

struct FleetOptions {
  std::array<std::string, kNodes> images;
  std::string arbiter_state;  // made anew
  std::uint64_t volume_bytes = 0;
  replica::AckMode ack = replica::AckMode::durable;
  std::uint64_t detect_ms = 0;  // 0: the defaults of ReplicaConfig
  std::uint64_t congestion_ms = 5000;
  std::uint64_t intent_bits_of_last = 1 << 18;
  std::size_t arena_bytes = std::size_t{64} << 20;
  Placement placement = Placement::free;  // two cores: the secondaries have one of their own
};

// What a node tells when it is asked.
struct NodeReport {
  bool serving = false;
  std::uint32_t in_sync = 0;
  std::uint64_t writes = 0;  // of clients, completed
  std::uint64_t resync_bytes = 0;
  std::array<std::uint64_t, kNodes> behind{};     // bytes of writes that each peer has not made durable
  std::array<std::uint64_t, kNodes> sent{};       // bytes that its sockets sent to each node
  Nanos resync_started = 0, resync_finished = 0;  // of the last one; CLOCK_MONOTONIC
  std::uint64_t to_look_at = 0, copied = 0;
  replica::ResyncWhy why = replica::ResyncWhy::none;
};

enum class Order : char { report, promote };

// A child and the socket over which the parent talks to it, in messages.
struct Child {
  pid_t pid = -1;
  int channel = -1;
};

template <typename T>
void tell(int channel, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (::send(channel, &value, sizeof value, MSG_NOSIGNAL) != sizeof value) die("a process cannot be told something");
}
template <typename T>
T hear(int channel) {
  T value{};
  if (::recv(channel, &value, sizeof value, 0) != sizeof value) die("a process has ended early");
  return value;
}

inline Child fork_child(const std::function<void(int channel)>& work) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) die("no socket pair");
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) die("cannot fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    ::close(ends[0]);
    work(ends[1]);
    _exit(0);
  }
  ::close(ends[1]);
  return {pid, ends[0]};
}

inline double cpu_seconds_of(pid_t pid) {
  clockid_t clock;
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

inline void pause_ms(double ms) { ::usleep(static_cast<useconds_t>(ms * 1000)); }

class Fleet {
 public:
  explicit Fleet(FleetOptions options);
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  void signal(int node, int number) { ::kill(nodes_[at(node)].pid, number); }
  void kill(int node) { end(nodes_[at(node)]); }
  void restart(int node, replica::Start start);

  NodeReport report(int node) {
    tell(nodes_[at(node)].channel, Order::report);
    return hear<NodeReport>(nodes_[at(node)].channel);
  }
  // ok when it serves. A planned switchover.
  bool promote(int node) {
    tell(nodes_[at(node)].channel, Order::promote);
    return hear<bool>(nodes_[at(node)].channel);
  }
  // Waits until `node` serves with `in_sync` members; ends the program after 30 s.
  NodeReport wait_for(int node, std::uint32_t in_sync);

  // Runs `work`, a Task<R>(Env&, BlockDevice&), as the volume's client in a process of its own; R is trivially copyable.
  template <typename R, typename F>
  Child start_client(F work);
  template <typename R>
  R finish_client(Child client) {
    const R result = hear<R>(client.channel);
    end(client);
    return result;
  }

  pid_t pid(int node) const { return nodes_[at(node)].pid; }
  double cpu_seconds() const;  // of nodes, arbiter and the calling process

 private:
  static std::size_t at(int node) { return static_cast<std::size_t>(node); }
  static std::string address(std::uint16_t port) { return "127.0.0.1:" + std::to_string(port); }
  std::unique_ptr<uring::RealEnv> make_env(std::size_t arena_bytes) const;
  void be_arbiter(int channel) const;
  void be_node(int node, replica::Start start, int channel) const;
  Task<void> serve_node(uring::RealEnv& env, int node, replica::Start start, int channel) const;
  replica::ReplicaConfig node_config(int node) const;
  replica::ClientConfig client_config() const;
  static void end(Child& child);

  FleetOptions options_;
  std::array<std::uint16_t, kNodes> ports_{};
  std::uint16_t arbiter_port_ = 0;
  Child arbiter_;
  std::array<Child, kNodes> nodes_;
};

// ---- starting and ending ---------------------------------------------------------------------------------------------

inline Fleet::Fleet(FleetOptions options) : options_(std::move(options)) {
  ::unlink(options_.arbiter_state.c_str());
  if (!uring::create_image(options_.arbiter_state, replica::kArbiterStateBytes, uring::Allocation::zeroed))
    die("cannot make", options_.arbiter_state.c_str());
  // Ports that were free a moment ago: every process must know them all.
  std::array<uring::ListeningSocket, kNodes + 1> sockets;
  for (std::size_t i = 0; i <= kNodes; ++i) {
    auto socket = uring::listen_on("127.0.0.1:0");
    if (!socket) die("cannot listen on the loopback");
    sockets[i] = *socket;
    (i < kNodes ? ports_[i] : arbiter_port_) =
        static_cast<std::uint16_t>(std::atoi(socket->address.c_str() + socket->address.rfind(':') + 1));
  }
  for (const auto& socket : sockets) ::close(socket.fd);
  arbiter_ = fork_child([this](int channel) { be_arbiter(channel); });
  for (int i = 0; i < kNodes; ++i) restart(i, replica::Start::new_volume);
  wait_for(0, kNodes);
}

inline Fleet::~Fleet() {
  for (Child& node : nodes_) end(node);
  end(arbiter_);
  ::unlink(options_.arbiter_state.c_str());
}

inline void Fleet::end(Child& child) {
  if (child.pid < 0) return;
  ::kill(child.pid, SIGKILL);
  waitpid(child.pid, nullptr, 0);
  ::close(child.channel);
  child = {};
}

inline void Fleet::restart(int node, replica::Start start) {
  end(nodes_[at(node)]);
  nodes_[at(node)] = fork_child([=, this](int channel) { be_node(node, start, channel); });
}

inline NodeReport Fleet::wait_for(int node, std::uint32_t in_sync) {
  for (int i = 0; i < 6000; ++i) {
    const NodeReport now = report(node);
    if (now.serving && now.in_sync == in_sync) return now;
    pause_ms(5);
  }
  die("the copies did not get in sync");
}

inline double Fleet::cpu_seconds() const {
  double sum = cpu_seconds_of(getpid()) + cpu_seconds_of(arbiter_.pid);
  for (const Child& node : nodes_) sum += cpu_seconds_of(node.pid);
  return sum;
}

// ---- what runs in the processes --------------------------------------------------------------------------------------

inline std::unique_ptr<uring::RealEnv> Fleet::make_env(std::size_t arena_bytes) const {
  uring::RealOptions real;
  real.arena_bytes = arena_bytes;
  auto env = uring::RealEnv::create(real);
  if (!env) die("no ring", to_string(env.error()).c_str());
  return std::move(*env);
}

inline void Fleet::be_arbiter(int) const {
  place(options_.placement, false);
  auto env = make_env(std::size_t{4} << 20);
  env->ring().run([](uring::RealEnv& e, std::string path, std::string listen_at) -> Task<void> {
    auto state = co_await e.open_disk(path, e.scheduler().now() + kSecond);
    auto listener = e.network().listen(listen_at);
    if (!state || !listener) die("the arbiter cannot start");
    if (!co_await replica::format_arbiter(e, **state)) die("the arbiter's state cannot be made");
    Event never(e.scheduler());
    if (!co_await replica::serve_arbiter(e, **listener, **state, never)) die("the arbiter has failed");
  }(*env, options_.arbiter_state, address(arbiter_port_)));
}

inline replica::ReplicaConfig Fleet::node_config(int node) const {
  replica::ReplicaConfig config;
  config.volume = {1, 1};
  config.self = static_cast<replica::NodeId>(node);
  for (int i = 0; i < kNodes; ++i)
    if (i != node) config.peers.push_back({static_cast<replica::NodeId>(i), address(ports_[at(i)]), {}});
  config.arbiter = address(arbiter_port_);
  config.volume_bytes = options_.volume_bytes;
  config.ack = options_.ack;
  config.congestion_ms = options_.congestion_ms;
  if (options_.detect_ms != 0) config.set_detect(options_.detect_ms);
  if (node == kNodes - 1) config.intent_bits = options_.intent_bits_of_last;
  return config;
}

inline void note_event(NodeReport& events, const replica::ReplicaEvent& event) {
  if (event.kind == replica::EventKind::resync_started) {
    events.resync_started = event.at;
    events.to_look_at = event.bytes;
    events.why = event.why;
  } else if (event.kind == replica::EventKind::resync_finished) {
    events.resync_finished = event.at;
    events.copied = event.bytes;
  }
}

// Over all connections of this process, by where they lead: the kernel's own count.
inline void count_sent(NodeReport& report, const std::array<std::uint16_t, kNodes>& ports) {
  for (int fd = 3; fd < 256; ++fd) {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0 || peer.sin_family != AF_INET) continue;
    tcp_info info{};
    size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) continue;
    for (std::size_t i = 0; i < ports.size(); ++i)
      if (ntohs(peer.sin_port) == ports[i]) report.sent[i] += info.tcpi_bytes_sent;
  }
}

inline NodeReport report_of(const replica::Replica& replica, NodeReport events,
                            const std::array<std::uint16_t, kNodes>& ports) {
  const replica::ReplicaStatus status = replica.status();
  events.serving = status.serving;
  events.in_sync = status.in_sync.count();
  events.writes = status.writes;
  events.resync_bytes = status.resync_bytes;
  for (const auto& peer : status.peers) events.behind[peer.id] = peer.behind_bytes;
  count_sent(events, ports);
  return events;
}

inline Task<void> Fleet::serve_node(uring::RealEnv& env, int node, replica::Start start, int channel) const {
  NodeReport events;
  replica::ReplicaConfig config = node_config(node);
  config.on_event = [&events](const replica::ReplicaEvent& event) { note_event(events, event); };
  auto image = co_await env.open_disk(options_.images[at(node)], env.scheduler().now() + 30 * kSecond);
  if (!image) die("a node cannot open its image", to_string(image.error()).c_str());
  auto listener = env.network().listen(address(ports_[at(node)]));
  if (!listener) die("a node cannot listen", to_string(listener.error()).c_str());
  auto replica = co_await replica::Replica::open(env, std::move(config), **image, start);
  if (!replica) die("a node cannot start", to_string(replica.error()).c_str());
  Event stop(env.scheduler());
  TaskGroup serving(env.scheduler());
  serving.spawn((*replica)->run(**listener, stop));
  for (;;) {
    (void)co_await env.ring().wait_fd(channel, POLLIN);
    Order order;
    if (::recv(channel, &order, sizeof order, MSG_DONTWAIT) != sizeof order) break;  // the parent has gone
    if (order == Order::report) {
      tell(channel, report_of(**replica, events, ports_));
    } else {
      tell(channel, (co_await (*replica)->promote(env.scheduler().now() + 5 * kSecond)).has_value());
    }
  }
  stop.set();
  co_await serving.join();
}

inline void Fleet::be_node(int node, replica::Start start, int channel) const {
  place(options_.placement, node != 0);
  auto env = make_env(options_.arena_bytes);
  env->ring().run(serve_node(*env, node, start, channel));
}

inline replica::ClientConfig Fleet::client_config() const {
  replica::ClientConfig config;
  config.volume = {1, 1};
  for (int i = 0; i < kNodes; ++i) config.nodes.push_back({static_cast<replica::NodeId>(i), address(ports_[at(i)])});
  return config;
}

template <typename R, typename F>
Child Fleet::start_client(F work) {
  return fork_child([this, work](int channel) {
    place(options_.placement, false);
    auto env = make_env(std::size_t{64} << 20);
    const R result = env->ring().run([](uring::RealEnv& e, replica::ClientConfig config, F run) -> Task<R> {
      auto client = co_await replica::Client::attach(e.scheduler(), e.buffers(), e.network(), std::move(config));
      if (!client) die("no client", to_string(client.error()).c_str());
      const R outcome = co_await run(e, **client);
      co_await (*client)->close();
      co_return outcome;
    }(*env, client_config(), work));
    tell(channel, result);
    char end;
    (void)!::recv(channel, &end, sizeof end, 0);  // the parent ends us; until then our CPU time can be read
  });
}

}  // namespace resilver::bench
