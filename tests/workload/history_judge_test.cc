// Histories read back: the oracle's own verdict again, and what is none.
#include "workload/history_judge.h"

#include <gtest/gtest.h>

#include <sstream>

namespace resilver::workload {
namespace {

std::string header(const std::string& promise = "on_ack", const std::string& volume = "1048576") {
  return R"({"type":"history","schema":1,"resilver":"0.1","scenario":"s","contender":"c","seed":7,"promise":")" +
         promise + R"(","volume_bytes":)" + volume +
         R"(,"sector_bytes":512,"block_bytes":4096,"fill_offset":0,"fill_bytes":0,"time_unit":"ns"})" + "\n";
}

// One event on block 0 (a flush, a read or a write), of a process.
std::string event(const std::string& type, const std::string& f, int process, int time, const std::string& value = "",
                  const std::string& range = R"("offset":0,"length":4096)") {
  std::string line = R"({"type":")" + type + R"(","process":)" + std::to_string(process) + R"(,"f":")" + f +
                     R"(","time":)" + std::to_string(time);
  if (f == "read" || f == "write") line += "," + range;
  if (!value.empty()) line += R"(,"value":)" + value;
  if (type == "info" && (f == "write" || f == "flush")) line += R"(,"error":"timeout")";
  return line + "}\n";
}

std::string written(const std::string& value, int time) {
  return event("invoke", "write", 1, time, value) + event("ok", "write", 1, time + 1, value);
}
std::string read(const std::string& version, int time) {
  return event("invoke", "read", 2, time) + event("ok", "read", 2, time + 1, "[[" + version + ",8]]");
}

Result<HistoryVerdict> judged(const std::string& text) {
  std::istringstream in(text);
  return judge_history(in, "h");
}

TEST(HistoryJudge, SaysWhatThePromiseSays) {
  const std::string story = written("5", 1) + written("9", 3);
  for (const auto& [promise, event_between, seen, stale, lost] :
       std::vector<std::tuple<std::string, std::string, std::string, unsigned, unsigned>>{
           {"on_ack", "", "9", 0, 0},
           {"on_ack", "", "5", 1, 0},
           {"on_ack", "power_loss", "5", 1, 0},
           {"on_flush", "power_loss", "5", 0, 0},
           {"on_flush", "failover", "5", 1, 0},
           {"prefix", "failover", "5", 0, 1},
           {"prefix", "power_loss", "5", 1, 0},
           {"on_ack", "final_reading", "5", 0, 1}}) {
    const std::string between = event_between.empty() ? "" : event("info", event_between, 3, 5);
    const auto verdict = judged(header(promise) + story + between + read(seen, 6));
    ASSERT_TRUE(verdict) << verdict.error().what;
    EXPECT_EQ(verdict->stale_reads(), stale) << promise << " " << event_between;
    EXPECT_EQ(verdict->counts.lost_writes, lost) << promise << " " << event_between;
    EXPECT_EQ(verdict->good(), stale + lost == 0);
    EXPECT_EQ(verdict->first_line, stale + lost == 0 ? 0u : event_between.empty() ? 7u : 8u);
  }
}

TEST(HistoryJudge, WhatWasNeverWrittenThereIsCorrupt) {
  for (const std::string version : {"null", "8", "9"}) {
    const std::string elsewhere = R"("offset":4096,"length":4096)";
    const auto verdict = judged(header() + event("invoke", "write", 1, 1, "9", elsewhere) +
                                event("ok", "write", 1, 2, "9", elsewhere) + read(version, 3));
    ASSERT_TRUE(verdict) << verdict.error().what;
    EXPECT_EQ(verdict->counts.corrupt_reads, 1u) << version;
    EXPECT_STREQ(verdict->first_what, "corrupt");
  }
}

TEST(HistoryJudge, OpenRequestsAreCounted) {
  const auto verdict =
      judged(header() + event("invoke", "write", 1, 1, "1") + event("invoke", "flush", 3, 1) + read("1", 2));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->never_ended, 2u);
  EXPECT_FALSE(verdict->read_back);
  EXPECT_TRUE(verdict->good());
}

