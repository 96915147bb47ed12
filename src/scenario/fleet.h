// The machines of one contender as the runner sees them: what it may do to them and what it may ask. Two implementations:
// SimFleet (src/sim, virtual time) and RealFleet (processes, images, proxies). The runner knows only this interface, so one
// runner serves both worlds.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "async/task.h"
#include "base/error.h"
#include "env/env.h"
#include "scenario/control.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

// An end of a link: a node by its index, the client, or the arbiter.
struct LinkEnd {
  enum class Kind : std::uint8_t { node, client, arbiter } kind = Kind::node;
  std::uint32_t node = 0;
};

// What is wrong with one direction of a link.
struct LinkFault {
  bool dropped = false;
  Nanos add_latency = 0;
  std::uint64_t bandwidth = 0;     // 0: as modelled
  std::uint32_t lost_percent = 0;  // of the messages; these three in virtual time only
  std::uint32_t duplicated_percent = 0;
  std::uint32_t corrupted_percent = 0;
};

class Fleet {
 public:
  virtual ~Fleet() = default;

  // The client machine, outside every node: its clock is the run's clock.
  virtual Env& client() noexcept = 0;
  // The volume's name, for clients: what another run serves has another one.
  virtual Id128 volume() const noexcept { return kVolumeId; }

  // Makes the disks, starts the arbiter (where nodes replicate) and every node with new arrays and replicas.
  virtual Task<Status> create() = 0;
  // Ends everything that runs and removes what create() made, as far as the options say. Idempotent.
  virtual Task<void> destroy() = 0;

  // Starts a node program that does not run; it finds its disks as it left them. Returns once it is on its way.
  virtual Task<Status> start(std::uint32_t node) = 0;
  virtual Task<Status> crash(std::uint32_t node) = 0;       // SIGKILL
  virtual Task<Status> power_loss(std::uint32_t node) = 0;  // and what was not flushed may be lost or torn
  virtual Task<Status> freeze(std::uint32_t node) = 0;      // SIGSTOP
  virtual Task<Status> thaw(std::uint32_t node) = 0;
  virtual bool running(std::uint32_t node) const noexcept = 0;
  // Processes that died by themselves, one line each: whom, of what, and their last words. Such a run says nothing about its
  // contender: it has met a bug of ours. (In the simulator the runner itself ends with a CHECK.)
  virtual std::vector<std::string> deaths() const { return {}; }
  // The node's clock gains so many millionths from now on. unsupported: in the real world.
  virtual Status set_clock_rate(std::uint32_t node, std::int32_t ppm) = 0;

  // The arbiter of nodes that replicate. Its record survives. not_found: it runs already, or does not run.
  virtual Task<Status> stop_arbiter() = 0;
  virtual Task<Status> freeze_arbiter(bool frozen) = 0;
  virtual Task<Status> start_arbiter() = 0;

  // The node program's state; an error if it does not run or does not answer.
  virtual Task<Result<NodeReport>> report(std::uint32_t node) = 0;
  virtual Task<Status> command(std::uint32_t node, NodeCommand command) = 0;
  // A new, blank disk in place of disk `disk`; the node program is told if it runs.
  virtual Task<Status> replace_disk(std::uint32_t node, std::uint32_t disk) = 0;

  // Sets what is wrong with the direction from -> to from now on. unsupported: messages lost, duplicated or corrupted in
  // the real world; nothing has changed then.
  virtual Status set_link(LinkEnd from, LinkEnd to, const LinkFault& fault) = 0;
  // Ends every connection between the two.
  virtual void reset_link(LinkEnd one, LinkEnd other) = 0;
  // Transfers that wanted to pass this direction so far, also those held back by a drop: messages in the simulator, pieces
  // of the byte stream in a real proxy.
  virtual std::uint64_t link_transfers(LinkEnd from, LinkEnd to) const noexcept = 0;

  // Where the client reaches each node, in the order of the file.
  virtual std::vector<PeerAddress> client_addresses() const = 0;
};

}  // namespace resilver::scenario
