#include "scenario/parse.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <tuple>

#include <fmt/format.h>

#include "base/printable.h"
#include "base/units.h"
#include "scenario/measures.h"
#include "scenario/selector.h"
#include "scenario/toml_reader.h"
#include "scenario/validate.h"
#include "scenario/verbs.h"

namespace resilver::scenario {

namespace {

// ---- [world.real] and --set: changes to the tree before it is read ---------------------------------------------------

toml::table* named_element(toml::table& root, std::string_view list, std::string_view name) {
  toml::array* array = root.get_as<toml::array>(list);
  if (!array) return nullptr;
  for (auto& element : *array)
    if (toml::table* table = element.as_table())
      if (const auto* value = table->get_as<std::string>("name"); value && value->get() == name) return table;
  return nullptr;
}

void merge(toml::table& into, toml::table& from) {
  for (auto&& [key, node] : from) {
    toml::table* inner = node.as_table();
    toml::table* target = into.get_as<toml::table>(key.str());
    if (inner && target)
      merge(*target, *inner);
    else
      node.visit([&](auto& value) { into.insert_or_assign(key, std::move(value)); });
  }
}

// Merges [world.real] (or only checks and drops it) and leaves the root without `world`.
void apply_world(toml::table& root, Scenario& scenario, Complaints& complaints) {
  toml::node* node = root.get("world");
  if (!node) return;
  TableReader reader(root, "", complaints);
  if (toml::table* world = reader.read_table("world")) {
    TableReader worlds(*world, "world", complaints);
    if (toml::table* real = worlds.read_table("real")) {
      TableReader keys(*real, "world.real", complaints, &kRealKeys);
      keys.read("pace", scenario.pace);
      for (const char* key : {"volume", "length", "settle"}) keys.has(key);
      std::vector<std::pair<toml::table*, toml::table*>> merges;
      for (const char* list : {"contender", "event"}) {
        toml::table* named = keys.read_table(list);
        if (!named) continue;
        for (auto&& [name, value] : *named) {
          toml::table* target = named_element(root, list, name.str());
          if (target && value.is_table())
            merges.emplace_back(target, value.as_table());
          else
            complaints.at(value, "world.real",
                          fmt::format("world.real.{}.{}: a table for one of the {}s expected", list,
                                      std::string(name.str()), list));
        }
      }
      for (const char* key : {"disk", "rebuild", "workload", "link"}) keys.read_table(key);
      keys.finish();
      if (scenario.real) {
        for (auto& [target, from] : merges) merge(*target, *from);
        for (const char* done : {"pace", "contender", "event"}) real->erase(done);
        merge(root, *real);
      }
    }
    worlds.finish();
  }
  root.erase("world");
}

toml::table value_from(const std::string& text) {
  toml::parse_result parsed = toml::parse("v = " + text + "\n");
  if (parsed && parsed.table().size() == 1 && text.find_first_of("\r\n") == std::string::npos) {
    toml::table copy;  // a copy has no positions, which is how Complaints knows what came from --set
    parsed.table().get("v")->visit([&](const auto& value) { copy.insert_or_assign("v", value); });
    return copy;
  }
  toml::table table;
  table.insert_or_assign("v", text);
  return table;
}

void apply_set(toml::table& root, const std::string& key, const std::string& text, Complaints& complaints) {
  const std::string where = "--set " + key;
  std::vector<std::string> path;
  for (std::size_t begin = 0; begin <= key.size();) {
    const auto end = std::min(key.find('.', begin), key.size());
    path.push_back(key.substr(begin, end - begin));
    begin = end + 1;
  }
  if (std::any_of(path.begin(), path.end(), [](const auto& part) { return part.empty(); }))
    return complaints.option(where, "a dotted key such as workload.rate_iops expected");
  toml::table* table = &root;
  std::size_t next = 0;
  if (path[0] == "contender" || path[0] == "event") {
    if (path.size() < 3) return complaints.option(where, fmt::format("{}.NAME.KEY expected", path[0]));
    table = named_element(root, path[0], path[1]);
    if (!table) return complaints.option(where, fmt::format("there is no {} '{}'", path[0], path[1]));
    next = 2;
  }
  for (; next + 1 < path.size(); ++next) {
    if (!table->contains(path[next])) table->insert_or_assign(path[next], toml::table{});
    table = table->get_as<toml::table>(path[next]);
    if (!table) return complaints.option(where, fmt::format("'{}' is no table", path[next]));
  }
  toml::table value = value_from(text);
  value.get("v")->visit([&](auto& node) { table->insert_or_assign(path.back(), std::move(node)); });
}

// ---- sections --------------------------------------------------------------------------------------------------------

void read_disk(TableReader& root, Scenario& scenario) {
  toml::table* table = root.read_table("disk");
  const bool sized = scenario.fair == Fairness::same_disk;
  if (!table) {
    if (sized) root.require("disk", "a table [disk] with model and size");
    return;
  }
  TableReader disk(*table, "disk", root.complaints(), &kDiskKeys);
  const std::vector<std::string> models = {"hdd", "sata-ssd", "nvme", "ostep"};
  if (auto index = disk.read_word("model", models)) scenario.disk.model = models[*index];
  if (disk.read_size("size", scenario.disk.size_bytes)) {
    if (!sized)
      disk.complain("size", "fair = \"same-usable\" computes it from the volume: leave it out");
    else if (scenario.disk.size_bytes < (8u << 20) || scenario.disk.size_bytes > kMaxDiskBytes)
      disk.complain("size", "from 8MiB to 16TiB expected");
  } else if (sized) {
    disk.require("size", "a size such as \"256GiB\"");
  }
  std::uint64_t bytes = 0;
  Nanos time = 0;
  if (disk.read_size("cache", bytes)) scenario.disk.cache_bytes = bytes;
  if (disk.read_duration("latency", time)) scenario.disk.latency = time;
  if (disk.read_rate("bandwidth", bytes)) scenario.disk.bandwidth = bytes;
  disk.finish();
}

void read_links(TableReader& root, Scenario& scenario) {
  toml::table* table = root.read_table("link");
  if (table) {
    for (auto&& [key, node] : *table) {
      LinkSpec link;
      link.name = key.str();
      const std::string path = "link." + link.name;
      if (!node.is_table()) {
        root.complaints().at(node, path, path + ": a table with rtt, bandwidth, queue expected");
        continue;
      }
      TableReader reader(*node.as_table(), path, root.complaints(), &kLinkKeys);
      reader.read_duration("rtt", link.rtt);
      reader.read_rate("bandwidth", link.bandwidth);
      if (reader.read_size("queue", link.queue_bytes) && (link.queue_bytes < 4096 || link.queue_bytes > (1ull << 30)))
        reader.complain("queue", "from 4K to 1GiB expected");
      reader.finish();
      scenario.links.push_back(link);
    }
  }
  const LinkSpec* client = find_link(scenario, "client");
  if (!client) client = find_link(scenario, "lan");
  if (client) scenario.client_link = *client;
  scenario.client_link.name = "client";
}

void read_node_keys(TableReader& reader, NodeSpec& node) {
  reader.read("raid", node.raid, 0, 255);
  reader.read("disks", node.disks, 0, 1000);
  reader.read("spares", node.spares, 0, 1000);
  reader.read_size("chunk", node.chunk_bytes);
  reader.read("layout", node.layout);
  const std::vector<std::string> words = {"none", "resync", "bitmap", "journal"};
  if (auto index = reader.read_word("consistency", words)) node.consistency = static_cast<Consistency>(*index);
  reader.read("force", node.force);
  if (reader.read_duration("member_timeout", node.member_timeout) && node.member_timeout < kMillisecond)
    reader.complain("member_timeout", "1ms at least expected");
}

// `nodes = [...]` with `each`, or node.X tables, or both (a node.X then overrides `each`).
void read_nodes(TableReader& reader, ContenderSpec& contender) {
  NodeSpec each;
  each.where = contender.where;
  toml::table* each_table = reader.read_table("each");
  if (each_table) {
    TableReader keys(*each_table, reader.path("each"), reader.complaints(), &kNodeKeys);
    each.where = keys.where();
    read_node_keys(keys, each);
    keys.finish();
  }
  for (toml::node* node : reader.read_list("nodes")) {
    const auto* name = node->as_string();
    if (!name || !is_identifier(name->get())) {
      reader.complaints().at(*node, reader.path("nodes"),
                             reader.path("nodes") + ": names of nodes such as \"A\" expected");
      continue;
    }
    contender.nodes.push_back(each);
    contender.nodes.back().name = name->get();
  }
  const bool listed = !contender.nodes.empty();
  toml::table* tables = reader.read_table("node");
  std::vector<std::pair<Position, std::string>> order;
  if (tables)
    for (auto&& [key, node] : *tables) order.emplace_back(position_of(node), std::string(key.str()));
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first.line, a.first.column, a.second) < std::tie(b.first.line, b.first.column, b.second);
  });
  for (const auto& [position, name] : order) {
    const std::string path = reader.path("node." + name);
    toml::node& node = *tables->get(name);
    auto known =
        std::find_if(contender.nodes.begin(), contender.nodes.end(), [&](const auto& n) { return n.name == name; });
    if (known == contender.nodes.end()) {
      if (listed || !is_identifier(name)) {
        reader.complaints().at(node, path, path + (listed ? ": not among 'nodes'" : ": a name such as A expected"));
        continue;
      }
      known = contender.nodes.insert(contender.nodes.end(), each);
      known->name = name;
    }
    if (!node.is_table()) {
      reader.complaints().at(node, path, path + ": a table such as { raid = 5, disks = 5 } expected");
      continue;
    }
    TableReader keys(*node.as_table(), path, reader.complaints(), &kNodeKeys);
    known->where = position;
    read_node_keys(keys, *known);
    if (!each_table)
      for (const char* key : {"raid", "disks"}) keys.require(key, "a number");
    keys.finish();
  }
  if (each_table && tables == nullptr)
    for (const char* key : {"raid", "disks"})
      if (!each_table->contains(key)) reader.complain("each", fmt::format("'{}' is missing", key));
  if (!each_table && listed && order.size() < contender.nodes.size())
    reader.complain("nodes", "'each' is missing: what each of these nodes has");
  if (contender.nodes.empty())
    reader.complain("nodes", "a contender needs a node: node.A = { raid = ..., disks = ... } expected");
  if (contender.nodes.size() > kMaxNodes) {
    reader.complain("nodes", fmt::format("{} nodes: at most {}", contender.nodes.size(), kMaxNodes));
    contender.nodes.resize(kMaxNodes);
  }
}

