#include <nlohmann/json.hpp>

#include "report/json.h"
#include "report/progress.h"
#include "report/seeds.h"
#include "report/sentences.h"
#include "report/table.h"
#include "tests/report/invented.h"

namespace resilver::report {
namespace {

std::string about(const scenario::RunResults& results, const std::string& what) {
  for (const auto& sentence : closing_sentences(results))
    if (sentence.about == what) return sentence.text;
  return {};
}

std::size_t widest_line(const std::string& text) {
  std::size_t widest = 0;
  std::size_t width = 0;
  for (const char c : text) {
    if (c == '\n')
      width = 0;
    else if ((static_cast<unsigned char>(c) & 0xc0) != 0x80)
      widest = std::max(widest, ++width);
  }
  return widest;
}

std::string line_with(const std::string& text, const std::string& what) {
  const auto at = text.find(what);
  if (at == std::string::npos) return {};
  const auto begin = text.rfind('\n', at) + 1;
  return text.substr(begin, text.find('\n', at) - begin);
}

TEST(Table, LooksAsItIsMeantTo) {
  const std::string expected =
      R"(A disk dies, then its server dies
disk-then-server  virtual time  seed 1  trace 000000009f2c41d0
64 MiB volume, sata-ssd disks, link 10 Gbit/s, 200 us

                                             raid5        replica3          hybrid
disks (+spares) / servers                  5+1 / 1         3+3 / 3        10+2 / 2
raw bytes per usable byte                     1.25            3.00            2.50
  with the spares                             1.50            6.00            3.00
── 00:02 disk dies   (applied in all 3; first I/O hit after 200 us) ────────────────────────────────
no service, total                                0 *        410 ms               0 *
one failure from loss, for                     1 s               0 *             0 *
back to full redundancy after                  1 s *           3 s             1 s *
read and written on disks                   80 MiB *       128 MiB          80 MiB *
  sent over links                                0 *        64 MiB               0 *
data restored, per second                 16 MiB/s *    5.33 MiB/s        16 MiB/s *
── 00:06 server dies   (applied in all 3; first I/O hit after 200 us) ──────────────────────────────
no service, total                            2.5 s          600 ms *        610 ms *
failovers                                        0               1               1
── verdict by the oracle   (3000 requests, 192 MiB read back) ──────────────────────────────────────
acknowledged writes lost                         0               0               0
wrong or stale data returned                     0               0               0

  *: the best, and whoever is within 10 % of it; none where all are as good

LOCAL REBUILD OR REMOTE FAILOVER?
  disk dies    rebuild locally (raid5): no outage instead of 410 ms, nothing sent instead of 64 MiB,
               whole again 2 s before replica3
  server dies  fail over (replica3): 600 ms without service instead of 2.5 s
  both matter  hybrid: 'disk dies' no outage, repaired locally, 'server dies' 610 ms without
               service; as good as the better of the two each time, at 2.50x space
)";
  EXPECT_EQ(format_report(invented()), expected);
}

TEST(Table, MoreThanFourContendersWrapWithinAHundredColumns) {
  auto results = invented();
  results.contenders.insert(results.contenders.end(), results.contenders.begin(), results.contenders.begin() + 3);
  for (std::size_t i = 0; i < 6; ++i) results.contenders[i].name = "contender" + std::to_string(i);
  results.verdicts = {{std::string(30, 'x') + " and " + std::string(60, 'y'), "because of this", "f:1:2",
                       scenario::Outcome::failed, false, std::string(40, 'd') + " " + std::string(40, 'e')}};
  const std::string text = format_report(results);
  EXPECT_LE(widest_line(text), kTableWidth);
  EXPECT_NE(text.find("contender5"), std::string::npos);
  EXPECT_EQ(text.find("contender3"), text.rfind("contender3", text.find("contender4")));
}

TEST(Table, MarkNeedsMoreThanTenPercent) {
  auto results = invented();
  for (auto& contender : results.contenders) contender.events[1].window.outage.total = kSecond;
  results.contenders[0].events[1].window.outage.total = 1090 * kMillisecond;
  EXPECT_EQ(line_with(format_report(results), "1.09 s").find('*'), std::string::npos);
  results.contenders[0].events[1].window.outage.total = 1120 * kMillisecond;
  EXPECT_NE(line_with(format_report(results), "1.12 s").find('*'), std::string::npos);
}

TEST(Table, WhoIsDownCompetesForNothing) {
  auto results = invented();
  auto& raid5 = results.contenders[0];
  raid5.events[0].window.outage.never_ended = true;
  raid5.whole.outage.never_ended = true;
  raid5.events[0].window.repair.finished = false;
  raid5.oracle.lost_writes = 12;
  const std::string text = format_report(results);
  EXPECT_NE(line_with(text, "no service, total").find("down"), std::string::npos);
  EXPECT_NE(line_with(text, "back to full redundancy").find("never  "), std::string::npos);
  EXPECT_NE(line_with(text, "serves at the end").find("no: down"), std::string::npos);
}

TEST(Table, UnpacedRealRunsSayThatRatesDoNotCompare) {
  auto results = invented();
  results.header.real = true;
  results.header.paced = false;
  const std::string text = format_report(results);
  EXPECT_NE(text.find("shared device: rates not comparable"), std::string::npos);
  EXPECT_EQ(line_with(text, "back to full redundancy").find('*'), std::string::npos);
  EXPECT_EQ(about(results, "disk dies"), "raid5 serves on, replica3 serves on (shared device: times not compared)");
}

TEST(Table, EventsThatWereNotReachedAndBadBlocksAreTold) {
  auto results = invented();
  results.contenders[0].events[1] = {};
  results.contenders[0].events[1].name = "server dies";
  results.contenders[0].events[1].note = "the array was lost before";
  results.contenders[0].oracle.blocks = {{8192, 4096, scenario::BlockFate::unreadable}};
  results.contenders[1].inconclusive = "'disk dies' hit nothing";
  const std::string text = format_report(results);
  EXPECT_NE(text.find("raid5: 'server dies' was not reached: the array was lost before"), std::string::npos);
  EXPECT_NE(text.find("raid5: unreadable: 4096 bytes at 8192"), std::string::npos);
  EXPECT_NE(text.find("INCONCLUSIVE: replica3: 'disk dies' hit nothing"), std::string::npos);
  EXPECT_NE(text.find("(applied in 2 of 3"), std::string::npos);
  EXPECT_EQ(scenario::exit_code(results), 3);
}

TEST(Sentences, TurnRoundWhenTheNumbersDo) {
  auto results = invented();
  auto& raid5 = results.contenders[0].events[0].window;
  auto& replica3 = results.contenders[1].events[0].window;
  raid5.outage.total = 900 * kMillisecond;
  replica3.outage.total = 0;
  replica3.repair.time = 500 * kMillisecond;
  replica3.repair.link_bytes = 0;
  EXPECT_EQ(about(results, "disk dies"),
            "let a replica serve and repair (replica3): no outage instead of 900 ms, whole again 500 ms before raid5");
  results.contenders[0].events[1].window.outage.total = 100 * kMillisecond;
  EXPECT_EQ(about(results, "server dies"), "stay on one server (raid5): 100 ms without service instead of 600 ms");
  EXPECT_NE(about(results, "both matter").find("behind the better of the two"), std::string::npos);
}

TEST(Sentences, ADrawAndAConflictAreSaidToBeSo) {
  auto results = invented();
  auto& raid5 = results.contenders[0].events[0].window;
  auto& replica3 = results.contenders[1].events[0].window;
  replica3.outage.total = 0;
  replica3.repair.time = 300 * kMillisecond;
  EXPECT_EQ(about(results, "disk dies"),
            "a choice: replica3 is whole again 700 ms sooner, raid5 sends less (nothing against 64 MiB); no outage");
  replica3.repair = raid5.repair;
  EXPECT_EQ(about(results, "disk dies"), "no difference that counts: no outage");
}

TEST(Sentences, DownDecidesAndForGoodIsSaidOnlyOfWhatIsKnownToBe) {
  auto results = invented();
  auto& raid5 = results.contenders[0].events[1].window.outage;
  raid5.never_ended = true;
  raid5.total = 15300 * kMillisecond;
  raid5.open = 12300 * kMillisecond;  // an outage of 3 s came before it
  EXPECT_EQ(about(results, "server dies"),
            "fail over (replica3): 600 ms without service; raid5 is still down when observed last, after 12.3 s");
  raid5.for_good = true;
  EXPECT_EQ(about(results, "server dies"), "fail over (replica3): 600 ms without service; raid5 is down for good");
  results.contenders[1].events[1].window.outage.never_ended = true;
  EXPECT_EQ(about(results, "server dies"), "neither helps: raid5 and replica3 are down");
}

TEST(Sentences, EachHybridIsWeighedByItself) {
  auto results = invented();
  auto other = results.contenders[2];
  other.name = "other";
  other.events[0].window.outage.total = 1500 * kMillisecond;  // worse with a disk …
  other.events[1].window.outage.total = 0;                    // … and better with a server
  results.contenders.push_back(other);
  std::vector<std::string> told;
  for (const auto& sentence : closing_sentences(results))
    if (sentence.about == "both matter") told.push_back(sentence.text);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_TRUE(told[0].starts_with("hybrid: ")) << told[0];
  EXPECT_TRUE(told[1].starts_with("other: 'disk dies' 1.5 s without service")) << told[1];
  EXPECT_EQ(told[0].find("1.5 s"), std::string::npos);
}

TEST(Sentences, WhatIsChargedToAnotherEventIsNotCalledNoOutage) {
  auto results = invented();
  for (auto& contender : results.contenders) {
    contender.events[1].window = {};
    contender.events[1].charged_with = "disk dies";
    contender.events[0].others = {"server dies"};
  }
  EXPECT_EQ(about(results, "server dies"), "raid5, replica3 and 1 more: shared with 'disk dies', and charged to that");
  EXPECT_TRUE(
      about(results, "disk dies").ends_with(" (raid5: shared with 'server dies') (replica3: shared with 'server dies')"))
      << about(results, "disk dies");
}

TEST(Sentences, ALossCountsAgainstWhoKeptEverythingOnly) {
  auto results = invented();
  results.contenders[0].oracle.lost_writes = 5;
  results.contenders[0].events[0].window.repair.finished = false;
  EXPECT_NE(about(results, "disk dies").find("replica3): 410 ms without service, and nothing lost, as raid5 did"),
            std::string::npos)
      << about(results, "disk dies");
  results.contenders[1].oracle.lost_writes = 7;  // by the other event: this one it has repaired
  EXPECT_EQ(about(results, "disk dies").find("nothing lost"), std::string::npos) << about(results, "disk dies");
}

TEST(Sentences, WhatIsChargedToAnotherEventInPartIsCalledSo) {
  auto results = invented();
  for (auto& contender : results.contenders) contender.events[1].charged_with = "disk dies";
  results.contenders[1].events[1].window = {};
  EXPECT_EQ(about(results, "server dies"),
            "replica3: shared with 'disk dies', and charged to that; "
            "raid5, hybrid: shared with 'disk dies', and charged to that in part");
}

TEST(Sentences, AnOutageOfTheClientAloneIsTold) {
  auto results = invented();
  results.contenders.resize(1);
  results.contenders[0].events[0].window.outage.total = 0;
  results.contenders[0].events[0].window.client_outage.total = 700 * kMillisecond;
  EXPECT_TRUE(about(results, "disk dies").starts_with("raid5: no outage, though the client waited 700 ms for answers"));
}

TEST(Sentences, ContenderWithoutRedundancyIsReportedAsWhatItIs) {
  auto results = invented();
  auto raid0 = contender("raid0", 1, 4, 1000, false, false);
  raid0.oracle.lost_writes = 5;
  raid0.whole.outage = {9 * kSecond, true, true};
  results.contenders.insert(results.contenders.begin(), raid0);
  EXPECT_EQ(about(results, "raid0"),
            "5 acknowledged writes lost, down for good: it has no redundancy, which is cheap and fast until the first "
            "failure");
  EXPECT_NE(about(results, "disk dies").find("rebuild locally (raid5)"), std::string::npos);
}

TEST(Sentences, NothingIsComparedThatDidNotRun) {
  auto results = invented();
  results.contenders.erase(results.contenders.begin());
  EXPECT_EQ(about(results, "disk dies"), "replica3: 410 ms without service, whole again after 3 s");
  results.contenders.clear();
  EXPECT_TRUE(closing_sentences(results).empty());
  EXPECT_FALSE(format_report(results).empty());
}

TEST(Json, HoldsWhatWasMeasuredAndHistogramsThatAddUp) {
  auto results = invented();
  auto& phase = results.contenders[0].whole.phases[1];
  phase.read_latency.record(kMillisecond, 3);
  phase.read_latency.record(5 * kMillisecond, 2);
  results.contenders[0].seconds = {{10, 4, 0, 1000, 2000, 3000, 0, true}, {11, 5, 1, 1000, 2000, 3000, kMiB, false}};
  results.contenders[1].events[0].window.repair.finished = false;
  results.verdicts = {{"lost_writes == 0", "why", "f:1:2", scenario::Outcome::passed, false, ""}};
  results.header.machine = "bad \xff byte";
  const auto json = nlohmann::json::parse(to_json(results));
  EXPECT_EQ(json["schema"], 2);
  EXPECT_EQ(json["run"]["trace_hash"], "000000009f2c41d0");
  EXPECT_EQ(json["exit_code"], 0);
  const auto& raid5 = json["contenders"][0];
  EXPECT_EQ(raid5["per_second"]["read_iops"], nlohmann::json({10, 11}));
  EXPECT_EQ(raid5["per_second"]["served"], nlohmann::json({true, false}));
  EXPECT_EQ(raid5["events"][0]["measures"]["repair_time"], kSecond);
  EXPECT_EQ(json["contenders"][1]["events"][0]["measures"]["repair_time"], "never");
  EXPECT_EQ(json["contenders"][1]["events"][0]["window"]["repair"]["time_ns"], "never");
  EXPECT_EQ(json["expectations"][0]["outcome"], "passed");
  LatencyHistogram::Sparse sparse;
  for (const auto& pair : raid5["whole"]["phases"]["during"]["read_latency"]["buckets"])
    sparse.emplace_back(pair[0], pair[1]);
  const auto again = LatencyHistogram::from_sparse(sparse);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->count(), 5u);
  EXPECT_EQ(to_json(results, -1).find('\n'), std::string::npos);
}

