// Reads and writes of stripes with parity. What is damaged, and what there is no memory for, is done row by row: see row.cc.
// A band is never on both sides of a rebuild's watermark: bands end at multiples of unit_bytes_ (or of the chunk, if that is
// smaller), and so do the windows that move it.
#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {
namespace {

constexpr std::size_t kBandsPerRequest = 64;  // tasks at a time, however long the request is
constexpr int kMaxAttempts = 64;              // each needs another member to fail, or another rebuild to begin

}  // namespace

Given Core::given(const Transfer& transfer, const Band& band, std::uint32_t column) const noexcept {
  const std::uint64_t column_begin = geometry_.column_logical(band.stripe, column);
  const std::uint64_t begin = std::max(column_begin + band.begin, transfer.offset);
  const std::uint64_t end = std::min(column_begin + band.end, transfer.offset + transfer.length);
  if (begin >= end) return {};
  return {begin - column_begin, end - column_begin, begin - transfer.offset};
}

ColumnSet Core::touched(const Transfer& transfer, const Band& band) const noexcept {
  ColumnSet columns;
  for (std::uint32_t d = 0; d < geometry_.data_disks(); ++d) {
    if (given(transfer, band, d).size() != 0) columns.add(d);
  }
  return columns;
}

bool Core::has_bad(const Band& band) const noexcept {
  return std::any_of(slots_.begin(), slots_.end(), [&](const Member* member) {
    const std::uint64_t begin = band.base + band.begin;
    const std::uint64_t end = band.base + band.end;
    return member->has_bad(begin, end) || (member->twin != nullptr && member->twin->has_bad(begin, end));
  });
}

// Runs all bands of a read; more than one at a time.
Task<Errc> Core::read_bands(const Transfer& transfer) {
  Errc status = Errc::ok;
  Semaphore depth(scheduler_, kBandsPerRequest);
  TaskGroup bands(scheduler_);
  std::uint64_t logical = transfer.offset;
  std::uint64_t left = transfer.length;
  while (left > 0) {
    const StripePart part = geometry_.first_part(logical, left);
    for (std::uint64_t begin = part.begin; begin < part.end;) {
      const std::uint64_t end = std::min(part.end, begin / unit_bytes_ * unit_bytes_ + unit_bytes_);
      const Band band{part.stripe, geometry_.stripe_member_offset(part.stripe), begin, end};
      co_await depth.acquire();
      if (part.length == transfer.length && end == part.end && begin == part.begin) {
        co_await read_one_band(transfer, band, status, depth);
      } else {
        bands.spawn(read_one_band(transfer, band, status, depth));
      }
      begin = end;
    }
    logical += part.length;
    left -= part.length;
  }
  co_await bands.join();
  co_return status;
}

Task<void> Core::read_one_band(const Transfer& transfer, Band band, Errc& status, Semaphore& depth) {
  SemaphoreGuard one(depth);
  co_await bands_.acquire();
  SemaphoreGuard guard(bands_);
  const Errc outcome = co_await read_band(transfer, band);
  if (outcome != Errc::ok && status == Errc::ok) status = outcome;
}

bool Core::allocate(const Band& band, ColumnSet wanted, Columns& columns) {
  for (const std::uint32_t column : wanted) {
    if (!columns.buffer[column]) columns.buffer[column] = pool_.allocate(band.size());
    if (!columns.buffer[column]) return false;
  }
  return true;
}

Task<Core::Loaded> Core::load(const Band& band, ColumnSet reads, Columns& columns, Cause cause) {
  if (!allocate(band, reads, columns)) co_return Loaded::no_memory;
  Batch batch(*this, cause);
  for (const std::uint32_t column : reads) {
    batch.read(*slots_[geometry_.member_of(band.stripe, column)], band.base + band.begin, columns.buffer[column],
               column);
  }
  co_await batch;
  const bool damaged = judge(batch);
  if (batch.failures().empty()) co_return Loaded::ok;
  co_return damaged ? Loaded::damaged : Loaded::again;
}

// Computes the wanted columns; whatever was not loaded counts as lost.
void Core::recover(const Band& band, ColumnSet lost, ColumnSet wanted, Columns& columns) {
  std::array<std::byte*, kMaxColumns> bytes;
  ColumnSet missing = lost;
  for (std::uint32_t column = 0; column < geometry_.columns(); ++column) {
    const bool known = static_cast<bool>(columns.buffer[column]) && !lost.contains(column);
    bytes[column] = known || wanted.contains(column) ? columns.at(column) : nullptr;
    if (!known) missing.add(column);
  }
  code_->recover(band.stripe, std::span(bytes.data(), geometry_.columns()), missing, band.size());
}

