// How far a copy has come, said so that others can tell when it goes back: a snapshot that is put back, an old image in
// the place of a newer one.
//
// What must never happen: a copy that went back is taken for what it was when the others last heard of it. Rule: each
// copy has a counter that is never lowered (not by a discard, a full copy, a copy that is given up), raised with every
// write of these marks that tells something new, durable here before anybody is told, and kept by the others with their
// own next marks. A copy below the mark that somebody knows went back: it is compared by checksum and never goes first.
// An ordinary loss of power cannot look like that: what was told was durable. Marks are written each second while there
// are writes, once after the last, at each clearing of intent bits, and with each new record; under `quorum`, where the
// position counts for acknowledgements, whenever it moves.
//
// Two slots of two blocks, written in turn, both blocks of a slot the same and by one write: a block that rots is told
// by its twin from one that was being written. Where the position alone is on the way of an acknowledgement, its first block
// is enough; the next write of marks has both again.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "base/error.h"
#include "env/block_device.h"
#include "env/buffer.h"
#include "replica/types.h"

namespace resilver::replica {

struct Marks {
  std::uint64_t counter = 0;
  Position position;   // at least so much is here
  bool exact = false;  // ... and more counted for nobody: kept before each acknowledgement, as under `quorum`
  Position committed;  // durable on all members: who has less of that reign has lost something
  // Clearings of intent bits: prepared here, and those after which bits were dropped here (primary_bits.cc).
  Clearing prepared, dropped;
  std::vector<PeerMark> peers;  // of the other copies, as far as told; at most kMaxNodes

  std::uint64_t of(const CopyId& copy) const noexcept;   // 0: nothing is known
  bool note(const CopyId& copy, std::uint64_t counter);  // false: nothing new
};

class MarkStore {
 public:
  static constexpr std::uint64_t kSlotBytes = 2 * kBlockBytes;
  static constexpr std::uint64_t kBytes = 2 * kSlotBytes;

  MarkStore(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device)
      : scheduler_(scheduler), buffers_(buffers), device_(device), busy_(scheduler) {}

  const Marks& now() const noexcept { return now_; }  // as they are durable

  // Marks of another copy, or damaged ones, count as none: then what others know decides. Errors: limit, the device's.
  Task<Errc> load(std::uint64_t at, CopyId copy);
  Task<Errc> format(std::uint64_t at, CopyId copy, Marks initial);

  enum class Blocks : std::uint8_t { both, first };
  // Makes `change` durable; now() shows it when this returns ok. The counter is raised when anything but `peers`
  // changed. Calls are served one after another.
  Task<Errc> update(std::function<void(Marks&)> change, Blocks blocks = Blocks::both);

 private:
  Task<Errc> write(const Marks& next, Blocks blocks);
  Task<Errc> reserve();

  Scheduler& scheduler_;
  BufferPool& buffers_;
  BlockDevice& device_;
  std::uint64_t at_ = 0;
  CopyId copy_;
  Buffer buffer_;  // of its own: marks never wait for memory that data fills
  Mutex busy_;
  Marks now_;
  std::uint64_t sequence_ = 0;
  std::uint64_t tried_ = 0;  // the highest given to a write, also to one that failed
};

}  // namespace resilver::replica
