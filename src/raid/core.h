// The inside of an Array; array.h is its contract. One class, its functions by concern:
//
//   assembly.cc   creating and assembling        metadata.cc   superblocks, dirty flag, bad-block logs, housekeeping
//   io.cc         requests in, straight paths    members.cc    leaves, failing members, the watchdog, status
//   membership.cc adding, removing, replacing and re-adding disks; spares
//   journal_disk.cc  failing and adding the journal
//   stripe.cc     reads and writes of parity     row.cc        one 4096-byte row of a stripe, when something is unreadable
//   stripe_write.cc  merging requests by stripe  mirror.cc     RAID 1 and 10
//   recovery.cc   what is done next, and passes over the members by windows
//   rebuild.cc    windows of rebuild and replace check.cc      windows of resync and scrub
//   holes.cc      what reads as zeroes on every member, and needs no work
//
// A *row* is the same 4096 bytes of every chunk of a stripe: the unit in which damage is told, healed and recorded.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "async/sync.h"
#include "async/task_group.h"
#include "raid/array.h"
#include "raid/batch.h"
#include "raid/bitmap.h"
#include "raid/discovery.h"
#include "raid/journal.h"
#include "raid/leaf.h"
#include "raid/payload.h"
#include "raid/range_lock.h"
#include "raid/stripe_code.h"
#include "raid/stripe_write.h"

namespace resilver::raid {

inline constexpr std::uint64_t kBandBytes =
    128 * 1024;  // a stripe operation works on so much of each chunk at a time ...
inline constexpr std::uint64_t kUnitMemory = 16 << 20;  // ... less where that would be more than this for all members
inline constexpr std::uint64_t kRowBytes = 4096;
inline constexpr std::size_t kMaxBands = 512;           // stripe operations at a time, at most
inline constexpr std::size_t kMaxRows = 4;              // rows at a time when memory is short
inline constexpr std::size_t kMaxLostBlocks = 1 << 16;  // of which it is known that they cannot be read

// One request under way. On the straight paths it is the sink of its leaves; else a coroutine owns it.
struct Op final : LeafSink, RangeLock::Entry {
  Core* core = nullptr;
  IoRequest* request = nullptr;
  std::uint32_t pending = 0;
  bool continues = false;     // a write of a sequential stream: see Piece
  Errc error = Errc::ok;      // the first
  Member* culprit = nullptr;  // whose it is
  Op* next_free = nullptr;
  void leaf_done(Leaf& leaf) noexcept override;
};

// A part of a stripe: the range begin .. end of its chunks, at most unit_bytes_.
struct Band {
  std::uint64_t stripe = 0;
  std::uint64_t base = 0;  // of the stripe in the members' data areas
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t size() const noexcept { return end - begin; }
};

// The bytes of a band that a request gives (or wants) for one column.
struct Given {
  std::uint64_t begin = 0;  // within the chunk
  std::uint64_t end = 0;
  std::uint64_t at = 0;  // offset in the request
  std::uint64_t size() const noexcept { return end - begin; }
};

// What is to be written to a band.
// What a request's own reads and writes count as, and what its parity does.
inline Cause cause_of(IoUse use) noexcept {
  switch (use) {
    case IoUse::client: break;
    case IoUse::observer: return Cause::observer;
    case IoUse::replica_metadata: return Cause::replica_metadata;
    case IoUse::replica_resync: return Cause::replica_resync;
  }
  return Cause::data;
}
inline Cause parity_cause(IoUse use) noexcept { return use == IoUse::client ? Cause::parity : cause_of(use); }

struct BandWrite {
  Band band;
  IoUse use = IoUse::client;  // if requests for several uses were merged, the first of IoUse
  bool fua = false;
  ColumnSet touched;        // columns of which something is given
  ColumnSet full;           // columns of which all is given
  std::vector<Span> spans;  // by column, then offset; disjoint

