// What `resilver bench` prints: a table that fits a screen, and the same as data.
#include <fmt/format.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/version.h"
#include "tools/bench_work.h"

namespace resilver::tools {
namespace {

using Json = nlohmann::ordered_json;

// ---- figures ---------------------------------------------------------------------------------------------------------

double per_second(std::uint64_t amount, Nanos time) noexcept {
  return time > 0 ? static_cast<double>(amount) * 1e9 / static_cast<double>(time) : 0;
}

const char* name(Unit unit) noexcept {
  switch (unit) {
    case Unit::bytes_per_second: return "bytes/s";
    case Unit::per_second: return "1/s";
    case Unit::nanoseconds: return "ns";
    case Unit::ratio: return "ratio";
  }
  return "";
}

const char* name(Better better) noexcept {
  return better == Better::higher ? "higher" : better == Better::lower ? "lower" : "neither";
}

// A figure of what `value` makes of each round.
template <typename Value>
Figure figure(const char* title, Unit unit, Better better, std::span<const Measure> measures, Value&& value) {
  Figure made{title, unit, better, {}};
  for (const Measure& measure : measures) made.rounds.push_back(value(measure));
  return made;
}

}  // namespace

std::vector<Figure> make_figures(const BenchPlan& plan, std::span<const Measure> measures) {
  std::vector<Figure> figures;
  if (plan.kind == BenchKind::io) {
    figures.push_back(figure("requests", Unit::per_second, Better::higher, measures,
                             [](const Measure& m) { return per_second(m.ops, m.wall); }));
    figures.push_back(figure("per CPU-s", Unit::per_second, Better::higher, measures,
                             [](const Measure& m) { return per_second(m.ops, m.cpu); }));
    figures.push_back(figure("bytes", Unit::bytes_per_second, Better::higher, measures,
                             [](const Measure& m) { return per_second(m.bytes, m.wall); }));
    // Little's law: so many are under way all the time.
    figures.push_back(figure("mean latency", Unit::nanoseconds, Better::lower, measures, [&plan](const Measure& m) {
      return plan.iodepth * static_cast<double>(m.wall) / static_cast<double>(std::max<std::uint64_t>(m.ops, 1));
    }));
    figures.push_back(figure("I/Os each", Unit::ratio, Better::neither, measures, [](const Measure& m) {
      return static_cast<double>(m.members.reads + m.members.writes) /
             static_cast<double>(std::max<std::uint64_t>(m.ops, 1));
    }));
    return figures;
  }
  figures.push_back(figure(name(plan.kind), Unit::bytes_per_second, Better::higher, measures,
                           [](const Measure& m) { return per_second(m.bytes, m.wall); }));
  figures.push_back(figure("per CPU-s", Unit::bytes_per_second, Better::higher, measures,
                           [](const Measure& m) { return per_second(m.bytes, m.cpu); }));
  figures.push_back(figure("time", Unit::nanoseconds, Better::lower, measures,
                           [](const Measure& m) { return static_cast<double>(m.wall); }));
  return figures;
}

double quantile(std::span<const double> values, double part) {
  if (values.empty()) return 0;
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const double at = part * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - static_cast<double>(below));
}

