// Marks: what is told is durable, and the counter never falls, whatever one block does.
#include "replica/marks.h"

#include <gtest/gtest.h>

#include <optional>

#include "tests/replica/test_device.h"

namespace resilver::replica {
namespace {

constexpr std::uint64_t kAt = 2 * kBlockBytes, kSize = kAt + MarkStore::kBytes + kBlockBytes;
constexpr CopyId kCopy{4, 5}, kOther{6, 7};

// A full list, so that a slot's content ends behind its first sector.
Marks marks_of(std::uint64_t number) {
  Marks marks{number, {number, number * 2}, number % 2 == 0, {number, number}, {1, number}, {1, number}, {}};
  for (std::uint64_t i = 0; i < kMaxNodes; ++i) marks.peers.push_back({{1, i + 1}, number * 100 + i});
  return marks;
}
bool same(const Marks& a, const Marks& b) {
  return a.counter == b.counter && a.position == b.position && a.exact == b.exact && a.committed == b.committed &&
         a.prepared == b.prepared && a.dropped == b.dropped && a.peers == b.peers;
}

Task<void> move_to(MarkStore& store, std::uint64_t number, Errc expected = Errc::ok) {
  EXPECT_EQ(co_await store.update([number](Marks& m) { m = marks_of(number); }), expected);
}

// What a fresh reader finds.
Marks read_back(Content content, CopyId copy = kCopy) {
  Marks found;
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    MarkStore store(env.scheduler(), env.buffers(), device);
    EXPECT_EQ(co_await store.load(kAt, copy), Errc::ok);
    found = store.now();
  }));
  return found;
}

// Marks after some updates: `last` is in one slot, `last` - 1 in the other.
Content written(std::uint64_t last) {
  Content content(kSize);
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    MarkStore store(env.scheduler(), env.buffers(), device);
    EXPECT_EQ(co_await store.format(kAt, kCopy, {}), Errc::ok);
    for (std::uint64_t number = 1; number <= last; ++number) co_await move_to(store, number);
  }));
  return content;
}

TEST(Marks, TheCounterRisesWithWhatIsNewAndNeverFalls) {
  Content content(kSize);
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    MarkStore store(env.scheduler(), env.buffers(), device);
    EXPECT_EQ(co_await store.format(kAt, kCopy, {}), Errc::ok);
    const auto counter_after = [&](std::function<void(Marks&)> change) -> Task<std::uint64_t> {
      EXPECT_EQ(co_await store.update(std::move(change)), Errc::ok);
      EXPECT_TRUE(same(read_back(content), store.now()));
      co_return store.now().counter;
    };
    EXPECT_EQ(co_await counter_after([](Marks& m) { m.position = {1, 1}; }), 1u);
    EXPECT_EQ(co_await counter_after([](Marks& m) { m.note(kOther, 8); }), 1u) << "of others";
    EXPECT_EQ(co_await counter_after([](Marks&) {}), 1u);
    EXPECT_EQ(co_await counter_after([](Marks& m) { m.committed = {1, 1}; }), 2u);
    EXPECT_EQ(co_await counter_after([](Marks& m) { m.prepared = {1, 1}; }), 3u);
    EXPECT_EQ(co_await counter_after([](Marks& m) { m.dropped = {1, 1}; }), 4u);
    EXPECT_EQ(co_await counter_after([](Marks& m) { m.counter = 2; }), 5u);
    EXPECT_EQ(co_await counter_after([](Marks& m) { m = Marks{}; }), 6u) << "a copy that is given up";
    EXPECT_EQ(co_await counter_after([](Marks& m) { m.counter = 100; }), 100u);
  }));
}

TEST(Marks, EachBlockMayBeDamagedAndThenTheNewestThatIsWholeCounts) {
  const Content whole = written(9);  // slot 0: 9, slot 1: 8, or the other way round
  const auto number_in = [&](std::uint64_t block) {
    Content content(kSize);
    content.write(kAt + block * kBlockBytes, whole.get(kAt + block * kBlockBytes, kBlockBytes));
    return read_back(content).counter;
  };
  std::array<std::uint64_t, 4> numbers;
  for (std::uint64_t b = 0; b < 4; ++b) numbers[b] = number_in(b);
  EXPECT_EQ(numbers[0], numbers[1]);
  EXPECT_EQ(numbers[2], numbers[3]);
  EXPECT_EQ(numbers[0] + numbers[2], 17u);
  const Content other = [&] {
    Content content(kSize);
    EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
      MarkStore store(env.scheduler(), env.buffers(), device);
      EXPECT_EQ(co_await store.format(kAt, kOther, marks_of(99)), Errc::ok);
    }));
    return content;
  }();
  for (unsigned code = 0; code < 5 * 5 * 5 * 5; ++code) {
    Content content = whole;
    std::uint64_t expected = 0;
    for (std::uint64_t b = 0, rest = code; b < 4; ++b, rest /= 5) {
      const std::uint64_t at = kAt + b * kBlockBytes;
      switch (rest % 5) {
        case 0: expected = std::max(expected, numbers[b]); break;
        case 1: content.flip(at + 30 + 200 * b); break;
        case 2: content.zero(at, kBlockBytes); break;
        case 3: content.unreadable.insert(at / kBlockBytes); break;
        case 4: content.write(at, other.get(at, kBlockBytes)); break;  // another copy's
      }
    }
    ASSERT_TRUE(same(read_back(content), expected == 0 ? Marks{} : marks_of(expected))) << code;
  }
}

