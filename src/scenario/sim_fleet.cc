#include "scenario/sim_fleet.h"

#include <fmt/format.h>

#include <algorithm>

#include "replica/arbiter.h"
#include "scenario/disk_spec.h"
#include "scenario/fault_text.h"
#include "scenario/node.h"
#include "scenario/shape.h"
#include "scenario/sim_watch.h"

namespace resilver::scenario {
namespace {

constexpr const char* kArbiterName = "arbiter";
constexpr std::uint64_t kDefaultCacheBytes = std::uint64_t{16} << 20;  // as the node programs of the real world have

LinkParameters parameters_of(const LinkSpec& spec) { return {spec.rtt / 2, spec.bandwidth, spec.queue_bytes}; }

}  // namespace

SimFleet::SimFleet(sim::World& world, sim::Node& client, const Scenario& scenario, const ContenderSpec& contender,
                   SimWatch* watch)
    : world_(world),
      client_(client),
      scenario_(scenario),
      contender_(contender),
      watch_(watch),
      machines_(contender.nodes.size()) {}

SimFleet::~SimFleet() = default;

sim::Disk& SimFleet::add_disk(Machine& machine, const NodeSpec& spec, const std::string& name) {
  sim::DiskOptions options;
  options.model = disk_parameters(scenario_.disk);
  options.cache_bytes = scenario_.disk.cache_bytes.value_or(kDefaultCacheBytes);
  sim::Disk& disk = world_.add_disk(spec.name + "." + name, disk_size_bytes(scenario_, spec), options);
  machine.node->attach_disk(name, disk);
  return disk;
}

Task<Status> SimFleet::create() {
  const LinkParameters client_link = parameters_of(scenario_.client_link);
  LinkParameters between = client_link;
  if (contender_.replicate) {
    if (const LinkSpec* spec = find_link(scenario_, contender_.replicate->link)) between = parameters_of(*spec);
    arbiter_ = &world_.add_node(kArbiterName);
    arbiter_->attach_disk("state", world_.add_disk("arbiter.state", replica::kArbiterStateBytes, {}));
    if (Status started = co_await start_arbiter(); !started) co_return started;
  }
  world_.network().set_default_link(between);
  for (std::uint32_t n = 0; n < machines_.size(); ++n) {
    const NodeSpec& spec = contender_.nodes[n];
    Machine& machine = machines_[n];
    machine.node = &world_.add_node(spec.name);
    world_.network().set_link(client_.name(), spec.name, client_link);
    world_.network().set_link(spec.name, client_.name(), client_link);
    for (std::uint32_t d = 0; d < node_disks(spec); ++d) {
      const std::string name = disk_label(spec, d);
      add_disk(machine, spec, name);
      machine.disks.push_back({name, true, {}});
    }
  }
  for (std::uint32_t n = 0; n < machines_.size(); ++n) {
    for (std::uint32_t peer = 0; peer < machines_.size(); ++peer) {
      const LinkSpec* spec = n == peer ? nullptr : link_between(scenario_, contender_, n, peer);
      if (spec != nullptr)
        world_.network().set_link(contender_.nodes[n].name, contender_.nodes[peer].name, parameters_of(*spec));
    }
  }
  for (std::uint32_t n = 0; n < machines_.size(); ++n) {
    if (Status started = start_process(n, true); !started) co_return started;
  }
  co_return Status{};
}

Status SimFleet::set_clock_rate(std::uint32_t node, std::int32_t ppm) {
  machines_[node].node->set_clock_rate(ppm);
  return {};
}

Task<Status> SimFleet::stop_arbiter() {
  if (!arbiter_->running()) co_return fail(Errc::not_found, "the arbiter does not run");
  arbiter_->crash();
  co_return Status{};
}

Task<Status> SimFleet::freeze_arbiter(bool frozen) {
  frozen ? arbiter_->freeze() : arbiter_->thaw();
  co_return Status{};
}

Task<Status> SimFleet::start_arbiter() {
  if (arbiter_->running()) co_return fail(Errc::not_found, "the arbiter runs");
  const bool format = !std::exchange(arbiter_formatted_, true);
  arbiter_->start([format](Env& env) -> Task<void> {
    auto state = co_await env.open_disk("state", kNever);
    auto listener = env.network().listen(kArbiterName);
    CHECK(state && listener, "a simulated arbiter always starts");
    resilver::Event never(env.scheduler());
    if (format) CHECK(co_await replica::format_arbiter(env, **state), "a simulated disk that is new can be written");
    static_cast<void>(co_await replica::serve_arbiter(env, **listener, **state, never));
  });
  co_return Status{};
}

NodeConfig SimFleet::config_of(std::uint32_t node, bool format) const {
  NodeConfig config;
  config.spec = contender_.nodes[node];
  config.disks = machines_[node].disks;
  config.volume_bytes = scenario_.volume_bytes;
  config.rebuild = scenario_.rebuild;
  config.replicate = contender_.replicate;
  config.self = node;
  for (const NodeSpec& spec : contender_.nodes) config.nodes.push_back({spec.name, spec.name});
  if (contender_.replicate) config.arbiter = kArbiterName;
  config.listen = contender_.nodes[node].name;
  config.format = format;
  return config;
}

Status SimFleet::start_process(std::uint32_t node, bool format) {
  Machine& machine = machines_[node];
  machine.trouble.clear();
  machine.node->start([this, node, config = config_of(node, format)](Env& env) -> Task<void> {
    // The closure lives as long as this frame does: both belong to the machine's process.
    NodeProgram program(env, config);
    Machine& mine = machines_[node];
    mine.program = &program;
    resilver::Event stop(env.scheduler());
    const std::string address = config.listen;
    Status ended = co_await program.run([&env, address] { return env.network().listen(address); }, stop);
    mine.program = nullptr;
    if (!ended) mine.trouble = to_string(ended.error());
  });
  for (NodeDisk& disk : machine.disks) disk.blank = false;
  return {};
}

Task<Status> SimFleet::start(std::uint32_t node) { co_return start_process(node, false); }

bool SimFleet::running(std::uint32_t node) const noexcept {
  const Machine& machine = machines_[node];
  return machine.node != nullptr && (machine.node->running() || !machine.trouble.empty());
}

// What is wrong with the disks stays wrong when the process has gone.
void SimFleet::keep_faults(Machine& machine) {
  if (machine.program == nullptr) return;
  const NodeReport report = machine.program->report();
  for (std::size_t d = 0; d < report.disks.size(); ++d) machine.disks[d].faults = report.disks[d].faults;
}

void SimFleet::end_process(std::uint32_t node, bool power) {
  Machine& machine = machines_[node];
  keep_faults(machine);
  machine.program = nullptr;
  if (power) {
    machine.node->power_loss();
  } else {
    machine.node->crash();
  }
}

Task<Status> SimFleet::crash(std::uint32_t node) {
  if (!running(node)) co_return fail(Errc::not_found, "the node does not run");
  end_process(node, false);
  co_return Status{};
}

Task<Status> SimFleet::power_loss(std::uint32_t node) {
  if (!running(node)) co_return fail(Errc::not_found, "the node does not run");
  end_process(node, true);
  co_return Status{};
}

Task<Status> SimFleet::freeze(std::uint32_t node) {
  machines_[node].node->freeze();
  co_return Status{};
}

Task<Status> SimFleet::thaw(std::uint32_t node) {
  machines_[node].node->thaw();
  co_return Status{};
}

Task<Result<NodeReport>> SimFleet::report(std::uint32_t node) {
  const Machine& machine = machines_[node];
  if (machine.program == nullptr || machine.node->frozen()) {
    if (machine.trouble.empty()) co_return fail(Errc::unavailable);
    NodeReport report;
    report.trouble = machine.trouble;
    co_return report;
  }
  co_return machine.program->report();
}

Task<Status> SimFleet::command(std::uint32_t node, NodeCommand command) {
  Machine& machine = machines_[node];
  if (machine.program == nullptr) co_return fail(Errc::unavailable, "the node does not run");
  co_return machine.program->command(std::move(command));
}

Task<Status> SimFleet::replace_disk(std::uint32_t node, std::uint32_t disk) {
  Machine& machine = machines_[node];
  const std::string name = fmt::format("disk{}.new{}", disk, ++machine.replaced);
  add_disk(machine, contender_.nodes[node], name);
  machine.disks[disk] = {name, true, {}};
  if (machine.program == nullptr) co_return Status{};
  NodeCommand order;
  order.verb = Verb::disk_replace;
  order.disk = disk;
  order.path = name;
  Status told = machine.program->command(std::move(order));
  if (told) machine.disks[disk].blank = false;
  co_return told;
}

std::string SimFleet::machine_name(const LinkEnd& end) const {
  switch (end.kind) {
    case LinkEnd::Kind::client: return client_.name();
    case LinkEnd::Kind::arbiter: return kArbiterName;
    case LinkEnd::Kind::node: return contender_.nodes[end.node].name;
  }
  return {};
}

Status SimFleet::set_link(LinkEnd from, LinkEnd to, const LinkFault& fault) {
  sim::Fabric& network = world_.network();
  const std::string sender = machine_name(from);
  const std::string receiver = machine_name(to);
  if (fault.dropped) {
    network.drop(sender, receiver);
  } else {
    network.restore(sender, receiver);
  }
  network.set_extra_latency(sender, receiver, fault.add_latency);
  network.set_bandwidth(sender, receiver, fault.bandwidth);
  network.set_message_faults(sender, receiver, {fault.lost_percent, fault.duplicated_percent, fault.corrupted_percent});
  return {};
}

void SimFleet::reset_link(LinkEnd one, LinkEnd other) {
  world_.network().reset(machine_name(one), machine_name(other));
}

std::uint64_t SimFleet::link_transfers(LinkEnd from, LinkEnd to) const noexcept {
  return world_.network().counters(machine_name(from), machine_name(to)).messages;
}

std::vector<PeerAddress> SimFleet::client_addresses() const {
  std::vector<PeerAddress> addresses;
  for (const NodeSpec& spec : contender_.nodes) addresses.push_back({spec.name, spec.name});
  return addresses;
}

replica::Replica* SimFleet::replica(std::uint32_t node) const noexcept {
  const NodeProgram* program = machines_[node].program;
  return program == nullptr ? nullptr : program->replica();
}

// Nothing to remove: the machines end with their world.
Task<void> SimFleet::destroy() {
  if (watch_ != nullptr) co_await watch_->at_rest(*this);
  for (Machine& machine : machines_) {
    machine.program = nullptr;
    if (machine.node != nullptr && machine.node->running()) machine.node->crash();
  }
  if (arbiter_ != nullptr && arbiter_->running()) arbiter_->crash();
  co_return;
}

}  // namespace resilver::scenario
