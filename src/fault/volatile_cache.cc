#include "fault/volatile_cache.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace resilver::fault {
namespace {

constexpr std::size_t kMaxWriteBacks = 16;  // in flight at a time
constexpr std::size_t kMaxRun = 32;         // blocks in one of them

std::uint64_t first_block(const IoRequest& request) noexcept { return request.offset / kBlockBytes; }
std::uint64_t end_block(const IoRequest& request) noexcept { return (request.offset + request.length) / kBlockBytes; }

// Copies between `block` and the part of the segments that starts `at` bytes behind their begin.
template <bool kIntoSegments>
void copy_block(std::span<const Buffer> segments, std::uint64_t at, std::byte* block) noexcept {
  std::size_t done = 0;
  for (const Buffer& segment : segments) {
    if (at >= segment.size()) {
      at -= segment.size();
      continue;
    }
    const std::size_t size = std::min<std::size_t>(segment.size() - at, kBlockBytes - done);
    if constexpr (kIntoSegments) {
      std::memcpy(segment.data() + at, block + done, size);
    } else {
      std::memcpy(block + done, segment.data() + at, size);
    }
    done += size;
    at = 0;
    if (done == kBlockBytes) return;
  }
}

}  // namespace

struct VolatileCacheDisk::Read : Proxy {
  explicit Read(VolatileCacheDisk& o) noexcept : Proxy(&done), owner(o) {}
  static void done(Runnable& self) noexcept {
    auto& read = static_cast<Read&>(self);
    read.owner.read_done(read);
  }
  VolatileCacheDisk& owner;
  std::vector<std::pair<std::uint64_t, Buffer>> cached;  // blocks as they were when the read was submitted
};

struct VolatileCacheDisk::WriteBack : IoRequest {
  explicit WriteBack(VolatileCacheDisk& o) noexcept : IoRequest(&done), owner(o) {}
  static void done(Runnable& self) noexcept {
    auto& back = static_cast<WriteBack&>(self);
    back.owner.written_out(back);
  }
  VolatileCacheDisk& owner;
  std::array<Buffer, kMaxRun> blocks;
  std::uint64_t sequence = 0;  // of the oldest write in it; 0: idle
};

struct VolatileCacheDisk::Through : Proxy {
  explicit Through(VolatileCacheDisk& o) noexcept : Proxy(&done), owner(o) {}
  static void done(Runnable& self) noexcept { static_cast<Through&>(self).owner.through_done(); }
  VolatileCacheDisk& owner;
};

VolatileCacheDisk::VolatileCacheDisk(Scheduler& scheduler, std::unique_ptr<BlockDevice> inner, std::uint64_t limit_bytes)
    : scheduler_(scheduler),
      inner_(std::move(inner)),
      memory_(limit_bytes),
      limit_bytes_(limit_bytes),
      through_(std::make_unique<Through>(*this)) {
  CHECK(limit_bytes >= kMinLimit);
}

VolatileCacheDisk::~VolatileCacheDisk() { CHECK(idle() || scheduler_.killed(), "requests are in flight"); }

bool VolatileCacheDisk::goes_through(const IoRequest& request) const noexcept {
  return request.op == IoOp::discard || request.op == IoOp::write_zeroes ||
         (request.op == IoOp::write && request.length > limit_bytes_ / 4);
}

void VolatileCacheDisk::submit(IoRequest& request) noexcept {
  check_request(*this, request);
  if (broken_ != Errc::ok) {
    request.complete(scheduler_, broken_);
  } else if (request.op == IoOp::read) {
    read(request);
  } else if (request.op == IoOp::flush || goes_through(request)) {
    waiting_.push_back(Waiting{&request, sequence_, false});
    pump();
  } else {
    no_room_.push_back(&request);
    pump();
  }
}

// ---- reads -----------------------------------------------------------------------------------------------------------

