#include "uring/image.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <vector>

#include "tests/uring/rig.h"

namespace resilver::uring {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

// A request of many segments.
struct ListIo : IoRequest {
  ListIo(BlockDevice& d, IoOp operation, std::uint64_t at, std::span<const Buffer> list)
      : IoRequest(&resume), device(d) {
    op = operation;
    offset = at;
    segments = list;
    for (const Buffer& segment : list) length += segment.size();
  }
  static void resume(Runnable& self) noexcept { static_cast<ListIo&>(self).waiting.resume(); }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    waiting = handle;
    device.submit(*this);
  }
  Errc await_resume() const noexcept { return status; }
  BlockDevice& device;
  std::coroutine_handle<> waiting;
};

class ImageTest : public testing::Test {
 protected:
  std::string make(const std::string& name, std::uint64_t size, Allocation allocation = Allocation::preallocated) {
    const std::string path = scratch_.file(name);
    const Status made = create_image(path, size, allocation);
    EXPECT_TRUE(made) << (made ? "" : to_string(made.error()));
    return path;
  }
  Task<Result<std::unique_ptr<Image>>> open(std::string path) {
    return Image::open(rig_.ring(), path, rig_.in(kSecond));
  }
  Buffer buffer(std::size_t size, std::uint64_t seed) {
    Buffer made = rig_.env().buffers().allocate(size);
    EXPECT_TRUE(made);
    fill(made, seed);
    return made;
  }
  ScratchDirectory scratch_;
  Rig rig_;
};

TEST_F(ImageTest, WritesAreReadBackAndOutliveTheDescriptor) {
  const std::string path = make("a", kMiB);
  rig_.run([&]() -> Task<void> {
    {
      auto image = co_await open(path);
      CO_ASSERT(image);
      EXPECT_EQ((*image)->size_bytes(), kMiB);
      EXPECT_EQ(co_await Io::write(**image, 8192, buffer(12288, 1)), Errc::ok);
    }
    auto image = co_await open(path);
    CO_ASSERT(image);
    Buffer back = buffer(12288, 9);
    EXPECT_EQ(co_await Io::read(**image, 8192, back), Errc::ok);
    EXPECT_TRUE(filled(back, 1));
    EXPECT_EQ(co_await Io::read(**image, 0, back.slice(0, 8192)), Errc::ok);
    EXPECT_TRUE(all_zero(back.slice(0, 8192)));
  });
}

Task<void> write_and_read(Image& image, Rig& rig, std::uint64_t first, std::uint64_t count, int& failures) {
  for (std::uint64_t block = first; block < first + count; ++block) {
    Buffer data = rig.env().buffers().allocate(kBlockBytes);
    fill(data, block);
    const bool fua = block % 7 == 0;
    if (co_await Io::write(image, block * kBlockBytes, data, fua) != Errc::ok) ++failures;
    if (block % 16 == 0 && co_await Io::flush(image) != Errc::ok) ++failures;
    Buffer back = rig.env().buffers().allocate(kBlockBytes);
    if (co_await Io::read(image, block * kBlockBytes, back) != Errc::ok || !filled(back, block)) ++failures;
  }
}

// More tasks than the image keeps in the kernel at a time, writes with and without FUA, and flushes among them.
TEST_F(ImageTest, ManyRequestsAtOnceKeepTheirData) {
  constexpr std::uint64_t kTasks = 700;
  const std::string path = make("deep", kTasks * 4 * kBlockBytes);
  rig_.run([&]() -> Task<void> {
    auto image = co_await open(path);
    CO_ASSERT(image);
    int failures = 0;
    TaskGroup group(rig_.ring());
    for (std::uint64_t i = 0; i < kTasks; ++i) group.spawn(write_and_read(**image, rig_, i * 4, 4, failures));
    co_await group.join();
    EXPECT_EQ(failures, 0);
  });
  EXPECT_EQ(rig_.env().buffers().bytes_in_use(), 0u);
}

TEST_F(ImageTest, ARingThatTakesFewOperationsServesAllTheSame) {
  RealOptions options{.arena_bytes = std::size_t{4} << 20, .seed = 1, .ring = {}};
  options.ring.queue_depth = 8;
  options.ring.max_in_flight = 5;
  options.ring.max_files = 8;
  Rig small(options);
  const std::string path = make("few", 256 * kBlockBytes);
  small.run([&]() -> Task<void> {
    auto image = co_await Image::open(small.ring(), path, small.in(kSecond));
    CO_ASSERT(image);
    int failures = 0;
    TaskGroup group(small.ring());
    for (std::uint64_t i = 0; i < 64; ++i) group.spawn(write_and_read(**image, small, i * 4, 4, failures));
    co_await group.join();
    EXPECT_EQ(failures, 0);
  });
}

