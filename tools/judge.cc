#include "tools/judge.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <boost/program_options.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/units.h"
#include "tools/options.h"
#include "workload/history_judge.h"

namespace resilver::tools {
namespace {

namespace po = boost::program_options;
using Json = nlohmann::json;
using workload::HistoryVerdict;

constexpr int kJudgeSchema = 1;
constexpr int kBroken = 1;
constexpr int kBadInput = 2;

constexpr const char* kUsage =
    "Usage: resilver judge HISTORY [--json]\n\n"
    "Reads a history (history-CONTENDER.jsonl, written by `resilver run --out DIR --history`; docs/history.md) and "
    "says\n"
    "what was lost, stale or corrupt, with the oracle that judged the run.\n\n";

constexpr const char* kExample =
    "\nExample:\n"
    "  resilver run write-hole --out results --history\n"
    "  resilver judge results/history-bitmap.jsonl\n\n"
    "Exit: 0 the promise was kept, 1 something was lost, stale or corrupt, 2 bad usage or history.\n";

std::string text(const std::string& file, const HistoryVerdict& verdict) {
  const workload::OracleCounts& counts = verdict.counts;
  std::string out = fmt::format("{}: {} in '{}', seed {}, promise {}\n", file, verdict.contender, verdict.scenario,
                                verdict.seed, workload::durability_name(verdict.promise));
  out += fmt::format("{} requests, {} of unknown outcome, {} never ended; {}\n", counts.requests, counts.unknown_writes,
                     verdict.never_ended,
                     verdict.read_back ? format_size(counts.bytes_read_back) + " read back at the end"
                                       : std::string("no final reading"));
  out += fmt::format("acknowledged writes lost {}, stale reads {}, corrupt reads {}, unreadable at the end {}\n",
                     counts.lost_writes, verdict.stale_reads(), counts.corrupt_reads,
                     format_size(counts.unreadable_bytes));
  if (verdict.first_line != 0) {
    out += fmt::format("first: line {}, {}, at byte {} of the volume\n", verdict.first_line, verdict.first_what,
                       verdict.first_offset);
  }
  return out;
}

std::string json(const std::string& file, const HistoryVerdict& verdict) {
  const workload::OracleCounts& counts = verdict.counts;
  Json json = {{"schema", kJudgeSchema},
               {"file", file},
               {"scenario", verdict.scenario},
               {"contender", verdict.contender},
               {"seed", verdict.seed},
               {"promise", workload::durability_name(verdict.promise)},
               {"good", verdict.good()},
               {"requests", counts.requests},
               {"unknown_writes", counts.unknown_writes},
               {"never_ended", verdict.never_ended},
               {"read_back", verdict.read_back},
               {"bytes_read_back", counts.bytes_read_back},
               {"lost_writes", counts.lost_writes},
               {"stale_reads", verdict.stale_reads()},
               {"corrupt_reads", counts.corrupt_reads},
               {"unreadable_bytes", counts.unreadable_bytes}};
  if (verdict.first_line != 0) {
    json["first"] = {{"line", verdict.first_line}, {"what", verdict.first_what}, {"offset", verdict.first_offset}};
  }
  return json.dump(1) + "\n";
}

}  // namespace

int judge_main(int argc, char** argv) {
  po::options_description options("Options");
  options.add_options()("help,h", "this text")("json", "the verdict as JSON");
  po::options_description all = options;
  all.add_options()("history", po::value<std::vector<std::string>>(), "");
  po::positional_options_description positional;
  positional.add("history", -1);
  po::variables_map values;
  if (!read_options(argc, argv, all, positional, values)) return kBadInput;
  if (values.count("help")) {
    fmt::print("{}{}{}", kUsage, fmt::streamed(options), kExample);
    return 0;
  }
  const auto files =
      values.count("history") ? values["history"].as<std::vector<std::string>>() : std::vector<std::string>{};
  if (files.size() != 1) {
    fmt::print(stderr, "resilver judge: one history expected; see resilver judge --help\n");
    return kBadInput;
  }
  std::ifstream in(files.front(), std::ios::binary);
  if (!in) {
    fmt::print(stderr, "resilver judge: {}: cannot be read\n", files.front());
    return kBadInput;
  }
  const auto verdict = workload::judge_history(in, files.front());
  if (!verdict) {
    fmt::print(stderr, "{}\n", verdict.error().what);
    return kBadInput;
  }
  fmt::print("{}", values.count("json") ? json(files.front(), *verdict) : text(files.front(), *verdict));
  return verdict->good() ? 0 : kBroken;
}

}  // namespace resilver::tools
