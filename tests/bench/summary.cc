// summary fio FILE USER SYSTEM USER0 SYSTEM0: one JSON line (as measure.h prints) of what fio's only job did, from fio's
// JSON and from the CPU seconds of all its processes (USER0, SYSTEM0: of a run that does one I/O, its start-up).
// summary ours: the same from the report of `resilver bench --rounds 1 --json -` on standard input.
// summary against CASE AIM: lines as `run` collects them, from the report of `resilver bench --against`.
// summary table RUNS CASES FIGURES: reads the lines that `run` collected ({"case","who","round","unit","factor","aim",
// "measure":{…}}), prints a table of medians and writes it as JSON to CASES, and as figures for `resilver compare` to
// FIGURES. Unit ms: a time, of which less is better and the longest counts. Ratios are ours ÷ peer within each round; round 0 is dropped.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "measure.h"

namespace {

using Json = nlohmann::ordered_json;
using resilver::bench::die;

std::string read_file(const char* path) {
  std::ifstream in(path);
  if (!in) die("cannot read", path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// fio counts the CPU time of its own thread exactly, but not that of kernel workers, which do most of the work on tmpfs. The
// processes' time less that of start-up has them, with an error of some 10 ms: taken where workers plainly had a part.
double fio_cpu(double own_s, double processes_s) {
  constexpr double kWorkersHadPart = 0.05;
  return processes_s - own_s > kWorkersHadPart ? processes_s : own_s;
}

// fio may say something before its JSON.
int fio(const char* path, double processes_s) {
  const std::string text = read_file(path);
  const auto begin = text.find("{\n");
  if (begin == std::string::npos) die("no JSON from fio", path);
  const Json job = Json::parse(text.substr(begin))["jobs"][0];
  if (job["error"] != 0) die("fio failed", path);
  double wall_s = 0;
  std::uint64_t ops = 0, bytes = 0;
  for (const char* direction : {"read", "write"}) {
    const Json& side = job[direction];
    ops += side["total_ios"].get<std::uint64_t>();
    bytes += side["io_bytes"].get<std::uint64_t>();
    wall_s = std::max(wall_s, side["runtime"].get<double>() * 1e-3);
  }
  const double own_s = wall_s * (job["usr_cpu"].get<double>() + job["sys_cpu"].get<double>()) / 100;
  fmt::print("{{\"ops\":{},\"bytes\":{},\"wall_s\":{:.6f},\"cpu_s\":{:.6f}}}\n", ops, bytes, wall_s,
             fio_cpu(own_s, processes_s));
  return 0;
}

Json from_input() {
  const Json report = Json::parse(std::cin, nullptr, false);
  if (!report.is_object() || !report.contains("points")) die("no report of resilver bench on standard input");
  return report;
}

int ours() {
  fmt::print("{}\n", from_input()["points"][0]["measures"][0].dump());
  return 0;
}

// Rates as measures of one second; nothing is known of btrfs's CPU time.
int against(const char* title, const char* aim) {
  const Json report = from_input();
  const Json& measures = report["points"][0]["measures"];
  for (const Json& figure : report["figures"]) {
    if (figure["name"] != "btrfs") continue;
    for (std::size_t i = 0; i < measures.size(); ++i) {
      const Json theirs = {{"bytes", figure["rounds"][i]}, {"wall_s", 1}, {"cpu_s", 0}};
      for (const bool mine : {true, false}) {
        const Json line = {{"case", title},
                           {"who", mine ? "ours" : "peer"},
                           {"round", i + 1},
                           {"unit", "bytes"},
                           {"factor", "1"},
                           {"aim", aim},
                           {"measure", mine ? measures[i] : theirs}};
        fmt::print("{}\n", line.dump());
      }
    }
  }
  return 0;
}

struct Rates {
  double wall = 0;  // per second; unit ms: the time
  double cpu = 0;   // per CPU-second; 0: not known
};
struct Case {
  std::string name, unit, aim, limited_by;
  std::map<int, Rates> ours, peer;  // by round
  std::vector<double> member_reads, ios_each;
  std::vector<double> sent;  // bytes on the wire for each that had to be sent
};

// The value at `part` of the sorted values, 0.5 being the median.
double quantile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = part * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const auto above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (at - static_cast<double>(below));
}

std::vector<double> values_of(const std::map<int, Rates>& rounds, double Rates::* which) {
  std::vector<double> values;
  for (const auto& [round, rates] : rounds)
    if (rates.*which > 0) values.push_back(rates.*which);
  return values;
}

std::vector<double> ratios_of(const Case& c, double Rates::* which) {
  std::vector<double> ratios;
  for (const auto& [round, ours] : c.ours)
    if (const auto peer = c.peer.find(round); peer != c.peer.end() && peer->second.*which > 0)
      ratios.push_back(ours.*which / (peer->second.*which));
  return ratios;
}

// "4/3"
double fraction(const std::string& text) {
  const std::size_t slash = text.find('/');
  return std::stod(text) / (slash == std::string::npos ? 1 : std::stod(text.substr(slash + 1)));
}

double value(const Json& measure, const char* key) { return measure.contains(key) ? measure[key].get<double>() : 0; }

// Unit ios: ours are the I/Os to members, a peer's its own.
double work_of(const Json& measure, const std::string& unit) {
  if (unit == "bytes") return measure["bytes"];
  const double members = value(measure, "member_reads") + value(measure, "member_writes");
  return unit == "ios" && members > 0 ? members : measure["ops"].get<double>();
}

void add_run(Case& c, const Json& run) {
  const Json& measure = run["measure"];
  if (c.unit == "ms") {
    c.ours[run["round"]] = {measure["ms"], 0};
    return;
  }
  const double work = work_of(measure, c.unit) * fraction(run["factor"]);
  const double cpu_s = measure["cpu_s"];
  const Rates rates{work / measure["wall_s"].get<double>(), cpu_s > 0 ? work / cpu_s : 0};
  if (run["who"] == "peer") {
    c.peer[run["round"]] = rates;
    return;
  }
  c.ours[run["round"]] = rates;
  if (measure.contains("sent_ratio")) c.sent.push_back(measure["sent_ratio"]);
  if (measure.contains("limited_by")) c.limited_by = measure["limited_by"];
  if (!measure.contains("member_reads") || value(measure, "ops") == 0) return;
  c.member_reads.push_back(value(measure, "member_reads"));
  c.ios_each.push_back((value(measure, "member_reads") + value(measure, "member_writes")) / value(measure, "ops"));
}

std::vector<Case> read_cases(const char* path) {
  std::vector<Case> cases;
  std::ifstream in(path);
  if (!in) die("cannot read", path);
  for (std::string line; std::getline(in, line);) {
    const Json run = Json::parse(line);
    const std::string name = run["case"];
    auto found = std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.name == name; });
    if (found == cases.end()) {
      found = cases.insert(cases.end(), Case{});
      found->name = name;
      found->unit = run["unit"];
      found->aim = run["aim"];
    }
    if (run["round"] != 0) add_run(*found, run);
  }
  return cases;
}

