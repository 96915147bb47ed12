// A set of numbers below a size, made for finding: a bit for each, above every 64 words a word that says which of them are not
// zero, and so on. add, remove and next cost a step for each level (four for 16 million), however many or few are in it.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace resilver::raid {

class BitTree {
 public:
  explicit BitTree(std::uint64_t size) : size_(size) {
    do {
      size = (size + 63) / 64;
      levels_.emplace_back(size);
    } while (size > 1);
  }

  bool contains(std::uint64_t bit) const noexcept { return (levels_[0][bit / 64] >> (bit % 64) & 1) != 0; }
  bool empty() const noexcept { return next(0) == size_; }

  // The first member >= from; the size: none.
  std::uint64_t next(std::uint64_t from) const noexcept {
    for (std::size_t level = 0; level < levels_.size(); ++level, from = from / 64 + 1) {
      if (from / 64 >= levels_[level].size()) break;
      const std::uint64_t rest = levels_[level][from / 64] >> (from % 64);
      if (rest == 0) continue;
      from += static_cast<std::uint64_t>(std::countr_zero(rest));
      while (level-- > 0) from = from * 64 + static_cast<std::uint64_t>(std::countr_zero(levels_[level][from]));
      return from;
    }
    return size_;
  }

  void add(std::uint64_t bit) noexcept {
    for (auto& words : levels_) {
      std::uint64_t& word = words[bit / 64];
      const bool first = word == 0;
      word |= std::uint64_t{1} << (bit % 64);
      if (!first) break;
      bit /= 64;
    }
  }

  void remove(std::uint64_t bit) noexcept {
    for (auto& words : levels_) {
      std::uint64_t& word = words[bit / 64];
      word &= ~(std::uint64_t{1} << (bit % 64));
      if (word != 0) break;
      bit /= 64;
    }
  }

  void clear() noexcept {
    for (std::uint64_t bit = next(0); bit < size_; bit = next(bit + 1)) remove(bit);
  }

 private:
  std::uint64_t size_;
  std::vector<std::vector<std::uint64_t>> levels_;  // [0]: the members; the last has one word
};

}  // namespace resilver::raid
