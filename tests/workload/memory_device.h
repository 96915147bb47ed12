// A volume in memory for tests of the client: constant latency, errors and stand-stills on demand.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>
#include <list>
#include <vector>

#include "env/block_device.h"

namespace resilver::workload {

class MemoryDevice final : public BlockDevice {
 public:
  MemoryDevice(Scheduler& scheduler, std::uint64_t bytes, Nanos latency)
      : scheduler_(scheduler), data_(bytes), latency_(latency) {}
  ~MemoryDevice() override { CHECK(pending_.empty() || scheduler_.killed()); }

  // Asked when a request is due; anything but ok is its outcome and nothing is done.
  std::function<Errc(const IoRequest&)> verdict;

  std::uint64_t size_bytes() const noexcept override { return data_.size(); }
  void submit(IoRequest& request) noexcept override {
    check_request(*this, request);
    ++submitted;
    most_inflight = std::max(most_inflight, pending_.size() + held_.size() + 1);
    if (frozen_) {
      held_.push_back(&request);
    } else {
      start(request);
    }
  }

  // Frozen, it takes requests and answers none; thawed, it does what it was asked meanwhile.
  void freeze(bool on) {
    frozen_ = on;
    if (on) return;
    for (IoRequest* request : held_) start(*request);
    held_.clear();
  }

  void freeze_for(Nanos duration) {
    freeze(true);
    scheduler_.arm(thaw_, scheduler_.now() + duration);
  }

  std::byte* at(std::uint64_t offset) { return data_.data() + offset; }

  std::uint64_t submitted = 0;
  std::size_t most_inflight = 0;

 private:
  struct Thaw : Timer {
    explicit Thaw(MemoryDevice& owner) : Timer(&fire), device(owner) {}
    static void fire(Runnable& self) noexcept { static_cast<Thaw&>(self).device.freeze(false); }
    MemoryDevice& device;
  };
  struct Pending : Timer {
    Pending(MemoryDevice& owner, IoRequest& r) : Timer(&fire), device(owner), request(r) {}
    static void fire(Runnable& self) noexcept {
      auto& pending = static_cast<Pending&>(self);
      pending.device.finish(pending);
    }
    MemoryDevice& device;
    IoRequest& request;
    std::list<Pending>::iterator self;
  };

  void start(IoRequest& request) {
    pending_.emplace_back(*this, request);
    pending_.back().self = std::prev(pending_.end());
    scheduler_.arm(pending_.back(), scheduler_.now() + latency_);
  }
  void finish(Pending& pending) {
    IoRequest& request = pending.request;
    pending_.erase(pending.self);
    const Errc status = verdict ? verdict(request) : Errc::ok;
    if (status == Errc::ok) transfer(request);
    request.complete(scheduler_, status);
  }
  void transfer(const IoRequest& request) {
    std::uint64_t offset = request.offset;
    for (const Buffer& part : request.segments) {
      if (request.op == IoOp::read) std::memcpy(part.data(), at(offset), part.size());
      if (request.op == IoOp::write) std::memcpy(at(offset), part.data(), part.size());
      offset += part.size();
    }
  }

  Scheduler& scheduler_;
  std::vector<std::byte> data_;
  Nanos latency_;
  bool frozen_ = false;
  Thaw thaw_{*this};
  std::vector<IoRequest*> held_;
  std::list<Pending> pending_;
};

}  // namespace resilver::workload
