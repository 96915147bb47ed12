// A replica and one peer or client that says whatever the input says, over a connection that holds only messages: nothing it
// sends crashes the node, makes it obey an old epoch or spoils its metadata; every buffer is given back at the end.
//
// Input: records of {type, epoch, body, n, n bytes}. The head of each message has the length of its type with all fields zero,
// and the n bytes over its fields, so that the search is for values and orders, not for lengths (tests/fuzz/frame.cc).
#include <algorithm>
#include <deque>
#include <utility>

#include "async/sync.h"
#include "async/task_group.h"
#include "env/env.h"
#include "replica/core.h"
#include "replica/replica.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/test_scheduler.h"

using namespace resilver;
using namespace resilver::replica;

namespace {

constexpr std::uint64_t kBits = 32768, kVolume = 256 * 1024, kEpoch = 5;

class Memory final : public BlockDevice {
 public:
  Memory(Scheduler& scheduler, std::vector<std::byte>& bytes) : scheduler_(scheduler), bytes_(bytes) {}
  std::uint64_t size_bytes() const noexcept override { return bytes_.size(); }
  void submit(IoRequest& request) noexcept override {
    FUZZ_ASSERT(request.offset + request.length <= bytes_.size());
    std::uint64_t at = request.offset;
    if (request.op == IoOp::write_zeroes || request.op == IoOp::discard)
      std::fill_n(bytes_.begin() + static_cast<std::ptrdiff_t>(at), request.length, std::byte{0});
    if (request.op == IoOp::read || request.op == IoOp::write) {
      for (const auto& segment : request.segments) {
        std::byte* disk = bytes_.data() + at;
        request.op == IoOp::read ? std::memcpy(segment.data(), disk, segment.size())
                                 : std::memcpy(disk, segment.data(), segment.size());
        at += segment.size();
      }
    }
    request.complete(scheduler_, Errc::ok);
  }

 private:
  Scheduler& scheduler_;
  std::vector<std::byte>& bytes_;
};

// The peer's half: what it says, one message a millisecond; it reads everything and answers nothing.
class Scripted final : public Connection {
 public:
  Scripted(Scheduler& scheduler, std::deque<Message> script)
      : scheduler_(scheduler), ended_(scheduler), script_(std::move(script)) {}
  Task<Status> send(Message, Nanos) override {
    if (ended_.is_set()) co_return fail(Errc::closed);
    co_return Status{};
  }
  Task<Result<Message>> receive(Nanos) override {
    co_await ended_.wait_until(scheduler_.now() + kMillisecond);
    if (ended_.is_set() || script_.empty()) co_return fail(Errc::closed);
    Message next = std::move(script_.front());
    script_.pop_front();
    co_return next;
  }
  void close() noexcept override { ended_.set(); }

 private:
  Scheduler& scheduler_;
  Event ended_;
  std::deque<Message> script_;
};

class OneVisitor final : public Listener {
 public:
  OneVisitor(Scheduler& scheduler, std::deque<Message> script)
      : scheduler_(scheduler), closed_(scheduler), script_(std::move(script)) {}
  Task<Result<std::unique_ptr<Connection>>> accept() override {
    if (!std::exchange(visited_, true)) co_return std::make_unique<Scripted>(scheduler_, std::move(script_));
    co_await closed_.wait();
    co_return fail(Errc::closed);
  }
  void close() noexcept override { closed_.set(); }

 private:
  Scheduler& scheduler_;
  Event closed_;
  bool visited_ = false;
  std::deque<Message> script_;
};

class Alone final : public Env, public Network {
 public:
  explicit Alone(TestScheduler& scheduler) : scheduler_(scheduler) {}
  Scheduler& scheduler() noexcept override { return scheduler_; }
  BufferPool& buffers() noexcept override { return buffers_; }
  Network& network() noexcept override { return *this; }
  Random& random() noexcept override { return random_; }
  Task<Result<std::unique_ptr<BlockDevice>>> open_disk(std::string, Nanos) override { co_return fail(Errc::not_found); }
  Task<Result<std::unique_ptr<Connection>>> connect(std::string, Nanos) override { co_return fail(Errc::closed); }
  Result<std::unique_ptr<Listener>> listen(std::string_view) override { return fail(Errc::permission); }

