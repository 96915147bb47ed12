// Devices that were grown, cut, zeroed, exchanged or filled, files that do not fit them, arrays that are not whole: each
// start or command says what is there and what helps, and nothing that somebody may still want is given up.
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/e2e/volume.h"

namespace resilver::test {
namespace {

class VolumeDevice : public VolumeTest {
 protected:
  std::string refusal(const std::string& node) {
    const Ended ended = run_program({"node", "--config", config_, "--name", node});
    EXPECT_EQ(ended.code, 1) << ended.all();
    EXPECT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
    return ended.err;
  }
  void change_file(const std::string& from, const std::string& to) {
    write_text(config_, with(from, to, read_text(config_)));
  }
  static std::uint64_t size_of(const std::string& path) { return std::filesystem::file_size(path); }
  static void resize(const std::string& path, std::uint64_t bytes) { std::filesystem::resize_file(path, bytes); }
};

constexpr std::size_t kBytes = 100'000;

TEST_F(VolumeDevice, OneThatHasGrownIsTheSameCopy) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string text = noise(kBytes);
  import(text);
  stop_all();
  resize(image("A"), size_of(image("A")) + (3 << 20));
  resize(image("B"), size_of(image("B")) + (100 << 20));
  start_arbiter();
  for (const std::string& name : names_) start(name);
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_TRUE(export_text(kBytes) == text);
}

TEST_F(VolumeDevice, GrowsItsVolume) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string text = noise(kBytes);
  import(text);
  const Ended running = volume({"grow", "--size", "32MiB"});
  EXPECT_EQ(running.code, 1);
  EXPECT_NE(running.err.find("stop node A first"), std::string::npos) << running.err;
  stop_all();
  expect_refusal(volume({"grow", "--size", "4MiB"}), "no volume is made smaller");
  expect_refusal(volume({"grow", "--size", "9MiB"}), "it grows by ");
  done({"grow", "--size", "32MiB"});
  EXPECT_NE(read_text(config_).find("size = \"32MiB\""), std::string::npos);
  start_arbiter();
  for (const std::string& name : names_) start(name);
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_EQ(status().number("size_bytes"), 32u << 20);
  EXPECT_TRUE(export_text(kBytes) == text);
  const std::string whole = export_text(32 << 20);
  EXPECT_EQ(whole.find_first_not_of('\0', kBytes), std::string::npos) << "what is new reads as zeroes";
  import(noise(30 << 20, 2));
  done({"verify"});
}

// Where one node's machine was not there: it says so, and grows on its own.
TEST_F(VolumeDevice, GrowsNodeByNode) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  import(noise(kBytes));
  stop_all();
  const std::string former = read_text(config_);
  done({"grow", "--size", "32MiB", "--node", "A"});
  EXPECT_NE(refusal("B").find("resilver volume grow --config " + config_), std::string::npos) << "B is smaller";
  const std::string grown = read_text(config_);
  write_text(config_, former);
  done({"grow", "--size", "32MiB", "--node", "B"});
  EXPECT_EQ(read_text(config_), grown);
  start_arbiter();
  for (const std::string& name : names_) start(name);
  ASSERT_TRUE(eventually_in_sync(2));
}

TEST_F(VolumeDevice, WrongFilesNeverLeadToCreate) {
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  import(noise(kBytes));
  stop_all();
  const std::string good = read_text(config_);
  change_file("8MiB", "16MiB");
  std::string said = refusal("A");
  EXPECT_NE(said.find("holds a copy of a volume of 8 MiB"), std::string::npos) << said;
  EXPECT_EQ(said.find("create"), std::string::npos) << said;
  write_text(config_, good);
  change_file("id = \"", "id = \"f");
  expect_refusal(volume({"status"}), "32 hexadecimal digits expected");
  write_text(config_, good);
  const auto id = good.find("id = \"") + 6;
  std::string other = good;
  other[id] = other[id] == '0' ? '1' : '0';
  write_text(config_, other);
  said = refusal("A");
  EXPECT_NE(said.find("another volume"), std::string::npos) << said;
  EXPECT_EQ(said.find("create"), std::string::npos) << said;
  // Nodes in another order are the same nodes.
  configure(3);
  std::string reordered = read_text(config_);
  const auto a = reordered.find("[[node]]"), b = reordered.find("[[node]]", a + 1);
  reordered = reordered.substr(0, a) + reordered.substr(b) + reordered.substr(a, b - a);
  write_text(config_, good.substr(0, good.find("[[node]]")) + reordered.substr(a));
  start_arbiter();
  for (const std::string& name : names_) start(name);
  ASSERT_TRUE(eventually_in_sync(3));
}

