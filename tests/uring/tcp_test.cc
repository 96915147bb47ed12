#include "uring/tcp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <vector>

#include "env/frame.h"
#include "tests/uring/rig.h"

namespace resilver::uring {
namespace {

using Made = Result<std::unique_ptr<Connection>>;

Errc code(const auto& result) { return result ? Errc::ok : result.error().code; }

// A socket that speaks no frames, or broken ones.
class RawSocket {
 public:
  explicit RawSocket(const std::string& address) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  }
  ~RawSocket() { ::close(fd_); }
  void send(const void* data, std::size_t size) const {
    EXPECT_EQ(::send(fd_, data, size, MSG_NOSIGNAL), static_cast<ssize_t>(size));
  }

 private:
  int fd_;
};

class TcpTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = rig_.env().tcp().listen_tcp("127.0.0.1:0");
    ASSERT_TRUE(made) << to_string(made.error());
    listener_ = std::move(*made);
  }
  Task<Made> connect() { return rig_.env().tcp().connect(listener_->address(), rig_.in(kSecond)); }
  Message message(std::size_t head, std::size_t body, std::uint64_t seed) {
    Message made;
    for (std::size_t i = 0; i < head; ++i) made.head.push_back(static_cast<std::byte>(seed + i));
    if (body > 0) {
      made.body = rig_.env().buffers().allocate(body);
      EXPECT_TRUE(made.body);
      fill(made.body, seed);
    }
    return made;
  }
  bool same(const Message& got, std::size_t head, std::size_t body, std::uint64_t seed) {
    if (got.head.size() != head || got.body.size() != body) return false;
    for (std::size_t i = 0; i < head; ++i) {
      if (got.head[i] != static_cast<std::byte>(seed + i)) return false;
    }
    return filled(got.body, seed);
  }
  Rig rig_;
  std::unique_ptr<TcpListener> listener_;
};

Task<void> echo(TcpListener& listener, int connections) {
  for (int i = 0; i < connections; ++i) {
    auto accepted = co_await listener.accept();
    CO_ASSERT(accepted);
    for (;;) {
      auto got = co_await (*accepted)->receive(kNever);
      if (!got) break;
      if (!co_await (*accepted)->send(std::move(*got), kNever)) break;
    }
  }
}

