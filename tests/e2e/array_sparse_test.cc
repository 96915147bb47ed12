// Sparse members: what is a hole on all of them costs nothing, however large they are, and stays one.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <tuple>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kTiB = std::uint64_t{1} << 40;

class ArraySparse : public ArrayTest {
 protected:
  // As done(), and within seconds: a scan of 15 TiB takes hours.
  Ended soon(const Words& words) {
    const auto begin = std::chrono::steady_clock::now();
    Ended ended = done(words);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    EXPECT_LT(took.count(), 5) << testing::PrintToString(words);
    return ended;
  }
  static std::uint64_t allocated(const std::string& path) {
    struct stat status{};
    EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  bool can_be_large() const {
    const std::string path = directory_ / "probe";
    write_text(path, "");
    const bool can = truncate(path.c_str(), static_cast<off_t>(15 * kTiB)) == 0;
    std::filesystem::remove(path);
    return can;
  }
  // A writer that is killed once the array is dirty.
  void kill_import() {
    const std::string pipe = directory_ / "pipe";
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    const int fifo = open(pipe.c_str(), O_RDWR | O_CLOEXEC);
    {
      Program program({"import", vm_, pipe, "--offset", "5T"});
      ASSERT_TRUE(eventually([&] {
        const std::string piece = noise(kMiB / 4, 9);
        EXPECT_EQ(write(fifo, piece.data(), piece.size()), static_cast<ssize_t>(piece.size()));
        return read_part(image(0), 4096 + 208, 8) != std::string(8, '\xff');
      }));
      program.signal(SIGKILL);
      program.wait(20);
    }
    close(fifo);
    std::filesystem::remove(pipe);
  }
  static std::string read_part(const std::string& path, std::uint64_t at, std::size_t bytes) {
    std::string text(bytes, '\0');
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(pread(fd, text.data(), bytes, static_cast<off_t>(at)), static_cast<ssize_t>(bytes)) << path;
    close(fd);
    return text;
  }
};

class ArrayOf15TiB : public ArraySparse, public testing::WithParamInterface<std::tuple<int, int, const char*>> {};

TEST_P(ArrayOf15TiB, EveryCommandTakesSeconds) {
  if (!can_be_large()) GTEST_SKIP() << "the file system of " << directory_.path() << " has no files of 15 TiB";
  const auto [level, disks, consistency] = GetParam();
  soon({"create", vm_, "--level", std::to_string(level), "--disks", std::to_string(disks), "--size", "15T",
        "--consistency", consistency});
  soon({"status", vm_});
  soon({"examine", image(0)});
  const std::string text = noise(kMiB);
  write_text(file_, text);
  soon({"import", vm_, file_});
  soon({"import", vm_, file_, "--offset", "7T"});
  soon({"fail", vm_, "disk1"});
  soon({"add", vm_, "disk1"});
  const Ended rebuilt = soon({"rebuild", vm_});
  EXPECT_EQ(rebuilt.out.find("TiB/s"), std::string::npos) << "what was skipped is no speed: " << rebuilt.out;
  soon({"scrub", vm_});
  if (std::string_view(consistency) == "bitmap") {
    soon({"fail", vm_, "disk1"});
    soon({"import", vm_, file_, "--offset", "9T"});
    soon({"re-add", vm_, "disk1"});
    soon({"rebuild", vm_});
  }
  soon({"add", vm_, "disk9", "--size", "15T"});
  soon({"replace", vm_, "disk0"});
  soon({"rebuild", vm_});
  soon({"remove", vm_, "disk0"});
  std::filesystem::remove(image(0));
  std::filesystem::rename(image(9), image(0));
  ASSERT_NO_FATAL_FAILURE(kill_import());
  soon({"assemble", vm_});
  EXPECT_NE(soon({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  const std::string out = directory_ / "out";
  soon({"export", vm_, out, "--length", "8T"});
  EXPECT_EQ(std::filesystem::file_size(out), 8 * kTiB);
  EXPECT_LT(allocated(out), 24 * kMiB);
  EXPECT_TRUE(read_part(out, 0, text.size()) == text);
  EXPECT_TRUE(read_part(out, 7 * kTiB, text.size()) == text);
  soon({"import", vm_, out, "--offset", "1M"});
  EXPECT_NE(soon({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  soon({"export", vm_, out, "--offset", "7T", "--length", "3M"});
  EXPECT_TRUE(read_part(out, kMiB, text.size()) == text);
  soon({"stop", vm_});
  for (int i = 0; i < disks; ++i) EXPECT_LT(allocated(image(i)), 24 * kMiB);
}

INSTANTIATE_TEST_SUITE_P(All, ArrayOf15TiB,
                         testing::Combine(testing::Values(1), testing::Values(2), testing::Values("resync", "bitmap")));
INSTANTIATE_TEST_SUITE_P(Parity, ArrayOf15TiB,
                         testing::Combine(testing::Values(5, 6), testing::Values(4),
                                          testing::Values("resync", "bitmap")));
INSTANTIATE_TEST_SUITE_P(Ten, ArrayOf15TiB,
                         testing::Combine(testing::Values(10), testing::Values(3, 4),
                                          testing::Values("resync", "bitmap")));

// Nothing to copy: under a second, as long as others do not need the machine.
TEST_F(ArraySparse, AMemberOf15TiBThatMissedNothingIsBackAtOnce) {
  if (!can_be_large()) GTEST_SKIP() << "the file system of " << directory_.path() << " has no files of 15 TiB";
  create(1, 2, {"--consistency", "bitmap"}, "15T");
  done({"fail", vm_, "disk1"});
  done({"re-add", vm_, "disk1"});
  soon({"rebuild", vm_});
  EXPECT_EQ(slots(), "UU");
}

// What a target held before goes where the others have holes, and as a hole.
TEST_F(ArraySparse, ATargetWithOldDataReadsAsZeroesWhereTheOthersAreHoles) {
  for (const int level : {1, 5, 10}) {
    create(level, level == 1 ? 2 : 4, {}, "64M");
    import(noise(4 * kMiB), 20 * kMiB);
    done({"fail", vm_, "disk1"});
    const std::string all = export_text(0, 60 * kMiB);
    overwrite(image(1), 8 * kMiB, noise(50 * kMiB, 7));
    done({"add", vm_, "disk1", "--force"});
    done({"rebuild", vm_});
    EXPECT_LT(allocated(image(1)), 8 * kMiB) << level;
    EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
    done({"fail", vm_, "disk0"});
    EXPECT_TRUE(export_text(0, 60 * kMiB) == all) << level;
    std::filesystem::remove_all(vm_);
  }
}

// A member that was away comes back over what the others have made a hole since.
TEST_F(ArraySparse, ByBitmapToo) {
  for (const int level : {1, 5, 10}) {
    create(level, level == 1 ? 2 : 4, {"--consistency", "bitmap"}, "64M");
    import(noise(8 * kMiB), 4 * kMiB);
    done({"fail", vm_, "disk1"});
    import(std::string(8 * kMiB, '\0'), 4 * kMiB);
    for (const int i : {0, 2, 3}) {
      if (level == 1 && i > 0) continue;
      const int fd = open(image(i).c_str(), O_RDWR | O_CLOEXEC);
      EXPECT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * kMiB, 60 * kMiB), 0);
      close(fd);
    }
    done({"re-add", vm_, "disk1"});
    done({"rebuild", vm_});
    EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos) << level;
    done({"fail", vm_, "disk0"});
    EXPECT_TRUE(export_text(0, 60 * kMiB) == std::string(60 * kMiB, '\0')) << level;
    std::filesystem::remove_all(vm_);
  }
}

}  // namespace
}  // namespace resilver::test
