// A set of up to 64 small indices as one word: members of an array, columns of a stripe. Two kinds of index cannot be
// mixed by mistake, because each has its own Tag.
#pragma once

#include <bit>
#include <cstdint>
#include <initializer_list>

namespace resilver::raid {

template <typename Tag>
class IndexSet {
 public:
  constexpr IndexSet() = default;
  constexpr IndexSet(std::initializer_list<std::uint32_t> indices) {
    for (std::uint32_t index : indices) add(index);
  }
  static constexpr IndexSet from_bits(std::uint64_t bits) {
    IndexSet set;
    set.bits_ = bits;
    return set;
  }
  // {0, 1, ..., count - 1}; count ≤ 64.
  static constexpr IndexSet first(std::uint32_t count) {
    return from_bits(count == 0 ? 0 : ~std::uint64_t{0} >> (64 - count));
  }

  constexpr bool contains(std::uint32_t index) const { return index < 64 && ((bits_ >> index) & 1) != 0; }
  constexpr void add(std::uint32_t index) { bits_ |= std::uint64_t{1} << index; }
  constexpr void remove(std::uint32_t index) { bits_ &= ~(std::uint64_t{1} << index); }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr std::uint32_t count() const { return static_cast<std::uint32_t>(std::popcount(bits_)); }
  // The smallest index in the set; the set must not be empty.
  constexpr std::uint32_t lowest() const { return static_cast<std::uint32_t>(std::countr_zero(bits_)); }
  constexpr std::uint64_t bits() const { return bits_; }

  constexpr IndexSet operator|(IndexSet other) const { return from_bits(bits_ | other.bits_); }
  constexpr IndexSet operator&(IndexSet other) const { return from_bits(bits_ & other.bits_); }
  constexpr IndexSet operator-(IndexSet other) const { return from_bits(bits_ & ~other.bits_); }
  constexpr bool operator==(const IndexSet&) const = default;

  // Visits the indices in rising order: for (std::uint32_t member : set) ...
  class Iterator {
   public:
    constexpr explicit Iterator(std::uint64_t rest) : rest_(rest) {}
    constexpr std::uint32_t operator*() const { return static_cast<std::uint32_t>(std::countr_zero(rest_)); }
    constexpr Iterator& operator++() {
      rest_ &= rest_ - 1;
      return *this;
    }
    constexpr bool operator==(const Iterator&) const = default;

   private:
    std::uint64_t rest_;
  };
  constexpr Iterator begin() const { return Iterator(bits_); }
  constexpr Iterator end() const { return Iterator(0); }

 private:
  std::uint64_t bits_ = 0;
};

using MemberSet = IndexSet<struct MemberTag>;  // slots 0 .. disks-1 of the array
using ColumnSet = IndexSet<struct ColumnTag>;  // columns of one stripe: data 0 .. D-1, then P, then Q

}  // namespace resilver::raid
