// Long work that is cut short: the next command goes on where it was, and stop ends it in order.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

class ArrayInterrupt : public ArrayTest {
 protected:
  // An array of 32 MiB members that lacks one, full of `data_`, with a spare to rebuild on.
  void degrade() {
    create(5, 3, {"--spares", "1"}, "32M");
    import(data_);
    done({"fail", vm_, "disk1"});
  }
  // As the superblock on the spare says.
  std::uint64_t checkpoint() const {
    const auto disk = nlohmann::json::parse(done({"examine", vm_ + "/spare0.img", "--json"}).out).at("disks").at(0);
    const auto& offset = disk.at("recovery_offset_sectors");
    return offset.is_null() ? 0 : 512 * offset.get<std::uint64_t>();
  }
  // Read without the lock, while the rebuild holds it.
  std::uint64_t checkpoint_now() const {
    const std::string block = read_text(vm_ + "/spare0.img").substr(4096, 256);
    std::uint64_t sectors = 0;
    for (int i = 8; i-- > 0;) sectors = sectors << 8 | static_cast<unsigned char>(block[152 + i]);
    return 512 * sectors;
  }
  bool lock_is_free() const {
    const int fd = open((vm_ + "/spare0.img").c_str(), O_RDONLY | O_CLOEXEC);
    const bool is_free = flock(fd, LOCK_EX | LOCK_NB) == 0;
    close(fd);
    return is_free;
  }
  bool is_dirty() const {
    std::string offset(8, '\0');
    const int fd = open(image(0).c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(pread(fd, offset.data(), 8, 4096 + 208), 8);
    close(fd);
    return offset != std::string(8, '\xff');
  }
  std::unique_ptr<Program> slow_rebuild() {
    return std::make_unique<Program>(Words{"rebuild", vm_, "--speed-max", "4M"});
  }

  const std::string data_ = noise(40'000'000);
};

TEST_F(ArrayInterrupt, RebuildThatWasKilledGoesOnAtItsCheckpoint) {
  degrade();
  auto program = slow_rebuild();
  ASSERT_TRUE(eventually([this] { return checkpoint_now() > 0; }));
  program->signal(SIGKILL);
  EXPECT_EQ(program->wait(20).code, 128 + SIGKILL);
  const std::uint64_t reached = checkpoint();
  ASSERT_GT(reached, 0u);
  EXPECT_EQ(slots(), "U_U");

  ASSERT_TRUE(eventually([this] { return lock_is_free(); }));  // a killed process may keep it for a moment
  program = slow_rebuild();  // cut short again at once: it is not behind where the first was
  ASSERT_TRUE(eventually([this] { return !lock_is_free(); }));
  program->signal(SIGINT);
  const Ended ended = program->wait(20);
  EXPECT_EQ(ended.code, 130) << ended.all();
  ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  EXPECT_GE(checkpoint(), reached);

  done({"rebuild", vm_});
  EXPECT_EQ(slots(), "UUU");
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  done({"fail", vm_, "disk0"});
  EXPECT_TRUE(export_text(0, data_.size()) == data_);
}

TEST_F(ArrayInterrupt, SigtermSaysHowFarItWas) {
  degrade();
  const auto program = slow_rebuild();
  ASSERT_TRUE(eventually([this] { return checkpoint_now() > 0; }));
  program->signal(SIGTERM);
  const Ended ended = program->wait(20);
  EXPECT_EQ(ended.code, 130) << ended.all();
  ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  EXPECT_NE(ended.err.find("interrupted: rebuild at "), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("goes on from there"), std::string::npos) << ended.err;
  EXPECT_GT(checkpoint(), 0u);
}

TEST_F(ArrayInterrupt, StopEndsTheRebuildOfAnotherProcess) {
  degrade();
  const auto program = slow_rebuild();
  ASSERT_TRUE(eventually([this] { return checkpoint_now() > 0; }));
  const Ended refused = run({"assemble", vm_});
  EXPECT_EQ(refused.code, 1) << refused.all();
  EXPECT_NE(refused.err.find("already open by another process"), std::string::npos) << refused.err;
  const Ended seen = done({"status", vm_});
  EXPECT_NE(seen.err.find("in use by process " + std::to_string(program->pid())), std::string::npos) << seen.err;
  EXPECT_NE(seen.out.find("[U_U]"), std::string::npos) << seen.out;
  const Ended stopped = done({"stop", vm_});
  EXPECT_NE(stopped.out.find("process " + std::to_string(program->pid())), std::string::npos) << stopped.out;
  EXPECT_EQ(program->wait(20).code, 130);
  done({"rebuild", vm_});
}

// ---- reading meanwhile ----

TEST_F(ArrayInterrupt, AnArrayIsReadWhileItIsRebuiltAndScrubbed) {
  degrade();
  const auto read_meanwhile = [&](Program& program) {
    int reads = 0;
    while (program.running() && reads < 5) {
      EXPECT_TRUE(export_text(0, 3'000'000) == data_.substr(0, 3'000'000));
      EXPECT_NE(done({"status", vm_}).out.find("vm : active raid5"), std::string::npos);
      if (program.running()) ++reads;
    }
    EXPECT_GT(reads, 0);
    const Ended refused = run({"import", vm_, file_});
    if (program.running()) EXPECT_NE(refused.err.find("already open by another process"), std::string::npos);
    if (program.running()) EXPECT_EQ(run({"scrub", vm_}).code, 1) << "one at a time";
    program.signal(SIGTERM);
    program.wait(20);
  };
  auto program = std::make_unique<Program>(Words{"rebuild", vm_, "--speed-max", "1M"});
  ASSERT_TRUE(eventually([this] { return checkpoint_now() > 0; }));
  read_meanwhile(*program);
  done({"rebuild", vm_});
  EXPECT_TRUE(export_text(0, data_.size()) == data_);
  Program scrub({"scrub", vm_, "--repair", "--speed-max", "1M"});
  ASSERT_TRUE(eventually([this] { return !lock_is_free(); }));
  read_meanwhile(scrub);
}

TEST_F(ArrayInterrupt, AnArrayWithAJournalIsMaintainedAlone) {
  create(5, 3, {"--consistency", "journal", "--journal-size", "16M"}, "32M");
  import(data_);
  Program scrub({"scrub", vm_, "--speed-max", "1M"});
  ASSERT_TRUE(eventually([this] {
    const int fd = open(image(0).c_str(), O_RDONLY | O_CLOEXEC);
    const bool shared = flock(fd, LOCK_SH | LOCK_NB) == 0;
    close(fd);
    return !shared;
  }));
  EXPECT_EQ(run({"export", vm_, directory_ / "out"}).code, 1);
}

TEST_F(ArrayInterrupt, WriterThatWasKilledLeavesADirtyArrayThatAssembleResyncs) {
  create(5, 3, {}, "32M");
  ASSERT_EQ(mkfifo(file_.c_str(), 0600), 0);
  const int fifo = open(file_.c_str(), O_RDWR | O_CLOEXEC);
  Program program({"import", vm_, file_});
  // It never has to wait long for more, so that the array is in use when it is seen to be.
  ASSERT_TRUE(eventually([&] {
    const std::string piece = noise(1 << 20);
    EXPECT_EQ(write(fifo, piece.data(), piece.size()), static_cast<ssize_t>(piece.size()));
    return is_dirty();
  }));
  program.signal(SIGKILL);
  EXPECT_EQ(program.wait(20).code, 128 + SIGKILL);
  close(fifo);
  EXPECT_EQ(status_of("clean"), "false");
  const Ended ended = done({"assemble", vm_});
  EXPECT_NE(ended.out.find("resync"), std::string::npos) << ended.out;
  EXPECT_EQ(status_of("clean"), "true");
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
}

}  // namespace
}  // namespace resilver::test