  std::span<const Span> of(std::uint32_t column) const noexcept;
  BandWrite part(std::uint64_t begin, std::uint64_t end) const;  // of the same columns, these rows
};

// Content of the columns of a band (or row), each from its begin on.
struct Columns {
  explicit Columns(const Geometry& geometry) : buffer(geometry.columns()) {}
  std::vector<Buffer> buffer;
  std::byte* at(std::uint32_t column) const noexcept { return buffer[column].data(); }
};

// What a scrub found that nothing can restore: see LostRow.
struct LostRows {
  std::uint64_t count = 0;
  std::array<std::uint64_t, kMaxDisks> by_slot{};
  std::vector<LostRow> first;
};

// One run of rebuild, resync or scrub over the members.
struct Pass {
  explicit Pass(Scheduler& scheduler) noexcept : turn(scheduler) {}
  Mutex turn;  // windows ask for their locks in order: see worker()
  RecoveryKind kind = RecoveryKind::none;
  Cause cause = Cause::rebuild;
  bool repair = false;                // resync, scrub: rewrite what does not match
  bool locate = false;                // scrub with repair: rewrite what redundancy agrees on being wrong
  bool only_marked = false;           // resync: regions that the bitmap marks
  bool by_bitmap = false;             // rebuild of members that came back: regions whose bits are set
  std::optional<std::uint32_t> slot;  // RAID 10: the one that is rebuilt or replaced
  std::uint64_t next =
      0;  // first byte (of the data area; RAID 10, resync and scrub: of the array) that no window covers yet
  std::uint64_t retired = 0;  // everything below is done
  std::uint64_t total = 0;
  std::uint64_t version = 0;  // membership when it began
  bool stop = false;
  std::deque<std::uint64_t> order;  // begins of the windows under way
  Nanos started = 0;
  Nanos next_allowed = 0;
  Nanos next_progress = 0;
  Nanos next_checkpoint = 0;
  std::uint64_t processed = 0;
  std::uint64_t mismatch_rows = 0;
  std::vector<Mismatch> mismatches;
  LostRows lost;
  Nanos paced = 0, reading = 0, writing = 0;  // waited for both limits, for reads, for writes
  Nanos held_back = 0;                        // of `paced`: for speed_min
  struct Sample {
    Nanos at;
    std::uint64_t processed;
  };
  std::deque<Sample> samples;  // of the last second, and one before
};

class Core {
 public:
  Core(LeafPoolOwner leaves, BufferPool& pool, Random random, const ArrayTuning& tuning, const Geometry& geometry,
       Consistency consistency);
  ~Core();

  // ---- assembly.cc ----
  static Task<Result<std::unique_ptr<Core>>> create(Scheduler& scheduler, BufferPool& pool, Random& random,
                                                    ArrayConfig config, ArrayDisks disks, bool assume_clean);
  static Task<Result<std::unique_ptr<Core>>> assemble(Scheduler& scheduler, BufferPool& pool, Random& random,
                                                      AssembleOptions options, std::vector<MemberDisk> disks,
                                                      AssemblyReport* report);

  // ---- io.cc ----
  void submit(IoRequest& request) noexcept;
  void straight_done(Op& op) noexcept;
  bool busy() const noexcept { return ops_in_use_ != 0 || !queued_.empty(); }

  // ---- holes.cc ----
  std::uint64_t next_logical_data(std::uint64_t from) const noexcept;  // BlockDevice::next_data() of the array

  // ---- membership.cc ----
  Task<Status> fail_member(std::string disk_name);
  Status may_fail(const std::string& disk_name) const;
  Status may_remove(const std::string& disk_name) const;
  Status may_replace(const std::string& disk_name) const;
  Task<Status> add_disk(MemberDisk disk);
  Task<Status> remove_disk(std::string disk_name);
  Task<Status> readd_disk(MemberDisk disk, bool discard_its_writes);
  Status may_readd(const MemberDisk& disk, const Superblock& super, bool discard_its_writes) const;
  Task<Status> unite_bitmaps(const MemberDisk& disk, const Superblock& super);
  Task<Status> replace_member(std::string disk_name);

  // ---- journal_disk.cc ----
  Task<Status> add_journal(MemberDisk given);

