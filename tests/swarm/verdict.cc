#include "tests/swarm/verdict.h"

#include <fmt/format.h>

#include <cstdlib>

#include "scenario/run.h"
#include "scenario/verbs.h"
#include "tests/swarm/split_brain.h"
#include "tests/swarm/state_watch.h"
#include "tests/swarm/story_bounds.h"

namespace resilver::swarm {
namespace {

// What the client and the observer of the run saw.
std::string judge(const scenario::Scenario& drawn, const scenario::RunResults& results) {
  const auto& replicate = drawn.contenders.front().replicate;
  const scenario::ContenderResult& contender = results.contenders.front();
  const bool may_lose = replicate && replicate->ack == scenario::Ack::async && contender.whole.failovers != 0;
  const scenario::OracleResult& oracle = contender.oracle;
  if (oracle.lost_writes != 0 && !may_lose) return fmt::format("{} acknowledged writes lost", oracle.lost_writes);
  if (oracle.stale_reads != 0) return fmt::format("{} stale reads", oracle.stale_reads);
  if (oracle.corrupt_reads != 0) return fmt::format("{} corrupt reads", oracle.corrupt_reads);
  if (oracle.unrecoverable_bytes != 0) return fmt::format("{} bytes unreadable", oracle.unrecoverable_bytes);
  // A fault that came when nobody was there to be hit is no fault of the engine's.
  const bool unlucky = contender.inconclusive.find("hit nothing") != std::string::npos ||
                       contender.inconclusive.find("never came") != std::string::npos;
  if (!contender.inconclusive.empty() && !unlucky) return contender.inconclusive;
  if (const std::string wrong = contradiction_in(contender); !wrong.empty())
    return "the story contradicts itself: " + wrong;
  const scenario::EventResult* last = nullptr;
  for (const scenario::EventResult& event : contender.events) {
    if (event.state == scenario::EventState::applied && (last == nullptr || event.at >= last->at)) last = &event;
  }
  if (last == nullptr) return {};
  // Nobody knows yet that it hangs when the load ends.
  if (last->verb == "disk.hang" && last->at > kSecond) return {};
  for (const scenario::RepairResult* repair : {&contender.whole.repair, &contender.whole.node_repair}) {
    if (repair->needed && !repair->finished) return "not whole again after the last fault: " + repair->never_because;
  }
  return {};
}

}  // namespace

std::string complaint_of(std::uint64_t seed, Kind kind) {
  if (kind == Kind::split_brain) return complaint_of_split_brain(seed);
  const scenario::Scenario drawn = random_scenario(seed, kind);
  StateWatch watch(drawn);
  const scenario::RunResults results = scenario::run_virtual(drawn, {}, &watch).value();
  return watch.complaint().empty() ? judge(drawn, results) : watch.complaint();
}

std::string story(std::uint64_t seed, Kind kind) {
  const scenario::Scenario drawn = random_scenario(seed, kind);
  std::string text = scenario::describe(drawn.contenders.front());
  for (const scenario::Event& event : drawn.events) {
    text += fmt::format("\n  {}: {} {}", scenario::describe(event.trigger), scenario::verb_info(event.verb).name,
                        event.targets.front().text);
  }
  return text;
}

}  // namespace resilver::swarm