std::string rate(const std::map<int, Rates>& rounds, double Rates::* which, const std::string& unit) {
  const double median = quantile(values_of(rounds, which), 0.5);
  if (median == 0) return "-";
  if (unit == "ms") return fmt::format("{:.0f} ms", median);
  return unit == "bytes" ? fmt::format("{:.0f} MB/s", median * 1e-6) : fmt::format("{:.0f}k/s", median * 1e-3);
}

// "1.02 (0.98-1.05)": median and quartiles.
std::string ratio(const std::vector<double>& ratios) {
  if (ratios.empty()) return "-";
  return fmt::format("{:.2f} ({:.2f}-{:.2f})", quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75));
}

Json side(const std::map<int, Rates>& rounds) {
  if (rounds.empty()) return nullptr;
  return {{"rounds", rounds.size()},
          {"per_second", quantile(values_of(rounds, &Rates::wall), 0.5)},
          {"per_cpu_second", quantile(values_of(rounds, &Rates::cpu), 0.5)}};
}

Json ratio_json(const std::vector<double>& ratios) {
  if (ratios.empty()) return nullptr;
  return {{"median", quantile(ratios, 0.5)}, {"q1", quantile(ratios, 0.25)}, {"q3", quantile(ratios, 0.75)}};
}

Json case_json(const Case& c) {
  return {{"case", c.name},
          {"unit", c.unit},
          {"aim", c.aim},
          {"ours", side(c.ours)},
          {"peer", side(c.peer)},
          {"ratio_wall", ratio_json(ratios_of(c, &Rates::wall))},
          {"ratio_cpu", ratio_json(ratios_of(c, &Rates::cpu))},
          {"limited_by", c.limited_by},
          {"most", c.unit == "ms" ? Json(quantile(values_of(c.ours, &Rates::wall), 1)) : Json(nullptr)},
          {"sent_ratio", c.sent.empty() ? Json(nullptr) : Json(quantile(c.sent, 1))},
          {"member_reads", c.member_reads.empty() ? Json(nullptr) : Json(quantile(c.member_reads, 0.5))},
          {"member_ios_per_request", c.ios_each.empty() ? Json(nullptr) : Json(quantile(c.ios_each, 0.5))}};
}

