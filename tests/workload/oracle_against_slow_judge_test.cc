// The oracle against the slow judge (slow_judge.h), on small random histories of a volume that keeps its promises, and of
// one that does not always. RESILVER_ORACLE_HISTORIES=100000 plays more, RESILVER_ORACLE_FIRST=SEED from another seed on.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/random.h"
#include "tests/workload/slow_judge.h"

namespace resilver::workload {
namespace {

using slow::Call;
using slow::Event;
using slow::History;
using slow::kCells;
using slow::kDamaged;
using slow::Op;
using slow::Verdict;

constexpr std::uint64_t kVolume = 99;

// Draws a history: who asks what, and what a volume answers that lets things happen at random moments.
class Story {
 public:
  Story(std::uint64_t seed, Durability promise) : random_(seed), promise_(promise) {
    planted_ = random_.percent(50);
    overlapping_ = random_.percent(60);
    crowded_ = random_.percent(60);
    const std::size_t wanted = 5 + random_.below(slow::kMostOps - 4);
    while (history_.ops.size() < wanted || !open_.empty()) {
      while (random_.percent(40) && happen_once()) {
      }
      if (history_.ops.size() < wanted && open_.size() < 4 && random_.percent(55)) {
        begin();
      } else if (!open_.empty()) {
        end(random_.below(open_.size()));
      }
    }
  }
  History history_;
  bool planted_;

 private:
  struct Effect {
    std::size_t op, cell;
  };

  void begin() {
    Op op;
    const auto dice = random_.below(100);
    const Call loss = promise_ == Durability::prefix ? Call::failover : Call::power_loss;
    const std::uint64_t flushes = promise_ == Durability::on_flush ? 18 : 8;
    op.call = dice < 12 ? loss : dice < 12 + flushes ? Call::flush : dice < 62 ? Call::read : Call::write;
    op.first = crowded_ ? 0 : random_.below(slow::kBlocks);
    op.last = !crowded_ && random_.percent(25) ? slow::kBlocks - 1 : op.first;
    if (!overlapping_ && conflicts(op)) return;
    if (op.call == Call::write) op.version = ++versions_;
    op.unknown = (op.call == Call::write || op.call == Call::flush) && random_.percent(15);
    const std::size_t index = history_.ops.size();
    history_.ops.push_back(op);
    history_.events.push_back({index, true});
    if (op.call == loss) {
      lose();
      return;
    }
    open_.push_back(index);
    if (op.call == Call::flush) {
      effects_.push_back({index, 0});
      return;
    }
    for (std::size_t cell = 0; cell < kCells; ++cell) {
      if (op.covers(cell)) effects_.push_back({index, cell});
    }
  }

  bool conflicts(const Op& op) const {
    return std::ranges::any_of(open_, [&](std::size_t other) {
      const Op& o = history_.ops[other];
      const bool both = (o.call == Call::write || o.call == Call::read) && o.first <= op.last && op.first <= o.last;
      return both && (o.call == Call::write || op.call == Call::write);
    });
  }

  bool happen_once() {
    if (effects_.empty()) return false;
    const auto at = static_cast<std::ptrdiff_t>(random_.below(effects_.size()));
    const Effect effect = effects_[static_cast<std::size_t>(at)];
    effects_.erase(effects_.begin() + at);
    happen(effect);
    return true;
  }

  void happen(const Effect& effect) {
    Op& op = history_.ops[effect.op];
    if (op.call == Call::write) {
      log_.push_back({effect, op.version});
      values_[effect.cell] = op.version;
      done_.push_back(effect);
    } else if (op.call == Call::read) {
      op.value[effect.cell] = values_[effect.cell];
    } else {
      log_.clear();
      std::ranges::copy(values_, durable_);
    }
  }

