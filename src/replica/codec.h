// Fields of messages and of what is kept on disk, as bytes: little endian, in the order given, without padding. One list of
// fields serves both directions: a function template fields(f, value) calls f(value.a, value.b, …).
//
// Whatever the bytes are, a Reader gives values whose fields are in the ranges of their types, or is not finished(): nothing
// read sizes an allocation before it was bounded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "base/endian.h"
#include "base/error.h"
#include "env/block_device.h"
#include "replica/marks.h"
#include "replica/record.h"

namespace resilver::replica {

inline constexpr std::size_t kMaxTextBytes = 255;
inline constexpr std::size_t kMaxListItems = 2048;

// An enumeration's number of values, so that a Reader can refuse others.
template <typename T>
inline constexpr std::uint64_t kValues = 0;
template <>
inline constexpr std::uint64_t kValues<Errc> = static_cast<std::uint64_t>(Errc::read_only) + 1;
template <>
inline constexpr std::uint64_t kValues<IoOp> = static_cast<std::uint64_t>(IoOp::write_zeroes) + 1;
template <>
inline constexpr std::uint64_t kValues<AckMode> = kAckModeCount;
template <typename T>
concept Listed = kValues<T> != 0;

// How many items a list may have.
template <typename T>
inline constexpr std::size_t kMost = kMaxListItems;
template <>
inline constexpr std::size_t kMost<Slot> = kMaxNodes;
template <>
inline constexpr std::size_t kMost<PeerMark> = kMaxNodes;
template <>
inline constexpr std::size_t kMost<ForkNote> = kMaxNodes;
template <>
inline constexpr std::size_t kMost<Head> = Record::kMaxGivenUp;
template <>
inline constexpr std::size_t kMost<Reign> = Record::kMaxReigns + kMaxNodes;

template <typename F>
void fields(F& f, Id128& v) {
  f(v.high, v.low);
}
template <typename F>
void fields(F& f, Position& v) {
  f(v.reign, v.seq);
}
template <typename F>
void fields(F& f, Clearing& v) {
  f(v.epoch, v.counter);
}
template <typename F>
void fields(F& f, Extent& v) {
  f(v.offset, v.length);
}
template <typename F>
void fields(F& f, Head& v) {
  f(v.reign, v.epoch);
}
template <typename F>
void fields(F& f, PeerMark& v) {
  f(v.copy, v.counter);
}
template <typename F>
void fields(F& f, Marks& v) {
  f(v.counter, v.position, v.exact, v.committed, v.prepared, v.dropped, v.peers);
}
template <typename F>
void fields(F& f, ArbiterKey& v) {
  f(v.arbiter, v.counter, v.random);
}
template <typename F>
void fields(F& f, ForkNote& v) {
  f(v.copy, v.head);
}
template <typename F>
void fields(F& f, Reign& v) {
  f(v.nonce, v.first, v.last, v.start, v.start_mark, v.seed, v.primary);
}
template <typename F>
void fields(F& f, Slot& v) {
  f(v.name, v.copy, v.reign, v.until);
}
template <typename F>
void fields(F& f, Record& v) {
  f(v.volume, v.epoch, v.primary, v.in_sync, v.nonce, v.ack, v.lease_ms, v.life, v.consulted, v.given_up, v.covered,
    v.slots, v.reigns);
}

template <typename T>
inline constexpr bool kIsList = false;
template <typename T>
inline constexpr bool kIsList<std::vector<T>> = true;

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}

  template <typename... T>
  void operator()(T&... values) {
    (put(values), ...);
  }

 private:
  template <typename T>
  void put(T& value) {
    if constexpr (std::is_same_v<T, NodeSet>) {
      integer(value.bits, 4);
    } else if constexpr (std::is_integral_v<T> || Listed<T>) {
      integer(static_cast<std::uint64_t>(value), Listed<T> ? 1 : sizeof(T));
    } else if constexpr (std::is_same_v<T, std::string>) {
      CHECK(value.size() <= kMaxTextBytes);
      integer(value.size(), 1);
      for (const char c : value) out_.push_back(static_cast<std::byte>(c));
    } else if constexpr (kIsList<T>) {
      CHECK(value.size() <= kMost<typename T::value_type>);
      integer(value.size(), 2);
      for (auto& item : value) put(item);
    } else {
      fields(*this, value);
    }
  }
  void integer(std::uint64_t value, std::size_t bytes) {
    std::byte raw[8];
    store_le<std::uint64_t>(raw, value);
    out_.insert(out_.end(), raw, raw + bytes);
  }

  std::vector<std::byte>& out_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> in) : in_(in) {}

  template <typename... T>
  void operator()(T&... values) {
    (take(values), ...);
  }
  bool finished() const { return good_ && in_.empty(); }

 private:
  template <typename T>
  void take(T& value) {
    if constexpr (std::is_same_v<T, NodeSet>) {
      value.bits = static_cast<std::uint32_t>(integer(4));
    } else if constexpr (std::is_same_v<T, NodeId>) {
      value = static_cast<NodeId>(integer(4));
      if (value >= kMaxNodes && value != kNoNode) good_ = false;
    } else if constexpr (std::is_same_v<T, bool>) {
      value = bounded(2) != 0;
    } else if constexpr (Listed<T>) {
      value = static_cast<T>(bounded(kValues<T>));
    } else if constexpr (std::is_integral_v<T>) {
      value = static_cast<T>(integer(sizeof(T)));
    } else if constexpr (std::is_same_v<T, std::string>) {
      take_text(value);
    } else if constexpr (kIsList<T>) {
      take_list(value);
    } else {
      fields(*this, value);
      check(value);
    }
  }
  template <typename T>
  void check(const T&) {}
  void check(const Extent& extent) {
    if (extent.end() < extent.offset) good_ = false;
  }
  void check(const Record& record) {
    if (!sound(record)) good_ = false;
  }
  void take_text(std::string& text) {
    const auto size = static_cast<std::size_t>(integer(1));
    if (size > in_.size()) good_ = false;
    if (!good_) return;
    text.assign(reinterpret_cast<const char*>(in_.data()), size);
    in_ = in_.subspan(size);
  }
  // An item is at least a byte: a count beyond what is left is refused before it sizes anything.
  template <typename T>
  void take_list(std::vector<T>& list) {
    const std::uint64_t count = integer(2);
    if (count > kMost<T> || count > in_.size()) good_ = false;
    if (!good_) return;
    list.resize(count);
    for (T& item : list) take(item);
  }
  std::uint64_t bounded(std::uint64_t bound) {
    const std::uint64_t value = integer(1);
    if (value < bound) return value;
    good_ = false;
    return 0;
  }
  std::uint64_t integer(std::size_t bytes) {
    if (in_.size() < bytes) {
      good_ = false;
      in_ = {};
      return 0;
    }
    std::byte raw[8] = {};
    std::copy_n(in_.data(), bytes, raw);
    in_ = in_.subspan(bytes);
    return load_le<std::uint64_t>(raw);
  }

  std::span<const std::byte> in_;
  bool good_ = true;
};

}  // namespace resilver::replica
