// What the client saw and what was counted, by time: the course of a run is cut into segments, one for each application and
// each end of an event and each moment at which redundancy became full again. A measure of any stretch between such moments
// is the sum over its segments; so the windows of events may overlap.
#pragma once

#include <cstdint>
#include <vector>

#include "scenario/observer.h"
#include "scenario/results.h"
#include "workload/driver.h"

namespace resilver::scenario {

// A request that was sent at most so long before an event counts as met by it.
inline constexpr Nanos kUnderWay = 3 * kSampleInterval;

// A stretch without service. `open`: it had not ended when the observation did.
struct Stretch {
  Nanos begin = 0;
  Nanos end = 0;
  bool open = false;
};

// Finds the stretches in which requests of the client waited and none succeeded: from the moment the first of them began to
// wait (or the last success, if others waited then) to the next success. A request that fails ends nothing: if the next one
// fails too, the time between them belongs to the stretch; if it succeeds, only what was waited in vain does. Stretches of
// at most `tolerance` are none: the prober's, so that both measure alike.
class ClientOutages {
 public:
  explicit ClientOutages(Nanos tolerance) : tolerance_(tolerance) {}
  void began(Nanos now) noexcept;
  void ended(Nanos now, bool succeeded);
  void close(Nanos now);  // the observation ends
  const std::vector<Stretch>& stretches() const noexcept { return stretches_; }

 private:
  static constexpr std::size_t kMaxStretches = 100'000;
  void add(Nanos begin, Nanos end, bool open);

  Nanos tolerance_;
  std::uint64_t waiting_ = 0;
  Nanos since_ = kNever;   // the first that waits, or has failed, since the last success
  Nanos asked_ = 0;        // since then somebody has waited all the time
  Nanos failed_ = kNever;  // the last failure after which nobody waited
  std::vector<Stretch> stretches_;
};

class Course final : public workload::LoadSink {
 public:
  struct Segment {
    Nanos begin = 0;
    FleetTotals totals;        // at `begin`
    workload::LoadStats load;  // of requests that ended in it
    std::uint64_t errors = 0;  // of requests whose trouble began in it
    Nanos longest_wait = 0;    // of requests whose trouble began in it
  };
  // The volume moved to another node: trouble from the last moment at which the old one served.
  struct Failover {
    Nanos began = 0;
    Nanos ended = 0;
    bool needless = false;
  };
  struct Mismatches {
    Nanos at = 0;
    std::uint64_t count = 0;
    std::uint64_t named = 0;
  };

  // So much of the volume became unreadable while a request of the client that began later was answered.
  struct Unreadable {
    Nanos at = 0;
    std::uint64_t bytes = 0;
  };

  // What the client waits for at most `tolerance` is no outage of it.
  explicit Course(Nanos tolerance) : outages_(tolerance) {}

  // A new segment begins. Times never fall. Beyond kMaxSegments the last one goes on.
  void open(Nanos at, const FleetTotals& totals);
  // Samples what only the present state tells; at least every kSampleInterval.
  void look(const FleetState& state, const FleetTotals& totals, std::uint64_t unreadable);
  // The observation ends: what waits now has waited until now.
  void close(Nanos at, const FleetTotals& totals);

  void began(Nanos now) noexcept override;
  void ended(const workload::LoadEnd& end) noexcept override;

  const std::vector<Segment>& segments() const noexcept { return segments_; }
  const std::vector<Failover>& failovers() const noexcept { return failovers_; }
  const std::vector<Mismatches>& mismatches() const noexcept { return mismatches_; }
  const std::vector<Unreadable>& unreadable() const noexcept { return unreadable_; }
  const std::vector<Stretch>& outages() const noexcept { return outages_.stretches(); }

  // Of the segments that begin in [from, to).
  PhaseResult phase(Nanos from, Nanos to) const;
  // At the first segment that begins at or after `at`; those of the end if there is none.
  const FleetTotals& totals_at(Nanos at) const noexcept;

 private:
  static constexpr std::size_t kMaxSegments = 10'000;
  static constexpr std::size_t kMaxListed = 100'000;
  Segment& segment_at(Nanos at) noexcept;

  std::vector<Segment> segments_;
  std::vector<Failover> failovers_;
  std::vector<Mismatches> mismatches_;
  std::vector<Unreadable> unreadable_;
  Unreadable worst_;        // unreadable at this moment, nothing answered yet since it has grown so far
  std::uint64_t told_ = 0;  // of what is unreadable now so much is listed
  ClientOutages outages_;
  FleetTotals seen_;
  FleetTotals last_;
  Nanos served_until_ = 0;
  Nanos closed_ = kNever;
  bool full_ = true;
};

}  // namespace resilver::scenario
