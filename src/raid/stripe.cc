// Reads and writes of stripes with parity. A band is never on both sides of a rebuild's watermark: bands end at multiples of
// kBandBytes (or of the chunk, if that is smaller), and so do the windows that move it.
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
    return member != nullptr && member->has_bad(band.base + band.begin, band.base + band.end);
  });
}

// Runs all bands of a request; more than one at a time.
Task<Errc> Core::for_each_band(const Transfer& transfer, bool write) {
  Errc status = Errc::ok;
  Semaphore depth(scheduler_, kBandsPerRequest);
  TaskGroup bands(scheduler_);
  std::uint64_t logical = transfer.offset;
  std::uint64_t left = transfer.length;
  while (left > 0) {
    const StripePart part = geometry_.first_part(logical, left);
    for (std::uint64_t begin = part.begin; begin < part.end;) {
      const std::uint64_t end = std::min(part.end, begin / kBandBytes * kBandBytes + kBandBytes);
      const Band band{part.stripe, geometry_.stripe_member_offset(part.stripe), begin, end};
      co_await depth.acquire();
      if (part.length == transfer.length && end == part.end && begin == part.begin) {
        co_await band_task(transfer, write, band, status, depth);
      } else {
        bands.spawn(band_task(transfer, write, band, status, depth));
      }
      begin = end;
    }
    logical += part.length;
    left -= part.length;
  }
  co_await bands.join();
  co_return status;
}

Task<void> Core::band_task(const Transfer& transfer, bool write, Band band, Errc& status, Semaphore& depth) {
  SemaphoreGuard one(depth);
  co_await bands_.acquire();
  SemaphoreGuard guard(bands_);
  const Errc outcome = write ? co_await write_band(transfer, band) : co_await read_band(transfer, band);
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
  std::array<std::byte*, kMaxDisks> bytes{};
  ColumnSet missing = lost;
  for (std::uint32_t column = 0; column < geometry_.columns(); ++column) {
    const bool known = static_cast<bool>(columns.buffer[column]) && !lost.contains(column);
    bytes[column] = known || wanted.contains(column) ? columns.at(column) : nullptr;
    if (!known) missing.add(column);
  }
  code_->recover(std::span(bytes.data(), geometry_.columns()), missing, band.size());
}

// ---- reading --------------------------------------------------------------------------------------------------------------

Task<Errc> Core::read_band(const Transfer& transfer, Band band) {
  const ColumnSet wanted = touched(transfer, band);
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    if (failed_) co_return Errc::unavailable;
    const MemberSet lost = lost_for(band.base + band.begin, band.base + band.end);
    const ReadPlan plan = plan_read(geometry_, band.stripe, wanted, lost);
    if (!plan.possible) co_return Errc::unavailable;
    if (has_bad(band)) break;
    Columns columns;
    const Loaded loaded = co_await load(band, plan.reads, columns, Cause::foreground);
    if (loaded == Loaded::again) continue;
    if (loaded == Loaded::damaged) break;
    if (loaded == Loaded::no_memory || !allocate(band, plan.recovers, columns)) co_return Errc::limit;
    if (!plan.recovers.empty()) recover(band, plan.recovers, plan.recovers, columns);
    for (const std::uint32_t column : wanted) {
      const Given part = given(transfer, band, column);
      transfer.payload.copy_from(columns.at(column) + (part.begin - band.begin), part.at, part.size());
    }
    co_return Errc::ok;
  }
  Errc status = Errc::ok;
  for (std::uint64_t row = band.begin; row < band.end; row += kRowBytes) {
    Row found = co_await load_row(band.stripe, row, Cause::foreground);
    const Band single{band.stripe, band.base, row, row + kRowBytes};
    for (const std::uint32_t column : touched(transfer, single)) {
      if (found.known.contains(column)) {
        transfer.payload.copy_from(found.columns.at(column), given(transfer, single, column).at, kRowBytes);
      } else {
        status = failed_ ? Errc::unavailable : found.no_memory ? Errc::limit : Errc::medium;
      }
    }
  }
  co_return status;
}

// ---- writing --------------------------------------------------------------------------------------------------------------

