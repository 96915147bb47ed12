#include "tests/replica/cluster.h"

#include <cstring>
#include <utility>

#include "async/task_group.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "replica/arbiter.h"
#include "tests/support/replica_words.h"

namespace resilver::replica {

// ---- a disk with errors --------------------------------------------------------------------------------------------

class HeldDisk final : public BlockDevice {
 public:
  HeldDisk(Scheduler& scheduler, BlockDevice& below, DiskFaults& faults)
      : scheduler_(scheduler), below_(below), faults_(faults) {}
  std::uint64_t size_bytes() const noexcept override { return below_.size_bytes(); }
  void submit(IoRequest& request) noexcept override {
    if (faults_.dead) return request.complete(scheduler_, Errc::device_gone);
    const std::uint64_t first = request.offset / kBlockBytes, end = (request.offset + request.length) / kBlockBytes;
    const auto bad = faults_.unreadable.lower_bound(first);
    if (bad != faults_.unreadable.end() && *bad < end) {
      if (request.op == IoOp::read) return request.complete(scheduler_, Errc::medium);
      if (request.op == IoOp::write) faults_.unreadable.erase(bad, faults_.unreadable.lower_bound(end));
    }
    const bool changes = request.op != IoOp::read && request.op != IoOp::flush;
    if (changes && request.offset + request.length > faults_.full_from)
      return request.complete(scheduler_, Errc::no_space);
    if (faults_.hold && request.op != IoOp::read) {
      held_.push_back(&request);
    } else {
      below_.submit(request);
    }
  }
  void release() {
    for (IoRequest* request : std::exchange(held_, {})) below_.submit(*request);
  }

