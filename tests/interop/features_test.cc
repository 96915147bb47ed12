// What one side leaves half done, the other goes on with: re-adds by the bitmap, interrupted rebuilds, replacements,
// bad-block logs, and wrong blocks that only RAID 6 can name.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/interop/rig.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kWrittenWhileAway = 1 << 20;

class Features : public InteropTest {
 protected:
  // `before` with its first bytes changed: the whole content, and the part alone.
  std::string with_new_beginning(const std::string& before) {
    const std::string part = random_file(kWrittenWhileAway);
    const std::string all = file("all" + std::to_string(files_));
    fs::copy_file(before, all);
    const std::string bytes = read_text(part);
    std::fstream out(all, std::ios::in | std::ios::out | std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    part_ = part;
    return all;
  }

  // Sectors written to a device of the guest since it was booted.
  std::string written_to(const std::string& device) {
    return "awk '{print \"written\", $7}' /sys/block/" + device.substr(5) + "/stat\n";
  }

  static std::uint64_t difference(const std::string& said) {
    const std::size_t first = said.find("written ");
    const std::size_t second = said.rfind("written ");
    if (first == second) return 0;
    return std::strtoull(said.c_str() + second + 8, nullptr, 10) - std::strtoull(said.c_str() + first + 8, nullptr, 10);
  }

  static void change_byte(const std::string& image, std::uint64_t at) {
    std::fstream stream(image, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at));
    const char changed = static_cast<char>(stream.get() ^ 0x5a);
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(changed);
  }

  std::string part_;
};

class ReAdd : public Features, public testing::WithParamInterface<Shape> {};

TEST_P(ReAdd, OursWasAwayAndMdCopiesOnlyWhatTheBitmapMarks) {
  const Shape& shape = GetParam();
  const auto images = our_create(shape, "ours");
  const std::string before = random_file(our_array_bytes(images));
  ours({"import", file("ours"), before});
  ours({"fail", file("ours"), fs::path(images[1]).filename()});
  ours({"remove", file("ours"), fs::path(images[1]).filename()});
  const std::string after = with_new_beginning(before);
  ours({"import", file("ours"), part_});
  plug(images);
  const std::string said = md("assemble --run " + without_word(devices_, "/dev/ubdb") + "; " + written_to("/dev/ubdb") +
                              "mdadm /dev/md0 --re-add /dev/ubdb; idle; " + written_to("/dev/ubdb") +
                              "check | grep -x 'mismatches 0'; cmp /dev/md0 " + after + "; stop");
  EXPECT_GT(difference(said), 0u) << said;
  EXPECT_LT(difference(said) * 512, kMemberBytes / 2) << said;
  expect_ours_whole(shape, images, after);
}

TEST_P(ReAdd, MdsWasAwayAndWeCopyOnlyWhatTheBitmapMarks) {
  const Shape& shape = GetParam();
  const auto images = new_images("md", shape.disks);
  md_create(shape, images, "--bitmap-chunk=64K");
  const std::string before = random_file(md_array_bytes());
  const std::string after = with_new_beginning(before);
  md("idle; write_file " + before +
     "; mdadm /dev/md0 --fail /dev/ubdb; mdadm /dev/md0 --remove /dev/ubdb; write_file " + part_ + "; stop");
  // A byte that no bit covers stays as it is on the member that comes back: only a copy of everything would mend it.
  const std::uint64_t far = kMemberBytes - (64 << 10) - 100;
  change_byte(images[1], far);
  const char smuggled = read_text(images[1])[far];
  ours({"re-add", file("md"), fs::path(images[1]).filename()});
  ours({"rebuild", file("md")});
  EXPECT_EQ(read_text(images[1])[far], smuggled) << "all of the member was copied";
  change_byte(images[1], far);
  expect_ours_whole(shape, images, after);
  plug(images);
  md("assemble " + devices_ + "; check | grep -x 'mismatches 0'; cmp /dev/md0 " + after + "; stop");
}

INSTANTIATE_TEST_SUITE_P(Levels, ReAdd,
                         testing::Values(Shape{1, 2, 0, "", "bitmap"}, Shape{5, 4, 64, "left-symmetric", "bitmap"},
                                         Shape{6, 5, 64, "left-symmetric", "bitmap"}, Shape{10, 4, 64, "n2", "bitmap"}),
                         [](const auto& info) { return info.param.name(); });

TEST_F(Features, MdsRebuildIsInterruptedAndWeGoOnWithIt) {
  const Shape shape{5, 4, 64, "", "resync"};
  const auto images = new_images("md", 4);
  md_create(shape, images);
  const std::string data = random_file(md_array_bytes());
  // Slow, so that it is stopped on the way; the member then holds a recovery offset.
  md("idle; write_file " + data +
     "; mdadm /dev/md0 --fail /dev/ubdb; mdadm /dev/md0 --remove /dev/ubdb; mdadm --zero-superblock /dev/ubdb\n"
     "dd if=/dev/zero of=/dev/ubdb bs=1M oflag=direct status=none || true\n"
     "echo 1000 >/sys/block/md0/md/sync_speed_max; echo 1000 >/sys/block/md0/md/sync_speed_min\n"
     "mdadm /dev/md0 --add /dev/ubdb\n"
     "while read -r at _ </sys/block/md0/md/sync_completed; [ \"$at\" = none ] || [ \"${at:-0}\" -lt 1000 ]; do sleep "
     "0.02; done\n"
     "echo frozen >/sys/block/md0/md/sync_action; stop");
  const std::string said = host("mdadm --examine " + images[1]);
  EXPECT_NE(said.find("Recovery Offset"), std::string::npos) << said;
  ours({"rebuild", file("md")});
  expect_ours_whole(shape, images, data);
  plug(images);
  md("assemble " + devices_ + "; check | grep -x 'mismatches 0'; cmp /dev/md0 " + data + "; stop");
}