  // Some prefix of what happened is left; or, of power, any of it in each cell. What is in flight may be sent again.
  void lose() {
    if (promise_ == Durability::on_ack) return;
    const std::size_t cut = random_.below(log_.size() + 1);
    std::uint32_t left[kCells];
    std::ranges::copy(durable_, left);
    for (std::size_t i = 0; i < log_.size(); ++i) {
      const bool kept = promise_ == Durability::prefix ? i < cut : random_.percent(60);
      if (kept) left[log_[i].effect.cell] = log_[i].version;
    }
    std::ranges::copy(left, values_);
    std::ranges::copy(left, durable_);
    log_.clear();
    for (const Effect& effect : std::exchange(done_, {})) {
      const bool in_flight = std::ranges::find(open_, effect.op) != open_.end();
      if (in_flight && random_.percent(50)) effects_.push_back(effect);
    }
  }

  void end(std::size_t which) {
    const std::size_t index = open_[which];
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(which));
    Op& op = history_.ops[index];
    if (!op.unknown) {
      for (const Effect& effect : std::exchange(effects_, {})) {
        if (effect.op == index) {
          happen(effect);
        } else {
          effects_.push_back(effect);
        }
      }
    }
    if (op.call == Call::read && planted_ && random_.percent(40)) plant(op);
    history_.events.push_back({index, false});
  }

  // Another version than the cell has: older, of a write that was not acknowledged yet, or none.
  void plant(Op& op) {
    for (std::size_t cell = 0; cell < kCells; ++cell) {
      if (!op.covers(cell) || random_.percent(40)) continue;
      std::uint32_t& value = op.value[cell];
      std::vector<std::uint32_t> others{0};
      for (const Op& other : history_.ops) {
        if (other.call == Call::write && other.covers(cell)) others.push_back(other.version);
      }
      value = random_.percent(5) ? kDamaged : others[random_.below(others.size())];
    }
  }

  struct Logged {
    Effect effect;
    std::uint32_t version;
  };
  Random random_;
  Durability promise_;
  bool overlapping_ = false;
  bool crowded_ = false;  // all on one block
  std::uint32_t versions_ = 0;
  std::vector<std::size_t> open_;
  std::vector<Effect> effects_;  // that have not happened yet
  std::vector<Effect> done_;     // writes, since the last loss
  std::vector<Logged> log_;      // since the last flush or loss
  std::uint32_t values_[kCells] = {};
  std::uint32_t durable_[kCells] = {};
};

// Tells a history to an oracle.
class Player {
 public:
  explicit Player(Durability promise) : oracle_(config(promise)) {}

  Verdict play(const History& history) {
    Verdict verdict;
    std::vector<OpHandle> handles(history.ops.size());
    for (std::size_t at = 0; at < history.events.size(); ++at) {
      const Event& event = history.events[at];
      const Op& op = history.ops[event.op];
      OpHandle& handle = handles[event.op];
      const auto now = static_cast<Nanos>(at);
      const std::uint64_t offset = op.first * kBlockBytes, length = (op.last - op.first + 1) * kBlockBytes;
      if (op.call == Call::power_loss) {
        oracle_.note_power_loss(now);
      } else if (op.call == Call::failover) {
        oracle_.note_failover(now);
      } else if (event.begins) {
        handle = op.call == Call::write   ? oracle_.begin_write(now, offset, length)
                 : op.call == Call::flush ? oracle_.begin_flush(now)
                                          : oracle_.begin_read(now, offset, length);
      } else if (op.call == Call::write) {
        oracle_.end_write(handle, now, op.unknown ? WriteOutcome::unknown : WriteOutcome::acknowledged);
      } else if (op.call == Call::flush) {
        oracle_.end_flush(handle, now, op.unknown ? Errc::timeout : Errc::ok);
      } else {
        const ReadVerdict read = oracle_.end_read(handle, now, bytes(op));
        if (read.good()) continue;
        verdict.first_bad = at;
        verdict.corrupt = read.corrupt;
        return verdict;
      }
    }
    verdict.not_a_prefix = oracle_.counts().prefix_breaks != 0;
    verdict.lost = !verdict.not_a_prefix && oracle_.counts().lost_writes != 0;
    return verdict;
  }

