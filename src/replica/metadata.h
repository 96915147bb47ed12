// What a node keeps of the volume beside its data and its marks: the superblock. Where it lies: layout.h; how it
// survives damage: small_record.h. Fields: docs/on-disk-volume.md.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "base/error.h"
#include "env/block_device.h"
#include "env/buffer.h"
#include "replica/layout.h"
#include "replica/record.h"
#include "replica/small_record.h"

namespace resilver::replica {

// A recovery (service/recover.h) was promised to: until the arbiter's record differs from what that recovery read,
// another one asks, or somebody calls it off, this node follows nobody and proposes nothing.
struct Promise {
  std::uint64_t run = 0;  // 0: none
  ArbiterKey key;
  std::uint64_t version = 0, nonce = 0;
  bool operator==(const Promise&) const = default;
};

struct Superblock {
  VolumeId volume;
  CopyId copy;
  std::string node;  // the name of the node that it was made for
  std::uint64_t volume_bytes = 0;
  std::uint64_t granule = 0;  // bytes of data per intent bit
  std::uint64_t bit_count = 0;
  bool founder = false;       // a new volume may start from this copy
  bool inconsistent = false;  // a resync into this copy began and has not ended
  bool suspect = false;       // its storage was started by force: compared by checksum, and never first
  // While it was the primary another process of this copy, on a clone of the device, was made the primary: what it had
  // acknowledged then is nowhere else. Kept apart until somebody chooses.
  bool usurped = false;
  std::uint64_t growing_from = 0;  // `volume grow` has not ended: from here on it is not zeroed; 0: it has
  std::uint64_t attachment = 0;    // the highest accepted
  std::uint64_t resync_id = 0;     // of the copy into this one that has not ended; 0: none
  Record known;                    // the newest record that this node has won, was named by, or was configured with
  ArbiterKey arbiter;              // that kept it then
  Head base;                    // up to where its data belongs to that history; none: new, or a copy of all not ended
  std::vector<ForkNote> forks;  // the newest kMaxForks
  static constexpr std::size_t kMaxForks = 8;
  Promise promise;
  // Of the processes that have served this copy, from this device; the newest first. One that names itself as the
  // primary in the record and is not here serves a clone of it.
  std::vector<std::uint64_t> lives;
  static constexpr std::size_t kMaxLives = 32;
  // Blocks that no copy could read when they were to be copied: an error to readers until written, never this disk's old
  // content. One block each, so that what is rewritten is taken out without making the list longer.
  std::vector<Extent> lost;
  static constexpr std::size_t kMaxLost = 192;
  bool operator==(const Superblock&) const = default;

  std::uint64_t epoch() const noexcept { return known.epoch; }
  bool fresh() const noexcept { return base.none(); }
  void follow(const Record& record);  // consistent with it from now on
  void note_fork(const ForkNote& note);
  bool noted(const ForkNote& note) const noexcept;
  void add_life(std::uint64_t life);
  bool lived(std::uint64_t life) const noexcept;
  bool lost_in(Extent e) const noexcept;
  bool add_lost(Extent e);  // false: too many
  void remove_lost(Extent e);
};

class MetadataStore {
 public:
  MetadataStore(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device);

  const Superblock& now() const noexcept { return now_; }  // as it is durable
  const Layout& layout() const noexcept { return layout_; }
  unsigned bad_copies() const noexcept { return record_.bad_copies(); }  // that load() met

  // Finds and reads the copy of a volume of this size. Errors: not_found (there is none), corrupt (damaged), bad_input
  // (a copy of another size, see anchor()), unsupported (of a newer version), limit, the device's.
  Task<Status> load(std::uint64_t volume_bytes, std::uint64_t bit_count, SmallRecord::Mend mend);
  // What the device's last block told, if load() found no copy, or a damaged one.
  const std::optional<Anchor>& anchor() const noexcept { return anchor_; }
  // With all the room that there is, or where `layout` says. Errors: no_space (the device is too small), the device's.
  Task<Errc> format(Superblock initial);
  Task<Errc> format(Superblock initial, Layout layout);

  // Makes `change` to the superblock durable; now() shows it when this returns ok. Updates are served one after
  // another, and one that changes nothing is written, too.
  Task<Errc> update(std::function<void(Superblock&)> change);

  // The device may have grown: its last block says again where the copy is.
  Task<Errc> set_anchor();

 private:
  Task<Status> load_at(const Layout& layout, SmallRecord::Mend mend);
  Task<Status> load_near(std::uint64_t volume_bytes, std::uint64_t bit_count, SmallRecord::Mend mend);
  Task<Status> search(std::uint64_t volume_bytes, std::uint64_t bit_count, SmallRecord::Mend mend);
  std::vector<std::byte> encode(const Superblock& super) const;

  Scheduler& scheduler_;
  BufferPool& buffers_;
  BlockDevice& device_;
  SmallRecord record_;
  Layout layout_;
  std::optional<Anchor> anchor_;
  Mutex busy_;
  Superblock now_;
};

}  // namespace resilver::replica