// sites = { east = ["A", "B"], west = ["C"] }, between = { east_west = "wan" }
void read_sites(TableReader& reader, ContenderSpec& contender) {
  toml::table* table = reader.read_table("sites");
  if (table != nullptr) {
    TableReader keys(*table, reader.path("sites"), reader.complaints());
    for (auto&& [key, value] : *table) {
      SiteSpec site;
      site.name = std::string(key.str());
      if (!is_identifier(site.name)) keys.complain(site.name, "letters, digits and _ expected");
      for (toml::node* node : keys.read_list(site.name)) {
        const auto* name = node->as_string();
        const auto known = std::find_if(contender.nodes.begin(), contender.nodes.end(),
                                        [&](const auto& n) { return name != nullptr && n.name == name->get(); });
        const auto index = static_cast<std::uint32_t>(known - contender.nodes.begin());
        const bool elsewhere = std::any_of(contender.sites.begin(), contender.sites.end(), [&](const SiteSpec& s) {
          return std::find(s.nodes.begin(), s.nodes.end(), index) != s.nodes.end();
        });
        if (known == contender.nodes.end() || elsewhere) {
          keys.complaints().at(*node, keys.path(site.name),
                               keys.path(site.name) + ": nodes, each in one site, expected");
        } else {
          site.nodes.push_back(index);
        }
      }
      contender.sites.push_back(std::move(site));
    }
  }
  toml::table* pairs = reader.read_table("between");
  if (pairs == nullptr) return;
  TableReader keys(*pairs, reader.path("between"), reader.complaints());
  for (auto&& [key, value] : *pairs) {
    const std::string text(key.str());
    SitePair pair;
    for (const auto& one : contender.sites) {
      for (const auto& other : contender.sites)
        if (text == one.name + "-" + other.name) pair = {one.name, other.name, {}};
    }
    if (pair.one.empty() || pair.one == pair.other) keys.complain(text, "two sites, as in east-west, expected");
    keys.read(text, pair.link);
    contender.between.push_back(std::move(pair));
  }
}

