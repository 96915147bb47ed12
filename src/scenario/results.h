// What a run measured: plain structs that the runner fills, measures.h reads for expectations and src/report prints.
// Times are Nanos since the start of the run (warm-up included) or durations; sizes are bytes. Nothing here computes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/histogram.h"
#include "base/time.h"
#include "env/meter.h"
#include "raid/array.h"

namespace resilver::scenario {

enum class MeasureId : std::uint8_t;  // measures.h

// The phases of an event, by time only; nothing outside [end of warm-up, end of the load) is in any of them. A request is in
// the phase in which it ended.
// Before: from the last moment before its application at which another event was applied or another one's window ended, at
// the earliest the end of the warm-up, to its application. During: its window (scenario/charge.h), from its application until
// it was ended and redundancy is full again; windows may overlap. After: from there to the next application of another event,
// or to the end of the load.
enum class Phase : std::uint8_t { before, during, after };
inline constexpr std::size_t kPhases = 3;
const char* phase_name(Phase phase);

// What the client saw of its own requests. Latency counts from the intended start; only requests that succeeded are in it.
struct PhaseResult {
  Nanos length = 0;
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  LatencyHistogram read_latency;
  LatencyHistogram write_latency;
};

// A time that may not have ended: total up to the end of settle, and whether it was still going on then. `total` is then a
// lower bound. `for_good`: nothing was under way any more that could have ended it.
struct OpenTime {
  Nanos total = 0;
  bool never_ended = false;
  bool for_good = false;
  Nanos open = 0;  // of outages: how long the one lasted that had not ended; 0 if all had
};

// A repair: what restores redundancy after the loss of a disk (locally or from a peer) or the absence of a node.
struct RepairResult {
  bool needed = false;               // redundancy was lost
  bool finished = false;             // and is full again
  Nanos time = 0;                    // from the fault to full redundancy; if not finished, to the end of the stretch
  Nanos copying = 0;                 // of which data was moved
  std::uint64_t copied = 0;          // put back meanwhile
  std::string never_because;         // if needed and not finished: "no spare", "still at 63 %", "the data is lost"
  std::uint64_t restored_bytes = 0;  // of data put back on the member (or node) under repair
  std::uint64_t read_bytes = 0;      // from disks, of all nodes, for the repair
  std::uint64_t write_bytes = 0;     // to disks
  std::uint64_t link_bytes = 0;      // over links between nodes
  // "spare's writes", "survivors' reads", "CPU", "the set limit", "speed_min (client busy)"; empty: nothing was
  // copied in an array, or it is not known.
  std::string limited_by;
};

// An event's share of the run, or all of it. Outages, stalls, errors, failovers and mismatches are those that are charged to
// the event, each to one (scenario/charge.h); the rest is measured over its window.
struct WindowResult {
  OpenTime outage;                      // an independent prober got nothing done; never_ended: the table says 'down'
  OpenTime client_outage;               // the client's requests waited, and none was answered
  Nanos longest_stall = 0;              // longest time in which a request of the client waited
  std::uint64_t client_errors = 0;      // requests that ended as errors, or not within `retry`
  std::uint64_t unavailable_bytes = 0;  // unreadable for want of disks, at the worst moment
  RepairResult repair;                  // of disks
  RepairResult node_repair;             // of nodes
  OpenTime exposed;                     // zero further failures of a disk tolerated
  OpenTime node_exposed;                // zero further failures of a node tolerated (one node: always)
  std::uint64_t failovers = 0;
  std::uint64_t needless_failovers = 0;     // the old primary was alive and could reach the client
  std::uint64_t mismatches = 0;             // stripes whose parity or copies differ, counted by scrubs
  std::uint64_t mismatches_named = 0;       // of which the scrub could say which block is wrong
  std::array<PhaseResult, kPhases> phases;  // of the whole run: `during` holds everything after warm-up
};

enum class EventState : std::uint8_t {
  applied,
  not_applicable,  // this contender lacks the target
  not_reached,  // its trigger never fired here (`note` says why); makes the run inconclusive unless the volume was lost
};
const char* event_state_name(EventState state);

struct EventResult {
  std::string name;
  std::string verb;
  EventState state = EventState::not_reached;
  std::string target;                    // resolved: "A.disk1", "A>B, A>C"
  Nanos at = 0;                          // applied
  std::optional<Nanos> first_hit_after;  // first I/O that felt it, after `at`
  std::uint64_t hits = 0;                // I/Os that felt it
  bool cleared = false;
  Nanos cleared_at = 0;
  std::uint32_t times = 0;  // applied so often (`every`)
  std::string note;
  std::string charged_with;  // an event to which something is charged that this one may have done, too; mostly empty
  std::vector<std::string> others;  // events that may have done, too, what is charged to this one
  WindowResult window;
};

enum class BlockFate : std::uint8_t { lost_write, stale_read, corrupt_read, unreadable };
const char* block_fate_name(BlockFate fate);

struct BlockRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  BlockFate fate = BlockFate::unreadable;
};
inline constexpr std::size_t kMaxListedBlocks = 1000;

