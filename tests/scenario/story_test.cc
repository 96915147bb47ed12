// Whose doing was it, and how long did it go on? The rules of charge.h and windows.h on invented evidence, with the answers
// known beforehand, and then on runs.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "report/sentences.h"
#include "scenario/charge.h"
#include "scenario/course.h"
#include "scenario/parse.h"
#include "scenario/run.h"
#include "scenario/windows.h"

namespace resilver::scenario {
namespace {

constexpr Nanos kEnd = 20 * kSecond;
constexpr Nanos s(double seconds) { return static_cast<Nanos>(seconds * 1e9); }

AppliedEvent lasting(std::size_t index, Nanos at, Nanos cleared = 0) {
  AppliedEvent event;
  event.index = index;
  event.at = at;
  event.lasts = true;
  event.ends = cleared != 0;
  if (cleared != 0) event.cleared = cleared;
  return event;
}

AppliedEvent act(std::size_t index, Nanos at) {
  AppliedEvent event;
  event.index = index;
  event.at = at;
  return event;
}

FleetState state(Nanos at, bool full, std::int32_t disks_left = 1, std::int32_t nodes_left = 1) {
  FleetState now;
  now.at = at;
  now.serving = 0;
  now.in_sync = 2;
  now.disks_left = full ? 1 : disks_left;
  now.nodes_left = nodes_left;
  now.full = full;
  return now;
}

Nanos end_of(const std::vector<AppliedEvent>& events, const std::vector<FleetState>& changes, std::size_t which) {
  return spans_of(events, changes, kEnd)[which].end;
}

TEST(Spans, GoOnUntilEndedAndFullAgainWhateverComesMeanwhile) {
  const std::vector<FleetState> changes = {state(0, true), state(s(2), false, 0), state(s(9), true)};
  const std::vector<AppliedEvent> events = {lasting(0, s(2), s(4)), lasting(1, s(3), s(12))};
  EXPECT_EQ(end_of(events, changes, 0), s(9)) << "ended at 4 s, full again at 9 s";
  EXPECT_EQ(end_of(events, changes, 1), s(12)) << "full before it was ended";
}

TEST(Spans, WhatNothingEndsGoesOnUntilRedundancyIsFullAgainOrToTheEnd) {
  const std::vector<FleetState> repaired = {state(0, true), state(s(2), false, 0), state(s(9), true)};
  EXPECT_EQ(end_of({act(0, s(2))}, repaired, 0), s(9)) << "a disk died, a spare took over";
  EXPECT_EQ(end_of({lasting(0, s(1))}, {state(0, true)}, 0), kEnd) << "a slow disk";
  EXPECT_EQ(end_of({act(0, s(1)), act(1, s(5))}, {state(0, true)}, 0), s(5)) << "a switchover, then the next event";
  EXPECT_EQ(end_of({act(0, s(1))}, {state(0, true), state(s(2), false, 0)}, 0), kEnd) << "never repaired";
  EXPECT_EQ(end_of({lasting(0, s(1))}, repaired, 0), kEnd)
      << "a slow disk is no better because another one was replaced";
  EXPECT_EQ(end_of({lasting(0, s(1), s(2))}, {state(0, true)}, 0), s(2));
}

TEST(Spans, ALossThatComesLaterProlongsTheWindowOfWhomItIsChargedTo) {
  // Frozen from 1 s to 1.3 s; the others take over at 1.4 s, and the node is back in sync at 3 s.
  const std::vector<FleetState> changes = {state(0, true), state(s(1.4), false, 0, 0), state(s(3), true)};
  EXPECT_EQ(end_of({lasting(0, s(1), s(1.3))}, changes, 0), s(3));
}

TEST(Charges, GoToTheLatestEventThatIsStillGoingOn) {
  const std::vector<Span> spans = {{0, s(1), s(10)}, {1, s(4), s(6)}};
  EXPECT_FALSE(charge(spans, s(0.5), 0).event) << "before any event it is nobody's";
  EXPECT_EQ(charge(spans, s(2), 0).event, 0u);
  EXPECT_EQ(charge(spans, s(5), 0).event, 1u);
  EXPECT_EQ(charge(spans, s(7), 0).event, 0u) << "the later one is over, the earlier is not";
  EXPECT_EQ(charge(spans, s(11), 0).event, 1u) << "none goes on: the latest";
  EXPECT_EQ(charge(spans, s(3.98), s(0.03)).event, 1u) << "as exact as who saw it";
}

TEST(Charges, GoToTheFirstInTheFileOfThoseAtOneInstant) {
  for (const auto& [first, second] : {std::pair(s(1), s(1)), std::pair(s(1.005), s(1)), std::pair(s(1), s(1.005))}) {
    const Charge charged = charge({{3, first, s(4)}, {5, second, s(6)}}, s(1.2), 0);
    EXPECT_EQ(charged.event, 3u);
    EXPECT_EQ(charged.mates, std::vector<std::size_t>{5});
  }
}

TEST(ClientOutage, IsATimeInWhichRequestsWaitedAndNoneWasAnswered) {
  ClientOutages seen(100 * kMillisecond);
  const auto ask = [&seen](Nanos begin, Nanos end, bool ok) {
    seen.began(begin);
    seen.ended(end, ok);
  };
  for (int second = 0; second < 10; ++second) ask(s(second), s(second) + 20 * kMillisecond, true);
  EXPECT_TRUE(seen.stretches().empty()) << "who asks once a second and is answered in 20 ms has no outage";
  ask(s(10), s(11.5), true);
  ask(s(12), s(12.001), false);  // one error alone …
  ask(s(13), s(13.001), true);
  ask(s(14), s(14.001), false);  // … and two in a row
  ask(s(15), s(15.001), false);
  ask(s(16), s(16.001), true);
  seen.began(s(17));
  seen.close(s(19));
  ASSERT_EQ(seen.stretches().size(), 3u);
  EXPECT_EQ(seen.stretches()[0].end - seen.stretches()[0].begin, s(1.5));
  EXPECT_EQ(seen.stretches()[1].begin, s(14));
  EXPECT_EQ(seen.stretches()[1].end, s(15.001));
  EXPECT_FALSE(seen.stretches()[1].open);
  EXPECT_TRUE(seen.stretches()[2].open);
  EXPECT_EQ(seen.stretches()[2].end, s(19));
}

// ---- a whole story ---------------------------------------------------------------------------------------------------

// A run of 10 s with 1 s of warm-up and one request every 100 ms, answered after 1 ms, but while `slow` after 50 ms.
struct Told {
  Told(std::vector<AppliedEvent> events, std::vector<FleetState> changes, std::vector<Stretch> outages,
       Nanos slow_from = 0, Nanos slow_to = 0) {
    evidence.measured_from = s(1);
    evidence.load_end = s(10);
    evidence.settle_end = kEnd;
    evidence.events = std::move(events);
    evidence.changes = std::move(changes);
    evidence.outages = std::move(outages);
    evidence.resolution = 30 * kMillisecond;
    evidence.nothing_under_way = true;
    std::vector<Nanos> boundaries = {0, s(1), s(10)};
    for (const Span& span : spans_of(evidence.events, evidence.changes, kEnd)) {
      boundaries.push_back(span.begin);
      boundaries.push_back(span.end);
    }
    std::sort(boundaries.begin(), boundaries.end());
    std::size_t next = 0;
    for (Nanos at = s(0.05); at < s(10); at += s(0.1)) {
      const Nanos took = at >= slow_from && at < slow_to ? 50 * kMillisecond : kMillisecond;
      while (next < boundaries.size() && boundaries[next] <= at) course.open(boundaries[next++], {});
      course.began(at);
      course.ended({workload::LoadKind::read, at, at + took, Errc::ok});
    }
    course.close(kEnd, {});
    results.resize(evidence.events.size());
    for (std::size_t i = 0; i < results.size(); ++i) results[i].name = "event " + std::to_string(i);
    tell_story(evidence, course, results, whole);
  }
  const PhaseResult& phase(std::size_t event, Phase phase) const {
    return results[event].window.phases[static_cast<std::size_t>(phase)];
  }
  const WindowResult& window(std::size_t event) const { return results[event].window; }

