// The intent bitmap: what was promised as set is set after whatever happened, and what rots is not "nothing was written".
#include <gtest/gtest.h>

#include <optional>

#include "replica/intent_bitmap.h"
#include "replica/small_record.h"
#include "tests/replica/test_device.h"

namespace resilver::replica {
namespace {

constexpr std::uint64_t kAt = 3 * kBlockBytes, kPerSector = IntentBitmap::kBitsPerSector;

struct Shape {
  std::uint64_t count = 1 << 16, granule = 64 << 10;
  std::uint64_t volume = 60'000 * granule - 3 * kBlockBytes;  // the last bits stand for nothing
  std::uint64_t used() const { return (volume + granule - 1) / granule; }
  std::uint64_t blocks() const { return IntentBitmap::disk_bytes(count) / kBlockBytes; }
};

class Rig {
 public:
  Rig(Content& content, const Shape& s) : shape(s), device(env.scheduler(), content) {
    bits.emplace(env.scheduler(), env.buffers(), device);
    bits->place(kAt, s.count, s.granule, s.volume);
  }
  template <typename Member, typename... Arguments>
  Errc run(Member member, Arguments... arguments) {
    return env.scheduler().get(((*bits).*member)(arguments...));
  }
  Errc set(std::uint64_t bit, std::uint64_t n = 1) {
    return run(&IntentBitmap::set, Extent{bit * shape.granule, n * shape.granule});
  }
  std::vector<bool> as_list() const {
    std::vector<bool> list(shape.count);
    for (std::uint64_t i = 0; i < shape.count; ++i) list[i] = bits->test(i);
    return list;
  }

