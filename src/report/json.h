// results.json: everything that a run measured, for programs. Schema 2 (1 had no `table`): docs/scenarios.md names the keys.
// Times are integer nanoseconds (keys end in _ns), sizes bytes; histograms are sparse lists of [bucket, count] of
// base/histogram.h, which add up; a time without end is the string "never".
#pragma once

#include <string>

#include "report/seeds.h"
#include "scenario/results.h"

namespace resilver::report {

inline constexpr int kResultsSchema = 2;

// The document, indented by `indent` spaces (-1: one line), without a newline at the end. Strings that are not UTF-8 have
// the offending bytes replaced.
std::string to_json(const scenario::RunResults& results, int indent = 1);

// Of many seeds: {schema, scenario, exit_code, seeds, red, inconclusive, series: [{contender, event, measure, values}]}; values
// are in the order of `seeds`, in the units of the measures above.
std::string to_json(const SeedTable& table, int indent = 1);

}  // namespace resilver::report