std::string format_value(double value, Unit unit) {
  const auto whole = static_cast<std::uint64_t>(std::max(value, 0.0));
  switch (unit) {
    case Unit::bytes_per_second: return format_rate(whole);
    case Unit::nanoseconds: return format_duration(static_cast<Nanos>(value));
    case Unit::ratio: return fmt::format("{:.2f}", value);
    case Unit::per_second: break;
  }
  if (value >= 99'950) return fmt::format("{:.0f}k/s", value * 1e-3);
  return value >= 10'000 ? fmt::format("{:.1f}k/s", value * 1e-3) : fmt::format("{:.0f}/s", value);
}

// ---- table -----------------------------------------------------------------------------------------------------------

namespace {

// The median and, of the row's own figure, how far the middle half of the rounds lies from it.
std::string cell(const Figure& figure, bool first) {
  if (figure.rounds.empty()) return "-";
  const double median = quantile(figure.rounds, 0.5);
  std::string text = format_value(median, figure.unit);
  if (!first || figure.rounds.size() < 2 || median == 0) return text;
  const double low = (quantile(figure.rounds, 0.25) / median - 1) * 100;
  const double high = (quantile(figure.rounds, 0.75) / median - 1) * 100;
  return text + fmt::format(" ({:+.0f}..{:+.0f}%)", low, high);
}

std::vector<std::vector<std::string>> cells(const Report& report) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> head = {report.swept};
  for (const Figure& figure : report.points.front().figures) head.push_back(figure.name);
  head.push_back("limited by");
  rows.push_back(head);
  for (const Point& point : report.points) {
    std::vector<std::string> row = {point.label.substr(point.label.find('=') + 1)};
    for (std::size_t i = 0; i < point.figures.size(); ++i) row.push_back(cell(point.figures[i], i == 0));
    row.push_back(point.limited_by);
    rows.push_back(row);
  }
  return rows;
}

std::string work_line(const Report& report) {
  const BenchPlan& plan = report.plan;
  if (report.virtual_time) {
    return fmt::format("{} disks, {} random {} of {} a second; {} lost, then rebuilt{}", plan.disk, plan.rate_iops,
                       plan.rw == "randrw" ? "reads and writes" : plan.rw, format_size(plan.bs), plan.lost,
                       report.swept.empty() ? "" : fmt::format(" ({} as swept)", report.swept));
  }
  if (plan.kind == BenchKind::io) {
    return fmt::format("{} of {}, {} under way{}, {} a round", plan.rw, format_size(plan.bs), plan.iodepth,
                       plan.lost > 0 ? fmt::format(", {} members lost", plan.lost) : "", format_duration(plan.runtime));
  }
  if (plan.kind == BenchKind::scrub) return "scrub: all members read and compared; bytes of all members";
  return fmt::format("rebuild of {} lost, no other I/O; bytes of the replaced members", plan.lost);
}

std::string file_system(const std::string& directory) {
  struct statfs info{};
  if (statfs(directory.c_str(), &info) != 0) return "?";
  switch (static_cast<unsigned long>(info.f_type)) {
    case 0xef53: return "ext4";
    case 0x01021994: return "tmpfs";
    case 0x58465342: return "xfs";
    case 0x9123683e: return "btrfs";
    case 0x794c7630: return "overlay";
    default: return fmt::format("file system {:#x}", info.f_type);
  }
}

std::string place(const Report& report) {
  const BenchPlan& plan = report.plan;
  if (report.virtual_time) return "virtual time";
  if (!plan.devices.empty()) return fmt::format("{} and {} more", plan.devices[0], plan.devices.size() - 1);
  return fmt::format("images in {} ({})", plan.dir, file_system(plan.dir));
}

}  // namespace

std::string format_table(const Report& report) {
  const BenchPlan& plan = report.plan;
  // What is swept has no one value: the rows have it.
  const auto swept = [&report](const char* key) { return report.swept == key; };
  const std::string disks = swept("disks") ? "disks as swept" : fmt::format("{} disks", plan.disks);
  const std::string size = !plan.devices.empty() ? ""
                           : swept("size")       ? ", size as swept"
                                                 : " of " + format_size(plan.size);
  const std::string chunk = swept("chunk") ? "as swept" : format_size(plan.chunk);
  std::string text = fmt::format("{}, {}{}, chunk {}, consistency {}; {}\n{}\n", raid::name(plan.level), disks, size,
                                 chunk, raid::name(plan.consistency), place(report), work_line(report));
  if (!report.virtual_time)
    text += fmt::format("{} round{}: medians (quartiles)\n", plan.rounds, plan.rounds == 1 ? "" : "s");
  text += '\n';
  const auto rows = cells(report);
  std::vector<std::size_t> widths(rows[0].size(), 0);
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  for (const auto& row : rows) {
    std::string line = fmt::format("{:<{}}", row[0], widths[0]);
    for (std::size_t i = 1; i + 1 < row.size(); ++i) line += fmt::format("  {:>{}}", row[i], widths[i]);
    line += "   " + row.back();
    text += line + '\n';
  }
  return text;
}

