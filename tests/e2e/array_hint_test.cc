// What commands suggest can be pasted into a shell, whatever the names are, and does what it says; and messages of size tell
// sizes apart.
#include <cstdlib>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

class ArrayHint : public ArrayTest {
 protected:
  ArrayHint() {
    vm_ = directory_ / "my vm's $HOME";
    file_ = directory_ / "a file";
  }
  // The command after "resilver" in the line that holds `text`, given to a shell. Its exit code.
  int follow(const std::string& output, const std::string& text) {
    for (const std::string& line : lines_of(output)) {
      const auto at = line.find("resilver ", line.find(text));
      if (line.find(text) == std::string::npos || at == std::string::npos) continue;
      const char* given = std::getenv("RESILVER_PROGRAM");
      const std::string program = fs::absolute(given != nullptr ? given : "build/release/resilver");
      const std::string command = program + line.substr(at + 8) + " >'" + (directory_ / "said") + "' 2>&1";
      return std::system(command.c_str());
    }
    ADD_FAILURE() << "no '" << text << "' in " << output;
    return -1;
  }
  std::string said() const { return read_text(directory_ / "said"); }
};

TEST_F(ArrayHint, AddNamesTheNewDiskWhereImagesWereNamed) {
  create(5, 3);
  done({"fail", vm_, "disk1"});
  const std::string fresh = directory_ / "fresh disk.img";
  const Ended added = done({"add", image(0), image(1), image(2), fresh, "--size", "16M"});
  EXPECT_EQ(follow(added.out, "to do"), 0) << added.out << said();
  EXPECT_NE(done({"status", image(0), image(2), fresh}).out.find("[UUU]"), std::string::npos);
}

TEST_F(ArrayHint, AddOfADiskOutsideTheFolderNamesAllImages) {
  create(5, 3);
  done({"fail", vm_, "disk1"});
  const std::string fresh = directory_ / "fresh's disk.img";
  const Ended added = done({"add", vm_, fresh, "--size", "16M"});
  EXPECT_EQ(follow(added.out, "to do"), 0) << added.out << said();
  EXPECT_NE(done({"status", image(0), image(2), fresh}).out.find("[UUU]"), std::string::npos);
}

TEST_F(ArrayHint, FailReplaceAndReAddInAFolder) {
  create(5, 3, {"--spares", "1", "--consistency", "bitmap"});
  EXPECT_EQ(follow(done({"replace", vm_, "disk0"}).out, "to do"), 0) << said();
  EXPECT_EQ(slots(), "UUU");
  done({"fail", vm_, "disk1"});
  EXPECT_EQ(follow(done({"re-add", vm_, "disk1"}).out, "to do"), 0) << said();
  EXPECT_EQ(slots(), "UUU");
}

TEST_F(ArrayHint, ReAddWithoutABitmapSaysHowToAdd) {
  create(5, 3);
  done({"fail", vm_, "disk1"});
  const Ended again = run({"re-add", vm_, "disk1"});
  EXPECT_EQ(again.code, 1);
  EXPECT_EQ(follow(again.err, "resilver add"), 0) << again.err << said();
  EXPECT_EQ(follow(said(), "to do"), 0) << said();
  EXPECT_EQ(slots(), "UUU");
}

TEST_F(ArrayHint, StatusSaysHowToGoOnWithoutTheJournal) {
  create(5, 3, {"--consistency", "journal", "--journal-size", "16M"});
  fs::remove(vm_ + "/journal.img");
  EXPECT_EQ(follow(status_of("next"), "to do"), 0) << said();
  EXPECT_EQ(status_of("next"), "");
}

TEST_F(ArrayHint, StopSaysHowToResync) {
  create(5, 3);
  for (int i = 0; i < 3; ++i) set_field(image(i), 208, std::string(8, '\0'));
  const Ended stopped = done({"stop", vm_});
  EXPECT_EQ(follow(stopped.out, "not clean"), 0) << stopped.out << said();
  EXPECT_NE(done({"stop", vm_}).out.find(", clean"), std::string::npos);
}