  // ---- members.cc ----
  void send(Leaf& leaf, Member& member, LeafSink& sink, IoOp op, std::uint64_t device_offset, std::uint64_t length,
            bool fua, Cause cause, std::uint32_t tag) noexcept;
  // Looks at what failed: makes members faulty, but for lack of room. True if blocks could not be read on members that live
  // on.
  bool judge(const Batch& batch);
  // A disk has no room for what is to be written: that is no fault of it. Nothing is written for a while, then it is tried
  // again; a pass under way ends.
  void no_room(const Member& disk);
  bool full() const noexcept { return full_; }
  ArrayStatus status() const;
  bool redundancy_full() const noexcept;
  bool doubtful() const noexcept { return doubtful_; }
  std::string doubt() const;

  // ---- metadata.cc ----
  Task<Errc> flush_members(Cause cause, Journal* journal = nullptr);  // and of the journal's disk, if it is given
  Task<void> stop();
  // Memory from the reserve: nobody who waits for this array can have it. Empty (and then the array fails, since nothing can
  // be noted any more) only if hung disks hold all of it.
  Buffer metadata_block();  // kBlockBytes

  // ---- recovery.cc ----
  Task<Status> scrub(ScrubOptions options);
  Status may_scrub() const;
  Task<void> recovered();

  // ---- for the journal ----
  Task<void> commit() { return settle(++sb_wanted_); }  // writes all superblocks
  void journal_failed(Member& disk, Errc why);
  Task<Errc> write_unlogged(std::uint64_t logical, Buffer block);
  std::uint64_t logical_of(std::uint64_t stripe, std::uint32_t column, std::uint64_t row) const noexcept;
  const Uuid& set_uuid() const noexcept { return common_.set_uuid; }
  Random& random() noexcept { return random_; }
  const Buffer& zeroes() const noexcept { return zeroes_; }
  TaskGroup& tasks() noexcept { return tasks_; }

  void set_listener(ArrayListener* listener) noexcept { listener_ = listener; }
  Scheduler& scheduler() noexcept { return scheduler_; }
  BufferPool& pool() noexcept { return pool_; }
  LeafPool& leaves() noexcept { return *leaves_; }
  const Geometry& geometry() const noexcept { return geometry_; }
  Nanos member_timeout() const noexcept { return tuning_.member_timeout_ms * kMillisecond; }
  bool failed() const noexcept { return failed_; }
  bool read_only() const noexcept { return read_only_; }
  std::uint64_t events() const noexcept { return common_.events; }
  const std::vector<Member*>& slots() const noexcept { return slots_; }
  std::uint64_t data_offset_bytes() const noexcept { return common_.data_offset_sectors * kSectorBytes; }

 private:
  // assembly.cc
  void place_metadata(Member& member, std::uint64_t device_bytes);
  Status make_bitmap(std::uint64_t device_bytes, std::uint32_t chunk_bytes);
  Task<Status> load_bitmap();
  Task<Status> load_bad_log(Member& member);
  static Task<Result<Superblock>> read_superblock(LeafPool& leaves, BlockDevice& device, Nanos timeout);
  static Task<void> read_given(LeafPool& leaves, std::vector<MemberDisk> disks, Nanos timeout,
                               std::vector<GivenDisk>& given);
  Task<Status> format(std::optional<MemberDisk> journal);
  Task<Status> load(const AssembleOptions& options, const Lineup& lineup, std::span<const GivenDisk> given,
                    AssemblyReport& found);
  Status check_not_both(bool dirty, const AssembleOptions& options);
  Task<Errc> read_metadata(Member& member, std::uint64_t device_offset, Buffer block);
  Task<Result<std::uint32_t>> read_bitmap_chunk(Member& member);
  Task<Result<std::uint32_t>> find_bitmap_chunk();
  void renew_bitmap(const std::string& why);
  Task<void> write_renewed_bitmap();
  Task<void> rest();
  Task<Status> add_members(std::span<const GivenDisk> given, AssemblyReport& report);
  void seat(Member& member, const DiskFound& found);
  Status check_enough() const;
  Task<Status> open_bitmap(const Result<std::uint32_t>& chunk);
  void use_journal(std::unique_ptr<Journal> journal);
  Member& place_journal(const MemberDisk& given);
  Task<Status> make_journal(const MemberDisk& given);
  Task<Status> open_journal();
  Task<void> commit_level();
  void start();

