#include "workload/driver.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>

#include "tests/support/test_scheduler.h"
#include "tests/workload/memory_device.h"

namespace resilver::workload {
namespace {

constexpr std::uint64_t kVolumeBytes = 16 << 20;

LoadSpec load() {
  LoadSpec spec;
  spec.rw = Rw::randrw;
  spec.bs = 16384;
  spec.end = kVolumeBytes;
  spec.rate_iops = 1000;
  spec.flush_every = 10;
  return spec;
}

struct Client {
  explicit Client(const LoadSpec& spec = load(), std::uint64_t fill_bytes = 0, std::uint32_t max_inflight = 8,
                  std::uint64_t seed = 0, History* history = nullptr)
      : scheduler(seed),
        buffers(32 << 20),
        device(scheduler, kVolumeBytes, 500 * kMicrosecond),
        oracle(config(fill_bytes), history),
        driver(scheduler, buffers, device, oracle, spec, max_inflight) {}

  static OracleConfig config(std::uint64_t fill_bytes) {
    OracleConfig c;
    c.volume_bytes = kVolumeBytes;
    c.fill_bytes = fill_bytes;
    return c;
  }
  // Runs the load for `length`; `meanwhile` after `delay`.
  void run(Nanos length, Nanos delay = 0, std::function<void()> meanwhile = {}) {
    EXPECT_TRUE(scheduler.run(with_stop(*this, length, delay, std::move(meanwhile))));
  }
  void read_back() { EXPECT_TRUE(scheduler.run(reading_back(*this))); }
  bool clean() const {
    const OracleCounts& c = oracle.counts();
    return c.lost_writes + c.stale_reads + c.corrupt_reads + c.unreadable_bytes == 0;
  }

  static Task<void> with_stop(Client& c, Nanos length, Nanos delay, std::function<void()> meanwhile) {
    Event stop(c.scheduler);
    TaskGroup group(c.scheduler);
    const Nanos start = c.scheduler.now();
    group.spawn(c.driver.run(start, stop));
    if (meanwhile) {
      co_await sleep_until(c.scheduler, start + delay);
      meanwhile();
    }
    co_await sleep_until(c.scheduler, start + length);
    stop.set();
    co_await group.join();
  }
  static Task<void> reading_back(Client& c) {
    Event stop(c.scheduler);
    co_await c.driver.read_back(stop);
  }

