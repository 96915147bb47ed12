// Watches a contender from outside: asks each node program for its state every few milliseconds and keeps what the measures
// need, the course of redundancy and the bytes that repairs moved. Samples, so times are right to one interval.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "scenario/fleet.h"
#include "scenario/results.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

inline constexpr Nanos kSampleInterval = 10 * kMillisecond;

// How things stand at one moment.
struct FleetState {
  Nanos at = 0;
  std::optional<std::uint32_t> serving;  // the node that serves the volume
  std::uint32_t in_sync = 0;             // nodes whose copy counts
  std::int32_t disks_left = 0;           // further disks that may fail without loss; -1: data is lost
  std::int32_t nodes_left = 0;           // further nodes that may fail without loss of service
  bool full = false;                     // everything configured runs and is in sync
  std::int32_t rebuild_permille = -1;    // of the running repair; -1: none runs

  Redundancy redundancy() const noexcept;
  bool same_course(const FleetState& other) const noexcept;  // equal but for `at` and the progress
};

// Counted since the start of the run, over all nodes and their incarnations.
struct FleetTotals {
  std::uint64_t restored = 0;
  Causes causes{};         // of all arrays
  TrafficByUse volume{};   // of all copies
  std::uint64_t link = 0;  // resync and healing between nodes
  std::uint64_t scrubs = 0;
  std::uint64_t mismatches = 0;
  std::uint64_t mismatches_named = 0;
  std::uint64_t failovers = 0;
  std::uint64_t needless_failovers = 0;

  // Of rebuilds, resyncs and copies between nodes: all that its disks were asked for.
  Traffic repair() const noexcept;
};

class Observer {
 public:
  Observer(Fleet& fleet, const ContenderSpec& contender);

  // Samples until `stop`; also the only caller of Fleet::report.
  Task<void> run(resilver::Event& stop);

  const FleetState& state() const noexcept { return state_; }
  const FleetTotals& totals() const noexcept { return totals_; }
  const NodeReport& report(std::uint32_t node) const noexcept { return nodes_[node].last; }
  // Every change so far, in order; the first is from the start. Of more than kMaxChanges the newest are left out.
  const std::vector<FleetState>& changes() const noexcept { return changes_; }
  std::uint64_t worst_unavailable_bytes() const noexcept { return worst_unavailable_; }
  // What held back the latest rebuild or resync of an array that ran in [begin, end); empty if none did.
  std::string limited_by(Nanos begin, Nanos end) const;
  std::string trouble() const;
  // Where the bytes that a node's array counted are not those that its disks were asked to write; empty: the books balance.
  const std::string& imbalance() const noexcept { return imbalance_; }
  bool up(std::uint32_t node) const noexcept { return nodes_[node].up; }
  const std::string& trouble_of(std::uint32_t node) const noexcept { return nodes_[node].trouble; }
  const std::vector<std::uint32_t>& in_sync() const noexcept { return in_sync_; }

  // Woken after every sample: conditions are checked again then.
  resilver::Event& sampled() noexcept { return sampled_; }

  // The runner tells what it does to a node, so that a failover can be told from a needless one.
  void note_unreachable(std::uint32_t node, bool unreachable) { nodes_[node].unreachable = unreachable; }
  void note_faulted(std::uint32_t node) { nodes_[node].faulted = true; }
  // Somebody asked for this node to serve: the next change to it is planned.
  void note_asked(std::uint32_t node) { asked_ = node; }
  // Bytes that repairs had restored at a time.
  std::uint64_t restored_until(Nanos at) const noexcept;
  void reset_worst_unavailable() noexcept { worst_unavailable_ = 0; }

 private:
  struct NodeView {
    NodeReport last;  // the latest answer of an assembled node
    bool up = false;  // answered at the latest sample
    bool unreachable = false;
    bool faulted = false;
    std::string trouble;
  };

  Task<void> watch(std::uint32_t node, resilver::Event& stop);
  void take(std::uint32_t node, const NodeReport& report);
  void take_limit(const std::string& text);
  void recompute();
  void account(const NodeReport& before, const NodeReport& now);
  void check_books(std::uint32_t node, const NodeReport& report);

  Fleet& fleet_;
  const ContenderSpec& contender_;
  Scheduler& scheduler_;
  std::vector<NodeView> nodes_;
  std::vector<std::uint32_t> in_sync_;
  std::optional<std::uint32_t> last_serving_;
  FleetState state_;
  FleetTotals totals_;
  std::vector<FleetState> changes_;
  std::vector<std::pair<Nanos, std::uint64_t>> restored_;  // total at times, rising
  std::uint64_t worst_unavailable_ = 0;
  std::string imbalance_;
  struct Limit {
    std::string text;
    Nanos first = 0, last = 0;  // samples
  };
  std::vector<Limit> limits_;
  std::optional<std::uint32_t> asked_;
  resilver::Event sampled_;
};

}  // namespace resilver::scenario
