// Merging requests into stripe writes, and running them: see stripe_write.h.
#include "raid/stripe_write.h"

#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {
namespace {

constexpr std::uint32_t kStripesPerRequest = 64;  // pieces at a time, however long the request is
constexpr Nanos kPlugTime = 5 * kMillisecond;     // an open stripe waits at most so long for its continuation ...
constexpr Nanos kPlugGrace = 200 * kMicrosecond;  // ... and so long when nothing else is being written

}  // namespace

// A request belongs to a stream if it begins where one of the last requests ended. Asked in the order of submission.
bool Core::continues_stream(std::uint64_t begin, std::uint64_t end) noexcept {
  const auto stream = std::find(stream_ends_.begin(), stream_ends_.end(), begin);
  const bool found = stream != stream_ends_.end();
  (found ? *stream : stream_ends_[next_stream_++ % stream_ends_.size()]) = end;
  return found;
}

Task<Errc> Core::write_unlogged(std::uint64_t logical, Buffer block) {
  const Payload payload({&block, 1});
  co_return co_await write_stripes({payload, logical, block.size(), false});
}

Task<Errc> Core::write_stripes(const Transfer& transfer) {
  PieceWait wait;
  peak_writes_ = std::max(peak_writes_, ++unanswered_);
  const bool continues = transfer.continues && peak_writes_ > 1;
  const std::uint64_t stripe_bytes = geometry_.stripe_data_bytes();
  for (std::uint64_t at = 0; at < transfer.length;) {
    const std::uint64_t stripe = (transfer.offset + at) / stripe_bytes;
    const std::uint64_t begin = transfer.offset + at - stripe * stripe_bytes;
    const std::uint64_t bytes = std::min(stripe_bytes - begin, transfer.length - at);
    wait.limit = kStripesPerRequest;
    co_await wait;
    ++wait.pending;
    stage(stripe, {&transfer.payload, at, begin, begin + bytes, transfer.use, transfer.fua, continues, &wait});
    at += bytes;
  }
  wait.limit = 1;
  wait.complete = true;
  if (wait.pending == 0) answered();
  co_await wait;
  co_return wait.status;
}

void Core::answered() noexcept {
  --unanswered_;
  last_answer_ = scheduler_.now();
}

void Core::stage(std::uint64_t stripe, const Piece& piece) {
  StripeWrite*& open = open_stripes_[stripe];
  const bool joins = open != nullptr && open->takes(piece);
  if (open != nullptr) {
    // What overlaps comes after: the write that is there asks for the lock first.
    joins ? open->add(piece) : open->close();
    if (plugged_ != 0 && !open->expects_more(geometry_.stripe_data_bytes())) plug_event_.wake_all();
  }
  if (joins) return;
  auto write = std::make_unique<StripeWrite>();
  write->stripe = stripe;
  write->add(piece);
  open = write.get();
  ++stripe_writes_;
  tasks_.spawn(run_stripe_write(std::move(write)));
}

// Waits for the continuation of a sequential stream. When every stripe write is plugged, only a client that has just been
// answered can bring more: one that has as many requests under way as ever will not.
Task<void> Core::plug(const StripeWrite& write) {
  const std::uint64_t stripe_bytes = geometry_.stripe_data_bytes();
  const Nanos deadline = scheduler_.now() + kPlugTime;
  ++plugged_;
  if (plugged_ == stripe_writes_) plug_event_.wake_all();
  while (!stopping_ && write.expects_more(stripe_bytes)) {
    Nanos until = deadline;
    if (plugged_ == stripe_writes_) {
      until = unanswered_ < peak_writes_ ? std::min(deadline, last_answer_ + kPlugGrace) : 0;
    }
    if (scheduler_.now() >= until) {
      peak_writes_ = unanswered_;
      break;
    }
    co_await plug_event_.wait_until(until);
  }
  --plugged_;
}

