// The swarm's stories: each makes likely what single faults would almost never bring about, and each is within what the modes
// promise to survive.
#include "tests/replica/swarm.h"

namespace resilver::replica {

void Swarm::story() {
  const bool free = traits_.modes == Modes::durable_and_quorum;
  const std::uint64_t which = random_.below(12);
  if (which < 2) {
    if (may_disturb()) isolate_and_return();
  } else if (which < 4) {
    if (may_disturb()) strand_a_client();
  } else if (which < 7) {
    if (may_kill()) lose_clients_and_primary();
  } else if (free && which < 10) {
    blackout();
  } else if (free && which == 10) {
    tempt_with_half_a_copy();
  } else if (free && which == 11) {
    split_brain();
  }
}

bool Swarm::bring_up(int seconds) {
  for (int i = 0; i < seconds; ++i) {
    heal_all();  // again: a node that was asked to stop may have done so meanwhile
    cluster_.run_for(300 * kMillisecond);
    if (cluster_.wait_full(kSecond) && all_well()) return true;
  }
  return false;
}

// The serving node is cut off from everybody but the client; the client loses it, goes on elsewhere, and then reaches only
// the old one again. What the old one sent before comes late.
void Swarm::isolate_and_return() {
  const int p = cluster_.primary();
  if (p < 0) return;
  const std::string old = Cluster::name(p);
  for (const auto& other : machines()) {
    if (other != old && other != "client") cut(old, other, true);
  }
  wait(80);
  cut(old, "client", true);
  wait(500);
  cut(old, "client", false);
  for (const auto& other : machines()) {
    if (other != old && other != "client") cut("client", other, true);
  }
  wait(500);
  for (const auto& other : machines()) {
    if (other != "client") cut("client", other, false);
    if (other != old) cut(old, other, false);
  }
}

// A client stays with a primary that everybody else has lost, while another one takes the volume at the next primary.
void Swarm::strand_a_client() {
  const int p = cluster_.primary();
  const int seat = seats_[0].started > seats_[1].started ? 0 : 1;
  const std::string old = Cluster::name(p < 0 ? 0 : p);
  const std::string client = seats_[static_cast<std::size_t>(seat)].node->name();
  if (p < 0) return;
  for (const auto& other : machines()) {
    if (other != old && other != client) cut(old, other, true);
    if (other != old && other != client) cut(client, other, true);
  }
  start_client(1 - seat);
  wait(500);
  for (const auto& other : machines()) {
    if (other != old) cut(old, other, false);
    if (other != client) cut(client, other, false);
  }
}

// What the clients had under way will never be sent again, and some members may have it. The next primary shows what it has;
// then it dies too, and the one after it must show the same.
void Swarm::lose_clients_and_primary() {
  const int first = cluster_.primary();
  if (first < 0) return;
  const std::string away = Cluster::name(some_node_but(first));
  const bool half = random_.percent(60);
  if (half) {
    cluster_.world.network().drop(Cluster::name(first), away);
    wait(10);
  }
  for (Seat& seat : seats_) seat.node->crash();
  kill(first);
  if (half) cluster_.world.network().restore(Cluster::name(first), away);
  start_client(static_cast<int>(random_.below(kClients)));
  if (traits_.modes != Modes::durable_and_quorum || random_.percent(30)) return;
  cluster_.wait_serving(kSecond);
  wait(100);
  if (const int next = cluster_.primary(); next >= 0) kill(next);
}

// A node comes back, and the story ends somewhere on its way into the set.
void Swarm::one_comes_back() {
  const int p = cluster_.primary();
  if (p < 0) return;
  const int n = some_node_but(p);
  kill(n);
  const bool left = cluster_.run_until(
      [&] {
        const int now = cluster_.primary();
        return now >= 0 && now != n && !cluster_.status(now).in_sync.contains(static_cast<NodeId>(n));
      },
      500 * kMillisecond);
  wait(60);
  const bool new_disk = left && !cluster_.node(n).running() && random_.percent(20);
  if (new_disk) {
    cluster_.replace_disk(n);
    epochs_[static_cast<std::size_t>(n)] = 0;
  }
  const bool begun = random_.percent(50);
  if (!begun) cluster_.world.network().set_extra_latency(Cluster::name(p), "arbiter", 20 * kMillisecond);
  const EventKind until = begun ? EventKind::resync_started : EventKind::resync_finished;
  const int before = cluster_.count(until);
  if (!cluster_.node(n).running()) cluster_.start_node(n, new_disk);
  cluster_.run_until([&] { return cluster_.count(until) > before; }, kSecond);
}

// Everybody loses power, perhaps while a disk hangs and while a node is coming back; some are there again before the others.
void Swarm::blackout() {
  if (random_.percent(60)) one_comes_back();
  if (random_.percent(70)) {
    cluster_.faults(static_cast<int>(random_.below(Cluster::kNodes))).hold = true;
    wait(60);
  }
  for (int i = 0; i < Cluster::kNodes; ++i) {
    cluster_.node(i).power_loss();
    cluster_.release(i);
    cluster_.world.network().set_extra_latency(Cluster::name(i), "arbiter", 0);
  }
  const std::uint64_t early = 1 + random_.below(7);  // a set of nodes
  for (int i = 0; i < Cluster::kNodes; ++i) {
    if ((early >> i & 1) != 0) cluster_.start_node(i, false);
  }
  cluster_.wait_serving(500 * kMillisecond);
  wait(60);
  for (int i = 0; i < Cluster::kNodes; ++i) {
    if ((early >> i & 1) == 0) cluster_.start_node(i, false);
  }
}

// The operator takes the only node that is there, in the middle of a copy into it: refused.
void Swarm::tempt_with_half_a_copy() {
  if (!bring_up(5)) return;
  const int p = cluster_.primary(), n = some_node_but(p);
  kill(n);
  cluster_.run_until(
      [&] { return cluster_.primary() != p || !cluster_.status(p).in_sync.contains(static_cast<NodeId>(n)); }, kSecond);
  wait(60);
  const int before = cluster_.count(EventKind::resync_started);
  cluster_.start_node(n, false);
  cluster_.run_until([&] { return cluster_.count(EventKind::resync_started) > before; }, kSecond);
  for (int i = 0; i < Cluster::kNodes; ++i) {
    if (i != n) kill(i);
  }
  cluster_.run_for(20 * kMillisecond);
  if (cluster_.status(n).inconsistent) {
    cluster_.order(n, [this](Replica& replica) -> Task<void> {
      if (co_await replica.promote_by_force()) complain("half a copy was promoted by force");
    });
    cluster_.run_for(300 * kMillisecond);
  }
  heal_all();
}

// An outdated copy is promoted by force while the others are away, and shown nothing; when they are back, that is noticed
// and undone, and nothing is lost.
void Swarm::split_brain() {
  if (!bring_up(5)) return;
  const int p = cluster_.primary(), n = some_node_but(p);
  const auto outdated = static_cast<NodeId>(n), other = static_cast<NodeId>(p);
  kill(n);
  if (!cluster_.run_until([&] { return cluster_.primary() == p && !cluster_.status(p).in_sync.contains(outdated); },
                          kSecond))
    return;
  cluster_.run_for(20 * kMillisecond);
  for (Seat& seat : seats_) seat.node->crash();
  for (int i = 0; i < Cluster::kNodes; ++i) cluster_.node(i).power_loss();
  cluster_.start_node(n, false);
  if (!cluster_.run_until([&] { return cluster_.replica(n) != nullptr; }, kSecond)) return complain("no start");
  cluster_.order(n, [](Replica& replica) -> Task<void> { (void)co_await replica.promote_by_force(); });
  if (!cluster_.run_until([&] { return cluster_.status(n).serving; }, 5 * kSecond)) return complain("force is refused");
  for (int i = 0; i < Cluster::kNodes; ++i) {
    if (i != n) cluster_.start_node(i, false);
  }
  bool found = false;
  const auto undone = [&] {
    const ReplicaStatus status = cluster_.status(n);
    for (const PeerStatus& peer : status.peers) found = found || (peer.id == other && peer.diverged);
    return cluster_.primary() >= 0 && cluster_.primary() != n;  // whoever of that side has more
  };
  for (int i = 0; i < 200 && !cluster_.run_until(undone, 50 * kMillisecond); ++i) {
    cluster_.order(n, [other](Replica& replica) -> Task<void> {
      const NodeId peer = other;
      (void)co_await replica.resolve(peer, Resolution::discard_local);
    });
  }
  if (!found) complain("a split brain is not noticed");
  if (!undone()) complain("a split brain is not undone:\n" + cluster_.describe());
  start_client(0);
}

}  // namespace resilver::replica
