#include "random_scenario.h"

#include <array>
#include <string>

#include "base/random.h"

namespace resilver::swarm {
namespace {

using namespace resilver::scenario;

constexpr std::uint64_t kMiB = 1 << 20;

Nanos milliseconds(Random& random, std::uint64_t low, std::uint64_t high) {
  return static_cast<Nanos>(random.between(low, high)) * kMillisecond;
}

NodeSpec local_array(Random& random, Kind kind) {
  NodeSpec node;
  node.name = "A";
  constexpr std::array<std::uint32_t, 5> kLevels = {1, 4, 5, 6, 10};
  constexpr std::array<const char*, 6> kLayouts = {"left-symmetric",   "left-asymmetric", "right-symmetric",
                                                   "right-asymmetric", "parity-first",    "parity-last"};
  do {
    node.raid = kLevels[random.below(kLevels.size())];
  } while (kind == Kind::parity && (node.raid == 1 || node.raid == 10));
  const std::uint32_t least = node.raid == 1 || node.raid == 10 ? 2 : node.raid == 6 ? 4 : 3;
  node.disks = least + static_cast<std::uint32_t>(random.below(3));
  node.spares = 1;
  node.chunk_bytes = std::uint64_t{4096} << (2 * random.below(3));
  if (node.raid == 5 || node.raid == 6) node.layout = kLayouts[random.below(kLayouts.size())];
  node.consistency = random.percent(60) ? Consistency::bitmap : Consistency::resync;
  const bool parity = node.raid == 4 || node.raid == 5 || node.raid == 6;
  if (parity && random.percent(30)) node.consistency = Consistency::journal;
  node.member_timeout = 300 * kMillisecond;
  return node;
}

void draw_topology(Random& random, Kind kind, ContenderSpec& contender) {
  contender.name = "swarm";
  contender.reboot = milliseconds(random, 20, 200);
  const bool replicated = kind == Kind::replicated || (kind == Kind::any && random.percent(60));
  if (!replicated) {
    contender.nodes.push_back(local_array(random, kind));
    return;
  }
  const bool hybrid = kind == Kind::any && random.percent(30);
  NodeSpec each = local_array(random, Kind::any);
  if (!hybrid) {
    each.raid = 0;
    each.layout.clear();
    each.disks = 1 + static_cast<std::uint32_t>(random.below(2));
    each.consistency = Consistency::none;
  }
  const std::uint64_t count = hybrid ? 2 : 2 + random.below(2);
  for (std::uint64_t n = 0; n < count; ++n) {
    each.name = std::string(1, static_cast<char>('A' + n));
    contender.nodes.push_back(each);
  }
  ReplicateSpec replicate;
  replicate.primary = "A";
  replicate.detect = milliseconds(random, 100, 400);
  replicate.lease = replicate.detect * 4 / 5;
  replicate.grace = replicate.detect;
  replicate.link = "lan";
  if (random.percent(30)) replicate.ack = Ack::quorum;
  contender.replicate = replicate;
}

Target node_target(Role role) {
  Target target;
  target.kind = TargetKind::node;
  target.node.role = role;
  target.text = role == Role::serving ? "@serving" : "@any";
  return target;
}

Target disk_target(Random& random, const NodeSpec& node) {
  Target target;
  target.kind = TargetKind::disk;
  target.node.role = Role::serving;
  target.disk = static_cast<std::uint32_t>(random.below(node.disks));
  target.text = "@serving.disk" + std::to_string(*target.disk);
  return target;
}

Target link_target(Random& random) {
  Target target;
  target.kind = TargetKind::link;
  target.node.role = random.percent(50) ? Role::serving : Role::secondary;
  target.peer.role = target.node.role == Role::serving ? Role::secondary : Role::serving;
  target.one_way = random.percent(40);
  target.text = "link";
  return target;
}

void when_full(Event& event) {
  Condition full;
  full.measure = StateMeasure::redundancy;
  full.value = static_cast<std::int64_t>(Redundancy::full);
  full.text = "redundancy == full";
  event.trigger.when = full;
}

// A fault of a local array: one at a time, the next when redundancy is full again; so a write hole never meets a lost disk.
Event local_event(Random& random, const ContenderSpec& contender, bool& disk_lost) {
  const NodeSpec& node = contender.nodes[0];
  Event event;
  switch (random.below(disk_lost ? 5 : 7)) {
    case 0:
      event.verb = Verb::node_crash;
      event.targets = {node_target(Role::serving)};
      event.lasts_for = milliseconds(random, 20, 300);
      break;
    case 1:
    case 2:
      event.verb = Verb::node_power_loss;
      event.targets = {node_target(Role::serving)};
      event.lasts_for = milliseconds(random, 20, 300);
      break;
    case 3:
      event.verb = Verb::disk_slow;
      event.targets = {disk_target(random, node)};
      event.arguments.factor_percent = 400;
      event.arguments.add = kMillisecond;
      event.lasts_for = milliseconds(random, 100, 400);
      break;
    case 4:
      event.verb = Verb::array_scrub;
      event.targets = {node_target(Role::serving)};
      break;
    default:
      disk_lost = true;
      event.verb = random.percent(70) ? Verb::disk_fail : Verb::disk_hang;
      event.targets = {disk_target(random, node)};
      break;
  }
  return event;
}

// Faults between replicas may overlap as they like, as long as no copy loses its disks: whoever comes back has its data.
Event replica_event(Random& random) {
  Event event;
  switch (random.below(9)) {
    case 8:
      event.verb = Verb::volume_promote;
      event.targets = {node_target(Role::any)};
      return event;
    case 0:
    case 1:
      event.verb = Verb::node_crash;
      event.targets = {node_target(random.percent(60) ? Role::serving : Role::any)};
      break;
    case 2:
    case 3:
      event.verb = Verb::node_power_loss;
      event.targets = {node_target(random.percent(60) ? Role::serving : Role::any)};
      break;
    case 4:
    case 5:
      event.verb = Verb::node_freeze;
      event.targets = {node_target(random.percent(60) ? Role::serving : Role::any)};
      break;
    case 6:
      event.verb = Verb::link_drop;
      event.targets = {link_target(random)};
      break;
    default:
      event.verb = Verb::link_latency;
      event.targets = {link_target(random)};
      event.arguments.add = milliseconds(random, 1, 100);
      break;
  }
  event.lasts_for = milliseconds(random, 20, 900);
  return event;
}

void draw_events(Random& random, const ContenderSpec& contender, Scenario& scenario) {
  const bool replicated = contender.replicate.has_value();
  const std::uint64_t count = random.between(1, replicated ? 4 : 3);
  bool disk_lost = false;
  for (std::uint64_t i = 0; i < count; ++i) {
    Event event = replicated ? replica_event(random) : local_event(random, contender, disk_lost);
    event.name = "event " + std::to_string(i + 1);
    if (i == 0 || (replicated && random.percent(60))) {
      event.trigger.base = Trigger::Base::at;
      event.trigger.at = milliseconds(random, 200, 1800);
    } else {
      event.trigger.base = Trigger::Base::after;
      event.trigger.after = "event " + std::to_string(i);
      event.trigger.delay = milliseconds(random, 10, 200);
      when_full(event);
    }
    scenario.events.push_back(event);
    // Until its time-out a hung member looks whole: what came next could meet an array that is degraded and dirty.
    if (event.verb == Verb::disk_hang) break;
  }
}

}  // namespace

Scenario random_scenario(std::uint64_t seed, Kind kind) {
  Random random(seed * 2 + 1);
  Scenario scenario;
  scenario.name = "swarm";
  scenario.title = "swarm " + std::to_string(seed);
  scenario.seed = seed;
  scenario.volume_bytes = random.between(3, 6) * kMiB;
  scenario.length = 2500 * kMillisecond;
  scenario.settle = 60 * kSecond;
  scenario.disk.model = random.percent(70) ? "nvme" : "sata-ssd";
  scenario.disk.size_bytes = 24 * kMiB;
  LinkSpec lan;
  lan.name = "lan";
  scenario.links.push_back(lan);
  scenario.client_link = lan;
  scenario.workload.rw = Rw::randrw;
  scenario.workload.rwmixread = static_cast<std::uint32_t>(random.between(20, 60));
  scenario.workload.bs = std::uint64_t{4096} << random.below(4);
  scenario.workload.rate_iops = random.between(200, 1500);
  scenario.workload.max_inflight = static_cast<std::uint32_t>(random.between(4, 64));
  scenario.workload.flush_every = static_cast<std::uint32_t>(random.below(3) * 8);
  scenario.workload.retry = 60 * kSecond;
  scenario.workload.size_bytes = kMiB;  // small: overlaps and overwrites are what finds bugs
  scenario.rebuild.speed_max = 40 * kMiB;
  ContenderSpec contender;
  draw_topology(random, kind, contender);
  draw_events(random, contender, scenario);
  // These modes promise a prefix as long as a fault does not meet another one.
  if (contender.replicate && scenario.events.size() == 1 && random.percent(60))
    contender.replicate->ack = random.percent(50) ? Ack::async : Ack::received;
  scenario.contenders.push_back(contender);
  scenario.modelled_volume_bytes = scenario.volume_bytes;
  return scenario;
}

}  // namespace resilver::swarm
