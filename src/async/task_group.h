// Structured concurrency: whoever starts a task waits for it. A TaskGroup owns the tasks spawned in it; its owner awaits
// join() before the group goes out of scope. Nothing is ever detached.
#pragma once

#include <coroutine>
#include <cstddef>

#include "async/frame_pool.h"
#include "async/intrusive_list.h"
#include "async/scheduler.h"
#include "async/task.h"

namespace resilver {

class TaskGroup {
 public:
  explicit TaskGroup(Scheduler& scheduler) noexcept : scheduler_(scheduler), joiner_(scheduler) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  // Precondition: joined (running() == 0), or the scheduler was killed: then the unfinished tasks are destroyed.
  ~TaskGroup();

  // Queues the task's first step. It may spawn further tasks into the same group.
  void spawn(Task<void> task) noexcept;

  // Tasks spawned and not yet ended.
  std::size_t running() const noexcept { return running_; }

  struct JoinAwaiter;
  // Waits until no task is running. One waiter at a time; the group may be used again afterwards.
  JoinAwaiter join() noexcept;

 private:
  struct Driver;  // the frame that owns one spawned task

  struct Joiner : Runnable {
    explicit Joiner(Scheduler& s) noexcept : Runnable(&resume), scheduler(s) {}
    static void resume(Runnable& self) noexcept {
      auto& joiner = static_cast<Joiner&>(self);
      const auto waiting = joiner.waiting;
      joiner.waiting = nullptr;
      waiting.resume();
    }
    Scheduler& scheduler;
    std::coroutine_handle<> waiting;
  };

  struct DriverLink : ListHook, Runnable {
    std::coroutine_handle<> frame;
  };

  static Driver drive(TaskGroup& group, Task<void> task);
  void finished() noexcept;

  Scheduler& scheduler_;
  Joiner joiner_;
  std::size_t running_ = 0;
  IntrusiveList<DriverLink> drivers_;

 public:
  struct JoinAwaiter {
    TaskGroup& group;
    bool await_ready() const noexcept { return group.running_ == 0; }
    void await_suspend(std::coroutine_handle<> waiting) noexcept {
      CHECK(!group.joiner_.waiting, "one waiter at a time");
      group.joiner_.waiting = waiting;
    }
    void await_resume() const noexcept {}
  };
};

inline TaskGroup::JoinAwaiter TaskGroup::join() noexcept { return JoinAwaiter{*this}; }

}  // namespace resilver
