// Where a copy's metadata lie: for devices of all sizes around where something changes; how they are found again on one that
// has grown or shrunk, and that nothing inside the volume is taken for them.
#include "replica/layout.h"

#include <gtest/gtest.h>

#include "replica/codec.h"
#include "replica/metadata.h"
#include "replica/offline.h"
#include "tests/replica/history.h"
#include "tests/replica/test_device.h"

namespace resilver::replica {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
using Mend = SmallRecord::Mend;

// ---- sizes -----------------------------------------------------------------------------------------------------------

void check_layout(const Layout& layout, std::uint64_t volume, std::uint64_t bits, std::uint64_t device) {
  std::vector<Extent> areas = {
      {0, volume}, {layout.bits_at, IntentBitmap::disk_bytes(bits)}, {layout.marks_at, MarkStore::kBytes}};
  for (std::uint64_t i = 0; i < SmallRecord::kCopies; ++i) areas.push_back({layout.record.copy(i), layout.record.room});
  areas.push_back({device - kBlockBytes, kBlockBytes});  // the anchor
  for (std::size_t i = 0; i + 1 < areas.size(); ++i) {
    ASSERT_EQ(areas[i].offset % kBlockBytes, 0u);
    ASSERT_LE(areas[i].end(), areas[i + 1].offset) << "area " << i;
  }
  ASSERT_GE(layout.record.stride, layout.record.room);
  ASSERT_LE(layout.record.stride, kMiB);
  ASSERT_EQ(layout.record.at, Layout::record_at(volume, bits));
  ASSERT_EQ(layout.end(), layout.record.end() + kBlockBytes);
  ASSERT_EQ(layout.volume_bytes, volume);
  ASSERT_EQ(layout.bit_count, bits);
}

TEST(Layout, FitsEveryDeviceThatIsLargeEnough) {
  for (const std::uint64_t volume : {kBlockBytes, 8 * kMiB, 12345 * kBlockBytes, std::uint64_t{3} << 40}) {
    for (std::uint64_t bits = kLeastIntentBits; bits <= kMaxIntentBits; bits *= 2) {
      const std::uint64_t least = volume + Layout::least_bytes(bits), wanted = volume + Layout::wanted_bytes(bits);
      std::uint64_t room = 0, stride = 0;
      for (std::uint64_t device = least - 8 * kBlockBytes; device < wanted + 8 * kBlockBytes; device += kBlockBytes) {
        const auto layout = Layout::fit(volume, bits, device);
        ASSERT_EQ(layout.has_value(), device >= least) << volume << " " << bits << " " << device;
        if (!layout) continue;
        check_layout(*layout, volume, bits, device);
        ASSERT_FALSE(::testing::Test::HasFailure()) << volume << " " << bits << " " << device;
        ASSERT_GE(layout->record.room, room) << "more room, more of it is used";
        if (layout->record.room == room) ASSERT_GE(layout->record.stride, stride);
        room = layout->record.room;
        stride = layout->record.stride;
        if (device == least) ASSERT_EQ(room, kBlockBytes);
        if (device >= wanted)
          ASSERT_EQ(layout->record, (SmallRecord::Place{layout->record.at, kMiB, SmallRecord::kMostRoom}));
        const bool boundary = device < least + 64 * kBlockBytes || device + 64 * kBlockBytes > wanted;
        if (!boundary) device += 31 * kBlockBytes;
      }
    }
  }
}

TEST(Layout, SmallAndOddDevicesHaveNone) {
  for (const std::uint64_t device : {std::uint64_t{0}, kBlockBytes, 8 * kMiB})
    EXPECT_FALSE(Layout::fit(8 * kMiB, kLeastIntentBits, device).has_value());
}

// ---- the anchor ------------------------------------------------------------------------------------------------------

TEST(Anchor, IsWhatTheLastBlockSays) {
  Content content(4 * kBlockBytes);
  const Anchor written{{1, 2}, {3, 4}, 5 * kMiB, 1 << 18};
  const auto read = [](Content c) {
    std::optional<Anchor> found;
    EXPECT_TRUE(run_on(c, [&](TestEnv& env, TestDevice& device) -> Task<void> {
      found = co_await read_anchor(env.scheduler(), env.buffers(), device);
    }));
    return found;
  };
  EXPECT_FALSE(read(content).has_value());
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    EXPECT_EQ(co_await write_anchor(env.scheduler(), env.buffers(), device, written), Errc::ok);
    EXPECT_EQ(device.offsets, std::vector<std::uint64_t>{3 * kBlockBytes});
  }));
  EXPECT_EQ(read(content), written);
  for (std::uint64_t at = 3 * kBlockBytes; at < 4 * kBlockBytes; at += 7) {
    Content rotten = content;
    rotten.flip(at, at % 8);
    EXPECT_FALSE(read(rotten).has_value()) << at;
  }
  Content worse = content;
  worse.unreadable = {3};
  EXPECT_FALSE(read(worse).has_value());
  worse = content;
  worse.resize(5 * kBlockBytes);
  EXPECT_FALSE(read(worse).has_value()) << "it is not the last block any more";
}

