#include "scenario/scenario.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "base/units.h"
#include "raid/geometry.h"

namespace resilver::scenario {

namespace {

const VerbInfo kVerbs[] = {
    {Verb::disk_fail, "disk.fail", TargetKind::disk, false, "",
     "every further I/O of the disk fails; the array takes a spare", "the simulated disk answers 'device gone'",
     "the wrapper over the image answers 'device gone'; the image stays"},
    {Verb::disk_latent, "disk.latent", TargetKind::disk, false, "count, size, where",
     "blocks become unreadable until they are written again", "medium error on reads",
     "medium error from the wrapper; the bytes in the image stay"},
    {Verb::disk_corrupt, "disk.corrupt", TargetKind::disk, false, "count, size, where",
     "blocks change silently: reads succeed and return other bytes", "bytes are changed on the simulated disk",
     "bytes are changed in the image"},
    {Verb::disk_slow, "disk.slow", TargetKind::disk, true, "factor, add, bandwidth", "requests take longer",
     "completions are delayed", "completions are delayed; the image itself is as fast as ever"},
    {Verb::disk_hang, "disk.hang", TargetKind::disk, true, "", "requests are taken and not answered",
     "requests are held back; passed on when it ends", "requests are held back; passed on when it ends"},
    {Verb::disk_replace, "disk.replace", TargetKind::disk, false, "", "a new, empty disk takes the slot",
     "a fresh simulated disk", "a fresh image; the old one is put aside"},
    {Verb::node_crash, "node.crash", TargetKind::node, true, "", "the process dies; what the disks took survives",
     "memory is lost; disks finish what they had", "SIGKILL"},
    {Verb::node_power_loss, "node.power_loss", TargetKind::node, true, "",
     "the node dies and its disks lose their caches", "writes not flushed are kept, lost or torn by the seed",
     "SIGKILL; every write that the image wrapper withheld since the last flush is lost"},
    {Verb::node_freeze, "node.freeze", TargetKind::node, true, "",
     "the process stops and later goes on as if nothing was", "the node's events wait; its clock goes on",
     "SIGSTOP, SIGCONT"},
    {Verb::node_restart, "node.restart", TargetKind::node, false, "", "the node starts (again), after its reboot time",
     "a new node on the same disks", "SIGKILL if it runs, then a new process on the same images"},
    {Verb::node_clock, "node.clock", TargetKind::node, true, "rate",
     "the node's clock runs at `rate` percent of true time", "the node's clock and timers",
     "n/a: a process cannot be given a clock of its own"},
    {Verb::link_drop, "link.drop", TargetKind::link, true, "",
     "nothing passes and nobody is told, like an unplugged cable", "messages wait; connections stay open",
     "the runner's proxy stops reading; connections stay open"},
    {Verb::link_latency, "link.latency", TargetKind::link, true, "add", "every message takes longer",
     "added to each direction", "the runner's proxy delays each direction"},
    {Verb::link_bandwidth, "link.bandwidth", TargetKind::link, true, "bandwidth", "less passes per second",
     "the link's rate changes", "the runner's proxy passes less"},
    {Verb::link_reset, "link.reset", TargetKind::link, false, "", "every connection between the two ends at once",
     "both ends see it at once; what was under way is lost", "the runner's proxies reset them; new ones are let in"},
    {Verb::link_flap, "link.flap", TargetKind::link, true, "period",
     "dropped for `period`, then not for `period`, and so on", "as link.drop", "as link.drop"},
    {Verb::link_loss, "link.loss", TargetKind::link, true, "percent",
     "of the messages so many never arrive, though what follows them does", "drawn for each message",
     "n/a: a proxy forwards bytes and knows no messages"},
    {Verb::link_duplicate, "link.duplicate", TargetKind::link, true, "percent", "so many messages arrive twice",
     "drawn for each message", "n/a: a proxy forwards bytes and knows no messages"},
    {Verb::link_corrupt, "link.corrupt", TargetKind::link, true, "percent",
     "so many frames do not match their checksums, and each ends its connection", "drawn for each message",
     "n/a: a proxy forwards bytes and knows no messages"},
    {Verb::array_scrub, "array.scrub", TargetKind::node, false, "repair",
     "the node's array reads everything and counts what does not fit", "the engine's own scrub",
     "the engine's own scrub"},
    {Verb::volume_overwrite, "volume.overwrite", TargetKind::volume, false, "range",
     "the client overwrites a range: an accident, and a perfectly valid write", "ordinary writes", "ordinary writes"},
    {Verb::volume_promote, "volume.promote", TargetKind::node, false, "force",
     "planned switchover: the primary drains its writes and hands over to the node; by force whatever the others hold",
     "the engine's own promotion", "the engine's own promotion"},
    {Verb::volume_resolve, "volume.resolve", TargetKind::node, false, "discard, peer",
     "after a split brain: the node's own side (local) or the other one (remote) is given up",
     "the engine's own choice", "the engine's own choice"},
    {Verb::site_lose, "site.lose", TargetKind::site, true, "", "all nodes of a site lose power at once",
     "as node.power_loss of each", "as node.power_loss of each"},
    {Verb::site_return, "site.return", TargetKind::site, false, "", "the nodes of a site that do not run are started",
     "as node.restart of each, all at once", "as node.restart of each, all at once"},
    {Verb::arbiter_stop, "arbiter.stop", TargetKind::arbiter, true, "", "the arbiter dies; its record survives",
     "the node's process ends", "SIGKILL"},
    {Verb::arbiter_freeze, "arbiter.freeze", TargetKind::arbiter, true, "", "the arbiter stops and goes on later",
     "the node's events wait", "SIGSTOP, SIGCONT"},
    {Verb::arbiter_start, "arbiter.start", TargetKind::arbiter, false, "", "the arbiter starts again, on its record",
     "a new process on the same disk", "a new process on the same file"},
};

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

const std::vector<VerbInfo>& verb_table() {
  static const std::vector<VerbInfo> table(std::begin(kVerbs), std::end(kVerbs));
  return table;
}

const VerbInfo& verb_info(Verb verb) {
  for (const auto& info : kVerbs)
    if (info.verb == verb) return info;
  CHECK(false, "every verb has a row");
  return kVerbs[0];
}

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
