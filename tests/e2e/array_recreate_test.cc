// Images whose superblocks are lost: how they were laid out is found by the file system on them, and the command that is
// printed makes the array anew.
#include <cstdlib>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

using Words = std::vector<std::string>;

struct Lost {
  const char* name;
  Words create;
  std::vector<int> order;  // the images as they are given
  Words wish;
  std::vector<std::string> found;
};
void PrintTo(const Lost& lost, std::ostream* out) { *out << lost.name; }

class ArrayRecreate : public ArrayTest, public testing::WithParamInterface<Lost> {
 protected:
  // An ext4 with files in many directories, into the array.
  void fill(const std::string& options) {
    const std::string tree = directory_ / "tree";
    for (int i = 0; i < 60; ++i) {
      const std::string folder = tree + "/" + std::to_string(i);
      fs::create_directories(folder);
      write_text(folder + "/file", noise(200'000, static_cast<std::uint32_t>(i)));
    }
    fs::resize_file(file_, std::stoull(status_of("size")));
    const std::string command = "mkfs.ext4 -q -F " + options + " -d " + tree + " " + file_ + " >/dev/null 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0);
    done({"import", vm_, file_});
  }
  void wipe(int disks) {
    for (int i = 0; i < disks; ++i) overwrite(image(i), 4096, std::string(4096, '\0'));
  }
};

TEST_P(ArrayRecreate, TheFileSystemTells) {
  const Lost& lost = GetParam();
  Words create = {"create", vm_, "--size", "40M"};
  create.insert(create.end(), lost.create.begin(), lost.create.end());
  done(create);
  write_text(file_, "");
  fill("");
  wipe(static_cast<int>(fs::exists(image(3)) ? 4 : 3));
  const auto before = snapshot();
  Words guess = {"recreate", "--guess"};
  for (const int index : lost.order) guess.push_back(image(index));
  guess.insert(guess.end(), lost.wish.begin(), lost.wish.end());
  const Ended ended = run(guess);
  EXPECT_EQ(ended.code, 0) << ended.all();
  ASSERT_FALSE(lines_of(ended.out).empty());
  std::string line = lines_of(ended.out)[0];
  for (const std::string& text : lost.found) EXPECT_NE(line.find(text), std::string::npos) << line << "\n" << text;
  EXPECT_EQ(snapshot(), before);
}

INSTANTIATE_TEST_SUITE_P(
    All, ArrayRecreate,
    testing::Values(Lost{"Raid5",
                         {"--level", "5", "--disks", "4"},
                         {2, 0, 3, 1},
                         {},
                         {"--level 5 --chunk 64K --layout left-symmetric", "disk0.img", "disk1.img "}},
                    Lost{"Raid5OddLayout",
                         {"--level", "5", "--disks", "3", "--chunk", "16K", "--layout", "right-asymmetric"},
                         {1, 2, 0},
                         {},
                         {"--chunk 16K --layout right-asymmetric"}},
                    Lost{"Raid5OneMissing",
                         {"--level", "5", "--disks", "4"},
                         {3, 0, 1},
                         {"--disks", "4", "--level", "5"},
                         {"--level 5 --chunk 64K", "disk1.img missing "}},
                    Lost{"Raid6",
                         {"--level", "6", "--disks", "4"},
                         {3, 2, 1, 0},
                         {},
                         {"--level 6 --chunk 64K --layout left-symmetric"}},
                    Lost{"Raid0", {"--level", "0", "--disks", "3"}, {2, 1, 0}, {}, {"--level 0 --chunk 64K"}},
                    Lost{"Raid10", {"--level", "10", "--disks", "4"}, {3, 1, 2, 0}, {}, {"--level 10 --chunk 64K"}}),
    [](const auto& info) { return info.param.name; });

using ArrayRecreateUsage = ArrayTest;

TEST_F(ArrayRecreateUsage, NothingToFindAndBadUsage) {
  create(5, 3);
  const Ended none = run({"recreate", "--guess", vm_});
  EXPECT_EQ(none.code, 1) << none.all();
  EXPECT_NE(none.err.find("no arrangement"), std::string::npos) << none.err;
  expect_refusal(run({"recreate", vm_}), "--guess is needed");
  expect_refusal(run({"recreate", "--guess", vm_, "--disks", "2"}), "--disks: ");
}

}  // namespace
}  // namespace resilver::test
