// What the runner tells a node program and what it hears from it: the same plain structs in both worlds. In the simulator
// they are passed directly; to a real node process they travel as JSON over its control connection (control_json.h), which
// takes no part in the contest: it passes no proxy, and no fault touches it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/id128.h"
#include "base/time.h"
#include "env/disk_model.h"
#include "env/meter.h"
#include "raid/array.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

// Of every contender's volume in virtual time, where contenders never meet. In real time each fleet draws its own: while a
// node is down another run may listen at the port that it had.
inline constexpr Id128 kVolumeId = {0x7265'7369'6c76'6572, 1};

// One disk of a node as its program opens it.
struct NodeDisk {
  std::string path;    // of the image; the disk's name in the simulator
  bool blank = false;  // never used by an array of this node before (a spare, a replacement)
  std::string faults;  // faults that outlive the process, as NodeReport gave them
};

struct PeerAddress {
  std::string name;
  std::string address;
};

// Everything a node program needs to know. `disks` are the members, the spares and then the
// journal disk if the node has one, in the order of their labels.
struct NodeConfig {
  NodeSpec spec;
  Id128 volume = kVolumeId;
  std::vector<NodeDisk> disks;
  std::uint64_t volume_bytes = 0;
  RebuildSpec rebuild;
  bool paced = false;  // hold each disk to `pace` (the simulator's disks keep to it by themselves)
  DiskParameters pace;
  bool withhold_writes = false;  // a volatile cache in the process, so that SIGKILL loses what was not flushed
  std::optional<ReplicateSpec> replicate;
  std::uint32_t self = 0;          // index into `nodes`
  std::vector<PeerAddress> nodes;  // all nodes of the contender, this one among them: where its peers reach it
  std::string arbiter;             // its address; empty if not replicated
  std::string listen;              // where clients and peers come in
  std::string control;             // where the runner comes in; empty in the simulator
  bool format = false;             // make a new array and a new replica
};

// A fault, or the end of one, at one disk; a scrub of the array; a new disk in a slot.
struct NodeCommand {
  Verb verb = Verb::disk_fail;
  bool clear = false;      // end the fault instead
  std::uint32_t disk = 0;  // index into NodeConfig::disks
  VerbArguments arguments;
  std::string path;              // disk_replace: the new medium
  std::uint64_t used_begin = 0;  // latent, corrupt: the volume's range to choose places in
  std::uint64_t used_end = 0;
  std::uint64_t seed = 1;  // latent, corrupt: chooses the places
};

// What an array did to its members, by raid::Cause.
using Causes = std::array<raid::IoCounters, raid::kCauses>;

enum class DiskRole : std::uint8_t { member, rebuilding, spare, faulty, unused, journal };

struct DiskReport {
  DiskRole role = DiskRole::unused;
  std::uint64_t hits = 0;          // I/Os that felt the latest fault here
  std::optional<Nanos> first_hit;  // when, on the node's clock
  std::string faults;              // what must be put back after a restart
};

// The state of a node program, complete each time; cheap enough to ask for every 10 ms.
struct NodeReport {
  bool assembled = false;  // the array runs
  std::string trouble;     // why it does not, or what the node program gave up
  // The array.
  bool array_failed = false;
  std::uint32_t redundancy_left = 0;  // further disks this array may lose
  bool recovering = false;            // a rebuild or a resync runs
  std::uint64_t recovery_done = 0;    // bytes per member
  std::uint64_t recovery_total = 0;
  std::string limited_by;
  std::uint64_t restored_bytes = 0;  // put on members by rebuilds so far
  Causes causes;                     // of this array
  Traffic at_disks;     // what all its disks together were asked for since it is there: the other side of the books
  TrafficByUse volume;  // what the volume's copy asked of the array
  std::uint64_t scrubs_finished = 0;
  std::uint64_t mismatches = 0;  // found by scrubs so far
  std::uint64_t mismatches_named = 0;
  std::uint64_t unavailable_bytes = 0;  // of the volume, unreadable now
  // The replica.
  bool serving = false;
  std::uint64_t epoch = 0;
  std::vector<std::uint32_t> in_sync;  // indices of nodes, as this node believes; authoritative where it serves
  std::int32_t resync_peer = -1;       // index of the node that this one brings up to date; -1: none
  std::uint64_t resync_done = 0;
  std::uint64_t resync_total = 0;
  std::uint64_t copied_bytes = 0;  // between nodes by resync, reconciliation and healing so far
  std::vector<DiskReport> disks;
};

}  // namespace resilver::scenario
