// The journal while an array runs (write-through): what a stripe operation is about to write, data and parity, is durable in
// the log before the first member is written, so that a crash never leaves a stripe whose parity cannot be made good: no
// write hole, with members lost or not. The format is journal_format.h.
//
// Rules. An entry is *durable* when it and all before it are in the log: recovery reads a chain. It is *done* when its
// blocks were written to the members. The tail moves past an entry only when it is done and the members were flushed since;
// and before a rebuild's checkpoint moves, so that no entry is older than what a superblock says of a member.
// Every write to data and parity goes through the log while there is one: an older entry would else be replayed over it.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "base/random.h"
#include "raid/journal_format.h"
#include "raid/leaf.h"

namespace resilver::raid {

class Core;
struct BandWrite;
struct Columns;

class Journal {
 public:
  static constexpr std::uint64_t kMinBytes = 4 << 20;    // of a new journal disk's data area
  static constexpr std::uint64_t kLeastBytes = 3 << 20;  // of one that is there: two of the largest records

  // The log lies in the data area of `disk`, from `tail_sectors` on.
  Journal(Core& core, Member& disk, std::uint64_t tail_sectors);

  // Room for all of it: nothing that waits to be logged is to find none. Errors: no_space, unavailable.
  Task<Status> make_room();
  // A new, empty log. Error: the disk's.
  Task<Status> format(Random& random);
  // Writes to the members what the log holds, record by record, then begins a new chain behind. Precondition: nothing else
  // runs. Errors: the journal disk's; unavailable (members fail meanwhile); corrupt.
  Task<Status> replay();

  // Does the log hold blocks that replay() would write, or can that not be read? Reads only.
  Task<bool> holds_writes();

  // Logs what store() is about to write and waits until it is durable; waits for space if need be. Nothing: the journal (or
  // the array) has failed, and nothing may be written. Else the record's number, with which done() must follow.
  Task<std::optional<std::uint64_t>> append(const BandWrite& write, ColumnSet writes, const Columns& columns);
  void done(std::uint64_t seq);

  // Waits until all that was appended before is done and durable on the members, and the log begins behind it.
  Task<void> trim();

  // The disk has failed: nothing can be logged any more.
  void give_up(Errc why);

  Member& disk() noexcept { return disk_; }
  bool failed() const noexcept { return failed_; }
  bool replaying() const noexcept { return replaying_; }
  std::uint64_t tail_sectors() const noexcept { return tail_; }
  // Rows of a band that fit one record: `columns` data and parity columns.
  static std::uint64_t rows_per_record(std::uint32_t columns) noexcept;

 private:
  struct Entry {
    std::uint64_t seq = 0;  // one more than the entry's before it
    std::uint64_t position = 0;
    std::uint64_t sectors = 0;
    bool written = false;
    bool done = false;
  };
  struct Record {
    JournalMeta meta;
    std::vector<Buffer> pages;  // of any number of blocks each, in log order
  };

  Record record_of(const BandWrite& write, ColumnSet writes, const Columns& columns) const;
  void add(Record& record, PayloadType type, std::uint64_t location_sectors, std::initializer_list<Buffer> pages) const;
  Task<bool> log(Record& record, const Buffer& block);
  bool fits(std::uint64_t sectors) const noexcept { return used_ + sectors + kJournalBlockSectors <= size_; }
  Task<bool> write_record(const Record& record, const Buffer& block);
  Task<bool> append_empty();
  Task<void> reclaim();
  void written(std::uint64_t seq);

  Task<Errc> read(std::uint64_t position, const Buffer& into);
  Task<Result<JournalMeta>> read_meta(std::uint64_t position);
  std::uint64_t chain_begin() const noexcept {
    return tail_ < size_ ? tail_ / kJournalBlockSectors * kJournalBlockSectors : 0;
  }
  Task<Result<std::optional<JournalMeta>>> next_in_chain(std::uint64_t position, std::optional<std::uint64_t> last);
  Task<Result<bool>> replay_record(const JournalMeta& meta);
  Task<Status> apply(const JournalMeta& meta, const std::vector<Buffer>& pages);

  std::uint64_t ring_add(std::uint64_t position, std::uint64_t sectors) const noexcept {
    return position + sectors >= size_ ? position + sectors - size_ : position + sectors;
  }

  Core& core_;
  Member& disk_;
  std::uint32_t seed_;
  std::uint64_t size_;      // sectors of the ring
  std::uint64_t tail_;      // where the superblock says that the log begins
  std::uint64_t head_ = 0;  // where the next record goes
  std::uint64_t used_ = 0;  // sectors from tail_ to head_
  std::uint64_t seq_ = 0;   // of the next record
  bool failed_ = false;
  bool replaying_ = false;
  bool reclaim_queued_ = false;
  std::deque<Entry> entries_;    // from tail_ to head_, by seq
  std::uint64_t chain_end_ = 0;  // seq of the first entry that is not written
  Mutex reclaiming_;
  Event chain_event_;  // chain_end_ moved, or the journal failed
  Event space_event_;  // an entry is done, space came, or the journal failed
};

}  // namespace resilver::raid
