// Scenarios whose numbers follow from arithmetic: nothing happens, so nothing is counted; what a small write costs; how long a
// rebuild, a copy and a failover take. For the disk models, levels and modes that there are.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "scenario/capacity.h"
#include "scenario/disk_spec.h"
#include "scenario/measures.h"
#include "scenario/parse.h"
#include "scenario/run.h"
#include "scenario/shape.h"
#include "tests/support/program.h"
#include "workload/prober.h"

namespace resilver::scenario {
namespace {

constexpr const char* kModels[] = {"hdd", "sata-ssd", "nvme", "ostep"};

struct Shape {
  const char* name;
  const char* text;      // of the contender
  double amplification;  // of a small write
  double ios;            // of disks, for one
};

const Shape kShapes[] = {
    {"raid0", R"(node.A = { raid = 0, disks = 4, chunk = "64K" })", 1, 1},
    {"raid1", R"(node.A = { raid = 1, disks = 2, chunk = "64K" })", 2, 2},
    {"raid10", R"(node.A = { raid = 10, disks = 4, chunk = "64K" })", 2, 2},
    {"raid5", R"(node.A = { raid = 5, disks = 5, chunk = "64K" })", 2, 4},
    {"raid6", R"(node.A = { raid = 6, disks = 8, chunk = "64K" })", 3, 6},
    {"three", R"(nodes = ["A", "B", "C"]
each = { raid = 0, disks = 1 }
replicate = { ack = "durable", primary = "A", detect = "800ms", link = "lan" })",
     3, 3},
};

struct Text {
  std::string model = "sata-ssd";
  std::string volume = "32MiB";
  std::string length = "6s";
  std::string settle = "4s";
  std::string rw = "randwrite";
  std::string bandwidth = "1Gbit/s";
  std::string bs = "4K";
  unsigned iops = 40;
  std::string rebuild = "speed_min = \"16MiB/s\"\nspeed_max = \"16MiB/s\"";
  std::string more;  // events

  std::string with(const std::string& contenders) const {
    return fmt::format(R"(schema = 1
title = "known answers"
goal = "does the arithmetic hold?"
seed = 11
volume = "{}"
fair = "same-usable"
length = "{}"
settle = "{}"
[disk]
model = "{}"
[link.lan]
rtt = "0.2ms"
bandwidth = "{}"
{}
[workload]
rw = "{}"
bs = "{}"
rate_iops = {}
flush_every = 0
retry = "20s"
warmup = "500ms"
[rebuild]
{}
{})",
                       volume, length, settle, model, bandwidth, contenders, rw, bs, iops, rebuild, more);
  }
};

std::string contender(const Shape& shape) {
  return fmt::format("[[contender]]\nname = \"{}\"\n{}\nreboot = \"500ms\"\n", shape.name, shape.text);
}

std::string all_shapes() {
  std::string text;
  for (const Shape& shape : kShapes) text += contender(shape);
  return text;
}

struct Ran {
  Scenario scenario;
  RunResults results;
  const ContenderResult& of(std::string_view name) const {
    return *std::ranges::find(results.contenders, name, &ContenderResult::name);
  }
};

Ran run(const std::string& text, const RunOptions& options = {}) {
  Ran ran;
  auto parsed = parse_scenario(text, "known.toml", {});
  if (!parsed) {
    ADD_FAILURE() << text;
    return ran;
  }
  ran.scenario = *parsed;
  auto results = run_virtual(ran.scenario, options);
  if (!results) {
    ADD_FAILURE() << to_string(results.error());
    return ran;
  }
  ran.results = std::move(*results);
  for (const ContenderResult& contender : ran.results.contenders) {
    EXPECT_EQ(contender.inconclusive, "") << contender.name;
  }
  return ran;
}

double number(const ContenderResult& contender, MeasureId measure, std::string_view event = {}) {
  const Value value = value_of(contender, measure, event, std::nullopt);
  EXPECT_EQ(value.kind, Value::Kind::number) << contender.name << ' ' << measure_info(measure).name;
  return value.number;
}

