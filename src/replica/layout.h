// Where a copy keeps what is not the volume's data: behind it.
//
//   0 .. volume_bytes   data
//   bits_at             the intent bitmap (intent_bitmap.h)
//   marks_at            two slots of two blocks (marks.h)
//   record              the superblock, six times (metadata.h, small_record.h), 1 MiB from each other if there is room
//   device's end        one block: where all this is (Anchor), for when the size in the volume's file is wrong
//
// All of it is found from the volume's size alone: a device that has grown is the same copy. It is never searched for inside
// the volume, where a guest's nested image may hold one; a superblock tells its own place.
#pragma once

#include <cstdint>
#include <optional>

#include "env/block_device.h"
#include "replica/small_record.h"
#include "replica/types.h"

namespace resilver::replica {

inline constexpr std::uint64_t kMaxIntentBits = 1 << 22;
// Fewer would make a resync of a large volume copy too much of it; where a device has no room for them, it is refused.
inline constexpr std::uint64_t kLeastIntentBits = 1 << 15;

struct Layout {
  std::uint64_t volume_bytes = 0;
  std::uint64_t bit_count = 0;
  std::uint64_t bits_at = 0;
  std::uint64_t marks_at = 0;
  SmallRecord::Place record;
  std::uint64_t end() const noexcept { return record.end() + kBlockBytes; }  // with the anchor

  // For a device of this size; nothing if it is too small. The copies of the record get the room and distance that fit.
  static std::optional<Layout> fit(std::uint64_t volume_bytes, std::uint64_t bit_count, std::uint64_t device_bytes);
  // The same where the record is known.
  static Layout of(std::uint64_t volume_bytes, std::uint64_t bit_count, SmallRecord::Place record) noexcept;
  // Where the first copy of the record of such a volume lies, on whatever device.
  static std::uint64_t record_at(std::uint64_t volume_bytes, std::uint64_t bit_count) noexcept;
  // ... and the last one at most.
  static std::uint64_t furthest_copy(std::uint64_t volume_bytes, std::uint64_t bit_count) noexcept;

  // Bytes behind the volume with all the room that is wanted, and with the least.
  static std::uint64_t wanted_bytes(std::uint64_t bit_count) noexcept;
  static std::uint64_t least_bytes(std::uint64_t bit_count) noexcept;
};

// The last block of the device, as it was when the copy was made, or opened last.
struct Anchor {
  VolumeId volume;
  CopyId copy;
  std::uint64_t volume_bytes = 0;
  std::uint64_t bit_count = 0;
  bool operator==(const Anchor&) const = default;
};
// Nothing: the last block holds none.
Task<std::optional<Anchor>> read_anchor(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device);
Task<Errc> write_anchor(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, Anchor anchor);

}  // namespace resilver::replica
