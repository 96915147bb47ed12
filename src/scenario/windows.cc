#include "scenario/windows.h"

#include <fmt/format.h>

#include <algorithm>

namespace resilver::scenario {
namespace {

std::uint64_t since(std::uint64_t before, std::uint64_t after) { return after - before; }

// Calls visit(state, from, to) for each stretch of [begin, end) in which the state did not change.
template <typename Visit>
void for_each_stretch(const std::vector<FleetState>& changes, Nanos begin, Nanos end, Visit&& visit) {
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const Nanos from = std::max(changes[i].at, begin);
    const Nanos to = std::min(i + 1 < changes.size() ? changes[i + 1].at : end, end);
    if (from < to) visit(changes[i], from, to);
  }
}

void measure_exposed(const std::vector<FleetState>& changes, const Window& window, WindowResult& result) {
  for_each_stretch(changes, window.begin, window.repair_end, [&](const FleetState& state, Nanos from, Nanos to) {
    const bool open = window.last && to == window.repair_end;
    if (state.disks_left <= 0) {
      result.exposed.total += to - from;
      result.exposed.never_ended = result.exposed.never_ended || open;
    }
    if (state.nodes_left <= 0) {
      result.node_exposed.total += to - from;
      result.node_exposed.never_ended = result.node_exposed.never_ended || open;
    }
  });
}

void measure_repair(const Observer& observer, const Window& window, RepairResult& repair) {
  Nanos full_since = window.begin;
  bool full = true;
  for_each_stretch(observer.changes(), window.begin, window.repair_end,
                   [&](const FleetState& state, Nanos from, Nanos to) {
                     if (state.full && !full) full_since = from;
                     if (!state.full) repair.needed = true;
                     // A resync of parity restores nothing that could be counted.
                     const std::uint64_t copied = since(observer.restored_until(from), observer.restored_until(to));
                     if (state.rebuild_permille >= 0 && copied > 0) {
                       repair.copying += to - from;
                       repair.copied += copied;
                     }
                     full = state.full;
                   });
  // The next event may have waited for it, and come at that instant.
  for (const FleetState& state : observer.changes()) {
    if (full || state.at != window.repair_end || !state.full) continue;
    full = true;
    full_since = state.at;
  }
  repair.finished = repair.needed && full;
  if (repair.needed) repair.time = (repair.finished ? full_since : window.repair_end) - window.begin;
  repair.restored_bytes = since(window.before.restored, window.after.restored);
  repair.read_bytes = since(window.before.repair.read, window.after.repair.read);
  repair.write_bytes = since(window.before.repair.written, window.after.repair.written);
  repair.link_bytes = since(window.before.link, window.after.link);
}

// Why redundancy is not full at the end of the run.
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

}  // namespace

void measure_redundancy(const Observer& observer, const Window& window, bool of_disks, WindowResult& result) {
  measure_exposed(observer.changes(), window, result);
  measure_repair(observer, window, of_disks ? result.repair : result.node_repair);
  result.failovers = since(window.before.failovers, window.after.failovers);
  result.needless_failovers = since(window.before.needless_failovers, window.after.needless_failovers);
  result.mismatches = since(window.before.mismatches, window.after.mismatches);
  result.mismatches_named = since(window.before.mismatches_named, window.after.mismatches_named);
}

void explain_repair(const Observer& observer, const ContenderSpec& contender, const Window& window,
                    const std::string& next, RepairResult& repair) {
  if (!repair.needed) return;
  const bool moved = repair.read_bytes + repair.write_bytes > 0;
  if (moved) repair.limited_by = observer.limited_by(window.begin, window.repair_end);
  if (repair.finished) return;
  repair.never_because = next.empty() ? why_not_full(observer, contender) : fmt::format("'{}' came first", next);
}

void add_repair(const RepairResult& part, RepairResult& whole) {
  if (!part.needed) return;
  whole.finished = part.finished;  // of the last one: full is everything, also what an earlier one left undone
  whole.never_because = part.never_because;
  whole.needed = true;
  whole.time += part.time;
  whole.copying += part.copying;
  whole.copied += part.copied;
  whole.restored_bytes += part.restored_bytes;
  whole.read_bytes += part.read_bytes;
  whole.write_bytes += part.write_bytes;
  whole.link_bytes += part.link_bytes;
  if (whole.limited_by.empty()) whole.limited_by = part.limited_by;
}

}  // namespace resilver::scenario
