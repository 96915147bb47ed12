// resilver bench rebuild in virtual time: requests come at random instants, whatever the disks do; a member dies; what the
// requests feel, and how long the next failure would be one too many.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "async/sync.h"
#include "base/histogram.h"
#include "base/random.h"
#include "env/disk_model.h"
#include "scenario/measures.h"
#include "sim/disk.h"
#include "sim/node.h"
#include "sim/world.h"
#include "tools/bench_work.h"

namespace resilver::tools {
namespace {

constexpr std::uint32_t kMostUnderWay = 1024;  // more are refused: the array cannot keep up with the rate
constexpr std::uint32_t kP99 = 9900;

// Requests at a mean rate, until stop(). Latency counts from the instant at which a request comes.
class OpenLoad {
 public:
  OpenLoad(Scheduler& scheduler, BufferPool& pool, BlockDevice& device, const BenchPlan& plan)
      : scheduler_(scheduler),
        device_(device),
        plan_(plan),
        random_(plan.seed),
        mean_(kSecond / static_cast<Nanos>(plan.rate_iops)),
        arrival_(*this),
        idle_(scheduler) {
    memory_ = pool.allocate(plan.bs);
    if (memory_) std::memset(memory_.data(), 0x5a, memory_.size());
  }

  bool ready() const noexcept { return static_cast<bool>(memory_); }
  void start() { next_arrival(); }
  void count_into(LatencyHistogram& histogram) noexcept { histogram_ = &histogram; }
  Task<void> stop() {
    if (arrival_.armed()) scheduler_.disarm(arrival_);
    stopped_ = true;
    while (under_way_ > 0) co_await idle_.wait();
  }
  Errc error() const noexcept { return error_; }
  std::uint64_t refused() const noexcept { return refused_; }

 private:
  struct Slot : IoRequest {
    explicit Slot(OpenLoad& l) noexcept : IoRequest(&done), load(l) {}
    static void done(Runnable& self) noexcept {
      auto& slot = static_cast<Slot&>(self);
      slot.load.completed(slot);
    }
    OpenLoad& load;
    Nanos came = 0;
  };
  struct Arrival : Timer {
    explicit Arrival(OpenLoad& l) noexcept : Timer(&fire), load(l) {}
    static void fire(Runnable& self) noexcept { static_cast<Arrival&>(self).load.arrive(); }
    OpenLoad& load;
  };

  void next_arrival() {
    const auto gap = static_cast<Nanos>(random_.below(2 * static_cast<std::uint64_t>(mean_) + 1));
    scheduler_.arm(arrival_, scheduler_.now() + gap);
  }

  void arrive() noexcept {
    if (stopped_) return;
    next_arrival();
    if (under_way_ == kMostUnderWay) {
      ++refused_;
      return;
    }
    if (free_.empty()) {
      slots_.push_back(std::make_unique<Slot>(*this));
      free_.push_back(slots_.back().get());
    }
    Slot& slot = *free_.back();
    free_.pop_back();
    ++under_way_;
    const unsigned writes = write_percent(plan_);
    slot.op = writes == 100 || (writes > 0 && random_.percent(writes)) ? IoOp::write : IoOp::read;
    slot.length = plan_.bs;
    slot.offset = random_.below(device_.size_bytes() / plan_.bs) * plan_.bs;
    slot.segments = {&memory_, 1};
    slot.came = scheduler_.now();
    device_.submit(slot);
  }

  void completed(Slot& slot) noexcept {
    if (slot.status != Errc::ok && error_ == Errc::ok) error_ = slot.status;
    if (histogram_ != nullptr) histogram_->record(scheduler_.now() - slot.came);
    free_.push_back(&slot);
    if (--under_way_ == 0) idle_.wake_all();
  }

  Scheduler& scheduler_;
  BlockDevice& device_;
  const BenchPlan& plan_;
  Random random_;
  Nanos mean_;
  Arrival arrival_;
  Event idle_;
  Buffer memory_;  // shared by all: what the disks hold does not matter here
  LatencyHistogram* histogram_ = nullptr;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> free_;
  std::uint32_t under_way_ = 0;
  std::uint64_t refused_ = 0;
  Errc error_ = Errc::ok;
  bool stopped_ = false;
};

class UntilFull final : public raid::ArrayListener {
 public:
  explicit UntilFull(Scheduler& scheduler) : scheduler_(scheduler), changed_(scheduler) {}
  void on_event(const raid::ArrayEvent&) override { changed_.wake_all(); }
  // Waits for full redundancy. Returns when one more failure stopped to be one too many; `since` if it never was.
  Task<Nanos> wait(const raid::Array& array, Nanos since) {
    Nanos exposed_until = since;
    while (!array.redundancy_full()) {
      const bool exposed = array.status().redundancy_left == 0;
      co_await changed_.wait();
      if (exposed) exposed_until = scheduler_.now();
    }
    co_return exposed_until;
  }

