// A word on the screen is a claim: what status says of redundancy and service, what a load says of itself, and that whatever
// waits says why.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "tests/e2e/volume.h"

namespace resilver::test {
namespace {

class VolumeWords : public VolumeTest {};

// ---- readers that go away --------------------------------------------------------------------------------------------

// As `resilver node … 2>&1 | head -1`.
TEST_F(VolumeWords, NobodyEndsBecauseItsLogIsNotRead) {
  configure(2);
  done({"create"});
  const auto into_closed_pipe = [] {
    int ends[2];
    if (pipe(ends) != 0) return false;
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    return true;
  };
  arbiter_ = std::make_unique<Program>(Words{"arbiter", "--state", directory_ / "arbiter", "--listen", address(7400)},
                                       into_closed_pipe);
  for (const std::string& name : names_) {
    nodes_[name] = std::make_unique<Program>(Words{"node", "--config", config_, "--name", name}, into_closed_pipe);
  }
  ASSERT_TRUE(eventually_in_sync(2));
  node("B").signal(SIGSTOP);
  ASSERT_TRUE(eventually_in_sync(1)) << "A has told it, to nobody";
  node("B").signal(SIGCONT);
  ASSERT_TRUE(eventually_in_sync(2));
  stop_all();
}

// ---- redundancy and service ------------------------------------------------------------------------------------------

TEST_F(VolumeWords, RedundancyIsWhatCouldBeLostNow) {
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  EXPECT_EQ(status().number("redundancy"), 2u);
  EXPECT_NE(done({"status"}).out.find("survives 2 more node failures"), std::string::npos);
  done({"ack", "quorum"});
  ASSERT_TRUE(eventually_status([](const State& now) { return now.at("ack") == "quorum"; }));
  EXPECT_EQ(status().number("redundancy"), 1u) << "of two that are lost one may have been of the two that had a write";
  // Without the arbiter the set cannot change: one that is lost could not be left out.
  done({"ack", "durable"});
  stop_arbiter();
  ASSERT_TRUE(eventually_has("arbiter_away"));
  ASSERT_TRUE(eventually_status([](const State& now) { return now.number("redundancy") == 0; }));
  node("C").signal(SIGKILL);
  nodes_.erase("C");
  ASSERT_TRUE(eventually_status([](const State& now) { return now.at("serving") == "false"; }))
      << "a write would wait for C";
  const State waiting = status();
  EXPECT_TRUE(waiting.has("unreachable", "C") && waiting.has("arbiter_away")) << waiting.text();
  start_arbiter();
  ASSERT_TRUE(eventually_in_sync(2));
  ASSERT_TRUE(eventually_status([](const State& now) { return now.number("redundancy") == 1; }));
}

TEST_F(VolumeWords, WritesThatWaitAreNotCalledService) {
  configure(2, "min_in_sync = 2\nop_timeout = \"5s\"\n");
  ASSERT_NO_FATAL_FAILURE(start_all());
  kill("B");
  ASSERT_TRUE(eventually_status([](const State& now) { return now.at("serving") == "false"; }));
  ASSERT_TRUE(eventually_has("too_few_copies"));
  EXPECT_EQ(status().at("readable"), "true");
  write_text(directory_ / "in", noise(4096));
  const Ended mute = volume({"attach", "--import", directory_ / "in"});
  EXPECT_EQ(mute.code, 1);
  EXPECT_NE(mute.err.find("writes wait: too few copies are in sync"), std::string::npos) << mute.err;
  EXPECT_NE(mute.err.find("writes wait"), std::string::npos) << mute.err;
  export_text(4096);
  start("B");
  ASSERT_TRUE(eventually_in_sync(2));
}

// The copy that goes away in the middle of an import: it says why it waits, and goes on.
TEST_F(VolumeWords, AnImportThatWaitsSaysWhy) {
  detect_ = "1s";
  configure(2, "min_in_sync = 2\n");
  ASSERT_NO_FATAL_FAILURE(start_all());
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Program import(with_config({"attach", "--import", "-"}), [&ends] { return dup2(ends[0], STDIN_FILENO) == 0; });
  close(ends[0]);
  const std::string text = noise(3 << 20);
  constexpr std::size_t kFirst = 1'500'000;
  ASSERT_EQ(write(ends[1], text.data(), kFirst), kFirst);
  ASSERT_TRUE(eventually_status([](const State& now) { return now.number_of("A", "writes") > 0; }));
  kill("B");
  ASSERT_TRUE(eventually_status([](const State& now) { return now.at("serving") == "false"; }));
  std::thread rest([&] {
    EXPECT_EQ(write(ends[1], text.data() + kFirst, text.size() - kFirst), text.size() - kFirst);
    close(ends[1]);
  });
  sleep(4);
  start("B");
  const Ended ended = import.wait(30);
  rest.join();
  EXPECT_EQ(ended.code, 0) << ended.all();
  EXPECT_NE(ended.err.find("requests wait: "), std::string::npos) << ended.err;
  EXPECT_TRUE(export_text(text.size()) == text);
}

// ---- clients ---------------------------------------------------------------------------------------------------------

TEST_F(VolumeWords, ALoadThatIsFencedCountsNothingAsLost) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  Program load(with_config({"attach", "--load", "20s", "--json"}));
  ASSERT_TRUE(eventually_status([](const State& now) { return now.number_of("A", "writes") > 50; }));
  import(noise(4096));
  const Ended ended = load.wait(15);
  EXPECT_EQ(ended.code, 1) << ended.all();
  const State report(ended.out);
  EXPECT_EQ(report.at("fenced"), "true") << ended.all();
  EXPECT_EQ(report.at("lost_writes"), "0") << ended.all();
  EXPECT_NE(ended.err.find("another client has attached"), std::string::npos) << ended.err;
}

TEST_F(VolumeWords, AnExportReadsBesideTheClient) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  Program load(with_config({"attach", "--load", "4s", "--json"}));
  ASSERT_TRUE(eventually_status([](const State& now) { return now.number_of("A", "writes") > 50; }));
  for (int i = 0; i < 3; ++i) export_text(1 << 20);
  const Ended ended = load.wait(30);
  EXPECT_EQ(ended.code, 0) << ended.all();
  EXPECT_EQ(State(ended.out).at("fenced"), "false");
  EXPECT_EQ(State(ended.out).at("lost_writes"), "0");
}

}  // namespace
}  // namespace resilver::test
