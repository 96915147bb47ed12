// Arrays as they are found: superblocks with fields that we do not use, members without a bad-block log, data that begins
// where old programs put it, halves of a mirror that went on alone, bitmaps that are damaged.
#include <cstdlib>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

// Offsets in a superblock.
constexpr std::size_t kFeatures = 8, kDataOffset = 128, kDataSize = 136, kDevflags = 184, kLogShift = 185,
                      kLogSize = 186, kLogOffset = 188, kPadding = 224;

class ArrayInTheWild : public ArrayTest {
 protected:
  // The block at sector 24 of an image: one range of bad blocks.
  static void set_bad(const std::string& path, std::uint64_t sector, std::uint64_t sectors) {
    overwrite(path, 24 * 512, le(sector << 10 | sectors, 8) + std::string(4096 - 8, '\xff'));
    set_field(path, kFeatures, le(field(path, kFeatures, 4) | 8, 4));
  }
  std::string all() { return export_text(0, std::stoull(status_of("size"))); }
};

TEST_F(ArrayInTheWild, WhatIsOfOneMemberStaysThere) {
  create(1, 2);
  set_field(image(1), kDevflags, le(1, 1));            // write-mostly
  set_field(image(0), kPadding, le(0x1234567890, 8));  // whatever that is
  set_field(image(0), 164, le(7, 4));                  // cnt_corrected_read
  set_field(image(1), kLogShift, le(9, 1));            // mdadm's, of a log that was never used
  set_field(image(0), 32 + 20, "behind");              // behind the end of the name
  for (const Words& command : {Words{"assemble", vm_}, Words{"scrub", vm_}}) {
    done(command);
    EXPECT_EQ(field(image(0), kDevflags, 1), 0u);
    EXPECT_EQ(field(image(1), kDevflags, 1), 1u);
    EXPECT_EQ(field(image(0), kPadding, 8), 0x1234567890u);
    EXPECT_EQ(field(image(1), kPadding, 8), 0u);
    EXPECT_EQ(field(image(0), 164, 4), 7u);
    EXPECT_EQ(field(image(1), 164, 4), 0u);
    EXPECT_EQ(field(image(1), kLogShift, 1), 9u);
    EXPECT_EQ(read_text(image(0)).substr(4096 + 32 + 20, 6), "behind");
  }
  import(noise(100'000));
  done({"fail", vm_, "disk1"});
  done({"add", vm_, "disk1"});
  done({"rebuild", vm_});
  EXPECT_EQ(field(image(0), kPadding, 8), 0x1234567890u);
  EXPECT_EQ(field(image(1), kDevflags, 1), 0u) << "a new disk";
}

// What a member has no log for costs that row, not the member.
TEST_F(ArrayInTheWild, AMemberWithoutABadBlockLogIsNotGivenUp) {
  for (const bool no_offset : {false, true}) {
    SCOPED_TRACE(no_offset);
    fs::remove_all(vm_);
    create(5, 4, {}, "9M");
    const std::string old = noise(3 << 20);
    import(old);
    for (const int i : {1, 2, 3}) set_field(image(i), no_offset ? kLogOffset : kLogSize, le(0, no_offset ? 4 : 2));
    const std::uint64_t data = field(image(0), kDataOffset, 8);
    set_bad(image(0), data + 8, 8);
    done({"fail", vm_, "disk1"});
    // The row of the bad block, one sector of each other chunk in turn: refused or written, never a member lost.
    for (int chunk = 0; chunk < 3; ++chunk) {
      write_text(file_, std::string(4096, 'x'));
      const Ended ended = run({"import", vm_, file_, "--offset", std::to_string(chunk * 65536 + 4096)});
      EXPECT_TRUE(ended.code == 0 || ended.code == 1) << ended.all();
      EXPECT_EQ(slots(), "U_UU") << ended.all();
      EXPECT_EQ(field(image(2), 0, 4), 0xa92b4efcu);
    }
    EXPECT_TRUE(export_text(1 << 20, 2 << 20) == old.substr(1 << 20));
  }
}

TEST_F(ArrayInTheWild, AFullBadBlockLogCostsTheRowNotTheMember) {
  create(5, 4, {}, "9M");
  const std::uint64_t data = field(image(0), kDataOffset, 8);
  for (const int i : {1, 2, 3}) {  // 512 single rows, far from the one that is written
    std::string log;
    for (std::uint64_t k = 0; k < 512; ++k) log += le((data + 1024 + 16 * k) << 10 | 8, 8);
    overwrite(image(i), 24 * 512, log);
    set_field(image(i), kFeatures, le(8, 4));
  }
  set_bad(image(0), data + 8, 8);
  done({"fail", vm_, "disk1"});
  for (int chunk = 0; chunk < 3; ++chunk) {
    write_text(file_, std::string(4096, 'x'));
    run({"import", vm_, file_, "--offset", std::to_string(chunk * 65536 + 4096)});
    EXPECT_EQ(slots(), "U_UU");
  }
}

// mdadm of 2010: the data begins at sector 272; of still older ones at 16 and 24.
TEST_F(ArrayInTheWild, MetadataIsPlacedBeforeTheDataWhereverThatBegins) {
  for (const std::uint64_t offset : {272u, 144u, 32u, 24u, 16u}) {
    for (const bool bitmap : {false, true}) {
      SCOPED_TRACE(std::to_string(offset) + (bitmap ? " bitmap" : ""));
      if (bitmap && offset < 24) continue;
      fs::remove_all(vm_);
      create(5, 3, bitmap ? Words{"--consistency", "bitmap"} : Words{});
      for (int i = 0; i < 3; ++i) {
        set_field(image(i), kLogSize, le(0, 2));
        set_field(image(i), kDataOffset, le(offset, 8));
        set_field(image(i), kDataSize, le((16 << 11) - offset, 8));
      }
      const std::string text = noise(1 << 20);
      import(text);
      done({"add", vm_, "disk3", "--size", "300G"});
      done({"assemble", vm_});
      done({"fail", vm_, "disk0"});
      done({"rebuild", vm_});
      EXPECT_EQ(slots(), "UUU");
      EXPECT_EQ(field(vm_ + "/disk3.img", kDataOffset, 8), offset);
      fs::remove(image(1));
      EXPECT_TRUE(export_text(0, 1 << 20) == text);
    }
  }
}

}  // namespace
}  // namespace resilver::test
