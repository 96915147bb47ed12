#include "scenario/selector.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "base/nearest.h"
#include "scenario/verbs.h"

namespace resilver::scenario {

namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

template <typename Number>
std::optional<Number> to_number(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

Result<NodeSelector> parse_node(std::string_view text, bool link_end) {
  NodeSelector selector;
  const std::string_view whole = text;
  if (!text.starts_with('@')) {
    if (link_end && text == "client") return NodeSelector{Role::client, {}, 1};
    if (link_end && text == "arbiter") return NodeSelector{Role::arbiter, {}, 1};
    if (!is_identifier(text))
      return fail(Errc::bad_input, fmt::format("'{}' is no node: a name or @role expected", whole));
    selector.name = text;
    return selector;
  }
  text.remove_prefix(1);
  const auto colon = text.find(':');
  const std::string_view role = text.substr(0, colon);
  if (role == "serving")
    selector.role = Role::serving;
  else if (role == "secondary")
    selector.role = Role::secondary;
  else if (role == "rebuilding")
    selector.role = Role::rebuilding;
  else if (role == "spare")
    selector.role = Role::spare;
  else if (role == "any")
    selector.role = Role::any;
  else
    return fail(Errc::bad_input,
                fmt::format("'{}' is no role: @serving, @secondary[:n], @rebuilding, @spare or @any expected{}", whole,
                            hint(role, {"serving", "secondary", "rebuilding", "spare", "any"})));
  if (colon == std::string_view::npos) return selector;
  const auto index = to_number<std::uint32_t>(text.substr(colon + 1));
  if (selector.role != Role::secondary || !index || *index == 0 || *index >= kMaxNodes)
    return fail(Errc::bad_input,
                fmt::format("'{}': only @secondary takes a number, from 1 to {}", whole, kMaxNodes - 1));
  selector.index = *index;
  return selector;
}

Result<Target> parse_disk(std::string_view text, Verb verb, Target target) {
  const auto dot = text.rfind('.');
  if (dot != std::string_view::npos) {
    const std::string_view disk = text.substr(dot + 1);
    const auto slot = disk.starts_with("disk") ? to_number<std::uint32_t>(disk.substr(4)) : std::nullopt;
    target.journal = disk == "journal";
    if (!target.journal && (!slot || *slot >= kMaxDisksPerNode))
      return fail(Errc::bad_input, fmt::format("'{}' is no disk: diskN, N from 0, or journal expected", disk));
    if (target.journal && !verb_info(verb).at_journals)
      return fail(Errc::bad_input,
                  fmt::format("a journal can fail, hang, be slow or lose flushes; {} is for the disks of the array",
                              verb_info(verb).name));
    if (!target.journal) target.disk = *slot;
    text = text.substr(0, dot);
  }
  auto node = parse_node(text, false);
  if (!node) return std::unexpected(node.error());
  target.node = *node;
  const Role role = node->role;
  const bool named = target.disk || target.journal;
  if (!named && role != Role::rebuilding && role != Role::spare && role != Role::any)
    return fail(Errc::bad_input, fmt::format("'{}' names no disk: '{}.disk0' or so expected", text, text));
  if (named && role == Role::spare)
    return fail(Errc::bad_input, fmt::format("'{}' is a disk already: it takes no .diskN", text));
  return target;
}

Result<Target> parse_link(std::string_view text, Target target) {
  const auto sign = text.find_first_of("->");
  if (sign == std::string_view::npos)
    return fail(Errc::bad_input, fmt::format("'{}' is no link: A-B (both directions) or A>B expected", text));
  auto first = parse_node(trim(text.substr(0, sign)), true);
  if (!first) return std::unexpected(first.error());
  auto second = parse_node(trim(text.substr(sign + 1)), true);
  if (!second) return std::unexpected(second.error());
  for (const auto* end : {&*first, &*second})
    if (end->role == Role::spare) return fail(Errc::bad_input, "@spare is a disk and no end of a link");
  if (first->role == second->role && first->name == second->name && first->index == second->index)
    return fail(Errc::bad_input, fmt::format("'{}' joins a node with itself", text));
  target.node = *first;
  target.peer = *second;
  target.one_way = text[sign] == '>';
  return target;
}

Result<CompareOp> parse_op(std::string_view op) {
  for (auto candidate : {CompareOp::lt, CompareOp::le, CompareOp::eq, CompareOp::ne, CompareOp::ge, CompareOp::gt})
    if (op == compare_op_name(candidate)) return candidate;
  return fail(Errc::bad_input, fmt::format("'{}': one of < <= == != >= > expected", op));
}

Result<std::int64_t> parse_state_value(StateMeasure measure, std::string_view value) {
  switch (measure) {
    case StateMeasure::redundancy:
      if (value == "lost") return static_cast<std::int64_t>(Redundancy::lost);
      if (value == "exposed") return static_cast<std::int64_t>(Redundancy::exposed);
      if (value == "degraded") return static_cast<std::int64_t>(Redundancy::degraded);
      if (value == "full") return static_cast<std::int64_t>(Redundancy::full);
      return fail(Errc::bad_input, fmt::format("redundancy is full, degraded, exposed or lost, not '{}'", value));
    case StateMeasure::serving:
      if (value == "true") return 1;
      if (value == "false") return 0;
      return fail(Errc::bad_input, fmt::format("serving is true or false, not '{}'", value));
    case StateMeasure::rebuild: {
      const auto percent =
          value.ends_with('%') ? to_number<std::int64_t>(value.substr(0, value.size() - 1)) : std::nullopt;
      if (!percent || *percent < 0 || *percent > 100)
        return fail(Errc::bad_input, fmt::format("rebuild is a percentage from 0% to 100%, not '{}'", value));
      return *percent * 10;
    }
    case StateMeasure::in_sync:
    case StateMeasure::writes: break;
  }
  const auto count = to_number<std::int64_t>(value);
  if (!count || *count < 0) return fail(Errc::bad_input, fmt::format("'{}': a count expected", value));
  return *count;
}

// Limits beyond which a condition can never hold.
Status check_reachable(const Condition& condition) {
  std::int64_t low = 0;
  std::int64_t high = std::numeric_limits<std::int64_t>::max();
  if (condition.measure == StateMeasure::redundancy) high = static_cast<std::int64_t>(Redundancy::full);
  if (condition.measure == StateMeasure::rebuild) high = 1000;
  if (condition.measure == StateMeasure::serving) high = 1;
  if (condition.measure == StateMeasure::in_sync) high = kMaxNodes;
  const std::int64_t value = condition.value;
  const bool never = (condition.op == CompareOp::lt && value <= low) ||
                     (condition.op == CompareOp::gt && value >= high) ||
                     ((condition.op == CompareOp::ge || condition.op == CompareOp::eq) && value > high);
  if (never) return fail(Errc::bad_input, fmt::format("'{}' can never hold", condition.text));
  return {};
}

// What people say who come from elsewhere, and what it is called here.
struct Synonym {
  std::string_view word, ours;
};
constexpr Synonym kSynonyms[] = {
    {"ssd", "sata-ssd"},       {"sata", "sata-ssd"},       {"flash", "sata-ssd"},  {"pcie", "nvme"},
    {"sync", "durable"},       {"synchronous", "durable"}, {"majority", "quorum"}, {"semisync", "received"},
    {"semi-sync", "received"}, {"asynchronous", "async"},  {"random", "randrw"},   {"mixed", "randrw"},
    {"primary", "serving"},    {"leader", "serving"},      {"master", "serving"},  {"replica", "secondary"},
    {"follower", "secondary"}, {"median", "latency_p50"},  {"p50", "latency_p50"}, {"p99", "latency_p99"},
    {"throughput", "iops"},    {"downtime", "outage"},
};

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known, std::size_t most_slips) {
  const auto is_known = [&](std::string_view ours) {
    return std::find(known.begin(), known.end(), ours) != known.end();
  };
  for (const auto& synonym : kSynonyms)
    if (synonym.word == word && is_known(synonym.ours)) return fmt::format(" (did you mean '{}'?)", synonym.ours);
  return nearest_hint(word, {known.begin(), known.end()}, most_slips);
}

}  // namespace

