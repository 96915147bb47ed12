// `create`: in the place of an array that was, with members missing, with the UUID and the places that mdadm would give; what
// makes no sense; what a create or add that was killed leaves.
#include <sys/resource.h>

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class ArrayCreate : public ArrayTest {
 protected:
  Json examined(const std::string& path) {
    return Json::parse(done({"examine", path, "--json"}).out).at("disks").at(0);
  }
  void blank(const std::string& path, std::uintmax_t bytes = 16 << 20) {
    write_text(path, "");
    fs::resize_file(path, bytes);
  }
  void usage(const Words& words, const std::string& text) {
    expect_refusal(run(words), text);
    EXPECT_FALSE(fs::exists(vm_));
  }
};

// The rescue of forums: superblocks are gone, everything else is known.
TEST_F(ArrayCreate, InTheSamePlaceWithAMemberMissingKeepsTheData) {
  create(5, 4, {"--chunk", "128K", "--layout", "left-asymmetric"});
  const std::string data = noise(5'000'000);
  import(data);
  const std::string offset = examined(image(0)).at("data_offset_sectors").dump() + "s";
  for (int i = 0; i < 4; ++i) overwrite(image(i), 4096, std::string(4096, '\0'));
  fs::remove(image(2));
  const Ended made = done({"create", "--level", "5", "--assume-clean", "--chunk", "128K", "--layout", "left-asymmetric",
                           "--data-offset", offset, "--devices", image(0), image(1), "missing", image(3)});
  EXPECT_NE(made.out.find("[UU_U]"), std::string::npos) << made.out;
  EXPECT_NE(made.out.find("to do: give it a disk: resilver add " + image(0)), std::string::npos) << made.out;
  EXPECT_TRUE(export_text(0, data.size()) == data);
  done({"add", vm_, "disk2", "--size", "16M"});
  done({"rebuild", vm_});
  done({"fail", vm_, "disk0"});
  EXPECT_TRUE(export_text(0, data.size()) == data);
}