// ---- a copy on a device ----------------------------------------------------------------------------------------------

constexpr std::uint64_t kVolume = 2 * kMiB, kBits = 1 << 18;

Superblock some_super(std::uint64_t bits = kBits) {
  Superblock super;
  super.volume = {1, 2};
  super.copy = {3, 4};
  super.node = "A";
  super.volume_bytes = kVolume;
  super.bit_count = bits;
  super.granule = granule_for(kVolume, bits);
  return super;
}
Content formatted(const Superblock& super, std::uint64_t device_bytes) {
  Content content(device_bytes);
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    MetadataStore store(env.scheduler(), env.buffers(), device);
    EXPECT_EQ(co_await store.format(super), Errc::ok);
  }));
  return content;
}
struct Found {
  Errc code = Errc::ok;
  Superblock super;
  std::optional<Anchor> anchor;
  bool operator==(const Superblock& s) const { return code == Errc::ok && super == s; }
};
Found load(Content content, std::uint64_t volume = kVolume, std::uint64_t bits = kBits, Mend mend = Mend::no) {
  Found found;
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    MetadataStore store(env.scheduler(), env.buffers(), device);
    const Status loaded = co_await store.load(volume, bits, mend);
    if (!loaded) found.code = loaded.error().code;
    found.super = store.now();
    found.anchor = store.anchor();
    if (mend == Mend::no) EXPECT_EQ(device.writes(), 0u);
  }));
  return found;
}
Held::Kind held(Content content, std::uint64_t volume = kVolume) {
  Held::Kind kind{};
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    const auto found = co_await look_at(env, device, volume);
    EXPECT_TRUE(found.has_value());
    if (found) kind = found->kind;
    EXPECT_EQ(device.writes(), 0u);
  }));
  return kind;
}

constexpr std::uint64_t kLeast = kVolume + 9 * kBlockBytes + MarkStore::kBytes + 7 * kBlockBytes;
const std::uint64_t kWanted = kVolume + Layout::wanted_bytes(kBits);

