// A scenario that ends soon, and ways to change it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/support/program.h"

namespace resilver::test {

inline constexpr std::string_view kSmall = R"(schema = 1
title = "A server restarts"
goal = "small"
volume = "16MiB"
fair = "same-usable"
length = "2s"
settle = "3s"
[disk]
model = "sata-ssd"
[link.lan]
rtt = "0.2ms"
bandwidth = "10Gbit/s"
[[contender]]
name = "solo"
node.A = { raid = 0, disks = 1, chunk = "64K" }
reboot = "100ms"
[[contender]]
name = "pair"
nodes = ["A", "B"]
each = { raid = 0, disks = 1, chunk = "64K" }
replicate = { ack = "durable", primary = "A", detect = "400ms", link = "lan" }
reboot = "100ms"
[workload]
rw = "randrw"
bs = "16K"
rate_iops = 200
retry = "10s"
warmup = "200ms"
[[event]]
name = "server dies"
at = "1s"
do = "node.crash"
target = "@serving"
for = "200ms"
[[expect]]
check = "lost_writes == 0"
)";

// The scenario with the first `from` replaced; the text must contain it.
inline std::string with(std::string_view from, std::string_view to, std::string text = std::string(kSmall)) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

// A directory of the test with a scenario in it, and one for images.
class SmallTest : public testing::Test {
 protected:
  SmallTest() { std::filesystem::create_directory(work_); }

  // Writes the scenario and gives the path to it.
  const std::string& write_scenario(const std::string& text = std::string(kSmall)) {
    write_text(file_, text);
    return file_;
  }
  bool work_is_empty() const { return std::filesystem::is_empty(work_); }

  Directory directory_;
  std::string file_ = directory_ / "small.toml";
  std::string work_ = directory_ / "work";
};

// Exit code 2 (or `code`) and one line on standard error, which holds `text`; nothing on standard output.
inline void expect_refusal(const Ended& ended, std::string_view text, int code = 2) {
  EXPECT_EQ(ended.code, code) << ended.all();
  EXPECT_EQ(ended.out, "");
  ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  EXPECT_NE(ended.err.find(text), std::string::npos) << ended.err << "expected: " << text;
}

}  // namespace resilver::test
