#include "tools/run.h"

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/program_options.hpp>
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
#include "tools/list.h"
#include "tools/options.h"
#include "tools/run_progress.h"
#include "tools/run_seeds.h"

namespace resilver::tools {
namespace {

namespace po = boost::program_options;

constexpr int kBadUsage = 2;
constexpr int kInterrupted = 130;

constexpr const char* kUsage =
    "Usage: resilver run FILE [OPTIONS]\n\n"
    "Runs a scenario (a file, or the name of one that ships: resilver list) against every contender and\n"
    "prints what each kept, lost and paid. Virtual time needs no root, no disk and no io_uring.\n\n";

constexpr const char* kExamples =
    "\nExamples:\n"
    "  resilver run disk-loss\n"
    "  resilver run scenarios/disk-then-server.toml --time real --fill /usr/bin/git --out results\n"
    "  resilver run disk-then-server --only raid5,replica3 --set workload.rate_iops=200 --seed 7\n"
    "  resilver run too-eager --seeds 20\n\n"
    "One seed is an anecdote: --seeds says how far chance carries.\n"
    "Exit: 0 every expectation holds, 1 one does not, 2 bad usage or file, 3 inconclusive, 130 interrupted.\n";

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

po::options_description make_options() {
  po::options_description options("Options");
  auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
  auto add = options.add_options();
  add("time", text("real|virtual")->default_value("virtual"), "on real processes and images, or simulated");
  add("seed", text("N"), "instead of the scenario's own");
  add("seeds", text("N|A..B"), "the seeds 1 to N, or A to B: median and range, and a red seed is red (virtual time)");
  add("yes", "also if these are more than 1,000 seeds");
  add("only", text("NAME,..."), "these contenders only");
  add("set", po::value<std::vector<std::string>>()->value_name("KEY=VALUE"), "change a key of the scenario first");
  add("fill", text("FILE"), "write this file to each contender's volume before");
  add("out", text("DIR"), "write results.json there");
  add("history", "also write the client's history there, one JSON line per event in Jepsen's form");
  add("work", text("DIR"), "where images go (real time); default: a directory of its own in TMPDIR or /var/tmp");
  add("json", "results as JSON on standard output instead of the table");
  add("quiet", "no progress");
  add("wide", "all contenders side by side, whatever the width");
  add("keep", "leave images and logs (real time)");
  add("strict-timing", "judge times also in real time");
  add("help,h", "this text");
  return options;
}

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
std::optional<Command> read_command(const po::variables_map& values) {
  auto refuse = [](const std::string& why) {
    fmt::print(stderr, "resilver run: {}; see resilver run --help\n", why);
    return std::nullopt;
  };
  auto text = [&values](const char* name) {
    return values.contains(name) ? values[name].as<std::string>() : std::string();
  };
  Command command;
  if (!values.contains("file")) return refuse("expected a scenario file or the name of one that ships");
  command.file = text("file");
  const std::string time = text("time");
  if (time != "real" && time != "virtual") return refuse("--time " + time + ": expected real or virtual");
  command.parse.real = time == "real";
  command.parse.only = split(text("only"));
  if (values.contains("seed")) {
    if (auto seed = parse_count(text("seed")); !seed) return refuse("--seed " + text("seed") + ": expected a number");
    command.parse.set.emplace_back("seed", text("seed"));
  }
  if (values.contains("seeds")) {
    auto seeds = read_seeds(text("seeds"), values.contains("yes"));
    if (!seeds) return refuse("--seeds " + text("seeds") + ": " + seeds.error());
    if (values.contains("seed")) return refuse("--seed and --seeds: one of them");
    if (command.parse.real) return refuse("--seeds: in virtual time only; a real run has one course");
    if (values.contains("history")) return refuse("--seeds: no --history of many runs; take --seed N");
    command.seeds = *seeds;
  }
  if (values.contains("set")) {
    for (const std::string& pair : values["set"].as<std::vector<std::string>>()) {
      const std::size_t equals = pair.find('=');
      if (equals == std::string::npos || equals == 0) return refuse("--set " + pair + ": expected KEY=VALUE");
      command.parse.set.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
    }
  }
  command.run.fill_path = text("fill");
  command.run.work_dir = text("work");
  command.run.keep = values.contains("keep");
  command.run.strict_timing = values.contains("strict-timing");
  command.out_dir = text("out");
  if (values.contains("history")) {
    if (command.out_dir.empty()) return refuse("--history goes with --out DIR");
    command.run.history_dir = command.out_dir;
  }
  command.json = values.contains("json");
  command.quiet = values.contains("quiet");
  command.wide = values.contains("wide");
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

}  // namespace

int run_main(int argc, char** argv) {
  const po::options_description options = make_options();
  po::options_description all;
  all.add(options).add_options()("file", po::value<std::string>(), "");
  po::positional_options_description positional;
  positional.add("file", 1);
  po::variables_map values;
  if (!read_options(argc, argv, all, positional, values)) return kBadUsage;
  if (values.contains("help")) {
    fmt::print("{}", kUsage);
    fmt::print("{}", fmt::streamed(options));
    fmt::print("{}", kExamples);
    return 0;
  }
  std::optional<Command> command = read_command(values);
  if (!command) return kBadUsage;
  return command->seeds ? run_seeds(*command) : run(*command);
}

}  // namespace resilver::tools