TEST(Metadata, AreFoundOnADeviceOfTheirSizeAndOnOneThatHasGrown) {
  const Superblock super = some_super();
  ASSERT_EQ(kLeast, kVolume + Layout::least_bytes(kBits));
  for (const std::uint64_t made : {kLeast, kLeast + 3 * kBlockBytes, kLeast + 50 * kBlockBytes, kLeast + kMiB,
                                   kWanted - kBlockBytes, kWanted, kWanted + 9 * kMiB}) {
    const Content content = formatted(super, made);
    ASSERT_TRUE(load(content) == super) << made;
    for (const std::uint64_t more : {std::uint64_t{1}, std::uint64_t{5}, std::uint64_t{300}, std::uint64_t{20'000}}) {
      Content grown = content;
      grown.resize(made + more * kBlockBytes);
      ASSERT_TRUE(load(grown) == super) << made << " " << more;
      ASSERT_EQ(held(grown), Held::Kind::copy);
      // One spot may be bad, too, also the first copy, which tells where the others are.
      for (std::uint64_t i = 0; i < SmallRecord::kCopies; ++i) {
        const auto layout = Layout::fit(kVolume, kBits, made);
        Content bad = grown;
        bad.zero(layout->record.copy(i), kBlockBytes);
        ASSERT_TRUE(load(bad) == super) << made << " " << more << ", copy " << i;
        bad.unreadable.insert(layout->record.copy(i) / kBlockBytes);
        ASSERT_TRUE(load(bad, kVolume, kBits, Mend::yes) == super) << made << " " << more << ", copy " << i;
      }
    }
  }
}

// Where a device has grown, a copy that is made anew lies elsewhere than the one before it.
TEST(Metadata, ThatAreDamagedAreNotTakenForThoseOfACopyBefore) {
  Content content = formatted(some_super(), kLeast + 40 * kBlockBytes);
  content.resize(kWanted);
  Superblock super = some_super();
  super.copy = {5, 5};
  EXPECT_TRUE(run_on(content, [&](TestEnv& env, TestDevice& device) -> Task<void> {
    MetadataStore store(env.scheduler(), env.buffers(), device);
    EXPECT_EQ(co_await store.format(super), Errc::ok);
  }));
  ASSERT_TRUE(load(content) == super);
  const auto layout = Layout::fit(kVolume, kBits, kWanted);
  for (const std::uint64_t i : {0, 1, 2, 3}) {
    if (i < 3) ASSERT_TRUE(load(content) == super) << i;
    content.zero(layout->record.copy(i), SmallRecord::kMostRoom);
  }
  EXPECT_EQ(load(content).code, Errc::corrupt);
  EXPECT_EQ(held(content), Held::Kind::damaged);
}

// What is left of it is not nothing: nobody may make a new copy in its place unasked.
TEST(Metadata, OfADeviceThatHasShrunkAreDamagedNotAbsent) {
  for (const std::uint64_t made : {kLeast + kMiB, kWanted, kWanted + kMiB}) {
    const Content content = formatted(some_super(), made);
    const auto layout = Layout::fit(kVolume, kBits, made);
    const std::uint64_t least = layout->record.at + layout->record.room;
    for (std::uint64_t size = made; size >= least; size -= size > least + kMiB / 8 ? 17 * kBlockBytes : kBlockBytes) {
      Content shrunk = content;
      shrunk.resize(size);
      const bool whole = size >= layout->record.end();
      ASSERT_EQ(load(shrunk).code, whole ? Errc::ok : Errc::corrupt) << made << " " << size;
      ASSERT_EQ(held(shrunk), whole ? Held::Kind::copy : Held::Kind::damaged) << made << " " << size;
    }
  }
}

TEST(Metadata, OfAnotherSizeAreToldByTheAnchor) {
  const Content content = formatted(some_super(), kWanted);
  for (const std::uint64_t wrong : {kVolume - kMiB, kVolume + kBlockBytes, kVolume + kMiB}) {
    const Found found = load(content, wrong);
    EXPECT_EQ(found.code, Errc::bad_input) << wrong;
    ASSERT_TRUE(found.anchor.has_value());
    EXPECT_EQ(*found.anchor, (Anchor{{1, 2}, {3, 4}, kVolume, kBits}));
    EXPECT_EQ(held(content, wrong), Held::Kind::other_size);
  }
}

TEST(Metadata, ThatWereZeroedAreDamagedAsLongAsTheAnchorIsThere) {
  Content content = formatted(some_super(), kWanted);
  content.zero(kVolume, kWanted - kVolume - kBlockBytes);
  EXPECT_EQ(load(content).code, Errc::corrupt);
  EXPECT_EQ(held(content), Held::Kind::damaged);
  content.zero(kWanted - kBlockBytes, kBlockBytes);
  EXPECT_EQ(load(content).code, Errc::not_found);
  EXPECT_EQ(held(content), Held::Kind::nothing);
}

TEST(Metadata, WithFewerBitsAreFoundToo) {
  for (std::uint64_t bits = kLeastIntentBits; bits <= kBits; bits *= 2) {
    const Superblock super = some_super(bits);
    for (const std::uint64_t bytes : {kVolume + Layout::least_bytes(bits), kWanted}) {
      Content content = formatted(super, bytes);
      EXPECT_TRUE(load(content) == super) << bits << " " << bytes;
      content.resize(bytes + 100 * kBlockBytes);
      EXPECT_TRUE(load(content) == super) << bits << " " << bytes;
    }
  }
}

// A guest may keep a copy of a volume in its own: of the very same one, at every place.
TEST(Metadata, InsideTheVolumeAreNeverFound) {
  constexpr std::uint64_t kOuter = 24 * kMiB;
  Superblock super = some_super();
  const Content nested = formatted(super, kWanted);
  const std::uint64_t device = kOuter + Layout::wanted_bytes(kBits);
  const std::vector<std::byte> image = nested.get(0, nested.size_bytes());
  for (const std::uint64_t at : {std::uint64_t{0}, kMiB, 3 * kBlockBytes, kOuter - kWanted, kOuter - 2 * kMiB}) {
    Content outer(device);
    const std::uint64_t inside = std::min<std::uint64_t>(image.size(), kOuter - at);
    outer.write(at, std::span(image).first(inside));
    EXPECT_EQ(load(outer, kOuter).code, Errc::not_found) << at;
    EXPECT_EQ(held(outer, kOuter), Held::Kind::nothing) << at;
    // And beside the outer one's own, whole, damaged, or told with a wrong size.
    super.volume_bytes = kOuter;
    super.granule = granule_for(kOuter, kBits);
    super.copy = {8, 8};
    EXPECT_TRUE(run_on(outer, [&](TestEnv& env, TestDevice& d) -> Task<void> {
      MetadataStore store(env.scheduler(), env.buffers(), d);
      EXPECT_EQ(co_await store.format(super), Errc::ok);
    }));
    EXPECT_TRUE(load(outer, kOuter) == super) << at;
    if (at != 0 && at + kVolume != kOuter) EXPECT_EQ(load(outer, at + kVolume).code, Errc::bad_input) << at;
    outer.zero(kOuter, device - kOuter - kBlockBytes);
    EXPECT_EQ(load(outer, kOuter).code, Errc::corrupt) << at;
  }
}

// ---- updates ---------------------------------------------------------------------------------------------------------

Superblock busy_super() {
  Superblock super = some_super();
  History tree(3);
  const int base = tree.promote(History::kRoot, 1, {7});
  super.follow(tree[tree.change(base, {3})]);
  super.attachment = 77;
  super.resync_id = 5;
  super.inconsistent = super.suspect = super.founder = true;
  super.growing_from = kMiB;
  super.arbiter = {{5, 5}, 6, 7};
  super.promise = {1, {{2, 3}, 4, 5}, 6, 7};
  super.note_fork({{9, 9}, {10, 11}});
  EXPECT_TRUE(super.add_lost({kBlockBytes, 2 * kBlockBytes}));
  return super;
}

TEST(Metadata, AnUpdateThatIsInterruptedIsTheOldOrTheNew) {
  const Superblock before = some_super(), after = busy_super();
  for (const std::uint64_t bytes : {kLeast, kWanted}) {
    const DeviceWork update = [&](TestEnv& env, TestDevice& device) -> Task<void> {
      MetadataStore store(env.scheduler(), env.buffers(), device);
      EXPECT_TRUE((co_await store.load(kVolume, kBits, Mend::yes)).has_value());
      EXPECT_EQ(co_await store.update([&](Superblock& s) { s = after; }), Errc::ok);
      EXPECT_EQ(store.now(), after);
    };
    Content content = formatted(before, bytes);
    at_every_cut(content, update, [&](Content& left) {
      const Found found = load(left);
      ASSERT_TRUE(found == before || found == after);
    });
    ASSERT_TRUE(run_on(content, update));
    EXPECT_TRUE(load(content) == after);
  }
}

// The largest that there can be; `reigns` of them fit where each copy has one block.
TEST(Metadata, OfMaximalSizeFitEverywhereAndForgetTheOldestReignsWhereTheyMust) {
  Superblock super = busy_super();
  super.node = std::string(kMaxTextBytes, 'n');
  Record record;
  record.volume = super.volume;
  for (unsigned i = 0; i < kMaxNodes; ++i) record.slots.push_back({1 + i, {3, i + 1}, 0, 0});
  for (unsigned i = 0; i < 150; ++i)
    record = next_reign(record, {.nonce = i + 1u, .seed = 5, .primary = 31}, {i < 31 ? ~0u << i : 1u << 31}, i);
  for (std::uint64_t i = 0; i < Record::kMaxGivenUp; ++i) record.given_up.push_back({i + 1, i});
  ASSERT_TRUE(sound(record));
  ASSERT_EQ(record.reigns.size(), Record::kMaxReigns + 31);
  super.follow(record);
  for (std::uint64_t i = 0; i < 2 * Superblock::kMaxForks; ++i) super.note_fork({{1, i + 1}, {i, i}});
  ASSERT_EQ(super.forks.size(), Superblock::kMaxForks);
  super.lost.clear();
  for (std::uint64_t i = 0; i < Superblock::kMaxLost; ++i)
    ASSERT_TRUE(super.add_lost({2 * i * kBlockBytes, kBlockBytes}));
  EXPECT_FALSE(super.add_lost({kMiB + kBlockBytes * 999, kBlockBytes}));
  EXPECT_TRUE(load(formatted(super, kWanted)) == super);

  const Found tight = load(formatted(super, kLeast));
  ASSERT_EQ(tight.code, Errc::ok);
  const Record& known = tight.super.known;
  EXPECT_GE(known.reigns.size(), 1u);
  EXPECT_LT(known.reigns.size(), record.reigns.size());
  EXPECT_EQ(kinship(known, record), Kinship::same);
  EXPECT_EQ(kinship(known, next_epoch(record, record.in_sync, 8)), Kinship::newer);
  EXPECT_EQ(kinship(next_epoch(record, record.in_sync, 8), known), Kinship::stale);
  Superblock but_for_reigns = super;
  but_for_reigns.known.reigns = known.reigns;
  EXPECT_EQ(tight.super, but_for_reigns);
}

TEST(Metadata, LostBlocksAreABlockEach) {
  Superblock super = some_super();
  EXPECT_TRUE(super.add_lost({4 * kBlockBytes, 4 * kBlockBytes}));
  EXPECT_TRUE(super.add_lost({5 * kBlockBytes, 2 * kBlockBytes})) << "twice is once";
  EXPECT_EQ(super.lost.size(), 4u);
  EXPECT_TRUE(super.lost_in({7 * kBlockBytes, kBlockBytes}));
  EXPECT_FALSE(super.lost_in({8 * kBlockBytes, kBlockBytes}));
  super.remove_lost({5 * kBlockBytes, kBlockBytes});
  EXPECT_EQ(super.lost.size(), 3u);
  EXPECT_FALSE(super.lost_in({5 * kBlockBytes, kBlockBytes}));
  EXPECT_TRUE(load(formatted(super, kWanted)) == super);
}

}  // namespace
}  // namespace resilver::replica