// ---- reading --------------------------------------------------------------------------------------------------------------

Task<Errc> Core::read_band(const Transfer& transfer, Band band) {
  const ColumnSet wanted = touched(transfer, band);
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    if (failed_) co_return Errc::unavailable;
    const MemberSet lost = lost_for(band.base + band.end);
    const ReadPlan plan = plan_read(geometry_, band.stripe, wanted, lost);
    if (!plan.possible) co_return Errc::unavailable;
    if (has_bad(band)) break;
    Columns columns(geometry_);
    const Loaded loaded = co_await load(band, plan.reads, columns, cause_of(transfer.use));
    if (loaded == Loaded::again) continue;
    if (loaded != Loaded::ok || !allocate(band, plan.recovers, columns)) break;
    if (!plan.recovers.empty()) recover(band, plan.recovers, plan.recovers, columns);
    for (const std::uint32_t column : wanted) {
      const Given part = given(transfer, band, column);
      transfer.payload.copy_from(columns.at(column) + (part.begin - band.begin), part.at, part.size());
    }
    co_return Errc::ok;
  }
  Errc status = Errc::ok;
  for (std::uint64_t row = band.begin; row < band.end; row += kRowBytes) {
    Row found = co_await load_row(band.stripe, row, cause_of(transfer.use));
    const Band single{band.stripe, band.base, row, row + kRowBytes};
    for (const std::uint32_t column : touched(transfer, single)) {
      if (found.known.contains(column)) {
        transfer.payload.copy_from(found.columns.at(column), given(transfer, single, column).at, kRowBytes);
      } else {
        status = failed_ ? Errc::unavailable : Errc::medium;
      }
    }
  }
  co_return status;
}

// ---- writing --------------------------------------------------------------------------------------------------------------

Task<Errc> Core::write_band(BandWrite write) {
  const Band& band = write.band;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    if (failed_) co_return Errc::unavailable;
    const MemberSet lost = lost_for(band.base + band.end);
    const WritePlan plan = plan_write(geometry_, band.stripe, write.touched, write.full, lost);
    if (plan.way == WriteWay::impossible) co_return Errc::unavailable;
    if (has_bad(band)) break;
    Columns columns(geometry_);
    const Loaded loaded = co_await load(band, plan.reads, columns, parity_cause(write.use));
    if (loaded == Loaded::again) continue;
    if (loaded != Loaded::ok) break;
    ColumnSet needed = plan.recovers;
    for (std::uint32_t c = geometry_.data_disks(); c < geometry_.columns(); ++c) {
      if (plan.writes.contains(c)) needed.add(c);
    }
    if (!allocate(band, needed, columns)) break;
    // What was not read is not known, even where its buffer is there to be filled.
    const ColumnSet unread = ColumnSet::first(geometry_.columns()) - plan.reads;
    if (!plan.recovers.empty()) recover(band, unread, plan.recovers, columns);
    if (!compute_parity(write, plan, columns)) break;
    co_return co_await store(write, plan.writes, columns);
  }
  Errc status = Errc::ok;
  for (std::uint64_t row = band.begin; row < band.end && status == Errc::ok; row += kRowBytes) {
    status = co_await write_row(write, row);
  }
  co_return status;
}

std::span<const Span> BandWrite::of(std::uint32_t column) const noexcept {
  const auto first = std::find_if(spans.begin(), spans.end(), [&](const Span& span) { return span.column == column; });
  auto last = first;
  while (last != spans.end() && last->column == column) ++last;
  return {first, last};
}

BandWrite BandWrite::part(std::uint64_t begin, std::uint64_t end) const {
  BandWrite cut;
  cut.band = {band.stripe, band.base, begin, end};
  cut.use = use;
  cut.fua = fua;
  for (Span span : spans) {
    if (span.begin >= end || span.end <= begin) continue;
    const std::uint64_t skip = begin > span.begin ? begin - span.begin : 0;
    span.begin += skip;
    span.at += skip;
    span.end = std::min(span.end, end);
    cut.spans.push_back(span);
    cut.touched.add(span.column);
    if (span.size() == end - begin) cut.full.add(span.column);
  }
  return cut;
}