 private:
  static OracleConfig config(Durability promise) {
    OracleConfig config;
    config.volume_id = kVolume;
    config.volume_bytes = slow::kBlocks * kBlockBytes;
    config.durability = promise;
    return config;
  }

  std::vector<std::byte> bytes(const Op& op) const {
    constexpr std::uint64_t kCellSectors = kBlockBytes / kSectorBytes / 2;
    std::vector<std::byte> data((op.last - op.first + 1) * kBlockBytes);
    for (std::uint64_t i = 0; i < data.size() / kSectorBytes; ++i) {
      const std::uint64_t sector = op.first * 2 * kCellSectors + i;
      const std::uint32_t version = op.value[sector / kCellSectors];
      if (version == kDamaged) {
        data[i * kSectorBytes] = std::byte{1};
      } else if (version != 0) {
        encode_sector({kVolume, sector, version, SectorKind::data, 1}, data.data() + i * kSectorBytes);
      }
    }
    return data;
  }

  Oracle oracle_;
};

std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::string say(const Verdict& v) {
  return "first bad event " + (v.first_bad == Verdict::kNone ? std::string("none") : std::to_string(v.first_bad)) +
         (v.corrupt ? ", corrupt" : "") + (v.not_a_prefix ? ", not a prefix" : "") + (v.lost ? ", lost" : "");
}

struct Tally {
  int good = 0, bad = 0, corrupt = 0, not_a_prefix = 0, lost = 0;
};

Tally compare(Durability promise) {
  Tally tally;
  const std::uint64_t first = number_of("RESILVER_ORACLE_FIRST", 1);
  const std::uint64_t count = number_of("RESILVER_ORACLE_HISTORIES", 20'000) / 3;
  int wrong = 0;
  for (std::uint64_t seed = first; seed < first + count && wrong < 3; ++seed) {
    const Story story(seed, promise);
    const Verdict truth = slow::judge(story.history_, promise);
    const Verdict verdict = Player(promise).play(story.history_);
    const bool good = truth.first_bad == Verdict::kNone && !truth.not_a_prefix;
    ++(good ? tally.good : tally.bad);
    tally.corrupt += truth.corrupt;
    tally.not_a_prefix += truth.not_a_prefix;
    tally.lost += truth.lost;
    EXPECT_TRUE(good || story.planted_) << "the story's volume breaks its promise, seed " << seed << "\n"
                                        << slow::describe(story.history_);
    if (verdict == truth) continue;
    ++wrong;
    ADD_FAILURE() << "seed " << seed << ": the oracle says: " << say(verdict) << "; the slow judge: " << say(truth)
                  << "\n"
                  << slow::describe(story.history_);
  }
  return tally;
}

TEST(OracleAgainstSlowJudge, OnAck) {
  const Tally tally = compare(Durability::on_ack);
  EXPECT_GT(tally.good, tally.bad / 2);
  EXPECT_GT(tally.bad, tally.good / 10);
  EXPECT_GT(tally.corrupt, 0);
}

TEST(OracleAgainstSlowJudge, OnFlush) {
  const Tally tally = compare(Durability::on_flush);
  EXPECT_GT(tally.good, tally.bad / 2);
  EXPECT_GT(tally.bad, tally.good / 10);
}

TEST(OracleAgainstSlowJudge, Prefix) {
  const Tally tally = compare(Durability::prefix);
  EXPECT_GT(tally.good, tally.bad / 2);
  EXPECT_GT(tally.bad, tally.good / 10);
  EXPECT_GT(tally.not_a_prefix, 0);
  EXPECT_GT(tally.lost, 0);
}

}  // namespace
}  // namespace resilver::workload