 private:
  Scheduler& scheduler_;
  Event changed_;
};

struct Outcome {
  Status status;
  LatencyHistogram before, during;
  Nanos rebuild = 0;
  Nanos exposure = 0;  // of it: with zero further failures tolerated
  std::uint64_t bytes = 0;
  std::uint64_t refused = 0;
  std::string limited_by;
};

std::string disk_name(std::uint32_t index) { return "disk" + std::to_string(index); }

Task<Status> measure(Env& env, const BenchPlan& plan, raid::Array& array, UntilFull& listener,
                     const std::vector<raid::MemberDisk>& spares, Outcome& outcome) {
  OpenLoad load(env.scheduler(), env.buffers(), array, plan);
  if (!load.ready()) co_return fail(Errc::limit, "no buffer for requests of this size");
  load.count_into(outcome.before);
  load.start();
  co_await sleep_for(env.scheduler(), plan.runtime);
  while (outcome.before.count() < scenario::kSamplesForP99 && load.error() == Errc::ok)
    co_await sleep_for(env.scheduler(), kMillisecond);
  const Nanos died = env.scheduler().now();
  Status status;
  for (std::uint32_t i = 0; i < plan.lost && status; ++i) status = co_await array.fail_member(disk_name(i));
  load.count_into(outcome.during);
  for (std::uint32_t i = 0; i < plan.lost && status; ++i) status = co_await array.add_disk(spares[i]);
  if (status) outcome.exposure = co_await listener.wait(array, died) - died;
  outcome.rebuild = env.scheduler().now() - died;
  co_await load.stop();
  outcome.bytes = array.geometry().member_bytes() * plan.lost;
  outcome.refused = load.refused();
  outcome.limited_by = raid::name(array.status().last_recovery.limited_by);
  if (status && load.error() != Errc::ok) status = fail(load.error(), "a request failed");
  co_return status;
}

Task<void> live(Env& env, const BenchPlan& plan, Outcome& outcome) {
  std::vector<std::unique_ptr<BlockDevice>> devices;
  std::vector<raid::MemberDisk> members, spares;
  for (std::uint32_t i = 0; i < plan.disks + plan.lost; ++i) {
    auto device = co_await env.open_disk(disk_name(i), kNever);
    if (!device) {
      outcome.status = std::unexpected(device.error());
      co_return;
    }
    devices.push_back(std::move(*device));
    (i < plan.disks ? members : spares).push_back({disk_name(i), devices.back().get()});
  }
  UntilFull listener(env.scheduler());
  auto array = co_await raid::Array::create(env.scheduler(), env.buffers(), env.random(), array_config(plan),
                                            {members, {}, {}}, true);
  if (!array) {
    outcome.status = std::unexpected(array.error());
    co_return;
  }
  (*array)->set_listener(&listener);
  outcome.status = co_await measure(env, plan, **array, listener, spares, outcome);
  co_await (*array)->stop();
}

}  // namespace

Result<Point> bench_virtual(const BenchPlan& plan) {
  auto model = disk_preset(plan.disk);
  if (!model) return std::unexpected(model.error());
  sim::World world(plan.seed);
  sim::Node& node = world.add_node("A");
  for (std::uint32_t i = 0; i < plan.disks + plan.lost; ++i)
    node.attach_disk(disk_name(i), world.add_disk("A." + disk_name(i), plan.size, {.model = *model}));
  Outcome outcome;
  node.start([&](Env& env) { return live(env, plan, outcome); });
  if (world.run_while([&] { return node.running(); }) != sim::Stop::condition)
    return fail(Errc::io, "the simulation came to a standstill");
  if (!outcome.status) return std::unexpected(outcome.status.error());
  if (outcome.refused > 0)
    return fail(Errc::limit, fmt::format("{} requests a second are more than these disks can serve", plan.rate_iops));

  const auto before = static_cast<double>(outcome.before.percentile(kP99));
  const auto during = static_cast<double>(outcome.during.percentile(kP99));
  const bool enough = outcome.during.count() >= scenario::kSamplesForP99;  // else no p99 is told
  const auto rebuild = static_cast<double>(outcome.rebuild);
  Point point;
  point.figures = {{"p99 in rebuild", Unit::nanoseconds, Better::lower, {}},
                   {"p99 whole", Unit::nanoseconds, Better::lower, {before}},
                   {"ratio", Unit::ratio, Better::lower, {}},
                   {"exposure", Unit::nanoseconds, Better::lower, {static_cast<double>(outcome.exposure)}},
                   {"rebuild time", Unit::nanoseconds, Better::lower, {rebuild}},
                   {"rebuild rate",
                    Unit::bytes_per_second,
                    Better::higher,
                    {static_cast<double>(outcome.bytes) * 1e9 / std::max(rebuild, 1.0)}}};
  if (enough) point.figures[0].rounds = {during};
  if (enough && before > 0) point.figures[2].rounds = {during / before};
  point.limited_by = outcome.limited_by;
  return point;
}

}  // namespace resilver::tools
