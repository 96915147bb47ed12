// src/sim: the virtual world. Machines, disks and links in one process, on a clock that jumps from event to event; one seed
// decides everything that is left open (what runs first, what a crash leaves behind), so that a run can be repeated bit
// for bit.
//
// This room implements src/env and may assume that whoever lives on a simulated node reaches the world only through its
// Env. It never reads a real clock, never starts a thread, never lets an address or a hash order decide, and uses integer
// arithmetic only. It knows nothing of arrays, replicas or workloads.
//
// world.h    World: time, the queue of events, what is ready, the trace
// node.h     Node: a machine and the process on it; NodeScheduler
// disk.h     Disk: what survives the processes; SectorStore in sector_store.h holds its content
// network.h  Fabric: links, connections, partitions
//
//   World world(seed);
//   Disk& disk = world.add_disk("A.disk0", 256 * GiB, {.model = parameters});
//   Node& a = world.add_node("A");
//   a.attach_disk("disk0", disk);
//   a.start([](Env& env) -> Task<void> { auto device = co_await env.open_disk("disk0", kNever); ... });
//   world.at(5 * kSecond, [&] { a.power_loss(); });
//   world.run_until(kMinute);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "async/scheduler.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/time.h"

namespace resilver::sim {

class Disk;
class Fabric;
class Node;
class NodeScheduler;
class World;
struct DiskOptions;
struct NodeOptions;

// Something that happens at a time. Lives in whoever waits for it (a disk's request, a connection, a node's alarm clock).
struct WorldEvent {
  using Function = void (*)(WorldEvent&) noexcept;
  explicit WorldEvent(Function function) noexcept : fire(function) {}
  WorldEvent(const WorldEvent&) = delete;
  WorldEvent& operator=(const WorldEvent&) = delete;

  bool scheduled() const noexcept { return heap_index != kIdle; }

  Function fire;  // called between the steps of the nodes, never inside one
  std::uint32_t heap_index = kIdle;
  static constexpr std::uint32_t kIdle = 0xffffffff;
};

enum class TraceOp : std::uint8_t {
  read,
  write,
  flush,
  discard,
  write_zeroes,
  deliver,
  start,
  exit,
  crash,
  power_loss,
  freeze,
  thaw
};
const char* trace_op_name(TraceOp op) noexcept;

// One line of the trace, the unit of the trace hash.
struct TraceEvent {
  Nanos at = 0;
  std::uint32_t actor = 0;  // a disk, or the node that receives; World::actor_name() names it
  TraceOp op = TraceOp::read;
  std::uint64_t address = 0;  // disks: byte offset; deliver: the actor that sent; nodes: number of the incarnation
  std::uint64_t length = 0;   // bytes
  Errc outcome = Errc::ok;
};

struct WorldOptions {
  // Which of the things that are ready runs first is drawn from the seed. Off: first in, first out.
  bool permute_ready = true;
  // More steps than this without time passing: a livelock, the run stops.
  std::uint64_t max_steps_per_instant = 20'000'000;
};

enum class Stop : std::uint8_t {
  condition,  // run_while: its condition became false
  deadline,   // everything up to the deadline has happened
  idle,       // nothing is ready and nothing will ever happen
  livelock,   // see WorldOptions::max_steps_per_instant
};

// Not thread-safe. Several worlds may exist at a time; they share nothing.
class World {
 public:
  explicit World(std::uint64_t seed, const WorldOptions& options = {});
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();  // ends what still runs, without traces

  std::uint64_t seed() const noexcept { return seed_; }
  Nanos now() const noexcept { return now_; }  // starts at 0

  // ---- what there is. Names are unique among nodes and among disks; both live as long as the world ----
  Node& add_node(std::string name);
  Node& add_node(std::string name, const NodeOptions& options);
  Node* find_node(std::string_view name) noexcept;
  Disk& add_disk(std::string name, std::uint64_t size_bytes, const DiskOptions& options);
  Fabric& network() noexcept { return *network_; }

  // ---- running ----
  // Runs everything that happens until `deadline` (included); now() is the deadline afterwards, except after a livelock.
  Stop run_until(Nanos deadline);
  Stop run_for(Nanos duration) { return run_until(now_ + duration); }

  // Runs as long as keep_going() is true; it is asked before every step. Time does not pass `deadline`.
  template <typename KeepGoing>
  Stop run_while(KeepGoing&& keep_going, Nanos deadline = kNever) {
    while (keep_going()) {
      const Stop stop = step(deadline);
      if (stop != Stop::condition) return stop;
    }
    return Stop::condition;
  }

