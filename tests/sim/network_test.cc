#include "env/frame.h"
#include "tests/sim/machine.h"

#include <vector>

namespace resilver::sim {
namespace {

Message text(int number, std::size_t body_bytes = 0, Env* env = nullptr) {
  Message message;
  message.head.assign(4, static_cast<std::byte>(number));
  if (body_bytes > 0) message.body = filled(*env, number, body_bytes);
  return message;
}
int number_of(const Message& message) { return std::to_integer<int>(message.head[0]); }

// "A" listens and gathers what one connection brings; "B" connects. 1 ms one way.
struct Two {
  explicit Two(std::uint64_t seed = 1) : world(seed), a(world.add_node("A")), b(world.add_node("B")) {
    world.network().set_default_link({kMillisecond, 0, 0});
  }

  void listen() {
    a.start([this](Env& env) -> Task<void> {
      auto listener = std::move(env.network().listen("A").value());
      for (;;) {
        auto connection = co_await listener->accept();
        if (!connection) co_return;
        for (;;) {
          auto message = co_await (*connection)->receive(kNever);
          if (!message) {
            ended = message.error().code;
            ended_at = world.now();
            break;
          }
          got.push_back(number_of(*message));
          if (message->body) bodies_ok = bodies_ok && message->body.data()[0] == message->head[0];
          last_at = world.now();
        }
      }
    });
  }

  World world;
  Node& a;
  Node& b;
  std::vector<int> got;
  bool bodies_ok = true;
  Errc ended = Errc::ok;
  Nanos last_at = 0;
  Nanos ended_at = 0;
};

Task<std::unique_ptr<Connection>> dial(Env& env, std::string address = "A") {
  auto connection = co_await env.network().connect(std::move(address), kNever);
  CHECK(connection.has_value());
  co_return std::move(*connection);
}

std::vector<int> count_to(int end) {
  std::vector<int> numbers;
  for (int i = 0; i < end; ++i) numbers.push_back(i);
  return numbers;
}

// Ten messages, of which the fourth is damaged: what came before it arrives, and nothing twice or in another's place.
TEST(Network, ADamagedFrameEndsItsConnection) {
  for (const FrameFault what :
       {FrameFault::drop, FrameFault::duplicate, FrameFault::replay, FrameFault::truncate, FrameFault::corrupt}) {
    Two two;
    two.listen();
    two.b.start([&](Env& env) -> Task<void> {
      auto connection = co_await dial(env);
      for (int i = 0; i < 10; ++i) {
        if (i == 3) two.world.network().damage("B", "A", what);
        if (!co_await connection->send(text(i, 5000, &env), kNever)) break;
      }
      EXPECT_EQ(Errc::closed, (co_await connection->receive(kNever)).error().code);
    });
    two.world.run_until(kSecond);
    const int whole = what == FrameFault::duplicate ? 4 : what == FrameFault::replay ? 5 : 3;
    EXPECT_EQ(two.got, count_to(whole)) << static_cast<int>(what);
    EXPECT_EQ(two.ended, Errc::corrupt) << static_cast<int>(what);
    EXPECT_TRUE(two.bodies_ok);
  }
}

TEST(Network, MessagesArriveInOrderAfterTheLatency) {
  Two two;
  two.listen();
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    EXPECT_EQ(two.world.now(), 2 * kMillisecond);  // a round trip
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(co_await connection->send(text(i, 5000, &env), kNever));
    co_await sleep_for(env.scheduler(), kSecond);
  });
  two.world.run_until(10 * kMillisecond);
  EXPECT_EQ(two.got, count_to(5));
  EXPECT_TRUE(two.bodies_ok);
  EXPECT_EQ(two.last_at, 3 * kMillisecond);
  EXPECT_EQ(two.world.network().counters("B", "A").messages, 5u);
  EXPECT_EQ(two.world.network().counters("B", "A").bytes, 5 * (kFrameBytes + 4 + 5000));
  EXPECT_EQ(two.world.network().counters("A", "B").bytes, 0u);
  two.world.run_until(2 * kSecond);
  EXPECT_EQ(two.ended, Errc::closed);  // B's process ended
}

