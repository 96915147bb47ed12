// What can still be read of a damaged array: an export that fails leaves no file, one with --rescue copies what is left and
// says in a map what is not.
#include <signal.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kChunk = 65536;

class ArrayRescue : public ArrayTest {
 protected:
  // RAID 5 of 3, of which the second block of the first two members cannot be read: bytes 4096 and 69632 of the array are
  // lost.
  void lose_two_blocks() {
    create(5, 3);
    import(data_);
    mark_bad(image(0), 4096);
    mark_bad(image(1), 4096);
  }
  Ended rescue(const Words& more = {}) {
    Words words = {"export", vm_, out_, "--rescue", map_};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  }
  std::string map_lines() const {
    std::string text;
    for (const std::string& line : lines_of(read_text(map_))) {
      if (!line.starts_with("#")) text += line + "\n";
    }
    return text;
  }
  std::string known_but(const std::vector<std::uint64_t>& lost) const {
    std::string text = data_;
    for (const std::uint64_t at : lost) text.replace(at, 4096, 4096, '\0');
    return text;
  }

  std::string out_ = directory_ / "rescued";
  std::string map_ = directory_ / "map";
  const std::string data_ = noise(1 << 20);
};

TEST_F(ArrayRescue, AnExportThatFailsLeavesNoFileAndNamesTheFirstBytes) {
  lose_two_blocks();
  const auto before = directory_.names();
  Ended ended = run({"export", vm_, out_});
  EXPECT_EQ(ended.code, 1);
  ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  EXPECT_NE(ended.err.find("4096 bytes at byte 4096 of the array"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("--rescue"), std::string::npos) << ended.err;
  EXPECT_EQ(directory_.names(), before);
  write_text(out_, "what was there");
  ended = run({"export", vm_, out_});
  EXPECT_EQ(ended.code, 1);
  EXPECT_EQ(read_text(out_), "what was there");
  done({"export", vm_, out_, "--offset", "128K", "--length", "64K"});
  EXPECT_TRUE(read_text(out_) == data_.substr(131'072, 65'536)) << "replaced as a whole";
  EXPECT_EQ(directory_.names().size(), before.size() + 1);
}

TEST_F(ArrayRescue, AnExportThatIsCutShortLeavesNoFileOfItsName) {
  create(5, 3, {}, "200M");
  import(noise(300 << 20));
  for (const int number : {SIGTERM, SIGKILL}) {
    Program program({"export", vm_, out_});
    ASSERT_TRUE(eventually([this] { return directory_.names().size() > 2; }));
    EXPECT_FALSE(fs::exists(out_));
    program.signal(number);
    EXPECT_EQ(program.wait(20).code, number == SIGTERM ? 130 : 128 + SIGKILL);
    EXPECT_FALSE(fs::exists(out_));
    if (number == SIGTERM) EXPECT_EQ(directory_.names().size(), 2u);
  }
}

TEST_F(ArrayRescue, CopiesAllButWhatIsLost) {
  lose_two_blocks();
  const auto before = snapshot();
  const Ended ended = rescue();
  EXPECT_EQ(ended.code, 1) << ended.all();
  EXPECT_NE(ended.out.find("4096 bytes at byte 4096\n"), std::string::npos) << ended.out;
  EXPECT_NE(ended.out.find("4096 bytes at byte 69632\n"), std::string::npos) << ended.out;
  ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  EXPECT_NE(ended.err.find("8192 bytes"), std::string::npos) << ended.err;
  const std::string copy = read_text(out_);
  EXPECT_EQ(copy.size(), std::stoull(status_of("size")));
  EXPECT_TRUE(copy.substr(0, data_.size()) == known_but({4096, 69632}));
  EXPECT_EQ(map_lines(),
            "0x00000000     +               1\n"
            "0x00000000  0x00001000  +\n"
            "0x00001000  0x00001000  -\n"
            "0x00002000  0x0000F000  +\n"
            "0x00011000  0x00001000  -\n"
            "0x00012000  0x01DEE000  +\n");
  EXPECT_EQ(snapshot(), before);
}

TEST_F(ArrayRescue, ASecondRunGoesOnOnlyWithWhatIsNotThere) {
  lose_two_blocks();
  EXPECT_EQ(rescue().code, 1);
  overwrite(out_, 0, "of the first run");
  EXPECT_EQ(rescue().code, 1) << "still lost";
  forget_bad(image(1));
  const Ended ended = rescue();
  EXPECT_EQ(ended.code, 0) << ended.all();
  std::string expected = data_;
  expected.replace(0, 16, "of the first run");
  EXPECT_TRUE(read_text(out_).substr(0, data_.size()) == expected);
  EXPECT_EQ(map_lines(), "0x00000000     +               1\n0x00000000  0x01E00000  +\n");
  fs::remove(out_);
  const Ended refused = rescue();
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("rescued"), std::string::npos) << refused.err;
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(ArrayRescue, ReadsMapsOfDdrescue) {
  create(5, 3);
  import(data_);
  write_text(out_, std::string(1 << 20, 'x'));
  write_text(map_,
             "# Mapfile. Created by GNU ddrescue version 1.19\n0x00000000     ?\n"
             "#      pos        size  status\n"
             "0x00000000  0x00010000  +\n0x00010000  0x00010000  *\n0x00020000  0x00010000  /\n"
             "0x00030000  65536  -\n0x00040000  0x01DC0000  ?\n");
  done({"export", vm_, out_, "--rescue", map_});
  EXPECT_TRUE(read_text(out_).substr(0, data_.size()) == std::string(65'536, 'x') + data_.substr(65'536));
  EXPECT_EQ(std::string(10, '\0'), read_text(out_).substr(data_.size(), 10));
  for (const char* bad : {"0x0 ? 1\n0x0 0x10 x\n", "0x0 ? 1\n0x0 0x10\n", "0x0 ? 1\n0x0 0x10 +\n0x8 0x10 +\n",
                          "rubbish", "0x0 ? 1\n0xffffffffffffffff 0x10 +\n"}) {
    write_text(map_, bad);
    const Ended ended = rescue();
    EXPECT_EQ(ended.code, 1) << bad;
    ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
    EXPECT_NE(ended.err.find("map: line "), std::string::npos) << ended.err;
  }
}

// ---- scrub tells what nothing can restore ----

TEST_F(ArrayRescue, ScrubNamesRowsThatNothingRestores) {
  lose_two_blocks();
  mark_bad(image(2), 65536 + 8192);  // alone: it is healed
  Ended ended = run({"scrub", vm_});
  EXPECT_EQ(ended.code, 1) << ended.all();
  EXPECT_NE(ended.out.find("mismatch_cnt 0"), std::string::npos) << ended.out;
  EXPECT_NE(ended.out.find(
                "1 rows of 4096 bytes cannot be restored:\n"
                "  stripe 0, byte 4096 of each member: unreadable on disk0.img, disk1.img; lost: byte 4096, 69632 of "
                "the array\n"
                "  disk0.img: 1 of these rows are unreadable\n"
                "  disk1.img: 1 of these rows are unreadable\n"),
            std::string::npos)
      << ended.out;
  EXPECT_NE(ended.out.find("1 unreadable blocks rewritten"), std::string::npos) << ended.out;
  ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  EXPECT_NE(ended.err.find("cannot be restored"), std::string::npos) << ended.err;
  EXPECT_EQ(run({"scrub", vm_, "--repair"}).code, 1);
  import(noise(4096, 2), 4096);
  import(noise(4096, 3), 69632);
  done({"scrub", vm_});
}

TEST_F(ArrayRescue, ScrubNamesRowsOfMirrorsThatNothingRestores) {
  for (const int level : {1, 10}) {
    fs::remove_all(vm_);
    create(level, level == 1 ? 2 : 4);
    mark_bad(image(0), 8192);
    mark_bad(image(1), 8192);
    const Ended ended = run({"scrub", vm_});
    EXPECT_EQ(ended.code, 1) << ended.all();
    EXPECT_NE(ended.out.find("unreadable on disk0.img, disk1.img; lost: byte 8192 of the array"), std::string::npos)
        << ended.out;
  }
}

// The rest is whole; that something is not must be seen.
TEST_F(ArrayRescue, ARebuildThatCannotRestoreAllFails) {
  for (const std::string command : {"rebuild", "assemble"}) {
    fs::remove_all(vm_);
    create(5, 3);
    import(data_);
    mark_bad(image(0), 4096);
    done({"fail", vm_, "disk2"});
    done({"add", vm_, "new.img", "--size", "16M"});
    const Ended ended = run({command, vm_});
    EXPECT_EQ(ended.code, 1) << ended.all();
    ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
    EXPECT_NE(ended.err.find("vm: 1 blocks of 4096 bytes cannot be restored, the first at byte 4096 of the array"),
              std::string::npos)
        << ended.err;
    EXPECT_EQ(slots(), "UUU");
    EXPECT_EQ(run({"scrub", vm_}).code, 1);
    import(noise(4096, 2), 4096);
    done({"rebuild", vm_});
    done({"scrub", vm_});
  }
}

TEST_F(ArrayRescue, OptionsThatMakeNoSense) {
  create(5, 3);
  expect_refusal(run({"export", vm_, "-", "--rescue", map_}), "--rescue");
  expect_refusal(run({"export", vm_, out_, "--rescue", out_}), "--rescue", 1);
  expect_refusal(run({"export", vm_, out_, "--rescue", image(0)}), "--rescue", 1);
  expect_refusal(run({"export", vm_, image(1), "--rescue", map_}), "image of vm", 1);
}

// Of an array that too many members have left, what the others hold.
struct Leaving {
  const char* name;
  int level;
  int disks;
  std::vector<int> gone;
  std::vector<std::uint64_t> lost;  // chunks of the first two stripes
};
void PrintTo(const Leaving& leaving, std::ostream* out) { *out << leaving.name; }

class BeyondRedundancy : public ArrayRescue, public testing::WithParamInterface<Leaving> {};

TEST_P(BeyondRedundancy, WhatLiveMembersHoldIsRead) {
  const Leaving& it = GetParam();
  create(it.level, it.disks);
  const std::uint64_t size = std::stoull(status_of("size"));
  import(data_);
  for (const int index : it.gone) fs::rename(image(index), directory_ / ("gone" + std::to_string(index)));
  refuses({"export", vm_, out_}, {"vm: ", "too few", "--rescue"});
  EXPECT_FALSE(fs::exists(out_));
  const Ended ended = rescue();
  EXPECT_EQ(ended.code, 1) << ended.all();
  const std::string copy = read_text(out_);
  ASSERT_EQ(copy.size(), size);
  const std::uint64_t stripes = 2 * (it.level == 10 ? 2 : it.disks - (it.level == 6 ? 2 : it.level == 5 ? 1 : 0));
  for (std::uint64_t chunk = 0; chunk < stripes; ++chunk) {
    const bool lost = std::ranges::find(it.lost, chunk) != it.lost.end();
    const std::string expected = lost ? std::string(kChunk, '\0') : data_.substr(chunk * kChunk, kChunk);
    EXPECT_TRUE(copy.substr(chunk * kChunk, kChunk) == expected) << "chunk " << chunk;
  }
  for (const int index : it.gone) fs::rename(directory_ / ("gone" + std::to_string(index)), image(index));
  const Ended again = rescue();
  EXPECT_EQ(again.code, 0) << again.all();
  EXPECT_TRUE(read_text(out_).substr(0, data_.size()) == data_);
}

INSTANTIATE_TEST_SUITE_P(All, BeyondRedundancy,
                         testing::Values(Leaving{"Raid0", 0, 3, {1}, {1, 4}},
                                         // stripe 0: D0 D1 P; stripe 1: D1 P D0
                                         Leaving{"Raid5", 5, 3, {0, 1}, {0, 1, 3}},
                                         // stripe 0: Q D0 D1 P; stripe 1: D0 D1 P Q
                                         Leaving{"Raid6", 6, 4, {1, 2, 3}, {0, 1, 3}},
                                         Leaving{"Raid10", 10, 4, {0, 1}, {0, 2}}),
                         [](const auto& info) { return info.param.name; });

TEST_F(ArrayRescue, Raid0OfUnequalMembersNeedsAllOfThem) {
  done({"create", vm_, "--level", "0", "--disks", "3", "--size", "4M,8M,16M"});
  fs::remove(image(0));
  const Ended ended = rescue();
  EXPECT_EQ(ended.code, 1);
  EXPECT_NE(ended.err.find("unequal"), std::string::npos) << ended.err;
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(ArrayRescue, DirtyAndDegradedIsSaid) {
  create(5, 3);
  import(data_);
  for (const int index : {0, 1, 2}) set_field(image(index), 208, std::string(8, '\0'));
  fs::remove(image(2));
  const Ended ended = rescue();
  EXPECT_EQ(ended.code, 0) << ended.all();
  EXPECT_NE(ended.err.find("dirty and degraded"), std::string::npos) << ended.err;
  EXPECT_EQ(read_text(out_).size(), 30u << 20);
}

}  // namespace
}  // namespace resilver::test
