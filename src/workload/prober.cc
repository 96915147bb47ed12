#include "workload/prober.h"

#include <algorithm>

namespace resilver::workload {

Prober::Prober(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, Oracle& oracle, std::uint64_t begin)
    : scheduler_(scheduler), buffers_(buffers), device_(device), oracle_(oracle), begin_(begin), requests_(scheduler) {}

Task<void> Prober::run(Event& stop) {
  last_success_[0] = last_success_[1] = scheduler_.now();
  Nanos next = scheduler_.now();
  while (!stop.is_set()) {
    start(Kind::write);
    start(Kind::read);
    next = std::max(next + kPeriod, scheduler_.now() - kPeriod);
    co_await stop.wait_until(next);
  }
  ended_ = scheduler_.now();
  close_gap(Kind::read, ended_, true);
  close_gap(Kind::write, ended_, true);
  co_await requests_.join();
}

void Prober::start(Kind kind) {
  auto& outstanding = outstanding_[static_cast<std::size_t>(kind)];
  if (outstanding >= kMaxOutstanding) return;
  for (std::uint64_t tries = 0; tries < kBlocks; ++tries) {
    const std::uint64_t offset = begin_ + next_block_ * kBlockBytes;
    next_block_ = (next_block_ + kStride) % kBlocks;
    if (oracle_.conflicts(offset, kBlockBytes, kind == Kind::write)) continue;
    ++outstanding;
    requests_.spawn(ask(kind, offset));
    return;
  }
}

Task<void> Prober::ask(Kind kind, std::uint64_t offset) {
  auto& outstanding = outstanding_[static_cast<std::size_t>(kind)];
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
  if (status == Errc::ok && ended_ == 0) answered(kind);
}

void Prober::answered(Kind kind) {
  const Nanos now = scheduler_.now();
  close_gap(kind, now, false);
  last_success_[static_cast<std::size_t>(kind)] = now;
}

void Prober::close_gap(Kind kind, Nanos now, bool at_end) {
  const Nanos last = last_success_[static_cast<std::size_t>(kind)];
  if (now - last <= kTolerance || intervals_.size() >= kMaxIntervals) return;
  intervals_.push_back({last + kPeriod, at_end ? kNever : now});
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
      from < to && to + kTolerance >= ended_ &&
      std::any_of(intervals_.begin(), intervals_.end(), [=](auto& i) { return i.end == kNever && i.begin < to; });
  return outage;
}

bool Prober::served(Nanos from, Nanos to) const { return outage(from, to).total < to - from; }

}  // namespace resilver::workload
