// A Scheduler for tests of every room: one thread, virtual time that jumps to the next timer, no I/O. What is ready runs in
// the order of posting, or, with a seed other than 0, in an order that the seed decides: code must work under any.
//
//   TestScheduler scheduler(seed);
//   EXPECT_TRUE(scheduler.run(my_test(scheduler)));       // false: stuck (nothing is ready, no timer) or killed
//   int answer = scheduler.get(computes_an_int());        // CHECKs that it ended
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "async/scheduler.h"
#include "async/task.h"
#include "async/task_group.h"
#include "base/random.h"

namespace resilver {

class TestScheduler final : public Scheduler {
 public:
  explicit TestScheduler(std::uint64_t seed = 0) noexcept : permute_(seed != 0), random_(seed) {}

  // Runs until `task` has ended (true), or until it never can or kill() was called (false). After false every frame of the
  // task has been destroyed as on a killed node and the scheduler is dead. May be called again after true; time goes on.
  [[nodiscard]] bool run(Task<void> task) {
    CHECK(!running_ && !killed_);
    running_ = true;
    bool ended = false;
    {
      TaskGroup root(*this);
      root.spawn(std::move(task));
      while (root.running() != 0 && !killed_ && step()) {
      }
      ended = root.running() == 0;
      if (!ended) kill();
    }
    running_ = false;
    return ended;
  }

  template <typename T>
  T get(Task<T> task) {
    std::optional<T> value;
    const bool ended = run(store(std::move(task), value));
    CHECK(ended, "the task is stuck or was killed");
    return std::move(*value);
  }

  // The node dies: nothing runs any more; run() destroys the frames and returns. Also from inside a task, which then still
  // runs to its next suspension.
  void kill() noexcept {
    killed_ = true;
    ready_.clear();
    for (auto& [key, timer] : timers_) timer->heap_index = Timer::kIdle;
    timers_.clear();
  }
  // kill() before the n-th item from now is run (0: before the next one).
  void kill_after(std::uint64_t steps) noexcept { kill_at_step_ = steps_ + steps; }

  // Items run so far.
  std::uint64_t steps() const noexcept { return steps_; }
  // Moves the clock without running anything, as a machine that was asleep does.
  void advance(Nanos duration) noexcept { now_ += duration; }

  void post(Runnable& item) noexcept override {
    if (killed_) return;
    CHECK(item.run != nullptr);
    for (Runnable* queued : ready_) CHECK(queued != &item, "posted twice");
    ready_.push_back(&item);
  }
  Nanos now() const noexcept override { return now_; }
  void arm(Timer& timer, Nanos at) noexcept override {
    if (killed_) return;
    CHECK(!timer.armed(), "armed twice");
    timer.at = at;
    timer.sequence = next_sequence_++;
    timer.heap_index = 0;
    timers_.emplace(Key{at, timer.sequence}, &timer);
  }
  bool disarm(Timer& timer) noexcept override {
    if (!timer.armed()) return false;
    timers_.erase(Key{timer.at, timer.sequence});
    timer.heap_index = Timer::kIdle;
    return true;
  }
  bool killed() const noexcept override { return killed_; }

 private:
  using Key = std::pair<Nanos, std::uint64_t>;
  static constexpr std::uint64_t kMaxSteps = 200'000'000;  // a test that runs longer turns in circles

  template <typename T>
  static Task<void> store(Task<T> task, std::optional<T>& value) {
    value.emplace(co_await std::move(task));
  }

  // Runs one item; false if there is none.
  bool step() {
    if (kill_at_step_ == steps_) {
      kill();
      return false;
    }
    expire();
    if (ready_.empty()) {
      if (timers_.empty()) return false;
      now_ = std::max(now_, timers_.begin()->first.first);
      expire();
    }
    const std::size_t index = permute_ ? random_.below(ready_.size()) : 0;
    Runnable* item = ready_[index];
    ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(index));
    CHECK(++steps_ < kMaxSteps, "the test does not end");
    item->run(*item);
    return true;
  }
  void expire() {
    while (!timers_.empty() && timers_.begin()->first.first <= now_) {
      Timer* timer = timers_.begin()->second;
      timers_.erase(timers_.begin());
      timer->heap_index = Timer::kIdle;
      post(*timer);
    }
  }

  bool permute_;
  Random random_;
  bool running_ = false;
  bool killed_ = false;
  Nanos now_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t kill_at_step_ = ~std::uint64_t{0};
  std::uint64_t next_sequence_ = 0;
  std::vector<Runnable*> ready_;
  std::map<Key, Timer*> timers_;
};

}  // namespace resilver