TEST(Network, ABandwidthTakesTimeAndHoldsTheSenderBack) {
  Two two;
  two.world.network().set_link("B", "A", {kMillisecond, 1'000'000, 64 * 1024});
  two.listen();
  Nanos sent = 0;
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(co_await connection->send(text(i, 100'000, &env), kNever));
    sent = env.scheduler().now();
    co_await sleep_for(env.scheduler(), 10 * kSecond);
  });
  two.world.run_until(5 * kSecond);
  EXPECT_EQ(two.got, count_to(10));
  EXPECT_NEAR(static_cast<double>(two.last_at), 1.003e9, 2e6);
  EXPECT_GT(sent, 800 * kMillisecond);
}

TEST(Network, AFullWindowBlocksTheSenderUntilItsDeadline) {
  Two two;
  two.a.start([](Env& env) -> Task<void> {
    auto listener = std::move(env.network().listen("A").value());
    auto connection = co_await listener->accept();
    co_await sleep_for(env.scheduler(), kMinute);  // reads nothing
  });
  int sent = 0;
  Errc end = Errc::ok;
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    for (;;) {
      const Status status = co_await connection->send(text(1, 1 << 20, &env), env.scheduler().now() + kSecond);
      if (!status) {
        end = status.error().code;
        break;
      }
      ++sent;
    }
  });
  two.world.run_until(30 * kSecond);
  EXPECT_EQ(end, Errc::timeout);
  EXPECT_EQ(sent, 3);  // 4 MiB with their prefixes
}

TEST(Network, ReceiveTimesOut) {
  Two two;
  two.listen();
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    const auto message = co_await connection->receive(env.scheduler().now() + kSecond);
    EXPECT_EQ(message.error().code, Errc::timeout);
    EXPECT_EQ(env.scheduler().now(), kSecond + 2 * kMillisecond);
  });
  two.world.run_until(kMinute);
  EXPECT_FALSE(two.b.running());
}

TEST(Network, RefusalsAndBadAddresses) {
  Two two;
  two.listen();
  int checks = 0;
  two.b.start([&](Env& env) -> Task<void> {
    EXPECT_EQ((co_await env.network().connect("nobody", kNever)).error().code, Errc::bad_input);
    EXPECT_EQ((co_await env.network().connect("A:control", kNever)).error().code, Errc::closed);
    EXPECT_EQ(two.world.now(), 2 * kMillisecond);
    EXPECT_EQ(env.network().listen("A").error().code, Errc::bad_input);
    auto first = env.network().listen("B:x");
    EXPECT_TRUE(first.has_value());
    EXPECT_EQ(env.network().listen("B:x").error().code, Errc::exists);
    (*first)->close();
    EXPECT_TRUE(env.network().listen("B:x").has_value());
    ++checks;
  });
  two.world.run_until(kMinute);
  EXPECT_EQ(checks, 1);
}

TEST(Network, ADroppedCableIsSilentAndDeliversInOrderAfterwards) {
  Two two;
  two.listen();
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    for (int i = 0; i < 10; ++i) {
      EXPECT_TRUE(co_await connection->send(text(i), kNever));
      co_await sleep_for(env.scheduler(), 10 * kMillisecond);
    }
    co_await sleep_for(env.scheduler(), kMinute);
  });
  two.world.at(35 * kMillisecond, [&] { two.world.network().drop("B", "A"); });
  two.world.run_until(10 * kSecond);
  EXPECT_EQ(two.got, count_to(4));
  two.world.network().restore("B", "A");
  two.world.run_for(kMillisecond);
  EXPECT_EQ(two.got, count_to(10));
  EXPECT_EQ(two.ended, Errc::ok);
}

TEST(Network, ADroppedCableFillsTheWindowOfTheOtherDirectionToo) {
  Two two;
  two.listen();
  int sent = 0;
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    two.world.after_step([&] { two.world.network().drop("A", "B"); });
    for (; sent < 20; ++sent) EXPECT_TRUE(co_await connection->send(text(sent, 1 << 20, &env), kNever));
    co_await sleep_for(env.scheduler(), kMinute);
  });
  two.world.run_until(10 * kSecond);
  EXPECT_LT(two.got.size(), 5u);
  EXPECT_EQ(sent, static_cast<int>(two.got.size()));
  two.world.network().restore("A", "B");
  two.world.run_for(kSecond);
  EXPECT_EQ(two.got, count_to(20));
}

TEST(Network, ConnectingOverADroppedCableTimesOutOrWaits) {
  Two two;
  two.listen();
  two.world.network().drop("B", "A");
  two.world.at(3 * kSecond, [&] { two.world.network().restore("B", "A"); });
  bool connected = false;
  two.b.start([&](Env& env) -> Task<void> {
    EXPECT_EQ((co_await env.network().connect("A", kSecond)).error().code, Errc::timeout);
    auto connection = co_await dial(env);
    connected = true;
    EXPECT_EQ(two.world.now(), 3 * kSecond + 2 * kMillisecond);
  });
  two.world.run_until(kMinute);
  EXPECT_TRUE(connected);
}