TEST_F(VolumeDevice, ACutOrZeroedOneIsPutAsideAndMadeAnew) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string text = noise(kBytes);
  import(text);
  stop("B");
  ASSERT_TRUE(eventually_in_sync(1));
  resize(image("B"), 4 << 20);
  const std::string cut = refusal("B");
  EXPECT_NE(cut.find("it was cut, or is another device"), std::string::npos) << cut;
  const Ended refused = volume({"create", "--node", "B", "--force"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("mv " + image("B") + " " + image("B") + ".old"), std::string::npos) << refused.err;
  std::filesystem::rename(image("B"), image("B") + ".old");
  done({"create", "--node", "B"});
  start("B");
  ASSERT_TRUE(eventually_in_sync(2));
  stop("B");
  ASSERT_TRUE(eventually_in_sync(1));
  write_text(image("B"), std::string(size_of(image("B")), '\0'));
  const std::string zeroed = refusal("B");
  EXPECT_NE(zeroed.find("resilver volume create --config " + config_ + " --node B"), std::string::npos) << zeroed;
  done({"create", "--node", "B"});
  start("B");
  ASSERT_TRUE(eventually_in_sync(2));
  kill("A");
  EXPECT_TRUE(export_text(kBytes) == text);
}

// A copy's disk in another node's machine, and back under the first name.
TEST_F(VolumeDevice, ACopyMovesToAnotherNode) {
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string text = noise(kBytes);
  import(text);
  stop("C");
  ASSERT_TRUE(eventually_in_sync(2));
  std::string moved = read_text(config_);
  moved = with("name = \"C\"", "name = \"D\"", moved);
  moved = with("C.img", "D.img", moved);
  std::filesystem::rename(image("C"), directory_ / "D.img");
  write_text(config_, moved);
  const std::string said = refusal("D");
  EXPECT_NE(said.find("resilver volume adopt --config " + config_ + " --name D"), std::string::npos) << said;
  done({"adopt", "--name", "D"});
  done({"adopt", "--name", "D"});
  start("D");
  for (const char* name : {"A", "B"}) {  // they read the file when they start
    stop(name);
    start(name);
    ASSERT_TRUE(eventually_status([](const State& now) { return now.at("serving") == "true"; }));
  }
  ASSERT_TRUE(eventually_in_sync(3));
  EXPECT_EQ(status().of("D", "why").find("full"), std::string::npos) << "it is the copy that it was";
  EXPECT_TRUE(export_text(kBytes) == text);
}

// All of a cluster is copied, and becomes a volume of its own.
TEST_F(VolumeDevice, ACloneOfAClusterGetsIdsOfItsOwn) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string text = noise(kBytes);
  import(text);
  stop_all();
  const std::string before = read_text(config_), images[] = {read_text(image("A")), read_text(image("B"))};
  const Ended partly = done({"reid", "--node", "A"});
  EXPECT_NE(partly.out.find("not all of it was here"), std::string::npos) << partly.out;
  const Ended rest = done({"reid", "--state", directory_ / "arbiter"});
  EXPECT_EQ(read_text(config_).find("former_id"), std::string::npos) << rest.all();
  EXPECT_NE(read_text(config_), before);
  start_arbiter();
  for (const std::string& name : names_) start(name);
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_TRUE(export_text(kBytes) == text);
  stop("B");
  ASSERT_TRUE(eventually_in_sync(1));
  write_text(image("B"), images[1]);  // the original's
  EXPECT_NE(refusal("B").find("another volume"), std::string::npos);
}