  // membership.cc
  Member& new_member(const MemberDisk& disk);
  std::uint32_t free_number() const noexcept;
  bool number_used(std::uint32_t number, const Member* self) const noexcept;
  void renumber_spares();
  Status check_new(const MemberDisk& disk, std::uint64_t needed_bytes);
  void forget(Member& member);
  void wake_manager() noexcept {
    manager_idle_ = false;
    manager_event_.wake_all();
  }
  Task<bool> take_spares();
  void end_replacement(Member& member);

  // journal_disk.cc
  Task<Status> fail_journal(std::string disk_name);
  Status check_new_journal(const MemberDisk& disk);
  Task<bool> write_journal_superblock(Member& disk);

  // io.cc
  MemberRange rows_of(const IoRequest& request) const noexcept;
  Op& take_op(IoRequest& request) noexcept;
  void begin(Op& op) noexcept;
  void finish(Op& op, Errc status) noexcept;
  bool try_straight_read(Op& op) noexcept;
  bool try_straight_unprotected(Op& op) noexcept;
  bool launch_in_run(Op& op, const Location& place) noexcept;
  void launch_striped(Op& op) noexcept;
  bool readable(std::uint32_t slot, std::uint64_t begin, std::uint64_t end) const noexcept;
  Task<void> run_slow(Op& op);
  Task<Errc> run_write(Op& op);
  Task<Errc> run_flush();

  // stripe.cc
  struct Transfer {  // a request as its stripe parts see it
    const Payload& payload;
    std::uint64_t offset;
    std::uint64_t length;
    bool fua;
    IoUse use = IoUse::client;
    bool continues = false;  // see Piece
  };
  Task<Errc> read_bands(const Transfer& transfer);
  Task<void> read_one_band(const Transfer& transfer, Band band, Errc& status, Semaphore& depth);
  Task<Errc> read_band(const Transfer& transfer, Band band);
  Task<Errc> write_band(BandWrite write);
  Given given(const Transfer& transfer, const Band& band, std::uint32_t column) const noexcept;
  ColumnSet touched(const Transfer& transfer, const Band& band) const noexcept;
  enum class Loaded : std::uint8_t { ok, again, damaged, no_memory };
  Task<Loaded> load(const Band& band, ColumnSet reads, Columns& columns, Cause cause);
  bool allocate(const Band& band, ColumnSet wanted, Columns& columns);
  void recover(const Band& band, ColumnSet lost, ColumnSet wanted, Columns& columns);
  bool compute_parity(const BandWrite& write, const WritePlan& plan, Columns& columns);
  Task<Errc> make_room(const Band& band, ColumnSet writes);
  Task<Errc> store(const BandWrite& write, ColumnSet writes, Columns& columns);
  bool has_bad(const Band& band) const noexcept;

  // stripe_write.cc
  bool continues_stream(std::uint64_t begin, std::uint64_t end) noexcept;
  Task<Errc> write_stripes(const Transfer& transfer);
  void answered() noexcept;
  void stage(std::uint64_t stripe, const Piece& piece);
  Task<void> plug(const StripeWrite& write);
  Task<void> run_stripe_write(std::unique_ptr<StripeWrite> write);
  std::vector<Band> bands_of(const StripeWrite& write) const;
  BandWrite band_write(const StripeWrite& write, const Band& band) const;
  Task<Errc> write_bands(const StripeWrite& write);
  Task<void> write_one_band(const StripeWrite& write, Band band, Errc& status);

  // row.cc
  struct Row {
    explicit Row(const Geometry& geometry) : columns(geometry) {}
    Columns columns;
    ColumnSet known;                       // read or recovered
    ColumnSet lost;                        // on members that are lost here
    ColumnSet unreadable;                  // on live members: read errors, or in the bad-block log
    std::optional<SemaphoreGuard> permit;  // its memory is of the reserve
  };
  Task<Row> load_row(std::uint64_t stripe, std::uint64_t row, Cause cause);
  Task<void> heal_row(Row& row, std::uint64_t stripe, std::uint64_t at, Cause cause);
  void note_lost(std::uint64_t stripe, std::uint64_t row, ColumnSet columns);
  Task<Errc> write_row(const BandWrite& write, std::uint64_t row);
  bool can_forget_parity(std::uint64_t stripe, std::uint64_t at) const noexcept;
  Task<bool> forget_parity(std::uint64_t stripe, std::uint64_t at);
  Task<bool> add_bad(Member& member, std::uint64_t row_offset);
  Task<void> clear_bad(std::uint64_t begin, std::uint64_t end, MemberSet members);

