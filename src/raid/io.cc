// Requests in: the straight paths (all of RAID 0 and linear, reads of members that hold everything asked for), and the way to
// the others.
#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {

void Op::leaf_done(Leaf& leaf) noexcept {
  if (leaf.status != Errc::ok && error == Errc::ok) {
    error = leaf.status;
    culprit = leaf.member;
  }
  if (--pending == 0) core->straight_done(*this);
}

Op& Core::take_op(IoRequest& request) noexcept {
  if (free_ops_ == nullptr) {
    ops_.push_back(std::make_unique<Op>());
    ops_.back()->core = this;
    free_ops_ = ops_.back().get();
  }
  Op& op = *free_ops_;
  free_ops_ = op.next_free;
  op.request = &request;
  op.pending = 0;
  op.error = Errc::ok;
  op.culprit = nullptr;
  ++ops_in_use_;
  return op;
}

void Core::finish(Op& op, Errc status) noexcept {
  if (op.granted) locks_.release(op);
  IoRequest& request = *op.request;
  op.request = nullptr;
  op.next_free = free_ops_;
  free_ops_ = &op;
  --ops_in_use_;
  request.complete(scheduler_, status);
  // begin() may end a request at once and come back here: a loop, not a recursion as deep as the queue is long.
  if (!starting_queued_) {
    starting_queued_ = true;
    while (!queued_.empty() && ops_in_use_ < tuning_.max_requests) {
      IoRequest& next = *queued_.front();
      queued_.pop_front();
      begin(take_op(next));
    }
    starting_queued_ = false;
  }
  if (ops_in_use_ == 0) drained_.wake_all();
}

void Core::submit(IoRequest& request) noexcept {
  if (stopping_) {
    request.complete(scheduler_, Errc::closed);
    return;
  }
  if (ops_in_use_ >= tuning_.max_requests) {
    queued_.push_back(&request);
    return;
  }
  begin(take_op(request));
}

// What a request locks: the stripes that it touches, as a range of the members' data areas; RAID 1 and 10: its own range.
MemberRange Core::rows_of(const IoRequest& request) const noexcept {
  if (geometry_.is_mirrored()) return {request.offset, request.offset + request.length};  // see mirror.cc
  return geometry_.member_range(request.offset, request.offset + request.length);
}

void Core::begin(Op& op) noexcept {
  const IoRequest& request = *op.request;
  last_foreground_ = scheduler_.turn_time();
  if (!geometry_.is_redundant()) {
    if (!try_straight_unprotected(op)) launch_striped(op);
    return;
  }
  if (request.op == IoOp::flush) {
    tasks_.spawn(run_slow(op));
    return;
  }
  const MemberRange rows = rows_of(request);
  op.begin = rows.begin;
  op.end = rows.end;
  op.exclusive = request.op != IoOp::read;
  if (op.exclusive && geometry_.parity_disks() > 0) {  // stripe by stripe: see stripe_write.h
    op.continues = continues_stream(request.offset, request.offset + request.length);
    tasks_.spawn(run_slow(op));
    return;
  }
  op.run = [](Runnable& self) noexcept {
    Op& granted = static_cast<Op&>(self);
    if (!granted.core->try_straight_read(granted)) granted.core->tasks_.spawn(granted.core->run_slow(granted));
  };
  if (locks_.acquire(op) && !try_straight_read(op)) tasks_.spawn(run_slow(op));
}

bool Core::readable(std::uint32_t slot, std::uint64_t from, std::uint64_t to) const noexcept {
  const Member* member = slots_[slot];
  return member->holds(to) && !member->has_bad(from, to);
}

// A read of members that hold all of it: one leaf for each, no coroutine.
bool Core::try_straight_read(Op& op) noexcept {
  const IoRequest& request = *op.request;
  if (request.op != IoOp::read) return false;  // of a failed array, too, what live members hold
  if (geometry_.is_mirrored()) return try_mirror_read(op);
  const Location first = geometry_.map(request.offset);
  if (request.length <= first.run_bytes) {
    if (!readable(first.member, first.member_offset, first.member_offset + request.length)) return false;
    if (launch_in_run(op, first)) return true;
  }
  for (std::uint64_t at = request.offset; at < request.offset + request.length;) {
    const Location place = geometry_.map(at);
    const std::uint64_t bytes = std::min(place.run_bytes, request.offset + request.length - at);
    if (!readable(place.member, place.member_offset, place.member_offset + bytes)) return false;
    at += bytes;
  }
  launch_striped(op);
  return true;
}

bool Core::try_straight_unprotected(Op& op) noexcept {
  const IoRequest& request = *op.request;
  if (request.op != IoOp::read && request.op != IoOp::write) return false;
  const Location place = geometry_.map(request.offset);
  if (request.length > place.run_bytes || !slots_[place.member]->live()) return false;
  return launch_in_run(op, place);
}

// The most frequent case by far: all of it on one member. False if it has too many segments for one leaf.
bool Core::launch_in_run(Op& op, const Location& place) noexcept {
  const IoRequest& request = *op.request;
  if (request.segments.size() > Leaf::kMaxSegments) return false;
  Member& member = *slots_[place.member];
  Leaf& leaf = leaves_->take();
  Payload(request.segments).gather(leaf, 0, request.length);
  op.pending = 1;
  send(leaf, member, op, request.op, member.data_offset + place.member_offset, request.length, request.fua,
       cause_of(request.use), 0);
  return true;
}

