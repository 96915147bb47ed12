// Latencies, counted in buckets whose width grows with the value: any percentile of any number of records, in bounded
// memory, and two histograms add up exactly.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace resilver {

// Values from 0 to the largest Nanos. Up to 511 ns exact, above it 256 buckets per power of two: a reported percentile is
// the middle of its bucket, at most 0.2 % off. At most 112 KiB, allocated as values appear. One owner, not thread-safe.
class LatencyHistogram {
 public:
  // Bucket number and count, in rising order of buckets, no zero counts: for files and between processes.
  using Sparse = std::vector<std::pair<std::uint32_t, std::uint64_t>>;

  // Counts `value` (≥ 0) `count` times.
  void record(Nanos value, std::uint64_t count = 1);
  void merge(const LatencyHistogram& other);

  std::uint64_t count() const noexcept { return count_; }
  // Exact. All are 0 while nothing is recorded.
  Nanos min() const noexcept { return count_ == 0 ? 0 : min_; }
  Nanos max() const noexcept { return max_; }
  Nanos mean() const noexcept;  // rounded down

  // The value that `permyriad` of 10,000 records do not exceed: 5000 is the median, 9900 p99, 10000 the maximum.
  // 0 while nothing is recorded.
  Nanos percentile(std::uint32_t permyriad) const noexcept;

  Sparse nonzero() const;
  // The inverse of nonzero(); min, max and mean are then as exact as the buckets. Errors: bad_input for what nonzero()
  // never returns.
  static Result<LatencyHistogram> from_sparse(std::span<const std::pair<std::uint32_t, std::uint64_t>> buckets);

  static constexpr std::uint32_t kBuckets = 56 * 256;
  static std::uint32_t bucket_of(Nanos value) noexcept;
  // The smallest value that falls into bucket `index` (< kBuckets).
  static Nanos bucket_lower(std::uint32_t index) noexcept;

 private:
  static constexpr std::uint32_t kGroup = 256;  // buckets allocated together
  static Nanos bucket_middle(std::uint32_t index) noexcept;

  std::array<std::vector<std::uint64_t>, kBuckets / kGroup> groups_;
  std::uint64_t count_ = 0;
  unsigned __int128 sum_ = 0;
  Nanos min_ = kNever;
  Nanos max_ = 0;
};

}  // namespace resilver