// The oracle's verdict on one contender.
struct OracleResult {
  std::uint64_t requests = 0;         // judged
  std::uint64_t bytes_read_back = 0;  // after the last event
  std::uint64_t lost_writes = 0;      // acknowledged, and not there any more (unreadable ones among them)
  std::uint64_t stale_reads = 0;
  std::uint64_t corrupt_reads = 0;        // returned as good and never written
  std::uint64_t unknown = 0;              // writes whose outcome the client does not know
  std::uint64_t unrecoverable_bytes = 0;  // unreadable at the end
  std::uint64_t damaged_bytes = 0;        // hold at the end what volume.overwrite wrote: served as good
  std::vector<BlockRange> blocks;         // sorted by offset, at most kMaxListedBlocks
  bool blocks_truncated = false;
};

// What was moved and why, from the start of the run until the last request of the load ended, at least to the end of settle,
// over all nodes; the final reading is not in it. The lines of `disks` add up to what the disks were asked to write (the run
// is inconclusive if not); of reads what assembling an array reads is not in them.
struct Books {
  TrafficByUse volume{};                                // what copies of the volume asked of their arrays
  std::array<raid::IoCounters, raid::kCauses> disks{};  // by raid::Cause
  std::uint64_t link_bytes = 0;                         // between nodes, of resyncs and healing
};

// One second of the run.
struct SecondSample {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t errors = 0;
  Nanos latency_p50 = 0;  // 0 if nothing completed
  Nanos latency_p99 = 0;
  Nanos latency_max = 0;
  std::uint64_t repair_bytes = 0;  // restored in this second
  bool served = true;              // the prober got something done
};

struct ContenderResult {
  std::string name;
  std::string description;
  std::uint32_t nodes = 1;
  std::uint32_t disks = 1;
  std::uint32_t spares = 0;
  std::uint32_t space_permille = 1000;  // raw bytes per usable byte, as geometry says: members and journals
  std::uint32_t space_with_spares_permille = 1000;
  bool local_redundancy = false;   // an array in a node survives a disk
  bool remote_redundancy = false;  // a copy on another node
  // Of what its disks can serve by their model (capacity.h): above 1000 latencies, stalls and rates tell of the queue alone.
  std::uint64_t load_permille = 0;
  std::uint64_t client_write_bytes = 0;  // acknowledged: of the load, the fill and overwrites
  std::uint64_t client_writes = 0;       // requests
  // Data and parity, of all disks, for the client: write amplification is the quotient.
  std::uint64_t disk_write_bytes = 0;
  Books books;
  std::uint64_t trace_hash = 0;     // virtual time only
  std::string trouble;              // what the node programs said at the end of why they do not serve; mostly empty
  std::string inconclusive;         // why nothing can be concluded; empty: sound
  WindowResult whole;               // the sum of what is charged to events and to none; windows count once
  std::vector<EventResult> events;  // in the order of the file, one for each event of the scenario
  OracleResult oracle;
  std::vector<SecondSample> seconds;
  Nanos ran_for = 0;
};

// What became of one expectation.
enum class Outcome : std::uint8_t {
  passed,
  failed,
  measured,  // a timing expectation in the real world: printed, not judged
  left_out,  // about a contender that --only left out, or asked in the other world only, or of what this world has not
  vacuous,   // nothing to judge: n/a in every contender. Never a pass: the run is inconclusive
};
const char* outcome_name(Outcome outcome);

struct Verdict {
  std::string check;
  std::string why;
  std::string position;  // "file:line:column"
  Outcome outcome = Outcome::vacuous;
  bool timing = false;
  std::string detail;  // "raid5: outage('disk dies') is 140 ms": what was found where it does not hold (or was measured)
};

struct RunHeader {
  std::string scenario;
  std::string title;
  bool real = false;
  bool paced = true;
  std::uint64_t seed = 1;
  std::uint64_t trace_hash = 0;  // over all contenders; virtual time only
  std::uint64_t volume_bytes = 0;
  std::uint64_t modelled_volume_bytes = 0;  // differs from volume_bytes if [world.real] scales it
  std::string fair;
  std::string disk_model;
  std::string link;  // "10 Gbit/s, 0.2 ms"
  Nanos length = 0;
  std::vector<std::pair<std::string, std::string>> versions;  // resilver, compiler, kernel, libraries
  std::string machine;
  std::vector<MeasureId> show;     // measures that the table shows in addition
  Nanos probe_period = 0;          // how often the prober asks where nobody else is answered: outages are known to this
  Nanos probe_tolerance = 0;       // so long may an answer take and still be service
  std::vector<std::string> notes;  // "no O_DIRECT here: buffered", one line each
};

struct RunResults {
  RunHeader header;
  std::vector<ContenderResult> contenders;
  std::vector<Verdict> verdicts;
};

// 3 if a contender is inconclusive or an expectation is vacuous; else 1 if one failed; else 0.
int exit_code(const RunResults& results);

}  // namespace resilver::scenario
