#include "uring/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

namespace resilver::uring {
namespace {

constexpr int kBacklog = 128;

std::unexpected<Error> bad_address(std::string_view text) {
  return fail(Errc::bad_input,
              fmt::format("address '{}': expected ADDRESS:PORT, as in 127.0.0.1:4711 or [::1]:4711", text));
}

}  // namespace

Result<SocketAddress> parse_address(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || text.size() > 100) return bad_address(text);
  std::string host(text.substr(0, colon));
  const std::string_view port_text = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto parsed = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (parsed.ec != std::errc() || parsed.ptr != port_text.data() + port_text.size()) return bad_address(text);
  SocketAddress address;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    auto& in6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    if (inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &in6.sin6_addr) != 1) return bad_address(text);
    address.size = sizeof in6;
  } else {
    auto& in = reinterpret_cast<sockaddr_in&>(address.storage);
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    if (inet_pton(AF_INET, host.c_str(), &in.sin_addr) != 1) return bad_address(text);
    address.size = sizeof in;
  }
  return address;
}

std::string to_string(const SocketAddress& address) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (address.storage.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address.storage);
    inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
    return fmt::format("[{}]:{}", host, ntohs(in6.sin6_port));
  }
  const auto& in = reinterpret_cast<const sockaddr_in&>(address.storage);
  inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
  return fmt::format("{}:{}", host, ntohs(in.sin_port));
}

bool is_loopback(const SocketAddress& address) noexcept {
  if (address.storage.ss_family == AF_INET6) {
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_addr);
  }
  return ntohl(reinterpret_cast<const sockaddr_in&>(address.storage).sin_addr.s_addr) >> 24 == 127;
}

Result<ListeningSocket> listen_on(std::string_view text) {
  const auto address = parse_address(text);
  if (!address) return std::unexpected(address.error());
  if (!is_loopback(*address)) {
    return fail(Errc::permission,
                fmt::format("{}: not a loopback address; links are neither authenticated nor encrypted yet", text));
  }
  const auto fd = socket_for(*address);
  if (!fd) return std::unexpected(fd.error());
  const int on = 1;
  setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  if (bind(*fd, address->get(), address->size) != 0 || listen(*fd, kBacklog) != 0 ||
      getsockname(*fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.size) != 0) {
    const int error = errno;
    close(*fd);
    const Errc code = error == EADDRINUSE ? Errc::exists : error == EACCES ? Errc::permission : Errc::bad_input;
    return fail(code, fmt::format("{}: {}", text, std::strerror(error)));
  }
  return ListeningSocket{*fd, to_string(bound)};
}

Result<int> socket_for(const SocketAddress& address) {
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return fail(Errc::limit, fmt::format("socket: {}", std::strerror(errno)));
  return fd;
}

void set_no_delay(int fd) noexcept {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool connected_to_itself(int fd) noexcept {
  SocketAddress local, peer;
  local.size = peer.size = sizeof local.storage;
  return getsockname(fd, reinterpret_cast<sockaddr*>(&local.storage), &local.size) == 0 &&
         getpeername(fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.size) == 0 && local.size == peer.size &&
         std::memcmp(&local.storage, &peer.storage, local.size) == 0;
}

bool transient_accept_error(int error) noexcept {
  switch (error) {
    case EINTR:
    case EAGAIN:
    case ECONNABORTED:
    case EPROTO:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return true;
    default: return false;
  }
}

}  // namespace resilver::uring