  // Runs one ready item, or advances to the next event at or before `deadline`. Returns Stop::condition if it did.
  Stop step(Nanos deadline);

  std::uint64_t steps() const noexcept { return steps_; }

  // Calls back at a time (at once if it is past), between the steps of the nodes. There a node may be crashed, started,
  // frozen, whatever it does.
  void at(Nanos time, std::function<void()> callback);
  // Calls back as soon as the step that runs now has ended. For code that runs on a node and wants to end that node.
  void after_step(std::function<void()> callback);

  // ---- crashes at the n-th write ----
  // Writes, write_zeroes and discards that all disks together have taken in since the start of the world.
  std::uint64_t disk_writes_started() const noexcept { return writes_started_; }
  // Calls back right after the step in which the n-th of them (from 1) is submitted: it is in flight then, and a crash or a
  // power loss in the callback decides by the seed what becomes of it. One at a time; n = 0 takes it back.
  void stop_at_write(std::uint64_t n, std::function<void()> callback);

  // ---- trace ----
  std::uint64_t trace_hash() const noexcept { return trace_hash_.value(); }
  void on_trace(std::function<void(const TraceEvent&)> callback) { trace_callback_ = std::move(callback); }
  const std::string& actor_name(std::uint32_t actor) const noexcept;
  std::string to_string(const TraceEvent& event) const;  // "12.000345678 A.disk0 write 4096+8192 ok"

  // ---- for the parts of the world ----
  void schedule(WorldEvent& event, Nanos at) noexcept;    // precondition: not scheduled; the past counts as now
  void reschedule(WorldEvent& event, Nanos at) noexcept;  // scheduled or not
  void cancel(WorldEvent& event) noexcept;                // scheduled or not
  void post(NodeScheduler& scheduler, Runnable& item) { next_.push_back({&item, &scheduler}); }
  void drop_ready(NodeScheduler& scheduler, std::vector<Runnable*>* kept) noexcept;
  NodeScheduler* running() const noexcept { return running_; }  // whose code runs now; null between steps
  void abandon_disks(NodeScheduler& scheduler) noexcept;        // those that its process, killed just now, has open
  std::uint32_t new_actor(std::string name);
  void trace(std::uint32_t actor, TraceOp op, std::uint64_t address, std::uint64_t length, Errc outcome);
  Random random_for(std::string_view purpose) const noexcept;  // by the seed and the purpose alone
  void count_write() noexcept {
    if (++writes_started_ == stop_at_write_) [[unlikely]]
      write_reached();
  }

 private:
  struct Ready {
    Runnable* item;
    NodeScheduler* scheduler;
  };
  struct HeapEntry {
    Nanos at;
    std::uint64_t sequence;
    WorldEvent* event;
    bool before(const HeapEntry& other) const noexcept {
      return at != other.at ? at < other.at : sequence < other.sequence;
    }
  };
  struct Callback;

  Stop next_batch(Nanos deadline);
  void fire_due();
  void run_deferred();
  void write_reached() noexcept;
  void place(std::uint32_t index, const HeapEntry& entry) noexcept;
  void sift_up(std::uint32_t index) noexcept;
  void sift_down(std::uint32_t index) noexcept;
  void remove_from_heap(std::uint32_t index) noexcept;

  std::uint64_t seed_;
  WorldOptions options_;
  Nanos now_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t steps_this_instant_ = 0;
  std::uint64_t writes_started_ = 0;
  std::uint64_t stop_at_write_ = 0;
  std::function<void()> stop_callback_;
  Random order_;

  // What is ready runs in batches: what a batch makes ready belongs to the next one. The order within a batch is drawn, so
  // that a yield lets everything run that was ready before it, and nothing starves.
  std::vector<Ready> batch_;
  std::size_t batch_at_ = 0;
  std::vector<Ready> next_;
  NodeScheduler* running_ = nullptr;

  std::vector<HeapEntry> heap_;
  std::vector<std::function<void()>> deferred_;
  std::vector<std::unique_ptr<Callback>> callbacks_;

  Hash64 trace_hash_;
  std::function<void(const TraceEvent&)> trace_callback_;
  std::vector<std::string> actors_;

  std::unique_ptr<Fabric> network_;
  std::vector<std::unique_ptr<Disk>> disks_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace resilver::sim
