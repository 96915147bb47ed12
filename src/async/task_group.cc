#include "async/task_group.h"

namespace resilver {

struct TaskGroup::Driver {
  struct promise_type {
    DriverLink link;
    TaskGroup* group = nullptr;

    static void* operator new(std::size_t size) noexcept { return frame_pool::allocate(size); }
    static void operator delete(void* frame, std::size_t size) noexcept { frame_pool::release(frame, size); }

    promise_type(TaskGroup& owner, Task<void>&) noexcept : group(&owner) {
      link.frame = std::coroutine_handle<promise_type>::from_promise(*this);
      link.run = [](Runnable& self) noexcept { static_cast<DriverLink&>(self).frame.resume(); };
    }
    Driver get_return_object() noexcept { return Driver{&link}; }
    std::suspend_always initial_suspend() noexcept { return {}; }

    struct Final {
      bool await_ready() noexcept { return false; }
      void await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        TaskGroup* owner = self.promise().group;
        self.promise().link.unlink();
        self.destroy();
        owner->finished();
      }
      void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
  };
  DriverLink* link;
};

TaskGroup::Driver TaskGroup::drive(TaskGroup&, Task<void> task) { co_await std::move(task); }

TaskGroup::~TaskGroup() {
  CHECK(running_ == 0 || scheduler_.killed(), "a TaskGroup must be joined before it ends");
  while (!drivers_.empty()) drivers_.pop_front().frame.destroy();
}

void TaskGroup::spawn(Task<void> task) noexcept {
  Driver driver = drive(*this, std::move(task));
  ++running_;
  drivers_.push_back(*driver.link);
  scheduler_.post(*driver.link);
}

void TaskGroup::finished() noexcept {
  if (--running_ == 0 && joiner_.waiting) scheduler_.post(joiner_);
}

}  // namespace resilver
