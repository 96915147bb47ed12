// What version 1 of this program kept: read once, by `volume upgrade`, to be written anew. docs/on-disk-volume.md tells
// what became of each field.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "base/error.h"
#include "env/block_device.h"
#include "env/buffer.h"
#include "replica/types.h"

namespace resilver::replica::old {

struct Generation {  // of version 1: each record opened one
  std::uint64_t epoch = 0, nonce = 0;
  NodeId primary = kNoNode;
  bool operator==(const Generation&) const = default;
};

struct Record {
  std::uint64_t version = 0;
  Generation generation;
  NodeSet in_sync;
  AckMode ack = AckMode::durable;
};

struct Copy {
  // Of its metadata on the device: two slots of 4096 bytes, then bit_count / 8 bytes of intent bits.
  std::uint64_t at = 0;
  std::uint64_t volume = 0;  // a hash of the volume's name
  NodeId node = kNoNode;     // its place in the file
  bool inconsistent = false;
  std::uint64_t volume_bytes = 0, granule = 0, bit_count = 0;
  std::uint64_t attachment = 0, bits_since = 0, resync_id = 0;
  std::vector<Generation> history;  // newest first
  std::vector<Extent> lost;
  Position position;
  std::vector<std::uint64_t> bits;  // of bit_count
};
inline constexpr std::uint64_t kSlotBytes = 2 * kBlockBytes;
inline constexpr std::uint64_t kBits = 1 << 18;  // that `volume create` of version 1 gave
inline constexpr std::uint64_t kReserved = kSlotBytes + kBits / 8;
inline constexpr std::uint64_t kMostSlack = std::uint64_t{64} << 20;

// Where an upgrade puts a copy's metadata that are in the way: in front of the device's last block, which is the anchor's.
std::uint64_t spare_place(std::uint64_t device_bytes) noexcept;
// The copy at the device's end; where the device has grown since, right behind a volume of this size, or at most
// kMostSlack behind it; else at the spare place. Nothing if there is none. Errors: corrupt (there was one, and both slots
// are damaged), the device's.
Task<Result<std::optional<Copy>>> find_copy(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device,
                                            std::uint64_t volume_bytes);
// Zeroes the slots there, the older one first: interrupted, what is found is the newer one.
Task<Errc> wipe(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, std::uint64_t at);
// Zeroes what is left of a copy, whole or half wiped, wherever find_copy() looks behind `from`.
Task<Errc> wipe_all(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, std::uint64_t from);
// The arbiter's record on its two blocks; nothing if the device holds something else. Errors: corrupt, the device's.
Task<Result<std::optional<Record>>> find_record(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device);
// A volume's number in version 1.
std::uint64_t volume_number(std::string_view name) noexcept;

}  // namespace resilver::replica::old
