// `resilver bench` and `resilver compare`: what they promise whatever the machine's speed.
#include <signal.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tests/e2e/small.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class Bench : public SmallTest {
 protected:
  Json bench(std::vector<std::string> words) {
    words.insert(words.begin(), "bench");
    words.insert(words.end(), {"--json", "-"});
    const Ended ended = run_program(words);
    EXPECT_EQ(ended.code, 0) << ended.all();
    EXPECT_EQ(ended.err, "");
    return Json::parse(ended.out, nullptr, false);
  }
  static double figure(const Json& report, const std::string& name) {
    for (const Json& figure : report["figures"])
      if (figure["name"] == name) return figure["median"];
    ADD_FAILURE() << "no figure " << name;
    return 0;
  }
  // A report with one figure of three rounds, 5 % apart.
  std::string report(const std::string& file, const std::string& name, double median, const std::string& better) {
    const Json json = {{"schema", 1},
                       {"figures",
                        {{{"name", name},
                          {"unit", "1/s"},
                          {"better", better},
                          {"median", median},
                          {"q1", median * 0.95},
                          {"q3", median * 1.05}}}}};
    write_text(directory_ / file, json.dump());
    return directory_ / file;
  }
  int compare(double before, double after, const std::string& better = "higher") {
    return run_program({"compare", report("a.json", "f", before, better), report("b.json", "f", after, better)}).code;
  }
};

TEST_F(Bench, VirtualTimeGivesTheSameFiguresAgainAndCompareSaysSo) {
  const std::string a = directory_ / "a.json", b = directory_ / "b.json";
  for (const std::string& file : {a, b}) {
    const Ended ended = run_program({"bench", "rebuild", "--virtual", "--size", "64M", "--json", file});
    ASSERT_EQ(ended.code, 0) << ended.all();
    EXPECT_NE(ended.out.find("exposure"), std::string::npos) << ended.out;
  }
  const Ended compared = run_program({"compare", a, b});
  EXPECT_EQ(compared.code, 0) << compared.all();
  EXPECT_NE(compared.out.find("6 figures: 0 better, 0 worse"), std::string::npos) << compared.out;
  EXPECT_EQ(compared.out.find("WORSE"), std::string::npos);
}

// The default speed-min: 1 MiB/s of each member, while there is other I/O.
TEST_F(Bench, RebuildAtSpeedMinLeavesTheForegroundItsLatency) {
  for (const std::string disk : {"sata-ssd", "nvme"}) {
    const Json report = bench({"rebuild", "--virtual", "--size", "64M", "--disk", disk});
    EXPECT_LE(figure(report, "ratio"), 2.0) << disk;
    EXPECT_EQ(report["points"][0]["limited_by"], "speed_min (clients busy)");
  }
}

TEST_F(Bench, ExposedIsOnlyWhoseNextFailureWouldLoseData) {
  const auto lost = [&](const std::string& level, const std::string& count) {
    return bench({"rebuild", "--virtual", "--level", level, "--disks", "5", "--lost", count, "--size", "64M"});
  };
  const Json one_of_two = lost("6", "1");
  EXPECT_EQ(figure(one_of_two, "exposure"), 0);
  EXPECT_GT(figure(one_of_two, "rebuild time"), 0);
  for (const Json& report : {lost("6", "2"), lost("5", "1")}) {
    EXPECT_GT(figure(report, "exposure"), 0);
    EXPECT_LE(figure(report, "exposure"), figure(report, "rebuild time"));
  }
}

TEST_F(Bench, NoP99IsToldFromFewRequests) {
  const std::string file = directory_ / "few.json";
  const Ended ended = run_program(
      {"bench", "rebuild", "--virtual", "--size", "16M", "--rate-iops", "100", "--speed-max", "100M", "--json", file});
  ASSERT_EQ(ended.code, 0) << ended.all();
  const Json report = Json::parse(read_text(file));
  EXPECT_TRUE(report["points"][0]["p99 in rebuild"].is_null()) << "a tenth of a second at 100 a second";
  EXPECT_GT(report["points"][0]["p99 whole"], 0) << "waited for";
  for (const Json& each : report["figures"]) EXPECT_NE(each["name"], "p99 in rebuild");
}

TEST_F(Bench, ASweepOfDisksIsNotHeadedByANumberOfDisks) {
  const Ended ended = run_program({"bench", "rebuild", "--virtual", "--sweep", "disks=4..5", "--size", "16M"});
  ASSERT_EQ(ended.code, 0) << ended.all();
  EXPECT_NE(ended.out.find("raid5, disks as swept of 16 MiB"), std::string::npos) << ended.out;
  EXPECT_EQ(ended.out.find("4 disks"), std::string::npos) << ended.out;
}

TEST_F(Bench, CompareSaysInWhatTheTwoDiffer) {
  const std::string a = directory_ / "a.json", b = directory_ / "b.json";
  ASSERT_EQ(run_program({"bench", "rebuild", "--virtual", "--size", "16M", "--json", a}).code, 0);
  ASSERT_EQ(
      run_program({"bench", "rebuild", "--virtual", "--size", "32M", "--disks", "8", "--disk", "nvme", "--json", b}).code,
      0);
  const std::string text = run_program({"compare", a, b}).out;
  EXPECT_EQ(
      text.find("A and B are not the same thing: disks 4 against 8, disk model sata-ssd against nvme, size 16 MiB "
                "against 32 MiB."),
      0u)
      << text;
  EXPECT_EQ(run_program({"compare", a, a}).out.find("not the same thing"), std::string::npos);
}

