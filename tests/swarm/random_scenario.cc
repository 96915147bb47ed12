#include "random_scenario.h"

#include <array>
#include <string>

#include "base/check.h"
#include "base/random.h"
#include "scenario/verbs.h"

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

Ack draw_ack(Random& random) {
  const std::uint64_t die = random.below(100);
  return die < 45 ? Ack::durable : die < 70 ? Ack::quorum : die < 85 ? Ack::received : Ack::async;
}

// The first half of the nodes in one place, the rest in another.
void draw_sites(Random& random, ContenderSpec& contender) {
  if (!random.percent(30)) return;
  const auto count = static_cast<std::uint32_t>(contender.nodes.size());
  SiteSpec east{"east", {}}, west{"west", {}};
  for (std::uint32_t n = 0; n < count; ++n) (n < (count + 1) / 2 ? east : west).nodes.push_back(n);
  contender.sites = {east, west};
  contender.between.push_back({"east", "west", "wan"});
}

void draw_topology(Random& random, Kind kind, ContenderSpec& contender) {
  contender.name = "swarm";
  contender.reboot = milliseconds(random, 20, 200);
  const bool replicated =
      kind == Kind::replicated || kind == Kind::split_brain || (kind == Kind::any && random.percent(70));
  if (!replicated) {
    contender.nodes.push_back(local_array(random, kind));
    return;
  }
  const bool hybrid = random.percent(35);
  NodeSpec each = local_array(random, Kind::any);
  if (!hybrid) {
    each.raid = 0;
    each.layout.clear();
    each.disks = 1 + static_cast<std::uint32_t>(random.below(2));
    each.consistency = Consistency::none;
  }
  constexpr std::array<std::uint32_t, 8> kCounts = {2, 2, 3, 3, 3, 3, 4, 5};
  const std::uint32_t count = kCounts[random.below(kCounts.size())];
  for (std::uint32_t n = 0; n < count; ++n) {
    each.name = std::string(1, static_cast<char>('A' + n));
    contender.nodes.push_back(each);
  }
  ReplicateSpec replicate;
  replicate.ack = draw_ack(random);
  replicate.primary = "A";
  replicate.detect = milliseconds(random, 100, 400);
  replicate.lease = replicate.detect * 4 / 5;
  replicate.grace = replicate.detect;
  if (random.percent(30)) replicate.congestion = milliseconds(random, 200, 800);
  if (random.percent(50)) replicate.clear_bits = milliseconds(random, 10, 300);
  if (random.percent(20)) replicate.min_in_sync = 2;
  replicate.link = "lan";
  contender.replicate = replicate;
  draw_sites(random, contender);
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

Target link_target(NodeSelector from, NodeSelector to, bool one_way) {
  Target target;
  target.kind = TargetKind::link;
  target.node = std::move(from);
  target.peer = std::move(to);
  target.one_way = one_way;
  const auto word = [](const NodeSelector& end) {
    switch (end.role) {
      case Role::serving: return "@serving";
      case Role::secondary: return "@secondary";
      case Role::client: return "client";
      case Role::arbiter: return "arbiter";
      default: return "@any";
    }
  };
  target.text = std::string(word(target.node)) + (one_way ? ">" : "-") + word(target.peer);
  return target;
}

// Between the one that serves and another, in either direction.
Target peer_link(Random& random, const ContenderSpec& contender) {
  NodeSelector serving{Role::serving, {}, 1};
  NodeSelector secondary{Role::secondary, {}, 1};
  secondary.index = static_cast<std::uint32_t>(random.between(1, contender.nodes.size() - 1));
  if (random.percent(50)) std::swap(serving, secondary);
  return link_target(serving, secondary, random.percent(40));
}

Target arbiter_link(Random& random) {
  NodeSelector node{random.percent(60) ? Role::serving : Role::any, {}, 1};
  NodeSelector arbiter{Role::arbiter, {}, 1};
  if (random.percent(50)) std::swap(node, arbiter);
  return link_target(node, arbiter, random.percent(40));
}

void when_full(Event& event) {
  Condition full;
  full.measure = StateMeasure::redundancy;
  full.value = static_cast<std::int64_t>(Redundancy::full);
  full.text = "redundancy == full";
  event.trigger.when = full;
}

void while_copying(Random& random, Event& event) {
  Condition copying;
  copying.measure = StateMeasure::rebuild;
  copying.op = CompareOp::ge;
  copying.value = static_cast<std::int64_t>(random.below(10) * 100);
  copying.text = "rebuild >= " + std::to_string(copying.value / 10) + "%";
  event.trigger.when = copying;
  event.trigger.delay = 0;
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

// ---- faults of replicas ----------------------------------------------------------------------------------------------

Event node_fault(Random& random) {
  constexpr std::array<Verb, 5> kVerbs = {Verb::node_crash, Verb::node_crash, Verb::node_power_loss,
                                          Verb::node_power_loss, Verb::node_freeze};
  Event event;
  event.verb = kVerbs[random.below(kVerbs.size())];
  event.targets = {node_target(random.percent(60) ? Role::serving : Role::any)};
  return event;
}

Event clock_fault(Random& random) {
  Event event;
  event.verb = Verb::node_clock;
  event.targets = {node_target(random.percent(50) ? Role::serving : Role::any)};
  event.arguments.rate_ppm = (static_cast<std::int32_t>(random.between(0, 20)) - 10) * 10'000;
  return event;
}

Event link_fault(Random& random, Target target) {
  constexpr std::array<Verb, 10> kVerbs = {
      Verb::link_drop,      Verb::link_drop,  Verb::link_drop, Verb::link_latency,   Verb::link_flap,
      Verb::link_bandwidth, Verb::link_reset, Verb::link_loss, Verb::link_duplicate, Verb::link_corrupt};
  const bool client = target.node.role == Role::client;
  Event event;
  // A client asks once on a session: what gets lost on it without a word is answered never.
  do event.verb = kVerbs[random.below(kVerbs.size())];
  while (client && (event.verb == Verb::link_loss || event.verb == Verb::link_duplicate));
  event.targets = {std::move(target)};
  event.arguments.add = milliseconds(random, 1, 100);
  event.arguments.bandwidth = random.between(50'000, 5'000'000);
  event.arguments.period = milliseconds(random, 5, 330);
  event.arguments.percent = static_cast<std::uint32_t>(random.between(1, 15));
  return event;
}

Event arbiter_fault(Random& random) {
  Event event;
  event.verb = random.percent(50) ? Verb::arbiter_stop : Verb::arbiter_freeze;
  Target target;
  target.kind = TargetKind::arbiter;
  target.text = "arbiter";
  event.targets = {target};
  return event;
}

Event site_fault(Random& random, const ContenderSpec& contender) {
  Event event;
  event.verb = Verb::site_lose;
  Target target;
  target.kind = TargetKind::site;
  target.node.name = contender.sites[random.below(contender.sites.size())].name;
  target.text = target.node.name;
  event.targets = {target};
  return event;
}

Event slow_disk(Random& random, const ContenderSpec& contender) {
  Event event;
  event.verb = Verb::disk_slow;
  event.targets = {disk_target(random, contender.nodes[0])};
  event.arguments.factor_percent = static_cast<std::uint32_t>(random.between(100, 800));
  event.arguments.add = milliseconds(random, 1, 50);
  return event;
}

// What may meet anything else, as long as no copy loses its disks: whoever comes back has its data.
Event replica_fault(Random& random, const ContenderSpec& contender) {
  Event event;
  const std::uint64_t die = random.below(100);
  if (die < 40) {
    event = node_fault(random);
  } else if (die < 62) {
    event = link_fault(random, peer_link(random, contender));
  } else if (die < 70) {
    event = arbiter_fault(random);
  } else if (die < 76) {
    event = link_fault(random, arbiter_link(random));
  } else if (die < 81) {
    event = link_fault(random, link_target({Role::client, {}, 1}, {Role::serving, {}, 1}, random.percent(40)));
  } else if (die < 88) {
    event = clock_fault(random);
  } else if (die < 92) {
    event = slow_disk(random, contender);
  } else if (die < 96 && !contender.sites.empty()) {
    event = site_fault(random, contender);
  } else {
    event.verb = Verb::volume_promote;
    event.targets = {node_target(Role::any)};
  }
  if (verb_info(event.verb).lasts) event.lasts_for = milliseconds(random, 20, 900);
  return event;
}

// The only fault that takes a copy: a disk of a node. A plain node begins again with its spare.
Event copy_fault(Random& random, const ContenderSpec& contender) {
  Event event;
  event.verb = random.percent(40) ? Verb::disk_hang : Verb::disk_fail;
  if (random.percent(15)) {  // so slow that it is given up: member_timeout is 300 ms
    event.verb = Verb::disk_slow;
    event.arguments.add = milliseconds(random, 310, 1200);
    event.lasts_for = milliseconds(random, 400, 900);
  }
  event.targets = {disk_target(random, contender.nodes[0])};
  if (random.percent(40)) {
    event.targets[0].node = {Role::secondary, {}, 1};
    event.targets[0].text = "@secondary.disk" + std::to_string(*event.targets[0].disk);
  }
  return event;
}

Event latent_fault(Random& random, const ContenderSpec& contender) {
  Event event = copy_fault(random, contender);
  event.verb = Verb::disk_latent;
  event.lasts_for = {};
  event.arguments.count = static_cast<std::uint32_t>(random.between(1, 8));
  return event;
}

// ---- in time ---------------------------------------------------------------------------------------------------------

void draw_trigger(Random& random, bool may_overlap, Scenario& scenario, Event& event) {
  const std::size_t i = scenario.events.size();
  event.name = "event " + std::to_string(i + 1);
  if (i == 0 || (may_overlap && random.percent(60))) {
    event.trigger.base = Trigger::Base::at;
    event.trigger.at = milliseconds(random, 200, 1800);
  } else {
    event.trigger.base = Trigger::Base::after;
    event.trigger.after = "event " + std::to_string(i);
    event.trigger.delay = milliseconds(random, may_overlap ? 0 : 10, random.percent(50) ? 10 : 200);
    if (may_overlap && random.percent(40)) {
      while_copying(random, event);
    } else {
      when_full(event);
    }
  }
}

void draw_local_events(Random& random, const ContenderSpec& contender, Scenario& scenario) {
  const std::uint64_t count = random.between(1, 3);
  bool disk_lost = false;
  for (std::uint64_t i = 0; i < count; ++i) {
    Event event = local_event(random, contender, disk_lost);
    draw_trigger(random, false, scenario, event);
    scenario.events.push_back(event);
    // Until its time-out a hung member looks whole: what came next could meet an array that is degraded and dirty.
    if (event.verb == Verb::disk_hang) break;
  }
}

// One fault alone, and a second one when it is over and everything is whole again. A node has one spare, so one disk dies.
void draw_single_events(Random& random, const ContenderSpec& contender, Scenario& scenario) {
  const std::uint64_t count = random.between(1, 2);
  bool disk_lost = false;
  for (std::uint64_t i = 0; i < count; ++i) {
    Event event;
    if (random.percent(70) || disk_lost) {
      event = replica_fault(random, contender);
    } else if (i + 1 == count && random.percent(40)) {
      event = latent_fault(random, contender);
    } else {
      event = copy_fault(random, contender);
      disk_lost = true;
    }
    event.name = "event " + std::to_string(i + 1);
    event.trigger.base = Trigger::Base::at;
    event.trigger.at = i == 0 ? milliseconds(random, 200, 600) : milliseconds(random, 1700, 1900);
    if (i != 0) when_full(event);
    scenario.events.push_back(event);
  }
}

// The disk first, while everybody is in sync; from then on no other copy is lost.
void draw_overlapping_events(Random& random, const ContenderSpec& contender, bool disk, Scenario& scenario) {
  const std::uint64_t count = random.between(disk ? 2 : 1, 6);
  for (std::uint64_t i = 0; i < count; ++i) {
    const bool first_and_disk = disk && i == 0;
    Event event = first_and_disk ? copy_fault(random, contender) : replica_fault(random, contender);
    const bool restart = disk && i == 1 && random.percent(40);  // while a disk that hangs is still waited for
    if (restart) event = node_fault(random);
    if (restart) event.lasts_for = milliseconds(random, 20, 600);
    draw_trigger(random, true, scenario, event);
    if (first_and_disk) event.trigger.at = 199 * kMillisecond;
    if (restart) {
      event.trigger = {};
      event.trigger.base = Trigger::Base::at;
      event.trigger.at = milliseconds(random, 200, 700);
    }
    scenario.events.push_back(event);
  }
}

// Faults may overlap as long as all they take is memory and time. Not so where
//  * async or received acknowledge: they promise a prefix if the primary is lost, not if another one's memory is, too;
//  * an array that has lost a disk could crash, and be refused because of the write hole: its copy would be gone as well;
//  * a block cannot be read: the node may be the only one in sync soon.
void draw_events(Random& random, const ContenderSpec& contender, Scenario& scenario) {
  if (!contender.replicate) return draw_local_events(random, contender, scenario);
  const Ack ack = contender.replicate->ack;
  if (ack == Ack::async || ack == Ack::received || random.percent(30))
    return draw_single_events(random, contender, scenario);
  const NodeSpec& node = contender.nodes.front();
  const bool write_hole = node.raid >= 4 && node.raid <= 6 && node.consistency != Consistency::journal;
  draw_overlapping_events(random, contender, !write_hole && random.percent(25), scenario);
}

}  // namespace

const char* kind_name(Kind kind) {
  constexpr std::array<const char*, 5> kNames = {"any", "local", "parity", "replicated", "split_brain"};
  return kNames[static_cast<std::size_t>(kind)];
}

Kind kind_from_name(std::string_view name) {
  for (const Kind kind : {Kind::any, Kind::local, Kind::parity, Kind::replicated, Kind::split_brain}) {
    if (name == kind_name(kind)) return kind;
  }
  CHECK(false, "no such kind of scenario");
  return Kind::any;
}

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
  LinkSpec wan;
  wan.name = "wan";
  wan.rtt = milliseconds(random, 1, 10);
  scenario.links.push_back(wan);
  scenario.client_link = lan;
  scenario.workload.rw = Rw::randrw;
  scenario.workload.rwmixread = static_cast<std::uint32_t>(random.between(20, 60));
  scenario.workload.bs = std::uint64_t{4096} << random.below(4);
  scenario.workload.rate_iops = random.between(200, 1500);
  scenario.workload.max_inflight = static_cast<std::uint32_t>(random.between(4, 64));
  scenario.workload.flush_every = static_cast<std::uint32_t>(random.below(3) * 8);
  Random meeting(seed ^ 0x6f7665726c6170);  // of its own: what else a seed draws stays what it was
  if (meeting.percent(40)) scenario.workload.overlap = static_cast<std::uint32_t>(meeting.between(10, 90));
  scenario.workload.retry = 60 * kSecond;
  scenario.workload.size_bytes = kMiB;  // small: overlaps and overwrites are what finds bugs
  scenario.rebuild.speed_max = 40 * kMiB;
  ContenderSpec contender;
  draw_topology(random, kind, contender);
  if (kind != Kind::split_brain) draw_events(random, contender, scenario);
  scenario.contenders.push_back(contender);
  scenario.modelled_volume_bytes = scenario.volume_bytes;
  return scenario;
}

}  // namespace resilver::swarm
