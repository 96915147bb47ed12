#include "report/seeds.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "report/sentences.h"
#include "report/table.h"

namespace resilver::report {
namespace {

using scenario::MeasureId;
using scenario::Value;

constexpr std::size_t kLabel = 28;
constexpr std::size_t kCell = 24;
constexpr std::size_t kPerBlock = (kTableWidth - kLabel) / kCell;
constexpr std::size_t kNamed = 8;  // seeds that are named in the text

// The measures of the table, in its order: of events, then of the run.
constexpr MeasureId kOfEvents[] = {MeasureId::outage,           MeasureId::client_outage,      MeasureId::client_errors,
                                   MeasureId::failovers,        MeasureId::needless_failovers, MeasureId::repair_time,
                                   MeasureId::node_repair_time, MeasureId::mismatches,         MeasureId::latency_p99};
constexpr MeasureId kOfRuns[] = {MeasureId::lost_writes, MeasureId::stale_reads,         MeasureId::corrupt_reads,
                                 MeasureId::unknown,     MeasureId::unrecoverable_bytes, MeasureId::write_amplification,
                                 MeasureId::latency_p50, MeasureId::latency_p99};

double order_of(const Value& value) {
  return value.kind == Value::Kind::never ? std::numeric_limits<double>::infinity() : value.number;
}

bool is_nothing(const Value& value) {
  return value.kind == Value::Kind::absent || value.kind == Value::Kind::text ||
         (value.kind == Value::Kind::number && value.number == 0);
}

std::string short_words(const Value& value) {
  std::string text = format_value(value);
  std::erase(text, ' ');
  return text;
}

std::string padded(const std::string& text, std::size_t width) {
  return text.size() >= width ? text : std::string(width - text.size(), ' ') + text;
}

std::string named_lines(const char* what, const SeedTable::Named& named) {
  if (named.empty()) return {};
  std::string out = fmt::format("\n{} in {} seed{}\n", what, named.size(), named.size() == 1 ? "" : "s");
  for (std::size_t i = 0; i < std::min(named.size(), kNamed); ++i)
    out += fmt::format("  seed {}: {}\n", named[i].first, named[i].second);
  if (named.size() <= kNamed) return out;
  out += "  and the seeds";
  for (std::size_t i = kNamed; i < named.size(); ++i) out += fmt::format(" {}", named[i].first);
  return out + "\n";
}

// Why nothing can be concluded from this run; empty if something can.
std::string why_inconclusive(const scenario::RunResults& results) {
  for (const auto& contender : results.contenders)
    if (!contender.inconclusive.empty()) return contender.name + ": " + contender.inconclusive;
  for (const auto& verdict : results.verdicts)
    if (verdict.outcome == scenario::Outcome::vacuous) return verdict.check + ": nothing to judge";
  return {};
}

}  // namespace

std::string median_and_range(std::vector<Value> values) {
  std::erase_if(values, [](const Value& value) { return value.kind == Value::Kind::absent; });
  if (values.empty()) return "n/a";
  std::sort(values.begin(), values.end(), [](const Value& a, const Value& b) { return order_of(a) < order_of(b); });
  const std::string median = short_words(values[(values.size() - 1) / 2]);
  const std::string least = short_words(values.front());
  const std::string greatest = short_words(values.back());
  return least == greatest ? median : fmt::format("{} ({}..{})", median, least, greatest);
}

void SeedTable::add(const scenario::RunResults& results) {
  if (seeds_.empty()) {
    scenario_ = results.header.scenario;
    title_ = results.header.title;
    events_ = event_names(results);
    for (const auto& contender : results.contenders) contenders_.push_back(contender.name);
    for (const auto& contender : contenders_)
      for (const auto& info : scenario::measure_table()) {
        if (info.whole) series_.push_back({contender, "", info.id, {}});
        for (const auto& event : events_)
          if (info.event) series_.push_back({contender, event, info.id, {}});
      }
  }
  seeds_.push_back(results.header.seed);
  const scenario::ResultsSource source(results);
  for (auto& series : series_)
    series.values.push_back(source.value(series.contender, series.measure, series.event, std::nullopt));
  const std::string why = why_inconclusive(results);
  if (!why.empty()) {
    inconclusive_.emplace_back(results.header.seed, why);
    return;
  }
  for (const auto& verdict : results.verdicts) {
    if (verdict.outcome != scenario::Outcome::failed) continue;
    red_.emplace_back(results.header.seed,
                      verdict.detail.empty() ? verdict.check : verdict.check + ": " + verdict.detail);
    return;
  }
}

const SeedSeries* SeedTable::find(const std::string& contender, const std::string& event, MeasureId measure) const {
  for (const auto& series : series_)
    if (series.contender == contender && series.event == event && series.measure == measure) return &series;
  return nullptr;
}

std::string SeedTable::block(std::size_t first, std::size_t count) const {
  std::string out(kLabel, ' ');
  for (std::size_t i = first; i < first + count; ++i) out += padded(contenders_[i].substr(0, kCell - 1), kCell);
  out += "\n";
  const auto add_rows = [&](const std::string& event, const auto& measures) {
    for (const MeasureId measure : measures) {
      bool something = false;
      std::string line = fmt::format("{:<{}}", scenario::measure_info(measure).name, kLabel);
      for (std::size_t i = first; i < first + count; ++i) {
        const SeedSeries* series = find(contenders_[i], event, measure);
        something = something || !std::all_of(series->values.begin(), series->values.end(), is_nothing);
        line += padded(median_and_range(series->values), kCell);
      }
      const bool always = measure == MeasureId::outage || measure == MeasureId::lost_writes;
      if (something || always) out += line + "\n";
    }
  };
  for (const auto& event : events_) {
    out += "-- " + event + "\n";
    add_rows(event, kOfEvents);
  }
  out += "-- the run\n";
  add_rows("", kOfRuns);
  return out;
}

std::string SeedTable::text() const {
  std::string out = fmt::format("{}\n  {}  {} seeds ({} .. {})  median (least..greatest)\n\n", title_, scenario_,
                                seeds_.size(), seeds_.front(), seeds_.back());
  for (std::size_t first = 0; first < contenders_.size(); first += kPerBlock) {
    if (first > 0) out += "\n";
    out += block(first, std::min(kPerBlock, contenders_.size() - first));
  }
  out += named_lines("AN EXPECTATION FAILS", red_);
  out += named_lines("INCONCLUSIVE", inconclusive_);
  out += fmt::format("\n{} of {} seeds hold", seeds_.size() - red_.size() - inconclusive_.size(), seeds_.size());
  if (!red_.empty()) out += fmt::format(", {} fail", red_.size());
  if (!inconclusive_.empty()) out += fmt::format(", {} inconclusive", inconclusive_.size());
  return out + "\n";
}

int SeedTable::exit_code() const {
  if (!red_.empty()) return 1;
  return inconclusive_.empty() ? 0 : 3;
}

}  // namespace resilver::report
