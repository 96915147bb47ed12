// A closed loop of requests on a block device, as lean as it can be: what is measured is the device, not the load. `depth`
// requests are under way; each submits its successor from its own completion. No histogram, no clock per request, no
// coroutine per request. (fio's counterpart runs with gtod_reduce.)
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "async/scheduler.h"
#include "async/sync.h"
#include "async/task.h"
#include "base/random.h"
#include "env/block_device.h"
#include "env/buffer.h"

namespace resilver::tools {

struct LoadOptions {
  std::uint64_t min_bytes = 4096;  // of a request, multiples of 4096; uniform up to max_bytes
  std::uint64_t max_bytes = 4096;
  unsigned write_percent = 0;
  bool sequential = false;
  unsigned depth = 32;
};

class Load {
 public:
  Load(Scheduler& scheduler, BufferPool& pool, BlockDevice& device, const LoadOptions& options)
      : scheduler_(scheduler), device_(device), options_(options), ended_(scheduler), timer_(*this), random_(1) {
    for (unsigned i = 0; i < options.depth; ++i) {
      slots_.push_back(std::make_unique<Slot>(*this));
      Slot& slot = *slots_.back();
      if (options.write_percent > 0) prepare(slot.to_write, pool);
      if (options.write_percent < 100) prepare(slot.to_read, pool);
    }
  }

  // Submits requests for `duration` or until `ops` were submitted, then waits for those under way.
  Task<void> run(Nanos duration, std::uint64_t ops = ~std::uint64_t{0}) {
    ops_left_ = ops;
    if (duration != kNever) scheduler_.arm(timer_, scheduler_.now() + duration);
    for (auto& slot : slots_) next(*slot);
    co_await ended_.wait();
    if (timer_.armed()) scheduler_.disarm(timer_);
  }

  // The first failure; the load ends with it.
  Errc error() const noexcept { return error_; }
  std::uint64_t ops() const noexcept { return ops_; }
  std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  struct Slot : IoRequest {
    explicit Slot(Load& l) noexcept : IoRequest(&done), load(l) {}
    static void done(Runnable& self) noexcept {
      auto& slot = static_cast<Slot&>(self);
      slot.load.completed(slot);
    }
    Load& load;
    Buffer to_write;  // stays random: what was read may be zeroes, which simulated disks hold for nothing
    Buffer to_read;
    Buffer part;
  };
  struct Stop : Timer {
    explicit Stop(Load& l) noexcept : Timer(&fire), load(l) {}
    static void fire(Runnable& self) noexcept { static_cast<Stop&>(self).load.ops_left_ = 0; }
    Load& load;
  };

  void prepare(Buffer& memory, BufferPool& pool) {
    memory = pool.allocate(options_.max_bytes);
    if (!memory) {
      error_ = Errc::limit;
      return;
    }
    for (std::size_t at = 0; at < memory.size(); at += sizeof(std::uint64_t)) {
      const std::uint64_t word = random_.next();
      std::memcpy(memory.data() + at, &word, sizeof word);
    }
  }

  void completed(Slot& slot) noexcept {
    --under_way_;
    if (slot.status == Errc::ok) {
      ++ops_;
      bytes_ += slot.length;
    } else if (error_ == Errc::ok) {
      error_ = slot.status;
    }
    next(slot);
  }

  void next(Slot& slot) noexcept {
    if (ops_left_ == 0 || error_ != Errc::ok) {
      if (under_way_ == 0) ended_.set();
      return;
    }
    --ops_left_;
    ++under_way_;
    constexpr std::uint64_t kBlock = kBlockBytes;
    slot.length = options_.min_bytes;
    if (options_.max_bytes > options_.min_bytes)
      slot.length += random_.below((options_.max_bytes - options_.min_bytes) / kBlock + 1) * kBlock;
    if (options_.sequential) {
      if (at_ + slot.length > device_.size_bytes()) at_ = 0;
      slot.offset = at_;
      at_ += slot.length;
    } else {
      // Aligned to the smallest size, as fio does.
      slot.offset = random_.below((device_.size_bytes() - slot.length) / options_.min_bytes + 1) * options_.min_bytes;
    }
    const bool mixed = options_.write_percent > 0 && options_.write_percent < 100;
    slot.op = (mixed ? random_.percent(options_.write_percent) : options_.write_percent > 0) ? IoOp::write : IoOp::read;
    const Buffer& memory = slot.op == IoOp::write ? slot.to_write : slot.to_read;
    if (slot.part.data() != memory.data() || slot.part.size() != slot.length) slot.part = memory.slice(0, slot.length);
    slot.segments = {&slot.part, 1};
    device_.submit(slot);
  }

  Scheduler& scheduler_;
  BlockDevice& device_;
  LoadOptions options_;
  Event ended_;
  Stop timer_;
  Random random_;
  std::vector<std::unique_ptr<Slot>> slots_;
  Errc error_ = Errc::ok;
  std::uint64_t ops_left_ = 0;
  std::uint64_t under_way_ = 0;
  std::uint64_t at_ = 0;
  std::uint64_t ops_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace resilver::tools
