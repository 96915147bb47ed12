// The network of the real world: messages as frames (env/frame.h) over TCP.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "env/buffer.h"
#include "env/network.h"
#include "uring/ring.h"

namespace resilver::uring {

// A listening socket. Destroying it closes it.
class TcpListener : public Listener {
 public:
  // "127.0.0.1:41234": with the real port, also if port 0 was asked for.
  virtual const std::string& address() const noexcept = 0;
};

// Addresses are numeric: "127.0.0.1:4711", "[::1]:4711". Until links are authenticated, listen() refuses any address that is
// not a loopback one (permission). Send queues hold kQueueMessages and kQueueBytes at most (a message may exceed the
// bytes by itself); bodies are received into blocks of the pool: when it is used up, receive() waits for a block.
// Connections stay valid after the network is gone; all must be gone before the ring and the pool. A connection may be
// destroyed while its last bytes are in the kernel: the ring keeps what they need.
class TcpNetwork final : public Network {
 public:
  static constexpr std::size_t kQueueMessages = 256;
  static constexpr std::size_t kQueueBytes = std::size_t{4} << 20;
  static constexpr std::uint32_t kMaxConnections = 256;  // beyond: connect() gives limit, who comes in is closed at once

  TcpNetwork(Ring& ring, BufferPool& pool) : ring_(ring), pool_(pool) {}

  Task<Result<std::unique_ptr<Connection>>> connect(std::string address, Nanos deadline) override;
  Result<std::unique_ptr<Listener>> listen(std::string_view address) override;
  // As listen(); the listener tells its address. Port 0: any free one.
  Result<std::unique_ptr<TcpListener>> listen_tcp(std::string_view address);

 private:
  Ring& ring_;
  BufferPool& pool_;
  std::shared_ptr<std::uint32_t> live_ = std::make_shared<std::uint32_t>(0);  // connections
};

}  // namespace resilver::uring
