// A bounded, sorted list of address ranges: what the oracle shows of the sectors that went wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace resilver::workload {

struct Range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  // exclusive

  bool operator==(const Range&) const = default;
};

// Keeps the union of the ranges added, at most `limit` pieces. Not thread-safe.
class RangeList {
 public:
  explicit RangeList(std::size_t limit) : limit_(limit) {}

  // Adds [begin, end), begin < end. When the list is full, a range that touches none of its pieces is left out.
  void add(std::uint64_t begin, std::uint64_t end);

  // Sorted, disjoint, not adjacent.
  const std::vector<Range>& ranges() const noexcept { return ranges_; }
  bool truncated() const noexcept { return truncated_; }

 private:
  std::vector<Range> ranges_;
  std::size_t limit_;
  bool truncated_ = false;
};

}  // namespace resilver::workload
