// `resilver judge`: the verdict on a history is the run's own.
#include <nlohmann/json.hpp>

#include "tests/e2e/small.h"

namespace resilver::test {
namespace {

using Json = nlohmann::json;

class Judge : public SmallTest {
 protected:
  // Runs a scenario into out/ and compares what judge says of each contender's history with results.json. Returns how many
  // contenders broke their promise.
  int judge_all(const std::string& scenario, std::vector<std::string> more = {}) {
    const std::string out = directory_ / "out";
    std::filesystem::remove_all(out);
    std::vector<std::string> words = {"run", scenario, "--quiet", "--out", out, "--history"};
    words.insert(words.end(), more.begin(), more.end());
    const Ended run = run_program(words);
    EXPECT_LE(run.code, 1) << run.all();
    const Json results = Json::parse(read_text(out + "/results.json"), nullptr, false);
    EXPECT_FALSE(results.is_discarded());
    int broken = 0;
    for (const Json& contender : results["contenders"]) {
      const std::string name = contender["name"];
      const Ended judged = run_program({"judge", out + "/history-" + name + ".jsonl", "--json"});
      EXPECT_EQ(judged.err, "");
      const Json verdict = Json::parse(judged.out, nullptr, false);
      EXPECT_FALSE(verdict.is_discarded()) << judged.out;
      if (verdict.is_discarded()) continue;
      const Json& oracle = contender["oracle"];
      for (const char* key : {"requests", "bytes_read_back", "lost_writes", "stale_reads", "corrupt_reads"}) {
        EXPECT_EQ(verdict[key], oracle[key]) << scenario << " " << name << " " << key;
      }
      EXPECT_EQ(verdict["unknown_writes"], oracle["unknown"]) << scenario << " " << name;
      // The run counts what the client never wrote, too: a history does not know of it.
      EXPECT_LE(verdict["unreadable_bytes"], oracle["unrecoverable_bytes"]) << scenario << " " << name;
      EXPECT_EQ(verdict["unreadable_bytes"] > 0, oracle["unrecoverable_bytes"] > 0) << scenario << " " << name;
      EXPECT_EQ(verdict["contender"], name);
      const bool good = oracle["lost_writes"] == 0 && oracle["stale_reads"] == 0 && oracle["corrupt_reads"] == 0;
      EXPECT_EQ(judged.code, good ? 0 : 1) << judged.all();
      EXPECT_EQ(verdict["good"], good);
      EXPECT_EQ(verdict.contains("first"), !good);
      broken += good ? 0 : 1;
    }
    return broken;
  }
};

TEST_F(Judge, AgreesWithTheRunsThatShip) {
  EXPECT_GT(judge_all("write-hole"), 0);
  EXPECT_GT(judge_all("what-an-ack-promises"), 0);
  EXPECT_EQ(judge_all("node-loss", {"--set", "workload.overlap=50%"}), 0);
  EXPECT_EQ(judge_all("not-a-backup"), 0);
}

TEST_F(Judge, KnowsTheFillByItsBytes) {
  std::string bytes(700'000, 'x');
  for (std::size_t i = 0; i < bytes.size(); i += 7) bytes[i] = static_cast<char>(i);
  write_text(directory_ / "fill", bytes + std::string(100'000, '\0'));
  EXPECT_EQ(judge_all(write_scenario(), {"--fill", directory_ / "fill"}), 0);
}

TEST_F(Judge, TextNamesTheFirstLineThatIsWrong) {
  const std::string out = directory_ / "out";
  EXPECT_EQ(run_program({"run", write_scenario(), "--quiet", "--out", out, "--history", "--only", "pair"}).code, 0);
  const std::string file = out + "/history-pair.jsonl";
  const Ended sound = run_program({"judge", file});
  EXPECT_EQ(sound.code, 0) << sound.all();
  EXPECT_NE(sound.out.find("pair in 'A server restarts', seed "), std::string::npos) << sound.out;
  EXPECT_NE(sound.out.find("promise on_ack"), std::string::npos) << sound.out;
  // The last read that found a version finds nothing.
  std::string text = read_text(file);
  const auto at = text.rfind("\"value\":[[");
  ASSERT_NE(at, std::string::npos);
  const auto value = text.rfind(R"("f":"read")", at);
  ASSERT_NE(value, std::string::npos);
  const auto begin = at + std::string("\"value\":[[").size();
  text.replace(begin, text.find(',', begin) - begin, "null");
  write_text(file, text);
  const Ended broken = run_program({"judge", file});
  EXPECT_EQ(broken.code, 1) << broken.all();
  const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.begin() + static_cast<long>(at), '\n')) + 1;
  EXPECT_NE(broken.out.find("first: line " + std::to_string(lines) + ", corrupt, at byte "), std::string::npos)
      << broken.out;
}

TEST_F(Judge, WhatIsNoHistoryGetsOneLine) {
  const std::string out = directory_ / "out";
  EXPECT_EQ(run_program({"run", write_scenario(), "--quiet", "--out", out, "--history", "--only", "pair"}).code, 0);
  const std::string file = out + "/history-pair.jsonl";
  const std::string text = read_text(file);
  const auto cut = text.find('\n', text.size() / 2) + 20;
  write_text(file, text.substr(0, cut));
  const auto lines = std::count(text.begin(), text.begin() + static_cast<long>(cut), '\n');
  expect_refusal(run_program({"judge", file}),
                 file + ":" + std::to_string(lines + 1) + ": the line is cut off, expected");
  write_text(file, text.substr(text.find('\n') + 1));
  expect_refusal(run_program({"judge", file}), file + ":1: no header, expected a first line");
  expect_refusal(run_program({"judge", directory_ / "absent"}), "absent: cannot be read");
  expect_refusal(run_program({"judge", file, file}), "one history expected");
}

}  // namespace
}  // namespace resilver::test
