// Levels that use all of members of unequal size: RAID 0 with md's zones, in both of the orders that md has known, and linear.
#include <filesystem>
#include <iterator>

#include "tests/interop/rig.h"

namespace resilver::test {
namespace {

constexpr std::size_t kMembers = 1 + std::size(kOddBytes);

struct Options {
  const char* name;
  const char* md;                  // of mdadm --create
  std::vector<std::string> of_us;  // of resilver create
};
void PrintTo(const Options& options, std::ostream* out) { *out << options.name; }

class UnequalMembers : public InteropTest, public testing::WithParamInterface<Options> {
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

TEST_P(UnequalMembers, OfMdAreReadAndWrittenHere) {
  std::vector<std::string> images;
  for (std::size_t i = 0; i < kMembers; ++i) images.push_back(new_images("disk" + std::to_string(i), 1, bytes(i))[0]);
  plug_unequal(images);
  md(std::string("mdadm --create /dev/md0 --config=none --run --metadata=1.2 --raid-devices=4 ") + GetParam().md +
     devices_);
  const std::string data = random_file(md_array_bytes());
  md("write_file " + data + "; stop");
  expect_same_examine(images);
  our_export(images, file("export"));
  EXPECT_TRUE(same_content(data, file("export")));
  const std::string other = random_file(std::filesystem::file_size(data));
  std::vector<std::string> words = {"import"};
  words.insert(words.end(), images.begin(), images.end());
  words.push_back(other);
  ours(words);
  expect_same_examine(images);
  md("assemble" + devices_ + "; cmp /dev/md0 " + other + "; stop");
}

TEST_P(UnequalMembers, OfOursAreReadByMd) {
  std::string sizes;
  for (std::size_t i = 0; i < kMembers; ++i) sizes += (i == 0 ? "" : ",") + std::to_string(bytes(i) >> 10) + "K";
  std::vector<std::string> words = {"create", file("ours"), "--disks", std::to_string(kMembers), "--size", sizes};
  words.insert(words.end(), GetParam().of_us.begin(), GetParam().of_us.end());
  ours(words);
  std::vector<std::string> images;
  for (std::size_t i = 0; i < kMembers; ++i) images.push_back(file("ours") + "/disk" + std::to_string(i) + ".img");
  plug_unequal(images);
  const std::string data = random_file(our_array_bytes(images));
  ours({"import", file("ours"), data});
  md("assemble" + devices_ + "; cmp /dev/md0 " + data + "; stop");
}

INSTANTIATE_TEST_SUITE_P(
    Levels, UnequalMembers,
    testing::Values(Options{"Raid0Original",
                            "--level=0 --chunk=16 --layout=original",
                            {"--level", "0", "--chunk", "16K", "--layout", "original"}},
                    Options{"Raid0Alternate",
                            "--level=0 --chunk=16 --layout=alternate",
                            {"--level", "0", "--chunk", "16K", "--layout", "alternate"}},
                    Options{"Linear", "--level=linear", {"--level", "linear"}},
                    Options{"LinearOdd", "--level=linear --data-offset=1025", {"--level", "linear"}},
                    Options{"LinearRounded", "--level=linear --rounding=192", {"--level", "linear", "--chunk", "192K"}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace resilver::test
