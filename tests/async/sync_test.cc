#include "async/sync.h"

#include <memory>
#include <vector>

#include "async/task_group.h"
#include "tests/support/test_scheduler.h"

namespace resilver {
namespace {

struct Seen {
  int passed = 0;
  int late = 0;
};

Task<void> wait_for(Event& event, Nanos deadline, Seen& seen) {
  const bool woken = co_await event.wait_until(deadline);
  ++(woken ? seen.passed : seen.late);
}

TEST(Sleep, EndsAtItsTimeInTheOrderOfTimes) {
  TestScheduler scheduler;
  std::vector<int> order;
  const auto sleeper = [](Scheduler& s, int ms, std::vector<int>& to) -> Task<void> {
    co_await sleep_for(s, ms * kMillisecond);
    EXPECT_EQ(s.now(), ms * kMillisecond);
    to.push_back(ms);
  };
  const auto main = [&sleeper](Scheduler& s, std::vector<int>& to) -> Task<void> {
    TaskGroup group(s);
    for (int ms : {30, 10, 20, 10}) group.spawn(sleeper(s, ms, to));
    co_await group.join();
  };
  EXPECT_TRUE(scheduler.run(main(scheduler, order)));
  EXPECT_EQ(order, (std::vector<int>{10, 10, 20, 30}));
}

TEST(Sleep, UntilAPastTimeIsAYield) {
  TestScheduler scheduler;
  const auto main = [](TestScheduler& s) -> Task<void> {
    s.advance(kSecond);
    co_await sleep_until(s, kMillisecond);
    co_await yield(s);
    EXPECT_EQ(s.now(), kSecond);
  };
  EXPECT_TRUE(scheduler.run(main(scheduler)));
}

TEST(Event, SetWakesAllAndLetsPassUntilReset) {
  TestScheduler scheduler;
  Seen seen;
  const auto main = [](Scheduler& s, Seen& to) -> Task<void> {
    Event event(s);
    TaskGroup group(s);
    for (int i = 0; i < 4; ++i) group.spawn(wait_for(event, kNever, to));
    co_await sleep_for(s, kMillisecond);
    EXPECT_EQ(to.passed, 0);
    event.set();
    EXPECT_EQ(to.passed, 0);  // never inside set()
    co_await group.join();
    EXPECT_EQ(to.passed, 4);
    co_await event.wait();  // set: passes
    event.reset();
    EXPECT_FALSE(event.is_set());
    EXPECT_FALSE(co_await event.wait_until(s.now() + kMillisecond));
  };
  EXPECT_TRUE(scheduler.run(main(scheduler, seen)));
}

TEST(Event, WakeAllWakesOnlyThoseWhoWait) {
  TestScheduler scheduler;
  Seen seen;
  const auto main = [](Scheduler& s, Seen& to) -> Task<void> {
    Event event(s);
    TaskGroup group(s);
    group.spawn(wait_for(event, kNever, to));
    co_await yield(s);
    co_await yield(s);
    event.wake_all();
    co_await group.join();
    EXPECT_EQ(to.passed, 1);
    EXPECT_FALSE(event.is_set());
    EXPECT_FALSE(co_await event.wait_until(s.now() + kMillisecond));
  };
  EXPECT_TRUE(scheduler.run(main(scheduler, seen)));
}

TEST(Event, TheDeadlineEndsTheWaitAtItsTime) {
  TestScheduler scheduler;
  Seen seen;
  const auto main = [](Scheduler& s, Seen& to) -> Task<void> {
    Event event(s);
    co_await wait_for(event, 5 * kMillisecond, to);
    EXPECT_EQ(s.now(), 5 * kMillisecond);
    EXPECT_EQ(to.late, 1);
    event.set();  // nobody is left to be woken twice
    co_await wait_for(event, 1, to);
    EXPECT_EQ(to.passed, 1);
  };
  EXPECT_TRUE(scheduler.run(main(scheduler, seen)));
}

// Set in the very turn in which the deadline expires: each waiter is resumed once, whoever comes first.
TEST(Event, SetAndDeadlineAtTheSameTimeResumeOnce) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    TestScheduler scheduler(seed);
    Seen seen;
    const auto setter = [](Scheduler& s, Event& event) -> Task<void> {
      co_await sleep_until(s, kMillisecond);
      event.set();
    };
    const auto main = [&setter](Scheduler& s, Seen& to) -> Task<void> {
      Event event(s);
      TaskGroup group(s);
      for (int i = 0; i < 3; ++i) group.spawn(wait_for(event, kMillisecond, to));
      group.spawn(setter(s, event));
      co_await group.join();
    };
    EXPECT_TRUE(scheduler.run(main(scheduler, seen)));
    EXPECT_EQ(seen.passed + seen.late, 3) << "seed " << seed;
  }
}

TEST(Event, AWaiterThatIsDestroyedLeavesTheList) {
  TestScheduler scheduler;
  Event event(scheduler);
  const auto main = [](TestScheduler& s, Event& e) -> Task<void> {
    TaskGroup group(s);
    Seen seen;
    group.spawn(wait_for(e, kSecond, seen));
    co_await yield(s);
    s.kill();
    co_await group.join();
  };
  EXPECT_FALSE(scheduler.run(main(scheduler, event)));
  event.set();  // would touch a dead frame
}