void read_replicate(TableReader& reader, ContenderSpec& contender) {
  toml::table* table = reader.read_table("replicate");
  if (!table) return;
  TableReader keys(*table, reader.path("replicate"), reader.complaints(), &kReplicateKeys);
  ReplicateSpec replicate;
  if (auto index = keys.read_word("ack", {"durable", "quorum", "received", "async"}))
    replicate.ack = static_cast<Ack>(*index);
  if (!contender.nodes.empty()) replicate.primary = contender.nodes.front().name;
  keys.read("primary", replicate.primary);
  if (keys.read_duration("detect", replicate.detect) &&
      (replicate.detect < 10 * kMillisecond || replicate.detect > kHour))
    keys.complain("detect", "from 10ms to 1h expected");
  replicate.grace = replicate.detect;
  replicate.lease = replicate.detect / 5 * 4;
  if (keys.read_duration("congestion", replicate.congestion) &&
      (replicate.congestion < 10 * kMillisecond || replicate.congestion > kHour))
    keys.complain("congestion", "from 10ms to 1h expected");
  if (keys.read_duration("clear_bits", replicate.clear_bits) && replicate.clear_bits < kMillisecond)
    keys.complain("clear_bits", "1ms at least expected");
  keys.read("min_in_sync", replicate.min_in_sync, 0, 255);
  replicate.link = "lan";
  keys.read("link", replicate.link);
  keys.finish();
  contender.replicate = replicate;
}

