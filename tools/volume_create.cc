// `resilver volume create`: images where there are none, and the replica's metadata on each node's device.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/units.h"
#include "service/device_words.h"
#include "service/volume_file.h"
#include "tools/array_signature.h"
#include "tools/commands.h"
#include "tools/volume_command.h"
#include "tools/volume_storage.h"

namespace resilver::tools {
namespace {

struct Plan {
  service::VolumeConfig config;  // from when the checks are done, with the id that the copies get
  std::vector<replica::NodeId> nodes;
  bool force = false;
  bool new_volume = false;  // else copies of one that there is
};

bool to_be_made(const service::NodeEntry& node) {
  return node.array.empty() && access(node.device.c_str(), F_OK) != 0 && errno == ENOENT;
}

// The start of an array as a file, so that libblkid can look at it.
Task<Result<std::optional<std::string>>> what_array_holds(uring::RealEnv& env, raid::Array& array) {
  const std::size_t bytes = std::min<std::uint64_t>(array.size_bytes(), BufferPool::kMaxBlock);
  const Buffer start = env.buffers().allocate(bytes);
  if (!start) co_return fail(Errc::limit, "no memory for a buffer");
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
  const auto held = co_await replica::look_at(env, storage.device(), config.size_bytes);
  if (!held) co_return std::unexpected(held.error());
  if (held->kind != replica::Held::Kind::nothing) co_return service::held_words(config, *held);
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
  Status good = co_await storage.open(node, NodeStorage::Mode::read_only);
  if (good && storage.device().size_bytes() < service::least_device_bytes(plan.config)) {
    good =
        fail(Errc::bad_input,
             fmt::format("{}: {} bytes; the volume and its metadata need {}: give it a larger device, or put this one "
                         "aside (an image that is not there is made: mv {} {}.old)",
                         storage_label(node), storage.device().size_bytes(), service::least_device_bytes(plan.config),
                         storage_label(node), storage_label(node)));
  }
  if (good && !plan.force) {
    const auto lost = co_await what_would_be_lost(env, plan.config, storage, node);
    if (!lost) {
      good = std::unexpected(lost.error());
    } else if (!lost->empty()) {
      good = fail(Errc::exists, fmt::format("{}: holds {}, which would be given up (--force formats it anew)",
                                            storage_label(node), *lost));
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
    // A file system that is full later must not keep a copy from telling so.
    Status room = uring::reserve(node.device, plan.config.size_bytes, bytes - plan.config.size_bytes);
    if (!room) {
      unlink(node.device.c_str());
      co_return room;
    }
  }
  NodeStorage storage(env, signal, "volume create");
  Status done = co_await storage.open(node, NodeStorage::Mode::read_write);
  if (done) {
    auto formatted =
        co_await replica::Replica::open(env, service::replica_config(plan.config, id), storage.device(),
                                        plan.new_volume ? replica::Start::new_volume : replica::Start::new_copy);
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
  fmt::print("volume '{}' of {}, id {}; now start", config.name, format_size(config.size_bytes), to_string(config.id));
  const bool arbiter = !config.arbiter.empty() && plan.new_volume;
  if (arbiter) fmt::print(" the arbiter and");
  fmt::print(" the node{}:\n", plan.nodes.size() == 1 ? "" : "s");
  if (arbiter) {
    fmt::print("  resilver arbiter --state {}.arbiter --listen {}     (a state file of its own: each volume has one)\n",
               config.name, config.arbiter);
  }
  for (const replica::NodeId id : plan.nodes) {
    fmt::print("  resilver node --config {} --name {}\n", config.file, config.nodes[id].name);
  }
}

Task<Result<int>> create(uring::RealEnv& env, uring::StopSignal& signal, Plan& plan) {
  for (const replica::NodeId id : plan.nodes) {
    if (Status good = co_await check_node(env, signal, plan, id); !good) co_return std::unexpected(good.error());
  }
  // The id is in the file before any copy has it: what is interrupted here is made anew by another create.
  if (plan.new_volume) {
    plan.config.id = Id128::draw(env.random());
    const std::string id_text = fmt::format("\"{}\"", to_string(plan.config.id));
    if (Status set = service::set_in_volume(plan.config.file, {{"id", id_text}}); !set)
      co_return std::unexpected(set.error());
  }
  for (const replica::NodeId id : plan.nodes) {
    if (Status done = co_await format_node(env, signal, plan, id); !done) co_return std::unexpected(done.error());
  }
  print_next(plan);
  co_return kDone;
}

// A volume is new where all copies are made, or it has no id; else copies of the one that there is, but for a first
// primary's machine that is forced.
bool is_new_volume(const CommandLine& line, const service::VolumeConfig& config,
                   const std::vector<replica::NodeId>& nodes) {
  const bool whole = nodes.size() == config.nodes.size();
  if (config.id.none() || (whole && nodes.size() > 1)) return true;
  const bool with_first = std::ranges::find(nodes, config.first_primary) != nodes.end();
  return !line.has("node") && with_first && (whole || line.has("force"));
}

int run_create(const CommandLine& line) {
  int code = kDone;
  const auto config = read_config(line, code, NeedsId::no);
  if (!config) return code;
  const auto nodes = nodes_of(line, *config);
  if (!nodes) return refuse_usage(line.command, nodes.error().what);
  const bool new_volume = is_new_volume(line, *config, *nodes);
  if (new_volume && std::ranges::find(*nodes, config->first_primary) == nodes->end()) {
    return refuse(line.command,
                  {Errc::bad_input, fmt::format("{}: the volume has no id yet: make {}'s copy first, then copy the "
                                                "file, which has the id then",
                                                config->file, config->nodes[config->first_primary].name)});
  }
  Plan plan{*config, *nodes, line.has("force"), new_volume};
  return run_real(line.command, kDataArena,
                  [&](uring::RealEnv& env, uring::StopSignal& signal) { return create(env, signal, plan); });
}

}  // namespace

constexpr CommandSpec kVolumeCreateCommand = {
    .name = "volume create",
    .meaning = "make the nodes' images and format their metadata",
    .usage = "--config FILE [--node NAME...] [--force]",
    .description =
        "Makes the images that are missing (sparse), formats the replica's metadata behind the volume on each node's "
        "device, "
        "and writes the new volume's id into FILE, which then goes to the other machines. What first_primary's device "
        "holds "
        "becomes the volume; the other copies are made from it once the nodes run. --node makes one copy of the volume "
        "that "
        "there is anew, on a new disk: the others bring it up to date. All is checked before anything is changed.",
    .options = {kConfigOption,
                {"node", "NAME...", "only these nodes; default: this_node in FILE, else all"},
                {"force", nullptr, "also on what holds a copy of a volume, a file system or a partition table"}},
    .examples = {"resilver volume create --config web.toml",
                 "resilver volume create --config web.toml --node B --force      (after B got a new disk)"},
    .exits = {{0, "made"}, {1, "refused (nothing was changed)"}, {2, "bad usage or configuration"}},
    .run = run_create,
};

}  // namespace resilver::tools
