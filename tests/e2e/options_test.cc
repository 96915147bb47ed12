// What the program says and does by its options.
#include <nlohmann/json.hpp>

#include "tests/e2e/small.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class Options : public SmallTest {
 protected:
  Json run_json(std::vector<std::string> more = {}) {
    std::vector<std::string> words = {"run", file_, "--quiet", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const Ended ended = run_program(words);
    EXPECT_EQ(ended.code, 0) << ended.all();
    EXPECT_EQ(ended.err, "");
    Json json = Json::parse(ended.out, nullptr, false);
    EXPECT_FALSE(json.is_discarded()) << ended.out.substr(0, 500);
    return json;
  }
};

TEST(Usage, MistakesGetOneLine) {
  expect_refusal(run_program({}), "expected a subcommand");
  expect_refusal(run_program({"rnu"}), "unknown subcommand 'rnu'");
  for (const std::string name :
       {"run", "list", "show", "check", "judge", "map", "bench", "compare", "arbiter", "node", "contender-node"}) {
    expect_refusal(run_program({name, "--nonsense"}), "--nonsense");
  }
  for (const std::string name :
       {"run", "show", "check", "judge", "bench", "compare", "arbiter", "node", "contender-node"}) {
    expect_refusal(run_program({name}), "expected");
  }
  expect_refusal(run_program({"run", "disk-loss", "node-loss"}), "resilver run: ");
  expect_refusal(run_program({"run", "disk-loss", "--time", "later"}), "--time later: expected real or virtual");
  const auto seeds = [](const std::string& text) { return run_program({"run", "disk-loss", "--seeds", text}); };
  expect_refusal(seeds("0"), "--seeds 0: expected one at least");
  expect_refusal(seeds("9..5"), "--seeds 9..5: the last comes before the first");
  expect_refusal(seeds(""), "--seeds: empty");
  for (const std::string bad : {"many", "..", "1..", "..3", "-3", "1...3"})
    expect_refusal(seeds(bad), "--seeds " + bad + ": expected how many, or the first and the last as in 5..9");
  expect_refusal(seeds("1000000"), "--seeds 1000000: more than 1000 runs; add --yes if you mean it");
  expect_refusal(run_program({"run", "disk-loss", "--seeds", "3", "--seed", "4"}), "--seed and --seeds: one of them");
  expect_refusal(run_program({"run", "disk-loss", "--seeds", "3", "--time", "real"}), "--seeds: in virtual time only");
}

TEST(Usage, ListNamesWhatShipsAndShowTellsIt) {
  const Ended list = run_program({"list"});
  EXPECT_EQ(list.code, 0) << list.all();
  for (const auto& entry : fs::directory_iterator("scenarios")) {
    const std::string name = entry.path().stem();
    EXPECT_NE(list.out.find(name + " "), std::string::npos) << name;
    const Ended show = run_program({"show", name});
    EXPECT_EQ(show.code, 0) << show.all();
    EXPECT_NE(show.out.find("What is expected"), std::string::npos) << show.out;
    EXPECT_EQ(run_program({"check", name}).code, 0);
  }
}

TEST(Usage, ShowTellsLinksSitesAndHowFastRepairsAre) {
  const std::string site = run_program({"show", "site-loss"}).out;
  for (const char* words : {"  wan     10 ms there and back, 1 Gbit/s each way", "site west: C",
                            "between east and west: link wan", "at most 24 MiB/s for each disk"})
    EXPECT_NE(site.find(words), std::string::npos) << words << " in\n" << site;
  const std::string brain = run_program({"show", "split-brain"}).out;
  EXPECT_NE(brain.find("volume.promote of F, force true"), std::string::npos) << brain;
  EXPECT_NE(brain.find("volume.resolve of F, discard remote"), std::string::npos) << brain;
  const std::string ack = run_program({"show", "what-an-ack-promises"}).out;
  EXPECT_NE(ack.find("1 MiB/s for"), std::string::npos) << "the default that holds: " << ack;
  EXPECT_NE(ack.find("\n  received_10ms  3 nodes"), std::string::npos) << "names do not run together: " << ack;
}

