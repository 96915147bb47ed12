// Many seeds of one scenario: what chance does. One seed is an anecdote; the median of many, with the range, is a result.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "scenario/measures.h"
#include "scenario/results.h"

namespace resilver::report {

// The values of one measure in one contender, a value per seed.
struct SeedSeries {
  std::string contender;
  std::string event;  // empty: of the whole run
  scenario::MeasureId measure = scenario::MeasureId::outage;
  std::vector<scenario::Value> values;
};

class SeedTable {
 public:
  // The results of one more seed; the same scenario and contenders each time.
  void add(const scenario::RunResults& results);

  // One screen: by event and for the run the measures of the table that are not the same nothing everywhere, per contender
  // "median (least..greatest)"; then the seeds in which an expectation fails, and those that are inconclusive.
  std::string text() const;

  // 1 if an expectation failed in a seed; else 3 if a seed is inconclusive; else 0.
  int exit_code() const;

  const std::vector<std::uint64_t>& seeds() const noexcept { return seeds_; }
  const std::vector<SeedSeries>& series() const noexcept { return series_; }
  // Seeds with why: the first expectation that failed; the first reason for which nothing can be concluded.
  using Named = std::vector<std::pair<std::uint64_t, std::string>>;
  const Named& red() const noexcept { return red_; }
  const Named& inconclusive() const noexcept { return inconclusive_; }
  const std::string& scenario() const noexcept { return scenario_; }

 private:
  const SeedSeries* find(const std::string& contender, const std::string& event, scenario::MeasureId measure) const;
  std::string block(std::size_t first, std::size_t count) const;

  std::string scenario_;
  std::string title_;
  std::vector<std::uint64_t> seeds_;
  std::vector<std::string> contenders_;
  std::vector<std::string> events_;
  std::vector<SeedSeries> series_;
  Named red_;
  Named inconclusive_;
};

// "410ms (380ms..never)"; n/a seeds do not count. The median of an even number is the lower one of the middle.
std::string median_and_range(std::vector<scenario::Value> values);

}  // namespace resilver::report
