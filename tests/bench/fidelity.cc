// fidelity VIRTUAL REAL OUT: from two results.json of one scenario, real ÷ virtual of outage and repair time for each
// contender and event. Prints a table and writes it as JSON to OUT. Where either world has no such time (no outage, no
// repair needed, never ended) the words of both stand instead of a ratio; they should be the same.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "measure.h"

namespace {

using Json = nlohmann::ordered_json;
using resilver::bench::die;

Json read_results(const char* path) {
  std::ifstream in(path);
  if (!in) die("cannot read", path);
  return Json::parse(in);
}

const Json* by_name(const Json& list, const std::string& name) {
  for (const Json& item : list)
    if (item["name"] == name) return &item;
  return nullptr;
}

struct Time {
  std::optional<double> ns;
  std::string text;
};

Time outage_of(const Json& window) {
  const double ns = window["outage"]["total_ns"];
  if (!window["outage"]["ended"].get<bool>()) return {{}, "down"};
  if (ns == 0) return {{}, "none"};
  return {ns, fmt::format("{:.0f} ms", ns * 1e-6)};
}

Time repair_of(const Json& repair) {
  if (!repair["needed"].get<bool>()) return {{}, "not needed"};
  if (!repair["finished"].get<bool>()) return {{}, "never"};
  const double ns = repair["time_ns"];
  return {ns, fmt::format("{:.0f} ms", ns * 1e-6)};
}

class Table {
 public:
  Table() { row("contender", "event", "measure", "virtual", "real", "real/virtual"); }

  void add(const std::string& contender, const std::string& event, const char* measure, const Time& simulated,
           const Time& real) {
    if (!simulated.ns && !real.ns && simulated.text == "not needed" && real.text == simulated.text) return;
    Json entry = {{"contender", contender},    {"event", event},    {"measure", measure},
                  {"virtual", simulated.text}, {"real", real.text}, {"ratio", nullptr}};
    std::string verdict = simulated.text == real.text ? "same" : "differ";
    if (simulated.ns && real.ns) {
      const double ratio = *real.ns / *simulated.ns;
      entry["ratio"] = ratio;
      verdict = fmt::format("{:.2f}{}", ratio, ratio < 0.85 || ratio > 1.15 ? "  <- beyond 15 %" : "");
    }
    row(contender, event, measure, simulated.text, real.text, verdict);
    json_.push_back(std::move(entry));
  }

  const Json& json() const noexcept { return json_; }

 private:
  static void row(const std::string& contender, const std::string& event, const char* measure,
                  const std::string& simulated, const std::string& real, const std::string& verdict) {
    fmt::print("{:<12} {:<20} {:<12} {:>12} {:>12}   {}\n", contender, event, measure, simulated, real, verdict);
  }
  Json json_ = Json::array();
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) die("usage: fidelity VIRTUAL REAL OUT");
  const Json simulated = read_results(argv[1]), real = read_results(argv[2]);
  if (simulated["run"]["world"] != "virtual" || real["run"]["world"] != "real") die("not a virtual and a real result");
  Table table;
  for (const Json& contender : simulated["contenders"]) {
    const std::string name = contender["name"];
    const Json* other = by_name(real["contenders"], name);
    if (other == nullptr) die("not in the real result", name.c_str());
    for (const Json& event : contender["events"]) {
      const std::string title = event["name"];
      const Json* twin = by_name((*other)["events"], title);
      if (twin == nullptr) die("not in the real result", title.c_str());
      const Json &a = event["window"], &b = (*twin)["window"];
      table.add(name, title, "outage", outage_of(a), outage_of(b));
      table.add(name, title, "repair", repair_of(a["repair"]), repair_of(b["repair"]));
      table.add(name, title, "node repair", repair_of(a["node_repair"]), repair_of(b["node_repair"]));
    }
  }
  std::ofstream file(argv[3]);
  file << table.json().dump(1) << '\n';
  if (!file) die("cannot write", argv[3]);
}