void read_contenders(TableReader& root, Scenario& scenario) {
  root.require("contender", "at least one [[contender]]");
  for (toml::node* node : root.read_list("contender")) {
    toml::table* table = node->as_table();
    if (!table) {
      root.complaints().at(*node, "contender", "contender: a table [[contender]] expected");
      continue;
    }
    ContenderSpec contender;
    contender.where = position_of(*table);
    const auto* name = table->get_as<std::string>("name");
    TableReader reader(*table, "contender." + (name ? name->get() : std::string("?")), root.complaints(),
                       &kContenderKeys);
    reader.require("name", "a name");
    if (reader.read("name", contender.name) && !is_identifier(contender.name))
      reader.complain("name", fmt::format("'{}': letters, digits and _ expected", contender.name));
    read_nodes(reader, contender);
    read_replicate(reader, contender);
    read_sites(reader, contender);
    reader.read_duration("reboot", contender.reboot);
    reader.finish();
    if (scenario.contenders.size() == kMaxContenders) {
      root.complaints().at(contender.where, fmt::format("more than {} contenders", kMaxContenders));
      break;
    }
    scenario.contenders.push_back(std::move(contender));
  }
}

void read_workload(TableReader& root, Scenario& scenario) {
  WorkloadSpec& workload = scenario.workload;
  workload.size_bytes = scenario.volume_bytes;
  toml::table* table = root.read_table("workload");
  root.require("workload", "a table [workload]");
  if (!table) return;
  TableReader keys(*table, "workload", root.complaints(), &kWorkloadKeys);
  if (auto index = keys.read_word("rw", {"read", "write", "randread", "randwrite", "rw", "randrw"}))
    workload.rw = static_cast<Rw>(*index);
  keys.read("rwmixread", workload.rwmixread, 0, 100);
  if (keys.read_size("bs", workload.bs) && (workload.bs < 4096 || workload.bs > (1 << 20) || workload.bs % 4096 != 0))
    keys.complain("bs", "a multiple of 4K from 4K to 1M expected");
  keys.read("rate_iops", workload.rate_iops, 1, 1'000'000);
  keys.read("max_inflight", workload.max_inflight, 1, 4096);
  keys.read("flush_every", workload.flush_every, 0, 1'000'000);
  keys.read_percent("overlap", workload.overlap);
  if (keys.read_duration("retry", workload.retry) && workload.retry < kMillisecond)
    keys.complain("retry", "1ms at least expected");
  keys.read_duration("warmup", workload.warmup);
  if (keys.read_size("offset", workload.offset)) {
    if (workload.offset % kBlockBytes != 0) keys.complain("offset", "a multiple of 4K expected");
    workload.size_bytes -= std::min(workload.size_bytes, workload.offset);
  }
  if (keys.read_size("size", workload.size_bytes) && (workload.size_bytes == 0 || workload.size_bytes % kBlockBytes != 0))
    keys.complain("size", "a multiple of 4K above 0 expected");
  keys.finish();
}

