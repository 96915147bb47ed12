#include "report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/units.h"
#include "report/sentences.h"
#include "scenario/measures.h"

namespace resilver::report {

namespace {

using scenario::ContenderResult;
using scenario::EventResult;
using scenario::EventState;
using scenario::MeasureId;
using scenario::Outcome;
using scenario::RunResults;
using scenario::Value;
using scenario::WindowResult;

constexpr std::size_t kLabelWidth = 36;
constexpr std::size_t kCellWidth = 16;  // two of them for the mark
constexpr std::size_t kMaxBlocksShown = 8;

// One cell: what is printed, and the number that decides who is best (nothing: takes no part).
struct Cell {
  std::string text;
  std::optional<double> rank;  // less is better
};

struct Row {
  std::string label;
  std::vector<Cell> cells;  // one per contender of the run
};

struct Group {
  std::string title;  // empty: no rule above
  std::vector<Row> rows;
};

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string wrapped(const std::string& text, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (column > indent && column + 1 + columns_of(word) > kTableWidth) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += columns_of(word);
    begin = end + 1;
  }
  return out + "\n";
}

// The best, if it leads by more than 10 % over somebody; all that are as good as the best share the mark.
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

std::string rule(const std::string& title, std::size_t width) {
  std::string line = "── " + title + " ";
  for (std::size_t column = columns_of(line); column < width; ++column) line += "─";
  return line + "\n";
}

// ---- rows ------------------------------------------------------------------------------------------------------------

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

using MakeCell = std::function<Cell(const ContenderResult&, const EventResult&)>;

const EventResult* event_named(const ContenderResult& contender, const std::string& name) {
  for (const auto& event : contender.events)
    if (event.name == name) return &event;
  return nullptr;
}

Row event_row(const RunResults& results, const std::string& event, std::string label, const MakeCell& make) {
  Row row{std::move(label), {}};
  for (const auto& contender : results.contenders) {
    const EventResult* result = event_named(contender, event);
    if (!result || result->state == EventState::not_applicable)
      row.cells.push_back({"n/a", std::nullopt});
    else if (result->state == EventState::not_reached)
      row.cells.push_back({"not reached", std::nullopt});
    else
      row.cells.push_back(make(contender, *result));
  }
  return row;
}

bool any_event(const RunResults& results, const std::string& name, const std::function<bool(const EventResult&)>& test) {
  return std::any_of(results.contenders.begin(), results.contenders.end(), [&](const ContenderResult& contender) {
    const EventResult* event = event_named(contender, name);
    return event && event->state == EventState::applied && test(*event);
  });
}

Cell whole_again_cell(const RunResults& results, const ContenderResult& contender, const EventResult& event) {
  const WindowResult& window = event.window;
  Cell cell = time_cell(results, whole_again(contender, event.name), competes(contender, window), "never");
  const std::string& because = window.repair.never_because;
  if (cell.text == "never" && because.size() + 8 <= kCellWidth - 2 && !because.empty())
    cell.text += " (" + because + ")";
  return cell;
}

Cell moved_cell(const ContenderResult& contender, const WindowResult& window) {
  const auto& disk = window.repair;
  const auto& node = window.node_repair;
  if (!disk.needed && !node.needed) return {"-", std::nullopt};
  const std::uint64_t disks = disk.read_bytes + disk.write_bytes + node.read_bytes + node.write_bytes;
  const std::uint64_t links = disk.link_bytes + node.link_bytes;
  const auto words = [](std::uint64_t bytes) {
    std::string text = format_size(bytes);
    const auto space = text.find(' ');
    return space == std::string::npos ? text : text.substr(0, space) + text.substr(space + 1);
  };
  Cell cell{words(disks) + "/" + words(links), std::nullopt};
  const bool whole = (!disk.needed || disk.finished) && (!node.needed || node.finished);
  if (competes(contender, window) && whole) cell.rank = static_cast<double>(disks + links);
  return cell;
}

Cell rate_cell(const RunResults& results, const ContenderResult& contender, const EventResult& event) {
  const Value value = scenario::value_of(contender, MeasureId::repair_rate, event.name);
  Cell cell{value.kind == Value::Kind::number ? scenario::format_value(value) : "-", std::nullopt};
  if (value.kind == Value::Kind::number && timing_comparable(results) && competes(contender, event.window))
    cell.rank = value.number > 0 ? 1 / value.number : infinite();
  return cell;
}

Cell latency_cell(const RunResults& results, const ContenderResult& contender, const EventResult& event) {
  const auto of = [&](scenario::Phase phase) {
    return scenario::value_of(contender, MeasureId::latency_p99, event.name, phase);
  };
  const Value before = of(scenario::Phase::before);
  const Value during = of(scenario::Phase::during);
  const auto words = [](const Value& value) {
    std::string text = value.kind == Value::Kind::number ? format_duration(static_cast<Nanos>(value.number)) : "-";
    std::erase(text, ' ');
    return text;
  };
  Cell cell{words(before) + "/" + words(during), std::nullopt};
  if (during.kind == Value::Kind::number && timing_comparable(results) && competes(contender, event.window))
    cell.rank = during.number;
  return cell;
}

void add_service_rows(const RunResults& results, const std::string& name, Group& group) {
  group.rows.push_back(event_row(results, name, "no service, total", [&](const auto& contender, const auto& event) {
    const Value value = scenario::value_of(contender, MeasureId::outage, event.name);
    if (!event.charged_with.empty() && value.number == 0 && value.kind == Value::Kind::number)
      return Cell{"shared", std::nullopt};  // the sentences say with whom
    return time_cell(results, value, contender.inconclusive.empty(), "down");
  }));
  if (any_event(results, name, [](const EventResult& event) { return event.window.client_outage.total > 0; }))
    group.rows.push_back(
        event_row(results, name, "client unanswered, total", [&](const auto& contender, const auto& event) {
          const Value value = scenario::value_of(contender, MeasureId::client_outage, event.name);
          return time_cell(results, value, contender.inconclusive.empty(), "to the end");
        }));
  if (any_event(results, name, [](const EventResult& event) { return event.window.client_errors > 0; }))
    group.rows.push_back(
        event_row(results, name, "errors that the client saw", [&](const auto& contender, const auto& event) {
          return count_cell(event.window.client_errors, competes(contender, event.window));
        }));
  if (any_event(results, name, [](const EventResult& event) { return event.window.unavailable_bytes > 0; }))
    group.rows.push_back(
        event_row(results, name, "unreadable while the rest serves", [&](const auto&, const auto& event) {
          return Cell{format_size(event.window.unavailable_bytes), std::nullopt};
        }));
  if (any_event(results, name, [](const EventResult& event) { return event.window.failovers > 0; }))
    group.rows.push_back(event_row(results, name, "failovers (of them needless)", [](const auto&, const auto& event) {
      const auto& window = event.window;
      return Cell{fmt::format("{} ({})", window.failovers, window.needless_failovers), std::nullopt};
    }));
}

void add_repair_rows(const RunResults& results, const std::string& name, Group& group) {
  const auto needed = [](const EventResult& event) {
    return event.window.repair.needed || event.window.node_repair.needed;
  };
  if (!any_event(results, name, needed)) return;
  group.rows.push_back(
      event_row(results, name, "one failure from loss, for", [&](const auto& contender, const auto& event) {
        if (!competes(contender, event.window)) return Cell{"-", std::nullopt};
        const Value value = scenario::value_of(contender, MeasureId::exposed_time, event.name);
        return time_cell(results, value, true, "to the end");
      }));
  group.rows.push_back(
      event_row(results, name, "back to full redundancy after",
                [&](const auto& contender, const auto& event) { return whole_again_cell(results, contender, event); }));
  group.rows.push_back(
      event_row(results, name, "read+written on disks/over links",
                [](const auto& contender, const auto& event) { return moved_cell(contender, event.window); }));
  group.rows.push_back(
      event_row(results, name, "data restored, per second",
                [&](const auto& contender, const auto& event) { return rate_cell(results, contender, event); }));
  const auto limited = [](const EventResult& event) {
    return !event.window.repair.limited_by.empty() || !event.window.node_repair.limited_by.empty();
  };
  if (any_event(results, name, limited))
    group.rows.push_back(event_row(results, name, "  limited by", [](const auto&, const auto& event) {
      const auto& disk = event.window.repair.limited_by;
      const std::string& limit = disk.empty() ? event.window.node_repair.limited_by : disk;
      return Cell{limit.empty() ? "-" : limit.substr(0, kCellWidth - 2), std::nullopt};
    }));
}

void add_other_rows(const RunResults& results, const std::string& name, Group& group) {
  const auto scrubbed = [](const EventResult& event) {
    return event.verb == "array.scrub" || event.window.mismatches > 0;
  };
  if (any_event(results, name, scrubbed)) {
    group.rows.push_back(event_row(results, name, "mismatches that a scrub counted", [](const auto&, const auto& event) {
      return Cell{fmt::format("{}", event.window.mismatches), std::nullopt};
    }));
    group.rows.push_back(event_row(results, name, "  of which it named the block", [](const auto&, const auto& event) {
      return Cell{fmt::format("{}", event.window.mismatches_named), std::nullopt};
    }));
  }
  const auto enough = [](const EventResult& event) {
    const auto& during = event.window.phases[static_cast<std::size_t>(scenario::Phase::during)];
    return during.read_latency.count() + during.write_latency.count() >= scenario::kSamplesForP99;
  };
  if (any_event(results, name, enough))
    group.rows.push_back(
        event_row(results, name, "latency p99, before/during",
                  [&](const auto& contender, const auto& event) { return latency_cell(results, contender, event); }));
}

// ---- groups ----------------------------------------------------------------------------------------------------------

// "02:00 disk dies   (applied in all 3; first I/O hit after 0.2 ms)"
std::string event_title(const RunResults& results, const std::string& name) {
  std::size_t applied = 0;
  bool same_time = true;
  std::optional<Nanos> at;
  std::optional<Nanos> first_hit;
  std::vector<std::string> elsewhere;
  for (const auto& contender : results.contenders) {
    const EventResult* event = event_named(contender, name);
    if (!event || event->state != EventState::applied) {
      elsewhere.push_back(contender.name);
      continue;
    }
    ++applied;
    same_time = same_time && (!at || (event->at - *at < 100 * kMillisecond && *at - event->at < 100 * kMillisecond));
    if (!at) at = event->at;
    if (event->first_hit_after && (!first_hit || *event->first_hit_after < *first_hit))
      first_hit = event->first_hit_after;
  }
  std::string text = name;
  if (at && same_time) text = fmt::format("{:02}:{:02} {}", *at / kMinute, *at % kMinute / kSecond, name);
  if (applied == results.contenders.size())
    text += fmt::format("   (applied in all {}", applied);
  else
    text += fmt::format("   (applied in {} of {}", applied, results.contenders.size());
  if (first_hit) text += "; first I/O hit after " + format_duration(*first_hit);
  return text + ")";
}

Group head_group(const RunResults& results) {
  Row disks{"disks (+spares) / servers", {}};
  Row space{"raw bytes per usable byte", {}};
  for (const auto& contender : results.contenders) {
    disks.cells.push_back({fmt::format("{}+{} / {}", contender.disks, contender.spares, contender.nodes), std::nullopt});
    space.cells.push_back({fmt::format("{:.2f}", contender.space_permille / 1000.0), std::nullopt});
  }
  return {"", {disks, space}};
}

Group verdict_group(const RunResults& results) {
  std::uint64_t requests = 0;
  std::uint64_t read_back = 0;
  bool unreadable = false;
  bool unknown = false;
  bool down = false;
  for (const auto& contender : results.contenders) {
    requests += contender.oracle.requests;
    read_back += contender.oracle.bytes_read_back;
    unreadable = unreadable || contender.oracle.unrecoverable_bytes > 0;
    unknown = unknown || contender.oracle.unknown > 0;
    down = down || contender.whole.outage.never_ended;
  }
  Group group{fmt::format("verdict by the oracle   ({} requests, {} read back)", requests, format_size(read_back)), {}};
  const auto add = [&](std::string label, const std::function<Cell(const ContenderResult&)>& make) {
    Row row{std::move(label), {}};
    for (const auto& contender : results.contenders) row.cells.push_back(make(contender));
    group.rows.push_back(std::move(row));
  };
  add("acknowledged writes lost", [](const auto& c) { return count_cell(c.oracle.lost_writes, true); });
  add("wrong or stale data returned",
      [](const auto& c) { return count_cell(c.oracle.stale_reads + c.oracle.corrupt_reads, true); });
  if (unreadable)
    add("unreadable at the end",
        [](const auto& c) { return Cell{format_size(c.oracle.unrecoverable_bytes), std::nullopt}; });
  if (unknown) add("writes of unknown outcome", [](const auto& c) { return count_cell(c.oracle.unknown, false); });
  if (down)
    add("serves at the end",
        [](const auto& c) { return Cell{c.whole.outage.never_ended ? "no: down" : "yes", std::nullopt}; });
  return group;
}

std::vector<Group> all_groups(const RunResults& results) {
  std::vector<Group> groups{head_group(results)};
  for (const auto& name : event_names(results)) {
    Group group{event_title(results, name), {}};
    add_service_rows(results, name, group);
    add_repair_rows(results, name, group);
    add_other_rows(results, name, group);
    groups.push_back(std::move(group));
  }
  groups.push_back(verdict_group(results));
  return groups;
}

// ---- printing --------------------------------------------------------------------------------------------------------

std::string pad_left(const std::string& text, std::size_t width) {
  const std::size_t columns = columns_of(text);
  return columns >= width ? text : std::string(width - columns, ' ') + text;
}

std::string trimmed_line(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string format_block(const RunResults& results, const std::vector<Group>& groups, std::size_t first,
                         std::size_t count) {
  const std::size_t width = std::max(kTableWidth, kLabelWidth + count * kCellWidth);
  std::string out(kLabelWidth, ' ');
  for (std::size_t i = first; i < first + count; ++i)
    out += pad_left(results.contenders[i].name.substr(0, kCellWidth - 2), kCellWidth - 2) + "  ";
  out = trimmed_line(out);
  for (const auto& group : groups) {
    if (!group.title.empty()) out += rule(group.title, width);
    for (const auto& row : group.rows) {
      const auto marks = best_marks(row);
      std::string line = row.label + std::string(kLabelWidth - std::min(kLabelWidth, row.label.size()), ' ');
      for (std::size_t i = first; i < first + count; ++i)
        line += pad_left(row.cells[i].text, kCellWidth - 2) + (marks[i] ? " *" : "  ");
      out += trimmed_line(line);
    }
  }
  return out;
}

std::string format_head(const RunResults& results) {
  const auto& header = results.header;
  std::string text =
      fmt::format("{}  {}  seed {}", header.scenario, header.real ? "real time" : "virtual time", header.seed);
  if (!header.real) text += fmt::format("  trace {:016x}", header.trace_hash);
  std::string models = fmt::format("{} volume, {} disks", format_size(header.volume_bytes), header.disk_model);
  if (!header.link.empty()) models += ", link " + header.link;
  std::string out = header.title + "\n" + wrapped(text, 2) + wrapped(models, 2);
  if (header.modelled_volume_bytes != 0 && header.modelled_volume_bytes != header.volume_bytes)
    out += wrapped(fmt::format("scaled for the real world: {} instead of {}; nothing is extrapolated",
                               format_size(header.volume_bytes), format_size(header.modelled_volume_bytes)),
                   2);
  if (header.real && !header.paced) out += "shared device: rates not comparable (unpaced)\n";
  for (const auto& note : header.notes) out += wrapped(note, 2);
  return out + "\n";
}

// What the columns cannot hold: why a contender is inconclusive, why an event was not reached, which blocks are bad.
std::string format_remarks(const RunResults& results) {
  std::string out;
  for (const auto& contender : results.contenders) {
    if (!contender.inconclusive.empty())
      out += wrapped(fmt::format("INCONCLUSIVE: {}: {}", contender.name, contender.inconclusive), 2);
    if (!contender.trouble.empty()) out += wrapped(fmt::format("{}: {}", contender.name, contender.trouble), 2);
    for (const auto& event : contender.events)
      if (event.state == EventState::not_reached)
        out += wrapped(fmt::format("{}: '{}' was not reached{}{}", contender.name, event.name,
                                   event.note.empty() ? "" : ": ", event.note),
                       2);
    const auto& blocks = contender.oracle.blocks;
    if (blocks.empty()) continue;
    std::string text = contender.name + ": ";
    for (std::size_t i = 0; i < std::min(blocks.size(), kMaxBlocksShown); ++i)
      text += fmt::format("{}{}: {} bytes at {}", i == 0 ? "" : ", ", block_fate_name(blocks[i].fate), blocks[i].length,
                          blocks[i].offset);
    if (blocks.size() > kMaxBlocksShown)
      text += fmt::format(", and {} more in results.json", blocks.size() - kMaxBlocksShown);
    out += wrapped(text, 2);
  }
  return out.empty() ? out : "\n" + out;
}

std::string format_sentences(const RunResults& results) {
  const auto sentences = closing_sentences(results);
  if (sentences.empty()) return {};
  std::size_t width = 0;
  for (const auto& sentence : sentences) width = std::max(width, columns_of(sentence.about));
  std::string out = "\nLOCAL REBUILD OR REMOTE FAILOVER?\n";
  for (const auto& sentence : sentences)
    out += fmt::format("  {}{}  {}", sentence.about, std::string(width - columns_of(sentence.about), ' '),
                       wrapped(sentence.text, width + 4));
  return out;
}

}  // namespace

std::string format_expectations(const RunResults& results) {
  if (results.verdicts.empty()) return {};
  std::size_t counts[5] = {};
  std::string out = "\nEXPECTATIONS\n";
  for (const auto& verdict : results.verdicts) {
    ++counts[static_cast<std::size_t>(verdict.outcome)];
    static constexpr const char* kMarks[] = {"holds", "FAILS", "measured", "left out", "n/a"};
    out += fmt::format("  {:<9}", kMarks[static_cast<std::size_t>(verdict.outcome)]) + wrapped(verdict.check, 11);
    const bool told = verdict.outcome != Outcome::passed;
    if (told && !verdict.detail.empty()) {
      const std::string lead = verdict.outcome == Outcome::measured ? "measured, not judged: " : "";
      out += std::string(11, ' ') + wrapped(lead + verdict.detail, 11);
    }
    if (!verdict.why.empty()) out += std::string(11, ' ') + wrapped("why: " + verdict.why, 11);
    if (verdict.outcome == Outcome::failed) out += std::string(11, ' ') + wrapped("at " + verdict.position, 11);
  }
  out += fmt::format("{} hold, {} fail", counts[0], counts[1]);
  if (counts[2] > 0) out += fmt::format(", {} measured and not judged", counts[2]);
  if (counts[3] > 0) out += fmt::format(", {} left out", counts[3]);
  if (counts[4] > 0) out += fmt::format(", {} had nothing to judge (inconclusive)", counts[4]);
  return out + "\n";
}

std::string format_report(const RunResults& results, const TableOptions& options) {
  std::string out = format_head(results);
  const auto groups = all_groups(results);
  const std::size_t total = results.contenders.size();
  const std::size_t per_block = options.wide ? std::max<std::size_t>(total, 1) : kContendersPerBlock;
  for (std::size_t first = 0; first < total; first += per_block) {
    if (first > 0) out += "\n";
    out += format_block(results, groups, first, std::min(per_block, total - first));
  }
  return out + format_remarks(results) + format_sentences(results) + format_expectations(results);
}

}  // namespace resilver::report
