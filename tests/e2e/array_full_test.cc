// A full file system under the images: no disk is given up, nothing acknowledged is lost, and all goes on when there is room.
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBlock = 4096;

class ArrayFull : public ArrayTest {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(small_);
    if (mount("tmpfs", small_.c_str(), "tmpfs", 0, "size=64m") != 0)
      GTEST_SKIP() << "needs a mount of its own: " << strerror(errno);
    vm_ = small_ + "/vm";
  }
  void TearDown() override { umount2(small_.c_str(), MNT_DETACH); }
  void room(const char* size) const {
    ASSERT_EQ(mount("tmpfs", small_.c_str(), "tmpfs", MS_REMOUNT, (std::string("size=") + size).c_str()), 0);
  }
  // So much more than is used now.
  void leave(std::uint64_t mib) const {
    struct statvfs now{};
    ASSERT_EQ(statvfs(small_.c_str(), &now), 0);
    room((std::to_string((now.f_blocks - now.f_bfree) * now.f_frsize / 1024 + mib * 1024) + "k").c_str());
  }
  // Ends with one line that names the file system.
  void is_full(const Words& words) {
    const Ended ended = run(words);
    EXPECT_EQ(ended.code, 1) << testing::PrintToString(words) << ended.all();
    ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
    EXPECT_NE(ended.err.find("the file system of " + vm_ + " is full"), std::string::npos) << ended.err;
    EXPECT_NE(ended.err.find(".img: "), std::string::npos) << ended.err;
  }
  void import_all(const std::string& text) {
    write_text(file_, text);
    done({"import", vm_, file_});
  }

  const std::string small_ = directory_ / "small";
};

TEST_F(ArrayFull, AnImportThatFindsNoRoomGivesNoDiskUp) {
  for (const int level : {0, 1, 5, 6, 10}) {
    const int disks = level == 1 ? 2 : 4;
    create(level, disks);
    const std::string before = noise(2 * kMiB, 5);
    import_all(before);
    leave(4);
    write_text(file_, noise(12 * kMiB));
    is_full({"import", vm_, file_, "--offset", "2M"});
    if (level != 0) EXPECT_EQ(slots(), std::string(static_cast<std::size_t>(disks), 'U')) << level;
    EXPECT_TRUE(export_text(0, before.size()) == before) << "reads go on";
    room("96m");
    done({"assemble", vm_});
    done({"status", vm_});
    done({"import", vm_, file_, "--offset", "2M"});
    EXPECT_TRUE(export_text(0, 14 * kMiB) == before + noise(12 * kMiB)) << level;
    if (level != 0) EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos) << level;
    std::filesystem::remove_all(vm_);
  }
}

// The write hole: what a degraded stripe held must not go because there was room for a part of it only.
TEST_F(ArrayFull, ADegradedArrayIsNotDirtyFromIt) {
  for (const char* consistency : {"resync", "bitmap", "journal"}) {
    for (const int level : {5, 6}) {
      create(level, 4, {"--consistency", consistency, "--journal-size", "8M"});
      const std::string before = noise(6 * kMiB, 5);
      import(before, 16 * kMiB);
      done({"fail", vm_, "disk1"});
      done({"remove", vm_, "disk1"});
      std::filesystem::remove(image(1));
      const std::string all = export_text(0, 24 * kMiB);
      leave(5);
      const std::string after = noise(22 * kMiB, 6);
      write_text(file_, after);
      is_full({"import", vm_, file_});
      done({"assemble", vm_});  // not by force
      EXPECT_EQ(status_of("clean"), "true") << consistency;
      const std::string now = export_text(0, 24 * kMiB);
      for (std::uint64_t at = 0; at < now.size(); at += kBlock) {
        const std::string block = now.substr(at, kBlock);
        const bool whole = block == all.substr(at, kBlock) || (at < after.size() && block == after.substr(at, kBlock));
        ASSERT_TRUE(whole) << level << consistency << at;
      }
      room("96m");
      done({"import", vm_, file_});
      EXPECT_TRUE(export_text(0, after.size()) == after);
      std::filesystem::remove_all(vm_);
      room("64m");
    }
  }
}

