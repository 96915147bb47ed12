// The oracle against a brute-force judge that tries every order of effects, on small random histories.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "workload/oracle.h"

namespace resilver::workload {
namespace {

constexpr std::uint64_t kVolume = 99;

enum class Call { write, read, flush, loss };
enum class End { ok, unknown, failed };

struct Op {
  Call call = Call::write;
  End end = End::ok;
  std::uint32_t version = 0;    // written
  std::uint32_t value[2] = {};  // read: of the first and of the second half of the block
  int begin = 0, finish = 0;    // positions in the order of events; unknown: no longer in flight, may still happen
};

struct Event {
  int op;
  bool begins;
};

struct History {
  std::vector<Op> ops;
  std::vector<Event> events;
};

// The register of one half as a machine: follows all states that the events allow. An operation takes effect once between
// its begin and its end, after an unknown end at any time or never. A power loss leaves any value since the last
// effective flush, and what was in flight then may be sent again.
class BruteForce {
 public:
  BruteForce(const History& history, int half) : history_(history), half_(half) {}

  bool possible() {
    std::set<State> states{{0, 1, 0}};
    for (std::size_t at = 0; at < history_.events.size() && !states.empty(); ++at) {
      const Event& event = history_.events[at];
      const Op& op = history_.ops[static_cast<std::size_t>(event.op)];
      const unsigned bit = 1u << event.op;
      std::set<State> next;
      if (op.call == Call::loss) {
        for (const State& s : states) lose(s, next);
      } else if (event.begins) {
        if (op.end != End::failed) pending_ |= bit;
        if (op.end != End::failed) inflight_ |= bit;
        next = states;
      } else if (op.end == End::ok) {
        for (const State& s : states) {
          if ((s.done & bit) != 0) next.insert(s);
        }
        pending_ &= ~bit;
        inflight_ &= ~bit;
      } else {
        inflight_ &= ~bit;
        next = states;
      }
      states = closure(next);
    }
    return !states.empty();
  }

 private:
  struct State {
    std::uint32_t value;
    std::uint32_t survivors;  // bit set of versions that a power loss may leave
    std::uint32_t done;       // operations that took effect
    auto operator<=>(const State&) const = default;
  };

  std::set<State> closure(const std::set<State>& from) const {
    std::set<State> all = from;
    std::vector<State> work(from.begin(), from.end());
    while (!work.empty()) {
      const State s = work.back();
      work.pop_back();
      for (std::size_t i = 0; i < history_.ops.size(); ++i) {
        const unsigned bit = 1u << i;
        if ((pending_ & bit) == 0 || (s.done & bit) != 0) continue;
        const Op& op = history_.ops[i];
        State t = s;
        t.done |= bit;
        if (op.call == Call::write) {
          t.value = op.version;
          t.survivors |= 1u << op.version;
        } else if (op.call == Call::flush) {
          t.survivors = 1u << s.value;
        } else if (op.value[half_] != s.value) {
          continue;
        }
        if (all.insert(t).second) work.push_back(t);
      }
    }
    return all;
  }

  void lose(const State& s, std::set<State>& next) const {
    for (unsigned v = 0; v < 16; ++v) {
      if ((s.survivors & (1u << v)) == 0) continue;
      unsigned again = inflight_ & s.done;
      for (std::size_t i = 0; i < history_.ops.size(); ++i) {
        // It is there and was given up later: nobody will send it again.
        const Op& op = history_.ops[i];
        if (op.call == Call::write && op.end == End::unknown && op.version == v) again &= ~(1u << i);
      }
      for (unsigned kept = again;; kept = (kept - 1) & again) {
        next.insert({v, 1u << v, (s.done & ~again) | kept});
        if (kept == 0) break;
      }
    }
  }

  const History& history_;
  int half_;
  std::uint32_t pending_ = 0, inflight_ = 0;
};

struct Shape {
  bool overlapping;  // operations may overlap with writes in flight, which the client never does
  bool power;        // flushes and power losses
};

// A random history; values read are guesses among the versions begun, mostly recent ones.
History random_history(Random& random, const Shape& shape) {
  History h;
  std::uint32_t version = 0;
  std::vector<int> open;
  const int wanted = 4 + static_cast<int>(random.below(7));
  const auto writes_open = [&] {
    for (const int i : open) {
      if (h.ops[static_cast<std::size_t>(i)].call == Call::write) return true;
    }
    return false;
  };
  while (static_cast<int>(h.ops.size()) < wanted || !open.empty()) {
    if (static_cast<int>(h.ops.size()) < wanted && open.size() < 3 && random.percent(55)) {
      Op op;
      const auto dice = random.below(100);
      op.call = shape.power && dice < 12   ? Call::loss
                : shape.power && dice < 28 ? Call::flush
                : dice < 62                ? Call::read
                                           : Call::write;
      if (!shape.overlapping && op.call == Call::read && writes_open()) continue;
      if (!shape.overlapping && op.call == Call::write) {
        bool busy = false;
        for (const int i : open) busy |= h.ops[static_cast<std::size_t>(i)].call != Call::flush;
        if (busy) continue;
      }
      if (op.call == Call::write) op.version = ++version;
      if (op.call == Call::write || op.call == Call::flush) {
        op.end = random.percent(25) ? End::unknown : random.percent(5) ? End::failed : End::ok;
      }
      op.begin = static_cast<int>(h.events.size());
      const int index = static_cast<int>(h.ops.size());
      h.events.push_back({index, true});
      h.ops.push_back(op);
      if (op.end == End::failed) {  // never submitted, so it ends at once
        h.events.push_back({index, false});
      } else if (op.call != Call::loss) {
        open.push_back(index);
      }
      continue;
    }
    if (open.empty()) continue;
    const auto which = random.below(open.size());
    const int index = open[which];
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
    Op& op = h.ops[static_cast<std::size_t>(index)];
    const auto guess = [&] {
      const std::uint64_t back = random.percent(60) ? 0 : random.below(3);
      return static_cast<std::uint32_t>(version >= back ? version - back : 0);
    };
    op.value[0] = guess();
    op.value[1] = random.percent(80) ? op.value[0] : guess();
    op.finish = static_cast<int>(h.events.size());
    h.events.push_back({index, false});
  }
  return h;
}

// Plays a history to the oracle, on block 0. True: nothing to complain about.
class Player {
 public:
  explicit Player(Durability durability) {
    OracleConfig config;
    config.volume_id = kVolume;
    config.volume_bytes = 4 * kBlockBytes;
    config.durability = durability;
    oracle_ = std::make_unique<Oracle>(config);
  }

