// A device is made anew: whatever is left where that was interrupted is the copy that was there, whole, or the new one.
#include <gtest/gtest.h>

#include "replica/offline.h"
#include "replica/replica.h"
#include "tests/replica/history.h"
#include "tests/replica/test_device.h"

namespace resilver::replica {
namespace {

constexpr std::uint64_t kVolume = 4 << 20, kBits = 1 << 18;

ReplicaConfig config() {
  ReplicaConfig c;
  c.volume = {1, 2};
  c.self = 0;
  c.name = "A";
  c.peers = {{1, "B", "B"}, {2, "C", "C"}};
  c.arbiter = "arbiter";
  c.volume_bytes = kVolume;
  return c;
}
DeviceWork open_as(Start start, std::uint64_t seed = 1) {
  return [start, seed](TestEnv& env, TestDevice& device) -> Task<void> {
    env.random() = Random(seed);
    const auto opened = co_await Replica::open(env, config(), device, start);
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : to_string(opened.error()));
  };
}

// A copy that belongs to a history, with marks and intent bits.
Content used(std::uint64_t device_bytes, std::vector<std::byte>* bits) {
  Content content(device_bytes);
  EXPECT_TRUE(run_on(content, open_as(Start::new_volume)));
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    OfflineCopy copy(env, device);
    EXPECT_TRUE((co_await copy.load(kVolume, SmallRecord::Mend::yes)).has_value());
    History tree(3);
    const int base = tree.promote(History::kRoot, 0, {7});
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(co_await copy.metadata.update([&](Superblock& s) { s.follow(tree[base]); }), Errc::ok);
      EXPECT_EQ(co_await copy.marks.update([](Marks& m) { ++m.position.seq; }), Errc::ok);
    }
    EXPECT_EQ(co_await copy.bits.set({1 << 20, 1 << 20}), Errc::ok);
    bits->resize(copy.bits.bytes());
    copy.bits.copy_to(*bits);
  }));
  return content;
}

TEST(Format, InterruptedItLeavesTheCopyThatWasThereWithItsBitsOrTheNewOne) {
  for (const std::uint64_t bytes : {kVolume + Layout::wanted_bytes(kBits), kVolume + Layout::least_bytes(kBits)}) {
    std::vector<std::byte> bits;
    const Content before = used(bytes, &bits);
    int old = 0, fresh = 0;
    at_every_cut(before, open_as(Start::new_copy, 2), [&](Content& left) {
      ASSERT_TRUE(run_on(left, [&](TestEnv& env, TestDevice& device) -> Task<void> {
        OfflineCopy copy(env, device);
        const Status loaded = co_await copy.load(kVolume, SmallRecord::Mend::yes);
        EXPECT_TRUE(loaded.has_value()) << (loaded ? "" : to_string(loaded.error()));
        if (!loaded) co_return;
        if (copy.metadata.now().fresh()) {
          ++fresh;
          EXPECT_TRUE(copy.metadata.now().known.virgin());
          EXPECT_EQ(copy.marks.now().counter, 0u);
        } else {
          ++old;
          EXPECT_EQ(copy.marks.now().counter, 5u);
          std::vector<std::byte> now(bits.size());
          copy.bits.copy_to(now);
          for (std::size_t i = 0; i < bits.size(); ++i) EXPECT_EQ(now[i] & bits[i], bits[i]) << "byte " << i;
        }
      }));
      ASSERT_TRUE(run_on(left, open_as(Start::as_it_is))) << "and the node starts";
    });
    EXPECT_GT(old, 0);
    EXPECT_GT(fresh, 0);
  }
}

TEST(Format, InterruptedOnAnEmptyDeviceItIsBegunAgain) {
  const Content empty(kVolume + Layout::wanted_bytes(kBits));
  at_every_cut(empty, open_as(Start::new_volume), [&](Content& left) {
    ASSERT_TRUE(run_on(left, open_as(Start::new_volume)));
    ASSERT_TRUE(run_on(left, [&](TestEnv& env, TestDevice& device) -> Task<void> {
      OfflineCopy copy(env, device);
      EXPECT_TRUE((co_await copy.load(kVolume, SmallRecord::Mend::no)).has_value());
      EXPECT_TRUE(copy.metadata.now().founder && copy.metadata.now().fresh());
      EXPECT_EQ(copy.bits.bits_set(), 0u);
      EXPECT_EQ(copy.bits.damaged_sectors(), 0u);
      EXPECT_EQ(copy.metadata.bad_copies(), 0u);
      EXPECT_EQ(copy.marks.now().counter, 0u);
    }));
  });
}

}  // namespace
}  // namespace resilver::replica
