// log, error, check.
#include "base/log.h"

#include <gtest/gtest.h>

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
