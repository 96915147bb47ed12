// Judges whether what survived a failover is a prefix of what was acknowledged before it (modes async and received).
//
// The writes of a volume have one order, of which only this is known: a write that was acknowledged before another began comes
// first. What is kept is a prefix if and only if no write that is lost comes before one that is kept. So it is enough to know,
// of the writes that began between two failovers, the earliest acknowledgement of a lost one and the latest start of a kept
// one. Evidence comes with reads: a version that a sector shows is kept; the newest one acknowledged there, if the sector
// shows one that precedes it, is lost. What is overwritten before anybody reads it is never judged.
//
// Memory: 16 bytes per write, of the last kMostWrites; older ones are taken to be kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <vector>

#include "workload/sector_register.h"

namespace resilver::workload {

class PrefixJudge {
 public:
  static constexpr std::size_t kMostWrites = 1 << 20;

  // Versions grow by one from the first on.
  void begin(Version version, Step start) {
    if (writes_.empty()) first_ = version;
    writes_.push_back({start, kNoStep});
    if (writes_.size() <= kMostWrites) return;
    writes_.pop_front();
    ++first_;
  }
  void acknowledge(Version version, Step now) {
    if (knows(version)) at(version).finish = now;
  }
  void failover(Step now) { reigns_.push_back({now}); }

  // A read that began after the last failover showed `version`. False: a write before it is lost.
  bool kept(Version version) {
    if (!knows(version)) return true;
    Reign* reign = reign_of(at(version).start);
    // One that was still under way when the primary went may have been done anew by the next.
    if (reign == nullptr || at(version).finish > reign->end) return true;
    reign->latest_kept = std::max(reign->latest_kept, at(version).start);
    return reign->good();
  }
  // ... showed `seen` where `newest` had been acknowledged. `lost`: the one precedes the other, which is lost then.
  struct Loss {
    bool lost = false;
    bool good = true;  // no write after it is kept
  };
  Loss replaced(Version newest, Version seen) {
    if (!knows(newest) || newest == seen) return {};
    const Write& write = at(newest);
    const Step seen_finish = knows(seen) ? at(seen).finish : 0;
    Reign* reign = reign_of(write.start);
    if (reign == nullptr || write.finish > reign->end || seen_finish > write.start) return {};
    reign->earliest_lost = std::min(reign->earliest_lost, write.finish);
    return {true, reign->good()};
  }

 private:
  struct Write {
    Step start, finish;
  };
  struct Reign {  // ends with a failover
    Step end;
    Step latest_kept = 0;
    Step earliest_lost = kNoStep;
    bool good() const noexcept { return earliest_lost >= latest_kept; }
  };
  bool knows(Version version) const noexcept { return version >= first_ && version - first_ < writes_.size(); }
  Write& at(Version version) noexcept { return writes_[version - first_]; }
  // Null: no failover since.
  Reign* reign_of(Step start) {
    const auto found = std::ranges::lower_bound(reigns_, start, {}, &Reign::end);
    return found == reigns_.end() ? nullptr : &*found;
  }

  std::deque<Write> writes_;
  Version first_ = 1;
  std::vector<Reign> reigns_;
};

}  // namespace resilver::workload
