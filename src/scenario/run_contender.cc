#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "async/task_group.h"
#include "replica/client.h"
#include "scenario/observer.h"
#include "scenario/run.h"
#include "scenario/timeline.h"
#include "scenario/windows.h"
#include "workload/driver.h"
#include "workload/history.h"
#include "workload/oracle.h"
#include "workload/prober.h"

namespace resilver::scenario {
namespace {

constexpr Nanos kAttachTimeout = 20 * kSecond;
constexpr Nanos kHealthyTimeout = 30 * kSecond;
constexpr Nanos kProgressInterval = 200 * kMillisecond;
constexpr Nanos kSettlePoll = 20 * kMillisecond;

struct FileClose {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

using File = std::unique_ptr<std::FILE, FileClose>;

// Keeps the lines of the client's history; a file that cannot be written ends the history, not the run.
class FileSink final : public workload::HistorySink {
 public:
  explicit FileSink(const std::string& path) : file_(std::fopen(path.c_str(), "wb")) {}
  void write(std::string_view lines) noexcept override {
    if (file_ && std::fwrite(lines.data(), 1, lines.size(), file_.get()) != lines.size()) file_.reset();
  }

 private:
  File file_;
};

// What the volume promises of an acknowledged write.
workload::Durability durability_of(const ContenderSpec& contender) {
  if (!contender.replicate) return workload::Durability::on_flush;
  const Ack ack = contender.replicate->ack;
  return ack == Ack::async || ack == Ack::received ? workload::Durability::prefix : workload::Durability::on_ack;
}

// Everything of one run; lives in the frame of run_contender.
class ContenderRun final : public ClientHooks {
 public:
  ContenderRun(Fleet& fleet, const Scenario& scenario, const ContenderSpec& contender, const RunOptions& options,
               ProgressSink progress, resilver::Event& interrupt)
      : fleet_(fleet),
        scenario_(scenario),
        contender_(contender),
        options_(options),
        progress_(std::move(progress)),
        interrupt_(interrupt),
        scheduler_(fleet.client().scheduler()),
        observer_(fleet, contender),
        observer_stop_(scheduler_),
        ticker_stop_(scheduler_),
        load_stop_(scheduler_),
        timeline_stop_(scheduler_),
        background_(scheduler_) {}

  Task<ContenderResult> run() {
    describe_contender();
    Status ready = co_await prepare();
    if (ready) {
      ready = co_await measure();
    }
    if (!ready) result_.inconclusive = interrupt_.is_set() ? "interrupted" : to_string(ready.error());
    co_await finish();
    co_return std::move(result_);
  }

  std::uint64_t writes_submitted() const noexcept override { return driver_->writes_submitted(); }
  std::uint64_t writes_acknowledged() const noexcept override { return driver_->writes_acknowledged(); }
  Task<std::uint64_t> overwrite(std::uint64_t offset, std::uint64_t bytes) override {
    return driver_->overwrite(offset, bytes);
  }
  void note_power_loss() override { oracle_->note_power_loss(scheduler_.now()); }
  void note_event(std::size_t index) override;
  void forget_event(std::size_t index) override;

 private:
  // What the client had counted when an event was applied.
  struct Mark {
    std::size_t event = 0;
    Nanos at = 0;
    std::uint64_t errors = 0;
    Nanos longest_before = 0;  // the longest wait of the stretch before it
    std::uint64_t unavailable_before = 0;
  };

  void describe_contender();
  Task<Status> prepare();
  Task<Status> wait_healthy();
  Task<Status> fill();
  Task<Status> measure();
  Task<void> settle(Timeline& timeline);
  Task<void> tick();
  Task<void> finish();
  void collect(const Timeline& timeline);
  void collect_windows(const Timeline& timeline);
  void collect_oracle();
  void collect_seconds();
  void next_phase();

