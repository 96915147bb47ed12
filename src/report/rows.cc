#include "report/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/units.h"
#include "report/sentences.h"

namespace resilver::report {

namespace {

using scenario::ContenderResult;
using scenario::EventResult;
using scenario::EventState;
using scenario::MeasureId;
using scenario::Phase;
using scenario::RunResults;
using scenario::Value;
using scenario::whole_again;
using scenario::WindowResult;

// ---- labels ----------------------------------------------------------------------------------------------------------

constexpr const char* kDisks = "disks (+spares) / servers";
constexpr const char* kSpace = "raw bytes per usable byte";
constexpr const char* kSpaceWithSpares = "  with the spares";
constexpr const char* kOutage = "no service, total";
constexpr const char* kClientOutage = "client unanswered, total";
constexpr const char* kErrors = "errors that the client saw";
constexpr const char* kUnavailable = "unreadable at the worst moment";
constexpr const char* kFailovers = "failovers";
constexpr const char* kNeedless = "  of which needless";
constexpr const char* kExposed = "one failure from loss, for";
constexpr const char* kWholeAgain = "back to full redundancy after";
constexpr const char* kNeverBecause = "  never, because";
constexpr const char* kMoved = "read and written on disks";
constexpr const char* kSent = "  sent over links";
constexpr const char* kRate = "data restored, per second";
constexpr const char* kLimitedBy = "  limited by";
constexpr const char* kMismatches = "mismatches that a scrub counted";
constexpr const char* kNamed = "  of which it named the block";
constexpr const char* kLost = "acknowledged writes lost";
constexpr const char* kWrong = "wrong or stale data returned";
constexpr const char* kUnreadable = "unreadable at the end";
constexpr const char* kDamaged = "overwritten, and served as good";
constexpr const char* kUnknown = "writes of unknown outcome";
constexpr const char* kServes = "serves at the end";

constexpr const char* kLabels[] = {
    kDisks,   kSpace,      kSpaceWithSpares, kOutage,  kClientOutage, kErrors, kUnavailable, kFailovers,  kNeedless,
    kExposed, kWholeAgain, kNeverBecause,    kMoved,   kSent,         kRate,   kLimitedBy,   kMismatches, kNamed,
    kLost,    kWrong,      kUnreadable,      kDamaged, kUnknown,      kServes};

// "write latency p50" of write_latency_p50.
std::string label_of(MeasureId measure) {
  std::string label(scenario::measure_info(measure).name);
  std::replace(label.begin(), label.end(), '_', ' ');
  return label;
}

// ---- cells -----------------------------------------------------------------------------------------------------------

bool timing_comparable(const RunResults& results) { return !results.header.real || results.header.paced; }

// A contender that is down or has lost the data shows numbers, but competes with nobody.
bool competes(const ContenderResult& contender, const WindowResult& window) {
  return contender.inconclusive.empty() && !window.outage.never_ended;
}

double infinite() { return 1e300; }

Cell time_cell(const RunResults& results, const Value& value, bool in_race, const char* never_word) {
  Cell cell;
  if (value.kind == Value::Kind::absent)
    cell.text = "-";
  else if (value.kind == Value::Kind::never)
    cell.text = never_word;
  else
    cell.text = format_duration(static_cast<Nanos>(value.number));
  if (!in_race || !timing_comparable(results) || value.kind == Value::Kind::absent) return cell;
  const bool never = value.kind == Value::Kind::never;
  cell.rank = never ? infinite() : value.number <= static_cast<double>(kNoOutage) ? 0 : value.number;
  return cell;
}

Cell count_cell(std::uint64_t count, bool in_race) {
  Cell cell{fmt::format("{}", count), std::nullopt};
  if (in_race) cell.rank = static_cast<double>(count);
  return cell;
}

Cell size_cell(std::uint64_t bytes) { return {format_size(bytes), std::nullopt}; }

// Any measure, as its unit reads.
Cell value_cell(const RunResults& results, MeasureId measure, const Value& value, bool in_race) {
  const auto& info = scenario::measure_info(measure);
  Cell cell{value.kind == Value::Kind::absent ? "-" : scenario::format_value(value), std::nullopt};
  if (value.kind != Value::Kind::number || !in_race || (info.timing && !timing_comparable(results))) return cell;
  if (info.better == scenario::Better::lower) cell.rank = value.number;
  if (info.better == scenario::Better::higher) cell.rank = value.number > 0 ? 1 / value.number : infinite();
  return cell;
}

bool shows(const Group& group, MeasureId measure) {
  return std::any_of(group.rows.begin(), group.rows.end(), [&](const Row& row) {
    return std::find(row.measures.begin(), row.measures.end(), measure) != row.measures.end();
  });
}

using MakeCell = std::function<Cell(const ContenderResult&, const EventResult&)>;

const EventResult* event_named(const ContenderResult& contender, const std::string& name) {
  for (const auto& event : contender.events)
    if (event.name == name) return &event;
  return nullptr;
}

// The rows of one event.
class EventRows {
 public:
  EventRows(const RunResults& results, Group& group) : results_(results), group_(group) {}

