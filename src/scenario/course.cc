#include "scenario/course.h"

#include <algorithm>
#include <utility>

namespace resilver::scenario {

// ---- outages of the client -------------------------------------------------------------------------------------------

void ClientOutages::began(Nanos now) noexcept {
  if (waiting_++ == 0) asked_ = now;
  if (since_ == kNever) since_ = now;
}

void ClientOutages::ended(Nanos now, bool succeeded) {
  --waiting_;
  if (!succeeded) {
    if (waiting_ == 0) failed_ = now;
    return;
  }
  if (failed_ != kNever && asked_ > failed_) {
    add(since_, failed_, false);
    add(asked_, now, false);
  } else {
    add(since_, now, false);
  }
  since_ = waiting_ > 0 ? now : kNever;
  failed_ = kNever;
}

void ClientOutages::close(Nanos now) {
  if (since_ != kNever) add(since_, waiting_ > 0 ? now : failed_, waiting_ > 0);
  since_ = kNever;
}

void ClientOutages::add(Nanos begin, Nanos end, bool open) {
  if (end - begin <= tolerance_ || stretches_.size() >= kMaxStretches) return;
  stretches_.push_back({begin, end, open});
}

// ---- the course ------------------------------------------------------------------------------------------------------

void Course::open(Nanos at, const FleetTotals& totals) {
  if (segments_.size() >= kMaxSegments) return;
  if (segments_.empty()) {
    seen_ = totals;
    served_until_ = at;
  }
  segments_.emplace_back();
  segments_.back().begin = at;
  segments_.back().totals = totals;
}

void Course::look(const FleetState& state, const FleetTotals& totals, std::uint64_t unreadable) {
  if (segments_.empty() || closed_ != kNever) return;
  told_ = std::min(told_, unreadable);
  if (unreadable > std::max(told_, worst_.bytes)) worst_ = {state.at, unreadable};
  if (unreadable < worst_.bytes) worst_ = {};
  if (totals.failovers != seen_.failovers && failovers_.size() < kMaxListed)
    failovers_.push_back({served_until_, state.at, totals.needless_failovers != seen_.needless_failovers});
  if (totals.mismatches != seen_.mismatches && mismatches_.size() < kMaxListed)
    mismatches_.push_back(
        {state.at, totals.mismatches - seen_.mismatches, totals.mismatches_named - seen_.mismatches_named});
  seen_ = totals;
  if (state.serving) served_until_ = state.at;
  if (state.full && !full_) open(std::max(state.at, segments_.back().begin), totals);
  full_ = state.full;
}

void Course::close(Nanos at, const FleetTotals& totals) {
  last_ = totals;
  outages_.close(at);
  closed_ = at;
}

void Course::began(Nanos now) noexcept {
  if (closed_ == kNever) outages_.began(now);
}

void Course::ended(const workload::LoadEnd& end) noexcept {
  workload::LoadEnd seen = end;
  seen.ended = std::min(end.ended, closed_);
  if (closed_ == kNever) {
    outages_.ended(end.ended, end.status == Errc::ok);
    segments_.back().load.ended(end);
    if (end.status == Errc::ok && worst_.bytes > 0 && end.intended >= worst_.at && unreadable_.size() < kMaxListed) {
      unreadable_.push_back(worst_);
      told_ = std::exchange(worst_, {}).bytes;
    }
  }
  // The trouble of a request begins when it has waited for a while, or has failed: what is under way at an event is met by it.
  const Nanos began = std::min(seen.ended, end.intended + kUnderWay);
  Segment& segment = segment_at(began);
  if (end.status != Errc::ok) ++segment.errors;
  segment.longest_wait = std::max(segment.longest_wait, seen.ended - end.intended);
}

Course::Segment& Course::segment_at(Nanos at) noexcept {
  std::size_t i = segments_.size() - 1;
  while (i > 0 && segments_[i].begin > at) --i;
  return segments_[i];
}

PhaseResult Course::phase(Nanos from, Nanos to) const {
  workload::LoadStats sum;
  for (const Segment& segment : segments_)
    if (segment.begin >= from && segment.begin < to) sum.merge(segment.load);
  return {std::max<Nanos>(0, to - from), sum.reads, sum.writes, std::move(sum.read_latency),
          std::move(sum.write_latency)};
}

const FleetTotals& Course::totals_at(Nanos at) const noexcept {
  for (const Segment& segment : segments_)
    if (segment.begin >= at) return segment.totals;
  return last_;
}

}  // namespace resilver::scenario
