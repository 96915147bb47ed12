#include "sim/world.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/node.h"

namespace resilver::sim {

const char* trace_op_name(TraceOp op) noexcept {
  switch (op) {
    case TraceOp::read: return "read";
    case TraceOp::write: return "write";
    case TraceOp::flush: return "flush";
    case TraceOp::discard: return "discard";
    case TraceOp::write_zeroes: return "write_zeroes";
    case TraceOp::deliver: return "deliver";
    case TraceOp::start: return "start";
    case TraceOp::exit: return "exit";
    case TraceOp::crash: return "crash";
    case TraceOp::power_loss: return "power_loss";
    case TraceOp::freeze: return "freeze";
    case TraceOp::thaw: return "thaw";
  }
  return "?";
}

struct World::Callback : WorldEvent {
  Callback(World& w, std::function<void()> f) : WorldEvent(&call), world(w), function(std::move(f)) {}
  static void call(WorldEvent& self) noexcept {
    auto& callback = static_cast<Callback&>(self);
    auto function = std::move(callback.function);
    std::erase_if(callback.world.callbacks_, [&](const auto& owned) { return owned.get() == &callback; });
    function();
  }
  World& world;
  std::function<void()> function;
};

World::World(std::uint64_t seed, const WorldOptions& options)
    : seed_(seed), options_(options), order_(random_for("order")), trace_hash_(seed) {
  network_ = std::make_unique<Fabric>(*this);
}

World::~World() {
  CHECK(running_ == nullptr, "a world cannot end inside one of its own steps");
  nodes_.clear();  // while disks and network are there
  network_.reset();
  disks_.clear();
}

Random World::random_for(std::string_view purpose) const noexcept {
  Hash64 hash(seed_);
  hash.add_bytes(std::as_bytes(std::span(purpose)));
  return Random(hash.value());
}

std::uint32_t World::new_actor(std::string name) {
  actors_.push_back(std::move(name));
  return static_cast<std::uint32_t>(actors_.size() - 1);
}

const std::string& World::actor_name(std::uint32_t actor) const noexcept {
  CHECK(actor < actors_.size());
  return actors_[actor];
}

Node& World::add_node(std::string name) { return add_node(std::move(name), NodeOptions{}); }

Node& World::add_node(std::string name, const NodeOptions& options) {
  CHECK(find_node(name) == nullptr, "two nodes of one name");
  nodes_.push_back(std::make_unique<Node>(*this, std::move(name), options));
  return *nodes_.back();
}

Node* World::find_node(std::string_view name) noexcept {
  for (const auto& node : nodes_) {
    if (node->name() == name) return node.get();
  }
  return nullptr;
}

Disk& World::add_disk(std::string name, std::uint64_t size_bytes, const DiskOptions& options) {
  for (const auto& disk : disks_) CHECK(disk->name() != name, "two disks of one name");
  disks_.push_back(std::make_unique<Disk>(*this, std::move(name), size_bytes, options));
  return *disks_.back();
}

// ---- running ---------------------------------------------------------------------------------------------------------

Stop World::run_until(Nanos deadline) {
  Stop stop;
  while ((stop = step(deadline)) == Stop::condition) {
  }
  if (stop != Stop::livelock && deadline != kNever) {
    if (deadline > now_) steps_this_instant_ = 0;
    now_ = std::max(now_, deadline);
  }
  return stop;
}

Stop World::step(Nanos deadline) {
  CHECK(running_ == nullptr, "the world is running already");
  if (batch_at_ == batch_.size()) {
    const Stop stop = next_batch(deadline);
    if (stop != Stop::condition || batch_at_ == batch_.size()) return stop;
  }
  if (++steps_this_instant_ > options_.max_steps_per_instant) [[unlikely]]
    return Stop::livelock;
  ++steps_;
  if (options_.permute_ready) {
    const std::size_t left = batch_.size() - batch_at_;
    if (left > 1) std::swap(batch_[batch_at_], batch_[batch_at_ + order_.below(left)]);
  }
  const Ready ready = batch_[batch_at_++];
  ready.item->next_ready = nullptr;
  running_ = ready.scheduler;
  ready.item->run(*ready.item);
  running_ = nullptr;
  if (!deferred_.empty()) [[unlikely]]
    run_deferred();
  return Stop::condition;
}

// Fires what is due and takes what is ready as the next batch; if nothing is, time goes on to the next event.
Stop World::next_batch(Nanos deadline) {
  batch_.clear();
  batch_at_ = 0;
  if (!deferred_.empty()) run_deferred();
  if (next_.empty()) {
    if (heap_.empty()) return Stop::idle;
    if (heap_.front().at > deadline) return Stop::deadline;
    if (heap_.front().at > now_) {
      now_ = heap_.front().at;
      steps_this_instant_ = 0;
    }
  }
  fire_due();
  std::swap(batch_, next_);
  return Stop::condition;
}

// Only events that were scheduled before this call: what they schedule for now belongs to the next batch.
void World::fire_due() {
  const std::uint64_t end = sequence_;
  while (!heap_.empty() && heap_.front().at <= now_ && heap_.front().sequence < end) {
    WorldEvent& event = *heap_.front().event;
    remove_from_heap(0);
    if (++steps_this_instant_ > options_.max_steps_per_instant) [[unlikely]]
      return;
    ++steps_;
    event.fire(event);
    if (!deferred_.empty()) [[unlikely]]
      run_deferred();
  }
}

void World::run_deferred() {
  auto callbacks = std::exchange(deferred_, {});
  for (auto& callback : callbacks) callback();
}

void World::at(Nanos time, std::function<void()> callback) {
  callbacks_.push_back(std::make_unique<Callback>(*this, std::move(callback)));
  schedule(*callbacks_.back(), time);
}

void World::after_step(std::function<void()> callback) { deferred_.push_back(std::move(callback)); }

void World::stop_at_write(std::uint64_t n, std::function<void()> callback) {
  stop_at_write_ = n;
  stop_callback_ = std::move(callback);
}

void World::write_reached() noexcept {
  stop_at_write_ = 0;
  after_step(std::exchange(stop_callback_, nullptr));
}

void World::drop_ready(NodeScheduler& scheduler, std::vector<Runnable*>* kept) noexcept {
  const auto drop = [&](std::vector<Ready>& ready, std::size_t from) {
    std::size_t to = from;
    for (std::size_t at = from; at < ready.size(); ++at) {
      if (ready[at].scheduler != &scheduler) {
        ready[to++] = ready[at];
      } else if (kept != nullptr) {
        kept->push_back(ready[at].item);
      }
    }
    ready.resize(to);
  };
  drop(batch_, batch_at_);
  drop(next_, 0);
}

void World::abandon_disks(NodeScheduler& scheduler) noexcept {
  for (const auto& disk : disks_) disk->abandon(scheduler);
}

// ---- trace -----------------------------------------------------------------------------------------------------------

void World::trace(std::uint32_t actor, TraceOp op, std::uint64_t address, std::uint64_t length, Errc outcome) {
  trace_hash_.add(static_cast<std::uint64_t>(now_));
  trace_hash_.add((std::uint64_t{actor} << 16) | (static_cast<std::uint64_t>(op) << 8) |
                  static_cast<std::uint64_t>(outcome));
  trace_hash_.add(address);
  trace_hash_.add(length);
  if (trace_callback_) [[unlikely]]
    trace_callback_(TraceEvent{now_, actor, op, address, length, outcome});
}

std::string World::to_string(const TraceEvent& event) const {
  return fmt::format("{}.{:09} {} {} {}+{} {}", event.at / kSecond, event.at % kSecond, actor_name(event.actor),
                     trace_op_name(event.op), event.address, event.length, errc_name(event.outcome));
}

// ---- the queue of events: a binary heap on (time, sequence); each event knows its place ------------------------------

void World::schedule(WorldEvent& event, Nanos at) noexcept {
  CHECK(!event.scheduled(), "an event is scheduled once at a time");
  heap_.push_back(HeapEntry{std::max(at, now_), sequence_++, &event});
  event.heap_index = static_cast<std::uint32_t>(heap_.size() - 1);
  sift_up(event.heap_index);
}

void World::reschedule(WorldEvent& event, Nanos at) noexcept {
  cancel(event);
  schedule(event, at);
}

void World::cancel(WorldEvent& event) noexcept {
  if (event.scheduled()) remove_from_heap(event.heap_index);
}

void World::place(std::uint32_t index, const HeapEntry& entry) noexcept {
  heap_[index] = entry;
  entry.event->heap_index = index;
}

void World::sift_up(std::uint32_t index) noexcept {
  const HeapEntry entry = heap_[index];
  while (index > 0) {
    const std::uint32_t parent = (index - 1) / 2;
    if (!entry.before(heap_[parent])) break;
    place(index, heap_[parent]);
    index = parent;
  }
  place(index, entry);
}

void World::sift_down(std::uint32_t index) noexcept {
  const HeapEntry entry = heap_[index];
  const auto size = static_cast<std::uint32_t>(heap_.size());
  for (;;) {
    std::uint32_t child = 2 * index + 1;
    if (child >= size) break;
    if (child + 1 < size && heap_[child + 1].before(heap_[child])) ++child;
    if (!heap_[child].before(entry)) break;
    place(index, heap_[child]);
    index = child;
  }
  place(index, entry);
}

void World::remove_from_heap(std::uint32_t index) noexcept {
  heap_[index].event->heap_index = WorldEvent::kIdle;
  const HeapEntry last = heap_.back();
  heap_.pop_back();
  if (index == heap_.size()) return;
  place(index, last);
  sift_up(index);
  sift_down(last.event->heap_index);
}

}  // namespace resilver::sim
