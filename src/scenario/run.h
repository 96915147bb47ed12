// Runs a scenario: every contender one after another, on the same seed, in one of the two worlds, and judges what came out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "async/sync.h"
#include "async/task.h"
#include "scenario/fleet.h"
#include "scenario/results.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

// How far a contender is, for a line of progress.
struct Progress {
  std::string contender;
  std::size_t index = 0;  // of this contender, from 0
  std::size_t contenders = 1;
  std::string phase;  // "preparing", "filling", "running", "disk dies", "settling", "reading back"
  std::uint32_t permille = 0;
  std::uint64_t rate = 0;  // bytes per second of what the client moves now
  Nanos left = 0;          // about
};
using ProgressSink = std::function<void(const Progress&)>;

struct RunOptions {
  std::string fill_path;  // empty: nothing is filled in
  std::string work_dir;   // real world: where images go; empty: a directory of its own under TMPDIR or /var/tmp
  bool keep = false;      // real world: leave images and logs
  bool strict_timing = false;
  std::string history_dir;  // exists; history-CONTENDER.jsonl is written there; empty: none
  ProgressSink progress;    // may be empty
};

// One contender on the machines of `fleet`, which it creates and destroys. Cut short when `interrupt` is set. What went
// wrong on the way is told in the result (`inconclusive`).
Task<ContenderResult> run_contender(Fleet& fleet, const Scenario& scenario, const ContenderSpec& contender,
                                    const RunOptions& options, ProgressSink progress, resilver::Event& interrupt);

class SimWatch;

// In virtual time: opens no ring, no socket and no image. `watch` (may be null) looks on. Errors: bad_input (the fill file).
Result<RunResults> run_virtual(const Scenario& scenario, const RunOptions& options, SimWatch* watch = nullptr);

// On real processes, images and links. Errors: what makes a run impossible here, found before anything is made
// (permission: io_uring is forbidden; no_space, not_found: the work directory; bad_input: the fill file); cancelled when a
// signal interrupted it.
Result<RunResults> run_real(const Scenario& scenario, const RunOptions& options);

// What both worlds need: the fill file is there and fits. Gives its size.
Result<std::uint64_t> check_fill(const Scenario& scenario, const std::string& path);
// The header of the results, but for the trace hash.
RunHeader make_header(const Scenario& scenario);

}  // namespace resilver::scenario