void read_rebuild(TableReader& root, Scenario& scenario) {
  toml::table* table = root.read_table("rebuild");
  if (!table) return;
  TableReader keys(*table, "rebuild", root.complaints(), &kRebuildKeys);
  keys.read_rate("speed_min", scenario.rebuild.speed_min);
  keys.read_rate("speed_max", scenario.rebuild.speed_max);
  keys.finish();
}

// ---- events ----------------------------------------------------------------------------------------------------------

void read_within(TableReader& keys, Trigger& trigger) {
  const auto list = keys.read_list("within");
  Nanos bounds[2] = {0, 0};
  bool good = list.size() == 2;
  for (std::size_t i = 0; good && i < 2; ++i) {
    const auto* text = list[i]->as_string();
    auto value = text ? parse_duration(text->get()) : Result<Nanos>(fail(Errc::bad_input, {}));
    good = value.has_value() && *value >= 0;
    if (good) bounds[i] = *value;
  }
  if (!good) return keys.complain("within", "two durations such as [\"1min\", \"5min\"] expected");
  trigger.at = bounds[0];
  trigger.at_latest = bounds[1];
}

void read_condition(TableReader& keys, std::string_view key, std::optional<Condition>& into) {
  std::string text;
  if (!keys.read(key, text)) return;
  auto condition = parse_condition(text);
  if (condition)
    into = *condition;
  else
    keys.complain(key, condition.error().what);
}

void read_trigger(TableReader& keys, Event& event) {
  Trigger& trigger = event.trigger;
  int bases = 0;
  if (keys.has("at")) {
    ++bases;
    trigger.base = Trigger::Base::at;
    keys.read_duration("at", trigger.at);
  }
  if (keys.has("within")) {
    ++bases;
    trigger.base = Trigger::Base::within;
    read_within(keys, trigger);
  }
  if (keys.has("at_write")) {
    ++bases;
    trigger.base = Trigger::Base::at_write;
    keys.read("at_write", trigger.at_write, 1, 1ull << 40);
  }
  if (keys.has("after")) {
    ++bases;
    trigger.base = Trigger::Base::after;
    keys.read("after", trigger.after);
  }
  read_condition(keys, "when", trigger.when);
  keys.read_duration("delay", trigger.delay);
  if (keys.read_duration("every", trigger.every) && trigger.every < 10 * kMillisecond)
    keys.complain("every", "10ms at least expected");
  if (bases > 1)
    keys.complaints().at(keys.where(), fmt::format("event '{}' has {} triggers: one of at, within, at_write and after "
                                                   "expected",
                                                   event.name, bases));
  if (bases == 0 && !keys.has("when"))
    keys.complaints().at(
        keys.where(),
        fmt::format("event '{}' has no trigger: at, after, when, at_write or within expected", event.name));
}

