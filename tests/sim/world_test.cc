#include "tests/sim/machine.h"

#include <chrono>
#include <vector>

namespace resilver::sim {
namespace {

std::vector<int> order_of_ready(std::uint64_t seed, bool permute) {
  World world(seed, {.permute_ready = permute});
  Node& node = world.add_node("A");
  std::vector<int> order;
  node.start([&](Env& env) -> Task<void> {
    TaskGroup group(env.scheduler());
    const auto note = [](std::vector<int>& to, int i) -> Task<void> {
      to.push_back(i);
      co_return;
    };
    for (int i = 0; i < 8; ++i) group.spawn(note(order, i));
    co_await group.join();
  });
  world.run_until(kSecond);
  EXPECT_EQ(order.size(), 8u);
  return order;
}

TEST(World, ReadyOrderIsDrawnFromTheSeed) {
  EXPECT_EQ(order_of_ready(3, true), order_of_ready(3, true));
  EXPECT_NE(order_of_ready(3, true), order_of_ready(4, true));
  EXPECT_EQ(order_of_ready(3, false), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(World, TimeJumpsToTheNextEvent) {
  Machine machine;
  Nanos woke = 0;
  machine.run([&](Env& env) -> Task<void> {
    co_await sleep_for(env.scheduler(), kMinute);
    woke = env.scheduler().now();
  });
  EXPECT_EQ(woke, kMinute);
  EXPECT_EQ(machine.world.now(), kMinute);
}

TEST(World, AYieldLetsEverythingReadyRunFirst) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Machine machine(seed);
    bool other_ran = false;
    machine.run([&](Env& env) -> Task<void> {
      TaskGroup group(env.scheduler());
      const auto set = [](bool& flag) -> Task<void> {
        flag = true;
        co_return;
      };
      group.spawn(set(other_ran));
      co_await yield(env.scheduler());
      co_await yield(env.scheduler());
      EXPECT_TRUE(other_ran);
      co_await group.join();
    });
  }
}

TEST(World, ALivelockStopsTheRun) {
  World world(1, {.max_steps_per_instant = 1000});
  Node& node = world.add_node("A");
  node.start([](Env& env) -> Task<void> {
    for (;;) co_await yield(env.scheduler());
  });
  EXPECT_EQ(world.run_until(kSecond), Stop::livelock);
}

TEST(World, AnIdleWorldSaysSo) {
  World world(1);
  EXPECT_EQ(world.run_until(kNever), Stop::idle);
  EXPECT_EQ(world.run_until(kSecond), Stop::idle);
  EXPECT_EQ(world.now(), kSecond);
}

TEST(World, CallbacksRunBetweenStepsAtTheirTime) {
  Machine machine;
  std::vector<Nanos> times;
  machine.world.at(2 * kSecond, [&] {
    times.push_back(machine.world.now());
    EXPECT_EQ(machine.world.running(), nullptr);
  });
  machine.world.at(kSecond, [&] { times.push_back(machine.world.now()); });
  machine.world.run_until(3 * kSecond);
  EXPECT_EQ(times, (std::vector<Nanos>{kSecond, 2 * kSecond}));
}

TEST(World, ManyTimersExpireInOrder) {
  Machine machine(7);
  Nanos last = 0;
  int woken = 0;
  machine.run([&](Env& env) -> Task<void> {
    TaskGroup group(env.scheduler());
    const auto sleeper = [](Env& e, Nanos at, Nanos& previous, int& count) -> Task<void> {
      co_await sleep_until(e.scheduler(), at);
      EXPECT_EQ(e.scheduler().now(), at);
      EXPECT_LE(previous, at);
      previous = at;
      ++count;
    };
    for (int i = 0; i < 1000; ++i) {
      group.spawn(sleeper(env, static_cast<Nanos>(env.random().below(5000)) * kMicrosecond + 1, last, woken));
    }
    co_await group.join();
  });
  EXPECT_EQ(woken, 1000);
}

TEST(World, ADeadlineThatIsTakenBackDoesNotFire) {
  Machine machine;
  EXPECT_TRUE(machine.run([](Env& env) -> Task<void> {
    Event event(env.scheduler());
    TaskGroup group(env.scheduler());
    const auto set_later = [](Env& e, Event& ev) -> Task<void> {
      co_await sleep_for(e.scheduler(), kSecond);
      ev.set();
    };
    group.spawn(set_later(env, event));
    EXPECT_TRUE(co_await event.wait_until(5 * kSecond));
    EXPECT_EQ(env.scheduler().now(), kSecond);
    co_await group.join();
  }));
}

// A little of everything; the trace hash must tell runs apart and recognise a repeated one.
std::uint64_t busy_run(std::uint64_t seed) {
  Machine machine(seed, slow_disk());
  machine.node.start([](Env& env) -> Task<void> {
    auto device = co_await open(env);
    TaskGroup group(env.scheduler());
    const auto worker = [](Env& e, BlockDevice& d) -> Task<void> {
      for (int i = 0; i < 20; ++i) co_await put(e, d, e.random().below(1000), i);
      co_await Io::flush(d);
    };
    for (int i = 0; i < 8; ++i) group.spawn(worker(env, *device));
    co_await group.join();
  });
  machine.world.at(11 * kMillisecond + 500, [&] { machine.node.power_loss(); });
  machine.world.run_until(kSecond);
  return machine.world.trace_hash() ^ machine.disk.hash_content();
}

TEST(World, TheSameSeedGivesTheSameTrace) {
  EXPECT_EQ(busy_run(1), busy_run(1));
  EXPECT_EQ(busy_run(2), busy_run(2));
  EXPECT_NE(busy_run(1), busy_run(2));
}

TEST(World, TraceLinesNameTheActor) {
  Machine machine;
  std::string line;
  machine.world.on_trace([&](const TraceEvent& event) {
    if (event.op == TraceOp::write) line = machine.world.to_string(event);
  });
  machine.run([](Env& env) -> Task<void> {
    auto device = co_await open(env);
    co_await sleep_for(env.scheduler(), 1500 * kMillisecond);
    co_await put(env, *device, 1, 7);
  });
  EXPECT_EQ(line, "1.500000000 disk write 4096+4096 ok");
}

TEST(World, SpeedIsPrinted) {
  Machine machine;
  const auto start = std::chrono::steady_clock::now();
  machine.run([](Env& env) -> Task<void> {
    for (int i = 0; i < 300'000; ++i) co_await sleep_for(env.scheduler(), kMicrosecond);
  });
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  std::printf("[ sleeps   ] %.2f million a second\n", 0.3 / taken.count());
  const auto io_start = std::chrono::steady_clock::now();
  machine.run([](Env& env) -> Task<void> {
    auto device = co_await open(env);
    Buffer buffer = filled(env, 5);
    for (std::uint64_t i = 0; i < 100'000; ++i) co_await Io::write(*device, i % 4096 * kBlockBytes, buffer);
  });
  const std::chrono::duration<double> io_taken = std::chrono::steady_clock::now() - io_start;
  std::printf("[ 4K writes] %.2f million a second\n", 0.1 / io_taken.count());
}

}  // namespace
}  // namespace resilver::sim