// ---- JSON ------------------------------------------------------------------------------------------------------------

namespace {

std::string first_value(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t begin = line.find_first_not_of(" \t", line.find(':') + 1);
    if (begin != std::string::npos) return line.substr(begin);
  }
  return "?";
}

Json machine() {
  utsname names{};
  uname(&names);
  double load[3] = {};
  const bool known = getloadavg(load, 3) == 3;
  return {{"kernel", names.release},
          {"cpu", first_value("/proc/cpuinfo", "model name")},
          {"cores", sysconf(_SC_NPROCESSORS_ONLN)},
          {"memory_bytes", sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)},
          {"load", known ? Json(load[0]) : Json(nullptr)}};
}

Json array_json(const Report& report) {
  const BenchPlan& plan = report.plan;
  return {{"level", raid::name(plan.level)},
          {"disks", report.swept == "disks" ? Json(nullptr) : Json(plan.disks)},
          {"lost", plan.lost},
          {"chunk_bytes", plan.chunk},
          {"size_bytes", plan.size},
          {"consistency", raid::name(plan.consistency)},
          {"speed_min", plan.speed_min},
          {"speed_max", plan.speed_max},
          {"place", place(report)},
          {"disk_model", report.virtual_time ? Json(plan.disk) : Json(nullptr)}};
}

Json figure_json(const Point& point, const Figure& figure) {
  Json json = {{"name", point.label.empty() ? figure.name : point.label + " " + figure.name},
               {"unit", name(figure.unit)},
               {"better", name(figure.better)},
               {"rounds", figure.rounds},
               {"median", quantile(figure.rounds, 0.5)},
               {"q1", quantile(figure.rounds, 0.25)},
               {"q3", quantile(figure.rounds, 0.75)}};
  return json;
}

Json measure_json(const Measure& measure) {
  return {{"ops", measure.ops},
          {"bytes", measure.bytes},
          {"wall_s", static_cast<double>(measure.wall) * 1e-9},
          {"cpu_s", static_cast<double>(measure.cpu) * 1e-9},
          {"member_reads", measure.members.reads},
          {"member_writes", measure.members.writes},
          {"member_read_bytes", measure.members.read_bytes},
          {"member_write_bytes", measure.members.write_bytes},
          {"limited_by", measure.limited_by}};
}

Json point_json(const Point& point) {
  Json json = {{"label", point.label}, {"limited_by", point.limited_by}};
  for (const Figure& figure : point.figures)
    json[figure.name] = figure.rounds.empty() ? Json(nullptr) : Json(quantile(figure.rounds, 0.5));
  json["measures"] = Json::array();
  for (const Measure& measure : point.measures) json["measures"].push_back(measure_json(measure));
  return json;
}

}  // namespace

std::string format_json(const Report& report) {
  Json json = {{"schema", kBenchSchema},
               {"what", std::string("bench ") + name(report.plan.kind)},
               {"version", kVersion},
               {"command", report.command},
               {"world", report.virtual_time ? "virtual" : "real"},
               {"machine", machine()},
               {"array", array_json(report)},
               {"swept", report.swept},
               {"figures", Json::array()},
               {"points", Json::array()}};
  for (const Point& point : report.points) {
    for (const Figure& figure : point.figures)
      if (!figure.rounds.empty()) json["figures"].push_back(figure_json(point, figure));
    json["points"].push_back(point_json(point));
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace resilver::tools
