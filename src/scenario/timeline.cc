#include "scenario/timeline.h"

#include <algorithm>

#include "async/task_group.h"

namespace resilver::scenario {
namespace {

// After a fault has bitten, so long until the observer has surely seen what it did: an event that waits for `redundancy ==
// full` after another must not take the state from before it for the state after it.
constexpr Nanos kSeenAfter = 3 * kSampleInterval;

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
    const Event& event = scenario_.events[i];
    const bool ends = event.lasts_for > 0 || event.until.has_value();
    if (ends && records_[i].result.state == EventState::applied && touched_[i].pending_end) return true;
  }
  return false;
}

Task<void> Timeline::play(std::size_t index, resilver::Event& no_more, resilver::Event& stop) {
  const Event& event = scenario_.events[index];
  Random random(seed_of(scenario_, index));
  if (!co_await wait_for_trigger(event, random, no_more)) co_return;
  Nanos next = scheduler_.now();
  while (!no_more.is_set()) {
    if (!co_await apply(index, random)) co_return;
    co_await wait_end(index, stop);
    if (event.trigger.every == 0) co_return;
    next += event.trigger.every;
    co_await no_more.wait_until(next);
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
  if (event.lasts_for == 0 && !event.until) co_return;
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
    if (record.result.times == 0) hooks_.forget_event(index);
    co_return false;
  }
  record.result.state = EventState::applied;
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
    const Status done = co_await apply_to_arbiter(scenario_.events[index].verb);
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

// All of its nodes at the same instant.
Task<bool> Timeline::apply_to_site(std::size_t index, const SiteSpec& site) {
  EventResult& result = records_[index].result;
  const bool lose = scenario_.events[index].verb == Verb::site_lose;
  if (!lose && contender_.reboot > 0) co_await sleep_for(scheduler_, contender_.reboot);
  std::vector<std::string> hit;
  for (const std::uint32_t node : site.nodes) {
    if (fleet_.running(node) != lose) continue;
    const Status done = lose ? co_await fleet_.power_loss(node) : co_await fleet_.start(node);
    if (!done) result.note = to_string(done.error());
    if (!done) continue;
    touched_[index].nodes.push_back(node);
    observer_.note_unreachable(node, lose);
    ++result.hits;
    hit.push_back(node_name(node));
  }
  if (lose && !hit.empty()) hooks_.note_power_loss(hit);
  if (!hit.empty() && !result.first_hit_after) result.first_hit_after = 0;
  co_return !hit.empty();
}

// What the node's own program carries out.
Task<bool> Timeline::command_node(std::size_t index, std::uint32_t node) {
  const Event& event = scenario_.events[index];
  EventResult& result = records_[index].result;
  NodeCommand command;
  command.verb = event.verb;
  command.arguments = event.arguments;
  const Status told = co_await fleet_.command(node, std::move(command));
  if (!told) result.note = to_string(told.error());
  if (!told) co_return false;
  if (event.verb != Verb::array_scrub) {  // those are counted when they have finished
    ++result.hits;
    result.first_hit_after = result.first_hit_after.value_or(0);
  }
  co_return true;
}

Task<Status> Timeline::apply_to_arbiter(Verb verb) {
  if (verb == Verb::arbiter_stop) co_return co_await fleet_.stop_arbiter();
  if (verb == Verb::arbiter_freeze) co_return co_await fleet_.freeze_arbiter(true);
  co_return co_await fleet_.start_arbiter();
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
  if (event.verb != Verb::node_restart && !fleet_.running(node)) {
    result.note = "node " + node_name(node) + " did not run";
    co_return false;
  }
  Status done;
  switch (event.verb) {
    case Verb::node_crash: done = co_await fleet_.crash(node); break;
    case Verb::node_power_loss:
      done = co_await fleet_.power_loss(node);
      if (done) hooks_.note_power_loss({node_name(node)});
      break;
    case Verb::node_freeze: done = co_await fleet_.freeze(node); break;
    case Verb::node_clock: done = fleet_.set_clock_rate(node, event.arguments.rate_ppm); break;
    case Verb::node_restart:
      if (fleet_.running(node)) done = co_await fleet_.crash(node);
      if (contender_.reboot > 0) co_await sleep_for(scheduler_, contender_.reboot);
      if (done) done = co_await fleet_.start(node);
      break;
    default: break;
  }
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

Task<bool> Timeline::apply_to_disk(std::size_t index, DiskTarget disk, Random& random) {
  const Event& event = scenario_.events[index];
  EventResult& result = records_[index].result;
  touched_[index].disks.push_back(disk);
  Status done;
  if (event.verb == Verb::disk_replace) {
    done = co_await fleet_.replace_disk(disk.node, disk.disk);
    ++result.hits;
    if (!result.first_hit_after) result.first_hit_after = 0;
  } else {
    if (event.verb == Verb::disk_fail) observer_.note_faulted(disk.node);
    NodeCommand command;
    command.verb = event.verb;
    command.disk = disk.disk;
    command.arguments = event.arguments;
    command.used_begin = used_begin_;
    command.used_end = used_end_;
    command.seed = random.next();
    done = co_await fleet_.command(disk.node, std::move(command));
  }
  if (!done) result.note = to_string(done.error());
  co_return done.has_value();
}

LinkFault& Timeline::link_fault(const LinkEnd& from, const LinkEnd& to) {
  auto same = [](const LinkEnd& a, const LinkEnd& b) { return a.kind == b.kind && a.node == b.node; };
  for (LinkState& state : link_states_) {
    if (same(state.from, from) && same(state.to, to)) return state.fault;
  }
  link_states_.push_back({from, to, {}});
  return link_states_.back().fault;
}

// What the event does to one direction; `on` false: as it was before.
static void change_link(const Event& event, bool on, LinkFault& fault) {
  const VerbArguments& arguments = event.arguments;
  switch (event.verb) {
    case Verb::link_drop:
    case Verb::link_flap: fault.dropped = on; break;
    case Verb::link_latency: fault.add_latency = on ? arguments.add : 0; break;
    case Verb::link_bandwidth: fault.bandwidth = on ? arguments.bandwidth : 0; break;
    case Verb::link_loss: fault.lost_percent = on ? arguments.percent : 0; break;
    case Verb::link_duplicate: fault.duplicated_percent = on ? arguments.percent : 0; break;
    case Verb::link_corrupt: fault.corrupted_percent = on ? arguments.percent : 0; break;
    default: break;
  }
}

Status Timeline::apply_to_link(std::size_t index, LinkTarget link) {
  const Event& event = scenario_.events[index];
  link.transfers_before = fleet_.link_transfers(link.from, link.to);
  if (event.verb == Verb::link_reset) {
    fleet_.reset_link(link.from, link.to);
    ++records_[index].result.hits;
  } else {
    LinkFault& fault = link_fault(link.from, link.to);
    const LinkFault before = fault;
    change_link(event, true, fault);
    if (Status set = fleet_.set_link(link.from, link.to, fault); !set) {
      fault = before;
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
  for (const LinkTarget& link : touched_[index].links) {
    LinkFault& fault = link_fault(link.from, link.to);
    change_link(scenario_.events[index], on, fault);
    static_cast<void>(fleet_.set_link(link.from, link.to, fault));  // what could be set can be taken back
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
  const Event& event = scenario_.events[index];
  count_hits();
  touched_[index].active = false;
  switch_links(index, false);
  for (const DiskTarget& disk : touched_[index].disks) {
    NodeCommand command;
    command.verb = event.verb;
    command.clear = true;
    command.disk = disk.disk;
    co_await fleet_.command(disk.node, std::move(command));
  }
  EventResult& result = records_[index].result;
  if (event.verb == Verb::arbiter_stop || event.verb == Verb::arbiter_freeze) {
    const bool stopped = event.verb == Verb::arbiter_stop;
    const Status done = stopped ? co_await fleet_.start_arbiter() : co_await fleet_.freeze_arbiter(false);
    if (!done) result.note = to_string(done.error());
  }
  for (std::uint32_t node : touched_[index].nodes) {
    Status done;
    if (event.verb == Verb::node_clock) {
      done = fleet_.set_clock_rate(node, 0);
    } else if (event.verb == Verb::node_freeze) {
      done = co_await fleet_.thaw(node);
    } else if (event.verb == Verb::node_crash || event.verb == Verb::node_power_loss || event.verb == Verb::site_lose) {
      if (contender_.reboot > 0) co_await sleep_for(scheduler_, contender_.reboot);
      done = co_await fleet_.start(node);
    }
    if (!done) result.note = to_string(done.error());
    observer_.note_unreachable(node, false);
  }
  touched_[index].pending_end = false;
  result.cleared = true;
  result.cleared_at = scheduler_.now() - start_;
}

Task<void> Timeline::watch_hits(resilver::Event& stop) {
  while (!stop.is_set()) {
    count_hits();
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
      for (const DiskTarget& disk : touched.disks) {
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

std::optional<Timeline::DiskTarget> Timeline::resolve_disk(const Target& target, Random& random) const {
  const auto node = resolve_node(target.node, random);
  if (!node) return std::nullopt;
  const auto& disks = observer_.report(*node).disks;
  if (target.disk) return DiskTarget{*node, *target.disk};
  if (target.journal) {
    for (std::uint32_t i = 0; i < disks.size(); ++i) {
      if (disks[i].role == DiskRole::journal) return DiskTarget{*node, i};
    }
    return std::nullopt;
  }
  if (target.node.role == Role::rebuilding || target.node.role == Role::spare) {
    const DiskRole wanted = target.node.role == Role::spare ? DiskRole::spare : DiskRole::rebuilding;
    for (std::uint32_t i = 0; i < disks.size(); ++i) {
      if (disks[i].role == wanted) return DiskTarget{*node, i};
    }
    return std::nullopt;
  }
  std::vector<std::uint32_t> members;
  for (std::uint32_t i = 0; i < disks.size(); ++i) {
    if (disks[i].role == DiskRole::member) members.push_back(i);
  }
  if (members.empty()) return std::nullopt;
  return DiskTarget{*node, members[random.below(members.size())]};
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
