#include "uring/ring.h"

#include <liburing.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/uring/rig.h"

namespace resilver::uring {
namespace {

TEST(Ring, TimersExpireInTheOrderOfTheirTimes) {
  Rig rig;
  std::vector<int> order;
  rig.run([&]() -> Task<void> {
    const Nanos start = rig.ring().now();
    const auto sleeper = [&order, start](Ring& ring, int ms) -> Task<void> {
      co_await sleep_until(ring, start + ms * kMillisecond);
      EXPECT_GE(ring.now(), start + ms * kMillisecond);
      order.push_back(ms);
    };
    TaskGroup group(rig.ring());
    for (int ms : {9, 3, 7, 1, 5, 8, 2, 6, 4, 0}) group.spawn(sleeper(rig.ring(), ms));
    co_await group.join();
  });
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

struct CountingTimer : Timer {
  CountingTimer() noexcept : Timer(&count) {}
  static void count(Runnable& self) noexcept {
    auto& timer = static_cast<CountingTimer&>(self);
    ++timer.runs;
    timer.order->push_back(timer.at);
  }
  int runs = 0;
  std::vector<Nanos>* order = nullptr;
};

TEST(Ring, ADisarmedTimerDoesNotRunAndTheOthersKeepTheirOrder) {
  Rig rig;
  Random random(5);
  for (int round = 0; round < 50; ++round) {
    std::vector<CountingTimer> timers(100);
    std::vector<Nanos> order;
    rig.run([&]() -> Task<void> {
      const Nanos start = rig.ring().now();
      for (auto& timer : timers) {
        timer.order = &order;
        rig.ring().arm(timer, start + static_cast<Nanos>(random.below(1000)) * kMicrosecond);
      }
      for (std::size_t i = 0; i < timers.size(); i += 2) EXPECT_TRUE(rig.ring().disarm(timers[i]));
      EXPECT_FALSE(rig.ring().disarm(timers[0]));
      co_await sleep_until(rig.ring(), start + kMillisecond);
    });
    for (std::size_t i = 0; i < timers.size(); ++i) EXPECT_EQ(timers[i].runs, static_cast<int>(i % 2)) << i;
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  }
}

TEST(Ring, RunGivesTheResultAndMayBeCalledAgain) {
  Rig rig;
  const auto answer = [](Ring& ring, int value) -> Task<int> {
    co_await yield(ring);
    co_return value;
  };
  EXPECT_EQ(rig.ring().run(answer(rig.ring(), 1)), 1);
  EXPECT_EQ(rig.ring().run(answer(rig.ring(), 2)), 2);
}

TEST(Ring, WaitFdSeesWhatHappensAndKeepsItsDeadline) {
  Rig rig;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  rig.run([&]() -> Task<void> {
    const auto late = co_await rig.ring().wait_fd(ends[0], POLLIN, rig.in(10 * kMillisecond));
    EXPECT_EQ(late.error().code, Errc::timeout);
    CO_ASSERT(write(ends[1], "x", 1) == 1);
    const auto now = co_await rig.ring().wait_fd(ends[0], POLLIN, rig.in(kSecond));
    CO_ASSERT(now);
    EXPECT_TRUE(*now & POLLIN);
  });
  close(ends[0]);
  close(ends[1]);
}

TEST(Ring, WaitFdSeesAChildEnd) {
  Rig rig;
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  ASSERT_GE(pidfd, 0);
  rig.run([&]() -> Task<void> {
    EXPECT_EQ((co_await rig.ring().wait_fd(pidfd, POLLIN, rig.in(5 * kMillisecond))).error().code, Errc::timeout);
    kill(child, SIGKILL);
    EXPECT_TRUE(co_await rig.ring().wait_fd(pidfd, POLLIN, rig.in(5 * kSecond)));
  });
  close(pidfd);
  int status;
  EXPECT_EQ(waitpid(child, &status, 0), child);
}

TEST(StopSignal, IsWaitedForInsteadOfEndingTheProcess) {
  Rig rig;
  auto stop = StopSignal::create(rig.ring());
  ASSERT_TRUE(stop);
  rig.run([&]() -> Task<void> {
    kill(getpid(), SIGTERM);
    EXPECT_EQ(co_await (*stop)->wait(), SIGTERM);
    TaskGroup group(rig.ring());
    const auto closer = [](Ring& ring, StopSignal& signal) -> Task<void> {
      co_await sleep_for(ring, 5 * kMillisecond);
      signal.close();
    };
    group.spawn(closer(rig.ring(), **stop));
    EXPECT_EQ(co_await (*stop)->wait(), 0);
    co_await group.join();
  });
}

std::vector<std::string> notices;

TEST(Ring, SaysWhatItGoesOnWithoutOnceOnly) {
  RealOptions options{.arena_bytes = std::size_t{4} << 20, .seed = 1, .ring = {}};
  options.ring.notice = [](std::string_view line) { notices.emplace_back(line); };
  notices.clear();
  Rig rig(options);
  const std::size_t before = notices.size();
  rig.ring().notice("thing", "first");
  rig.ring().notice("thing", "second");
  ASSERT_EQ(notices.size(), before + 1);
  EXPECT_EQ(notices.back(), "first");
}

TEST(Ring, FilesBeyondTheTableGoUnregistered) {
  RealOptions options{.arena_bytes = std::size_t{4} << 20, .seed = 1, .ring = {}};
  options.ring.max_files = 1;
  Rig rig(options);
  const ScratchDirectory scratch;
  rig.run([&]() -> Task<void> {
    std::vector<std::unique_ptr<Image>> images;
    for (int i = 0; i < 3; ++i) {
      const std::string path = scratch.file(std::to_string(i));
      CO_ASSERT(create_image(path, 65536, Allocation::preallocated));
      auto image = co_await Image::open(rig.ring(), path, rig.in(kSecond));
      CO_ASSERT(image);
      images.push_back(std::move(*image));
    }
    for (auto& image : images) {
      Buffer data = rig.env().buffers().allocate(4096);
      fill(data, 1);
      EXPECT_EQ(co_await Io::write(*image, 0, data), Errc::ok);
      EXPECT_EQ(co_await Io::flush(*image), Errc::ok);
    }
  });
}

// One thread's world: an image written and a message echoed, all on its own ring.
void live(const std::string& path) {
  Rig rig;
  rig.run([&]() -> Task<void> {
    CO_ASSERT(create_image(path, 1 << 20, Allocation::preallocated));
    auto image = co_await Image::open(rig.ring(), path, rig.in(kSecond));
    CO_ASSERT(image);
    auto listener = rig.env().tcp().listen_tcp("127.0.0.1:0");
    CO_ASSERT(listener);
    auto out = co_await rig.env().tcp().connect((*listener)->address(), rig.in(kSecond));
    CO_ASSERT(out);
    auto in = co_await (*listener)->accept();
    CO_ASSERT(in);
    for (std::uint64_t i = 0; i < 100; ++i) {
      Message message;
      message.body = rig.env().buffers().allocate(8192);
      fill(message.body, i);
      EXPECT_EQ(co_await Io::write(**image, i * 8192, message.body), Errc::ok);
      EXPECT_TRUE(co_await (*out)->send(std::move(message), rig.in(kSecond)));
      const auto got = co_await (*in)->receive(rig.in(kSecond));
      CO_ASSERT(got);
      Buffer back = rig.env().buffers().allocate(8192);
      EXPECT_EQ(co_await Io::read(**image, i * 8192, back), Errc::ok);
      EXPECT_TRUE(filled(back, i) && filled(got->body, i));
    }
  });
}

TEST(Ring, TwoThreadsHaveARingEach) {
  const ScratchDirectory scratch;
  std::thread first([&] { live(scratch.file("1")); });
  std::thread second([&] { live(scratch.file("2")); });
  first.join();
  second.join();
}

// Stands for a disk that never answers: its operation cannot be cancelled in time.
struct Endless : Op {
  explicit Endless(int descriptor) noexcept : Op(kKind), fd(descriptor) {}
  static void prepare_op(Op& op, io_uring_sqe& entry) noexcept {
    io_uring_prep_poll_add(&entry, static_cast<Endless&>(op).fd, POLLIN);
  }
  static void complete_op(Op&, int) noexcept { ADD_FAILURE() << "it was not to end"; }
  static constexpr Kind kKind = {&prepare_op, &complete_op};
  int fd;
};

TEST(Ring, EndsInTimeWhateverTheKernelDoesNotGiveBack) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  static Endless endless(ends[0]);
  static auto& held = *new Buffer;  // what the kernel would write to: never given back
  {
    RealOptions options{.arena_bytes = std::size_t{16} << 20, .seed = 1, .ring = {}};
    options.ring.end_patience = 0;
    options.ring.notice = [](std::string_view) {};
    Rig rig(options);
    held = rig.env().buffers().allocate(4096);
    rig.ring().start(endless);
    rig.run([&]() -> Task<void> { co_await yield(rig.ring()); });
  }
  std::memset(held.data(), 1, held.size());  // still there
  close(ends[0]);
  close(ends[1]);
}

TEST(RingDeathTest, AWaitThatNothingCanEndIsOurMistake) {
  const auto stuck = [] {
    Rig rig;
    Event never(rig.ring());
    rig.run([&]() -> Task<void> { co_await never.wait(); });
  };
  EXPECT_DEATH(stuck(), "nothing can wake");
}

}  // namespace
}  // namespace resilver::uring
