// log, error, check.
#include "base/log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "base/error.h"

namespace resilver {
namespace {

class Log : public testing::Test {
 protected:
  ~Log() override {
    set_log_level(LogLevel::info);
    set_log_name("");
  }
  template <typename F>
  std::string said(F speak) {
    testing::internal::CaptureStderr();
    speak();
    return testing::internal::GetCapturedStderr();
  }
};

TEST_F(Log, LevelsDecideWhatIsSaid) {
  const auto speak = [] {
    log_error("e{}", 1);
    log_info("i{}", 2);
    log_debug("d{}", 3);
  };
  EXPECT_EQ(said(speak), "e1\ni2\n");
  set_log_level(LogLevel::quiet);
  EXPECT_EQ(said(speak), "e1\n");
  set_log_level(LogLevel::debug);
  EXPECT_EQ(said(speak), "e1\ni2\nd3\n");
}

TEST_F(Log, NameOpensTheLine) {
  set_log_name("node A");
  EXPECT_EQ(said([] { log_info("ready"); }), "node A: ready\n");
}

TEST_F(Log, LongLinesAreCutAndControlCharactersHidden) {
  const std::string fits(kMaxLogLine, 'x');
  EXPECT_EQ(said([&] { log_line(fits); }), fits + "\n");
  const std::string cut = said([&] { log_line(fits + "y"); });
  EXPECT_EQ(cut.size(), kMaxLogLine + 1);
  EXPECT_TRUE(cut.ends_with("x [cut]\n"));
  EXPECT_EQ(said([] { log_line("a\nb\x1b[2Jc"); }), "a?b?[2Jc\n");
  set_log_name(std::string(2 * kMaxLogLine, 'n'));
  EXPECT_EQ(said([] { log_line("a"); }).size(), kMaxLogLine + 1);
}

// A pipe that nobody empties holds nobody up, and what was dropped is told when there is room again.
TEST_F(Log, AReaderThatStopsReadingHoldsNobodyUp) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const int before = dup(STDERR_FILENO);
  ASSERT_EQ(dup2(pipe_ends[1], STDERR_FILENO), STDERR_FILENO);
  constexpr int kLines = 2000;
  const std::string text(100, 'x');
  for (int i = 0; i < kLines; ++i) log_line(text);
  std::string read_back(1 << 20, '\0');
  read_back.resize(static_cast<std::size_t>(read(pipe_ends[0], read_back.data(), read_back.size())));
  log_line("after");
  std::string rest(4096, '\0');
  rest.resize(static_cast<std::size_t>(read(pipe_ends[0], rest.data(), rest.size())));
  dup2(before, STDERR_FILENO);
  for (const int fd : {before, pipe_ends[0], pipe_ends[1]}) close(fd);
  const auto lines = std::ranges::count(read_back, '\n');
  EXPECT_GT(lines, 100);
  EXPECT_EQ(rest, "(" + std::to_string(kLines - lines) + " lines were dropped: nobody read them)\nafter\n");
}

TEST(Error, TellsWhatAndWhichKind) {
  EXPECT_EQ(to_string(Error{Errc::medium, "A.disk1 at 4096"}), "A.disk1 at 4096 (medium error)");
  EXPECT_EQ(to_string(Error{Errc::device_gone, ""}), "device gone");
  const Result<int> failed = fail(Errc::busy, "image");
  EXPECT_EQ(failed.error().code, Errc::busy);
}

TEST(CheckDeathTest, AFailedCheckNamesPlaceConditionAndReason) {
  EXPECT_DEATH(CHECK(1 + 1 == 3, "sums hold"), "log_test.cc:[0-9]+: CHECK failed: 1 \\+ 1 == 3: sums hold");
  CHECK(true);
}

}  // namespace
}  // namespace resilver
