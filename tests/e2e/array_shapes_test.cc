// Every shape that md runs: arrays of the fewest and of many disks, of odd and of large chunks, of more copies.
#include <filesystem>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

class ArrayShapes : public ArrayTest {
 protected:
  // Holds what is written, also without these members, says so of itself, and scrubs clean.
  void holds_without(const std::vector<std::vector<int>>& losses, std::uint32_t seed) {
    const std::string text = noise(3'000'000, seed);
    import(text, 123'000);
    for (const auto& lost : losses) {
      for (const int index : lost) fs::rename(image(index), directory_ / ("away" + std::to_string(index)));
      EXPECT_EQ(export_text(123'000, text.size()), text);
      for (const int index : lost) fs::rename(directory_ / ("away" + std::to_string(index)), image(index));
    }
    EXPECT_EQ(export_text(123'000, text.size()), text);
  }
  void anew(int level, int disks, const Words& more, const std::string& size = "16M") {
    fs::remove_all(vm_);
    create(level, disks, more, size);
  }
};

TEST_F(ArrayShapes, TheSmallestArraysAreMadeAndUsed) {
  create(1, 1);
  holds_without({{}}, 1);
  EXPECT_EQ(slots(), "U");
  done({"assemble", vm_});
  done({"scrub", vm_});
  anew(5, 2, {"--consistency", "bitmap"});
  holds_without({{0}, {1}}, 2);
  done({"scrub", vm_});
  anew(4, 2, {});
  holds_without({{0}, {1}}, 3);
  done({"fail", vm_, "disk1"});
  done({"add", vm_, "disk1"});
  done({"rebuild", vm_});
  done({"scrub", vm_});
}

TEST_F(ArrayShapes, AMirrorHasAnyNumberOfSlots) {
  create(1, 128, {"--consistency", "bitmap"}, "8M");
  for (int i = 4; i < 128; ++i) fs::remove(image(i));
  const std::string text = noise(1'000'000);
  import(text);
  EXPECT_EQ(slots(), "UUUU" + std::string(124, '_'));
  EXPECT_EQ(export_text(0, text.size()), text);
  done({"scrub", vm_});
  done({"fail", vm_, "disk2"});
  import(noise(1'000'000, 2));
  done({"add", vm_, "disk2"});
  run({"rebuild", vm_});  // redundancy is not full: 124 slots are free
  EXPECT_EQ(slots(), "UUUU" + std::string(124, '_'));
  for (int i : {0, 1, 3}) fs::remove(image(i));
  EXPECT_EQ(export_text(0, text.size()), noise(1'000'000, 2));
}

TEST_F(ArrayShapes, Raid0TakesAnyMultipleOf4KiBAsChunk) {
  create(0, 3, {"--chunk", "12K"}, "16M,24M,32M");
  holds_without({{}}, 4);
  EXPECT_NE(done({"examine", image(0)}).out.find("Chunk Size : 12K"), std::string::npos);
}

TEST_F(ArrayShapes, LinearUsesAllOfEachMember) {
  done({"create", vm_, "--level", "linear", "--disks", "3", "--size", "4M,8M,16M"});
  EXPECT_EQ(status_of("size"), std::to_string((3 + 7 + 15) << 20));
  EXPECT_EQ(status_of("level"), "linear");
  holds_without({{}}, 10);
  EXPECT_NE(done({"status", vm_})
                .out.find("active linear disk0.img[0] disk1.img[1] disk2.img[2]\n"
                          "      25600 blocks super 1.2 0k rounding\n"),
            std::string::npos);
  EXPECT_NE(done({"examine", image(0)}).out.find("Rounding : 0K"), std::string::npos);
  done({"assemble", vm_});
  refuses({"fail", vm_, "disk1"}, {"disk1.img"});
  refuses({"replace", vm_, "disk1"}, {"linear has no spares"});
  refuses({"scrub", vm_}, {"linear has nothing to compare"});
  fs::copy_file(image(1), vm_ + "/more.img");
  overwrite(vm_ + "/more.img", 4096, std::string(4096, '\0'));
  refuses({"add", vm_, "more", "--force"}, {"more.img: linear has no redundancy"});
  fs::remove(vm_ + "/more.img");
  refuses({"assemble", vm_, "--update=bitmap"}, {"linear has no redundancy to keep"});
  fs::rename(image(2), directory_ / "away");
  refuses({"export", vm_, directory_ / "out"}, {"2 of 3 members are there: too few for linear"});
  refuses({"export", vm_, directory_ / "out", "--rescue", directory_ / "map"}, {"linear of unequal members"});
  fs::remove_all(vm_);
  done({"create", vm_, "--level", "linear", "--disks", "130", "--size", "4M", "--chunk", "80K"});
  EXPECT_EQ(status_of("size"), std::to_string(130 * (3072 / 80 * 80) * 1024));
  holds_without({{}}, 11);
  EXPECT_NE(done({"examine", image(0)}).out.find("Rounding : 80K"), std::string::npos);
}

TEST_F(ArrayShapes, ChunksOf64MiBAreTaken) {
  for (const int level : {0, 5, 10}) {
    anew(level, 4, {"--chunk", "64M"}, "400M");
    holds_without(level == 0 ? std::vector<std::vector<int>>{} : std::vector<std::vector<int>>{{0}, {3}}, 5);
  }
}

TEST_F(ArrayShapes, Raid10KeepsMoreCopies) {
  create(10, 5, {"--layout", "near-3"});
  holds_without({{0, 1}, {2, 3}, {1, 4}}, 6);
  EXPECT_NE(done({"examine", image(0)}).out.find("Layout : near=3"), std::string::npos);
  EXPECT_NE(done({"status", vm_}).out.find("3 near-copies"), std::string::npos);
  anew(10, 4, {"--layout", "near-4"});
  holds_without({{0, 1, 2}, {1, 2, 3}}, 7);
}

TEST_F(ArrayShapes, Raid6HasAllOfMdsLayouts) {
  for (const char* layout : {"left-symmetric-6", "parity-first-6", "ddf-zero-restart", "ddf-N-continue"}) {
    anew(6, 5, {"--layout", layout});
    holds_without({{0, 1}, {4}, {2, 3}}, 8);
    done({"scrub", vm_});
  }
}

TEST_F(ArrayShapes, MoreThan64DisksAreOneArray) {
  create(6, 70, {}, "4M");
  holds_without({{0, 69}}, 9);
}

TEST_F(ArrayShapes, MoreMembersThanQHasCoefficients) {
  for (const int level : {0, 5}) {
    anew(level, 600, {}, "4M");
    holds_without(level == 0 ? std::vector<std::vector<int>>{} : std::vector<std::vector<int>>{{599}}, 12);
  }
  done({"scrub", vm_});
  done({"fail", vm_, "disk300"});
  import(noise(1'000'000, 13), 7'000'000);
  done({"add", vm_, "disk300"});
  done({"rebuild", vm_});
  done({"scrub", vm_});
  fs::remove(image(1));
  EXPECT_EQ(export_text(7'000'000, 1'000'000), noise(1'000'000, 13));
}

TEST_F(ArrayShapes, WhatIsTooManyOrTooSmallSaysHowManyAndHowMuch) {
  const auto refused = [](const Words& words) {
    const Ended ended = run(words);
    EXPECT_NE(ended.code, 0);
    EXPECT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
    return ended.err;
  };
  EXPECT_NE(refused({"create", vm_, "--level", "6", "--disks", "256", "--size", "4M"}).find("at most 255 disks"),
            std::string::npos);
  EXPECT_NE(refused({"create", vm_, "--level", "1", "--disks", "1921", "--size", "4M"}).find("more than 1920"),
            std::string::npos);
  EXPECT_NE(refused({"create", vm_, "--level", "10", "--layout", "near-3", "--disks", "2", "--size", "4M"})
                .find("near-3 needs at least 3 disks"),
            std::string::npos);
  EXPECT_NE(refused({"create", vm_, "--level", "4", "--disks", "210", "--size", "8M", "--consistency", "journal"})
                .find("a journal is not kept for 210 members"),
            std::string::npos);
  EXPECT_NE(refused({"create", vm_, "--level", "5", "--disks", "3", "--size", "1M"}).find("at least 1114112 are needed"),
            std::string::npos);
  create(5, 3, {}, "1114112");
  const std::string help = done({"create", "--help"}).out;
  for (const char* limit : {"255", "1920", "203"}) EXPECT_NE(help.find(limit), std::string::npos) << help;
}

}  // namespace
}  // namespace resilver::test
