#include "scenario/timeline.h"

#include <algorithm>

#include "async/task_group.h"
#include "scenario/verbs.h"

namespace resilver::scenario {
namespace {

// After a fault has bitten, so long until the observer has surely seen what it did: an event that waits for `redundancy ==
// full` after another must not take the state from before it for the state after it.
constexpr Nanos kSeenAfter = 3 * kSampleInterval;
constexpr Nanos kServerTimeout = 2 * kSecond;  // in the real world

using Kind = NodeStacks::Kind;
constexpr std::uint32_t kArbiter = NodeStacks::kArbiter;

std::uint64_t seed_of(const Scenario& scenario, std::size_t index) {
  std::uint64_t state = scenario.seed * 0x9e3779b97f4a7c15ull + index + 1;
  return splitmix64(state);
}

}  // namespace

Timeline::Timeline(Fleet& fleet, Observer& observer, ClientHooks& hooks, const Scenario& scenario,
                   const ContenderSpec& contender, std::uint64_t used_begin, std::uint64_t used_end)
    : fleet_(fleet),
      observer_(observer),
      hooks_(hooks),
      scenario_(scenario),
      contender_(contender),
      scheduler_(fleet.client().scheduler()),
      used_begin_(used_begin),
      used_end_(used_end),
      records_(scenario.events.size()),
      touched_(scenario.events.size()),
      changed_(scheduler_) {
  for (std::size_t i = 0; i < records_.size(); ++i) {
    EventResult& result = records_[i].result;
    result.name = scenario.events[i].name;
    result.verb = verb_info(scenario.events[i].verb).name;
    if (!event_applies(scenario, contender, scenario.events[i])) result.state = EventState::not_applicable;
  }
}

Task<void> Timeline::run(Nanos start, resilver::Event& no_more, resilver::Event& stop) {
  start_ = start;
  TaskGroup players(scheduler_);
  for (std::size_t i = 0; i < records_.size(); ++i) {
    if (records_[i].result.state == EventState::not_applicable) continue;
    players.spawn(play(i, no_more, stop));
  }
  players.spawn(watch_hits(stop));
  co_await players.join();
  count_hits();
}

bool Timeline::anything_active() const noexcept {
  for (std::size_t i = 0; i < records_.size(); ++i) {
    if (ends(i) && records_[i].result.state == EventState::applied && touched_[i].pending_end) return true;
  }
  return false;
}

bool Timeline::ends(std::size_t index) const {
  const Event& event = scenario_.events[index];
  return event.lasts_for > 0 || event.until.has_value();
}

Task<void> Timeline::play(std::size_t index, resilver::Event& no_more, resilver::Event& stop) {
  const Event& event = scenario_.events[index];
  Random random(seed_of(scenario_, index));
  if (!co_await wait_for_trigger(event, random, no_more)) co_return;
  Nanos next = scheduler_.now();
  while (!no_more.is_set()) {
    if (scenario_.real) co_await wait_for_server(event, no_more);
    if (!co_await apply(index, random)) co_return;
    co_await wait_end(index, stop);
    if (event.trigger.every == 0) co_return;
    next += event.trigger.every;
    co_await no_more.wait_until(next);
  }
}

// On a busy machine a node may not serve for a moment for no reason of the scenario: an event that means it comes then.
Task<void> Timeline::wait_for_server(const Event& event, resilver::Event& stop) {
  const auto means_it = [](const Target& target) { return target.node.role == Role::serving; };
  if (std::none_of(event.targets.begin(), event.targets.end(), means_it)) co_return;
  const Nanos deadline = scheduler_.now() + kServerTimeout;
  while (!stop.is_set() && !observer_.state().serving && scheduler_.now() < deadline) {
    co_await observer_.sampled().wait_until(scheduler_.now() + kSampleInterval);
  }
}

Task<bool> Timeline::wait_for_trigger(const Event& event, Random& random, resilver::Event& stop) {
  const Trigger& trigger = event.trigger;
  switch (trigger.base) {
    case Trigger::Base::start: break;
    case Trigger::Base::at: co_await stop.wait_until(start_ + trigger.at); break;
    case Trigger::Base::within: {
      const auto span = static_cast<std::uint64_t>(trigger.at_latest - trigger.at);
      co_await stop.wait_until(start_ + trigger.at + static_cast<Nanos>(random.between(0, span)));
      break;
    }
    case Trigger::Base::at_write:
      while (!stop.is_set() && hooks_.writes_submitted() < trigger.at_write) {
        co_await stop.wait_until(scheduler_.now() + kMillisecond);
      }
      break;
    case Trigger::Base::after:
      for (std::size_t i = 0; i < records_.size(); ++i) {
        if (scenario_.events[i].name != trigger.after) continue;
        while (!stop.is_set() && records_[i].result.state != EventState::applied) {
          co_await changed_.wait_until(scheduler_.now() + kSampleInterval);
        }
        if (trigger.when && !co_await wait_bitten(i, stop)) co_return false;
      }
      break;
  }
  if (stop.is_set()) co_return false;
  if (trigger.when && !co_await wait_condition(*trigger.when, stop)) co_return false;
  if (trigger.delay > 0) co_await stop.wait_until(scheduler_.now() + trigger.delay);
  co_return !stop.is_set();
}

Task<bool> Timeline::wait_bitten(std::size_t earlier, resilver::Event& stop) {
  while (!stop.is_set() && records_[earlier].result.hits == 0) {
    co_await observer_.sampled().wait_until(scheduler_.now() + kSampleInterval);
  }
  co_await stop.wait_until(scheduler_.now() + kSeenAfter);
  co_return !stop.is_set();
}

Task<bool> Timeline::wait_condition(const Condition& condition, resilver::Event& stop) {
  while (!stop.is_set() && !condition_holds(condition)) {
    co_await observer_.sampled().wait_until(scheduler_.now() + kSampleInterval);
  }
  co_return !stop.is_set();
}

bool Timeline::condition_holds(const Condition& condition) const {
  const FleetState& state = observer_.state();
  switch (condition.measure) {
    case StateMeasure::redundancy: return holds(condition, static_cast<std::int64_t>(state.redundancy()));
    case StateMeasure::rebuild: return state.rebuild_permille >= 0 && holds(condition, state.rebuild_permille);
    case StateMeasure::serving: return holds(condition, state.serving.has_value() ? 1 : 0);
    case StateMeasure::in_sync: return holds(condition, state.in_sync);
    case StateMeasure::writes: return holds(condition, static_cast<std::int64_t>(hooks_.writes_acknowledged()));
  }
  return false;
}

Task<void> Timeline::wait_end(std::size_t index, resilver::Event& stop) {
  const Event& event = scenario_.events[index];
  if (!ends(index)) co_return;
  if (event.verb == Verb::link_flap) {
    co_await flap(index, stop);
  } else if (event.lasts_for > 0) {
    co_await stop.wait_until(scheduler_.now() + event.lasts_for);
  }
  if (event.until) {
    if (co_await wait_bitten(index, stop)) co_await wait_condition(*event.until, stop);
  }
  co_await end(index);
}

Task<bool> Timeline::apply(std::size_t index, Random& random) {
  const Event& event = scenario_.events[index];
  EventRecord& record = records_[index];
  touched_[index] = Touched{};
  if (record.result.times == 0) {
    record.totals = observer_.totals();
    record.result.at = scheduler_.now() - start_;
    hooks_.note_event(index);
  }
  record.result.target.clear();
  bool any = false;
  for (const Target& target : event.targets) {
    if (co_await apply_to_target(index, target, random)) any = true;
  }
  if (!any) {
    if (record.result.note.empty()) record.result.note = "nobody to apply it to";
    co_return false;
  }
  record.result.state = EventState::applied;
  record.result.cleared = false;
  ++record.result.times;
  touched_[index].active = touched_[index].pending_end = true;
  changed_.wake_all();
  co_return true;
}

Task<bool> Timeline::apply_to_target(std::size_t index, const Target& target, Random& random) {
  EventResult& result = records_[index].result;
  auto named = [&result](const std::string& name) { result.target += (result.target.empty() ? "" : ", ") + name; };
  if (target.kind == TargetKind::volume) {
    const VerbArguments& arguments = scenario_.events[index].arguments;
    named("volume");
    result.hits += co_await hooks_.overwrite(arguments.range_offset, arguments.range_bytes);
    co_return true;
  }
  if (target.kind == TargetKind::arbiter) {
    named("arbiter");
    const Status done = co_await apply_to_arbiter(index);
    if (!done) result.note = to_string(done.error());
    if (done) ++result.hits;
    if (done && !result.first_hit_after) result.first_hit_after = 0;
    co_return done.has_value();
  }
  if (target.kind == TargetKind::link) {
    const auto from = resolve_end(target.node, random);
    const auto to = resolve_end(target.peer, random);
    if (!from || !to) co_return false;
    named(end_name(*from) + (target.one_way ? ">" : "-") + end_name(*to));
    Status done = apply_to_link(index, {*from, *to});
    if (done && !target.one_way) done = apply_to_link(index, {*to, *from});
    if (!done) result.note = to_string(done.error());
    co_return done.has_value();
  }
  if (target.kind == TargetKind::disk) {
    const auto disk = resolve_disk(target, random);
    if (!disk) co_return false;
    named(node_name(disk->node) + ".disk" + std::to_string(disk->disk));
    co_return co_await apply_to_disk(index, *disk, random);
  }
  if (target.kind == TargetKind::site) {
    const SiteSpec* site = find_site(contender_, target.node.name);
    if (site == nullptr) co_return false;
    named(site->name);
    co_return co_await apply_to_site(index, *site);
  }
  const auto node = resolve_node(target.node, random);
  if (!node) co_return false;
  named(node_name(*node));
  co_return co_await apply_to_node(index, *node);
}

// All of its nodes at the same instant. A site that returns ends what its loss did, and what nothing else would end.
Task<bool> Timeline::apply_to_site(std::size_t index, const SiteSpec& site) {
  EventResult& result = records_[index].result;
  const bool lose = scenario_.events[index].verb == Verb::site_lose;
  if (!lose && contender_.reboot > 0) co_await sleep_for(scheduler_, contender_.reboot);
  bool any = false;
  std::vector<std::string> fell;
  for (const std::uint32_t node : site.nodes) {
    for (std::size_t i = 0; !lose && i < records_.size(); ++i) {
      if (scenario_.events[i].verb == Verb::site_lose || !ends(i)) node_faults_.take(i, node, Kind::down);
    }
    if (!lose && (fleet_.running(node) || node_faults_.any(node, Kind::down))) continue;
    const bool falls = lose && fleet_.running(node);
    Status done;
    if (falls) done = co_await fleet_.power_loss(node);
    if (!lose) done = co_await fleet_.start(node);
    if (!done) result.note = to_string(done.error());
    if (!done) continue;
    if (lose) node_faults_.put(index, node, Kind::down);
    touched_[index].nodes.push_back(node);
    observer_.note_unreachable(node, lose);
    ++result.hits;
    any = true;
    if (falls) fell.push_back(node_name(node));
  }
  if (!fell.empty()) hooks_.note_power_loss(fell);
  if (any && !result.first_hit_after) result.first_hit_after = 0;
  co_return any;
}

// What the node's own program carries out.
Task<bool> Timeline::command_node(std::size_t index, std::uint32_t node) {
  const Event& event = scenario_.events[index];
  EventResult& result = records_[index].result;
  NodeCommand command;
  command.verb = event.verb;
  command.arguments = event.arguments;
  if (event.verb == Verb::volume_promote) observer_.note_asked(node);
  Status told = co_await fleet_.command(node, command);
  // On a busy machine a node that was restarted may not be there yet.
  const Nanos deadline = scheduler_.now() + (scenario_.real ? kServerTimeout : 0);
  while (!told && told.error().code == Errc::unavailable && scheduler_.now() < deadline) {
    co_await observer_.sampled().wait_until(scheduler_.now() + kSampleInterval);
    told = co_await fleet_.command(node, command);
  }
  if (!told) result.note = to_string(told.error());
  if (!told) co_return false;
  if (event.verb != Verb::array_scrub) {  // those are counted when they have finished
    ++result.hits;
    result.first_hit_after = result.first_hit_after.value_or(0);
  }
  co_return true;
}

Task<Status> Timeline::apply_to_arbiter(std::size_t index) {
  const Verb verb = scenario_.events[index].verb;
  if (verb == Verb::arbiter_start) {
    node_faults_.release(kArbiter, Kind::down);
    co_return co_await fleet_.start_arbiter();
  }
  const Kind kind = verb == Verb::arbiter_stop ? Kind::down : Kind::frozen;
  Status done;
  // One that is down already is held down longer by what ends itself.
  if (!node_faults_.any(kArbiter, kind) || !ends(index)) {
    done = verb == Verb::arbiter_stop ? co_await fleet_.stop_arbiter() : co_await fleet_.freeze_arbiter(true);
  }
  if (done) node_faults_.put(index, kArbiter, kind);
  co_return done;
}

Task<bool> Timeline::apply_to_node(std::size_t index, std::uint32_t node) {
  const Event& event = scenario_.events[index];
  EventResult& result = records_[index].result;
  if (event.verb == Verb::volume_promote || event.verb == Verb::volume_resolve)
    co_return co_await command_node(index, node);
  touched_[index].nodes.push_back(node);
  if (event.verb == Verb::array_scrub) {
    touched_[index].disks.push_back({node, 0});
    co_return co_await command_node(index, node);
  }
  const Status done = event.verb == Verb::node_restart ? co_await restart_node(node) : co_await strike_node(index, node);
  if (!done) {
    result.note = to_string(done.error());
    co_return false;
  }
  const bool reachable = event.verb == Verb::node_restart || event.verb == Verb::node_clock;
  if (!reachable) observer_.note_unreachable(node, true);
  ++result.hits;
  if (!result.first_hit_after) result.first_hit_after = 0;
  co_return true;
}

// Does what the verb says, and holds the node in that state. One that is down already stays down longer if this ends later.
Task<Status> Timeline::strike_node(std::size_t index, std::uint32_t node) {
  const Event& event = scenario_.events[index];
  const bool down = event.verb == Verb::node_crash || event.verb == Verb::node_power_loss;
  Status done;
  if (!fleet_.running(node)) {
    if (!down || !ends(index) || !node_faults_.any(node, Kind::down))
      co_return fail(Errc::not_found, "node " + node_name(node) + " did not run");
  } else if (event.verb == Verb::node_crash) {
    done = co_await fleet_.crash(node);
  } else if (event.verb == Verb::node_power_loss) {
    done = co_await fleet_.power_loss(node);
    if (done) hooks_.note_power_loss({node_name(node)});
  } else if (event.verb == Verb::node_freeze) {
    done = co_await fleet_.freeze(node);
  }
  if (event.verb == Verb::node_clock) {
    node_faults_.put(index, node, Kind::clock, event.arguments.rate_ppm);
    done = fleet_.set_clock_rate(node, node_faults_.rate_ppm(node));
    if (!done) node_faults_.take(index, node, Kind::clock);
    co_return done;
  }
  if (!done) co_return done;
  if (down) node_faults_.release(node, Kind::frozen);  // its process has gone
  node_faults_.put(index, node, down ? Kind::down : Kind::frozen);
  co_return done;
}

// By order, whatever held it down.
Task<Status> Timeline::restart_node(std::uint32_t node) {
  node_faults_.release(node, Kind::down);
  node_faults_.release(node, Kind::frozen);
  Status done;
  if (fleet_.running(node)) done = co_await fleet_.crash(node);
  if (contender_.reboot > 0) co_await sleep_for(scheduler_, contender_.reboot);
  if (done) done = co_await fleet_.start(node);
  co_return done;
}

Task<bool> Timeline::apply_to_disk(std::size_t index, DiskPlace disk, Random& random) {
  const Event& event = scenario_.events[index];
  EventResult& result = records_[index].result;
  touched_[index].disks.push_back(disk);
  Status done;
  if (event.verb == Verb::disk_replace) {
    disk_faults_.new_disk(disk);
    done = co_await fleet_.replace_disk(disk.node, disk.disk);
    ++result.hits;
    if (!result.first_hit_after) result.first_hit_after = 0;
  } else {
    if (event.verb == Verb::disk_fail) observer_.note_faulted(disk.node);
    disk_faults_.put(index, disk, event.verb, event.arguments);
    NodeCommand command;
    command.verb = event.verb;
    command.disk = disk.disk;
    command.arguments = event.verb == Verb::disk_slow ? *disk_faults_.fold(disk, event.verb) : event.arguments;
    command.used_begin = used_begin_;
    command.used_end = used_end_;
    command.seed = random.next();
    done = co_await fleet_.command(disk.node, std::move(command));
    if (!done) disk_faults_.take(index, disk);
  }
  if (!done) result.note = to_string(done.error());
  co_return done.has_value();
}

Status Timeline::apply_to_link(std::size_t index, LinkTarget link) {
  const Event& event = scenario_.events[index];
  link.transfers_before = fleet_.link_transfers(link.from, link.to);
  if (event.verb == Verb::link_reset) {
    fleet_.reset_link(link.from, link.to);
    ++records_[index].result.hits;
  } else {
    link_faults_.put(index, link.from, link.to, link_fault_of(event.verb, event.arguments));
    if (Status set = fleet_.set_link(link.from, link.to, link_faults_.fold(link.from, link.to)); !set) {
      link_faults_.take(index, link.from, link.to);
      return set;
    }
  }
  touched_[index].links.push_back(link);
  if (event.verb == Verb::link_latency || event.verb == Verb::link_bandwidth) return {};
  for (const LinkEnd& side : {link.from, link.to}) {
    if (side.kind == LinkEnd::Kind::node) observer_.note_faulted(side.node);
  }
  return {};
}

void Timeline::switch_links(std::size_t index, bool on) {
  const Event& event = scenario_.events[index];
  for (const LinkTarget& link : touched_[index].links) {
    if (on) {
      link_faults_.put(index, link.from, link.to, link_fault_of(event.verb, event.arguments));
    } else {
      link_faults_.take(index, link.from, link.to);
    }
    // What could be set can be taken back.
    static_cast<void>(fleet_.set_link(link.from, link.to, link_faults_.fold(link.from, link.to)));
  }
}

// Down, up, down, …, for as long as the event says.
Task<void> Timeline::flap(std::size_t index, resilver::Event& stop) {
  const Event& event = scenario_.events[index];
  const Nanos end = scheduler_.now() + event.lasts_for;
  bool down = true;
  while (!stop.is_set() && scheduler_.now() < end) {
    co_await stop.wait_until(std::min(end, scheduler_.now() + event.arguments.period));
    down = !down;
    switch_links(index, down);
  }
}

Task<void> Timeline::end(std::size_t index) {
  count_hits();
  touched_[index].active = false;
  switch_links(index, false);
  for (const DiskPlace& place : touched_[index].disks) co_await end_at_disk(index, place);
  Status done = co_await end_at_arbiter(index);
  for (const std::uint32_t node : touched_[index].nodes) {
    if (Status ended = co_await end_at_node(index, node); !ended) done = ended;
    observer_.note_unreachable(node, node_faults_.any(node, Kind::down) || node_faults_.any(node, Kind::frozen));
  }
  EventResult& result = records_[index].result;
  if (!done) result.note = to_string(done.error());
  touched_[index].pending_end = false;
  result.cleared = true;
  result.cleared_at = scheduler_.now() - start_;
  hooks_.note_end();
}

Task<void> Timeline::end_at_disk(std::size_t index, DiskPlace place) {
  if (disk_faults_.take(index, place)) co_await tell_disk(place, scenario_.events[index].verb);
}

// What is left of the faults of this kind there. A node that does not run is told when it does: its disks keep their faults.
Task<void> Timeline::tell_disk(DiskPlace place, Verb verb) {
  const auto left = disk_faults_.fold(place, verb);
  if (left && verb != Verb::disk_slow) co_return;  // hangs on
  NodeCommand command;
  command.verb = verb;
  command.clear = !left;
  command.disk = place.disk;
  if (left) command.arguments = *left;
  const Status told = co_await fleet_.command(place.node, std::move(command));
  if (!told && told.error().code == Errc::unavailable) untold_.push_back({place, verb});
}

Task<void> Timeline::tell_untold() {
  for (const Untold& untold : std::exchange(untold_, {})) {
    if (fleet_.running(untold.place.node)) {
      co_await tell_disk(untold.place, untold.verb);
    } else {
      untold_.push_back(untold);
    }
  }
}

Task<Status> Timeline::end_at_arbiter(std::size_t index) {
  const Verb verb = scenario_.events[index].verb;
  if (verb != Verb::arbiter_stop && verb != Verb::arbiter_freeze) co_return Status{};
  const Kind kind = verb == Verb::arbiter_stop ? Kind::down : Kind::frozen;
  node_faults_.take(index, kArbiter, kind);
  if (node_faults_.any(kArbiter, kind)) co_return Status{};
  co_return kind == Kind::down ? co_await fleet_.start_arbiter() : co_await fleet_.freeze_arbiter(false);
}

Task<Status> Timeline::end_at_node(std::size_t index, std::uint32_t node) {
  switch (scenario_.events[index].verb) {
    case Verb::node_clock:
      node_faults_.take(index, node, Kind::clock);
      co_return fleet_.set_clock_rate(node, node_faults_.rate_ppm(node));
    case Verb::node_freeze:
      node_faults_.take(index, node, Kind::frozen);
      if (!node_faults_.any(node, Kind::frozen)) co_return co_await fleet_.thaw(node);
      break;
    case Verb::node_crash:
    case Verb::node_power_loss:
    case Verb::site_lose:
      node_faults_.take(index, node, Kind::down);
      if (!node_faults_.any(node, Kind::down)) co_return co_await come_back(node);
      break;
    default: break;
  }
  co_return Status{};
}

// Nothing holds the node down any more: it starts after its reboot, unless something strikes it meanwhile.
Task<Status> Timeline::come_back(std::uint32_t node) {
  if (contender_.reboot > 0) co_await sleep_for(scheduler_, contender_.reboot);
  if (node_faults_.any(node, Kind::down) || fleet_.running(node)) co_return Status{};
  co_return co_await fleet_.start(node);
}

Task<void> Timeline::watch_hits(resilver::Event& stop) {
  while (!stop.is_set()) {
    count_hits();
    co_await tell_untold();
    co_await stop.wait_until(scheduler_.now() + kSampleInterval);
  }
}

void Timeline::count_hits() {
  for (std::size_t i = 0; i < records_.size(); ++i) {
    const Touched& touched = touched_[i];
    EventResult& result = records_[i].result;
    if (!touched.active) continue;
    std::uint64_t hits = 0;
    const Verb verb = scenario_.events[i].verb;
    if (verb == Verb::array_scrub) {
      hits = (observer_.totals().scrubs - records_[i].totals.scrubs);
    } else if (verb != Verb::disk_replace) {
      for (const DiskPlace& disk : touched.disks) {
        const auto& reports = observer_.report(disk.node).disks;
        if (disk.disk >= reports.size()) continue;
        hits += reports[disk.disk].hits;
        const auto first = reports[disk.disk].first_hit;
        if (first && *first - start_ >= result.at && !result.first_hit_after) {
          result.first_hit_after = *first - start_ - result.at;
        }
      }
    }
    for (const LinkTarget& link : touched.links) {
      hits += fleet_.link_transfers(link.from, link.to) - link.transfers_before;
    }
    if (hits > 0 && !result.first_hit_after) {
      result.first_hit_after = std::max<Nanos>(0, scheduler_.now() - start_ - result.at);
    }
    result.hits = std::max(result.hits, hits);
  }
}

std::optional<std::uint32_t> Timeline::resolve_node(const NodeSelector& selector, Random& random) const {
  const auto count = static_cast<std::uint32_t>(contender_.nodes.size());
  const std::uint32_t serving = observer_.state().serving.value_or(0);
  switch (selector.role) {
    case Role::named:
      for (std::uint32_t i = 0; i < count; ++i) {
        if (contender_.nodes[i].name == selector.name) return i;
      }
      return std::nullopt;
    case Role::serving: return count == 1 ? 0 : observer_.state().serving;
    case Role::spare: return serving;
    case Role::secondary: {
      std::uint32_t seen = 0;
      for (std::uint32_t i = 0; i < count; ++i) {
        if (i != serving && ++seen == selector.index) return i;
      }
      return std::nullopt;
    }
    case Role::rebuilding:
      for (std::uint32_t i = 0; i < count; ++i) {
        const NodeReport& report = observer_.report(i);
        if (report.recovering) return i;
        if (report.resync_peer >= 0) return static_cast<std::uint32_t>(report.resync_peer);
      }
      return std::nullopt;
    case Role::any: return static_cast<std::uint32_t>(random.below(count));
    case Role::client:
    case Role::arbiter: return std::nullopt;
  }
  return std::nullopt;
}

std::optional<DiskPlace> Timeline::resolve_disk(const Target& target, Random& random) const {
  const auto node = resolve_node(target.node, random);
  if (!node) return std::nullopt;
  const auto& disks = observer_.report(*node).disks;
  if (target.disk) return DiskPlace{*node, *target.disk};
  if (target.journal) {
    for (std::uint32_t i = 0; i < disks.size(); ++i) {
      if (disks[i].role == DiskRole::journal) return DiskPlace{*node, i};
    }
    return std::nullopt;
  }
  if (target.node.role == Role::rebuilding || target.node.role == Role::spare) {
    const DiskRole wanted = target.node.role == Role::spare ? DiskRole::spare : DiskRole::rebuilding;
    for (std::uint32_t i = 0; i < disks.size(); ++i) {
      if (disks[i].role == wanted) return DiskPlace{*node, i};
    }
    return std::nullopt;
  }
  std::vector<std::uint32_t> members;
  for (std::uint32_t i = 0; i < disks.size(); ++i) {
    if (disks[i].role == DiskRole::member) members.push_back(i);
  }
  if (members.empty()) return std::nullopt;
  return DiskPlace{*node, members[random.below(members.size())]};
}

std::optional<LinkEnd> Timeline::resolve_end(const NodeSelector& selector, Random& random) const {
  if (selector.role == Role::client) return LinkEnd{LinkEnd::Kind::client, 0};
  if (selector.role == Role::arbiter) return LinkEnd{LinkEnd::Kind::arbiter, 0};
  const auto node = resolve_node(selector, random);
  if (!node) return std::nullopt;
  return LinkEnd{LinkEnd::Kind::node, *node};
}

std::string Timeline::end_name(const LinkEnd& end) const {
  if (end.kind == LinkEnd::Kind::client) return "client";
  if (end.kind == LinkEnd::Kind::arbiter) return "arbiter";
  return node_name(end.node);
}

}  // namespace resilver::scenario