 private:
  TestScheduler& scheduler_;
  BufferPool buffers_{std::size_t{8} << 20};
  Random random_{1};
};

template <std::size_t I = 0>
Body body_of(std::uint8_t which) {
  if constexpr (I + 1 == std::variant_size_v<Body>) {
    return Body(std::in_place_index<I>);
  } else {
    return which % std::variant_size_v<Body> == I ? Body(std::in_place_index<I>) : body_of<I + 1>(which);
  }
}

Buffer payload(BufferPool& buffers, std::uint8_t choice) {
  constexpr std::size_t kSizes[] = {0, 4096, 8192, kBits / 8, 65536};
  const std::size_t size = kSizes[choice % std::size(kSizes)];
  if (size == 0) return {};
  Buffer buffer = buffers.allocate(size);
  if (buffer) std::fill(buffer.bytes().begin(), buffer.bytes().end(), std::byte{choice});
  return buffer;
}

constexpr VolumeId kVolumeId = {1, 2};

// The primary A of three nodes, none of whose other copies has been seen.
PeerHello hello_of_a() {
  PeerHello hello;
  Record& record = hello.record;
  hello.volume = record.volume = kVolumeId;
  hello.copy = {3, 4};
  hello.life = record.life = 5;
  hello.size = kVolume;
  for (const char* name : {"A", "B", "C"}) {
    Slot slot;
    slot.name = name_hash(name);
    record.slots.push_back(slot);
  }
  record.slots[0].copy = hello.copy;
  Reign reign;
  reign.nonce = reign.seed = 6;
  reign.primary = 0;
  record.epoch = kEpoch - 1;
  record = next_reign(record, reign, NodeSet::of(0), 7);
  return hello;
}

std::deque<Message> script_of(std::span<const std::byte> input, BufferPool& buffers) {
  std::deque<Message> script;
  const auto byte = [&](std::size_t i) { return std::to_integer<std::uint8_t>(input[i]); };
  // A good beginning, so that what follows meets a session: as a primary (even) or as a client.
  if (!input.empty() && byte(0) < 128) script.push_back(encode(kEpoch, hello_of_a()));
  if (!input.empty()) input = input.subspan(1);
  while (input.size() >= 4 && script.size() < 64) {
    const Body body = body_of(byte(0));
    const std::uint64_t epoch = kEpoch - 2 + byte(1) % 5;
    Message message = encode(epoch, body, payload(buffers, byte(2)));
    const std::size_t n = std::min<std::size_t>(byte(3), input.size() - 4);
    const std::size_t fields = message.head.size() - 12;
    for (std::size_t i = 0; i < std::min(n, fields); ++i) message.head[12 + i] ^= input[4 + i];
    for (std::size_t i = fields; i < n; ++i) message.head.push_back(input[4 + i]);
    script.push_back(std::move(message));
    input = input.subspan(4 + n);
  }
  return script;
}

ReplicaConfig config() {
  ReplicaConfig c;
  c.volume = kVolumeId;
  c.self = 1;
  c.name = "B";
  c.peers = {{0, "A", "A"}, {2, "C", "C"}};
  c.arbiter = "arbiter";
  c.intent_bits = kBits;
  c.volume_bytes = kVolume;
  return c;
}

Task<void> live(Alone& env, BlockDevice& device, std::deque<Message> script) {
  auto replica = co_await Replica::open(env, config(), device, Start::new_copy);
  FUZZ_ASSERT(replica.has_value());
  {
    OneVisitor listener(env.scheduler(), std::move(script));
    Event stop(env.scheduler());
    TaskGroup group(env.scheduler());
    group.spawn((*replica)->run(listener, stop));
    std::uint64_t epoch = 0;
    for (int i = 0; i < 20; ++i) {
      co_await sleep_for(env.scheduler(), 5 * kMillisecond);
      const ReplicaStatus status = (*replica)->status();
      FUZZ_ASSERT(status.epoch >= epoch && !status.serving && !status.device_failed);
      epoch = status.epoch;
    }
    stop.set();
    co_await group.join();
  }
  replica->reset();
  auto again = co_await Replica::open(env, config(), device, Start::as_it_is);
  FUZZ_ASSERT(again.has_value());
}

}  // namespace

FUZZ_TARGET(data) {
  static std::vector<std::byte> disk(kVolume + Replica::metadata_bytes(kBits));
  TestScheduler scheduler;
  Alone env(scheduler);
  {
    Memory device(scheduler, disk);
    FUZZ_ASSERT(scheduler.run(live(env, device, script_of(data, env.buffers()))));
  }
  FUZZ_ASSERT(env.buffers().bytes_in_use() == 0);
}