void read_arguments(TableReader& keys, Event& event) {
  const VerbInfo& verb = verb_info(event.verb);
  bool any = false;
  for (const VerbArgument& argument : verb.arguments) {
    keys.allow(argument.key);
    if (argument.by_default.empty()) keys.require(argument.key, argument.values);
    if (!keys.has(argument.key)) continue;
    argument.read(keys, argument.key, event.arguments);
    any = any || !argument.text(event.arguments).empty();
  }
  if (!verb.needs_one_of.empty() && !any) keys.complain("do", fmt::format("{} needs {}", verb.name, verb.needs_one_of));
}

void read_targets(TableReader& keys, Event& event) {
  const TargetKind kind = verb_info(event.verb).target;
  if ((kind == TargetKind::volume || kind == TargetKind::arbiter) && !keys.has("target")) {  // there is one only
    Target target;
    target.kind = kind;
    target.text = kind == TargetKind::volume ? "volume" : "arbiter";
    event.targets.push_back(target);
    return;
  }
  keys.require("target", "who is meant, such as \"@serving.disk1\"");
  for (toml::node* node : keys.read_list("target")) {
    const auto* text = node->as_string();
    auto target =
        text ? parse_target(text->get(), event.verb) : Result<Target>(fail(Errc::bad_input, "a string expected"));
    if (target)
      event.targets.push_back(*target);
    else
      keys.complaints().at(*node, keys.path("target"), keys.path("target") + ": " + target.error().what);
  }
  if (event.targets.size() > kMaxTargets) {
    keys.complain("target", fmt::format("{} targets: at most {}", event.targets.size(), kMaxTargets));
    event.targets.resize(kMaxTargets);
  }
}

void read_end(TableReader& keys, Event& event) {
  const bool lasts = verb_info(event.verb).lasts;
  if (verb_info(event.verb).must_end) keys.require("for", "how long it lasts");
  if (keys.has("for")) {
    if (!lasts)
      keys.complain("for", fmt::format("{} has no end that could be set", verb_info(event.verb).name));
    else if (keys.read_duration("for", event.lasts_for) && event.lasts_for == 0)
      keys.complain("for", "longer than 0 expected");
  }
  if (keys.has("until")) {
    if (!lasts)
      keys.complain("until", fmt::format("{} has no end that could be set", verb_info(event.verb).name));
    else
      read_condition(keys, "until", event.until);
    if (event.lasts_for > 0) keys.complain("until", "one of 'for' and 'until' expected");
  }
  if (event.trigger.every > 0 && event.lasts_for >= event.trigger.every)
    keys.complain("every", "longer than 'for' expected");
}

// False if the verb itself is unknown, so that nothing more can be said about the event.
bool read_verb(TableReader& keys, Event& event) {
  std::vector<std::string> names;
  for (const auto& info : verb_table()) names.emplace_back(info.name);
  keys.require("do", "a verb such as \"disk.fail\"");
  std::string verb;
  if (!keys.read("do", verb)) return false;
  for (const auto& info : verb_table()) {
    if (info.name != verb) continue;
    event.verb = info.verb;
    return true;
  }
  keys.complain("do", fmt::format("'{}' is no verb: {} expected{}", verb, fmt::join(names, ", "), hint(verb, names)));
  return false;
}

void read_events(TableReader& root, Scenario& scenario) {
  for (toml::node* node : root.read_list("event")) {
    toml::table* table = node->as_table();
    if (!table) {
      root.complaints().at(*node, "event", "event: a table [[event]] expected");
      continue;
    }
    Event event;
    event.where = position_of(*table);
    const auto* name = table->get_as<std::string>("name");
    TableReader keys(*table, "event." + (name ? name->get() : std::string("?")), root.complaints(), &kEventKeys);
    keys.require("name", "a name");
    if (keys.read("name", event.name) &&
        (event.name.empty() || event.name.size() > 40 || event.name.find_first_of("'\"\n") != std::string::npos))
      keys.complain("name", "1 to 40 characters without quotes expected");
    const bool known = read_verb(keys, event);
    if (known) {
      read_trigger(keys, event);
      read_targets(keys, event);
      read_end(keys, event);
      read_arguments(keys, event);
      keys.finish();
    }
    if (scenario.events.size() == kMaxEvents) {
      root.complaints().at(event.where, fmt::format("more than {} events", kMaxEvents));
      break;
    }
    scenario.events.push_back(std::move(event));
  }
}

