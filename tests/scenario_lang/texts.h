// A small sound scenario, and ways to make it unsound.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "scenario/parse.h"

namespace resilver::scenario {

inline constexpr std::string_view kSound = R"(schema = 1
title = "t"
goal = "g"
volume = "64MiB"
length = "10s"
[disk]
model = "sata-ssd"
size = "128MiB"
[link.lan]
rtt = "0.2ms"
bandwidth = "10Gbit/s"
[[contender]]
name = "raid5"
node.A = { raid = 5, disks = 4, spares = 1, chunk = "64K" }
reboot = "1s"
[[contender]]
name = "pair"
nodes = ["A", "B"]
each = { raid = 0, disks = 1 }
replicate = { ack = "durable", primary = "A", detect = "500ms", link = "lan" }
[workload]
rw = "randrw"
bs = "16K"
rate_iops = 500
[[event]]
name = "disk dies"
at = "2s"
do = "disk.fail"
target = "@serving.disk0"
[[event]]
name = "server dies"
after = "disk dies"
when = "redundancy == full"
delay = "500ms"
do = "node.power_loss"
target = "@serving"
for = "2s"
[[expect]]
check = "lost_writes == 0 and outage('disk dies') <= 100ms"
why = "parity"
)";

// The sound scenario with the first `from` replaced; the text must contain it.
inline std::string with(std::string_view from, std::string_view to, std::string text = std::string(kSound)) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

// All errors, one a line; empty if it is sound.
inline std::string errors_of(const std::string& text, const ParseOptions& options = {}) {
  const auto parsed = parse_scenario(text, "x.toml", options);
  std::string all;
  if (!parsed)
    for (const auto& diagnostic : parsed.error()) all += to_string(diagnostic) + "\n";
  return all;
}

}  // namespace resilver::scenario
