// What an array must hold: the oracle of a walk over its images. By sector: which contents may be read there.
//
// What was acknowledged is the only one; a write that was cut short leaves the old or the new one. What redundancy cannot
// tell from good data may be anything, but only in the rows of chunks that were hit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/walk/array_plan.h"

namespace resilver::test::array_walk {

inline constexpr std::uint64_t kSector = 512;

struct Range {  // of sectors
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

class Model {
 public:
  // Of zeroes.
  Model(const Plan& plan, std::uint64_t bytes);

  std::uint64_t sectors() const noexcept { return kept_.size(); }

  // ---- writes ----
  std::uint32_t new_version() noexcept { return ++versions_; }
  std::string content(std::uint32_t version, Range range) const;
  void acknowledge(std::uint32_t version, Range range);
  void cut_short(std::uint32_t version, Range range);

  // ---- what may be anything ----
  // The rows that hold these sectors, until they are written again.
  void may_be_wrong(Range range);
  // The rows at these bytes of a member's data; also what is written there, until redundancy is repaired.
  void damage_member(std::uint64_t offset, std::uint64_t bytes);
  void repaired();
  bool damaged() const noexcept { return damaged_rows_; }
  // All rows that were ever written.
  void all_may_be_wrong();

  // ---- what is read ----
  // Empty, or what is wrong with these bytes, read from this sector on.
  std::string judge(std::string_view bytes, std::uint64_t first) const;
  // Nothing is under way: what was read is what it is from now on.
  void settle(std::string_view bytes, std::uint64_t first);

 private:
  struct Kept {
    std::vector<std::uint32_t> versions{0};  // any of them may be read
    bool anything = false;
    bool damaged = false;
  };
  bool fits(const Kept& kept, std::string_view bytes, std::uint64_t sector) const;
  Range rows_of(Range range) const;
  Range clipped(std::uint64_t first, std::uint64_t end) const;

  const Plan* plan_;
  std::vector<Kept> kept_;
  std::uint32_t versions_ = 0;
  bool damaged_rows_ = false;
};

}  // namespace resilver::test::array_walk
