#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "async/task_group.h"
#include "tests/support/test_scheduler.h"

namespace resilver {
namespace {

Task<int> add(int a, int b) { co_return a + b; }

Task<int> count_down(int from) {
  int sum = 0;
  for (int i = 0; i < from; ++i) sum += co_await add(i, 0);
  co_return sum;
}

Task<void> note(std::vector<int>& order, int value) {
  order.push_back(value);
  co_return;
}

// Counts the frames that are alive, so that a test sees whether every one was destroyed.
struct Alive {
  explicit Alive(int& c) : count(c) { ++count; }
  Alive(const Alive&) = delete;
  Alive& operator=(const Alive&) = delete;
  ~Alive() { --count; }
  int& count;
};

TEST(Task, GivesItsResultToWhoAwaitsIt) {
  TestScheduler scheduler;
  EXPECT_EQ(scheduler.get(add(2, 3)), 5);
}

TEST(Task, CarriesValuesThatCanOnlyBeMoved) {
  TestScheduler scheduler;
  const auto make = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
  EXPECT_EQ(*scheduler.get(make()), 7);
}

TEST(Task, DoesNotStartBeforeItIsAwaited) {
  TestScheduler scheduler;
  std::vector<int> order;
  const auto outer = [](std::vector<int>& seen) -> Task<void> {
    Task<void> inner = note(seen, 2);
    seen.push_back(1);
    co_await std::move(inner);
    seen.push_back(3);
  };
  EXPECT_TRUE(scheduler.run(outer(order)));
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

// A chain of calls that end at once must not grow the stack: each resumes the next by symmetric transfer. The sanitizers'
// builds keep that only as far as the compiler makes a tail call, so the loop is what counts.
TEST(Task, ManyAwaitsInALoopNeedNoStack) {
  TestScheduler scheduler;
  EXPECT_EQ(scheduler.get(count_down(60'000)), 60'000 / 2 * 59'999);
}

TEST(Task, DestroyedUnstartedItFreesItsArguments) {
  int alive = 0;
  {
    const auto never = [](std::shared_ptr<Alive>) -> Task<void> { co_return; };
    Task<void> task = never(std::make_shared<Alive>(alive));
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

TEST(TaskGroup, JoinWaitsForEveryTask) {
  TestScheduler scheduler;
  int ended = 0;
  const auto sleeper = [](Scheduler& s, Nanos time, int& count) -> Task<void> {
    co_await sleep_for(s, time);
    ++count;
  };
  const auto main = [&sleeper](Scheduler& s, int& count) -> Task<void> {
    TaskGroup group(s);
    for (int i = 1; i <= 10; ++i) group.spawn(sleeper(s, i * kMillisecond, count));
    EXPECT_EQ(group.running(), 10u);
    co_await group.join();
    EXPECT_EQ(group.running(), 0u);
  };
  EXPECT_TRUE(scheduler.run(main(scheduler, ended)));
  EXPECT_EQ(ended, 10);
  EXPECT_EQ(scheduler.now(), 10 * kMillisecond);
}

TEST(TaskGroup, SpawnDoesNotRunTheTaskInside) {
  TestScheduler scheduler;
  std::vector<int> order;
  const auto main = [](Scheduler& s, std::vector<int>& seen) -> Task<void> {
    TaskGroup group(s);
    group.spawn(note(seen, 2));
    seen.push_back(1);
    co_await group.join();
  };
  EXPECT_TRUE(scheduler.run(main(scheduler, order)));
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(TaskGroup, IsUsableAgainAfterJoinAndFromItsOwnTasks) {
  TestScheduler scheduler;
  std::vector<int> order;
  const auto spawner = [](TaskGroup& group, std::vector<int>& seen) -> Task<void> {
    group.spawn(note(seen, 1));
    co_return;
  };
  const auto main = [&spawner](Scheduler& s, std::vector<int>& seen) -> Task<void> {
    TaskGroup group(s);
    co_await group.join();  // nothing to wait for
    for (int round = 0; round < 3; ++round) {
      group.spawn(spawner(group, seen));
      co_await group.join();
      EXPECT_EQ(seen.size(), static_cast<std::size_t>(round + 1));
    }
  };
  EXPECT_TRUE(scheduler.run(main(scheduler, order)));
}

Task<void> wait_deep(Event& event, int depth, int& alive) {
  Alive here(alive);
  if (depth > 0) {
    co_await wait_deep(event, depth - 1, alive);
  } else {
    co_await event.wait();
  }
}

// What a killed node leaves: everything that waits is destroyed where it waits, nothing runs.
TEST(TaskGroup, AKilledSchedulerDestroysUnfinishedTasksWhereTheyWait) {
  TestScheduler scheduler;
  int alive = 0;
  const auto main = [](TestScheduler& s, int& count) -> Task<void> {
    Event never(s);
    TaskGroup group(s);
    for (int i = 0; i < 5; ++i) group.spawn(wait_deep(never, i, count));
    co_await sleep_for(s, kMillisecond);
    EXPECT_EQ(count, 1 + 2 + 3 + 4 + 5);
    s.kill();
    co_await group.join();
    ADD_FAILURE() << "a killed task went on";
  };
  EXPECT_FALSE(scheduler.run(main(scheduler, alive)));
  EXPECT_EQ(alive, 0);
}

Task<void> busy_node(Scheduler& s, int& alive) {
  Alive here(alive);
  Event event(s);
  Semaphore semaphore(s, 1);
  Channel<std::string> channel(s, 1);
  TaskGroup group(s);
  const auto producer = [](Scheduler& sched, Channel<std::string>& to, int& count) -> Task<void> {
    Alive mine(count);
    for (int i = 0; i < 4; ++i) {
      co_await to.push(std::to_string(i));
      co_await sleep_for(sched, kMicrosecond);
    }
    to.close();
  };
  const auto consumer = [](Channel<std::string>& from, Event& done, int& count) -> Task<void> {
    Alive mine(count);
    while (co_await from.pop(1 * kSecond)) {
    }
    done.set();
  };
  const auto holder = [](Scheduler& sched, Semaphore& lock, Event& done, int& count) -> Task<void> {
    Alive mine(count);
    co_await lock.acquire();
    SemaphoreGuard guard(lock);
    co_await done.wait_until(sched.now() + 2 * kMicrosecond);
  };
  group.spawn(producer(s, channel, alive));
  group.spawn(consumer(channel, event, alive));
  for (int i = 0; i < 3; ++i) group.spawn(holder(s, semaphore, event, alive));
  co_await group.join();
}

TEST(TaskGroup, AKillAtAnyStepLeavesNoFrameBehind) {
  TestScheduler whole;
  int alive = 0;
  ASSERT_TRUE(whole.run(busy_node(whole, alive)));
  const std::uint64_t steps = whole.steps();
  ASSERT_GT(steps, 15u);
  for (std::uint64_t step = 0; step < steps; ++step) {
    TestScheduler scheduler;
    scheduler.kill_after(step);
    EXPECT_FALSE(scheduler.run(busy_node(scheduler, alive)));
    EXPECT_EQ(alive, 0) << "killed before step " << step;
  }
}

TEST(TaskGroup, AnyOrderOfWhatIsReadyEndsToo) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    TestScheduler scheduler(seed);
    int alive = 0;
    EXPECT_TRUE(scheduler.run(busy_node(scheduler, alive))) << "seed " << seed;
    EXPECT_EQ(alive, 0);
  }
}

TEST(TaskGroupDeathTest, EndingWithoutJoinIsOurMistake) {
  const auto forgets = [] {
    TestScheduler scheduler;
    TaskGroup group(scheduler);
    std::vector<int> order;
    group.spawn(note(order, 1));
  };
  EXPECT_DEATH(forgets(), "must be joined");
}

}  // namespace
}  // namespace resilver
