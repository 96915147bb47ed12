// The network itself, before anything is said about what runs on it.
#include <gtest/gtest.h>

#include "tests/netns/network.h"

namespace resilver::test {
namespace {

TEST(HostNetwork, ACableThatIsPulledCarriesNothing) {
  if (const std::string why = HostNetwork::why_not(); !why.empty()) GTEST_SKIP() << why;
  HostNetwork network({"A", "B"});
  Directory directory;
  const Program arbiter({"arbiter", "--state", directory / "state.img", "--listen", network.address_of("A") + ":7400"},
                        network.on("A"));
  const auto reaches = [&network](const std::string& from) {
    return network.run(from, "timeout 1 bash -c '</dev/tcp/" + network.address_of("A") + "/7400' 2>/dev/null");
  };
  EXPECT_TRUE(eventually([&] { return reaches("B"); }));
  network.unplug("B");
  EXPECT_FALSE(reaches("B"));
  network.plug_in("B");
  EXPECT_TRUE(eventually([&] { return reaches("B"); }));
}

}  // namespace
}  // namespace resilver::test
