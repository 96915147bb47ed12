#include "tools/check.h"

#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "scenario/capacity.h"
#include "scenario/parse.h"
#include "tools/list.h"
#include "tools/options.h"

namespace resilver::tools {

namespace {

namespace po = boost::program_options;

constexpr const char* kHelp =
    "Usage: resilver check FILE... [--set key=value]...\n\n"
    "Reads scenarios and says what is wrong with them, for both worlds, without running anything.\n\n"
    "Example:\n  resilver check scenarios/disk-loss.toml --set contender.raid5.node.A.disks=4\n\n";

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

}  // namespace

int check_main(int argc, char** argv) {
  po::options_description options("Options");
  options.add_options()("help,h", "this text")("set", po::value<std::vector<std::string>>()->value_name("KEY=VALUE"),
                                               "change a key first, as in run")(
      "file", po::value<std::vector<std::string>>(), "the scenarios");
  po::positional_options_description positional;
  positional.add("file", -1);
  po::variables_map values;
  if (!read_options(argc, argv, options, positional, values)) return 2;
  if (values.count("help")) {
    fmt::print("{}  --set KEY=VALUE   change a key first, as in run\n", kHelp);
    return 0;
  }
  if (!values.count("file")) {
    fmt::print(stderr, "resilver check: a scenario file expected; see resilver check --help\n");
    return 2;
  }
  scenario::ParseOptions parse;
  if (values.count("set"))
    for (const auto& text : values["set"].as<std::vector<std::string>>()) {
      const auto equals = text.find('=');
      if (equals == std::string::npos) {
        fmt::print(stderr, "resilver check: --set {}: KEY=VALUE expected\n", text);
        return 2;
      }
      parse.set.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
  return check(values["file"].as<std::vector<std::string>>(), parse);
}

}  // namespace resilver::tools
