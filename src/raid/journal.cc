#include "raid/journal.h"

#include <algorithm>

#include <fmt/format.h>

#include "raid/core.h"

namespace resilver::raid {
namespace {

constexpr std::uint64_t kReclaimFraction = 4;  // space is won back when a quarter of the ring is used
constexpr Nanos kSpaceWait = 10 * kMillisecond;
constexpr std::uint64_t kSeqGap = 10'000;  // after recovery, so that no old record can follow a new one (md's too)

}  // namespace

Journal::Journal(Core& core, Member& disk, std::uint64_t tail_sectors)
    : core_(core),
      disk_(disk),
      seed_(journal_seed(core.set_uuid())),
      size_(disk.super.data_size_sectors / kJournalBlockSectors * kJournalBlockSectors),
      tail_(tail_sectors),
      reclaiming_(core.scheduler()),
      chain_event_(core.scheduler()),
      space_event_(core.scheduler()) {}

std::uint64_t Journal::rows_per_record(std::uint32_t columns) noexcept {
  return (kJournalBlockBytes - kJournalHeaderBytes) / (payload_bytes(1) * columns);
}

void Journal::give_up(Errc why) {
  if (failed_) return;
  failed_ = true;
  core_.journal_failed(disk_, why);
  chain_event_.wake_all();
  space_event_.wake_all();
}

Task<Status> Journal::make_room() {
  Batch batch(core_, Cause::journal);
  batch.reserve(disk_, 0, size_ * kSectorBytes);
  co_await batch;
  if (batch.lacks_room()) co_return fail(Errc::no_space, disk_.name + ": no room for the journal");
  if (!batch.failures().empty()) co_return fail(Errc::unavailable, disk_.name + ": the journal cannot be written");
  co_return Status{};
}

Task<Status> Journal::format(Random& random) {
  tail_ = head_ = 0;
  seq_ = chain_end_ = random.next() & 0xffffffff;
  if (!co_await append_empty()) co_return fail(Errc::io, disk_.name + ": the journal cannot be written");
  co_return Status{};
}

// ---- writing --------------------------------------------------------------------------------------------------------------

void Journal::add(Record& record, PayloadType type, std::uint64_t location_sectors,
                  std::initializer_list<Buffer> pages) const {
  JournalPayload payload;
  payload.type = type;
  payload.location_sectors = location_sectors;
  payload.pages = static_cast<std::uint32_t>(pages.size());
  std::size_t i = 0;
  for (const Buffer& page : pages) {
    payload.checksums[i++] = journal_checksum(seed_, page.bytes());
    std::vector<Buffer>& all = record.pages;
    // What lies behind the last page in memory goes out with it.
    Buffer both = all.empty() ? Buffer() : all.back().joined(page);
    if (both) {
      all.back() = std::move(both);
    } else {
      all.push_back(page);
    }
  }
  record.meta.payloads.push_back(std::move(payload));
}

Journal::Record Journal::record_of(const BandWrite& write, ColumnSet writes, const Columns& columns) const {
  const Geometry& geometry = core_.geometry();
  const Band& band = write.band;
  Record record;
  // Lost columns too: the kernel skips rows of which no data is in the log, and their parity would go with them.
  for (const Span& span : write.spans) {
    const std::uint64_t logical = core_.logical_of(band.stripe, span.column, span.begin) / kSectorBytes;
    for (std::uint64_t row = 0; row < span.size(); row += kJournalBlockBytes) {
      add(record, PayloadType::data, logical + row / kSectorBytes, {span.payload->block(span.at + row)});
    }
  }
  const bool p = writes.contains(geometry.p_column());
  const bool q = geometry.parity_disks() > 1 && writes.contains(geometry.q_column());
  if (!p && !q) return record;
  const auto page = [&](std::uint32_t column, bool known, std::uint64_t row) {
    // md wants both pages of RAID 6. That of a lost member is never written anywhere: see the rules about the tail.
    return (known ? columns.buffer[column] : core_.zeroes()).slice(known ? row : 0, kJournalBlockBytes);
  };
  for (std::uint64_t row = 0; row < band.size(); row += kJournalBlockBytes) {
    const std::uint64_t location = (band.base + band.begin + row) / kSectorBytes;
    if (geometry.parity_disks() > 1) {
      add(record, PayloadType::parity, location, {page(geometry.p_column(), p, row), page(geometry.q_column(), q, row)});
    } else {
      add(record, PayloadType::parity, location, {page(geometry.p_column(), p, row)});
    }
  }
  return record;
}

