// Primary: the clearing of intent bits.
//
// What must never happen: a copy comes back and is brought up to date by bits that others dropped without it, because
// it was put back to what it was before, or because it missed the clearing. Rule: each clearing has a number. All
// configured copies note durably that they have *prepared* it before anybody drops a bit; who drops notes that before.
// A resync by bitmap is allowed exactly if each of the two has prepared what the other dropped (peer_resync.cc). While
// a copy is away nothing is cleared.
#include <algorithm>
#include <utility>

#include "base/planted_bug.h"
#include "replica/primary.h"

namespace resilver::replica {

bool Primary::everybody_in_sync() const {
  if (members().count() != won_.record.configured() || effective_ != members() || !reconciled_ || older_) return false;
  return each(members(), [&](const PeerLink& link) { return link.streaming() && link.configured() >= serial_; });
}

// A granule's bit may go when nothing was written to it for a while, nothing is under way in it and all configured
// nodes are in sync: then all copies of it are equal and durable.
ClearBits Primary::clearable() {
  const bool early = planted(PlantedBug::bitmap_cleared_early);
  ClearBits message;
  if (!core_.recent.known() && !early) return message;  // too many writes that are not durable everywhere
  ExtentSet under_way;
  if (core_.recent.known()) {
    for (const Extent& extent : core_.recent.list()) under_way.add(extent);
  }
  for (std::uint64_t bit = 0; bit < core_.bits.count() && message.runs.size() < kMaxListedExtents; ++bit) {
    if (bit % 64 == 0 && core_.bits.empty_word(bit)) {
      bit += 63;
      continue;
    }
    if (!core_.bits.test(bit) || core_.bits.touched(bit)) continue;
    const Extent data = core_.bits.extent_of(bit);
    if (locks_.busy(data.offset, data.length) || (under_way.overlaps(data) && !early)) continue;
    if (!message.runs.empty() && message.runs.back().end() == data.offset) {
      message.runs.back().length += data.length;
    } else {
      message.runs.push_back(data);
    }
  }
  return message;
}

// Durable here, then on all others. False: somebody left meanwhile; the next round tries again.
Task<bool> Primary::all_prepared(Clearing clearing) {
  if (planted(PlantedBug::bits_dropped_unprepared)) co_return true;
  const Errc stored = co_await core_.marks.update([&](Marks& m) { m.prepared = std::max(m.prepared, clearing); });
  core_.storage_failed(stored);
  if (stored != Errc::ok || !everybody_in_sync()) co_return false;
  for (auto& link : links_) link->send(ClearPrepare{clearing});
  const auto done = [&] { return each(members(), [&](const PeerLink& link) { return link.prepared() >= clearing; }); };
  while (!done() && everybody_in_sync() && !lost_.is_set()) co_await changed_.wait_until(core_.now() + core_.beacon());
  co_return done() && everybody_in_sync() && !lost_.is_set();
}

Task<void> Primary::clear_bits() {
  const Nanos interval = static_cast<Nanos>(core_.config.clear_bits_ms) * kMillisecond;
  while (!lost_.is_set()) {
    co_await lost_.wait_until(core_.now() + interval);
    if (lost_.is_set()) co_return;
    const bool early = planted(PlantedBug::bitmap_cleared_early);
    if ((!everybody_in_sync() && !early) || core_.bits.bits_set() == 0) {
      core_.bits.forget_touched();
      continue;
    }
    if (clearable().runs.empty()) {
      core_.bits.forget_touched();
      continue;
    }
    const Clearing last = std::max(core_.marks.now().prepared, core_.marks.now().dropped);
    const Clearing clearing =
        last.epoch == won_.record.epoch ? Clearing{last.epoch, last.counter + 1} : Clearing{won_.record.epoch, 1};
    if (!early && !co_await all_prepared(clearing)) continue;
    const Errc noted = co_await core_.marks.update([&](Marks& m) { m.dropped = std::max(m.dropped, clearing); });
    core_.storage_failed(noted);
    if (noted != Errc::ok || (!everybody_in_sync() && !early)) continue;
    ClearBits message = clearable();  // as it is now, after all that waiting
    core_.bits.forget_touched();
    if (message.runs.empty()) continue;
    message.clearing = clearing;
    for (auto& link : links_) {
      if (link->streaming() && members().contains(link->id())) link->send(message);
    }
    for (const Extent& run : message.runs) core_.bits.clear(run);
    core_.storage_failed(co_await core_.bits.write_back());
  }
}

}  // namespace resilver::replica
