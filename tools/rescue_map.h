// What of a damaged array has been copied and what is lost: the map file of GNU ddrescue, so that its tools (ddrescuelog,
// ddrescueview) read ours, and the other way round.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"

namespace resilver::tools {

class RescueMap {
 public:
  static constexpr std::size_t kMaxParts = 4 << 20;
  static constexpr char kUntried = '?';
  static constexpr char kLost = '-';
  static constexpr char kCopied = '+';

  struct Part {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    char state = kUntried;
    bool empty() const noexcept { return begin == end; }
  };

  // Nothing is known. The map is of `end` bytes.
  explicit RescueMap(std::uint64_t end) : end_(end) {}

  // Reads a map; one that is empty or not there says nothing. Errors: bad_input (file, line, what is wrong), io.
  Status load(const std::string& file);
  // Errors: of the file.
  Status save(const std::string& file, std::uint64_t position, bool finished) const;

  // Errors: limit (too many parts).
  Status set(std::uint64_t begin, std::uint64_t end, char state);
  // The first part within `from` .. `to` that is not copied; empty: none.
  Part open_part(std::uint64_t from, std::uint64_t to) const;
  bool any_copied() const;
  // The parts within `from` .. `to` that are lost.
  std::vector<Part> lost(std::uint64_t from, std::uint64_t to) const;

 private:
  Status read_line(const std::string& line, bool& status_seen, std::uint64_t& reached);
  Part part_at(std::uint64_t position) const;
  void split(std::uint64_t position);
  void join(std::uint64_t position);

  std::uint64_t end_;
  std::map<std::uint64_t, char> starts_{{0, kUntried}};  // from here on to the next
};

}  // namespace resilver::tools
