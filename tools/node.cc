// `resilver node`: the daemon that serves one copy of a replicated volume.
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "base/log.h"
#include "service/daemon.h"
#include "service/device_words.h"
#include "tools/commands.h"
#include "tools/listen.h"
#include "tools/volume_command.h"
#include "tools/volume_storage.h"

namespace resilver::tools {
namespace {

Task<void> wait_for_signal(uring::StopSignal& signal, Event& stop) {
  static_cast<void>(co_await signal.wait());
  stop.set();
}

Task<Status> serve(uring::RealEnv& env, uring::StopSignal& signal, const service::VolumeConfig& config,
                   replica::NodeId self, service::Storage storage) {
  const service::NodeEntry& node = config.nodes[self];
  service::Daemon daemon(env, config, self, std::move(storage));
  if (Status opened = co_await daemon.open(); !opened) co_return opened;
  auto listener = co_await listen_patiently(env, node.listen);
  if (!listener) co_return std::unexpected(listener.error());
  auto control = co_await listen_patiently(env, node.control);
  if (!control) co_return std::unexpected(control.error());
  fmt::print("node {}: listening {} control {}\n", node.name, (*listener)->address(), (*control)->address());
  std::fflush(stdout);
  Event stop(env.scheduler());
  TaskGroup tasks(env.scheduler());
  tasks.spawn(wait_for_signal(signal, stop));
  co_await daemon.run(**listener, **control, stop);
  signal.close();
  co_await tasks.join();
  co_return Status{};
}

Task<Result<int>> run_node(uring::RealEnv& env, uring::StopSignal& signal, const service::VolumeConfig& config,
                           replica::NodeId self, bool force) {
  NodeStorage storage(env, signal, "node");
  const service::NodeEntry& node = config.nodes[self];
  Status done = co_await storage.open(node, force ? NodeStorage::Mode::by_force : NodeStorage::Mode::read_write);
  if (!done) done.error().what += service::what_helps_without(config, self, done.error());
  if (!done && done.error().code == Errc::unavailable && !node.array.empty() && !force) {
    done.error().what +=
        fmt::format("; it is compared with the other copies then: resilver node --config {} --name {} --force",
                    config.file, node.name);
  }
  if (done) done = co_await serve(env, signal, config, self, storage.storage());
  const Status closed = co_await storage.close();
  if (done) done = closed;
  if (!done) co_return std::unexpected(done.error());
  co_return kDone;
}

int node(const CommandLine& line) {
  int code = kDone;
  const auto config = read_config(line, code);
  if (!config) return code;
  auto self = config->self;
  if (line.has("name")) {
    self = service::find_node(*config, line.text("name"));
    if (!self) {
      return refuse_usage("node", fmt::format("--name: no node '{}' in {}: expected {}", line.text("name"),
                                              config->file, service::node_names(*config)));
    }
  }
  if (!self && config->nodes.size() == 1) self = 0;
  if (!self) return refuse_usage("node", fmt::format("expected --name {}", service::node_names(*config)));
  const bool force = line.has("force");
  if (force && config->nodes[*self].array.empty())
    return refuse_usage("node", fmt::format("--force is for arrays, and {} is on {}", config->nodes[*self].name,
                                            config->nodes[*self].device));
  set_log_name("node " + config->nodes[*self].name);
  return run_real("node", kDataArena, [&](uring::RealEnv& env, uring::StopSignal& signal) {
    return run_node(env, signal, *config, *self, force);
  });
}

}  // namespace

constexpr CommandSpec kNodeCommand = {
    .name = "node",
    .meaning = "the daemon that serves one copy of a volume",
    .usage = "--config FILE [--name NAME] [--force]",
    .description =
        "Serves one copy of a replicated volume, on an image, a block device or an array, until SIGTERM or Ctrl-C. A "
        "primary "
        "then hands over first, so that a planned stop costs no failed request. Says 'node NAME: listening ADDRESS "
        "control "
        "ADDRESS' when it is ready; what happens is told on standard error.\n\n"
        "With --force an array starts also where some of its blocks may be wrong. Then this copy is compared with the "
        "others block by block before it counts, and goes first only if somebody chooses it (volume recover).",
    .options = {{"config", "FILE", "the volume's configuration, the same on every node: docs/volumes.md"},
                {"name", "NAME", "which of its nodes this is; default: this_node in FILE"},
                {"force", nullptr, "start an array that is dirty and degraded, or lacks what it needs; see above"}},
    .examples = {"resilver node --config web.toml --name A"},
    .exits = {{0, "stopped"}, {1, "it could not start or its array failed"}, {2, "bad usage or configuration"}},
    .run = node,
};

}  // namespace resilver::tools
