// A set of small indices: members of an array, columns of a stripe. Two kinds of index cannot be mixed by mistake, because
// each has its own Tag.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace resilver::raid {

inline constexpr std::uint32_t kMaxDisks = 1920;        // slots: as many as a superblock of metadata 1.x has room for
inline constexpr std::uint32_t kMaxStripedDisks = 255;  // RAID 0, 4, 5, 6: as many as Q has coefficients
inline constexpr std::uint32_t kMaxColumns = kMaxStripedDisks + 2;

// Indices 0 .. kBits - 1.
template <typename Tag, std::uint32_t kBits>
class IndexSet {
  static constexpr std::size_t kWords = (kBits + 63) / 64;

 public:
  constexpr IndexSet() = default;
  constexpr IndexSet(std::initializer_list<std::uint32_t> indices) {
    for (std::uint32_t index : indices) add(index);
  }
  // Of the indices 0 .. 63.
  static constexpr IndexSet from_bits(std::uint64_t bits) {
    IndexSet set;
    set.words_[0] = bits;
    return set;
  }
  // {0, 1, ..., count - 1}; count ≤ kBits.
  static constexpr IndexSet first(std::uint32_t count) {
    IndexSet set;
    for (std::size_t i = 0; i < count / 64; ++i) set.words_[i] = ~std::uint64_t{0};
    if (count % 64 != 0) set.words_[count / 64] = ~std::uint64_t{0} >> (64 - count % 64);
    return set;
  }

  constexpr bool contains(std::uint32_t index) const {
    return index < kWords * 64 && ((words_[index / 64] >> (index % 64)) & 1) != 0;
  }
  constexpr void add(std::uint32_t index) { words_[index / 64] |= std::uint64_t{1} << (index % 64); }
  constexpr void remove(std::uint32_t index) { words_[index / 64] &= ~(std::uint64_t{1} << (index % 64)); }
  constexpr bool empty() const { return *this == IndexSet(); }
  constexpr std::uint32_t count() const {
    std::uint32_t sum = 0;
    for (std::uint64_t word : words_) sum += static_cast<std::uint32_t>(std::popcount(word));
    return sum;
  }
  // The smallest index in the set; the set must not be empty.
  constexpr std::uint32_t lowest() const { return *begin(); }

  constexpr IndexSet operator|(const IndexSet& other) const {
    IndexSet both;
    for (std::size_t i = 0; i < kWords; ++i) both.words_[i] = words_[i] | other.words_[i];
    return both;
  }
  constexpr IndexSet operator&(const IndexSet& other) const {
    IndexSet both;
    for (std::size_t i = 0; i < kWords; ++i) both.words_[i] = words_[i] & other.words_[i];
    return both;
  }
  constexpr IndexSet operator-(const IndexSet& other) const {
    IndexSet rest;
    for (std::size_t i = 0; i < kWords; ++i) rest.words_[i] = words_[i] & ~other.words_[i];
    return rest;
  }
  constexpr bool operator==(const IndexSet&) const = default;

  // Visits the indices in rising order: for (std::uint32_t member : set) ... Only what was visited may be removed meanwhile.
  class Iterator {
   public:
    constexpr Iterator(const IndexSet* set, std::size_t word) : set_(set), word_(word) {
      if (word_ < kWords) rest_ = set_->words_[word_];
      skip();
    }
    constexpr std::uint32_t operator*() const {
      return static_cast<std::uint32_t>(word_ * 64) + static_cast<std::uint32_t>(std::countr_zero(rest_));
    }
    constexpr Iterator& operator++() {
      rest_ &= rest_ - 1;
      skip();
      return *this;
    }
    constexpr bool operator==(const Iterator& other) const { return word_ == other.word_ && rest_ == other.rest_; }

   private:
    constexpr void skip() {
      while (rest_ == 0 && word_ < kWords) {
        if (++word_ < kWords) rest_ = set_->words_[word_];
      }
    }
    const IndexSet* set_;
    std::size_t word_;
    std::uint64_t rest_ = 0;
  };
  constexpr Iterator begin() const { return Iterator(this, 0); }
  constexpr Iterator end() const { return Iterator(this, kWords); }

 private:
  std::array<std::uint64_t, kWords> words_{};
};

using MemberSet = IndexSet<struct MemberTag, kMaxDisks>;    // slots 0 .. disks-1 of the array
using ColumnSet = IndexSet<struct ColumnTag, kMaxColumns>;  // columns of one stripe: data 0 .. D-1, then P, then Q

}  // namespace resilver::raid
