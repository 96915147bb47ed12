#include "workload/driver.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace resilver::workload {
namespace {

bool nobody_serves(Errc status) {
  return status == Errc::timeout || status == Errc::closed || status == Errc::not_primary || status == Errc::fenced;
}

}  // namespace

Driver::Driver(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, Oracle& oracle, const LoadSpec& spec,
               std::uint32_t max_inflight)
    : scheduler_(scheduler),
      buffers_(buffers),
      device_(device),
      oracle_(oracle),
      generator_(spec),
      bs_(spec.bs),
      places_(scheduler, max_inflight),
      requests_(scheduler),
      completed_(scheduler) {}

void LoadStats::ended(const LoadEnd& end) noexcept {
  const Nanos waited = end.ended - end.intended;
  longest_wait = std::max(longest_wait, waited);
  if (end.status != Errc::ok || end.kind == LoadKind::flush) return;
  const bool read = end.kind == LoadKind::read;
  ++(read ? reads : writes);
  (read ? read_latency : write_latency).record(waited);
}

void LoadStats::merge(const LoadStats& other) {
  reads += other.reads;
  writes += other.writes;
  read_latency.merge(other.read_latency);
  write_latency.merge(other.write_latency);
  longest_wait = std::max(longest_wait, other.longest_wait);
}

// ---- the load -------------------------------------------------------------------------------------------------------

Task<void> Driver::run(Nanos start, Event& stop) {
  start_ = start;
  while (!stop.is_set()) {
    LoadOp op = generator_.next();
    if (start + op.intended > scheduler_.now()) co_await stop.wait_until(start + op.intended);
    if (stop.is_set()) break;
    co_await places_.acquire();
    if (stop.is_set() || !co_await find_place(op, stop)) {
      places_.release();
      break;
    }
    requests_.spawn(perform(op));
  }
  co_await requests_.join();
  close_seconds(scheduler_.now());
}

// Keeps overlapping requests with a write among them apart, but for those that are drawn to meet: another place is drawn, or
// one waited for. Those that start at the same instant may meet, too. The client's device orders what overlaps.
Task<bool> Driver::find_place(LoadOp& op, Event& stop) {
  if (op.kind == LoadKind::flush) co_return true;
  if (generator_.wants_conflict() && meet(op)) co_return true;
  const bool write = op.kind == LoadKind::write;
  for (int detour = 0; oracle_.conflicts(op.offset, op.length, write); ++detour) {
    if (detour < kDetours && generator_.redirect(op)) continue;
    if (stop.is_set()) co_return false;
    co_await completed_.wait_until(scheduler_.now() + 10 * kMillisecond);
  }
  co_return true;
}

// Lays it over a request in flight, with a write among the two. False: there is none.
bool Driver::meet(LoadOp& op) {
  std::vector<LoadOp> others;
  waiting_.for_each([&](Waiting& waiting) {
    const LoadOp& other = waiting.op;
    const bool conflict = other.kind == LoadKind::write || op.kind == LoadKind::write;
    if (conflict && other.kind != LoadKind::flush) others.push_back(other);
  });
  if (!others.empty()) generator_.meet(op, others);
  return !others.empty();
}

Task<void> Driver::perform(LoadOp op) {
  if (sink_ != nullptr) sink_->began(scheduler_.now());
  Waiting waiting;
  waiting.op = op;
  waiting_.push_back(waiting);
  Errc status = Errc::ok;
  switch (op.kind) {
    case LoadKind::read: status = co_await perform_read(op); break;
    case LoadKind::write: status = co_await perform_write(op); break;
    case LoadKind::flush: status = co_await perform_flush(); break;
  }
  waiting.unlink();
  count(op, status);
  places_.release();
  completed_.wake_all();
}

Task<Errc> Driver::perform_read(const LoadOp& op) {
  const Buffer buffer = buffers_.allocate(op.length);
  if (!buffer) co_return Errc::limit;
  const OpHandle handle = oracle_.begin_read(scheduler_.now(), op.offset, op.length);
  const Errc status = co_await Io::read(device_, op.offset, buffer);
  if (status == Errc::ok) {
    oracle_.end_read(handle, scheduler_.now(), buffer.bytes());
  } else {
    oracle_.end_read_error(handle, scheduler_.now(), status);
  }
  co_return status;
}

