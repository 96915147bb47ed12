// Which rounds a walk takes: those of `make check`, or the seeds that RESILVER_WALK_FIRST and RESILVER_WALK_ROUNDS choose.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "tests/walk/interrupt.h"

namespace resilver::test {

inline std::uint64_t number_from(const char* variable) {
  const char* set = std::getenv(variable);
  return set == nullptr ? 0 : std::strtoull(set, nullptr, 10);
}

inline std::vector<std::uint64_t> seeds_or(std::span<const std::uint64_t> check_seeds) {
  const std::uint64_t first = number_from("RESILVER_WALK_FIRST"), rounds = number_from("RESILVER_WALK_ROUNDS");
  if (rounds == 0) return {check_seeds.begin(), check_seeds.end()};
  std::vector<std::uint64_t> all;
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) all.push_back(seed);
  return all;
}

// A round that may be interrupted. `take` gives its outcome.
template <typename Take>
auto take_interruptibly(Take take) {
  note_interrupts();
  auto outcome = take();
  if (interrupted()) end_interrupted();
  return outcome;
}

}  // namespace resilver::test
