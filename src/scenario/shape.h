// What the engine makes of a node's description: its array, and how large disks must be for the volume. The room that
// superblock, bitmap and a copy's metadata take is asked of those who lay them out, so that what `check` calls sound starts.
#pragma once

#include <cstdint>

#include "raid/array.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

// Without tuning. Precondition: why_impossible() has nothing to say.
raid::ArrayConfig array_config_of(const NodeSpec& node);

// What a volume of this contender can hold on disks of that size in bytes; the smallest node decides. 0: too small.
std::uint64_t usable_bytes(const ContenderSpec& contender, std::uint64_t disk_size_bytes);

// The size of each disk of this node in bytes: [disk] size, or under same_usable the least that holds the volume (whole
// MiB); more than kMaxDiskBytes: no disk does.
std::uint64_t disk_size_bytes(const Scenario& scenario, const NodeSpec& node);

}  // namespace resilver::scenario
