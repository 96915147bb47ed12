// Node programs with their control doors, an arbiter, and machines for operators and a client, in virtual time.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "service/daemon.h"
#include "service/recover.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/world.h"

namespace resilver::service {

class Town {
 public:
  static constexpr int kNodes = 3;
  static constexpr std::uint64_t kBytes = 1 << 20;

  explicit Town(std::uint64_t seed);

  sim::World world;
  const VolumeConfig config;
  sim::Node& node(int i) { return *nodes_[static_cast<std::size_t>(i)]; }
  sim::Node& arbiter() { return *arbiter_; }
  sim::Node& desk(int i) { return *desks_[static_cast<std::size_t>(i)]; }  // of an operator: 0 or 1

  void start_all();  // a new volume
  void start_node(int i, bool format = false);
  void start_arbiter();
  void new_arbiter();  // while it is down: an empty state

  // What an operator does: `work` on his machine, until it has ended or the machine has died.
  void operate(int desk, std::function<Task<void>(Env&)> work) { desk_of(desk).start(std::move(work)); }
  bool at_work(int desk) { return desk_of(desk).running(); }
  // `volume recover`, or with `from` `volume recover --from`.
  void recover(int desk, Status* result, std::optional<replica::NodeId> from = {});

  std::optional<NodeStatus> status(int i);
  Result<replica::CopyFacts> facts(int i);
  bool serves();  // somebody does
  bool all_in_sync();
  bool tells(int i, replica::Reason reason);

  Errc write(std::uint64_t block, std::uint64_t version);
  std::optional<std::uint64_t> read(std::uint64_t block);  // through the primary
  std::uint64_t on_disk(int i, std::uint64_t block);       // what a copy has

  bool run_until(const std::function<bool()>& done, Nanos at_most = 30 * kSecond, Nanos step = 20 * kMillisecond);
  void run_for(Nanos time) { world.run_until(world.now() + time); }

 private:
  sim::Node& desk_of(int i) { return *desks_[static_cast<std::size_t>(i)]; }
  Task<void> node_main(Env& env, int i, bool format);
  Errc transfer(std::uint64_t block, std::uint64_t& version, bool write);
  std::optional<Answer> ask(int i, Verb verb);

  std::array<sim::Node*, kNodes> nodes_{};
  std::array<sim::Disk*, kNodes> disks_{};
  std::array<sim::Node*, 2> desks_{};
  sim::Node* arbiter_ = nullptr;
  sim::Node* client_ = nullptr;
  sim::Node* asker_ = nullptr;
  int arbiter_disks_ = 0;
  bool arbiter_formatted_ = false;
};

}  // namespace resilver::service