constexpr MeasureId kNothing[] = {MeasureId::outage,
                                  MeasureId::client_errors,
                                  MeasureId::repair_read_bytes,
                                  MeasureId::repair_write_bytes,
                                  MeasureId::repair_link_bytes,
                                  MeasureId::lost_writes,
                                  MeasureId::stale_reads,
                                  MeasureId::corrupt_reads,
                                  MeasureId::unknown,
                                  MeasureId::unrecoverable_bytes,
                                  MeasureId::failovers,
                                  MeasureId::needless_failovers,
                                  MeasureId::mismatches};

// Also where the client asks once a second, and where it asks for more than the disks can do: slow is not away.
TEST(KnownAnswers, WhereNothingHappensNothingIsCounted) {
  for (const char* model : kModels) {
    for (const unsigned iops : {1u, 40u, 400u, 4000u}) {
      Text text;
      text.model = model;
      text.iops = iops;
      text.rw = "randrw";
      const Ran ran = run(text.with(all_shapes()));
      for (const ContenderResult& contender : ran.results.contenders) {
        for (const MeasureId measure : kNothing) {
          EXPECT_EQ(number(contender, measure), 0)
              << model << ' ' << iops << ' ' << contender.name << ' ' << measure_info(measure).name;
        }
      }
    }
  }
}

TEST(KnownAnswers, ASmallWriteCostsWhatItsLevelSaysOnEveryDiskAtEveryRate) {
  for (const char* model : kModels) {
    for (const unsigned iops : {5u, 40u, 400u}) {
      Text text;
      text.model = model;
      text.iops = iops;
      text.volume = "256MiB";  // so that two writes seldom meet in a stripe
      const Ran ran = run(text.with(all_shapes()));
      for (const Shape& shape : kShapes) {
        const ContenderResult& contender = ran.of(shape.name);
        EXPECT_NEAR(number(contender, MeasureId::write_amplification), shape.amplification, 0.02 * shape.amplification)
            << model << ' ' << iops << ' ' << shape.name;
        EXPECT_NEAR(number(contender, MeasureId::ios_per_write), shape.ios, 0.05 * shape.ios)
            << model << ' ' << iops << ' ' << shape.name;
      }
    }
  }
}

// Each write that was acknowledged, the last ones too, and nothing of the final reading.
TEST(KnownAnswers, TheBooksAreOfTheLoadAndOfAllOfIt) {
  for (const unsigned iops : {40u, 400u}) {
    Text text;
    text.rw = "randwrite";
    text.iops = iops;
    const Ran ran = run(text.with(all_shapes()));
    for (const ContenderResult& contender : ran.results.contenders) {
      const Traffic& asked = contender.books.volume[static_cast<std::size_t>(IoUse::client)];
      EXPECT_GT(contender.oracle.bytes_read_back, 0u);
      EXPECT_EQ(asked.reads, 0u) << iops << ' ' << contender.name;
      EXPECT_EQ(asked.writes, contender.client_writes * contender.nodes) << iops << ' ' << contender.name;
      EXPECT_EQ(asked.write_bytes, contender.client_write_bytes * contender.nodes) << iops << ' ' << contender.name;
    }
  }
}

std::string event(const std::string& verb, const std::string& target, const std::string& more = {}) {
  return fmt::format("[[event]]\nname = \"blow\"\nat = \"2s\"\ndo = \"{}\"\ntarget = \"{}\"\n{}", verb, target, more);
}

// Two copies.
std::string pair_of(const char* ack, int detect) {
  return fmt::format(R"([[contender]]
name = "pair"
nodes = ["A", "B"]
each = {{ raid = 0, disks = 1 }}
replicate = {{ ack = "{}", primary = "A", detect = "{}ms", link = "lan" }}
reboot = "500ms"
)",
                     ack, detect);
}

