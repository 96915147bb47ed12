// The array: members become one block device that survives the loss of some of them. See geometry.h for the room's README
// and docs for the rules; the numbers below ("rule 4") are those of docs/architecture.md, "RAID: what must hold".
//
// How it works. Reads of healthy members and all of RAID 0 and linear go straight through: one pooled operation, one leaf I/O
// per member, a countdown. Everything else is a coroutine per request and per stripe under a range lock over member offsets
// (shared for reads, exclusive for writes and for the windows of rebuild, resync and scrub; first come, first served).
// A slot that is being rebuilt counts as present below its watermark and as lost above it.
//
// What is on disk: md superblock 1.2 at sector 8, write-intent bitmap at sector 16, bad-block log behind it, data at
// data_offset. A crash can leave stripes whose parity does not match; the superblock then says "dirty" and, with a bitmap,
// the bits say where. A failed member is excluded by the roles in the others' superblocks, not by its own.
//
// Concurrency: one thread, the scheduler's. Every method may be called at any time before stop(); stop() once.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "base/random.h"
#include "base/time.h"
#include "env/block_device.h"
#include "env/meter.h"
#include "raid/geometry.h"

namespace resilver::raid {

class Core;
struct Superblock;

// What happens to parity after a crash: `none` is never looked after (linear, RAID 0, or the caller's risk); `resync` checks
// the whole array; `bitmap` checks the regions that a bit marks; `journal` (RAID 4, 5, 6) replays what a journal disk holds, so
// that parity matches the data even when members are lost before or in the crash (md's raid5-cache, write-through).
enum class Consistency : std::uint8_t { none, resync, bitmap, journal };

// How the array runs; nothing of it is on disk.
struct ArrayTuning {
  std::uint32_t member_timeout_ms = 30'000;  // a member that does not get past its oldest request for so long is faulty
  std::uint64_t speed_min = 1ull << 20;      // bytes/s per member written, while foreground I/O is busy
  std::uint64_t speed_max = 0;               // bytes/s per member written, never more; 0: no limit
  std::uint32_t window_depth = 4;            // windows in flight
  std::uint32_t max_requests = 256;          // requests under way; more wait in a queue
  std::uint64_t stripe_memory_bytes = 16 << 20;  // scratch memory of stripe operations; more wait
  std::uint32_t idle_clean_ms = 200;             // after so long without a write the array is marked clean
  std::uint32_t bitmap_sleep_ms = 5'000;         // idle bits are cleared this often
  std::uint32_t checkpoint_ms = 1'000;           // a rebuild notes this often how far it is
  std::uint32_t progress_event_ms = 1'000;       // between two rebuild_progress events
  std::uint32_t slow_member_ms = 0;              // a member whose I/Os take longer than this on average ...
  std::uint32_t slow_member_after_ms = 10'000;   // ... for so long is faulty, if the array survives it; 0 above: never
  // Unix time in seconds when the scheduler's clock read 0: for creation and update time in superblocks, which tell people
  // when; nothing is decided by them.
  std::uint64_t unix_time_at_zero = 0;
  bool hold_recovery = false;  // nothing is rebuilt or resynced: for commands that only change members
};

struct ArrayConfig {
  Level level = Level::raid5;
  std::optional<Layout> layout;           // default: md's
  std::uint64_t chunk_bytes = 64 * 1024;  // linear: what members are rounded down to; 0: nothing
  Consistency consistency = Consistency::resync;
  std::uint32_t bitmap_chunk_bytes = 0;  // 0: the finest that fits, at least 64 KiB; else a power of two ≥ 4096
  std::string name = "resilver";         // at most 32 bytes
  std::optional<std::array<std::uint8_t, 16>> uuid = {};  // of the array; default: random
  std::optional<std::uint64_t> data_offset_bytes = {};  // where data begins on every member, a multiple of 4096; default: md's
  ArrayTuning tuning;
};

// A disk as the array is given it. `name` tells disks apart in status, events and fail_member(). The device must outlive
// the array, and what the array gave up on, which may be out when the array has gone: see BlockDevice::busy().
struct MemberDisk {
  std::string name;
  BlockDevice* device = nullptr;
  bool write_mostly = false;  // add_disk(): RAID 1 reads it only where no other member can be read
};

// The disks of a new array. `journal` exactly if the consistency policy is journal.
struct ArrayDisks {
  std::vector<MemberDisk> members;  // in slot order; without a device: missing, at most as many as the level survives
  std::vector<MemberDisk> spares;
  std::optional<MemberDisk> journal;
};

// replacement: takes a slot over from a member that still works, and is copied from it.
enum class MemberState : std::uint8_t { in_sync, rebuilding, replacement, faulty, spare, journal, missing };
enum class ArrayState : std::uint8_t { clean, active, degraded, failed };  // active: being written (md's "dirty")
enum class RecoveryKind : std::uint8_t { none, rebuild, resync, scrub, replace };
// set_limit: speed_max; speed_min: that it may be held to while foreground I/O is busy.
enum class LimitedBy : std::uint8_t { nothing, target_writes, survivor_reads, cpu, set_limit, speed_min };
// Why members are read and written. data: what a client reads and writes, every copy of it. parity: what parity costs it, that
// is writes of P and Q and the reads before a write. observer, replica_*: see IoUse. superblock: bad-block logs, too.
enum class Cause : std::uint8_t {
  data,
  parity,
  observer,
  replica_metadata,
  replica_resync,
  superblock,
  bitmap,
  journal,
  rebuild,
  resync,
  scrub
};
inline constexpr std::size_t kCauses = 11;
const char* name(Cause cause) noexcept;

const char* name(Consistency consistency) noexcept;
const char* name(MemberState state) noexcept;
const char* name(ArrayState state) noexcept;
const char* name(RecoveryKind kind) noexcept;
const char* name(LimitedBy limit) noexcept;
std::optional<Consistency> consistency_from_name(std::string_view text) noexcept;

struct IoCounters : Traffic {  // of I/Os issued to members
  std::uint64_t flushes = 0;
};

struct MemberStatus {
  std::string name;                   // empty if missing
  std::optional<std::uint32_t> slot;  // none for spares and for faulty disks that were replaced
  MemberState state = MemberState::missing;
  std::uint64_t rebuilt_bytes = 0;  // rebuilding: the watermark
  IoCounters io;
  std::uint64_t errors = 0;      // failed I/Os of any kind
  std::uint64_t bad_blocks = 0;  // 4096-byte blocks in its bad-block log
};

struct RecoveryStatus {
  RecoveryKind kind = RecoveryKind::none;
  std::uint64_t done_bytes = 0;  // of each member
  std::uint64_t total_bytes = 0;
  std::uint64_t rate = 0;  // bytes/s of each member, over the last second or so
  LimitedBy limited_by = LimitedBy::nothing;
};

// A 4096-byte row of a stripe whose redundancy does not match its data.
struct Mismatch {
  std::uint64_t stripe = 0;
  std::uint64_t member_offset = 0;       // of the row, from the start of the data area
  std::optional<std::uint32_t> slot;     // the one wrong member, if RAID 6 or a majority of three copies tells
  std::optional<std::uint64_t> logical;  // its logical block, if it holds data
};

// A 4096-byte row of which a scrub could not read so much that nothing restores it. RAID 10: the copies of one block.
struct LostRow {
  std::uint64_t stripe = 0;
  std::uint64_t member_offset = 0;     // from the start of the data area (RAID 10: of the first copy)
  std::vector<std::uint32_t> slots;    // that cannot be read there
  std::vector<std::uint64_t> logical;  // the blocks of data that are lost
};

inline constexpr std::size_t kMaxListed = 256;  // mismatches, lost rows and lost blocks that a status lists

struct ArrayStatus {
  Level level = Level::raid0;
  ArrayState state = ArrayState::clean;
  std::uint64_t events = 0;
  std::vector<MemberStatus> members;  // slots in order, then spares, then replaced faulty disks
  std::uint32_t redundancy_left = 0;  // further member failures survived right now, at the worst place
  RecoveryStatus recovery;
  RecoveryStatus last_recovery;        // the last one that ended: kind, bytes, mean rate, limit
  std::uint64_t mismatch_sectors = 0;  // of the last scrub, as md counts: 8 for every mismatching row of 4096 bytes
  std::vector<Mismatch> mismatches;    // the first kMaxListed of them
  std::uint64_t lost_row_count = 0;    // of the last scrub: rows that nothing can restore
  std::vector<LostRow> lost_rows;      // the first kMaxListed of them
  std::vector<std::uint64_t> lost_by_slot;  // how many of them cannot be read on each slot's member
  std::vector<std::uint64_t> lost_blocks;   // logical addresses known to be unreadable, ascending, at most kMaxListed
  std::uint64_t healed_blocks = 0;
  bool journal_missing = false;    // it is to have one, and nothing is written without
  std::vector<std::string> notes;  // what was damaged when it was assembled, and what was done about it: a line each
  std::string full;                // the disk that had no room for the last thing to be written; empty: all had
  IoCounters io[kCauses];          // by Cause
};

enum class EventKind : std::uint8_t {
  member_failed,
  degraded,
  rebuild_started,
  rebuild_progress,
  rebuild_finished,
  resync_started,
  resync_finished,
  redundancy_full,
  array_failed,
  scrub_finished,
  block_lost,
  block_healed,
  disk_added,
  member_slow,  // its I/Os are slower than ArrayTuning allows: value is the mean latency in microseconds
};
const char* name(EventKind kind) noexcept;

struct ArrayEvent {
  Nanos at = 0;
  EventKind kind = EventKind::member_failed;
  std::string member;       // the disk concerned, if one is
  std::uint64_t value = 0;  // progress and finished: bytes done; block_*: logical address (kNoAddress: parity);
                            // scrub_finished: mismatch_sectors; degraded: redundancy left
  std::uint64_t total = 0;  // progress: bytes in all
  Errc error = Errc::ok;    // member_failed: why
};
inline constexpr std::uint64_t kNoAddress = ~std::uint64_t{0};

class ArrayListener {
 public:
  virtual ~ArrayListener() = default;
  // Called from within the array: must not call back into it but for status().
  virtual void on_event(const ArrayEvent& event) = 0;
};

struct AssembleOptions {
  ArrayTuning tuning;
  // Start a parity array that is dirty and degraded (rule 4), or whose journal is lost: blocks may then be wrong.
  bool force = false;
  // Take the freshest disks back that missed something, while too few are current: what they missed is lost. Not those that
  // were failed by hand.
  bool take_stale = false;
  // Nothing is written to any disk, not even superblocks; writes are refused (read_only), nothing is recovered. A dirty array
  // reads as it lies there, and a journal is not replayed: doubtful() tells where that may be wrong.
  bool read_only = false;
  // Together with read_only, for a rescue: too few members are enough, and the array never fails; reads are answered where
  // what live members hold answers them.
  bool rescue = false;
};

// What assemble() made of a disk that it was given.
enum class DiskVerdict : std::uint8_t {
  member,       // current, in `slot`
  rebuilding,   // current, its rebuild goes on
  replacement,  // current, is to take `slot` over
  spare,
  journal,
  stale,        // of this array, but it missed writes: its events are behind
  faulty,       // of this array; the others hold it for faulty, or its place has another disk now
  diverged,     // of this array, but it and the freshest went on without each other: neither is newer
  duplicate,    // another disk given claims the same place (the same device UUID, or the same slot)
  other_array,  // of another array
  unusable,     // no superblock, or one that cannot be used: `why`
};
const char* name(DiskVerdict verdict) noexcept;

struct DiskFound {
  std::string name;
  DiskVerdict verdict = DiskVerdict::unusable;
  std::optional<std::uint32_t> slot;
  std::uint64_t events = 0;
  std::string why;  // unusable: one line that names the field; taken back by force: how far it was behind; else empty
};
using AssemblyReport = std::vector<DiskFound>;  // in the order in which the disks were given

struct ScrubOptions {
  bool repair = false;
  // RAID 6: rewrite the one block that P and Q agree on being wrong, and name it. Without it, and always when the array was
  // not shut down cleanly before, a repair computes parity from the data, as md does.
  bool locate = false;
};

class Array final : public BlockDevice {
 public:
  // Writes superblocks (and whatever the disks held is gone) and starts. `members` in slot order; their usable size is that
  // of the smallest. assume_clean: the members are known to be consistent (all zeroes, or of a former array); else a resync
  // follows at once, if enough of them are there for one.
  // `random` gives the UUIDs. Errors: invalid_argument (a shape that cannot be, a disk too small; one line), or the first
  // disk's error.
  static Task<Result<std::unique_ptr<Array>>> create(Scheduler& scheduler, BufferPool& pool, Random& random,
                                                     ArrayConfig config, ArrayDisks disks, bool assume_clean);

