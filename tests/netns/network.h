// A network of hosts on one machine: network namespaces joined by a bridge, each with an address of its own. Nothing of it
// has a name outside this process, so that nothing is left when the test dies. Needs root.
//
// The addresses are loopback addresses (127.1.0.N), because a node refuses any other while links are neither authenticated
// nor encrypted; with `route_localnet` (Linux, Documentation/networking/ip-sysctl.rst) the kernel carries them over a cable.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace resilver::test {

// One network namespace, as long as somebody lives in it or holds this.
class Namespace {
 public:
  Namespace();
  ~Namespace();
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;

  bool made() const noexcept { return fd_ >= 0; }
  std::string path() const;                    // for `ip link set … netns`, valid in this process's children
  bool enter() const;                          // this process
  bool run(const std::string& command) const;  // in a shell in there; its output goes to ours

 private:
  int fd_ = -1;
};

class HostNetwork {
 public:
  // Empty, or why this machine cannot have one: then the test is to be skipped.
  static std::string why_not();

  explicit HostNetwork(const std::vector<std::string>& hosts);

  // "127.1.0.N"
  std::string address_of(const std::string& host) const;
  // For a Program that is to run on this host.
  Prepare on(const std::string& host) const;

  // In a shell on this host; true if it succeeded.
  bool run(const std::string& host, const std::string& command) const;

  // The host's cable, at the switch: what is sent over it is lost silently, and no side is told.
  void unplug(const std::string& host);
  void plug_in(const std::string& host);
  // What the host receives and sends passes at `rate` ("20mbit"; tc's word), with a short queue; "" : unlimited again.
  void shape(const std::string& host, const std::string& rate);

 private:
  Namespace switch_;
  std::map<std::string, Namespace> hosts_;
  std::map<std::string, int> numbers_;
};

}  // namespace resilver::test
