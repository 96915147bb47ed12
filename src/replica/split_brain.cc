#include "replica/split_brain.h"

#include <algorithm>
#include <utility>

#include "replica/primary.h"

namespace resilver::replica {

bool has_diverged(const std::vector<Generation>& mine, const std::vector<Generation>& theirs) noexcept {
  const auto forced_without = [](const std::vector<Generation>& these, const std::vector<Generation>& those) {
    return std::any_of(these.begin(), these.end(), [&](const Generation& g) {
      return by_force(g) && std::find(those.begin(), those.end(), g) == those.end();
    });
  };
  return forced_without(mine, theirs) || forced_without(theirs, mine);
}

Generation common_generation(const Superblock& mine, const std::vector<Generation>& theirs) noexcept {
  const auto known = std::find_if(theirs.begin(), theirs.end(), [&](const Generation& g) { return mine.knows(g); });
  return known == theirs.end() ? Generation{} : *known;
}

Task<Errc> discard_since(Core& core, Generation base) {
  const Errc stored = co_await core.metadata.update([&](Superblock& s) {
    s.inconsistent = true;
    s.resync_id = 0;
    s.roll_back(base);
  });
  if (stored == Errc::ok) core.other_history.clear();
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
  Status sent = co_await session.send_now(encode(core.epoch(), Attached{core.config.self, core.volume_bytes, 0}),
                                          core.now() + patience);
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

PeerLink* Primary::link_to(NodeId id) noexcept {
  for (auto& link : links_) {
    if (link->id() == id) return link.get();
  }
  return nullptr;
}

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
    if (!lost_.is_set()) co_return fail(Errc::busy, "the volume could not be handed over; try again");
  }
  if (lost_.is_set() && choice == Resolution::discard_remote) co_return fail(Errc::not_primary);
  co_return Status{};
}

// This side is given up: the record names the peer alone, then this copy's history is rolled back. In this order: a crash
// in between leaves the split brain as it was, to be resolved again, and never a volume that nobody may serve.
Task<void> Primary::hand_over() {
  const NodeId peer = std::exchange(hand_over_, kNoNode);
  PeerLink* link = link_to(peer);
  if (link == nullptr || !link->diverged()) co_return;
  const Generation base = link->common_ancestor();
  resigned_ = true;  // from here on nothing is acknowledged
  const Record wanted{won_.record.epoch + 1, peer, NodeSet::of(peer), core_.new_nonce(), won_.record.ack};
  while (!lost_.is_set()) {
    auto result = co_await arbiter_.compare_and_swap(won_.version, wanted, core_.now() + core_.lease());
    if (result) {
      if ((result->swapped || result->now.record == wanted) && co_await discard_since(core_, base) != Errc::ok) {
        core_.fail_device();
      }
      break;
    }
    (void)co_await lost_.wait_until(core_.now() + core_.beacon());
  }
  lose();
}

}  // namespace resilver::replica
