// RAID 0 of members of unequal size: md's zones, in both of the orders that md has known (original, alternate).
#include <filesystem>
#include <iterator>

#include "tests/interop/rig.h"

namespace resilver::test {
namespace {

constexpr std::size_t kMembers = 1 + std::size(kOddBytes);

class UnequalRaid0 : public InteropTest {
 protected:
  // Member i stands in the first slot of the guest that has its size.
  static std::uint64_t bytes(std::size_t i) { return i == 0 ? kMemberBytes : kOddBytes[i - 1]; }

  void plug_unequal(const std::vector<std::string>& images) {
    devices_.clear();
    for (std::size_t i = 0; i < images.size(); ++i) {
      Guest::shared().plug(kOddSlot - 1 + i, images[i]);
      devices_ += " " + Guest::device(kOddSlot - 1 + i);
    }
  }
};

class UnequalRaid0OfMd : public UnequalRaid0, public testing::WithParamInterface<const char*> {};

TEST_P(UnequalRaid0OfMd, IsReadAndWrittenHere) {
  std::vector<std::string> images;
  for (std::size_t i = 0; i < kMembers; ++i) images.push_back(new_images("disk" + std::to_string(i), 1, bytes(i))[0]);
  plug_unequal(images);
  md(std::string(
         "mdadm --create /dev/md0 --config=none --run --metadata=1.2 --level=0 --chunk=16 --raid-devices=4 --layout=") +
     GetParam() + devices_);
  const std::string data = random_file(md_array_bytes());
  md("write_file " + data + "; stop");
  our_export(images, file("export"));
  EXPECT_TRUE(same_content(data, file("export")));
  const std::string other = random_file(std::filesystem::file_size(data));
  std::vector<std::string> words = {"import"};
  words.insert(words.end(), images.begin(), images.end());
  words.push_back(other);
  ours(words);
  md("assemble" + devices_ + "; cmp /dev/md0 " + other + "; stop");
}

INSTANTIATE_TEST_SUITE_P(Orders, UnequalRaid0OfMd, testing::Values("original", "alternate"));

TEST_F(UnequalRaid0, OfOursIsReadByMd) {
  std::string sizes;
  for (std::size_t i = 0; i < kMembers; ++i) sizes += (i == 0 ? "" : ",") + std::to_string(bytes(i) >> 10) + "K";
  ours({"create", file("ours"), "--level", "0", "--disks", std::to_string(kMembers), "--chunk", "16K", "--size", sizes});
  std::vector<std::string> images;
  for (std::size_t i = 0; i < kMembers; ++i) images.push_back(file("ours") + "/disk" + std::to_string(i) + ".img");
  plug_unequal(images);
  const std::string data = random_file(our_array_bytes(images));
  ours({"import", file("ours"), data});
  md("assemble" + devices_ + "; cmp /dev/md0 " + data + "; stop");
}

}  // namespace
}  // namespace resilver::test
