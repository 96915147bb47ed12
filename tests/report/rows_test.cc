// The table as a model, and its words: each label is explained, marks are explained where they occur, nothing is cut.
#include "report/rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "report/json.h"
#include "report/table.h"
#include "tests/report/invented.h"

namespace resilver::report {
namespace {

using scenario::MeasureId;

std::string text_of_file(const char* path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string trimmed(const std::string& text) { return text.substr(text.find_first_not_of(' ')); }

std::optional<Row> row_named(const Table& table, const std::string& label) {
  for (const auto& group : table.groups)
    for (const auto& row : group.rows)
      if (row.label == label) return row;
  return std::nullopt;
}

bool legend_has(const Table& table, const std::string& mark) {
  return std::any_of(table.legend.begin(), table.legend.end(),
                     [&](const std::string& line) { return line.starts_with(mark + ":"); });
}

TEST(Rows, EveryLabelIsInTheGlossary) {
  const std::string glossary = text_of_file("docs/glossary.md");
  ASSERT_FALSE(glossary.empty());
  for (const auto& label : row_labels())
    EXPECT_NE(glossary.find("| " + trimmed(label) + " |"), std::string::npos) << label;
  const auto labels = row_labels();
  for (const auto& group : make_table(invented()).groups)
    for (const auto& row : group.rows) EXPECT_NE(std::find(labels.begin(), labels.end(), row.label), labels.end());
}

TEST(Rows, TextAndJsonSayTheSame) {
  const auto results = invented();
  const Table table = make_table(results);
  const auto json = nlohmann::json::parse(to_json(results))["table"];
  const std::string text = format_report(results);
  ASSERT_EQ(json["groups"].size(), table.groups.size());
  for (std::size_t g = 0; g < table.groups.size(); ++g) {
    EXPECT_NE(text.find(table.groups[g].title), std::string::npos);
    for (std::size_t r = 0; r < table.groups[g].rows.size(); ++r) {
      const Row& row = table.groups[g].rows[r];
      EXPECT_EQ(json["groups"][g]["rows"][r]["label"], row.label);
      EXPECT_NE(text.find("\n" + row.label), std::string::npos) << row.label;
      for (std::size_t c = 0; c < row.cells.size(); ++c) {
        EXPECT_EQ(json["groups"][g]["rows"][r]["cells"][c]["text"], row.cells[c].text);
        EXPECT_EQ(json["groups"][g]["rows"][r]["cells"][c]["best"], static_cast<bool>(best_marks(row)[c]));
      }
    }
  }
  EXPECT_EQ(json["groups"][1]["rows"][0]["measures"], nlohmann::json({"outage"}));
}

TEST(Rows, NeverHasItsBecauseAndNoTextIsCut) {
  auto results = invented();
  auto& repair = results.contenders[0].events[0].window.repair;
  repair.finished = false;
  repair.never_because = "'a name that is much longer than a column' came first";
  repair.limited_by = "survivors' reads";
  results.contenders[1].name = "a_name_of_thirty_two_characters_";
  const auto because = row_named(make_table(results), "  never, because");
  ASSERT_TRUE(because);
  EXPECT_EQ(because->cells[0].text, repair.never_because);
  EXPECT_EQ(because->cells[1].text, "-");
  const std::string text = format_report(results);
  for (const char* word : {"'a name", "came", "survivors'", " reads", "a_name_of_thirty_two_characters_"})
    EXPECT_NE(text.find(word), std::string::npos) << word;
}

TEST(Rows, LegendExplainsWhatOccursAndNothingElse) {
  auto results = invented();
  EXPECT_TRUE(legend_has(make_table(results), "*"));
  for (const char* mark : {"-", "n/a", "down", "needless", "p99", "not reached", "speed_min"})
    EXPECT_FALSE(legend_has(make_table(results), mark)) << mark;
  results.contenders[0].events[1].state = scenario::EventState::not_applicable;
  results.contenders[1].events[1].window.outage.never_ended = true;
  results.contenders[2].events[1].window.needless_failovers = 1;
  results.contenders[2].events[0].window.repair = {};
  for (const char* mark : {"*", "-", "n/a", "down", "needless"})
    EXPECT_TRUE(legend_has(make_table(results), mark)) << mark;
  const std::string text = format_report(results);
  for (const auto& line : make_table(results).legend)
    EXPECT_NE(text.find("  " + line.substr(0, line.find(':'))), std::string::npos) << line;
}

TEST(Rows, NoOutageOfItsOwnIsSharedWhereAnotherEventIsCharged) {
  auto results = invented();
  results.contenders[0].events[1].window.client_outage.total = kSecond;
  auto& charged = results.contenders[1].events[1];
  charged.charged_with = "disk dies";
  charged.window = {};
  auto& in_part = results.contenders[2].events[1];
  in_part.charged_with = "disk dies";
  in_part.window.client_outage.total = 2 * kSecond;
  const Group group = make_table(results).groups[2];
  const auto texts = [](const Row& row) {
    std::vector<std::string> all;
    for (const auto& cell : row.cells) all.push_back(cell.text);
    return all;
  };
  EXPECT_EQ(texts(group.rows[0]), (std::vector<std::string>{"2.5 s", "shared", "610 ms"}));
  EXPECT_EQ(texts(group.rows[1]), (std::vector<std::string>{"1 s", "shared", "2 s"})) << group.rows[1].label;
}

TEST(Rows, TimesOfEventsHaveTheirFractions) {
  auto results = invented();
  for (auto& contender : results.contenders) contender.events[1].at = 2250 * kMillisecond;
  std::string text = format_report(results);
  EXPECT_NE(text.find("── 00:02 disk dies"), std::string::npos);
  EXPECT_NE(text.find("── 00:02.250 server dies"), std::string::npos);
  results.contenders[2].events[1].at = 4 * kSecond;
  EXPECT_NE(format_report(results).find("── 00:02.250 to 00:04 server dies"), std::string::npos);
}

TEST(Rows, TheQuestionIsAskedWhereBothAnswersContend) {
  auto results = invented();
  EXPECT_NE(format_report(results).find("LOCAL REBUILD OR REMOTE FAILOVER?"), std::string::npos);
  results.contenders.erase(results.contenders.begin());
  EXPECT_EQ(format_report(results).find("LOCAL REBUILD"), std::string::npos);
  EXPECT_NE(format_report(results).find("WHAT CAME OUT"), std::string::npos);
}

TEST(Rows, AScenarioShowsWhatItNames) {
  auto results = invented();
  EXPECT_FALSE(row_named(make_table(results), "write latency p50 before"));
  results.header.show = {MeasureId::write_latency_p50, MeasureId::outage, MeasureId::write_amplification};
  auto& window = results.contenders[0].events[0].window;
  window.phases[0].write_latency.record(3 * kMillisecond, 7);
  results.contenders[0].client_write_bytes = 100;
  results.contenders[0].disk_write_bytes = 250;
  const Table table = make_table(results);
  const auto before = row_named(table, "write latency p50 before");
  ASSERT_TRUE(before);
  EXPECT_EQ(before->cells[0].text, "3 ms");
  EXPECT_EQ(before->cells[1].text, "-");
  EXPECT_FALSE(row_named(table, "outage")) << "it is there already";
  ASSERT_TRUE(row_named(table, "write amplification"));
  EXPECT_EQ(row_named(table, "write amplification")->cells[0].text, "2.5");
}

TEST(Rows, WithoutEventsTheWholeRunIsTold) {
  auto results = invented();
  for (auto& contender : results.contenders) {
    contender.events.clear();
    contender.whole.phases[1].read_latency.record(kMillisecond, 1000);
    contender.whole.phases[1].write_latency.record(2 * kMillisecond, 10);
  }
  const Table table = make_table(results);
  ASSERT_TRUE(row_named(table, "read latency p99"));
  EXPECT_EQ(row_named(table, "read latency p99")->cells[0].text, "1 ms");
  EXPECT_EQ(row_named(table, "write latency p50")->cells[0].text, "2 ms");
  EXPECT_FALSE(row_named(table, "write latency p99")) << "no p99 from ten requests";
}

TEST(Rows, DamageOfTheClientIsShown) {
  auto results = invented();
  results.header.show = {MeasureId::damaged_bytes};
  EXPECT_FALSE(row_named(make_table(results), "overwritten, and served as good"));
  results.contenders[1].oracle.damaged_bytes = 8 * kMiB;
  const auto row = row_named(make_table(results), "overwritten, and served as good");
  ASSERT_TRUE(row);
  EXPECT_EQ(row->cells[0].text, "0");
  EXPECT_EQ(row->cells[1].text, "8 MiB");
  EXPECT_FALSE(row_named(make_table(results), "damaged bytes")) << "not twice";
}

}  // namespace
}  // namespace resilver::report