void VolatileCacheDisk::read(IoRequest& request) {
  auto entry = entries_.lower_bound(first_block(request));
  if (entry == entries_.end() || entry->first >= end_block(request)) {
    inner_->submit(request);
    return;
  }
  Read& proxy = reads_.take(*this);
  proxy.stand_for(request);
  for (; entry != entries_.end() && entry->first < end_block(request); ++entry) {
    proxy.cached.emplace_back(entry->first, entry->second.dirty ? entry->second.dirty : entry->second.writing);
  }
  if (proxy.cached.size() * kBlockBytes == request.length) {
    read_done(proxy);
  } else {
    inner_->submit(proxy);
  }
}

void VolatileCacheDisk::read_done(Read& read) noexcept {
  IoRequest& outer = *read.outer;
  for (const auto& [block, buffer] : read.cached) {
    copy_block<true>(outer.segments, block * kBlockBytes - outer.offset, buffer.data());
  }
  read.cached.clear();
  const Errc status = read.status;
  reads_.give_back(read);
  outer.complete(scheduler_, status);
  pump();  // the blocks' memory may be what a write waits for
}

// ---- writes ----------------------------------------------------------------------------------------------------------

// Takes a write into the cache. False: no room.
bool VolatileCacheDisk::store(IoRequest& request) {
  if (memory_.bytes_in_use() + request.length > limit_bytes_) return false;
  ++sequence_;
  for (std::uint64_t block = first_block(request); block < end_block(request); ++block) {
    Buffer copy = memory_.allocate(kBlockBytes);
    CHECK(copy);
    copy_block<false>(request.segments, block * kBlockBytes - request.offset, copy.data());
    Entry& entry = entries_[block];
    if (!entry.dirty) {
      entry.first_sequence = sequence_;
      by_age_.emplace(sequence_, block);
    }
    entry.last_sequence = sequence_;
    entry.dirty = std::move(copy);
  }
  if (request.fua) {
    waiting_.push_back(Waiting{&request, sequence_, false});
  } else {
    request.complete(scheduler_, Errc::ok);
  }
  return true;
}

// Does all that can be done now. Blocks are on their way out only while a request waits for it: whoever sees all of its
// requests completed may destroy the device.
void VolatileCacheDisk::pump() {
  for (bool progress = true; progress && broken_ == Errc::ok;) {
    progress = false;
    if (write_backs_.in_use() == 0) making_room_ = false;
    while (!no_room_.empty() && !making_room_ && store(*no_room_.front())) no_room_.pop_front();
    if (!waiting_.empty()) progress = serve_head();
  }
  if (broken_ != Errc::ok || !waiting_.empty() || no_room_.empty()) return;
  making_room_ = true;
  write_out_oldest(sequence_);
}

// True if the head was passed on to the inner device and the rest should be looked at again.
bool VolatileCacheDisk::serve_head() {
  Waiting& head = waiting_.front();
  if (head.submitted) return false;
  if (!ready(head)) {
    write_out_for(head);
    return false;
  }
  head.submitted = true;
  through_->stand_for(*head.request);
  if (!goes_through(*head.request)) {  // its blocks are out
    through_->op = IoOp::flush;
    through_->fua = false;
    through_->offset = through_->length = 0;
    through_->segments = {};
  } else {
    head.sequence = sequence_;
  }
  inner_->submit(*through_);
  return true;
}

bool VolatileCacheDisk::ready(const Waiting& head) {
  const IoRequest& request = *head.request;
  if (request.op == IoOp::flush) {
    if (!by_age_.empty() && by_age_.begin()->first <= head.sequence) return false;
    bool out = true;
    write_backs_.for_each(
        [&](const WriteBack& back) { out = out && (back.sequence == 0 || back.sequence > head.sequence); });
    return out;
  }
  const bool through = goes_through(request);
  for (auto at = entries_.lower_bound(first_block(request)); at != entries_.end() && at->first < end_block(request);
       ++at) {
    if (at->second.writing || (!through && waits_for(head, at->second))) return false;
  }
  return true;
}

