// How long a disk takes. One model serves both worlds: simulated disks complete by it, and paced real images are held to it,
// so that a rate measured in one can be compared with the other. Integer arithmetic only.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "env/block_device.h"

namespace resilver {

// A disk as its data sheet gives it. Bandwidths in bytes per second.
struct DiskParameters {
  Nanos random_access = 0;      // before the transfer, when the request does not follow the one before it
  Nanos sequential_access = 0;  // when it does
  std::uint64_t read_bandwidth = 0;
  std::uint64_t write_bandwidth = 0;
  std::uint32_t channels = 1;  // accesses that may overlap; transfers share one bus
  Nanos flush = 0;             // emptying the volatile cache, beside what is still queued
};

// "hdd", "sata-ssd", "nvme", "ostep" (10 ms random, 0.1 ms sequential, as in OSTEP ch. 38). not_found otherwise.
Result<DiskParameters> disk_preset(std::string_view name);

// The queue of one disk: requests start in the order of their coming on the first channel that is free.
class DiskTimer {
 public:
  explicit DiskTimer(const DiskParameters& parameters);

  // Accounts for a request that arrives at `now` and returns when it completes (>= now). Calls must not go back in time.
  Nanos complete_at(IoOp op, std::uint64_t offset, std::uint64_t length, Nanos now) noexcept;

 private:
  DiskParameters parameters_;
  std::vector<Nanos> channel_free_;  // one per channel
  Nanos bus_free_ = 0;
  std::uint64_t next_sequential_ = 0;
};

}  // namespace resilver