  // mirror.cc
  using CopySet = IndexSet<struct CopyTag>;
  struct MirrorPiece {
    std::uint64_t logical;
    std::uint64_t at;  // offset in the data area of the member that is rebuilt
    std::uint64_t bytes;
  };
  std::uint64_t mirrored_run(std::uint64_t logical) const noexcept;
  std::uint64_t mirror_row(std::uint64_t logical) const noexcept;
  bool copy_readable(std::uint64_t logical, std::uint64_t bytes, std::uint32_t copy) const noexcept;
  std::optional<CopyPlace> mirror_source(std::uint64_t logical, std::uint64_t bytes) noexcept;
  bool try_mirror_read(Op& op) noexcept;
  Task<Errc> read_mirror(const Transfer& transfer);
  Task<Errc> read_mirror_row(std::uint64_t logical, Buffer& block, Cause cause);
  Task<void> heal_copies(std::uint64_t logical, Buffer block, CopySet bad, Cause cause);
  Task<void> clear_bad_copies(std::uint64_t logical, std::uint64_t bytes, CopySet copies);
  Task<Errc> write_mirror(const Transfer& transfer);
  std::vector<MirrorPiece> mirror_pieces(std::uint32_t slot, std::uint64_t begin, std::uint64_t end) const;
  Task<bool> rebuild_mirror_window(Pass& pass, std::uint64_t begin, std::uint64_t end, const Buffer& window);
  Task<bool> copy_mirror_row(Pass& pass, MirrorPiece row, MemberSet to, Buffer block);
  using WindowBuffers = std::vector<Buffer>;  // by slot (RAID 1 and 10: by copy, or the first alone); empty: none
  Task<std::vector<CopySet>> read_copies(Pass& pass, std::uint64_t begin, std::uint64_t end,
                                         const WindowBuffers& buffers);
  Task<bool> check_mirror_window(Pass& pass, std::uint64_t begin, std::uint64_t end, const WindowBuffers& buffers);
  Task<bool> check_copies(Pass& pass, std::uint64_t logical, std::uint64_t skip, const CopySet& read,
                          const WindowBuffers& buffers);

  // members.cc
  void mark_faulty(Member& member, Errc why);
  bool has_room() noexcept;
  void need_resync();
  MemberSet lost_for(std::uint64_t end) const noexcept;  // slots that do not hold everything below `end`
  Member* find(const std::string& disk_name) const noexcept;
  Member* first_that_is(MemberState state) const noexcept;  // null: none
  std::uint32_t redundancy_left() const noexcept;
  bool too_many_lost() const noexcept;
  bool survives_without(const Member& member) const noexcept;
  MemberSet not_in_sync() const noexcept;
  void emit(EventKind kind, std::string member = {}, std::uint64_t value = 0, std::uint64_t total = 0,
            Errc error = Errc::ok);
  void watch() noexcept;
  void watchdog_fired() noexcept;
  Task<void> watch_slowness();
  bool seems_slow(Member& member) const noexcept;
  void judge_slowness(Member& member);

  // metadata.cc
  Task<void> settle(std::uint64_t wanted);
  Task<void> write_superblocks();
  std::uint64_t unix_seconds() const noexcept;
  Superblock superblock_for(const Member& member) const;
  void refuse_member(Member& member);
  static bool can_note(const Member& member) noexcept;
  Task<bool> write_bad_log(Member& member);
  Task<void> ensure_dirty();
  Task<void> housekeeping();
  Task<void> try_clean();

