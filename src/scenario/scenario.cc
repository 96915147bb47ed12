#include "scenario/scenario.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/units.h"
#include "raid/geometry.h"
#include "scenario/verbs.h"

namespace resilver::scenario {

namespace {

const NodeSpec* find_node(const ContenderSpec& contender, const std::string& name) {
  for (const auto& node : contender.nodes)
    if (node.name == name) return &node;
  return nullptr;
}

// Nodes that a selector may come to mean.
std::vector<const NodeSpec*> candidates(const ContenderSpec& contender, const NodeSelector& selector) {
  std::vector<const NodeSpec*> nodes;
  if (selector.role == Role::named) {
    if (const NodeSpec* node = find_node(contender, selector.name)) nodes.push_back(node);
    return nodes;
  }
  if (selector.role == Role::client || selector.role == Role::arbiter) return nodes;
  if (selector.role == Role::secondary && contender.nodes.size() < selector.index + 1) return nodes;
  for (const auto& node : contender.nodes) nodes.push_back(&node);
  return nodes;
}

bool can_repair_disk(const ContenderSpec& contender, const NodeSpec& node) {
  return contender.nodes.size() > 1 || tolerated_disks(node) > 0;
}

bool has_disk(const ContenderSpec& contender, const Event& event, const Target& target) {
  const BlockChoice where = event.arguments.where;
  for (const NodeSpec* node : candidates(contender, target.node)) {
    if (where == BlockChoice::parity && (node->raid < 4 || node->raid == 10)) continue;
    if (where == BlockChoice::rebuild_path && !can_repair_disk(contender, *node)) continue;
    if (target.journal) {
      if (has_journal(*node)) return true;
    } else if (target.disk) {
      if (*target.disk < node->disks + node->spares) return true;
    } else if (target.node.role == Role::spare) {
      if (node->spares > 0) return true;
    } else if (target.node.role == Role::rebuilding) {
      if (can_repair_disk(contender, *node)) return true;
    } else {
      return true;  // any
    }
  }
  return false;
}

bool has_end(const ContenderSpec& contender, const NodeSelector& end) {
  if (end.role == Role::client) return true;
  if (end.role == Role::arbiter) return contender.replicate.has_value();
  return !candidates(contender, end).empty();
}

bool has_link(const ContenderSpec& contender, const Target& target) {
  const bool outside = target.node.role == Role::client || target.peer.role == Role::client ||
                       target.node.role == Role::arbiter || target.peer.role == Role::arbiter;
  if (!outside && contender.nodes.size() < 2) return false;
  return has_end(contender, target.node) && has_end(contender, target.peer);
}

}  // namespace

bool holds(const Condition& condition, std::int64_t current) {
  switch (condition.op) {
    case CompareOp::lt: return current < condition.value;
    case CompareOp::le: return current <= condition.value;
    case CompareOp::eq: return current == condition.value;
    case CompareOp::ne: return current != condition.value;
    case CompareOp::ge: return current >= condition.value;
    case CompareOp::gt: return current > condition.value;
  }
  return false;
}

const LinkSpec* find_link(const Scenario& scenario, std::string_view name) {
  for (const auto& link : scenario.links)
    if (link.name == name) return &link;
  return nullptr;
}

const SiteSpec* find_site(const ContenderSpec& contender, std::string_view name) {
  for (const auto& site : contender.sites)
    if (site.name == name) return &site;
  return nullptr;
}

const LinkSpec* link_between(const Scenario& scenario, const ContenderSpec& contender, std::uint32_t a, std::uint32_t b) {
  const auto site_of = [&](std::uint32_t node) -> const SiteSpec* {
    for (const auto& site : contender.sites)
      if (std::find(site.nodes.begin(), site.nodes.end(), node) != site.nodes.end()) return &site;
    return nullptr;
  };
  const SiteSpec* one = site_of(a);
  const SiteSpec* other = site_of(b);
  for (const auto& pair : contender.between) {
    if (one == nullptr || other == nullptr) break;
    const bool same =
        (pair.one == one->name && pair.other == other->name) || (pair.one == other->name && pair.other == one->name);
    if (same) return find_link(scenario, pair.link);
  }
  return contender.replicate ? find_link(scenario, contender.replicate->link) : nullptr;
}

const ContenderSpec* find_contender(const Scenario& scenario, std::string_view name) {
  for (const auto& contender : scenario.contenders)
    if (contender.name == name) return &contender;
  return nullptr;
}

const Event* find_event(const Scenario& scenario, std::string_view name) {
  for (const auto& event : scenario.events)
    if (event.name == name) return &event;
  return nullptr;
}

// Half members' worth of data that an array holds: RAID 10 of three holds one and a half.
static std::uint64_t data_halves(const NodeSpec& node) {
  switch (node.raid) {
    case 0: return std::uint64_t{2} * node.disks;
    case 1: return 2;
    case 6: return std::uint64_t{2} * (node.disks - 2);
    case 10: return node.disks;
    default: return std::uint64_t{2} * (node.disks - 1);
  }
}

std::uint32_t tolerated_disks(const NodeSpec& node) {
  switch (node.raid) {
    case 0: return 0;
    case 1: return node.disks - 1;
    case 6: return 2;
    default: return 1;
  }
}

bool has_journal(const NodeSpec& node) { return node.consistency == Consistency::journal; }

std::uint32_t node_disks(const NodeSpec& node) { return node.disks + node.spares + (has_journal(node) ? 1 : 0); }

std::string disk_label(const NodeSpec& node, std::uint32_t index) {
  return has_journal(node) && index == node.disks + node.spares ? std::string("journal") : fmt::format("disk{}", index);
}

// All disks of a node have the same size, so counting them is enough.
std::uint32_t space_permille(const ContenderSpec& contender) {
  std::uint64_t sum = 0;
  for (const auto& node : contender.nodes) sum += 2000ull * (node_disks(node) - node.spares) / data_halves(node);
  return static_cast<std::uint32_t>(sum);
}

std::uint32_t space_with_spares_permille(const ContenderSpec& contender) {
  std::uint64_t sum = 0;
  for (const auto& node : contender.nodes) sum += 2000ull * node_disks(node) / data_halves(node);
  return static_cast<std::uint32_t>(sum);
}

std::uint32_t total_disks(const ContenderSpec& contender) {
  std::uint32_t sum = 0;
  for (const auto& node : contender.nodes) sum += node_disks(node) - node.spares;
  return sum;
}

std::uint32_t total_spares(const ContenderSpec& contender) {
  std::uint32_t sum = 0;
  for (const auto& node : contender.nodes) sum += node.spares;
  return sum;
}

std::string why_impossible(const NodeSpec& node) {
  const auto level = raid::level_from_number(static_cast<int>(node.raid));
  if (!level) return fmt::format("RAID {} is not known: raid is 0, 1, 4, 5, 6 or 10", node.raid);
  if (node_disks(node) > kMaxDisksPerNode)
    return fmt::format("{} disks and {} spares{}: a node has at most {}", node.disks, node.spares,
                       has_journal(node) ? " and a journal" : "", kMaxDisksPerNode);
  const bool parity = node.raid >= 4 && node.raid <= 6;
  if (has_journal(node) && !parity)
    return fmt::format("RAID {} has no journal: consistency = \"journal\" is for RAID 4, 5 and 6", node.raid);
  if (node.force && !parity)
    return fmt::format("force is for RAID 4, 5 and 6, not RAID {}: nothing else is refused after a crash", node.raid);
  if (node.force && has_journal(node))
    return "force would start without its journal, and that is what the journal is for";
  if (node.chunk_bytes < 4096 || node.chunk_bytes > (64u << 20) || (node.chunk_bytes & (node.chunk_bytes - 1)) != 0)
    return fmt::format("a chunk of {} bytes: it must be a power of two from 4K to 64M", node.chunk_bytes);
  raid::Layout layout = raid::default_layout(*level);
  if (!node.layout.empty()) {
    const auto named = raid::layout_from_name(node.layout);
    if (!named) return fmt::format("layout '{}' is not known: left-symmetric, parity-last, near-2, ...", node.layout);
    layout = *named;
  }
  const auto shape = raid::Geometry::make(*level, layout, node.disks, node.chunk_bytes, node.chunk_bytes);
  return shape ? std::string() : shape.error().what;
}

bool has_target(const ContenderSpec& contender, const Event& event, const Target& target) {
  switch (target.kind) {
    case TargetKind::volume: return true;
    case TargetKind::arbiter: return contender.replicate.has_value();
    case TargetKind::disk: return has_disk(contender, event, target);
    case TargetKind::link: return has_link(contender, target);
    case TargetKind::site: return find_site(contender, target.node.name) != nullptr;
    case TargetKind::node: break;
  }
  if ((event.verb == Verb::volume_promote || event.verb == Verb::volume_resolve) && !contender.replicate) return false;
  if (event.verb == Verb::array_scrub) {  // there must be something to compare
    const auto nodes = candidates(contender, target.node);
    return std::any_of(nodes.begin(), nodes.end(), [](const NodeSpec* node) { return node->raid != 0; });
  }
  if (target.node.role == Role::rebuilding && contender.nodes.size() < 2) return false;
  return !candidates(contender, target.node).empty();
}

bool possible_here(const Scenario& scenario, const Event& event) {
  return !scenario.real || !verb_info(event.verb).in_real.starts_with("n/a");
}

bool event_applies(const Scenario& scenario, const ContenderSpec& contender, const Event& event) {
  const Event* current = &event;
  for (std::size_t steps = 0; steps <= scenario.events.size() && current != nullptr; ++steps) {
    if (!possible_here(scenario, *current)) return false;
    const auto& targets = current->targets;
    if (std::none_of(targets.begin(), targets.end(),
                     [&](const Target& target) { return has_target(contender, *current, target); }))
      return false;
    if (current->trigger.base != Trigger::Base::after) return true;
    current = find_event(scenario, current->trigger.after);
  }
  return false;
}

const char* ack_name(Ack ack) {
  switch (ack) {
    case Ack::durable: return "durable";
    case Ack::quorum: return "quorum";
    case Ack::received: return "received";
    case Ack::async: return "async";
  }
  return "?";
}

static const char* ack_words(Ack ack) {
  switch (ack) {
    case Ack::durable: return "when durable on all in sync";
    case Ack::quorum: return "when durable on a majority";
    case Ack::received: return "when all in sync have received it";
    case Ack::async: return "when durable on the primary";
  }
  return "?";
}

const char* rw_name(Rw rw) {
  switch (rw) {
    case Rw::read: return "read";
    case Rw::write: return "write";
    case Rw::randread: return "randread";
    case Rw::randwrite: return "randwrite";
    case Rw::randrw: return "randrw";
    case Rw::rw: return "rw";
  }
  return "?";
}

const char* consistency_name(Consistency consistency) {
  switch (consistency) {
    case Consistency::none: return "none";
    case Consistency::resync: return "resync";
    case Consistency::bitmap: return "bitmap";
    case Consistency::journal: return "journal";
  }
  return "?";
}

const char* compare_op_name(CompareOp op) {
  static constexpr const char* kNames[] = {"<", "<=", "==", "!=", ">=", ">"};
  return kNames[static_cast<std::size_t>(op)];
}

bool writes_at_all(const WorkloadSpec& workload) {
  const bool mixed = workload.rw == Rw::randrw || workload.rw == Rw::rw;
  return workload.rw == Rw::write || workload.rw == Rw::randwrite || (mixed && workload.rwmixread < 100);
}

namespace {

std::string describe_node(const NodeSpec& node) {
  const std::uint32_t redundant = node.raid == 10 ? 0 : tolerated_disks(node);
  std::string text =
      node.disks == 1 ? std::string("one disk") : fmt::format("RAID {}, {}", node.raid, node.disks - redundant);
  if (node.disks > 1 && redundant > 0) text += fmt::format("+{}", redundant);
  if (node.disks > 1) text += " disks";
  if (node.spares > 0) text += node.spares == 1 ? ", a spare" : fmt::format(", {} spares", node.spares);
  if (has_journal(node)) text += ", a journal";
  if (node.force) text += ", started by force";
  return text;
}

}  // namespace

std::string describe(const ContenderSpec& contender) {
  if (contender.nodes.empty()) return {};
  std::string text = contender.nodes.size() == 1 ? "one node" : fmt::format("{} nodes", contender.nodes.size());
  text += contender.nodes.size() == 1 ? ": " : " of: ";
  text += describe_node(contender.nodes.front());
  if (contender.replicate)
    text += fmt::format("; acknowledges {}, notices a loss within {}", ack_words(contender.replicate->ack),
                        format_duration(contender.replicate->detect));
  return text;
}

std::string describe(const Trigger& trigger) {
  std::string text;
  switch (trigger.base) {
    case Trigger::Base::start: break;
    case Trigger::Base::at: text = "at " + format_duration(trigger.at); break;
    case Trigger::Base::within:
      text = fmt::format("between {} and {} (by the seed)", format_duration(trigger.at),
                         format_duration(trigger.at_latest));
      break;
    case Trigger::Base::at_write: text = fmt::format("at the client's write number {}", trigger.at_write); break;
    case Trigger::Base::after: text = fmt::format("after '{}'", trigger.after); break;
  }
  if (trigger.when) text += fmt::format("{}when {}", text.empty() ? "" : ", ", trigger.when->text);
  if (trigger.delay > 0) text += fmt::format("{}{} later", text.empty() ? "" : ", ", format_duration(trigger.delay));
  if (trigger.every > 0) text += fmt::format("{}every {}", text.empty() ? "" : ", ", format_duration(trigger.every));
  return text.empty() ? "at the start" : text;
}

}  // namespace resilver::scenario
