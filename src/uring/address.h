// Numeric socket addresses, and the sockets made for them. Inside src/uring, and for who reads addresses from people.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

#include "base/error.h"

namespace resilver::uring {

struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

// "127.0.0.1:4711" or "[::1]:4711". Error: bad_input.
Result<SocketAddress> parse_address(std::string_view text);
std::string to_string(const SocketAddress& address);
bool is_loopback(const SocketAddress& address) noexcept;

struct ListeningSocket {
  int fd;
  std::string address;  // with the real port
};
// Errors: bad_input, permission (not a loopback address), exists (in use), limit.
Result<ListeningSocket> listen_on(std::string_view address);

// A TCP socket for connecting to `address`. Error: limit.
Result<int> socket_for(const SocketAddress& address);
void set_no_delay(int fd) noexcept;

// A connection within this machine to a port nobody listens on can meet itself (a simultaneous open from the same port).
bool connected_to_itself(int fd) noexcept;

// Accepting failed for now, not for good.
bool transient_accept_error(int error) noexcept;

}  // namespace resilver::uring
