#include "scenario/expect.h"

#include <map>

#include "tests/scenario_lang/texts.h"

namespace resilver::scenario {
namespace {

class Invented : public MeasureSource {
 public:
  std::map<std::string, Value> values;  // "raid5.outage('disk dies')"
  Value value(std::string_view contender, MeasureId measure, std::string_view event,
              std::optional<Phase>) const override {
    std::string key = std::string(contender) + "." + std::string(measure_info(measure).name);
    if (!event.empty()) key += "('" + std::string(event) + "')";
    const auto found = values.find(key);
    return found == values.end() ? Value::absent() : found->second;
  }
};

class Expect : public ::testing::Test {
 protected:
  void SetUp() override {
    auto parsed = parse_scenario(kSound, "x.toml");
    ASSERT_TRUE(parsed);
    scenario = *parsed;
    const auto ms = [](double value) { return Value::of(Unit::duration, value * 1e6); };
    source.values = {{"raid5.outage('disk dies')", ms(40)},
                     {"pair.outage('disk dies')", ms(140)},
                     {"raid5.outage('server dies')", Value::never(Unit::duration)},
                     {"pair.outage('server dies')", Value::absent()},
                     {"raid5.lost_writes", Value::of(Unit::count, 0)},
                     {"pair.lost_writes", Value::of(Unit::count, 2)},
                     {"raid5.repair_read_bytes", Value::of(Unit::size, 300e6)},
                     {"raid5.repair_time", ms(2000)},
                     {"raid5.repair_limited_by", Value::words("link")},
                     {"raid5.space", Value::of(Unit::ratio, 1.333)}};
  }

  std::string error(std::string_view text) {
    auto compiled = compile(text, scenario);
    return compiled ? std::string() : std::to_string(compiled.error().offset) + ": " + compiled.error().message;
  }

  Truth truth(std::string_view text, std::string_view contender = "raid5", bool timing = true) {
    auto compiled = compile(text, scenario);
    EXPECT_TRUE(compiled) << text << ": " << error(text);
    return compiled ? evaluate(*compiled, source, contender, timing) : Truth::absent;
  }

  Verdict verdict(std::string check, bool real = false) {
    scenario.expectations = {{std::move(check), "", {39, 10}}};
    return judge(scenario, source, {.real = real, .strict_timing = false}).front();
  }