Result<Target> parse_target(std::string_view text, Verb verb) {
  Target target;
  target.text = text;
  target.kind = verb_info(verb).target;
  text = trim(text);
  switch (target.kind) {
    case TargetKind::disk: return parse_disk(text, verb, target);
    case TargetKind::link: return parse_link(text, target);
    case TargetKind::volume:
      if (text != "volume") return fail(Errc::bad_input, fmt::format("'{}': 'volume' is the only target here", text));
      return target;
    case TargetKind::site:
      if (!is_identifier(text)) return fail(Errc::bad_input, fmt::format("'{}': the name of a site expected", text));
      target.node.name = text;
      return target;
    case TargetKind::arbiter:
      if (text != "arbiter") return fail(Errc::bad_input, fmt::format("'{}': 'arbiter' is the only target here", text));
      return target;
    case TargetKind::node: break;
  }
  if (text.find(".disk") != std::string_view::npos || text.ends_with(".journal"))
    return fail(Errc::bad_input, fmt::format("'{}' is a disk, and {} is for nodes", text, verb_info(verb).name));
  auto node = parse_node(text, false);
  if (!node) return std::unexpected(node.error());
  if (node->role == Role::spare)
    return fail(Errc::bad_input, fmt::format("@spare is a disk, and {} is for nodes", verb_info(verb).name));
  target.node = *node;
  return target;
}

