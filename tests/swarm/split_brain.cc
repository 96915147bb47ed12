#include "tests/swarm/split_brain.h"

#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "async/task_group.h"
#include "base/random.h"
#include "replica/client.h"
#include "scenario/sim_fleet.h"
#include "tests/swarm/random_scenario.h"
#include "tests/swarm/state_watch.h"

namespace resilver::swarm {
namespace {

using scenario::LinkEnd;
using scenario::Verb;

constexpr std::uint64_t kHotBlocks = 256;
constexpr Nanos kPatience = 30 * kSecond;  // for what must happen by itself
constexpr Nanos kPoll = 10 * kMillisecond;

scenario::Scenario draw(std::uint64_t seed) {
  scenario::Scenario drawn = random_scenario(seed, Kind::split_brain);
  scenario::ReplicateSpec& replicate = *drawn.contenders.front().replicate;
  replicate.min_in_sync = 1;  // each side goes on alone, and has a majority of nobody
  if (replicate.ack == scenario::Ack::quorum) replicate.ack = scenario::Ack::durable;
  drawn.rebuild.speed_max = 4 << 20;  // so that a copy can be met half done
  return drawn;
}

class SplitBrain {
 public:
  explicit SplitBrain(std::uint64_t seed)
      : drawn_(draw(seed)),
        random_(seed * 2 + 1),
        world_(seed),
        client_(world_.add_node("client")),
        watch_(drawn_, StateWatch::Primaries::by_force),
        fleet_(world_, client_, drawn_, drawn_.contenders.front()) {}

  std::string run() {
    bool done = false;
    client_.start([&](Env&) -> Task<void> {
      co_await play();
      co_await fleet_.destroy();
      done = true;
    });
    const auto going_on = [&] {
      watch_.look(fleet_);
      return !done;
    };
    world_.run_while(going_on, 10 * kMinute);
    if (!done && failure_.empty()) failure_ = "it did not end: " + phase_;
    return failure_.empty() ? watch_.complaint() : failure_;
  }

 private:
  struct Side {
    std::uint32_t node;
    std::map<std::uint64_t, std::uint64_t> versions;  // of blocks, as acknowledged there
    std::optional<Copy> copy;                         // just before the two meet
  };

  Task<void> play();
  Task<bool> begin();
  Task<bool> leave_alone();
  Task<bool> half_copied();
  Task<bool> be_refused();
  Task<void> promote_by_force();
  Task<bool> force();
  Task<bool> disturb_a_side();
  Task<bool> meet();
  Task<bool> stay_apart();
  Task<bool> resolve();
  Task<bool> become_equal();

  bool wrong(std::string what) {
    if (failure_.empty()) failure_ = fmt::format("{}: {}{}", phase_, what, watch_.states(fleet_));
    return false;
  }
  Task<bool> wait(std::string what, std::function<bool()> condition) {
    const Nanos deadline = world_.now() + kPatience;
    while (!condition()) {
      if (world_.now() >= deadline) co_return wrong("in vain waited for " + what);
      co_await sleep_for(scheduler(), kPoll);
    }
    co_return true;
  }
  Task<void> pause(std::uint64_t most_ms) {
    co_await sleep_for(scheduler(), static_cast<Nanos>(random_.below(most_ms * kMillisecond)));
  }
  Scheduler& scheduler() { return client_.scheduler(); }
  std::uint32_t nodes() const { return fleet_.nodes(); }
  const std::string& name(std::uint32_t node) const { return drawn_.contenders.front().nodes[node].name; }
  replica::ReplicaStatus status(std::uint32_t node) const {
    const replica::Replica* replica = fleet_.replica(node);
    return replica == nullptr ? replica::ReplicaStatus{} : replica->status();
  }
  std::optional<std::uint32_t> serving() const {
    for (std::uint32_t node = 0; node < nodes(); ++node)
      if (status(node).serving) return node;
    return std::nullopt;
  }
  bool whole() const {
    const auto primary = serving();
    return primary && status(*primary).in_sync.count() == nodes();
  }
  std::optional<replica::PeerStatus> divergence(std::uint32_t primary, std::uint32_t wanted) const {
    for (const replica::PeerStatus& peer : status(primary).peers)
      if (peer.diverged && peer.id == wanted) return peer;
    return std::nullopt;
  }
  // As the primary sees the two sides: one of them, or who copied from it, serves, the other one is apart.
  std::optional<replica::PeerStatus> split() const {
    const auto primary = serving();
    if (!primary) return std::nullopt;
    const auto old = divergence(*primary, old_.node);
    return old ? old : divergence(*primary, forced_.node);
  }

