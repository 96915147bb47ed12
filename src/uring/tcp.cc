#include "uring/tcp.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "async/sync.h"
#include "uring/address.h"
#include "uring/stream.h"
#include "uring/wait.h"

namespace resilver::uring {
namespace {

constexpr Nanos kAcceptPause = 10 * kMillisecond;

class TcpConnection final : public Connection {
 public:
  explicit TcpConnection(Stream& stream) noexcept : stream_(stream) {}
  ~TcpConnection() override { stream_->close(); }
  Task<Status> send(Message message, Nanos deadline) override { return stream_->send(std::move(message), deadline); }
  Task<Result<Message>> receive(Nanos deadline) override { return stream_->receive(deadline); }
  void close() noexcept override { stream_->close(); }

 private:
  StreamRef stream_;
};

// Outlives the listener while an accept() is under way.
struct Accepting {
  Accepting(Ring& r, BufferPool& p, ListeningSocket socket, std::shared_ptr<std::uint32_t> count)
      : ring(r), pool(p), live(std::move(count)), fd(socket.fd), address(std::move(socket.address)) {}
  ~Accepting() { close_socket(); }
  void close_socket() noexcept {
    if (fd >= 0) ::close(std::exchange(fd, -1));
  }
  void close() noexcept {
    closed = true;
    if (busy) {
      ::shutdown(fd, SHUT_RDWR);
      if (accept != nullptr) accept->cancel();
    } else {
      close_socket();
    }
  }

  Ring& ring;
  BufferPool& pool;
  std::shared_ptr<std::uint32_t> live;
  int fd;
  std::string address;
  bool closed = false;
  bool busy = false;       // accept() is under way
  Wait* accept = nullptr;  // its operation, while there is one
};

using Accepted = Result<std::unique_ptr<Connection>>;

Accepted make_connection(Ring& ring, BufferPool& pool, int fd, const std::shared_ptr<std::uint32_t>& live) {
  set_no_delay(fd);
  return std::make_unique<TcpConnection>(*new Stream(ring, pool, fd, live));
}

Task<Accepted> accept_one(std::shared_ptr<Accepting> state) {
  CHECK(!state->busy, "one accept() at a time");
  while (!state->closed) {
    state->busy = true;
    Wait wait = Wait::accept(state->ring, state->fd);
    state->accept = &wait;
    const int fd = co_await wait;
    state->accept = nullptr;
    if (state->closed) {
      if (fd >= 0) ::close(fd);
      break;
    }
    if (fd >= 0 && *state->live < TcpNetwork::kMaxConnections) {
      state->busy = false;
      co_return make_connection(state->ring, state->pool, fd, state->live);
    }
    if (fd >= 0) {
      ::close(fd);
    } else if (transient_accept_error(-fd)) {
      co_await sleep_for(state->ring, kAcceptPause);
    } else {
      break;
    }
  }
  state->busy = false;
  state->closed = true;
  state->close_socket();
  co_return fail(Errc::closed);
}

class Acceptor final : public TcpListener {
 public:
  explicit Acceptor(std::shared_ptr<Accepting> state) noexcept : state_(std::move(state)) {}
  ~Acceptor() override { state_->close(); }
  Task<Accepted> accept() override { return accept_one(state_); }
  void close() noexcept override { state_->close(); }
  const std::string& address() const noexcept override { return state_->address; }

 private:
  std::shared_ptr<Accepting> state_;
};

}  // namespace

Task<Accepted> TcpNetwork::connect(std::string address, Nanos deadline) {
  const auto to = parse_address(address);
  if (!to) co_return std::unexpected(to.error());
  // The coroutine may outlive the network, not the ring and the pool.
  Ring& ring = ring_;
  BufferPool& pool = pool_;
  const auto live = live_;
  if (*live >= kMaxConnections) co_return fail(Errc::limit, "too many connections");
  const auto fd = socket_for(*to);
  if (!fd) co_return std::unexpected(fd.error());
  const int result = co_await Wait::connect(ring, *fd, to->get(), to->size, deadline);
  if (result == 0 && !connected_to_itself(*fd)) co_return make_connection(ring, pool, *fd, live);
  ::close(*fd);
  if (result == -ETIME || result == -ETIMEDOUT) co_return fail(Errc::timeout, address);
  const char* why = result == 0 ? std::strerror(ECONNREFUSED) : std::strerror(-result);
  co_return fail(Errc::closed, fmt::format("{}: {}", address, why));
}

Result<std::unique_ptr<TcpListener>> TcpNetwork::listen_tcp(std::string_view address) {
  auto socket = listen_on(address);
  if (!socket) return std::unexpected(socket.error());
  return std::make_unique<Acceptor>(std::make_shared<Accepting>(ring_, pool_, std::move(*socket), live_));
}

Result<std::unique_ptr<Listener>> TcpNetwork::listen(std::string_view address) {
  auto listener = listen_tcp(address);
  if (!listener) return std::unexpected(listener.error());
  return std::unique_ptr<Listener>(std::move(*listener));
}

}  // namespace resilver::uring
