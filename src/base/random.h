// The only source of randomness: a seeded generator whose sequence is the same on every build and machine.
#pragma once

#include <cstdint>

#include "base/check.h"

namespace resilver {

// splitmix64 (Steele, Lea, Flood, OOPSLA 2014): one step; also a good mixer for seeds.
constexpr std::uint64_t splitmix64(std::uint64_t& state) noexcept {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// xoshiro256** 1.0 (Blackman and Vigna, 2018). Not for secrets. One owner, not thread-safe.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept {
    for (auto& word : state_) word = splitmix64(seed);
  }

  std::uint64_t next() noexcept {
    const std::uint64_t result = rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotl(state_[3], 45);
    return result;
  }

  // Uniform in [0, bound); bound > 0. The bias of the multiplication is below 2^-32 for bounds that fit 32 bits.
  std::uint64_t below(std::uint64_t bound) noexcept {
    CHECK(bound > 0);
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }

  // Uniform in [low, high], both included.
  std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept { return low + below(high - low + 1); }

  // True in `percent` of 100 cases.
  bool percent(unsigned percent) noexcept { return below(100) < percent; }

  // A generator for an independent stream: same parent state and tag, same child.
  Random fork(std::uint64_t tag) noexcept { return Random(next() ^ (tag * 0x9e3779b97f4a7c15ull)); }

 private:
  static constexpr std::uint64_t rotl(std::uint64_t x, int k) noexcept { return (x << k) | (x >> (64 - k)); }
  std::uint64_t state_[4];
};

}  // namespace resilver
