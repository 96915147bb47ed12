// A replicated (or stand-alone) volume as its user sees it: a block device that finds the node that serves, follows it
// through failovers and hides them as long as op_timeout allows.
//
// What must never happen: a write resent on a new session lands after a later overlapping write. Rule: overlapping
// requests with a write among them are never in flight together (they wait here), the server ends an attachment's older
// session and lets its requests finish before it accepts the new one, and an old primary's writes are fenced by epoch. A
// write that is given up (timeout) ends the session with it: it has happened, or never will, when a later request is begun.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/task.h"
#include "base/error.h"
#include "base/random.h"
#include "env/block_device.h"
#include "env/network.h"
#include "replica/wire.h"

namespace resilver::replica {

struct ClientConfig {
  VolumeId volume;
  struct Node {
    NodeId id = kNoNode;
    std::string address;
  };
  std::vector<Node> nodes;               // all that may serve the volume, 1 .. kMaxNodes
  bool read_only = false;                // beside the attachment, which goes on: writes are refused
  std::uint64_t client = 0;              // for messages only
  std::uint64_t op_timeout_ms = 30'000;  // then a write is unknown, a read failed: Errc::timeout
  std::uint64_t detect_ms = 500;         // a session silent (or without service) for so long is given up
  std::uint64_t retry_ms = 20;           // pause between rounds over all nodes
  bool own_copy = false;                 // read a node's own copy, read-only, beside the attachment (split_brain.h)
  std::function<void()> on_reign;        // another primary than before serves, and has answered nothing yet
  std::uint32_t max_in_flight = 256;     // pieces of at most 1 MiB on the session; more wait here
};

struct ClientStatus {
  bool attached = false;
  std::uint64_t attachment = 0;  // its number, given by the primary
  bool fenced = false;           // another client has the volume
  NodeId node = kNoNode;         // who served last
  std::uint64_t sessions = 0;    // attached so far
  std::uint64_t failovers = 0;   // sessions on another node than the one before
  std::uint64_t resent = 0;      // pieces sent again on a new session
  Nanos waits_since = kNever;    // the oldest request under way; kNever: none is
};

class Client : public BlockDevice {
 public:
  // Tries until a node has attached or op_timeout has passed; that ends an older attachment, which then is `fenced` and does
  // not attach again by itself. All references must outlive the client. Errors: timeout, fenced (another one has attached
  // meanwhile), bad_input (no such volume).
  static Task<Result<std::unique_ptr<Client>>> attach(Scheduler& scheduler, BufferPool& buffers, Network& network,
                                                      ClientConfig config);
  // Precondition: close() has returned, or the scheduler was killed.
  ~Client() override;

  std::uint64_t size_bytes() const noexcept override;

  // Requests of any length; split into pieces of 1 MiB, less on a thin line (send_window.h), which are not atomic together.
  // Status: ok, timeout, fenced, medium, io, closed (after close()), limit. `limit` only when more than kMaxQueued requests
  // wait.
  void submit(IoRequest& request) noexcept override;

  ClientStatus status() const;

  // Fails what is under way with `closed` (a write among them is unknown) and ends the session.
  Task<void> close();

  static constexpr std::size_t kMaxQueued = 65'536;

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace resilver::replica
