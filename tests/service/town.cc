#include "tests/service/town.h"

#include <cstring>
#include <utility>

#include "env/block_device.h"
#include "replica/arbiter.h"
#include "replica/client.h"

namespace resilver::service {
namespace {

VolumeConfig volume() {
  VolumeConfig config;
  config.file = "v.toml";
  config.name = "v";
  config.id = {0x70, 1};
  config.size_bytes = Town::kBytes;
  config.arbiter = "arbiter";
  config.detect = 200 * kMillisecond;
  for (const std::string name : {"A", "B", "C"})
    config.nodes.push_back({name, name + ":data", name + ":control", name + ".img", {}});
  return config;
}

}  // namespace

Town::Town(std::uint64_t seed) : world(seed), config(volume()) {
  for (int i = 0; i < kNodes; ++i) {
    const std::string& name = config.nodes[static_cast<std::size_t>(i)].name;
    nodes_[static_cast<std::size_t>(i)] = &world.add_node(name);
    disks_[static_cast<std::size_t>(i)] = &world.add_disk(name + ".disk", device_bytes(config), {});
    node(i).attach_disk("disk", *disks_[static_cast<std::size_t>(i)]);
  }
  arbiter_ = &world.add_node("arbiter");
  desks_ = {&world.add_node("desk0"), &world.add_node("desk1")};
  client_ = &world.add_node("client");
  asker_ = &world.add_node("asker");
  new_arbiter();
}

void Town::new_arbiter() {
  arbiter_->attach_disk("state", world.add_disk("arbiter.disk" + std::to_string(arbiter_disks_++), 1 << 20, {}));
  arbiter_formatted_ = false;
}

void Town::start_arbiter() {
  const bool format = !std::exchange(arbiter_formatted_, true);
  arbiter_->start([format](Env& env) -> Task<void> {
    auto disk = co_await env.open_disk("state", kNever);
    auto listener = env.network().listen("arbiter");
    CHECK(disk.has_value() && listener.has_value());
    Event stop(env.scheduler());
    if (format) CHECK(co_await replica::format_arbiter(env, **disk));
    EXPECT_TRUE((co_await replica::serve_arbiter(env, **listener, **disk, stop)).has_value());
  });
}

Task<void> Town::node_main(Env& env, int i, bool format) {
  const auto id = static_cast<replica::NodeId>(i);
  auto disk = co_await env.open_disk("disk", kNever);
  CHECK(disk.has_value());
  if (format) {
    const auto made =
        co_await replica::Replica::open(env, replica_config(config, id), **disk, replica::Start::new_volume);
    EXPECT_TRUE(made.has_value());
  }
  Daemon daemon(env, config, id, {disk->get(), config.nodes[id].device, nullptr, {}});
  const Status opened = co_await daemon.open();
  EXPECT_TRUE(opened.has_value()) << to_string(opened.error());
  if (!opened) co_return;
  auto data = env.network().listen(config.nodes[id].listen);
  auto control = env.network().listen(config.nodes[id].control);
  CHECK(data.has_value() && control.has_value());
  Event stop(env.scheduler());
  co_await daemon.run(**data, **control, stop);
}

void Town::start_node(int i, bool format) {
  node(i).start([this, i, format](Env& env) { return node_main(env, i, format); });
}

void Town::start_all() {
  start_arbiter();
  for (int i = 0; i < kNodes; ++i) start_node(i, true);
}

void Town::recover(int desk, Status* result, std::optional<replica::NodeId> from) {
  *result = fail(Errc::cancelled);
  operate(desk, [this, result, from](Env& env) -> Task<void> {
    return [](Env& e, const VolumeConfig& volume_config, Status& out,
              std::optional<replica::NodeId> wanted) -> Task<void> {
      Recovery recovery(e, volume_config);
      const Assessment found = co_await recovery.assess();
      if (found.live || found.needless) {
        out = fail(Errc::busy, "nothing is to be recovered");
      } else if (!wanted && !(found.newest && found.proven)) {
        out = fail(Errc::unavailable, "not proven");
      } else {
        out = co_await recovery.carry_out(found, wanted ? *wanted : *found.newest);
      }
    }(env, config, *result, from);
  });
}

// ---- views -----------------------------------------------------------------------------------------------------------

std::optional<Answer> Town::ask(int i, Verb verb) {
  if (!node(i).running()) return std::nullopt;
  std::optional<Answer> answer;
  asker_->start([this, i, verb, &answer](Env& env) -> Task<void> {
    return [](Env& e, const VolumeConfig& volume_config, int at, Verb what, std::optional<Answer>& out) -> Task<void> {
      Order order;
      order.volume = volume_config.id;
      order.verb = what;
      Question question(e, volume_config.nodes[static_cast<std::size_t>(at)].control);
      auto got = co_await question.ask(std::move(order), e.scheduler().now() + kSecond);
      if (got) out = std::move(*got);
    }(env, config, i, verb, answer);
  });
  while (asker_->running()) run_for(kMillisecond);
  return answer;
}

std::optional<NodeStatus> Town::status(int i) {
  const auto answer = ask(i, Verb::status);
  return answer ? answer->status : std::nullopt;
}

Result<replica::CopyFacts> Town::facts(int i) {
  const auto answer = ask(i, Verb::facts);
  if (!answer || !answer->facts) return fail(Errc::unavailable, "no facts");
  return *answer->facts;
}

bool Town::serves() {
  for (int i = 0; i < kNodes; ++i) {
    const auto now = status(i);
    if (now && now->replica.serving) return true;
  }
  return false;
}

bool Town::all_in_sync() {
  for (int i = 0; i < kNodes; ++i) {
    const auto now = status(i);
    if (now && now->replica.serving && now->replica.in_sync.count() == kNodes) return true;
  }
  return false;
}

bool Town::tells(int i, replica::Reason reason) {
  const auto now = status(i);
  if (!now) return false;
  return std::ranges::any_of(now->replica.findings, [&](const auto& finding) { return finding.reason == reason; });
}

// ---- I/O -------------------------------------------------------------------------------------------------------------

Errc Town::transfer(std::uint64_t block, std::uint64_t& version, bool write) {
  Errc result = Errc::cancelled;
  client_->start([this, block, write, &version, &result](Env& env) -> Task<void> {
    return [](Env& e, const VolumeConfig& volume_config, std::uint64_t at, bool out, std::uint64_t& value,
              Errc& status) -> Task<void> {
      auto client =
          co_await replica::Client::attach(e.scheduler(), e.buffers(), e.network(), client_config(volume_config));
      if (!client) {
        status = client.error().code;
        co_return;
      }
      Buffer data = e.buffers().allocate(kBlockBytes);
      std::memset(data.data(), 0, kBlockBytes);
      if (out) std::memcpy(data.data(), &value, sizeof value);
      status = out ? co_await Io::write(**client, at * kBlockBytes, data)
                   : co_await Io::read(**client, at * kBlockBytes, data);
      if (!out) std::memcpy(&value, data.data(), sizeof value);
      co_await (*client)->close();
    }(env, config, block, write, version, result);
  });
  run_until([&] { return !client_->running(); }, kMinute, kMillisecond);
  return result;
}

Errc Town::write(std::uint64_t block, std::uint64_t version) { return transfer(block, version, true); }

std::optional<std::uint64_t> Town::read(std::uint64_t block) {
  std::uint64_t version = 0;
  if (transfer(block, version, false) != Errc::ok) return std::nullopt;
  return version;
}

std::uint64_t Town::on_disk(int i, std::uint64_t block) {
  std::vector<std::byte> bytes(kBlockBytes);
  disks_[static_cast<std::size_t>(i)]->peek(block * kBlockBytes, bytes);
  std::uint64_t version = 0;
  std::memcpy(&version, bytes.data(), sizeof version);
  return version;
}

bool Town::run_until(const std::function<bool()>& done, Nanos at_most, Nanos step) {
  const Nanos deadline = world.now() + at_most;
  while (world.now() < deadline) {
    if (done()) return true;
    run_for(step);
  }
  return done();
}

}  // namespace resilver::service
