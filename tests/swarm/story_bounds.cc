#include "tests/swarm/story_bounds.h"

#include <fmt/format.h>

#include <algorithm>

namespace resilver::swarm {
namespace {

using scenario::ContenderResult;
using scenario::EventResult;
using scenario::EventState;
using scenario::RepairResult;
using scenario::WindowResult;

std::string out_of_bounds(const WindowResult& window, Nanos limit) {
  const auto bad = [limit](Nanos time) { return time < 0 || time > limit; };
  if (bad(window.outage.total)) return fmt::format("an outage of {} ns", window.outage.total);
  if (bad(window.client_outage.total)) return fmt::format("a client outage of {} ns", window.client_outage.total);
  if (bad(window.longest_stall)) return fmt::format("a stall of {} ns", window.longest_stall);
  if (bad(window.exposed.total) || bad(window.node_exposed.total)) return "exposed for longer than the run";
  if (window.outage.for_good && !window.outage.never_ended) return "down for good, and it ended";
  if (window.needless_failovers > window.failovers) return "more needless failovers than failovers";
  if (window.mismatches_named > window.mismatches) return "more mismatches named than found";
  for (const RepairResult* repair : {&window.repair, &window.node_repair}) {
    if (bad(repair->time) || bad(repair->copying)) return fmt::format("a repair of {} ns", repair->time);
    if (repair->finished && !repair->needed) return "a repair that nobody needed is finished";
    if (repair->needed && !repair->finished && repair->never_because.empty()) return "never whole again, without why";
  }
  for (const auto& phase : window.phases)
    if (bad(phase.length)) return fmt::format("a phase of {} ns", phase.length);
  return {};
}

std::string of_event(const ContenderResult& contender, const EventResult& event) {
  std::string wrong = out_of_bounds(event.window, contender.ran_for);
  if (!wrong.empty()) return wrong;
  if (event.window.repair.time > contender.ran_for - event.at) return "a repair beyond the end of the run";
  if (event.state != EventState::applied && event.window.outage.total > 0) return "an outage of what was not applied";
  if (event.charged_with.empty()) return {};
  const auto carrier = std::find_if(contender.events.begin(), contender.events.end(),
                                    [&](const EventResult& other) { return other.name == event.charged_with; });
  if (carrier == contender.events.end()) return "charged to nobody";
  const auto& others = carrier->others;
  return std::find(others.begin(), others.end(), event.name) == others.end() ? "charged to one that does not know" : "";
}

}  // namespace

std::string contradiction_in(const ContenderResult& contender) {
  if (!contender.inconclusive.empty() && contender.ran_for == 0) return {};
  std::string wrong = out_of_bounds(contender.whole, contender.ran_for);
  if (!wrong.empty()) return "the run: " + wrong;
  WindowResult sum;
  std::uint64_t most = 0;
  for (const EventResult& event : contender.events) {
    wrong = of_event(contender, event);
    if (!wrong.empty()) return "'" + event.name + "': " + wrong;
    sum.outage.total += event.window.outage.total;
    sum.client_outage.total += event.window.client_outage.total;
    sum.client_errors += event.window.client_errors;
    sum.failovers += event.window.failovers;
    sum.mismatches += event.window.mismatches;
    for (const auto& phase : event.window.phases) most = std::max(most, phase.reads + phase.writes);
  }
  const WindowResult& whole = contender.whole;
  const auto& during = whole.phases[static_cast<std::size_t>(scenario::Phase::during)];
  if (sum.outage.total > whole.outage.total) return "the events' outages are longer than the run's";
  if (sum.client_outage.total > whole.client_outage.total)
    return "the events' client outages are longer than the run's";
  if (sum.client_errors > whole.client_errors) return "the events have more errors than the run";
  if (sum.failovers > whole.failovers) return "the events have more failovers than the run";
  if (sum.mismatches > whole.mismatches) return "the events have more mismatches than the run";
  if (most > during.reads + during.writes) return "a phase has more requests than the run";
  return {};
}

}  // namespace resilver::swarm
