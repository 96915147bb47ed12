// What the tests of the array share: simulated disks under fault wrappers, an array over them and a flat model beside it.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "async/sync.h"
#include "async/task_group.h"
#include "env/env.h"
#include "fault/faulty_disk.h"
#include "raid/array.h"
#include "sim/disk.h"
#include "sim/node.h"
#include "sim/world.h"

namespace resilver::raid {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1 << 20;

inline DiskParameters quick_disk(Nanos access = 100 * kMicrosecond) {
  DiskParameters model;
  model.random_access = model.sequential_access = access;
  model.channels = 8;
  return model;
}

// An array with chunks of 64 KiB and the level's own layout. bitmap_chunk: of a bitmap; 0: the finest.
inline ArrayConfig array_config(Level level, std::string name, Consistency consistency, const ArrayTuning& tuning = {},
                                std::uint32_t bitmap_chunk = 0) {
  return {.level = level,
          .layout = {},
          .chunk_bytes = 64 * kKiB,
          .consistency = consistency,
          .bitmap_chunk_bytes = consistency == Consistency::bitmap ? bitmap_chunk : 0u,
          .name = std::move(name),
          .tuning = tuning};
}

// One machine with disks d0, d1, …; survives the processes that run on it.
struct Rig {
  // memory_bytes: of the pool of each process.
  explicit Rig(unsigned count, std::uint64_t disk_bytes, std::uint64_t seed = 1, const DiskParameters& model = {},
               std::size_t memory_bytes = 256 * kMiB)
      : world(seed), node(world.add_node("A", {.memory_bytes = memory_bytes})) {
    for (unsigned i = 0; i < count; ++i) {
      const std::string name = "d" + std::to_string(i);
      disks.push_back(&world.add_disk(name, disk_bytes, {.model = model}));
      node.attach_disk(name, *disks.back());
    }
  }

  // Runs `main` until it ends or its process is killed. False: it never ends.
  bool run(sim::Node::Main main) {
    node.start(std::move(main));
    world.run_while([&] { return node.running(); }, world.now() + 10 * kHour);
    const bool ended = !node.running();
    if (!ended) node.crash();
    return ended;
  }

  sim::World world;
  sim::Node& node;
  std::vector<sim::Disk*> disks;
};

// A disk that holds requests back, or answers them at once, as the test says for each.
struct GateDisk final : BlockDevice {
  GateDisk(Scheduler& s, BlockDevice& below) : scheduler(s), inner(below) {}
  std::uint64_t size_bytes() const noexcept override { return inner.size_bytes(); }
  void submit(IoRequest& request) noexcept override {
    if (answers && answers(request) != Errc::ok) {
      request.complete(scheduler, answers(request));
    } else if (holds && holds(request)) {
      held.push_back(&request);
    } else if (request.op == IoOp::reserve) {
      request.complete(scheduler, Errc::ok);
    } else {
      inner.submit(request);
    }
  }
  std::uint64_t next_data(std::uint64_t from) const noexcept override { return inner.next_data(from); }
  bool may_lack_room(std::uint64_t /*offset*/, std::uint64_t /*length*/) const noexcept override { return reserves; }
  bool busy() const noexcept override { return !held.empty() || inner.busy(); }
  void open() {
    holds = nullptr;
    for (IoRequest* request : std::exchange(held, {})) inner.submit(*request);
  }

  Scheduler& scheduler;
  BlockDevice& inner;
  std::function<bool(const IoRequest&)> holds;
  std::function<Errc(const IoRequest&)> answers;
  bool reserves = false;  // it wants to be asked for room first: IoOp::reserve goes to answers or is well
  std::vector<IoRequest*> held;
};

// A request of any length, from or to several buffers.
struct LongIo : IoRequest {
  LongIo(Env& env, BlockDevice& target, IoOp operation, std::uint64_t at, std::uint64_t bytes, bool force = false)
      : IoRequest([](Runnable& self) noexcept { static_cast<LongIo&>(self).waiting.resume(); }), device(target) {
    op = operation;
    offset = at;
    length = bytes;
    fua = force;
    const bool moves = operation == IoOp::read || operation == IoOp::write;
    for (std::uint64_t left = moves ? bytes : 0; left > 0; left -= buffers.back().size()) {
      buffers.push_back(env.buffers().allocate(std::min<std::uint64_t>(left, kMiB)));
      CHECK(buffers.back());
    }
    segments = buffers;
  }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    waiting = handle;
    device.submit(*this);
  }
  Errc await_resume() const noexcept { return status; }

  BlockDevice& device;
  std::vector<Buffer> buffers;
  std::coroutine_handle<> waiting;
};

// Content of a block by its address and a version; every 512-byte sector of it begins with both.
inline void fill_block(std::byte* at, std::uint64_t address, std::uint64_t version) {
  for (std::uint64_t i = 0; i < kBlockBytes / 8; ++i) {
    const std::uint64_t word = (address + i * 8) * 0x9e3779b97f4a7c15ull ^ (version << 32) ^ version;
    std::memcpy(at + i * 8, &word, 8);
  }
}

struct Recorder : ArrayListener {
  void on_event(const ArrayEvent& event) override { events.push_back(event); }
  std::size_t count(EventKind kind) const {
    std::size_t found = 0;
    for (const auto& event : events) found += event.kind == kind ? 1 : 0;
    return found;
  }
  std::vector<ArrayEvent> events;
};

