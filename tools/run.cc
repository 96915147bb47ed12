// `resilver run`: a scenario against every contender, in one of the two worlds; progress, table, results.json.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "report/json.h"
#include "report/table.h"
#include "scenario/capacity.h"
#include "scenario/parse.h"
#include "scenario/run.h"
#include "tools/command.h"
#include "tools/commands.h"
#include "tools/list.h"
#include "tools/run_progress.h"
#include "tools/run_seeds.h"

namespace resilver::tools {
namespace {

struct Command {
  std::string file;
  scenario::ParseOptions parse;
  scenario::RunOptions run;
  std::string out_dir;
  std::optional<SeedRange> seeds;
  bool json = false;
  bool quiet = false;
  bool wide = false;
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    if (comma > begin) parts.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return parts;
}

// Nothing, and one line on standard error, if the values make no command.
std::optional<Command> read_command(const CommandLine& line) {
  auto refuse = [](const std::string& why) {
    refuse_usage("run", why);
    return std::nullopt;
  };
  Command command;
  if (line.words.size() != 1) return refuse("expected one scenario file, or the name of one that ships");
  command.file = line.words[0];
  const std::string time = line.text("time");
  if (time != "real" && time != "virtual") return refuse("--time " + time + ": expected real or virtual");
  command.parse.real = time == "real";
  command.parse.only = split(line.text("only"));
  if (line.has("seed")) {
    const std::string seed = line.text("seed");
    if (!parse_count(seed)) return refuse("--seed " + seed + ": expected a number");
    command.parse.set.emplace_back("seed", seed);
  }
  if (line.has("seeds")) {
    auto seeds = read_seeds(line.text("seeds"), line.has("yes"));
    if (!seeds) return refuse("--seeds " + line.text("seeds") + ": " + seeds.error());
    if (line.has("seed")) return refuse("--seed and --seeds: one of them");
    if (command.parse.real) return refuse("--seeds: in virtual time only; a real run has one course");
    if (line.has("history")) return refuse("--seeds: no --history of many runs; take --seed N");
    command.seeds = *seeds;
  }
  for (const std::string& pair : line.all("set")) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) return refuse("--set " + pair + ": expected KEY=VALUE");
    command.parse.set.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
  }
  command.run.fill_path = line.text("fill");
  command.run.work_dir = line.text("work");
  command.run.keep = line.has("keep");
  command.run.strict_timing = line.has("strict-timing");
  command.out_dir = line.text("out");
  if (line.has("history")) {
    if (command.out_dir.empty()) return refuse("--history goes with --out DIR");
    command.run.history_dir = command.out_dir;
  }
  command.json = line.has("json");
  command.quiet = line.has("quiet");
  command.wide = line.has("wide");
  return command;
}

// A reader never sees half a file.
bool write_file(const std::string& path, const std::string& text) {
  const std::string half = path + ".part";
  {
    std::ofstream file(half, std::ios::binary);
    file << text << '\n';
    file.flush();
    if (!file) {
      fmt::print(stderr, "resilver run: {}: {}\n", half, std::strerror(errno));
      unlink(half.c_str());
      return false;
    }
  }
  return rename(half.c_str(), path.c_str()) == 0;
}

bool writable_directory(const std::string& directory) {
  if (mkdir(directory.c_str(), 0777) != 0 && errno != EEXIST) {
    fmt::print(stderr, "resilver run: --out {}: {}\n", directory, std::strerror(errno));
    return false;
  }
  if (access(directory.c_str(), W_OK | X_OK) != 0) {
    fmt::print(stderr, "resilver run: --out {}: {}\n", directory, std::strerror(errno));
    return false;
  }
  return true;
}

int run_seeds(Command& command) {
  if (!command.out_dir.empty() && !writable_directory(command.out_dir)) return kBadUsage;
  ProgressPrinter printer;
  ProgressPrinter* progress = command.quiet ? nullptr : &printer;
  const auto table = run_all_seeds(command.file, command.parse, command.run, *command.seeds, progress);
  printer.end_line();
  if (!table) return kBadUsage;
  const bool written = command.out_dir.empty() || write_file(command.out_dir + "/results.json", report::to_json(*table));
  if (!written) return kBadUsage;
  fmt::print("{}{}", command.json ? report::to_json(*table) : table->text(), command.json ? "\n" : "");
  return table->exit_code();
}