  // The size in bytes that such an array of `disks` equal disks of `disk_bytes` would have. Pure. Errors: as create().
  static Result<std::uint64_t> planned_bytes(const ArrayConfig& config, std::uint32_t disks, std::uint64_t disk_bytes);

  // Starts an array from disks in any order. The roles in the freshest superblock decide who is a member (rule 2); disks
  // without a superblock are left alone, as are members that are faulty or stale. An interrupted rebuild goes on at its
  // recovery_offset, a spare is taken at once, an unclean array is resynced (with a bitmap: where its bits say).
  // A disk that does not answer within member_timeout_ms is left out as if it were not there; it is busy() for as long.
  // Errors: not_found (no superblock), bad_input (of two arrays, a disk or a slot twice, disks that diverged), unavailable (too
  // few members; dirty and degraded without force), corrupt, unsupported, limit (no memory to read a disk). `report`, if given,
  // is filled in either case as far as it was known.
  static Task<Result<std::unique_ptr<Array>>> assemble(Scheduler& scheduler, BufferPool& pool, Random& random,
                                                       AssembleOptions options, std::vector<MemberDisk> disks,
                                                       AssemblyReport* report = nullptr);

  // Does a disk answer? Reads a block of it, and gives it `timeout` for that. For whoever has to choose disks for an
  // array. What a disk was asked in vain it may still answer later: it is busy() until then.
  static Task<Errc> probe(Scheduler& scheduler, BlockDevice& device, Nanos timeout);

