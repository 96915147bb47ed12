// A process of a real run that dies of itself, as by a CHECK: the run says whom, of what and its last words, and concludes
// nothing. What the scenario itself kills is not meant.
#include <signal.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/e2e/small.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLastWords = "src/made/up.cc:1: CHECK failed: planted: a bug of ours";

class Death : public SmallTest {
 protected:
  // Runs `pair` and ends the process whose command line names `what` by SIGABRT in the middle of it.
  Ended run_and_abort(const std::string& what, const std::string& log, std::vector<std::string> more = {}) {
    write_scenario(with("length = \"2s\"", "length = \"4s\""));
    std::vector<std::string> words = {"run", file_, "--time", "real", "--only", "pair", "--quiet", "--work", work_};
    words.insert(words.end(), more.begin(), more.end());
    Program program(words);
    const auto victims = [&] {
      std::vector<pid_t> found = processes_naming(work_ + "/" + what);
      std::erase(found, program.pid());
      return found;
    };
    EXPECT_TRUE(eventually([&] { return fs::exists(work_ + "/pair-B.json") && victims().size() == 1; }));
    usleep(2'500'000);  // behind what the scenario does itself
    std::ofstream(work_ + "/" + log, std::ios::app) << kLastWords << "\nand a line that says nothing\n";
    for (const pid_t victim : victims()) kill(victim, SIGABRT);
    return program.wait(60);
  }
};

TEST_F(Death, OfANodeMakesTheRunInconclusive) {
  const Ended ended = run_and_abort("pair-B.json", "pair-B.log");
  EXPECT_EQ(ended.code, 3) << ended.all();
  EXPECT_NE(ended.out.find("INCONCLUSIVE: pair: node B died: killed by signal 6"), std::string::npos) << ended.all();
  EXPECT_NE(ended.out.find("CHECK failed: planted"), std::string::npos) << ended.all();
  EXPECT_TRUE(work_is_empty());
}

TEST_F(Death, OfTheArbiterDoesToo) {
  const Ended ended = run_and_abort("pair-arbiter.img", "pair-arbiter.log", {"--json"});
  EXPECT_EQ(ended.code, 3) << ended.all();
  const auto results = nlohmann::json::parse(ended.out, nullptr, false);
  ASSERT_FALSE(results.is_discarded()) << ended.all();
  const auto& why = results.at("contenders").at(0).at("inconclusive");
  EXPECT_EQ(why, std::string("the arbiter died: killed by signal 6: ") + kLastWords) << why;
}

TEST_F(Death, ByTheScenarioIsNotMeant) {
  write_scenario();
  const Ended ended = run_program({"run", file_, "--time", "real", "--only", "pair", "--quiet", "--work", work_});
  EXPECT_EQ(ended.code, 0) << ended.all();
  EXPECT_EQ(ended.out.find("died"), std::string::npos) << ended.all();
}

}  // namespace
}  // namespace resilver::test
