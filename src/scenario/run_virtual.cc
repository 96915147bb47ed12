#include "base/hash.h"
#include "base/units.h"
#include "scenario/expect.h"
#include "scenario/run.h"
#include "scenario/sim_fleet.h"
#include "scenario/sim_watch.h"

namespace resilver::scenario {
namespace {

// Nobody waits for a run that does not end: what a scenario takes at most, in virtual time.
constexpr Nanos kMaxOverrun = 30 * kMinute;

const char* why_stopped(sim::Stop stop) {
  switch (stop) {
    case sim::Stop::idle: return "the simulation came to rest before the run had ended";
    case sim::Stop::livelock: return "the simulation went in circles without time passing";
    case sim::Stop::deadline: return "the run did not end in time";
    case sim::Stop::condition: break;
  }
  return "";
}

ContenderResult run_one(const Scenario& scenario, const ContenderSpec& contender, const RunOptions& options,
                        ProgressSink progress, SimWatch* watch) {
  sim::World world(scenario.seed);
  sim::Node& client = world.add_node("client");
  SimFleet fleet(world, client, scenario, contender, watch);
  ContenderResult result;
  bool done = false;
  client.start([&](Env& env) -> Task<void> {
    resilver::Event never(env.scheduler());
    result = co_await run_contender(fleet, scenario, contender, options, progress, never);
    done = true;
  });
  const Nanos deadline = scenario.length + scenario.settle + contender.reboot + kMaxOverrun;
  const auto going_on = [&] {
    if (watch != nullptr) watch->look(fleet);
    return !done;
  };
  const sim::Stop stopped = world.run_while(going_on, deadline);
  if (!done) {
    result.name = contender.name;
    result.inconclusive = why_stopped(stopped);
  }
  result.trace_hash = world.trace_hash();
  return result;
}

}  // namespace

Result<RunResults> run_virtual(const Scenario& scenario, const RunOptions& options, SimWatch* watch) {
  if (auto fill = check_fill(scenario, options.fill_path); !fill) return std::unexpected(fill.error());
  RunResults results;
  results.header = make_header(scenario);
  Hash64 trace;
  for (std::size_t i = 0; i < scenario.contenders.size(); ++i) {
    ProgressSink progress = [&](const Progress& at) {
      if (!options.progress) return;
      Progress whole = at;
      whole.index = i;
      whole.contenders = scenario.contenders.size();
      options.progress(whole);
    };
    results.contenders.push_back(run_one(scenario, scenario.contenders[i], options, progress, watch));
    trace.add(results.contenders.back().trace_hash);
  }
  results.header.trace_hash = trace.value();
  const ResultsSource source(results);
  results.verdicts = judge(scenario, source, {false, options.strict_timing});
  return results;
}

}  // namespace resilver::scenario
