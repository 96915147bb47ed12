// The keys of a scenario file, table by table. The parser reads a table against its section: a key that is not here cannot be
// read, and each that is here must be (both are checks). docs/scenario-keys.md is made of it (reference.h).
#pragma once

#include <span>
#include <string_view>

namespace resilver::scenario {

struct KeyInfo {
  std::string_view key;
  std::string_view values;
  std::string_view by_default;  // "required", or what holds if it is left out
  std::string_view meaning;
};

struct KeySection {
  std::string_view name;  // "[workload]"
  std::string_view meaning;
  std::span<const KeyInfo> keys;
  bool has(std::string_view key) const noexcept;
};

extern const KeySection kHeadKeys, kDiskKeys, kLinkKeys, kContenderKeys, kNodeKeys, kReplicateKeys, kWorkloadKeys,
    kRebuildKeys, kEventKeys, kExpectKeys, kRealKeys;

// All, in the order of a file.
std::span<const KeySection* const> key_sections();

}  // namespace resilver::scenario
