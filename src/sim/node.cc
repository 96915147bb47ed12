#include "sim/node.h"

#include <algorithm>
#include <utility>

#include "async/sync.h"
#include "async/task_group.h"
#include "base/check.h"
#include "sim/disk.h"
#include "sim/network.h"

namespace resilver::sim {
namespace {

constexpr std::int64_t kMillion = 1'000'000;
constexpr std::int32_t kMaxPpm = 500'000;
constexpr Nanos kLockPoll = kMillisecond;

}  // namespace

// ---- NodeScheduler ---------------------------------------------------------------------------------------------------

NodeScheduler::NodeScheduler(World& world, Node& node) : world_(world), node_(node), alarm_(*this) {}

NodeScheduler::~NodeScheduler() { CHECK(killed_); }

void NodeScheduler::post(Runnable& item) noexcept {
  if (killed_) return;
  CHECK(item.next_ready == nullptr, "posted twice");
  item.next_ready = &item;  // marks it as queued
  if (frozen_) {
    held_.push_back(&item);
  } else {
    world_.post(*this, item);
  }
}

Nanos NodeScheduler::now() const noexcept { return node_.clock(); }

void NodeScheduler::arm(Timer& timer, Nanos at) noexcept {
  if (killed_) return;
  CHECK(!timer.armed(), "a timer is armed once at a time");
  timer.at = at;
  timer.sequence = sequence_++;
  timers_.push_back(Entry{at, timer.sequence, &timer});
  timer.heap_index = static_cast<std::uint32_t>(timers_.size() - 1);
  sift_up(timer.heap_index);
  if (timer.heap_index == 0) set_alarm();
}

bool NodeScheduler::disarm(Timer& timer) noexcept {
  if (!timer.armed() || killed_) return false;
  const bool first = timer.heap_index == 0;
  remove(timer.heap_index);
  if (first && timers_.empty()) set_alarm();  // else: an alarm too early does no harm and is cheaper than moving it
  return true;
}

void NodeScheduler::Alarm::ring(WorldEvent& self) noexcept { static_cast<Alarm&>(self).scheduler.expire(); }

void NodeScheduler::expire() noexcept {
  alarm_at_ = kNever;
  const Nanos clock = now();
  while (!timers_.empty() && timers_.front().at <= clock) {
    Timer& timer = *timers_.front().timer;
    remove(0);
    post(timer);
  }
  set_alarm();
}

void NodeScheduler::set_alarm() noexcept {
  const Nanos at = timers_.empty() || frozen_ || killed_ ? kNever : node_.world_time_of(timers_.front().at);
  if (at == alarm_at_) return;
  alarm_at_ = at;
  if (at == kNever) {
    world_.cancel(alarm_);
  } else {
    world_.reschedule(alarm_, at);
  }
}

void NodeScheduler::kill() noexcept {
  killed_ = true;
  world_.drop_ready(*this, nullptr);
  held_.clear();
  for (const Entry& entry : timers_) entry.timer->heap_index = Timer::kIdle;
  timers_.clear();
  set_alarm();
}

void NodeScheduler::freeze() noexcept {
  frozen_ = true;
  world_.drop_ready(*this, &held_);
  set_alarm();
}

void NodeScheduler::thaw() noexcept {
  frozen_ = false;
  for (Runnable* item : std::exchange(held_, {})) world_.post(*this, *item);
  set_alarm();
}

void NodeScheduler::place(std::uint32_t index, const Entry& entry) noexcept {
  timers_[index] = entry;
  entry.timer->heap_index = index;
}

void NodeScheduler::sift_up(std::uint32_t index) noexcept {
  const Entry entry = timers_[index];
  while (index > 0) {
    const std::uint32_t parent = (index - 1) / 2;
    if (!entry.before(timers_[parent])) break;
    place(index, timers_[parent]);
    index = parent;
  }
  place(index, entry);
}

void NodeScheduler::sift_down(std::uint32_t index) noexcept {
  const Entry entry = timers_[index];
  const auto size = static_cast<std::uint32_t>(timers_.size());
  for (;;) {
    std::uint32_t child = 2 * index + 1;
    if (child >= size) break;
    if (child + 1 < size && timers_[child + 1].before(timers_[child])) ++child;
    if (!timers_[child].before(entry)) break;
    place(index, timers_[child]);
    index = child;
  }
  place(index, entry);
}

void NodeScheduler::remove(std::uint32_t index) noexcept {
  timers_[index].timer->heap_index = Timer::kIdle;
  const Entry last = timers_.back();
  timers_.pop_back();
  if (index == timers_.size()) return;
  place(index, last);
  sift_up(index);
  sift_down(last.timer->heap_index);
}

// ---- the process -----------------------------------------------------------------------------------------------------

// What a process is given. open_disk finds what is attached to the machine.
class NodeEnv final : public Env {
 public:
  NodeEnv(Node& node, Random random)
      : node_(node),
        scheduler_(node.world(), node),
        buffers_(node.options_.memory_bytes),
        random_(random),
        network_(node.world().network().make_network(node)) {}
  // I/O that was given up on holds buffers.
  ~NodeEnv() override { scheduler_.end_left_behind(); }

  NodeScheduler& scheduler() noexcept override { return scheduler_; }
  BufferPool& buffers() noexcept override { return buffers_; }
  Network& network() noexcept override { return *network_; }
  Random& random() noexcept override { return random_; }