// False: no memory.
bool Core::compute_parity(const BandWrite& write, const WritePlan& plan, Columns& columns) {
  const Band& band = write.band;
  const std::uint32_t p_column = geometry_.p_column();
  const std::uint32_t q_column = geometry_.q_column();
  std::byte* p = plan.writes.contains(p_column) ? columns.at(p_column) : nullptr;
  std::byte* q = geometry_.parity_disks() > 1 && plan.writes.contains(q_column) ? columns.at(q_column) : nullptr;
  if (p == nullptr && q == nullptr) return true;
  if (plan.way == WriteWay::read_modify_write) {
    for (const std::uint32_t column : write.touched) {
      // old becomes old + new where something is given, zero elsewhere: the difference
      std::byte* old = columns.at(column);
      std::uint64_t reached = band.begin;
      for (const Span& span : write.of(column)) {
        std::memset(old + (reached - band.begin), 0, span.begin - reached);
        span.payload->add_to(old + (span.begin - band.begin), span.at, span.size());
        reached = span.end;
      }
      std::memset(old + (reached - band.begin), 0, band.end - reached);
      code_->update(band.stripe, column, old, p, q, band.size());
    }
    return true;
  }
  std::array<const std::byte*, kMaxColumns> data;
  std::vector<Buffer> copies;
  for (std::uint32_t d = 0; d < geometry_.data_disks(); ++d) {
    const std::span<const Span> spans = write.of(d);
    if (spans.size() == 1 && spans[0].size() == band.size()) {
      data[d] = spans[0].payload->contiguous(spans[0].at, band.size());
      if (data[d] != nullptr) continue;
    }
    std::byte* content = columns.at(d);
    if (content == nullptr) {
      copies.push_back(pool_.allocate(band.size()));
      if (!copies.back()) return false;
      content = copies.back().data();
    }
    for (const Span& span : spans) span.payload->copy_to(content + (span.begin - band.begin), span.at, span.size());
    data[d] = content;
  }
  code_->generate(band.stripe, std::span(data.data(), geometry_.data_disks()), p, q, band.size());
  return true;
}

// Degraded, a band that is written in part loses what its lost columns held, and with a journal its record would have to be
// kept: so there is room for all of it, or nothing is written. Otherwise a resync makes up for it.
Task<Errc> Core::make_room(const Band& band, ColumnSet writes) {
  Batch batch(*this, Cause::data);
  for (const std::uint32_t column : writes) {
    Member* member = slots_[geometry_.member_of(band.stripe, column)];
    if (member->live()) batch.reserve(*member, band.base + band.begin, band.size());
  }
  co_await batch;
  judge(batch);
  co_return failed_ ? Errc::unavailable : batch.lacks_room() ? Errc::no_space : Errc::ok;
}

// Writes what is given and the parity to members; with a journal, there first.
Task<Errc> Core::store(const BandWrite& write, ColumnSet writes, Columns& columns) {
  const Band& band = write.band;
  const MemberSet lost = lost_for(band.base + band.end);
  const bool skip_parity = planted(PlantedBug::parity_not_updated_degraded) && !lost.empty();
  if (journal_ || !lost.empty()) {
    if (const Errc room = co_await make_room(band, writes); room != Errc::ok) co_return room;
  }
  std::optional<std::uint64_t> record;
  if (journal_ && !journal_->replaying()) {
    // A record that leaves a member out must not be durable before that member is durably excluded: replay would count on it.
    co_await settle(faults_settled_);
    record = co_await journal_->append(write, writes, columns);
    if (!record) co_return Errc::unavailable;
  }
  Batch batch(*this, Cause::data);
  for (const std::uint32_t column : writes) {
    batch.charge(column >= geometry_.data_disks() ? parity_cause(write.use) : cause_of(write.use));
    Member* member = slots_[geometry_.member_of(band.stripe, column)];
    if (!member->live()) continue;  // failed meanwhile: parity covers it
    if (column >= geometry_.data_disks()) {
      if (!skip_parity) batch.write(*member, band.base + band.begin, columns.buffer[column], write.fua, column);
      continue;
    }
    batch.write_spans(*member, band.base, write.of(column), write.fua);
  }
  co_await batch;
  judge(batch);
  if (record) journal_->done(*record);
  if (batch.lacks_room()) {
    if (record) failed_ = true;  // the record is there, and the next start replays it
    need_resync();
  }
  co_return failed_ ? Errc::unavailable : batch.lacks_room() ? Errc::no_space : Errc::ok;
}

}  // namespace resilver::raid