  void cut(std::uint32_t node, bool dropped) {
    scenario::LinkFault fault;
    fault.dropped = dropped;
    const LinkEnd here{LinkEnd::Kind::node, node};
    const auto both_ways = [&](LinkEnd there) {
      static_cast<void>(fleet_.set_link(here, there, fault));
      static_cast<void>(fleet_.set_link(there, here, fault));
    };
    both_ways({LinkEnd::Kind::arbiter, 0});
    for (std::uint32_t other = 0; other < nodes(); ++other)
      if (other != node) both_ways({LinkEnd::Kind::node, other});
  }
  Task<void> stop(std::uint32_t node) {
    if (random_.percent(50)) {
      static_cast<void>(co_await fleet_.crash(node));
    } else {
      static_cast<void>(co_await fleet_.power_loss(node));
    }
  }
  Task<void> start(std::uint32_t node) {
    if (!fleet_.running(node)) static_cast<void>(co_await fleet_.start(node));
  }
  Task<void> discard(std::uint32_t node, bool local, std::uint32_t peer) {
    scenario::NodeCommand command;
    command.verb = Verb::volume_resolve;
    command.arguments.discard_local = local;
    command.arguments.peer = name(peer);
    static_cast<void>(co_await fleet_.command(node, std::move(command)));
  }
  Task<void> choose_kept(bool by_the_loser);
  Task<bool> write(std::uint32_t node, std::uint64_t blocks, std::map<std::uint64_t, std::uint64_t>& versions);
  Task<bool> read_sides();
  bool matches(const Side& side);

