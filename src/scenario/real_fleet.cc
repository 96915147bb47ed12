#include "scenario/real_fleet.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

#include "replica/arbiter.h"
#include "scenario/control_json.h"
#include "scenario/disk_spec.h"
#include "scenario/shape.h"
#include "scenario/verbs.h"

namespace resilver::scenario {
namespace {

constexpr Nanos kStartTimeout = 20 * kSecond;
constexpr Nanos kAskTimeout = 2 * kSecond;
constexpr Nanos kEndTimeout = 5 * kSecond;
constexpr const char* kArbiterName = "the arbiter";

bool same(const LinkEnd& a, const LinkEnd& b) { return a.kind == b.kind && a.node == b.node; }

LinkEnd node_end(std::size_t index) { return {LinkEnd::Kind::node, static_cast<std::uint32_t>(index)}; }

constexpr LinkEnd kClient{LinkEnd::Kind::client, 0};
constexpr LinkEnd kArbiter{LinkEnd::Kind::arbiter, 0};

bool loses_caches(const Scenario& scenario) {
  return std::any_of(scenario.events.begin(), scenario.events.end(),
                     [](const Event& event) { return verb_info(event.verb).loses_caches; });
}

}  // namespace

RealFleet::RealFleet(uring::RealEnv& env, const Scenario& scenario, const ContenderSpec& contender,
                     RealFleetOptions options)
    : env_(env),
      scenario_(scenario),
      contender_(contender),
      options_(std::move(options)),
      model_(disk_parameters(scenario.disk)),
      withhold_writes_(loses_caches(scenario)),
      machines_(contender.nodes.size()),
      volume_(Id128::draw(env.random())),
      proxies_(env.scheduler()) {
  for (Machine& machine : machines_) machine.asking = std::make_unique<Mutex>(env.scheduler());
}

RealFleet::~RealFleet() = default;

std::uint64_t RealFleet::image_bytes(const Scenario& scenario, const ContenderSpec& contender) {
  std::uint64_t replacements = 0;
  for (const Event& event : scenario.events)
    replacements += event.verb == Verb::disk_replace ? event.targets.size() : 0;
  std::uint64_t bytes = replica::kArbiterStateBytes;
  for (const NodeSpec& node : contender.nodes) {
    bytes += disk_size_bytes(scenario, node) * (node_disks(node) + replacements);
  }
  return bytes;
}

Task<Status> RealFleet::create() {
  for (std::size_t n = 0; n < machines_.size(); ++n) {
    const NodeSpec& spec = contender_.nodes[n];
    const std::uint64_t size = disk_size_bytes(scenario_, spec);
    for (std::uint32_t d = 0; d < node_disks(spec); ++d) {
      const std::string file = path(fmt::format("{}-{}.{}.img", contender_.name, spec.name, disk_label(spec, d)));
      if (Status made = make_image(file, size); !made) co_return made;
      machines_[n].disks.push_back({file, true, {}});
    }
  }
  if (contender_.replicate) {
    if (Status made = make_arbiter(); !made) co_return made;
    if (Status started = co_await start_arbiter(); !started) co_return started;
  }
  if (Status made = make_links(); !made) co_return made;
  for (std::uint32_t n = 0; n < machines_.size(); ++n) {
    if (Status started = co_await start(n); !started) co_return started;
  }
  for (Machine& machine : machines_) {
    for (NodeDisk& disk : machine.disks) disk.blank = false;
  }
  formatted_ = true;
  co_return Status{};
}

// What was there before is not ours: neither used nor removed.
Status RealFleet::make_image(const std::string& file, std::uint64_t size) {
  Status made = uring::create_image(file, size, uring::Allocation::preallocated);
  if (made) files_.push_back(file);
  return made;
}

Status RealFleet::make_arbiter() {
  const std::string state = path(contender_.name + "-arbiter.img");  // the arbiter makes it
  if (access(state.c_str(), F_OK) == 0) return fail(Errc::exists, state + ": File exists");
  files_.push_back(state);
  files_.push_back(path(contender_.name + "-arbiter.log"));
  for (std::size_t n = 0; n < machines_.size(); ++n) {
    const LinkSpec* spec = scenario::find_link(scenario_, contender_.replicate->link);
    const Status made = make_link(node_end(n), kArbiter, spec != nullptr ? *spec : scenario_.client_link);
    if (!made) return made;
  }
  return {};
}

Status RealFleet::set_clock_rate(std::uint32_t, std::int32_t) {
  return fail(Errc::unsupported, "a process of the real world cannot be given a clock of its own");
}

Task<Status> RealFleet::stop_arbiter() {
  if (!arbiter_) co_return fail(Errc::not_found, "the arbiter does not run");
  co_await end_child(kArbiterName, arbiter_, SIGKILL);
  co_return Status{};
}

Task<Status> RealFleet::freeze_arbiter(bool frozen) {
  if (!arbiter_) co_return fail(Errc::not_found, "the arbiter does not run");
  arbiter_->signal(frozen ? SIGSTOP : SIGCONT);
  co_return Status{};
}

// At first, and again after stop_arbiter(): on the same record, behind the same links.
Task<Status> RealFleet::start_arbiter() {
  if (arbiter_) co_return fail(Errc::not_found, "the arbiter runs");
  const std::string state = path(contender_.name + "-arbiter.img");
  const std::string log = path(contender_.name + "-arbiter.log");
  auto child = Child::start(env_.ring(), {"arbiter", "--state", state, "--listen", "127.0.0.1:0"}, log);
  if (!child) co_return std::unexpected(child.error());
  arbiter_ = std::move(*child);
  auto line = co_await arbiter_->read_line(env_.scheduler().now() + kStartTimeout);
  if (!line) co_return fail(line.error().code, "the arbiter did not start: " + to_string(line.error()));
  const std::string address = line->substr(line->rfind(' ') + 1);
  for (Link& link : links_) {
    if (same(link.to, kArbiter)) link.proxy->set_target(address);
  }
  co_return Status{};
}

Status RealFleet::make_link(LinkEnd from, LinkEnd to, const LinkSpec& spec) {
  LinkParameters parameters;
  if (scenario_.pace) parameters = {spec.rtt / 2, spec.bandwidth, spec.queue_bytes};
  // The target is not known before the other end listens; until then connections end at a port that nobody serves.
  auto proxy = uring::Proxy::create(env_.ring(), "127.0.0.1:0", "127.0.0.1:1", parameters);
  if (!proxy) return std::unexpected(proxy.error());
  proxies_.spawn((*proxy)->run());
  links_.push_back({from, to, std::move(*proxy), parameters});
  return {};
}

Status RealFleet::make_links() {
  for (std::size_t n = 0; n < machines_.size(); ++n) {
    if (Status made = make_link(kClient, node_end(n), scenario_.client_link); !made) return made;
    for (std::size_t peer = 0; peer < machines_.size(); ++peer) {
      if (peer == n) continue;
      const LinkSpec* spec =
          link_between(scenario_, contender_, static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(peer));
      if (Status made = make_link(node_end(n), node_end(peer), spec != nullptr ? *spec : scenario_.client_link); !made) {
        return made;
      }
    }
  }
  return {};
}

RealFleet::Link* RealFleet::find_link(const LinkEnd& from, const LinkEnd& to) noexcept {
  for (Link& link : links_) {
    if (same(link.from, from) && same(link.to, to)) return &link;
  }
  return nullptr;
}

NodeConfig RealFleet::config_of(std::uint32_t node) const {
  NodeConfig config;
  config.spec = contender_.nodes[node];
  config.disks = machines_[node].disks;
  config.volume_bytes = scenario_.volume_bytes;
  config.rebuild = scenario_.rebuild;
  config.paced = scenario_.pace;
  config.volume = volume_;
  config.pace = model_;
  config.withhold_writes = withhold_writes_;
  config.replicate = contender_.replicate;
  config.self = node;
  for (std::size_t n = 0; n < machines_.size(); ++n) {
    std::string address;
    for (const Link& link : links_) {
      if (same(link.from, node_end(node)) && same(link.to, node_end(n))) address = link.proxy->address();
    }
    config.nodes.push_back({contender_.nodes[n].name, address});
  }
  for (const Link& link : links_) {
    if (same(link.from, node_end(node)) && same(link.to, kArbiter)) config.arbiter = link.proxy->address();
  }
  config.listen = "127.0.0.1:0";
  config.control = "127.0.0.1:0";
  config.format = !formatted_;
  return config;
}

Task<Status> RealFleet::start(std::uint32_t node) {
  Machine& machine = machines_[node];
  const std::string name = fmt::format("{}-{}", contender_.name, contender_.nodes[node].name);
  for (std::size_t d = 0; d < machine.faults.size() && d < machine.disks.size(); ++d) {
    machine.disks[d].faults = machine.faults[d];
  }
  const std::string config_path = path(name + ".json");
  const std::string log_path = path(name + ".log");
  for (const std::string& file : {config_path, log_path}) {
    if (std::find(files_.begin(), files_.end(), file) == files_.end()) files_.push_back(file);
  }
  std::ofstream config(config_path);
  config << to_json(config_of(node)) << std::flush;
  if (!config) co_return fail(Errc::io, config_path + ": cannot be written");
  config.close();
  auto child = Child::start(env_.ring(), {"contender-node", "--config", config_path}, log_path);
  if (!child) co_return std::unexpected(child.error());
  if (machine.child) note_death(node_name(node), *machine.child);
  machine.child = std::move(*child);
  Status listening = co_await wait_until_listening(node);
  if (!listening) {
    co_await end_child(node_name(node), machine.child, SIGKILL);
    co_return fail(listening.error().code,
                   fmt::format("node {} did not start: {}", contender_.nodes[node].name, to_string(listening.error())));
  }
  for (NodeDisk& disk : machine.disks) disk.blank = disk.blank && !formatted_;
  co_return Status{};
}

Task<Status> RealFleet::wait_until_listening(std::uint32_t node) {
  Machine& machine = machines_[node];
  const Nanos deadline = env_.scheduler().now() + kStartTimeout;
  auto line = co_await machine.child->read_line(deadline);
  if (!line) co_return std::unexpected(line.error());
  // "listening ADDRESS control ADDRESS"
  const std::size_t middle = line->find(" control ");
  if (!line->starts_with("listening ") || middle == std::string::npos) {
    co_return fail(Errc::bad_input, "it said '" + *line + "'");
  }
  machine.listen = line->substr(10, middle - 10);
  auto control = co_await env_.network().connect(line->substr(middle + 9), deadline);
  if (!control) co_return std::unexpected(control.error());
  machine.control = std::move(*control);
  for (Link& link : links_) {
    if (same(link.to, node_end(node))) link.proxy->set_target(machine.listen);
  }
  co_return Status{};
}

Task<void> RealFleet::end_child(const std::string& who, std::unique_ptr<Child>& child, int signal_number) {
  if (child == nullptr) co_return;
  child->signal(signal_number);
  if (signal_number != SIGKILL) child->signal(SIGCONT);
  co_await child->end(env_.scheduler().now() + kEndTimeout);
  note_death(who, *child);
  child.reset();
}

void RealFleet::note_death(const std::string& who, Child& child) {
  if (child.ended() && child.died()) deaths_.push_back(who + " died: " + child.how_it_ended());
}

Task<Status> RealFleet::crash(std::uint32_t node) {
  Machine& machine = machines_[node];
  if (!running(node)) co_return fail(Errc::not_found, "the node does not run");
  // The last word about faults that must survive it.
  static_cast<void>(co_await report(node));
  std::unique_ptr<Child> child = std::move(machine.child);
  child->signal(SIGKILL);
  co_await machine.asking->acquire();
  SemaphoreGuard guard(*machine.asking);
  machine.control->close();
  machine.control.reset();
  machine.frozen = false;
  co_await end_child(node_name(node), child, SIGKILL);
  co_return Status{};
}

Task<Status> RealFleet::power_loss(std::uint32_t node) {
  CHECK(withhold_writes_, "the caches of the nodes were made for it");
  co_return co_await crash(node);
}

Task<Status> RealFleet::freeze(std::uint32_t node) {
  if (!running(node)) co_return fail(Errc::not_found, "the node does not run");
  machines_[node].frozen = true;
  machines_[node].child->signal(SIGSTOP);
  co_return Status{};
}

Task<Status> RealFleet::thaw(std::uint32_t node) {
  if (!machines_[node].child) co_return fail(Errc::not_found, "the node does not run");
  machines_[node].child->signal(SIGCONT);
  machines_[node].frozen = false;
  co_return Status{};
}

bool RealFleet::running(std::uint32_t node) const noexcept {
  const Machine& machine = machines_[node];
  if (machine.child == nullptr || machine.control == nullptr) return false;
  return !machine.child->ended() ||
         machine.child->gave_up();  // as in the simulator: it is there, and says why it is idle
}

Task<Result<std::string>> RealFleet::ask(std::uint32_t node, char kind, std::string text) {
  Machine& machine = machines_[node];
  if (machine.frozen || !running(node)) co_return fail(Errc::unavailable);
  co_await machine.asking->acquire();
  SemaphoreGuard guard(*machine.asking);
  if (machine.frozen || !running(node)) co_return fail(Errc::unavailable);
  Message message;
  message.head.resize(text.size() + 1);
  message.head[0] = static_cast<std::byte>(kind);
  std::memcpy(message.head.data() + 1, text.data(), text.size());
  const Nanos deadline = env_.scheduler().now() + kAskTimeout;
  if (Status sent = co_await machine.control->send(std::move(message), deadline); !sent) {
    co_return std::unexpected(sent.error());
  }
  // An answer that comes after a freeze belongs to this question: wait for it.
  Result<Message> answer = co_await machine.control->receive(kNever);
  if (!answer) co_return std::unexpected(answer.error());
  co_return std::string(reinterpret_cast<const char*>(answer->head.data()), answer->head.size());
}

Task<Result<NodeReport>> RealFleet::report(std::uint32_t node) {
  if (running(node) && machines_[node].child->ended()) {
    NodeReport report;
    report.trouble = machines_[node].child->how_it_ended();
    co_return report;
  }
  Result<std::string> answer = co_await ask(node, 'r', {});
  if (!answer) co_return std::unexpected(answer.error());
  Result<NodeReport> report = node_report_from_json(*answer);
  if (!report) co_return report;
  Machine& machine = machines_[node];
  machine.faults.resize(report->disks.size());
  for (std::size_t d = 0; d < report->disks.size(); ++d) machine.faults[d] = report->disks[d].faults;
  co_return report;
}

Task<Status> RealFleet::command(std::uint32_t node, NodeCommand command) {
  Result<std::string> answer = co_await ask(node, 'c', to_json(command));
  if (!answer) co_return std::unexpected(answer.error());
  if (*answer != "ok") co_return fail(Errc::invalid_argument, *answer);
  co_return Status{};
}

Task<Status> RealFleet::replace_disk(std::uint32_t node, std::uint32_t disk) {
  Machine& machine = machines_[node];
  const NodeSpec& spec = contender_.nodes[node];
  const std::string file =
      path(fmt::format("{}-{}.disk{}.new{}.img", contender_.name, spec.name, disk, ++machine.replaced));
  const std::uint64_t size = disk_size_bytes(scenario_, spec);
  if (Status made = make_image(file, size); !made) co_return made;
  machine.disks[disk] = {file, true, {}};
  if (disk < machine.faults.size()) machine.faults[disk].clear();
  if (!running(node)) co_return Status{};
  NodeCommand order;
  order.verb = Verb::disk_replace;
  order.disk = disk;
  order.path = file;
  Status told = co_await command(node, std::move(order));
  if (told) machine.disks[disk].blank = false;
  co_return told;
}

void RealFleet::apply_link(Link& link, uring::Direction direction, const LinkFault& fault) {
  if (fault.dropped) {
    link.proxy->drop(direction);
  } else {
    link.proxy->restore(direction);
  }
  link.proxy->set_latency(direction, link.parameters.latency + fault.add_latency);
  link.proxy->set_bandwidth(direction, fault.bandwidth != 0 ? fault.bandwidth : link.parameters.bandwidth);
}

Status RealFleet::set_link(LinkEnd from, LinkEnd to, const LinkFault& fault) {
  if (fault.lost_percent + fault.duplicated_percent + fault.corrupted_percent != 0)
    return fail(Errc::unsupported, "a proxy forwards bytes and knows no messages");
  if (Link* link = find_link(from, to)) apply_link(*link, uring::Direction::to_target, fault);
  if (Link* link = find_link(to, from)) apply_link(*link, uring::Direction::from_target, fault);
  return {};
}

void RealFleet::reset_link(LinkEnd one, LinkEnd other) {
  if (Link* link = find_link(one, other)) link->proxy->reset();
  if (Link* link = find_link(other, one)) link->proxy->reset();
}

std::uint64_t RealFleet::link_transfers(LinkEnd from, LinkEnd to) const noexcept {
  std::uint64_t transfers = 0;
  for (const Link& link : links_) {
    if (same(link.from, from) && same(link.to, to)) transfers += link.proxy->pieces(uring::Direction::to_target);
    if (same(link.from, to) && same(link.to, from)) transfers += link.proxy->pieces(uring::Direction::from_target);
  }
  return transfers;
}

std::vector<PeerAddress> RealFleet::client_addresses() const {
  std::vector<PeerAddress> addresses(machines_.size());
  for (const Link& link : links_) {
    if (same(link.from, kClient))
      addresses[link.to.node] = {contender_.nodes[link.to.node].name, link.proxy->address()};
  }
  return addresses;
}

Task<void> RealFleet::destroy() {
  for (Machine& machine : machines_) {
    if (machine.control) machine.control->close();
    if (machine.child) machine.child->signal(SIGTERM), machine.child->signal(SIGCONT);
  }
  for (std::uint32_t node = 0; node < machines_.size(); ++node) {
    Machine& machine = machines_[node];
    co_await machine.asking->acquire();
    SemaphoreGuard guard(*machine.asking);
    co_await end_child(node_name(node), machine.child, SIGTERM);
    machine.control.reset();
  }
  co_await end_child(kArbiterName, arbiter_, SIGTERM);
  for (Link& link : links_) link.proxy->stop();
  co_await proxies_.join();
  links_.clear();
  if (!options_.keep) {
    for (const std::string& file : files_) unlink(file.c_str());
  }
  files_.clear();
}

}  // namespace resilver::scenario