// size of a member / the limit, and never faster than that.
TEST(KnownAnswers, ARebuildTakesSizeDividedByTheLimit) {
  constexpr double kLimit = 16.0 * (1 << 20);
  const Shape with_spare[] = {
      {"raid1", R"(node.A = { raid = 1, disks = 2, spares = 1, chunk = "64K" })", 2, 1},
      {"raid10", R"(node.A = { raid = 10, disks = 4, spares = 1, chunk = "64K" })", 2, 2},
      {"raid5", R"(node.A = { raid = 5, disks = 5, spares = 1, chunk = "64K" })", 2, 4},
      {"raid6", R"(node.A = { raid = 6, disks = 8, spares = 1, chunk = "64K" })", 3, 6},
  };
  std::string contenders;
  for (const Shape& shape : with_spare) contenders += contender(shape);
  for (const char* model : {"hdd", "sata-ssd", "nvme"}) {
    Text text;
    text.model = model;
    text.volume = "64MiB";
    text.iops = 5;
    text.settle = "8s";
    text.more = event("disk.fail", "A.disk0");
    const Ran ran = run(text.with(contenders));
    for (std::size_t i = 0; i < std::size(with_spare); ++i) {
      const NodeSpec& node = ran.scenario.contenders[i].nodes[0];
      const auto array =
          raid::Array::planned_bytes(array_config_of(node), node.disks, disk_size_bytes(ran.scenario, node));
      ASSERT_TRUE(array);
      const double members[] = {1, 2, 4, 6};  // of data
      const double seconds = static_cast<double>(*array) / members[i] / kLimit;
      const ContenderResult& result = ran.results.contenders[i];
      const double took = number(result, MeasureId::repair_time, "blow") / 1e9;
      EXPECT_GE(took, 0.9 * seconds) << model << ' ' << result.name;  // the first window is not held back
      EXPECT_LE(took, 1.1 * seconds + 0.5) << model << ' ' << result.name;
      EXPECT_LE(number(result, MeasureId::repair_rate, "blow"), 1.1 * kLimit) << model << ' ' << result.name;
      EXPECT_EQ(number(result, MeasureId::outage, "blow"), 0) << model << ' ' << result.name;
    }
  }
}

// An outage is the grace and some rounds.
TEST(KnownAnswers, AFailoverTakesTheTimeOfDetectionAndSomeRounds) {
  for (const char* model : {"sata-ssd", "nvme"}) {
    for (const char* ack : {"durable", "quorum", "received", "async"}) {
      for (const int detect : {200, 400, 1600}) {
        Text text;
        text.model = model;
        text.rw = "randrw";
        text.iops = 400;
        text.more = event("node.power_loss", "@serving", "for = \"3s\"\n");
        const Ran ran = run(text.with(fmt::format(R"([[contender]]
name = "three"
nodes = ["A", "B", "C"]
each = {{ raid = 0, disks = 1 }}
replicate = {{ ack = "{}", primary = "A", detect = "{}ms", link = "lan" }}
reboot = "500ms"
)",
                                                  ack, detect)));
        const double outage = number(ran.of("three"), MeasureId::outage, "blow") / 1e6;
        EXPECT_GE(outage, 0.75 * detect) << model << ' ' << ack << ' ' << detect;
        EXPECT_LE(outage, 1.1 * detect + 60) << model << ' ' << ack << ' ' << detect;
        EXPECT_EQ(number(ran.of("three"), MeasureId::failovers, "blow"), 1) << model << ' ' << ack << ' ' << detect;
      }
    }
  }
}