  scenario::Scenario drawn_;
  Random random_;
  sim::World world_;
  sim::Node& client_;
  StateWatch watch_;
  scenario::SimFleet fleet_;
  std::uint64_t version_ = 0;
  Side old_{0, {}, {}};     // primary when they part
  Side forced_{0, {}, {}};  // made primary by force
  std::uint32_t kept_ = 0;
  std::string phase_;
  std::string failure_;
};

void fill(std::span<std::byte> block, std::uint64_t number, std::uint64_t version) {
  for (std::size_t at = 0; at < block.size(); at += 16) {
    std::memcpy(block.data() + at, &number, sizeof number);
    std::memcpy(block.data() + at + 8, &version, sizeof version);
  }
}

// Each write is acknowledged before the next begins. False: one was not.
Task<bool> SplitBrain::write(std::uint32_t node, std::uint64_t blocks, std::map<std::uint64_t, std::uint64_t>& versions) {
  Env& env = fleet_.client();
  replica::ClientConfig config;
  config.volume = scenario::kVolumeId;
  config.nodes = {{node, name(node)}};
  config.op_timeout_ms = kPatience / kMillisecond;
  auto device = co_await replica::Client::attach(env.scheduler(), env.buffers(), env.network(), config);
  if (!device) co_return wrong(name(node) + " lets no client in: " + to_string(device.error()));
  Errc status = Errc::ok;
  for (std::uint64_t i = 0; i < blocks && status == Errc::ok; ++i) {
    const std::uint64_t block = random_.below(kHotBlocks);
    Buffer data = env.buffers().allocate(kBlockBytes);
    fill(data.bytes(), block, ++version_);
    status = co_await Io::write(**device, block * kBlockBytes, data);
    versions[block] = version_;
  }
  co_await (*device)->close();
  co_return status == Errc::ok || wrong(fmt::format("{} does not write: {}", name(node), errc_name(status)));
}

Task<void> SplitBrain::play() {
  using Step = Task<bool> (SplitBrain::*)();
  constexpr std::pair<const char*, Step> kSteps[] = {
      {"at the start", &SplitBrain::begin},
      {"alone", &SplitBrain::leave_alone},
      {"by force", &SplitBrain::force},
      {"a side restarts", &SplitBrain::disturb_a_side},
      {"both are read", &SplitBrain::read_sides},
      {"they meet", &SplitBrain::meet},
      {"they stay apart", &SplitBrain::stay_apart},
      {"somebody chooses", &SplitBrain::resolve},
      {"all are one", &SplitBrain::become_equal},
  };
  for (const auto& [phase, step] : kSteps) {
    phase_ = phase;
    if (!co_await (this->*step)()) co_return;
  }
}

Task<bool> SplitBrain::begin() {
  if (!co_await fleet_.create()) co_return wrong("no fleet");
  if (!co_await wait("all copies", [this] { return whole(); })) co_return false;
  if (!co_await write(*serving(), random_.between(20, 200), old_.versions)) co_return false;
  // The other modes acknowledge what only the primary keeps through a crash of the others.
  if (drawn_.contenders.front().replicate->ack == scenario::Ack::durable) forced_.versions = old_.versions;
  co_await pause(200);
  old_.node = *serving();
  do forced_.node = static_cast<std::uint32_t>(random_.below(nodes()));
  while (forced_.node == old_.node);
  co_return true;
}

// The primary loses all others, writes on alone and is cut off or dies.
Task<bool> SplitBrain::leave_alone() {
  for (std::uint32_t node = 0; node < nodes(); ++node) {
    if (node == old_.node) continue;
    co_await stop(node);
    co_await pause(50);
  }
  if (!co_await wait("a set of one", [this] { return status(old_.node).in_sync.count() == 1; })) co_return false;
  if (!co_await write(old_.node, random_.between(1, 100), old_.versions)) co_return false;
  if (random_.percent(25)) co_return co_await half_copied();
  cut(old_.node, true);
  co_return true;
}

// Another end: the one that shall be forced is being copied to when the primary is cut off. It must not become primary, and
// the primary's copy is what remains.
Task<bool> SplitBrain::half_copied() {
  phase_ = "half-copied";
  co_await start(forced_.node);
  const Nanos deadline = world_.now() + kSecond;
  while (!status(forced_.node).inconsistent && world_.now() < deadline) co_await sleep_for(scheduler(), kMillisecond);
  co_await pause(100);
  cut(old_.node, true);
  if (status(forced_.node).inconsistent && !co_await be_refused()) co_return false;
  cut(old_.node, false);
  for (std::uint32_t node = 0; node < nodes(); ++node) co_await start(node);
  if (!co_await wait("all copies", [this] { return whole(); })) co_return false;
  for (std::uint32_t node = 0; node < nodes(); ++node) {
    Side side{node, old_.versions, {}};
    auto copy = co_await read_copy(fleet_.client(), name(node), node);
    if (!copy) co_return wrong(name(node) + "'s copy cannot be read: " + to_string(copy.error()));
    side.copy = std::move(*copy);
    if (!matches(side)) co_return false;
  }
  co_return false;  // nothing was wrong, and nothing follows
}

Task<bool> SplitBrain::be_refused() {
  co_await promote_by_force();
  co_await pause(2000);
  co_return status(forced_.node).role != replica::Role::primary || wrong("it is primary");
}

Task<void> SplitBrain::promote_by_force() {
  scenario::NodeCommand command;
  command.verb = Verb::volume_promote;
  command.arguments.force = true;
  static_cast<void>(co_await fleet_.command(forced_.node, std::move(command)));
}

// An outdated copy waits, until somebody forces it. Both sides write.
Task<bool> SplitBrain::force() {
  for (std::uint32_t node = 0; node < nodes(); ++node)
    if (node == forced_.node || (node != old_.node && random_.percent(50))) co_await start(node);
  co_await sleep_for(scheduler(), 2 * drawn_.contenders.front().replicate->grace);
  if (status(forced_.node).serving) co_return wrong("an outdated copy serves, and nobody forced it");
  co_await promote_by_force();
  if (!co_await wait("the forced one", [this] { return status(forced_.node).serving; })) co_return false;
  if (!co_await write(forced_.node, random_.between(1, 100), forced_.versions)) co_return false;
  if (random_.percent(50) && !co_await write(old_.node, random_.between(1, 100), old_.versions)) co_return false;
  co_await pause(300);
  co_return true;
}

Task<bool> SplitBrain::disturb_a_side() {
  if (random_.percent(50)) co_return true;
  const std::uint32_t node = random_.percent(50) ? old_.node : forced_.node;
  co_await stop(node);
  co_await pause(200);
  co_await start(node);
  co_return co_await wait("its copy", [this, node] { return fleet_.replica(node) != nullptr; });
}

bool SplitBrain::matches(const Side& side) {
  std::vector<std::byte> expected(kBlockBytes);
  for (const auto& [block, version] : side.versions) {
    fill(expected, block, version);
    if (std::memcmp(expected.data(), side.copy->bytes.data() + block * kBlockBytes, kBlockBytes) != 0)
      return wrong(fmt::format("{}'s copy lacks what was acknowledged for block {}", name(side.node), block));
  }
  return true;
}

// Also what the first reading left: a copy may not change between the two.
Task<bool> SplitBrain::read_sides() {
  for (Side* side : {&old_, &forced_}) {
    auto copy = co_await read_copy(fleet_.client(), name(side->node), side->node);
    if (!copy) co_return wrong(name(side->node) + "'s copy cannot be read: " + to_string(copy.error()));
    if (side->copy && first_difference(*side->copy, *copy)) co_return wrong(name(side->node) + "'s copy has changed");
    side->copy = std::move(*copy);
    if (!matches(*side)) co_return false;
  }
  co_return true;
}

Task<bool> SplitBrain::meet() {
  cut(old_.node, false);
  for (std::uint32_t node = 0; node < nodes(); ++node) {
    co_await start(node);
    co_await pause(50);
  }
  const auto found = [this] {
    const auto peer = split();
    return peer && status(peer->id).diverged;
  };
  co_return co_await wait("the split brain to be found", found);
}

// Whatever happens but a choice: nothing is merged, and what differs is listed.
Task<bool> SplitBrain::stay_apart() {
  std::uint64_t different = 0;
  for (std::uint64_t block = 0; block < old_.copy->readable.size(); ++block) {
    const std::uint64_t at = block * kBlockBytes;
    if (std::memcmp(old_.copy->bytes.data() + at, forced_.copy->bytes.data() + at, kBlockBytes) != 0) ++different;
  }
  const auto listed = [this, different] {
    const auto peer = split();
    return peer && peer->divergent_bytes == different * kBlockBytes;
  };
  if (!co_await wait(fmt::format("{} blocks to be listed", different), listed)) co_return false;
  co_await pause(2000);
  co_return co_await read_sides();
}

// Whoever serves gives up its side for the kept one if it is not the same, else the others give up theirs: also nodes that had
// followed the losing side.
Task<void> SplitBrain::choose_kept(bool by_the_loser) {
  const auto primary = serving();
  if (!primary) co_return;
  if (divergence(*primary, kept_)) co_return co_await discard(*primary, true, kept_);
  for (std::uint32_t loser = 0; loser < nodes(); ++loser) {
    if (!divergence(*primary, loser)) continue;
    if (by_the_loser) co_return co_await discard(loser, true, *primary);
    co_return co_await discard(*primary, false, loser);
  }
}

// Chosen again if a crash comes between: until then it is as it was.
Task<bool> SplitBrain::resolve() {
  kept_ = random_.percent(50) ? old_.node : forced_.node;
  const bool by_the_loser = random_.percent(50);
  bool disturb = random_.percent(40);
  const Nanos deadline = world_.now() + kPatience;
  while (!whole() && world_.now() < deadline) {
    co_await choose_kept(by_the_loser);
    co_await pause(200);
    if (std::exchange(disturb, false)) {
      const auto node = static_cast<std::uint32_t>(random_.below(nodes()));
      co_await stop(node);
      co_await pause(200);
      co_await start(node);
    }
    co_await pause(1000);
  }
  co_return whole() || wrong("the copies do not become one");
}

Task<bool> SplitBrain::become_equal() {
  const Side& kept = kept_ == old_.node ? old_ : forced_;
  for (std::uint32_t node = 0; node < nodes(); ++node) {
    const auto copy = co_await read_copy(fleet_.client(), name(node), node);
    if (!copy) co_return wrong(name(node) + "'s copy cannot be read: " + to_string(copy.error()));
    if (const auto block = first_difference(*kept.copy, *copy))
      co_return wrong(fmt::format("{} was kept, and block {} of {} is another", name(kept_), *block, name(node)));
  }
  std::map<std::uint64_t, std::uint64_t> versions;
  co_return co_await write(*serving(), 10, versions);
}

}  // namespace

std::string complaint_of_split_brain(std::uint64_t seed) { return SplitBrain(seed).run(); }

}  // namespace resilver::swarm
