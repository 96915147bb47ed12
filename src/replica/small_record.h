// A few KiB that must survive whatever one spot of a device does: a copy's superblock, the arbiter's record.
//
// What must never happen: a record goes back to what it was, silently, because its newest copy cannot be read. A
// damaged copy looks like one that was being written when power failed, and only the latter was never promised to
// anybody. Rule: a record is two sets of three copies, written alternately, each copy in a physical block of its own,
// as far from the others as there is room (1 MiB). A set is made whole before the other one is written; what is written
// is durable when two of its set's three are. So the newest record is on two places at least, or was never promised.
// Damaged is not torn:
// * the highest valid copy counts (older valid ones are not bad), if fewer than two of the other set are bad, or its
//   own set is whole; else the record is damaged, and nobody may guess;
// * it is written back to the whole of its set before anybody acts on it, and to the other set where that has fewer than
//   two valid copies;
// * zeroes where a copy belongs are damage, not emptiness. Only where no copy is to be found anywhere was there none.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "async/task.h"
#include "base/error.h"
#include "env/block_device.h"
#include "env/buffer.h"

namespace resilver::replica {

class SmallRecord {
 public:
  static constexpr std::uint64_t kCopies = 6;  // copy i belongs to set i % 2
  static constexpr std::uint64_t kHeadBytes = 48;
  static constexpr std::uint64_t kMostRoom = 3 * kBlockBytes;

  struct Place {
    std::uint64_t at = 0;      // of the first copy
    std::uint64_t stride = 0;  // from one to the next; at least `room`
    std::uint64_t room = 0;    // of each: a multiple of 4096, at most kMostRoom
    std::uint64_t copy(std::uint64_t i) const noexcept { return at + i * stride; }
    std::uint64_t end() const noexcept { return copy(kCopies - 1) + room; }
    std::uint64_t most_bytes() const noexcept { return room - kHeadBytes; }
    bool operator==(const Place&) const = default;
  };

  // `magic` names the kind of record. References must outlive this; one call at a time.
  SmallRecord(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, std::uint64_t magic)
      : scheduler_(scheduler), buffers_(buffers), device_(device), magic_(magic) {}

  enum class Mend : std::uint8_t { yes, no };  // no: the device is only looked at
  // Reads the record that lies at `place`. Errors: not_found (no copy is there), corrupt (damaged beyond trust),
  // unsupported (of a newer version), limit (no buffer), those of the device.
  Task<Status> load(Place place, Mend mend);
  // Writes both sets. Interrupted, it leaves what was there, or the new record.
  Task<Errc> format(Place place, std::span<const std::byte> content);
  // Durable when this returns ok. Precondition: load() or format(); content.size() <= place().most_bytes(). After an
  // error either record may be there.
  Task<Errc> store(std::span<const std::byte> content);

  const Place& place() const noexcept { return place_; }
  std::span<const std::byte> content() const noexcept { return content_; }
  unsigned bad_copies() const noexcept { return bad_; }  // that load() met
  bool met() const noexcept { return met_; }             // a copy that tells the place of the last load(), whole or not

  // Where the first copy says that all of them are, if it is one: for finding a record whose stride is not known.
  Task<Result<Place>> place_told_at(std::uint64_t at);
  // The places that copies tell which begin in [from, to): where the first copy of one is damaged.
  Task<std::vector<Place>> places_told_within(std::uint64_t from, std::uint64_t to);

 private:
  struct Copy {
    bool marked = false;  // has the magic
    bool placed = false;  // and tells this place
    bool valid = false;
    std::uint64_t sequence = 0;
  };
  Task<Errc> reserve(std::uint64_t bytes);
  Copy judge(std::span<const std::byte> bytes, const Place& place) const;
  Task<Result<Place>> place_told_by(std::uint64_t copy);
  void compose(std::span<const std::byte> content, std::uint64_t sequence);
  Task<Errc> write_set(std::uint64_t set);
  Task<void> write_copy(std::uint64_t index);
  Task<Errc> make_whole();
  Task<std::uint64_t> highest_here();

  Scheduler& scheduler_;
  BufferPool& buffers_;
  BlockDevice& device_;
  const std::uint64_t magic_;
  Place place_;
  Buffer buffer_;  // of its own: a record never waits for memory that data fills
  std::vector<std::byte> content_;
  std::uint64_t sequence_ = 0;
  std::uint64_t tried_ = 0;  // the highest given to a store, also to one that failed
  unsigned bad_ = 0;
  bool met_ = false;
  std::array<Errc, kCopies> written_{};  // of the present content, or of the one before in the other set
};

// A buffer, waiting a little when the pool is used up; empty only if that lasts.
Task<Buffer> allocate_patiently(Scheduler& scheduler, BufferPool& buffers, std::size_t bytes);

}  // namespace resilver::replica
