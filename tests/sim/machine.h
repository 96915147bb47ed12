// What most tests of the simulator need: a world with one machine and one disk, and blocks to write to it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "async/sync.h"
#include "async/task_group.h"
#include "env/env.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/world.h"

namespace resilver::sim {

inline constexpr std::uint64_t kMiB = 1 << 20;

struct Machine {
  explicit Machine(std::uint64_t seed = 1, const DiskParameters& model = {}, std::uint64_t cache_bytes = 64 * kMiB)
      : world(seed),
        disk(world.add_disk("disk", 16 * kMiB, {.model = model, .cache_bytes = cache_bytes})),
        node(world.add_node("A")) {
    node.attach_disk("disk", disk);
  }

  // Runs `main` to its end. False: it never ends.
  bool run(Node::Main main) {
    node.start(std::move(main));
    world.run_while([&] { return node.running(); }, world.now() + kHour);
    const bool ended = !node.running();
    node.crash();
    return ended;
  }

  // The first byte of each of the 8 sectors of a block on the disk.
  std::array<int, 8> sectors(std::uint64_t block) {
    std::array<std::byte, kBlockBytes> bytes;
    disk.peek(block * kBlockBytes, bytes);
    std::array<int, 8> first;
    for (std::size_t i = 0; i < 8; ++i) first[i] = std::to_integer<int>(bytes[i * kSectorBytes]);
    return first;
  }
  int value(std::uint64_t block) { return sectors(block)[0]; }

  World world;
  Disk& disk;
  Node& node;
};

inline DiskParameters slow_disk() {
  DiskParameters model;
  model.random_access = model.sequential_access = kMillisecond;
  model.channels = 32;
  return model;
}

inline Task<std::unique_ptr<BlockDevice>> open(Env& env, std::string name = "disk") {
  auto device = co_await env.open_disk(std::move(name), kNever);
  CHECK(device.has_value());
  co_return std::move(*device);
}

inline Buffer filled(Env& env, int value, std::size_t size = kBlockBytes) {
  Buffer buffer = env.buffers().allocate(size);
  std::memset(buffer.data(), value, size);
  return buffer;
}

inline Task<void> put(Env& env, BlockDevice& device, std::uint64_t block, int value, bool fua = false) {
  const Errc status = co_await Io::write(device, block * kBlockBytes, filled(env, value), fua);
  EXPECT_EQ(status, Errc::ok);
}

inline Task<int> get(Env& env, BlockDevice& device, std::uint64_t block) {
  Buffer buffer = filled(env, 0xee);
  const Errc status = co_await Io::read(device, block * kBlockBytes, buffer);
  EXPECT_EQ(status, Errc::ok);
  co_return std::to_integer<int>(buffer.data()[0]);
}

}  // namespace resilver::sim
