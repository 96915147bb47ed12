// One disk of a node program, with everything that stands between the image and the array.
#pragma once

#include <memory>
#include <string>

#include "env/meter.h"
#include "fault/faulty_disk.h"
#include "scenario/node.h"

namespace resilver::scenario {

struct NodeProgram::Slot {
  std::string name;                                  // "disk0"; a replacement gets a name of its own
  std::unique_ptr<fault::FaultyDisk> disk;           // the outermost wrapper, but for the array's door
  std::unique_ptr<Meter> door;                       // for the array: what it asks is counted
  bool blank = false;                                // has never been in the array
  fault::FaultKind latest = fault::FaultKind::fail;  // the fault whose hits are reported
  std::uint64_t hits_before = 0;                     // counted before it was applied

  raid::MemberDisk member() { return {name, door.get()}; }
};

}  // namespace resilver::scenario
