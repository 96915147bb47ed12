// Counts what passes a door: the requests to one device, by what they are for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "env/block_device.h"

namespace resilver {

// Of requests that were made, whatever became of them. write_zeroes and discard count as writes.
struct Traffic {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t write_bytes = 0;

  void add(const IoRequest& request) noexcept {
    if (request.op == IoOp::read) {
      ++reads;
      read_bytes += request.length;
    } else if (request.op != IoOp::flush && request.op != IoOp::reserve) {
      ++writes;
      write_bytes += request.length;
    }
  }
  Traffic& operator+=(const Traffic& other) noexcept {
    reads += other.reads;
    writes += other.writes;
    read_bytes += other.read_bytes;
    write_bytes += other.write_bytes;
    return *this;
  }
  bool operator==(const Traffic&) const = default;
};

using TrafficByUse = std::array<Traffic, kIoUses>;

// Passes everything on to `below`, which must outlive it. `counts` may be shared by several meters of one scheduler.
class Meter final : public BlockDevice {
 public:
  Meter(BlockDevice& below, TrafficByUse& counts) noexcept : below_(below), counts_(counts) {}

  // Names the use of what its maker could not know: requests of clients from `begin` up to `end` are the observer's, and what
  // lies at or behind `end` is metadata of a copy.
  void name_uses(std::uint64_t begin, std::uint64_t end) noexcept {
    observer_begin_ = begin;
    volume_end_ = end;
  }

  std::uint64_t size_bytes() const noexcept override { return below_.size_bytes(); }
  void submit(IoRequest& request) noexcept override {
    if (request.op != IoOp::flush && request.use == IoUse::client && request.offset >= observer_begin_) {
      request.use = request.offset < volume_end_ ? IoUse::observer : IoUse::replica_metadata;
    }
    counts_[static_cast<std::size_t>(request.use)].add(request);
    below_.submit(request);
  }
  std::uint64_t next_data(std::uint64_t from) const noexcept override { return below_.next_data(from); }
  bool may_lack_room(std::uint64_t offset, std::uint64_t length) const noexcept override {
    return below_.may_lack_room(offset, length);
  }
  bool busy() const noexcept override { return below_.busy(); }

 private:
  BlockDevice& below_;
  TrafficByUse& counts_;
  std::uint64_t observer_begin_ = ~std::uint64_t{0};
  std::uint64_t volume_end_ = ~std::uint64_t{0};
};

}  // namespace resilver
