// The file of a volume: what it means, and every mistake by line and column, in one go.
#include "service/config.h"

#include <gtest/gtest.h>

#include "base/units.h"

namespace resilver::service {
namespace {

constexpr const char* kGood = R"(schema = 1
this_node = "B"
[volume]
name = "web"
size = "64MiB"
ack = "quorum"
arbiter = "127.0.0.1:7400"
first_primary = "B"
min_in_sync = 2
detect = "500ms"
congestion_timeout = "2s"
op_timeout = "10s"
resync_min = "10MiB/s"
resync_max = "100MiB/s"
[[node]]
name = "A"
listen = "127.0.0.1:7401"
control = "127.0.0.1:7501"
device = "a.img"
[[node]]
name = "B"
listen = "[::1]:7402"
control = "127.0.0.1:7502"
array = ["x/b0.img", "/b1.img"]
)";

std::string with(const std::string& from, const std::string& to, std::string text = kGood) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

// All messages, a line each.
std::string mistakes(const std::string& text) {
  const ConfigResult result = parse_volume(text, "dir/web.toml");
  std::string lines;
  if (!result) {
    for (const auto& diagnostic : result.error()) lines += scenario::to_string(diagnostic) + "\n";
  }
  return lines;
}

TEST(VolumeFile, MeansWhatItSays) {
  const ConfigResult read = parse_volume(kGood, "dir/web.toml");
  ASSERT_TRUE(read.has_value()) << mistakes(kGood);
  EXPECT_EQ(read->name, "web");
  EXPECT_EQ(read->size_bytes, 64 * kMiB);
  EXPECT_EQ(read->self, 1u);
  EXPECT_EQ(read->first_primary, 1u);
  ASSERT_EQ(read->nodes.size(), 2u);
  EXPECT_EQ(read->nodes[0].device, "dir/a.img") << "relative to the file";
  EXPECT_EQ(read->nodes[1].array, (std::vector<std::string>{"dir/x/b0.img", "/b1.img"}));
  const replica::ReplicaConfig replica = replica_config(*read, 1);
  EXPECT_EQ(replica.ack, replica::AckMode::quorum);
  EXPECT_EQ(replica.min_in_sync, 2u);
  EXPECT_EQ(replica.grace_ms, 500u);
  EXPECT_EQ(replica.lease_ms, 400u);
  EXPECT_EQ(replica.congestion_ms, 2000u);
  EXPECT_EQ(replica.resync_min_bytes_per_s, 10 * kMiB);
  EXPECT_EQ(replica.resync_max_bytes_per_s, 100 * kMiB);
  ASSERT_EQ(replica.peers.size(), 1u);
  EXPECT_EQ(replica.peers[0].address, "127.0.0.1:7401");
  EXPECT_EQ(client_config(*read).op_timeout_ms, 10'000u);
  EXPECT_EQ(client_config(*read).nodes.size(), 2u);
}

TEST(VolumeFile, IsOneVolumeByItsIdAlone) {
  const std::string id = "00112233445566778899aabbccddeeff";
  EXPECT_TRUE(parse_volume(kGood, "f")->id.none()) << "volume create has not written one yet";
  EXPECT_EQ(to_string(parse_volume(with("size", "id = \"" + id + "\"\nsize"), "f")->id), id);
  EXPECT_EQ(mistakes(with("size", "id = \"" + id.substr(1) + "\"\nsize")).substr(0, 24), "dir/web.toml:5:6: volume");
}

TEST(VolumeFile, OneNodeNeedsNoArbiter) {
  const std::string alone =
      "schema = 1\n[volume]\nname = \"v\"\nsize = \"1MiB\"\n[[node]]\nname = \"A\"\nlisten = \"127.0.0.1:1\"\n"
      "control = \"127.0.0.1:2\"\ndevice = \"a\"\n";
  EXPECT_TRUE(parse_volume(alone, "f").has_value()) << mistakes(alone);
  EXPECT_EQ(mistakes(with("size", "arbiter = \"127.0.0.1:3\"\nsize", alone)),
            "dir/web.toml:4:11: volume.arbiter: one node needs none: leave it out\n");
}

struct Mistake {
  const char* from;
  const char* to;
  const char* message;
};

class VolumeFileMistake : public testing::TestWithParam<Mistake> {};

TEST_P(VolumeFileMistake, IsToldByLineAndColumn) {
  EXPECT_EQ(mistakes(with(GetParam().from, GetParam().to)), std::string("dir/web.toml:") + GetParam().message + "\n");
}

INSTANTIATE_TEST_SUITE_P(
    Each, VolumeFileMistake,
    testing::Values(
        Mistake{"schema = 1", "schema = 2", "1:10: schema: 2 is out of range: 1 to 1 expected"},
        Mistake{"schema = 1\n", "", "1:1: schema is missing: schema = 1 expected"},
        Mistake{"[volume]", "[volume", "3:8: Error while parsing table header: expected ']', saw '\\n'"},
        Mistake{"ack =", "akc =", "6:1: unknown key 'volume.akc' (did you mean 'ack'?)"},
        Mistake{"\"quorum\"", "\"quorom\"",
                "6:7: volume.ack: 'quorom' is not known: durable, quorum, received or async expected (did you mean "
                "'quorum'?)"},
        Mistake{"\"64MiB\"", "\"1000001\"", "5:8: volume.size: 1000001 bytes is not a multiple of 4096"},
        Mistake{"\"64MiB\"", "\"512K\"", "5:8: volume.size: from 1MiB to 16TiB expected"},
        Mistake{"\"64MiB\"", "64",
                "5:8: volume.size: a size with its unit, such as \"64K\" or \"1GiB\", expected, not an integer"},
        Mistake{"\"500ms\"", "\"1ms\"", "10:10: volume.detect: whole milliseconds from 50ms to 5min expected"},
        Mistake{"\"10MiB/s\"", "\"1GiB/s\"", "13:14: volume.resync_min: more than resync_max"},
        Mistake{"min_in_sync = 2", "min_in_sync = 3", "9:15: volume.min_in_sync: 3 of 2 nodes: they are fewer"},
        Mistake{"first_primary = \"B\"", "first_primary = \"C\"",
                "8:17: volume.first_primary: 'C' is no node here: A or B expected"},
        Mistake{"this_node = \"B\"", "this_node = \"D\"", "2:13: this_node: 'D' is no node here: A or B expected"},
        Mistake{"arbiter = \"127.0.0.1:7400\"\n", "",
                "3:1: volume.arbiter is missing: with several nodes the address of `resilver arbiter` expected"},
        Mistake{"127.0.0.1:7401", "10.0.0.1:7401",
                "17:10: node[0].listen: 10.0.0.1:7401 is not a loopback address; links are neither authenticated nor "
                "encrypted yet"},
        Mistake{"127.0.0.1:7401", "localhost:7401",
                "17:10: node[0].listen: address 'localhost:7401': expected ADDRESS:PORT, as in 127.0.0.1:4711 or "
                "[::1]:4711"},
        Mistake{"127.0.0.1:7401", "127.0.0.1:0",
                "17:10: node[0].listen: a port from 1 to 65535 expected: the other nodes must know it"},
        Mistake{"127.0.0.1:7501", "127.0.0.1:7401",
                "18:11: node[0].control: 127.0.0.1:7401 is node[0].listen already: each address once"},
        Mistake{"127.0.0.1:7502", "127.0.0.1:7400",
                "7:11: volume.arbiter: 127.0.0.1:7400 is node[1].control already: each address once"},
        Mistake{"name = \"A\"", "name = \"B\"", "21:8: node[1].name: B is node[0].name already: each name once"},
        Mistake{"name = \"A\"", "name = \"a node\"", "16:8: node[0].name: letters, digits and _ expected, at most 64"},
        Mistake{"\"a.img\"", "\"x/./b0.img\"",
                "24:9: node[1].array: dir/x/b0.img is node[0].device already: each device once"},
        Mistake{"device = \"a.img\"", "", "16:8: node[0].name: device (an image or block device) or array is missing"},
        Mistake{"device = \"a.img\"", "device = \"a.img\"\narray = \"x\"",
                "20:9: node[0].array: device and array exclude each other"},
        Mistake{"device = \"a.img\"", "device = \"\"", "19:10: node[0].device: a path expected"}));

TEST(VolumeFile, AllMistakesAreToldAtOnce) {
  const std::string lines = mistakes(with("\"64MiB\"", "\"3\"", with("ack", "akc", with("[::1]:7402", "x"))));
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 3) << lines;
}

TEST(VolumeFile, TooManyNodesAreRefused) {
  std::string text = "schema = 1\n[volume]\nname = \"v\"\nsize = \"1MiB\"\narbiter = \"127.0.0.1:9\"\n";
  for (int i = 0; i < 33; ++i) {
    const std::string n = std::to_string(i);
    text += "[[node]]\nname = \"n" + n + "\"\nlisten = \"127.0.0.1:" + std::to_string(1000 + i) +
            "\"\ncontrol = \"127.0.0.1:" + std::to_string(2000 + i) + "\"\ndevice = \"" + n + "\"\n";
  }
  EXPECT_NE(mistakes(text).find("33 nodes: at most 32 expected"), std::string::npos) << mistakes(text);
}

TEST(VolumeFile, AnyTextGivesAnError) {
  for (const char* text : {"", "schema = 1", "node = 5\nschema = 1", "[[volume]]", "volume = 1", "[[node]]\n[node.x]",
                           "\xff\xfe", "schema = 1\nnode = [1, [2]]"}) {
    EXPECT_NE(mistakes(text), "") << text;
  }
}

TEST(VolumeFile, FileThatIsNoneIsNamed) {
  const ConfigResult read = load_volume("no/such/web.toml");
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error()[0].where, "no/such/web.toml");
}

}  // namespace
}  // namespace resilver::service
