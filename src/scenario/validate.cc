#include "scenario/validate.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/units.h"
#include "scenario/expect.h"
#include "scenario/selector.h"
#include "scenario/shape.h"

namespace resilver::scenario {

namespace {

std::vector<std::string> event_names(const Scenario& scenario) {
  std::vector<std::string> names;
  for (const auto& event : scenario.events) names.push_back(event.name);
  return names;
}

void check_replication(const Scenario& scenario, const ContenderSpec& contender, const Complain& complain) {
  if (!contender.replicate) {
    if (contender.nodes.size() > 1)
      complain(contender.where,
               fmt::format("contender '{}' has {} nodes but no 'replicate'", contender.name, contender.nodes.size()));
    return;
  }
  const ReplicateSpec& replicate = *contender.replicate;
  if (contender.nodes.size() < 2)
    complain(contender.where,
             fmt::format("contender '{}' replicates and has one node: two at least expected", contender.name));
  const bool known = std::any_of(contender.nodes.begin(), contender.nodes.end(),
                                 [&](const NodeSpec& node) { return node.name == replicate.primary; });
  if (!known)
    complain(contender.where,
             fmt::format("contender '{}': primary '{}' is none of its nodes", contender.name, replicate.primary));
  if (replicate.min_in_sync < 1 || replicate.min_in_sync > contender.nodes.size())
    complain(contender.where,
             fmt::format("contender '{}': min_in_sync is from 1 to {}", contender.name, contender.nodes.size()));
  if (!find_link(scenario, replicate.link))
    complain(contender.where, fmt::format("contender '{}': there is no [link.{}]", contender.name, replicate.link));
  for (const SitePair& pair : contender.between) {
    if (!pair.link.empty() && !find_link(scenario, pair.link))
      complain(contender.where, fmt::format("contender '{}': there is no [link.{}]", contender.name, pair.link));
  }
}

void check_contender(const Scenario& scenario, const ContenderSpec& contender, const Complain& complain) {
  std::set<std::string> names;
  bool possible = true;
  for (const auto& node : contender.nodes) {
    if (!names.insert(node.name).second)
      complain(node.where, fmt::format("contender '{}' has node '{}' twice", contender.name, node.name));
    if (const std::string why = why_impossible(node); !why.empty()) {
      complain(node.where, fmt::format("contender '{}', node '{}': {}", contender.name, node.name, why));
      possible = false;
    }
  }
  check_replication(scenario, contender, complain);
  if (!possible || contender.nodes.empty() || scenario.volume_bytes == 0) return;
  if (scenario.fair == Fairness::same_usable) {
    for (const auto& node : contender.nodes) {
      if (disk_size_bytes(scenario, node) <= kMaxDiskBytes) continue;
      complain(
          node.where,
          fmt::format("contender '{}', node '{}': the volume of {} needs disks of more than {}: a smaller volume or "
                      "more disks expected",
                      contender.name, node.name, format_size(scenario.volume_bytes), format_size(kMaxDiskBytes)));
    }
    return;
  }
  if (scenario.disk.size_bytes == 0) return;
  const std::uint64_t usable = usable_bytes(contender, scenario.disk.size_bytes);
  if (usable < scenario.volume_bytes)
    complain(
        contender.where,
        fmt::format(
            "contender '{}' holds {} on disks of {}, less than the volume of {}: larger disks, a smaller volume or "
            "fair = \"same-usable\" expected",
            contender.name, format_size(usable), format_size(scenario.disk.size_bytes),
            format_size(scenario.volume_bytes)));
}

// The earliest time at which the event can be applied, or nothing if it waits for itself or for an unknown event.
std::optional<Nanos> earliest(const Scenario& scenario, const Event& event) {
  Nanos sum = 0;
  const Event* current = &event;
  for (std::size_t steps = 0; steps <= scenario.events.size(); ++steps) {
    const Trigger& trigger = current->trigger;
    sum += trigger.delay;
    if (trigger.base != Trigger::Base::after) return sum + trigger.at;
    current = find_event(scenario, trigger.after);
    if (current == nullptr) return std::nullopt;
  }
  return std::nullopt;
}

void check_at_write(const Scenario& scenario, const Event& event, const Complain& complain) {
  if (!writes_at_all(scenario.workload))
    return complain(event.where, fmt::format("event '{}' can never fire: the workload writes nothing", event.name));
  const std::uint64_t seconds = static_cast<std::uint64_t>(scenario.length / kSecond) + 1;
  const std::uint64_t requests = seconds * scenario.workload.rate_iops;
  if (event.trigger.at_write > requests)
    complain(event.where,
             fmt::format("event '{}' can never fire: at_write = {}, and the workload makes {} requests in all",
                         event.name, event.trigger.at_write, requests));
}

void check_trigger(const Scenario& scenario, const Event& event, const Complain& complain) {
  const Trigger& trigger = event.trigger;
  if (trigger.base == Trigger::Base::after && !find_event(scenario, trigger.after))
    return complain(event.where, fmt::format("event '{}' can never fire: after '{}', and there is no such event{}",
                                             event.name, trigger.after, hint(trigger.after, event_names(scenario))));
  if (trigger.base == Trigger::Base::within && trigger.at > trigger.at_latest)
    return complain(event.where, fmt::format("event '{}' can never fire: within runs backwards", event.name));
  if (trigger.base == Trigger::Base::at_write) check_at_write(scenario, event, complain);
  const auto first = earliest(scenario, event);
  if (!first) {
    // An unknown predecessor is complained about at that event; only a cycle is left.
    const Event* current = &event;
    for (std::size_t steps = 0; steps <= scenario.events.size() && current; ++steps)
      current = current->trigger.base == Trigger::Base::after ? find_event(scenario, current->trigger.after) : nullptr;
    if (current)
      complain(event.where, fmt::format("event '{}' can never fire: the events wait for each other", event.name));
    return;
  }
  const Nanos latest = trigger.base == Trigger::Base::within ? trigger.at_latest + trigger.delay : *first;
  if (std::max(*first, latest) >= scenario.length)
    complain(event.where, fmt::format("event '{}' can never fire: {} is not before the end of the run at {}", event.name,
                                      format_duration(std::max(*first, latest)), format_duration(scenario.length)));
}

void check_event(const Scenario& scenario, const Event& event, const Complain& complain) {
  check_trigger(scenario, event, complain);
  for (const auto& target : event.targets) {
    const bool somewhere = std::any_of(scenario.contenders.begin(), scenario.contenders.end(),
                                       [&](const auto& contender) { return has_target(contender, event, target); });
    if (!somewhere)
      complain(event.where, fmt::format("event '{}': no contender has the target '{}'", event.name, target.text));
  }
  const auto knows_peer = [&](const ContenderSpec& contender) {
    return std::any_of(contender.nodes.begin(), contender.nodes.end(),
                       [&](const NodeSpec& node) { return node.name == event.arguments.peer; });
  };
  if (!event.arguments.peer.empty() && std::none_of(scenario.contenders.begin(), scenario.contenders.end(), knows_peer))
    complain(event.where, fmt::format("event '{}': no contender has a node '{}'", event.name, event.arguments.peer));
  if (event.verb == Verb::volume_overwrite &&
      (event.arguments.range_offset + event.arguments.range_bytes > scenario.volume_bytes))
    complain(event.where, fmt::format("event '{}': the range ends beyond the volume of {}", event.name,
                                      format_size(scenario.volume_bytes)));
}

void check_workload(const Scenario& scenario, const Complain& complain) {
  const WorkloadSpec& workload = scenario.workload;
  if (workload.offset + workload.size_bytes > scenario.volume_bytes)
    complain({}, fmt::format("workload: offset + size is beyond the volume of {}", format_size(scenario.volume_bytes)));
  if (workload.size_bytes < workload.bs) complain({}, "workload: size is smaller than bs");
  if (workload.warmup >= scenario.length) complain({}, "workload: warmup is not shorter than length");
  if (scenario.rebuild.speed_max != 0 && scenario.rebuild.speed_min > scenario.rebuild.speed_max)
    complain({}, "rebuild: speed_min is larger than speed_max");
}

}  // namespace

void validate(const Scenario& scenario, const Complain& complain) {
  std::set<std::string> names;
  for (const auto& contender : scenario.contenders) {
    if (!names.insert(contender.name).second)
      complain(contender.where, fmt::format("there are two contenders '{}'", contender.name));
    check_contender(scenario, contender, complain);
  }
  names.clear();
  for (const auto& event : scenario.events) {
    if (!names.insert(event.name).second) complain(event.where, fmt::format("there are two events '{}'", event.name));
    check_event(scenario, event, complain);
  }
  check_workload(scenario, complain);
  for (const auto& expectation : scenario.expectations) {
    auto compiled = compile(expectation.check, scenario);
    if (compiled) continue;
    Position where = expectation.where;
    where.column += static_cast<std::uint32_t>(compiled.error().offset);
    complain(where, compiled.error().message);
  }
}

}  // namespace resilver::scenario
