#include "tests/workload/slow_judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <compare>
#include <set>

namespace resilver::workload::slow {

namespace {

using Bits = std::uint32_t;  // bit i: operation i, or version i

struct State {
  std::uint32_t value = 0;          // what the cell holds
  Bits may_survive = 1;             // the versions that a loss may leave
  Bits done = 0;                    // the operations that have taken effect
  std::vector<std::uint32_t> left;  // what each failover left
  auto operator<=>(const State&) const = default;
};

// All states that one cell may be in.
class Cell {
 public:
  Cell(const History& history, Durability promise, std::size_t cell)
      : history_(history), promise_(promise), cell_(cell), states_{State{}} {}

  void play(const Event& event) {
    const Op& op = history_.ops[event.op];
    const Bits bit = Bits{1} << event.op;
    if (op.call == Call::power_loss || op.call == Call::failover) {
      const bool loses = promise_ == (op.call == Call::power_loss ? Durability::on_flush : Durability::prefix);
      if (loses) lose();
    } else if (op.call != Call::flush && !op.covers(cell_)) {
      return;
    } else if (event.begins) {
      if (op.call == Call::read && op.value[cell_] == kDamaged) return;  // shows nothing of what the cell holds
      may_happen_ |= bit;
      in_flight_ |= bit;
    } else if (op.unknown) {
      in_flight_ &= ~bit;
    } else if ((may_happen_ & bit) != 0) {
      std::erase_if(states_, [bit](const State& state) { return (state.done & bit) == 0; });
      may_happen_ &= ~bit;
      in_flight_ &= ~bit;
    }
    let_things_happen();
  }
  const std::set<State>& states() const { return states_; }

 private:
  void let_things_happen() {
    std::vector<State> work(states_.begin(), states_.end());
    while (!work.empty()) {
      const State state = work.back();
      work.pop_back();
      for (std::size_t i = 0; i < history_.ops.size(); ++i) {
        const Bits bit = Bits{1} << i;
        if ((may_happen_ & bit) == 0 || (state.done & bit) != 0) continue;
        const Op& op = history_.ops[i];
        State after = state;
        after.done |= bit;
        if (op.call == Call::write) {
          after.value = op.version;
          after.may_survive |= Bits{1} << op.version;
        } else if (op.call == Call::flush) {
          if (promise_ == Durability::on_flush) after.may_survive = Bits{1} << state.value;
        } else if (op.value[cell_] != state.value) {
          continue;  // the read did not happen here
        }
        if (states_.insert(after).second) work.push_back(after);
      }
    }
  }

  void lose() {
    std::set<State> after;
    for (const State& before : states_) {
      for (std::uint32_t version = 0; version <= kMostOps; ++version) {
        if ((before.may_survive & (Bits{1} << version)) == 0) continue;
        State state = before;
        state.value = version;
        state.may_survive = Bits{1} << version;
        if (promise_ == Durability::prefix) state.left.push_back(version);
        // Any of what is done and not answered yet may be sent again.
        const Bits again = before.done & in_flight_;
        for (Bits some = again;; some = (some - 1) & again) {
          state.done = before.done & ~some;
          after.insert(state);
          if (some == 0) break;
        }
      }
    }
    states_ = after;
  }

  const History& history_;
  Durability promise_;
  std::size_t cell_;
  std::set<State> states_;
  Bits may_happen_ = 0;  // begun, and not known to have ended
  Bits in_flight_ = 0;
};

// The writes of a history in time: positions in its list of events.
struct Times {
  std::size_t begin = 0, end = 0;
  bool acknowledged = false;
};

class Prefix {
 public:
  explicit Prefix(const History& history) : history_(history), times_(kMostOps + 1) {
    for (std::size_t at = 0; at < history.events.size(); ++at) {
      const Op& op = history.ops[history.events[at].op];
      if (op.call == Call::failover) failovers_.push_back(at);
      if (op.call != Call::write) continue;
      Times& write = times_[op.version];
      if (history.events[at].begins) write.begin = at;
      if (!history.events[at].begins && !op.unknown) write = {write.begin, at, true};
    }
  }