// Gives a record its place in the chain and writes it; true if it is durable there.
Task<bool> Journal::log(Record& record, const Buffer& block) {
  const std::uint64_t sectors = record.meta.sectors();
  record.meta.seq = seq_++;
  record.meta.position_sectors = head_;
  entries_.push_back({record.meta.seq, head_, sectors});
  head_ = ring_add(head_, sectors);
  used_ += sectors;
  encode_journal_meta(record.meta, seed_, std::span<std::byte, kJournalBlockBytes>(block.data(), kJournalBlockBytes));
  if (!co_await write_record(record, block)) co_return false;
  written(record.meta.seq);
  co_return true;
}

// Writes a record at its position; true if all of it is durable. The ring's end may be anywhere in it.
Task<bool> Journal::write_record(const Record& record, const Buffer& block) {
  Batch batch(core_, Cause::journal);
  std::uint64_t at = record.meta.position_sectors * kSectorBytes;
  const std::uint64_t end = size_ * kSectorBytes;
  std::vector<Buffer> run{block};
  std::uint64_t run_at = at;
  at += kJournalBlockBytes;
  const auto send = [&] {
    if (!run.empty()) batch.write_run(disk_, run_at, run);
    run.clear();
    if (at == end) at = 0;
    run_at = at;
  };
  for (const Buffer& pages : record.pages) {
    for (std::uint64_t taken = 0; taken < pages.size();) {
      if (at == end || run.size() == Leaf::kMaxSegments) send();
      const std::uint64_t bytes = std::min<std::uint64_t>(pages.size() - taken, end - at);
      run.push_back(pages.slice(taken, bytes));
      taken += bytes;
      at += bytes;
    }
  }
  send();
  co_await batch;
  if (!batch.failures().empty()) give_up(batch.failures().front().status);
  co_return !failed_;
}

void Journal::written(std::uint64_t seq) {
  entries_[seq - entries_.front().seq].written = true;
  const std::uint64_t before = chain_end_;
  while (chain_end_ < seq_ && entries_[chain_end_ - entries_.front().seq].written) ++chain_end_;
  if (chain_end_ != before) chain_event_.wake_all();
}

Task<std::optional<std::uint64_t>> Journal::append(const BandWrite& write, ColumnSet writes, const Columns& columns) {
  Record record = record_of(write, writes, columns);
  const Buffer block = core_.metadata_block();
  if (!block) co_return std::nullopt;
  const std::uint64_t sectors = record.meta.sectors();
  while (!failed_ && !core_.failed() && !fits(sectors)) {
    const std::uint64_t used = used_;
    co_await reclaim();
    // Not for ever: nobody wins space back in an array that has failed.
    if (used_ == used) co_await space_event_.wait_until(core_.scheduler().now() + kSpaceWait);
  }
  if (failed_ || core_.failed()) co_return std::nullopt;
  if (used_ > size_ / kReclaimFraction && !reclaim_queued_) {
    reclaim_queued_ = true;
    core_.tasks().spawn(reclaim());
  }
  if (!co_await log(record, block)) co_return std::nullopt;
  while (!failed_ && chain_end_ <= record.meta.seq) co_await chain_event_.wait();
  if (failed_) co_return std::nullopt;
  co_return record.meta.seq;
}

void Journal::done(std::uint64_t seq) {
  entries_[seq - entries_.front().seq].done = true;
  space_event_.wake_all();
}

// An empty record: where the tail can stand when nothing else is in the log.
Task<bool> Journal::append_empty() {
  const Buffer block = core_.metadata_block();
  if (!block) co_return false;
  Record record;
  if (!co_await log(record, block)) co_return false;
  done(record.meta.seq);
  co_return true;
}