TEST_F(Options, JsonHasASchemaAndWhatTheRunWas) {
  write_scenario();
  const Json json = run_json();
  EXPECT_GE(json.at("schema").get<int>(), 1);
  EXPECT_EQ(json.at("exit_code"), 0);
  EXPECT_EQ(json.at("run").at("world"), "virtual");
  EXPECT_EQ(json.at("run").at("seed"), 1);
  EXPECT_EQ(json.at("run").at("volume_bytes"), 16 << 20);
  EXPECT_EQ(json.at("run").at("trace_hash").get<std::string>().size(), 16u);
  EXPECT_TRUE(json.at("run").at("versions").contains("resilver"));
  ASSERT_EQ(json.at("contenders").size(), 2u);
  for (const Json& contender : json.at("contenders")) {
    EXPECT_TRUE(contender.at("inconclusive").is_null());
    EXPECT_GE(contender.at("per_second").at("read_iops").size(), 2u);
    EXPECT_GT(contender.at("oracle").at("requests").get<int>(), 100);
    const Json& during = contender.at("whole").at("phases").at("during");
    EXPECT_FALSE(during.at("read_latency").at("buckets").empty());
    EXPECT_EQ(contender.at("events").at(0).at("state"), "applied");
  }
  EXPECT_EQ(json.at("expectations").at(0).at("outcome"), "passed");
}

TEST_F(Options, SameSeedSameTraceAndOtherSeedOtherTrace) {
  write_scenario();
  const auto trace = [this](const std::string& seed) {
    const Json json = run_json({"--seed", seed});
    EXPECT_EQ(json.at("run").at("seed"), std::stoi(seed));
    return json.at("run").at("trace_hash").get<std::string>();
  };
  const std::string first = trace("7");
  EXPECT_EQ(first, trace("7"));
  EXPECT_NE(first, trace("8"));
}

TEST_F(Options, OnlyAndSetChangeWhatRuns) {
  write_scenario();
  const Json json = run_json({"--only", "solo", "--set", "volume=8MiB", "--set", "workload.rate_iops=50"});
  ASSERT_EQ(json.at("contenders").size(), 1u);
  EXPECT_EQ(json.at("contenders").at(0).at("name"), "solo");
  EXPECT_EQ(json.at("run").at("volume_bytes"), 8 << 20);
  EXPECT_LE(json.at("contenders").at(0).at("per_second").at("read_iops").at(0).get<int>(), 50);
}

TEST_F(Options, TableGoesToStandardOutputAndProgressDoesNot) {
  write_scenario();
  const Ended loud = run_program({"run", file_});
  const Ended quiet = run_program({"run", file_, "--quiet"});
  EXPECT_EQ(loud.code, 0) << loud.all();
  EXPECT_EQ(loud.out, quiet.out);
  EXPECT_NE(loud.out.find("EXPECTATIONS"), std::string::npos) << loud.out;
  EXPECT_NE(loud.err.find("solo"), std::string::npos) << loud.err;
  EXPECT_EQ(loud.err.find('\r'), std::string::npos) << "no terminal: plain lines";
  EXPECT_EQ(quiet.err, "");
}

TEST_F(Options, OutHoldsTheSameResultsAndNothingElse) {
  write_scenario();
  const std::string out = directory_ / "out";
  const Json json = run_json({"--out", out});
  EXPECT_EQ(Json::parse(read_text(out + "/results.json")), json);
  EXPECT_EQ(std::distance(fs::directory_iterator(out), fs::directory_iterator()), 1);
}

TEST_F(Options, ResultsThatCannotBeWrittenLeaveTheOldOnes) {
  write_scenario();
  const std::string out = directory_ / "out";
  fs::create_directory(out);
  write_text(out + "/results.json", "older");
  fs::create_symlink("/dev/full", out + "/results.json.part");
  expect_refusal(run_program({"run", file_, "--quiet", "--out", out}), "No space left on device");
  EXPECT_EQ(read_text(out + "/results.json"), "older");
}