// Cuts a request at chunks; what lies next to each other on a member goes in one leaf.
void Core::launch_striped(Op& op) noexcept {
  const IoRequest& request = *op.request;
  op.pending = 1;  // this function's own, so that nothing ends before all is sent
  if (request.op == IoOp::flush) {
    for (Member* member : slots_) {
      if (!member->live()) {  // what it had taken is not durable
        if (op.error == Errc::ok) op.error = Errc::device_gone;
        continue;
      }
      ++op.pending;
      send(leaves_->take(), *member, op, IoOp::flush, 0, 0, false, Cause::data, 0);
    }
  } else {
    const bool moves = request.op == IoOp::read || request.op == IoOp::write;
    const Payload payload = moves ? Payload(request.segments) : Payload::of_zeroes(zeroes_);
    auto launch = [&](std::uint32_t slot) {
      Run& run = runs_[slot];
      if (run.leaf == nullptr) return;
      Member& member = *slots_[slot];
      ++op.pending;
      Leaf& leaf = *std::exchange(run.leaf, nullptr);
      send(leaf, member, op, request.op == IoOp::discard ? IoOp::write_zeroes : request.op,
           member.data_offset + run.begin, run.length, request.fua, cause_of(request.use), 0);
    };
    for (std::uint64_t at = 0; at < request.length;) {
      const Location place = geometry_.map(request.offset + at);
      const std::uint64_t bytes = std::min(place.run_bytes, request.length - at);
      if (!slots_[place.member]->live()) {
        if (op.error == Errc::ok) op.error = Errc::device_gone;
        at += bytes;
        continue;
      }
      Run& run = runs_[place.member];
      if (run.leaf != nullptr && run.begin + run.length != place.member_offset) launch(place.member);
      if (run.leaf == nullptr) {
        run = {&leaves_->take(), place.member_offset, 0};
      }
      if (moves) {
        const std::uint64_t taken = payload.gather(*run.leaf, at, bytes);
        run.length += taken;
        at += taken;
        if (taken < bytes) launch(place.member);
      } else {
        run.length += bytes;
        at += bytes;
      }
    }
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) launch(slot);
  }
  if (--op.pending == 0) straight_done(op);
}

void Core::straight_done(Op& op) noexcept {
  if (op.error == Errc::ok || !geometry_.is_redundant()) {
    // Without redundancy the failure of a member is the array's; its other members go on.
    if (op.culprit != nullptr && op.error == Errc::no_space) no_room(*op.culprit);
    if (op.culprit != nullptr && (op.error == Errc::device_gone || op.error == Errc::timeout)) {
      mark_faulty(*op.culprit, op.error);
    }
    finish(op, op.error);
    return;
  }
  tasks_.spawn(run_slow(op));
}

// ---- with a coroutine ---------------------------------------------------------------------------------------------------

Task<void> Core::run_slow(Op& op) {
  const IoRequest& request = *op.request;
  Errc status = Errc::ok;
  switch (request.op) {
    case IoOp::read: {
      const Payload payload(request.segments);
      const Transfer transfer{payload, request.offset, request.length, false, request.use};
      status = failed_                   ? Errc::unavailable
               : geometry_.is_mirrored() ? co_await read_mirror(transfer)
                                         : co_await read_bands(transfer);
      break;
    }
    case IoOp::flush: status = co_await run_flush(); break;
    default: status = co_await run_write(op); break;
  }
  finish(op, status);
}

// Of every disk without which nothing could be written, also when there is nothing to make durable: whoever asks may want to
// know whether they live.
Task<Errc> Core::run_flush() {
  const auto no_journal = [this] { return journal_ && journal_->failed(); };
  if (failed_ || no_journal()) co_return Errc::unavailable;
  const Errc status = co_await flush_members(Cause::data, journal_.get());
  co_return no_journal() ? Errc::unavailable : status;
}

Task<Errc> Core::run_write(Op& op) {
  const IoRequest& request = *op.request;
  if (!has_room()) co_return Errc::no_space;
  ++active_writes_;
  co_await ensure_dirty();
  if (bitmap_ && !bitmap_->begin(op.begin, std::min(op.end, geometry_.sync_bytes()))) {
    co_await bitmap_->wait_durable(op.begin, std::min(op.end, geometry_.sync_bytes()));
    house_event_.wake_all();
  }
  const bool cannot_log = journal_ && journal_->failed();
  Errc status = failed_ || cannot_log ? Errc::unavailable : full_ ? Errc::no_space : Errc::ok;
  if (status == Errc::ok) {
    const bool zeroes = request.op != IoOp::write;
    const Payload payload = zeroes ? Payload::of_zeroes(zeroes_) : Payload(request.segments);
    const Transfer transfer{payload, request.offset, request.length, request.fua, request.use, op.continues};
    status = geometry_.is_mirrored() ? co_await write_mirror(transfer) : co_await write_stripes(transfer);
  }
  // Rule 2: who missed this write is durably excluded before it is acknowledged.
  if (!planted(PlantedBug::member_not_marked_faulty)) co_await settle(faults_settled_);
  if (status == Errc::ok && full_) status = Errc::no_space;  // it may be metadata that was not written
  if (failed_) status = Errc::unavailable;
  if (status == Errc::ok) full_disk_.clear();
  if (status == Errc::ok && !lost_blocks_.empty()) {  // written anew: good again
    lost_blocks_.erase(lost_blocks_.lower_bound(request.offset),
                       lost_blocks_.lower_bound(request.offset + request.length));
  }
  if (bitmap_) bitmap_->end(op.begin, std::min(op.end, geometry_.sync_bytes()));
  --active_writes_;
  last_write_ = scheduler_.now();
  co_return status;
}

}  // namespace resilver::raid
