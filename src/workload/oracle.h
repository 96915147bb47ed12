// The oracle: judges, while the run goes on, every answer that the client gets from a volume.
//
// The register judged is the 512-byte sector; a request of several sectors is not atomic. A read must return a version that
// the sector may have held at some time between the request and its answer (sector_register.h: linearizability). A
// write of unknown outcome may take effect late or never; once seen it is in the past of later reads. Sectors never written
// are zero. What the file given with --fill put there is known by checksums.
//
// Durability::on_flush is the contract of a local array: acknowledged means visible, durable is what a later, successful
// flush covers, and note_power_loss() may bring back anything acknowledged since. Durability::on_ack (replicas) allows no
// loss at all. Durability::prefix (replicas that acknowledge before all copies have a write): between failovers as on_ack;
// note_failover() may bring back an older version of any sector since the failover before, but what is kept must be a prefix of
// what was acknowledged (prefix_judge.h). Acknowledged writes that reads prove to be gone are counted as lost at once. A
// contender with no redundancy is judged alike: the oracle only counts.
//
// Each sector of an answer falls into one class, the first that fits:
//   corrupt     returned as good, but never written there: bad checksum, other address, volume or run
//   stale       a version that can no longer be there. In the final reading such a sector is *lost*
//   unreadable  the answer was an error: a fact, not a lie
// A request counts once in each class that one of its sectors fell into. `lost_writes` counts distinct acknowledged writes
// (pieces of the fill among them) of which the final reading found a sector older or unreadable.
//
// Memory: 16 bytes per 4 KiB block written, 4 bytes per 512 bytes of fill, about 500 bytes per block with an open or unknown
// write (at most max_tracked_blocks), 1 bit per write once something is lost. Not thread-safe. No clock: the caller tells
// the time, for the history only.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "workload/block_table.h"
#include "workload/history.h"
#include "workload/prefix_judge.h"
#include "workload/range_list.h"
#include "workload/sector.h"
#include "workload/sector_register.h"

namespace resilver::workload {

inline constexpr std::uint64_t kMaxVolumeBytes = std::uint64_t{1} << 44;
inline constexpr std::uint64_t kFillChunkBytes = 256 << 10;

enum class Durability : std::uint8_t { on_ack, on_flush, prefix };
const char* durability_name(Durability durability) noexcept;  // as in the history

struct OracleConfig {
  std::uint64_t volume_id = 1;
  std::uint64_t volume_bytes = 0;  // a multiple of 4096, at most kMaxVolumeBytes
  Durability durability = Durability::on_ack;
  std::uint64_t fill_offset = 0;  // where fill goes; a multiple of 4096
  std::uint64_t fill_bytes = 0;   // a multiple of 4096; 0: no fill
  std::uint32_t max_inflight = 1024;
  std::uint32_t max_tracked_blocks = 262144;
  std::size_t max_listed_ranges = 1000;  // of each class
};

enum class WriteOutcome : std::uint8_t {
  acknowledged,
  unknown,  // an error or no answer in time: may have happened, may still happen
};

// An operation between begin and end.
struct OpHandle {
  std::uint32_t slot = 0;
};

struct OracleCounts {
  std::uint64_t requests = 0;  // ended
  std::uint64_t unknown_writes = 0;
  std::uint64_t failed_reads = 0;      // no answer or no service: timeout, closed, not_primary, …
  std::uint64_t unreadable_reads = 0;  // the volume said that the data cannot be read
  std::uint64_t stale_reads = 0;
  std::uint64_t corrupt_reads = 0;
  std::uint64_t lost_writes = 0;
  std::uint64_t prefix_breaks = 0;  // Durability::prefix: reads that showed a write after a lost one as kept
  std::uint64_t stale_sectors = 0;  // answers times sectors, as are the next
  std::uint64_t corrupt_sectors = 0;
  std::uint64_t bytes_read_back = 0;   // in the final reading
  std::uint64_t lost_sectors = 0;      // final reading: older than acknowledged
  std::uint64_t unreadable_bytes = 0;  // final reading: unreadable
  std::uint64_t damaged_sectors = 0;   // final reading: hold what begin_damage() wrote
  std::uint64_t waived_blocks = 0;     // no longer judged for staleness: more was open than max_tracked_blocks
};

// What became of one read: for the caller's own statistics.
struct ReadVerdict {
  bool stale = false;
  bool corrupt = false;
  bool good() const noexcept { return !stale && !corrupt; }
};

class Oracle {
 public:
  // `history` may be null; it must outlive the oracle.
  explicit Oracle(const OracleConfig& config, History* history = nullptr);

