// One sector (or the sectors of one block while they have had the same fate) as a register whose history is judged for
// linearizability, exactly, as a stream.
//
// Versions are unique, so a history is linearizable if no two versions must each come before the other (Gibbons and Korach,
// Testing Shared Memories, SIAM J. Comput. 26, 1997): with F(v) the earliest completion and S(v) the latest start among the
// write of v and the reads that returned it, v must precede w if F(v) < S(w). A write that was not acknowledged has no
// completion until a read returns it, so it may take effect late or never. A version that must precede another which
// was complete before every operation still in flight began can never be returned again and is forgotten; what is not in
// the list is stale. In quiet times that leaves one version.
//
// Losing power may bring back older acknowledged versions, down to the last durable one. Which of them is not known until
// a read returns one; from then on it is that one.
//
// Times here are the oracle's event counter (no two events share one), not Nanos.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace resilver::workload {

using Version = std::uint32_t;  // number of a write, 0: never written
using Step = std::uint64_t;     // the oracle's event counter
using Epoch = std::uint32_t;    // counts flushes begun and power losses

inline constexpr Step kNoStep = ~Step{0};

// A power loss: what was complete in an epoch below `durable_before` stays.
struct PowerLoss {
  Step step = 0;
  Epoch last_epoch = 0;  // completions before the loss carry at most this epoch
  Epoch durable_before = 0;
};

class SectorRegister {
 public:
  // Holds `base`, complete since `epoch`; after a power loss everything from `floor` (durable) to `base` may come back.
  SectorRegister(Version floor, Version base, Epoch epoch);

  void begin_write(Version version, Step start);
  void forget_write(Version version);  // it is certain never to take effect
  // `alone`: no other operation on this sector is in flight.
  void acknowledge(Version version, Epoch epoch, Step now, bool alone);
  // The write was in flight when power was lost and was acknowledged later: it may have been done before and lost.
  void acknowledge_across_loss(Version version, Step loss);

  // A read that began at `start` (after the last power loss) returned `version`. False: stale, and nothing is changed.
  // `alone` as above: if another is in flight it may still return what came back after a power loss.
  bool read(Version version, Step start, Step now, Epoch epoch, bool alone);

  // `oldest`: the earliest start of an operation on this sector that is still in flight, or kNoStep.
  // `durable_before`: completions in a lower epoch are durable.
  void settle(Step oldest, Epoch durable_before);

  void lose_power(const PowerLoss& loss);

  bool knows(Version version) const noexcept;
  // Not known yet what a loss brought back; and the newest version that was complete when it came.
  bool lossy() const noexcept { return lossy_; }
  Version before_loss() const noexcept { return fallback_.empty() ? floor_ : fallback_.hi; }
  // The newest version that was acknowledged or read and may still be there; 0 if there is none.
  Version expected() const noexcept;
  std::size_t size() const noexcept { return entries_.size(); }

  // One complete version and nothing unsettled: can be written as (floor, base, epoch).
  bool simple() const noexcept;
  Version floor() const noexcept { return floor_; }
  Version base() const noexcept { return entries_.front().version; }
  Epoch epoch() const noexcept { return entries_.front().epoch; }

  bool operator==(const SectorRegister&) const = default;

 private:
  struct Entry {
    Version version;
    Epoch epoch;  // at completion
    Step start;   // S
    Step finish;  // F, kNoStep while not complete
    bool superseded = false;
    bool operator==(const Entry&) const = default;
  };
  // Versions lo..hi, apart from floor_, that a power loss may bring back. By number: a few too many at worst.
  struct Fallback {
    Version lo = 1;
    Version hi = 0;
    bool empty() const noexcept { return lo > hi; }
    void include(Version version) noexcept;
    bool operator==(const Fallback&) const = default;
  };

  Entry* find(Version version) noexcept;
  bool resolve(Version version, Step start, Step now, Epoch epoch);
  void retire_complete();

  std::vector<Entry> entries_;
  Fallback fallback_;
  Version floor_;
  bool lossy_ = false;     // power was lost and it is not yet known what came back: floor_ or one of fallback_
  bool spanning_ = false;  // a write acknowledged across the loss is among them
};

}  // namespace resilver::workload