  void add(std::string label, std::vector<MeasureId> measures, const MakeCell& make) {
    Row row{std::move(label), std::move(measures), {}};
    for (const auto& contender : results_.contenders) {
      const EventResult* result = event_named(contender, group_.event);
      if (!result || result->state == EventState::not_applicable)
        row.cells.push_back({"n/a", std::nullopt});
      else if (result->state == EventState::not_reached)
        row.cells.push_back({"not reached", std::nullopt});
      else
        row.cells.push_back(make(contender, *result));
    }
    group_.rows.push_back(std::move(row));
  }

  bool any(const std::function<bool(const EventResult&)>& test) const {
    return std::any_of(results_.contenders.begin(), results_.contenders.end(), [&](const ContenderResult& contender) {
      const EventResult* event = event_named(contender, group_.event);
      return event && event->state == EventState::applied && test(*event);
    });
  }

  // The measure as it is; phases before and during the event where it has phases.
  void add_measure(MeasureId measure) {
    const auto one = [&](std::string label, std::optional<Phase> phase) {
      add(std::move(label), {measure}, [&](const ContenderResult& contender, const EventResult& event) {
        const Value value = scenario::value_of(contender, measure, event.name, phase);
        return value_cell(results_, measure, value, competes(contender, event.window));
      });
    };
    if (!scenario::measure_info(measure).phase) return one(label_of(measure), std::nullopt);
    one(label_of(measure) + " before", Phase::before);
    one(label_of(measure) + " during", Phase::during);
  }

  void add_service();
  void add_repair();
  void add_scrub();
  void add_latency();

