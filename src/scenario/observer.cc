#include "scenario/observer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "async/task_group.h"

namespace resilver::scenario {
namespace {

constexpr std::size_t kMaxChanges = 100'000;

// A counter of a node program starts at 0 again with each incarnation.
std::uint64_t grown(std::uint64_t before, std::uint64_t now) { return now >= before ? now - before : now; }

void add_grown(const Traffic& before, const Traffic& now, Traffic& total) {
  total.reads += grown(before.reads, now.reads);
  total.writes += grown(before.writes, now.writes);
  total.read_bytes += grown(before.read_bytes, now.read_bytes);
  total.write_bytes += grown(before.write_bytes, now.write_bytes);
}

std::int32_t permille(std::uint64_t done, std::uint64_t total) {
  if (total == 0) return 0;
  return static_cast<std::int32_t>(static_cast<unsigned __int128>(std::min(done, total)) * 1000 / total);
}

}  // namespace

Redundancy FleetState::redundancy() const noexcept {
  if (disks_left < 0) return Redundancy::lost;
  if (full) return Redundancy::full;
  return disks_left == 0 ? Redundancy::exposed : Redundancy::degraded;
}

Traffic FleetTotals::repair() const noexcept {
  Traffic sum;
  for (const raid::Cause cause : {raid::Cause::rebuild, raid::Cause::resync, raid::Cause::replica_resync}) {
    sum += causes[static_cast<std::size_t>(cause)];
  }
  return sum;
}

bool FleetState::same_course(const FleetState& other) const noexcept {
  return serving == other.serving && in_sync == other.in_sync && disks_left == other.disks_left &&
         nodes_left == other.nodes_left && full == other.full && (rebuild_permille < 0) == (other.rebuild_permille < 0);
}

Observer::Observer(Fleet& fleet, const ContenderSpec& contender)
    : fleet_(fleet),
      contender_(contender),
      scheduler_(fleet.client().scheduler()),
      nodes_(contender.nodes.size()),
      in_sync_(contender.nodes.size()),
      sampled_(scheduler_) {
  std::iota(in_sync_.begin(), in_sync_.end(), 0u);
  for (std::size_t i = 0; i < nodes_.size(); ++i) nodes_[i].last.redundancy_left = tolerated_disks(contender.nodes[i]);
}

Task<void> Observer::run(resilver::Event& stop) {
  TaskGroup watchers(scheduler_);
  for (std::uint32_t node = 0; node < nodes_.size(); ++node) watchers.spawn(watch(node, stop));
  co_await watchers.join();
}

Task<void> Observer::watch(std::uint32_t node, resilver::Event& stop) {
  Nanos next = scheduler_.now();
  while (!stop.is_set()) {
    bool up = false;
    if (fleet_.running(node)) {
      Result<NodeReport> report = co_await fleet_.report(node);
      if (report) {
        up = true;
        take(node, *report);
      }
    }
    nodes_[node].up = up;
    recompute();
    sampled_.wake_all();
    next = std::max(next + kSampleInterval, scheduler_.now());
    co_await stop.wait_until(next);
  }
}

void Observer::take(std::uint32_t node, const NodeReport& report) {
  NodeView& view = nodes_[node];
  view.trouble = report.trouble;
  if (!report.assembled) {
    // What its disks hold is as it was; what the program is doing is nothing.
    view.last.serving = view.last.recovering = false;
    view.last.resync_peer = -1;
    return;
  }
  account(view.last, report);
  check_books(node, report);
  if (!report.limited_by.empty()) take_limit(report.limited_by);
  view.last = report;
}

// A new array counts from 0 again, and its disks with it.
void Observer::check_books(std::uint32_t node, const NodeReport& report) {
  Traffic counted;
  for (const raid::IoCounters& cause : report.causes) counted += cause;
  if (counted.write_bytes == report.at_disks.write_bytes || !imbalance_.empty()) return;
  imbalance_ = fmt::format("the books of node {} do not balance: its array counted {} bytes written, its disks {}",
                           contender_.nodes[node].name, counted.write_bytes, report.at_disks.write_bytes);
}

void Observer::take_limit(const std::string& text) {
  const Nanos now = scheduler_.now();
  const bool same = !limits_.empty() && limits_.back().text == text && now - limits_.back().last <= 2 * kSampleInterval;
  if (!same && limits_.size() < kMaxChanges) limits_.push_back({text, now, now});
  limits_.back().last = now;
}

std::string Observer::limited_by(Nanos begin, Nanos end) const {
  const auto in_it = [&](const Limit& limit) { return limit.last >= begin && limit.first < end; };
  const auto found = std::find_if(limits_.rbegin(), limits_.rend(), in_it);
  return found == limits_.rend() ? std::string() : found->text;
}

void Observer::account(const NodeReport& before, const NodeReport& now) {
  totals_.restored += grown(before.restored_bytes, now.restored_bytes);
  const std::uint64_t copied = grown(before.copied_bytes, now.copied_bytes);
  totals_.restored += copied;
  totals_.link += copied;
  for (std::size_t i = 0; i < raid::kCauses; ++i) add_grown(before.causes[i], now.causes[i], totals_.causes[i]);
  for (std::size_t i = 0; i < kIoUses; ++i) add_grown(before.volume[i], now.volume[i], totals_.volume[i]);
  totals_.scrubs += grown(before.scrubs_finished, now.scrubs_finished);
  totals_.mismatches += grown(before.mismatches, now.mismatches);
  totals_.mismatches_named += grown(before.mismatches_named, now.mismatches_named);
}

void Observer::recompute() {
  FleetState now;
  now.at = scheduler_.now();
  std::uint64_t best_epoch = 0;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    const NodeView& view = nodes_[i];
    if (!view.up || !view.last.serving) continue;
    if (now.serving && view.last.epoch <= best_epoch) continue;
    now.serving = i;
    best_epoch = view.last.epoch;
  }
  const bool replicated = contender_.replicate.has_value();
  if (replicated && now.serving) in_sync_ = nodes_[*now.serving].last.in_sync;