  // Precondition: stop() has ended, or the scheduler was killed. I/Os given up on a hung member may still be out: they are
  // left behind at the scheduler and free their memory when the device completes them. That device is busy() until then.
  ~Array() override;

  // Linear and RAID 1 (members may be used up to any sector) and a RAID 0 with an odd chunk may have less than a block more:
  // exact_bytes(). A request may reach up to there.
  std::uint64_t size_bytes() const noexcept override;
  std::uint64_t exact_bytes() const noexcept;

  // Errors: medium (these blocks are lost: redundancy exhausted), unavailable (too many members lost: then reads of what
  // members still hold are answered; or the journal is lost), no_space (a member's file system is full: no member is given up
  // for that, all writes are refused for a second, reads go on), closed (stopping), read_only (assembled so;
  // flushes then succeed); RAID 0 passes its member's error on. A failed request may have been done in part.
  // Read into fresh buffers: a member that was given up on may answer a read later, with the same bytes, into memory that must
  // not have become another request's by then. (A buffer that is dropped stays the late read's alone.)
  // A flush goes to every disk without which the array could not write, the journal's too, also when nothing was written since
  // the last: that it ends well proves that each of them answers, or is durably excluded.
  // discard and write_zeroes are the same: whole stripes by write_zeroes of every member, the rest written (rule 9).
  void submit(IoRequest& request) noexcept override;
  std::uint64_t next_data(std::uint64_t from) const noexcept override;
  bool busy() const noexcept override;

