// The prober: an independent client that asks every 10 ms, for a read and for a write of 4096 bytes, whether the volume
// serves. It has a region of its own at the end of the volume; what it writes and reads is judged like everything else.
//
// An outage is a stretch in which no read was answered, or no write was: from one period after the last success of that
// kind to the next. Gaps of up to kTolerance count as service. What is answered with an error does not count as answered.
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

class Prober {
 public:
  static constexpr Nanos kPeriod = 10 * kMillisecond;
  static constexpr Nanos kTolerance = 3 * kPeriod;
  static constexpr std::uint64_t kRegionBytes = std::uint64_t{1} << 20;
  static constexpr std::uint32_t kMaxOutstanding = 64;  // of each kind; beyond it nothing is asked: there is no service

  // The region is [begin, begin + kRegionBytes) of the volume.
  Prober(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, Oracle& oracle, std::uint64_t begin);

  // Asks from now until `stop`, then waits for what is outstanding.
  Task<void> run(Event& stop);

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

  // Has no read, or no write, been answered for longer than kTolerance?
  bool unanswered(Nanos now) const noexcept { return now - std::min(last_success_[0], last_success_[1]) > kTolerance; }

  // Was anything answered in [from, to)?
  bool served(Nanos from, Nanos to) const;

 private:
  enum class Kind : std::uint8_t { read, write };
  struct Interval {
    Nanos begin;
    Nanos end;
  };
  static constexpr std::size_t kMaxIntervals = 100'000;
  static constexpr std::uint64_t kBlocks = kRegionBytes / kBlockBytes;
  static constexpr std::uint64_t kStride =
      81;  // blocks: one question after the other goes to other disks, whatever the chunk

  Task<void> ask(Kind kind, std::uint64_t offset);
  void start(Kind kind);
  void answered(Kind kind);
  void close_gap(Kind kind, Nanos now, bool at_end);

  Scheduler& scheduler_;
  BufferPool& buffers_;
  BlockDevice& device_;
  Oracle& oracle_;
  std::uint64_t begin_;
  std::uint64_t next_block_ = 0;
  std::uint32_t outstanding_[2] = {};
  Nanos last_success_[2] = {};
  Nanos ended_ = 0;
  std::vector<Interval> intervals_;  // may overlap: one list for both kinds
  TaskGroup requests_;
};

}  // namespace resilver::workload
