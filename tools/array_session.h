// One command's use of an array: a ring, the disks that were named, the array over them, what ends it early. Every command
// runs as a task in run_session(); whatever happens, the array is stopped and the disks are closed at its end.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "async/task_group.h"
#include "raid/array.h"
#include "tools/array_disks.h"
#include "uring/real_env.h"

namespace resilver::tools {

struct StartOptions {
  bool read_only = false;
  bool leave_out = false;   // what cannot be used, instead of refusing the whole
  bool force = false;       // raid::AssembleOptions::force
  bool take_stale = false;  // raid::AssembleOptions::take_stale
  bool rescue = false;      // raid::AssembleOptions::rescue
  raid::ArrayTuning tuning;
  // What the command itself has to refuse, asked before anything is written: of the array as it lies there, not writable.
  std::function<Status(const raid::Array&)> check;
};

// For ArrayTuning: seconds of Unix time when the scheduler's clock read 0.
std::uint64_t unix_time_at_zero(Scheduler& scheduler);

class ArraySession {
 public:
  ArraySession(uring::RealEnv& environment, uring::StopSignal& signal, std::string name);
  ~ArraySession();

  // Opens the place's disks: locked for this process alone, or shared with other readers. To maintain an array that has a
  // journal is to have it alone: what the journal holds is data that the members do not have yet.
  Task<Status> open(Place found, uring::Access access);
  // As open() to write, but for a dry run nothing reaches the disks: see lay_over().
  Task<Status> open_to_write(Place found, bool dry_run);
  // Opens and assembles for reading, also while another process maintains the array: see array_session.cc.
  Task<Status> open_to_read(Place found, StartOptions options);
  // Assembles. Before anything is written to any disk it is known that all of them fit together: one that cannot be used
  // (torn, stale, doubled, of another array) is refused by name and field, unless forced to be left out.
  Task<Status> start(StartOptions options);
  // Takes over an array that was made otherwise.
  void adopt(std::unique_ptr<raid::Array> made) { array_ = std::move(made); }

  // A disk that the array has got since: lives as long as the array.
  void keep(Disk disk) { disks_.push_back(std::move(disk)); }

  // Waits until the array has done what it can do (rebuild, resync, replace), with progress. Errors: cancelled (a signal;
  // the line says how far it was), unavailable (the array failed).
  Task<Status> finish_recovery();
  // A scrub with progress. Errors: as Array::scrub(), cancelled by a signal.
  Task<Status> scrub(raid::ScrubOptions options);

  // Errors: unavailable (the array failed), no_space (a disk had no room: the line names it and its file system).
  Task<Status> stop();
  // One block of a disk's metadata, durable when it ends; `bytes` are followed by zeroes. Not while the array writes.
  // Errors: the disk's.
  Task<Status> write_block(const Disk& disk, std::uint64_t sector, std::span<const std::byte> bytes);
  bool interrupted() const noexcept { return interrupted_; }

  uring::RealEnv& env() noexcept { return env_; }
  raid::Array& array() noexcept { return *array_; }
  const raid::AssemblyReport& report() const noexcept { return report_; }
  std::vector<Disk>& disks() noexcept { return disks_; }
  const std::vector<Disk>& disks() const noexcept { return disks_; }
  const Place& place() const noexcept { return place_; }
  const std::string& command() const noexcept { return command_; }
  // The disk of this name; null: none.
  const Disk* find_disk(const std::string& name) const;

 private:
  friend int run_session(const std::string&, const std::function<Task<Status>(ArraySession&)>&);
  Task<void> run(const std::function<Task<Status>(ArraySession&)>& work, Status& outcome);
  Task<void> watch_signal();
  void report_unopened();
  Task<Status> probe(const StartOptions& options);
  Task<Error> name_sides();
  Error cannot_start(const Error& why, const StartOptions& options) const;
  Task<Status> with_progress(Task<Status> work);
  Status check_room() const;

  uring::RealEnv& env_;
  uring::StopSignal& signal_;
  std::string command_;
  Place place_;
  std::vector<Disk> disks_;
  raid::AssemblyReport report_;
  std::unique_ptr<raid::Array> array_;
  bool interrupted_ = false;
  bool stopped_ = false;
  Event stirred_;  // by the signal and by the end of work
};

// Runs `work` and gives the exit code; prints the line of its error.
int run_session(const std::string& command, const std::function<Task<Status>(ArraySession&)>& work);

// By slot: 'U' in sync, '_' not.
std::string slot_letters(const raid::ArrayStatus& status, std::uint32_t slots);
// "raid5 [3/2] [UU_] degraded"
std::string state_text(const raid::Array& array);
// What is still to be done, as the command that does it; empty if nothing is. `place`: how the user named the array.
std::string next_step(const raid::Array& array, const std::string& place);

}  // namespace resilver::tools
