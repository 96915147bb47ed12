// What a node is given: its scheduler (and clock), memory, network, randomness and disks. In the real world one process has
// one Env over one ring; in the simulator each node has one.
#pragma once

#include <memory>
#include <string_view>

#include "async/scheduler.h"
#include "async/task.h"
#include "base/error.h"
#include "base/random.h"
#include "env/block_device.h"
#include "env/buffer.h"
#include "env/network.h"

namespace resilver {

class Env {
 public:
  virtual ~Env() = default;
  virtual Scheduler& scheduler() noexcept = 0;
  virtual BufferPool& buffers() noexcept = 0;
  virtual Network& network() noexcept = 0;
  virtual Random& random() noexcept = 0;

  // Opens a disk by name (the path of an image; a disk's name in the simulator) and locks it: a second opener waits until
  // the first has ended, at most until `deadline`. Errors: not_found, busy, permission, bad_input.
  virtual Task<Result<std::unique_ptr<BlockDevice>>> open_disk(std::string name, Nanos deadline) = 0;
};

}  // namespace resilver