TEST_F(ArrayFull, AResyncThatFindsNoRoomGoesOnLater) {
  create(5, 4);
  const std::string data = noise(12 * kMiB);
  overwrite(image(0), 2 * kMiB, data);  // parity is missing
  for (int i = 0; i < 4; ++i) set_field(image(i), 208, std::string(8, '\0'));
  leave(2);
  is_full({"assemble", vm_});
  EXPECT_EQ(slots(), "UUUU");
  is_full({"rebuild", vm_});
  room("64m");
  done({"assemble", vm_});
  EXPECT_EQ(status_of("clean"), "true");
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
}

TEST_F(ArrayFull, ARebuildThatFindsNoRoomNeedsNoOtherDisk) {
  for (const int level : {1, 5, 10}) {
    create(level, level == 1 ? 2 : 4);
    const std::string text = noise(12 * kMiB);
    import_all(text);
    done({"fail", vm_, "disk1"});
    done({"remove", vm_, "disk1"});
    std::filesystem::remove(image(1));
    done({"add", vm_, "disk1", "--size", "16M"});
    leave(1);
    is_full({"rebuild", vm_});
    EXPECT_EQ(run({"scrub", vm_}).code, 1);
    room("64m");
    done({"rebuild", vm_});
    done({"fail", vm_, "disk0"});
    EXPECT_TRUE(export_text(0, text.size()) == text) << level;
    std::filesystem::remove_all(vm_);
  }
}

TEST_F(ArrayFull, CreateAndAddSaySo) {
  create(1, 2);
  leave(0);
  const Ended made = run({"create", small_ + "/new", "--level", "6", "--disks", "8", "--size", "16M"});
  EXPECT_EQ(made.code, 1) << made.all();
  EXPECT_NE(made.err.find("no room"), std::string::npos) << made.err;
  EXPECT_FALSE(std::filesystem::exists(small_ + "/new"));
  is_full({"add", vm_, "disk9", "--size", "16M"});
  EXPECT_EQ(slots(), "UU");
  room("64m");
  done({"add", vm_, "disk9", "--size", "16M"});
}

// `ulimit -f` is a full disk too, kills nobody, and gives no disk up: also where writes cross it, and in the middle of a block.
class ArrayLimited : public ArrayTest, public testing::WithParamInterface<std::uint64_t> {
 protected:
  void meets_the_limit(const std::string& text) {
    write_text(file_, text);
    const Ended ended = run_program({"import", vm_, file_}, [] {
      const rlimit limit{GetParam(), GetParam()};
      return setrlimit(RLIMIT_FSIZE, &limit) == 0;
    });
    EXPECT_EQ(ended.code, 1) << ended.all();
    ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
    EXPECT_NE(ended.err.find("ulimit -f"), std::string::npos) << ended.err;
  }
};

TEST_P(ArrayLimited, ALimitOfFileSizesIsLackOfRoom) {
  for (const int level : {1, 5, 10}) {
    const int disks = level == 10 ? 4 : 3;
    create(level, disks, {"--spares", "1"}, "16M");
    meets_the_limit(noise((level == 1 ? 14 : 24) * kMiB));
    EXPECT_EQ(slots(), std::string(static_cast<std::size_t>(disks), 'U'));
    done({"assemble", vm_});
    done({"import", vm_, file_});
    std::filesystem::remove_all(vm_);
  }
}

// Room for what a file holds is there, but it may not be written.
TEST_P(ArrayLimited, ADegradedArrayIsNotDirtyFromIt) {
  create(5, 3, {}, "16M");
  import(noise(24 * kMiB));
  done({"fail", vm_, "disk1"});
  meets_the_limit(noise(24 * kMiB, 2));
  EXPECT_EQ(status_of("clean"), "true");
  done({"import", vm_, file_});
}

INSTANTIATE_TEST_SUITE_P(At, ArrayLimited, testing::Values(8 * kMiB, 8 * kMiB + 512, 8 * kMiB + 1));

}  // namespace
}  // namespace resilver::test