  TestScheduler scheduler;
  BufferPool buffers;
  MemoryDevice device;
  Oracle oracle;
  Driver driver;
};

TEST(Driver, IssuesAtTheRateAndMeasuresLatency) {
  Client c;
  LoadStats stats;
  c.driver.count_in(&stats);
  c.run(2 * kSecond);
  EXPECT_NEAR(static_cast<double>(stats.reads + stats.writes), 2000, 1);
  EXPECT_GE(stats.read_latency.min(), 500 * kMicrosecond);
  EXPECT_EQ(stats.read_latency.percentile(5000), 500 * kMicrosecond);
  EXPECT_EQ(c.driver.errors(), 0u);
  ASSERT_GE(c.driver.seconds().size(), 2u);
  EXPECT_NEAR(static_cast<double>(c.driver.seconds()[1].reads + c.driver.seconds()[1].writes), 1000, 1);
  c.read_back();
  EXPECT_TRUE(c.clean());
  EXPECT_GT(c.oracle.counts().bytes_read_back, 0u);
}

TEST(Driver, AStandStillBoundsWhatIsInFlightAndLatencyCountsFromTheIntendedStart) {
  Client c;
  LoadStats stats;
  c.driver.count_in(&stats);
  c.run(3 * kSecond, kSecond, [&c] { c.device.freeze_for(kSecond / 2); });
  EXPECT_EQ(c.device.most_inflight, 8u);
  EXPECT_NEAR(static_cast<double>(stats.reads + stats.writes), 3000, 2) << "the backlog was caught up with";
  EXPECT_GT(stats.read_latency.max(), 490 * kMillisecond);
  EXPECT_GT(stats.read_latency.percentile(9000), 200 * kMillisecond) << "requests that waited at the client count too";
  EXPECT_GT(stats.longest_wait, 490 * kMillisecond);
  c.read_back();
  EXPECT_TRUE(c.clean());
}

TEST(Driver, ErrorsAreCountedAndWritesThatFailedAreUnknown) {
  Client c;
  c.run(2 * kSecond, kSecond, [&c] {
    c.device.verdict = [](const IoRequest& r) { return r.op == IoOp::write ? Errc::timeout : Errc::medium; };
  });
  c.device.verdict = nullptr;
  EXPECT_NEAR(static_cast<double>(c.driver.errors()), 1050, 60);
  EXPECT_GT(c.oracle.counts().unknown_writes, 400u);
  EXPECT_GT(c.oracle.counts().unreadable_reads, 400u);
  c.read_back();
  EXPECT_TRUE(c.clean()) << "what was acknowledged is there";
}

TEST(Driver, FindsALieOfTheVolumeWhileItRuns) {
  Client c;
  c.run(2 * kSecond, kSecond, [&c] { std::memset(c.device.at(0), 0, kVolumeBytes); });
  EXPECT_GT(c.oracle.counts().stale_reads, 100u);
  c.read_back();
  EXPECT_GT(c.oracle.counts().lost_writes, 50u);
}

TEST(Driver, WorksUnderAnyOrderOfWhatIsReady) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    LoadSpec spec = load();
    spec.end = 10 * 16384;  // crowded: conflicts all the time
    spec.rate_iops = 20000;
    Client c(spec, 0, 32, seed);
    c.run(kSecond / 4);
    c.read_back();
    EXPECT_TRUE(c.clean()) << "seed " << seed;
    EXPECT_GT(c.driver.writes_acknowledged(), 500u);
  }
}

// Counts, as a history comes, the reads and writes, and those that begin beside one that they conflict with.
struct Meetings final : HistorySink {
  struct Open {
    char call = 0;
    std::uint64_t begin = 0, end = 0;
  };
  void write(std::string_view lines) noexcept override {
    for (std::size_t at = 0; at < lines.size(); at = lines.find('\n', at) + 1) {
      const std::string line(lines.substr(at, lines.find('\n', at) - at));
      char type[8], call[16];
      unsigned long process, op, time, offset, length;
      if (std::sscanf(line.c_str(),
                      R"({"type":"%7[a-z]","process":%lu,"f":"%15[a-z]","op":%lu,"time":%lu,"offset":%lu,"length":%lu)",
                      type, &process, call, &op, &time, &offset, &length) != 7) {
        continue;
      }
      if (type[0] != 'i' || type[2] != 'v') {
        open.erase(process);
        continue;
      }
      ++begun;
      meeting += std::ranges::any_of(open, [&](const auto& other) {
        const bool written = call[0] == 'w' || other.second.call == 'w';
        return written && offset < other.second.end && other.second.begin < offset + length;
      });
      open[process] = {call[0], offset, offset + length};
    }
  }
  std::map<std::uint64_t, Open> open;
  int begun = 0, meeting = 0;
};

TEST(Driver, RequestsMeetAsOftenAsIsAskedFor) {
  for (const std::uint32_t overlap : {0, 50}) {
    Meetings meetings;
    {
      History history(meetings, {"", "", 1, kVolumeBytes, "on_ack"});
      LoadSpec spec = load();
      spec.rate_iops = 8000;
      spec.overlap = overlap;
      Client c(spec, 0, 8, 3, &history);
      c.run(kSecond / 2);
      c.read_back();
      EXPECT_TRUE(c.clean());
      EXPECT_EQ(c.oracle.tracked_blocks(), 0u) << "quiet again";
    }
    EXPECT_GT(meetings.begun, 3000);
    if (overlap == 0) EXPECT_EQ(meetings.meeting, 0);
    if (overlap == 50) EXPECT_NEAR(meetings.meeting, meetings.begun / 2, meetings.begun / 8);
  }
}

