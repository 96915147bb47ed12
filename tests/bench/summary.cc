// summary fio FILE USER SYSTEM USER0 SYSTEM0: one JSON line (as measure.h prints) of what fio's only job did, from fio's
// JSON and from the CPU seconds of all its processes (USER0, SYSTEM0: of a run that does one I/O, its start-up).
// summary table RUNS OUT: reads the lines that `run` collected ({"case","who","round","unit","aim","measure":{…}}), prints
// a table of medians and writes it as JSON to OUT. Ratios are ours ÷ peer within each round; round 0 is dropped.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
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
  constexpr double kWorkersHadPart = 0.1;
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

struct Rates {
  double wall = 0;  // per second
  double cpu = 0;   // per CPU-second
};
struct Case {
  std::string name, unit, aim;
  std::map<int, Rates> ours, peer;  // by round
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
  for (const auto& [round, rates] : rounds) values.push_back(rates.*which);
  return values;
}

std::vector<double> ratios_of(const Case& c, double Rates::* which) {
  std::vector<double> ratios;
  for (const auto& [round, ours] : c.ours)
    if (const auto peer = c.peer.find(round); peer != c.peer.end())
      ratios.push_back(ours.*which / (peer->second.*which));
  return ratios;
}

std::vector<Case> read_cases(const char* path) {
  std::vector<Case> cases;
  std::ifstream in(path);
  if (!in) die("cannot read", path);
  for (std::string line; std::getline(in, line);) {
    const Json run = Json::parse(line);
    const std::string name = run["case"];
    auto found = std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.name == name; });
    if (found == cases.end()) found = cases.insert(cases.end(), Case{name, run["unit"], run["aim"], {}, {}});
    const int round = run["round"];
    if (round == 0) continue;
    const Json& measure = run["measure"];
    const double work = measure[found->unit == "ops" ? "ops" : "bytes"];
    const Rates rates{work / measure["wall_s"].get<double>(), work / measure["cpu_s"].get<double>()};
    (run["who"] == "ours" ? found->ours : found->peer)[round] = rates;
  }
  return cases;
}

std::string rate(double value, const std::string& unit) {
  return unit == "ops" ? fmt::format("{:.0f}k/s", value * 1e-3) : fmt::format("{:.0f} MB/s", value * 1e-6);
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

int table(const char* runs, const char* out) {
  Json all = Json::array();
  constexpr auto kRow = "{:<45} {:>10} {:>10} {:>18}   {:>10} {:>10} {:>18}   {}\n";
  fmt::print(kRow, "", "ours", "peer", "ratio", "ours/CPU-s", "peer/CPU-s", "ratio", "aim");
  for (const Case& c : read_cases(runs)) {
    const auto median = [&](const std::map<int, Rates>& rounds, double Rates::* which) {
      return rounds.empty() ? std::string("-") : rate(quantile(values_of(rounds, which), 0.5), c.unit);
    };
    const auto wall = ratios_of(c, &Rates::wall), cpu = ratios_of(c, &Rates::cpu);
    fmt::print(kRow, c.name, median(c.ours, &Rates::wall), median(c.peer, &Rates::wall), ratio(wall),
               median(c.ours, &Rates::cpu), median(c.peer, &Rates::cpu), ratio(cpu), c.aim);
    all.push_back({{"case", c.name},
                   {"unit", c.unit},
                   {"aim", c.aim},
                   {"ours", side(c.ours)},
                   {"peer", side(c.peer)},
                   {"ratio_wall", ratio_json(wall)},
                   {"ratio_cpu", ratio_json(cpu)}});
  }
  std::ofstream file(out);
  file << all.dump(1) << '\n';
  if (!file) die("cannot write", out);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "fio" && argc == 7)
    return fio(argv[2], std::atof(argv[3]) + std::atof(argv[4]) - std::atof(argv[5]) - std::atof(argv[6]));
  if (mode == "table" && argc == 4) return table(argv[2], argv[3]);
  die("usage: summary fio FILE USER SYSTEM USER0 SYSTEM0 | summary table RUNS OUT");
}
