// `resilver volume reid` and `adopt`: who is who, where machines were cloned or copies moved.
#include <fmt/format.h>

#include <cstdio>

#include "replica/offline.h"
#include "service/device_words.h"
#include "service/volume_file.h"
#include "tools/commands.h"
#include "tools/volume_command.h"
#include "tools/volume_offline.h"
#include "tools/volume_storage.h"

namespace resilver::tools {
namespace {

using replica::NodeId;

constexpr Nanos kLockTimeout = 5 * kSecond;

// ---- reid ----------------------------------------------------------------------------------------------------------

std::string quoted(const Id128& id) { return fmt::format("\"{}\"", to_string(id)); }

class Reid {
 public:
  Reid(Offline offline, service::VolumeConfig& config, std::string state)
      : offline_(std::move(offline)), config_(config), state_path_(std::move(state)) {}

  Task<Status> run() {
    const bool resumed = !config_.former_id.none();
    former_ = resumed ? config_.former_id : config_.id;
    Status done = co_await offline_.for_each_copy(true, [this](NodeId, BlockDevice& device) { return check(device); });
    if (!done) co_return done;
    if (Status good = co_await change_state(false); !good) co_return good;
    if (!resumed) {
      Random random(uring::fresh_seed());
      config_.id = Id128::draw(random);
      done = service::set_in_volume(config_.file, {{"id", quoted(config_.id)}, {"former_id", quoted(former_)}});
      if (!done) co_return done;
    }
    done = co_await offline_.for_each_copy(false, [this](NodeId id, BlockDevice& device) { return change(id, device); });
    if (done) done = co_await change_state(true);
    if (!done) co_return done;
    const bool whole =
        offline_.nodes.size() == config_.nodes.size() && (config_.arbiter.empty() || !state_path_.empty());
    if (whole) done = service::set_in_volume(config_.file, {{"former_id", ""}});
    if (done) fmt::print("the volume in {} has the id {} now\n", config_.file, to_string(config_.id));
    if (done && !whole)
      fmt::print("not all of it was here: go on where the rest is, with a copy of {}\n", config_.file);
    co_return done;
  }

 private:
  Task<Status> check(BlockDevice& device) {
    const auto held = co_await replica::look_at(offline_.env, device, config_.size_bytes);
    if (!held) co_return std::unexpected(held.error());
    const bool former = held->kind == replica::Held::Kind::copy && held->super->volume == former_;
    co_return former ? Status{} : service::is_ours(config_, *held);
  }

  Task<Status> change(NodeId id, BlockDevice& device) {
    Status done = co_await replica::reid_copy(offline_.env, device, config_.size_bytes, former_, config_.id);
    if (done) fmt::print("{}: {} has a new id\n", config_.nodes[id].name, storage_label(config_.nodes[id]));
    co_return done;
  }

  // An arbiter that keeps another id is not taken for the one of the original, either.
  Task<Status> change_state(bool really) {
    if (state_path_.empty()) co_return Status{};
    auto device = co_await offline_.env.open_disk(state_path_, offline_.env.scheduler().now() + kLockTimeout);
    if (!device && device.error().code == Errc::busy) device.error().what += "; stop the arbiter first";
    if (!device) co_return std::unexpected(device.error());
    replica::ArbiterStore store(offline_.env, **device);
    const auto mend = really ? replica::SmallRecord::Mend::yes : replica::SmallRecord::Mend::no;
    if (Status loaded = co_await store.load(mend); !loaded)
      co_return fail(loaded.error().code, state_path_ + ": " + loaded.error().what);
    replica::ArbiterState state = store.now();
    const auto& volume = state.record.volume;
    if (!state.record.virgin() && volume != former_ && volume != config_.id)
      co_return fail(Errc::bad_input,
                     fmt::format("{}: keeps the record of another volume ({})", state_path_, short_text(volume)));
    if (!really || volume == config_.id) co_return Status{};
    state.arbiter = Id128::draw(offline_.env.random());
    state.record = replica::reid(state.record, config_.id);
    const Errc status = co_await store.store(state);
    if (status != Errc::ok) co_return fail(status, state_path_ + ": cannot be written");
    co_return Status{};
  }