TEST_F(ImageTest, ListsOfSegmentsAreWrittenInOrder) {
  const std::string path = make("list", 8 * kMiB);
  for (const std::size_t count : {2u, 8u, 9u, 300u}) {  // inline, the kept list, and more than one operation takes
    rig_.run([&]() -> Task<void> {
      auto image = co_await open(path);
      CO_ASSERT(image);
      std::vector<Buffer> out, back;
      for (std::size_t i = 0; i < count; ++i) {
        out.push_back(buffer(kBlockBytes, 1000 + i));
        buffer(kBlockBytes, 0);  // taken and given back: segments are not neighbours in memory
        back.push_back(buffer(kBlockBytes, 0));
      }
      ListIo write(**image, IoOp::write, kMiB, out);
      EXPECT_EQ(co_await write, Errc::ok);
      ListIo read(**image, IoOp::read, kMiB, back);
      EXPECT_EQ(co_await read, Errc::ok);
      for (std::size_t i = 0; i < count; ++i) EXPECT_TRUE(filled(back[i], 1000 + i)) << i << " of " << count;
    });
  }
}

TEST_F(ImageTest, BuffersOfAnotherPoolWorkUnregistered) {
  const std::string path = make("foreign", kMiB);
  BufferPool other(std::size_t{2} << 20);
  rig_.run([&]() -> Task<void> {
    auto image = co_await open(path);
    CO_ASSERT(image);
    Buffer data = other.allocate(65536);
    EXPECT_EQ(rig_.ring().fixed_buffer(data.data(), data.size()), -1);
    fill(data, 3);
    EXPECT_EQ(co_await Io::write(**image, 0, data), Errc::ok);
    Buffer back = other.allocate(65536);
    EXPECT_EQ(co_await Io::read(**image, 0, back), Errc::ok);
    EXPECT_TRUE(filled(back, 3));
  });
}

TEST_F(ImageTest, ZeroedRangesReadAsZeroesAndLeaveTheRestAlone) {
  const std::string path = make("zero", 4 * kMiB, Allocation::zeroed);
  rig_.run([&]() -> Task<void> {
    auto image = co_await open(path);
    CO_ASSERT(image);
    // Below and above the size from which extents are changed instead of zeroes written; with and without FUA.
    for (const std::uint64_t length : {kBlockBytes, 17 * kBlockBytes, std::uint64_t{200 * 1024}, kMiB, 3 * kMiB}) {
      for (const bool fua : {false, true}) {
        for (std::uint64_t at = 0; at < 4 * kMiB; at += kMiB) {
          EXPECT_EQ(co_await Io::write(**image, at, buffer(kMiB, at + 1)), Errc::ok);
        }
        EXPECT_EQ(co_await Io::write_zeroes(**image, kBlockBytes, length, fua), Errc::ok);
        Buffer back = buffer(kBlockBytes, 1);
        for (const std::uint64_t block : {std::uint64_t{1}, length / kBlockBytes / 2 + 1, length / kBlockBytes}) {
          EXPECT_EQ(co_await Io::read(**image, block * kBlockBytes, back), Errc::ok);
          EXPECT_TRUE(all_zero(back)) << block << " of " << length;
        }
        for (const std::uint64_t at : {std::uint64_t{0}, length + kBlockBytes}) {
          EXPECT_EQ(co_await Io::read(**image, at, back), Errc::ok);
          EXPECT_FALSE(all_zero(back)) << at << " of " << length;
        }
      }
    }
  });
}

TEST_F(ImageTest, ADiscardedRangeGivesZeroesOrTheOldData) {
  const std::string path = make("discard", 4 * kMiB);
  rig_.run([&]() -> Task<void> {
    auto image = co_await open(path);
    CO_ASSERT(image);
    EXPECT_EQ(co_await Io::write(**image, 0, buffer(kMiB, 5)), Errc::ok);
    // More than may be in the kernel at a time.
    TaskGroup group(rig_.ring());
    const auto discard = [](Image& disk, std::uint64_t at) -> Task<void> {
      EXPECT_EQ(co_await Io::discard(disk, at, 65536), Errc::ok);
    };
    for (std::uint64_t at = 0; at < kMiB; at += 65536) group.spawn(discard(**image, at));
    co_await group.join();
    Buffer back = buffer(kMiB, 6);
    EXPECT_EQ(co_await Io::read(**image, 0, back), Errc::ok);
    EXPECT_TRUE(all_zero(back) || filled(back, 5));
    EXPECT_EQ((*image)->size_bytes(), 4 * kMiB);
  });
  struct stat status;
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), 4 * kMiB);  // a hole, not a shorter file
}