  // ---- operations. Ranges are multiples of 4096 inside the volume. CHECKed: at most max_inflight at a time and 2^32 writes.

  OpHandle begin_write(Nanos now, std::uint64_t offset, std::uint64_t length, SectorKind kind = SectorKind::data);
  // The bytes that this write must carry (data.size() is the operation's length).
  void encode(OpHandle op, std::span<std::byte> data) const noexcept;
  // A piece of the fill: starts at a multiple of kFillChunkBytes from fill_offset, as long as that or up to the end of the
  // fill, each piece once. `data` is what will be written.
  OpHandle begin_fill(Nanos now, std::uint64_t offset, std::span<const std::byte> data);
  void end_write(OpHandle op, Nanos now, WriteOutcome outcome, Errc error = Errc::ok);

  OpHandle begin_read(Nanos now, std::uint64_t offset, std::uint64_t length);
  ReadVerdict end_read(OpHandle op, Nanos now, std::span<const std::byte> data);
  void end_read_error(OpHandle op, Nanos now, Errc error);

  OpHandle begin_flush(Nanos now);
  void end_flush(OpHandle op, Nanos now, Errc error);

  // Would such an operation overlap one in flight, with a write among the two? The client waits then (architecture.md,
  // replication rule 10). The oracle judges rightly also without that.
  bool conflicts(std::uint64_t offset, std::uint64_t length, bool write) const noexcept;

  // These nodes lost power at once; under Durability::on_flush there is but the one that holds the volume, and unflushed data
  // may be gone. Nothing to do under the others: what they acknowledge is durable on some copy, or falls under what a failover
  // may lose, also where all nodes go and the same one serves again (it has to be promoted first).
  void note_power_loss(Nanos now, std::span<const std::string> nodes = {});

  // Another primary serves from here on. To be told before its first answer. Nothing to do but under Durability::prefix.
  void note_failover(Nanos now);

  // ---- the final reading. From here on reads count as read back. Precondition: no write is in flight.

  void begin_final(Nanos now);
  // The next run of blocks, at or after `offset`, that were ever written, at most `max_bytes` long; length 0 at the end.
  // Its edges are rounded to 16 KiB.
  struct Run {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  Run next_written(std::uint64_t offset, std::uint64_t max_bytes) const noexcept;

  const OracleCounts& counts() const noexcept { return counts_; }
  // Sectors, as addresses in units of 512 bytes.
  const RangeList& stale() const noexcept { return stale_; }
  const RangeList& corrupt() const noexcept { return corrupt_; }
  const RangeList& lost() const noexcept { return lost_; }
  const RangeList& unreadable() const noexcept { return unreadable_; }
  // Blocks with open or unknown writes now.
  std::size_t tracked_blocks() const noexcept { return tracked_.size(); }

 private:
  enum class Kind : std::uint8_t { none, read, write, flush };
  struct InFlight {
    BlockIndex first = 1;  // first > last: nothing, as for a flush
    BlockIndex last = 0;
    Kind kind = Kind::none;
    bool fill = false;
    SectorKind sector_kind = SectorKind::data;
    Version version = 0;
    Epoch epoch = 0;  // flush: covers what was complete in a lower one
    Step start = 0;
    std::uint64_t operation = 0;
  };
  struct Tracked {
    std::vector<SectorRegister> sectors;  // one for all eight while they agree
    std::uint32_t losses_seen = 0;        // of losses_
  };
  // One sector of an answer.
  struct Seen {
    bool good = false;
    SectorKind kind = SectorKind::data;
    Version version = 0;
  };
  struct BlockRead;

