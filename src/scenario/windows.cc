#include "scenario/windows.h"

#include <fmt/format.h>

#include <algorithm>

namespace resilver::scenario {
namespace {

// Calls visit(state, from, to) for each stretch of [begin, end) in which the state did not change.
template <typename Visit>
void for_each_stretch(const std::vector<FleetState>& changes, Nanos begin, Nanos end, Visit&& visit) {
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const Nanos from = std::max(changes[i].at, begin);
    const Nanos to = std::min(i + 1 < changes.size() ? changes[i + 1].at : end, end);
    if (from < to) visit(changes[i], from, to);
  }
}

void add_time(OpenTime& time, Nanos length, bool open, bool for_good) {
  time.total += length;
  time.never_ended = time.never_ended || open;
  time.for_good = time.for_good || (open && for_good);
}

// What is exposed still at the end of the run has not ended.
void measure_exposed(const Evidence& evidence, Nanos begin, Nanos end, WindowResult& result) {
  for_each_stretch(evidence.changes, begin, end, [&](const FleetState& state, Nanos from, Nanos to) {
    const bool open = to == evidence.settle_end;
    if (state.disks_left <= 0) add_time(result.exposed, to - from, open, false);
    if (state.nodes_left <= 0) add_time(result.node_exposed, to - from, open, false);
  });
}

class Story {
 public:
  Story(const Evidence& evidence, const Course& course, std::vector<EventResult>& events, WindowResult& whole)
      : evidence_(evidence),
        course_(course),
        events_(events),
        whole_(whole),
        spans_(spans_of(evidence.events, evidence.changes, evidence.settle_end)) {}

  void tell() {
    for (const Span& span : spans_) {
      WindowResult& window = events_[span.index].window;
      measure_exposed(evidence_, span.begin, just_behind(span), window);
      tell_phases(span, window);
    }
    tell_outages(evidence_.outages, evidence_.resolution, &WindowResult::outage);
    tell_outages(course_.outages(), kUnderWay, &WindowResult::client_outage);
    tell_requests();
    tell_failovers();
    tell_mismatches();
    tell_unreadable();
    tell_repairs();
    tell_whole();
  }

 private:
  // Adds something to the run and to the event to which it is charged; the others that came while it lasted, or at the same
  // instant, are named.
  template <typename Add>
  void charge_to(Nanos began, Nanos ended, Nanos resolution, Add&& add) {
    const Charge charged = charge(spans_, began, resolution);
    add(whole_);
    if (!charged.event) return;
    EventResult& event = events_[*charged.event];
    add(event.window);
    for (const std::size_t mate : charged.mates) share(event, events_[mate]);
    for (const Span& span : spans_) {
      if (span.index != *charged.event && span.begin > began + resolution && span.begin < ended)
        share(event, events_[span.index]);
    }
  }

  // The first moment of full redundancy ends a window and is looked at, too.
  Nanos just_behind(const Span& span) const { return std::min(span.end + 1, evidence_.settle_end); }

  static void share(EventResult& event, EventResult& other) {
    if (std::find(event.others.begin(), event.others.end(), other.name) != event.others.end()) return;
    event.others.push_back(other.name);
    if (other.charged_with.empty()) other.charged_with = event.name;
  }

  // Whoever asks seldom sees the begin late: if the client was without answers then, it was since the client was.
  Nanos began(const Stretch& stretch) const {
    for (const Stretch& clients : course_.outages())
      if (clients.begin < stretch.begin && clients.end > stretch.begin) return clients.begin;
    return stretch.begin;
  }

  void tell_outages(const std::vector<Stretch>& stretches, Nanos resolution, OpenTime WindowResult::* time) {
    for (const Stretch& stretch : stretches) {
      const Nanos length = stretch.end - stretch.begin;
      const bool of_warm_up = stretch.end <= evidence_.measured_from;
      if (of_warm_up && !charge(spans_, stretch.begin, resolution).event) continue;
      charge_to(began(stretch), stretch.end, resolution, [&](WindowResult& window) {
        add_time(window.*time, length, stretch.open, evidence_.nothing_under_way);
        if (stretch.open) (window.*time).open = length;
      });
    }
  }

  void tell_requests() {
    for (const Course::Segment& segment : course_.segments()) {
      const auto add = [&](WindowResult& window) {
        window.client_errors += segment.errors;
        window.longest_stall = std::max(window.longest_stall, segment.longest_wait);
      };
      add(whole_);
      const Charge charged = charge(spans_, segment.begin, 0);
      if (!charged.event) continue;
      EventResult& event = events_[*charged.event];
      add(event.window);
      if (segment.errors == 0) continue;
      for (const std::size_t mate : charged.mates) share(event, events_[mate]);
    }
  }

