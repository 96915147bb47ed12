// The write-intent bitmap while the array runs: bits are durable on every live member before the writes they cover
// (rule 1), concurrent setters share one update, and idle bits are cleared by sweep() after a flush, never while degraded.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "async/sync.h"
#include "raid/bit_tree.h"
#include "raid/bitmap_format.h"
#include "raid/leaf.h"

namespace resilver::raid {

class Core;

class Bitmap {
 public:
  // member_bytes: what the bits cover (Geometry::sync_bytes()).
  Bitmap(Core& core, const Uuid& uuid, std::uint64_t member_bytes, std::uint32_t chunk_bytes);

  // ---- before and after a write of [begin, end) of the data area ----
  // True if all bits are durable already. Counts the write in either case: end() must follow.
  bool begin(std::uint64_t from, std::uint64_t to);
  // Waits until they are; returns early when the array has failed or has no room.
  Task<void> wait_durable(std::uint64_t from, std::uint64_t to);
  void end(std::uint64_t from, std::uint64_t to);

  // Clears bits that were idle since the last sweep. Does nothing while degraded or before a resync has ended.
  Task<void> sweep();
  bool any_set() const noexcept { return !set_.empty(); }

  // ---- starting ----
  // Takes over the bits that a member has on disk. Errors: not ours, or unreadable in form.
  Status merge(std::span<const std::byte> image);
  void mark_all_for_resync();  // every bit that is set: its region must be resynced
  void set_all();
  // A member that left before these events cannot be told by bits what it missed.
  void forget_before(std::uint64_t events) noexcept { events_cleared_ = events; }
  std::uint64_t next_marked(
      std::uint64_t from) const noexcept;  // first offset >= from that needs a resync; member_bytes: none
  void resynced();                         // all marked regions are
  std::uint64_t next_set(std::uint64_t from) const noexcept;  // first offset >= from whose bit is set; member_bytes: none

  // Waits until all members have the bits that are set.
  Task<void> write_set();
  // Writes everything to one member (a new one). Header alone: with each superblock.
  Task<void> write_all(Member& member);
  // Block 0 as it is to be on disk. Precondition: the turn was taken, and is given back when the block has been written.
  void copy_header(const Buffer& block);
  Task<void> take_turn();  // two writes of one block must never be in flight together
  void give_turn();
  std::size_t size_on_disk() const noexcept { return image_.size(); }
  std::uint32_t chunk_bytes() const noexcept { return chunk_bytes_; }
  std::uint64_t events_cleared() const noexcept {
    return events_cleared_;
  }  // a member as fresh as this knows all clear bits
  static std::uint64_t device_offset(const Member& member) noexcept;

 private:
  static constexpr std::uint64_t kWritersAtOnce = 1024;
  using Writers = std::array<std::uint32_t, kWritersAtOnce>;

  std::uint64_t blocks() const noexcept { return image_.size() / kBlockBytes; }
  std::uint64_t bit_of(std::uint64_t offset) const noexcept { return offset >> shift_; }
  bool durable(std::uint64_t from, std::uint64_t to) const noexcept;
  void set_bit(std::uint64_t bit);
  void clear_bit(std::uint64_t bit);
  bool written_now(std::uint64_t bit) const noexcept;
  std::uint64_t first_of(const BitTree& bits, std::uint64_t from) const noexcept;
  static constexpr std::size_t kBlocksAtOnce = 32;

  Task<void> write_dirty_blocks();
  Task<void> write_some(std::span<Member* const> to, std::size_t& next, bool only_dirty);
  void encode_header();

  Core& core_;
  Uuid uuid_;
  std::uint64_t member_bytes_;
  std::uint32_t chunk_bytes_;
  std::uint32_t shift_;
  std::uint64_t bits_;
  std::uint64_t events_cleared_ = 0;
  std::vector<std::byte> image_;                   // as on disk
  BitTree set_;                                    // the bits of the image
  BitTree durable_;                                // of them: on all live members
  BitTree touched_;                                // ... written since the last sweep
  BitTree marked_;                                 // ... to be resynced
  std::vector<std::unique_ptr<Writers>> writers_;  // by bit: writes under way; null: none ever
  BitTree dirty_blocks_;
  std::vector<std::uint64_t> fresh_;  // set, not yet on disk
  bool writing_ = false;
  Event written_;
};

}  // namespace resilver::raid
