#include "uring/proxy.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "tests/uring/rig.h"
#include "uring/address.h"
#include "uring/tcp.h"

namespace resilver::uring {
namespace {

constexpr Nanos kSoon = 5 * kSecond;           // what must happen happens long before
constexpr Nanos kSilence = 60 * kMillisecond;  // how long nothing is watched for

Errc code(const auto& result) { return result ? Errc::ok : result.error().code; }

// A client, a proxy and a server on one ring.
class ProxyTest : public testing::Test {
 protected:
  // Starts a proxy with these parameters, runs the test, ends the proxy.
  template <typename Lambda>
  void with_proxy(const LinkParameters& parameters, Lambda&& lambda) {
    auto made = rig_.env().tcp().listen_tcp("127.0.0.1:0");
    ASSERT_TRUE(made);
    listener_ = std::move(*made);
    auto proxy = Proxy::create(rig_.ring(), "127.0.0.1:0", listener_->address(), parameters);
    ASSERT_TRUE(proxy) << to_string(proxy.error());
    proxy_ = std::move(*proxy);
    rig_.run([&]() -> Task<void> {
      TaskGroup group(rig_.ring());
      group.spawn(proxy_->run());
      co_await lambda();
      proxy_->stop();
      co_await group.join();
      EXPECT_EQ(proxy_->connections(), 0u);
    });
    client_.reset();
    server_.reset();
    proxy_.reset();
    EXPECT_EQ(rig_.env().buffers().bytes_in_use(), 0u);
  }
  Task<bool> link() {
    auto out = co_await rig_.env().tcp().connect(proxy_->address(), rig_.in(kSoon));
    if (!out) co_return false;
    client_ = std::move(*out);
    auto in = co_await listener_->accept();
    if (!in) co_return false;
    server_ = std::move(*in);
    co_return true;
  }
  Message body(std::size_t size, std::uint64_t seed) {
    Message made;
    made.body = rig_.env().buffers().allocate(size);
    fill(made.body, seed);
    return made;
  }
  // Sends through `from`, receives at `to`; gives how long it took.
  Task<Nanos> pass(Connection& from, Connection& to, std::size_t size, std::uint64_t seed) {
    const Nanos start = rig_.ring().now();
    EXPECT_TRUE(co_await from.send(body(size, seed), rig_.in(kSoon)));
    const auto got = co_await to.receive(rig_.in(kSoon));
    EXPECT_TRUE(got && filled(got->body, seed)) << (got ? "other bytes" : to_string(got.error()));
    co_return rig_.ring().now() - start;
  }
  Rig rig_;
  std::unique_ptr<TcpListener> listener_;
  std::unique_ptr<Proxy> proxy_;
  std::unique_ptr<Connection> client_, server_;
};

TEST_F(ProxyTest, PassesBothDirectionsAndCountsThem) {
  with_proxy({}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    for (const std::size_t size : {1u, 1000u, 70'000u, 1u << 20}) {
      co_await pass(*client_, *server_, size, size);
      co_await pass(*server_, *client_, size, size + 1);
    }
    EXPECT_EQ(proxy_->connections(), 1u);
    const std::uint64_t expected = 1 + 1000 + 70'000 + (1 << 20) + 4 * 24;
    EXPECT_EQ(proxy_->bytes(Direction::to_target), expected);
    EXPECT_EQ(proxy_->bytes(Direction::from_target), expected);
    EXPECT_GE(proxy_->pieces(Direction::to_target), 4u);
    EXPECT_GE(proxy_->pieces(Direction::from_target), 4u);
  });
}

TEST_F(ProxyTest, MuchInBothDirectionsAtOnceArrivesInOrder) {
  with_proxy({kMillisecond, 0, 0}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    const auto sender = [this](Connection& to, std::uint64_t base) -> Task<void> {
      for (std::uint64_t i = 0; i < 300; ++i) {
        Message message = body(i * 211 + 1, base + i);
        CO_ASSERT(co_await to.send(std::move(message), rig_.in(kSoon)));
      }
    };
    const auto receiver = [this](Connection& from, std::uint64_t base) -> Task<void> {
      for (std::uint64_t i = 0; i < 300; ++i) {
        const auto got = co_await from.receive(rig_.in(kSoon));
        CO_ASSERT(got);
        EXPECT_TRUE(filled(got->body, base + i)) << i;
      }
    };
    TaskGroup group(rig_.ring());
    group.spawn(sender(*client_, 0));
    group.spawn(sender(*server_, 5000));
    group.spawn(receiver(*server_, 0));
    group.spawn(receiver(*client_, 5000));
    co_await group.join();
  });
}

TEST_F(ProxyTest, LatencyDelaysEachDirectionAndTheConnectionsFirstByte) {
  constexpr Nanos kLatency = 20 * kMillisecond;
  with_proxy({kLatency, 0, 0}, [&]() -> Task<void> {
    const Nanos start = rig_.ring().now();
    CO_ASSERT(co_await link());
    EXPECT_GE(rig_.ring().now() - start, 2 * kLatency);  // the round trip of connecting
    EXPECT_GE(co_await pass(*client_, *server_, 100, 1), kLatency);
    EXPECT_GE(co_await pass(*server_, *client_, 100, 2), kLatency);
    proxy_->set_latency(Direction::from_target, 20 * kLatency);
    const Nanos forth = co_await pass(*client_, *server_, 100, 3);
    EXPECT_GE(forth, kLatency);
    EXPECT_LT(forth, 20 * kLatency);
    EXPECT_GE(co_await pass(*server_, *client_, 100, 4), 20 * kLatency);
  });
}

TEST_F(ProxyTest, BandwidthLimitsWhatPasses) {
  with_proxy({0, 4'000'000, 0}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    const Nanos limited = co_await pass(*client_, *server_, 400'000, 1);
    EXPECT_GE(limited, 100 * kMillisecond);
    EXPECT_LT(limited, 2 * kSecond);  // a busy machine is slow, not as slow as a link that is wrong by a factor
    proxy_->set_bandwidth(Direction::to_target, 0);
    Nanos best = kSecond;
    for (int i = 0; i < 10 && best > 50 * kMillisecond; ++i) {
      best = std::min(best, co_await pass(*client_, *server_, 400'000, 2));
    }
    EXPECT_LT(best, 100 * kMillisecond);
    EXPECT_GE(co_await pass(*server_, *client_, 400'000, 3), 100 * kMillisecond);  // the other direction is as it was
  });
}

TEST_F(ProxyTest, ConnectionsShareTheWire) {
  with_proxy({0, 4'000'000, 0}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    auto first_client = std::move(client_);
    auto first_server = std::move(server_);
    CO_ASSERT(co_await link());
    EXPECT_EQ(proxy_->connections(), 2u);
    const auto passing = [this](Connection& from, Connection& to) -> Task<void> { co_await pass(from, to, 200'000, 7); };
    const Nanos start = rig_.ring().now();
    TaskGroup group(rig_.ring());
    group.spawn(passing(*first_client, *first_server));
    group.spawn(passing(*client_, *server_));
    co_await group.join();
    EXPECT_GE(rig_.ring().now() - start, 100 * kMillisecond);
  });
}

TEST_F(ProxyTest, ADroppedDirectionIsSilentAndLosesNothingWhenRestored) {
  with_proxy({kMillisecond, 0, 0}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    co_await pass(*client_, *server_, 100, 1);
    const std::uint64_t bytes = proxy_->bytes(Direction::to_target);
    const std::uint64_t pieces = proxy_->pieces(Direction::to_target);
    proxy_->drop(Direction::to_target);
    for (std::uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(co_await client_->send(body(50'000, 10 + i), rig_.in(kSoon)));
    EXPECT_EQ(code(co_await server_->receive(rig_.in(kSilence))), Errc::timeout);
    EXPECT_EQ(proxy_->bytes(Direction::to_target), bytes);
    EXPECT_GT(proxy_->pieces(Direction::to_target), pieces);  // they wanted to pass
    co_await pass(*server_, *client_, 100, 2);                // the other direction lives
    proxy_->restore(Direction::to_target);
    for (std::uint64_t i = 0; i < 3; ++i) {
      const auto got = co_await server_->receive(rig_.in(kSoon));
      CO_ASSERT(got);
      EXPECT_TRUE(filled(got->body, 10 + i));
    }
  });
}

TEST_F(ProxyTest, WhatADropHeldBackPassesTheWireAgainAtItsBandwidth) {
  with_proxy({0, 20'000'000, 0}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    const Message large = body(1 << 20, 1);
    TaskGroup sending(rig_.ring());
    const auto sender = [this, &large]() -> Task<void> {
      for (int i = 0; i < 8; ++i) CO_ASSERT(co_await client_->send(large, rig_.in(kSoon)));
    };
    sending.spawn(sender());
    EXPECT_TRUE(co_await server_->receive(rig_.in(kSoon)));
    proxy_->drop(Direction::both);
    co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    const std::uint64_t bytes = proxy_->bytes(Direction::to_target);
    EXPECT_LT(bytes, 6u << 20);
    co_await sleep_for(rig_.ring(), kSilence);  // long enough for all that is queued to become due
    EXPECT_EQ(proxy_->bytes(Direction::to_target), bytes);
    const Nanos restored = rig_.ring().now();
    proxy_->restore(Direction::both);
    const std::uint64_t all = 8 * ((1 << 20) + 24);
    while (proxy_->bytes(Direction::to_target) < all && rig_.ring().now() < restored + kSoon) {
      co_await server_->receive(rig_.in(kMillisecond));
    }
    EXPECT_EQ(proxy_->bytes(Direction::to_target), all);
    EXPECT_GE(rig_.ring().now() - restored, static_cast<Nanos>((all - bytes) * 50));  // 50 ns a byte
    co_await sending.join();
  });
}

// A send that waits for a receiver who does not read must not go on when he does after the drop.
TEST_F(ProxyTest, ADropStopsASendThatIsUnderWay) {
  with_proxy({}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    const Message large = body(1 << 20, 1);
    std::size_t sent = 0;
    while (sent < 64 && co_await client_->send(large, rig_.in(100 * kMillisecond))) ++sent;
    CO_ASSERT(sent < 64);
    proxy_->drop(Direction::to_target);
    co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    const std::uint64_t bytes = proxy_->bytes(Direction::to_target);
    std::size_t received = 0;
    while (co_await server_->receive(rig_.in(kSilence))) ++received;
    EXPECT_EQ(proxy_->bytes(Direction::to_target), bytes);
    EXPECT_LE(received, bytes / (1 << 20));
    proxy_->restore(Direction::to_target);
    for (; received < sent; ++received) {
      const auto got = co_await server_->receive(rig_.in(kSoon));
      CO_ASSERT(got);
      EXPECT_TRUE(filled(got->body, 1));
    }
  });
}

TEST_F(ProxyTest, WhileDroppedNotEvenACloseIsSeen) {
  with_proxy({}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    proxy_->drop(Direction::both);
    client_.reset();
    EXPECT_EQ(code(co_await server_->receive(rig_.in(kSilence))), Errc::timeout);
    proxy_->restore(Direction::both);
    EXPECT_EQ(code(co_await server_->receive(rig_.in(kSoon))), Errc::closed);
  });
}

TEST_F(ProxyTest, AConnectionMadeWhileDroppedGetsNoAnswerUntilItIsRestored) {
  with_proxy({kMillisecond, 0, 0}, [&]() -> Task<void> {
    for (const Direction direction : {Direction::to_target, Direction::from_target, Direction::both}) {
      const std::uint64_t pieces = proxy_->pieces(Direction::to_target);
      proxy_->drop(direction);
      auto out = co_await rig_.env().tcp().connect(proxy_->address(), rig_.in(kSoon));
      CO_ASSERT(out);
      EXPECT_TRUE(co_await (*out)->send(body(10, 1), rig_.in(kSoon)));
      EXPECT_EQ(code(co_await (*out)->receive(rig_.in(kSilence))), Errc::timeout);
      EXPECT_GT(proxy_->pieces(Direction::to_target), pieces);
      proxy_->restore(direction);
      auto in = co_await listener_->accept();
      CO_ASSERT(in);
      const auto got = co_await (*in)->receive(rig_.in(kSoon));
      CO_ASSERT(got);
      EXPECT_TRUE(filled(got->body, 1));
    }
  });
}

// Reconnecting every now and then through a long partition must not use up the places.
TEST_F(ProxyTest, ClientsThatGaveUpWhileDroppedAreForgotten) {
  with_proxy({}, [&]() -> Task<void> {
    proxy_->drop(Direction::both);
    for (int i = 0; i < 10; ++i) {
      auto out = co_await rig_.env().tcp().connect(proxy_->address(), rig_.in(kSoon));
      CO_ASSERT(out);
      EXPECT_TRUE(co_await (*out)->send(body(10, 1), rig_.in(kSoon)));
      co_await sleep_for(rig_.ring(), kMillisecond);
    }
    for (int i = 0; i < 200 && proxy_->connections() > 0; ++i) co_await sleep_for(rig_.ring(), 10 * kMillisecond);
    EXPECT_EQ(proxy_->connections(), 0u);
    proxy_->restore(Direction::both);
    CO_ASSERT(co_await link());
    co_await pass(*client_, *server_, 100, 3);  // from this connection, not from one of the forgotten
  });
}

TEST_F(ProxyTest, ResetEndsBothEndsAtOnceAlsoWhileDropped) {
  with_proxy({}, [&]() -> Task<void> {
    for (const bool dropped : {false, true}) {
      CO_ASSERT(co_await link());
      proxy_->set_latency(Direction::both, kSoon);
      if (dropped) proxy_->drop(Direction::both);
      EXPECT_TRUE(co_await client_->send(body(100, 1), rig_.in(kSoon)));
      const Nanos start = rig_.ring().now();
      proxy_->reset();
      EXPECT_EQ(code(co_await client_->receive(rig_.in(kSoon))), Errc::closed);
      EXPECT_EQ(code(co_await server_->receive(rig_.in(kSoon))), Errc::closed);
      EXPECT_LT(rig_.ring().now() - start, kSoon / 2);  // sooner than the latency
      proxy_->restore(Direction::both);
      proxy_->set_latency(Direction::both, 0);
      CO_ASSERT(co_await link());  // new connections are made as before
    }
  });
}

// What a socket sees that expects nothing: 0 an end, or the errno.
int seen_by(int fd) {
  char byte;
  const ssize_t got = ::recv(fd, &byte, 1, MSG_DONTWAIT);
  return got < 0 ? errno : static_cast<int>(got);
}

TEST_F(ProxyTest, AResetIsARealOneNotAnEndOfTheStream) {
  auto target = listen_on("127.0.0.1:0");
  ASSERT_TRUE(target);
  with_proxy({}, [&]() -> Task<void> {
    proxy_->set_target(target->address);
    const auto address = parse_address(proxy_->address());
    const int client = *socket_for(*address);
    CO_ASSERT(::connect(client, address->get(), address->size) == 0);
    CO_ASSERT(co_await rig_.ring().wait_fd(target->fd, POLLIN, rig_.in(kSoon)));
    const int server = ::accept(target->fd, nullptr, nullptr);
    co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    EXPECT_EQ(seen_by(client), EAGAIN);
    EXPECT_EQ(seen_by(server), EAGAIN);
    proxy_->reset();
    co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    EXPECT_EQ(seen_by(client), ECONNRESET);
    EXPECT_EQ(seen_by(server), ECONNRESET);
    ::close(client);
    ::close(server);
  });
  ::close(target->fd);
}

// A half-closed stream stays open the other way: TCP allows it, so the link does.
TEST_F(ProxyTest, AHalfClosedStreamStillPassesTheOtherWay) {
  auto target = listen_on("127.0.0.1:0");
  ASSERT_TRUE(target);
  with_proxy({}, [&]() -> Task<void> {
    proxy_->set_target(target->address);
    const auto address = parse_address(proxy_->address());
    const int client = *socket_for(*address);
    CO_ASSERT(::connect(client, address->get(), address->size) == 0);
    CO_ASSERT(co_await rig_.ring().wait_fd(target->fd, POLLIN, rig_.in(kSoon)));
    const int server = ::accept(target->fd, nullptr, nullptr);
    ::shutdown(client, SHUT_WR);
    CO_ASSERT(co_await rig_.ring().wait_fd(server, POLLIN, rig_.in(kSoon)));
    EXPECT_EQ(seen_by(server), 0);
    EXPECT_EQ(::send(server, "x", 1, MSG_NOSIGNAL), 1);
    CO_ASSERT(co_await rig_.ring().wait_fd(client, POLLIN, rig_.in(kSoon)));
    EXPECT_EQ(seen_by(client), 1);
    // The client is gone for good now: what the server sends next is answered by a reset.
    ::close(client);
    int seen = 0;
    for (int i = 0; i < 100 && seen != EPIPE; ++i) {
      seen = ::send(server, "x", 1, MSG_NOSIGNAL) < 0 ? errno : 0;
      if (seen == ECONNRESET) break;
      co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    }
    EXPECT_NE(seen, 0);
    ::close(server);
  });
  ::close(target->fd);
}

// Who comes second waits for what may be queued before the wire, not for all that the first one has to say.
TEST_F(ProxyTest, TheQueueBeforeTheWireIsBounded) {
  with_proxy({0, 4'000'000, 40'000}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    auto first_client = std::move(client_);
    auto first_server = std::move(server_);
    CO_ASSERT(co_await link());
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(co_await first_client->send(body(1 << 20, 1), rig_.in(kSoon)));
    co_await sleep_for(rig_.ring(), 50 * kMillisecond);
    EXPECT_LT(co_await pass(*client_, *server_, 100, 2), 500 * kMillisecond);  // 10 ms of queue, not a second of it
  });
}

TEST_F(ProxyTest, AClosedEndIsSeenByTheOtherAfterWhatWasSent) {
  with_proxy({10 * kMillisecond, 0, 0}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    EXPECT_TRUE(co_await server_->send(body(300'000, 1), rig_.in(kSoon)));
    co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    server_.reset();
    const auto got = co_await client_->receive(rig_.in(kSoon));
    CO_ASSERT(got);
    EXPECT_TRUE(filled(got->body, 1));
    EXPECT_EQ(code(co_await client_->receive(rig_.in(kSoon))), Errc::closed);
    client_.reset();
    for (int i = 0; i < 100 && proxy_->connections() > 0; ++i) co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    EXPECT_EQ(proxy_->connections(), 0u);
  });
}

// The receiver has died while more is under way: the sender learns it, and the proxy forgets the connection.
TEST_F(ProxyTest, ASenderLearnsThatItsReceiverIsGone) {
  with_proxy({5 * kMillisecond, 0, 0}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    server_.reset();
    Status sent;
    for (int i = 0; sent && i < 1000; ++i) {
      sent = co_await client_->send(body(65536, 1), rig_.in(kSoon));
      co_await sleep_for(rig_.ring(), kMillisecond / 2);
    }
    EXPECT_EQ(code(sent), Errc::closed);
    for (int i = 0; i < 100 && proxy_->connections() > 0; ++i) co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    EXPECT_EQ(proxy_->connections(), 0u);
  });
}

TEST_F(ProxyTest, AnAbsentTargetIsRefusedAndANewOneTaken) {
  with_proxy({}, [&]() -> Task<void> {
    proxy_->set_target("127.0.0.1:1");
    auto out = co_await rig_.env().tcp().connect(proxy_->address(), rig_.in(kSoon));
    CO_ASSERT(out);
    EXPECT_EQ(code(co_await (*out)->receive(rig_.in(kSoon))), Errc::closed);
    proxy_->set_target(listener_->address());
    CO_ASSERT(co_await link());
    co_await pass(*client_, *server_, 10, 1);
  });
}

TEST_F(ProxyTest, AReceiverThatDoesNotReadHoldsTheSenderBack) {
  with_proxy({}, [&]() -> Task<void> {
    CO_ASSERT(co_await link());
    int sent = 0;
    while (sent < 64 && co_await client_->send(body(1 << 20, 1), rig_.in(100 * kMillisecond))) ++sent;
    EXPECT_LT(sent, 32);
    for (int i = 0; i < sent; ++i) EXPECT_EQ(code(co_await server_->receive(rig_.in(kSoon))), Errc::ok);
  });
}

TEST_F(ProxyTest, MoreConnectionsThanPlacesWaitForOne) {
  with_proxy({}, [&]() -> Task<void> {
    std::vector<std::unique_ptr<Connection>> clients, servers;
    for (std::size_t i = 0; i < Proxy::kMaxConnections; ++i) {
      CO_ASSERT(co_await link());
      clients.push_back(std::move(client_));
      servers.push_back(std::move(server_));
    }
    auto out = co_await rig_.env().tcp().connect(proxy_->address(), rig_.in(kSoon));
    CO_ASSERT(out);
    co_await sleep_for(rig_.ring(), 20 * kMillisecond);
    EXPECT_EQ(proxy_->connections(), Proxy::kMaxConnections);
    clients.pop_back();
    servers.pop_back();
    auto in = co_await listener_->accept();
    CO_ASSERT(in);
    co_await pass(**out, **in, 10, 1);
  });
}

TEST_F(ProxyTest, StopBeforeRunEndsRunAtOnce) {
  auto proxy = Proxy::create(rig_.ring(), "127.0.0.1:0", "127.0.0.1:1", {});
  ASSERT_TRUE(proxy);
  rig_.run([&]() -> Task<void> {
    TaskGroup group(rig_.ring());
    group.spawn((*proxy)->run());
    (*proxy)->stop();
    (*proxy)->stop();
    co_await group.join();
  });
}

TEST_F(ProxyTest, BadAddressesAreRefused) {
  EXPECT_EQ(code(Proxy::create(rig_.ring(), "127.0.0.1:0", "nowhere", {})), Errc::bad_input);
  EXPECT_EQ(code(Proxy::create(rig_.ring(), "0.0.0.0:0", "127.0.0.1:1", {})), Errc::permission);
}

}  // namespace
}  // namespace resilver::uring