TEST_F(Features, AReplacementIsMadeThereAndHere) {
  auto images = new_images("md", 5);
  const std::vector<std::string> members(images.begin(), images.end() - 1);
  const Shape shape{5, 4, 64, "", "resync"};
  md_create(shape, members);
  const std::string data = random_file(md_array_bytes());
  plug(images);
  md("idle; write_file " + data +
     "; mdadm /dev/md0 --add /dev/ubde; mdadm /dev/md0 --replace /dev/ubdb --with /dev/ubde; idle; stop");
  const std::vector<std::string> now = {images[0], images[4], images[2], images[3]};
  expect_ours_whole(shape, now, data);
  // And back: the image that left is the spare that takes over again.
  fs::resize_file(images[1], 0);
  fs::resize_file(images[1], kMemberBytes);
  ours({"add", file("md"), fs::path(images[1]).filename()});
  ours({"replace", file("md"), fs::path(images[4]).filename()});
  ours({"rebuild", file("md")});
  expect_ours_whole(shape, members, data);
  plug(images);
  md("assemble /dev/ubda /dev/ubdb /dev/ubdc /dev/ubdd; check | grep -x 'mismatches 0'; cmp /dev/md0 " + data +
     "; stop");
}

TEST_F(Features, BadBlocksThatMdNotedAreNeitherReadNorForgottenHere) {
  const Shape shape{5, 4, 64, "", "resync"};
  const auto images = new_images("md", 4);
  md_create(shape, images);
  const std::string data = random_file(md_array_bytes());
  // Sectors from the start of the data area; md's file counts like that.
  md("idle; write_file " + data + "; echo '4096 8' >/sys/block/md0/md/dev-ubdb/bad_blocks; " +
     "cat /sys/block/md0/md/dev-ubdb/bad_blocks; mdadm --wait-clean /dev/md0 || true; stop");
  const std::string log = host("mdadm --examine-badblocks " + images[1]);
  EXPECT_NE(log.find(" 8 sectors"), std::string::npos) << log;
  // What stands there now would be wrong, if anybody read it.
  const std::size_t at = log.find(" for 8 sectors");
  ASSERT_NE(at, std::string::npos) << log;
  const std::uint64_t sector = std::strtoull(log.c_str() + log.find_last_not_of("0123456789", at - 1) + 1, nullptr, 10);
  change_byte(images[1], sector * 512 + 100);
  our_export(images, file("export"));
  EXPECT_TRUE(same_content(data, file("export")));
  ours({"scrub", file("md"), "--repair"});
  const std::string after = host("mdadm --examine-badblocks " + images[1]);
  EXPECT_EQ(after.find(" for 8 sectors"), std::string::npos) << "a block that was rewritten is good again: " << after;
  plug(images);
  md("assemble " + devices_ + "; check | grep -x 'mismatches 0'; cmp /dev/md0 " + data + "; stop");
}

TEST_F(Features, ScrubNamesTheWrongMemberOfMdsRaid6AndMendsIt) {
  const Shape shape{6, 5, 64, "", "resync"};
  const auto images = new_images("md", 5);
  md_create(shape, images);
  const std::string data = random_file(md_array_bytes());
  md("idle; write_file " + data + "; stop");
  for (const std::size_t wrong : {0u, 3u}) {
    change_byte(images[wrong], 3 << 20);
    const std::string found = run_program({"scrub", file("md"), "--locate"}).out;
    EXPECT_NE(found.find("slot " + std::to_string(wrong) + " is wrong"), std::string::npos) << found;
    ours({"scrub", file("md"), "--repair", "--locate"});
  }
  expect_ours_whole(shape, images, data);
  plug(images);
  md("assemble " + devices_ + "; check | grep -x 'mismatches 0'; cmp /dev/md0 " + data + "; stop");
}

TEST_F(Features, MdsRepairOfOurRaid6DestroysNothing) {
  const Shape shape{6, 5, 64, "", "resync"};
  const auto images = our_create(shape, "ours");
  const std::string data = random_file(our_array_bytes(images));
  ours({"import", file("ours"), data});
  plug(images);
  md("assemble " + devices_ + "; echo repair >/sys/block/md0/md/sync_action; idle; cmp /dev/md0 " + data + "; stop");
  expect_ours_whole(shape, images, data);
}

TEST_F(Features, BothSidesCountTheSameMismatches) {
  const Shape shape{5, 4, 64, "", "resync"};
  const auto images = our_create(shape, "ours");
  const std::string data = random_file(our_array_bytes(images));
  ours({"import", file("ours"), data});
  for (const std::uint64_t at : {2u << 20, (2u << 20) + 4096, 5u << 20}) change_byte(images[2], at);
  const Ended ended = run_program({"scrub", file("ours")});
  EXPECT_NE(ended.all().find("24"), std::string::npos) << ended.all();
  plug(images);
  EXPECT_NE(md("assemble " + devices_ + "; check; stop").find("mismatches 24\n"), std::string::npos);
}

}  // namespace
}  // namespace resilver::test
