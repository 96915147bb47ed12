// sim_speed [REQUESTS]: how fast virtual time runs: a RAID 5 of 5 simulated NVMe disks under random reads and writes (70:30)
// of 4 to 16 KiB, 16 under way, with data that cannot be held as patterns. Prints the disks' operations as "ops".
#include <memory>
#include <string>
#include <vector>

#include "env/disk_model.h"
#include "measure.h"
#include "raid/array.h"
#include "sim/disk.h"
#include "sim/node.h"
#include "sim/world.h"
#include "tools/bench_load.h"

namespace {

using namespace resilver;
using bench::die;

constexpr int kDisks = 5;

std::string disk_name(int index) { return "disk" + std::to_string(index); }

Task<void> work(Env& env, sim::World& world, std::vector<sim::Disk*>& disks, std::uint64_t requests) {
  std::vector<std::unique_ptr<BlockDevice>> devices;
  std::vector<raid::MemberDisk> members;
  for (int i = 0; i < kDisks; ++i) {
    auto device = co_await env.open_disk(disk_name(i), kNever);
    if (!device) die(device.error().what.c_str());
    devices.push_back(std::move(*device));
    members.push_back({disk_name(i), devices.back().get()});
  }
  raid::ArrayConfig config;
  config.level = raid::Level::raid5;
  config.consistency = raid::Consistency::bitmap;
  auto array =
      co_await raid::Array::create(env.scheduler(), env.buffers(), env.random(), config, {members, {}, {}}, true);
  if (!array) die(array.error().what.c_str());

  const auto count = [&] {
    std::uint64_t ops = 0;
    for (const sim::Disk* disk : disks)
      ops += disk->counters().reads + disk->counters().writes + disk->counters().flushes + disk->counters().others;
    return ops;
  };
  const auto bytes = [&] {
    std::uint64_t sum = 0;
    for (const sim::Disk* disk : disks) sum += disk->counters().read_bytes + disk->counters().write_bytes;
    return sum;
  };
  {
    tools::LoadOptions options;
    options.max_bytes = 16 * 1024;
    options.write_percent = 30;
    options.depth = 16;
    tools::Load load(env.scheduler(), env.buffers(), **array, options);
    const std::uint64_t ops_before = count(), bytes_before = bytes();
    const Nanos virtual_before = world.now();
    bench::Meter meter;
    meter.start();
    co_await load.run(kNever, requests);
    meter.stop();
    if (load.error() != Errc::ok) die("a request failed", errc_name(load.error()));
    std::fprintf(stderr, "%llu requests in %.1f virtual ms\n", static_cast<unsigned long long>(load.ops()),
                 static_cast<double>(world.now() - virtual_before) * 1e-6);
    meter.print(count() - ops_before, bytes() - bytes_before);
  }
  co_await (*array)->stop();
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t requests = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 300'000;
  if (requests == 0) die("usage: sim_speed [REQUESTS]");
  auto model = disk_preset("nvme");
  if (!model) die(model.error().what.c_str());
  sim::World world(1);
  sim::Node& node = world.add_node("A");
  std::vector<sim::Disk*> disks;
  for (int i = 0; i < kDisks; ++i) {
    disks.push_back(&world.add_disk("A." + disk_name(i), std::uint64_t{128} << 20, {.model = *model}));
    node.attach_disk(disk_name(i), *disks.back());
  }
  node.start([&](Env& env) { return work(env, world, disks, requests); });
  if (world.run_while([&] { return node.running(); }) != sim::Stop::condition) die("the simulation stopped early");
}
