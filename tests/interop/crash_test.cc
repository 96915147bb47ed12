// One side is killed while it writes, the other takes over: the array is resynced (with a bitmap only where bits are set),
// what was acknowledged is there, what was under way is old or new, the rest is untouched.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/interop/rig.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kWriteKib = 64;
constexpr std::uint64_t kWrite = kWriteKib << 10;

std::vector<Shape> crash_shapes() {
  std::vector<Shape> few = {{1, 2, 0, "", "bitmap"},  {5, 4, 64, "", "resync"},  {5, 3, 16, "", "bitmap"},
                            {6, 5, 64, "", "bitmap"}, {5, 4, 64, "", "journal"}, {10, 3, 64, "n2", "resync"}};
  if (!full_matrix()) return few;
  for (const Shape& more : std::vector<Shape>{{1, 3, 0, "", "resync"},
                                              {4, 4, 64, "", "bitmap"},
                                              {5, 5, 512, "right-symmetric", "bitmap"},
                                              {6, 4, 16, "", "resync"},
                                              {6, 6, 64, "parity-last", "bitmap"},
                                              {10, 4, 64, "n2", "bitmap"}}) {
    few.push_back(more);
  }
  return few;
}

// What each block of `now` is allowed to hold.
enum class Allowed : std::uint8_t { before, after, either };

void expect_blocks(const std::string& now, const std::string& before, const std::string& after,
                   const std::vector<Allowed>& allowed) {
  const std::string held = read_text(now);
  const std::string old_text = read_text(before);
  const std::string new_text = read_text(after);
  ASSERT_GT(held.size(), 0u);
  ASSERT_EQ(held.size(), old_text.size());
  ASSERT_EQ(held.size(), new_text.size());
  for (std::uint64_t at = 0; at < held.size(); at += kBlock) {
    const bool is_old = held.compare(at, kBlock, old_text, at, kBlock) == 0;
    const bool is_new = held.compare(at, kBlock, new_text, at, kBlock) == 0;
    switch (allowed[at / kBlock]) {
      case Allowed::before:
        ASSERT_TRUE(is_old) << "block at " << at << " changed, though nothing was written there";
        break;
      case Allowed::after: ASSERT_TRUE(is_new) << "block at " << at << " was acknowledged and is not there"; break;
      case Allowed::either: ASSERT_TRUE(is_old || is_new) << "block at " << at << " is neither old nor new"; break;
    }
  }
}

class AfterAKill : public InteropTest, public testing::WithParamInterface<Shape> {
 protected:
  // Our program, killed when it enters the ring for the count-th time; gives how often it did.
  static int kill_at_ring_entry(const std::vector<std::string>& arguments, int count);
};

int AfterAKill::kill_at_ring_entry(const std::vector<std::string>& arguments, int count) {
  Program program(arguments, [] { return ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0; });
  int entries = 0;
  bool inside = false;
  int status = 0;
  bool first = true;
  while (waitpid(program.pid(), &status, 0) == program.pid() && WIFSTOPPED(status)) {
    if (first) ptrace(PTRACE_SETOPTIONS, program.pid(), nullptr, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
    int deliver = 0;
    if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
      user_regs_struct registers{};
      ptrace(PTRACE_GETREGS, program.pid(), nullptr, &registers);
      inside = !inside;
      if (inside && registers.orig_rax == SYS_io_uring_enter && ++entries == count) {
        program.signal(SIGKILL);
        program.wait();
        return entries;
      }
    } else if (!first) {
      deliver = WSTOPSIG(status);
    }
    first = false;
    ptrace(PTRACE_SYSCALL, program.pid(), nullptr, static_cast<long>(deliver));
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the program did not end well: " << status;
  return entries;
}

TEST_P(AfterAKill, OfMdWeTakeOver) {
  const Shape& shape = GetParam();
  const auto images = new_images("md", shape.disks + (shape.consistency == "journal" ? 1 : 0));
  md_create(shape, images, shape.consistency == "bitmap" ? "--bitmap-chunk=64K" : "");
  const std::string before = random_file(md_array_bytes());
  const std::string after = random_file(fs::file_size(before));
  md("idle; write_file " + before + "; stop");

  // Four writers, each from the beginning of its quarter on.
  const std::uint64_t quarter = fs::file_size(before) / kWrite / 4;
  const std::string writers =
      "assemble " + devices_ + "; for writer in 0 1 2 3; do (for ((i = 0; i < " + std::to_string(quarter) +
      "; i++)); do at=$((writer * " + std::to_string(quarter) + " + i)); dd if=" + after +
      " of=/dev/md0 bs=" + std::to_string(kWriteKib) +
      "k count=1 skip=$at seek=$at oflag=direct conv=notrunc status=none && echo \"wrote $at.\"; done) & done; wait";
  ASSERT_TRUE(Guest::shared().start(writers, "wrote 3."));
  const std::string said = Guest::shared().kill();

  std::vector<Allowed> allowed(fs::file_size(before) / kBlock, Allowed::before);
  const auto mark = [&](std::uint64_t write, Allowed as) {
    for (std::uint64_t i = 0; i < kWrite / kBlock; ++i) allowed[write * (kWrite / kBlock) + i] = as;
  };
  for (std::uint64_t writer = 0; writer < 4; ++writer) {
    std::uint64_t at = writer * quarter;
    for (; said.find("wrote " + std::to_string(at) + ".") != std::string::npos; ++at) mark(at, Allowed::after);
    // The next one was under way; a few more may have been done whose words were lost with the console.
    for (const std::uint64_t end = std::min(at + 4, (writer + 1) * quarter); at < end; ++at) mark(at, Allowed::either);
  }

  // With a journal nothing is marked: what is in it is replayed.
  if (shape.consistency != "journal") EXPECT_NE(our_state(images), "clean");
  ours_on("assemble", images);
  our_export(images, file("export"));
  expect_blocks(file("export"), before, after, allowed);
  expect_ours_whole(shape, images, file("export"));
  plug(images);
  md("assemble " + devices_ + "; check | grep -x 'mismatches 0'; cmp /dev/md0 " + file("export") + "; stop");
}

TEST_P(AfterAKill, OfOursMdTakesOver) {
  const Shape& shape = GetParam();
  const auto images = our_create(shape, "ours");
  const std::string before = random_file(our_array_bytes(images));
  const std::string after = random_file(fs::file_size(before));
  const std::vector<Allowed> allowed(fs::file_size(before) / kBlock, Allowed::either);
  const int entries = kill_at_ring_entry({"import", file("ours"), before}, 1 << 30);
  ASSERT_GT(entries, 8) << "too few steps to be killed in";
  for (const int at : {entries / 3, entries * 3 / 4}) {
    SCOPED_TRACE("killed at step " + std::to_string(at) + " of " + std::to_string(entries));
    ours({"import", file("ours"), before});
    kill_at_ring_entry({"import", file("ours"), after}, at);
    plug(images);
    md("assemble " + devices_ + "; idle; dd if=/dev/md0 of=" + file("held") + " bs=1M status=none; " +
       "check | grep -x 'mismatches 0'; cmp /dev/md0 " + file("held") + "; stop; sync");
    expect_blocks(file("held"), before, after, allowed);
    expect_ours_whole(shape, images, file("held"));
    fs::remove(file("held"));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AfterAKill, testing::ValuesIn(crash_shapes()),
                         [](const auto& info) { return info.param.name(); });

}  // namespace
}  // namespace resilver::test