TEST(Semaphore, ServesInTheOrderOfComing) {
  TestScheduler scheduler;
  std::vector<int> order;
  const auto taker = [](Semaphore& semaphore, std::size_t units, int name, std::vector<int>& to) -> Task<void> {
    co_await semaphore.acquire(units);
    to.push_back(name);
    semaphore.release(units);
  };
  const auto main = [&taker](Scheduler& s, std::vector<int>& to) -> Task<void> {
    Semaphore semaphore(s, 3);
    TaskGroup group(s);
    EXPECT_TRUE(semaphore.try_acquire(2));
    group.spawn(taker(semaphore, 3, 1, to));  // large, and not overtaken by the small ones behind it
    group.spawn(taker(semaphore, 1, 2, to));
    group.spawn(taker(semaphore, 1, 3, to));
    co_await sleep_for(s, kMillisecond);
    EXPECT_TRUE(to.empty());
    EXPECT_FALSE(semaphore.try_acquire(1));  // one is free, but others came before
    semaphore.release(2);
    co_await group.join();
    EXPECT_EQ(semaphore.available(), 3u);
  };
  EXPECT_TRUE(scheduler.run(main(scheduler, order)));
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(Semaphore, NeverGivesMoreThanThereIs) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    TestScheduler scheduler(seed);
    const auto user = [](Scheduler& s, Semaphore& semaphore, std::size_t units, std::size_t& in_use) -> Task<void> {
      for (int i = 0; i < 20; ++i) {
        co_await semaphore.acquire(units);
        SemaphoreGuard guard(semaphore, units);
        in_use += units;
        EXPECT_LE(in_use, 4u);
        co_await sleep_for(s, static_cast<Nanos>(units));
        in_use -= units;
      }
    };
    const auto main = [&user](Scheduler& s) -> Task<void> {
      Semaphore semaphore(s, 4);
      std::size_t in_use = 0;
      TaskGroup group(s);
      for (std::size_t units : {1u, 2u, 3u, 4u, 1u}) group.spawn(user(s, semaphore, units, in_use));
      co_await group.join();
      EXPECT_EQ(semaphore.available(), 4u);
    };
    EXPECT_TRUE(scheduler.run(main(scheduler))) << "seed " << seed;
  }
}

TEST(Mutex, OneAtATime) {
  TestScheduler scheduler(3);
  const auto user = [](Scheduler& s, Mutex& mutex, bool& held) -> Task<void> {
    co_await mutex.acquire();
    SemaphoreGuard guard(mutex);
    EXPECT_FALSE(held);
    held = true;
    co_await yield(s);
    held = false;
  };
  const auto main = [&user](Scheduler& s) -> Task<void> {
    Mutex mutex(s);
    bool held = false;
    TaskGroup group(s);
    for (int i = 0; i < 10; ++i) group.spawn(user(s, mutex, held));
    co_await group.join();
  };
  EXPECT_TRUE(scheduler.run(main(scheduler)));
}

TEST(Channel, HoldsThePusherBackWhenFullAndKeepsTheOrder) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    TestScheduler scheduler(seed);
    const auto producer = [](Channel<std::unique_ptr<int>>& to) -> Task<void> {
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(co_await to.push(std::make_unique<int>(i)));
      to.close();
    };
    const auto main = [&producer](Scheduler& s) -> Task<void> {
      Channel<std::unique_ptr<int>> channel(s, 3);
      TaskGroup group(s);
      group.spawn(producer(channel));
      for (int i = 0; i < 100; ++i) {
        EXPECT_LE(channel.size(), 3u);
        const auto item = co_await channel.pop();
        EXPECT_TRUE(item.has_value());
        if (item) EXPECT_EQ(**item, i);
      }
      EXPECT_FALSE((co_await channel.pop()).has_value());
      co_await group.join();
    };
    EXPECT_TRUE(scheduler.run(main(scheduler))) << "seed " << seed;
  }
}

TEST(Channel, CloseRefusesPushesAndGivesWhatIsLeft) {
  TestScheduler scheduler;
  const auto blocked = [](Channel<int>& to, bool& refused) -> Task<void> { refused = !co_await to.push(3); };
  const auto main = [&blocked](Scheduler& s) -> Task<void> {
    Channel<int> channel(s, 2);
    TaskGroup group(s);
    bool refused = false;
    EXPECT_TRUE(channel.try_push(1));
    EXPECT_TRUE(channel.try_push(2));
    EXPECT_FALSE(channel.try_push(9));
    group.spawn(blocked(channel, refused));
    co_await yield(s);
    channel.close();
    co_await group.join();
    EXPECT_TRUE(refused);
    EXPECT_FALSE(channel.try_push(4));
    EXPECT_EQ(co_await channel.pop(), 1);
    EXPECT_EQ(co_await channel.pop(), 2);
    EXPECT_EQ(co_await channel.pop(), std::nullopt);
  };
  EXPECT_TRUE(scheduler.run(main(scheduler)));
}

TEST(Channel, PopEndsAtItsDeadline) {
  TestScheduler scheduler;
  const auto main = [](Scheduler& s) -> Task<void> {
    Channel<int> channel(s, 2);
    EXPECT_EQ(co_await channel.pop(kMillisecond), std::nullopt);
    EXPECT_EQ(s.now(), kMillisecond);
    EXPECT_FALSE(channel.closed());
    EXPECT_TRUE(channel.try_push(5));
    EXPECT_EQ(co_await channel.pop(0), 5);  // what is there is given also after the deadline
  };
  EXPECT_TRUE(scheduler.run(main(scheduler)));
}

TEST(Scheduler, AWaitThatNothingCanEndIsSeen) {
  TestScheduler scheduler;
  const auto main = [](Scheduler& s) -> Task<void> {
    Event never(s);
    co_await never.wait();
  };
  EXPECT_FALSE(scheduler.run(main(scheduler)));
}

}  // namespace
}  // namespace resilver
