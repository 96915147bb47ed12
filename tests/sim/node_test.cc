#include "tests/sim/machine.h"

namespace resilver::sim {
namespace {

TEST(Node, EndsWhenItsMainEndsAndCanBeStartedAgain) {
  Machine machine;
  int runs = 0;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(machine.run([&](Env&) -> Task<void> {
      ++runs;
      co_return;
    }));
  }
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(machine.node.incarnations(), 3u);
}

TEST(Node, AKillDestroysTasksInAllTheirStates) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Machine machine(seed, slow_disk());
    machine.node.start([](Env& env) -> Task<void> {
      auto device = co_await open(env);
      TaskGroup group(env.scheduler());
      Event never(env.scheduler());
      Mutex mutex(env.scheduler());
      Channel<Buffer> channel(env.scheduler(), 2);
      const auto io = [](Env& e, BlockDevice& d, Mutex& m) -> Task<void> {
        for (;;) {
          co_await m.acquire();
          SemaphoreGuard guard(m);
          co_await put(e, d, e.random().below(100), 1);
          co_await Io::read(d, 0, filled(e, 0, 8 * kBlockBytes));
          co_await Io::flush(d);
        }
      };
      const auto push = [](Env& e, Channel<Buffer>& c) -> Task<void> {
        for (;;) co_await c.push(filled(e, 1));
      };
      const auto sleep = [](Env& e, Event& event) -> Task<void> {
        for (;;) co_await event.wait_until(e.scheduler().now() + 300 * kMicrosecond);
      };
      for (int i = 0; i < 4; ++i) group.spawn(io(env, *device, mutex));
      group.spawn(push(env, channel));
      group.spawn(sleep(env, never));
      co_await group.join();
    });
    machine.world.run_until(static_cast<Nanos>(seed) * 777 * kMicrosecond);
    if (seed % 2 == 0) {
      machine.node.crash();
    } else {
      machine.node.power_loss();
    }
    EXPECT_FALSE(machine.node.running());
    EXPECT_FALSE(machine.disk.is_open());
    EXPECT_EQ(machine.disk.in_flight(), 0u);
    machine.world.run_for(kSecond);
  }
}

TEST(Node, OneNodesCodeMayCrashAndRestartAnother) {
  Machine machine;
  Node& runner = machine.world.add_node("client");
  const auto forever = [](Env& env) -> Task<void> {
    for (;;) co_await sleep_for(env.scheduler(), kMicrosecond);
  };
  machine.node.start(forever);
  runner.start([&](Env& env) -> Task<void> {
    for (int i = 0; i < 5; ++i) {
      co_await sleep_for(env.scheduler(), 10 * kMicrosecond);
      machine.node.crash();
      EXPECT_FALSE(machine.node.running());
      machine.node.start(forever);
    }
    machine.node.power_loss();
  });
  machine.world.run_until(kSecond);
  EXPECT_EQ(machine.node.incarnations(), 6u);
  EXPECT_FALSE(machine.node.powered());
  EXPECT_FALSE(runner.running());
}

TEST(NodeDeathTest, ANodeCannotCrashItself) {
  EXPECT_DEATH(
      {
        Machine machine;
        machine.run([&](Env&) -> Task<void> {
          machine.node.crash();
          co_return;
        });
      },
      "cannot end itself");
}

TEST(Node, CrashesItselfAfterTheStep) {
  Machine machine;
  bool reached = false;
  machine.node.start([&](Env& env) -> Task<void> {
    machine.world.after_step([&] { machine.node.crash(); });
    co_await yield(env.scheduler());
    reached = true;
  });
  machine.world.run_until(kSecond);
  EXPECT_FALSE(reached);
}

TEST(Node, AFrozenNodeDoesNothingAndItsTimersExpireLate) {
  Machine machine;
  Nanos woke = 0;
  machine.node.start([&](Env& env) -> Task<void> {
    co_await sleep_for(env.scheduler(), kSecond);
    woke = env.scheduler().now();
  });
  machine.world.at(kSecond / 2, [&] { machine.node.freeze(); });
  machine.world.at(5 * kSecond, [&] { machine.node.thaw(); });
  machine.world.run_until(10 * kSecond);
  EXPECT_EQ(woke, 5 * kSecond);
}