  // `left`: for each cell what each failover left. Are all lost writes behind all kept ones? `lost`: all of them.
  bool holds(const std::vector<std::vector<std::uint32_t>>& left, Bits& lost) const {
    for (std::size_t reign = 0; reign < failovers_.size(); ++reign) {
      std::set<std::uint32_t> kept_writes, lost_writes;
      for (std::size_t cell = 0; cell < kCells; ++cell) {
        const std::uint32_t survivor = left[cell][reign];
        if (belongs(survivor, reign)) kept_writes.insert(survivor);
        for (const Op& op : history_.ops) {
          const bool counts = op.call == Call::write && op.covers(cell) && belongs(op.version, reign);
          if (counts && (survivor == 0 || precedes(survivor, op.version))) lost_writes.insert(op.version);
        }
      }
      for (const std::uint32_t gone : lost_writes) {
        for (const std::uint32_t kept : kept_writes) {
          if (precedes(gone, kept)) return false;
        }
      }
      for (const std::uint32_t gone : lost_writes) lost |= Bits{1} << gone;
    }
    return true;
  }

 private:
  bool precedes(std::uint32_t a, std::uint32_t b) const {
    return times_[a].acknowledged && times_[a].end < times_[b].begin;
  }
  bool belongs(std::uint32_t version, std::size_t reign) const {
    const Times& write = times_[version];
    const std::size_t begin = reign == 0 ? 0 : failovers_[reign - 1];
    return version != 0 && write.acknowledged && write.begin >= begin && write.end < failovers_[reign];
  }

  const History& history_;
  std::vector<Times> times_;
  std::vector<std::size_t> failovers_;
};

// Is there, among all that the cells may have been left with, something that is a prefix? And is some write lost in all of
// them?
void judge_prefix(const History& history, const std::vector<Cell>& cells, Verdict& verdict) {
  std::vector<std::set<std::vector<std::uint32_t>>> possible(kCells);
  for (std::size_t cell = 0; cell < kCells; ++cell) {
    for (const State& state : cells[cell].states()) possible[cell].insert(state.left);
  }
  const Prefix prefix(history);
  Bits lost_in_all = ~Bits{0};
  verdict.not_a_prefix = true;
  for (const auto& a : possible[0]) {
    for (const auto& b : possible[1]) {
      for (const auto& c : possible[2]) {
        for (const auto& d : possible[3]) {
          Bits lost = 0;
          if (!prefix.holds({a, b, c, d}, lost)) continue;
          verdict.not_a_prefix = false;
          lost_in_all &= lost;
          if (lost_in_all == 0) return;
        }
      }
    }
  }
  verdict.lost = !verdict.not_a_prefix;
}

}  // namespace

Verdict judge(const History& history, Durability promise) {
  std::vector<Cell> cells;
  for (std::size_t cell = 0; cell < kCells; ++cell) cells.emplace_back(history, promise, cell);
  Verdict verdict;
  for (std::size_t at = 0; at < history.events.size(); ++at) {
    const Event& event = history.events[at];
    const Op& op = history.ops[event.op];
    bool bad = false;
    for (std::size_t cell = 0; cell < kCells; ++cell) {
      cells[cell].play(event);
      bad = bad || cells[cell].states().empty();
      const bool damaged = op.call == Call::read && !event.begins && op.covers(cell) && op.value[cell] == kDamaged;
      verdict.corrupt = verdict.corrupt || damaged;
    }
    if (bad || verdict.corrupt) {
      verdict.first_bad = at;
      return verdict;
    }
  }
  if (promise == Durability::prefix) judge_prefix(history, cells, verdict);
  return verdict;
}

std::string describe(const History& history) {
  std::string text;
  for (const Event& event : history.events) {
    const Op& op = history.ops[event.op];
    if (op.call == Call::power_loss || op.call == Call::failover) {
      text += op.call == Call::power_loss ? "POWER LOSS\n" : "FAILOVER\n";
      continue;
    }
    text += fmt::format("op {} {} ", event.op, event.begins ? "begins" : op.unknown ? "unknown" : "ok");
    if (op.call == Call::flush) text += "flush";
    if (op.call == Call::write) text += fmt::format("write {} of blocks {}..{}", op.version, op.first, op.last);
    if (op.call == Call::read) text += fmt::format("read of blocks {}..{}", op.first, op.last);
    if (op.call == Call::read && !event.begins) {
      for (std::size_t cell = 2 * op.first; cell < 2 * op.last + 2; ++cell) text += fmt::format(" {}", op.value[cell]);
    }
    text += "\n";
  }
  return text;
}

}  // namespace resilver::workload::slow