// Moves the tail past what is done, after a flush of the members. The tail stands on a written record always: what an older
// turn of the ring left there could else be taken for the log's beginning.
Task<void> Journal::reclaim() {
  co_await reclaiming_.acquire();
  SemaphoreGuard one(reclaiming_);
  reclaim_queued_ = false;
  const auto open = std::find_if(entries_.begin(), entries_.end(), [](const Entry& entry) { return !entry.done; });
  auto moved = static_cast<std::size_t>(open - entries_.begin());
  if (failed_ || moved == 0) co_return;
  if (moved == entries_.size()) {
    if (moved == 1 && entries_.front().sectors == kJournalBlockSectors) co_return;  // empty already
    if (!co_await append_empty()) co_return;
    // Others may have come in between, and may not be written yet.
    while (moved > 0 && !entries_[moved].written) --moved;
    if (moved == 0) co_return;
  } else if (!open->written && --moved == 0) {
    co_return;
  }
  if (co_await core_.flush_members(Cause::journal) != Errc::ok || failed_) co_return;
  const std::uint64_t old_tail = tail_;
  tail_ = entries_[moved].position;
  co_await core_.commit();
  if (failed_) {
    tail_ = old_tail;
    co_return;
  }
  for (; moved > 0; --moved) {
    used_ -= entries_.front().sectors;
    entries_.pop_front();
  }
  space_event_.wake_all();
}

Task<void> Journal::trim() {
  const std::uint64_t before = seq_;
  while (!failed_ && !entries_.empty() && entries_.front().seq < before) {
    const bool empty = entries_.size() == 1 && entries_.front().done && entries_.front().sectors == kJournalBlockSectors;
    if (empty) co_return;
    if (!entries_.front().done) {
      co_await space_event_.wait();
      continue;
    }
    const std::uint64_t first = entries_.front().seq;
    co_await reclaim();
    const bool stuck = !entries_.empty() && entries_.front().seq == first;
    if (stuck && core_.failed()) co_return;
    if (stuck) co_await sleep_for(core_.scheduler(), kMillisecond);
  }
}

// ---- replaying --------------------------------------------------------------------------------------------------------------

// Reads from the ring into all of `into`.
Task<Errc> Journal::read(std::uint64_t position, const Buffer& into) {
  const std::uint64_t first = std::min<std::uint64_t>(into.size(), (size_ - position) * kSectorBytes);
  Batch batch(core_, Cause::journal);
  batch.read(disk_, position * kSectorBytes, into.slice(0, first));
  if (first < into.size()) batch.read(disk_, 0, into.slice(first, into.size() - first));
  co_await batch;
  co_return batch.failures().empty() ? Errc::ok : batch.failures().front().status;
}

Task<Result<JournalMeta>> Journal::read_meta(std::uint64_t position) {
  const Buffer block = core_.metadata_block();
  if (!block) co_return fail(Errc::limit, "no memory for the journal");
  const Errc status = co_await read(position, block);
  if (status != Errc::ok) co_return fail(status, "the journal cannot be read");
  co_return decode_journal_meta(std::span<const std::byte, kJournalBlockBytes>(block.data(), kJournalBlockBytes), seed_);
}

// True: the whole record was there and has been applied. False: the log ends before it.
Task<Result<bool>> Journal::replay_record(const JournalMeta& meta) {
  std::vector<Buffer> pages;  // one block each, of large buffers
  std::uint64_t position = ring_add(meta.position_sectors, kJournalBlockSectors);
  for (std::uint64_t left = (meta.sectors() - kJournalBlockSectors) * kSectorBytes; left > 0;) {
    const Buffer part = core_.leaves().reserve().allocate(std::min<std::uint64_t>(left, BufferPool::kMaxBlock));
    if (!part) co_return fail(Errc::limit, "no memory for the journal");
    const Errc status = co_await read(position, part);
    if (status != Errc::ok) co_return fail(status, "the journal cannot be read");
    for (std::uint64_t at = 0; at < part.size(); at += kJournalBlockBytes) {
      pages.push_back(part.slice(at, kJournalBlockBytes));
    }
    left -= part.size();
    position = ring_add(position, part.size() / kSectorBytes);
  }
  std::size_t next = 0;
  for (const JournalPayload& payload : meta.payloads) {
    for (std::uint32_t i = 0; i < payload.pages; ++i, ++next) {
      if (journal_checksum(seed_, pages[next].bytes()) != payload.checksums[i]) co_return false;
    }
  }
  if (Status applied = co_await apply(meta, pages); !applied) co_return std::unexpected(applied.error());
  co_return true;
}