  Shape shape;
  TestEnv env;
  TestDevice device;
  std::optional<IntentBitmap> bits;
};

Content empty(const Shape& s) {
  Content content(kAt + IntentBitmap::disk_bytes(s.count) + kBlockBytes);
  Rig rig(content, s);
  EXPECT_EQ(rig.run(&IntentBitmap::format), Errc::ok);
  return content;
}
std::vector<bool> read_back(Content content, const Shape& s, std::uint64_t* damaged = nullptr) {
  Rig rig(content, s);
  EXPECT_EQ(rig.run(&IntentBitmap::load), Errc::ok);
  std::uint64_t set = 0;
  for (const bool bit : rig.as_list()) set += bit;
  EXPECT_EQ(rig.bits->bits_set(), set);
  if (damaged != nullptr) *damaged = rig.bits->damaged_sectors();
  return rig.as_list();
}
// Every bit of `part` is in `all`.
bool covers(const std::vector<bool>& all, const std::vector<bool>& part) {
  for (std::size_t i = 0; i < part.size(); ++i) {
    if (part[i] && !all[i]) return false;
  }
  return true;
}

TEST(IntentBitmap, BehavesLikeAListOfBits) {
  const Shape shape;
  Content content = empty(shape);
  Random random(5);
  std::vector<bool> model(shape.count);
  std::optional<Rig> rig(std::in_place, content, shape);
  ASSERT_EQ(rig->run(&IntentBitmap::load), Errc::ok);
  for (int step = 0; step < 500; ++step) {
    const std::uint64_t bit = random.below(shape.used() - 40), n = 1 + random.below(40);
    switch (random.below(10)) {
      default:
        ASSERT_EQ(rig->set(bit, n), Errc::ok);
        for (std::uint64_t i = bit; i < bit + n; ++i) model[i] = true;
        ASSERT_TRUE(covers(read_back(content, shape), model)) << "durable";
        break;
      case 7:
        rig->bits->clear({bit * shape.granule, n * shape.granule});
        for (std::uint64_t i = bit; i < bit + n; ++i) model[i] = false;
        break;
      case 8: {
        std::vector<std::byte> theirs(rig->bits->bytes());
        for (std::uint64_t i = bit; i < bit + n; ++i) theirs[i / 8] |= std::byte{1} << (i % 8), model[i] = true;
        ASSERT_EQ(rig->run(&IntentBitmap::merge, std::span<const std::byte>(theirs)), Errc::ok);
        ASSERT_TRUE(covers(read_back(content, shape), model));
        break;
      }
      case 9:
        ASSERT_EQ(rig->run(&IntentBitmap::write_back), Errc::ok);
        ASSERT_EQ(read_back(content, shape), model);
        break;
    }
    if (step % 100 == 99) {
      ASSERT_EQ(rig->as_list(), model);
      ASSERT_EQ(rig->run(&IntentBitmap::write_back), Errc::ok);
      rig.emplace(content, shape);
      ASSERT_EQ(rig->run(&IntentBitmap::load), Errc::ok);
      ASSERT_EQ(rig->as_list(), model);
    }
  }
}

TEST(IntentBitmap, ASectorThatIsDamagedCountsAsAllOnesAndNoOtherDoes) {
  const Shape shape;
  Content whole = empty(shape);
  {
    Rig rig(whole, shape);
    ASSERT_EQ(rig.run(&IntentBitmap::load), Errc::ok);
    for (std::uint64_t bit = 3; bit < shape.used(); bit += 500) ASSERT_EQ(rig.set(bit), Errc::ok);
  }
  const std::vector<bool> model = read_back(whole, shape);
  const std::uint64_t sectors = (shape.count + kPerSector - 1) / kPerSector;
  for (std::uint64_t sector = 0; sector < sectors; ++sector) {
    const std::uint64_t at = kAt + sector * kSectorBytes;
    const std::uint64_t elsewhere = kAt + (sector + 1) % sectors * kSectorBytes;
    std::vector<Content> spoilt(6, whole);
    spoilt[0].flip(at + 100);
    spoilt[1].zero(at, kSectorBytes);
    spoilt[2].write(at, whole.get(elsewhere, kSectorBytes));               // a good one of another place
    spoilt[3].write(at, std::vector(kSectorBytes, std::byte{0xff}));       //
    spoilt[4].flip(at + kSectorBytes - 1);                                 // its checksum
    spoilt[5].write(at + kSectorBytes - 8, std::vector(4, std::byte{9}));  // its tag
    for (std::size_t i = 0; i < spoilt.size(); ++i) {
      std::vector<bool> expected = model;
      for (std::uint64_t bit = sector * kPerSector; bit < std::min((sector + 1) * kPerSector, shape.used()); ++bit)
        expected[bit] = true;
      std::uint64_t damaged = 0;
      ASSERT_EQ(read_back(spoilt[i], shape, &damaged), expected) << "sector " << sector << ", " << i;
      ASSERT_EQ(damaged, 1u);
    }
  }
  for (std::uint64_t block = 0; block < shape.blocks(); ++block) {
    Content content = whole;
    content.unreadable.insert(kAt / kBlockBytes + block);
    std::vector<bool> expected = model;
    const std::uint64_t begin = block * IntentBitmap::kBitsPerBlock;
    for (std::uint64_t bit = begin; bit < std::min(begin + IntentBitmap::kBitsPerBlock, shape.used()); ++bit)
      expected[bit] = true;
    ASSERT_EQ(read_back(content, shape), expected) << "block " << block;
  }
  std::uint64_t damaged = 0;
  const auto none = read_back(Content(whole.size_bytes()), shape, &damaged);
  EXPECT_EQ(damaged, sectors);
  EXPECT_EQ(std::ranges::count(none, true), static_cast<std::ptrdiff_t>(shape.used())) << "zeroes are no bitmap";
}

TEST(IntentBitmap, WhatIsDamagedIsWholeAgainAfterAWrite) {
  const Shape shape;
  Content content = empty(shape);
  content.zero(kAt, kBlockBytes);
  content.unreadable.insert(kAt / kBlockBytes + 1);
  Rig rig(content, shape);
  ASSERT_EQ(rig.run(&IntentBitmap::load), Errc::ok);
  ASSERT_GT(rig.bits->damaged_sectors(), 0u);
  ASSERT_EQ(rig.set(5), Errc::ok) << "what only counts as set is not durable yet";
  ASSERT_EQ(rig.run(&IntentBitmap::write_all), Errc::ok);
  std::uint64_t damaged = 1;
  EXPECT_EQ(read_back(content, shape, &damaged), rig.as_list());
  EXPECT_EQ(damaged, 0u);
  rig.bits->clear({0, shape.volume});
  ASSERT_EQ(rig.run(&IntentBitmap::write_back), Errc::ok);
  EXPECT_EQ(read_back(content, shape), std::vector<bool>(shape.count));
}

// A bit that counts as set because its sector was bad is written before it is relied on.
TEST(IntentBitmap, ABitOfADamagedSectorIsWrittenBeforeItCountsAsDurable) {
  const Shape shape;
  Content content = empty(shape);
  content.flip(kAt + 40);
  Rig rig(content, shape);
  ASSERT_EQ(rig.run(&IntentBitmap::load), Errc::ok);
  ASSERT_TRUE(rig.bits->test(7));
  const auto before = rig.device.writes();
  ASSERT_EQ(rig.set(7), Errc::ok);
  EXPECT_EQ(rig.device.writes(), before + 1);
  ASSERT_EQ(rig.set(7), Errc::ok);
  EXPECT_EQ(rig.device.writes(), before + 1) << "once is enough";
}

// ---- interrupted -----------------------------------------------------------------------------------------------------

TEST(IntentBitmap, InterruptedNothingThatWasSetIsLost) {
  const Shape shape;
  Content before = empty(shape);
  std::vector<bool> kept(shape.count), cleared = kept;
  {
    Rig rig(before, shape);
    ASSERT_EQ(rig.run(&IntentBitmap::load), Errc::ok);
    for (std::uint64_t bit = 1; bit < shape.used(); bit += 97) {
      ASSERT_EQ(rig.set(bit), Errc::ok);
      (bit % 2 == 0 ? kept : cleared)[bit] = true;
    }
  }
  // Some are cleared, others are set at the same time, across blocks; `done` tells what was promised.
  std::vector<bool> promised, wanted = kept;
  const DeviceWork work = [&](TestEnv& env, TestDevice& device) -> Task<void> {
    promised = kept;
    IntentBitmap bits(env.scheduler(), env.buffers(), device);
    bits.place(kAt, shape.count, shape.granule, shape.volume);
    EXPECT_EQ(co_await bits.load(), Errc::ok);
    TaskGroup group(env.scheduler());
    for (std::uint64_t first : {10, 30'000, 31'000, 59'000, 32'250}) {
      group.spawn([](IntentBitmap& b, const Shape& s, std::uint64_t at, std::vector<bool>& out) -> Task<void> {
        EXPECT_EQ(co_await b.set({at * s.granule, 20 * s.granule}), Errc::ok);
        for (std::uint64_t i = at; i < at + 20; ++i) out[i] = true;
      }(bits, shape, first, promised));
      for (std::uint64_t i = first; i < first + 20; ++i) wanted[i] = true;
    }
    for (std::uint64_t bit = 1; bit < shape.used(); ++bit) {
      if (cleared[bit]) bits.clear({bit * shape.granule, shape.granule});
    }
    group.spawn([](IntentBitmap& b) -> Task<void> { EXPECT_EQ(co_await b.write_back(), Errc::ok); }(bits));
    co_await group.join();
  };
  int cuts = 0;
  at_every_cut(before, work, [&](Content& left) {
    ++cuts;
    std::uint64_t damaged = 1;
    const auto found = read_back(left, shape, &damaged);
    ASSERT_EQ(damaged, 0u) << "each sector is old or new";
    ASSERT_TRUE(covers(found, promised));
  });
  EXPECT_GT(cuts, 10);
  Content content = before;
  ASSERT_TRUE(run_on(content, work));
  EXPECT_TRUE(covers(read_back(content, shape), wanted));
}

TEST(IntentBitmap, AWriteThatFailsIsNoPromise) {
  const Shape shape;
  Content content = empty(shape);
  Rig rig(content, shape);
  ASSERT_EQ(rig.run(&IntentBitmap::load), Errc::ok);
  for (const Errc why : {Errc::no_space, Errc::medium, Errc::device_gone}) {
    rig.device.refuse_writes = why;
    EXPECT_EQ(rig.set(9), why);
    rig.device.refuse_writes = Errc::ok;
    EXPECT_EQ(rig.set(9), Errc::ok);
    EXPECT_TRUE(read_back(content, shape)[9]);
    rig.bits->clear({0, shape.volume});
    ASSERT_EQ(rig.run(&IntentBitmap::write_back), Errc::ok);
  }
}

TEST(IntentBitmap, NeedsNoMemoryThatDataFills) {
  const Shape shape;
  Content content = empty(shape);
  Rig rig(content, shape);
  ASSERT_EQ(rig.run(&IntentBitmap::load), Errc::ok);
  std::vector<Buffer> all;
  for (Buffer b = rig.env.buffers().allocate(kBlockBytes); b; b = rig.env.buffers().allocate(kBlockBytes))
    all.push_back(b);
  EXPECT_EQ(rig.set(9), Errc::ok);
  EXPECT_EQ(rig.set(40'000), Errc::ok);
  EXPECT_TRUE(read_back(content, shape)[9] && read_back(content, shape)[40'000]);
}

// ---- what bits stand for ---------------------------------------------------------------------------------------------

TEST(IntentBitmap, OnlyWhatIsWhollyInsideIsCleared) {
  const Shape shape;
  Content content = empty(shape);
  Rig rig(content, shape);
  ASSERT_EQ(rig.set(0, shape.used()), Errc::ok);
  ASSERT_EQ(rig.bits->bits_set(), shape.used());
  rig.bits->clear({kBlockBytes, shape.granule});
  EXPECT_EQ(rig.bits->bits_set(), shape.used());
  rig.bits->clear({shape.granule - kBlockBytes, 2 * shape.granule});
  EXPECT_FALSE(rig.bits->test(1));
  EXPECT_TRUE(rig.bits->test(0) && rig.bits->test(2));
  const Extent last = rig.bits->extent_of(shape.used() - 1);
  EXPECT_EQ(last.end(), shape.volume);
  EXPECT_LT(last.length, shape.granule);
  rig.bits->clear({last.offset, last.length - kBlockBytes});
  EXPECT_TRUE(rig.bits->test(shape.used() - 1));
  rig.bits->clear(last);
  EXPECT_FALSE(rig.bits->test(shape.used() - 1)) << "the volume's end is its end";
  EXPECT_EQ(rig.bits->extent_of(shape.count - 1).length, 0u) << "behind the volume";
}

// The same bytes are named by fewer bits, and by none too few.
TEST(IntentBitmap, FoldedItNamesTheSameAndMore) {
  const Shape fine;
  Random random(6);
  for (const std::uint64_t fold : {2, 4, 8}) {
    const Shape coarse{fine.count / fold, fine.granule * fold, fine.volume};
    for (int round = 0; round < 20; ++round) {
      Content content = empty(fine);
      Rig rig(content, fine);
      for (int i = 0; i < 30; ++i) ASSERT_EQ(rig.set(random.below(fine.used())), Errc::ok);
      ASSERT_EQ(rig.set(fine.used() - 1), Errc::ok);
      ExtentSet dirty, raw, again;
      rig.bits->add_to(dirty);
      std::vector<std::byte> bytes(rig.bits->bytes());
      rig.bits->copy_to(bytes);
      IntentBitmap::add_to(bytes, fine.granule, fine.volume, raw);
      EXPECT_EQ(raw.bytes(), dirty.bytes());
      Content folded(content.size_bytes());
      Rig other(folded, coarse);
      ASSERT_EQ(other.env.scheduler().get(other.bits->format_with(dirty)), Errc::ok);
      const auto found = read_back(folded, coarse);
      for (std::uint64_t bit = 0; bit < coarse.count; ++bit) {
        const Extent e = other.bits->extent_of(bit);
        ASSERT_EQ(found[bit], e.length > 0 && dirty.overlaps(e)) << bit;
      }
      other.bits->add_to(again);
      dirty.for_each([&](Extent e) {
        for (std::uint64_t at = e.offset; at < e.end(); at += kBlockBytes)
          ASSERT_TRUE(again.overlaps({at, kBlockBytes}));
      });
    }
  }
}

TEST(IntentBitmap, BitsBehindTheVolumeMeanNothing) {
  const Shape shape;
  std::vector<std::byte> bytes(shape.count / 8, std::byte{0xff});
  ExtentSet extents;
  IntentBitmap::add_to(bytes, shape.granule, shape.volume, extents);
  EXPECT_EQ(extents.bytes(), shape.volume);
  EXPECT_EQ(extents.count(), 1u);
}

TEST(IntentBitmap, RemembersWhatWasTouched) {
  const Shape shape;
  Content content = empty(shape);
  Rig rig(content, shape);
  ASSERT_EQ(rig.set(4, 3), Errc::ok);
  EXPECT_TRUE(rig.bits->touched(4) && rig.bits->touched(6) && !rig.bits->touched(7));
  rig.bits->forget_touched();
  EXPECT_FALSE(rig.bits->touched(4));
  ASSERT_EQ(rig.set(4), Errc::ok);
  EXPECT_TRUE(rig.bits->touched(4)) << "also if it was set";
  EXPECT_TRUE(rig.bits->empty_word(64) && !rig.bits->empty_word(4));
}

}  // namespace
}  // namespace resilver::replica
