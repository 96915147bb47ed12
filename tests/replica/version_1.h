// What version 1 of the program left behind in tests/replica/data, put on devices again; how a copy is looked at.
#pragma once

#include <fstream>
#include <iterator>

#include "replica/offline.h"
#include "tests/replica/cluster.h"
#include "tests/replica/test_device.h"

namespace resilver::replica {

// What a copy is, with all that belongs to it.
struct Looked {
  Errc code = Errc::ok;
  Superblock super;
  Marks marks;
  std::vector<Extent> dirty;
  std::uint64_t damaged = 0;  // superblocks and sectors of bits
};
inline Looked look(Content& content, std::uint64_t volume_bytes, SmallRecord::Mend mend = SmallRecord::Mend::no) {
  Looked looked;
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    OfflineCopy copy(env, device);
    const Status loaded = co_await copy.load(volume_bytes, mend);
    if (!loaded) {
      looked.code = loaded.error().code;
      co_return;
    }
    looked.super = copy.metadata.now();
    looked.marks = copy.marks.now();
    ExtentSet dirty;
    copy.bits.add_to(dirty);
    dirty.for_each([&](Extent e) { looked.dirty.push_back(e); });
    looked.damaged = copy.metadata.bad_copies() + copy.bits.damaged_sectors();
  }));
  return looked;
}
inline void expect_same(const Looked& a, const Looked& b) {
  EXPECT_EQ(a.code, b.code);
  EXPECT_EQ(a.super, b.super);
  EXPECT_EQ(a.marks.counter, b.marks.counter);
  EXPECT_EQ(a.marks.position, b.marks.position);
  EXPECT_EQ(a.marks.committed, b.marks.committed);
  EXPECT_EQ(a.marks.prepared, b.marks.prepared);
  EXPECT_EQ(a.marks.dropped, b.marks.dropped);
  EXPECT_EQ(a.marks.peers, b.marks.peers);
  EXPECT_EQ(a.dirty, b.dirty);
}
inline Held::Kind kind_on(Content& content, std::uint64_t volume_bytes) {
  Held::Kind kind{};
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    const auto held = co_await look_at(env, device, volume_bytes);
    EXPECT_TRUE(held.has_value()) << (held ? "" : to_string(held.error()));
    if (held) kind = held->kind;
    EXPECT_EQ(device.writes(), 0u);
  }));
  return kind;
}

namespace version_1 {

inline constexpr std::uint64_t kVolume = Cluster::kVolume;
inline constexpr std::uint64_t kBytes = old::kSlotBytes + old::kBits / 8;  // of a copy's metadata
inline constexpr const char* kStates[] = {"new", "clean", "behind", "half", "split", "handed_over"};

inline std::vector<std::byte> file(const std::string& name) {
  std::ifstream in("tests/replica/data/version_1/" + name, std::ios::binary);
  const std::vector<char> chars((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_FALSE(chars.empty()) << name;
  const auto bytes = std::as_bytes(std::span(chars));
  return {bytes.begin(), bytes.end()};
}

// Which blocks hold which version: make_version_1 wrote and checked it.
struct Written {
  std::uint64_t version, first, end;
};
inline std::vector<Written> written(const std::string& state, int node) {
  if (state == "new" || (state == "half" && node == 2)) return {};
  std::vector<Written> all = {{1, 0, 64}};
  if (state == "behind" && node != 2) all.push_back({2, 16, 48});
  if (state == "split" && node == 0) all.push_back({2, 16, 32});
  if (state == "split" && node == 1) all.push_back({3, 24, 48});
  return all;
}
inline std::uint64_t version_at(const std::string& state, int node, std::uint64_t block) {
  std::uint64_t version = 0;
  for (const Written& w : written(state, node)) {
    if (w.first <= block && block < w.end) version = w.version;
  }
  return version;
}

// A node's device as version 1 left it, with `gap` bytes between the volume and its metadata, which lie at its end.
inline Content device(const std::string& state, int node, std::uint64_t gap = 0) {
  Content content(kVolume + gap + kBytes);
  std::vector<std::byte> block(kBlockBytes);
  for (std::uint64_t at = 0; at < 64; ++at) {
    Cluster::fill(block, at, version_at(state, node, at));
    if (version_at(state, node, at) != 0) content.write(at * kBlockBytes, block);
  }
  content.write(kVolume + gap, file(state + "." + Cluster::name(node)));
  return content;
}
inline Content arbiter(const std::string& state) {
  const auto bytes = file(state + ".arbiter");
  Content content(bytes.size());
  content.write(0, bytes);
  return content;
}

inline old::Copy copy_on(Content& content) {
  old::Copy copy;
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& d) -> Task<void> {
    auto found = co_await old::find_copy(env.scheduler(), env.buffers(), d, kVolume);
    EXPECT_TRUE(found.has_value() && found->has_value());
    if (found && *found) copy = std::move(**found);
  }));
  return copy;
}
inline old::Record record_of(const std::string& state) {
  Content content = arbiter(state);
  old::Record record;
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& d) -> Task<void> {
    auto found = co_await old::find_record(env.scheduler(), env.buffers(), d);
    EXPECT_TRUE(found.has_value());
    if (found && *found) record = **found;
  }));
  return record;
}

// As `volume upgrade` makes it with all copies and the arbiter's state at hand.
inline UpgradePlan plan(const std::string& state) {
  UpgradePlan plan;
  plan.volume = Cluster::kVolumeId;
  plan.names = {"A", "B", "C"};
  plan.record = record_of(state);
  plan.lease_ms = 80;
  for (int node = 0; node < 3; ++node) {
    Content content = device(state, node);
    plan.histories.push_back({static_cast<NodeId>(node), copy_on(content).history});
  }
  return plan;
}

inline DeviceWork upgrading(const UpgradePlan& plan, int node, Errc expected = Errc::ok) {
  return [&plan, node, expected](TestEnv& env, TestDevice& d) -> Task<void> {
    const Status done = co_await upgrade_copy(env, d, plan, static_cast<NodeId>(node), kVolume);
    EXPECT_EQ(done ? Errc::ok : done.error().code, expected) << (done ? "" : to_string(done.error()));
  };
}

}  // namespace version_1
}  // namespace resilver::replica
