#include "base/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/random.h"

namespace resilver {
namespace {

constexpr Nanos kLargest = std::numeric_limits<Nanos>::max();

TEST(LatencyHistogram, EmptyIsZero) {
  const LatencyHistogram empty;
  EXPECT_EQ(empty.count(), 0u);
  EXPECT_EQ(empty.min(), 0);
  EXPECT_EQ(empty.max(), 0);
  EXPECT_EQ(empty.mean(), 0);
  EXPECT_EQ(empty.percentile(9900), 0);
  EXPECT_TRUE(empty.nonzero().empty());
}

TEST(LatencyHistogram, BucketsCoverEveryValueWithoutGaps) {
  EXPECT_EQ(LatencyHistogram::bucket_lower(0), 0);
  for (std::uint32_t i = 1; i < LatencyHistogram::kBuckets; ++i) {
    const Nanos lower = LatencyHistogram::bucket_lower(i);
    ASSERT_EQ(LatencyHistogram::bucket_of(lower), i);
    ASSERT_EQ(LatencyHistogram::bucket_of(lower - 1), i - 1);
  }
  EXPECT_EQ(LatencyHistogram::bucket_of(kLargest), LatencyHistogram::kBuckets - 1);
}

TEST(LatencyHistogram, PercentilesAreWithinThreePerMille) {
  Random random(1);
  LatencyHistogram histogram;
  std::vector<Nanos> values;
  for (int i = 0; i < 20'000; ++i) {
    values.push_back(static_cast<Nanos>(random.next() >> random.between(1, 60)));
    histogram.record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const std::uint32_t permyriad : {1u, 100u, 2500u, 5000u, 9000u, 9900u, 9990u, 9999u}) {
    const std::size_t rank = (values.size() * permyriad + 9999) / 10'000;
    const Nanos exact = values[rank - 1];
    const Nanos found = histogram.percentile(permyriad);
    EXPECT_LE(std::abs(found - exact), exact / 1000 * 3 + 1) << permyriad;
  }
  EXPECT_EQ(histogram.percentile(0), values.front());
  EXPECT_EQ(histogram.percentile(10'000), values.back());
  EXPECT_EQ(histogram.min(), values.front());
  EXPECT_EQ(histogram.max(), values.back());
}

TEST(LatencyHistogram, MeanIsExactAndDoesNotOverflow) {
  LatencyHistogram histogram;
  histogram.record(10);
  histogram.record(20, 2);
  EXPECT_EQ(histogram.mean(), 16);
  LatencyHistogram large;
  large.record(kLargest, 1'000'000);
  EXPECT_EQ(large.mean(), kLargest);
  EXPECT_EQ(large.percentile(5000), kLargest);
}

TEST(LatencyHistogram, MergedIsTheSameAsRecordedTogether) {
  Random random(2);
  LatencyHistogram a, b, both;
  for (int i = 0; i < 1000; ++i) {
    const auto value = static_cast<Nanos>(random.below(i % 2 ? 1000 : 100'000'000));
    (i % 3 ? a : b).record(value);
    both.record(value);
  }
  a.merge(b);
  a.merge(LatencyHistogram());
  EXPECT_EQ(a.nonzero(), both.nonzero());
  EXPECT_EQ(a.count(), both.count());
  EXPECT_EQ(a.mean(), both.mean());
  EXPECT_EQ(a.min(), both.min());
  EXPECT_EQ(a.max(), both.max());
}

TEST(LatencyHistogram, SparseFormComesBack) {
  LatencyHistogram histogram;
  for (const Nanos value : {Nanos{0}, Nanos{300}, Nanos{301}, kMillisecond, kHour, kLargest})
    histogram.record(value, 3);
  const auto sparse = histogram.nonzero();
  const auto back = LatencyHistogram::from_sparse(sparse);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->nonzero(), sparse);
  EXPECT_EQ(back->count(), 18u);
  EXPECT_EQ(back->percentile(6000), histogram.percentile(6000));
}

TEST(LatencyHistogram, AForeignSparseFormIsChecked) {
  using Sparse = LatencyHistogram::Sparse;
  for (const Sparse& wrong : {Sparse{{5, 0}}, Sparse{{LatencyHistogram::kBuckets, 1}}, Sparse{{7, 1}, {7, 1}},
                              Sparse{{7, 1}, {6, 1}}, Sparse{{0, ~0ull}, {1, 1}}, Sparse{{~0u, 1}, {0, 1}}}) {
    const auto result = LatencyHistogram::from_sparse(wrong);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::bad_input);
  }
  EXPECT_TRUE(LatencyHistogram::from_sparse({}).has_value());
}

TEST(LatencyHistogramDeathTest, NegativeLatencyIsOurMistake) {
  LatencyHistogram histogram;
  EXPECT_DEATH(histogram.record(-1), "never negative");
}

}  // namespace
}  // namespace resilver
