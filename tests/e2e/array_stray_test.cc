// What lies beside an array's images: files that are too short, blank, of another kind, or that cannot be opened. They are
// named, and in nobody's way unless one may be the member that is missing.
#include <nlohmann/json.hpp>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

class ArrayStray : public ArrayTest {
 protected:
  std::string stray_ = vm_ + "/stray.img";

  // Every command goes on, and those that open the images name the stray one.
  void every_command_works(const std::string& why) {
    const auto named = [&](const Ended& ended) {
      EXPECT_NE(ended.err.find("stray.img: "), std::string::npos) << ended.all();
      EXPECT_NE(ended.err.find(why), std::string::npos) << ended.all();
    };
    write_text(file_, noise(100'000));
    named(done({"status", vm_}));
    named(done({"status", vm_, "--json"}));
    named(done({"examine", vm_}));
    named(done({"import", vm_, file_}));
    named(done({"export", vm_, directory_ / "out", "--length", "100000"}));
    EXPECT_TRUE(read_text(directory_ / "out") == noise(100'000));
    named(done({"assemble", vm_}));
    named(done({"assemble", vm_, "--force"}));
    named(done({"scrub", vm_}));
    named(done({"fail", vm_, "disk1"}));
    named(done({"import", vm_, file_}));
    named(done({"add", vm_, "disk1"}));
    named(done({"rebuild", vm_}));
    done({"stop", vm_});
    EXPECT_EQ(slots(), "UUU");
    EXPECT_TRUE(fs::exists(stray_));
  }
};

TEST_F(ArrayStray, EmptyFile) {
  create(5, 3);
  write_text(stray_, "");
  every_command_works("0 bytes");
}

TEST_F(ArrayStray, OneSector) {
  create(5, 3);
  write_text(stray_, noise(512));
  every_command_works("512 bytes");
}

TEST_F(ArrayStray, OddSize) {
  create(5, 3);
  write_text(stray_, noise(70'001));
  every_command_works("magic");
}

TEST_F(ArrayStray, BlankImage) {
  create(5, 3);
  write_text(stray_, "");
  fs::resize_file(stray_, 16 << 20);
  every_command_works("magic");
}

TEST_F(ArrayStray, NothingAtAllThatCanBeOpened) {
  fs::create_directory(vm_);
  write_text(stray_, "");
  refuses({"status", vm_}, {"stray.img", "0 bytes"});
  refuses({"assemble", vm_}, {"stray.img", "0 bytes"});
  refuses({"examine", vm_}, {"stray.img", "0 bytes"});
}

TEST_F(ArrayStray, ExportIntoTheFolder) {
  create(5, 3);
  import(noise(3'000'000));
  done({"export", vm_, stray_});
  every_command_works("magic");
  done({"export", vm_, stray_});
  EXPECT_TRUE(read_text(stray_).substr(100'000, 2'900'000) == noise(3'000'000).substr(100'000));
}

// What is torn may be the member that is missing: nothing is written unasked, but everything can be looked at.
TEST_F(ArrayStray, TruncatedMemberIsNamedAndStopsOnlyWriters) {
  create(5, 3);
  import(noise(100'000));
  for (const std::uintmax_t size : {8u << 20, 12'345u, 512u, 0u}) {
    fs::resize_file(image(1), size);
    refuses({"import", vm_, file_}, {"disk1.img", "--force"});
    for (const Words& words : std::vector<Words>{{"status", vm_}, {"examine", vm_}}) {
      EXPECT_NE(done(words).err.find("disk1.img: "), std::string::npos) << size;
    }
    done({"export", vm_, directory_ / "out", "--length", "100000"});
    EXPECT_TRUE(read_text(directory_ / "out") == noise(100'000));
    done({"stop", vm_});
  }
  EXPECT_NE(done({"import", vm_, file_, "--force"}).err.find("disk1.img: "), std::string::npos);
  EXPECT_EQ(slots(), "U_U");
}

TEST_F(ArrayStray, ImageThatMayNotBeRead) {
  create(5, 3);
  write_text(stray_, noise(100'000));
  fs::permissions(stray_, fs::perms::none);
  const Ended ended = run_program({"assemble", vm_}, respect_permissions);
  EXPECT_EQ(ended.code, 0) << ended.all();
  EXPECT_NE(ended.err.find("stray.img: Permission denied"), std::string::npos) << ended.err;
  EXPECT_EQ(run_program({"status", vm_}, respect_permissions).code, 0);
}

}  // namespace
}  // namespace resilver::test
