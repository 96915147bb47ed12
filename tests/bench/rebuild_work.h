// The piece of work that array_rebuild and reference_rebuild both do: RAID 5 of 4 without its first member, or RAID 6 of 6
// without its first two, restored onto spares. Images come as `LEVEL MEMBER... SPARE...`, made by prepare.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "measure.h"

namespace resilver::bench {

inline constexpr std::uint64_t kChunk = 64 * 1024;
inline constexpr std::uint64_t kWindow = 128 * 1024;
inline constexpr unsigned kDepth = 4;

struct RebuildWork {
  bool raid6 = false;
  std::vector<std::string> members;
  std::vector<std::string> spares;  // spare i takes the place of member i

  unsigned lost() const { return raid6 ? 2 : 1; }
};

inline RebuildWork rebuild_work(int argc, char** argv) {
  RebuildWork work;
  if (argc > 1) work.raid6 = std::strcmp(argv[1], "6") == 0;
  const int members = work.raid6 ? 6 : 4;
  if (argc != 2 + members + static_cast<int>(work.lost())) die("usage: LEVEL(5|6) MEMBER... SPARE...");
  work.members.assign(argv + 2, argv + 2 + members);
  work.spares.assign(argv + 2 + members, argv + argc);
  return work;
}

}  // namespace resilver::bench
