// Connections between nodes: ordered, reliable while they live, of whole messages. When a message is lost, delayed for
// ever or damaged, or comes twice, the connection as a whole ends or falls silent; nothing is delivered twice or out of order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "base/error.h"
#include "base/time.h"
#include "env/buffer.h"

namespace resilver {

// A frame on the wire is a prefix (env/frame.h), the head (a few encoded fields) and the body (payload blocks, may be empty).
struct Message {
  std::vector<std::byte> head;
  Buffer body;

  static constexpr std::size_t kMaxHead = 64 * 1024;
  static constexpr std::size_t kMaxBody = BufferPool::kMaxBlock;
};

// One end of a connection. At most one send() and one receive() may be under way at a time; close() at any time.
class Connection {
 public:
  virtual ~Connection() = default;

  // Queues a message. Completes when the bounded send queue has room for the next one, not when the peer has it: silence
  // of the peer shows in the absence of answers. Errors: closed; timeout when the queue stayed full until `deadline`.
  virtual Task<Status> send(Message message, Nanos deadline) = 0;

  // The next message. Errors: closed (the peer closed or died, or close() was called here), timeout, corrupt (a broken
  // frame; the connection is closed then).
  virtual Task<Result<Message>> receive(Nanos deadline) = 0;

  // Ends both directions at once; what is queued may be lost. Idempotent.
  virtual void close() noexcept = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;
  // The next connection from outside. Errors: closed.
  virtual Task<Result<std::unique_ptr<Connection>>> accept() = 0;
  virtual void close() noexcept = 0;
};

// The network as one node sees it. Addresses are names: "127.0.0.1:4711" in the real world, "A" in the simulator.
class Network {
 public:
  virtual ~Network() = default;
  // Errors: timeout, closed (refused), bad_input (no such address).
  virtual Task<Result<std::unique_ptr<Connection>>> connect(std::string address, Nanos deadline) = 0;
  // Errors: exists (address in use), permission (not a loopback address), bad_input.
  virtual Result<std::unique_ptr<Listener>> listen(std::string_view address) = 0;
};

}  // namespace resilver
