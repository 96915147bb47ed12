// Primary: the set of members, kept at the arbiter, and the clearing of intent bits, which depends on it.
#include <algorithm>
#include <utility>

#include "base/planted_bug.h"
#include "replica/primary.h"

namespace resilver::replica {

NodeSet Primary::desired() const {
  NodeSet next = NodeSet::of(core_.self);
  for (const auto& link : links_) {
    const bool stays = members().contains(link->id()) && (link->streaming() || link->starting());
    if (stays || link->ready()) next.add(link->id());
  }
  return next;
}

// Whether this node's file has a node that the record does not list.
bool Primary::unlisted() const {
  return std::ranges::any_of(core_.peers, [&](const Peer& peer) { return won_.record.find_name(peer.name) == kNoNode; });
}

bool Primary::changes_wanted() const {
  const bool other_epoch = open_ && won_.record.epoch <= outdone_;
  return desired() != members() || wanted_ack_ != won_.record.ack || other_epoch || (open_ && unlisted());
}

void Primary::outdo(std::uint64_t epoch) {
  outdone_ = std::max(outdone_, epoch);
  tried_epoch_ = std::max(tried_epoch_, epoch);
  changed_.wake_all();
}

Task<void> Primary::keep_members() {
  while (!lost_.is_set()) {
    if (check_record_) {
      co_await check_record();
    } else if (hand_over_ != kNoNode) {
      co_await hand_over();
    } else if (older_ && !resigned_) {
      co_await reinstall();
    } else if (!resigned_ && changes_wanted()) {
      co_await reconfigure(desired());
    } else if (!resigned_ && open_ && switch_to_) {
      co_await switch_over(*switch_to_);
    } else {
      if (!open_ && each(effective_, [](const PeerLink& link) { return link.streaming(); })) {
        open_ = true;
        changed();
        settled_.wake_all();
        core_.changed.wake_all();
      }
      co_await changed_.wait_until(core_.now() + core_.beacon());
    }
  }
}

// ---- the arbiter's record --------------------------------------------------------------------------------------------

// Is it still the same? So a restored or lost record is met while all members are there, and status knows whether a
// member that fails could be left out.
Task<void> Primary::watch_arbiter() {
  while (!lost_.is_set()) {
    check_record_ = true;
    changed_.wake_all();
    co_await lost_.wait_until(core_.now() + std::max<Nanos>(core_.grace(), 500 * kMillisecond));
  }
}

Task<void> Primary::check_record() {
  check_record_ = false;
  const auto now = co_await core_.ask(arbiter_, core_.now() + core_.lease());
  if (lost_.is_set() || !now) co_return;
  consider(*now);
}

// What the arbiter keeps, held against what this primary won.
void Primary::consider(const VersionedRecord& now) {
  if (!now.record.virgin() && now.record.volume != core_.config.volume) {
    core_.find(Reason::other_record, kNoNode, "volume " + short_text(now.record.volume));
    return;
  }
  core_.cease(Reason::other_record);
  switch (kinship(won_.record, now.record)) {
    case Kinship::same:
      won_.key = now.key;
      won_.version = now.version;
      older_.reset();
      core_.cease(Reason::frozen);
      return;
    case Kinship::stale:
      older_ = now;
      core_.find(Reason::frozen, kNoNode,
                 now.record.virgin() ? "it keeps none" : "epoch " + std::to_string(now.record.epoch));
      changed_.wake_all();
      return;
    case Kinship::newer:
      if (now.record.copy_of(now.record.primary) == core_.metadata.now().copy && now.record.life != core_.life)
        note_usurper();
      lose();
      return;
    case Kinship::horizon:
    case Kinship::fork: core_.find(Reason::forked_record), lose(); return;
  }
}

// The record names this very copy, under a process that is not this one: on a clone of the device.
void Primary::note_usurper() {
  group_.spawn([](Core& core) -> Task<void> {
    core.storage_failed(co_await core.metadata.update([](Superblock& s) { s.usurped = true; }));
  }(core_));
}

// Puts the record back. All leases are held, so no member has proposed itself; each has heard who the arbiter is now,
// so none goes to another one; and a swap of somebody else's makes this one fail.
Task<void> Primary::reinstall() {
  const VersionedRecord expected = *older_;
  const bool may =
      lease_valid() && each(effective_, [&](const PeerLink& link) { return link.arbiter_known() == expected.key; });
  if (!may && !planted(PlantedBug::reinstalled_without_leases)) {
    (void)co_await changed_.wait_until(core_.now() + core_.beacon());
    co_return;
  }
  const Record wanted = changed_record(members(), won_.record.ack);
  tried_epoch_ = wanted.epoch;
  const auto outcome = co_await core_.swap(arbiter_, expected, wanted, lost_);
  if (!outcome.known || lost_.is_set()) co_return;
  older_.reset();
  if (!outcome.won) {
    consider(outcome.now);
    co_return;
  }
  core_.cease(Reason::frozen);
  if (co_await adopt(outcome.now)) core_.emit({.kind = EventKind::record_reinstalled});
}

// ---- the set ---------------------------------------------------------------------------------------------------------

// All members told what they have, but for those that are not there.
bool Primary::told() const {
  return each(effective_, [](const PeerLink& link) { return link.streaming() || !link.starting(); });
}

// The next record of this reign.
Record Primary::changed_record(NodeSet next, AckMode ack) const {
  Record now = won_.record;
  now.ack = ack;
  now.lease_ms = core_.config.lease_ms;
  now.life = core_.life;
  list_node(now, core_.self, core_.name, {});
  for (const auto& link : links_) {
    if (next.contains(link->id()) && !link->copy_id().none()) {
      list_node(now, link->id(), link->name(), link->copy_id());
    } else if (next == members() && ack == won_.record.ack && now.find_name(link->name()) == kNoNode) {
      if (now.slots.size() <= link->id()) now.slots.resize(link->id() + 1);
      now.slots[link->id()] = {link->name(), {}, 0, 0};
    }
  }
  now.epoch = std::max(now.epoch, tried_epoch_);
  return next_epoch(now, next, core_.new_nonce());
}

// Asks until the outcome is known: as long as it is not, both the old and the wanted members count as members.
Task<void> Primary::reconfigure(NodeSet next) {
  // One after the other: a change of the mode waits for all members, and so would the removal of one that is gone.
  const AckMode ack = next == members() ? wanted_ack_ : won_.record.ack;
  const Record wanted = changed_record(next, ack);
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
  tried_epoch_ = wanted.epoch;
  const auto outcome = co_await core_.swap(arbiter_, won_, wanted, lost_);
  if (!outcome.known || lost_.is_set()) co_return;
  if (outcome.won) {
    co_await adopt(outcome.now);
    co_return;
  }
  consider(outcome.now);  // another one won; or the record went back, and the set stays what it was
  if (lost_.is_set()) co_return;
  proposed_.reset();
  effective_ = members();
  changed();
}

// The new epoch is durable here before anything is acknowledged under it.
Task<bool> Primary::adopt(VersionedRecord won) {
  const Position stored{reign_, local_seq_};
  const bool quorum = won.record.ack == AckMode::quorum;
  exact_ = exact_ && quorum;
  Errc status = co_await core_.metadata.update([&](Superblock& s) {
    s.follow(won.record);
    s.arbiter = won.key;
  });
  if (status == Errc::ok)
    status = co_await core_.marks.update([&](Marks& m) {
      m.position = std::max(m.position, stored);
      m.exact = m.exact && quorum;
    });
  if (lost_.is_set()) co_return false;
  if (status != Errc::ok) {
    core_.storage_failed(status);
    if (members().count() <= 1) lose();
    co_return false;
  }
  stored_seq_ = std::max(stored_seq_, stored.seq);
  const NodeSet before = members();
  const bool to_quorum = quorum && won_.record.ack != AckMode::quorum;
  won_ = std::move(won);
  exact_ = quorum;  // from here on
  proposed_.reset();
  effective_ = members();
  core_.in_sync = members();
  core_.obeyed = won_.record;
  send_configuration();
  if (to_quorum) quorum_serial_ = serial_;
  for (auto& link : links_) {
    const bool was = before.contains(link->id()), is = members().contains(link->id());
    if (was && !is) core_.emit({.kind = EventKind::peer_left, .peer = link->id()});
    if (!was && is) core_.emit({.kind = EventKind::peer_joined, .peer = link->id()});
    link->note_membership(was, is);
  }
  changed();
  settled_.wake_all();
  core_.changed.wake_all();
  co_return true;
}

}  // namespace resilver::replica
