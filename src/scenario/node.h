// What runs on a node, in a process of its own or on a simulated machine: the only module that builds the tree of block
// devices of a node and the only one that knows which tree it is.
//
//   disk (image | simulated) -> [VolatileCacheDisk] -> [PacedDisk] -> FaultyDisk  -> raid::Array -> replica::Replica
//
// A node repairs itself: a spare is taken by the array; an array that cannot repair itself (RAID 0 under a replica) is made
// anew from what is left and the spare, and its replica comes back as a new one by a full resync.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "async/task_group.h"
#include "env/env.h"
#include "env/meter.h"
#include "fault/faulty_disk.h"
#include "raid/array.h"
#include "replica/replica.h"
#include "scenario/control.h"

namespace resilver::scenario {

class NodeProgram {
 public:
  // Makes the listener for clients and peers; called again when the replica is opened anew.
  using MakeListener = std::function<Result<std::unique_ptr<Listener>>()>;

  NodeProgram(Env& env, NodeConfig config);
  ~NodeProgram();

  // Builds the tree and serves until `stop`. An array that does not assemble is no reason to end: the node stays, says what
  // the trouble is and waits for disks. Errors: what kept it from starting at all (a disk cannot be opened, a configuration
  // that cannot be, no listener). Ends when its disks have given everything back: what injected faults hold they let go of
  // then; a disk that by itself does not answer can keep it for ever, so a process sets a limit.
  Task<Status> run(MakeListener make_listener, resilver::Event& stop);

  // Takes an order; it is carried out by the program's own task. limit: too many orders wait.
  Status command(NodeCommand command);

  // The state now. May be called by anybody on this thread, between steps.
  NodeReport report() const;
  // What runs now; null: nothing (yet).
  replica::Replica* replica() const noexcept { return replica_.get(); }

 private:
  struct Slot;  // one disk and its wrappers

  Task<Status> open_disks();
  Task<Status> open_disk(std::size_t index);
  Task<Status> build_array(bool format);
  Task<Status> add_blank_disks();
  Task<Status> open_replica(bool format);
  Task<Status> serve(const MakeListener& make_listener, resilver::Event& stop, bool format);
  Task<void> end_array();
  Task<void> close_disks();
  void release_disks();
  Task<void> keep_released(resilver::Event& until);
  Task<void> watch_array(resilver::Event& stop, resilver::Event& session_end);
  Task<void> carry_out_orders(resilver::Event& stop);
  Task<Status> carry_out(const NodeCommand& command);
  Task<Status> damage(const NodeCommand& command);
  Task<Status> replace(const NodeCommand& command);
  Task<void> scrub(bool repair);
  Task<Status> resolve(const VerbArguments& arguments);
  static void log_event(const replica::ReplicaEvent& event);
  Task<bool> answers(const Slot& slot) const;
  Task<std::vector<bool>> answering() const;
  Task<bool> can_start_over() const;
  Slot* journal_slot() const;  // null: the node has no journal disk
  std::vector<std::uint64_t> choose_places(const NodeCommand& command) const;
  void report_array(NodeReport& report) const;
  void report_replica(NodeReport& report) const;
  void report_disks(NodeReport& report) const;

  Env& env_;
  Scheduler& scheduler_;
  NodeConfig config_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<std::unique_ptr<Slot>> replaced_;  // disks taken out, that an array may still have requests at
  std::uint32_t replacements_ = 0;               // so far, for names
  TrafficByUse at_disks_{};  // of all slots, since the array was built; by no use: the array's leaves say none
  TrafficByUse at_array_{};
  std::unique_ptr<raid::Array> array_;
  std::unique_ptr<Meter> volume_door_;  // between the copy and the array
  std::unique_ptr<replica::Replica> replica_;
  Channel<NodeCommand> orders_;
  TaskGroup scrubs_;
  std::string trouble_;
  std::size_t volume_orders_ = 0;  // inside the replica
  std::size_t array_orders_ = 0;   // inside the array
  std::uint64_t scrubs_finished_ = 0;
  std::uint64_t mismatches_ = 0;
  std::uint64_t mismatches_named_ = 0;
};

}  // namespace resilver::scenario