// A copy over a line takes its bytes divided by the line's bandwidth, and each byte travels once: nobody takes a line that is
// busy with it for a dead peer.
TEST(KnownAnswers, ACopyTakesItsBytesDividedByTheLink) {
  constexpr double kBytes = 8 << 20,
                   kProbed = workload::Prober::kRegionBytes;  // what the prober may have written before
  test::Directory directory;
  RunOptions options;
  options.fill_path = directory.path() + "/fill";
  std::mt19937_64 random(5);
  std::ofstream fill(options.fill_path, std::ios::binary);
  for (std::size_t i = 0; i < (8 << 20) / sizeof(std::uint64_t); ++i) {
    const std::uint64_t word = random() | 1;
    fill.write(reinterpret_cast<const char*>(&word), sizeof word);
  }
  fill.close();
  for (const char* model : {"hdd", "sata-ssd", "nvme"}) {
    for (const int detect : {400, 1600}) {
      for (const int mbit : {40, 100, 400}) {
        Text text;
        text.model = model;
        text.volume = "24MiB";
        text.rw = "read";
        text.iops = 5;
        text.length = "12s";
        text.settle = "12s";
        text.rebuild = "";
        text.bandwidth = fmt::format("{}Mbit/s", mbit);
        text.more = event("disk.replace", "B.disk0");
        const Ran ran = run(text.with(pair_of("durable", detect)), options);
        const std::string which = fmt::format("{}, {} ms, {} Mbit/s", model, detect, mbit);
        const ContenderResult& pair = ran.of("pair");
        // Before the line has shown what it takes, writes may wait for a part of the copy; not for all of it.
        EXPECT_LE(number(pair, MeasureId::outage, "blow"), 6e8) << which;
        EXPECT_EQ(number(pair, MeasureId::client_errors), 0) << which;
        EXPECT_GE(number(pair, MeasureId::repair_link_bytes, "blow"), kBytes) << which;
        EXPECT_LE(number(pair, MeasureId::repair_link_bytes, "blow"), 1.02 * kBytes + kProbed) << which;
        const double seconds = number(pair, MeasureId::repair_link_bytes, "blow") * 8 / (mbit * 1e6);
        const double took = number(pair, MeasureId::repair_time, "blow") / 1e9;
        EXPECT_GE(took, seconds) << which;
        const double joining = model == std::string("hdd") ? 1.6 : 0.5;  // with the slow start
        EXPECT_LE(took, 1.1 * seconds + joining) << which;
      }
    }
  }
}

// A write that a line carries for longer than a lease costs its bytes divided by the line's bandwidth, not the session.
TEST(KnownAnswers, AWriteLongerThanALeaseOnTheLineKeepsTheSession) {
  for (const char* ack : {"durable", "quorum", "received", "async"}) {
    for (const int kib : {512, 1024}) {
      Text text;
      text.bandwidth = "16Mbit/s";
      text.bs = fmt::format("{}K", kib);
      text.iops = 1;
      text.length = "20s";
      const Ran ran = run(text.with(pair_of(ack, 200)));
      const ContenderResult& pair = ran.of("pair");
      const std::string which = fmt::format("{} {} KiB", ack, kib);
      for (const MeasureId measure : {MeasureId::outage, MeasureId::client_errors, MeasureId::failovers,
                                      MeasureId::node_exposed_time, MeasureId::repair_link_bytes})
        EXPECT_EQ(number(pair, measure), 0) << which << ' ' << measure_info(measure).name;
      if (ack != std::string("durable")) continue;
      const double seconds = kib * 1024 * 8 / 16e6, p50 = number(pair, MeasureId::write_latency_p50) / 1e9;
      EXPECT_GE(p50, seconds) << which;
      EXPECT_LE(p50, 1.1 * seconds + 0.1) << which;  // the last part travels twice, one line after the other
    }
  }
}

