// `resilver compare`: two reports of `resilver bench` or `make bench` side by side.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/bench_work.h"
#include "tools/command.h"
#include "tools/commands.h"

namespace resilver::tools {
namespace {

using Json = nlohmann::json;

constexpr int kWorse = 1;
constexpr int kNothingInCommon = 3;

// Two medians differ by chance by some 15 % on a shared machine, rarely by more than 20 %. Between the two it counts only if
// the middle halves of their rounds do not overlap.
constexpr double kNoise = 0.15;
constexpr double kBeyondDoubt = 0.20;

struct Measured {
  std::string name, unit, better;
  double median = 0, q1 = 0, q3 = 0;
};

struct Loaded {
  std::vector<Measured> figures;
  Json array = Json::object();  // what was measured; empty in reports of `make bench`
  bool virtual_time = false;
};

Result<Loaded> load(const std::string& path) {
  std::ifstream in(path);
  if (!in) return fail(Errc::not_found, path + ": cannot be read");
  const Json json = Json::parse(in, nullptr, false);
  if (json.is_discarded() || !json.is_object() || !json.contains("figures") || !json["figures"].is_array())
    return fail(Errc::bad_input, path + ": no report of resilver bench");
  if (json.value("schema", Json()) != Json(kBenchSchema))
    return fail(Errc::bad_input, fmt::format("{}: schema: expected {}", path, kBenchSchema));
  Loaded loaded;
  if (json.contains("array") && json["array"].is_object()) loaded.array = json["array"];
  loaded.virtual_time = json.value("world", Json()) == Json("virtual");
  for (const Json& figure : json["figures"]) {
    const auto number = [&figure](const char* key) { return figure.contains(key) && figure[key].is_number(); };
    const auto text = [&figure](const char* key) { return figure.contains(key) && figure[key].is_string(); };
    if (!figure.is_object() || !text("name") || !text("unit") || !text("better") || !number("median") ||
        !number("q1") || !number("q3"))
      return fail(Errc::bad_input, fmt::format("{}: figure {}: incomplete", path, loaded.figures.size() + 1));
    loaded.figures.push_back(
        {figure["name"], figure["unit"], figure["better"], figure["median"], figure["q1"], figure["q3"]});
  }
  return loaded;
}

Unit unit_of(const std::string& text) noexcept {
  if (text == "bytes/s") return Unit::bytes_per_second;
  if (text == "ns") return Unit::nanoseconds;
  return text == "ratio" ? Unit::ratio : Unit::per_second;
}

std::string spread(const Measured& figure) {
  return figure.median == 0 ? "-" : fmt::format("{:.0f} %", (figure.q3 - figure.q1) / figure.median * 100);
}

bool differs(const Measured& a, const Measured& b, bool noise) noexcept {
  if (!noise) return a.median != b.median;
  const double apart = std::max(a.median, b.median) / std::min(a.median, b.median) - 1;
  if (apart > kBeyondDoubt) return true;
  return apart > kNoise && (a.q3 < b.q1 || b.q3 < a.q1);
}

enum class Verdict : std::uint8_t { same, better, worse, other };

Verdict judge(const Measured& a, const Measured& b, bool noise) noexcept {
  if (!differs(a, b, noise)) return Verdict::same;
  if (a.better != "higher" && a.better != "lower") return Verdict::other;
  return (b.median > a.median) == (a.better == "higher") ? Verdict::better : Verdict::worse;
}

const char* words(Verdict verdict, bool noise) noexcept {
  switch (verdict) {
    case Verdict::same: return noise ? "within the noise" : "the same";
    case Verdict::better: return "BETTER";
    case Verdict::worse: return "WORSE";
    case Verdict::other: return "different";
  }
  return "";
}

// "disks 4 against 8, size 256 MiB against 64 MiB": in what the two sides are not the same thing; empty if in nothing.
std::string differences(const Json& a, const Json& b) {
  static constexpr std::pair<const char*, const char*> kKeys[] = {
      {"level", "level"},     {"disks", "disks"},       {"lost", "lost"},   {"disk_model", "disk model"},
      {"size_bytes", "size"}, {"chunk_bytes", "chunk"}, {"place", "place"}, {"consistency", "consistency"}};
  const auto words = [](const std::string& key, const Json& value) {
    if (value.is_null()) return std::string("not told");
    if (value.is_string()) return value.get<std::string>();
    return key.ends_with("_bytes") && value.is_number_unsigned() ? format_size(value.get<std::uint64_t>())
                                                                 : value.dump();
  };
  std::vector<std::string> parts;
  for (const auto& [key, name] : kKeys) {
    const Json& left = a.contains(key) ? a.at(key) : Json();
    const Json& right = b.contains(key) ? b.at(key) : Json();
    if (left != right) parts.push_back(fmt::format("{} {} against {}", name, words(key, left), words(key, right)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

int compare(const Loaded& before, const Loaded& after) {
  if (const std::string apart = differences(before.array, after.array); !apart.empty())
    fmt::print("A and B are not the same thing: {}.\nWhat follows compares these, not two states of one.\n\n", apart);
  const bool noise = !(before.virtual_time && after.virtual_time);
  std::size_t width = 6, shown = 0, worse = 0, better = 0;
  for (const Measured& figure : before.figures) width = std::max(width, figure.name.size());
  fmt::print("{:<{}}  {:>12} {:>8}  {:>12} {:>8}  {:>6}\n", "", width, "A", "spread", "B", "spread", "B/A");
  for (const Measured& a : before.figures) {
    const auto b = std::find_if(after.figures.begin(), after.figures.end(),
                                [&a](const Measured& f) { return f.name == a.name && f.unit == a.unit; });
    if (b == after.figures.end() || a.median <= 0 || b->median <= 0) continue;
    const Verdict verdict = judge(a, *b, noise);
    ++shown;
    worse += verdict == Verdict::worse ? 1 : 0;
    better += verdict == Verdict::better ? 1 : 0;
    fmt::print("{:<{}}  {:>12} {:>8}  {:>12} {:>8}  {:>6.2f}  {}\n", a.name, width,
               format_value(a.median, unit_of(a.unit)), spread(a), format_value(b->median, unit_of(b->unit)),
               spread(*b), b->median / a.median, words(verdict, noise));
  }
  if (shown == 0) {
    fmt::print(stderr, "resilver compare: the reports have no figure in common\n");
    return kNothingInCommon;
  }
  fmt::print("\n{} figures: {} better, {} worse\n", shown, better, worse);
  return worse > 0 ? kWorse : 0;
}

int run_compare(const CommandLine& line) {
  if (line.words.size() != 2) return refuse_usage("compare", "expected two reports");
  std::vector<Loaded> loaded;
  for (const std::string& file : line.words) {
    auto report = load(file);
    if (!report) return refuse("compare", report.error(), kBadUsage);
    loaded.push_back(std::move(*report));
  }
  return compare(loaded[0], loaded[1]);
}

}  // namespace

constexpr CommandSpec kCompareCommand = {
    .name = "compare",
    .meaning = "two reports of bench side by side: what differs beyond the noise",
    .words = "FILE FILE",
    .usage = "A.json B.json",
    .description =
        "Sets two reports of `resilver bench --json` (or of `make bench`) side by side, figure by figure: B against A. "
        "A "
        "difference is told from noise if the medians are more than 20 % apart, or more than 15 % and the middle "
        "halves of "
        "the rounds do not overlap; virtual time has no noise.",
    .examples = {"resilver bench rebuild --json before.json", "resilver bench rebuild --json after.json",
                 "resilver compare before.json after.json"},
    .exits = {{0, "nothing is worse in B beyond the noise"},
              {1, "something is"},
              {2, "bad usage or file"},
              {3, "the reports have no figure in common"}},
    .run = run_compare,
};

}  // namespace resilver::tools
