// What a node keeps of the volume beside its data, at the end of the device: two superblock slots of 4096 bytes, then the
// intent bitmap. The superblock is written to the slots in turn, each with a sequence number and a crc32c, FUA: a crash
// or a torn write in one leaves the other, which holds the state before. All fields little endian; see docs/wire-protocol.md.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "base/error.h"
#include "env/block_device.h"
#include "env/buffer.h"
#include "replica/wire.h"

namespace resilver::replica {

struct Superblock {
  std::uint64_t volume = 0;
  NodeId node = kNoNode;
  std::uint64_t volume_bytes = 0;
  std::uint64_t granule = 0;  // bytes of data per intent bit
  std::uint64_t bit_count = 0;
  std::uint64_t epoch = 0;       // the highest obeyed
  std::uint64_t attachment = 0;  // the highest accepted
  std::uint64_t bits_since = 0;  // epoch in which intent bits were last cleared: they hold what happened since its start
  bool inconsistent = false;     // a resync into this copy began and has not ended
  Position position;             // at least so much is here
  std::uint64_t resync_id = 0;   // of the copy into this one that has not ended; 0: none
  std::vector<Generation> history;  // newest first, at most kGenerations; empty: new disk, or a copy of all of it not ended
  // Blocks that no copy could read when they were to be copied: an error to readers until written, never this disk's old
  // content. One block each, so that what is rewritten is taken out without making the list longer.
  std::vector<Extent> lost;
  static constexpr std::size_t kMaxLost = 192;

  bool fresh() const noexcept { return history.empty(); }
  Generation generation() const noexcept { return history.empty() ? Generation{} : history.front(); }
  bool knows(const Generation& g) const noexcept;
  void push(const Generation& g);  // becomes the newest, unless it is known or none
  bool lost_in(Extent e) const noexcept;
  bool add_lost(Extent e);  // false: too many
  void remove_lost(Extent e);
  // Forgets what is newer than `base`; everything, if `base` is not known.
  void roll_back(const Generation& base);
};

class MetadataStore {
 public:
  MetadataStore(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, std::uint64_t offset)
      : scheduler_(scheduler), buffers_(buffers), device_(device), offset_(offset), busy_(scheduler) {}

  const Superblock& now() const noexcept { return now_; }  // as it is durable

  Task<Status> load();                    // errors: bad_input (none there), corrupt, device errors
  Task<Errc> format(Superblock initial);  // both slots

  // Makes `change` to the superblock durable; now() shows it when this returns ok. Updates are served one after another.
  Task<Errc> update(std::function<void(Superblock&)> change);

  static constexpr std::uint64_t kSlotBytes = 2 * kBlockBytes;

 private:
  Task<Errc> write(const Superblock& next);

  Scheduler& scheduler_;
  BufferPool& buffers_;
  BlockDevice& device_;
  std::uint64_t offset_;
  Mutex busy_;
  Superblock now_;
  std::uint64_t sequence_ = 0;
};

// A buffer, waiting a little when the pool is used up; empty only if that lasts.
Task<Buffer> allocate_patiently(Scheduler& scheduler, BufferPool& buffers, std::size_t bytes);

}  // namespace resilver::replica
