// The client's load as a deterministic stream of operations, in fio's words. Same spec, same stream, on every contender;
// integer arithmetic only. No clock: intended starts are relative to the start of the load.
#pragma once

#include <cstdint>
#include <span>

#include "base/random.h"
#include "base/time.h"

namespace resilver::workload {

enum class Rw : std::uint8_t { read, write, randread, randwrite, rw, randrw };

struct LoadSpec {
  Rw rw = Rw::randrw;
  std::uint32_t rwmixread = 50;  // percent of reads for rw and randrw, 0..100
  std::uint64_t bs = 4096;       // bytes per request, a multiple of 4096, at most 1 MiB
  std::uint64_t begin = 0;       // range used, bytes, multiples of 4096; [begin, end) holds at least one bs
  std::uint64_t end = 0;
  std::uint64_t rate_iops = 1000;  // intended starts per second, reads and writes together; > 0
  std::uint64_t flush_every = 0;   // a flush after every so many writes; 0: none
  std::uint32_t overlap = 0;       // percent of reads and writes that are drawn to conflict with one in flight, 0..100
  std::uint64_t seed = 1;
};

enum class LoadKind : std::uint8_t { read, write, flush };

struct LoadOp {
  LoadKind kind = LoadKind::read;
  std::uint64_t offset = 0;  // 0 for a flush
  std::uint64_t length = 0;  // 0 for a flush
  Nanos intended = 0;        // since the start of the load
};

class Generator {
 public:
  // CHECKs the bounds stated in LoadSpec: the scenario's parser has refused anything else.
  explicit Generator(const LoadSpec& spec);

  // The next operation. Request i starts at floor(i * 10^9 / rate_iops); a flush comes right after the write that makes
  // it due, at the same time, and takes no turn of the rate. Sequential kinds go round, reads and writes each on their own.
  LoadOp next() noexcept;

  // Another address for a random operation that may not start now because it overlaps one in flight. False for the
  // sequential kinds (and where the range has one place only): those wait. Drawn from a stream of its own, so that the
  // main stream stays the same whatever the device's speed.
  bool redirect(LoadOp& op) noexcept;

  // Is the next read or write to conflict with one in flight? For the share of them that the spec wants.
  bool wants_conflict() noexcept { return spec_.overlap != 0 && meeting_.percent(spec_.overlap); }
  // Lays `op` anywhere so that it overlaps one of `others`; precondition: there is one, and all lie in the range. Both draw
  // from a stream of their own, too.
  void meet(LoadOp& op, std::span<const LoadOp> others) noexcept;

  // From the next operation on (its own start unchanged), requests follow each other at `iops` > 0.
  void set_rate(std::uint64_t iops) noexcept;

 private:
  bool random() const noexcept {
    return spec_.rw == Rw::randread || spec_.rw == Rw::randwrite || spec_.rw == Rw::randrw;
  }
  bool pick_read() noexcept;

  LoadSpec spec_;
  std::uint64_t places_;  // of size bs in the range
  Random random_;
  Random detour_;
  Random meeting_;
  std::uint64_t cursor_[2] = {};  // sequential kinds: next place to read, to write
  Nanos anchor_ = 0;              // start of request number 0 at this rate
  std::uint64_t index_ = 0;       // of the next request at this rate
  std::uint64_t writes_ = 0;      // since the last flush
  Nanos last_intended_ = 0;
};

}  // namespace resilver::workload
