#include "scenario/measures.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "base/units.h"

namespace resilver::scenario {

namespace {

constexpr bool kYes = true;
constexpr bool kNo = false;

// id, name, unit, whole, event, phase, better, timing, meaning
const MeasureInfo kMeasures[] = {
    {MeasureId::outage, "outage", Unit::duration, kYes, kYes, kNo, Better::lower, kYes,
     "time in which an independent prober got nothing done; down if it had not ended at the end of settle"},
    {MeasureId::client_outage, "client_outage", Unit::duration, kYes, kYes, kNo, Better::lower, kYes,
     "time in which the client's requests waited and none was answered, in stretches above the prober's tolerance"},
    {MeasureId::longest_stall, "longest_stall", Unit::duration, kYes, kYes, kNo, Better::lower, kYes,
     "longest time that a request of the client waited"},
    {MeasureId::client_errors, "client_errors", Unit::count, kYes, kYes, kNo, Better::lower, kNo,
     "requests that failed or were not answered within retry"},
    {MeasureId::unavailable_bytes, "unavailable_bytes", Unit::size, kYes, kYes, kNo, Better::lower, kNo,
     "what could not be read for want of disks, at the worst moment"},
    {MeasureId::repair_time, "repair_time", Unit::duration, kYes, kYes, kNo, Better::lower, kYes,
     "from the loss of a disk to full redundancy; never if it was not reached"},
    {MeasureId::node_repair_time, "node_repair_time", Unit::duration, kYes, kYes, kNo, Better::lower, kYes,
     "from the absence of a node to full redundancy"},
    {MeasureId::exposed_time, "exposed_time", Unit::duration, kYes, kYes, kNo, Better::lower, kYes,
     "time in which the next failure of a disk would have lost data"},
    {MeasureId::node_exposed_time, "node_exposed_time", Unit::duration, kYes, kYes, kNo, Better::lower, kYes,
     "time in which the next failure of a node would have ended service or lost data"},
    {MeasureId::repair_rate, "repair_rate", Unit::rate, kYes, kYes, kNo, Better::higher, kYes,
     "data restored per second while copying, on all members and nodes together; n/a if that took less than 100 ms"},
    {MeasureId::repair_limited_by, "repair_limited_by", Unit::text, kYes, kYes, kNo, Better::neither, kYes,
     "what held the repair back"},
    {MeasureId::repair_read_bytes, "repair_read_bytes", Unit::size, kYes, kYes, kNo, Better::lower, kNo,
     "read from disks for the repair"},
    {MeasureId::repair_write_bytes, "repair_write_bytes", Unit::size, kYes, kYes, kNo, Better::lower, kNo,
     "written to disks by the repair"},
    {MeasureId::repair_link_bytes, "repair_link_bytes", Unit::size, kYes, kYes, kNo, Better::lower, kNo,
     "sent between nodes for the repair"},
    {MeasureId::repair_p999, "repair_p999", Unit::duration, kNo, kYes, kNo, Better::lower, kYes,
     "99.9th percentile of latency from the loss of redundancy until it is full again; n/a from fewer than 10,000 "
     "samples"},
    {MeasureId::latency_p50, "latency_p50", Unit::duration, kYes, kYes, kYes, Better::lower, kYes,
     "median latency, from the intended start"},
    {MeasureId::latency_p99, "latency_p99", Unit::duration, kYes, kYes, kYes, Better::lower, kYes,
     "99th percentile; n/a from fewer than 1,000 samples"},
    {MeasureId::latency_max, "latency_max", Unit::duration, kYes, kYes, kYes, Better::lower, kYes, "largest latency"},
    {MeasureId::read_latency_p50, "read_latency_p50", Unit::duration, kYes, kYes, kYes, Better::lower, kYes,
     "median of reads alone"},
    {MeasureId::write_latency_p50, "write_latency_p50", Unit::duration, kYes, kYes, kYes, Better::lower, kYes,
     "median of writes alone"},
    {MeasureId::read_latency_p99, "read_latency_p99", Unit::duration, kYes, kYes, kYes, Better::lower, kYes,
     "99th percentile of reads alone"},
    {MeasureId::write_latency_p99, "write_latency_p99", Unit::duration, kYes, kYes, kYes, Better::lower, kYes,
     "99th percentile of writes alone"},
    {MeasureId::samples, "samples", Unit::count, kYes, kYes, kYes, Better::neither, kYes,
     "requests that the latencies are of"},
    {MeasureId::iops, "iops", Unit::ratio, kYes, kYes, kYes, Better::higher, kYes,
     "requests that succeeded, per second"},
    {MeasureId::lost_writes, "lost_writes", Unit::count, kYes, kNo, kNo, Better::lower, kNo,
     "writes that were acknowledged and are not there"},
    {MeasureId::stale_reads, "stale_reads", Unit::count, kYes, kNo, kNo, Better::lower, kNo,
     "reads that returned older data than they had to, or show that a failover kept no prefix"},
    {MeasureId::corrupt_reads, "corrupt_reads", Unit::count, kYes, kNo, kNo, Better::lower, kNo,
     "reads that returned as good what was never written"},
    {MeasureId::unknown, "unknown", Unit::count, kYes, kNo, kNo, Better::lower, kNo,
     "writes whose outcome the client does not know"},
    {MeasureId::unrecoverable_bytes, "unrecoverable_bytes", Unit::size, kYes, kNo, kNo, Better::lower, kNo,
     "unreadable at the end; the report lists the blocks"},
    {MeasureId::damaged_bytes, "damaged_bytes", Unit::size, kYes, kNo, kNo, Better::lower, kNo,
     "overwritten by volume.overwrite, and served so at the end as good data"},
    {MeasureId::failovers, "failovers", Unit::count, kYes, kYes, kNo, Better::neither, kNo,
     "changes of the serving node"},
    {MeasureId::needless_failovers, "needless_failovers", Unit::count, kYes, kYes, kNo, Better::lower, kYes,
     "of which nobody had asked for it and the old one was well and reachable"},
    {MeasureId::mismatches, "mismatches", Unit::count, kYes, kYes, kNo, Better::lower, kNo,
     "stripes that a scrub found not to fit"},
    {MeasureId::mismatches_named, "mismatches_named", Unit::count, kYes, kYes, kNo, Better::higher, kNo,
     "of which it could say which block is wrong"},
    {MeasureId::applied, "applied", Unit::boolean, kNo, kYes, kNo, Better::neither, kNo, "the event took place"},
    {MeasureId::hits, "hits", Unit::count, kNo, kYes, kNo, Better::neither, kNo, "I/Os that felt the fault"},
    {MeasureId::first_hit, "first_hit", Unit::duration, kNo, kYes, kNo, Better::neither, kYes,
     "from the fault to the first I/O that felt it"},
    {MeasureId::space, "space", Unit::ratio, kYes, kNo, kNo, Better::lower, kNo, "raw bytes per usable byte"},
    {MeasureId::space_with_spares, "space_with_spares", Unit::ratio, kYes, kNo, kNo, Better::lower, kNo,
     "raw bytes per usable byte, spares counted"},
    {MeasureId::write_amplification, "write_amplification", Unit::ratio, kYes, kNo, kNo, Better::lower, kNo,
     "bytes of data and parity written to disks for the client per byte that it wrote"},
    {MeasureId::ios_per_write, "ios_per_write", Unit::ratio, kYes, kNo, kNo, Better::lower, kNo,
     "I/Os of disks per write of the client, those that read for parity among them"},
    {MeasureId::data_bytes, "data_bytes", Unit::size, kYes, kNo, kNo, Better::neither, kNo,
     "of the client's data, every copy, written to disks"},
    {MeasureId::parity_bytes, "parity_bytes", Unit::size, kYes, kNo, kNo, Better::neither, kNo,
     "of its parity, written to disks"},
    {MeasureId::metadata_bytes, "metadata_bytes", Unit::size, kYes, kNo, kNo, Better::neither, kNo,
     "of superblocks, bitmaps and the records of copies, written to disks"},
    {MeasureId::journal_bytes, "journal_bytes", Unit::size, kYes, kNo, kNo, Better::neither, kNo,
     "written to journal disks"},
    {MeasureId::observer_bytes, "observer_bytes", Unit::size, kYes, kNo, kNo, Better::neither, kNo,
     "written to disks for the prober"},
    {MeasureId::disks, "disks", Unit::count, kYes, kNo, kNo, Better::lower, kNo,
     "disks of all nodes, spares not counted"},
    {MeasureId::spares, "spares", Unit::count, kYes, kNo, kNo, Better::lower, kNo, "spare disks of all nodes"},
    {MeasureId::nodes, "nodes", Unit::count, kYes, kNo, kNo, Better::lower, kNo, "servers"},
};

double wide(std::uint64_t number) { return static_cast<double>(number); }
double wide(Nanos number) { return static_cast<double>(number); }

Value of_time(const OpenTime& time) {
  return time.never_ended ? Value::never(Unit::duration) : Value::of(Unit::duration, wide(time.total));
}

Value of_repair_time(const RepairResult& repair) {
  if (!repair.needed) return Value::absent();
  return repair.finished ? Value::of(Unit::duration, wide(repair.time)) : Value::never(Unit::duration);
}

Value of_repair_rate(const WindowResult& window) {
  const std::uint64_t bytes = window.repair.copied + window.node_repair.copied;
  const Nanos copying = window.repair.copying + window.node_repair.copying;
  if (copying < kCopyingForRate || bytes == 0) return Value::absent();
  return Value::of(Unit::rate, wide(bytes) * 1e9 / wide(copying));
}

// The phases that are asked for, added up: one, or during and after the event.
PhaseResult phases_of(const WindowResult& window, std::optional<Phase> phase) {
  if (phase) return window.phases[static_cast<std::size_t>(*phase)];
  PhaseResult sum = window.phases[static_cast<std::size_t>(Phase::during)];
  const PhaseResult& after = window.phases[static_cast<std::size_t>(Phase::after)];
  sum.length += after.length;
  sum.reads += after.reads;
  sum.writes += after.writes;
  sum.read_latency.merge(after.read_latency);
  sum.write_latency.merge(after.write_latency);
  return sum;
}

Value of_p99(const LatencyHistogram& latency) {
  if (latency.count() < kSamplesForP99) return Value::absent();
  return Value::of(Unit::duration, wide(latency.percentile(9900)));
}

Value of_p50(const LatencyHistogram& latency) {
  if (latency.count() == 0) return Value::absent();
  return Value::of(Unit::duration, wide(latency.percentile(5000)));
}

Value of_latency(const PhaseResult& phase, MeasureId measure) {
  if (measure == MeasureId::read_latency_p50) return of_p50(phase.read_latency);
  if (measure == MeasureId::write_latency_p50) return of_p50(phase.write_latency);
  if (measure == MeasureId::read_latency_p99) return of_p99(phase.read_latency);
  if (measure == MeasureId::write_latency_p99) return of_p99(phase.write_latency);
  if (measure == MeasureId::iops)
    return phase.length > 0 ? Value::of(Unit::ratio, wide(phase.reads + phase.writes) * 1e9 / wide(phase.length))
                            : Value::absent();
  LatencyHistogram all = phase.read_latency;
  all.merge(phase.write_latency);
  if (measure == MeasureId::samples) return Value::of(Unit::count, wide(all.count()));
  if (all.count() == 0) return Value::absent();
  if (measure == MeasureId::latency_p50) return of_p50(all);
  if (measure == MeasureId::latency_max) return Value::of(Unit::duration, wide(all.max()));
  return of_p99(all);
}

// What repairs cost the client where it hurts.
Value of_repair_p999(const WindowResult& window) {
  const PhaseResult& during = window.phases[static_cast<std::size_t>(Phase::during)];
  LatencyHistogram all = during.read_latency;
  all.merge(during.write_latency);
  if ((!window.repair.needed && !window.node_repair.needed) || all.count() < 10 * kSamplesForP99)
    return Value::absent();
  return Value::of(Unit::duration, wide(all.percentile(9990)));
}

Value of_repair(const WindowResult& window, MeasureId measure) {
  const RepairResult& disk = window.repair;
  const RepairResult& node = window.node_repair;
  switch (measure) {
    case MeasureId::repair_time: return of_repair_time(disk);
    case MeasureId::node_repair_time: return of_repair_time(node);
    case MeasureId::repair_rate: return of_repair_rate(window);
    case MeasureId::repair_p999: return of_repair_p999(window);
    case MeasureId::repair_read_bytes: return Value::of(Unit::size, wide(disk.read_bytes + node.read_bytes));
    case MeasureId::repair_write_bytes: return Value::of(Unit::size, wide(disk.write_bytes + node.write_bytes));
    case MeasureId::repair_link_bytes: return Value::of(Unit::size, wide(disk.link_bytes + node.link_bytes));
    default: break;
  }
  const std::string& limit = disk.limited_by.empty() ? node.limited_by : disk.limited_by;
  return limit.empty() ? Value::absent() : Value::words(limit);
}

Value of_window(const WindowResult& window, MeasureId measure, std::optional<Phase> phase) {
  switch (measure) {
    case MeasureId::outage: return of_time(window.outage);
    case MeasureId::client_outage: return of_time(window.client_outage);
    case MeasureId::longest_stall: return Value::of(Unit::duration, wide(window.longest_stall));
    case MeasureId::client_errors: return Value::of(Unit::count, wide(window.client_errors));
    case MeasureId::unavailable_bytes: return Value::of(Unit::size, wide(window.unavailable_bytes));
    case MeasureId::exposed_time: return of_time(window.exposed);
    case MeasureId::node_exposed_time: return of_time(window.node_exposed);
    case MeasureId::failovers: return Value::of(Unit::count, wide(window.failovers));
    case MeasureId::needless_failovers: return Value::of(Unit::count, wide(window.needless_failovers));
    case MeasureId::mismatches: return Value::of(Unit::count, wide(window.mismatches));
    case MeasureId::mismatches_named: return Value::of(Unit::count, wide(window.mismatches_named));
    case MeasureId::repair_time:
    case MeasureId::node_repair_time:
    case MeasureId::repair_rate:
    case MeasureId::repair_limited_by:
    case MeasureId::repair_read_bytes:
    case MeasureId::repair_write_bytes:
    case MeasureId::repair_link_bytes:
    case MeasureId::repair_p999: return of_repair(window, measure);
    default: return of_latency(phases_of(window, phase), measure);
  }
}

Value of_oracle(const OracleResult& oracle, MeasureId measure) {
  switch (measure) {
    case MeasureId::lost_writes: return Value::of(Unit::count, wide(oracle.lost_writes));
    case MeasureId::stale_reads: return Value::of(Unit::count, wide(oracle.stale_reads));
    case MeasureId::corrupt_reads: return Value::of(Unit::count, wide(oracle.corrupt_reads));
    case MeasureId::unknown: return Value::of(Unit::count, wide(oracle.unknown));
    case MeasureId::damaged_bytes: return Value::of(Unit::size, wide(oracle.damaged_bytes));
    default: return Value::of(Unit::size, wide(oracle.unrecoverable_bytes));
  }
}

const raid::IoCounters& on_disks(const ContenderResult& contender, raid::Cause cause) {
  return contender.books.disks[static_cast<std::size_t>(cause)];
}

Value written(const ContenderResult& contender, std::initializer_list<raid::Cause> causes) {
  std::uint64_t sum = 0;
  for (const raid::Cause cause : causes) sum += on_disks(contender, cause).write_bytes;
  return Value::of(Unit::size, wide(sum));
}

std::uint64_t ios_for_writes(const ContenderResult& contender) {
  const raid::IoCounters& parity = on_disks(contender, raid::Cause::parity);
  return on_disks(contender, raid::Cause::data).writes + parity.reads + parity.writes;
}

Value of_contender(const ContenderResult& contender, MeasureId measure) {
  switch (measure) {
    case MeasureId::space: return Value::of(Unit::ratio, contender.space_permille / 1000.0);
    case MeasureId::space_with_spares: return Value::of(Unit::ratio, contender.space_with_spares_permille / 1000.0);
    case MeasureId::disks: return Value::of(Unit::count, contender.disks);
    case MeasureId::spares: return Value::of(Unit::count, contender.spares);
    case MeasureId::nodes: return Value::of(Unit::count, contender.nodes);
    case MeasureId::data_bytes: return written(contender, {raid::Cause::data});
    case MeasureId::parity_bytes: return written(contender, {raid::Cause::parity});
    case MeasureId::metadata_bytes:
      return written(contender, {raid::Cause::superblock, raid::Cause::bitmap, raid::Cause::replica_metadata});
    case MeasureId::journal_bytes: return written(contender, {raid::Cause::journal});
    case MeasureId::observer_bytes: return written(contender, {raid::Cause::observer});
    default: break;
  }
  if (contender.client_write_bytes == 0) return Value::absent();
  if (measure == MeasureId::ios_per_write)
    return Value::of(Unit::ratio, wide(ios_for_writes(contender)) / wide(contender.client_writes));
  return Value::of(Unit::ratio, wide(contender.disk_write_bytes) / wide(contender.client_write_bytes));
}

Value of_event(const EventResult& event, MeasureId measure, std::optional<Phase> phase) {
  if (event.state == EventState::not_applicable) return Value::absent();
  if (measure == MeasureId::applied) return Value::of(Unit::boolean, event.state == EventState::applied ? 1 : 0);
  if (event.state != EventState::applied) return Value::absent();
  if (measure == MeasureId::hits) return Value::of(Unit::count, wide(event.hits));
  if (measure == MeasureId::first_hit)
    return event.first_hit_after ? Value::of(Unit::duration, wide(*event.first_hit_after)) : Value::absent();
  return of_window(event.window, measure, phase);
}

}  // namespace

const char* phase_name(Phase phase) {
  static constexpr const char* kNames[] = {"before", "during", "after"};
  return kNames[static_cast<std::size_t>(phase)];
}

const char* event_state_name(EventState state) {
  static constexpr const char* kNames[] = {"applied", "not applicable", "not reached"};
  return kNames[static_cast<std::size_t>(state)];
}

const char* block_fate_name(BlockFate fate) {
  static constexpr const char* kNames[] = {"lost write", "stale read", "corrupt read", "unreadable"};
  return kNames[static_cast<std::size_t>(fate)];
}

const char* outcome_name(Outcome outcome) {
  static constexpr const char* kNames[] = {"passed", "failed", "measured, not judged", "left out", "nothing to judge"};
  return kNames[static_cast<std::size_t>(outcome)];
}

const char* unit_name(Unit unit) {
  static constexpr const char* kNames[] = {"count", "number", "duration", "size", "rate", "true or false", "word"};
  return kNames[static_cast<std::size_t>(unit)];
}

int exit_code(const RunResults& results) {
  const auto& contenders = results.contenders;
  const auto& verdicts = results.verdicts;
  const auto is = [](Outcome outcome) {
    return [outcome](const Verdict& verdict) { return verdict.outcome == outcome; };
  };
  if (std::any_of(contenders.begin(), contenders.end(),
                  [](const auto& contender) { return !contender.inconclusive.empty(); }))
    return 3;
  if (std::any_of(verdicts.begin(), verdicts.end(), is(Outcome::vacuous))) return 3;
  return std::any_of(verdicts.begin(), verdicts.end(), is(Outcome::failed)) ? 1 : 0;
}

const std::vector<MeasureInfo>& measure_table() {
  static const std::vector<MeasureInfo> table(std::begin(kMeasures), std::end(kMeasures));
  return table;
}

const MeasureInfo* find_measure(std::string_view name) {
  for (const auto& info : kMeasures)
    if (info.name == name) return &info;
  return nullptr;
}

const MeasureInfo& measure_info(MeasureId id) {
  const MeasureInfo& info = kMeasures[static_cast<std::size_t>(id)];
  CHECK(info.id == id, "the table is in the order of the enumeration");
  return info;
}

std::string format_value(const Value& value) {
  if (value.kind == Value::Kind::never) return "never";
  if (value.kind == Value::Kind::absent) return "n/a";
  if (value.kind == Value::Kind::text) return value.text;
  const double number = value.number;
  if (value.unit == Unit::boolean) return number != 0 ? "true" : "false";
  if (value.unit == Unit::count) return fmt::format("{:.0f}", number);
  if (value.unit == Unit::ratio) return fmt::format("{:.4g}", number);
  const std::string sign = number < 0 ? "-" : "";
  const double size = number < 0 ? -number : number;
  if (value.unit == Unit::duration) return sign + format_duration(static_cast<Nanos>(size));
  if (value.unit == Unit::rate) return sign + format_rate(static_cast<std::uint64_t>(size));
  return sign + format_size(static_cast<std::uint64_t>(size));
}

Value value_of(const ContenderResult& contender, MeasureId measure, std::string_view event, std::optional<Phase> phase) {
  if (!event.empty()) {
    for (const auto& candidate : contender.events)
      if (candidate.name == event) return of_event(candidate, measure, phase);
    return Value::absent();
  }
  switch (measure) {
    case MeasureId::lost_writes:
    case MeasureId::stale_reads:
    case MeasureId::corrupt_reads:
    case MeasureId::unknown:
    case MeasureId::unrecoverable_bytes:
    case MeasureId::damaged_bytes: return of_oracle(contender.oracle, measure);
    case MeasureId::space:
    case MeasureId::space_with_spares:
    case MeasureId::write_amplification:
    case MeasureId::ios_per_write:
    case MeasureId::data_bytes:
    case MeasureId::parity_bytes:
    case MeasureId::metadata_bytes:
    case MeasureId::journal_bytes:
    case MeasureId::observer_bytes:
    case MeasureId::disks:
    case MeasureId::spares:
    case MeasureId::nodes: return of_contender(contender, measure);
    case MeasureId::applied:
    case MeasureId::hits:
    case MeasureId::first_hit: return Value::absent();
    default: return of_window(contender.whole, measure, phase);
  }
}

Value whole_again(const ContenderResult& contender, std::string_view event) {
  const Value disks = value_of(contender, MeasureId::repair_time, event);
  const Value nodes = value_of(contender, MeasureId::node_repair_time, event);
  if (disks.kind == Value::Kind::absent) return nodes;
  if (nodes.kind == Value::Kind::absent || disks.kind == Value::Kind::never) return disks;
  return nodes.kind == Value::Kind::never || nodes.number > disks.number ? nodes : disks;
}

Value ResultsSource::value(std::string_view contender, MeasureId measure, std::string_view event,
                           std::optional<Phase> phase) const {
  for (const auto& candidate : results_.contenders) {
    if (candidate.name != contender) continue;
    // Of a contender that never ran nothing holds.
    if (!candidate.inconclusive.empty() && candidate.ran_for == 0) break;
    return value_of(candidate, measure, event, phase);
  }
  return Value::absent();
}

}  // namespace resilver::scenario
