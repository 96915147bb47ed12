// `resilver judge`: the history of a run, read back and judged.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/units.h"
#include "tools/command.h"
#include "tools/commands.h"
#include "workload/history_judge.h"

namespace resilver::tools {
namespace {

using Json = nlohmann::json;
using workload::HistoryVerdict;

constexpr int kJudgeSchema = 1;
constexpr int kBroken = 1;

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

int judge(const CommandLine& line) {
  if (line.words.size() != 1) return refuse_usage("judge", "one history expected");
  const std::string& file = line.words.front();
  std::ifstream in(file, std::ios::binary);
  if (!in) return refuse("judge", {Errc::not_found, file + ": cannot be read"}, kBadUsage);
  const auto verdict = workload::judge_history(in, file);
  if (!verdict) {
    fmt::print(stderr, "{}\n", verdict.error().what);
    return kBadUsage;
  }
  fmt::print("{}", line.has("json") ? json(file, *verdict) : text(file, *verdict));
  return verdict->good() ? kDone : kBroken;
}

}  // namespace

constexpr CommandSpec kJudgeCommand = {
    .name = "judge",
    .meaning = "read the history of a run back and judge it",
    .words = "FILE",
    .usage = "HISTORY [--json]",
    .description =
        "Reads a history (history-CONTENDER.jsonl, written by `resilver run --out DIR --history`; docs/history.md) and "
        "says what was lost, stale or corrupt, with the oracle that judged the run.",
    .options = {{"json", nullptr, "the verdict as JSON"}},
    .examples = {"resilver run write-hole --out results --history", "resilver judge results/history-bitmap.jsonl"},
    .exits = {{0, "the promise was kept"}, {1, "something was lost, stale or corrupt"}, {2, "bad usage or history"}},
    .run = judge,
};

}  // namespace resilver::tools