TEST(Seeds, MedianAndRangeOfWhatIsThere) {
  using scenario::Unit;
  using scenario::Value;
  const auto ms = [](double value) { return Value::of(Unit::duration, value * 1e6); };
  EXPECT_EQ(median_and_range({ms(5), ms(1), ms(9)}), "5ms (1ms..9ms)");
  EXPECT_EQ(median_and_range({ms(5), ms(5)}), "5ms");
  EXPECT_EQ(median_and_range({ms(5), Value::never(Unit::duration), Value::absent()}), "5ms (5ms..never)");
  EXPECT_EQ(median_and_range({Value::absent()}), "n/a");
}

TEST(Seeds, ARedSeedIsRedAndAnInconclusiveOneIsNamed) {
  SeedTable table;
  auto results = invented();
  results.header.seed = 3;
  table.add(results);
  EXPECT_EQ(table.exit_code(), 0);
  results.header.seed = 4;
  results.contenders[1].inconclusive = "'disk dies' hit nothing";
  table.add(results);
  EXPECT_EQ(table.exit_code(), 3);
  results.header.seed = 5;
  results.contenders[1].inconclusive.clear();
  results.contenders[0].events[0].window.outage.total = 90 * kMillisecond;
  results.verdicts = {{"outage <= 10ms", "", "f:1:2", scenario::Outcome::failed, false, "raid5: outage is 90 ms"}};
  table.add(results);
  EXPECT_EQ(table.exit_code(), 1);
  const std::string text = table.text();
  EXPECT_NE(text.find("seed 5: outage <= 10ms: raid5: outage is 90 ms"), std::string::npos) << text;
  EXPECT_NE(text.find("seed 4: replica3: 'disk dies' hit nothing"), std::string::npos) << text;
  EXPECT_NE(text.find("1 of 3 seeds hold, 1 fail, 1 inconclusive"), std::string::npos) << text;
  EXPECT_NE(line_with(text, "outage ").find("..90ms)"), std::string::npos) << text;
  EXPECT_LE(widest_line(text), kTableWidth);
  EXPECT_EQ(nlohmann::json::parse(to_json(table))["red"][0]["seed"], 5);
}

TEST(Progress, IsOneLineThatFitsATerminal) {
  EXPECT_EQ(format_progress({"raid5", "repair", 420, 60 * kMiB, 3200 * kMillisecond}),
            "raid5      repair          42 %     60.0 MiB/s  4 s left");
  EXPECT_EQ(format_progress({"raid5", "fill", 0, 0, kNever}), "raid5      fill             0 %");
  EXPECT_LE(format_progress({std::string(90, 'x'), std::string(90, 'y'), 5000, ~0ull, kNever - 1}).size(), 79u);
}

}  // namespace
}  // namespace resilver::report