// As `resilver compare` reads them.
void add_figures(Json& figures, const Case& c) {
  const auto add = [&](const std::string& what, const char* unit_of, const std::vector<double>& values) {
    if (values.empty()) return;
    figures.push_back({{"name", c.name + what},
                       {"unit", unit_of},
                       {"better", c.unit == "ms" ? "lower" : "higher"},
                       {"rounds", values},
                       {"median", quantile(values, 0.5)},
                       {"q1", quantile(values, 0.25)},
                       {"q3", quantile(values, 0.75)}});
  };
  const char* unit = c.unit == "bytes" ? "bytes/s" : c.unit == "ms" ? "ns" : "1/s";
  std::vector<double> rounds = values_of(c.ours, &Rates::wall);
  if (c.unit == "ms") std::transform(rounds.begin(), rounds.end(), rounds.begin(), [](double ms) { return ms * 1e6; });
  add("", unit, rounds);
  add(" per CPU-s", unit, values_of(c.ours, &Rates::cpu));
  add(" ratio", "ratio", ratios_of(c, &Rates::wall));
  add(" ratio per CPU-s", "ratio", ratios_of(c, &Rates::cpu));
}

std::string notes(const Case& c) {
  std::string text = c.aim;
  if (!c.limited_by.empty()) text += "; by " + c.limited_by;
  if (c.unit == "ms") text += fmt::format("; at most {:.0f} ms", quantile(values_of(c.ours, &Rates::wall), 1));
  if (!c.sent.empty()) text += fmt::format("; sent at most {:.3f} of what was due", quantile(c.sent, 1));
  if (!c.ios_each.empty())
    text += fmt::format("; {:.2f} I/Os each, {:.0f} reads", quantile(c.ios_each, 0.5), quantile(c.member_reads, 0.5));
  return text;
}

void write_file(const char* path, const Json& json) {
  std::ofstream file(path);
  file << json.dump(1) << '\n';
  if (!file) die("cannot write", path);
}

int table(const char* runs, const char* cases_path, const char* figures_path) {
  Json all = Json::array(), figures = Json::array();
  constexpr auto kRow = "{:<66} {:>10} {:>10} {:>18}   {:>10} {:>10} {:>18}   {}\n";
  fmt::print(kRow, "", "ours", "peer", "ratio", "ours/CPU-s", "peer/CPU-s", "ratio", "aim; limited by");
  for (const Case& c : read_cases(runs)) {
    fmt::print(kRow, c.name, rate(c.ours, &Rates::wall, c.unit), rate(c.peer, &Rates::wall, c.unit),
               ratio(ratios_of(c, &Rates::wall)), rate(c.ours, &Rates::cpu, c.unit), rate(c.peer, &Rates::cpu, c.unit),
               ratio(ratios_of(c, &Rates::cpu)), notes(c));
    all.push_back(case_json(c));
    add_figures(figures, c);
  }
  write_file(cases_path, all);
  write_file(figures_path, figures);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "fio" && argc == 7)
    return fio(argv[2], std::atof(argv[3]) + std::atof(argv[4]) - std::atof(argv[5]) - std::atof(argv[6]));
  if (mode == "ours" && argc == 2) return ours();
  if (mode == "against" && argc == 4) return against(argv[2], argv[3]);
  if (mode == "table" && argc == 5) return table(argv[2], argv[3], argv[4]);
  die("usage: summary fio FILE USER SYSTEM USER0 SYSTEM0 | ours | against CASE AIM | table RUNS CASES FIGURES");
}