  void tell_failovers() {
    for (const Course::Failover& failover : course_.failovers()) {
      charge_to(failover.began, failover.ended, evidence_.resolution, [&](WindowResult& window) {
        ++window.failovers;
        window.needless_failovers += failover.needless ? 1 : 0;
      });
    }
  }

  void tell_mismatches() {
    for (const Course::Mismatches& found : course_.mismatches()) {
      charge_to(found.at, found.at, 0, [&](WindowResult& window) {
        window.mismatches += found.count;
        window.mismatches_named += found.named;
      });
    }
  }

  void tell_unreadable() {
    for (const Course::Unreadable& part : course_.unreadable()) {
      charge_to(part.at, part.at, 0, [&](WindowResult& window) {
        window.unavailable_bytes = std::max(window.unavailable_bytes, part.bytes);
      });
    }
  }

  // An event needs a repair if redundancy is not full in its window, and its verb is about that (a disk that fails, a node that
  // starts), or a loss of redundancy is charged to it or came at its instant. Whether and when it is full again is the same
  // for all of them.
  void tell_repairs() {
    std::vector<std::size_t> needing;
    for (const Nanos loss : losses_of_redundancy(evidence_.changes, evidence_.start, evidence_.settle_end)) {
      const Charge charged = charge(spans_, loss, 0);
      if (charged.event) needing.push_back(*charged.event);
      needing.insert(needing.end(), charged.mates.begin(), charged.mates.end());
    }
    for (std::size_t i = 0; i < spans_.size(); ++i) {
      const AppliedEvent& event = evidence_.events[i];
      const bool needed = event.of_redundancy || std::find(needing.begin(), needing.end(), event.index) != needing.end();
      WindowResult& window = events_[event.index].window;
      RepairResult& repair = event.of_disks ? window.repair : window.node_repair;
      if (needed) measure_repair(spans_[i], repair);
      if (!repair.needed) add_bytes_of_segments(event.index, repair);
    }
  }

  void measure_repair(const Span& span, RepairResult& repair) const {
    Nanos full_since = span.begin;
    bool full = true;
    const auto follow = [&](const FleetState& state, Nanos from, Nanos to) {
      if (state.full && !full) full_since = from;
      repair.needed = repair.needed || !state.full;
      add_copying(state, from, to, repair);
      full = state.full;
    };
    for_each_stretch(evidence_.changes, span.begin, just_behind(span), follow);
    Nanos end = span.end;
    if (repair.needed && !full) {  // an act is over at once, what it did to redundancy is not
      end = first_time(evidence_.changes, just_behind(span), evidence_.settle_end, true);
      for_each_stretch(evidence_.changes, just_behind(span), end, follow);
      full = end != evidence_.settle_end;
      full_since = end;
    }
    repair.finished = repair.needed && full;
    if (repair.finished) repair.time = full_since - span.begin;
    if (!repair.needed) return;
    add_bytes(span.begin, end, repair);
    explain(span.begin, end, repair);
  }

  // A resync of parity restores nothing that could be counted.
  void add_copying(const FleetState& state, Nanos from, Nanos to, RepairResult& repair) const {
    if (!evidence_.restored_until || state.rebuild_permille < 0) return;
    const std::uint64_t copied = evidence_.restored_until(to) - evidence_.restored_until(from);
    if (copied == 0) return;
    repair.copying += to - from;
    repair.copied += copied;
  }

  void explain(Nanos from, Nanos to, RepairResult& repair) const {
    const bool moved = repair.read_bytes + repair.write_bytes > 0;
    if (moved && evidence_.limited_by) repair.limited_by = evidence_.limited_by(from, to);
    if (!repair.finished) repair.never_because = evidence_.why_not_full;
  }

  // What was read or healed from elsewhere without a loss of redundancy belongs to the event that is charged for that moment.
  void add_bytes_of_segments(std::size_t event, RepairResult& repair) const {
    const auto& segments = course_.segments();
    for (std::size_t i = 0; i < segments.size(); ++i) {
      if (charge(spans_, segments[i].begin, 0).event != event) continue;
      add_bytes(segments[i].begin, i + 1 < segments.size() ? segments[i + 1].begin : evidence_.settle_end, repair);
    }
  }

  void add_bytes(Nanos from, Nanos to, RepairResult& repair) const {
    const FleetTotals& before = course_.totals_at(from);
    const FleetTotals& after = course_.totals_at(to);
    repair.restored_bytes += after.restored - before.restored;
    const Traffic done_before = before.repair(), done = after.repair();
    repair.read_bytes += done.read_bytes - done_before.read_bytes;
    repair.write_bytes += done.write_bytes - done_before.write_bytes;
    repair.link_bytes += after.link - before.link;
  }