 private:
  Scheduler& scheduler_;
  BlockDevice& below_;
  DiskFaults& faults_;
  std::vector<IoRequest*> held_;
};

namespace {

template <typename T>
struct Publish {
  Publish(T*& where, T* what) : slot(where), value(what) { slot = value; }
  ~Publish() {
    if (slot == value) slot = nullptr;
  }
  T*& slot;
  T* value;
};

}  // namespace

// ---- Cluster -------------------------------------------------------------------------------------------------------

Cluster::Cluster(std::uint64_t seed, const Options& options) : world(seed), options_(options) {
  for (int i = 0; i < kNodes; ++i) {
    nodes_[static_cast<std::size_t>(i)] = &world.add_node(name(i));
    replace_disk(i);
  }
  arbiter_node_ = &world.add_node("arbiter");
  new_arbiter();
  client_node_ = &world.add_node("client");
}

void Cluster::new_arbiter() {
  arbiter_disk_ = &world.add_disk("arbiter.disk" + std::to_string(arbiter_disks_++), 1 << 20, {});
  arbiter_node_->attach_disk("state", *arbiter_disk_);
  arbiter_formatted_ = false;
}

std::vector<std::byte> Cluster::arbiter_image() const {
  std::vector<std::byte> bytes(arbiter_disk_->size_bytes());
  arbiter_disk_->peek(0, bytes);
  return bytes;
}

void Cluster::attach_new_disk(int i, std::uint64_t bytes) {
  const auto at = static_cast<std::size_t>(i);
  sim::DiskOptions disk;
  disk.model.random_access = disk.model.sequential_access = options_.disk_access;
  disk.model.read_bandwidth = disk.model.write_bandwidth = 1'000'000'000;
  disk.model.channels = 8;
  disks_[at] = &world.add_disk(name(i) + ".disk" + std::to_string(disk_number_[at]++), bytes, disk);
  nodes_[at]->attach_disk("disk", *disks_[at]);
  faults_[at] = {};
}

void Cluster::replace_disk(int i) { attach_new_disk(i, kVolume + Replica::metadata_bytes(intent_bits(i))); }

void Cluster::insert_disk(int i, std::span<const std::byte> image) {
  attach_new_disk(i, image.size());
  restore(i, image);
}

struct Cluster::Seat {
  std::string address;
  DiskFaults& faults;
  Replica*& replica;
  Event*& stop;
  TaskGroup*& orders;
  HeldDisk*& held;
};

Task<void> Cluster::node_main(Env& env, int i, Start start, Seat seat) {
  ReplicaConfig config;
  config.volume = kVolumeId;
  config.self = static_cast<NodeId>(i);
  for (int p = 0; p < kNodes; ++p) {
    if (p != i) config.peers.push_back({static_cast<NodeId>(p), name(p), name(p)});
  }
  config.name = name(i);
  config.arbiter = "arbiter";
  config.set_detect(options_.detect_ms);
  config.intent_bits = intent_bits(i);
  config.volume_bytes = kVolume;
  config.min_in_sync = options_.min_in_sync;
  config.ack = options_.ack;
  config.congestion_ms = options_.congestion_ms;
  config.send_queue_bytes = options_.send_queue_bytes;
  config.clear_bits_ms = options_.clear_bits_ms;
  config.resync_max_bytes_per_s = options_.resync_rate;
  config.resync_min_bytes_per_s = options_.resync_rate_busy;
  config.on_event = [this, i](const ReplicaEvent& event) { events.emplace_back(i, event); };
  if (file) file(i, config);

  auto disk = co_await env.open_disk("disk", kNever);
  CHECK(disk.has_value());
  HeldDisk device(env.scheduler(), **disk, seat.faults);
  Publish holding(seat.held, &device);
  auto listener = env.network().listen(seat.address);
  CHECK(listener.has_value());
  auto replica = co_await Replica::open(env, config, device, start);
  if (!replica) {
    if (seat.faults.full_from == DiskFaults::kRoom)
      ADD_FAILURE() << "open " << name(i) << ": " << to_string(replica.error());
    co_return;
  }
  Event stop(env.scheduler());
  Publish published(seat.replica, replica->get());
  Publish stoppable(seat.stop, &stop);
  TaskGroup orders(env.scheduler());
  Publish ordering(seat.orders, &orders);
  co_await (*replica)->run(**listener, stop);
  co_await orders.join();
}

void Cluster::start_node(int i, bool format) {
  const auto at = static_cast<std::size_t>(i);
  const Start start = !format ? Start::as_it_is : formatted_[at] ? Start::new_copy : Start::new_volume;
  formatted_[at] = formatted_[at] || format;
  node(i).start([this, i, at, start](Env& env) {
    return node_main(env, i, start, {name(i), faults_[at], replicas_[at], stops_[at], orders_[at], held_[at]});
  });
}

void Cluster::start_clone(int of, std::span<const std::byte> image) {
  clone_node_ = &world.add_node(name(of) + "2");
  clone_disk_ = &world.add_disk(name(of) + "2.disk", image.size(), {});
  clone_disk_->poke(0, image);
  clone_node_->attach_disk("disk", *clone_disk_);
  clone_node_->start([this, of](Env& env) {
    return node_main(env, of, Start::as_it_is,
                     {name(of) + "2", clone_faults_, clone_, clone_stop_, clone_orders_, clone_held_});
  });
}

void Cluster::start_arbiter() {
  const bool format = !std::exchange(arbiter_formatted_, true);
  arbiter_node_->start([format](Env& env) -> Task<void> {
    auto disk = co_await env.open_disk("state", kNever);
    auto listener = env.network().listen("arbiter");
    CHECK(disk.has_value() && listener.has_value());
    Event stop(env.scheduler());
    if (format) CHECK(co_await format_arbiter(env, **disk));
    const Status status = co_await serve_arbiter(env, **listener, **disk, stop);
    if (!status) ADD_FAILURE() << to_string(status.error());
  });
}

void Cluster::start_all() {
  start_arbiter();
  for (int i = 0; i < kNodes; ++i) start_node(i, true);
}

void Cluster::stop_node(int i) {
  if (Event* stop = stops_[static_cast<std::size_t>(i)]; stop != nullptr) stop->set();
}

void Cluster::order(int i, std::function<Task<void>(Replica&)> what) {
  const auto at = static_cast<std::size_t>(i);
  if (orders_[at] == nullptr) return;
  orders_[at]->spawn([](Replica& replica, std::function<Task<void>(Replica&)> run) -> Task<void> {
    co_await run(replica);
  }(*replicas_[at], std::move(what)));
}

void Cluster::release(int i) {
  faults(i).hold = false;
  if (HeldDisk* disk = held_[static_cast<std::size_t>(i)]; disk != nullptr && !node(i).frozen()) disk->release();
}

ClientConfig Cluster::client_config() const {
  ClientConfig config;
  config.volume = kVolumeId;
  for (int i = 0; i < kNodes; ++i) config.nodes.push_back({static_cast<NodeId>(i), name(i)});
  config.op_timeout_ms = options_.op_timeout_ms;
  config.detect_ms = std::min<std::uint64_t>(options_.detect_ms, 500);
  config.retry_ms = 5;
  return config;
}

void Cluster::client_main(std::function<Task<void>(Client&)> main) {
  client_node_->start([this, main = std::move(main)](Env& env) -> Task<void> {
    return [](Cluster& self, Env& e, std::function<Task<void>(Client&)> body) -> Task<void> {
      auto client = co_await Client::attach(e.scheduler(), e.buffers(), e.network(), self.client_config());
      if (!client) {
        ADD_FAILURE() << "attach: " << to_string(client.error());
        co_return;
      }
      {
        Publish published(self.client_, client->get());
        co_await body(**client);
      }
      co_await (*client)->close();
    }(*this, env, main);
  });
}

ReplicaStatus Cluster::status(int i) { return replica(i) == nullptr ? ReplicaStatus{} : replica(i)->status(); }

int Cluster::primary() {
  for (int i = 0; i < kNodes; ++i) {
    if (replica(i) != nullptr && !node(i).frozen() && replica(i)->status().serving) return i;
  }
  return -1;
}

int Cluster::count(EventKind kind, int node) const {
  int n = 0;
  for (const auto& [who, event] : events) n += event.kind == kind && (node < 0 || who == node);
  return n;
}

void Cluster::advance(Nanos until) {
  if (each_event) {
    (void)world.run_while(
        [this] {
          each_event();
          return true;
        },
        until);
  }
  world.run_until(until);
}

// The state's copy with the highest sequence: docs/wire-protocol.md.
Record Cluster::arbiter_record() const {
  const std::uint64_t stride = (arbiter_disk_->size_bytes() - SmallRecord::kMostRoom) / 5 / kBlockBytes * kBlockBytes;
  std::vector<std::byte> copy(SmallRecord::kMostRoom);
  Record record;
  std::uint64_t newest = 0;
  for (std::uint64_t i = 0; i < SmallRecord::kCopies; ++i) {
    arbiter_disk_->peek(i * stride, copy);
    const std::byte* head = copy.data();
    const auto length = load_le<std::uint32_t>(head + 44);
    const auto sequence = load_le<std::uint64_t>(head + 16);
    if (sequence <= newest || length < 32 || 48 + length > copy.size()) continue;
    const std::uint32_t sum = crc32c(std::span(head + 16, 32 + length), crc32c(std::span(head, 12)));
    if (load_le<std::uint32_t>(head + 12) != sum) continue;
    const auto kept = record_from(std::span(head + 48 + 32, length - 32));
    if (!kept) continue;
    newest = sequence;
    record = *kept;
  }
  return record;
}

Record Cluster::next_record(int node) const {
  const Record now = arbiter_record();
  Record next = next_reign(now, {.nonce = 0x77, .seed = now.seed(), .primary = static_cast<NodeId>(node)},
                           now.in_sync | NodeSet::of(static_cast<NodeId>(node)), 3);
  next.life = 5;
  return next;
}

PeerHello Cluster::hello_of(const Record& record, int node) {
  PeerHello hello;
  hello.volume = kVolumeId;
  hello.record = record;
  hello.copy = record.copy_of(static_cast<NodeId>(node));
  hello.life = record.life;
  hello.size = kVolume;
  return hello;
}

bool Cluster::run_until(const std::function<bool()>& done, Nanos at_most) {
  const Nanos deadline = world.now() + at_most;
  while (world.now() < deadline) {
    if (done()) return true;
    advance(std::min(deadline, world.now() + kMillisecond));
  }
  return done();
}

bool Cluster::wait_serving(Nanos at_most) {
  return run_until([&] { return primary() >= 0; }, at_most);
}

bool Cluster::wait_full(Nanos at_most) {
  return run_until([&] { return primary() >= 0 && status(primary()).in_sync.count() == kNodes; }, at_most);
}

std::string Cluster::describe() {
  std::string text;
  for (int i = 0; i < kNodes; ++i) {
    text += name(i) + ": ";
    if (replica(i) == nullptr) {
      text += "does not run\n";
      continue;
    }
    text += test::words_of(status(i)) + "\n";
  }
  const Record record = arbiter_record();
  return text + "record: epoch " + std::to_string(record.epoch) + ", primary " + std::to_string(record.primary) +
         ", in sync " + std::to_string(record.in_sync.bits) + "\n";
}

Errc Cluster::write(std::uint64_t block, std::uint64_t version) {
  Errc result = Errc::cancelled;
  client_main([&](Client& client) -> Task<void> {
    Buffer data = client_node_->env().buffers().allocate(kBlockBytes);
    fill(data.bytes(), block, version);
    result = co_await Io::write(client, block * kBlockBytes, data);
  });
  run_until([&] { return !client_node_->running(); }, 60 * kSecond);
  return result;
}

Errc Cluster::read(std::uint64_t block, std::uint64_t* version) {
  Errc result = Errc::cancelled;
  client_main([&](Client& client) -> Task<void> {
    Buffer data = client_node_->env().buffers().allocate(kBlockBytes);
    result = co_await Io::read(client, block * kBlockBytes, data);
    *version = version_of(data.bytes(), block);
  });
  run_until([&] { return !client_node_->running(); }, 60 * kSecond);
  return result;
}

void Cluster::write_range(std::uint64_t first, std::uint64_t end, std::uint64_t version) {
  client_main([this, first, end, version](Client& client) -> Task<void> {
    Buffer data = client_node_->env().buffers().allocate(kBlockBytes);
    for (std::uint64_t block = first; block < end; ++block) {
      fill(data.bytes(), block, version);
      EXPECT_EQ(co_await Io::write(client, block * kBlockBytes, data), Errc::ok);
    }
  });
  EXPECT_TRUE(run_until([&] { return !client_node_->running(); }, 60 * kSecond));
}

std::optional<std::uint64_t> Cluster::read_copy(int i, std::uint64_t block) {
  std::optional<std::uint64_t> version;
  client_node_->start([this, i, block, &version](Env& env) -> Task<void> {
    ClientConfig config = client_config();
    config.nodes = {{static_cast<NodeId>(i), name(i)}};
    config.own_copy = true;
    config.op_timeout_ms = 500;
    auto client = co_await Client::attach(env.scheduler(), env.buffers(), env.network(), config);
    if (!client) co_return;
    Buffer data = env.buffers().allocate(kBlockBytes);
    if (co_await Io::read(**client, block * kBlockBytes, data) == Errc::ok) version = version_of(data.bytes(), block);
    EXPECT_EQ(co_await Io::write(**client, block * kBlockBytes, data), Errc::read_only);
    co_await (*client)->close();
  });
  EXPECT_TRUE(run_until([&] { return !client_node_->running(); }, 60 * kSecond));
  return version;
}

void Cluster::operate(int i, Task<void> task) {
  TaskGroup* group = orders_[static_cast<std::size_t>(i)];
  ASSERT_NE(group, nullptr) << "not started";
  group->spawn(std::move(task));
  EXPECT_TRUE(run_until([&] { return orders_[static_cast<std::size_t>(i)] != group || group->running() == 0; }));
}

std::vector<std::byte> Cluster::image(int i) const {
  std::vector<std::byte> bytes(disks_[static_cast<std::size_t>(i)]->size_bytes());
  disks_[static_cast<std::size_t>(i)]->peek(0, bytes);
  return bytes;
}

::testing::AssertionResult Cluster::copies_equal() {
  std::vector<std::byte> first(kVolume), other(kVolume);
  disk(0).peek(0, first);
  for (int i = 1; i < kNodes; ++i) {
    disk(i).peek(0, other);
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      const auto a = std::span(first).subspan(block * kBlockBytes, kBlockBytes);
      const auto b = std::span(other).subspan(block * kBlockBytes, kBlockBytes);
      if (std::memcmp(a.data(), b.data(), kBlockBytes) == 0) continue;
      return ::testing::AssertionFailure() << "block " << block << ": A has version " << version_of(a, block) << ", "
                                           << name(i) << " has " << version_of(b, block);
    }
  }
  return ::testing::AssertionSuccess();
}

// Every sector names its address and version, so that torn or misplaced data shows.
void Cluster::fill(std::span<std::byte> block, std::uint64_t address, std::uint64_t version) {
  for (std::size_t at = 0; at < block.size(); at += 16) {
    store_le<std::uint64_t>(block.data() + at, version);
    store_le<std::uint64_t>(block.data() + at + 8, version == 0 ? 0 : address);
  }
}

std::uint64_t Cluster::version_of(std::span<const std::byte> block, std::uint64_t address) {
  const auto version = load_le<std::uint64_t>(block.data());
  std::vector<std::byte> expected(block.size());
  fill(expected, address, version);
  return std::memcmp(expected.data(), block.data(), block.size()) == 0 ? version : ~std::uint64_t{0};
}

}  // namespace resilver::replica