Task<Errc> Driver::perform_write(const LoadOp& op) {
  const Buffer buffer = buffers_.allocate(op.length);
  if (!buffer) co_return Errc::limit;
  const OpHandle handle = oracle_.begin_write(scheduler_.now(), op.offset, op.length);
  oracle_.encode(handle, buffer.bytes());
  ++writes_submitted_;
  const Errc status = co_await Io::write(device_, op.offset, buffer);
  const bool acknowledged = status == Errc::ok;
  oracle_.end_write(handle, scheduler_.now(), acknowledged ? WriteOutcome::acknowledged : WriteOutcome::unknown, status);
  co_return status;
}

Task<Errc> Driver::perform_flush() {
  const OpHandle handle = oracle_.begin_flush(scheduler_.now());
  const Errc status = co_await Io::flush(device_);
  oracle_.end_flush(handle, scheduler_.now(), status);
  co_return status;
}

void Driver::count(const LoadOp& op, Errc status) {
  const Nanos now = scheduler_.now();
  close_seconds(now);
  if (sink_ != nullptr) sink_->ended({op.kind, start_ + op.intended, now, status});
  if (status != Errc::ok) {
    ++errors_;
    ++second_.errors;
    return;
  }
  if (op.kind == LoadKind::flush) return;
  const Nanos latency = now - (start_ + op.intended);
  const bool read = op.kind == LoadKind::read;
  bytes_moved_ += op.length;
  ++(read ? second_.reads : second_.writes);
  second_latency_.record(latency);
  if (!read) {
    ++writes_acknowledged_;
    count_written(op.length);
  }
}

void Driver::count_written(std::uint64_t bytes) noexcept {
  bytes_written_ += bytes;
  ++writes_done_;
}

void Driver::close_seconds(Nanos now) {
  const auto index = static_cast<std::size_t>(std::max<Nanos>(0, now - start_) / kSecond);
  while (seconds_.size() < index) {
    if (second_latency_.count() != 0) {
      second_.latency_p50 = second_latency_.percentile(5000);
      second_.latency_p99 = second_latency_.percentile(9900);
      second_.latency_max = second_latency_.max();
      second_latency_ = LatencyHistogram();
    }
    seconds_.push_back(std::exchange(second_, {}));
  }
}

// ---- the fill -------------------------------------------------------------------------------------------------------

Task<Status> Driver::fill(FillSource source, std::uint64_t offset, std::uint64_t bytes, Event& stop) {
  Semaphore depth(scheduler_, kFillDepth);
  TaskGroup pieces(scheduler_);
  Errc first = Errc::ok;
  struct Piece {
    static Task<void> write(Driver& driver, FillSource& source, std::uint64_t base, std::uint64_t at,
                            std::uint64_t length, Errc& first, Semaphore& depth) {
      co_await driver.fill_piece(source, base, at, length, first);
      depth.release();
    }
  };
  for (std::uint64_t at = 0; at < bytes && !stop.is_set() && first == Errc::ok; at += kFillChunkBytes) {
    co_await depth.acquire();
    const std::uint64_t length = std::min<std::uint64_t>(kFillChunkBytes, bytes - at);
    pieces.spawn(Piece::write(*this, source, offset, at, length, first, depth));
  }
  co_await pieces.join();
  if (first == Errc::ok) first = co_await perform_flush();
  if (first != Errc::ok) co_return resilver::fail(first, "the fill could not be written");
  co_return Status{};
}