  // Refuses new requests, ends those under way and all recovery, flushes and marks the array clean. Safe in any state.
  Task<void> stop();

  // All of the following: read_only, if the array was assembled so.

  // Makes a member faulty as if it had failed; a spare is taken at once. The journal too: nothing is written then until the
  // array is started without it, by force. Errors: not_found; unavailable (the array would not survive it, or a resync is due:
  // dirty and degraded it would not start any more).
  Task<Status> fail_member(std::string disk_name);
  // What fail_member(), remove_disk() and replace_member() would refuse, also of a read-only array.
  Status may_fail(const std::string& disk_name) const;
  Status may_remove(const std::string& disk_name) const;
  Status may_replace(const std::string& disk_name) const;

  // A new disk becomes a spare, and is taken at once if a slot has no disk. What it held is gone. Errors: exists (a disk of
  // this name is in use), busy (I/O that was given up on is still out), invalid_argument (too small), unsupported
  // (RAID 0), or the disk's error.
  Task<Status> add_disk(MemberDisk disk);

  // A new disk becomes the journal of an array that has none: from then on writes go through it. Errors: exists (it has one, or
  // the disk is in use), unavailable (a resync is due, or the array has failed), unsupported (no parity; a bitmap),
  // invalid_argument (too small), or the disk's error.
  Task<Status> add_journal(MemberDisk disk);

