// Arrays as md's users have them: made with options, and changed by `mdadm --assemble --update` and `--grow`. They open here,
// whole and without every member; a member is exchanged here; md takes them back, and what its users had set is still set.
#include <filesystem>

#include "tests/interop/rig.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

struct Wild {
  const char* name;
  Shape shape;
  std::string create;  // more options of mdadm --create
  std::string change;  // in the guest, after the array was stopped; DEVICES: those of its members
  bool small = false;  // part of make check
};
void PrintTo(const Wild& wild, std::ostream* out) { *out << wild.name; }

const Shape kMirror{1, 2, 0, "", "resync"};
const Shape kMirrorWithBitmap{1, 2, 0, "", "bitmap"};
const Shape kParity{5, 3, 64, "", "resync"};
const Shape kParityWithBitmap{5, 4, 16, "", "bitmap"};

std::string update(const std::string& what) { return "assemble --update=" + what + " DEVICES; idle; stop"; }

std::vector<Wild> wilds() {
  std::vector<Wild> all = {
      {"update_name", kParity, "", update("name --name=other")},
      {"update_uuid", kParityWithBitmap, "", update("uuid --uuid=01234567:89abcdef:01234567:89abcdef")},
      {"update_resync", kParity, "", update("resync")},
      {"update_resync_with_bitmap", kMirrorWithBitmap, "", update("resync")},
      {"update_homehost", kMirror, "", update("homehost --homehost=elsewhere")},
      {"update_no_bbl", kParity, "", update("no-bbl"), true},
      {"update_force_no_bbl", kMirrorWithBitmap, "", update("force-no-bbl")},
      {"update_bbl", kParity, "", update("no-bbl") + "; " + update("bbl")},
      {"update_no_bitmap", kParityWithBitmap, "", update("no-bitmap")},
      {"update_devicesize", kMirror, "", update("devicesize")},
      {"write_mostly", kMirror, "",
       "assemble DEVICES; echo writemostly >/sys/block/md0/md/dev-ubda/state; "
       "dd if=/dev/md0 of=/dev/md0 bs=4K count=1 oflag=direct conv=notrunc status=none; stop",
       true},
      {"data_offset_2M", kParity, "--data-offset=2M", ""},
      {"data_offset_136K", kMirror, "--data-offset=136K", "", true},
      {"data_offset_136K_with_bitmap", kParityWithBitmap, "--data-offset=136K", ""},
      {"bitmap_chunk_4K", kMirrorWithBitmap, "--bitmap-chunk=4K", ""},
      {"bitmap_chunk_1M", kParityWithBitmap, "--bitmap-chunk=1M", ""},
      {"bitmap_chunk_64M", kMirrorWithBitmap, "--bitmap-chunk=64M", ""},
      {"bitmap_added_later", kParity, "", "assemble DEVICES; mdadm --grow /dev/md0 --bitmap=internal; stop"},
      {"bitmap_removed_later", kParityWithBitmap, "", "assemble DEVICES; mdadm --grow /dev/md0 --bitmap=none; stop"},
      {"size_no_multiple_of_64K", kMirror, "--size=4100", ""},
      {"size_of_parity", kParity, "--size=4003", ""},
  };
  if (!full_matrix()) std::erase_if(all, [](const Wild& wild) { return !wild.small; });
  return all;
}

class FoundInTheWild : public InteropTest, public testing::WithParamInterface<Wild> {
 protected:
  // What md's users set, and what places data, as mdadm reads it from a member.
  std::string settings(const std::string& image) {
    return host(
        "mdadm --examine " + image +
        " | grep -E 'Array UUID|Name|Creation|Raid|Avail Dev|Used Dev|Array Size|Offset|Flags|Bad Block|Internal'");
  }
  std::string changed(const std::string& script) const {
    std::string text = script;
    for (std::size_t at = 0; (at = text.find("DEVICES", at)) != std::string::npos;) text.replace(at, 7, devices_);
    return text;
  }
};

TEST_P(FoundInTheWild, IsKeptAndGoesBack) {
  const Wild& wild = GetParam();
  const auto images = new_images("md", wild.shape.disks);
  md_create(wild.shape, images, wild.create);
  const std::string data = random_file(md_array_bytes());
  md("idle; write_file " + data + "; stop");
  if (!wild.change.empty()) md(changed(wild.change));
  const std::string before = settings(images[0]);

  expect_same_examine(images);
  our_export(images, file("export"));
  EXPECT_TRUE(same_content(data, file("export")));
  for (const auto& lost : losses(wild.shape)) {
    our_export(without(images, lost), file("degraded"));
    EXPECT_TRUE(same_content(data, file("degraded"))) << "without " << lost;
  }
  const std::string last = random_file(fs::file_size(data));
  our_exchange(images, 1, last);
  our_export(images, file("export"));
  EXPECT_TRUE(same_content(last, file("export")));
  EXPECT_EQ(settings(images[0]), before);

  plug(images);
  md("assemble --run " + devices_ + "\ncmp /dev/md0 " + last + "\ncheck | grep -x 'mismatches 0'\nstop\n");
  for (const auto& lost : losses(wild.shape)) md("degraded_read " + last + " '" + lost + "' " + devices_);
  EXPECT_EQ(settings(images[0]), before);
}

// Two disks, one added, four slots.
TEST_F(InteropTest, AMirrorThatGrewToMoreSlotsIsFilledHere) {
  auto images = new_images("md", 4);
  const std::string fourth = images.back() + ".later";
  fs::rename(images.back(), fourth);
  images.pop_back();
  md_create(kMirrorWithBitmap, {images[0], images[1]});
  plug(images);
  const std::string data = random_file(md_array_bytes());
  md("idle; write_file " + data +
     "; mdadm /dev/md0 --add /dev/ubdc; mdadm --grow /dev/md0 --raid-devices=4 --force; idle; stop");
  expect_same_examine(images);
  EXPECT_EQ(our_state(images), "degraded");
  for (const auto& lost : {"0", "1", "2", "0 1"}) {
    our_export(without(images, lost), file("degraded"));
    EXPECT_TRUE(same_content(data, file("degraded"))) << "without " << lost;
  }
  const std::string last = random_file(fs::file_size(data));
  ours({"import", file("md"), last});
  images.push_back(file("md") + "/d3.img");
  fs::rename(fourth, images.back());
  ours({"add", file("md"), "d3.img"});
  ours({"rebuild", file("md")});
  expect_ours_whole({1, 4, 0, "", "bitmap"}, images, last);
  plug(images);
  md("assemble " + devices_ + "; check | grep -x 'mismatches 0'; cmp /dev/md0 " + last + "; stop; degraded_read " +
     last + " '0 1 2' " + devices_);
}

INSTANTIATE_TEST_SUITE_P(Matrix, FoundInTheWild, testing::ValuesIn(wilds()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace resilver::test
