// Judges whether what survived a failover is a prefix of what was acknowledged before it (modes async and received).
//
// The writes of a volume have one order, of which only this is known: a write that was acknowledged before another began comes
// first. A *reign* is the time between two failovers; writes that were acknowledged in the reign in which they began are
// judged, others not. At its end a write is *kept* if some sector is found to hold it then, and *lost* if some sector that it
// was written to is found to hold one that comes before it. What is kept is a prefix if no write that is lost comes before one
// that is kept: the earliest acknowledgement of a lost one and the latest start of a kept one are enough to know. What is
// overwritten before anybody reads it is never judged.
//
// Memory: 24 bytes per write, of the last kMostWrites; older ones are taken to be kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <span>
#include <vector>

#include "workload/block_table.h"
#include "workload/sector_register.h"

namespace resilver::workload {

class PrefixJudge {
 public:
  static constexpr std::size_t kMostWrites = 1 << 20;

  // A write of the blocks first..last. Versions grow by one from the first on.
  void begin(Version version, Step start, BlockIndex first, BlockIndex last) {
    if (writes_.empty()) first_ = version;
    writes_.push_back({start, kNoStep, first, last});
    if (writes_.size() <= kMostWrites) return;
    writes_.pop_front();
    ++first_;
  }
  void acknowledge(Version version, Step now) {
    if (knows(version)) writes_[version - first_].finish = now;
  }
  void failover(Step now) { reigns_.push_back({now}); }

  struct Evidence {
    bool good = true;  // no write that is kept comes after one that is lost
    Version lost = 0;  // the newest write of this block that is found to be lost; 0: none
  };
  // The failover at `loss` left one of `versions` in `block`, where `newest` was the newest that it could have left.
  Evidence survived(std::span<const Version> versions, Version newest, BlockIndex block, Step loss) {
    Step start = kNoStep,
         finish = 0;  // of what shows least: the earliest as one that is kept, the latest as what is left
    for (const Version version : versions) {
      const Write write = knows(version) ? writes_[version - first_] : Write{};
      start = std::min(start, write.start);
      finish = std::max(finish, write.finish);
    }
    const bool older = std::ranges::max(versions) < newest;
    Evidence evidence;
    Step begin = 0;
    for (Reign& reign : reigns_) {
      if (reign.end > loss) break;
      if (finish < reign.end) {
        if (start > begin) reign.latest_kept = std::max(reign.latest_kept, start);
        if (older) find_lost(reign, std::max(begin, finish), block, evidence);
        evidence.good = evidence.good && reign.good();
      }
      begin = reign.end;
    }
    return evidence;
  }

 private:
  struct Write {
    Step start = 0, finish = 0;
    BlockIndex first = 0, last = 0;
  };
  struct Reign {  // ends with a failover
    Step end;
    Step latest_kept = 0;
    Step earliest_lost = kNoStep;
    bool good() const noexcept { return earliest_lost >= latest_kept; }
  };

  bool knows(Version version) const noexcept { return version >= first_ && version - first_ < writes_.size(); }

  // The writes of `block` in this reign that began after `after`: the earliest end, and the newest.
  void find_lost(Reign& reign, Step after, BlockIndex block, Evidence& evidence) const {
    const auto begin = std::ranges::upper_bound(writes_, after, {}, &Write::start);
    const auto end = std::ranges::upper_bound(writes_, reign.end, {}, &Write::start);
    const auto hit = [&](const Write& write) {
      return write.first <= block && block <= write.last && write.finish < reign.end;
    };
    Step earliest = kNoStep;
    for (auto at = begin; at != end && at->start < earliest; ++at) {
      if (hit(*at)) earliest = std::min(earliest, at->finish);
    }
    if (earliest == kNoStep) return;
    reign.earliest_lost = std::min(reign.earliest_lost, earliest);
    auto newest = end;
    while (!hit(*--newest)) {
    }
    evidence.lost = first_ + static_cast<Version>(newest - writes_.begin());
  }

  std::deque<Write> writes_;
  Version first_ = 1;
  std::vector<Reign> reigns_;
};

}  // namespace resilver::workload
