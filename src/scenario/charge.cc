#include "scenario/charge.h"
#include "scenario/verbs.h"

#include <algorithm>

namespace resilver::scenario {
namespace {

bool worse(const FleetState& now, const FleetState& before) {
  if (before.full && !now.full) return true;
  if (now.nodes_left < before.nodes_left) return true;
  // A copy that leaves the set takes its disks along; that its node went has counted already.
  return now.in_sync == before.in_sync && now.disks_left < before.disks_left;
}

Nanos next_application(const std::vector<AppliedEvent>& events, Nanos after, Nanos end) {
  Nanos next = end;
  for (const AppliedEvent& event : events)
    if (event.at > after + kOneInstant) next = std::min(next, event.at);
  return next;
}

Nanos over(const AppliedEvent& event, const std::vector<AppliedEvent>& events, const std::vector<FleetState>& changes,
           Nanos end) {
  if (event.ends) return event.cleared ? first_time(changes, *event.cleared, end, true) : end;
  if (event.lasts && !event.of_redundancy) return end;
  const Nanos lost = first_time(changes, event.at, end, false);
  const Nanos next = event.lasts ? end : next_application(events, event.at, end);
  return lost < next ? first_time(changes, lost, end, true) : next;
}

}  // namespace

Nanos first_time(const std::vector<FleetState>& changes, Nanos from, Nanos end, bool full) {
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const Nanos until = i + 1 < changes.size() ? changes[i + 1].at : end;
    if (until > from && changes[i].full == full) return std::min(std::max(changes[i].at, from), end);
  }
  return end;
}

AppliedEvent applied_event(std::size_t index, const Event& spec, const EventResult& result, Nanos start) {
  const VerbInfo& verb = verb_info(spec.verb);
  AppliedEvent event;
  event.index = index;
  event.at = start + result.at;
  event.lasts = verb.lasts;
  event.ends = spec.lasts_for > 0 || spec.until.has_value();
  if (result.cleared) event.cleared = start + result.cleared_at;
  event.of_redundancy = verb.takes_or_gives_back;
  event.of_disks = verb.target == TargetKind::disk;
  return event;
}

std::vector<Span> spans_of(const std::vector<AppliedEvent>& events, const std::vector<FleetState>& changes, Nanos end) {
  std::vector<Span> spans;
  for (const AppliedEvent& event : events) spans.push_back({event.index, event.at, over(event, events, changes, end)});
  for (const Nanos loss : losses_of_redundancy(changes, 0, end)) {
    const Charge charged = charge(spans, loss, 0);
    for (Span& span : spans) {
      const bool its_doing = charged.event == span.index;
      if (its_doing && span.end <= loss) span.end = first_time(changes, loss, end, true);
    }
  }
  return spans;
}

Charge charge(const std::vector<Span>& spans, Nanos began, Nanos resolution) {
  const Span* latest = nullptr;
  const Span* latest_going_on = nullptr;
  for (const Span& span : spans) {
    if (span.begin > began + resolution) continue;
    if (latest == nullptr || span.begin > latest->begin) latest = &span;
    if (span.end > began && (latest_going_on == nullptr || span.begin > latest_going_on->begin))
      latest_going_on = &span;
  }
  Charge charge;
  const Span* chosen = latest_going_on != nullptr ? latest_going_on : latest;
  if (chosen == nullptr) return charge;
  for (const Span& span : spans) {
    const bool at_one_instant = span.begin <= chosen->begin && span.begin + kOneInstant >= chosen->begin;
    if (!at_one_instant) continue;
    if (charge.event) {
      charge.mates.push_back(span.index);
    } else {
      charge.event = span.index;
    }
  }
  return charge;
}

std::vector<Nanos> losses_of_redundancy(const std::vector<FleetState>& changes, Nanos from, Nanos to) {
  std::vector<Nanos> losses;
  for (std::size_t i = 1; i < changes.size(); ++i) {
    if (changes[i].at >= from && changes[i].at < to && worse(changes[i], changes[i - 1]))
      losses.push_back(changes[i].at);
  }
  return losses;
}

}  // namespace resilver::scenario
