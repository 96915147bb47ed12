// Requests in. The straight paths (RAID 0, healthy reads) have no coroutine: an Op, a leaf per member, a countdown.
#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {

void Op::leaf_done(Leaf& leaf) noexcept {
  if (leaf.status != Errc::ok) {
    if (error == Errc::ok) error = leaf.status;
    const bool damaged = leaf.status == Errc::medium || leaf.status == Errc::io || leaf.status == Errc::corrupt;
    // RAID 0 passes errors on; a disk that answered is not gone for one of them.
    const bool gone = leaf.op == IoOp::read || core->geometry().redundancy() == 0 ? !damaged : true;
    if (gone && leaf.status != Errc::no_space) core->mark_faulty(*leaf.member, leaf.status);
  }
  if (--pending == 0) core->direct_done(*this);
}

void Core::submit(IoRequest& request) noexcept {
  if (stopping_) return request.complete(scheduler_, Errc::closed);
  last_foreground_ = scheduler_.now();
  if (free_ops_ == nullptr && ops_.size() >= tuning_.max_requests) {
    queued_.push_back(&request);
    return;
  }
  Op* op = free_ops_;
  if (op == nullptr) {
    op = ops_.emplace_back(std::make_unique<Op>()).get();
    op->core = this;
  } else {
    free_ops_ = op->next_free;
  }
  ++ops_in_use_;
  op->request = &request;
  op->error = Errc::ok;
  begin(*op);
}

void Core::begin(Op& op) noexcept {
  const IoRequest& request = *op.request;
  if (geometry_.level() == Level::raid0) return request.op == IoOp::flush ? launch_flush(op) : launch_striped(op);
  if (request.op != IoOp::read) return tasks_.spawn(run_slow(op));
  const Rows rows = rows_of(request.offset, request.length);
  op.RangeLock::Entry::begin = rows.begin;
  op.RangeLock::Entry::end = rows.end;
  op.exclusive = false;
  op.run = [](Runnable& self) noexcept {
    auto& waiting = static_cast<Op&>(static_cast<RangeLock::Entry&>(self));
    waiting.core->begin_locked_read(waiting);
  };
  if (locks_.acquire(op)) begin_locked_read(op);
}

void Core::begin_locked_read(Op& op) noexcept {
  const IoRequest& request = *op.request;
  if (geometry_.is_mirror()) {
    Member* source = mirror_source(request.offset, request.offset + request.length);
    if (source != nullptr) return launch_one(op, *source, request.offset);
  } else if (can_read_directly(request)) {
    return launch_striped(op);
  }
  tasks_.spawn(run_slow(op));
}

void Core::direct_done(Op& op) noexcept {
  if (op.error != Errc::ok && geometry_.redundancy() > 0) return tasks_.spawn(run_slow(op));  // read: the lock is held
  finish(op, op.error);
}

void Core::finish(Op& op, Errc status) noexcept {
  if (op.granted) locks_.release(op);
  last_foreground_ = scheduler_.now();
  op.request->complete(scheduler_, status);
  op.request = nullptr;
  op.next_free = free_ops_;
  free_ops_ = &op;
  --ops_in_use_;
  if (!queued_.empty()) next_queued();
  if (ops_in_use_ == 0) drained_.wake_all();
}

void Core::next_queued() noexcept {
  if (starting_queued_) return;
  starting_queued_ = true;
  while (!queued_.empty() && free_ops_ != nullptr) {
    IoRequest* request = queued_.front();
    queued_.pop_front();
    Op* op = free_ops_;
    free_ops_ = op->next_free;
    ++ops_in_use_;
    op->request = request;
    op->error = Errc::ok;
    begin(*op);
  }
  starting_queued_ = false;
}

// The member offsets that a request's stripes lie in: what it locks, and what the bitmap marks.
Core::Rows Core::rows_of(std::uint64_t offset, std::uint64_t length) const noexcept {
  if (geometry_.is_mirror()) return {offset, offset + length};
  const StripePart first = geometry_.first_part(offset, length);
  Rows rows{geometry_.stripe_member_offset(first.stripe) + first.begin,
            geometry_.stripe_member_offset(first.stripe) + first.end};
  if (first.length == length) return rows;
  const std::uint64_t last = (offset + length - 1) / geometry_.stripe_data_bytes();
  rows.begin = geometry_.stripe_member_offset(first.stripe);
  rows.end = geometry_.stripe_member_offset(last) + geometry_.chunk_bytes();
  return rows;
}

bool Core::can_read_directly(const IoRequest& request) const noexcept {
  std::uint64_t offset = request.offset;
  std::uint64_t length = request.length;
  while (length > 0) {
    const StripePart part = geometry_.first_part(offset, length);
    const std::uint64_t base = geometry_.stripe_member_offset(part.stripe);
    for (std::uint32_t column : part.touched) {
      const Member* member = slots_[geometry_.data_member(part.stripe, column)];
      if (member == nullptr || !member->holds(base + part.end) || member->has_bad(base + part.begin, base + part.end)) {
        return false;
      }
    }
    offset += part.length;
    length -= part.length;
  }
  return true;
}

namespace {

// Walks a request's segments in order, a slice at a time.
class Cursor {
 public:
  explicit Cursor(std::span<const Buffer> segments) noexcept : segments_(segments) {}
  // Up to `length` bytes of the current segment.
  Buffer take(std::uint64_t length) noexcept {
    const Buffer& segment = segments_[index_];
    const std::uint64_t bytes = std::min<std::uint64_t>(length, segment.size() - within_);
    Buffer part = segment.slice(within_, bytes);
    within_ += bytes;
    if (within_ == segment.size()) {
      ++index_;
      within_ = 0;
    }
    return part;
  }

