#include "raid/leaf.h"

#include <coroutine>
#include <utility>

#include "async/sync.h"

namespace resilver::raid {
namespace {

constexpr Nanos kRetryPause = kMillisecond;

}  // namespace

Leaf::Again::Again(Leaf& l) noexcept
    : Timer([](Runnable& self) noexcept {
        Leaf& leaf = static_cast<Again&>(self).leaf;
        leaf.member->device->submit(leaf);
      }),
      leaf(l) {}

void Member::left_flight(Leaf& leaf, Nanos now) noexcept {
  if (&in_flight.front() == &leaf) oldest_since = now;
  leaf.unlink();
}

Leaf& LeafPool::grow() {
  auto& leaf = *leaves_.emplace_back(std::make_unique<Leaf>());
  leaf.run = &completed;
  leaf.pool = this;
  return leaf;
}

void LeafPool::give_back(Leaf& leaf) noexcept {
  for (std::uint32_t i = 0; i < leaf.count; ++i) leaf.buffers[i] = Buffer();
  leaf.count = 0;
  leaf.segments = {};
  leaf.fua = false;
  leaf.length = 0;
  leaf.sink = nullptr;
  leaf.member = nullptr;
  leaf.next_free = free_;
  free_ = &leaf;
  if (--out_ == 0 && released_) delete this;
}

void LeafPool::release() noexcept {
  if (out_ == 0 || scheduler_.killed()) {
    delete this;
    return;
  }
  released_ = true;
  for (auto& leaf : leaves_) leaf->member = nullptr;
  scheduler_.leave_behind(*this);
}

void LeafPool::orphan(Leaf& leaf) noexcept {
  leaf.status = Errc::timeout;
  LeafSink* sink = std::exchange(leaf.sink, nullptr);
  if (leaf.member != nullptr) {
    leaf.member->left_flight(leaf, scheduler_.now());
    --leaf.member->in_flight_count;
    ++leaf.member->orphans;
    ++leaf.member->errors;
  }
  sink->leaf_done(leaf);
}

// Our own lack of memory is not the member's fault, and who missed a write would have to be excluded: so it is asked again,
// until there is memory or the array stops, and its time begins anew.
bool LeafPool::try_again(Leaf& leaf) noexcept {
  if (leaf.status != Errc::limit || stopping_) return false;
  Member& member = *leaf.member;
  member.left_flight(leaf, scheduler_.now());
  leaf.started = scheduler_.now();
  member.in_flight.push_back(leaf);
  scheduler_.arm(leaf.again, leaf.started + kRetryPause);
  return true;
}

void LeafPool::completed(Runnable& self) noexcept {
  auto& leaf = static_cast<Leaf&>(static_cast<IoRequest&>(self));
  LeafPool& pool = *leaf.pool;
  Member* const member = leaf.member;
  if (member != nullptr && leaf.sink == nullptr) {
    --member->orphans;
  } else if (member != nullptr) {
    if (pool.try_again(leaf)) return;
    member->left_flight(leaf, pool.scheduler_.now());
    --member->in_flight_count;
    member->latency += (pool.scheduler_.now() - leaf.started - member->latency) / 8;
    ++member->answered;
    if (leaf.status != Errc::ok) ++member->errors;
  }
  if (leaf.sink != nullptr) leaf.sink->leaf_done(leaf);
  pool.give_back(leaf);
}

// ---- a read without an array -------------------------------------------------------------------------------------------

namespace {

class TimedRead final : LeafSink, Timer {
 public:
  TimedRead(LeafPool& leaves, BlockDevice& device, std::uint64_t offset, Buffer into, Nanos timeout)
      : Timer(&resume), leaves_(leaves), device_(device), offset_(offset), into_(std::move(into)), timeout_(timeout) {}

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    waiting_ = handle;
    leaf_ = &leaves_.take();
    leaf_->op = IoOp::read;
    leaf_->offset = offset_;
    leaf_->length = into_.size();
    leaf_->buffers[leaf_->count++] = std::move(into_);
    leaf_->segments = {leaf_->buffers.data(), leaf_->count};
    leaf_->status = Errc::ok;
    leaf_->sink = this;
    leaves_.scheduler().arm(*this, leaves_.scheduler().now() + timeout_);
    device_.submit(*leaf_);
  }
  Errc await_resume() const noexcept { return status_; }

 private:
  void leaf_done(Leaf& leaf) noexcept override {
    status_ = leaf.status;
    leaf_ = nullptr;
    if (leaves_.scheduler().disarm(*this)) leaves_.scheduler().post(*this);
  }
  static void resume(Runnable& self) noexcept {
    auto& read = static_cast<TimedRead&>(static_cast<Timer&>(self));
    Scheduler& scheduler = read.leaves_.scheduler();
    if (read.leaf_ != nullptr && scheduler.now() - read.at > read.timeout_ / 4) {  // this process did not run
      scheduler.arm(read, scheduler.now() + read.timeout_);
      return;
    }
    if (read.leaf_ != nullptr) read.leaves_.orphan(*read.leaf_);
    read.waiting_.resume();
  }

  LeafPool& leaves_;
  BlockDevice& device_;
  std::uint64_t offset_;
  Buffer into_;
  Nanos timeout_;
  std::coroutine_handle<> waiting_;
  Leaf* leaf_ = nullptr;
  Errc status_ = Errc::ok;
};

}  // namespace

Task<Errc> read_within(LeafPool& leaves, BlockDevice& device, std::uint64_t offset, Buffer into, Nanos timeout) {
  const Nanos deadline = leaves.scheduler().now() + timeout;
  for (;;) {
    const Errc status = co_await TimedRead(leaves, device, offset, into, timeout);
    if (status != Errc::limit || leaves.scheduler().now() >= deadline) co_return status;
    co_await sleep_for(leaves.scheduler(), kRetryPause);
  }
}

}  // namespace resilver::raid