  // Forgets a disk that is faulty or a spare (mdadm --remove); its device may go. Errors: not_found; busy (it is a member in
  // use, or I/O that was given up on is still out).
  Task<Status> remove_disk(std::string disk_name);

  // Takes a former member back (mdadm --re-add): only what was written since it left, by the bitmap. Errors: as add_disk();
  // not_found (no superblock of this array, or its slot is taken); unavailable (no bitmap, or bits that it needs have been
  // cleared since: add it as a new disk instead; it went on without the array, and discard_its_writes is not set). With
  // discard_its_writes what its own bitmap marks is copied too, over what it wrote meanwhile.
  Task<Status> readd_disk(MemberDisk disk, bool discard_its_writes = false);
  // What readd_disk() would refuse of a disk with this superblock, also of a read-only array.
  Status may_readd(const MemberDisk& disk, const Superblock& super, bool discard_its_writes) const;

  // A spare is to take this member's slot over and is copied from it while it is readable, from redundancy where it is not;
  // the member is faulty once the copy is whole. Errors: not_found; unavailable (no spare, or the slot is being replaced);
  // unsupported (RAID 0).
  Task<Status> replace_member(std::string disk_name);

  // Compares redundancy with data everywhere and counts what does not match; with `repair` rewrites it: parity from data
  // (the later copies from the first), or what options.locate says. Blocks that cannot be read are healed either way; what
  // nothing can restore is counted and listed too.
  // Errors: unavailable (degraded, or another recovery runs), unsupported (RAID 0), no_space, cancelled.
  Task<Status> scrub(ScrubOptions options);
  Status may_scrub() const;  // what scrub() would refuse, also of a read-only array

  // Waits until no recovery runs or could start: everything that can be done is done, or the array failed, has no room or
  // stops.
  Task<void> recovered();

  // No spare is needed any more: true when every slot is in sync and no resync is due.
  bool redundancy_full() const noexcept;
  // What it reads may not be what was last written: it was assembled by force where it would not have been without, or only to
  // be read while it is dirty and degraded, or while its journal holds what members lack.
  bool doubtful() const noexcept;
  // Assembled for a rescue: in one line, why what it reads may not be what was last written, or not be there; else empty.
  std::string doubt() const;
  const Geometry& geometry() const noexcept;
  std::uint64_t data_offset_bytes() const noexcept;  // where data begins on every member
  ArrayStatus status() const;
  void set_listener(ArrayListener* listener) noexcept;  // null: none; must outlive the array or be taken back

 private:
  explicit Array(std::unique_ptr<Core> core) noexcept;
  std::unique_ptr<Core> core_;
};

}  // namespace resilver::raid