TEST_F(ArrayHint, SpareThatWasNotNamedIsNotForgotten) {
  create(5, 3, {"--spares", "1"});
  write_text(file_, noise(100'000));
  for (int i = 0; i < 3; ++i) done({"import", image(0), image(1), image(2), file_});
  done({"fail", vm_, "disk1"});
  done({"rebuild", vm_});
  EXPECT_EQ(slots(), "UUU");
}

// ---- too few ----

TEST_F(ArrayHint, TooFewNamesEachDiskThatIsNoMemberAndWhatForceWouldDo) {
  create(5, 4, {"--spares", "1"});
  fs::copy_file(image(1), directory_ / "old");
  write_text(file_, noise(100'000));
  for (int i = 0; i < 3; ++i) done({"import", vm_, file_});
  fs::remove(image(1));
  fs::copy_file(directory_ / "old", image(1));
  fs::remove(image(2));
  write_text(vm_ + "/odd.img", noise(70'000));
  const Ended refused = run({"import", vm_, file_});
  expect_refusal(refused, "2 of 4", 1);
  for (const char* text : {"disk1.img", "events behind", "odd.img", "spare0.img", "--force"}) {
    EXPECT_NE(refused.err.find(text), std::string::npos) << refused.err << text;
  }
  EXPECT_EQ(follow(refused.err, "resilver assemble"), 0) << said();
}

TEST_F(ArrayHint, DirtyAndDegradedSaysHowToStartIt) {
  create(5, 3);
  for (int i = 0; i < 3; ++i) set_field(image(i), 208, std::string(8, '\0'));
  fs::remove(image(2));
  const Ended refused = run({"rebuild", vm_});
  expect_refusal(refused, "dirty and degraded", 1);
  EXPECT_EQ(follow(refused.err, "resilver assemble"), 0) << refused.err << said();
  EXPECT_NE(done({"status", vm_}).out.find("[UU_]"), std::string::npos);
}

// ---- sizes ----

TEST_F(ArrayHint, SpareCountsAmongTheSizes) {
  const Words words = {"create", vm_, "--level", "5", "--disks", "3", "--spares", "1", "--size", "16M,16M,16M,8M"};
  expect_refusal(run(words), "spare0.img: a spare of 8 MiB", 1);
  EXPECT_FALSE(fs::exists(vm_));
  Words larger = words;
  larger.back() = "16M,16M,16M,17M";
  expect_refusal(run(larger), "spare0.img: its size, 17 MiB", 1);
  Words within = words;
  within.back() = "16384K,16384K,16384K,16448K";
  done(within);
}

TEST_F(ArrayHint, SpareCountsAmongTheSizesOfDevicesToo) {
  fs::create_directory(vm_);
  for (int i = 0; i < 4; ++i) {
    write_text(image(i), "");
    fs::resize_file(image(i), i == 3 ? 8 << 20 : 16 << 20);
  }
  refuses({"create", "--level", "5", "--spares", "1", "--devices", image(0), image(1), image(2), image(3)},
          {"disk3.img: a spare of 8 MiB", "16 MiB"});
}

TEST_F(ArrayHint, DiskThatIsALittleTooSmallIsToldByTheByte) {
  create(5, 3, {}, "64M");
  refuses({"add", vm_, "short", "--size", "65532K"},
          {"short.img: too small", "67104768 bytes", "67108864 are needed: 4096 bytes (8 sectors) too few"});
  refuses({"add", vm_, "short", "--size", "32M"}, {"short.img: too small", "32 MiB", "64 MiB", "67108864"});
}

TEST_F(ArrayHint, AddToARaid0IsRefusedBeforeAnythingIsErased) {
  create(0, 2);
  const std::string other = directory_ / "other";
  done({"create", other, "--level", "1", "--disks", "2", "--size", "16M"});
  fs::rename(other + "/disk0.img", vm_ + "/spare.img");
  refuses({"add", vm_, "spare", "--force"}, {"spare.img: raid0"});
}

// The size that a refusal names is enough, and 4096 bytes less is not.
TEST_F(ArrayHint, TooSmallSaysHowMuchIsEnough) {
  const auto words = [this](const std::string& size) {
    return Words{"create", vm_, "--level", "5", "--disks", "3", "--size", size};
  };
  const Ended refused = run(words("64K"));
  expect_refusal(refused, "disk0.img: its size, 65536 bytes, is too small for a member: at least ", 1);
  const std::uint64_t enough = std::stoull(refused.err.substr(refused.err.find("at least ") + 9));
  EXPECT_EQ(run(words(std::to_string(enough - 4096))).code, 1);
  done(words(std::to_string(enough)));
}

}  // namespace
}  // namespace resilver::test