TEST_F(VolumeDevice, ADirtyArrayThatLacksADiskStartsByForceAndIsCompared) {
  for (const char* folder : {"vmA", "vmB"}) {
    const Ended made = run_program({"create", directory_ / folder, "--level", "5", "--disks", "3", "--size", "8M"});
    ASSERT_EQ(made.code, 0) << made.all();
  }
  configure(2, {}, {{"A", "array = \"vmA\""}, {"B", "array = \"vmB\""}});
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string text = noise(2'000'000);
  {
    Program load(with_config({"attach", "--load", "3s"}));
    ASSERT_TRUE(eventually_status([](const State& now) { return now.number_of("A", "writes") > 100; }));
    kill("B");
    EXPECT_EQ(load.wait(30).code, 0);
  }
  ASSERT_TRUE(eventually_in_sync(1));
  import(text);
  std::filesystem::remove(directory_ / "vmB/disk1.img");
  const std::string said = refusal("B");
  EXPECT_NE(said.find("dirty and degraded"), std::string::npos) << said;
  EXPECT_NE(said.find("resilver node --config " + config_ + " --name B --force"), std::string::npos) << said;
  nodes_["B"] = std::make_unique<Program>(Words{"node", "--config", config_, "--name", "B", "--force"});
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_NE(status().of("B", "why").find("checksum"), std::string::npos) << status().of("B", "why");
  done({"verify"});
  kill("A");
  EXPECT_TRUE(export_text(text.size()) == text);
}

// A small file system under one node's image, mounted by the test.
class VolumeFull : public VolumeDevice {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(small_);
    if (mount("tmpfs", small_.c_str(), "tmpfs", 0, "size=12m") != 0)
      GTEST_SKIP() << "needs a mount of its own: " << strerror(errno);
  }
  void TearDown() override {
    nodes_.clear();
    umount2(small_.c_str(), MNT_DETACH);
  }
  void resize_to(const char* size) const { ASSERT_EQ(mount("tmpfs", small_.c_str(), "tmpfs", MS_REMOUNT, size), 0); }
  const std::string small_ = directory_ / "small";
};

TEST_F(VolumeFull, AFullFileSystemIsToldByNameAndEndsByItself) {
  configure(2, {}, {{"B", "device = \"small/B.img\""}});
  done({"create"});
  start_arbiter();
  for (const std::string& name : names_) start(name);
  ASSERT_TRUE(eventually_has("no_space", "B"));
  EXPECT_NE(volume({"status"}).out.find("df " + small_ + "/B.img"), std::string::npos) << volume({"status"}).out;
  EXPECT_EQ(status().at("primary"), "A");
  import(noise(6 << 20));
  resize_to("size=20m");
  ASSERT_TRUE(eventually_in_sync(2)) << "it goes on by itself";
  EXPECT_FALSE(status().has("no_space"));
  done({"verify"});
}

// The primary's own: it hands over, and nothing fails.
TEST_F(VolumeFull, APrimaryWithoutSpaceHandsOver) {
  resize_to("size=20m");
  configure(2, {}, {{"A", "device = \"small/A.img\""}});
  ASSERT_NO_FATAL_FAILURE(start_all());
  stop("A");
  ASSERT_TRUE(eventually_in_sync(1));
  const std::string image = small_ + "/A.img";
  const int fd = open(image.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kVolume), 0);  // it holds zeroes only
  close(fd);
  start("A");
  ASSERT_TRUE(eventually_in_sync(2));
  done({"promote", "A"});
  resize_to("size=8m");
  const std::string text = noise(6 << 20);
  import(text);
  ASSERT_TRUE(eventually_has("no_space", "A"));
  EXPECT_EQ(status().at("primary"), "B");
  resize_to("size=20m");
  ASSERT_TRUE(eventually_in_sync(2)) << "it goes on by itself";
  done({"promote", "A"});
  EXPECT_TRUE(export_text(text.size()) == text);
}

// The arbiter's: what serves goes on, and the change that it could not store is made as soon as it can.
TEST_F(VolumeFull, AnArbiterWithoutAWritableFileSystemIsToldAndGoesOn) {
  configure(2);
  done({"create"});
  arbiter_ = std::make_unique<Program>(Words{"arbiter", "--state", small_ + "/arbiter", "--listen", address(7400)});
  for (const std::string& name : names_) start(name);
  ASSERT_TRUE(eventually_in_sync(2));
  stop_arbiter();
  ASSERT_EQ(mount("", small_.c_str(), "", MS_REMOUNT | MS_RDONLY, "size=12m"), 0);
  const Ended refused = run_program({"arbiter", "--state", small_ + "/arbiter", "--listen", address(7400)});
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("Read-only file system"), std::string::npos) << refused.err;
  EXPECT_EQ(status().at("serving"), "true");
  ASSERT_EQ(mount("", small_.c_str(), "", MS_REMOUNT, "size=12m"), 0);
  arbiter_ = std::make_unique<Program>(Words{"arbiter", "--state", small_ + "/arbiter", "--listen", address(7400)});
  kill("B");
  ASSERT_TRUE(eventually_in_sync(1));
}

}  // namespace
}  // namespace resilver::test
