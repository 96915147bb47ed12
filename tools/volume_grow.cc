// `resilver volume grow`: a volume of more bytes, on devices that are large enough or images that are made so.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/units.h"
#include "replica/offline.h"
#include "service/device_words.h"
#include "service/volume_file.h"
#include "tools/array_progress.h"
#include "tools/commands.h"
#include "tools/volume_command.h"
#include "tools/volume_offline.h"
#include "tools/volume_storage.h"

namespace resilver::tools {
namespace {

using replica::NodeId;

class Grow {
 public:
  Grow(Offline offline, service::VolumeConfig& config, std::uint64_t size)
      : offline_(std::move(offline)), config_(config), before_(config.size_bytes), size_(size) {}

  Task<Status> run() {
    Status done;
    if (size_ != before_) {
      done = co_await offline_.for_each_copy(true, [this](NodeId id, BlockDevice& device) { return check(id, device); });
      if (done) done = offline_.extend_images(size_ + replica::Replica::metadata_bytes(), size_);
      if (done)
        done = co_await offline_.for_each_copy(false, [this](NodeId, BlockDevice& device) {
          return replica::prepare_growth(offline_.env, device, before_, size_);
        });
      if (done) done = service::set_in_volume(config_.file, {{"size", fmt::format("\"{}\"", format_exact(size_))}});
      if (!done) co_return done;
    }
    co_return co_await offline_.for_each_copy(false,
                                              [this](NodeId id, BlockDevice& device) { return finish(id, device); });
  }

 private:
  static std::string format_exact(std::uint64_t bytes) {
    constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
    return bytes % kMiB == 0 ? fmt::format("{}MiB", bytes / kMiB) : fmt::format("{}KiB", bytes / 1024);
  }

  Task<Status> check(NodeId id, BlockDevice& device) {
    const auto held = co_await replica::look_at(offline_.env, device, before_);
    if (!held) co_return std::unexpected(held.error());
    if (Status ours = service::is_ours(config_, *held); !ours) co_return ours;
    const std::uint64_t needed = size_ + replica::Replica::least_metadata_bytes(held->super->bit_count);
    if (is_image(config_.nodes[id]) || device.size_bytes() >= needed) co_return Status{};
    co_return fail(Errc::no_space,
                   fmt::format("{} bytes; {} are needed: make it larger first", device.size_bytes(), needed));
  }

  Task<Status> finish(NodeId id, BlockDevice& device) {
    const std::string& name = config_.nodes[id].name;
    ProgressLine line(name, "zeroing");
    const Rate rate(offline_.env.scheduler().now());
    const std::uint64_t total = size_ - before_;
    Status done = co_await replica::finish_growth(offline_.env, device, size_, [&](std::uint64_t bytes) {
      line.show(bytes, std::max(total, bytes), rate.of(bytes, offline_.env.scheduler().now()));
      return !uring::StopSignal::pending();
    });
    line.end();
    if (done) fmt::print("{}: {} holds {} now\n", name, storage_label(config_.nodes[id]), format_size(size_));
    co_return done;
  }

  Offline offline_;
  service::VolumeConfig& config_;
  std::uint64_t before_, size_;
};

// What --size asks for; nothing given: the file's, to go on with what was interrupted.
Result<std::uint64_t> size_asked(const CommandLine& line, const service::VolumeConfig& config) {
  const auto size = line.size_of("size", config.size_bytes);
  if (!size) return size;
  if (*size % kBlockBytes != 0)
    return fail(Errc::bad_input, fmt::format("--size: {} is not a multiple of {}", *size, kBlockBytes));
  if (*size == config.size_bytes) return size;
  const std::uint64_t least = replica::least_grown_bytes(config.size_bytes);
  if (*size < config.size_bytes)
    return fail(Errc::bad_input, fmt::format("--size: the volume has {} already, and no volume is made smaller",
                                             format_size(config.size_bytes)));
  if (*size < least)
    return fail(Errc::bad_input,
                fmt::format("--size: it grows by {} bytes at least: {} or more", least - config.size_bytes, least));
  return size;
}

int run_grow(const CommandLine& line) {
  int code = kDone;
  auto config = read_config(line, code);
  if (!config) return code;
  const auto nodes = nodes_of(line, *config);
  if (!nodes) return refuse_usage(line.command, nodes.error().what);
  const auto size = size_asked(line, *config);
  if (!size) return refuse_usage(line.command, size.error().what);
  return run_real(line.command, kDataArena, [&](uring::RealEnv& env, uring::StopSignal& signal) -> Task<Result<int>> {
    Grow work({env, signal, line.command, *config, *nodes}, *config, *size);
    if (Status done = co_await work.run(); !done) co_return std::unexpected(done.error());
    co_return kDone;
  });
}

}  // namespace

constexpr CommandSpec kVolumeGrowCommand = {
    .name = "volume grow",
    .meaning = "make the volume larger, offline",
    .usage = "--config FILE [--size SIZE] [--node NAME...]",
    .description =
        "Makes the volume larger, with its nodes stopped; what is new reads as zeroes. Images are made larger, devices "
        "and "
        "arrays must have the room. All is checked first; what is interrupted is run again, without --size once FILE "
        "has the new "
        "one. Where the nodes are on several machines, run it on each: copies of different sizes do not take each "
        "other for one. "
        "The arbiter may go on running.",
    .options = {{"config", "FILE", "the volume's configuration; its size is changed"},
                {"size", "SIZE", "of the volume from then on, a multiple of 4096"},
                {"node", "NAME...", "only these nodes' copies; default: this_node in FILE, else all"}},
    .examples = {"resilver volume grow --config web.toml --size 2GiB"},
    .exits = {{0, "grown"}, {1, "refused or failed"}, {2, "bad usage or configuration"}, cli::kInterruptedExit},
    .run = run_grow,
};

}  // namespace resilver::tools
