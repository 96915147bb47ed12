// `resilver volume upgrade`: copies and the arbiter's state of version 1 brought over to this version's formats.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/units.h"
#include "replica/offline.h"
#include "service/device_words.h"
#include "service/volume_file.h"
#include "tools/commands.h"
#include "tools/volume_command.h"
#include "tools/volume_offline.h"
#include "tools/volume_storage.h"

namespace resilver::tools {
namespace {

using replica::Held;
using replica::NodeId;

constexpr Nanos kLockTimeout = 5 * kSecond;

// The arbiter's state as it is.
struct State {
  std::string path;  // empty: not at hand
  std::optional<replica::old::Record> before;
  bool done = false;  // it is of this version already
};

Task<Result<State>> read_state(uring::RealEnv& env, std::string path) {
  State state;
  state.path = path;
  if (path.empty()) co_return state;
  auto device = co_await env.open_disk(path, env.scheduler().now() + kLockTimeout);
  if (!device && device.error().code == Errc::busy) device.error().what += "; stop the arbiter first";
  if (!device) co_return std::unexpected(device.error());
  replica::ArbiterStore store(env, **device);
  state.done = (co_await store.load(replica::SmallRecord::Mend::no)).has_value();
  if (state.done) co_return state;
  auto before = co_await replica::old::find_record(env.scheduler(), env.buffers(), **device);
  if (!before) co_return fail(before.error().code, path + ": " + before.error().what);
  // A state that the old arbiter made and never wrote to is all zeroes.
  state.before = before->value_or(replica::old::Record{});
  if (!*before && (*device)->size_bytes() != 2 * kBlockBytes)
    co_return fail(Errc::bad_input, path + ": is no arbiter's state");
  co_return state;
}

class Upgrade {
 public:
  Upgrade(Offline offline, service::VolumeConfig& config, State state)
      : offline_(std::move(offline)), config_(config), state_(std::move(state)) {
    plan_.volume = config.id;
    for (const service::NodeEntry& node : config.nodes) plan_.names.push_back(node.name);
    plan_.record = state_.before;
    plan_.lease_ms = static_cast<std::uint64_t>(config.detect / kMillisecond) * 4 / 5;
  }

  // Nothing is changed here.
  Task<Status> check() {
    co_return co_await offline_.for_each_copy(
        true, [this](NodeId id, BlockDevice& device) { return check_copy(id, device); });
  }

  Task<Status> carry_out() {
    if (plan_.volume.none()) {
      Random random(uring::fresh_seed());
      config_.id = plan_.volume = Id128::draw(random);
      Status set = service::set_in_volume(config_.file, {{"id", fmt::format("\"{}\"", to_string(config_.id))}});
      if (!set) co_return set;
    }
    const std::uint64_t bytes = replica::wanted_upgraded_bytes(config_.size_bytes);
    if (Status grown = offline_.extend_images(bytes, config_.size_bytes); !grown) co_return grown;
    Status copies = co_await offline_.for_each_copy(
        false, [this](NodeId id, BlockDevice& device) { return bring_over(id, device); });
    if (!copies) co_return copies;
    co_return co_await bring_state_over();
  }

 private:
  Task<Status> check_copy(NodeId id, BlockDevice& device) {
    const auto held = co_await replica::look_at(offline_.env, device, config_.size_bytes);
    if (!held) co_return std::unexpected(held.error());
    if (held->kind == Held::Kind::copy && held->super->volume == config_.id) co_return Status{};
    if (held->kind != Held::Kind::old_copy) {
      const std::string words = service::held_words(config_, *held);
      co_return fail(Errc::bad_input,
                     words.empty() ? "holds no copy of an older version; are name and size in the file the right ones?"
                                   : "holds " + words);
    }
    const replica::old::Copy& copy = *held->old;
    if (copy.volume != replica::old::volume_number(config_.name))
      co_return fail(Errc::bad_input,
                     fmt::format("holds a copy of a volume that has another name than '{}'", config_.name));
    if (copy.node != id || copy.volume_bytes != config_.size_bytes) {
      co_return fail(
          Errc::bad_input,
          fmt::format("it was node {} of a volume of {}: put the nodes, and the size, in {} back as they were",
                      copy.node + 1, format_size(copy.volume_bytes), config_.file));
    }
    plan_.histories.push_back({id, copy.history});
    if (is_image(config_.nodes[id])) co_return Status{};
    if (!replica::can_be_upgraded(copy, device.size_bytes())) {
      co_return fail(
          Errc::no_space,
          fmt::format(
              "{} bytes; {} are needed: give it more room, or put a new disk in its place after the others were "
              "brought over",
              device.size_bytes(), replica::least_upgraded_bytes(config_.size_bytes)));
    }
    co_return Status{};
  }