void read_expectations(TableReader& root, Scenario& scenario) {
  for (toml::node* node : root.read_list("expect")) {
    toml::table* table = node->as_table();
    if (!table || scenario.expectations.size() == kMaxExpectations) {
      root.complaints().at(*node, "expect",
                           table ? fmt::format("more than {} expectations", kMaxExpectations)
                                 : std::string("expect: a table [[expect]] expected"));
      continue;
    }
    Expectation expectation;
    TableReader keys(*table, "expect", root.complaints(), &kExpectKeys);
    keys.require("check", "an expression such as \"lost_writes == 0\"");
    const bool has_check = keys.read("check", expectation.check);
    keys.read("why", expectation.why);
    if (auto index = keys.read_word("world", {"virtual", "real"})) expectation.real = *index == 1;
    keys.finish();
    if (!has_check) continue;
    expectation.where = position_of(*table->get("check"));
    expectation.where.column += 1;  // the quote
    scenario.expectations.push_back(std::move(expectation));
  }
}

// ---- the whole -------------------------------------------------------------------------------------------------------

// show = ["write_latency_p50", ...]
void read_show(TableReader& root, Scenario& scenario) {
  std::vector<std::string> names;
  for (const auto& info : measure_table()) names.emplace_back(info.name);
  for (toml::node* node : root.read_list("show")) {
    const auto* name = node->as_string();
    const MeasureInfo* info = name ? find_measure(name->get()) : nullptr;
    if (info && std::find(scenario.show.begin(), scenario.show.end(), info->id) == scenario.show.end())
      scenario.show.push_back(info->id);
    else if (info)
      root.complaints().at(*node, "show", fmt::format("show: '{}' is named twice", name->get()));
    else if (name)
      root.complaints().at(*node, "show",
                           fmt::format("show: '{}' is no measure{}; docs/scenarios.md lists them", name->get(),
                                       nearest(name->get(), names)));
    else
      root.complaints().at(*node, "show", "show: names of measures such as \"write_latency_p50\" expected");
  }
}

void read_head(TableReader& root, Scenario& scenario) {
  std::uint64_t schema = 1;
  root.require("schema", "schema = 1");
  if (root.read("schema", schema, 0, 1'000'000) && schema != 1)
    root.complain("schema", fmt::format("this program reads schema 1, not {}", schema));
  for (const char* key : {"title", "goal", "volume", "length"}) root.require(key, "it says what the scenario is");
  root.read("title", scenario.title);
  root.read("goal", scenario.goal);
  root.read("expected", scenario.expected);
  read_show(root, scenario);
  root.read("seed", scenario.seed, 0, ~0ull);
  if (root.read_size("volume", scenario.volume_bytes) &&
      (scenario.volume_bytes < (1u << 20) || scenario.volume_bytes > kMaxVolumeBytes ||
       scenario.volume_bytes % kBlockBytes != 0))
    root.complain("volume", "a multiple of 4K of at least 1MiB and less than 16TiB expected");
  if (auto index = root.read_word("fair", {"same-disk", "same-usable"})) scenario.fair = static_cast<Fairness>(*index);
  if (root.read_duration("length", scenario.length) && scenario.length < 100 * kMillisecond)
    root.complain("length", "100ms at least expected");
  scenario.settle = scenario.length;
  root.read_duration("settle", scenario.settle);
}

