// What replication costs and how long it is without service, on three nodes, an arbiter and a client in processes of their own
// (replica_fleet.h), over the images m0 m1 m2 of DIR. Each call does one piece of work and prints one line of JSON.
//
// replication write KIB DEPTH MS PLACE DIR    durable writes, the intent bits set before: at random below 1 MiB, else in order.
//                                             PLACE: free, one (all processes on a core), two (the secondaries on the second)
// replication resync full|bitmap|checksum DIR node 2 comes back with a new disk, after missing writes to half of the volume, or
//                                             so that every block must be compared; sent_ratio: bytes on the wire ÷ bytes due
// replication failover DETECT_MS|0 durable|quorum DIR   ms without service after SIGKILL of the primary (0: the defaults)
// replication switchover DIR                  ms without service in a planned switchover
#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "replica_fleet.h"

namespace {

using namespace resilver;
using namespace resilver::bench;

struct Load {
  std::uint64_t bytes = 4096, depth = 1;
  bool in_order = false;
  std::uint64_t begin = 0, end = 0;  // where
  Nanos until = kNever;              // kNever: once over the range, in order
};
struct Measured {
  std::uint64_t ops = 0;
  double wall_s = 0, cpu_s = 0;
};

FleetOptions options_for(const std::string& directory) {
  FleetOptions options;
  for (int i = 0; i < kNodes; ++i) options.images[static_cast<std::size_t>(i)] = directory + "/m" + std::to_string(i);
  options.arbiter_state = directory + "/arbiter";
  const int fd = open(options.images[0].c_str(), O_RDONLY | O_CLOEXEC);
  const off_t size = lseek(fd, 0, SEEK_END);
  if (fd < 0 || size < 0) die("no images in", directory.c_str());
  close(fd);
  options.volume_bytes = (static_cast<std::uint64_t>(size) - replica::Replica::metadata_bytes()) >> 20 << 20;
  return options;
}

// One of `depth` writers; `next` is the next block of a load in order.
Task<void> write_some(Env& env, BlockDevice& volume, const Load& load, std::uint64_t& next, Random& random,
                      std::uint64_t& ops) {
  Buffer data = env.buffers().allocate(load.bytes);
  if (!data) die("no buffer");
  for (std::size_t i = 0; i < load.bytes; i += 8) {
    const std::uint64_t word = random.next();
    std::memcpy(data.data() + i, &word, 8);
  }
  const std::uint64_t count = (load.end - load.begin) / load.bytes;
  while (load.until == kNever ? next < count : env.scheduler().now() < load.until) {
    const std::uint64_t block = load.in_order ? next++ % count : random.below(count);
    if (co_await Io::write(volume, load.begin + block * load.bytes, data, true) != Errc::ok) die("a write failed");
    ++ops;
  }
}

Task<std::uint64_t> write_load(Env& env, BlockDevice& volume, Load load) {
  Random random(static_cast<std::uint64_t>(getpid()));
  std::uint64_t next = 0, ops = 0;
  TaskGroup writers(env.scheduler());
  for (std::uint64_t i = 0; i < load.depth; ++i) writers.spawn(write_some(env, volume, load, next, random, ops));
  co_await writers.join();
  co_return ops;
}

Task<void> touch_granules(Env& env, BlockDevice& volume, std::uint64_t& next, std::uint64_t end) {
  constexpr std::uint64_t kGranule = 64 * 1024;
  const Buffer data = env.buffers().allocate(kBlockBytes);
  while (next < end) {
    const std::uint64_t at = std::exchange(next, next + kGranule);
    if (co_await Io::write(volume, at, data, true) != Errc::ok) die("a write failed");
  }
}

// Every intent bit of [0, end) is set.
Task<void> warm_bits(Env& env, BlockDevice& volume, std::uint64_t end) {
  std::uint64_t next = 0;
  TaskGroup writers(env.scheduler());
  for (int i = 0; i < 32; ++i) writers.spawn(touch_granules(env, volume, next, end));
  co_await writers.join();
}

int write_case(std::uint64_t bytes, std::uint64_t depth, Nanos duration, Placement placement,
               const std::string& directory) {
  FleetOptions options = options_for(directory);
  options.placement = placement;
  Fleet fleet(options);
  const std::uint64_t end = std::min<std::uint64_t>(options.volume_bytes, std::uint64_t{64} << 20);
  const auto client = fleet.start_client<Measured>([&fleet, bytes, depth, duration, end](Env& env, BlockDevice& volume) {
    return [](Fleet& f, Env& e, BlockDevice& v, Load load, Nanos time) -> Task<Measured> {
      co_await warm_bits(e, v, load.end);
      Load warm_up = load;
      warm_up.until = e.scheduler().now() + time / 4;
      co_await write_load(e, v, warm_up);
      Measured m{0, wall_seconds(), f.cpu_seconds()};
      load.until = e.scheduler().now() + time;
      m.ops = co_await write_load(e, v, load);
      co_return Measured{m.ops, wall_seconds() - m.wall_s, f.cpu_seconds() - m.cpu_s};
    }(fleet, env, volume, Load{bytes, depth, bytes >= BufferPool::kMaxBlock, 0, end}, duration);
  });
  const Measured m = fleet.finish_client<Measured>(client);
  std::printf("{\"ops\":%llu,\"bytes\":%llu,\"wall_s\":%.6f,\"cpu_s\":%.6f}\n", static_cast<unsigned long long>(m.ops),
              static_cast<unsigned long long>(m.ops * bytes), m.wall_s, m.cpu_s);
  return 0;
}

// ---- coming back -----------------------------------------------------------------------------------------------------

struct Done {
  std::uint64_t ops = 0;
};

void write_range(Fleet& fleet, std::uint64_t begin, std::uint64_t end) {
  const Child client = fleet.start_client<Done>([begin, end](Env& env, BlockDevice& volume) {
    return [](Env& e, BlockDevice& v, Load load) -> Task<Done> { co_return Done{co_await write_load(e, v, load)}; }(
                                                     env, volume, Load{BufferPool::kMaxBlock, 4, true, begin, end});
  });
  fleet.finish_client<Done>(client);
}

void check_copies(const FleetOptions& options) {
  constexpr std::size_t kPiece = 1 << 20;
  std::vector<char> one(kPiece), other(kPiece);
  const int a = open(options.images[0].c_str(), O_RDONLY | O_CLOEXEC),
            b = open(options.images[2].c_str(), O_RDONLY | O_CLOEXEC);
  for (std::uint64_t offset = 0; offset < options.volume_bytes; offset += kPiece) {
    const auto from = static_cast<off_t>(offset);
    if (pread(a, one.data(), kPiece, from) != kPiece || pread(b, other.data(), kPiece, from) != kPiece || one != other)
      die("the copies differ after the resync");
  }
  close(a);
  close(b);
}

// Bytes that have to be sent: what is dirty, or what differs and the hashes of all.
int resync_case(const std::string& kind, const std::string& directory) {
  FleetOptions options = options_for(directory);
  if (kind == "checksum") options.intent_bits_of_last = 1 << 17;
  Fleet fleet(options);
  const std::uint64_t half = options.volume_bytes / 2 >> 20 << 20;
  fleet.kill(2);
  fleet.wait_for(0, 2);
  if (kind != "full") write_range(fleet, 0, half);
  const double cpu = fleet.cpu_seconds();
  fleet.restart(2, kind == "full" ? replica::Start::new_copy : replica::Start::as_it_is);
  const NodeReport report = fleet.wait_for(0, 3);
  const double cpu_s = fleet.cpu_seconds() - cpu;
  check_copies(options);
  const std::uint64_t due = kind == "checksum" ? report.copied : report.to_look_at;
  const double hashes = kind == "checksum" ? 0.01 * static_cast<double>(report.to_look_at) : 0;
  std::printf(
      "{\"ops\":%llu,\"bytes\":%llu,\"wall_s\":%.6f,\"cpu_s\":%.6f,\"why\":\"%s\",\"copied\":%llu,\"sent\":%llu,"
      "\"resync_bytes\":%llu,\"sent_ratio\":%.4f}\n",
      static_cast<unsigned long long>(report.to_look_at >> 20), static_cast<unsigned long long>(report.to_look_at),
      static_cast<double>(report.resync_finished - report.resync_started) * 1e-9, cpu_s,
      replica::resync_why_name(report.why), static_cast<unsigned long long>(report.copied),
      static_cast<unsigned long long>(report.sent[2]), static_cast<unsigned long long>(report.resync_bytes),
      (static_cast<double>(report.sent[2]) - hashes) / static_cast<double>(due));
  return 0;
}

// ---- without service -------------------------------------------------------------------------------------------------

struct Outage {
  Nanos longest = 0;  // between the answers to two writes, one of which follows every millisecond
};

Task<Outage> probe(Env& env, BlockDevice& volume, Nanos time) {
  const Buffer data = env.buffers().allocate(kBlockBytes);
  Outage outage;
  Nanos last = env.scheduler().now();
  for (const Nanos until = last + time; last < until;) {
    if (co_await Io::write(volume, 0, data, true) != Errc::ok) die("a write failed");
    outage.longest = std::max(outage.longest, env.scheduler().now() - last);
    last = env.scheduler().now();
    co_await sleep_for(env.scheduler(), kMillisecond);
  }
  co_return outage;
}

// While a client writes every millisecond, `trouble` comes after a hundred writes.
int outage_case(const FleetOptions& options, Nanos time, const std::function<void(Fleet&)>& trouble) {
  Fleet fleet(options);
  const Child client =
      fleet.start_client<Outage>([time](Env& env, BlockDevice& volume) { return probe(env, volume, time); });
  while (fleet.report(0).writes < 100) pause_ms(5);
  trouble(fleet);
  const Outage outage = fleet.finish_client<Outage>(client);
  std::printf("{\"ms\":%.3f}\n", static_cast<double>(outage.longest) * 1e-6);
  return 0;
}

int failover_case(std::uint64_t detect_ms, const std::string& ack, const std::string& directory) {
  FleetOptions options = options_for(directory);
  options.detect_ms = detect_ms;
  options.ack = ack == "quorum" ? replica::AckMode::quorum : replica::AckMode::durable;
  const Nanos time = static_cast<Nanos>(detect_ms == 0 ? 1000 : detect_ms) * kMillisecond + kSecond;
  return outage_case(options, time, [](Fleet& fleet) { fleet.kill(0); });
}

int switchover_case(const std::string& directory) {
  return outage_case(options_for(directory), 600 * kMillisecond, [](Fleet& fleet) {
    if (!fleet.promote(1)) die("the switchover failed");
  });
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto number = [&](std::size_t i) { return std::strtoull(words[i].c_str(), nullptr, 10); };
  const std::string mode = words.empty() ? "" : words[0];
  if (mode == "write" && words.size() == 6)
    return write_case(number(1) * 1024, number(2), static_cast<Nanos>(number(3)) * kMillisecond, placement_of(words[4]),
                      words[5]);
  if (mode == "resync" && words.size() == 3) return resync_case(words[1], words[2]);
  if (mode == "failover" && words.size() == 4) return failover_case(number(1), words[2], words[3]);
  if (mode == "switchover" && words.size() == 2) return switchover_case(words[1]);
  die("usage: replication write KIB DEPTH MS PLACE DIR | resync full|bitmap|checksum DIR | failover MS ACK DIR | "
      "switchover "
      "DIR");
}