  // recovery.cc
  Task<void> manage();
  bool choose_pass(Pass& pass);
  Task<void> run_pass(Pass& pass);
  Task<void> worker(Pass& pass);
  Task<bool> process(Pass& pass, std::uint64_t begin, std::uint64_t end, WindowBuffers& buffers);
  Task<bool> process_parts(Pass& pass, std::uint64_t begin, std::uint64_t end, WindowBuffers& buffers,
                           std::uint64_t& moved);
  Task<bool> rebuild_window(Pass& pass, std::uint64_t begin, std::uint64_t end, WindowBuffers& buffers);
  MemberSet window_slots(const Pass& pass) const noexcept;
  bool window_buffers(MemberSet slots, std::uint64_t bytes, WindowBuffers& buffers) noexcept;
  Task<bool> window_memory(Pass& pass, std::uint64_t begin, std::uint64_t& end, WindowBuffers& buffers);
  struct Damage {  // a row of a window that a member cannot read
    std::uint32_t slot;
    std::uint64_t at;  // offset in the data area
  };
  Task<std::vector<Damage>> read_window(Pass& pass, MemberSet from, std::uint64_t begin, std::uint64_t end,
                                        const WindowBuffers& buffers);
  Task<bool> rebuild_row(Pass& pass, std::uint64_t at, MemberSet to, std::uint64_t begin, WindowBuffers& buffers);
  Task<bool> heal_window_row(Pass& pass, std::uint64_t at, std::uint64_t begin, WindowBuffers& buffers);
  Task<bool> replace_window(Pass& pass, std::uint64_t begin, std::uint64_t end, WindowBuffers& buffers);
  Task<void> finish_replace(const Pass& pass);
  MemberRange lock_range(const Pass& pass, std::uint64_t begin, std::uint64_t end) const noexcept;
  Member& target(const Pass& pass, std::uint32_t slot) noexcept;
  Task<bool> check_window(Pass& pass, std::uint64_t begin, std::uint64_t end, WindowBuffers& buffers);
  Task<bool> check_band(Pass& pass, Band band, ColumnSet lost, Columns& columns);
  void check_row(Pass& pass, const Band& band, std::uint64_t row, Columns& columns, ColumnSet& rewrite);
  ColumnSet renew_parity(const Band& band, ColumnSet lost, Columns& columns);
  void record_lost(Pass& pass, LostRow row);
  bool comparable() const noexcept;
  void record_mismatch(Pass& pass, std::uint64_t stripe, std::uint64_t row, std::optional<std::uint32_t> slot);
  bool interrupted(const Pass& pass) const noexcept;
  void retire(Pass& pass, std::uint64_t end, std::uint64_t moved);
  Task<void> pace(Pass& pass, std::uint64_t bytes);
  Task<void> checkpoint(Pass& pass);
  Task<bool> run_window(Pass& pass);
  std::uint64_t window_bytes(const Pass& pass) const noexcept;
  Task<void> finish_rebuild(const Pass& pass);
  Task<void> finish_resync();
  LimitedBy limit_of(const Pass& pass) const noexcept;
  RecoveryStatus recovery_of(const Pass& pass) const noexcept;
  void sample(Pass& pass) const;
  MemberSet targets() const noexcept;
  MemberSet targets(const Pass& pass) const noexcept;
  MemberSet replaced() const noexcept;  // slots whose member has a replacement in the making
  bool foreground_busy() const noexcept;

  // holes.cc
  std::uint64_t next_data(MemberSet of, std::uint64_t from) const noexcept;
  std::uint64_t unmarked_until(const Pass& pass, std::uint64_t from) const noexcept;
  std::uint64_t hole_until(const Pass& pass, std::uint64_t from) const noexcept;
  Task<bool> clear_targets(Pass& pass, std::uint64_t begin, std::uint64_t end);
  void write_target(Batch& batch, Member& member, std::uint64_t begin, const Buffer& content);

  struct Watchdog : Timer {
    explicit Watchdog(Core& owner)
        : Timer([](Runnable& self) noexcept { static_cast<Watchdog&>(self).core.watchdog_fired(); }), core(owner) {}
    Core& core;
    bool pending = false;  // armed, or expired and queued
  };

  Scheduler& scheduler_;
  BufferPool& pool_;
  Random random_;
  ArrayTuning tuning_;
  Geometry geometry_;
  Consistency consistency_;
  std::unique_ptr<StripeCode> code_;
  Superblock common_;     // what all members share; events; roles
  LeafPoolOwner leaves_;  // before all that may hold a part of its reserve
  Member absent_;         // stands in slots without a disk: holds nothing, and every I/O to it fails
  std::vector<std::unique_ptr<Member>> members_;  // all disks ever given
  std::vector<Member*> slots_;                    // never null
  RangeLock locks_;
  std::unique_ptr<Bitmap> bitmap_;
  Buffer zeroes_;
  Watchdog watchdog_;
  ArrayListener* listener_ = nullptr;