  Task<Status> bring_over(NodeId id, BlockDevice& device) {
    Status done = co_await replica::upgrade_copy(offline_.env, device, plan_, id, config_.size_bytes);
    if (done) fmt::print("{}: {} brought over\n", config_.nodes[id].name, storage_label(config_.nodes[id]));
    co_return done;
  }

  Task<Status> bring_state_over() {
    if (state_.path.empty() || state_.done) co_return Status{};
    replica::ArbiterState state;
    state.arbiter = Id128::draw(offline_.env.random());
    state.version = state_.before->version;
    state.record = upgraded_record(plan_);
    Status done = co_await write_arbiter_state(offline_.env, state_.path, std::move(state), true);
    if (done) fmt::print("arbiter: {} brought over\n", state_.path);
    co_return done;
  }

  Offline offline_;
  service::VolumeConfig& config_;
  State state_;
  replica::UpgradePlan plan_;
};

Task<Result<int>> upgrade(uring::RealEnv& env, uring::StopSignal& signal, const std::string& command,
                          service::VolumeConfig& config, std::vector<NodeId> nodes, std::string state_path) {
  auto state = co_await read_state(env, state_path);
  if (!state) co_return std::unexpected(state.error());
  Upgrade work({env, signal, command, config, std::move(nodes)}, config, std::move(*state));
  Status done = co_await work.check();
  if (done) done = co_await work.carry_out();
  if (!done) co_return std::unexpected(done.error());
  fmt::print("volume '{}' has the id {} in {}\n", config.name, to_string(config.id), config.file);
  if (state_path.empty() && !config.arbiter.empty()) {
    fmt::print("the arbiter's state was not: resilver volume upgrade --config {} --state FILE, where it is\n",
               config.file);
  }
  co_return kDone;
}

int run_upgrade(const CommandLine& line) {
  int code = kDone;
  auto config = read_config(line, code, NeedsId::no);
  if (!config) return code;
  const auto nodes = nodes_of(line, *config);
  if (!nodes) return refuse_usage(line.command, nodes.error().what);
  const std::string state = line.has("state") ? line.text("state") : "";
  return run_real(line.command, kDataArena, [&](uring::RealEnv& env, uring::StopSignal& signal) {
    return upgrade(env, signal, line.command, *config, *nodes, state);
  });
}

}  // namespace

constexpr CommandSpec kVolumeUpgradeCommand = {
    .name = "volume upgrade",
    .meaning = "bring a volume over that an older resilver made, offline",
    .usage = "--config FILE [--state FILE] [--node NAME...]",
    .description =
        "Brings a volume over that an older resilver made, with its nodes and its arbiter stopped: the copies' "
        "metadata (images "
        "grow by 5 MiB for it), the arbiter's state, and the volume's id, which is written into FILE. All is checked "
        "before "
        "anything is changed; what is interrupted is run again. Where the nodes are on several machines: run it on "
        "one, copy FILE "
        "to the others, and run it there. A copy that is brought over later joins the others by itself.",
    .options = {kConfigOption,
                {"state", "FILE", "the arbiter's state; it is brought over too"},
                {"node", "NAME...", "only these nodes' copies; default: this_node in FILE, else all"}},
    .examples = {"resilver volume upgrade --config web.toml --state web.arbiter",
                 "resilver volume upgrade --config web.toml --node C      (C's machine was away)"},
    .exits = {{0, "brought over, or was already"}, {1, "refused or failed"}, {2, "bad usage or configuration"}},
    .run = run_upgrade,
};

}  // namespace resilver::tools
