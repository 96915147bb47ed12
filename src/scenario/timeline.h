// Plays the events of a scenario against one contender: waits for each trigger, resolves who is meant, applies the verb,
// ends it, and keeps what a report must know: applied or not, when, to whom, and whether any I/O felt it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "base/random.h"
#include "scenario/fault_stack.h"
#include "scenario/fleet.h"
#include "scenario/observer.h"
#include "scenario/results.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

// What the timeline needs of the client.
class ClientHooks {
 public:
  virtual ~ClientHooks() = default;
  virtual std::uint64_t writes_submitted() const noexcept = 0;
  virtual std::uint64_t writes_acknowledged() const noexcept = 0;
  // Overwrites a range of the volume, as somebody would by mistake; returns the number of acknowledged writes.
  virtual Task<std::uint64_t> overwrite(std::uint64_t offset, std::uint64_t bytes) = 0;
  // These nodes lost power at once.
  virtual void note_power_loss(const std::vector<std::string>& nodes) = 0;
  // An event is being applied now, for the first time; another one was ended now: measures by time have a boundary here.
  virtual void note_event(std::size_t index) = 0;
  virtual void note_end() = 0;
};

// What became of one event in this contender. `totals` are the fleet's at the moment of application.
struct EventRecord {
  EventResult result;
  FleetTotals totals;
};

class Timeline {
 public:
  // `used_begin`, `used_end`: the part of the volume that holds data, where latent errors and corruptions are placed.
  Timeline(Fleet& fleet, Observer& observer, ClientHooks& hooks, const Scenario& scenario,
           const ContenderSpec& contender, std::uint64_t used_begin, std::uint64_t used_end);

  // Plays until `stop`; event times count from `start`. Once `no_more` is set no further event is applied, but what was
  // applied is ended in its time.
  Task<void> run(Nanos start, resilver::Event& no_more, resilver::Event& stop);

  // In the order of the file.
  const std::vector<EventRecord>& records() const noexcept { return records_; }
  // True while an applied event has an end to come.
  bool anything_active() const noexcept;

 private:
  struct LinkTarget {
    LinkEnd from;
    LinkEnd to;
    std::uint64_t transfers_before = 0;
  };
  // What an applied event touched, to end it and to count its hits.
  struct Touched {
    std::vector<DiskPlace> disks;
    std::vector<std::uint32_t> nodes;
    std::vector<LinkTarget> links;
    bool active = false;       // its hits are counted
    bool pending_end = false;  // not ended yet, if it ends at all
  };

  Task<void> play(std::size_t index, resilver::Event& no_more, resilver::Event& stop);
  Task<void> wait_for_server(const Event& event, resilver::Event& stop);
  Task<bool> wait_for_trigger(const Event& event, Random& random, resilver::Event& stop);
  Task<bool> wait_bitten(std::size_t earlier, resilver::Event& stop);
  Task<bool> wait_condition(const Condition& condition, resilver::Event& stop);
  Task<void> wait_end(std::size_t index, resilver::Event& stop);
  bool condition_holds(const Condition& condition) const;

  Task<bool> apply(std::size_t index, Random& random);
  Task<bool> apply_to_site(std::size_t index, const SiteSpec& site);
  Task<bool> command_node(std::size_t index, std::uint32_t node);
  Task<Status> apply_to_arbiter(std::size_t index);
  Task<bool> apply_to_node(std::size_t index, std::uint32_t node);
  Task<bool> apply_to_disk(std::size_t index, DiskPlace disk, Random& random);
  Status apply_to_link(std::size_t index, LinkTarget link);
  void switch_links(std::size_t index, bool on);
  Task<void> flap(std::size_t index, resilver::Event& stop);
  Task<bool> apply_to_target(std::size_t index, const Target& target, Random& random);
  Task<Status> strike_node(std::size_t index, std::uint32_t node);
  Task<Status> restart_node(std::uint32_t node);
  Task<void> end(std::size_t index);
  Task<void> end_at_disk(std::size_t index, DiskPlace place);
  Task<Status> end_at_node(std::size_t index, std::uint32_t node);
  Task<Status> end_at_arbiter(std::size_t index);
  Task<Status> come_back(std::uint32_t node);
  Task<void> tell_disk(DiskPlace place, Verb verb);
  Task<void> tell_untold();
  void count_hits();
  Task<void> watch_hits(resilver::Event& stop);

  std::optional<std::uint32_t> resolve_node(const NodeSelector& selector, Random& random) const;
  std::optional<DiskPlace> resolve_disk(const Target& target, Random& random) const;
  std::optional<LinkEnd> resolve_end(const NodeSelector& selector, Random& random) const;
  std::string node_name(std::uint32_t node) const { return contender_.nodes[node].name; }
  std::string end_name(const LinkEnd& end) const;
  bool ends(std::size_t index) const;

  Fleet& fleet_;
  Observer& observer_;
  ClientHooks& hooks_;
  const Scenario& scenario_;
  const ContenderSpec& contender_;
  Scheduler& scheduler_;
  std::uint64_t used_begin_;
  std::uint64_t used_end_;
  Nanos start_ = 0;
  std::vector<EventRecord> records_;
  std::vector<Touched> touched_;
  LinkStacks link_faults_;
  DiskStacks disk_faults_;
  NodeStacks node_faults_;
  struct Untold {
    DiskPlace place;
    Verb verb;
  };
  std::vector<Untold> untold_;  // ends of faults at disks whose node did not run then
  resilver::Event changed_;     // woken when an event was applied
};

}  // namespace resilver::scenario
