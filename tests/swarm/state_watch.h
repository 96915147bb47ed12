// What must hold of all replicas of a volume together, looked at beside the run: invariants before every step of the world,
// and when everything is at rest the content of every copy, block by block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "replica/replica.h"
#include "scenario/scenario.h"
#include "scenario/sim_fleet.h"
#include "scenario/sim_watch.h"

namespace resilver::swarm {

// Reads node's own copy of the volume on a session of its own, from the machine of `client`. A block that the copy cannot
// read is left out (nullopt in `readable`).
struct Copy {
  std::vector<std::byte> bytes;
  std::vector<bool> readable;  // by blocks
};
Task<Result<Copy>> read_copy(Env& client, const std::string& address, std::uint32_t node);

// The first block that both copies can read and that differs.
std::optional<std::uint64_t> first_difference(const Copy& one, const Copy& other);

class StateWatch final : public scenario::SimWatch {
 public:
  // by_force: two may serve, in different epochs.
  enum class Primaries : std::uint8_t { one, by_force };
  explicit StateWatch(const scenario::Scenario& scenario, Primaries primaries = Primaries::one);

  void look(const scenario::SimFleet& fleet) override;
  Task<void> at_rest(scenario::SimFleet& fleet) override;

  // The first thing that must not be; empty: none.
  const std::string& complaint() const noexcept { return complaint_; }
  // Each node's view, a line each.
  std::string states(const scenario::SimFleet& fleet) const;

 private:
  struct Seen {
    bool runs = false;
    bool serving = false;
    bool primary = false;
    bool inconsistent = false;
    std::uint64_t epoch = 0;
    replica::NodeSet in_sync;
    unsigned redundancy = 0;
  };
  void take(const scenario::SimFleet& fleet, std::uint32_t node);
  void compare_nodes();
  void complain(std::string what);
  std::string name(std::uint32_t node) const { return scenario_.contenders.front().nodes[node].name; }

  const scenario::Scenario& scenario_;
  Primaries primaries_;
  bool copies_may_be_new_;  // a node whose disk died begins again, and forgets its epoch
  std::vector<Seen> seen_;
  Nanos now_ = 0;
  std::string complaint_;
};

}  // namespace resilver::swarm
