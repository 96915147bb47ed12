// The oracle on its own: that md in the guest says what we take it for, so that a silent guest cannot make tests green.
#include <fstream>

#include "tests/interop/rig.h"

namespace resilver::test {
namespace {

class MdItself : public InteropTest {};

TEST_F(MdItself, SeesAWrongBlockThatWeSmuggleIn) {
  const auto images = new_images("md", 4);
  md_create({5, 4, 64, "", "resync"}, images);
  const std::string data = random_file(md_array_bytes());
  EXPECT_EQ(md("idle; write_file " + data + "; check; stop"), "mismatches 0\nmdadm: stopped /dev/md0\n");
  // One byte of member 2, 3 MiB into it.
  std::fstream image(images[2], std::ios::in | std::ios::out | std::ios::binary);
  image.seekg(3 << 20);
  const char changed = static_cast<char>(image.get() ^ 1);
  image.seekp(3 << 20);
  image.put(changed);
  image.close();
  const std::string said = md("assemble " + devices_ + "; check");
  EXPECT_NE(said.find("mismatches 8\n"), std::string::npos) << said;
}

TEST_F(MdItself, TellsAScriptThatFailed) {
  EXPECT_EQ(Guest::shared().run("true; exit 7").status, 7);
  EXPECT_EQ(Guest::shared().run("false; true").status, 1) << "scripts end at the first command that fails";
  EXPECT_NE(Guest::shared().run("degraded_read /dev/null 0 /dev/ubda /dev/ubdb").status, 0);
}

}  // namespace
}  // namespace resilver::test
