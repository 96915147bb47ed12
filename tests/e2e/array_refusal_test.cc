// Bad input to the commands of persistent arrays: one clear line that names image and field, exit 1, and every image as it
// was, to the byte and to its time.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

// Every command that would write.
class ArrayRefusal : public ArrayTest {
 protected:
  void every_writer_refuses(const Words& texts) {
    refuses({"assemble", vm_}, texts);
    refuses({"rebuild", vm_}, texts);
    refuses({"fail", vm_, "disk0"}, texts);
    refuses({"scrub", vm_, "--repair"}, texts);
    write_text(file_, "precious");
    refuses({"import", vm_, file_}, texts);
  }
};

TEST_F(ArrayRefusal, TruncatedImage) {
  create(5, 3);
  fs::resize_file(image(1), 8 << 20);
  every_writer_refuses({"disk1.img", "data_size"});
  fs::resize_file(image(1), 1 << 20);
  refuses({"assemble", vm_}, {"disk1.img", "data_offset"});
  fs::resize_file(image(1), 12'345);
  refuses({"assemble", vm_}, {"disk1.img", "data_offset"});
  fs::resize_file(image(1), 0);
  refuses({"assemble", vm_}, {"disk1.img", "0 bytes"});
}

TEST_F(ArrayRefusal, CorruptedChecksum) {
  create(5, 3);
  overwrite(image(1), 4096 + 100, "x");
  every_writer_refuses({"disk1.img", "sb_csum"});
}

TEST_F(ArrayRefusal, ZeroedImage) {
  create(5, 3);
  overwrite(image(2), 0, std::string(1 << 20, '\0'));
  every_writer_refuses({"disk2.img", "magic"});
}

TEST_F(ArrayRefusal, DuplicatedImage) {
  create(5, 3);
  fs::copy_file(image(1), vm_ + "/copy.img");
  every_writer_refuses({".img", "device_uuid"});
  expect_refusal(run({"assemble", image(0), image(0), image(1)}), "named twice", 1);
}

// Nobody knows which is right, and no other member is there.
TEST_F(ArrayRefusal, CopyOfTheOnlyMember) {
  create(1, 2);
  fs::remove(image(0));
  fs::copy_file(image(1), vm_ + "/copy.img");
  const Words said = {"copy.img", "disk1.img", "nothing is left of the array"};
  refuses({"status", vm_}, said);
  refuses({"status", vm_, "--json"}, said);
  refuses({"export", vm_, directory_ / "out", "--force"}, said);
}

TEST_F(ArrayRefusal, ImagesOfTwoArrays) {
  create(5, 3);
  const std::string other = directory_ / "other";
  done({"create", other, "--level", "5", "--disks", "3", "--size", "16M"});
  fs::remove(image(1));
  fs::copy_file(other + "/disk1.img", image(1));
  every_writer_refuses({"disk1.img", "set_uuid"});
}

TEST_F(ArrayRefusal, StaleEvents) {
  create(5, 3);
  fs::copy_file(image(1), directory_ / "old");
  import(noise(100'000));
  import(noise(100'000, 2));
  fs::remove(image(1));
  fs::copy_file(directory_ / "old", image(1));
  every_writer_refuses({"disk1.img", "events"});
  refuses({"export", vm_, directory_ / "out"}, {"disk1.img", "events"});
  const Ended forced = done({"export", vm_, directory_ / "out", "--length", "100000", "--force"});
  EXPECT_TRUE(read_text(directory_ / "out") == noise(100'000, 2)) << forced.all();
}

TEST_F(ArrayRefusal, UnsupportedLevelLayoutReshapeAndUnknownFeatures) {
  create(5, 3);
  const auto each = [this](std::size_t at, const std::string& bytes, const std::string& field, bool readable = false) {
    std::vector<std::string> saved;
    for (int i = 0; i < 3; ++i) {
      saved.push_back(read_text(image(i)).substr(4096, 4096));
      set_field(image(i), at, bytes);
    }
    refuses({"assemble", vm_}, {"disk", field});
    if (readable) {
      done({"export", vm_, directory_ / "out"});
    } else {
      refuses({"export", vm_, directory_ / "out"}, {"disk", field});
    }
    for (int i = 0; i < 3; ++i) overwrite(image(i), 4096, saved[i]);
  };
  each(72, le(99, 4), "level");
  each(76, le(77, 4), "layout");
  each(8, le(4, 4), "feature_map");
  each(8, le(1u << 20, 4), "feature_map");
  each(8, le(1024, 4), "feature_map has ppl", true);
  done({"assemble", vm_});
}

TEST_F(ArrayRefusal, OpenElsewhere) {
  create(5, 3);
  const int fd = open(image(1).c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(flock(fd, LOCK_EX | LOCK_NB), 0);
  every_writer_refuses({"disk1.img", "already open by another process"});
  refuses({"stop", vm_}, {"vm", "process"});
  ASSERT_EQ(flock(fd, LOCK_SH | LOCK_NB), 0);
  refuses({"assemble", vm_}, {"disk1.img", "already open by another process"});
  done({"status", vm_});
  close(fd);
}

// A process that was killed while the kernel still worked for it: its lock is there for a while, the process is not.
TEST_F(ArrayRefusal, TheLockOfAProcessThatHasEndedIsWaitedFor) {
  create(5, 3);
  for (const char* command : {"stop", "assemble", "status", "export"}) {
    const pid_t locker = fork();
    if (locker == 0) {
      const int fd = open(image(1).c_str(), O_RDWR | O_CLOEXEC);
      const bool locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
      if (fork() != 0) _exit(locked ? 0 : 1);
      usleep(600'000);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(locker, &status, 0), locker);
    ASSERT_EQ(status, 0);
    Words words = {command, vm_};
    if (command == std::string("export")) words.push_back(directory_ / "out");
    const Ended ended = done(words);
    EXPECT_EQ(ended.err, "") << command;
  }
}

TEST_F(ArrayRefusal, ImageThatMayNotBeWritten) {
  create(5, 3);
  fs::permissions(image(1), fs::perms::owner_read);
  const auto before = snapshot();
  const Ended ended = run_program({"assemble", vm_}, respect_permissions);
  expect_refusal(ended, "disk1.img: Permission denied", 1);
  EXPECT_EQ(snapshot(), before);
  EXPECT_EQ(run_program({"export", vm_, directory_ / "out"}, respect_permissions).code, 0) << "reading is enough";
}

TEST_F(ArrayRefusal, TooFewMembers) {
  create(5, 3);
  fs::remove(image(0));
  fs::remove(image(1));
  refuses({"assemble", vm_}, {"vm: 1 of 3"});
  refuses({"export", vm_, directory_ / "out"}, {"1 of 3"});
}

// The dirty mark is what a process leaves that was killed in the middle of a write.
TEST_F(ArrayRefusal, DirtyAndDegraded) {
  create(5, 3);
  import(noise(100'000));
  for (int i = 0; i < 3; ++i) set_field(image(i), 208, le(0, 8));
  fs::remove(image(2));
  refuses({"assemble", vm_}, {"vm: ", "dirty and degraded"});
  refuses({"rebuild", vm_}, {"vm: ", "dirty and degraded"});
  const Ended forced = done({"assemble", vm_, "--force"});
  EXPECT_NE(forced.out.find("[UU_]"), std::string::npos) << forced.out;
}

// ---- what holds something already ----

TEST_F(ArrayRefusal, CreateOnWhatHoldsAFileSystemAPartitionTableOrAnotherArray) {
  fs::create_directory(vm_);
  for (int i = 0; i < 3; ++i) {
    write_text(image(i), "");
    fs::resize_file(image(i), 16 << 20);
  }
  const Words create = {"create", "--level", "5", "--devices", image(0), image(1), image(2)};
  overwrite(image(1), 1024 + 56, le(0xef53, 2));  // ext2's magic, and enough of its superblock
  overwrite(image(1), 1024, le(1024, 4) + le(4096, 4));
  overwrite(image(1), 1024 + 24, le(0, 4));
  overwrite(image(1), 1024 + 76, le(1, 4));
  refuses(create, {"disk1.img", "file system", "ext2", "--force"});
  overwrite(image(1), 1024, std::string(1024, '\0'));
  overwrite(image(2), 446, le(0x80, 1) + le(0, 3) + le(0x83, 1) + le(0, 3) + le(2048, 4) + le(4096, 4));
  overwrite(image(2), 510, "\x55\xaa");
  refuses(create, {"disk2.img", "partition table"});
  overwrite(image(2), 0, std::string(512, '\0'));
  done(create);
  refuses(create, {"disk0.img", "md array"});
  Words forced = create;
  forced.push_back("--force");
  done(forced);
  refuses({"create", vm_, "--level", "5", "--disks", "3", "--size", "16M"}, {"disk0.img", "there already"});
  refuses({"create", vm_, "--level", "1", "--disks", "2", "--size", "16M", "--force"}, {"disk2.img", "already"});
}

TEST_F(ArrayRefusal, AddOfWhatHoldsSomething) {
  create(5, 3);
  const std::string other = directory_ / "other";
  done({"create", other, "--level", "1", "--disks", "2", "--size", "16M"});
  refuses({"add", vm_, other + "/disk0.img"}, {"disk0.img", "md array", "--force"});
  refuses({"add", vm_, "disk1"}, {"disk1.img", "in use, in slot 1"});
  refuses({"add", vm_, "nothing"}, {"nothing.img", "No such file"});
  refuses({"add", vm_, "small", "--size", "4M"}, {"small.img", "too small"});
  EXPECT_FALSE(fs::exists(vm_ + "/small.img"));
  done({"add", vm_, other + "/disk0.img", "--force"});
}

TEST_F(ArrayRefusal, MembersOfUnequalSize) {
  const Words words = {"create", vm_, "--level", "5", "--disks", "3", "--size", "16M,32M,16M"};
  const Ended ended = run(words);
  expect_refusal(ended, "disk1.img: its size, 32 MiB", 1);
  EXPECT_FALSE(fs::exists(vm_));
  Words forced = words;
  forced.push_back("--force");
  done(forced);
}

TEST_F(ArrayRefusal, DisksTooSmall) {
  const Ended ended = run({"create", vm_, "--level", "5", "--disks", "3", "--size", "64K"});
  expect_refusal(ended, "too small", 1);
  EXPECT_FALSE(fs::exists(vm_)) << "what was made for it is gone again";
}

TEST_F(ArrayRefusal, ImportThatDoesNotFit) {
  create(5, 3);
  write_text(file_, "");
  fs::resize_file(file_, 64 << 20);
  refuses({"import", vm_, file_}, {"67108864 bytes do not fit"});
  refuses({"import", vm_, image(0)}, {"disk0.img", "is an image of this array"});
  refuses({"export", vm_, image(0)}, {"disk0.img", "is an image of"});
  refuses({"export", vm_, directory_ / "out", "--offset", "1G"}, {"has only"});
}

}  // namespace
}  // namespace resilver::test