  OpHandle open(Nanos now, const InFlight& what, std::uint64_t offset, std::uint64_t length);
  OpHandle start_write(Nanos now, std::uint64_t offset, std::uint64_t length, const InFlight& what);
  void close(OpHandle op) noexcept;
  bool overlaps_inflight(BlockIndex first, BlockIndex last, bool write, const InFlight* except) const noexcept;
  struct Oldest {  // earliest starts of what is in flight on a block, or kNoStep
    Step any = kNoStep;
    Step read = kNoStep;
  };
  Oldest oldest_inflight(BlockIndex block, const InFlight* except) const noexcept;

  Tracked* track(BlockIndex block);
  Tracked* tracked(BlockIndex block);
  void settle(BlockIndex block, const InFlight* except);
  void lose(BlockIndex block, Tracked& state);
  void begin_writes(BlockIndex block, SectorRegister& sector, Step after, Step before) const;
  bool was_lost(const BlockCell& cell) const noexcept;
  bool flushing_since(Epoch epoch) const noexcept;
  Epoch durable_before() const noexcept {
    if (config_.durability == Durability::prefix) return 0;  // a flush adds nothing there
    return config_.durability == Durability::on_ack ? ~Epoch{0} : durable_before_;
  }
  Step last_loss() const noexcept { return losses_.empty() ? 0 : losses_.back().step; }

  void acknowledge(const InFlight& op, BlockIndex block);
  Seen look(const std::byte* data, std::uint64_t sector, Version base) const noexcept;
  void judge_block(const InFlight& op, BlockIndex block, const std::byte* data, BlockRead& result);
  void judge_tracked(const InFlight& op, BlockIndex block, BlockRead& result);
  void count_read(const BlockRead& read);
  void count_lost(BlockIndex block);
  void count_lost_version(Version version);
  bool read_sector(SectorRegister& sector, const InFlight& op, std::uint64_t address, std::uint64_t sectors,
                   Version version);
  Version expected(BlockIndex block);
  Version fill_version(std::uint64_t sector) const noexcept;
  bool in_fill(std::uint64_t sector) const noexcept;

  struct Told {
    std::string_view value = {}, error = {}, verdict = {};
  };
  void tell(HistoryType type, OpHandle op, Nanos now, const Told& told);
  void tell(HistoryCall happened, Nanos now, std::span<const std::string> nodes = {});

  OracleConfig config_;
  History* history_;
  BlockTable table_;
  std::map<BlockIndex, Tracked> tracked_;
  std::vector<BlockIndex> awaiting_flush_;  // tracked until no flush is in flight
  std::vector<InFlight> inflight_;          // by slot
  std::vector<std::uint64_t> processes_;
  std::vector<std::uint32_t> free_slots_;
  std::uint32_t slots_used_ = 0;  // slots ever used
  std::uint32_t flushes_ = 0;     // in flight
  std::vector<std::uint32_t> fill_crc_;
  std::vector<Loss> losses_;
  PrefixJudge prefix_;
  std::vector<std::uint64_t> lost_versions_;  // bit set
  std::vector<std::uint32_t> final_groups_;
  RangeList stale_, corrupt_, lost_, unreadable_;
  OracleCounts counts_;
  Version next_version_;
  Version fill_versions_;
  Epoch epoch_ = 1;
  Epoch durable_before_ = 0;
  Step step_ = 1;
  std::uint64_t operations_ = 0;
  std::uint64_t processes_used_ = 0;
  bool final_ = false;
};

}  // namespace resilver::workload