TEST(Node, DiskRequestsOfAFrozenNodeCompleteUnseen) {
  Machine machine(1, slow_disk());
  Nanos done = 0;
  machine.node.start([&](Env& env) -> Task<void> {
    auto device = co_await open(env);
    co_await put(env, *device, 3, 9);
    done = env.scheduler().now();
  });
  machine.world.at(kMillisecond / 2, [&] { machine.node.freeze(); });
  machine.world.run_until(kSecond);
  EXPECT_EQ(machine.value(3), 9);
  EXPECT_EQ(done, 0);
  machine.node.thaw();
  machine.world.run_until(2 * kSecond);
  EXPECT_EQ(done, kSecond);
}

TEST(Node, AFrozenNodeCanBeCrashed) {
  Machine machine;
  machine.node.start([](Env& env) -> Task<void> {
    for (;;) co_await yield(env.scheduler());
  });
  machine.world.at(0, [&] { machine.node.freeze(); });
  machine.world.run_until(kSecond);
  machine.node.crash();
  EXPECT_FALSE(machine.node.frozen());
  EXPECT_TRUE(machine.run([](Env&) -> Task<void> { co_return; }));
}

TEST(Node, ClocksRunFastOrSlow) {
  for (const int ppm : {-100'000, -37, 37, 100'000}) {
    Machine machine;
    machine.node.set_clock_rate(ppm);
    Nanos woke = 0;
    machine.node.start([&](Env& env) -> Task<void> {
      co_await sleep_until(env.scheduler(), 10 * kSecond);
      EXPECT_GE(env.scheduler().now(), 10 * kSecond);
      EXPECT_LE(env.scheduler().now(), 10 * kSecond + 2);
      woke = machine.world.now();
    });
    machine.world.run_until(kMinute);
    EXPECT_NEAR(static_cast<double>(woke), 10e9 * 1e6 / (1e6 + ppm), 2.0) << ppm;
  }
}

TEST(Node, AChangeOfTheClockRateMovesTimers) {
  Machine machine;
  Nanos woke = 0;
  machine.node.start([&](Env& env) -> Task<void> {
    co_await sleep_until(env.scheduler(), 2 * kSecond);
    woke = machine.world.now();
  });
  machine.world.at(kSecond, [&] { machine.node.set_clock_rate(500'000); });
  machine.world.run_until(kMinute);
  EXPECT_NEAR(static_cast<double>(woke), 1.6666e9, 1e6);
}

TEST(Node, ASecondOpenerWaitsForTheFirst) {
  Machine machine;
  Node& other = machine.world.add_node("B");
  other.attach_disk("shared", machine.disk);
  machine.node.start([](Env& env) -> Task<void> {
    auto device = co_await open(env);
    co_await sleep_for(env.scheduler(), kSecond);
  });
  Nanos opened = 0;
  other.start([&](Env& env) -> Task<void> {
    co_await sleep_for(env.scheduler(), kMillisecond);
    auto busy = co_await env.open_disk("shared", 10 * kMillisecond);
    EXPECT_EQ(busy.error().code, Errc::busy);
    auto missing = co_await env.open_disk("nothing", kNever);
    EXPECT_EQ(missing.error().code, Errc::not_found);
    auto device = co_await open(env, "shared");
    opened = env.scheduler().now();
  });
  machine.world.run_until(kMinute);
  EXPECT_GE(opened, kSecond);
  EXPECT_LE(opened, kSecond + 2 * kMillisecond);
}

TEST(Node, RandomNumbersDependOnTheSeedAndTheNameOnly) {
  const auto first = [](std::uint64_t seed, bool more_nodes) {
    World world(seed);
    if (more_nodes) world.add_node("X");
    Node& node = world.add_node("A");
    std::uint64_t value = 0;
    node.start([&](Env& env) -> Task<void> {
      value = env.random().next();
      co_return;
    });
    world.run_until(1);
    return value;
  };
  EXPECT_EQ(first(1, false), first(1, true));
  EXPECT_NE(first(1, false), first(2, false));
}

}  // namespace
}  // namespace resilver::sim
