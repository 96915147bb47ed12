// The one table of what can be asked of a run: names, units, for which part of the run, and which way is better. The
// expectations of a scenario, lint, the report and docs/scenarios.md share it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scenario/results.h"

namespace resilver::scenario {

enum class Unit : std::uint8_t {
  count,     // requests, blocks, nodes
  ratio,     // a plain number, also percentages
  duration,  // nanoseconds
  size,      // bytes
  rate,      // bytes per second
  boolean,
  text,
};
const char* unit_name(Unit unit);

enum class Better : std::uint8_t { lower, higher, neither };

enum class MeasureId : std::uint8_t {
  outage,
  client_outage,
  longest_stall,
  client_errors,
  unavailable_bytes,
  repair_time,
  node_repair_time,
  exposed_time,
  node_exposed_time,
  repair_rate,
  repair_limited_by,
  repair_read_bytes,
  repair_write_bytes,
  repair_link_bytes,
  repair_p999,
  latency_p50,
  latency_p99,
  latency_max,
  read_latency_p50,
  write_latency_p50,
  read_latency_p99,
  write_latency_p99,
  samples,
  iops,
  lost_writes,
  stale_reads,
  corrupt_reads,
  unknown,
  unrecoverable_bytes,
  damaged_bytes,
  failovers,
  needless_failovers,
  mismatches,
  mismatches_named,
  applied,
  hits,
  first_hit,
  space,
  space_with_spares,
  write_amplification,
  ios_per_write,
  data_bytes,
  parity_bytes,
  metadata_bytes,
  journal_bytes,
  observer_bytes,
  disks,
  spares,
  nodes,
};

struct MeasureInfo {
  MeasureId id;
  std::string_view name;
  Unit unit;
  bool whole;  // may be asked of the whole run: `outage`
  bool event;  // of an event: `outage('disk dies')`
  bool phase;  // of a phase of an event: `iops('disk dies', during)`
  Better better;
  bool timing;  // depends on how fast the machine is: not judged in the real world
  std::string_view meaning;
};

const std::vector<MeasureInfo>& measure_table();
const MeasureInfo* find_measure(std::string_view name);  // nullptr if unknown
const MeasureInfo& measure_info(MeasureId id);

// What a measure came out as. `never`: a time that has no end (down for good, never repaired): larger than any other.
// `absent`: n/a, nothing to say; `number` counts in the unit's base (ns, bytes, bytes/s).
struct Value {
  enum class Kind : std::uint8_t { number, never, absent, text };
  Kind kind = Kind::absent;
  Unit unit = Unit::count;
  double number = 0;
  std::string text;

  static Value of(Unit unit, double number) { return {Kind::number, unit, number, {}}; }
  static Value never(Unit unit) { return {Kind::never, unit, 0, {}}; }
  static Value absent() { return {}; }
  static Value words(std::string text) { return {Kind::text, Unit::text, 0, std::move(text)}; }
};
std::string format_value(const Value& value);  // "140 ms", "never", "n/a", "2.5"

// Where expectations get their values from.
class MeasureSource {
 public:
  virtual ~MeasureSource() = default;
  // `event` empty: the whole run. Absent if the contender or the event did not take part, or too little was measured.
  virtual Value value(std::string_view contender, MeasureId measure, std::string_view event,
                      std::optional<Phase> phase) const = 0;
};

// No p99 is told from fewer samples than this.
inline constexpr std::uint64_t kSamplesForP99 = 1000;

// No rate of a repair is told from a shorter copying: ten samples of the observer.
inline constexpr Nanos kCopyingForRate = 100 * kMillisecond;

// The value of a measure in one contender's results.
Value value_of(const ContenderResult& contender, MeasureId measure, std::string_view event = {},
               std::optional<Phase> phase = std::nullopt);

// Back to full redundancy, of disks and of nodes: the later of repair_time and node_repair_time.
Value whole_again(const ContenderResult& contender, std::string_view event);

class ResultsSource final : public MeasureSource {
 public:
  explicit ResultsSource(const RunResults& results) : results_(results) {}  // which must outlive it
  Value value(std::string_view contender, MeasureId measure, std::string_view event,
              std::optional<Phase> phase) const override;

 private:
  const RunResults& results_;
};

}  // namespace resilver::scenario
