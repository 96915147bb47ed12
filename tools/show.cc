#include "tools/show.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/units.h"
#include "raid/array.h"
#include "scenario/measures.h"
#include "scenario/parse.h"
#include "scenario/verbs.h"
#include "tools/command.h"
#include "tools/commands.h"
#include "tools/list.h"

namespace resilver::tools {

namespace {

using scenario::Event;
using scenario::Scenario;

// Breaks at spaces, `indent` columns in from the second line on.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t width = 100) {
  std::string out;
  std::size_t column = indent;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find_first_of(" \n", begin), text.size());
    const std::size_t length = end - begin;
    if (column > indent && column + 1 + length > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent && length > 0) {
      out += ' ';
      ++column;
    }
    out.append(text, begin, length);
    column += length;
    begin = end + 1;
  }
  return out + "\n";
}

std::string arguments_of(const Event& event) {
  std::string text;
  for (const auto& argument : verb_info(event.verb).arguments) {
    const std::string value = argument.text(event.arguments);
    if (!value.empty()) text += fmt::format(", {} {}", argument.key, value);
  }
  if (event.lasts_for > 0) text += ", for " + format_duration(event.lasts_for);
  if (event.until) text += ", until " + event.until->text;
  return text;
}

std::string event_line(const Scenario& scenario, const Event& event) {
  std::vector<std::string> targets;
  for (const auto& target : event.targets) targets.push_back(target.text);
  std::string text =
      fmt::format("{}: '{}': {} of {}{}. {}.", describe(event.trigger), event.name, verb_info(event.verb).name,
                  fmt::join(targets, ", "), arguments_of(event), verb_info(event.verb).meaning);
  std::vector<std::string> lacking;
  for (const auto& contender : scenario.contenders)
    if (!event_applies(scenario, contender, event)) lacking.push_back(contender.name);
  if (!lacking.empty()) text += fmt::format(" (n/a in {})", fmt::join(lacking, ", "));
  return text;
}

std::string workload_line(const Scenario& scenario) {
  const auto& workload = scenario.workload;
  std::string text = fmt::format("{} of {}, {} requests per second (open loop)", scenario::rw_name(workload.rw),
                                 format_size(workload.bs), workload.rate_iops);
  if (workload.rw == scenario::Rw::randrw || workload.rw == scenario::Rw::rw)
    text += fmt::format(", {} % reads", workload.rwmixread);
  if (workload.overlap != 0) text += fmt::format(", {} % drawn to conflict with one in flight", workload.overlap);
  text += fmt::format(", for {}; a request unanswered for {} is an error", format_duration(scenario.length),
                      format_duration(workload.retry));
  return text;
}

std::string link_line(const scenario::LinkSpec& link) {
  return fmt::format("{} there and back, {} each way", format_duration(link.rtt), format_bit_rate(link.bandwidth));
}

// What holds a repair back, the defaults among it.
std::string rebuild_line(const Scenario& scenario) {
  const auto& rebuild = scenario.rebuild;
  const std::string most = rebuild.speed_max > 0 ? "at most " + format_rate(rebuild.speed_max) : "no limit";
  std::string text = most + " for each disk or node repaired; while the client has requests, ";
  if (rebuild.speed_min > 0) return text + format_rate(rebuild.speed_min);
  return text + format_rate(raid::ArrayTuning{}.speed_min) + " for each disk of an array (the default)";
}

// Named lines below each other, aligned behind the longest name.
std::string named_lines(const std::vector<std::pair<std::string, std::string>>& lines) {
  std::size_t width = 0;
  for (const auto& [name, text] : lines) width = std::max(width, name.size());
  std::string out;
  for (const auto& [name, text] : lines) out += fmt::format("  {:<{}}  ", name, width) + wrapped(text, width + 4);
  return out;
}

std::string links_in_prose(const Scenario& scenario) {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const auto& link : scenario.links)
    if (link.name != "client") lines.emplace_back(link.name, link_line(link));
  lines.emplace_back("client", link_line(scenario.client_link) + ": from the client to every node");
  return named_lines(lines);
}

std::string contenders_in_prose(const Scenario& scenario) {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const auto& contender : scenario.contenders) {
    std::string text = describe(contender);
    if (contender.replicate) text += ", link " + contender.replicate->link;
    for (const auto& site : contender.sites) {
      std::vector<std::string> nodes;
      for (const std::uint32_t node : site.nodes) nodes.push_back(contender.nodes[node].name);
      text += fmt::format("; site {}: {}", site.name, fmt::join(nodes, ", "));
    }
    for (const auto& pair : contender.between)
      text += fmt::format("; between {} and {}: link {}", pair.one, pair.other, pair.link);
    lines.emplace_back(contender.name, text);
  }
  return named_lines(lines);
}

}  // namespace

std::string scenario_in_prose(const Scenario& scenario) {
  std::string out = scenario.title + "\n\n";
  out += "Goal        " + wrapped(scenario.goal, 12);
  if (!scenario.expected.empty()) out += "Expected    " + wrapped(scenario.expected, 12);
  const std::string disk = scenario.fair == scenario::Fairness::same_disk
                               ? "equal disks of " + format_size(scenario.disk.size_bytes)
                               : "each contender has disks just large enough for the volume";
  out += "Volume      " +
         wrapped(fmt::format("{}; {} ({})", format_size(scenario.volume_bytes), disk, scenario.disk.model), 12);
  out += "Workload    " + wrapped(workload_line(scenario), 12);
  out += "Repair      " + wrapped(rebuild_line(scenario), 12);
  if (!scenario.show.empty()) {
    std::vector<std::string_view> names;
    for (const auto measure : scenario.show) names.push_back(scenario::measure_info(measure).name);
    out += "Shown       " + wrapped(fmt::format("also {}", fmt::join(names, ", ")), 12);
  }
  out += "\nLinks\n" + links_in_prose(scenario) + "\nContenders\n" + contenders_in_prose(scenario);
  out += "\nWhat happens\n";
  for (const auto& event : scenario.events) out += "  * " + wrapped(event_line(scenario, event), 4);
  if (scenario.events.empty()) out += "  nothing fails\n";
  out += "\nWhat is expected\n";
  for (const auto& expectation : scenario.expectations) {
    out += "  * " + wrapped(expectation.check, 4);
    if (!expectation.why.empty()) out += "      " + wrapped(expectation.why, 6);
  }
  return out;
}

namespace {

int show(const CommandLine& line) {
  if (line.words.size() != 1) return refuse_usage("show", "expected a scenario; resilver list names them");
  const auto parsed = scenario::load_scenario(find_scenario(line.words[0]));
  if (!parsed) {
    for (const auto& diagnostic : parsed.error()) fmt::print(stderr, "{}\n", to_string(diagnostic));
    return kBadUsage;
  }
  fmt::print("{}", scenario_in_prose(*parsed));
  return kDone;
}

}  // namespace

constexpr CommandSpec kShowCommand = {
    .name = "show",
    .meaning = "what a scenario says, in prose",
    .words = "SCENARIO",
    .description = "What a scenario says, in prose. SCENARIO is a file or the name of one that ships.",
    .examples = {"resilver show disk-then-server"},
    .exits = {{0, "done"}, {2, "bad usage, or the scenario is not sound"}},
    .run = show,
};

}  // namespace resilver::tools
