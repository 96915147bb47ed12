// Every scenario that ships is a test in both worlds: what it expects must hold, and it must mean something (no contender
// inconclusive, nothing without a verdict). Virtual time runs in this process, the real world by the program.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
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

std::vector<std::string> shipped_scenarios() {
  std::vector<std::string> names;
  std::error_code missing;  // runs before main(): no test at all is then the failure
  for (const auto& entry : fs::directory_iterator("scenarios", missing)) names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

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

  static void TearDownTestSuite() {
    std::printf("all scenarios together: %lld ms in virtual time\n", static_cast<long long>(virtual_ms_));
    first_runs_.clear();
  }

  static std::map<std::string, RunResults> first_runs_;
  static std::int64_t virtual_ms_;
};

std::map<std::string, RunResults> Shipped::first_runs_;
std::int64_t Shipped::virtual_ms_ = 0;

TEST_P(Shipped, HoldsInVirtualTime) {
  const RunResults& results = first_run(GetParam());
  EXPECT_EQ(exit_code(results), 0);
  EXPECT_GE(results.contenders.size(), 2u);
  for (const ContenderResult& contender : results.contenders) {
    EXPECT_EQ(contender.inconclusive, "") << contender.name;
    EXPECT_GT(contender.oracle.requests, 0u) << contender.name;
  }
  EXPECT_FALSE(results.verdicts.empty());
  for (const Verdict& verdict : results.verdicts) {
    EXPECT_EQ(verdict.outcome, Outcome::passed) << verdict.check << ": " << verdict.detail;
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
  const Directory work;
  Program program(
      {"run", "scenarios/" + GetParam() + ".toml", "--time", "real", "--json", "--quiet", "--work", work.path()});
  const Ended ended = program.wait(kRealLimitSeconds);
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_TRUE(work.names().empty());

  const auto results = nlohmann::json::parse(ended.out, nullptr, false);
  ASSERT_FALSE(results.is_discarded()) << ended.out.substr(0, 1000);
  for (const auto& contender : results.at("contenders")) {
    EXPECT_TRUE(contender.at("inconclusive").is_null()) << contender.at("name") << ": " << contender.at("inconclusive");
  }
  std::size_t judged = 0;
  for (const auto& verdict : results.at("expectations")) {
    const std::string outcome = verdict.at("outcome");
    // Times are told and not judged here: the machine may be busy with other tests.
    EXPECT_TRUE(outcome == "passed" || (outcome == "measured" && verdict.at("timing") == true))
        << verdict.at("check") << " " << outcome << ": " << verdict.at("detail");
    if (outcome == "passed") ++judged;
  }
  EXPECT_GT(judged, 0u) << "nothing about data was judged";
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Shipped, testing::ValuesIn(shipped_scenarios()), test_name);

}  // namespace
}  // namespace resilver::scenario
