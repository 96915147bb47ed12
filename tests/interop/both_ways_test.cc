// Arrays of every shape go from us to md and back, and from md to us and back: whole, without any member that they can
// spare, rebuilt, rewritten.
#include <filesystem>

#include "tests/interop/rig.h"

namespace resilver::test {
namespace {

class BothWays : public InteropTest, public testing::WithParamInterface<Shape> {
 protected:
  // In the guest: the whole content, a check, and reading with every set of members left out.
  std::string md_reads_it_all(const std::string& data) const {
    std::string script = "assemble " + devices_ + "\ncmp /dev/md0 " + data + "\n";
    if (GetParam().survives() > 0) script += "check | grep -x 'mismatches 0'\n";
    script += "stop\n";
    for (const auto& lost : losses(GetParam())) {
      script += "degraded_read " + data + " '" + lost + "' " + devices_ + "\n";
    }
    return script;
  }
};

TEST_P(BothWays, FromUsToMdAndBack) {
  const Shape& shape = GetParam();
  const auto images = our_create(shape, "ours");
  const std::string data = random_file(our_array_bytes(images));
  ours({"import", file("ours"), data});
  expect_same_examine(images);
  for (const auto& lost : losses(shape)) expect_grub_reads(shape, images, lost, data);

  plug(images);
  md(md_reads_it_all(data), 120);
  std::string last = data;
  if (shape.survives() > 0) {
    // The member fails there, data changes while it is away, it is rebuilt.
    last = random_file(our_array_bytes(images));
    md("assemble " + devices_ + "\nmdadm /dev/md0 --fail /dev/ubdb; mdadm /dev/md0 --remove /dev/ubdb\nwrite_file " +
       last +
       "\nmdadm --zero-superblock /dev/ubdb; mdadm /dev/md0 --add /dev/ubdb; idle\n"
       "check | grep -x 'mismatches 0'\ncmp /dev/md0 " +
       last + "\nstop");
  }
  expect_ours_whole(shape, images, last);
}

TEST_P(BothWays, FromMdToUsAndBack) {
  const Shape& shape = GetParam();
  const auto images = new_images("md", shape.disks + (shape.consistency == "journal" ? 1 : 0));
  md_create(shape, images);
  const std::string data = random_file(md_array_bytes());
  md("[ ! -e /sys/block/md0/md/sync_action ] || idle; write_file " + data + "; stop");

  expect_same_examine(images);
  expect_ours_whole(shape, images, data);
  for (const auto& lost : losses(shape)) {
    our_export(without(images, lost), file("degraded"));
    EXPECT_TRUE(same_content(data, file("degraded"))) << "without " << lost;
  }
  std::string last = data;
  if (shape.survives() > 0) {
    // The member fails here, data changes while it is away, a fresh image takes its place.
    last = random_file(std::filesystem::file_size(data));
    our_exchange(images, 1, last);
    expect_ours_whole(shape, images, last);
  }
  plug(images);
  md(md_reads_it_all(last), 120);
}

INSTANTIATE_TEST_SUITE_P(Matrix, BothWays, testing::ValuesIn(shapes()),
                         [](const auto& info) { return info.param.name(); });

}  // namespace
}  // namespace resilver::test
