// The parts of the replica that need no peers: locks, extents, the list of recent writes.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "async/task_group.h"
#include "replica/core.h"
#include "replica/extent_set.h"
#include "replica/range_lock.h"
#include "tests/support/test_scheduler.h"

namespace resilver::replica {
namespace {

Task<void> hold(Scheduler& scheduler, RangeLock& lock, Extent e, bool exclusive, Nanos start, Nanos length,
                std::string name, std::string& log) {
  co_await sleep_until(scheduler, start);
  RangeLock::Guard guard(lock, e.offset, e.length, exclusive ? RangeLock::Mode::write : RangeLock::Mode::read);
  co_await guard.acquire();
  log += name + "+";
  co_await sleep_for(scheduler, length);
  log += name + "-";
}

TEST(RangeLock, OverlappingWritesAreServedInTheOrderOfTheirComing) {
  TestScheduler scheduler;
  RangeLock lock(scheduler);
  std::string log;
  EXPECT_TRUE(scheduler.run([](Scheduler& s, RangeLock& l, std::string& out) -> Task<void> {
    TaskGroup group(s);
    group.spawn(hold(s, l, {0, 10}, true, 0, 100, "a", out));
    group.spawn(hold(s, l, {5, 10}, true, 1, 100, "b", out));
    group.spawn(hold(s, l, {20, 5}, true, 2, 10, "c", out));
    group.spawn(hold(s, l, {9, 1}, false, 3, 10, "d", out));
    co_await group.join();
  }(scheduler, lock, log)));
  EXPECT_EQ(log, "a+c+c-a-b+b-d+d-");
}

TEST(RangeLock, ReadsShareAndAWriteIsNotOvertakenByLaterReads) {
  TestScheduler scheduler;
  RangeLock lock(scheduler);
  std::string log;
  EXPECT_TRUE(scheduler.run([](Scheduler& s, RangeLock& l, std::string& out) -> Task<void> {
    TaskGroup group(s);
    group.spawn(hold(s, l, {0, 10}, false, 0, 100, "r", out));
    group.spawn(hold(s, l, {0, 10}, false, 1, 200, "s", out));
    group.spawn(hold(s, l, {0, 10}, true, 2, 10, "w", out));
    group.spawn(hold(s, l, {0, 10}, false, 3, 10, "t", out));
    co_await group.join();
  }(scheduler, lock, log)));
  EXPECT_EQ(log, "r+s+r-s-w+w-t+t-");
}

TEST(RangeLock, ACopyPassesAWriteThatOnlyWaitsToBeAcknowledged) {
  TestScheduler scheduler;
  RangeLock lock(scheduler);
  std::string log;
  EXPECT_TRUE(scheduler.run([](Scheduler& s, RangeLock& l, std::string& out) -> Task<void> {
    TaskGroup group(s);
    RangeLock::Guard write(l, 0, 10, RangeLock::Mode::write);
    co_await write.acquire();
    group.spawn(hold(s, l, {5, 10}, true, 1, 10, "w", out));
    group.spawn([](Scheduler& sched, RangeLock& lk, std::string& o) -> Task<void> {
      co_await sleep_until(sched, 2);
      RangeLock::Guard copy(lk, 8, 4, RangeLock::Mode::copy);
      co_await copy.acquire();
      o += "copy+";
      co_await sleep_for(sched, 100);
      o += "copy-";
    }(s, l, out));
    co_await sleep_until(s, 10);
    out += "done";
    write.written();
    co_await sleep_until(s, 20);
    write.release();
    co_await group.join();
  }(scheduler, lock, log)));
  EXPECT_EQ(log, "donecopy+copy-w+w-");
}

TEST(ExtentSet, BehavesLikeASetOfBytes) {
  Random random(7);
  ExtentSet set;
  std::vector<bool> model(256);
  for (int step = 0; step < 5000; ++step) {
    const Extent e{random.below(250), 1 + random.below(6)};
    const bool add = random.percent(50);
    add ? set.add(e) : set.remove(e);
    for (std::uint64_t i = e.offset; i < e.end(); ++i) model[i] = add;
    const Extent probe{random.below(250), 1 + random.below(6)};
    std::optional<std::uint64_t> first;
    for (std::uint64_t i = probe.offset; i < probe.end(); ++i) {
      if (model[i] && !first) first = i;
    }
    ASSERT_EQ(set.overlaps(probe), first.has_value());
    const auto found = set.first_in(probe);
    ASSERT_EQ(found.has_value(), first.has_value());
    if (found) {
      ASSERT_EQ(found->offset, *first);
      for (std::uint64_t i = found->offset; i < found->end(); ++i) ASSERT_TRUE(model[i]);
    }
    std::uint64_t bytes = 0;
    for (const bool in : model) bytes += in;
    ASSERT_EQ(set.bytes(), bytes);
  }
}

TEST(RecentWrites, AreUnknownAfterARestartAndKeepWhatIsNotCommitted) {
  RecentWrites recent;
  EXPECT_FALSE(recent.known());
  recent.add(1, {0, 1});
  recent.settled();
  ASSERT_TRUE(recent.known());
  EXPECT_EQ(recent.list().size(), 1u) << "live writes are listed although the past was unknown";
  recent.add(2, {8, 1});
  recent.committed(1);
  EXPECT_EQ(recent.list(), (std::vector<Extent>{{8, 1}}));
  recent.new_reign();
  recent.add(1, {16, 1});
  recent.committed(5);
  EXPECT_EQ(recent.list(), (std::vector<Extent>{{8, 1}})) << "numbers of another reign do not commit it";
  recent.settled();
  EXPECT_TRUE(recent.list().empty());
}

TEST(RecentWrites, TooManyMakeTheListUnknownUntilTheyAreSettled) {
  RecentWrites recent;
  recent.settled();
  for (std::uint64_t i = 0; i <= RecentWrites::kMost; ++i) recent.add(i + 1, {i * 8, 1});
  EXPECT_FALSE(recent.known());
  recent.committed(RecentWrites::kMost + 1);
  EXPECT_TRUE(recent.known());
}

}  // namespace
}  // namespace resilver::replica
