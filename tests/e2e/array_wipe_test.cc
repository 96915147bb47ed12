// `wipe` and `examine --scan`.
#include <algorithm>
#include <cstdio>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

class ArrayWipe : public ArrayTest {
 protected:
  static std::string output_of(const std::string& command) {
    std::string text;
    std::FILE* pipe = popen((command + " 2>/dev/null").c_str(), "r");
    if (pipe == nullptr) return text;
    for (int letter = std::fgetc(pipe); letter != EOF; letter = std::fgetc(pipe)) text += static_cast<char>(letter);
    pclose(pipe);
    return text;
  }
};

TEST_F(ArrayWipe, MembersInUseAreRefusedAndFormerOnesErased) {
  create(5, 3, {"--spares", "1"});
  import(noise(100'000));
  refuses({"wipe", image(1)}, {"disk1.img: in use", "--force"});
  refuses({"wipe", vm_ + "/spare0.img"}, {"spare0.img: in use"});
  refuses({"wipe", image(0), image(1), image(2)}, {"in use"});
  done({"fail", vm_, "disk1"});
  refuses({"wipe", image(1), image(2)}, {"disk2.img: in use"});
  const Ended wiped = done({"wipe", image(1)});
  EXPECT_NE(wiped.out.find("superblock 1.2 at sector 8 erased"), std::string::npos) << wiped.out;
  refuses({"wipe", image(1)}, {"disk1.img: holds no md superblock"});
  done({"rebuild", vm_});
  EXPECT_EQ(slots(), "UUU");
  done({"wipe", image(0), "--force"});
  EXPECT_EQ(run({"status", vm_, "--test"}).code, 1);
}

TEST_F(ArrayWipe, ADiskAloneIsErased) {
  create(1, 2);
  const std::string away = directory_ / "away";
  fs::create_directory(away);
  fs::rename(image(1), away + "/disk1.img");
  done({"wipe", away + "/disk1.img"});
  EXPECT_EQ(run({"examine", away + "/disk1.img"}).code, 1);
  done({"assemble", vm_});
}

TEST_F(ArrayWipe, OtherVersionsAreErasedToo) {
  const auto word = [](std::uint64_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  };
  fs::create_directory(vm_);
  const std::string magic = word(0xa92b4efc, 4);
  constexpr std::uint64_t kBytes = 16 << 20;
  for (const std::uint64_t at : {std::uint64_t{0}, kBytes - 8192, kBytes - 65536}) {
    write_text(image(0), noise(kBytes));
    overwrite(image(0), at, at == kBytes - 65536 ? magic + word(0, 4) + word(90, 4) : magic + word(1, 4));
    if (at != kBytes - 65536) overwrite(image(0), at + 144, word(at / 512, 8));
    done({"wipe", image(0)});
    EXPECT_TRUE(read_text(image(0)).substr(at, 4096) == std::string(4096, '\0')) << at;
    EXPECT_TRUE(read_text(image(0)).substr(8192, 100'000) == noise(kBytes).substr(8192, 100'000));
  }
}

TEST_F(ArrayWipe, UsageOfWipe) {
  create(1, 2);
  expect_refusal(run({"wipe"}), "expected images");
  expect_refusal(run({"wipe", vm_}), "not a folder");
}

// ---- dry runs ----

// Every command that writes metadata: says what would be, writes nothing, and refuses what it would refuse.
TEST_F(ArrayWipe, DryRunsSayWhatWouldBeAndWriteNothing) {
  create(5, 3, {"--spares", "1", "--consistency", "bitmap"});
  import(noise(1'000'000));
  const auto dry = [this](Words words, const std::string& says) {
    const auto before = snapshot();
    words.emplace_back("--dry-run");
    const Ended ended = done(words);
    EXPECT_NE(ended.out.find(says), std::string::npos) << ended.out;
    for (const std::string& line : lines_of(ended.out)) EXPECT_TRUE(line.starts_with("would: ")) << line;
    EXPECT_EQ(snapshot(), before);
  };
  dry({"fail", vm_, "disk1"}, "would: disk1.img is faulty now\nwould: vm: raid5 [3/2] [U_U] degraded");
  dry({"remove", vm_, "spare0"}, "would: spare0.img removed");
  dry({"replace", vm_, "disk0"}, "would: disk0.img is being replaced");
  dry({"add", vm_, "disk9", "--size", "16M"}, "would: disk9.img added");
  done({"fail", vm_, "disk1"});
  dry({"re-add", vm_, "disk1"}, "would: disk1.img re-added");
  dry({"add", vm_, "disk1"}, "would: disk1.img added");
  dry({"wipe", image(1)}, "disk1.img: superblock 1.2 at sector 8 erased");
  dry({"create", "--level", "1", "--force", "--devices", image(0), image(1)}, "would: resilver: raid1 of 2 disks");
  dry({"create", directory_ / "new", "--level", "6", "--disks", "5", "--size", "1T", "--spares", "1"},
      "would: new: raid6 of 5 disks");
  EXPECT_FALSE(fs::exists(directory_ / "new"));
  refuses({"add", vm_, "small", "--size", "4M", "--dry-run"}, {"small.img: too small"});
  refuses({"fail", vm_, "disk0", "--dry-run"}, {"disk0.img"});
  refuses({"wipe", image(0), "--dry-run"}, {"disk0.img: in use"});
  refuses({"create", "--level", "1", "--devices", image(0), image(1), "--dry-run"}, {"holds a member of an md array"});
  done({"rebuild", vm_});
  EXPECT_EQ(slots(), "UUU");
}

// A disk with partitions, as it comes out of a server.
TEST_F(ArrayWipe, MemberInAPartitionIsPointedAt) {
  create(1, 2);
  const std::string member = read_text(image(0));
  const auto word = [](std::uint64_t value) {
    std::string text;
    for (int i = 0; i < 4; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  };
  const std::string disk = directory_ / "whole.img";
  write_text(disk, "");
  fs::resize_file(disk, 64 << 20);
  const std::string type("\0\0\0\xfd\0\0\0", 7);
  overwrite(disk, 446, std::string(1, '\0') + type + word(2048) + word(8192));
  overwrite(disk, 462, std::string(1, '\0') + type + word(16384) + word(32768));
  overwrite(disk, 510, "\x55\xaa");
  overwrite(disk, 16384 * 512, member);
  const Ended ended = run({"examine", disk});
  EXPECT_EQ(ended.code, 1);
  EXPECT_NE(ended.err.find("a partition table (dos) with a member in partition 2: name it"), std::string::npos)
      << ended.err;
}

// Word for word, but for the order of the arrays.
TEST_F(ArrayWipe, ScanIsAsOfMdadm) {
  create(5, 3, {"--spares", "1"});
  const std::string two = directory_ / "two";
  done({"create", two, "--level", "1", "--disks", "2", "--size", "16M", "--name", "host:web"});
  const std::string all = two + "/disk0.img " + two + "/disk1.img " + image(0) + " " + image(1) + " " + image(2) + " " +
                          vm_ + "/spare0.img";
  const Words words = {"examine", "--scan", two + "/disk0.img", two + "/disk1.img",
                       image(0),  image(1), image(2),           vm_ + "/spare0.img"};
  const std::string short_form = done(words).out;
  EXPECT_NE(short_form.find("ARRAY /dev/md/web  metadata=1.2 UUID="), std::string::npos) << short_form;
  Words verbose = words;
  verbose.push_back("-v");
  const std::string long_form = done(verbose).out;
  EXPECT_NE(long_form.find("level=raid5 metadata=1.2 num-devices=3"), std::string::npos) << long_form;
  if (output_of("mdadm --examine --scan " + image(0)).empty()) GTEST_SKIP() << "no mdadm here";
  const auto sorted = [](const std::string& text) {
    std::vector<std::string> all_lines = lines_of(text);
    std::ranges::sort(all_lines);
    return all_lines;
  };
  EXPECT_EQ(sorted(short_form), sorted(output_of("mdadm --examine --scan " + all)));
  EXPECT_EQ(lines_of(long_form).size(), 4u);
  for (const std::string& line : lines_of(output_of("mdadm --examine --scan -v " + all))) {
    if (line.starts_with("ARRAY"))
      EXPECT_NE(long_form.find(line + "\n"), std::string::npos) << line << "\n" << long_form;
  }
}

}  // namespace
}  // namespace resilver::test
