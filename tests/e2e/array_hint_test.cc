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

}  // namespace
}  // namespace resilver::test