TEST(Driver, SequentialLoadOnASmallRangeWaitsForItsTurn) {
  LoadSpec spec = load();
  spec.rw = Rw::write;
  spec.end = 2 * 16384;
  spec.rate_iops = 10000;
  Client c(spec);
  c.run(kSecond / 10);
  EXPECT_GT(c.driver.writes_acknowledged(), 15u);
  c.read_back();
  EXPECT_TRUE(c.clean());
}

Task<void> filling(Client& c, std::vector<std::byte>& file, std::uint64_t bytes, Status& status) {
  Event stop(c.scheduler);
  const auto source = [&file](std::uint64_t offset, std::span<std::byte> into) {
    const std::size_t got = std::min({into.size(), file.size() - offset, std::size_t{10000}});
    std::memcpy(into.data(), file.data() + offset, got);
    return got;
  };
  status = co_await c.driver.fill(source, 0, bytes, stop);
}

TEST(Driver, TheFillArrivesUnchangedAndIsReadBack) {
  const std::uint64_t bytes = kFillChunkBytes * 3 + 8192;
  Client c(load(), bytes);
  std::vector<std::byte> file(bytes - 1000);
  for (std::size_t i = 0; i < file.size(); ++i) file[i] = static_cast<std::byte>(i / 512 + i);
  Status status;
  EXPECT_TRUE(c.scheduler.run(filling(c, file, bytes, status)));
  EXPECT_TRUE(status.has_value());
  EXPECT_EQ(std::memcmp(c.device.at(0), file.data(), file.size()), 0);
  c.read_back();
  EXPECT_TRUE(c.clean());
  EXPECT_GE(c.oracle.counts().bytes_read_back, bytes);
}

TEST(Driver, AFillThatCannotBeWrittenIsAnError) {
  Client c(load(), kFillChunkBytes * 3);
  c.device.verdict = [](const IoRequest& r) { return r.offset >= kFillChunkBytes ? Errc::no_space : Errc::ok; };
  std::vector<std::byte> file(kFillChunkBytes * 3);
  Status status;
  EXPECT_TRUE(c.scheduler.run(filling(c, file, file.size(), status)));
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, Errc::no_space);
}

TEST(Driver, AnOverwriteIsAcknowledgedDamage) {
  Client c;
  c.run(kSecond);
  EXPECT_EQ(c.scheduler.get(c.driver.overwrite(65536, 163840)), 10u);
  c.read_back();
  EXPECT_TRUE(c.clean());
  EXPECT_EQ(c.oracle.counts().damaged_sectors, 320u);
}

TEST(Driver, TheFinalReadingNamesExactlyTheBlocksThatCannotBeRead) {
  LoadSpec spec = load();
  spec.rw = Rw::write;
  Client c(spec);
  c.run(kSecond);
  c.device.verdict = [](const IoRequest& r) {
    const bool hit = r.offset <= 20480 && 20480 < r.offset + r.length;
    return hit ? Errc::medium : Errc::ok;
  };
  c.read_back();
  EXPECT_EQ(c.oracle.unreadable().ranges(), (std::vector<Range>{{40, 48}}));
  EXPECT_EQ(c.oracle.counts().unreadable_bytes, 4096u);
  EXPECT_EQ(c.oracle.counts().lost_writes, 1u);
  EXPECT_EQ(c.oracle.counts().stale_reads + c.oracle.counts().corrupt_reads, 0u);
}

TEST(Driver, WhenNobodyServesTheRestIsUnreadableAtOnce) {
  LoadSpec spec = load();
  spec.rw = Rw::write;
  Client c(spec);
  c.run(kSecond);
  const std::uint64_t before = c.device.submitted;
  c.device.verdict = [](const IoRequest&) { return Errc::timeout; };
  c.read_back();
  EXPECT_LT(c.device.submitted - before, 30u);
  EXPECT_EQ(c.oracle.counts().lost_writes, c.driver.writes_acknowledged());
}

}  // namespace
}  // namespace resilver::workload
