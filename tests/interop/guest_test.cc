// The guest itself: programs there die of nothing but what they do.
#include "tests/interop/rig.h"

namespace resilver::test {
namespace {

using GuestItself = InteropTest;

TEST_F(GuestItself, ProgramsDoNotDie) {
  const std::string a = random_file(300'000);
  const int rounds = full_matrix() ? 20'000 : 200;
  const Reply reply =
      Guest::shared().run("cp " + a + " " + a + ".copy; died=0\nfor ((i = 0; i < " + std::to_string(rounds) +
                              "; i++)); do cmp " + a + " " + a + ".copy || died=$((died + 1)); done\necho died $died",
                          3600);
  EXPECT_NE(reply.out.find("died 0"), std::string::npos) << reply.out << reply.status;
}

}  // namespace
}  // namespace resilver::test
