// The machines of a contender in virtual time: simulated nodes, disks and links of one World.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "async/sync.h"
#include "replica/replica.h"
#include "scenario/fleet.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/world.h"

namespace resilver::scenario {

class NodeProgram;
class SimWatch;

class SimFleet final : public Fleet {
 public:
  // `client` is the machine that the runner itself runs on. `watch` may be null; destroy() asks it before anything ends.
  SimFleet(sim::World& world, sim::Node& client, const Scenario& scenario, const ContenderSpec& contender,
           SimWatch* watch = nullptr);
  ~SimFleet() override;

  Env& client() noexcept override { return client_.env(); }
  Task<Status> create() override;
  Task<void> destroy() override;
  Task<Status> start(std::uint32_t node) override;
  Task<Status> crash(std::uint32_t node) override;
  Task<Status> power_loss(std::uint32_t node) override;
  Task<Status> freeze(std::uint32_t node) override;
  Task<Status> thaw(std::uint32_t node) override;
  bool running(std::uint32_t node) const noexcept override;
  Status set_clock_rate(std::uint32_t node, std::int32_t ppm) override;
  Task<Status> stop_arbiter() override;
  Task<Status> freeze_arbiter(bool frozen) override;
  Task<Status> start_arbiter() override;
  Task<Result<NodeReport>> report(std::uint32_t node) override;
  Task<Status> command(std::uint32_t node, NodeCommand command) override;
  Task<Status> replace_disk(std::uint32_t node, std::uint32_t disk) override;
  Status set_link(LinkEnd from, LinkEnd to, const LinkFault& fault) override;
  void reset_link(LinkEnd one, LinkEnd other) override;
  std::uint64_t link_transfers(LinkEnd from, LinkEnd to) const noexcept override;
  std::vector<PeerAddress> client_addresses() const override;

  // For a watch.
  const sim::World& world() const noexcept { return world_; }
  std::uint32_t nodes() const noexcept { return static_cast<std::uint32_t>(machines_.size()); }
  // The replica of the node's process; null: none runs there now.
  replica::Replica* replica(std::uint32_t node) const noexcept;

 private:
  struct Machine {
    sim::Node* node = nullptr;
    NodeProgram* program = nullptr;  // of the running process; it lives in the process's main frame
    std::vector<NodeDisk> disks;
    std::uint32_t replaced = 0;
    std::string trouble;  // why its program ended by itself
  };

  Status start_process(std::uint32_t node, bool format);
  void keep_faults(Machine& machine);
  void end_process(std::uint32_t node, bool power);
  sim::Disk& add_disk(Machine& machine, const NodeSpec& spec, const std::string& name);
  std::string machine_name(const LinkEnd& end) const;
  NodeConfig config_of(std::uint32_t node, bool format) const;

  sim::World& world_;
  sim::Node& client_;
  const Scenario& scenario_;
  const ContenderSpec& contender_;
  SimWatch* watch_;
  std::vector<Machine> machines_;
  sim::Node* arbiter_ = nullptr;
  bool arbiter_formatted_ = false;
};

}  // namespace resilver::scenario