TEST_F(Bench, SweepOfSpeedMaxGivesACurve) {
  const Json report = bench({"rebuild", "--sweep", "speed-max=10M..80M", "--size", "128M"});
  EXPECT_EQ(report["world"], "virtual");
  ASSERT_EQ(report["points"].size(), 4u);
  for (std::size_t i = 1; i < report["points"].size(); ++i) {
    EXPECT_LT(report["points"][i]["exposure"], report["points"][i - 1]["exposure"]) << "faster is shorter";
    EXPECT_GE(report["points"][i]["p99 in rebuild"], report["points"][i - 1]["p99 in rebuild"]) << "and dearer";
  }
}

TEST_F(Bench, RealRebuildReadsAndWritesEachMemberOnceAndLeavesNothingBehind) {
  const Json report = bench({"rebuild", "--size", "16M", "--rounds", "2", "--dir", work_});
  ASSERT_EQ(report["points"][0]["measures"].size(), 2u) << "the warm-up does not count";
  for (const Json& measure : report["points"][0]["measures"]) {
    const auto bytes = measure["bytes"].get<std::uint64_t>();
    EXPECT_GT(bytes, 14u << 20);
    EXPECT_EQ(measure["member_read_bytes"], 3 * bytes);
    EXPECT_LE(measure["member_write_bytes"].get<std::uint64_t>(), bytes + (1u << 20)) << "and some metadata";
  }
  EXPECT_TRUE(work_is_empty());
}

TEST_F(Bench, SweepMeasuresEachValueAndScrubsEveryMember) {
  const Json report = bench({"scrub", "--sweep", "chunk=16K..64K", "--size", "16M", "--rounds", "1", "--dir", work_});
  ASSERT_EQ(report["points"].size(), 3u);
  EXPECT_EQ(report["points"][1]["label"], "chunk=32K");
  for (const Json& point : report["points"])
    EXPECT_EQ(point["measures"][0]["member_read_bytes"], point["measures"][0]["bytes"]);
}

TEST_F(Bench, InterruptedOrKilledItLeavesNothingBehind) {
  for (const int number : {SIGINT, SIGKILL}) {
    Program program({"bench", "io", "--size", "16M", "--runtime", "60s", "--dir", work_});
    usleep(500'000);
    program.signal(number);
    EXPECT_EQ(program.wait(20).code, 128 + number);
    EXPECT_TRUE(work_is_empty());
  }
}

TEST_F(Bench, DevicesAreOverwrittenOnlyByForce) {
  std::vector<std::string> words = {"bench", "io", "--runtime", "10ms", "--rounds", "1", "--devices"};
  for (int i = 0; i < 4; ++i) {
    write_text(directory_ / ("d" + std::to_string(i)), std::string(16 << 20, 'x'));
    words.push_back(directory_ / ("d" + std::to_string(i)));
  }
  expect_refusal(run_program(words), "say --force");
  EXPECT_EQ(read_text(directory_ / "d0"), std::string(16 << 20, 'x'));
  words.push_back("--force");
  EXPECT_EQ(run_program(words).code, 0);
}

TEST_F(Bench, MistakesGetOneLine) {
  expect_refusal(run_program({"bench", "io", "--sweep", "chunk=4K"}), "--sweep chunk=4K: expected KEY=A..B");
  expect_refusal(run_program({"bench", "io", "--sweep", "chunk=64K..4K"}), "A is above B");
  expect_refusal(run_program({"bench", "io", "--rw", "trim"}), "--rw trim");
  expect_refusal(run_program({"bench", "io", "--bs", "5000"}), "--bs");
  expect_refusal(run_program({"bench", "scrub", "--virtual"}), "--virtual goes with rebuild");
  expect_refusal(run_program({"bench", "rebuild", "--level", "0"}), "level 0");
  expect_refusal(run_program({"bench", "io", "--dir", directory_ / "none"}), "none", 1);
  expect_refusal(run_program({"bench", "io", "--level", "6", "--disks", "3", "--dir", work_, "--size", "16M"}), "raid6",
                 1);
}

TEST_F(Bench, CompareTellsADifferenceFromNoise) {
  EXPECT_EQ(compare(100, 100), 0);
  EXPECT_EQ(compare(100, 88), 0) << "14 %: noise";
  EXPECT_EQ(compare(100, 85), 1) << "18 %, and the rounds do not overlap";
  EXPECT_EQ(compare(100, 70), 1);
  EXPECT_EQ(compare(100, 150), 0) << "better";
  EXPECT_EQ(compare(100, 150, "lower"), 1);
  EXPECT_EQ(compare(100, 150, "neither"), 0);
}

TEST_F(Bench, CompareRefusesWhatIsNoReport) {
  const std::string good = report("good.json", "f", 1, "higher");
  EXPECT_EQ(run_program({"compare", good, report("other.json", "g", 1, "higher")}).code, 3);
  write_text(directory_ / "bad.json", "{\"schema\":2,\"figures\":[]}");
  expect_refusal(run_program({"compare", good, directory_ / "bad.json"}), "schema");
  write_text(directory_ / "bad.json", "{\"schema\":1,\"figures\":[{\"name\":3}]}");
  expect_refusal(run_program({"compare", good, directory_ / "bad.json"}), "figure 1");
  write_text(directory_ / "bad.json", "no JSON");
  expect_refusal(run_program({"compare", good, directory_ / "bad.json"}), "no report");
  expect_refusal(run_program({"compare", good, directory_ / "none.json"}), "none.json");
  expect_refusal(run_program({"compare", good}), "expected two reports");
}

}  // namespace
}  // namespace resilver::test
