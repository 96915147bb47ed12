#include "tools/list.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "scenario/parse.h"
#include "tools/command.h"
#include "tools/commands.h"

namespace resilver::tools {

namespace {

namespace fs = std::filesystem;

std::vector<std::string> scenario_files(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".toml") files.push_back(it->path().string());
  std::sort(files.begin(), files.end());
  return files;
}

int list(const CommandLine&) {
  const std::string directory = scenario_directory();
  const auto files = scenario_files(directory);
  if (files.empty()) {
    fmt::print(stderr, "resilver list: no scenarios found: set RESILVER_SCENARIOS to their directory\n");
    return 2;
  }
  std::size_t width = 0;
  for (const auto& file : files) width = std::max(width, fs::path(file).stem().string().size());
  for (const auto& file : files) {
    const auto scenario = scenario::load_scenario(file);
    fmt::print("{:<{}}  {}\n", fs::path(file).stem().string(), width,
               scenario ? scenario->title : "(not sound: see resilver check)");
  }
  fmt::print("\nin {}; resilver show NAME tells more, resilver run NAME runs one\n", directory);
  return 0;
}

}  // namespace

std::string scenario_directory() {
  std::vector<fs::path> places;
  if (const char* set = std::getenv("RESILVER_SCENARIOS"); set && *set) return set;
  places.emplace_back("scenarios");
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const fs::path home = program.parent_path();
    places.push_back(home.parent_path() / "share/resilver/scenarios");  // PREFIX/bin/resilver
    places.push_back(home.parent_path().parent_path() / "scenarios");   // build/release/resilver
  }
  for (const auto& place : places)
    if (!scenario_files(place.string()).empty()) return place.lexically_normal().string();
  return {};
}

std::string find_scenario(const std::string& name) {
  std::error_code error;
  if (fs::is_regular_file(name, error) || name.find('/') != std::string::npos) return name;
  const std::string directory = scenario_directory();
  if (directory.empty()) return name;
  const fs::path shipped = fs::path(directory) / (name.ends_with(".toml") ? name : name + ".toml");
  return fs::is_regular_file(shipped, error) ? shipped.string() : name;
}

constexpr CommandSpec kListCommand = {
    .name = "list",
    .meaning = "the scenarios that ship",
    .description =
        "The scenarios that ship, with their titles, from $RESILVER_SCENARIOS, ./scenarios or the place of "
        "installation.",
    .examples = {"resilver list"},
    .exits = {{0, "done"}, {2, "bad usage, or none was found"}},
    .run = list,
};

}  // namespace resilver::tools
