// The prober: an independent client that asks whether the volume serves, for a read and for a write of 4096 bytes each. It has
// a region of its own at the end of the volume; what it writes and reads is judged like everything else.
//
// It must not load what it measures: each kind is asked for once a period, and only if none of that kind was answered in the
// last one, be it to itself or to another client (observe()). An outage is a stretch in which a read was asked for and none
// was answered, or a write: from the first question after the last answer to the next answer, if that is longer than the
// tolerance. An error is no answer. So an outage is known to one period at its begin: resolution().
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "async/task_group.h"
#include "env/block_device.h"
#include "workload/oracle.h"

namespace resilver::workload {

struct ProberConfig {
  std::uint64_t begin = 0;  // its region is [begin, begin + Prober::kRegionBytes) of the volume
  Nanos period = 0;         // at least Prober::kLeastPeriod
  Nanos tolerance = 0;      // an answer may take so long
};

class Prober {
 public:
  static constexpr Nanos kLeastPeriod = 10 * kMillisecond;
  static constexpr std::uint64_t kRegionBytes = std::uint64_t{1} << 20;
  static constexpr std::uint32_t kMaxOutstanding = 64;  // of each kind; beyond it nothing is asked: there is no service

  Prober(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, Oracle& oracle, const ProberConfig& config);

  // Asks from now until `stop`, then waits for what is outstanding.
  Task<void> run(Event& stop);

  // A read (or a write) of somebody else was answered just now.
  void observe(bool write);

  // An outage may have begun so much earlier than it is said to, and one that is shorter may not be seen at all.
  Nanos resolution() const noexcept { return config_.period; }
  Nanos tolerance() const noexcept { return config_.tolerance; }

  // Time without service in [from, to), and whether it was still so at the end of the probing.
  struct Outage {
    Nanos total = 0;
    bool never_ended = false;
  };
  Outage outage(Nanos from, Nanos to) const;
  // The stretches that make it up, in order, reads and writes together; the end of one that did not end is `to`.
  struct Stretch {
    Nanos begin;
    Nanos end;
  };
  std::vector<Stretch> outages(Nanos from, Nanos to) const;

  // Was anything answered in [from, to)?
  bool served(Nanos from, Nanos to) const;
  // Is it without an answer now for longer than the tolerance?
  bool unanswered(Nanos now) const noexcept;

 private:
  enum class Kind : std::uint8_t { read, write };
  struct Interval {
    Nanos begin;
    Nanos end;
  };
  struct Asked {
    std::uint32_t outstanding = 0;
    Nanos last = 0;        // our last question, or answer to somebody else
    Nanos since = kNever;  // the first question after the last answer; kNever: none
  };
  static constexpr std::size_t kMaxIntervals = 100'000;
  static constexpr std::uint64_t kBlocks = kRegionBytes / kBlockBytes;
  // In blocks: one question after the other goes to other disks, whatever the chunk.
  static constexpr std::uint64_t kStride = 81;

  Task<void> ask(Kind kind, std::uint64_t offset);
  void start(Kind kind);
  void answered(Kind kind);
  void close_gap(const Asked& asked, Nanos now, bool at_end);

  Scheduler& scheduler_;
  BufferPool& buffers_;
  BlockDevice& device_;
  Oracle& oracle_;
  ProberConfig config_;
  std::uint64_t next_block_ = 0;
  Asked asked_[2];
  Nanos ended_ = 0;
  std::vector<Interval> intervals_;  // may overlap: one list for both kinds
  TaskGroup requests_;
};

}  // namespace resilver::workload