Task<Errc> Core::write_band(const Transfer& transfer, Band band) {
  const ColumnSet columns_touched = touched(transfer, band);
  ColumnSet full;
  for (const std::uint32_t column : columns_touched) {
    if (given(transfer, band, column).size() == band.size()) full.add(column);
  }
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    if (failed_) co_return Errc::unavailable;
    const MemberSet lost = lost_for(band.base + band.begin, band.base + band.end);
    const WritePlan plan = plan_write(geometry_, band.stripe, columns_touched, full, lost);
    if (plan.way == WriteWay::impossible) co_return Errc::unavailable;
    if (has_bad(band)) break;
    Columns columns;
    const Loaded loaded = co_await load(band, plan.reads, columns, Cause::foreground);
    if (loaded == Loaded::again) continue;
    if (loaded == Loaded::damaged) break;
    ColumnSet needed = plan.recovers;
    for (std::uint32_t c = geometry_.data_disks(); c < geometry_.columns(); ++c) {
      if (plan.writes.contains(c)) needed.add(c);
    }
    if (loaded == Loaded::no_memory || !allocate(band, needed, columns)) co_return Errc::limit;
    // What was not read is not known, even where its buffer is there to be filled.
    const ColumnSet unread = ColumnSet::first(geometry_.columns()) - plan.reads;
    if (!plan.recovers.empty()) recover(band, unread, plan.recovers, columns);
    if (!compute_parity(transfer, band, plan, columns)) co_return Errc::limit;
    co_await store(transfer, band, plan, columns);
    co_return failed_ ? Errc::unavailable : Errc::ok;
  }
  Errc status = Errc::ok;
  for (std::uint64_t row = band.begin; row < band.end && status == Errc::ok; row += kRowBytes) {
    status = co_await write_row(transfer, band.stripe, row);
  }
  co_return status;
}

// False: no memory.
bool Core::compute_parity(const Transfer& transfer, const Band& band, const WritePlan& plan, Columns& columns) {
  const std::uint32_t p_column = geometry_.p_column();
  const std::uint32_t q_column = geometry_.q_column();
  std::byte* p = plan.writes.contains(p_column) ? columns.at(p_column) : nullptr;
  std::byte* q = geometry_.parity_disks() > 1 && plan.writes.contains(q_column) ? columns.at(q_column) : nullptr;
  if (p == nullptr && q == nullptr) return true;
  std::array<const std::byte*, kMaxDisks> data{};
  std::array<Buffer, kMaxDisks> copies;
  for (std::uint32_t d = 0; d < geometry_.data_disks(); ++d) {
    const Given part = given(transfer, band, d);
    std::byte* old = columns.at(d);
    if (plan.way == WriteWay::read_modify_write) {
      if (part.size() == 0) continue;
      // old becomes old + new where something is given, zero elsewhere: the difference
      const std::uint64_t skip = part.begin - band.begin;
      std::memset(old, 0, skip);
      std::memset(old + skip + part.size(), 0, band.size() - skip - part.size());
      transfer.payload.add_to(old + skip, part.at, part.size());
      code_->update(d, old, p, q, band.size());
      continue;
    }
    data[d] = old;
    if (part.size() == 0) continue;
    if (part.size() == band.size()) {
      data[d] = transfer.payload.contiguous(part.at, part.size());
      if (data[d] != nullptr) continue;
      copies[d] = pool_.allocate(band.size());
      if (!copies[d]) return false;
      transfer.payload.copy_to(copies[d].data(), part.at, part.size());
      data[d] = copies[d].data();
    } else {
      transfer.payload.copy_to(old + (part.begin - band.begin), part.at, part.size());
    }
  }
  if (plan.way != WriteWay::read_modify_write) {
    code_->generate(std::span(data.data(), geometry_.data_disks()), p, q, band.size());
  }
  return true;
}

// Writes what the request gives and the parity. True if nothing failed.
Task<bool> Core::store(const Transfer& transfer, const Band& band, const WritePlan& plan, Columns& columns) {
  const MemberSet lost = lost_for(band.base + band.begin, band.base + band.end);
  const bool skip_parity = planted(PlantedBug::parity_not_updated_degraded) && !lost.empty();
  Batch batch(*this, Cause::foreground);
  for (const std::uint32_t column : plan.writes) {
    Member& member = *slots_[geometry_.member_of(band.stripe, column)];
    if (!member.live()) continue;  // failed meanwhile: parity covers it
    if (column >= geometry_.data_disks()) {
      if (!skip_parity) batch.write(member, band.base + band.begin, columns.buffer[column], transfer.fua, column);
      continue;
    }
    const Given part = given(transfer, band, column);
    batch.transfer(IoOp::write, member, band.base + part.begin, transfer.payload, part.at, part.size(), transfer.fua,
                   column);
  }
  co_await batch;
  judge(batch);
  co_return batch.failures().empty();
}

}  // namespace resilver::raid
