#include "workload/prober.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace resilver::workload {

Prober::Prober(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, Oracle& oracle,
               const ProberConfig& config)
    : scheduler_(scheduler), buffers_(buffers), device_(device), oracle_(oracle), config_(config), requests_(scheduler) {
  CHECK(config.period >= kLeastPeriod && config.tolerance > 0);
}

Task<void> Prober::run(Event& stop) {
  const Nanos begin = scheduler_.now();
  for (Asked& asked : asked_) asked.last = begin - config_.period;
  while (!stop.is_set()) {
    const Nanos now = scheduler_.now();
    for (const Kind kind : {Kind::write, Kind::read}) {
      if (now - asked_[static_cast<std::size_t>(kind)].last >= config_.period) start(kind);
    }
    co_await stop.wait_until(std::min(asked_[0].last, asked_[1].last) + config_.period);
  }
  ended_ = scheduler_.now();
  for (const Asked& asked : asked_) close_gap(asked, ended_, true);
  co_await requests_.join();
}

void Prober::start(Kind kind) {
  Asked& asked = asked_[static_cast<std::size_t>(kind)];
  asked.last = scheduler_.now();
  if (asked.outstanding >= kMaxOutstanding) return;
  for (std::uint64_t tries = 0; tries < kBlocks; ++tries) {
    const std::uint64_t offset = config_.begin + next_block_ * kBlockBytes;
    next_block_ = (next_block_ + kStride) % kBlocks;
    if (oracle_.conflicts(offset, kBlockBytes, kind == Kind::write)) continue;
    ++asked.outstanding;
    asked.since = std::min(asked.since, scheduler_.now());
    requests_.spawn(ask(kind, offset));
    return;
  }
}

Task<void> Prober::ask(Kind kind, std::uint64_t offset) {
  auto& outstanding = asked_[static_cast<std::size_t>(kind)].outstanding;
  const Buffer buffer = buffers_.allocate(kBlockBytes);
  // Another request may have taken the block since it was chosen.
  if (!buffer || oracle_.conflicts(offset, kBlockBytes, kind == Kind::write)) {
    --outstanding;
    co_return;
  }
  Errc status = Errc::ok;
  if (kind == Kind::read) {
    const OpHandle handle = oracle_.begin_read(scheduler_.now(), offset, kBlockBytes);
    status = co_await Io::read(device_, offset, buffer);
    if (status == Errc::ok) {
      oracle_.end_read(handle, scheduler_.now(), buffer.bytes());
    } else {
      oracle_.end_read_error(handle, scheduler_.now(), status);
    }
  } else {
    const OpHandle handle = oracle_.begin_write(scheduler_.now(), offset, kBlockBytes);
    oracle_.encode(handle, buffer.bytes());
    status = co_await Io::write(device_, offset, buffer);
    oracle_.end_write(handle, scheduler_.now(), status == Errc::ok ? WriteOutcome::acknowledged : WriteOutcome::unknown,
                      status);
  }
  --outstanding;
  if (status == Errc::ok) answered(kind);
}

void Prober::observe(bool write) {
  const Kind kind = write ? Kind::write : Kind::read;
  asked_[static_cast<std::size_t>(kind)].last = scheduler_.now();
  answered(kind);
}

void Prober::answered(Kind kind) {
  if (ended_ != 0) return;
  Asked& asked = asked_[static_cast<std::size_t>(kind)];
  const Nanos now = scheduler_.now();
  close_gap(asked, now, false);
  asked.since = asked.outstanding > 0 ? now : kNever;
}

void Prober::close_gap(const Asked& asked, Nanos now, bool at_end) {
  if (asked.since == kNever || now - asked.since <= config_.tolerance || intervals_.size() >= kMaxIntervals) return;
  intervals_.push_back({asked.since, at_end ? kNever : now});
}

bool Prober::unanswered(Nanos now) const noexcept {
  return std::any_of(std::begin(asked_), std::end(asked_),
                     [&](const Asked& asked) { return asked.since != kNever && now - asked.since > config_.tolerance; });
}

std::vector<Prober::Stretch> Prober::outages(Nanos from, Nanos to) const {
  std::vector<Interval> sorted = intervals_;
  std::sort(sorted.begin(), sorted.end(), [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  std::vector<Stretch> stretches;
  Nanos covered = from;
  for (const Interval& interval : sorted) {
    const Nanos begin = std::max(interval.begin, covered);
    const Nanos end = std::min(interval.end, to);
    if (begin >= end) continue;
    covered = end;
    if (!stretches.empty() && stretches.back().end == begin) {
      stretches.back().end = end;
    } else {
      stretches.push_back({begin, end});
    }
  }
  return stretches;
}

Prober::Outage Prober::outage(Nanos from, Nanos to) const {
  Outage outage;
  for (const Stretch& stretch : outages(from, to)) outage.total += stretch.end - stretch.begin;
  outage.never_ended =
      from < to && to + config_.tolerance >= ended_ &&
      std::any_of(intervals_.begin(), intervals_.end(), [=](auto& i) { return i.end == kNever && i.begin < to; });
  return outage;
}

bool Prober::served(Nanos from, Nanos to) const { return outage(from, to).total < to - from; }

}  // namespace resilver::workload