Task<Status> Journal::apply(const JournalMeta& meta, const std::vector<Buffer>& pages) {
  const Geometry& geometry = core_.geometry();
  std::vector<std::uint64_t> with_parity;  // rows, by member offset
  for (const JournalPayload& payload : meta.payloads) {
    const std::uint64_t location = payload.location_sectors * kSectorBytes;
    const bool parity = payload.type == PayloadType::parity;
    const std::uint64_t limit = parity ? geometry.member_bytes() : geometry.capacity_bytes();
    if (payload.pages != 0 && (location >= limit || (parity && payload.pages != geometry.parity_disks()))) {
      co_return fail(Errc::corrupt, fmt::format("journal: location {} is not of this array", location));
    }
    if (parity) with_parity.push_back(location);
  }
  std::sort(with_parity.begin(), with_parity.end());
  std::vector<std::pair<std::uint64_t, Buffer>> data_only;
  {
    Batch batch(core_, Cause::resync);
    const auto put = [&](std::uint32_t slot, std::uint64_t offset, std::size_t page) {
      Member* member = core_.slots()[slot];
      if (!member->live()) return;
      batch.write(*member, offset, pages[page], false);
    };
    std::size_t at = 0;
    for (const JournalPayload& payload : meta.payloads) {
      const std::uint64_t location = payload.location_sectors * kSectorBytes;
      if (payload.type == PayloadType::parity) {
        const std::uint64_t stripe = geometry.stripe_of_member_offset(location);
        put(geometry.p_member(stripe), location, at);
        if (payload.pages > 1) put(geometry.q_member(stripe), location, at + 1);
      } else if (payload.pages != 0) {
        const Location place = geometry.map(location);
        if (std::binary_search(with_parity.begin(), with_parity.end(), place.member_offset)) {
          put(place.member, place.member_offset, at);
        } else {
          data_only.emplace_back(location, pages[at]);
        }
      }
      at += payload.pages;
    }
    co_await batch;
    core_.judge(batch);
  }
  for (const auto& [logical, page] : data_only) {
    if (co_await core_.write_unlogged(logical, page) != Errc::ok) {
      co_return fail(Errc::unavailable, "the journal cannot be replayed");
    }
  }
  if (core_.failed()) co_return fail(Errc::unavailable, "members failed while the journal was replayed");
  co_return Status{};
}

// The record at `position`, if it follows the one with the number `last`. None: the log ends before.
Task<Result<std::optional<JournalMeta>>> Journal::next_in_chain(std::uint64_t position,
                                                                std::optional<std::uint64_t> last) {
  auto meta = co_await read_meta(position);
  if (!meta && meta.error().code != Errc::not_found) co_return std::unexpected(meta.error());
  if (!meta || meta->position_sectors != position || (last && meta->seq != *last + 1)) co_return std::nullopt;
  co_return std::move(*meta);
}

Task<bool> Journal::holds_writes() {
  std::uint64_t position = chain_begin();
  std::optional<std::uint64_t> last;
  for (std::uint64_t passed = 0; passed < size_;) {
    const auto meta = co_await next_in_chain(position, last);
    if (!meta) co_return true;  // nobody knows
    if (!*meta) break;
    if ((*meta)->sectors() > kJournalBlockSectors) co_return true;
    last = (*meta)->seq;
    passed += (*meta)->sectors();
    position = ring_add(position, (*meta)->sectors());
  }
  co_return false;
}

Task<Status> Journal::replay() {
  replaying_ = true;
  std::uint64_t position = chain_begin();
  std::optional<std::uint64_t> last;
  for (std::uint64_t passed = 0; passed < size_;) {
    const auto meta = co_await next_in_chain(position, last);
    if (!meta) co_return fail(meta.error().code, disk_.name + ": " + meta.error().what);
    if (!*meta) break;
    const auto applied = co_await replay_record(**meta);
    if (!applied) co_return fail(applied.error().code, disk_.name + ": " + applied.error().what);
    if (!*applied) break;
    last = (*meta)->seq;
    passed += (*meta)->sectors();
    position = ring_add(position, (*meta)->sectors());
  }
  if (co_await core_.flush_members(Cause::resync) != Errc::ok) {
    co_return fail(Errc::unavailable, "members failed while the journal was replayed");
  }
  if (!last) position = 0;  // md too begins anew where it finds no log
  tail_ = head_ = position;
  seq_ = chain_end_ = last.value_or(core_.random().next() & 0xffffffff) + kSeqGap;
  if (!co_await append_empty()) co_return fail(Errc::io, disk_.name + ": the journal cannot be written");
  replaying_ = false;
  co_return Status{};
}

}  // namespace resilver::raid
