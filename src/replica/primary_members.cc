// Primary: the set of members, kept at the arbiter, and the clearing of intent bits, which depends on it.
#include <algorithm>
#include <utility>

#include "base/planted_bug.h"
#include "replica/primary.h"

namespace resilver::replica {

NodeSet Primary::desired() const {
  NodeSet next = NodeSet::of(core_.config.self);
  for (const auto& link : links_) {
    const bool stays = members().contains(link->id()) && (link->streaming() || link->starting());
    if (stays || link->ready()) next.add(link->id());
  }
  return next;
}

Task<void> Primary::keep_members() {
  while (!lost_.is_set()) {
    if (check_record_) {
      co_await check_record();
    } else if (hand_over_ != kNoNode) {
      co_await hand_over();
    } else if (!resigned_ && (desired() != members() || wanted_ack_ != won_.record.ack)) {
      co_await reconfigure(desired());
    } else if (!resigned_ && open_ && switch_to_) {
      co_await switch_over(*switch_to_);
    } else {
      const bool all_here = std::all_of(links_.begin(), links_.end(), [&](const auto& link) {
        return !effective_.contains(link->id()) || link->streaming();
      });
      if (!open_ && all_here) {
        open_ = true;
        changed();
        settled_.wake_all();
        core_.changed.wake_all();
      }
      co_await changed_.wait_until(core_.now() + core_.beacon());
    }
  }
}

// Somebody showed us a newer epoch, or may have: only the record tells.
Task<void> Primary::check_record() {
  const auto now = co_await arbiter_.get(core_.now() + core_.lease());
  if (lost_.is_set()) co_return;
  if (!now) {
    (void)co_await changed_.wait_until(core_.now() + core_.beacon());
    co_return;
  }
  check_record_ = false;
  core_.newer_epoch = std::min(core_.newer_epoch, now->record.epoch);
  if (now->version != won_.version) lose();
}

// All members told what they have, but for those that are not there.
bool Primary::told() const {
  return std::all_of(links_.begin(), links_.end(), [&](const auto& link) {
    return !effective_.contains(link->id()) || link->streaming() || !link->starting();
  });
}

// Asks until the outcome is known: as long as it is not, both the old and the wanted members count as members.
Task<void> Primary::reconfigure(NodeSet next) {
  // One after the other: a change of the mode waits for all members, and so would the removal of one that is gone.
  const AckMode ack = next == members() ? wanted_ack_ : won_.record.ack;
  const Record wanted{won_.record.epoch + 1, core_.config.self, next, core_.new_nonce(), ack};
  proposed_ = wanted;
  while (!may_propose(wanted)) {
    co_await changed_.wait_until(core_.now() + core_.beacon());
    const bool still_wanted = desired() == next && (next != members() || wanted_ack_ == ack);
    if (!lost_.is_set() && !resigned_ && !check_record_ && still_wanted) continue;
    proposed_.reset();
    changed();
    co_return;
  }
  if ((members() | next) != next && !co_await core_.disk_answers()) {
    proposed_.reset();
    changed();
    co_return;
  }
  effective_ = effective_ | next;
  while (!lost_.is_set()) {
    auto result = co_await arbiter_.compare_and_swap(won_.version, wanted, core_.now() + core_.lease());
    if (lost_.is_set()) co_return;
    if (!result) {
      (void)co_await lost_.wait_until(core_.now() + core_.beacon());
      continue;
    }
    if (!result->swapped && result->now.record != wanted) {
      lose();  // another won; our own earlier try would carry our nonce
      co_return;
    }
    co_await adopt({result->now.version, wanted});
    co_return;
  }
}

// The new epoch is durable here before anything is acknowledged under it.
Task<bool> Primary::adopt(VersionedRecord won) {
  Position stored;
  const Errc status = co_await core_.metadata.update([&](Superblock& s) {
    s.epoch = won.record.epoch;
    if (!planted(PlantedBug::generation_not_changed)) s.push(generation_of(won.record));
    stored = {reign_, local_seq_};
    s.position = std::max(s.position, stored);
  });
  if (lost_.is_set()) co_return false;
  if (status != Errc::ok) {
    core_.fail_device();
    if (members().count() <= 1) lose();
    co_return false;
  }
  stored_seq_ = std::max(stored_seq_, stored.seq);
  const NodeSet before = members();
  const bool to_quorum = won.record.ack == AckMode::quorum && won_.record.ack != AckMode::quorum;
  won_ = won;
  proposed_.reset();
  effective_ = won.record.in_sync;
  core_.in_sync = won.record.in_sync;
  ++serial_;
  if (to_quorum) quorum_serial_ = serial_;
  for (auto& link : links_) {
    if (link->streaming()) link->send(configuration());
    const bool was = before.contains(link->id()), is = members().contains(link->id());
    if (was && !is) core_.emit({.kind = EventKind::peer_left, .peer = link->id()});
    if (!was && is) core_.emit({.kind = EventKind::peer_joined, .peer = link->id()});
  }
  changed();
  settled_.wake_all();
  core_.changed.wake_all();
  co_return true;
}

bool Primary::everybody_in_sync() const {
  if (members() != core_.configured() || effective_ != members() || !reconciled_) return false;
  return std::all_of(links_.begin(), links_.end(),
                     [&](const auto& link) { return link->streaming() && link->configured() >= serial_; });
}

// A bit is cleared when nothing was written to its granule for a while, nothing is under way in it and all configured nodes
// are in sync: then all copies of it are equal and durable. The epoch of the first clearing is durable before.
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
    if (core_.metadata.now().bits_since < won_.record.epoch && !early) {
      const Errc stored = co_await core_.metadata.update([&](Superblock& s) { s.bits_since = s.epoch; });
      if (stored != Errc::ok) core_.fail_device();
      if (stored != Errc::ok || !everybody_in_sync()) continue;  // the next round tries again
    }
    if (!core_.recent.known() && !early) continue;  // too many writes that are not durable everywhere
    ExtentSet under_way;
    if (core_.recent.known()) {
      for (const Extent& extent : core_.recent.list()) under_way.add(extent);
    }
    ClearBits message;
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
    core_.bits.forget_touched();
    if (message.runs.empty()) continue;
    for (auto& link : links_) {
      if (link->streaming() && members().contains(link->id())) link->send(message);
    }
    for (const Extent& run : message.runs) core_.bits.clear(run);
    if (co_await core_.bits.write_back() != Errc::ok) core_.fail_device();
  }
}

}  // namespace resilver::replica
