// The progress line of a contender while a run goes on: a pure function, so that who prints it owns the terminal.
#pragma once

#include <cstdint>
#include <string>

#include "base/time.h"

namespace resilver::report {

struct Progress {
  std::string contender;
  std::string phase;                   // "fill", "warm-up", "running", "repair", "reading back", "done"
  std::uint32_t permille = 0;          // of the contender's whole run
  std::uint64_t bytes_per_second = 0;  // moved now: by the client, or by the repair where that is the phase
  Nanos left = kNever;                 // kNever: not known
};

// "raid5     repair        42 %    60 MiB/s   3.2 s left": at most 79 columns, no newline.
std::string format_progress(const Progress& progress);

}  // namespace resilver::report
