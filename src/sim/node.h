// A simulated machine and the process that runs on it. The machine stays (name, disks, clock); the process comes and goes:
// each start() is a new incarnation with its own scheduler, memory and connections.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "async/scheduler.h"
#include "async/task.h"
#include "base/time.h"
#include "env/env.h"
#include "sim/world.h"

namespace resilver::sim {

// The scheduler of one incarnation. Posts go to the world's ready queue; timers wait here, in the node's own time.
class NodeScheduler final : public Scheduler {
 public:
  NodeScheduler(World& world, Node& node);
  ~NodeScheduler() override;

  void post(Runnable& item) noexcept override;
  Nanos now() const noexcept override;
  void arm(Timer& timer, Nanos at) noexcept override;
  bool disarm(Timer& timer) noexcept override;
  bool killed() const noexcept override { return killed_; }

  Node& node() noexcept { return node_; }
  World& world() noexcept { return world_; }

 private:
  friend class Node;
  struct Entry {
    Nanos at;
    std::uint64_t sequence;
    Timer* timer;
    bool before(const Entry& other) const noexcept {
      return at != other.at ? at < other.at : sequence < other.sequence;
    }
  };
  struct Alarm : WorldEvent {
    explicit Alarm(NodeScheduler& s) noexcept : WorldEvent(&ring), scheduler(s) {}
    static void ring(WorldEvent& self) noexcept;
    NodeScheduler& scheduler;
  };

  void expire() noexcept;
  void set_alarm() noexcept;  // to the earliest timer; off while frozen
  void kill() noexcept;
  void freeze() noexcept;
  void thaw() noexcept;
  void place(std::uint32_t index, const Entry& entry) noexcept;
  void sift_up(std::uint32_t index) noexcept;
  void sift_down(std::uint32_t index) noexcept;
  void remove(std::uint32_t index) noexcept;

  World& world_;
  Node& node_;
  bool killed_ = false;
  bool frozen_ = false;
  std::uint64_t sequence_ = 0;
  std::vector<Entry> timers_;    // binary heap
  std::vector<Runnable*> held_;  // ready while frozen
  Nanos alarm_at_ = kNever;      // world time
  Alarm alarm_;
};

struct NodeOptions {
  std::size_t memory_bytes = std::size_t{256} << 20;  // of the buffer pool; a multiple of 2 MiB, touched only when used
  Nanos clock_offset = 0;  // of the node's clock against the world's at the start of the world
};

class Node {
 public:
  using Main = std::function<Task<void>(Env&)>;

  Node(World& world, std::string name, const NodeOptions& options);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node();

  const std::string& name() const noexcept { return name_; }
  std::uint32_t actor() const noexcept { return actor_; }
  World& world() noexcept { return world_; }

  // ---- disks: what open_disk finds, by the name it has on this machine ----
  void attach_disk(std::string name, Disk& disk);  // replaces one of this name; an open handle keeps the old disk
  void detach_disk(std::string_view name);
  Disk* find_disk(std::string_view name) noexcept;

  // ---- the process ----
  // Switches the machine on if it was off and starts a process. Precondition: not running(). When main ends, the process
  // ends as if by exit().
  void start(Main main);
  bool running() const noexcept { return incarnation_ != nullptr; }
  std::uint64_t incarnations() const noexcept { return incarnations_; }

  // SIGKILL. Frames are destroyed unfinished; writes in flight at disks happen or not, sector by sector, by the seed;
  // completed writes stay, flushed or not. Peers see `closed` one latency later. The machine stays up.
  // Both: never from inside the node's own code (use World::after_step); from other nodes' code or between steps.
  void crash();
  // The machine loses power: crash(), and every write not flushed and not FUA'd is kept, lost or torn between sectors.
  // Peers see silence until the machine is started again. Also when no process runs.
  void power_loss();
  bool powered() const noexcept { return powered_; }

  // Nothing of the process runs and its timers expire late; its connections stay open and fill up; its disk requests
  // complete, unseen. A crash or a start ends it. No-op without a process.
  void freeze();
  void thaw();
  bool frozen() const noexcept { return frozen_; }

  // ---- clock ----
  // From now on the node's clock gains `ppm` microseconds a second against the world's. |ppm| <= 500,000.
  void set_clock_rate(std::int32_t ppm);
  Nanos clock() const noexcept { return clock_at(world_.now()); }  // what its process reads now
  Nanos clock_at(Nanos world_time) const noexcept;
  Nanos world_time_of(Nanos clock) const noexcept;  // the first world time at which the clock shows it; kNever for kNever

  // The environment of the running process, for tests. Precondition: running().
  Env& env() noexcept;
  NodeScheduler& scheduler() noexcept;

 private:
  struct Incarnation;
  friend class NodeEnv;
  enum class End : std::uint8_t { exit, crash, power_loss, world };
  void end_process(End how);
  void exited() noexcept;

  World& world_;
  std::string name_;
  NodeOptions options_;
  std::uint32_t actor_;
  Random random_;
  struct Slot {
    std::string name;
    Disk* disk;
  };
  std::vector<Slot> disks_;
  bool powered_ = true;
  bool frozen_ = false;
  std::uint64_t incarnations_ = 0;
  std::int32_t ppm_ = 0;
  Nanos clock_base_;  // the clock at world_base_
  Nanos world_base_ = 0;
  std::unique_ptr<Incarnation> incarnation_;
};

}  // namespace resilver::sim