  // By time only, within the measured part of the load (results.h).
  void tell_phases(const Span& span, WindowResult& window) const {
    Nanos before = evidence_.measured_from;
    Nanos next = evidence_.load_end;
    for (const Span& other : spans_) {
      if (other.index == span.index) continue;
      for (const Nanos at : {other.begin, other.end}) {
        if (at < span.begin) before = std::max(before, at);
      }
      if (other.begin >= span.end) next = std::min(next, other.begin);
    }
    const auto measured = [&](Nanos at) { return std::clamp(at, evidence_.measured_from, evidence_.load_end); };
    window.phases[static_cast<std::size_t>(Phase::before)] = course_.phase(measured(before), measured(span.begin));
    window.phases[static_cast<std::size_t>(Phase::during)] = course_.phase(measured(span.begin), measured(span.end));
    window.phases[static_cast<std::size_t>(Phase::after)] = course_.phase(measured(span.end), measured(next));
  }

  // The run's outages, failovers and the like are sums over all events and have been added up.
  void tell_whole() {
    measure_exposed(evidence_, evidence_.measured_from, evidence_.settle_end, whole_);
    whole_.phases[static_cast<std::size_t>(Phase::during)] = course_.phase(evidence_.measured_from, evidence_.load_end);
    tell_whole_repairs();
  }

  // Time and bytes once, though windows overlap: from the first event of those that needed the repair to its end.
  void tell_whole_repairs() {
    for (RepairResult WindowResult::* kind : {&WindowResult::repair, &WindowResult::node_repair}) {
      Nanos covered = evidence_.start;
      for (const Span& span : by_begin()) {
        const RepairResult& part = events_[span.index].window.*kind;
        if (!part.needed) continue;
        RepairResult& sum = whole_.*kind;
        sum.finished = part.finished && (sum.finished || !sum.needed);
        sum.needed = true;
        const Nanos begin = std::max(covered, span.begin);
        const Nanos end = std::max(begin, part.finished ? span.begin + part.time : span.end);
        sum.time += end - begin;
        for_each_stretch(evidence_.changes, begin, end,
                         [&](const FleetState& state, Nanos from, Nanos to) { add_copying(state, from, to, sum); });
        add_bytes(begin, end, sum);
        explain(begin, end, sum);
        covered = end;
      }
    }
  }

  std::vector<Span> by_begin() const {
    std::vector<Span> spans = spans_;
    std::sort(spans.begin(), spans.end(),
              [](const Span& a, const Span& b) { return std::pair(a.begin, a.index) < std::pair(b.begin, b.index); });
    return spans;
  }

  const Evidence& evidence_;
  const Course& course_;
  std::vector<EventResult>& events_;
  WindowResult& whole_;
  std::vector<Span> spans_;
};

}  // namespace

void tell_story(const Evidence& evidence, const Course& course, std::vector<EventResult>& events, WindowResult& whole) {
  Story(evidence, course, events, whole).tell();
}

std::string why_not_full(const Observer& observer, const ContenderSpec& contender) {
  const FleetState& last = observer.state();
  if (last.disks_left < 0) return "the data is lost";
  if (last.rebuild_permille >= 0) return fmt::format("still at {} %", last.rebuild_permille / 10);
  const bool alone = contender.nodes.size() == 1;
  const auto in = [&](std::uint32_t node) { return alone ? std::string() : " in " + contender.nodes[node].name; };
  for (std::uint32_t n = 0; n < contender.nodes.size(); ++n) {
    const std::string& name = contender.nodes[n].name;
    const auto& disks = observer.report(n).disks;
    const auto has = [&disks](DiskRole role) {
      return std::any_of(disks.begin(), disks.end(), [role](const DiskReport& disk) { return disk.role == role; });
    };
    if (!observer.up(n)) return "a node is away: " + name;
    if (has(DiskRole::faulty) && !has(DiskRole::spare)) return "no spare" + in(n);
    if (!observer.report(n).assembled || !observer.trouble_of(n).empty()) return "a node does not start: " + name;
  }
  const auto& in_sync = observer.in_sync();
  for (std::uint32_t n = 0; n < contender.nodes.size(); ++n)
    if (std::find(in_sync.begin(), in_sync.end(), n) == in_sync.end()) return "not in sync: " + contender.nodes[n].name;
  return "the run ended";
}

}  // namespace resilver::scenario