TEST_F(Options, FillIsWrittenAndReadBack) {
  write_scenario();
  const std::string fill = directory_ / "fill";
  write_text(fill, std::string((3 << 20) + 5, 'x'));
  const auto judged = [](const Json& json) {
    return json.at("contenders").at(0).at("oracle").at("bytes_read_back").get<std::int64_t>();
  };
  const std::int64_t without = judged(run_json({"--set", "workload.rate_iops=1"}));
  EXPECT_GE(judged(run_json({"--set", "workload.rate_iops=1", "--fill", fill})), without + (2 << 20));
}

TEST_F(Options, ExpectationThatDoesNotHoldExitsWith1) {
  write_scenario(with("lost_writes == 0", "lost_writes > 0"));
  const Ended ended = run_program({"run", file_, "--quiet"});
  EXPECT_EQ(ended.code, 1) << ended.all();
  EXPECT_NE(ended.out.find("0 hold, 1 fail"), std::string::npos) << ended.out;
}

TEST_F(Options, FaultThatHitsNothingIsInconclusive) {
  std::string text = with("disks = 1, chunk", "disks = 1, spares = 1, chunk");
  text =
      with("do = \"node.crash\"\ntarget = \"@serving\"", "do = \"disk.slow\"\nfactor = 10\ntarget = \"A.disk1\"", text);
  write_scenario(text);
  const Ended ended = run_program({"run", file_, "--quiet", "--only", "solo"});
  EXPECT_EQ(ended.code, 3) << ended.all();
  EXPECT_NE(ended.out.find("hit nothing"), std::string::npos) << ended.out;
}

TEST_F(Options, ExpectationThatIsAboutNothingIsInconclusive) {
  write_scenario(with("lost_writes == 0", "repair_time <= 1s"));  // no disk needs a repair
  const Ended ended = run_program({"run", file_, "--quiet"});
  EXPECT_EQ(ended.code, 3) << ended.all();
  EXPECT_NE(ended.out.find("nothing to judge"), std::string::npos) << ended.out;
}

TEST_F(Options, ManySeedsGiveMedianAndRangeAndARedOneIsRed) {
  write_scenario();
  const Ended ended = run_program({"run", file_, "--quiet", "--json", "--seeds", "5..7"});
  EXPECT_EQ(ended.code, 0) << ended.all();
  const Json json = Json::parse(ended.out, nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["seeds"], Json({5, 6, 7}));
  const Json single = run_json({"--seed", "6"});
  std::size_t compared = 0;
  for (const auto& series : json["series"]) {
    ASSERT_EQ(series["values"].size(), 3u);
    if (!series["event"].is_null()) continue;
    for (const auto& contender : single["contenders"]) {
      if (contender["name"] != series["contender"]) continue;
      EXPECT_EQ(contender["measures"][std::string(series["measure"])], series["values"][1]) << series["measure"];
      ++compared;
    }
  }
  EXPECT_GT(compared, 10u);

  const Ended text = run_program({"run", file_, "--quiet", "--seeds", "3"});
  EXPECT_EQ(text.code, 0) << text.all();
  EXPECT_NE(text.out.find("3 of 3 seeds hold"), std::string::npos) << text.out;
  write_scenario(with("lost_writes == 0", "lost_writes > 0"));
  const Ended red = run_program({"run", file_, "--quiet", "--seeds", "2..3"});
  EXPECT_EQ(red.code, 1) << red.all();
  EXPECT_NE(red.out.find("seed 2: lost_writes > 0"), std::string::npos) << red.out;
  EXPECT_NE(red.out.find("0 of 2 seeds hold, 2 fail"), std::string::npos) << red.out;
}

}  // namespace
}  // namespace resilver::test
