// Every scenario that ships is a test in both worlds: what it expects must hold, and it must mean something (no contender
// inconclusive, nothing without a verdict). Virtual time runs in this process, the real world by the program.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "scenario/parse.h"
#include "scenario/run.h"
#include "tests/support/program.h"

namespace resilver::scenario {
namespace {

namespace fs = std::filesystem;
using test::Directory;
using test::Ended;
using test::Program;

constexpr int kRealLimitSeconds = 240;
constexpr const char* kRealTest = "HoldsInTheRealWorld/";

std::vector<std::string> shipped_scenarios() {
  std::vector<std::string> names;
  std::error_code missing;  // runs before main(): no test at all is then the failure
  for (const auto& entry : fs::directory_iterator("scenarios", missing)) names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

std::string test_name(std::string scenario) {
  std::replace(scenario.begin(), scenario.end(), '-', '_');
  return scenario;
}

// A run of the program in the real world.
struct RealRun {
  explicit RealRun(const std::string& name) : program(words(name, work)) {}
  static std::vector<std::string> words(const std::string& name, const Directory& work) {
    std::vector<std::string> all = {"run", "scenarios/" + name + ".toml", "--time", "real", "--json", "--quiet"};
    all.insert(all.end(), {"--work", work.path()});
    // Sixteen contenders one after another take two and a half minutes.
    if (name == "what-an-ack-promises")
      all.insert(all.end(), {"--only", "async_1ms,received_1ms,durable_1ms,quorum_1ms"});
    return all;
  }
  Directory work;
  Program program;
};

class Stopwatch {
 public:
  std::int64_t milliseconds() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

class Shipped : public testing::TestWithParam<std::string> {
 protected:
  static RunResults run(const std::string& name, const std::string& seed = {}) {
    ParseOptions options;
    if (!seed.empty()) options.set.emplace_back("seed", seed);
    const auto scenario = load_scenario("scenarios/" + name + ".toml", options);
    if (!scenario) {
      ADD_FAILURE() << to_string(scenario.error().front());
      return {};
    }
    auto results = run_virtual(*scenario, {});
    EXPECT_TRUE(results) << to_string(results.error());
    return results ? std::move(*results) : RunResults{};
  }

  // The run of a scenario with its own seed, made once.
  static const RunResults& first_run(const std::string& name) {
    const auto known = first_runs_.find(name);
    if (known != first_runs_.end()) return known->second;
    const Stopwatch watch;
    const RunResults& results = first_runs_[name] = run(name);
    virtual_ms_ += watch.milliseconds();
    std::printf("%s: %lld ms in virtual time\n", name.c_str(), static_cast<long long>(watch.milliseconds()));
    return results;
  }

  // Most of a real run is waiting, so the next one that is to run starts together with this one: two at a time.
  static std::unique_ptr<RealRun> real_run(const std::string& name) {
    const auto start = [](const std::string& which) {
      if (!real_runs_.contains(which)) real_runs_[which] = std::make_unique<RealRun>(which);
    };
    start(name);
    const auto all = shipped_scenarios();
    const auto next = std::find_if(std::upper_bound(all.begin(), all.end(), name), all.end(), is_selected);
    if (next != all.end()) start(*next);
    return std::move(real_runs_[name]);
  }

  static bool is_selected(const std::string& scenario) {
    const auto* suite = testing::UnitTest::GetInstance()->current_test_suite();
    for (int i = 0; i < suite->total_test_count(); ++i) {
      const auto* info = suite->GetTestInfo(i);
      if (info->should_run() && info->name() == kRealTest + test_name(scenario)) return true;
    }
    return false;
  }

  static void TearDownTestSuite() {
    std::printf("all scenarios together: %lld ms in virtual time\n", static_cast<long long>(virtual_ms_));
    first_runs_.clear();
    real_runs_.clear();
  }

  static std::map<std::string, RunResults> first_runs_;
  static std::map<std::string, std::unique_ptr<RealRun>> real_runs_;
  static std::int64_t virtual_ms_;
};

std::map<std::string, RunResults> Shipped::first_runs_;
std::map<std::string, std::unique_ptr<RealRun>> Shipped::real_runs_;
std::int64_t Shipped::virtual_ms_ = 0;

TEST_P(Shipped, HoldsInVirtualTime) {
  const RunResults& results = first_run(GetParam());
  EXPECT_EQ(exit_code(results), 0);
  EXPECT_GE(results.contenders.size(), 1u);
  for (const ContenderResult& contender : results.contenders) {
    EXPECT_EQ(contender.inconclusive, "") << contender.name;
    EXPECT_GT(contender.oracle.requests, 0u) << contender.name;
  }
  EXPECT_FALSE(results.verdicts.empty());
  for (const Verdict& verdict : results.verdicts) {
    EXPECT_EQ(verdict.outcome, Outcome::passed) << verdict.check << ": " << verdict.detail;
  }
}

// A scenario that holds for one seed only is tuned to it.
TEST_P(Shipped, HoldsForOtherSeedsToo) {
  for (int seed = 101; seed <= 105; ++seed) {
    const RunResults results = run(GetParam(), std::to_string(seed));
    EXPECT_EQ(exit_code(results), 0) << "resilver run " << GetParam() << " --seed " << seed;
  }
}

TEST_P(Shipped, GivesTheSameTraceForTheSameSeedAndAnotherForAnother) {
  const RunResults& first = first_run(GetParam());
  const std::uint64_t trace = first.header.trace_hash;
  EXPECT_NE(trace, 0u);
  EXPECT_EQ(run(GetParam()).header.trace_hash, trace);
  EXPECT_NE(run(GetParam(), std::to_string(first.header.seed + 1)).header.trace_hash, trace);
}

TEST_P(Shipped, HoldsInTheRealWorld) {
  const auto running = real_run(GetParam());
  const Ended ended = running->program.wait(kRealLimitSeconds);
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_TRUE(running->work.names().empty()) << "files are left";

  const auto results = nlohmann::json::parse(ended.out, nullptr, false);
  ASSERT_FALSE(results.is_discarded()) << ended.out.substr(0, 1000);
  for (const auto& contender : results.at("contenders")) {
    EXPECT_TRUE(contender.at("inconclusive").is_null()) << contender.at("name") << ": " << contender.at("inconclusive");
  }
  std::size_t judged = 0;
  for (const auto& verdict : results.at("expectations")) {
    const std::string outcome = verdict.at("outcome");
    // Times are told and not judged here: the machine may be busy with other tests.
    const std::string detail = verdict.at("detail");
    const bool elsewhere = outcome == "left out" && (detail == "asked in virtual time only" ||
                                                     detail.ends_with("was left out"));  // of a run of some contenders
    EXPECT_TRUE(outcome == "passed" || elsewhere || (outcome == "measured, not judged" && verdict.at("timing") == true))
        << verdict.at("check") << " " << outcome << ": " << verdict.at("detail");
    if (outcome == "passed") ++judged;
  }
  EXPECT_GT(judged, 0u) << "nothing about data was judged";
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Shipped, testing::ValuesIn(shipped_scenarios()),
                         [](const auto& info) { return test_name(info.param); });

}  // namespace
}  // namespace resilver::scenario