TEST_F(TcpTest, EchoesBodiesFromOneByteToOneMebibyte) {
  rig_.run([&]() -> Task<void> {
    TaskGroup group(rig_.ring());
    group.spawn(echo(*listener_, 1));
    auto made = co_await connect();
    CO_ASSERT(made);
    std::uint64_t seed = 1;
    for (const std::size_t head : {std::size_t{0}, std::size_t{48}, Message::kMaxHead}) {
      for (const std::size_t body : {0u, 1u, 511u, 4096u, 16383u, 16384u, 65536u, 100'000u, 1u << 20}) {
        const Message out = message(head, body, ++seed);
        EXPECT_TRUE(co_await (*made)->send(out, rig_.in(5 * kSecond)));
        const auto got = co_await (*made)->receive(rig_.in(5 * kSecond));
        CO_ASSERT(got);
        EXPECT_TRUE(same(*got, head, body, seed)) << head << " " << body;
      }
    }
    made->reset();
    co_await group.join();
  });
  EXPECT_EQ(rig_.env().buffers().bytes_in_use(), 0u);
}

TEST_F(TcpTest, ManyMessagesUnderWayKeepTheirOrder) {
  constexpr std::uint64_t kCount = 2000;
  rig_.run([&]() -> Task<void> {
    TaskGroup group(rig_.ring());
    group.spawn(echo(*listener_, 1));
    auto made = co_await connect();
    CO_ASSERT(made);
    const auto sender = [this](Connection& to) -> Task<void> {
      for (std::uint64_t i = 0; i < kCount; ++i) {
        CO_ASSERT(co_await to.send(message(i % 100, i % 5 == 0 ? i * 7 + 1 : 0, i), rig_.in(10 * kSecond)));
      }
    };
    group.spawn(sender(**made));
    for (std::uint64_t i = 0; i < kCount; ++i) {
      const auto got = co_await (*made)->receive(rig_.in(10 * kSecond));
      CO_ASSERT(got);
      EXPECT_TRUE(same(*got, i % 100, i % 5 == 0 ? i * 7 + 1 : 0, i)) << i;
    }
    made->reset();
    co_await group.join();
  });
}

TEST_F(TcpTest, GarbageIsRefusedAndTheConnectionClosed) {
  std::array<char, 200> noise;
  noise.fill('x');
  rig_.run([&]() -> Task<void> {
    const RawSocket raw(listener_->address());
    auto accepted = co_await listener_->accept();
    CO_ASSERT(accepted);
    raw.send(noise.data(), noise.size());
    EXPECT_EQ(code(co_await (*accepted)->receive(rig_.in(kSecond))), Errc::corrupt);
    EXPECT_EQ(code(co_await (*accepted)->receive(rig_.in(kSecond))), Errc::closed);
    EXPECT_EQ(code(co_await (*accepted)->send(message(1, 0, 1), rig_.in(kSecond))), Errc::closed);
  });
}

TEST_F(TcpTest, ADamagedHeadOrBodyIsRefused) {
  for (const std::size_t damage : {std::size_t{8}, std::size_t{20}, kFrameBytes, kFrameBytes + 10}) {
    rig_.run([&]() -> Task<void> {
      const RawSocket raw(listener_->address());
      auto accepted = co_await listener_->accept();
      CO_ASSERT(accepted);
      const Message whole = message(10, 5000, 1);
      std::vector<std::byte> bytes(wire_bytes(whole));
      encode_frame(whole, 0, std::span<std::byte, kFrameBytes>(bytes.data(), kFrameBytes));
      std::memcpy(&bytes[kFrameBytes], whole.head.data(), 10);
      std::memcpy(&bytes[kFrameBytes + 10], whole.body.data(), 5000);
      bytes[damage] ^= std::byte{1};
      raw.send(bytes.data(), bytes.size());
      EXPECT_EQ(code(co_await (*accepted)->receive(rig_.in(kSecond))), Errc::corrupt) << damage;
    });
  }
}

TEST_F(TcpTest, TheDeadlineOfAReceiveIsKept) {
  rig_.run([&]() -> Task<void> {
    auto made = co_await connect();
    CO_ASSERT(made);
    auto accepted = co_await listener_->accept();
    CO_ASSERT(accepted);
    const Nanos start = rig_.ring().now();
    EXPECT_EQ(code(co_await (*made)->receive(start + 30 * kMillisecond)), Errc::timeout);
    EXPECT_GE(rig_.ring().now() - start, 30 * kMillisecond);
    EXPECT_LT(rig_.ring().now() - start, kSecond);
    EXPECT_TRUE(co_await (*accepted)->send(message(5, 5, 5), rig_.in(kSecond)));  // the connection lives on
    const auto got = co_await (*made)->receive(rig_.in(kSecond));
    CO_ASSERT(got);
    EXPECT_TRUE(same(*got, 5, 5, 5));
  });
}

// A deadline in the middle of a message, wherever that is, loses none of its bytes.
TEST_F(TcpTest, ADeadlineInsideAMessageLosesNothing) {
  for (const std::size_t cut : {std::size_t{3}, std::size_t{30}, std::size_t{5000}, std::size_t{150'000}}) {
    rig_.run([&]() -> Task<void> {
      const RawSocket raw(listener_->address());
      auto accepted = co_await listener_->accept();
      CO_ASSERT(accepted);
      const Message whole = message(10, 200'000, 1);
      std::vector<std::byte> bytes(wire_bytes(whole));
      encode_frame(whole, 0, std::span<std::byte, kFrameBytes>(bytes.data(), kFrameBytes));
      std::memcpy(&bytes[kFrameBytes], whole.head.data(), 10);
      std::memcpy(&bytes[kFrameBytes + 10], whole.body.data(), 200'000);
      raw.send(bytes.data(), cut);
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(code(co_await (*accepted)->receive(rig_.in(10 * kMillisecond))), Errc::timeout);
      }
      raw.send(bytes.data() + cut, bytes.size() - cut);
      const auto got = co_await (*accepted)->receive(rig_.in(kSecond));
      CO_ASSERT(got);
      EXPECT_TRUE(same(*got, 10, 200'000, 1)) << cut;
    });
  }
}

TEST_F(TcpTest, AClosedPeerIsSeenAfterWhatItSent) {
  rig_.run([&]() -> Task<void> {
    auto made = co_await connect();
    CO_ASSERT(made);
    auto accepted = co_await listener_->accept();
    CO_ASSERT(accepted);
    EXPECT_TRUE(co_await (*made)->send(message(4, 4, 4), rig_.in(kSecond)));
    co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    made->reset();
    EXPECT_EQ(code(co_await (*accepted)->receive(rig_.in(kSecond))), Errc::ok);
    EXPECT_EQ(code(co_await (*accepted)->receive(rig_.in(kSecond))), Errc::closed);
  });
}

TEST_F(TcpTest, CloseEndsTheOwnReceiveToo) {
  rig_.run([&]() -> Task<void> {
    auto made = co_await connect();
    CO_ASSERT(made);
    auto accepted = co_await listener_->accept();
    CO_ASSERT(accepted);
    TaskGroup group(rig_.ring());
    const auto receiver = [](Connection& on) -> Task<void> {
      EXPECT_EQ(code(co_await on.receive(kNever)), Errc::closed);
    };
    group.spawn(receiver(**made));
    co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    (*made)->close();
    (*made)->close();
    co_await group.join();
  });
}

TEST_F(TcpTest, ASilentPeerHoldsTheSenderBackUntilTheDeadline) {
  rig_.run([&]() -> Task<void> {
    auto made = co_await connect();
    CO_ASSERT(made);
    auto accepted = co_await listener_->accept();
    CO_ASSERT(accepted);
    Status sent;
    int count = 0;
    const Message large = message(0, 1 << 20, 1);
    for (; sent && count < 64; ++count) sent = co_await (*made)->send(large, rig_.in(30 * kMillisecond));
    EXPECT_EQ(code(sent), Errc::timeout);
    for (int i = 0; i + 1 < count; ++i) {  // what was taken arrives
      EXPECT_EQ(code(co_await (*accepted)->receive(rig_.in(kSecond))), Errc::ok);
    }
    EXPECT_TRUE(co_await (*made)->send(message(1, 1, 1), rig_.in(kSecond)));
  });
}

TEST_F(TcpTest, AnEmptyPoolHoldsTheReceiverBack) {
  RealOptions options{.arena_bytes = std::size_t{2} << 20, .seed = 1, .ring = {}};
  Rig small(options);
  small.run([&]() -> Task<void> {
    auto listener = small.env().tcp().listen_tcp("127.0.0.1:0");
    CO_ASSERT(listener);
    auto made = co_await small.env().tcp().connect((*listener)->address(), small.in(kSecond));
    CO_ASSERT(made);
    auto accepted = co_await (*listener)->accept();
    CO_ASSERT(accepted);
    Message one;
    one.body = small.env().buffers().allocate(1 << 20);
    fill(one.body, 4);
    EXPECT_TRUE(co_await (*made)->send(one, small.in(kSecond)));
    Buffer rest = small.env().buffers().allocate(1 << 20);
    EXPECT_EQ(code(co_await (*accepted)->receive(small.in(20 * kMillisecond))), Errc::timeout);
    rest = {};
    const auto got = co_await (*accepted)->receive(small.in(kSecond));
    CO_ASSERT(got);
    EXPECT_TRUE(filled(got->body, 4));
  });
}

TEST_F(TcpTest, ConnectingSaysWhyNot) {
  rig_.run([&]() -> Task<void> {
    auto& tcp = rig_.env().tcp();
    const std::string address = listener_->address();
    listener_.reset();
    EXPECT_EQ(code(co_await tcp.connect(address, rig_.in(kSecond))), Errc::closed);
    for (const char* bad : {"", "nowhere", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "[::1:5", "localhost:80"}) {
      EXPECT_EQ(code(co_await tcp.connect(bad, rig_.in(kSecond))), Errc::bad_input) << bad;
    }
  });
}

TEST_F(TcpTest, ListensOnLoopbackOnlyAndOncePerPort) {
  auto& tcp = rig_.env().tcp();
  EXPECT_EQ(code(tcp.listen("0.0.0.0:0")), Errc::permission);
  EXPECT_EQ(code(tcp.listen("[::]:0")), Errc::permission);
  EXPECT_EQ(code(tcp.listen(listener_->address())), Errc::exists);
  EXPECT_EQ(code(tcp.listen("127.0.0.1")), Errc::bad_input);
}

TEST_F(TcpTest, ClosingTheListenerEndsItsAccept) {
  rig_.run([&]() -> Task<void> {
    TaskGroup group(rig_.ring());
    const auto acceptor = [](TcpListener& on) -> Task<void> { EXPECT_EQ(code(co_await on.accept()), Errc::closed); };
    group.spawn(acceptor(*listener_));
    co_await sleep_for(rig_.ring(), 5 * kMillisecond);
    listener_->close();
    co_await group.join();
    EXPECT_EQ(code(co_await listener_->accept()), Errc::closed);
  });
}

}  // namespace
}  // namespace resilver::uring
