#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "async/task_group.h"
#include "replica/client.h"
#include "scenario/capacity.h"
#include "scenario/course.h"
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
constexpr Nanos kForGoodAfter = kSecond;  // of settle: whoever could take over has done so by then

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
class ContenderRun final : public ClientHooks, public workload::LoadSink {
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
        probe_stop_(scheduler_),
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
  void note_power_loss(const std::vector<std::string>& nodes) override {
    oracle_->note_power_loss(scheduler_.now(), nodes);
  }
  void note_event(std::size_t index) override;
  void began(Nanos now) noexcept override { course_.began(now); }
  void ended(const workload::LoadEnd& end) noexcept override;
  void note_end() override { course_.open(scheduler_.now(), observer_.totals()); }

 private:
  void describe_contender();
  Task<Status> prepare();
  Task<Status> wait_healthy();
  Task<Status> fill();
  Task<Status> measure();
  Task<void> settle(Timeline& timeline);
  Task<void> follow();
  void tell_progress();
  Task<void> finish();
  void collect(const Timeline& timeline);
  Evidence evidence(const Timeline& timeline) const;
  void collect_windows(const Timeline& timeline);
  void collect_oracle();
  std::uint64_t unreadable_at_the_end() const;
  void collect_seconds();

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
  resilver::Event probe_stop_;
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
  Course course_{probe_tolerance(scenario_)};
  bool nothing_under_way_ = false;
  std::string why_not_full_;
  FleetTotals totals_;
  Nanos next_report_ = 0;
  std::uint64_t moved_ = 0;
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
  result_.load_permille = load_permille(scenario_, contender_);
}

// ---- before the clock runs --------------------------------------------------------------------------------------------

Task<Status> ContenderRun::prepare() {
  background_.spawn(follow());
  Status created = co_await fleet_.create();
  if (!created) co_return created;
  background_.spawn(observer_.run(observer_stop_));
  replica::ClientConfig config;
  config.volume = fleet_.volume();
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
    workload::HistoryHeader header;
    header.scenario = scenario_.title;
    header.contender = contender_.name;
    header.seed = scenario_.seed;
    header.volume_bytes = oracle.volume_bytes;
    header.promise = workload::durability_name(oracle.durability);
    header.fill_bytes = fill_bytes_;
    history_ = std::make_unique<workload::History>(*history_file_, header);
  }
  oracle_ = std::make_unique<workload::Oracle>(oracle, history_.get());

  workload::LoadSpec spec;
  spec.rw = load.rw;
  spec.rwmixread = load.rwmixread;
  spec.bs = load.bs;
  const std::uint64_t probe_begin = scenario_.volume_bytes - workload::Prober::kRegionBytes;
  spec.begin = std::max(load.offset, fill_bytes_);
  spec.end = std::min(probe_begin, load.offset + load.size_bytes);
  spec.rate_iops = load.rate_iops;
  spec.flush_every = load.flush_every;
  spec.overlap = load.overlap;
  spec.seed = scenario_.seed;
  if (spec.end < spec.begin + spec.bs) co_return fail(Errc::bad_input, "the fill leaves the workload no room");
  Env& env = fleet_.client();
  driver_ = std::make_unique<workload::Driver>(scheduler_, env.buffers(), *client_, *oracle_, spec, load.max_inflight);
  prober_ = std::make_unique<workload::Prober>(
      scheduler_, env.buffers(), *client_, *oracle_,
      workload::ProberConfig{probe_begin, probe_period(scenario_), probe_tolerance(scenario_)});
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
  start_ = scheduler_.now();
  load_end_ = start_ + scenario_.length;
  const std::uint64_t used_end =
      std::min(scenario_.volume_bytes, scenario_.workload.offset + scenario_.workload.size_bytes);
  Timeline timeline(fleet_, observer_, *this, scenario_, contender_, 0, std::max(used_end, fill_bytes_));
  TaskGroup playing(scheduler_);
  TaskGroup load(scheduler_);
  course_.open(start_, observer_.totals());
  driver_->count_in(this);
  load.spawn(driver_->run(start_, load_stop_));
  load.spawn(prober_->run(probe_stop_));
  playing.spawn(timeline.run(start_, load_stop_, timeline_stop_));
  co_await interrupt_.wait_until(start_ + scenario_.workload.warmup);
  course_.open(scheduler_.now(), observer_.totals());
  co_await interrupt_.wait_until(load_end_);
  course_.open(scheduler_.now(), observer_.totals());
  load_stop_.set();
  phase_ = "settling";
  co_await settle(timeline);
  settle_end_ = scheduler_.now() + 1;  // what was seen just now counts
  course_.close(settle_end_, observer_.totals());
  const FleetState& left = observer_.state();
  const bool long_enough = left.disks_left < 0 || settle_end_ - load_end_ >= kForGoodAfter;
  nothing_under_way_ = long_enough && !timeline.anything_active() && !left.full && left.rebuild_permille < 0;
  if (!left.full) why_not_full_ = why_not_full(observer_, contender_);
  probe_stop_.set();
  timeline_stop_.set();
  co_await playing.join();
  co_await load.join();
  co_await interrupt_.wait_until(scheduler_.now() + 2 * kSampleInterval);  // until the observer has seen the last writes
  totals_ = observer_.totals();
  if (interrupt_.is_set()) co_return fail(Errc::cancelled);
  phase_ = "reading back";
  co_await driver_->read_back(interrupt_);
  collect(timeline);
  co_return Status{};
}

