// How long a message takes over one direction of a link: it waits for the wire, is sent at the bandwidth, and arrives one
// latency later. One model for simulated links and for the proxies between real processes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace resilver {

struct LinkParameters {
  Nanos latency = 0;              // one way: half the round trip
  std::uint64_t bandwidth = 0;    // bytes per second; 0: unlimited
  std::uint64_t queue_bytes = 0;  // the sender is held back while more than this waits for the wire; 0: 1 MiB
};

class LinkTimer {
 public:
  explicit LinkTimer(const LinkParameters& parameters) noexcept : parameters_(parameters) {}

  LinkParameters& parameters() noexcept { return parameters_; }

  // Accounts for `bytes` handed over at `now`; returns when they have arrived at the other end.
  Nanos arrive_at(std::uint64_t bytes, Nanos now) noexcept {
    wire_free_ = std::max(now, wire_free_) + wire_time(bytes);
    return wire_free_ + parameters_.latency;
  }

  // When a sender may hand over more: once at most queue_bytes wait for the wire.
  Nanos room_at(Nanos now) const noexcept {
    const std::uint64_t queue = parameters_.queue_bytes == 0 ? std::uint64_t{1} << 20 : parameters_.queue_bytes;
    return std::max(now, wire_free_ - wire_time(queue));
  }

 private:
  Nanos wire_time(std::uint64_t bytes) const noexcept {
    if (parameters_.bandwidth == 0) return 0;
    return static_cast<Nanos>(static_cast<unsigned __int128>(bytes) * kSecond / parameters_.bandwidth);
  }
  LinkParameters parameters_;
  Nanos wire_free_ = 0;
};

}  // namespace resilver
