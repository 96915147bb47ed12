// Three nodes, an arbiter and a client in the simulated world, for tests of the replica. Times are short: a lease of 80 ms, a
// grace of 100 ms. What a test may look at lives here; what dies with a node is reached through pointers that its frames clear.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "async/task_group.h"
#include "replica/client.h"
#include "replica/replica.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/world.h"

namespace resilver::replica {

// Errors of one node's disk, kept across restarts of its process.
struct DiskFaults {
  std::set<std::uint64_t> unreadable;  // blocks; a write heals
  bool dead = false;
  bool hold = false;  // writes wait until Cluster::release()
  // No room: writes from this offset on end so.
  static constexpr std::uint64_t kRoom = ~std::uint64_t{0};
  std::uint64_t full_from = kRoom;
};
class HeldDisk;

class Cluster {
 public:
  static constexpr int kNodes = 3;
  static constexpr std::uint64_t kVolume = 4 << 20;
  static constexpr std::uint64_t kBlocks = kVolume / kBlockBytes;

  struct Options {
    std::uint32_t min_in_sync = 1;
    std::uint64_t detect_ms = 100;  // a lease of 80 ms, a grace of 100 ms
    std::uint64_t clear_bits_ms = 200;
    std::uint64_t op_timeout_ms = 30'000;
    std::uint64_t resync_rate = 0;
    std::uint64_t resync_rate_busy = 0;  // while clients are at work
    Nanos disk_access = 50 * kMicrosecond;
    std::uint64_t intent_bits = 32768;  // of A and B
    std::uint64_t intent_bits_of_c = 32768;
    AckMode ack = AckMode::durable;
    std::uint64_t congestion_ms = 5000;
    std::uint64_t send_queue_bytes = 64 << 20;
  };
  std::function<void(int, ReplicaConfig&)> file;  // what a node's file says otherwise, at its next start
  explicit Cluster(std::uint64_t seed) : Cluster(seed, Options()) {}
  Cluster(std::uint64_t seed, const Options& options);

  sim::World world;
  sim::Node& node(int i) { return *nodes_[static_cast<std::size_t>(i)]; }
  sim::Disk& disk(int i) { return *disks_[static_cast<std::size_t>(i)]; }
  DiskFaults& faults(int i) { return faults_[static_cast<std::size_t>(i)]; }
  sim::Node& client_node() { return *client_node_; }
  sim::Node& arbiter_node() { return *arbiter_node_; }
  sim::Disk& arbiter_disk() { return *arbiter_disk_; }
  Record arbiter_record() const;  // as its disk has it now
  // What a node would win next, and how it would greet the others with it.
  Record next_record(int node) const;
  static PeerHello hello_of(const Record& record, int node);
  static std::string name(int i) { return std::string(1, static_cast<char>('A' + i)); }

  // ---- processes ----
  void start_all();                     // formatted, with arbiter and client
  void start_node(int i, bool format);  // formatted: as a copy of a new volume at first, then as a new copy
  void start_arbiter();
  void stop_node(int i);  // as by SIGTERM
  void release(int i);    // writes that faults(i).hold kept back go on
  // Runs `what` on the node's process; not if it is down.
  void order(int i, std::function<Task<void>(Replica&)> what);
  void replace_disk(int i);  // while the node is down: an empty one
  // Runs a task of the operator on node i, until it has ended: verify, promote_by_force, resolve, ...
  void operate(int i, Task<void> task);
  // Everything on a disk, and back onto another one of its size: an old disk put back into its node.
  std::vector<std::byte> image(int i) const;
  void restore(int i, std::span<const std::byte> image) { disk(i).poke(0, image); }
  // While the node is down: a disk of that size with that on it.
  void insert_disk(int i, std::span<const std::byte> image);
  void client_main(std::function<Task<void>(Client&)> main);
  // Another machine, of that node's name and with a disk on which `image` is. Nobody dials it. One at a time.
  void start_clone(int of, std::span<const std::byte> image);

  // ---- views ----
  Replica* replica(int i) { return replicas_[static_cast<std::size_t>(i)]; }
  Replica* clone() { return clone_; }
  sim::Disk& clone_disk() { return *clone_disk_; }
  ReplicaStatus status(int i);
  int primary();  // the node that serves; -1: none
  Client* client() { return client_; }
  std::vector<std::pair<int, ReplicaEvent>> events;
  int count(EventKind kind, int node = -1) const;

  // ---- waiting, in virtual time ----
  bool run_until(const std::function<bool()>& done, Nanos at_most = 20 * kSecond);
  bool wait_serving(Nanos at_most = 20 * kSecond);
  bool wait_full(Nanos at_most = 20 * kSecond);  // a primary with all three in sync
  std::string describe();                        // every node's state, a line each
  void run_for(Nanos time) { advance(world.now() + time); }
  std::function<void()> each_event;  // called before every event of the world while one of these runs

  // ---- I/O by the client's process, one at a time, waited for ----
  Errc write(std::uint64_t block, std::uint64_t version);
  Errc read(std::uint64_t block, std::uint64_t* version);
  void write_range(std::uint64_t first, std::uint64_t end, std::uint64_t version);
  // What node i's own copy has, whatever its role; nothing if it does not serve it.
  std::optional<std::uint64_t> read_copy(int i, std::uint64_t block);

  // All three copies of the volume are the same bytes.
  ::testing::AssertionResult copies_equal();
  static void fill(std::span<std::byte> block, std::uint64_t address, std::uint64_t version);
  static std::uint64_t version_of(std::span<const std::byte> block, std::uint64_t address);  // ~0: not one write's data

  static constexpr VolumeId kVolumeId = {0x5157, 1};
  ClientConfig client_config() const;
  // The arbiter's state as it is on its disk, and back onto it while it is down.
  std::vector<std::byte> arbiter_image() const;
  void restore_arbiter(std::span<const std::byte> image) {
    arbiter_disk_->poke(0, image);
    arbiter_formatted_ = true;
  }
  void new_arbiter();  // while it is down: an empty state in its place

 private:
  struct Seat;  // where a node's process shows itself
  Task<void> node_main(Env& env, int i, Start start, Seat seat);
  void advance(Nanos until);
  std::uint64_t intent_bits(int i) const { return i == 2 ? options_.intent_bits_of_c : options_.intent_bits; }
  void attach_new_disk(int i, std::uint64_t bytes);
  Options options_;
  std::array<sim::Node*, kNodes> nodes_{};
  std::array<sim::Disk*, kNodes> disks_{};
  std::array<DiskFaults, kNodes> faults_{};
  std::array<Replica*, kNodes> replicas_{};
  std::array<Event*, kNodes> stops_{};
  std::array<TaskGroup*, kNodes> orders_{};
  std::array<HeldDisk*, kNodes> held_{};
  std::array<int, kNodes> disk_number_{};
  sim::Node* clone_node_ = nullptr;
  sim::Disk* clone_disk_ = nullptr;
  Replica* clone_ = nullptr;
  DiskFaults clone_faults_;
  Event* clone_stop_ = nullptr;
  TaskGroup* clone_orders_ = nullptr;
  HeldDisk* clone_held_ = nullptr;
  sim::Node* arbiter_node_ = nullptr;
  sim::Disk* arbiter_disk_ = nullptr;
  int arbiter_disks_ = 0;
  bool arbiter_formatted_ = false;
  std::array<bool, kNodes> formatted_{};
  sim::Node* client_node_ = nullptr;
  Client* client_ = nullptr;
};

}  // namespace resilver::replica
