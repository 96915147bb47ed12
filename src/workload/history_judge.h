// Judges a history that was written to a file: plays it to an oracle, event by event, as the run did.
#pragma once

#include <cstdint>
#include <istream>
#include <string>

#include "base/error.h"
#include "workload/oracle.h"

namespace resilver::workload {

struct HistoryVerdict {
  std::string scenario, contender;
  std::uint64_t seed = 0;
  Durability promise = Durability::on_ack;
  OracleCounts counts;
  bool read_back = false;         // there was a final reading
  std::uint64_t never_ended = 0;  // requests
  // The first answer that broke the promise; line 0: none did.
  std::uint64_t first_line = 0;
  std::uint64_t first_offset = 0;  // bytes
  const char* first_what = "";     // corrupt, stale, lost or no prefix

  std::uint64_t stale_reads() const noexcept { return counts.stale_reads + counts.prefix_breaks; }
  bool good() const noexcept { return counts.lost_writes + stale_reads() + counts.corrupt_reads == 0; }
};

// `name` is the file's, for messages. Error: bad_input, "NAME:LINE: what is there, expected what", at the first line that is
// none of a history (docs/history.md). Memory: that of the oracle, and some 100 bytes per write.
Result<HistoryVerdict> judge_history(std::istream& in, const std::string& name);

}  // namespace resilver::workload