 private:
  std::span<const Buffer> segments_;
  std::size_t index_ = 0;
  std::uint64_t within_ = 0;
};

// Leaves that grow while a request is cut into chunks: what is contiguous on a member goes there as one.
struct Fan {
  std::array<Leaf*, kMaxDisks> leaf{};
  std::array<std::uint64_t, kMaxDisks> begin{};
  std::array<std::uint64_t, kMaxDisks> end{};
};

}  // namespace

void Core::launch_striped(Op& op) noexcept {
  const IoRequest& request = *op.request;
  const bool has_data = request.op == IoOp::read || request.op == IoOp::write;
  const IoOp leaf_op = request.op == IoOp::discard ? IoOp::write_zeroes : request.op;
  Cursor cursor(request.segments);
  std::uint64_t offset = request.offset;
  std::uint64_t left = request.length;
  op.pending = 1;  // until all are sent

  const Location only = geometry_.map(offset);
  if (left <= geometry_.chunk_bytes() - only.chunk_offset && (!has_data || request.segments.size() == 1)) {
    Leaf& leaf = leaves_->take();
    if (has_data) leaf.buffers[leaf.count++] = request.segments[0];
    Member& member = *slots_[only.member];
    send(leaf, member, op, leaf_op, member.data_offset + only.member_offset, left, request.fua, Cause::foreground, 0);
    return;
  }

  Fan fan;
  auto flush = [&](std::uint32_t index) {
    Leaf* leaf = std::exchange(fan.leaf[index], nullptr);
    Member& member = *slots_[index];
    ++op.pending;
    send(*leaf, member, op, leaf_op, member.data_offset + fan.begin[index], fan.end[index] - fan.begin[index], request.fua,
         Cause::foreground, 0);
  };
  while (left > 0) {
    const Location at = geometry_.map(offset);
    const std::uint64_t piece = std::min(left, geometry_.chunk_bytes() - at.chunk_offset);
    std::uint64_t done = 0;
    while (done < piece) {
      if (fan.leaf[at.member] != nullptr && (fan.end[at.member] != at.member_offset + done ||
                                             fan.leaf[at.member]->count == Leaf::kMaxSegments)) {
        flush(at.member);
      }
      if (fan.leaf[at.member] == nullptr) {
        fan.leaf[at.member] = &leaves_->take();
        fan.begin[at.member] = fan.end[at.member] = at.member_offset + done;
      }
      std::uint64_t bytes = piece - done;
      if (has_data) {
        Leaf& leaf = *fan.leaf[at.member];
        leaf.buffers[leaf.count] = cursor.take(bytes);
        bytes = leaf.buffers[leaf.count++].size();
      }
      fan.end[at.member] += bytes;
      done += bytes;
    }
    offset += piece;
    left -= piece;
  }
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    if (fan.leaf[i] != nullptr) flush(i);
  }
  --op.pending;  // at least one leaf is out: completions are posted, never inside send()
}

void Core::launch_one(Op& op, Member& member, std::uint64_t offset) noexcept {
  const IoRequest& request = *op.request;
  Cursor cursor(request.segments);
  std::uint64_t left = request.length;
  op.pending = 0;
  member.next_sequential = offset + left;
  while (left > 0) {
    Leaf& leaf = leaves_->take();
    std::uint64_t bytes = 0;
    while (bytes < left && leaf.count < Leaf::kMaxSegments) {
      leaf.buffers[leaf.count] = cursor.take(left - bytes);
      bytes += leaf.buffers[leaf.count++].size();
    }
    ++op.pending;
    send(leaf, member, op, IoOp::read, member.data_offset + offset, bytes, false, Cause::foreground, 0);
    offset += bytes;
    left -= bytes;
  }
}

void Core::launch_flush(Op& op) noexcept {
  op.pending = 0;
  for (Member* member : slots_) {
    ++op.pending;
    send(leaves_->take(), *member, op, IoOp::flush, 0, 0, false, Cause::foreground, 0);
  }
}

// ---- everything else: a coroutine for each request ----

Task<void> Core::run_slow(Op& op) {
  const IoRequest& request = *op.request;
  Errc status = Errc::ok;
  switch (request.op) {
    case IoOp::read:
      status = geometry_.is_mirror() ? co_await read_mirror(request) : co_await read_parts(request);
      break;
    case IoOp::flush: status = co_await flush_members(Cause::foreground); break;
    case IoOp::write:
    case IoOp::discard:
    case IoOp::write_zeroes: status = co_await run_write(request); break;
  }
  finish(op, status);
}

Task<Errc> Core::run_write(const IoRequest& request) {
  if (failed_) co_return Errc::unavailable;
  const Rows rows = rows_of(request.offset, request.length);
  ++active_writes_;
  if (consistency_ != Consistency::none && !dirty_durable_) co_await ensure_dirty();
  if (bitmap_ && !bitmap_->begin(rows.begin, rows.end)) co_await bitmap_->wait_durable(rows.begin, rows.end);
  Errc status = Errc::unavailable;
  if (!failed_) status = geometry_.is_mirror() ? co_await write_mirror(request) : co_await write_parts(request);
  if (bitmap_) bitmap_->end(rows.begin, rows.end);
  if (sb_done_ < fault_seq_) co_await settle(fault_seq_);  // rule 2
  --active_writes_;
  ++writes_ended_;
  last_write_ = scheduler_.now();
  if (!lost_blocks_.empty() && status == Errc::ok) {
    lost_blocks_.erase(lost_blocks_.lower_bound(request.offset), lost_blocks_.lower_bound(request.offset + request.length));
  }
  co_return status == Errc::ok && failed_ ? Errc::unavailable : status;
}

}  // namespace resilver::raid
