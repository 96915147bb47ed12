#include "workload/range_list.h"

#include <algorithm>

#include "base/check.h"

namespace resilver::workload {

void RangeList::add(std::uint64_t begin, std::uint64_t end) {
  CHECK(begin < end);
  // The pieces that [begin, end) overlaps or touches.
  auto first = std::lower_bound(ranges_.begin(), ranges_.end(), begin,
                                [](const Range& range, std::uint64_t at) { return range.end < at; });
  auto last = first;
  while (last != ranges_.end() && last->begin <= end) ++last;
  if (first == last) {
    if (ranges_.size() >= limit_) {
      truncated_ = true;
      return;
    }
    ranges_.insert(first, Range{begin, end});
    return;
  }
  first->begin = std::min(first->begin, begin);
  first->end = std::max(std::prev(last)->end, end);
  ranges_.erase(std::next(first), last);
}

}  // namespace resilver::workload
