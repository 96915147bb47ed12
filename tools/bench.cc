// `resilver bench`: how fast arrays are here, on images of their own, and what limits them.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "tools/bench_options.h"
#include "tools/bench_work.h"
#include "tools/command.h"

namespace resilver::tools {

const char* name(BenchKind kind) noexcept {
  return kind == BenchKind::io ? "io" : kind == BenchKind::rebuild ? "rebuild" : "scrub";
}

unsigned write_percent(const BenchPlan& plan) noexcept {
  return plan.rw == "randrw" ? 50 : plan.rw.ends_with("write") ? 100 : 0;
}
bool sequential(const BenchPlan& plan) noexcept { return !plan.rw.starts_with("rand"); }

std::uint32_t data_disks(const BenchPlan& plan) noexcept {
  switch (plan.level) {
    case raid::Level::raid1: return 1;
    case raid::Level::raid4:
    case raid::Level::raid5: return plan.disks - 1;
    case raid::Level::raid6: return plan.disks - 2;
    default: return plan.disks;
  }
}

raid::ArrayConfig array_config(const BenchPlan& plan) {
  raid::ArrayConfig config;
  config.level = plan.level;
  config.chunk_bytes = plan.chunk;
  config.consistency = plan.level == raid::Level::raid0 ? raid::Consistency::none : plan.consistency;
  if (plan.speed_min != 0) config.tuning.speed_min = plan.speed_min;
  config.tuning.speed_max = plan.speed_max;
  return config;
}

namespace {

// One line, on a terminal only.
void show_progress(const std::string& line) {
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r{:<79}{}", line, line.empty() ? "\r" : "");
  std::fflush(stderr);
}

// The warm-up is no part of what counts.
void drop_warm_up(std::vector<Measure>& measures) {
  if (measures.size() > 1) measures.erase(measures.begin());
}

void add_btrfs(Point& point, const BenchPlan& plan, std::vector<Measure>& measures) {
  drop_warm_up(measures);
  Figure theirs = make_figures(plan, measures).front();
  Figure ratio{"ours/btrfs", Unit::ratio, Better::higher, {}};
  for (std::size_t i = 0; i < theirs.rounds.size(); ++i)
    ratio.rounds.push_back(theirs.rounds[i] > 0 ? point.figures.front().rounds[i] / theirs.rounds[i] : 0);
  theirs.name = "btrfs";
  theirs.better = Better::neither;
  point.figures.push_back(std::move(theirs));
  point.figures.push_back(std::move(ratio));
}

// Ours and btrfs's rounds in turns, so that both meet the same moods of the machine.
Result<Point> measure_real(const BenchPlan& plan, bool against_btrfs, const std::string& label) {
  show_progress("making images");
  auto ours = RealBench::create(plan);
  if (!ours) return std::unexpected(ours.error());
  std::unique_ptr<BtrfsBench> btrfs;
  if (against_btrfs) {
    auto made = BtrfsBench::create(plan);
    if (!made) return std::unexpected(made.error());
    btrfs = std::move(*made);
  }
  Point point;
  point.label = label;
  std::vector<Measure> theirs;
  const std::uint32_t rounds = plan.rounds == 1 ? 1 : plan.rounds + 1;
  for (std::uint32_t round = 0; round < rounds; ++round) {
    show_progress(fmt::format("{} round {} of {}", label, round + 1, rounds));
    auto measure = (*ours)->round();
    if (!measure) return std::unexpected(measure.error());
    point.measures.push_back(*measure);
    if (btrfs == nullptr) continue;
    measure = btrfs->round();
    if (!measure) return std::unexpected(measure.error());
    theirs.push_back(*measure);
  }
  show_progress("");
  drop_warm_up(point.measures);
  point.figures = make_figures(plan, point.measures);
  point.limited_by = point.measures.back().limited_by;
  if (btrfs != nullptr) add_btrfs(point, plan, theirs);
  return point;
}

Result<Point> measure_virtual(BenchPlan plan, const std::string& label) {
  // While there is other I/O, a rebuild goes at speed-min (md's rule): so the sweep moves both.
  if (plan.speed_min == 0 && plan.speed_max != 0) plan.speed_min = plan.speed_max;
  auto point = bench_virtual(plan);
  if (point) point->label = label;
  return point;
}

Result<Report> measure_all(const BenchCommand& command) {
  Report report;
  report.plan = command.plan;
  report.virtual_time = command.virtual_time;
  report.swept = command.sweep_key;
  const bool sweeps = !command.sweep_key.empty();
  const std::size_t points = sweeps ? command.sweep_values.size() : 1;
  for (std::size_t i = 0; i < points; ++i) {
    BenchPlan plan = command.plan;
    std::string label;
    if (sweeps) {
      set_swept(command, command.sweep_values[i], plan);
      label = command.sweep_key + "=" + command.sweep_values[i];
    }
    auto point = command.virtual_time ? measure_virtual(plan, label) : measure_real(plan, command.against_btrfs, label);
    if (!point) {
      if (!label.empty()) point.error().what = label + ": " + point.error().what;
      return std::unexpected(point.error());
    }
    report.points.push_back(std::move(*point));
  }
  return report;
}

bool write_out(const std::string& path, const std::string& text) {
  const std::string half = path + ".part";
  {
    std::ofstream file(half, std::ios::binary);
    file << text << '\n';
    file.flush();
    if (file && rename(half.c_str(), path.c_str()) == 0) return true;
  }
  fmt::print(stderr, "resilver bench: --json {}: {}\n", path, std::strerror(errno));
  unlink(half.c_str());
  return false;
}

int print_report(const Report& report, const std::string& json) {
  if (json == "-") {
    fmt::print("{}\n", format_json(report));
    return 0;
  }
  fmt::print("{}", format_table(report));
  return json.empty() || write_out(json, format_json(report)) ? 0 : 1;
}

}  // namespace

int run_bench(const CommandLine& line) {
  const auto command = read_bench_command(line);
  if (!command) return refuse_usage(line.command, command.error().what);
  auto report = measure_all(*command);
  if (!report) {
    show_progress("");
    return refuse("bench", {report.error().code, to_string(report.error())});
  }
  report->command = line.typed;
  return print_report(*report, command->json);
}

}  // namespace resilver::tools