  Evidence evidence;
  Course course{100 * kMillisecond};
  std::vector<EventResult> results;
  WindowResult whole;
};

TEST(Story, AnEventBeforeTheEndOfWarmUpTakesNoLatenciesFromAnother) {
  const Told told({lasting(0, s(0.9)), lasting(1, s(4), s(6))},
                  {state(0, true), state(s(4), false, 0, 0), state(s(7), true)}, {}, s(4), s(7));
  EXPECT_EQ(told.phase(1, Phase::during).reads, 30u) << "from 4 s to 7 s";
  EXPECT_EQ(told.phase(1, Phase::during).length, s(3));
  EXPECT_NEAR(static_cast<double>(told.phase(1, Phase::during).read_latency.percentile(5000)), 50e6, 1e6);
  EXPECT_EQ(told.phase(1, Phase::before).reads, 30u) << "since the end of warm-up, where the slow one was on already";
  EXPECT_EQ(told.phase(1, Phase::after).reads, 30u);
  EXPECT_EQ(told.phase(0, Phase::during).reads, 90u) << "nothing of the warm-up";
  EXPECT_EQ(told.phase(0, Phase::before).reads, 0u);
  EXPECT_EQ(told.whole.phases[static_cast<std::size_t>(Phase::during)].reads, 90u);
}

TEST(Story, EventsAtOneInstantBothHaveLatenciesAndOneTheOutage) {
  for (const bool turned : {false, true}) {
    std::vector<AppliedEvent> events = {lasting(0, s(3), s(5)), lasting(1, s(3), s(4))};
    if (turned) std::swap(events[0].cleared, events[1].cleared);
    const Told told(events, {state(0, true)}, {{s(2.99), s(4.5), false}});
    EXPECT_EQ(told.window(0).outage.total, s(1.51));
    EXPECT_EQ(told.window(1).outage.total, 0);
    EXPECT_EQ(told.results[1].charged_with, "event 0");
    EXPECT_EQ(told.results[0].others, std::vector<std::string>{"event 1"});
    EXPECT_EQ(told.phase(0, Phase::during).reads, turned ? 10u : 20u);
    EXPECT_EQ(told.phase(1, Phase::during).reads, turned ? 20u : 10u);
    EXPECT_EQ(told.whole.outage.total, s(1.51));
  }
}

TEST(Story, AnOutageThatAnotherEventProlongedIsChargedToItsBeginAndNamesBoth) {
  const Told told({lasting(0, s(3), s(5)), lasting(1, s(4), s(6))}, {state(0, true)}, {{s(3), s(6), false}});
  EXPECT_EQ(told.window(0).outage.total, s(3));
  EXPECT_EQ(told.window(1).outage.total, 0);
  EXPECT_EQ(told.results[1].charged_with, "event 0");
}

TEST(Story, AnOutageThatTheProberSawLateBeganWhenTheClientWasWithoutAnswers) {
  Told told({lasting(0, s(3), s(5)), act(1, s(3.2))}, {state(0, true)}, {{s(3.3), s(4), false}});
  EXPECT_EQ(told.window(1).outage.total, s(0.7)) << "as far as the prober alone can tell";
  Course course(100 * kMillisecond);
  course.open(0, {});
  course.began(s(3.001));
  course.ended({workload::LoadKind::read, s(3.001), s(4), Errc::ok});
  course.close(kEnd, {});
  std::vector<EventResult> events(2);
  WindowResult whole;
  tell_story(told.evidence, course, events, whole);
  EXPECT_EQ(events[0].window.outage.total, s(0.7));
  EXPECT_EQ(events[1].window.outage.total, 0);
}

TEST(Story, WhatIsUnreadableCountsWhileSomethingIsAnswered) {
  Course course(100 * kMillisecond);
  course.open(0, {});
  const auto look = [&course](Nanos at, std::uint64_t unreadable) { course.look(state(at, false, 0), {}, unreadable); };
  const auto answer = [&course](Nanos begin, Nanos end, Errc status) {
    course.began(begin);
    course.ended({workload::LoadKind::read, begin, end, status});
  };
  look(s(1), 4096);
  answer(s(0.9), s(1.1), Errc::ok);  // asked before
  answer(s(1.2), s(1.3), Errc::medium);
  EXPECT_TRUE(course.unreadable().empty());
  answer(s(1.4), s(1.5), Errc::ok);
  answer(s(1.6), s(1.7), Errc::ok);
  ASSERT_EQ(course.unreadable().size(), 1u);
  EXPECT_EQ(course.unreadable()[0].at, s(1));
  look(s(2), 1 << 20);  // now nothing is answered any more
  answer(s(2.1), s(2.2), Errc::device_gone);
  course.close(s(3), {});
  EXPECT_EQ(course.unreadable().size(), 1u);
}

TEST(Story, TwoEventsATenthOfASecondApartDoNotShareWhatTheFirstBegan) {
  const Told told({lasting(0, s(3), s(5)), act(1, s(3.1))}, {state(0, true)}, {{s(3), s(4), false}});
  EXPECT_EQ(told.window(0).outage.total, s(1));
  EXPECT_EQ(told.window(1).outage.total, 0);
  Course course(100 * kMillisecond);
  std::vector<EventResult> events(2);
  WindowResult whole;
  for (const Nanos at : {s(0), s(1), s(3), s(3.1), s(4), s(10)}) {
    course.open(at, {});
    if (at == s(3)) course.began(s(3.005));
    if (at == s(4)) course.ended({workload::LoadKind::write, s(3.005), s(4), Errc::ok});
  }
  course.close(kEnd, {});
  tell_story(told.evidence, course, events, whole);
  EXPECT_EQ(events[0].window.client_outage.total, s(0.995));
  EXPECT_EQ(events[0].window.longest_stall, s(0.995));
  EXPECT_EQ(events[1].window.client_outage.total + events[1].window.longest_stall, 0);
}

TEST(Story, RepairsOfOverlappingLossesEachHaveTheirTimeAndCountOnceInTheRun) {
  std::vector<AppliedEvent> events = {act(0, s(2)), act(1, s(4))};
  for (auto& event : events) event.of_disks = event.of_redundancy = true;
  const Told told(events, {state(0, true), state(s(2), false, 0), state(s(4), false, -1), state(s(8), true)}, {});
  EXPECT_TRUE(told.window(0).repair.finished);
  EXPECT_EQ(told.window(0).repair.time, s(6)) << "the second disk did not end the first one's story";
  EXPECT_EQ(told.window(1).repair.time, s(4));
  EXPECT_EQ(told.whole.repair.time, s(6));
}

TEST(Story, WhatCostsNoRedundancyNeedsNoRepairThoughOneRuns) {
  std::vector<AppliedEvent> events = {act(0, s(2)), lasting(1, s(4), s(5))};
  events[0].of_disks = events[0].of_redundancy = true;
  const Told told(events, {state(0, true), state(s(2), false, 0), state(s(8), true)}, {});
  EXPECT_TRUE(told.window(0).repair.finished);
  EXPECT_FALSE(told.window(1).repair.needed || told.window(1).node_repair.needed);
}

TEST(Story, ExposureThatEndsWithTheWindowHasEnded) {
  std::vector<AppliedEvent> events = {act(0, s(2))};
  events[0].of_disks = events[0].of_redundancy = true;
  const Told told(events, {state(0, true), state(s(2), false, 0), state(s(8), true)}, {});
  EXPECT_EQ(told.window(0).exposed.total, s(6));
  EXPECT_FALSE(told.window(0).exposed.never_ended);
  const Told open(events, {state(0, true), state(s(2), false, 0)}, {});
  EXPECT_TRUE(open.window(0).exposed.never_ended);
}

TEST(Story, AnOutageIsOpenOnlyIfItWasAtTheEndOfSettle) {
  const Told ended({lasting(0, s(9))}, {state(0, true)}, {{s(9), s(12), false}});
  EXPECT_FALSE(ended.window(0).outage.never_ended) << "it went on when the client stopped, and ended in settle";
  EXPECT_EQ(ended.window(0).outage.total, s(3));
  const Told open({lasting(0, s(9))}, {state(0, true)}, {{s(9), kEnd, true}});
  EXPECT_TRUE(open.window(0).outage.never_ended && open.window(0).outage.for_good);
  EXPECT_EQ(open.window(0).outage.total, s(11)) << "a lower bound";
  const Told again({lasting(0, s(5))}, {state(0, true)}, {{s(5), s(7), false}, {s(18), kEnd, true}});
  EXPECT_EQ(again.window(0).outage.total, s(4));
  EXPECT_EQ(again.window(0).outage.open, s(2)) << "it is down for 2 s, not for all that it ever was";
  EXPECT_EQ(ended.whole.outage.open, 0);
}

// ---- in runs ---------------------------------------------------------------------------------------------------------

RunResults run(const std::string& name, std::vector<std::pair<std::string, std::string>> set,
               std::vector<std::string> only) {
  ParseOptions options;
  options.set = std::move(set);
  options.only = std::move(only);
  const auto scenario = load_scenario("scenarios/" + name + ".toml", options);
  EXPECT_TRUE(scenario) << (scenario ? "" : to_string(scenario.error().front()));
  if (!scenario) return {};
  auto results = run_virtual(*scenario, {});
  EXPECT_TRUE(results);
  return results ? std::move(*results) : RunResults{};
}

// A volume that is slow to come back, over links that are slow to fill: nobody is called down for good who is whole again, or
// who answers later.
TEST(Words, NobodyIsDownForGoodWhoComesBack) {
  const std::pair<std::string, std::string> narrow = {"link.lan.bandwidth", "100Mbit/s"};
  const std::pair<std::string, std::string> patient = {"settle", "90s"};
  const std::vector<RunResults> runs = {run("what-an-ack-promises", {}, {"quorum_80ms", "durable_80ms"}),
                                        run("disk-then-server", {narrow, patient}, {"replica3", "hybrid"}),
                                        run("disk-then-server", {narrow}, {"replica3", "hybrid"})};
  for (const RunResults& results : runs) {
    for (const ContenderResult& contender : results.contenders) {
      EXPECT_FALSE(contender.whole.outage.for_good) << contender.name;
      EXPECT_EQ(contender.oracle.unrecoverable_bytes, 0u) << contender.name;
    }
    for (const auto& sentence : report::closing_sentences(results))
      EXPECT_EQ(sentence.text.find("down for good"), std::string::npos) << sentence.about << ": " << sentence.text;
  }
  ASSERT_EQ(runs[0].contenders.size(), 2u);
  for (const ContenderResult& contender : runs[0].contenders) {
    EXPECT_FALSE(contender.whole.outage.never_ended) << contender.name << " answers in settle";
    EXPECT_GT(contender.whole.client_outage.total, s(1)) << contender.name;
  }
}

TEST(Words, WhatIsUnreadableIsOfTheWholeVolume) {
  const RunResults lost = run("second-disk-during-rebuild", {}, {"raid5"});
  ASSERT_EQ(lost.contenders.size(), 1u);
  EXPECT_EQ(lost.contenders[0].oracle.unrecoverable_bytes, std::uint64_t{48} << 20) << "more than the client wrote";
  EXPECT_EQ(lost.contenders[0].whole.unavailable_bytes, 0u) << "there is no rest that serves";
  EXPECT_TRUE(lost.contenders[0].whole.outage.for_good);
  const RunResults part = run("disk-then-server", {}, {"raid0"});
  ASSERT_EQ(part.contenders.size(), 1u);
  EXPECT_EQ(part.contenders[0].oracle.unrecoverable_bytes, std::uint64_t{16} << 20) << "one of four disks";
  EXPECT_EQ(part.contenders[0].events[0].window.unavailable_bytes, std::uint64_t{16} << 20);
}

}  // namespace
}  // namespace resilver::scenario