int run(Command& command) {
  const auto parsed = scenario::load_scenario(find_scenario(command.file), command.parse);
  if (!parsed) {
    for (const auto& diagnostic : parsed.error()) fmt::print(stderr, "{}\n", to_string(diagnostic));
    return kBadUsage;
  }
  if (!command.out_dir.empty() && !writable_directory(command.out_dir)) return kBadUsage;
  for (const auto& line : scenario::overload_words(*parsed)) fmt::print(stderr, "resilver run: {}\n", line);
  ProgressPrinter printer;
  if (!command.quiet) {
    command.run.progress = [&printer](const scenario::Progress& progress) { printer.show(progress); };
  }
  const Result<scenario::RunResults> results =
      parsed->real ? run_real(*parsed, command.run) : run_virtual(*parsed, command.run);
  printer.end_line();
  if (!results) {
    fmt::print(stderr, "resilver run: {}\n", to_string(results.error()));
    return results.error().code == Errc::cancelled ? kInterrupted : kBadUsage;
  }
  if (!command.out_dir.empty() && !write_file(command.out_dir + "/results.json", report::to_json(*results))) {
    return kBadUsage;
  }
  if (command.json) {
    fmt::print("{}\n", report::to_json(*results));
  } else {
    fmt::print("{}", report::format_report(*results, {command.wide}));
    if (!parsed->real)
      fmt::print("\nOne seed is an anecdote: resilver run {} --seeds 20 gives median and range.\n", command.file);
  }
  return exit_code(*results);
}

int run_scenario(const CommandLine& line) {
  std::optional<Command> command = read_command(line);
  if (!command) return kBadUsage;
  return command->seeds ? run_seeds(*command) : run(*command);
}

}  // namespace

constexpr CommandSpec kRunCommand = {
    .name = "run",
    .meaning = "run a scenario against every contender and print the table",
    .words = "SCENARIO",
    .description =
        "Runs a scenario (a file, or the name of one that ships: resilver list) against every contender and prints "
        "what "
        "each kept, lost and paid. Virtual time needs no root, no disk and no io_uring. One seed is an anecdote: "
        "--seeds "
        "says how far chance carries.",
    .options =
        {
            {"time", "real|virtual", "on real processes and images, or simulated", "virtual"},
            {"seed", "N", "instead of the scenario's own"},
            {"seeds", "N|A..B", "the seeds 1 to N, or A to B: median and range, and a red seed is red (virtual time)"},
            {"yes", nullptr, "also if these are more than 1,000 seeds"},
            {"only", "NAME,...", "these contenders only"},
            {.name = "set", .value = "KEY=VALUE", .meaning = "change a key of the scenario first", .repeated = true},
            {"fill", "FILE", "write this file to each contender's volume before"},
            {"out", "DIR", "write results.json there"},
            {"history", nullptr, "also write the client's history there, one JSON line per event in Jepsen's form"},
            {"work", "DIR", "where images go (real time); default: a directory of its own in TMPDIR or /var/tmp"},
            {"json", nullptr, "results as JSON on standard output instead of the table"},
            {"quiet", nullptr, "no progress"},
            {"wide", nullptr, "all contenders side by side, whatever the width"},
            {"keep", nullptr, "leave images and logs (real time)"},
            {"strict-timing", nullptr, "judge times also in real time"},
        },
    .examples = {"resilver run disk-loss",
                 "resilver run scenarios/disk-then-server.toml --time real --fill /usr/bin/git --out results",
                 "resilver run disk-then-server --only raid5,replica3 --set workload.rate_iops=200 --seed 7",
                 "resilver run too-eager --seeds 20"},
    .exits = {{0, "every expectation holds"},
              {1, "one does not"},
              {2, "bad usage or file"},
              {3, "inconclusive"},
              cli::kInterruptedExit},
    .run = run_scenario,
};

}  // namespace resilver::tools