  std::vector<std::unique_ptr<Op>> ops_;
  Op* free_ops_ = nullptr;
  std::deque<IoRequest*> queued_;
  struct Run {  // what launch_striped() gathers for a member: adjacent chunks
    Leaf* leaf = nullptr;
    std::uint64_t begin = 0;
    std::uint64_t length = 0;
  };
  std::vector<Run> runs_;  // by slot; without leaves between two calls
  std::uint32_t ops_in_use_ = 0;
  bool starting_queued_ = false;
  Nanos last_foreground_ = -kHour;
  Semaphore bands_;                 // stripe operations under way, so that scratch memory is bounded
  Semaphore rows_;                  // rows that are worked on with memory of the reserve
  const std::uint64_t unit_bytes_;  // windows are multiples of it, bands lie within one: kBandBytes, less of many members
  std::uint64_t band_bytes_ = unit_bytes_;  // of writes; less where a band's record would not fit a journal's
  std::unique_ptr<Journal> journal_;

  std::map<std::uint64_t, StripeWrite*> open_stripes_;  // by stripe: those that take pieces
  std::uint32_t stripe_writes_ = 0;                     // open or running
  std::uint32_t plugged_ = 0;                           // of them
  std::array<std::uint64_t, 8> stream_ends_;            // where the last writes ended
  std::uint32_t next_stream_ = 0;
  std::uint32_t unanswered_ = 0;   // requests that write_stripes() has under way
  std::uint32_t peak_writes_ = 0;  // unanswered_ at its highest since a plug was in vain
  Nanos last_answer_ = 0;

  std::vector<std::unique_ptr<Member>> gone_;  // removed; a batch may still point at them
  bool read_only_ = false;
  bool rescue_ = false;           // never fails: see AssembleOptions
  bool bitmap_lockless_ = false;  // a member's bitmap is of a kind that is not used here
  bool bitmap_renewed_ = false;   // no member had one that could be used
  std::vector<std::string> notes_;
  bool may_locate_ = true;     // the array was stopped cleanly, or resynced since
  bool manager_idle_ = false;  // nothing is to be rebuilt, resynced or replaced
  bool failed_ = false;
  bool stopping_ = false;
  bool dirty_ = false;          // superblocks are to say so
  bool dirty_durable_ = false;  // and do
  bool resync_needed_ = false;
  std::uint64_t resync_reached_ = 0;  // everything below was resynced, and flushed (Geometry::sync_bytes() counts)
  bool forced_ = false;               // started (or made) dirty and degraded: parity is taken for right
  bool doubtful_ = false;             // ... or with members that had missed writes
  bool full_ = false;                 // see no_room()
  Nanos full_until_ = 0;
  std::string full_disk_;      // until something could be written again
  std::uint64_t version_ = 0;  // of the membership: changes whenever a slot does
  std::uint64_t sb_wanted_ = 0;
  std::uint64_t sb_done_ = 0;
  bool sb_busy_ = false;
  std::uint64_t faults_settled_ = 0;  // sb_done_ must reach this before a write is acknowledged (rule 2)
  std::uint64_t active_writes_ = 0;
  Nanos last_write_ = 0;
  std::uint32_t mirror_turn_ = 0;

  std::set<std::uint64_t> lost_blocks_;
  std::uint64_t healed_blocks_ = 0;
  Pass* pass_ = nullptr;
  bool scrub_waiting_ = false;
  RecoveryStatus last_recovery_;
  std::uint64_t mismatch_rows_ = 0;
  std::vector<Mismatch> mismatches_;
  LostRows lost_rows_;
  IoCounters io_[kCauses];

  Mutex bad_log_turn_;
  Event sb_event_;
  Event manager_event_;
  Event house_event_;
  Event pass_event_;
  Event drained_;
  Event plug_event_;
  TaskGroup tasks_;  // last: its frames use everything above
};

}  // namespace resilver::raid
