// One crash experiment: a client works on an array, power is lost (or the process dies) at a chosen write to any disk, and
// what the disks hold is judged: assembled whole and with members left out, before and after the resync.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "raid/array.h"
#include "tests/crash/client.h"
#include "tests/crash/memory_disk.h"

namespace resilver::raid {

struct Case {
  Level level = Level::raid5;
  std::uint32_t members = 4;
  Consistency consistency = Consistency::resync;
  std::uint32_t lost = 0;     // members that fail before the client's work
  std::uint32_t added = 0;    // new disks that are rebuilt meanwhile; with none lost: one takes the place of a member
  unsigned rounds = 5;        // of the client's work; 0: it does nothing
  bool initial_sync = false;  // the array was never synchronised: its first resync runs while the client works
  bool power = true;          // false: only the process dies
  Nanos dies_after = 0;       // d1 fails so long after the work began, and is there again after the cut; 0: it does not
  std::uint32_t fills = 1;    // the array is written so often before
  std::uint64_t stripes = 6;
  std::uint64_t seed = 1;

  bool replaces() const noexcept { return added > 0 && lost == 0; }
  bool parity() const noexcept { return level >= Level::raid4 && level <= Level::raid6; }
  bool journal() const noexcept { return consistency == Consistency::journal; }
  std::string text() const;
};

// What was found, over many cuts. All counts of sectors are of 512 bytes.
struct Verdict {
  std::uint64_t cuts = 0;
  std::uint64_t lost = 0;         // sectors that were durable and not being written, and read as something else
  std::uint64_t torn = 0;         // sectors that were being written and are neither old nor new
  std::uint64_t changed = 0;      // sectors that read as something else later
  std::uint64_t unread = 0;       // arrays that could not be read
  std::uint64_t unassembled = 0;  // disks that could not be assembled, though enough were there
  std::uint64_t mismatches = 0;   // sectors of redundancy that do not match after the recovery
  std::uint64_t not_whole = 0;    // arrays that do not come back to full redundancy though they have the disks
  std::uint64_t refused = 0;      // assemblies refused as dirty and degraded
  std::uint64_t holes = 0;        // cuts after which a forced assembly had lost sectors as above: the write hole
  std::uint64_t hole_sectors = 0;
  std::string first;  // the first complaint

  std::uint64_t wrong() const noexcept { return lost + torn + changed + unread + unassembled + mismatches + not_whole; }
  std::string text() const;
};

// make check-long (RESILVER_CRASH_FULL is set): more seeds, longer work.
bool full_matrix();
template <typename Test>
void for_seeds(Case which, Test&& test) {
  const std::uint64_t seeds = full_matrix() ? 10 : 1;
  if (full_matrix() && which.rounds > 0) which.rounds = 12;
  for (which.seed = 1; which.seed <= seeds; ++which.seed) test(which);
}

class Experiment {
 public:
  explicit Experiment(const Case& which) : case_(which) {}

  // A cut at every write of the client's time.
  Verdict cut_everywhere();
  // A cut at every first_step-th write of the client's time, then, while the array assembled from that recovers, a second
  // one at every second_step-th write of the recovery.
  Verdict cut_recovery(std::uint64_t first_step, std::uint64_t second_step);

 private:
  struct Machine;
  struct Seen;
  using Images = std::vector<DiskImage>;
  using Disks = std::vector<std::size_t>;  // indices into Machine::names
  using Content = std::vector<std::byte>;

  // The machine after a cut at this write of the client's time; 0: without a cut, and `writes_` counts them.
  std::unique_ptr<Machine> work(std::uint64_t cut, std::uint64_t fate);
  // Assembles and recovers until a cut at this write. False: it ended before.
  bool recover(Machine& machine, std::uint64_t cut);
  void judge(Machine& machine);

  Task<void> client_main(Env& env, Machine& machine, bool& started);
  Task<void> recovery_main(Env& env, Machine& machine);
  Task<void> judge_main(Env& env, const Machine& machine, const Images& images);
  Task<void> judge_whole(Env& env, const Machine& machine, const Images& images);
  Task<void> judge_without(Env& env, const Machine& machine, Images images, Disks left_out, const Content* before);
  Task<void> judge_forced(Env& env, const Machine& machine, Images images, Disks left_out);
  Task<Seen> look(Env& env, const Machine& machine, Images& images, const Disks& left_out, bool force);

  void check_content(const Content& content, const std::string& when);
  void check_same(const Content& before, const Content& now, const std::string& when);
  std::uint64_t lost_sectors(const Content& content, std::uint64_t* torn) const;
  bool refused(const Seen& seen) const;
  void complain(std::uint64_t& count, std::uint64_t by, const std::string& when, const char* what);

  Case case_;
  Ledger ledger_;
  Verdict verdict_;
  std::string cut_;  // which, for complaints
  std::uint64_t writes_ = 0;
  std::uint32_t turn_ = 0;
};

}  // namespace resilver::raid
