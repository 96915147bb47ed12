// A set of small indices: members of an array, columns of a stripe. Two kinds of index cannot be mixed by mistake, because
// each has its own Tag. It costs what its largest index needs: one word for up to 64 members, no memory of its own up to 320.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <initializer_list>
#include <memory>

#include "base/check.h"

namespace resilver::raid {

inline constexpr std::uint32_t kMaxDisks = 1920;      // slots: as many as a superblock of metadata 1.x has room for
inline constexpr std::uint32_t kMaxRaid6Disks = 255;  // as many as Q has coefficients
inline constexpr std::uint32_t kMaxColumns = kMaxDisks;
inline constexpr std::uint32_t kMaxQColumns = kMaxRaid6Disks + 2;  // of a stripe with Q; in DDF P and Q come on top

// Indices 0 .. kMaxDisks - 1.
template <typename Tag>
class IndexSet {
  static constexpr std::uint32_t kInlineWords = (kMaxQColumns + 63) / 64;
  static constexpr std::uint32_t kWords = (kMaxDisks + 63) / 64;

 public:
  IndexSet() noexcept {}
  IndexSet(std::initializer_list<std::uint32_t> indices) {
    for (std::uint32_t index : indices) add(index);
  }
  IndexSet(const IndexSet& other) { *this = other; }
  IndexSet& operator=(const IndexSet& other) {
    if (this == &other) return *this;
    resize(other.size_);
    for (std::uint32_t i = 0; i < size_; ++i) word(i) = other.word(i);
    return *this;
  }
  ~IndexSet() = default;
  // Of the indices 0 .. 63.
  static IndexSet from_bits(std::uint64_t bits) {
    IndexSet set;
    set.resize(1);
    set.word(0) = bits;
    return set;
  }
  // {0, 1, ..., count - 1}.
  static IndexSet first(std::uint32_t count) {
    IndexSet set;
    set.resize((count + 63) / 64);
    for (std::uint32_t i = 0; i < set.size_; ++i) set.word(i) = ~std::uint64_t{0};
    if (count % 64 != 0) set.word(count / 64) >>= 64 - count % 64;
    return set;
  }

  bool contains(std::uint32_t index) const {
    return index / 64 < size_ && ((word(index / 64) >> (index % 64)) & 1) != 0;
  }
  void add(std::uint32_t index) {
    const std::uint32_t before = size_;
    if (index / 64 >= before) {
      resize(index / 64 + 1);
      for (std::uint32_t i = before; i < size_; ++i) word(i) = 0;
    }
    word(index / 64) |= std::uint64_t{1} << (index % 64);
  }
  void remove(std::uint32_t index) {
    if (index / 64 < size_) word(index / 64) &= ~(std::uint64_t{1} << (index % 64));
  }
  bool empty() const {
    for (std::uint32_t i = 0; i < size_; ++i) {
      if (word(i) != 0) return false;
    }
    return true;
  }
  std::uint32_t count() const {
    std::uint32_t sum = 0;
    for (std::uint32_t i = 0; i < size_; ++i) sum += static_cast<std::uint32_t>(std::popcount(word(i)));
    return sum;
  }
  // The smallest index in the set; the set must not be empty.
  std::uint32_t lowest() const { return *begin(); }

  IndexSet operator|(const IndexSet& other) const {
    const bool longer = size_ >= other.size_;
    const IndexSet& less = longer ? other : *this;
    IndexSet both = longer ? *this : other;
    for (std::uint32_t i = 0; i < less.size_; ++i) both.word(i) |= less.word(i);
    return both;
  }
  IndexSet operator&(const IndexSet& other) const {
    IndexSet both;
    both.resize(std::min(size_, other.size_));
    for (std::uint32_t i = 0; i < both.size_; ++i) both.word(i) = word(i) & other.word(i);
    return both;
  }
  IndexSet operator-(const IndexSet& other) const {
    IndexSet rest = *this;
    for (std::uint32_t i = 0; i < std::min(size_, other.size_); ++i) rest.word(i) &= ~other.word(i);
    return rest;
  }
  bool operator==(const IndexSet& other) const {
    const bool longer = size_ >= other.size_;
    const IndexSet& more = longer ? *this : other;
    const IndexSet& less = longer ? other : *this;
    for (std::uint32_t i = 0; i < more.size_; ++i) {
      if (more.word(i) != (i < less.size_ ? less.word(i) : 0)) return false;
    }
    return true;
  }

  // Visits the indices in rising order: for (std::uint32_t member : set) ... Only what was visited may be removed meanwhile.
  class Iterator {
   public:
    Iterator(const IndexSet* set, std::uint32_t at) : set_(set), at_(at) {
      if (at_ < set_->size_) rest_ = set_->word(at_);
      skip();
    }
    std::uint32_t operator*() const { return at_ * 64 + static_cast<std::uint32_t>(std::countr_zero(rest_)); }
    Iterator& operator++() {
      rest_ &= rest_ - 1;
      skip();
      return *this;
    }
    bool operator==(const Iterator& other) const { return at_ == other.at_ && rest_ == other.rest_; }

   private:
    void skip() {
      while (rest_ == 0 && at_ < set_->size_) {
        if (++at_ < set_->size_) rest_ = set_->word(at_);
      }
    }
    const IndexSet* set_;
    std::uint32_t at_;
    std::uint64_t rest_ = 0;
  };
  Iterator begin() const { return Iterator(this, 0); }
  Iterator end() const { return Iterator(this, size_); }

 private:
  std::uint64_t word(std::uint32_t i) const { return i < kInlineWords ? inline_[i] : more_[i - kInlineWords]; }
  std::uint64_t& word(std::uint32_t i) { return i < kInlineWords ? inline_[i] : more_[i - kInlineWords]; }
  // Words that it did not have are not set.
  void resize(std::uint32_t words) {
    if (words > kInlineWords) {
      CHECK(words <= kWords);
      if (!more_) more_ = std::make_unique_for_overwrite<std::uint64_t[]>(kWords - kInlineWords);
    }
    size_ = words;
  }

  std::uint32_t size_ = 0;  // in words; what lies behind is not in the set
  std::uint64_t inline_[kInlineWords];
  std::unique_ptr<std::uint64_t[]> more_;
};

using MemberSet = IndexSet<struct MemberTag>;  // slots 0 .. disks-1 of the array
using ColumnSet = IndexSet<struct ColumnTag>;  // columns of one stripe: data 0 .. D-1, then P, then Q

}  // namespace resilver::raid
