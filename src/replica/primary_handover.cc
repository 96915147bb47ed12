// Primary: the planned end of a reign. The record is swapped for one that names the successor only when that one has every
// write; nothing is answered from the swap on, until the successor serves. Requests meanwhile wait, and are sent again
// by the client on its next session.
#include <algorithm>

#include "replica/primary.h"

namespace resilver::replica {

void Primary::set_ack(AckMode mode) {
  wanted_ack_ = mode;
  changed();
}

void Primary::switch_over_to(NodeId id) {
  if (!switch_to_) switch_to_ = id;
  changed_.wake_all();
}

std::optional<NodeId> Primary::successor() const {
  std::optional<NodeId> best;
  for (const auto& link : links_) {
    const bool could = members().contains(link->id()) && link->streaming() && link->placed();
    if (could && (!best || link->id() < *best)) best = link->id();
  }
  return best;
}

bool Primary::drained(NodeId to) {
  const PeerLink* link = link_to(to);
  const std::uint64_t needed = last_seq();
  const bool stored = won_.record.ack != AckMode::quorum || link->stored_seq() >= needed;
  return writing_ == 0 && reconciled_ && link->durable_seq() >= needed && stored;
}

Task<void> Primary::switch_over(NodeId to) {
  const auto possible = [&] {
    const PeerLink* link = link_to(to);
    return link != nullptr && members().contains(to) && link->streaming() && link->placed();
  };
  const Nanos deadline = core_.now() + core_.lease();
  bool there = false;
  if (possible()) {
    const auto now = co_await core_.ask(arbiter_, deadline);
    if (now) consider(*now);
    there = now && !older_ && !lost_.is_set();
  }
  closed_ = there;
  while (closed_ && possible() && !drained(to) && core_.now() < deadline && !lost_.is_set() && !resigned_) {
    co_await changed_.wait_until(std::min(deadline, core_.now() + core_.beacon()));
  }
  if (!closed_ || !possible() || !drained(to) || lost_.is_set() || resigned_) {  // it goes on as it was
    closed_ = false;
    switch_to_.reset();
    settled_.wake_all();
    co_return;
  }
  PeerLink* link = link_to(to);
  Record now = won_.record;
  now.epoch = std::max(now.epoch, tried_epoch_);
  now.life = link->life();
  Reign reign;
  reign.nonce = core_.new_nonce();
  reign.primary = to;
  reign.start = {reign_, last_seq()};
  reign.seed = now.seed();
  const Record wanted = next_reign(now, reign, members(), core_.new_nonce());
  tried_epoch_ = wanted.epoch;
  const auto outcome = co_await core_.swap(arbiter_, won_, wanted, lost_);
  if (outcome.won) co_await leave_to(to, outcome.now);
  if (outcome.known) lose();
}

// From here on nothing is answered; the successor is told as soon as that is so.
Task<void> Primary::leave_to(NodeId to, VersionedRecord next) {
  resigned_ = true;
  PeerLink* link = link_to(to);
  link->send(Handover{next.key, next.version, next.record});
  const Nanos until = core_.now() + core_.lease();
  while (link->connected() && core_.now() < until && !core_.stopping.is_set() && !lost_.is_set()) {
    co_await changed_.wait_until(std::min(until, core_.now() + kMillisecond));  // it ends the session when it has it
  }
}

}  // namespace resilver::replica