// Lines that become a hundredth of what they were under requests of 1 MiB: the sessions begin anew with what the line takes,
// and nobody gets an error.
TEST(KnownAnswers, ALineThatBecomesThinUnderLargeRequestsCostsNoRequest) {
  for (const char* link : {"client-A", "A-B"}) {
    for (const char* rw : {"randread", "randwrite"}) {
      Text text;
      text.rw = rw;
      text.bs = "1M";
      text.iops = 1;
      text.bandwidth = "1600Mbit/s";
      text.length = "20s";
      text.more = event("link.bandwidth", link, "bandwidth = \"16Mbit/s\"\n");
      const Ran ran = run(text.with(pair_of("durable", 200)));
      const ContenderResult& pair = ran.of("pair");
      EXPECT_EQ(number(pair, MeasureId::client_errors), 0) << link << ' ' << rw;
      EXPECT_GE(number(pair, MeasureId::iops), 0.9) << link << ' ' << rw;
      EXPECT_LE(number(pair, MeasureId::latency_max), 3e9) << link << ' ' << rw;
    }
  }
}

// The words of fio mean here what they mean there.
TEST(KnownAnswers, TheClientDoesWhatItsFileSays) {
  struct Seen {
    std::uint64_t count = 0;
    std::uint64_t following = 0;  // began where the one before it ended
    std::uint64_t end = 0;
    void take(std::uint64_t offset, std::uint64_t length) {
      following += count > 0 && offset == end ? 1 : 0;
      ++count;
      end = offset + length;
    }
  };
  for (const std::string rw : {"read", "write", "randread", "randwrite", "rw", "randrw"}) {
    Text text;
    text.rw = rw;
    text.iops = 200;
    auto parsed = parse_scenario(text.with(contender(kShapes[0])), "known.toml", {});
    ASSERT_TRUE(parsed);
    test::Directory directory;
    RunOptions options;
    options.history_dir = directory.path();
    ASSERT_TRUE(run_virtual(*parsed, options));
    std::ifstream history(directory.path() + "/history-raid0.jsonl");
    Seen reads, writes;
    std::string line;
    while (std::getline(history, line)) {
      const auto event = nlohmann::json::parse(line);
      if (event.value("f", "") == "final_reading") break;
      if (event.value("type", "") != "invoke" || !event.contains("offset")) continue;
      if (event["offset"] >= parsed->volume_bytes - workload::Prober::kRegionBytes) continue;  // the prober's
      (event["f"] == "read" ? reads : writes).take(event["offset"], event["length"]);
    }
    const bool only_reads = rw.ends_with("read"), only_writes = rw.ends_with("write");
    const bool random = rw.starts_with("rand");
    for (const auto& [seen, none] : {std::pair{reads, only_writes}, {writes, only_reads}}) {
      EXPECT_EQ(seen.count == 0, none) << rw;
      if (seen.count == 0) continue;
      EXPECT_GT(seen.count, 400u) << rw;
      if (!random) EXPECT_GE(seen.following + 2, seen.count) << rw;  // round once at most
      if (random) EXPECT_LT(seen.following, seen.count / 20) << rw;
    }
  }
}

// At most one per cent of what the disks serve: the prober's share of all that they were asked, in time of disks.
TEST(KnownAnswers, TheProberCostsAtMostAHundredthOfTheDisks) {
  for (const char* model : kModels) {
    Text text;
    text.model = model;
    text.rw = "read";
    text.iops = 1;
    text.length = "20s";
    const Ran ran = run(text.with(all_shapes()));
    for (const ContenderResult& contender : ran.results.contenders) {
      const raid::IoCounters& io = contender.books.disks[static_cast<std::size_t>(raid::Cause::observer)];
      const double busy = static_cast<double>(io.reads) *
                              static_cast<double>(service_time(ran.scenario.disk, false, false, kBlockBytes)) +
                          static_cast<double>(io.writes) *
                              static_cast<double>(service_time(ran.scenario.disk, true, false, kBlockBytes));
      EXPECT_GT(io.reads + io.writes, 0u) << model << ' ' << contender.name;
      EXPECT_LE(busy, 0.011 * static_cast<double>(contender.ran_for) * contender.disks + 1e8)
          << model << ' ' << contender.name;
    }
  }
}

}  // namespace
}  // namespace resilver::scenario
