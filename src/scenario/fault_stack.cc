#include "scenario/fault_stack.h"

#include <algorithm>
#include <limits>

namespace resilver::scenario {
namespace {

constexpr std::int32_t kMaxRatePpm = 100'000;

bool same(const LinkEnd& a, const LinkEnd& b) {
  return a.kind == b.kind && (a.kind != LinkEnd::Kind::node || a.node == b.node);
}

// 0: no limit.
std::uint64_t narrowest(std::uint64_t a, std::uint64_t b) { return a == 0 || b == 0 ? a + b : std::min(a, b); }

// Of two independent chances at least one, to the nearest percent.
std::uint32_t either(std::uint32_t a, std::uint32_t b) { return a + b - (a * b + 50) / 100; }

std::uint32_t product(std::uint32_t a, std::uint32_t b) {
  const std::uint64_t percent = std::uint64_t{a} * b / 100;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(percent, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

// ---- links -----------------------------------------------------------------------------------------------------------

LinkFault operator+(const LinkFault& one, const LinkFault& other) {
  LinkFault sum;
  sum.dropped = one.dropped || other.dropped;
  sum.add_latency = one.add_latency + other.add_latency;
  sum.bandwidth = narrowest(one.bandwidth, other.bandwidth);
  sum.lost_percent = either(one.lost_percent, other.lost_percent);
  sum.duplicated_percent = either(one.duplicated_percent, other.duplicated_percent);
  sum.corrupted_percent = either(one.corrupted_percent, other.corrupted_percent);
  return sum;
}

LinkFault link_fault_of(Verb verb, const VerbArguments& arguments) {
  LinkFault fault;
  switch (verb) {
    case Verb::link_drop:
    case Verb::link_flap: fault.dropped = true; break;
    case Verb::link_latency: fault.add_latency = arguments.add; break;
    case Verb::link_bandwidth: fault.bandwidth = arguments.bandwidth; break;
    case Verb::link_loss: fault.lost_percent = arguments.percent; break;
    case Verb::link_duplicate: fault.duplicated_percent = arguments.percent; break;
    case Verb::link_corrupt: fault.corrupted_percent = arguments.percent; break;
    default: break;
  }
  return fault;
}

void LinkStacks::put(std::size_t event, const LinkEnd& from, const LinkEnd& to, const LinkFault& fault) {
  take(event, from, to);
  entries_.push_back({event, from, to, fault});
}

void LinkStacks::take(std::size_t event, const LinkEnd& from, const LinkEnd& to) {
  std::erase_if(entries_, [&](const Entry& e) { return e.event == event && same(e.from, from) && same(e.to, to); });
}

LinkFault LinkStacks::fold(const LinkEnd& from, const LinkEnd& to) const {
  LinkFault sum;
  for (const Entry& entry : entries_)
    if (same(entry.from, from) && same(entry.to, to)) sum = sum + entry.fault;
  return sum;
}

// ---- disks -----------------------------------------------------------------------------------------------------------

void DiskStacks::put(std::size_t event, DiskPlace place, Verb verb, const VerbArguments& arguments) {
  take(event, place);
  entries_.push_back({event, place, verb, arguments});
}

bool DiskStacks::take(std::size_t event, DiskPlace place) {
  return std::erase_if(entries_, [&](const Entry& e) { return e.event == event && e.place == place; }) > 0;
}

void DiskStacks::new_disk(DiskPlace place) {
  std::erase_if(entries_, [&](const Entry& e) { return e.place == place; });
}

std::optional<VerbArguments> DiskStacks::fold(DiskPlace place, Verb verb) const {
  std::optional<VerbArguments> sum;
  for (const Entry& entry : entries_) {
    if (!(entry.place == place) || entry.verb != verb) continue;
    if (!sum) {
      sum = entry.arguments;
      continue;
    }
    sum->factor_percent = product(sum->factor_percent, entry.arguments.factor_percent);
    sum->add += entry.arguments.add;
    sum->bandwidth = narrowest(sum->bandwidth, entry.arguments.bandwidth);
  }
  return sum;
}

// ---- nodes -----------------------------------------------------------------------------------------------------------

void NodeStacks::put(std::size_t event, std::uint32_t node, Kind kind, std::int32_t rate_ppm) {
  take(event, node, kind);
  entries_.push_back({event, node, kind, rate_ppm});
}

void NodeStacks::take(std::size_t event, std::uint32_t node, Kind kind) {
  std::erase_if(entries_, [&](const Entry& e) { return e.event == event && e.node == node && e.kind == kind; });
}

void NodeStacks::release(std::uint32_t node, Kind kind) {
  std::erase_if(entries_, [&](const Entry& e) { return e.node == node && e.kind == kind; });
}

bool NodeStacks::any(std::uint32_t node, Kind kind) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.node == node && e.kind == kind; });
}

std::int32_t NodeStacks::rate_ppm(std::uint32_t node) const {
  std::int64_t sum = 0;
  for (const Entry& entry : entries_)
    if (entry.node == node && entry.kind == Kind::clock) sum += entry.rate_ppm;
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(sum, -kMaxRatePpm, kMaxRatePpm));
}

}  // namespace resilver::scenario