 private:
  const RunResults& results_;
  Group& group_;
};

void EventRows::add_service() {
  const auto add_outage = [&](const char* label, MeasureId measure, const char* never_word) {
    add(label, {measure}, [&, measure, never_word](const auto& contender, const auto& event) {
      const Value value = scenario::value_of(contender, measure, event.name);
      if (!event.charged_with.empty() && value.kind == Value::Kind::number && value.number == 0)
        return Cell{"shared", std::nullopt};
      return time_cell(results_, value, contender.inconclusive.empty(), never_word);
    });
  };
  add_outage(kOutage, MeasureId::outage, "down");
  if (any([](const EventResult& event) { return event.window.client_outage.total > 0; }))
    add_outage(kClientOutage, MeasureId::client_outage, "to the end");
  if (any([](const EventResult& event) { return event.window.client_errors > 0; }))
    add(kErrors, {MeasureId::client_errors}, [](const auto& contender, const auto& event) {
      return count_cell(event.window.client_errors, competes(contender, event.window));
    });
  if (any([](const EventResult& event) { return event.window.unavailable_bytes > 0; }))
    add(kUnavailable, {MeasureId::unavailable_bytes},
        [](const auto&, const auto& event) { return size_cell(event.window.unavailable_bytes); });
  if (any([](const EventResult& event) { return event.window.failovers > 0; }))
    add(kFailovers, {MeasureId::failovers},
        [](const auto&, const auto& event) { return count_cell(event.window.failovers, false); });
  if (any([](const EventResult& event) { return event.window.needless_failovers > 0; }))
    add(kNeedless, {MeasureId::needless_failovers},
        [](const auto&, const auto& event) { return count_cell(event.window.needless_failovers, false); });
}

Cell because_cell(const WindowResult& window) {
  for (const auto* repair : {&window.repair, &window.node_repair})
    if (repair->needed && !repair->finished) return {repair->never_because, std::nullopt};
  return {"-", std::nullopt};
}

bool never_whole(const WindowResult& window) {
  return (window.repair.needed && !window.repair.finished) ||
         (window.node_repair.needed && !window.node_repair.finished);
}

bool repair_needed(const EventResult& event) { return event.window.repair.needed || event.window.node_repair.needed; }

Cell bytes_cell(const ContenderResult& contender, const EventResult& event, std::uint64_t bytes) {
  if (!repair_needed(event)) return {"-", std::nullopt};
  Cell cell = size_cell(bytes);
  const bool whole = whole_again(contender, event.name).kind == Value::Kind::number;
  if (competes(contender, event.window) && whole) cell.rank = static_cast<double>(bytes);
  return cell;
}

void EventRows::add_repair() {
  if (!any(repair_needed)) return;
  add(kExposed, {MeasureId::exposed_time}, [&](const auto& contender, const auto& event) {
    if (!competes(contender, event.window)) return Cell{"-", std::nullopt};
    const Value value = scenario::value_of(contender, MeasureId::exposed_time, event.name);
    return time_cell(results_, value, true, "to the end");
  });
  add(kWholeAgain, {MeasureId::repair_time, MeasureId::node_repair_time}, [&](const auto& contender, const auto& event) {
    return time_cell(results_, whole_again(contender, event.name), competes(contender, event.window), "never");
  });
  if (any([](const EventResult& event) { return never_whole(event.window); }))
    add(kNeverBecause, {}, [](const auto&, const auto& event) { return because_cell(event.window); });
  add(kMoved, {MeasureId::repair_read_bytes, MeasureId::repair_write_bytes},
      [](const auto& contender, const auto& event) {
        const auto& disk = event.window.repair;
        const auto& node = event.window.node_repair;
        return bytes_cell(contender, event, disk.read_bytes + disk.write_bytes + node.read_bytes + node.write_bytes);
      });
  const auto sent = [](const EventResult& event) {
    return event.window.repair.link_bytes + event.window.node_repair.link_bytes;
  };
  if (any([&](const EventResult& event) { return sent(event) > 0; }))
    add(kSent, {MeasureId::repair_link_bytes},
        [&](const auto& contender, const auto& event) { return bytes_cell(contender, event, sent(event)); });
  const auto add_told = [&](const char* label, MeasureId measure) {
    const auto told = [&](const ContenderResult& contender) {
      return scenario::value_of(contender, measure, group_.event).kind != Value::Kind::absent;
    };
    if (!std::any_of(results_.contenders.begin(), results_.contenders.end(), told)) return;
    add(label, {measure}, [&](const auto& contender, const auto& event) {
      const Value value = scenario::value_of(contender, measure, event.name);
      return value_cell(results_, measure, value, competes(contender, event.window));
    });
  };
  add_told(kRate, MeasureId::repair_rate);
  add_told(kLimitedBy, MeasureId::repair_limited_by);
}

void EventRows::add_scrub() {
  if (!any([](const EventResult& event) { return event.verb == "array.scrub" || event.window.mismatches > 0; })) return;
  add(kMismatches, {MeasureId::mismatches},
      [](const auto&, const auto& event) { return count_cell(event.window.mismatches, false); });
  add(kNamed, {MeasureId::mismatches_named},
      [](const auto&, const auto& event) { return count_cell(event.window.mismatches_named, false); });
}

void EventRows::add_latency() {
  const auto enough = [](const EventResult& event) {
    const auto& during = event.window.phases[static_cast<std::size_t>(Phase::during)];
    return during.read_latency.count() + during.write_latency.count() >= scenario::kSamplesForP99;
  };
  if (any(enough)) add_measure(MeasureId::latency_p99);
  for (const MeasureId measure : results_.header.show)
    if (scenario::measure_info(measure).event && !shows(group_, measure)) add_measure(measure);
}

// ---- groups ----------------------------------------------------------------------------------------------------------

// "00:02", "00:01.250": fractions where there are any.
std::string clock(Nanos at) {
  const Nanos ms = (at + kMillisecond / 2) / kMillisecond;
  const std::string text = fmt::format("{:02}:{:02}", ms / 60'000, ms / 1000 % 60);
  return ms % 1000 == 0 ? text : text + fmt::format(".{:03}", ms % 1000);
}

// "00:02 disk dies   (applied in all 3; first I/O hit after 0.2 ms)"; "00:03.289 to 00:05.289 ..." where it did not come
// at the same time in all.
std::string event_title(const RunResults& results, const std::string& name) {
  std::size_t applied = 0;
  std::optional<Nanos> first, last, first_hit;
  for (const auto& contender : results.contenders) {
    const EventResult* event = event_named(contender, name);
    if (!event || event->state != EventState::applied) continue;
    ++applied;
    first = first ? std::min(*first, event->at) : event->at;
    last = last ? std::max(*last, event->at) : event->at;
    if (event->first_hit_after && (!first_hit || *event->first_hit_after < *first_hit))
      first_hit = event->first_hit_after;
  }
  std::string text = name;
  if (first) text = clock(*first) + (clock(*first) == clock(*last) ? "" : " to " + clock(*last)) + " " + name;
  if (applied == results.contenders.size())
    text += applied == 1 ? "   (applied" : fmt::format("   (applied in all {}", applied);
  else
    text += fmt::format("   (applied in {} of {}", applied, results.contenders.size());
  if (first_hit) text += "; first I/O hit after " + format_duration(*first_hit);
  return text + ")";
}

using MakeWholeCell = std::function<Cell(const ContenderResult&)>;

void add_row(const RunResults& results, Group& group, std::string label, std::vector<MeasureId> measures,
             const MakeWholeCell& make) {
  Row row{std::move(label), std::move(measures), {}};
  for (const auto& contender : results.contenders) row.cells.push_back(make(contender));
  group.rows.push_back(std::move(row));
}

Group head_group(const RunResults& results) {
  Group group;
  add_row(results, group, kDisks, {MeasureId::disks, MeasureId::spares, MeasureId::nodes}, [](const auto& contender) {
    return Cell{fmt::format("{}+{} / {}", contender.disks, contender.spares, contender.nodes), std::nullopt};
  });
  add_row(results, group, kSpace, {MeasureId::space}, [](const auto& contender) {
    return Cell{fmt::format("{:.2f}", contender.space_permille / 1000.0), std::nullopt};
  });
  const auto& all = results.contenders;
  if (std::any_of(all.begin(), all.end(), [](const auto& contender) { return contender.spares > 0; }))
    add_row(results, group, kSpaceWithSpares, {MeasureId::space_with_spares}, [](const auto& contender) {
      return Cell{fmt::format("{:.2f}", contender.space_with_spares_permille / 1000.0), std::nullopt};
    });
  return group;
}

Group event_group(const RunResults& results, const std::string& name) {
  Group group{event_title(results, name), name, {}};
  EventRows rows(results, group);
  rows.add_service();
  rows.add_repair();
  rows.add_scrub();
  rows.add_latency();
  return group;
}

// What the scenario asks for of the whole run and no other group (`head`, `verdict`) has; without events also what the
// client felt.
Group whole_group(const RunResults& results, const Group& head, const Group& verdict) {
  std::vector<MeasureId> measures;
  if (event_names(results).empty())
    measures = {MeasureId::outage,           MeasureId::client_errors,     MeasureId::iops,
                MeasureId::read_latency_p50, MeasureId::write_latency_p50, MeasureId::read_latency_p99,
                MeasureId::write_latency_p99};
  for (const MeasureId measure : results.header.show) {
    const bool in_events = scenario::measure_info(measure).event && !event_names(results).empty();
    const bool known = std::find(measures.begin(), measures.end(), measure) != measures.end() || shows(head, measure) ||
                       shows(verdict, measure);
    if (scenario::measure_info(measure).whole && !in_events && !known) measures.push_back(measure);
  }
  Group group{measures.empty() ? "" : "the whole run", "", {}};
  for (const MeasureId measure : measures) {
    const auto told = [&](const ContenderResult& contender) {
      return scenario::value_of(contender, measure).kind != Value::Kind::absent;
    };
    if (std::none_of(results.contenders.begin(), results.contenders.end(), told)) continue;
    const std::string label = measure == MeasureId::outage          ? kOutage
                              : measure == MeasureId::client_errors ? kErrors
                                                                    : label_of(measure);
    add_row(results, group, label, {measure}, [&](const auto& contender) {
      const Value value = scenario::value_of(contender, measure);
      if (measure == MeasureId::outage) return time_cell(results, value, contender.inconclusive.empty(), "down");
      return value_cell(results, measure, value, competes(contender, contender.whole));
    });
  }
  return group;
}

Group verdict_group(const RunResults& results) {
  std::uint64_t requests = 0;
  std::uint64_t read_back = 0;
  for (const auto& contender : results.contenders) {
    requests += contender.oracle.requests;
    read_back += contender.oracle.bytes_read_back;
  }
  Group group{
      fmt::format("verdict by the oracle   ({} requests, {} read back)", requests, format_size(read_back)), "", {}};
  const auto any = [&](const std::function<bool(const ContenderResult&)>& test) {
    return std::any_of(results.contenders.begin(), results.contenders.end(), test);
  };
  const auto add = [&](const char* label, std::vector<MeasureId> measures, const MakeWholeCell& make) {
    add_row(results, group, label, std::move(measures), make);
  };
  add(kLost, {MeasureId::lost_writes}, [](const auto& c) { return count_cell(c.oracle.lost_writes, true); });
  add(kWrong, {MeasureId::stale_reads, MeasureId::corrupt_reads},
      [](const auto& c) { return count_cell(c.oracle.stale_reads + c.oracle.corrupt_reads, true); });
  if (any([](const auto& c) { return c.oracle.unrecoverable_bytes > 0; }))
    add(kUnreadable, {MeasureId::unrecoverable_bytes},
        [](const auto& c) { return size_cell(c.oracle.unrecoverable_bytes); });
  if (any([](const auto& c) { return c.oracle.damaged_bytes > 0; }))
    add(kDamaged, {MeasureId::damaged_bytes}, [](const auto& c) { return size_cell(c.oracle.damaged_bytes); });
  if (any([](const auto& c) { return c.oracle.unknown > 0; }))
    add(kUnknown, {MeasureId::unknown}, [](const auto& c) { return count_cell(c.oracle.unknown, false); });
  if (any([](const auto& c) { return c.whole.outage.never_ended; }))
    add(kServes, {MeasureId::outage},
        [](const auto& c) { return Cell{c.whole.outage.never_ended ? "no: down" : "yes", std::nullopt}; });
  return group;
}

// ---- legend ----------------------------------------------------------------------------------------------------------

std::vector<std::string> make_legend(const scenario::RunHeader& header, const Table& table) {
  bool best = false, p99 = false, needless = false, overloaded = false, outage = false;
  const auto occurs = [&](const char* text) {
    for (const auto& group : table.groups)
      for (const auto& row : group.rows)
        for (const auto& cell : row.cells)
          if (cell.text == text) return true;
    return false;
  };
  for (const auto& group : table.groups)
    for (const auto& row : group.rows) {
      const auto marks = best_marks(row);
      best = best || std::find(marks.begin(), marks.end(), true) != marks.end();
      needless = needless || row.label == kNeedless;
      outage = outage || row.label == kOutage;
      overloaded = overloaded ||
                   std::any_of(row.cells.begin(), row.cells.end(), [](const Cell& cell) { return cell.overloaded; });
      p99 = p99 || row.label.find("p99") != std::string::npos;
    }
  std::vector<std::string> legend;
  if (outage && header.probe_period > 0)
    legend.push_back(
        fmt::format("no service: as seen by a question every {}, or by the client; an answer within {} is service",
                    format_duration(header.probe_period), format_duration(header.probe_tolerance)));
  if (best) legend.emplace_back("*: the best, and whoever is within 10 % of it; none where all are as good");
  if (overloaded)
    legend.emplace_back("!: the load is more than its disks can serve: a queue grows for as long as it lasts");
  if (occurs("-")) legend.emplace_back("-: nothing to tell; it did not occur here, or for too short a time");
  if (p99) legend.emplace_back("p99: told from 1,000 requests on");
  if (occurs("speed_min (client busy)"))
    legend.emplace_back("speed_min: what a rebuild is held to while the client has requests; else speed_max");
  if (occurs("n/a")) legend.emplace_back("n/a: this contender, or this world, lacks what the event is about");
  if (occurs("not reached")) legend.emplace_back("not reached: what the event waits for did not come about here");
  if (occurs("shared")) legend.emplace_back("shared: charged to an event of the same moment, or that it came upon");
  if (occurs("down")) legend.emplace_back("down: without service, and still so when the run ended");
  if (occurs("to the end")) legend.emplace_back("to the end: and still so when the run ended");
  if (needless)
    legend.emplace_back("needless: nobody had asked for it, and who served before was well and could be reached");
  return legend;
}

}  // namespace

std::vector<bool> best_marks(const Row& row) {
  std::vector<bool> marks(row.cells.size(), false);
  std::optional<double> best;
  for (const auto& cell : row.cells)
    if (cell.rank && (!best || *cell.rank < *best)) best = cell.rank;
  if (!best) return marks;
  bool somebody_behind = false;
  for (std::size_t i = 0; i < row.cells.size(); ++i) {
    if (!row.cells[i].rank) continue;
    marks[i] = !leads(*best, *row.cells[i].rank);
    somebody_behind = somebody_behind || !marks[i];
  }
  if (!somebody_behind) std::fill(marks.begin(), marks.end(), false);
  return marks;
}

// What a queue that grows for as long as the load lasts makes meaningless.
bool spoiled_by_overload(MeasureId measure) {
  switch (measure) {
    case MeasureId::outage:
    case MeasureId::client_outage:
    case MeasureId::longest_stall:
    case MeasureId::client_errors:
    case MeasureId::iops: return true;
    default: return scenario::measure_info(measure).name.find("latency") != std::string_view::npos;
  }
}

void mark_overload(const RunResults& results, Table& table) {
  for (auto& group : table.groups)
    for (auto& row : group.rows) {
      if (std::none_of(row.measures.begin(), row.measures.end(), spoiled_by_overload)) continue;
      for (std::size_t i = 0; i < row.cells.size(); ++i) {
        Cell& cell = row.cells[i];
        cell.overloaded = overloaded(results.contenders[i]) && cell.text != "-" && cell.text != "n/a";
        if (cell.overloaded) cell.rank.reset();
      }
    }
}

Table make_table(const RunResults& results) {
  Table table;
  for (const auto& contender : results.contenders) table.contenders.push_back(contender.name);
  const Group head = head_group(results);
  const Group verdict = verdict_group(results);
  table.groups.push_back(head);
  for (const auto& name : event_names(results)) table.groups.push_back(event_group(results, name));
  if (Group whole = whole_group(results, head, verdict); !whole.rows.empty()) table.groups.push_back(std::move(whole));
  table.groups.push_back(verdict);
  mark_overload(results, table);
  table.legend = make_legend(results.header, table);
  return table;
}

std::vector<std::string> row_labels() {
  std::vector<std::string> labels(std::begin(kLabels), std::end(kLabels));
  for (const auto& info : scenario::measure_table()) {
    labels.push_back(label_of(info.id));
    if (!info.phase) continue;
    labels.push_back(label_of(info.id) + " before");
    labels.push_back(label_of(info.id) + " during");
  }
  return labels;
}

}  // namespace resilver::report