TEST(HistoryJudge, NoHistoryIsRefusedByLine) {
  const std::string invoke = event("invoke", "write", 1, 5, "1"), ok = event("ok", "write", 1, 6, "1");
  const auto without = [](std::string text, const std::string& part) {
    return text.replace(text.find(part), part.size(), "");
  };
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"", "h:1: no header, expected a first line"},
      {invoke, "h:1: no header, expected a first line"},
      {header().substr(0, 100), "h:1: the line is cut off, expected its end"},
      {header() + invoke + ok.substr(0, 40), "h:3: the line is cut off, expected its end"},
      {header() + invoke + ok.substr(0, ok.size() - 1), "h:3: the line is cut off, expected its end"},
      {header() + invoke.substr(0, 30) + "\n", "h:2: no JSON object, expected an event of a history"},
      {without(header(), R"("seed":7,)"), "h:1: no \"seed\", expected a number"},
      {header().replace(header().find("\"schema\":1"), 10, "\"schema\":2"), "h:1: schema 2, expected 1"},
      {header("often"), "h:1: promise often, expected on_ack, on_flush or prefix"},
      {header("on_ack", "1000"), "h:1: volume_bytes 1000, expected a multiple of 4096"},
      {header() + header(), "h:2: no \"f\", expected read, write, flush"},
      {header() + invoke + event("invoke", "read", 1, 6),
       "h:3: process 1 begins a read while its write of line 2 is open, expected one open request per process"},
      {header() + ok, "h:2: ok of a write that process 1 never began, expected its invoke before"},
      {header() + event("invoke", "flush", 1, 5) + ok, "h:3: ok of a write where process 1 began a flush"},
      {header() + invoke + event("info", "write", 1, 6, "1") + event("invoke", "read", 1, 7),
       "h:4: process 1 goes on after an unknown outcome, expected another process"},
      {header() + invoke + event("ok", "write", 1, 4, "1"),
       "h:3: time 4 after 5, expected times that do not run backwards"},
      {header() + invoke + ok + event("invoke", "write", 1, 7, "1"),
       "h:4: version 1 again, expected a version for each"},
      {header() + event("invoke", "write", 1, 1, "0"), "h:2: version 0, expected a version from 1 on"},
      {header() + event("invoke", "write", 1, 1), "h:2: no \"value\", expected a number"},
      {header() + event("invoke", "write", 1, 1, "-4"), "h:2: \"value\": -4, expected a number from 0 on"},
      {header() + invoke + event("ok", "write", 1, 6, "2"), "h:3: another version than in line 2, expected the same"},
      {header() + invoke + event("fail", "write", 1, 6, "1"), "h:3: fail of a write, expected ok or info"},
      {header() + event("invoke", "read", 1, 1, "", R"("offset":512,"length":4096)"),
       "h:2: offset 512, length 4096, expected multiples of 4096"},
      {header() + event("invoke", "read", 1, 1, "", R"("offset":1048576,"length":4096)"),
       "h:2: offset 1048576, length 4096, expected a range inside the volume of 1048576 bytes"},
      {header() + event("invoke", "read", 1, 1, "", R"("offset":0,"length":2097152)"),
       "h:2: length 2097152, expected from 4096 to 1048576"},
      {header() + event("invoke", "read", 1, 1) + event("ok", "read", 1, 2, "[[0,7]]"), "h:3: 7 of 8 sectors read"},
      {header() + event("invoke", "read", 1, 1) + event("ok", "read", 1, 2, "[[0,9]]"), "h:3: in what was read: [0,9]"},
      {header() + event("invoke", "read", 1, 1) + event("ok", "read", 1, 2, "[[-1,8]]"),
       "h:3: in what was read: [-1,8]"},
      {header() + event("invoke", "trim", 1, 1), "h:2: invoke of trim, expected read, write or flush"},
      {header() + invoke + event("info", "final_reading", 2, 6),
       "h:3: the final reading begins while the write of line 2 is open"},
      {header() + event("info", "final_reading", 2, 6) + event("info", "final_reading", 3, 6),
       "h:3: a second final reading"},
      {header() + std::string(2 << 20, ' ') + "\n", "h:2: a line that is longer than 1048576 bytes"},
  };
  for (const auto& [text, message] : wrong) {
    const auto verdict = judged(text);
    ASSERT_FALSE(verdict) << message;
    EXPECT_EQ(verdict.error().what.substr(0, message.size()), message);
    EXPECT_NE(verdict.error().what.find(", expected "), std::string::npos) << verdict.error().what;
    EXPECT_EQ(verdict.error().code, Errc::bad_input);
  }
}

}  // namespace
}  // namespace resilver::workload