TEST_F(ImageTest, FlushesThatComeTogetherAllComplete) {
  const std::string path = make("flush", kMiB);
  rig_.run([&]() -> Task<void> {
    auto image = co_await open(path);
    CO_ASSERT(image);
    int done = 0;
    const auto flush = [](Image& disk, int& count) -> Task<void> {
      EXPECT_EQ(co_await Io::flush(disk), Errc::ok);
      ++count;
    };
    TaskGroup group(rig_.ring());
    for (int i = 0; i < 100; ++i) group.spawn(flush(**image, done));
    co_await group.join();
    EXPECT_EQ(done, 100);
  });
}

class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::uint64_t bytes) {
    old_signal_ = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    signal(SIGXFSZ, old_signal_);
  }

 private:
  rlimit old_;
  void (*old_signal_)(int);
};

// The kernel really writes less than it was asked for here, and refuses the rest only when asked again.
TEST_F(ImageTest, ShortWritesAreGoneOnWithUntilTheErrorShows) {
  const std::string path = make("short", kMiB);
  constexpr std::uint64_t kLimit = 512 * 1024;
  rig_.run([&]() -> Task<void> {
    auto image = co_await open(path);
    CO_ASSERT(image);
    std::vector<Buffer> list;
    for (std::uint64_t i = 0; i < 16; ++i) {
      list.push_back(buffer(kBlockBytes, 50 + i));
      buffer(kBlockBytes, 0);
    }
    {
      const FileSizeLimit limit(kLimit);
      EXPECT_EQ(co_await Io::write(**image, kLimit - 32768, buffer(65536, 1)), Errc::no_space);
      ListIo write(**image, IoOp::write, kLimit - 3 * kBlockBytes, list);
      EXPECT_EQ(co_await write, Errc::no_space);
      EXPECT_EQ(co_await Io::write(**image, 0, buffer(65536, 2)), Errc::ok);
      EXPECT_EQ(co_await Io::write_zeroes(**image, kLimit - kBlockBytes, 2 * kBlockBytes), Errc::no_space);
    }
    Buffer back = buffer(kBlockBytes, 0);
    for (std::uint64_t i = 0; i < 2; ++i) {  // what fitted below the limit was written
      EXPECT_EQ(co_await Io::read(**image, kLimit - (3 - i) * kBlockBytes, back), Errc::ok);
      EXPECT_TRUE(filled(back, 50 + i));
    }
    EXPECT_EQ(co_await Io::read(**image, kLimit - kBlockBytes, back), Errc::ok);
    EXPECT_TRUE(all_zero(back));
    EXPECT_EQ(co_await Io::read(**image, kLimit, back), Errc::ok);
    EXPECT_TRUE(all_zero(back));
    ListIo again(**image, IoOp::write, kLimit - 3 * kBlockBytes, list);
    EXPECT_EQ(co_await again, Errc::ok);
    EXPECT_EQ(co_await Io::read(**image, kLimit + 12 * kBlockBytes, back), Errc::ok);
    EXPECT_TRUE(filled(back, 65));
  });
}

TEST_F(ImageTest, AFileThatWasCutIsAnErrorNotALoop) {
  const std::string path = make("cut", kMiB);
  rig_.run([&]() -> Task<void> {
    auto image = co_await open(path);
    CO_ASSERT(image);
    CO_ASSERT(truncate(path.c_str(), 65536) == 0);
    EXPECT_EQ(co_await Io::read(**image, 32768, buffer(65536, 1)), Errc::io);
  });
}

// A request as an array sends it: it lives by itself, and nobody may be there any more when it ends.
struct LonelyWrite : IoRequest {
  LonelyWrite(Buffer buffer, int& count) : IoRequest(&ended), payload(std::move(buffer)), completions(count) {
    op = IoOp::write;
    fua = true;
    length = payload.size();
    segments = {&payload, 1};
  }
  static void ended(Runnable& self) noexcept {
    auto& write = static_cast<LonelyWrite&>(self);
    EXPECT_EQ(write.status, Errc::ok);
    ++write.completions;
    delete &write;
  }
  Buffer payload;
  int& completions;
};

// As when an array gives a slow disk up and the process ends: no abort, nothing lost, and the lock stays until all is done.
TEST_F(ImageTest, AnImageMayGoBeforeItsRequestsEnd) {
  const std::string path = make("left", 4 * kMiB);
  static int completions = 0;  // the last comes when this has returned
  rig_.run([&]() -> Task<void> {
    auto image = co_await open(path);
    CO_ASSERT(image);
    for (int i = 0; i < 3; ++i) {
      auto* write = new LonelyWrite(buffer(kMiB, 5), completions);
      write->offset = static_cast<std::uint64_t>(i) * kMiB;
      (*image)->submit(*write);
    }
    EXPECT_TRUE((*image)->busy());
    image->reset();
    EXPECT_TRUE(rig_.ring().anything_left_behind());
    auto heir = co_await open(path);  // waits for the lock
    CO_ASSERT(heir);
    EXPECT_EQ(completions, 3);
    EXPECT_FALSE(rig_.ring().anything_left_behind());
    (*heir)->submit(*new LonelyWrite(buffer(kMiB, 6), completions));
    heir->reset();  // and the ring waits for this one
  });
}