Result<Condition> parse_condition(std::string_view text) {
  Condition condition;
  condition.text = trim(text);
  text = condition.text;
  if (text == "serving" || text == "not serving") {
    condition.value = text == "serving" ? 1 : 0;
    return condition;
  }
  const auto op_begin = text.find_first_of("<>=!");
  if (op_begin == std::string_view::npos)
    return fail(Errc::bad_input, fmt::format("'{}': a condition such as \"redundancy == full\" expected", text));
  const auto op_end = std::min(text.find_first_not_of("<>=!", op_begin), text.size());
  const std::string_view name = trim(text.substr(0, op_begin));
  if (name == "redundancy")
    condition.measure = StateMeasure::redundancy;
  else if (name == "rebuild")
    condition.measure = StateMeasure::rebuild;
  else if (name == "serving")
    condition.measure = StateMeasure::serving;
  else if (name == "in_sync")
    condition.measure = StateMeasure::in_sync;
  else if (name == "writes")
    condition.measure = StateMeasure::writes;
  else
    return fail(
        Errc::bad_input,
        fmt::format("'{}' is no measure of a condition: redundancy, rebuild, serving, in_sync or writes expected{}",
                    name, hint(name, {"redundancy", "rebuild", "serving", "in_sync", "writes"})));
  auto op = parse_op(text.substr(op_begin, op_end - op_begin));
  if (!op) return std::unexpected(op.error());
  condition.op = *op;
  auto value = parse_state_value(condition.measure, trim(text.substr(op_end)));
  if (!value) return std::unexpected(value.error());
  condition.value = *value;
  if (auto status = check_reachable(condition); !status) return std::unexpected(status.error());
  return condition;
}

bool is_identifier(std::string_view text) {
  if (text.empty() || text.size() > 32 || (text[0] >= '0' && text[0] <= '9')) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  return did_you_mean(word, known, std::numeric_limits<std::size_t>::max());
}

std::string hint(std::string_view word, const std::vector<std::string>& known) {
  constexpr std::size_t kSlips = 2;
  return did_you_mean(word, known, kSlips);
}

}  // namespace resilver::scenario