Task<void> Core::run_stripe_write(std::unique_ptr<StripeWrite> write) {
  if (write->expects_more(geometry_.stripe_data_bytes())) co_await plug(*write);
  {
    const std::uint64_t base = geometry_.stripe_member_offset(write->stripe);
    RangeGuard lock(locks_, base, base + geometry_.chunk_bytes(), true);
    co_await lock;
    const auto open = open_stripes_.find(write->stripe);
    if (open != open_stripes_.end() && open->second == write.get()) open_stripes_.erase(open);
    const Errc status = co_await write_bands(*write);
    for (const Piece& piece : write->pieces) {
      PieceWait& wait = *piece.wait;
      if (wait.status == Errc::ok) wait.status = status;
      --wait.pending;
      if (wait.pending == 0 && wait.complete) answered();
      if (wait.pending < wait.limit && wait.waiting && !wait.queued) {
        wait.queued = true;
        scheduler_.post(wait);
      }
    }
  }
  --stripe_writes_;
  if (plugged_ != 0) plug_event_.wake_all();
}

// The rows that a stripe write touches, as bands: runs without a gap, cut so that none is on both sides of a watermark.
std::vector<Band> Core::bands_of(const StripeWrite& write) const {
  const std::uint64_t chunk = geometry_.chunk_bytes();
  std::vector<std::pair<std::uint64_t, std::uint64_t>> rows;
  for (const Piece& piece : write.pieces) {
    const std::uint64_t first = piece.begin % chunk;
    const std::uint64_t last = (piece.end - 1) % chunk + 1;
    const std::uint64_t columns = (piece.end - 1) / chunk - piece.begin / chunk + 1;
    if (columns == 1) {
      rows.emplace_back(first, last);
    } else if (columns > 2 || last >= first) {
      rows.emplace_back(0, chunk);
    } else {
      rows.emplace_back(first, chunk);
      rows.emplace_back(0, last);
    }
  }
  std::sort(rows.begin(), rows.end());
  std::vector<Band> bands;
  const std::uint64_t base = geometry_.stripe_member_offset(write.stripe);
  for (std::size_t i = 0; i < rows.size();) {
    const std::uint64_t begin = rows[i].first;
    std::uint64_t end = rows[i].second;
    for (++i; i < rows.size() && rows[i].first <= end; ++i) end = std::max(end, rows[i].second);
    for (std::uint64_t at = begin; at < end;) {
      const std::uint64_t stop = std::min(end, at / band_bytes_ * band_bytes_ + band_bytes_);
      bands.push_back({write.stripe, base, at, stop});
      at = stop;
    }
  }
  return bands;
}

BandWrite Core::band_write(const StripeWrite& write, const Band& band) const {
  BandWrite one;
  one.band = band;
  const std::uint64_t chunk = geometry_.chunk_bytes();
  std::vector<std::uint64_t> given(geometry_.data_disks());
  for (const Piece& piece : write.pieces) {
    for (std::uint64_t index = piece.begin / chunk; index * chunk < piece.end; ++index) {
      const std::uint64_t from = index * chunk;  // a chunk begins here in the stripe's data
      const std::uint64_t begin = std::max(piece.begin, from + band.begin);
      const std::uint64_t end = std::min(piece.end, from + band.end);
      if (begin >= end) continue;
      const std::uint32_t column = geometry_.column_at(write.stripe, static_cast<std::uint32_t>(index));
      one.spans.push_back({column, begin - from, end - from, piece.payload, piece.at + (begin - piece.begin)});
      one.touched.add(column);
      one.use = one.spans.size() == 1 ? piece.use : std::min(one.use, piece.use);
      one.fua = one.fua || piece.fua;
      given[column] += end - begin;
      if (given[column] == band.size()) one.full.add(column);
    }
  }
  std::sort(one.spans.begin(), one.spans.end(),
            [](const Span& a, const Span& b) { return a.column != b.column ? a.column < b.column : a.begin < b.begin; });
  return one;
}

Task<Errc> Core::write_bands(const StripeWrite& write) {
  const std::vector<Band> bands = bands_of(write);
  Errc status = Errc::ok;
  if (bands.size() == 1) {
    co_await write_one_band(write, bands.front(), status);
    co_return status;
  }
  TaskGroup group(scheduler_);
  for (const Band& band : bands) group.spawn(write_one_band(write, band, status));
  co_await group.join();
  co_return status;
}

Task<void> Core::write_one_band(const StripeWrite& write, Band band, Errc& status) {
  co_await bands_.acquire();
  SemaphoreGuard guard(bands_);
  const Errc outcome = co_await write_band(band_write(write, band));
  if (outcome != Errc::ok && status == Errc::ok) status = outcome;
}

}  // namespace resilver::raid