  Task<Result<std::unique_ptr<BlockDevice>>> open_disk(std::string name, Nanos deadline) override {
    for (;;) {
      Disk* disk = node_.find_disk(name);
      if (disk == nullptr) co_return fail(Errc::not_found, "disk '" + name + "' of node " + node_.name());
      if (auto device = disk->open(scheduler_)) co_return std::move(device);
      if (scheduler_.now() >= deadline) co_return fail(Errc::busy, "disk '" + name + "' is open");
      co_await sleep_until(scheduler_, std::min(deadline, scheduler_.now() + kLockPoll));
    }
  }

 private:
  Node& node_;
  NodeScheduler scheduler_;
  BufferPool buffers_;
  Random random_;
  std::unique_ptr<Network> network_;
};

// Members die in reverse: the frames first, then what they used.
struct Node::Incarnation {
  Incarnation(Node& node, Random random, Main m) : main(std::move(m)), env(node, random), tasks(env.scheduler()) {}

  static Task<void> run(Node& node, Incarnation& self) {
    co_await self.main(self.env);
    node.exited();
  }

  Main main;  // a lambda's captures live here as long as its frame
  NodeEnv env;
  TaskGroup tasks;
};

Node::Node(World& world, std::string name, const NodeOptions& options)
    : world_(world),
      name_(std::move(name)),
      options_(options),
      actor_(world.new_actor(name_)),
      random_(world.random_for("node " + name_)),
      clock_base_(options.clock_offset) {
  CHECK(name_.find(':') == std::string::npos, "a colon separates node and service in addresses");
}

Node::~Node() { end_process(End::world); }

void Node::attach_disk(std::string name, Disk& disk) {
  detach_disk(name);
  disks_.push_back(Slot{std::move(name), &disk});
}

void Node::detach_disk(std::string_view name) {
  std::erase_if(disks_, [&](const Slot& slot) { return slot.name == name; });
}

Disk* Node::find_disk(std::string_view name) noexcept {
  for (const Slot& slot : disks_) {
    if (slot.name == name) return slot.disk;
  }
  return nullptr;
}

void Node::start(Main main) {
  CHECK(!running(), "a node runs one process at a time");
  if (!powered_) {
    powered_ = true;
    world_.network().power_restored(*this);
  }
  ++incarnations_;
  world_.trace(actor_, TraceOp::start, incarnations_, 0, Errc::ok);
  incarnation_ = std::make_unique<Incarnation>(*this, random_.fork(incarnations_), std::move(main));
  incarnation_->tasks.spawn(Incarnation::run(*this, *incarnation_));
}

// Called on the node itself: the end has to wait until its step is over.
void Node::exited() noexcept {
  world_.after_step([this, which = incarnations_] {
    if (running() && incarnations_ == which) end_process(End::exit);
  });
}

void Node::crash() {
  if (running()) end_process(End::crash);
}

void Node::power_loss() {
  if (powered_) end_process(End::power_loss);
}

void Node::end_process(End how) {
  if (running()) {
    CHECK(world_.running() != &incarnation_->env.scheduler(), "a node cannot end itself: use World::after_step");
    incarnation_->env.scheduler().kill();
  }
  constexpr TraceOp kOps[] = {TraceOp::exit, TraceOp::crash, TraceOp::power_loss};
  if (how != End::world) world_.trace(actor_, kOps[static_cast<int>(how)], incarnations_, 0, Errc::ok);
  if (how == End::power_loss) {
    powered_ = false;
    world_.network().power_lost(*this);
  } else {
    world_.network().process_ended(*this);
  }
  // Before the frames are gone: what becomes of the writes in flight is decided from their buffers.
  if (running()) world_.abandon_disks(incarnation_->env.scheduler());
  if (how == End::power_loss) {
    for (const Slot& slot : disks_) slot.disk->power_loss();
  }
  frozen_ = false;
  auto ended = std::move(incarnation_);
}

void Node::freeze() {
  if (!running() || frozen_) return;
  CHECK(world_.running() != &scheduler(), "a node cannot freeze itself: use World::after_step");
  frozen_ = true;
  world_.trace(actor_, TraceOp::freeze, incarnations_, 0, Errc::ok);
  scheduler().freeze();
}

void Node::thaw() {
  if (!frozen_) return;
  frozen_ = false;
  world_.trace(actor_, TraceOp::thaw, incarnations_, 0, Errc::ok);
  scheduler().thaw();
}

Env& Node::env() noexcept {
  CHECK(running());
  return incarnation_->env;
}

NodeScheduler& Node::scheduler() noexcept {
  CHECK(running());
  return incarnation_->env.scheduler();
}

// ---- clock -----------------------------------------------------------------------------------------------------------

void Node::set_clock_rate(std::int32_t ppm) {
  CHECK(ppm >= -kMaxPpm && ppm <= kMaxPpm);
  clock_base_ = clock();
  world_base_ = world_.now();
  ppm_ = ppm;
  if (running()) scheduler().set_alarm();
}

Nanos Node::clock_at(Nanos world_time) const noexcept {
  const Nanos passed = world_time - world_base_;
  if (ppm_ == 0) return clock_base_ + passed;
  return clock_base_ + static_cast<Nanos>(static_cast<__int128>(passed) * (kMillion + ppm_) / kMillion);
}

Nanos Node::world_time_of(Nanos clock) const noexcept {
  if (clock == kNever) return kNever;
  const Nanos passed = clock - clock_base_;
  if (passed <= 0) return world_base_;
  if (passed > kNever / 4) return kNever;  // 73 years: so that nothing below overflows
  if (ppm_ == 0) return world_base_ + passed;
  const std::int64_t rate = kMillion + ppm_;
  return world_base_ + static_cast<Nanos>((static_cast<__int128>(passed) * kMillion + rate - 1) / rate);
}

}  // namespace resilver::sim
