// `resilver volume create`: images where there are none, and the replica's metadata on each node's device.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/units.h"
#include "replica/metadata.h"
#include "tools/array_signature.h"
#include "tools/volume.h"
#include "tools/volume_command.h"
#include "tools/volume_storage.h"

namespace resilver::tools {
namespace {

constexpr OptionSpec kOptions[] = {
    {"config", "FILE", "the volume's configuration"},
    {"node", "NAME...", "only these nodes; default: this_node in FILE, else all", true},
    {"force", nullptr, "also on what holds a copy of a volume, a file system or a partition table"},
};

constexpr CommandSpec kSpec = {
    "volume create",
    "Usage: resilver volume create --config FILE [--node NAME...] [--force]\n\n"
    "Makes the images that are missing (sparse) and formats the replica's metadata at the end of each\n"
    "node's device. What first_primary's device holds becomes the volume; the other copies are made\n"
    "from it once the nodes run. All is checked before anything is changed.",
    kOptions,
    "Examples:\n"
    "  resilver volume create --config web.toml\n"
    "  resilver volume create --config web.toml --node B --force      (after B got a new disk)\n\n"
    "Exit: 0 made, 1 refused (nothing was changed), 2 bad usage or configuration.\n"};

struct Plan {
  const service::VolumeConfig& config;
  std::vector<replica::NodeId> nodes;
  bool force = false;
};

bool to_be_made(const service::NodeEntry& node) {
  return node.array.empty() && access(node.device.c_str(), F_OK) != 0 && errno == ENOENT;
}

// The start of an array as a file, so that libblkid can look at it.
Task<Result<std::optional<std::string>>> what_array_holds(uring::RealEnv& env, raid::Array& array) {
  const std::size_t bytes = std::min<std::uint64_t>(array.size_bytes(), BufferPool::kMaxBlock);
  const Buffer start = env.buffers().allocate(bytes);
  if (!start) co_return fail(Errc::limit, "no buffer");
  if (const Errc status = co_await Io::read(array, 0, start); status != Errc::ok) {
    co_return fail(status, fmt::format("the array cannot be read: {}", errc_name(status)));
  }
  const int fd = memfd_create("start of an array", MFD_CLOEXEC);
  if (fd < 0) co_return fail(Errc::limit, std::strerror(errno));
  Result<std::optional<std::string>> found = std::nullopt;
  if (ftruncate(fd, static_cast<off_t>(array.size_bytes())) == 0 &&
      pwrite(fd, start.data(), bytes, 0) == static_cast<ssize_t>(bytes)) {
    found = what_it_holds(fmt::format("/proc/self/fd/{}", fd));
  }
  close(fd);
  co_return found;
}

// What is on the device that somebody may still want; empty: nothing.
Task<Result<std::string>> what_would_be_lost(uring::RealEnv& env, const service::VolumeConfig& config,
                                             NodeStorage& storage, const service::NodeEntry& node) {
  BlockDevice& device = storage.device();
  replica::MetadataStore metadata(env.scheduler(), env.buffers(), device,
                                  device.size_bytes() - replica::Replica::metadata_bytes());
  const Status loaded = co_await metadata.load();
  if (loaded && metadata.now().volume == config.id) co_return fmt::format("a copy of volume '{}'", config.name);
  if (loaded) co_return "a copy of another volume";
  if (loaded.error().code == Errc::corrupt) co_return "a copy of a volume with damaged metadata";
  if (loaded.error().code != Errc::bad_input) co_return std::unexpected(loaded.error());
  raid::Array* array = storage.storage().array;
  const auto holds = array != nullptr ? co_await what_array_holds(env, *array) : what_it_holds(node.device);
  if (!holds) co_return std::unexpected(holds.error());
  co_return holds->value_or("");
}

// Nothing is changed here.
Task<Status> check_node(uring::RealEnv& env, uring::StopSignal& signal, const Plan& plan, replica::NodeId id) {
  const service::NodeEntry& node = plan.config.nodes[id];
  if (to_be_made(node)) co_return Status{};
  NodeStorage storage(env, signal, "volume create");
  Status good = co_await storage.open(node, true);
  if (good && storage.device().size_bytes() < service::device_bytes(plan.config)) {
    good = fail(Errc::bad_input, fmt::format("{}: {} bytes; the volume and its metadata need {}", storage_label(node),
                                             storage.device().size_bytes(), service::device_bytes(plan.config)));
  }
  if (good && !plan.force) {
    const auto lost = co_await what_would_be_lost(env, plan.config, storage, node);
    if (!lost) {
      good = std::unexpected(lost.error());
    } else if (!lost->empty()) {
      good = fail(Errc::exists, fmt::format("{}: holds {} (--force formats it anew)", storage_label(node), *lost));
    }
  }
  const Status closed = co_await storage.close();
  co_return good ? closed : good;
}

Task<Status> format_node(uring::RealEnv& env, uring::StopSignal& signal, const Plan& plan, replica::NodeId id) {
  const service::NodeEntry& node = plan.config.nodes[id];
  const bool made = to_be_made(node);
  if (made) {
    const std::uint64_t bytes = service::device_bytes(plan.config);
    if (Status image = uring::create_image(node.device, bytes, uring::Allocation::sparse); !image) co_return image;
  }
  NodeStorage storage(env, signal, "volume create");
  Status done = co_await storage.open(node, false);
  if (done) {
    auto formatted =
        co_await replica::Replica::open(env, service::replica_config(plan.config, id), storage.device(), true);
    if (!formatted) done = fail(formatted.error().code, storage_label(node) + ": " + formatted.error().what);
  }
  const Status closed = co_await storage.close();
  if (done) done = closed;
  if (!done && made) unlink(node.device.c_str());
  if (done) fmt::print("{}: {} {}\n", node.name, storage_label(node), made ? "made" : "formatted");
  co_return done;
}

void print_next(const Plan& plan) {
  const service::VolumeConfig& config = plan.config;
  fmt::print("volume '{}' of {}; now start", config.name, format_size(config.size_bytes));
  if (!config.arbiter.empty()) fmt::print(" the arbiter and");
  fmt::print(" the node{}:\n", plan.nodes.size() == 1 ? "" : "s");
  if (!config.arbiter.empty()) {
    fmt::print("  resilver arbiter --state {}.arbiter --listen {}\n", config.name, config.arbiter);
  }
  if (!config.arbiter.empty() && plan.force && plan.nodes.size() == config.nodes.size()) {
    fmt::print("  (with a new state file: a record of the volume that was here names copies that are gone)\n");
  }
  for (const replica::NodeId id : plan.nodes) {
    fmt::print("  resilver node --config {} --name {}\n", config.file, config.nodes[id].name);
  }
}

Task<Result<int>> create(uring::RealEnv& env, uring::StopSignal& signal, const Plan& plan) {
  for (const replica::NodeId id : plan.nodes) {
    if (Status good = co_await check_node(env, signal, plan, id); !good) co_return std::unexpected(good.error());
  }
  for (const replica::NodeId id : plan.nodes) {
    if (Status done = co_await format_node(env, signal, plan, id); !done) co_return std::unexpected(done.error());
  }
  print_next(plan);
  co_return kDone;
}

// Those named, or the one that this machine is, or all.
Result<std::vector<replica::NodeId>> choose_nodes(const CommandLine& line, const service::VolumeConfig& config) {
  std::vector<replica::NodeId> nodes;
  if (line.has("node")) {
    for (const std::string& name : line.options.at("node")) {
      const auto id = node_named(config, name);
      if (!id) return std::unexpected(id.error());
      nodes.push_back(*id);
    }
  } else if (config.self) {
    nodes.push_back(*config.self);
  } else {
    for (replica::NodeId id = 0; id < config.nodes.size(); ++id) nodes.push_back(id);
  }
  return nodes;
}

}  // namespace

int volume_create_main(int argc, char** argv) {
  int code = kDone;
  const auto line = read_command_line(argc, argv, kSpec, code);
  if (!line) return code;
  const auto config = read_config(*line, code);
  if (!config) return code;
  const auto nodes = choose_nodes(*line, *config);
  if (!nodes) return refuse_usage(line->command, nodes.error().what);
  const Plan plan{*config, *nodes, line->has("force")};
  return run_real(line->command, kDataArena,
                  [&](uring::RealEnv& env, uring::StopSignal& signal) { return create(env, signal, plan); });
}

}  // namespace resilver::tools