TEST(Network, AResetEndsBothEnds) {
  Two two;
  two.listen();
  Errc end = Errc::ok;
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    end = (co_await connection->receive(kNever)).error().code;
    EXPECT_EQ((co_await connection->send(text(1), kNever)).error().code, Errc::closed);
  });
  two.world.at(kSecond, [&] { two.world.network().reset("A", "B"); });
  two.world.run_until(kMinute);
  EXPECT_EQ(end, Errc::closed);
  EXPECT_EQ(two.ended_at, kSecond);
}

TEST(Network, ACrashIsSeenAsClosedAfterOneLatency) {
  Two two;
  two.listen();
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    co_await sleep_for(env.scheduler(), kMinute);
  });
  two.world.at(kSecond, [&] { two.b.crash(); });
  two.world.run_until(2 * kSecond);
  EXPECT_EQ(two.ended, Errc::closed);
  EXPECT_EQ(two.ended_at, kSecond + kMillisecond);
}

TEST(Network, APrefixOfWhatWasUnderWaySurvivesTheSender) {
  std::vector<std::size_t> lengths;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Two two(seed);
    two.listen();
    two.b.start([&](Env& env) -> Task<void> {
      auto connection = co_await dial(env);
      for (int i = 0; i < 10; ++i) EXPECT_TRUE(co_await connection->send(text(i), kNever));
      two.world.after_step([&] { two.b.crash(); });
      co_await sleep_for(env.scheduler(), kMinute);
    });
    two.world.run_until(kSecond);
    EXPECT_EQ(two.got, count_to(static_cast<int>(two.got.size())));
    EXPECT_EQ(two.ended, Errc::closed);
    lengths.push_back(two.got.size());
  }
  std::ranges::sort(lengths);
  EXPECT_LT(lengths.front(), 5u);
  EXPECT_GT(lengths.back(), 5u);
}

TEST(Network, PowerLossIsSilentAndTheReturnedMachineResets) {
  Two two;
  two.listen();
  Errc receive_end = Errc::ok;
  Errc send_end = Errc::ok;
  Nanos ended_at = 0;
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    receive_end = (co_await connection->receive(20 * kSecond)).error().code;  // nothing, although A has died at 1 s
    EXPECT_TRUE(co_await connection->send(text(1), kNever));
    co_await sleep_until(env.scheduler(), 40 * kSecond);
    EXPECT_TRUE(co_await connection->send(text(2), kNever));
    send_end = (co_await connection->receive(kNever)).error().code;
    ended_at = two.world.now();
  });
  two.world.at(kSecond, [&] { two.a.power_loss(); });
  two.world.at(kMinute, [&] { two.listen(); });
  two.world.run_until(2 * kMinute);
  EXPECT_EQ(receive_end, Errc::timeout);
  EXPECT_EQ(send_end, Errc::closed);
  EXPECT_EQ(ended_at, kMinute + 2 * kMillisecond);
  EXPECT_TRUE(two.got.empty());
}

TEST(Network, AFrozenPeerKeepsItsConnections) {
  Two two;
  two.listen();
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    two.world.after_step([&] { two.a.freeze(); });
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(co_await connection->send(text(i), kNever));
    co_await sleep_for(env.scheduler(), kMinute);
  });
  two.world.run_until(10 * kSecond);
  EXPECT_TRUE(two.got.empty());
  two.a.thaw();
  two.world.run_until(20 * kSecond);
  EXPECT_EQ(two.got, count_to(10));
}

TEST(Network, ExtraLatencyAndBandwidthAddToTheParameters) {
  Two two;
  two.listen();
  two.world.network().set_extra_latency("B", "A", 9 * kMillisecond);
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    EXPECT_EQ(two.world.now(), 11 * kMillisecond);
    co_await connection->send(text(1), kNever);
    co_await sleep_for(env.scheduler(), kSecond);
    two.world.network().set_extra_latency("B", "A", 0);
    co_await connection->send(text(2), kNever);
    co_await sleep_for(env.scheduler(), kSecond);
  });
  two.world.run_until(kSecond);
  EXPECT_EQ(two.last_at, 21 * kMillisecond);
  two.world.run_until(kMinute);
  EXPECT_EQ(two.last_at, kSecond + 12 * kMillisecond);
}