  std::int32_t copies_and_disks = 0;
  std::int32_t live = 0;
  std::uint64_t unavailable = 0;
  for (std::uint32_t node : in_sync_) {
    const NodeReport& report = nodes_[node].last;
    if (report.array_failed) continue;
    copies_and_disks += static_cast<std::int32_t>(report.redundancy_left) + 1;
    if (nodes_[node].up) ++live;
  }
  now.in_sync = static_cast<std::uint32_t>(in_sync_.size());
  now.disks_left = copies_and_disks - 1;
  now.nodes_left = live - 1;
  now.full = now.serving.has_value() && in_sync_.size() == nodes_.size();
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    const NodeView& view = nodes_[i];
    const NodeReport& report = view.last;
    now.full = now.full && view.up && report.assembled && !report.array_failed && !report.recovering &&
               report.resync_peer < 0 && report.redundancy_left == tolerated_disks(contender_.nodes[i]);
    if (!view.up) continue;
    if (report.recovering) now.rebuild_permille = permille(report.recovery_done, report.recovery_total);
    if (report.resync_peer >= 0) now.rebuild_permille = permille(report.resync_done, report.resync_total);
    if (!replicated || now.serving == i) unavailable = report.unavailable_bytes;
  }
  worst_unavailable_ = std::max(worst_unavailable_, unavailable);
  if (now.serving) {
    if (last_serving_ && *last_serving_ != *now.serving) {
      ++totals_.failovers;
      const NodeView& old = nodes_[*last_serving_];
      if (old.up && !old.unreachable && !old.faulted && asked_ != now.serving) ++totals_.needless_failovers;
      asked_.reset();
    }
    last_serving_ = now.serving;
  }
  if ((restored_.empty() ? 0 : restored_.back().second) != totals_.restored && restored_.size() < kMaxChanges) {
    restored_.emplace_back(now.at, totals_.restored);
  }
  state_ = now;
  if (changes_.empty() || !changes_.back().same_course(now)) {
    if (changes_.size() < kMaxChanges) changes_.push_back(now);
  }
}

std::uint64_t Observer::restored_until(Nanos at) const noexcept {
  const auto later = std::upper_bound(restored_.begin(), restored_.end(), at,
                                      [](Nanos time, const auto& sample) { return time < sample.first; });
  return later == restored_.begin() ? 0 : std::prev(later)->second;
}

std::string Observer::trouble() const {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i].trouble.empty()) return "node " + contender_.nodes[i].name + ": " + nodes_[i].trouble;
  }
  return {};
}

}  // namespace resilver::scenario
