// A set of bytes as sorted, disjoint extents: what is still to be copied to a peer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>

#include "replica/types.h"

namespace resilver::replica {

class ExtentSet {
 public:
  bool empty() const noexcept { return extents_.empty(); }
  std::uint64_t bytes() const noexcept { return bytes_; }
  std::size_t count() const noexcept { return extents_.size(); }

  void add(Extent e) {
    if (e.length == 0) return;
    std::uint64_t begin = e.offset, end = e.end();
    auto at = extents_.upper_bound(begin);
    if (at != extents_.begin() && std::prev(at)->second >= begin) --at;
    while (at != extents_.end() && at->first <= end) {
      begin = std::min(begin, at->first);
      end = std::max(end, at->second);
      bytes_ -= at->second - at->first;
      at = extents_.erase(at);
    }
    extents_.emplace(begin, end);
    bytes_ += end - begin;
  }

  void remove(Extent e) {
    auto at = extents_.upper_bound(e.offset);
    if (at != extents_.begin() && std::prev(at)->second > e.offset) --at;
    while (at != extents_.end() && at->first < e.end()) {
      const auto [begin, end] = *at;
      at = extents_.erase(at);
      bytes_ -= end - begin;
      if (begin < e.offset) put(begin, e.offset);
      if (end > e.end()) put(e.end(), end);
    }
  }

  bool overlaps(Extent e) const {
    auto at = extents_.lower_bound(e.end());
    return at != extents_.begin() && std::prev(at)->second > e.offset;
  }

  // The part of this set inside `within`, as its first run; nothing if they do not overlap.
  std::optional<Extent> first_in(Extent within) const {
    auto at = extents_.upper_bound(within.offset);
    if (at != extents_.begin() && std::prev(at)->second > within.offset) --at;
    if (at == extents_.end() || at->first >= within.end()) return std::nullopt;
    const std::uint64_t begin = std::max(at->first, within.offset);
    return Extent{begin, std::min(at->second, within.end()) - begin};
  }

  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [begin, end] : extents_) visit(Extent{begin, end - begin});
  }

 private:
  void put(std::uint64_t begin, std::uint64_t end) {
    extents_.emplace(begin, end);
    bytes_ += end - begin;
  }
  std::map<std::uint64_t, std::uint64_t> extents_;  // begin -> end
  std::uint64_t bytes_ = 0;
};

}  // namespace resilver::replica
