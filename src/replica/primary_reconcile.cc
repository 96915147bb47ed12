// Primary: after a promotion, the extents of writes that may be on some members only are made equal on all (rule 4). This
// node's content decides: such a write was never acknowledged, and no read has shown it.
#include <algorithm>
#include <utility>

#include "base/planted_bug.h"
#include "replica/primary.h"

namespace resilver::replica {

void Primary::must_settle(const std::vector<Extent>& extents) {
  for (const Extent& e : extents) {
    const bool in_volume = e.offset % kBlockBytes == 0 && e.length % kBlockBytes == 0 && e.end() <= core_.volume_bytes;
    if (in_volume) unsettled_.add(e);
  }
}

void Primary::must_settle(const ExtentSet& extents) {
  extents.for_each([&](Extent e) { unsettled_.add(e); });
}

// Requests to what is not settled wait, and go first.
Task<Errc> Primary::wait_settled(Extent extent) {
  while (!lost_.is_set() && !(open_ && !closed_ && !unsettled_.overlaps(extent))) {
    if (open_ && !closed_ && urgent_.size() < 1024) urgent_.push_back(extent);
    co_await settled_.wait_until(core_.now() + core_.beacon());
  }
  co_return lost_.is_set() ? Errc::not_primary : Errc::ok;
}

// One piece: locked, read here, durable on all members. False when the reign ends.
Task<bool> Primary::settle(Extent extent) {
  RangeLock::Guard lock(locks_, extent.offset, extent.length, RangeLock::Mode::copy);
  co_await lock.acquire();
  Buffer data = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), extent.length);
  if (!data || lost_.is_set()) co_return false;
  std::vector<bool> readable(extent.length / kBlockBytes, true);
  if (co_await read_or_give_up(extent, data, readable) != Errc::ok) {
    if (members().count() > 1) core_.fail_device();  // unreadable here and healed from nobody: hand over
    co_return false;
  }
  for (auto& link : links_) {
    if (!members().contains(link->id()) || !link->streaming()) continue;
    for (std::size_t i = 0; i < readable.size(); ++i) {  // what nobody can read stays as it is: an error everywhere
      std::size_t end = i;
      while (end < readable.size() && readable[end]) ++end;
      if (end == i) continue;
      const Extent run{extent.offset + i * kBlockBytes, (end - i) * kBlockBytes};
      // A link that breaks leaves the members and is resynced.
      (void)co_await link->copy(run, data.slice(i * kBlockBytes, run.length));
      i = end;
    }
  }
  co_return !lost_.is_set();
}

Task<void> Primary::reconcile() {
  const auto begin = [&] { return open_ || (won_.record.ack == AckMode::quorum && told()); };
  while (!begin() && !lost_.is_set()) co_await settled_.wait_until(core_.now() + core_.beacon());
  if (planted(PlantedBug::reconciliation_skipped)) unsettled_ = {};
  while (!unsettled_.empty() && !lost_.is_set()) {
    const bool alone = std::none_of(links_.begin(), links_.end(), [&](const auto& link) {
      return members().contains(link->id()) && (link->streaming() || link->starting());
    });
    if (alone) {  // nobody to be equal to; who returns is resynced by the intent bits
      unsettled_ = {};
      settled_.wake_all();
      break;
    }
    std::optional<Extent> next;
    while (!urgent_.empty() && !next) {
      next = unsettled_.first_in(urgent_.front());
      urgent_.pop_front();
    }
    if (!next) next = unsettled_.first_in({0, core_.volume_bytes});
    next->length = std::min<std::uint64_t>(next->length, 256 * 1024);
    if (!co_await settle(*next)) continue;
    unsettled_.remove(*next);
    settled_.wake_all();
  }
  if (lost_.is_set()) co_return;
  for (auto& link : links_) {
    if (members().contains(link->id()) && link->streaming()) link->send(ReconcileDone{});
  }
  core_.recent.settled();
  reconciled_ = true;
}

}  // namespace resilver::replica
