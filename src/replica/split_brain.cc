#include "replica/split_brain.h"

#include <algorithm>
#include <utility>

#include "replica/primary.h"

namespace resilver::replica {

Task<Errc> discard_since(Core& core, Head base, Record record) {
  const Errc stored = co_await core.metadata.update([&](Superblock& s) {
    s.inconsistent = true;
    s.resync_id = 0;
    s.base = s.known.lists(base) ? base : Head{};
    s.known = record;
    s.promise = {};
    s.usurped = false;
  });
  if (stored == Errc::ok) core.other_history.reset();
  co_return stored;
}

namespace {

Task<Reply> answer(Core& core, const Request& request, Buffer& data) {
  Reply reply{request.id, Errc::read_only};
  if (request.op == IoOp::flush) reply.status = Errc::ok;
  if (request.op != IoOp::read) co_return reply;
  data = co_await allocate_patiently(core.scheduler, core.env.buffers(), request.length);
  reply.status = data ? co_await core.read_local({request.offset, request.length}, data) : Errc::limit;
  if (reply.status != Errc::ok) data = {};
  co_return reply;
}

}  // namespace

Task<void> serve_copy(Core& core, Session& session, const ClientHello& hello) {
  const Nanos patience = core.lease();
  Errc status = hello.volume == core.config.volume ? Errc::ok : Errc::bad_input;
  if (core.device_failed || core.metadata.now().inconsistent) status = Errc::unavailable;
  if (status != Errc::ok) {
    (void)co_await session.send_now(encode(core.epoch(), Redirect{status}), core.now() + patience);
    co_return;
  }
  Status sent =
      co_await session.send_now(encode(core.epoch(), Attached{core.volume_bytes, 0, 0, 1}), core.now() + patience);
  while (sent && !core.stopping.is_set() && !core.metadata.now().inconsistent) {
    auto received = co_await session.receive(kNever);
    if (!received) break;
    Message message;
    if (const auto* ping = std::get_if<Ping>(&received->body)) {
      message = encode(core.epoch(), Pong{ping->cookie, true});
    } else if (const auto* request = std::get_if<Request>(&received->body);
               request != nullptr &&
               (request->op == IoOp::flush || valid_range(request->offset, request->length, core.volume_bytes))) {
      Buffer data;
      const Reply reply = co_await answer(core, *request, data);
      message = encode(core.epoch(), reply, std::move(data));
    } else {
      break;
    }
    sent = co_await session.send_now(std::move(message), core.now() + patience);
  }
}

// ---- Primary: the choice -------------------------------------------------------------------------------------------

Task<Status> Primary::resolve(NodeId peer, Resolution choice) {
  PeerLink* link = link_to(peer);
  if (link == nullptr) co_return fail(Errc::not_found, "no such peer");
  if (!link->diverged()) co_return fail(Errc::invalid_argument, "there is no split brain with this peer");
  if (choice == Resolution::discard_remote) {
    link->discard_remote();
    while (link->diverged() && !lost_.is_set()) co_await changed_.wait_until(core_.now() + core_.beacon());
  } else {
    hand_over_ = peer;
    changed_.wake_all();
    while (!lost_.is_set() && hand_over_ != kNoNode) co_await changed_.wait_until(core_.now() + core_.beacon());
    if (!given_up_) co_return fail(Errc::busy, "the volume could not be handed over; look again");
  }
  if (lost_.is_set() && choice == Resolution::discard_remote) co_return fail(Errc::not_primary);
  co_return Status{};
}

// This side is given up: the record goes on from what the peer knows, with the peer as primary of the set that it was
// in; all who follow this primary follow it there. Then this copy's history is rolled back. In this order: a crash in
// between leaves the two sides as they were, to be resolved again, and never a volume that nobody may serve.
Task<void> Primary::hand_over() {
  const NodeId peer = hand_over_;
  PeerLink* link = link_to(peer);
  if (link == nullptr || !link->diverged()) {
    hand_over_ = kNoNode;
    changed_.wake_all();
    co_return;
  }
  resigned_ = true;  // from here on nothing is acknowledged
  Record theirs = link->known();
  theirs.epoch = std::max({theirs.epoch, won_.record.epoch, tried_epoch_});
  for (NodeId id = 0; id < won_.record.slots.size(); ++id) {
    if (theirs.slots.size() <= id) theirs.slots.resize(id + 1);
    Slot& slot = theirs.slots[id];
    if (slot.name == 0 || members().contains(id))
      slot = {won_.record.slots[id].name, won_.record.slots[id].copy, slot.reign, slot.until};
  }
  theirs.consulted = theirs.consulted | members();
  give_up(theirs, won_.record);
  theirs.life = link->life();
  theirs.lease_ms = won_.record.lease_ms;
  Reign reign;
  reign.nonce = core_.new_nonce();
  reign.primary = peer;
  reign.start = {0, kUnknownSeq};
  reign.seed = theirs.seed();
  const NodeSet set = (theirs.in_sync - members()) | NodeSet::of(peer);
  const Record wanted = next_reign(theirs, reign, set, core_.new_nonce());
  const Head base = common_ancestor(link->known(), won_.record);
  const auto outcome = co_await core_.swap(arbiter_, won_, wanted, lost_);
  given_up_ = outcome.won;
  if (outcome.won) {
    const Errc stored = co_await discard_since(core_, base, wanted);
    core_.storage_failed(stored);
  }
  lose();
}

}  // namespace resilver::replica
