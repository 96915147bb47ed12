// One sector (or the sectors of one block while they have had the same fate) as a register whose history is judged as a
// stream, exactly but for the limits named below.
//
// *Within a stretch*, from one loss (of power, or of a primary) to the next: versions are unique, so a history is
// linearizable if no two versions must each come before the other (Gibbons and Korach, Testing Shared Memories, SIAM J.
// Comput. 26, 1997). With F(v) the earliest completion and S(v) the latest start among the write of v and the reads that
// returned it, v must precede w if F(v) < S(w). A write that was not acknowledged has no completion until a read returns it,
// so it may take effect late or never. A version that must precede another which was complete before every operation still
// in flight began can never be returned again and is retired. In quiet times that leaves one version.
//
// *Across a loss* any version may come back that may have been there since the last flush that counts: v cannot if some w,
// complete before that flush began, must come after it. Which one it is shows with the first read. It is the first version of
// the next stretch, before all others. A write in flight then may have been done before, be sent again, or both: it is a
// write of the next stretch too, that need not have happened.
//
// A read in flight at a loss may have been answered before or after it: the stretches are kept until it has ended, and where
// both are possible both are followed (a *world* each). What no world explains is stale.
//
// Limits: of what a loss may bring back kMostPast ranges of versions are told apart, older ones are joined (a few too many).
//
// Times here are the oracle's event counter (no two events share one), not Nanos.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace resilver::workload {

using Version = std::uint32_t;  // number of a write, 0: never written
using Step = std::uint64_t;     // the oracle's event counter
using Epoch = std::uint32_t;    // counts flushes begun and losses

inline constexpr Step kNoStep = ~Step{0};

// A loss of power, or a failover: what was complete in an epoch below `durable_before` stays.
struct Loss {
  Step step = 0;
  Epoch last_epoch = 0;  // completions before the loss carry at most this epoch
  Epoch durable_before = 0;
};

class SectorRegister {
 public:
  static constexpr std::size_t kMostPast = 64;

  // Holds `base`, complete since `epoch`; a loss may bring back everything from `floor` (durable) to `base`.
  SectorRegister(Version floor, Version base, Epoch epoch);

  void begin_write(Version version, Step start);
  void acknowledge(Version version, Epoch epoch, Step now);

  // A read from `start` to `now` returned `version`. False: stale, and nothing is changed.
  bool read(Version version, Step start, Step now, Epoch epoch);

  // `in_flight`: the writes of this sector that were, at the loss. `oldest_read`: the earliest start of a read of it that
  // was, or kNoStep.
  void lose(const Loss& loss, std::span<const Version> in_flight, Step oldest_read);

  // Forgets what can no longer be seen. `oldest`, `oldest_read`: the earliest start of an operation, of a read, of this
  // sector that is still in flight, or kNoStep. `durable_before`: completions in a lower epoch are durable.
  void settle(Step oldest, Step oldest_read, Epoch durable_before);

  // What came back after a loss, as far as it is known by now: told once, and again when it can be told better.
  struct Survivor {
    std::vector<Version> versions;  // one of these
    Version newest = 0;             // the newest version that could have come back
    Step loss = 0;
  };
  std::optional<Survivor> take_survivor();

  // The newest version that was acknowledged or read and may still be there; 0 if there is none.
  Version expected() const noexcept;
  // What has to be remembered: grows with what is open.
  std::size_t size() const noexcept;

  // One complete version, and what a loss may bring back beside it are all of this sector's from floor() on, of which one more
  // flush makes an end: can be written as (floor, base, epoch). `flushing`: a flush is in flight.
  bool simple(bool flushing) const noexcept;
  Version floor() const noexcept;
  Version base() const noexcept { return worlds_.front().front().entries.front().version; }
  Epoch epoch() const noexcept { return worlds_.front().front().entries.front().epoch; }

  bool operator==(const SectorRegister&) const = default;

 private:
  static constexpr Version kNotKnown = ~Version{0};
  static constexpr Epoch kNever = ~Epoch{0};

  struct Entry {
    Version version;        // kNotKnown: what came back, before a read has shown it
    Epoch epoch;            // at completion
    Step start;             // S
    Step finish;            // F, kNoStep while not complete
    bool maybe = false;     // in flight at the loss before: need not have happened after it
    bool late = false;      // of unknown outcome by then, and not seen: happens once at most
    bool survivor = false;  // what came back
    bool certain() const noexcept { return finish != kNoStep && !maybe; }
    bool operator==(const Entry&) const = default;
  };
  // Versions that are there no more, but that a loss may bring back.
  struct Past {
    Version lo, hi;
    Step finish;          // F
    Epoch expiry;         // a flush that began in a later epoch makes an end of it
    bool choice = false;  // came back, perhaps
    bool operator==(const Past&) const = default;
  };
  struct Stretch {
    Step begin = 0;
    Epoch durable_before = 0;  // at the loss that ended it
    std::vector<Entry> entries;
    std::vector<Past> past;
    std::vector<Past> choices;  // what may have come back, where that is not known and the stretch before is forgotten
    Version came_back = kNotKnown;
    Version newest = 0;    // of what could have come back
    Version excluded = 0;  // the newest version that cannot come back any more
    std::size_t told = 0;  // out of how many versions the one that came back was told last; 0: not yet
    bool operator==(const Stretch&) const = default;
  };
  using World = std::vector<Stretch>;  // the last is the present

  static Entry* find(Stretch& stretch, Version version) noexcept;
  static const Entry* survivor_of(const Stretch& stretch) noexcept;
  static Epoch expiry(const Stretch& stretch, Step finish, const Entry* self = nullptr) noexcept;
  static bool impossible(const Stretch& stretch, const Entry& entry) noexcept;
  static void retire(Stretch& stretch, Step oldest);
  static void expire(Stretch& stretch, Epoch durable_before);
  static std::vector<Past> survivors(Stretch& stretch);
  static void know_survivor(Stretch& stretch, Version version);
  static void begin_stretch(World& world, const Loss& loss, std::span<const Version> in_flight);
  static void forget_first(World& world);
  static void forget_loss(Stretch& stretch);
  static bool may_survive(World& world, std::size_t at, Version version);
  static bool comes_back(World& world, std::size_t at, Version version);
  static bool done_once(World& world, std::size_t at, Version version);
  static bool consistent(World& world);
  static void read_in(World& world, std::size_t at, Version version, Step start, Step now, Epoch epoch,
                      std::vector<World>& found);

  std::vector<World> worlds_;
};

}  // namespace resilver::workload
