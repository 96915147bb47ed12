// A test's eye on a contender in virtual time: called beside the run, it sees every node from outside, as nobody in a real
// world could, and asserts what must hold of all of them together.
#pragma once

#include "async/task.h"

namespace resilver::scenario {

class SimFleet;

class SimWatch {
 public:
  virtual ~SimWatch() = default;

  // Before every step of the world, between the steps of the nodes. Must change nothing.
  virtual void look(const SimFleet& fleet) = 0;
  // On the client's machine when the run is over and the client has left: everything is repaired that will be, and still
  // runs. May open connections of its own.
  virtual Task<void> at_rest(SimFleet& fleet) = 0;
};

}  // namespace resilver::scenario
