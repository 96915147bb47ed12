#include "base/histogram.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/check.h"

namespace resilver {

std::uint32_t LatencyHistogram::bucket_of(Nanos value) noexcept {
  const auto v = static_cast<std::uint64_t>(value);
  if (v < kGroup) return static_cast<std::uint32_t>(v);
  const auto shift = static_cast<std::uint32_t>(std::bit_width(v)) - 9;  // v >> shift is 256..511
  return shift * kGroup + static_cast<std::uint32_t>(v >> shift);
}

Nanos LatencyHistogram::bucket_lower(std::uint32_t index) noexcept {
  CHECK(index < kBuckets);
  if (index < 2 * kGroup) return index;
  const std::uint32_t shift = index / kGroup - 1;
  return static_cast<Nanos>(std::uint64_t{index % kGroup + kGroup} << shift);
}

Nanos LatencyHistogram::bucket_middle(std::uint32_t index) noexcept {
  const Nanos lower = bucket_lower(index);
  return index < 2 * kGroup ? lower : lower + ((Nanos{1} << (index / kGroup - 1)) >> 1);
}

void LatencyHistogram::record(Nanos value, std::uint64_t count) {
  CHECK(value >= 0, "a latency is never negative");
  if (count == 0) return;
  const std::uint32_t index = bucket_of(value);
  auto& group = groups_[index / kGroup];
  if (group.empty()) [[unlikely]]
    group.resize(kGroup);
  group[index % kGroup] += count;
  count_ += count;
  sum_ += static_cast<unsigned __int128>(value) * count;
  min_ = std::min(min_, value);
  max_ = std::max(max_, value);
}

void LatencyHistogram::merge(const LatencyHistogram& other) {
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    if (other.groups_[g].empty()) continue;
    groups_[g].resize(kGroup);
    for (std::size_t i = 0; i < kGroup; ++i) groups_[g][i] += other.groups_[g][i];
  }
  count_ += other.count_;
  sum_ += other.sum_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

Nanos LatencyHistogram::mean() const noexcept { return count_ == 0 ? 0 : static_cast<Nanos>(sum_ / count_); }

Nanos LatencyHistogram::percentile(std::uint32_t permyriad) const noexcept {
  CHECK(permyriad <= 10'000);
  if (count_ == 0) return 0;
  const auto wanted = (static_cast<unsigned __int128>(count_) * permyriad + 9'999) / 10'000;
  if (wanted <= 1) return min_;
  if (wanted >= count_) return max_;
  unsigned __int128 seen = 0;
  for (std::uint32_t g = 0; g < groups_.size(); ++g) {
    for (std::uint32_t i = 0; i < groups_[g].size(); ++i) {
      seen += groups_[g][i];
      if (seen >= wanted) return std::clamp(bucket_middle(g * kGroup + i), min_, max_);
    }
  }
  return max_;
}

LatencyHistogram::Sparse LatencyHistogram::nonzero() const {
  Sparse result;
  for (std::uint32_t g = 0; g < groups_.size(); ++g) {
    for (std::uint32_t i = 0; i < groups_[g].size(); ++i) {
      if (groups_[g][i] != 0) result.emplace_back(g * kGroup + i, groups_[g][i]);
    }
  }
  return result;
}

Result<LatencyHistogram> LatencyHistogram::from_sparse(std::span<const std::pair<std::uint32_t, std::uint64_t>> buckets) {
  LatencyHistogram result;
  std::uint32_t next = 0;
  for (const auto& [index, count] : buckets) {
    if (index < next || index >= kBuckets) return fail(Errc::bad_input, "histogram: buckets out of order or range");
    if (count == 0) return fail(Errc::bad_input, "histogram: a bucket without records");
    if (count > std::numeric_limits<std::uint64_t>::max() - result.count_) {
      return fail(Errc::bad_input, "histogram: more records than 64 bits count");
    }
    result.record(bucket_middle(index), count);
    next = index + 1;
  }
  return result;
}

}  // namespace resilver
