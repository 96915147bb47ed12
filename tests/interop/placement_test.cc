// Where data begins on a member, how large a member's used part and the array are: as mdadm chooses on disks of this size.
#include <filesystem>

#include "tests/interop/rig.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kGiB = 1 << 30;

// Both sides of the steps of mdadm's rule; a disk that is no multiple of its units too.
std::vector<std::uint64_t> sizes() {
  if (!full_matrix()) return {16 * kMiB, (256 * kMiB) + (60 << 10), 2 * kGiB, 64 * kGiB, 256 * kGiB, 4096 * kGiB};
  return {16 * kMiB,  64 * kMiB,   (256 * kMiB) + (60 << 10),
          512 * kMiB, kGiB,        2 * kGiB,
          4 * kGiB,   8 * kGiB,    16 * kGiB,
          64 * kGiB,  100 * kGiB,  110 * kGiB,
          256 * kGiB, 1024 * kGiB, 4096 * kGiB};
}

struct Form {
  const char* level;
  const char* chunk;   // of both command lines; null: none
  const char* bitmap;  // for mdadm
  const char* consistency;
};
constexpr Form kForms[] = {{"1", nullptr, "none", "resync"},
                           {"1", nullptr, "internal", "bitmap"},
                           {"5", "512K", "none", "resync"},
                           {"5", "64K", "internal", "bitmap"}};

// The lines of mdadm --examine that say where things are. RAID 5: not the array's size, since md's here has two members,
// so that one disk is enough to start it, and ours three.
std::string places(const std::string& image, const Form& form) {
  // With a bitmap: ours is finer, so it takes more of the space that mdadm leaves for it, and the log comes behind it.
  const std::string log = form.bitmap[0] == 'n' ? "|Unused|Bad Block" : "";
  const std::string array = form.chunk == nullptr ? "Array Size|" : "";
  return host("mdadm --examine " + image + " | grep -E '" + array +
              "Data Offset|Super Offset|Avail Dev Size|Used Dev Size|Internal Bitmap|Chunk" + log + "'");
}

TEST_F(InteropTest, WeCutAMemberUpAsMdadmDoesOnDisksOfAnySize) {
  const auto all = sizes();
  Guest big(all);
  ASSERT_TRUE(big.alive());
  for (std::size_t slot = 0; slot < all.size(); ++slot) {
    for (const Form& form : kForms) {
      SCOPED_TRACE(std::to_string(all[slot] >> 10) + " KiB, level " + form.level + ", " + form.consistency);
      const std::string image = file("md.img");
      write_text(image, "");
      fs::resize_file(image, all[slot]);
      big.plug(slot, image);
      const std::string chunk = form.chunk == nullptr ? "" : std::string(" --chunk=") + form.chunk;
      const Reply made = big.run("mdadm --create /dev/md0 --config=none --run --metadata=1.2 --assume-clean --level=" +
                                 std::string(form.level) + chunk + " --bitmap=" + form.bitmap + " --raid-devices=2 " +
                                 Guest::device(slot) + " missing; stop");
      ASSERT_TRUE(made.ok()) << made.out;
      std::vector<std::string> words = {"create",        file("ours"),
                                        "--level",       form.level,
                                        "--disks",       form.level[0] == '1' ? "2" : "3",
                                        "--size",        std::to_string(all[slot] >> 10) + "K",
                                        "--consistency", form.consistency};
      if (form.chunk != nullptr) words.insert(words.end(), {"--chunk", form.chunk});
      ours(words);
      if (slot + 1 == all.size()) expect_same_examine({file("ours") + "/disk0.img"});  // sizes in TiB
      EXPECT_EQ(places(file("ours") + "/disk0.img", form), places(image, form));
      fs::remove_all(file("ours"));
      fs::remove(image);
    }
  }
}

}  // namespace
}  // namespace resilver::test
