// `resilver check`: lint of scenario files, without running them; a line per error ("file:line:column: what was expected").
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "scenario/capacity.h"
#include "scenario/parse.h"
#include "tools/command.h"
#include "tools/commands.h"
#include "tools/list.h"

namespace resilver::tools {

namespace {

int check(const std::vector<std::string>& files, const scenario::ParseOptions& options) {
  int code = 0;
  for (const auto& file : files) {
    const auto parsed = scenario::load_scenario(find_scenario(file), options);
    if (parsed) {
      fmt::print("{}: sound: {} contenders, {} events, {} expectations\n", file, parsed->contenders.size(),
                 parsed->events.size(), parsed->expectations.size());
      for (const auto& line : scenario::overload_words(*parsed)) fmt::print("{}: {}\n", file, line);
      continue;
    }
    for (const auto& diagnostic : parsed.error()) fmt::print(stderr, "{}\n", to_string(diagnostic));
    code = 2;
  }
  return code;
}

int run_check(const CommandLine& line) {
  if (line.words.empty()) return refuse_usage("check", "expected a scenario file");
  scenario::ParseOptions parse;
  for (const auto& text : line.all("set")) {
    const auto equals = text.find('=');
    if (equals == std::string::npos) return refuse_usage("check", "--set " + text + ": expected KEY=VALUE");
    parse.set.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return check(line.words, parse);
}

}  // namespace

constexpr CommandSpec kCheckCommand = {
    .name = "check",
    .meaning = "read a scenario file and say what is wrong with it",
    .words = "SCENARIO...",
    .description = "Reads scenarios and says what is wrong with them, for both worlds, without running anything.",
    .options = {{.name = "set", .value = "KEY=VALUE", .meaning = "change a key first, as in run", .repeated = true}},
    .examples = {"resilver check scenarios/disk-loss.toml --set contender.raid5.node.A.disks=4"},
    .exits = {{0, "all are sound"}, {2, "bad usage, or one is not sound"}},
    .run = run_check,
};

}  // namespace resilver::tools