// `real_only`: the other world was read already and is sound, so that what is complained about comes with [world.real].
Scenario read_scenario(toml::table& table, const std::string& file, const ParseOptions& options, Complaints& complaints,
                       bool real_only) {
  Scenario scenario;
  scenario.file = file;
  scenario.name = std::filesystem::path(file).stem().string();
  scenario.real = options.real;
  if (const auto* volume = table.get_as<std::string>("volume"))
    if (auto bytes = parse_size(volume->get())) scenario.modelled_volume_bytes = *bytes;
  apply_world(table, scenario, complaints);
  for (const auto& [key, value] : options.set) apply_set(table, key, value, complaints);
  TableReader root(table, "", complaints, &kHeadKeys);
  read_head(root, scenario);
  read_disk(root, scenario);
  read_links(root, scenario);
  read_contenders(root, scenario);
  read_workload(root, scenario);
  read_rebuild(root, scenario);
  read_events(root, scenario);
  read_expectations(root, scenario);
  root.has("world");  // apply_world() has taken it out
  root.finish();
  if (!scenario.real) scenario.modelled_volume_bytes = scenario.volume_bytes;
  if (complaints.empty())
    validate(scenario, [&](Position where, std::string message) {
      complaints.at(where, real_only ? "with [world.real]: " + message : std::move(message));
    });
  return scenario;
}

void keep_only(Scenario& scenario, const std::vector<std::string>& only, Complaints& complaints) {
  if (only.empty()) return;
  std::vector<std::string> names;
  for (const auto& contender : scenario.contenders) names.push_back(contender.name);
  for (const auto& name : only)
    if (!find_contender(scenario, name))
      complaints.option("--only", fmt::format("there is no contender '{}': {} expected{}", name, fmt::join(names, ", "),
                                              hint(name, names)));
  std::erase_if(scenario.contenders, [&](const ContenderSpec& contender) {
    if (std::find(only.begin(), only.end(), contender.name) != only.end()) return false;
    scenario.left_out.push_back(contender.name);
    return true;
  });
}

}  // namespace

std::string to_string(const Diagnostic& diagnostic) {
  return printable(diagnostic.where) + ": " + printable(diagnostic.message);
}

ParseResult parse_scenario(std::string_view text, const std::string& file, const ParseOptions& options) {
  std::vector<std::string> set_keys;
  for (const auto& [key, value] : options.set) set_keys.push_back(key);
  Complaints complaints(file, set_keys);
  std::optional<Scenario> wanted;
  // Both worlds are read: what is wrong in [world.real] shall not wait until somebody runs it.
  for (const bool real : {false, true}) {
    toml::parse_result parsed = toml::parse(text, file);
    if (!parsed) {
      const auto& begin = parsed.error().source().begin;
      complaints.at(Position{begin.line, begin.column}, description_of(parsed.error()));
      return std::unexpected(complaints.take());
    }
    ParseOptions world = options;
    world.real = real;
    Scenario scenario = read_scenario(parsed.table(), file, world, complaints, real);
    if (real == options.real) wanted = std::move(scenario);
  }
  if (complaints.empty()) keep_only(*wanted, options.only, complaints);
  if (!complaints.empty()) return std::unexpected(complaints.take());
  return std::move(*wanted);
}

ParseResult load_scenario(const std::string& path, const ParseOptions& options) {
  std::error_code error;
  const auto size = std::filesystem::is_regular_file(path, error) ? std::filesystem::file_size(path, error) : 0;
  if (error || size == 0 || size > kMaxScenarioFileBytes)
    return std::unexpected(std::vector<Diagnostic>{{path, error ? "cannot be read: " + error.message()
                                                          : size > kMaxScenarioFileBytes
                                                              ? "is larger than 1 MiB: a scenario file expected"
                                                              : "is no file or empty: a scenario file expected"}});
  std::ifstream in(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(size), '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(size)))
    return std::unexpected(std::vector<Diagnostic>{{path, "cannot be read"}});
  return parse_scenario(text, path, options);
}

}  // namespace resilver::scenario
