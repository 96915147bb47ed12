#include "scenario/shape.h"

#include <algorithm>

#include "raid/journal.h"
#include "replica/replica.h"

namespace resilver::scenario {
namespace {

constexpr std::uint64_t kUnit = 1 << 20;

raid::Consistency consistency_of(const NodeSpec& node) {
  if (node.raid == 0) return raid::Consistency::none;
  switch (node.consistency) {
    case Consistency::none: return raid::Consistency::none;
    case Consistency::resync: return raid::Consistency::resync;
    case Consistency::bitmap: return raid::Consistency::bitmap;
    case Consistency::journal: return raid::Consistency::journal;
  }
  return raid::Consistency::none;
}

// Every node serves its array through a copy of the volume (src/replica), also one that has no peer.
std::uint64_t usable_bytes(const NodeSpec& node, std::uint64_t disk_size_bytes) {
  const auto array = raid::Array::planned_bytes(array_config_of(node), node.disks, disk_size_bytes);
  const std::uint64_t metadata = replica::Replica::least_metadata_bytes();
  return array && *array > metadata ? *array - metadata : 0;
}

}  // namespace

raid::ArrayConfig array_config_of(const NodeSpec& node) {
  raid::ArrayConfig array;
  array.level = static_cast<raid::Level>(node.raid);
  if (!node.layout.empty()) array.layout = raid::layout_from_name(node.layout);
  array.chunk_bytes = node.chunk_bytes;
  array.consistency = consistency_of(node);
  array.name = node.name;
  return array;
}

std::uint64_t usable_bytes(const ContenderSpec& contender, std::uint64_t disk_size_bytes) {
  std::uint64_t least = contender.nodes.empty() ? 0 : ~0ull;
  for (const NodeSpec& node : contender.nodes) least = std::min(least, usable_bytes(node, disk_size_bytes));
  return least;
}

std::uint64_t disk_size_bytes(const Scenario& scenario, const NodeSpec& node) {
  if (scenario.fair == Fairness::same_disk) return scenario.disk.size_bytes;
  // A journal disk is as large as the others, so their members must be as large as its log.
  const std::uint64_t wanted =
      std::max(scenario.volume_bytes, has_journal(node) ? raid::Journal::kMinBytes * node.disks : 0);
  std::uint64_t size = kUnit;
  for (std::uint64_t usable = 0; (usable = usable_bytes(node, size)) < wanted && size <= kMaxDiskBytes;) {
    size += std::max(kUnit, (wanted - usable) / node.disks / kUnit * kUnit);
  }
  while (size > kUnit && usable_bytes(node, size - kUnit) >= wanted)
    size -= kUnit;  // whole chunks came with the last step
  return size;
}

}  // namespace resilver::scenario