Task<void> Driver::fill_piece(FillSource& source, std::uint64_t base, std::uint64_t offset, std::uint64_t length,
                              Errc& first) {
  const Buffer buffer = buffers_.allocate(length);
  if (!buffer) {
    first = Errc::limit;
    co_return;
  }
  std::size_t got = 0;
  while (got < length) {
    const std::size_t more = source(offset + got, buffer.bytes().subspan(got));
    if (more == 0) break;
    got += more;
  }
  std::memset(buffer.data() + got, 0, length - got);  // the end of the last block
  const OpHandle handle = oracle_.begin_fill(scheduler_.now(), base + offset, buffer.bytes());
  const Errc status = co_await Io::write(device_, base + offset, buffer);
  const bool acknowledged = status == Errc::ok;
  oracle_.end_write(handle, scheduler_.now(), acknowledged ? WriteOutcome::acknowledged : WriteOutcome::unknown, status);
  bytes_moved_ += length;
  if (acknowledged) count_written(length);
  if (!acknowledged && first == Errc::ok) first = status;
}

// ---- a mistake ------------------------------------------------------------------------------------------------------

Task<std::uint64_t> Driver::overwrite(std::uint64_t offset, std::uint64_t bytes) {
  std::uint64_t acknowledged = 0;
  for (std::uint64_t at = offset; at < offset + bytes; at += bs_) {
    const std::uint64_t length = std::min(bs_, offset + bytes - at);
    while (oracle_.conflicts(at, length, true)) co_await completed_.wait_until(scheduler_.now() + kMillisecond);
    const Buffer buffer = buffers_.allocate(length);
    if (!buffer) break;
    const OpHandle handle = oracle_.begin_write(scheduler_.now(), at, length, SectorKind::damage);
    oracle_.encode(handle, buffer.bytes());
    const Errc status = co_await Io::write(device_, at, buffer);
    const bool done = status == Errc::ok;
    oracle_.end_write(handle, scheduler_.now(), done ? WriteOutcome::acknowledged : WriteOutcome::unknown, status);
    acknowledged += done ? 1 : 0;
    if (done) count_written(length);
  }
  co_return acknowledged;
}

// ---- reading back ---------------------------------------------------------------------------------------------------

Task<void> Driver::read_back(Event& stop) {
  oracle_.begin_final(scheduler_.now());
  Semaphore depth(scheduler_, kReadBackDepth);
  TaskGroup pieces(scheduler_);
  struct Piece {
    static Task<void> read(Driver& driver, Oracle::Run run, Semaphore& depth) {
      co_await driver.read_piece(run);
      depth.release();
    }
  };
  std::uint64_t at = 0;
  while (!stop.is_set()) {
    const Oracle::Run run = oracle_.next_written(at, kReadBackBytes);
    if (run.length == 0) break;
    at = run.offset + run.length;
    co_await depth.acquire();
    pieces.spawn(Piece::read(*this, run, depth));
  }
  co_await pieces.join();
}

Task<void> Driver::read_piece(Oracle::Run run) {
  const Errc whole = unserved_ ? Errc::timeout : co_await read_and_judge(run.offset, run.length);
  if (whole == Errc::ok) co_return;
  for (std::uint64_t at = run.offset; at < run.offset + run.length; at += kBlockBytes) {
    const Errc block = unserved_ ? Errc::timeout : co_await read_and_judge(at, kBlockBytes);
    if (block == Errc::ok) continue;
    if (nobody_serves(block)) unserved_ = true;
    const OpHandle handle = oracle_.begin_read(scheduler_.now(), at, kBlockBytes);
    oracle_.end_read_error(handle, scheduler_.now(), block);
  }
}

// Nothing else is under way, so the question may be told to the oracle together with the answer.
Task<Errc> Driver::read_and_judge(std::uint64_t offset, std::uint64_t length) {
  const Buffer buffer = buffers_.allocate(length);
  if (!buffer) co_return Errc::limit;
  const Errc status = co_await Io::read(device_, offset, buffer);
  if (status != Errc::ok) {
    if (nobody_serves(status)) unserved_ = true;
    co_return status;
  }
  bytes_moved_ += length;
  const OpHandle handle = oracle_.begin_read(scheduler_.now(), offset, length);
  oracle_.end_read(handle, scheduler_.now(), buffer.bytes());
  co_return Errc::ok;
}

}  // namespace resilver::workload
