#include "scenario/capacity.h"

#include <fmt/format.h>

#include <algorithm>

#include "scenario/disk_spec.h"
#include "workload/prober.h"

namespace resilver::scenario {
namespace {

using Wide = unsigned __int128;

constexpr std::uint64_t kHeadBytes = 128;  // of a message, about

// Between its copies.
std::vector<const LinkSpec*> links_of(const Scenario& scenario, const ContenderSpec& contender) {
  std::vector<const LinkSpec*> links;
  if (!contender.replicate) return links;
  const auto add = [&](const std::string& name) {
    const auto at = std::ranges::find(scenario.links, name, &LinkSpec::name);
    if (at != scenario.links.end()) links.push_back(&*at);
  };
  add(contender.replicate->link);
  for (const SitePair& pair : contender.between) add(pair.link);
  return links;
}

Nanos transfer_time(const DiskParameters& disk, bool write, std::uint64_t bytes) {
  const std::uint64_t bandwidth = write ? disk.write_bandwidth : disk.read_bandwidth;
  if (bandwidth == 0) return 0;
  return static_cast<Nanos>(Wide{bytes} * static_cast<std::uint64_t>(kSecond) / bandwidth);
}

// Disk time, all disks of the node together, that a write of the client takes there.
Nanos time_of_write(const DiskSpec& disk, const NodeSpec& node, bool sequential, std::uint64_t bytes) {
  const std::uint32_t ios = ios_per_small_write(node);
  const std::uint32_t writes = node.raid == 6 ? 3 : node.raid >= 4 && node.raid <= 5 ? 2 : ios;
  const std::uint32_t reads = ios - std::min(ios, writes);
  return static_cast<Nanos>(writes) * service_time(disk, true, sequential, bytes) +
         static_cast<Nanos>(reads) * service_time(disk, false, sequential, bytes);
}

std::uint32_t percent_of_reads(const WorkloadSpec& load) {
  switch (load.rw) {
    case Rw::read:
    case Rw::randread: return 100;
    case Rw::write:
    case Rw::randwrite: return 0;
    default: return load.rwmixread;
  }
}

// How long `bytes`, with what the protocol puts around them, occupy a line.
Nanos time_on(const LinkSpec& link, std::uint64_t bytes) {
  if (link.bandwidth == 0) return 0;
  return static_cast<Nanos>(Wide{bytes + kHeadBytes} * static_cast<std::uint64_t>(kSecond) / link.bandwidth);
}

bool is_sequential(Rw rw) { return rw == Rw::read || rw == Rw::write || rw == Rw::rw; }

}  // namespace

Nanos service_time(const DiskSpec& spec, bool write, bool sequential, std::uint64_t bytes) {
  const DiskParameters disk = disk_parameters(spec);
  const Nanos access = sequential ? disk.sequential_access : disk.random_access;
  const Nanos transfer = transfer_time(disk, write, bytes);
  return std::max((access + transfer) / std::max<std::uint32_t>(disk.channels, 1), transfer);  // one bus for all channels
}

std::uint32_t ios_per_small_write(const NodeSpec& node) {
  const std::uint32_t journal = has_journal(node) ? 1 : 0;
  switch (node.raid) {
    case 1: return node.disks;
    case 4:
    case 5: return std::min(4u, node.disks) + journal;
    case 6: return std::min(6u, node.disks) + journal;
    case 10: return 2;
    default: return 1;
  }
}

Nanos probe_period(const Scenario& scenario) {
  Nanos period = workload::Prober::kLeastPeriod;
  for (const ContenderSpec& contender : scenario.contenders) {
    Nanos cost = service_time(scenario.disk, false, false, kBlockBytes);
    std::uint32_t disks = 0;
    for (const NodeSpec& node : contender.nodes) {
      cost += time_of_write(scenario.disk, node, false, kBlockBytes);
      disks += node.disks;
    }
    if (disks != 0) period = std::max(period, 100 * cost / disks);
    for (const LinkSpec* link : links_of(scenario, contender))
      period = std::max(period, 100 * time_on(*link, kBlockBytes));
  }
  return period;
}

Nanos probe_tolerance(const Scenario& scenario) {
  // A question travels behind a request of the client's.
  const auto travel = [&](const LinkSpec& link) { return link.rtt + time_on(link, kBlockBytes + scenario.workload.bs); };
  Nanos farthest = 0;
  for (const ContenderSpec& contender : scenario.contenders) {
    for (const LinkSpec* link : links_of(scenario, contender)) farthest = std::max(farthest, travel(*link));
  }
  return std::max(30 * kMillisecond, 25 * disk_parameters(scenario.disk).random_access) + travel(scenario.client_link) +
         farthest;
}

std::uint64_t load_permille(const Scenario& scenario, const ContenderSpec& contender) {
  const WorkloadSpec& load = scenario.workload;
  if (contender.nodes.empty()) return 0;
  const NodeSpec& node = contender.nodes.front();
  const bool sequential = is_sequential(load.rw);
  const std::uint32_t reads = percent_of_reads(load);
  const auto read = static_cast<std::uint64_t>(service_time(scenario.disk, false, sequential, load.bs));
  const auto write = static_cast<std::uint64_t>(time_of_write(scenario.disk, node, sequential, load.bs));
  const Wide busy = Wide{load.rate_iops} * (read * reads + write * (100 - reads)) / 100;  // ns of disk time a second
  return static_cast<std::uint64_t>(busy * 1000 / (Wide{node.disks} * static_cast<std::uint64_t>(kSecond)));
}

std::vector<std::string> overload_words(const Scenario& scenario) {
  std::vector<std::string> lines;
  for (const ContenderSpec& contender : scenario.contenders) {
    const std::uint64_t permille = load_permille(scenario, contender);
    if (permille <= 1000) continue;
    lines.push_back(
        fmt::format("{}: {} requests a second are {}.{} times what its disks serve by their model (about {} a second): "
                    "they queue, and "
                    "latencies, stalls and outages of the client say how long the run was",
                    contender.name, scenario.workload.rate_iops, permille / 1000, permille % 1000 / 100,
                    scenario.workload.rate_iops * 1000 / permille));
  }
  return lines;
}

}  // namespace resilver::scenario
