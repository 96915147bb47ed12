// The swarm's single faults.
#include "tests/replica/swarm.h"

namespace resilver::replica {

std::vector<std::string> Swarm::machines() const { return {"A", "B", "C", "arbiter", "client", "client2"}; }

int Swarm::some_node_but(int not_this) {
  int n = static_cast<int>(random_.below(Cluster::kNodes));
  while (n == not_this) n = static_cast<int>(random_.below(Cluster::kNodes));
  return n;
}

void Swarm::cut(const std::string& from, const std::string& to, bool drop) {
  for (const auto& [a, b] : {std::pair(from, to), std::pair(to, from)}) {
    drop ? cluster_.world.network().drop(a, b) : cluster_.world.network().restore(a, b);
  }
}

// All three run, hear their primary and are in sync.
bool Swarm::all_well() const {
  auto& cluster = const_cast<Cluster&>(cluster_);
  const int p = cluster.primary();
  if (p < 0 || !cuts_.empty() || cluster.status(p).in_sync.count() != Cluster::kNodes) return false;
  for (int i = 0; i < Cluster::kNodes; ++i) {
    if (!cluster.node(i).running() || cluster.node(i).frozen() || cluster.faults(i).hold) return false;
    if (i != p && cluster.status(i).role != Role::secondary) return false;
  }
  return true;
}

void Swarm::one_fault() {
  if (recovering_ && all_well()) recovering_ = false;
  const int n = static_cast<int>(random_.below(Cluster::kNodes));
  const std::uint64_t kind = random_.below(20);
  if (kind < 8) {
    fault_of_node(n);
  } else if (kind < 12) {
    fault_of_links();
  } else if (kind < 13) {
    fault_of_arbiter();
  } else if (kind < 14) {
    start_client(static_cast<int>(random_.below(kClients)));
  } else if (kind < 15) {
    command(n);
  } else if (kind < 16) {
    set_clock(cluster_.node(n));
  } else {
    story();
  }
}

void Swarm::kill(int n) {
  if (!cluster_.node(n).running()) return;
  random_.percent(50) ? cluster_.node(n).crash() : cluster_.node(n).power_loss();
  recovering_ = true;
}

void Swarm::fault_of_node(int n) {
  sim::Node& node = cluster_.node(n);
  switch (random_.below(8)) {
    case 0:
      if (may_kill()) kill(n);
      break;
    case 1:
      if (may_kill()) cluster_.stop_node(n), recovering_ = true;
      break;
    case 2:
      if (may_disturb()) node.freeze();
      break;
    case 3: node.thaw(); break;
    case 4:
      if (cluster_.faults(n).hold || !node.running()) {
        cluster_.release(n);
      } else if (may_disturb()) {
        cluster_.faults(n).hold = true;
      }
      break;
    default:
      if (!node.running()) cluster_.start_node(n, false);
      break;
  }
}

void Swarm::fault_of_links() {
  sim::Fabric& network = cluster_.world.network();
  const std::string from = any_machine(), to = any_machine();
  const std::uint64_t what = random_.below(7);
  if (what <= 1) {
    for (const auto& [a, b] : std::exchange(cuts_, {})) network.restore(a, b);
  } else if (from == to || !may_disturb()) {
    return;
  } else if (what <= 3) {
    network.drop(from, to);  // one way
    cuts_.emplace_back(from, to);
  } else if (what == 4) {
    network.reset(from, to);
  } else {
    network.damage(from, to, static_cast<sim::FrameFault>(random_.below(5)));
  }
}

void Swarm::fault_of_arbiter() {
  sim::Node& arbiter = cluster_.arbiter_node();
  if (!arbiter.running()) {
    cluster_.start_arbiter();
  } else if (arbiter.frozen()) {
    arbiter.thaw();
  } else if (random_.percent(50)) {
    arbiter.freeze();
  } else {
    random_.percent(50) ? arbiter.crash() : arbiter.power_loss();
  }
}

// At most 10 % slow or fast.
void Swarm::set_clock(sim::Node& node) {
  const std::int32_t extremes[] = {-100'000, 0, 100'000,
                                   static_cast<std::int32_t>(random_.between(0, 200'000)) - 100'000};
  node.set_clock_rate(extremes[random_.below(4)]);
}

// A planned switchover, another mode, or a verify, which must find nothing whatever else goes on.
void Swarm::command(int n) {
  std::vector<AckMode> modes = {AckMode::durable, AckMode::quorum};
  if (traits_.modes == Modes::received_and_durable) modes = {AckMode::durable, AckMode::received};
  if (traits_.modes == Modes::all) modes = {AckMode::durable, AckMode::quorum, AckMode::received, AckMode::async};
  const AckMode mode = modes[random_.below(modes.size())];
  const std::uint64_t what = random_.below(5);
  const int on = what == 0 ? n : std::max(0, cluster_.primary());
  if (cluster_.replica(on) == nullptr || cluster_.node(on).frozen()) return;
  const Nanos until = cluster_.node(on).clock() + kSecond;
  cluster_.order(on, [this, until, what, mode](Replica& replica) -> Task<void> {
    if (what == 0) {
      (void)co_await replica.promote(until);
    } else if (what == 1) {
      (void)co_await replica.demote(until);
    } else if (what == 4) {
      const auto report = co_await replica.verify(false);
      if (report && report->different_bytes != 0) complain("a verify finds a difference");
    } else {
      (void)co_await replica.set_ack(mode, until);
    }
  });
}

void Swarm::heal_all() {
  for (const auto& from : machines()) {
    for (const auto& to : machines()) {
      if (from != to) cluster_.world.network().restore(from, to);
    }
  }
  cuts_.clear();
  if (cluster_.arbiter_node().frozen()) cluster_.arbiter_node().thaw();
  if (!cluster_.arbiter_node().running()) cluster_.start_arbiter();
  for (int i = 0; i < Cluster::kNodes; ++i) {
    if (cluster_.node(i).frozen()) cluster_.node(i).thaw();
    cluster_.release(i);
    if (!cluster_.node(i).running()) cluster_.start_node(i, false);
  }
}

}  // namespace resilver::replica
