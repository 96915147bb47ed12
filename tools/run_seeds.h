#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "report/seeds.h"
#include "scenario/parse.h"
#include "scenario/run.h"
#include "tools/run_progress.h"

namespace resilver::tools {

struct SeedRange {
  std::uint64_t first = 1;
  std::uint64_t last = 1;
};

// "20" is 1 to 20, "5..9" is that. The error says what is wrong, as one phrase. More than 1,000 only with `yes`.
std::expected<SeedRange, std::string> read_seeds(const std::string& text, bool yes);

// Runs all of them in virtual time, one after another. Nothing, after lines on standard error, if there is no run: the file is
// bad, or cannot be run.
std::optional<report::SeedTable> run_all_seeds(const std::string& file, scenario::ParseOptions parse,
                                               scenario::RunOptions options, SeedRange seeds, ProgressPrinter* progress);

}  // namespace resilver::tools