  bool play(const History& h) {
    std::vector<OpHandle> handles(h.ops.size());
    bool good = true;
    for (std::size_t at = 0; at < h.events.size(); ++at) {
      const Event& event = h.events[at];
      const Op& op = h.ops[static_cast<std::size_t>(event.op)];
      OpHandle& handle = handles[static_cast<std::size_t>(event.op)];
      const auto now = static_cast<Nanos>(at);
      if (op.call == Call::loss) {
        oracle_->note_power_loss(now);
      } else if (event.begins) {
        handle = op.call == Call::write   ? oracle_->begin_write(now, 0, kBlockBytes)
                 : op.call == Call::flush ? oracle_->begin_flush(now)
                                          : oracle_->begin_read(now, 0, kBlockBytes);
      } else if (op.call == Call::write) {
        oracle_->end_write(handle, now, outcome(op.end));
      } else if (op.call == Call::flush) {
        oracle_->end_flush(handle, now, op.end == End::ok ? Errc::ok : Errc::timeout);
      } else {
        good &= oracle_->end_read(handle, now, data(op)).good();
      }
    }
    return good;
  }

 private:
  static WriteOutcome outcome(End end) {
    return end == End::ok        ? WriteOutcome::acknowledged
           : end == End::unknown ? WriteOutcome::unknown
                                 : WriteOutcome::failed;
  }
  std::span<const std::byte> data(const Op& op) {
    for (std::uint64_t i = 0; i < 8; ++i) {
      const std::uint32_t version = op.value[i / 4];
      std::byte* at = block_ + i * kSectorBytes;
      std::fill(at, at + kSectorBytes, std::byte{0});
      if (version != 0) encode_sector({kVolume, i, version, SectorKind::data, 1}, at);
    }
    return block_;
  }
  std::unique_ptr<Oracle> oracle_;
  std::byte block_[kBlockBytes];
};

std::string describe(const History& h) {
  std::string text;
  for (const Event& event : h.events) {
    const Op& op = h.ops[static_cast<std::size_t>(event.op)];
    text += "op " + std::to_string(event.op) + (event.begins ? " begins " : " ends ");
    if (op.call == Call::write) text += "write " + std::to_string(op.version);
    if (op.call == Call::read) text += "read " + std::to_string(op.value[0]) + " " + std::to_string(op.value[1]);
    if (op.call == Call::flush) text += "flush";
    if (op.call == Call::loss) text += "POWER LOSS";
    if (!event.begins) text += op.end == End::ok ? " ok" : op.end == End::unknown ? " unknown" : " failed";
    text += "\n";
  }
  return text;
}

struct Tally {
  int good = 0, bad = 0, missed = 0;
};

Tally compare(const Shape& shape, Durability durability, std::uint64_t seeds) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    Random random(seed);
    const History h = random_history(random, shape);
    const bool truth = BruteForce(h, 0).possible() && BruteForce(h, 1).possible();
    const bool verdict = Player(durability).play(h);
    ++(truth ? tally.good : tally.bad);
    if (truth && !verdict) {
      ADD_FAILURE() << "false alarm, seed " << seed << "\n" << describe(h);
      break;
    }
    if (!truth && verdict) {
      ++tally.missed;
      if (!shape.power) {
        ADD_FAILURE() << "violation missed, seed " << seed << "\n" << describe(h);
        break;
      }
    }
  }
  return tally;
}

TEST(OracleLinearizability, AgreesWithBruteForceOnHistoriesOfOurClient) {
  const Tally tally = compare({false, false}, Durability::on_ack, 8000);
  EXPECT_GT(tally.good, 1000);
  EXPECT_GT(tally.bad, 1000);
}

TEST(OracleLinearizability, AgreesWithBruteForceWhenOperationsOverlapFreely) {
  const Tally tally = compare({true, false}, Durability::on_ack, 8000);
  EXPECT_GT(tally.good, 1000);
  EXPECT_GT(tally.bad, 1000);
}

// After a power loss the oracle allows a few versions too many (sector_register.h), but never blames the innocent.
TEST(OracleLinearizability, PowerLossNeverGivesAFalseAlarmAndHidesLittle) {
  const Tally tally = compare({false, true}, Durability::on_flush, 8000);
  EXPECT_GT(tally.good, 1000);
  EXPECT_GT(tally.bad, 1000);
  EXPECT_LT(tally.missed * 10, tally.bad);
}

}  // namespace
}  // namespace resilver::workload