// Until everything is whole again and answers, or cannot become so any more, or for as long as the scenario says.
Task<void> ContenderRun::settle(Timeline& timeline) {
  const Nanos deadline = scheduler_.now() + scenario_.settle;
  while (scheduler_.now() < deadline && !interrupt_.is_set()) {
    const FleetState& state = observer_.state();
    const bool whole = state.full && !prober_->unanswered(scheduler_.now());
    if (!timeline.anything_active() && (whole || state.disks_left < 0)) co_return;
    co_await interrupt_.wait_until(scheduler_.now() + kSettlePoll);
  }
}

// What the client is answered need not be asked by the prober.
void ContenderRun::ended(const workload::LoadEnd& end) noexcept {
  course_.ended(end);
  if (end.status == Errc::ok && end.kind != workload::LoadKind::flush) {
    prober_->observe(end.kind == workload::LoadKind::write);
  }
}

void ContenderRun::note_event(std::size_t index) {
  course_.open(scheduler_.now(), observer_.totals());
  phase_ = scenario_.events[index].name;
}

// Lets the course see every sample of the observer, and tells how far the run is. Of a volume that is lost as a whole no rest
// is left to serve.
Task<void> ContenderRun::follow() {
  while (!ticker_stop_.is_set()) {
    const std::uint64_t unreadable = observer_.worst_unavailable_bytes();
    course_.look(observer_.state(), observer_.totals(), unreadable < scenario_.volume_bytes ? unreadable : 0);
    observer_.reset_worst_unavailable();
    tell_progress();
    co_await observer_.sampled().wait_until(scheduler_.now() + kSampleInterval);
  }
}

void ContenderRun::tell_progress() {
  const Nanos now = scheduler_.now();
  if (!progress_ || now < next_report_) return;
  Progress at;
  at.contender = contender_.name;
  at.phase = phase_;
  if (start_ != 0) {
    const Nanos done = std::min(now - start_, scenario_.length);
    at.permille = static_cast<std::uint32_t>(done * 1000 / std::max<Nanos>(scenario_.length, 1));
    at.left = scenario_.length - done;
  }
  const std::uint64_t total = driver_ ? driver_->bytes_moved() : 0;
  at.rate = (total - moved_) * static_cast<std::uint64_t>(kSecond / kProgressInterval);
  moved_ = total;
  progress_(at);
  next_report_ = now + kProgressInterval;
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
  result_.client_writes = driver_->writes_done();
  result_.books = {totals_.volume, totals_.causes, totals_.link};
  for (const raid::Cause cause : {raid::Cause::data, raid::Cause::parity}) {
    result_.disk_write_bytes += totals_.causes[static_cast<std::size_t>(cause)].write_bytes;
  }
  if (!observer_.imbalance().empty()) result_.inconclusive = observer_.imbalance();
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

Evidence ContenderRun::evidence(const Timeline& timeline) const {
  Evidence seen;
  seen.start = start_;
  seen.measured_from = start_ + scenario_.workload.warmup;
  seen.load_end = load_end_;
  seen.settle_end = settle_end_;
  seen.changes = observer_.changes();
  seen.resolution = prober_->tolerance();
  seen.nothing_under_way = nothing_under_way_;
  seen.why_not_full = why_not_full_;
  seen.restored_until = [this](Nanos at) { return observer_.restored_until(at); };
  seen.limited_by = [this](Nanos from, Nanos to) { return observer_.limited_by(from, to); };
  const bool down = prober_->outage(start_, settle_end_).never_ended;
  for (const auto& stretch : prober_->outages(start_, settle_end_))
    seen.outages.push_back({stretch.begin, stretch.end, down && stretch.end == settle_end_});
  for (std::size_t i = 0; i < timeline.records().size(); ++i) {
    const EventResult& event = timeline.records()[i].result;
    if (event.state == EventState::applied) seen.events.push_back(applied_event(i, scenario_.events[i], event, start_));
  }
  return seen;
}

void ContenderRun::collect_windows(const Timeline& timeline) {
  if (!observer_.state().serving) result_.trouble = observer_.trouble();
  for (const EventRecord& record : timeline.records()) {
    result_.events.push_back(record.result);
    EventResult& event = result_.events.back();
    if (event.state == EventState::not_reached && event.note.empty()) event.note = "its trigger never fired";
  }
  tell_story(evidence(timeline), course_, result_.events, result_.whole);
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

// Of the whole volume, not only of what the client had written: all of it if nothing can be read; else what the engine knows
// to be lost, or what was asked for and could not be read, whichever is more.
std::uint64_t ContenderRun::unreadable_at_the_end() const {
  const workload::OracleCounts& counts = oracle_->counts();
  if (counts.bytes_read_back == 0 && counts.unreadable_bytes > 0) return scenario_.volume_bytes;
  const std::uint64_t known = observer_.report(observer_.state().serving.value_or(0)).unavailable_bytes;
  return std::max(known, counts.unreadable_bytes);
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
  oracle.unrecoverable_bytes = unreadable_at_the_end();
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
