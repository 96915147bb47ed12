// Arrays as md and mdadm have made them in other years and for other disks: used sizes and data offsets that are no multiple of
// 4096, and the metadata versions 0.90, 1.0 and 1.1, which are only read here.
#include <filesystem>

#include "tests/interop/rig.h"

namespace resilver::test {
namespace {

struct Made {
  const char* name;
  std::string metadata;
  int level;  // -1: linear
  int disks;
  std::string options;  // of mdadm --create
};
void PrintTo(const Made& made, std::ostream* out) { *out << made.name; }

class Found : public InteropTest, public testing::WithParamInterface<Made> {
 protected:
  // Images of an array that md made and filled with the file that this gives.
  std::string make(const std::vector<std::string>& images) {
    const Made& made = GetParam();
    plug(images);
    md("mdadm --create /dev/md0 --config=none --run --metadata=" + made.metadata +
       " --level=" + (made.level < 0 ? "linear" : std::to_string(made.level)) +
       " --raid-devices=" + std::to_string(made.disks) + " " + made.options + " " + devices_);
    const std::string data = random_file(md_array_bytes());
    md("[ ! -e /sys/block/md0/md/sync_action ] || idle; write_file " + data + "; stop");
    return data;
  }
  Shape shape() const { return {GetParam().level, GetParam().disks, 64, GetParam().level == 10 ? "n2" : "", ""}; }
  void expect_exported(const std::vector<std::string>& images, const std::string& data) {
    our_export(images, file("export"));
    EXPECT_TRUE(same_content(data, file("export")));
    for (const auto& lost : losses(shape())) {
      our_export(without(images, lost), file("export"));
      EXPECT_TRUE(same_content(data, file("export"))) << "without " << lost;
    }
  }
};

class OddSizes : public Found {};

TEST_P(OddSizes, AreReadRebuiltAndGivenBack) {
  const auto images = new_images("md", GetParam().disks);
  const std::string data = make(images);
  expect_same_examine(images);
  expect_ours_whole(shape(), images, data);
  expect_exported(images, data);
  const std::string last = random_file(std::filesystem::file_size(data));
  if (shape().survives() > 0) {
    our_exchange(images, 1, last);
  } else {
    ours({"import", images[0], images[1], images[2], last});
  }
  expect_ours_whole(shape(), images, last);
  expect_same_examine(images);
  plug(images);
  std::string script = "assemble " + devices_ + "\ncmp /dev/md0 " + last + "\n";
  if (shape().survives() > 0) script += "check | grep -x 'mismatches 0'\n";
  md(script + "stop");
}

INSTANTIATE_TEST_SUITE_P(
    Made, OddSizes,
    testing::Values(Made{"Raid1Size", "1.2", 1, 2, "--size=4999 --bitmap=none"},
                    Made{"Raid1SizeAndOffset", "1.2", 1, 3, "--size=3997 --data-offset=1025 --bitmap=internal"},
                    Made{"Raid5Offset", "1.2", 5, 3, "--data-offset=1025 --chunk=64 --bitmap=none"},
                    Made{"Raid10Offset", "1.2", 10, 4, "--data-offset=1027 --chunk=64 --bitmap=internal"},
                    Made{"Raid0OfSmallChunks", "1.2", 0, 3, "--chunk=5 --data-offset=1025"},
                    Made{"Linear", "1.2", -1, 3, "--rounding=5 --data-offset=1025"},
                    Made{"LinearSize", "1.2", -1, 3, "--size=3000"}, Made{"Raid0Size", "1.2", 0, 3, "--size=3000"}),
    [](const auto& info) { return std::string(info.param.name); });

class OtherVersions : public Found {};

TEST_P(OtherVersions, AreExaminedAndExportedAndNotWritten) {
  const auto images = new_images("md", GetParam().disks);
  const std::string data = make(images);
  if (GetParam().metadata != "0.90") expect_same_examine(images);
  const std::string examined = ours({"examine", images[0]});
  EXPECT_NE(examined.find("Version : " + GetParam().metadata), std::string::npos) << examined;
  EXPECT_EQ(our_state(images), "clean");
  std::vector<std::string> before;
  for (const auto& image : images) before.push_back(read_text(image));
  expect_exported(images, data);
  for (const std::string command : {"assemble", "scrub", "rebuild", "fail", "import"}) {
    std::vector<std::string> words = {command};
    words.insert(words.end(), images.begin(), images.end());
    if (command == "import") words.push_back(data);
    if (command == "fail") words.push_back("d0");
    const Ended ended = run_program(words);
    EXPECT_EQ(ended.code, 1) << ended.all();
    EXPECT_NE(ended.err.find("metadata " + GetParam().metadata + " is only read here"), std::string::npos)
        << ended.all();
  }
  for (std::size_t i = 0; i < images.size(); ++i) EXPECT_TRUE(read_text(images[i]) == before[i]) << images[i];
}

INSTANTIATE_TEST_SUITE_P(
    Made, OtherVersions,
    testing::Values(Made{"V090Linear", "0.90", -1, 3, ""}, Made{"V090LinearRounded", "0.90", -1, 2, "--rounding=96"},
                    Made{"V10Linear", "1.0", -1, 3, ""}, Made{"V11Linear", "1.1", -1, 2, "--rounding=64"},
                    Made{"V090Raid1", "0.90", 1, 2, "--bitmap=none"},
                    Made{"V090Raid1Odd", "0.90", 1, 3, "--size=4999 --bitmap=internal"},
                    Made{"V090Raid5", "0.90", 5, 4, "--chunk=64 --bitmap=none --layout=right-asymmetric"},
                    Made{"V090Raid6", "0.90", 6, 4, "--chunk=64 --bitmap=none"},
                    Made{"V090Raid10", "0.90", 10, 4, "--chunk=64 --bitmap=none"},
                    Made{"V10Raid0", "1.0", 0, 3, "--chunk=64"}, Made{"V10Raid1", "1.0", 1, 2, "--bitmap=none"},
                    Made{"V10Raid5", "1.0", 5, 3, "--chunk=64 --bitmap=internal"},
                    Made{"V11Raid1", "1.1", 1, 2, "--bitmap=internal"},
                    Made{"V11Raid6", "1.1", 6, 5, "--chunk=64 --bitmap=none"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace resilver::test
