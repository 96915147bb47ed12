#include "tests/netns/network.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace resilver::test {
namespace {

// Runs `work` in a child; true if it gave true.
template <typename Work>
bool in_child(const Work& work) {
  const pid_t child = fork();
  if (child == 0) _exit(work() ? 0 : 1);
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

// Loopback addresses are routed like others in the namespace that this process is in.
bool route_loopback_addresses() {
  const int fd = open("/proc/sys/net/ipv4/conf/all/route_localnet", O_WRONLY | O_CLOEXEC);
  const bool done = fd >= 0 && write(fd, "1", 1) == 1;
  if (fd >= 0) close(fd);
  return done;
}

std::string port_of(const std::string& host) { return "to-" + host; }

}  // namespace

// A child goes there and stays until it has been seen.
Namespace::Namespace() {
  int ready[2], done[2];
  if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(done, O_CLOEXEC) != 0) return;
  const pid_t child = fork();
  if (child == 0) {
    char byte = unshare(CLONE_NEWNET) == 0 ? 1 : 0;
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    close(done[1]);
    _exit(read(done[0], &byte, 1) == 0 ? 0 : 1);
  }
  char byte = 0;
  if (child > 0 && read(ready[0], &byte, 1) == 1 && byte == 1) {
    fd_ = open(("/proc/" + std::to_string(child) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC);
  }
  for (const int fd : {ready[0], ready[1], done[0], done[1]}) close(fd);
  if (child > 0) waitpid(child, nullptr, 0);
}

Namespace::~Namespace() {
  if (fd_ >= 0) close(fd_);
}

std::string Namespace::path() const { return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_); }

bool Namespace::enter() const { return setns(fd_, CLONE_NEWNET) == 0; }

bool Namespace::run(const std::string& command) const {
  return in_child([&] { return enter() && std::system(command.c_str()) == 0; });
}

std::string HostNetwork::why_not() {
  if (geteuid() != 0) return "not root: network namespaces cannot be made";
  const Namespace probe;
  if (!probe.made()) return std::string("this machine makes no network namespaces: ") + std::strerror(errno);
  if (!in_child([&] { return probe.enter() && route_loopback_addresses(); })) {
    return "/proc/sys/net cannot be written in a network namespace of our own";
  }
  if (!probe.run("ip link add br0 type bridge 2>&1")) return "ip (iproute2) cannot make a bridge here";
  return {};
}

HostNetwork::HostNetwork(const std::vector<std::string>& hosts) {
  bool well = switch_.run("ip link add br0 type bridge && ip link set br0 up");
  for (const std::string& host : hosts) {
    const Namespace& inside = hosts_[host];
    const int number = static_cast<int>(numbers_.size()) + 1;
    numbers_[host] = number;
    well = well && switch_.run("ip link add " + port_of(host) + " type veth peer name eth0 netns " + inside.path() +
                               " && ip link set " + port_of(host) + " master br0 up");
    well = well && in_child([&] { return inside.enter() && route_loopback_addresses(); });
    well = well && inside.run("ip addr add 127.1.0." + std::to_string(number) + "/24 dev eth0 && ip link set eth0 up");
  }
  if (!well) ADD_FAILURE() << "the network could not be made";
}

std::string HostNetwork::address_of(const std::string& host) const {
  return "127.1.0." + std::to_string(numbers_.at(host));
}

Prepare HostNetwork::on(const std::string& host) const {
  const Namespace* inside = &hosts_.at(host);
  return [inside] { return inside->enter(); };
}

bool HostNetwork::run(const std::string& host, const std::string& command) const {
  return hosts_.at(host).run(command);
}

void HostNetwork::unplug(const std::string& host) {
  EXPECT_TRUE(switch_.run("ip link set " + port_of(host) + " down"));
}

void HostNetwork::plug_in(const std::string& host) { EXPECT_TRUE(switch_.run("ip link set " + port_of(host) + " up")); }

void HostNetwork::shape(const std::string& host, const std::string& rate) {
  const auto limit = [&rate](const std::string& device) {
    return rate.empty() ? "tc qdisc del dev " + device + " root"
                        : "tc qdisc replace dev " + device + " root tbf rate " + rate + " burst 64kb latency 20ms";
  };
  EXPECT_TRUE(switch_.run(limit(port_of(host))));
  EXPECT_TRUE(hosts_.at(host).run(limit("eth0")));
}

}  // namespace resilver::test