  Scenario scenario;
  Invented source;
};

TEST_F(Expect, ComparesWithUnitsAndPrecedence) {
  EXPECT_EQ(truth("outage('disk dies') <= 100ms"), Truth::holds);
  EXPECT_EQ(truth("outage('disk dies') <= 100ms", "pair"), Truth::fails);
  EXPECT_EQ(truth("outage('disk dies') * 2 + 10ms < 0.1s"), Truth::holds);
  EXPECT_EQ(truth("pair.outage('disk dies') > 3 * raid5.outage('disk dies')"), Truth::holds);
  EXPECT_EQ(truth("pair.outage('disk dies') / raid5.outage('disk dies') == 350%"), Truth::holds);
  EXPECT_EQ(truth("repair_read_bytes / repair_time >= 140MiB/s"), Truth::holds);
  EXPECT_EQ(truth("repair_read_bytes / repair_time >= 150MiB/s"), Truth::fails);
  EXPECT_EQ(truth("100MiB/s * 2s == 200MiB"), Truth::holds);
  EXPECT_EQ(truth("200MiB / 100MiB/s == 2s"), Truth::holds);
  EXPECT_EQ(truth("true or false and false"), Truth::holds);
  EXPECT_EQ(truth("not (lost_writes == 0) or space < 2"), Truth::holds);
  EXPECT_EQ(truth("repair_limited_by == 'link'"), Truth::holds);
}

TEST_F(Expect, NeverIsLargerThanAnyTime) {
  EXPECT_EQ(truth("outage('server dies') == down"), Truth::holds);
  EXPECT_EQ(truth("outage('server dies') >= 10h"), Truth::holds);
  EXPECT_EQ(truth("outage('server dies') <= 10h"), Truth::fails);
  EXPECT_EQ(truth("outage('disk dies') != never"), Truth::holds);
}

// In the real world a `never` may only mean that a slow machine was not there yet by the end.
TEST_F(Expect, NeverIsNotHeldAgainstARealRun) {
  EXPECT_EQ(truth("outage('server dies') != never", "raid5", true), Truth::fails);
  EXPECT_EQ(truth("outage('server dies') != never", "raid5", false), Truth::timing);
  EXPECT_EQ(truth("outage('server dies') == never", "raid5", false), Truth::holds);
  EXPECT_EQ(truth("outage('disk dies') == never", "raid5", false), Truth::fails);
  EXPECT_EQ(truth("outage('disk dies') != never", "raid5", false), Truth::holds);
  EXPECT_EQ(verdict("raid5.outage('server dies') != never", true).outcome, Outcome::measured);
}

TEST_F(Expect, WhatTheRealWorldHasNotIsNotAskedThere) {
  scenario.events[0].verb = Verb::link_loss;
  EXPECT_NE(verdict("pair.outage('disk dies') <= 1s").outcome, Outcome::left_out);
  scenario.real = true;
  const Verdict left = verdict("pair.outage('disk dies') <= 1s", true);
  EXPECT_EQ(left.outcome, Outcome::left_out);
  EXPECT_EQ(left.detail, "there is no link.loss in the real world");
  EXPECT_FALSE(event_applies(scenario, scenario.contenders[0], scenario.events[0]));
}

TEST_F(Expect, AbsentIsLeftOutAndOtherPartsStillCount) {
  EXPECT_EQ(truth("outage('server dies') <= 1s", "pair"), Truth::absent);
  EXPECT_EQ(truth("outage('server dies') <= 1s and lost_writes == 0", "pair"), Truth::fails);
  EXPECT_EQ(truth("outage('server dies') <= 1s or lost_writes == 2", "pair"), Truth::holds);
}

TEST_F(Expect, ErrorsHavePlaceAndHint) {
  EXPECT_EQ(error("raid7.outage <= 1s"), "0: unknown contender 'raid7' (did you mean 'raid5'?)");
  EXPECT_EQ(error("raid5.outag <= 1s"), "6: unknown measure 'outag' (did you mean 'outage'?)");
  EXPECT_EQ(error("outage <= 100"), "10: a duration with its unit expected, not a bare number");
  EXPECT_EQ(error("outage <= 5MiB"), "10: a duration does not compare with a size");
  EXPECT_EQ(error("outage = 1s"), "7: '=': '==' expected");
  EXPECT_EQ(error("outage"), "0: a comparison such as \"outage <= 100ms\" expected, not a value alone");
  EXPECT_EQ(error("lost_writes('disk dies') == 0"), "12: lost_writes is of the whole run: it takes no event");
  EXPECT_EQ(error("hits == 0"), "4: hits is of an event: hits('...') expected");
  EXPECT_EQ(error("outage('disk dies', during) <= 1s"), "20: outage is not measured per phase");
  EXPECT_EQ(error("iops('disk dies', later) <= 1"), "18: 'later' is no phase: before, during or after expected");
  EXPECT_EQ(error("(outage <= 1s"), "13: ')' expected");
  EXPECT_EQ(error("outage <= 1s lost_writes == 0"), "13: 'lost_writes ': an operator or the end expected");
  EXPECT_EQ(error("outage + lost_writes <= 1s"), "9: a duration and a count do not go together here");
  EXPECT_FALSE(error(std::string(5000, '(')).empty());
  EXPECT_FALSE(error("").empty());
}

TEST_F(Expect, EveryContenderIsMeantWithoutAPrefix) {
  const Verdict failed = verdict("outage('disk dies') <= 100ms");
  EXPECT_EQ(failed.outcome, Outcome::failed);
  EXPECT_EQ(failed.detail, "pair: outage('disk dies') is 140 ms");
  EXPECT_EQ(failed.position, "x.toml:39:10");
  EXPECT_EQ(verdict("raid5.outage('disk dies') <= 100ms").outcome, Outcome::passed);
  EXPECT_EQ(verdict("outage('server dies') == down").outcome, Outcome::passed);  // n/a in pair
}

TEST_F(Expect, WhatJudgesNothingIsNeverAPass) {
  EXPECT_EQ(verdict("pair.outage('server dies') <= 1s").outcome, Outcome::vacuous);
  RunResults results;
  results.verdicts = {verdict("pair.outage('server dies') <= 1s")};
  EXPECT_EQ(exit_code(results), 3);
}

TEST_F(Expect, TimesAreMeasuredAndDataIsJudgedInTheRealWorld) {
  EXPECT_EQ(verdict("outage('disk dies') <= 1ms", true).outcome, Outcome::measured);
  EXPECT_EQ(verdict("raid5.outage('disk dies') <= 1ms and raid5.lost_writes == 0", true).outcome, Outcome::measured);
  EXPECT_EQ(verdict("outage('disk dies') <= 1ms and lost_writes == 0", true).outcome, Outcome::failed);
  EXPECT_EQ(verdict("raid5.outage('server dies') == down", true).outcome, Outcome::passed);
  EXPECT_FALSE(verdict("lost_writes == 0").timing);
  EXPECT_TRUE(verdict("outage <= 1s").timing);
}

TEST_F(Expect, ContendersLeftOutAreNotJudged) {
  scenario.left_out = {"raid5"};
  std::erase_if(scenario.contenders, [](const auto& contender) { return contender.name == "raid5"; });
  EXPECT_EQ(verdict("raid5.lost_writes == 0").outcome, Outcome::left_out);
  EXPECT_EQ(verdict("lost_writes == 2").outcome, Outcome::passed);
}

TEST(Measures, TableIsInTheOrderOfItsIdsAndNamesAreUnique) {
  std::set<std::string_view> names;
  for (const auto& info : measure_table()) {
    EXPECT_EQ(&measure_info(info.id), find_measure(info.name));
    EXPECT_TRUE(names.insert(info.name).second);
    EXPECT_TRUE(info.whole || info.event);
  }
}

TEST(Measures, P99NeedsAThousandSamples) {
  ContenderResult contender;
  auto& during = contender.whole.phases[1];
  during.read_latency.record(kMillisecond, 999);
  EXPECT_EQ(value_of(contender, MeasureId::latency_p99).kind, Value::Kind::absent);
  during.write_latency.record(kMillisecond);
  EXPECT_EQ(value_of(contender, MeasureId::latency_p99).kind, Value::Kind::number);
}

// Of the requests between the loss of redundancy and its return, and of enough of them.
TEST(Measures, WhatARepairCostsTheClientInTheWorstOfAThousandRequests) {
  ContenderResult contender;
  contender.name = "c";
  EventResult event;
  event.name = "blow";
  event.state = EventState::applied;
  PhaseResult& during = event.window.phases[static_cast<std::size_t>(Phase::during)];
  for (int i = 0; i < 9'000; ++i) during.read_latency.record(100);
  for (int i = 0; i < 980; ++i) during.write_latency.record(200);
  for (int i = 0; i < 19; ++i) during.write_latency.record(400);
  const auto value = [&] {
    contender.events = {event};
    return value_of(contender, MeasureId::repair_p999, "blow");
  };
  EXPECT_EQ(value().kind, Value::Kind::absent) << "no redundancy was lost";
  event.window.node_repair.needed = true;
  EXPECT_EQ(value().kind, Value::Kind::absent) << "one request too few";
  event.window.phases[static_cast<std::size_t>(Phase::after)].read_latency.record(kSecond);
  EXPECT_EQ(value().kind, Value::Kind::absent) << "what came after is another thing";
  during.read_latency.record(100);
  EXPECT_EQ(value().number, 400);
  EXPECT_EQ(value().unit, Unit::duration);
}

}  // namespace
}  // namespace resilver::scenario