TEST_F(ImageTest, OpeningSaysWhatIsWrong) {
  rig_.run([&]() -> Task<void> {
    const auto code = [](const Result<std::unique_ptr<Image>>& opened) {
      return opened ? Errc::ok : opened.error().code;
    };
    EXPECT_EQ(code(co_await open(scratch_.file("none"))), Errc::not_found);
    EXPECT_EQ(code(co_await open(scratch_.file(""))), Errc::bad_input);
    const std::string odd = make("odd", kMiB);
    CO_ASSERT(truncate(odd.c_str(), 4095) == 0);
    EXPECT_EQ(code(co_await open(odd)), Errc::bad_input);
    CO_ASSERT(truncate(odd.c_str(), 8704) == 0);
    EXPECT_EQ((co_await open(odd)).value()->size_bytes(), 8192u);
    const std::string fifo = scratch_.file("fifo");
    CO_ASSERT(mkfifo(fifo.c_str(), 0600) == 0);
    EXPECT_EQ(code(co_await open(fifo)), Errc::bad_input);
  });
}

TEST_F(ImageTest, CreatingRefusesWhatIsThereAndWhatDoesNotFit) {
  const std::string path = make("there", kMiB);
  EXPECT_EQ(create_image(path, kMiB, Allocation::sparse).error().code, Errc::exists);
  EXPECT_EQ(create_image(scratch_.file("no/where"), kMiB, Allocation::sparse).error().code, Errc::not_found);
  const std::string huge = scratch_.file("huge");
  EXPECT_EQ(create_image(huge, std::uint64_t{1} << 50, Allocation::preallocated).error().code, Errc::no_space);
  EXPECT_FALSE(std::filesystem::exists(huge));
}

TEST_F(ImageTest, ASecondOpenerIsToldThatItIsBusy) {
  const std::string path = make("busy", kMiB);
  rig_.run([&]() -> Task<void> {
    auto first = co_await open(path);
    CO_ASSERT(first);
    const Nanos start = rig_.ring().now();
    const auto second = co_await Image::open(rig_.ring(), path, start + 30 * kMillisecond);
    CO_ASSERT(!second);
    EXPECT_EQ(second.error().code, Errc::busy);
    EXPECT_GE(rig_.ring().now() - start, 30 * kMillisecond);
    first->reset();
    EXPECT_TRUE(co_await Image::open(rig_.ring(), path, 0));  // at once
  });
}

// A process that holds the image and writes to it without end.
[[noreturn]] void hold_image(const std::string& path, int ready) {
  Rig rig;
  rig.run([&]() -> Task<void> {
    auto image = co_await Image::open(rig.ring(), path, rig.in(kSecond));
    if (!image) _exit(2);
    if (write(ready, "x", 1) != 1) _exit(3);
    const auto writer = [](Image& disk, Rig& r, std::uint64_t at) -> Task<void> {
      Buffer data = r.env().buffers().allocate(65536);
      for (;;) co_await Io::write(disk, at, data, true);
    };
    TaskGroup group(rig.ring());
    for (std::uint64_t i = 0; i < 8; ++i) group.spawn(writer(**image, rig, i * 65536));
    co_await group.join();
  });
  _exit(4);
}

TEST_F(ImageTest, TheLockOfAKilledProcessPassesToItsSuccessor) {
  const std::string path = make("heir", kMiB);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) hold_image(path, ends[1]);
  char byte = 0;
  ASSERT_EQ(read(ends[0], &byte, 1), 1);
  rig_.run([&]() -> Task<void> {
    const auto refused = co_await Image::open(rig_.ring(), path, rig_.in(20 * kMillisecond));
    CO_ASSERT(!refused);
    EXPECT_EQ(refused.error().code, Errc::busy);
    kill(child, SIGKILL);
    const Nanos start = rig_.ring().now();
    auto image = co_await Image::open(rig_.ring(), path, rig_.in(5 * kSecond));
    CO_ASSERT(image);
    RecordProperty("hand_over_us", static_cast<int>((rig_.ring().now() - start) / 1000));
    EXPECT_EQ(co_await Io::write(**image, 0, buffer(65536, 8), true), Errc::ok);
    co_await sleep_for(rig_.ring(), 50 * kMillisecond);
    Buffer back = buffer(65536, 0);
    EXPECT_EQ(co_await Io::read(**image, 0, back), Errc::ok);
    EXPECT_TRUE(filled(back, 8)) << "the dead still wrote";
  });
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace resilver::uring