// What A gets of 100 messages while these faults hold.
std::vector<int> sent_through(const MessageFaults& faults, Errc& ended) {
  Two two;
  two.listen();
  two.world.network().set_message_faults("B", "A", faults);
  two.b.start([&](Env& env) -> Task<void> {
    auto connection = co_await dial(env);
    for (int i = 0; i < 100 && co_await connection->send(text(i), kNever); ++i) {
    }
    co_await sleep_for(env.scheduler(), kMinute);
  });
  two.world.run_until(10 * kSecond);
  ended = two.ended;
  return two.got;
}

TEST(Network, ABadNetworkLosesDuplicatesAndCorruptsMessages) {
  Errc ended = Errc::ok;
  const auto lost = sent_through({.lost_percent = 20}, ended);
  EXPECT_TRUE(lost.size() > 60 && lost.size() < 95) << lost.size();
  EXPECT_TRUE(std::ranges::is_sorted(lost));
  EXPECT_EQ(ended, Errc::ok);
  auto twice = sent_through({.duplicated_percent = 20}, ended);
  EXPECT_TRUE(twice.size() > 105 && twice.size() < 140) << twice.size();
  EXPECT_TRUE(std::ranges::is_sorted(twice));
  const auto [first, last] = std::ranges::unique(twice);
  twice.erase(first, last);
  EXPECT_EQ(twice, count_to(100));
  const auto before = sent_through({.corrupted_percent = 20}, ended);
  EXPECT_LT(before.size(), 50u);
  EXPECT_EQ(before, count_to(static_cast<int>(before.size())));
  EXPECT_EQ(ended, Errc::corrupt) << "the frame decoder of a real connection says so";
}

// Three nodes that all talk to each other, under everything that can happen to them.
std::uint64_t storm(std::uint64_t seed) {
  World world(seed);
  world.network().set_default_link({100 * kMicrosecond, 200'000'000, 64 * 1024});
  const char* names[] = {"A", "B", "C"};
  std::vector<Node*> nodes;
  for (const char* name : names) nodes.push_back(&world.add_node(name));
  for (const char* name : names) world.network().set_link(name, name, {kMicrosecond, 200'000'000, 64 * 1024});
  const auto main = [&](Env& env) -> Task<void> {
    TaskGroup group(env.scheduler());
    std::string self;
    for (Node* node : nodes) {
      if (node->running() && &node->env() == &env) self = node->name();
    }
    auto listener = std::move(env.network().listen(self).value());
    const auto reader = [](std::unique_ptr<Connection> connection) -> Task<void> {
      while (co_await connection->receive(kNever)) {
      }
    };
    const auto acceptor = [](Listener& from, TaskGroup& tasks, auto& read) -> Task<void> {
      while (auto connection = co_await from.accept()) tasks.spawn(read(std::move(*connection)));
    };
    const auto sender = [](Env& e, std::string to) -> Task<void> {
      for (;;) {
        auto connection = co_await e.network().connect(to, e.scheduler().now() + kMillisecond);
        if (!connection) {
          co_await sleep_for(e.scheduler(), 50 * kMicrosecond);
          continue;
        }
        for (std::uint64_t i = e.random().below(200); i > 0; --i) {
          if (!co_await (*connection)->send(text(1, 20'000, &e), e.scheduler().now() + kMillisecond)) break;
        }
      }
    };
    group.spawn(acceptor(*listener, group, reader));
    for (const char* to : {"A", "B", "C"}) group.spawn(sender(env, to));
    co_await group.join();
  };
  for (Node* node : nodes) node->start(main);
  Random random(seed);
  for (int i = 0; i < 60; ++i) {
    world.run_for(static_cast<Nanos>(random.below(2'000'000)));
    Node& node = *nodes[random.below(3)];
    const char* other = names[random.below(3)];
    switch (random.below(8)) {
      case 0: node.crash(); break;
      case 1: node.power_loss(); break;
      case 2: node.freeze(); break;
      case 3: node.thaw(); break;
      case 4: world.network().drop(node.name(), other); break;
      case 5: world.network().restore(node.name(), other); break;
      case 6: world.network().reset(node.name(), other); break;
      case 7:
        if (!node.running()) node.start(main);
        break;
    }
  }
  return world.trace_hash();
}

TEST(Network, KillsWithEverythingUnderWayLeaveNothingBehind) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) storm(seed);
}

TEST(Network, TheSameSeedGivesTheSameTrace) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) EXPECT_EQ(storm(seed), storm(seed));
  EXPECT_NE(storm(1), storm(2));
}

}  // namespace
}  // namespace resilver::sim