TEST(Marks, AnUpdateThatIsInterruptedIsTheOldOrTheNew) {
  int old = 0, fresh = 0;
  const DeviceWork update = [](TestEnv& env, TestDevice& device) -> Task<void> {
    MarkStore store(env.scheduler(), env.buffers(), device);
    EXPECT_EQ(co_await store.load(kAt, kCopy), Errc::ok);
    co_await move_to(store, store.now().counter + 1);
  };
  for (std::uint64_t number = 5; number < 7; ++number) {
    at_every_cut(written(number), update, [&](Content& left) {
      const Marks found = read_back(left);
      ASSERT_TRUE(same(found, marks_of(number)) || same(found, marks_of(number + 1)));
      ++(found.counter == number ? old : fresh);
      // The one after it is interrupted, too.
      at_every_cut(left, update, [&](Content& again) {
        const Marks next = read_back(again);
        ASSERT_TRUE(same(next, marks_of(found.counter)) || same(next, marks_of(found.counter + 1)));
      });
      ASSERT_TRUE(run_on(left, update));
      ASSERT_TRUE(same(read_back(left), marks_of(found.counter + 1)));
    });
  }
  EXPECT_GT(old, 0);
  EXPECT_GT(fresh, 0);
}

// Any sectors of the two blocks may be new.
TEST(Marks, AWriteTornAnywhereIsTheOldOrTheNew) {
  const Content before = written(8), after = written(9);
  const std::uint64_t slot = before.same(after, kAt, MarkStore::kSlotBytes) ? kAt + MarkStore::kSlotBytes : kAt;
  for (unsigned mask = 0; mask < 16; ++mask) {  // two sectors of each block are used
    Content content = before;
    for (std::uint64_t s = 0; s < 4; ++s) {
      const std::uint64_t at = slot + s / 2 * kBlockBytes + s % 2 * kSectorBytes;
      if ((mask >> s & 1) != 0) content.write(at, after.get(at, kSectorBytes));
    }
    const bool whole = (mask & 3) == 3 || (mask & 12) == 12;
    ASSERT_TRUE(same(read_back(content), marks_of(whole ? 9 : 8))) << mask;
  }
}

TEST(Marks, AWriteThatFailsChangesNothingAndTheNextOneCounts) {
  Content content = written(3);
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    MarkStore store(env.scheduler(), env.buffers(), device);
    EXPECT_EQ(co_await store.load(kAt, kCopy), Errc::ok);
    for (const Errc why : {Errc::no_space, Errc::read_only, Errc::medium}) {
      device.refuse_writes = why;
      co_await move_to(store, store.now().counter + 1, why);
      EXPECT_TRUE(same(store.now(), marks_of(store.now().counter)));
      device.refuse_writes = Errc::ok;
      co_await move_to(store, store.now().counter + 1);
      EXPECT_TRUE(same(read_back(content), store.now()));
    }
  }));
}

TEST(Marks, UpdatesAreServedOneAfterAnother) {
  Content content = written(1);
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    MarkStore store(env.scheduler(), env.buffers(), device);
    EXPECT_EQ(co_await store.load(kAt, kCopy), Errc::ok);
    TaskGroup group(env.scheduler());
    for (int i = 0; i < 20; ++i) {
      group.spawn([](MarkStore& marks) -> Task<void> {
        EXPECT_EQ(co_await marks.update([](Marks& m) { ++m.position.seq; }), Errc::ok);
      }(store));
    }
    co_await group.join();
    EXPECT_EQ(store.now().position.seq, marks_of(1).position.seq + 20);
    EXPECT_EQ(store.now().counter, 21u);
  }));
  EXPECT_EQ(read_back(content).counter, 21u);
}

TEST(Marks, OfOthersTheHighestIsKeptAndTheOldestNameGivesWay) {
  Marks marks;
  EXPECT_FALSE(marks.note({}, 5)) << "nobody";
  EXPECT_TRUE(marks.note(kOther, 5));
  EXPECT_FALSE(marks.note(kOther, 5));
  EXPECT_FALSE(marks.note(kOther, 4));
  EXPECT_TRUE(marks.note(kOther, 6));
  EXPECT_EQ(marks.of(kOther), 6u);
  EXPECT_EQ(marks.of(kCopy), 0u);
  for (std::uint64_t i = 1; i <= kMaxNodes; ++i) EXPECT_TRUE(marks.note({9, i}, i));
  EXPECT_EQ(marks.peers.size(), kMaxNodes);
  EXPECT_EQ(marks.of(kOther), 0u);
  EXPECT_EQ(marks.of({9, kMaxNodes}), kMaxNodes);
}

}  // namespace
}  // namespace resilver::replica