  Offline offline_;
  service::VolumeConfig& config_;
  std::string state_path_;
  replica::VolumeId former_;
};

// ---- adopt ---------------------------------------------------------------------------------------------------------

Task<Status> adopt_one(uring::RealEnv& env, const service::VolumeConfig& config, NodeId id, BlockDevice& device) {
  const std::string& name = config.nodes[id].name;
  const auto held = co_await replica::look_at(env, device, config.size_bytes);
  if (!held) co_return std::unexpected(held.error());
  if (Status ours = service::is_ours(config, *held); !ours) co_return ours;
  const std::string before = held->super->node;
  if (before == name) {
    fmt::print("{}: holds {} already\n", name, service::held_words(config, *held));
    co_return Status{};
  }
  Status done = co_await replica::adopt_copy(env, device, config.size_bytes, name);
  if (done) fmt::print("{}: the copy that was {}'s is {}'s now\n", name, before, name);
  co_return done;
}

int run_reid(const CommandLine& line) {
  int code = kDone;
  auto config = read_config(line, code);
  if (!config) return code;
  const auto nodes = nodes_of(line, *config);
  if (!nodes) return refuse_usage(line.command, nodes.error().what);
  return run_real(line.command, kDataArena, [&](uring::RealEnv& env, uring::StopSignal& signal) -> Task<Result<int>> {
    const std::string state = line.has("state") ? line.text("state") : "";
    Reid work({env, signal, line.command, *config, *nodes}, *config, state);
    if (Status done = co_await work.run(); !done) co_return std::unexpected(done.error());
    co_return kDone;
  });
}

int run_adopt(const CommandLine& line) {
  int code = kDone;
  if (!line.has("name")) return refuse_usage(line.command, "expected --config FILE --name NAME");
  const auto config = read_config(line, code);
  if (!config) return code;
  const auto id = node_named(*config, line.text("name"));
  if (!id) return refuse_usage(line.command, "--name: " + id.error().what);
  return run_real(line.command, kDataArena, [&](uring::RealEnv& env, uring::StopSignal& signal) -> Task<Result<int>> {
    const Offline offline{env, signal, line.command, *config, {*id}};
    Status done = co_await offline.for_each_copy(
        false, [&](NodeId node, BlockDevice& device) { return adopt_one(env, *config, node, device); });
    if (!done) co_return std::unexpected(done.error());
    co_return kDone;
  });
}

}  // namespace

constexpr CommandSpec kVolumeReidCommand = {
    .name = "volume reid",
    .meaning = "make a volume of its own out of a cloned cluster, offline",
    .usage = "--config FILE [--state FILE] [--node NAME...]",
    .description =
        "Makes a volume of its own out of the clone of a whole cluster: copies, arbiter and FILE get new ids, so that "
        "neither "
        "takes the other for itself. With the clone's nodes and arbiter stopped. Where they are on several machines: "
        "run it on "
        "one, copy FILE to the others, run it there. What is interrupted is run again; when all is done, take the line "
        "former_id "
        "out of FILE (where all is on one machine, this is done for you).",
    .options = {{"config", "FILE", "the configuration of the clone"},
                {"state", "FILE", "the state of the clone's arbiter"},
                {"node", "NAME...", "only these nodes' copies; default: this_node in FILE, else all"}},
    .examples = {"resilver volume reid --config test.toml --state test.arbiter"},
    .exits = {{0, "done"}, {1, "refused or failed"}, {2, "bad usage or configuration"}},
    .run = run_reid,
};

constexpr CommandSpec kVolumeAdoptCommand = {
    .name = "volume adopt",
    .meaning = "a copy's disk was put into another node, offline",
    .usage = "--config FILE --name NAME",
    .description =
        "Makes the copy on NAME's device NAME's, where its disk came from another node: it stays the copy that it was, "
        "and keeps "
        "its place among those in sync. The node that had it must not start with a clone of it.",
    .options = {kConfigOption, {"name", "NAME", "the node whose device holds the copy now"}},
    .examples = {"resilver volume adopt --config web.toml --name D      (C's disk was put into D's machine)"},
    .exits = {{0, "done, or it was NAME's already"}, {1, "refused"}, {2, "bad usage or configuration"}},
    .run = run_adopt,
};

}  // namespace resilver::tools
