#include "report/json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "report/rows.h"
#include "report/sentences.h"
#include "scenario/measures.h"

namespace resilver::report {

namespace {

using Json = nlohmann::ordered_json;
using namespace scenario;  // the structs that this file is about

Json of(const LatencyHistogram& histogram) {
  Json buckets = Json::array();
  for (const auto& [bucket, count] : histogram.nonzero()) buckets.push_back(Json::array({bucket, count}));
  return {{"count", histogram.count()},
          {"p50_ns", histogram.percentile(5000)},
          {"p99_ns", histogram.percentile(9900)},
          {"max_ns", histogram.max()},
          {"buckets", std::move(buckets)}};
}

Json of(const OpenTime& time) {
  return {{"total_ns", time.total}, {"ended", !time.never_ended}, {"for_good", time.for_good}};
}

Json of_outage(const OpenTime& time) {
  Json json = of(time);
  json["open_ns"] = time.open;
  return json;
}

Json of(const RepairResult& repair) {
  Json json = {{"needed", repair.needed}, {"finished", repair.finished}};
  json["time_ns"] = repair.needed && !repair.finished ? Json("never") : Json(repair.time);
  json["copying_ns"] = repair.copying;
  json["copied_bytes"] = repair.copied;
  json["never_because"] = repair.never_because;
  json["restored_bytes"] = repair.restored_bytes;
  json["read_bytes"] = repair.read_bytes;
  json["write_bytes"] = repair.write_bytes;
  json["link_bytes"] = repair.link_bytes;
  json["limited_by"] = repair.limited_by;
  return json;
}

Json of(const PhaseResult& phase) {
  return {{"length_ns", phase.length},
          {"reads", phase.reads},
          {"writes", phase.writes},
          {"read_latency", of(phase.read_latency)},
          {"write_latency", of(phase.write_latency)}};
}

Json of(const WindowResult& window) {
  Json json = {{"outage", of_outage(window.outage)},
               {"client_outage", of_outage(window.client_outage)},
               {"longest_stall_ns", window.longest_stall},
               {"client_errors", window.client_errors},
               {"unavailable_bytes", window.unavailable_bytes},
               {"repair", of(window.repair)},
               {"node_repair", of(window.node_repair)},
               {"exposed", of(window.exposed)},
               {"node_exposed", of(window.node_exposed)},
               {"failovers", window.failovers},
               {"needless_failovers", window.needless_failovers},
               {"mismatches", window.mismatches},
               {"mismatches_named", window.mismatches_named}};
  Json phases = Json::object();
  for (const auto phase : {Phase::before, Phase::during, Phase::after})
    phases[phase_name(phase)] = of(window.phases[static_cast<std::size_t>(phase)]);
  json["phases"] = std::move(phases);
  return json;
}

Json of(const EventResult& event) {
  return {{"name", event.name},
          {"verb", event.verb},
          {"state", event_state_name(event.state)},
          {"target", event.target},
          {"at_ns", event.at},
          {"first_hit_after_ns", event.first_hit_after ? Json(*event.first_hit_after) : Json(nullptr)},
          {"hits", event.hits},
          {"cleared", event.cleared},
          {"cleared_at_ns", event.cleared_at},
          {"times", event.times},
          {"note", event.note},
          {"charged_with", event.charged_with},
          {"others", event.others},
          {"window", of(event.window)}};
}

Json of(const OracleResult& oracle) {
  Json blocks = Json::array();
  for (const auto& block : oracle.blocks)
    blocks.push_back({{"offset", block.offset}, {"length", block.length}, {"fate", block_fate_name(block.fate)}});
  return {{"requests", oracle.requests},
          {"bytes_read_back", oracle.bytes_read_back},
          {"lost_writes", oracle.lost_writes},
          {"stale_reads", oracle.stale_reads},
          {"corrupt_reads", oracle.corrupt_reads},
          {"unknown", oracle.unknown},
          {"unrecoverable_bytes", oracle.unrecoverable_bytes},
          {"damaged_bytes", oracle.damaged_bytes},
          {"blocks", std::move(blocks)},
          {"blocks_truncated", oracle.blocks_truncated}};
}

// One array per column: a long run stays readable and small.
Json of(const std::vector<SecondSample>& seconds) {
  Json json = Json::object();
  const auto column = [&](const char* name, auto member) {
    Json values = Json::array();
    for (const auto& second : seconds) values.push_back(second.*member);
    json[name] = std::move(values);
  };
  column("read_iops", &SecondSample::reads);
  column("write_iops", &SecondSample::writes);
  column("errors", &SecondSample::errors);
  column("latency_p50_ns", &SecondSample::latency_p50);
  column("latency_p99_ns", &SecondSample::latency_p99);
  column("latency_max_ns", &SecondSample::latency_max);
  column("repair_bytes", &SecondSample::repair_bytes);
  column("served", &SecondSample::served);
  return json;
}

Json of(const Value& value) {
  switch (value.kind) {
    case Value::Kind::never: return "never";
    case Value::Kind::absent: return nullptr;
    case Value::Kind::text: return value.text;
    case Value::Kind::number: break;
  }
  if (value.unit == Unit::boolean) return value.number != 0;
  if (value.unit == Unit::ratio) return value.number;
  return static_cast<std::int64_t>(value.number);
}

// Every measure of the table by its name, so that nobody has to derive them again. Durations in ns.
Json measures_of(const ContenderResult& contender, const std::string& event) {
  Json json = Json::object();
  for (const auto& info : measure_table())
    if (event.empty() ? info.whole : info.event) json[std::string(info.name)] = of(value_of(contender, info.id, event));
  return json;
}

Json of(const Traffic& traffic) {
  return {{"reads", traffic.reads},
          {"writes", traffic.writes},
          {"read_bytes", traffic.read_bytes},
          {"write_bytes", traffic.write_bytes}};
}

Json of(const scenario::Books& books) {
  Json volume = Json::object();
  for (std::size_t i = 0; i < kIoUses; ++i) volume[io_use_name(static_cast<IoUse>(i))] = of(books.volume[i]);
  Json disks = Json::object();
  for (std::size_t i = 0; i < raid::kCauses; ++i) disks[raid::name(static_cast<raid::Cause>(i))] = of(books.disks[i]);
  return {{"volume", std::move(volume)}, {"disks", std::move(disks)}, {"link_bytes", books.link_bytes}};
}

Json of(const ContenderResult& contender) {
  Json events = Json::array();
  for (const auto& event : contender.events) {
    Json json = of(event);
    json["measures"] = measures_of(contender, event.name);
    events.push_back(std::move(json));
  }
  return {{"name", contender.name},
          {"description", contender.description},
          {"nodes", contender.nodes},
          {"disks", contender.disks},
          {"spares", contender.spares},
          {"space_permille", contender.space_permille},
          {"space_with_spares_permille", contender.space_with_spares_permille},
          {"local_redundancy", contender.local_redundancy},
          {"remote_redundancy", contender.remote_redundancy},
          {"load_permille", contender.load_permille},
          {"client_write_bytes", contender.client_write_bytes},
          {"client_writes", contender.client_writes},
          {"disk_write_bytes", contender.disk_write_bytes},
          {"books", of(contender.books)},
          {"trace_hash", fmt::format("{:016x}", contender.trace_hash)},
          {"trouble", contender.trouble},
          {"inconclusive", contender.inconclusive.empty() ? Json(nullptr) : Json(contender.inconclusive)},
          {"ran_for_ns", contender.ran_for},
          {"measures", measures_of(contender, {})},
          {"whole", of(contender.whole)},
          {"events", std::move(events)},
          {"oracle", of(contender.oracle)},
          {"per_second", of(contender.seconds)}};
}

Json of(const RunHeader& header) {
  Json versions = Json::object();
  for (const auto& [name, version] : header.versions) versions[name] = version;
  Json json = {{"scenario", header.scenario}, {"title", header.title}, {"world", header.real ? "real" : "virtual"}};
  json["paced"] = header.paced;
  json["rates_comparable"] = !header.real || header.paced;
  json["seed"] = header.seed;
  json["trace_hash"] = header.real ? Json(nullptr) : Json(fmt::format("{:016x}", header.trace_hash));
  json["volume_bytes"] = header.volume_bytes;
  json["modelled_volume_bytes"] = header.modelled_volume_bytes;
  json["fair"] = header.fair;
  json["disk_model"] = header.disk_model;
  json["link"] = header.link;
  json["length_ns"] = header.length;
  json["versions"] = std::move(versions);
  json["machine"] = header.machine;
  json["prober"] = {{"period_ns", header.probe_period}, {"tolerance_ns", header.probe_tolerance}};
  json["notes"] = header.notes;
  return json;
}

Json of(const Verdict& verdict) {
  return {{"check", verdict.check},       {"why", verdict.why},
          {"position", verdict.position}, {"outcome", outcome_name(verdict.outcome)},
          {"timing", verdict.timing},     {"detail", verdict.detail}};
}

Json of(const SeedTable::Named& named, const char* why) {
  Json json = Json::array();
  for (const auto& [seed, reason] : named) json.push_back({{"seed", seed}, {why, reason}});
  return json;
}

Json of(const Row& row) {
  const auto marks = best_marks(row);
  Json measures = Json::array();
  for (const MeasureId measure : row.measures) measures.push_back(std::string(measure_info(measure).name));
  Json cells = Json::array();
  for (std::size_t i = 0; i < row.cells.size(); ++i)
    cells.push_back(
        {{"text", row.cells[i].text}, {"best", static_cast<bool>(marks[i])}, {"overloaded", row.cells[i].overloaded}});
  return {{"label", row.label}, {"measures", std::move(measures)}, {"cells", std::move(cells)}};
}

Json of(const Table& table) {
  Json groups = Json::array();
  for (const auto& group : table.groups) {
    Json rows = Json::array();
    for (const auto& row : group.rows) rows.push_back(of(row));
    groups.push_back({{"title", group.title},
                      {"event", group.event.empty() ? Json(nullptr) : Json(group.event)},
                      {"rows", std::move(rows)}});
  }
  return {{"contenders", table.contenders}, {"groups", std::move(groups)}, {"legend", table.legend}};
}

}  // namespace

std::string to_json(const SeedTable& table, int indent) {
  Json series = Json::array();
  for (const auto& one : table.series()) {
    Json values = Json::array();
    for (const auto& value : one.values) values.push_back(of(value));
    series.push_back({{"contender", one.contender},
                      {"event", one.event.empty() ? Json(nullptr) : Json(one.event)},
                      {"measure", measure_info(one.measure).name},
                      {"values", std::move(values)}});
  }
  Json json = {{"schema", kResultsSchema}};
  json["scenario"] = table.scenario();
  json["exit_code"] = table.exit_code();
  json["seeds"] = table.seeds();
  json["red"] = of(table.red(), "check");
  json["inconclusive"] = of(table.inconclusive(), "why");
  json["series"] = std::move(series);
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string to_json(const RunResults& results, int indent) {
  Json contenders = Json::array();
  for (const auto& contender : results.contenders) contenders.push_back(of(contender));
  Json expectations = Json::array();
  for (const auto& verdict : results.verdicts) expectations.push_back(of(verdict));
  Json sentences = Json::array();
  for (const auto& sentence : closing_sentences(results))
    sentences.push_back({{"about", sentence.about}, {"text", sentence.text}});
  Json json = {{"schema", kResultsSchema}};
  json["run"] = of(results.header);
  json["exit_code"] = exit_code(results);
  json["contenders"] = std::move(contenders);
  json["table"] = of(make_table(results));
  json["expectations"] = std::move(expectations);
  json["sentences"] = std::move(sentences);
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace resilver::report
