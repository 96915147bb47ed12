// What an operator's commands do to a copy that no node has open: look at it, bring it over from version 1, give it
// another name, other ids, more room. Each may be interrupted at any point and run again.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/env.h"
#include "replica/intent_bitmap.h"
#include "replica/marks.h"
#include "replica/metadata.h"
#include "replica/old_format.h"
#include "replica/replica.h"

namespace resilver::replica {

// A copy's parts, opened without a node.
class OfflineCopy {
 public:
  OfflineCopy(Env& env, BlockDevice& device)
      : metadata(env.scheduler(), env.buffers(), device),
        marks(env.scheduler(), env.buffers(), device),
        bits(env.scheduler(), env.buffers(), device) {}

  // Errors: as MetadataStore::load().
  Task<Status> load(std::uint64_t volume_bytes, SmallRecord::Mend mend);

  MetadataStore metadata;
  MarkStore marks;
  IntentBitmap bits;
};

// The bytes of data per intent bit, of so many bits.
std::uint64_t granule_for(std::uint64_t volume_bytes, std::uint64_t bits) noexcept;

// What a device holds that somebody may still want.
struct Held {
  enum class Kind : std::uint8_t { nothing, copy, other_size, old_copy, damaged, newer } kind = Kind::nothing;
  std::optional<Superblock> super;  // copy
  std::optional<Anchor> anchor;     // other_size
  std::optional<old::Copy> old;     // old_copy
};
// Nothing is written. Errors: those of the device.
Task<Result<Held>> look_at(Env& env, BlockDevice& device, std::uint64_t volume_bytes);

// ---- upgrade ---------------------------------------------------------------------------------------------------------
// Everything is derived from the volume's new id, so that each machine may do its part by itself.
struct UpgradePlan {
  VolumeId volume;
  std::vector<std::string> names;     // of the nodes, in the file's order
  std::optional<old::Record> record;  // the arbiter's, where it is at hand
  struct History {
    NodeId node = kNoNode;
    std::vector<old::Generation> generations;  // newest first
  };
  std::vector<History> histories;  // of the copies that are at hand
  std::uint64_t lease_ms = 0;
};
CopyId upgraded_copy_id(const VolumeId& volume, const std::string& name);
// The record that the arbiter goes on with.
Record upgraded_record(const UpgradePlan& plan);
// Whether a device of this size has the room: behind the copy's old metadata, or in front of them.
bool can_be_upgraded(const old::Copy& copy, std::uint64_t device_bytes) noexcept;
// What is always enough, with as much folding of the bitmap as is allowed, and without.
std::uint64_t least_upgraded_bytes(std::uint64_t volume_bytes) noexcept;
std::uint64_t wanted_upgraded_bytes(std::uint64_t volume_bytes) noexcept;
// Brings the copy of the node at `place` over; it must be of version 1, or half brought over. It goes on with the
// history that it has. Errors: no_space (too little room behind the volume), bad_input, corrupt, the device's.
Task<Status> upgrade_copy(Env& env, BlockDevice& device, const UpgradePlan& plan, NodeId place,
                          std::uint64_t volume_bytes);

// ---- names and ids ---------------------------------------------------------------------------------------------------
// The copy is that of a node with this name from now on.
Task<Status> adopt_copy(Env& env, BlockDevice& device, std::uint64_t volume_bytes, const std::string& name);
// What becomes of an id of a copy where the volume gets a new one.
CopyId reid(const CopyId& copy, const VolumeId& volume);
Record reid(Record record, const VolumeId& volume);
// Errors: bad_input (neither the former nor the new volume's).
Task<Status> reid_copy(Env& env, BlockDevice& device, std::uint64_t volume_bytes, const VolumeId& former,
                       const VolumeId& volume);

// ---- more room -------------------------------------------------------------------------------------------------------
// The least size that a volume of `volume_bytes` can grow to, and what its device must have then.
std::uint64_t least_grown_bytes(std::uint64_t volume_bytes) noexcept;
// Writes the metadata anew behind the volume's new end; the copy stays what it was until the file says the new size.
Task<Status> prepare_growth(Env& env, BlockDevice& device, std::uint64_t volume_bytes, std::uint64_t grown_bytes);
// Zeroes what is behind the old end, then lets the copy be opened. `progress` is called with the bytes done.
Task<Status> finish_growth(Env& env, BlockDevice& device, std::uint64_t grown_bytes,
                           const std::function<bool(std::uint64_t)>& progress);

}  // namespace resilver::replica