// The process's half: opened disks and the array. Close with finish() before its scope ends.
struct Lab {
  Lab(Env& environment, Rig& r) : env(environment), rig(r) {}

  Task<void> open() {
    for (auto* disk : rig.disks) {
      auto device = co_await env.open_disk(disk->name(), kNever);
      CHECK(device.has_value());
      disks.push_back(std::make_unique<fault::FaultyDisk>(env.scheduler(), std::move(*device)));
    }
  }
  MemberDisk disk(unsigned i) { return {rig.disks[i]->name(), disks[i].get()}; }
  std::vector<MemberDisk> some(unsigned first, unsigned count) {
    std::vector<MemberDisk> list;
    for (unsigned i = first; i < first + count; ++i) list.push_back(disk(i));
    return list;
  }
  Task<void> create(ArrayConfig config, unsigned members, unsigned spares = 0, bool clean = true) {
    co_await open();
    auto made = co_await Array::create(env.scheduler(), env.buffers(), env.random(), config,
                                       {some(0, members), some(members, spares), {}}, clean);
    CHECK(made.has_value(), "create");
    take(std::move(*made));
  }
  Task<Status> assemble(std::vector<MemberDisk> list, AssembleOptions options = {}) {
    auto made = co_await Array::assemble(env.scheduler(), env.buffers(), env.random(), options, std::move(list));
    if (!made) co_return std::unexpected(made.error());
    take(std::move(*made));
    co_return Status{};
  }
  void take(std::unique_ptr<Array> made) {
    array = std::move(made);
    array->set_listener(&recorder);
    if (model.empty()) model.resize(array->size_bytes());
  }
  Task<void> finish() {
    for (auto& disk : disks) disk->release();
    co_await array->stop();
    array.reset();
  }

  Task<Errc> write(std::uint64_t offset, std::uint64_t length, std::uint64_t version, bool fua = false) {
    LongIo io(env, *array, IoOp::write, offset, length, fua);
    std::uint64_t at = offset;
    for (auto& buffer : io.buffers) {
      for (std::uint64_t i = 0; i < buffer.size(); i += kBlockBytes, at += kBlockBytes) {
        fill_block(buffer.data() + i, at, version);
        fill_block(model.data() + at, at, version);
      }
    }
    co_return co_await io;
  }
  Task<Errc> zero(std::uint64_t offset, std::uint64_t length) {
    std::memset(model.data() + offset, 0, length);
    co_return co_await Io::write_zeroes(*array, offset, length);
  }
  // Reads and compares. A difference is Errc::corrupt.
  Task<Errc> verify(std::uint64_t offset, std::uint64_t length) {
    LongIo io(env, *array, IoOp::read, offset, length);
    for (auto& buffer : io.buffers) std::memset(buffer.data(), 0xee, buffer.size());
    const Errc status = co_await io;
    if (status != Errc::ok) co_return status;
    std::uint64_t at = offset;
    for (auto& buffer : io.buffers) {
      if (std::memcmp(buffer.data(), model.data() + at, buffer.size()) != 0) co_return Errc::corrupt;
      at += buffer.size();
    }
    co_return Errc::ok;
  }
  Task<Errc> verify_all() {
    for (std::uint64_t at = 0; at < array->size_bytes(); at += 4 * kMiB) {
      const Errc status = co_await verify(at, std::min(4 * kMiB, array->size_bytes() - at));
      if (status != Errc::ok) co_return status;
    }
    co_return Errc::ok;
  }
  Task<Errc> write_all(std::uint64_t version) {
    for (std::uint64_t at = 0; at < array->size_bytes(); at += 4 * kMiB) {
      const Errc status = co_await write(at, std::min(4 * kMiB, array->size_bytes() - at), version);
      if (status != Errc::ok) co_return status;
    }
    co_return Errc::ok;
  }
  Task<Errc> flush() { co_return co_await Io::flush(*array); }
  Task<bool> whole(Nanos patience = kHour) {
    const Nanos end = env.scheduler().now() + patience;
    while (!array->redundancy_full() && env.scheduler().now() < end) {
      co_await sleep_for(env.scheduler(), 10 * kMillisecond);
    }
    co_return array->redundancy_full();
  }
  Task<std::uint64_t> mismatches(bool repair = false) {
    const Status done = co_await array->scrub({.repair = repair, .locate = repair});
    if (!done) co_return ~std::uint64_t{0};
    co_return array->status().mismatch_sectors;
  }
  IoCounters io(Cause cause) { return array->status().io[static_cast<std::size_t>(cause)]; }
  IoCounters io(std::initializer_list<Cause> causes) {
    IoCounters sum;
    for (const Cause cause : causes) {
      sum += io(cause);
      sum.flushes += io(cause).flushes;
    }
    return sum;
  }
  IoCounters client_io() { return io({Cause::data, Cause::parity}); }
  IoCounters metadata_io() { return io({Cause::superblock, Cause::bitmap, Cause::journal}); }
  MemberStatus member(unsigned slot) { return array->status().members.at(slot); }
  Task<void> sleep(Nanos duration) { co_await sleep_for(env.scheduler(), duration); }

  Env& env;
  Rig& rig;
  std::vector<std::unique_ptr<fault::FaultyDisk>> disks;
  Recorder recorder;
  std::unique_ptr<Array> array;
  std::vector<std::byte> model;
};

}  // namespace resilver::raid
