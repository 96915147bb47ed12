// What `resilver volume status --json` and the other commands print for programs, as a walk needs it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace resilver::test {

struct ToldReason {
  std::string code, node, text, help, command;
};

struct VolumeStatus {
  bool serving = false;  // writes, too
  char primary = '-';
  std::vector<char> in_sync;
  bool all_reachable = false;
  std::string copying;  // which nodes, and how far
  std::vector<ToldReason> reasons;
  std::uint64_t redundancy = 0;
  std::string json;  // all of it

  bool tells(const std::string& code) const;
};
VolumeStatus status_from(const std::string& json);

// One key of an object: a number, and nothing where there is none; a text, and "" where there is none.
std::optional<std::uint64_t> number_in(const std::string& json, const std::string& key);
std::string text_in(const std::string& json, const std::string& key);

}  // namespace resilver::test