  Fleet& fleet_;
  const Scenario& scenario_;
  const ContenderSpec& contender_;
  const RunOptions& options_;
  ProgressSink progress_;
  resilver::Event& interrupt_;
  Scheduler& scheduler_;
  Observer observer_;
  resilver::Event observer_stop_;
  resilver::Event ticker_stop_;
  resilver::Event load_stop_;
  resilver::Event timeline_stop_;
  TaskGroup background_;
  ContenderResult result_;
  std::unique_ptr<replica::Client> client_;
  std::unique_ptr<FileSink> history_file_;
  std::unique_ptr<workload::History> history_;
  std::unique_ptr<workload::Oracle> oracle_;
  std::unique_ptr<workload::Driver> driver_;
  std::unique_ptr<workload::Prober> prober_;
  std::uint64_t fill_bytes_ = 0;
  std::string phase_ = "preparing";
  Nanos start_ = 0;
  Nanos load_end_ = 0;
  Nanos settle_end_ = 0;
  FleetTotals totals_at_start_;
  FleetTotals totals_at_end_;
  std::vector<Mark> marks_;
  // The load's figures by phase: before the first event, during it, after it (= before the second), during the second, …
  std::vector<std::unique_ptr<workload::LoadStats>> phases_;
  std::vector<Nanos> phase_begins_;
  workload::LoadStats warmup_;
  bool measuring_ = false;
  bool was_degraded_ = false;
};

void ContenderRun::describe_contender() {
  result_.name = contender_.name;
  result_.description = describe(contender_);
  result_.nodes = static_cast<std::uint32_t>(contender_.nodes.size());
  result_.disks = total_disks(contender_);
  result_.spares = total_spares(contender_);
  result_.space_permille = space_permille(contender_);
  result_.space_with_spares_permille = space_with_spares_permille(contender_);
  result_.local_redundancy = tolerated_disks(contender_.nodes.front()) > 0;
  result_.remote_redundancy = contender_.replicate.has_value();
}

// ---- before the clock runs --------------------------------------------------------------------------------------------

Task<Status> ContenderRun::prepare() {
  background_.spawn(tick());
  Status created = co_await fleet_.create();
  if (!created) co_return created;
  background_.spawn(observer_.run(observer_stop_));
  replica::ClientConfig config;
  config.volume = kVolumeId;
  const std::vector<PeerAddress> addresses = fleet_.client_addresses();
  for (std::uint32_t n = 0; n < addresses.size(); ++n) config.nodes.push_back({n, addresses[n].address});
  config.on_reign = [this] {
    if (oracle_) oracle_->note_failover(scheduler_.now());
  };
  config.op_timeout_ms = static_cast<std::uint64_t>(scenario_.workload.retry / kMillisecond);
  if (contender_.replicate) {
    config.detect_ms =
        std::max<std::uint64_t>(50, static_cast<std::uint64_t>(contender_.replicate->detect / kMillisecond));
  }
  Env& env = fleet_.client();
  const Nanos deadline = scheduler_.now() + kAttachTimeout;
  while (!client_) {
    auto attached = co_await replica::Client::attach(scheduler_, env.buffers(), env.network(), config);
    if (attached) client_ = std::move(*attached);
    if (!client_ && (scheduler_.now() > deadline || interrupt_.is_set())) {
      co_return fail(Errc::unavailable,
                     "the volume was not healthy before the first fault: " + to_string(attached.error()) +
                         (observer_.trouble().empty() ? "" : "; " + observer_.trouble()));
    }
  }
  if (client_->size_bytes() < scenario_.volume_bytes) {
    co_return fail(Errc::bad_input,
                   fmt::format("the volume has {} bytes instead of {}", client_->size_bytes(), scenario_.volume_bytes));
  }
  if (Status healthy = co_await wait_healthy(); !healthy) co_return healthy;
  co_return co_await fill();
}

Task<Status> ContenderRun::wait_healthy() {
  const Nanos deadline = scheduler_.now() + kHealthyTimeout;
  while (!observer_.state().full) {
    if (interrupt_.is_set()) co_return fail(Errc::cancelled);
    if (scheduler_.now() > deadline) {
      co_return fail(Errc::unavailable, "the volume was not healthy before the first fault: " + observer_.trouble());
    }
    co_await observer_.sampled().wait_until(deadline);
  }
  co_return Status{};
}

Task<Status> ContenderRun::fill() {
  const WorkloadSpec& load = scenario_.workload;
  Result<std::uint64_t> bytes = check_fill(scenario_, options_.fill_path);
  if (!bytes) co_return std::unexpected(bytes.error());
  fill_bytes_ = (*bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;

  // [fill | the load's range | the prober's region]
  workload::OracleConfig oracle;
  oracle.volume_id = kVolumeId.low;
  oracle.volume_bytes = scenario_.volume_bytes;
  oracle.durability = durability_of(contender_);
  oracle.fill_bytes = fill_bytes_;
  oracle.max_inflight = load.max_inflight + 4 * workload::Prober::kMaxOutstanding;
  if (!options_.history_dir.empty()) {
    history_file_ =
        std::make_unique<FileSink>(fmt::format("{}/history-{}.jsonl", options_.history_dir, contender_.name));
    history_ = std::make_unique<workload::History>(*history_file_);
  }
  oracle_ = std::make_unique<workload::Oracle>(oracle, history_.get());

  workload::LoadSpec spec;
  spec.rw = static_cast<workload::Rw>(load.rw);
  spec.rwmixread = load.rwmixread;
  spec.bs = load.bs;
  const std::uint64_t probe_begin = scenario_.volume_bytes - workload::Prober::kRegionBytes;
  spec.begin = std::max(load.offset, fill_bytes_);
  spec.end = std::min(probe_begin, load.offset + load.size_bytes);
  spec.rate_iops = load.rate_iops;
  spec.flush_every = load.flush_every;
  spec.seed = scenario_.seed;
  if (spec.end < spec.begin + spec.bs) co_return fail(Errc::bad_input, "the fill leaves the workload no room");
  Env& env = fleet_.client();
  driver_ = std::make_unique<workload::Driver>(scheduler_, env.buffers(), *client_, *oracle_, spec, load.max_inflight);
  prober_ = std::make_unique<workload::Prober>(scheduler_, env.buffers(), *client_, *oracle_, probe_begin);
  if (fill_bytes_ == 0) co_return Status{};

  phase_ = "filling";
  const File file(std::fopen(options_.fill_path.c_str(), "rb"));
  if (!file) co_return fail(Errc::bad_input, "--fill " + options_.fill_path + ": cannot be read");
  auto source = [&file](std::uint64_t offset, std::span<std::byte> into) -> std::size_t {
    if (std::fseek(file.get(), static_cast<long>(offset), SEEK_SET) != 0) return 0;
    return std::fread(into.data(), 1, into.size(), file.get());
  };
  co_return co_await driver_->fill(source, 0, fill_bytes_, interrupt_);
}

// ---- while the clock runs ---------------------------------------------------------------------------------------------

Task<Status> ContenderRun::measure() {
  phase_ = "running";
  totals_at_start_ = observer_.totals();
  start_ = scheduler_.now();
  load_end_ = start_ + scenario_.length;
  const std::uint64_t used_end =
      std::min(scenario_.volume_bytes, scenario_.workload.offset + scenario_.workload.size_bytes);
  Timeline timeline(fleet_, observer_, *this, scenario_, contender_, 0, std::max(used_end, fill_bytes_));
  TaskGroup playing(scheduler_);
  TaskGroup load(scheduler_);
  driver_->count_in(&warmup_);
  load.spawn(driver_->run(start_, load_stop_));
  load.spawn(prober_->run(load_stop_));
  playing.spawn(timeline.run(start_, load_stop_, timeline_stop_));
  co_await interrupt_.wait_until(start_ + scenario_.workload.warmup);
  measuring_ = true;
  next_phase();
  co_await interrupt_.wait_until(load_end_);
  load_stop_.set();
  phase_ = "settling";
  co_await settle(timeline);
  settle_end_ = scheduler_.now() + 1;  // what was seen just now counts
  timeline_stop_.set();
  co_await playing.join();
  co_await load.join();
  totals_at_end_ = observer_.totals();
  if (interrupt_.is_set()) co_return fail(Errc::cancelled);
  phase_ = "reading back";
  co_await driver_->read_back(interrupt_);
  collect(timeline);
  co_return Status{};
}

// Until everything is whole again, or cannot become so any more, or for as long as the scenario says.
Task<void> ContenderRun::settle(Timeline& timeline) {
  const Nanos deadline = scheduler_.now() + scenario_.settle;
  while (scheduler_.now() < deadline && !interrupt_.is_set()) {
    const FleetState& state = observer_.state();
    if (!timeline.anything_active() && (state.full || state.disks_left < 0)) co_return;
    co_await interrupt_.wait_until(scheduler_.now() + kSettlePoll);
  }
}

void ContenderRun::next_phase() {
  phases_.push_back(std::make_unique<workload::LoadStats>());
  phase_begins_.push_back(scheduler_.now());
  driver_->count_in(phases_.back().get());
}

void ContenderRun::note_event(std::size_t index) {
  Mark mark;
  mark.event = index;
  mark.at = scheduler_.now();
  mark.errors = driver_->errors();
  mark.longest_before = driver_->take_longest_wait();
  mark.unavailable_before = observer_.worst_unavailable_bytes();
  observer_.reset_worst_unavailable();
  marks_.push_back(mark);
  phase_ = scenario_.events[index].name;
  was_degraded_ = false;
  if (!measuring_) return;
  // An event while another one's repair still runs ends that one's `during`; its `after` is then empty.
  if (phases_.size() % 2 == 0) next_phase();
  next_phase();
}

void ContenderRun::forget_event(std::size_t index) {
  std::erase_if(marks_, [index](const Mark& mark) { return mark.event == index; });
}

// Ends the phase `during` when redundancy is full again, and tells how far the run is.
Task<void> ContenderRun::tick() {
  Nanos next_report = scheduler_.now();
  std::uint64_t moved = 0;
  while (!ticker_stop_.is_set()) {
    const bool full = observer_.state().full;
    was_degraded_ = was_degraded_ || !full;
    if (measuring_ && phases_.size() % 2 == 0 && full && was_degraded_) next_phase();
    const Nanos now = scheduler_.now();
    if (progress_ && now >= next_report) {
      Progress at;
      at.contender = contender_.name;
      at.phase = phase_;
      if (start_ != 0) {
        const Nanos done = std::min(now - start_, scenario_.length);
        at.permille = static_cast<std::uint32_t>(done * 1000 / std::max<Nanos>(scenario_.length, 1));
        at.left = scenario_.length - done;
      }
      const std::uint64_t total = driver_ ? driver_->bytes_moved() : 0;
      at.rate = (total - moved) * static_cast<std::uint64_t>(kSecond / kProgressInterval);
      moved = total;
      progress_(at);
      next_report = now + kProgressInterval;
    }
    co_await ticker_stop_.wait_until(now + kSampleInterval);
  }
}

Task<void> ContenderRun::finish() {
  if (client_) co_await client_->close();
  observer_stop_.set();
  co_await fleet_.destroy();
  for (const std::string& death : fleet_.deaths()) {
    result_.inconclusive += (result_.inconclusive.empty() ? "" : "; ") + death;
  }
  ticker_stop_.set();
  co_await background_.join();
}

// ---- what came out ----------------------------------------------------------------------------------------------------

void ContenderRun::collect(const Timeline& timeline) {
  result_.ran_for = settle_end_ - start_;
  collect_windows(timeline);
  collect_oracle();
  collect_seconds();
  result_.client_write_bytes = driver_->bytes_written();
  result_.disk_write_bytes = observer_.totals().foreground.written;
  for (const EventResult& event : result_.events) {
    if (event.state == EventState::applied && event.hits == 0) {
      result_.inconclusive = fmt::format("'{}' hit nothing", event.name);
    }
    const bool lost = observer_.state().disks_left < 0;
    if (event.state == EventState::not_reached && !lost) {
      result_.inconclusive = fmt::format("'{}' never came: {}", event.name, event.note);
    }
  }
}

static PhaseResult to_phase(const workload::LoadStats& stats, Nanos length) {
  return {length, stats.reads, stats.writes, stats.read_latency, stats.write_latency};
}

void ContenderRun::collect_windows(const Timeline& timeline) {
  if (!observer_.state().serving) result_.trouble = observer_.trouble();
  for (const EventRecord& record : timeline.records()) {
    result_.events.push_back(record.result);
    EventResult& event = result_.events.back();
    if (event.state == EventState::not_reached && event.note.empty()) event.note = "its trigger never fired";
  }
  const Nanos measured_from = start_ + scenario_.workload.warmup;
  auto phase_at = [&](std::size_t index) {
    if (index >= phases_.size()) return PhaseResult{};
    const Nanos end = index + 1 < phases_.size() ? phase_begins_[index + 1] : load_end_;
    return to_phase(*phases_[index], std::max<Nanos>(0, end - phase_begins_[index]));
  };
  for (std::size_t m = 0; m < marks_.size(); ++m) {
    const Mark& mark = marks_[m];
    const bool last = m + 1 == marks_.size();
    EventResult& event = result_.events[mark.event];
    WindowResult& window = event.window;
    Window stretch;
    stretch.begin = mark.at;
    stretch.end = last ? load_end_ : marks_[m + 1].at;
    stretch.repair_end = last ? settle_end_ : marks_[m + 1].at;
    stretch.before = timeline.records()[mark.event].totals;
    stretch.last = last;
    stretch.after = last ? totals_at_end_ : timeline.records()[marks_[m + 1].event].totals;
    const bool of_disks = verb_info(scenario_.events[mark.event].verb).target == TargetKind::disk;
    measure_redundancy(observer_, stretch, of_disks, window);
    const std::string next = last ? std::string() : result_.events[marks_[m + 1].event].name;
    explain_repair(observer_, contender_, stretch, next, of_disks ? window.repair : window.node_repair);
    const workload::Prober::Outage outage = prober_->outage(stretch.begin, std::max(stretch.begin, stretch.end));
    window.outage = {outage.total, outage.never_ended};
    window.longest_stall = last ? driver_->take_longest_wait() : marks_[m + 1].longest_before;
    window.client_errors = (last ? driver_->errors() : marks_[m + 1].errors) - mark.errors;
    window.unavailable_bytes = last ? observer_.worst_unavailable_bytes() : marks_[m + 1].unavailable_before;
    for (std::size_t phase = 0; phase < kPhases; ++phase) window.phases[phase] = phase_at(2 * m + phase);
    add_repair(window.repair, result_.whole.repair);
    add_repair(window.node_repair, result_.whole.node_repair);
  }
  WindowResult& whole = result_.whole;
  Window stretch{measured_from, load_end_, settle_end_, totals_at_start_, totals_at_end_};
  WindowResult redundancy;
  measure_redundancy(observer_, stretch, true, redundancy);
  if (redundancy.repair.finished) {  // full at the end, whatever came in between
    for (RepairResult* repair : {&whole.repair, &whole.node_repair}) {
      repair->finished = repair->needed;
      repair->never_because.clear();
    }
  }
  redundancy.repair = whole.repair;
  redundancy.node_repair = whole.node_repair;
  whole = redundancy;
  const workload::Prober::Outage outage = prober_->outage(measured_from, load_end_);
  whole.outage = {outage.total, outage.never_ended};
  whole.client_errors = driver_->errors();
  whole.longest_stall = marks_.empty() ? driver_->take_longest_wait() : 0;
  for (const Mark& mark : marks_) whole.longest_stall = std::max(whole.longest_stall, mark.longest_before);
  for (const EventResult& event : result_.events) {
    whole.longest_stall = std::max(whole.longest_stall, event.window.longest_stall);
    whole.unavailable_bytes = std::max(whole.unavailable_bytes, event.window.unavailable_bytes);
  }
  workload::LoadStats all;
  for (const auto& phase : phases_) {
    all.reads += phase->reads;
    all.writes += phase->writes;
    all.read_latency.merge(phase->read_latency);
    all.write_latency.merge(phase->write_latency);
  }
  whole.phases[static_cast<std::size_t>(Phase::during)] = to_phase(all, load_end_ - measured_from);
}

static void add_blocks(const workload::RangeList& ranges, BlockFate fate, OracleResult& result) {
  for (const auto& range : ranges.ranges()) {
    if (result.blocks.size() >= kMaxListedBlocks) {
      result.blocks_truncated = true;
      return;
    }
    result.blocks.push_back({range.begin * kSectorBytes, (range.end - range.begin) * kSectorBytes, fate});
  }
}

void ContenderRun::collect_oracle() {
  const workload::OracleCounts& counts = oracle_->counts();
  OracleResult& oracle = result_.oracle;
  oracle.requests = counts.requests;
  oracle.bytes_read_back = counts.bytes_read_back;
  oracle.lost_writes = counts.lost_writes;
  oracle.stale_reads = counts.stale_reads + counts.prefix_breaks;
  oracle.corrupt_reads = counts.corrupt_reads;
  oracle.unknown = counts.unknown_writes;
  oracle.unrecoverable_bytes = counts.unreadable_bytes;
  oracle.damaged_bytes = counts.damaged_sectors * kSectorBytes;
  add_blocks(oracle_->lost(), BlockFate::lost_write, oracle);
  add_blocks(oracle_->stale(), BlockFate::stale_read, oracle);
  add_blocks(oracle_->corrupt(), BlockFate::corrupt_read, oracle);
  add_blocks(oracle_->unreadable(), BlockFate::unreadable, oracle);
  std::sort(oracle.blocks.begin(), oracle.blocks.end(),
            [](const BlockRange& a, const BlockRange& b) { return a.offset < b.offset; });
}

void ContenderRun::collect_seconds() {
  const auto& seconds = driver_->seconds();
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    SecondSample sample;
    sample.reads = seconds[i].reads;
    sample.writes = seconds[i].writes;
    sample.errors = seconds[i].errors;
    sample.latency_p50 = seconds[i].latency_p50;
    sample.latency_p99 = seconds[i].latency_p99;
    sample.latency_max = seconds[i].latency_max;
    const Nanos begin = start_ + static_cast<Nanos>(i) * kSecond;
    sample.served = prober_->served(begin, begin + kSecond);
    sample.repair_bytes = observer_.restored_until(begin + kSecond) - observer_.restored_until(begin);
    result_.seconds.push_back(sample);
  }
}

}  // namespace

Task<ContenderResult> run_contender(Fleet& fleet, const Scenario& scenario, const ContenderSpec& contender,
                                    const RunOptions& options, ProgressSink progress, resilver::Event& interrupt) {
  ContenderRun run(fleet, scenario, contender, options, std::move(progress), interrupt);
  co_return co_await run.run();
}

}  // namespace resilver::scenario
