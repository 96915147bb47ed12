#include "tools/run_seeds.h"

#include <fmt/format.h>

#include "base/units.h"
#include "tools/list.h"

namespace resilver::tools {
namespace {

constexpr std::uint64_t kManySeeds = 1000;

}  // namespace

std::expected<SeedRange, std::string> read_seeds(const std::string& text, bool yes) {
  const std::size_t dots = text.find("..");
  const bool range = dots != std::string::npos;
  const auto first = range ? parse_count(text.substr(0, dots)) : parse_count("1");
  const auto last = parse_count(range ? text.substr(dots + 2) : text);
  if (!first || !last) return std::unexpected("expected how many, or the first and the last as in 5..9");
  if (*last < *first) return std::unexpected(range ? "the last comes before the first" : "expected one at least");
  if (*last - *first >= kManySeeds && !yes)
    return std::unexpected(fmt::format("more than {} runs; add --yes if you mean it", kManySeeds));
  return SeedRange{*first, *last};
}

std::optional<report::SeedTable> run_all_seeds(const std::string& file, scenario::ParseOptions parse,
                                               scenario::RunOptions options, SeedRange seeds, ProgressPrinter* progress) {
  report::SeedTable table;
  const double count = static_cast<double>(seeds.last - seeds.first) + 1;
  parse.set.emplace_back("seed", "");
  for (std::uint64_t seed = seeds.first;; ++seed) {
    parse.set.back().second = fmt::format("{}", seed);
    const auto scenario = scenario::load_scenario(find_scenario(file), parse);
    if (!scenario) {
      for (const auto& diagnostic : scenario.error()) fmt::print(stderr, "{}\n", to_string(diagnostic));
      return std::nullopt;
    }
    if (progress != nullptr) {
      scenario::Progress at;
      const double done = static_cast<double>(seed - seeds.first);
      at.contender = fmt::format("seed {}", seed);
      at.phase = fmt::format("{:.0f} of {:.0f}", done + 1, count);
      at.permille = static_cast<std::uint32_t>(done * 1000 / count);
      at.left = kNever;
      progress->show(at);
    }
    const auto results = run_virtual(*scenario, options);
    if (!results) {
      fmt::print(stderr, "resilver run: {}\n", to_string(results.error()));
      return std::nullopt;
    }
    table.add(*results);
    if (seed == seeds.last) return table;
  }
}

}  // namespace resilver::tools