TEST_F(ArrayCreate, MissingWithoutAssumeCleanIsDegradedAndClean) {
  fs::create_directory(vm_);
  for (int i = 0; i < 4; ++i) write_text(image(i), noise(16 << 20, i));
  done({"create", "--level", "6", "--devices", image(0), "missing", image(2), image(3)});
  EXPECT_EQ(status_of("clean"), "true");
  const std::string data = noise(1'000'000, 9);
  import(data, 65'536);
  done({"fail", vm_, "disk3"});
  EXPECT_TRUE(export_text(65'536, data.size()) == data);
  refuses({"create", "--level", "5", "--force", "--devices", image(0), "missing", "missing"},
          {"raid5 of 3", "2 missing"});
  refuses({"create", "--level", "0", "--force", "--devices", image(0), "missing"}, {"raid0 of 2", "1 missing"});
  Words many = {"create", "--level", "6", "--force", "--devices", image(0)};
  many.resize(300, "missing");
  refuses(many, {"at most"});
}

TEST_F(ArrayCreate, UuidNameOffsetAndBitmapChunkAreAsGiven) {
  create(5, 3,
         {"--uuid", "01234567:89abcdef:01234567:89ABCDEF", "--name", "web:0", "--data-offset", "2M", "--consistency",
          "bitmap", "--bitmap-chunk", "128"});
  const Json disk = examined(image(1));
  EXPECT_EQ(disk.at("array_uuid"), "01234567:89abcdef:01234567:89abcdef");
  EXPECT_EQ(disk.at("name"), "web:0");
  EXPECT_EQ(disk.at("data_offset_sectors"), 4096);
  EXPECT_NE(done({"status", vm_}).out.find("128KB chunk"), std::string::npos);
  fs::remove_all(vm_);
  create(1, 2, {"--data-offset", "16"});
  EXPECT_EQ(examined(image(1)).at("data_offset_sectors"), 32);
  const std::string data = noise(1'000'000);
  import(data);
  EXPECT_TRUE(export_text(0, data.size()) == data);
}

TEST_F(ArrayCreate, OptionsWithoutEffectAndNonsenseAreBadUsage) {
  const auto words = [this](const char* level, Words more) {
    Words all = {"create", vm_, "--level", level, "--disks", "3", "--size", "16M"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  usage(words("0", {"--spares", "1"}), "--spares: raid0");
  usage(words("0", {"--consistency", "resync"}), "--consistency: raid0");
  usage(words("1", {"--chunk", "64K"}), "--chunk: RAID 1");
  usage(words("5", {"--bitmap-chunk", "64K"}), "--bitmap-chunk");
  usage(words("5", {"--consistency", "bitmap", "--bitmap-chunk", "100K"}), "--bitmap-chunk: ");
  usage(words("5", {"--uuid", "0123"}), "--uuid: ");
  usage(words("5", {"--data-offset", "1x"}), "--data-offset: ");
  usage({"create", "--level", "5", "--spares", "1", "--devices", "a", "b", "c", "missing"}, "missing");
  EXPECT_EQ(run(words("5", {"--data-offset", "3s"})).code, 1);
  EXPECT_EQ(run(words("5", {"--data-offset", "1G"})).code, 1);
  EXPECT_FALSE(fs::exists(vm_));
}

// ---- killed ----

TEST_F(ArrayCreate, BlankImagesOfACreateThatWasKilledAreTakenAnew) {
  fs::create_directory(vm_);
  blank(image(0));
  blank(image(1), 8 << 20);
  write_text(image(2), "");
  blank(vm_ + "/spare0.img");
  create(5, 3);
  EXPECT_EQ(slots(), "UUU");
  EXPECT_EQ(fs::file_size(image(1)), 16u << 20);
}

// Killed just before the superblocks: log, bitmap and journal are there.
TEST_F(ArrayCreate, SoAreThoseThatLackOnlyTheirSuperblocks) {
  const Words journal = {"--consistency", "journal", "--journal-size", "8M"}, bitmap = {"--consistency", "bitmap"};
  for (const Words& more : {journal, bitmap}) {
    fs::remove_all(vm_);
    create(5, 3, more);
    const std::string superblock = read_text(image(0)).substr(4096, 4096);
    for (const auto& entry : fs::directory_iterator(vm_)) overwrite(entry.path(), 4096, std::string(4096, '\0'));
    overwrite(image(0), 4096, superblock);
    Words again = {"create", vm_, "--level", "5", "--disks", "3", "--size", "16M"};
    again.insert(again.end(), more.begin(), more.end());
    refuses(again, {"disk0.img: there already"});
    overwrite(image(0), 4096, std::string(4096, '\0'));
    overwrite(image(1), 5 << 20, "something");
    refuses(again, {"disk1.img: there already"});
    overwrite(image(1), 5 << 20, std::string(4096, '\0'));
    done(again);
    EXPECT_EQ(slots(), "UUU");
  }
}

TEST_F(ArrayCreate, BlankImageOfAnAddThatWasKilledIsTakenAnew) {
  create(5, 3);
  done({"fail", vm_, "disk1"});
  done({"remove", vm_, "disk1"});
  fs::remove(image(1));
  blank(vm_ + "/disk9.img", 8 << 20);
  write_text(file_, noise(100'000));
  for (const Words& words : std::vector<Words>{{"status", vm_}, {"import", vm_, file_}, {"assemble", vm_}}) {
    EXPECT_NE(done(words).err.find("disk9.img: "), std::string::npos);
  }
  done({"add", vm_, "disk9", "--size", "16M"});
  done({"rebuild", vm_});
  EXPECT_EQ(slots(), "UUU");
  refuses({"add", vm_, "disk9", "--size", "16M"}, {"disk9.img: there already"});
}

// ---- what cannot be had ----

TEST_F(ArrayCreate, OutputThatCannotBeWrittenIsAFailure) {
  create(5, 3);
  const auto full = [] {
    const int fd = open("/dev/full", O_WRONLY);
    return fd >= 0 && dup2(fd, STDOUT_FILENO) == STDOUT_FILENO;
  };
  for (const Words& words : std::vector<Words>{{"status", vm_},
                                               {"status", vm_, "--json"},
                                               {"status", vm_, "--test"},
                                               {"examine", vm_},
                                               {"assemble", vm_},
                                               {"create", "--help"}}) {
    const Ended ended = run_program(words, full);
    EXPECT_EQ(ended.code, 1) << ended.all();
    ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
    EXPECT_NE(ended.err.find("No space left"), std::string::npos) << ended.err;
  }
}

TEST_F(ArrayCreate, LackOfMemoryIsOneLine) {
  create(5, 3);
  int refused = 0;
  for (rlim_t mebibytes = 16; mebibytes <= 160; mebibytes += 4) {
    const Ended ended = run_program({"status", vm_}, [mebibytes] {
      const rlimit limit = {mebibytes << 20, mebibytes << 20};
      return setrlimit(RLIMIT_AS, &limit) == 0;
    });
    if (ended.code == 0 || ended.code == 127) continue;  // the loader had no room
    ++refused;
    EXPECT_EQ(ended.code, 1) << mebibytes << ended.all();
    EXPECT_EQ(lines_of(ended.err).size(), 1u) << mebibytes << ended.err;
    EXPECT_NE(ended.err.find("memory"), std::string::npos) << mebibytes << ended.err;
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace resilver::test