bool VolatileCacheDisk::waits_for(const Waiting& head, const Entry& entry) noexcept {
  return entry.dirty && entry.first_sequence <= head.sequence;
}

void VolatileCacheDisk::write_out_for(const Waiting& head) {
  const IoRequest& request = *head.request;
  if (request.op == IoOp::flush) {
    write_out_oldest(head.sequence);
  } else if (!goes_through(request)) {
    for (auto at = entries_.lower_bound(first_block(request)); at != entries_.end() && at->first < end_block(request);
         ++at) {
      if (waits_for(head, at->second)) write_out(at);
    }
  }
}

void VolatileCacheDisk::write_out_oldest(std::uint64_t up_to) {
  auto at = by_age_.begin();
  while (at != by_age_.end() && at->first <= up_to && write_backs_.in_use() < kMaxWriteBacks) {
    const auto entry = entries_.find(at->second);
    if (entry->second.writing) {
      ++at;
      continue;
    }
    const auto key = *at;
    write_out(entry);  // may take neighbours along
    at = by_age_.upper_bound(key);
  }
}

// Starts to write out the run of dirty blocks from here on.
void VolatileCacheDisk::write_out(Entries::iterator from) {
  if (!from->second.dirty || from->second.writing || write_backs_.in_use() >= kMaxWriteBacks) return;
  WriteBack& back = write_backs_.take(*this);
  back.op = IoOp::write;
  back.offset = from->first * kBlockBytes;
  back.sequence = from->second.first_sequence;
  std::size_t count = 0;
  for (auto at = from; at != entries_.end() && count < kMaxRun; ++at, ++count) {
    Entry& entry = at->second;
    if (at->first != from->first + count || !entry.dirty || entry.writing) break;
    by_age_.erase({entry.first_sequence, at->first});
    back.sequence = std::min(back.sequence, entry.first_sequence);
    entry.writing = std::move(entry.dirty);
    back.blocks[count] = entry.writing;
  }
  back.length = count * kBlockBytes;
  back.segments = std::span<const Buffer>(back.blocks).first(count);
  inner_->submit(back);
}

void VolatileCacheDisk::written_out(WriteBack& back) noexcept {
  for (std::uint64_t block = first_block(back); block < end_block(back); ++block) {
    const auto entry = entries_.find(block);
    entry->second.writing = {};
    back.blocks[block - first_block(back)] = {};
    if (!entry->second.dirty) entries_.erase(entry);
  }
  back.sequence = 0;
  const Errc status = back.status;
  write_backs_.give_back(back);
  if (status != Errc::ok && broken_ == Errc::ok) broken_ = status;
  if (broken_ != Errc::ok) {
    fail_all();
  } else {
    pump();
  }
}

void VolatileCacheDisk::through_done() noexcept {
  const Waiting head = waiting_.front();
  waiting_.pop_front();
  if (goes_through(*head.request) && through_->status == Errc::ok) {
    // What the cache held when it was submitted is older.
    auto at = entries_.lower_bound(first_block(*head.request));
    while (at != entries_.end() && at->first < end_block(*head.request)) {
      const bool older = at->second.dirty && at->second.last_sequence <= head.sequence;
      if (older) by_age_.erase({at->second.first_sequence, at->first});
      at = older ? entries_.erase(at) : std::next(at);
    }
  }
  head.request->complete(scheduler_, through_->status);
  if (broken_ != Errc::ok) {
    fail_all();
  } else {
    pump();
  }
}

// Ends what waits; what is at the inner device ends with it. Only once nothing is on its way out.
void VolatileCacheDisk::fail_all() noexcept {
  if (write_backs_.in_use() > 0) return;
  while (!waiting_.empty() && !waiting_.back().submitted) {
    waiting_.back().request->complete(scheduler_, broken_);
    waiting_.pop_back();
  }
  while (!no_room_.empty()) {
    no_room_.front()->complete(scheduler_, broken_);
    no_room_.pop_front();
  }
}

}  // namespace resilver::fault
