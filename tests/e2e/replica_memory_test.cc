// Memory is bounded per peer, with real processes: a peer that is frozen while a client writes as fast as it can makes its
// primary keep at most send_queue_bytes of writes for it, until congestion_ms has passed and the peer leaves the set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/units.h"
#include "tests/bench/replica_fleet.h"

namespace resilver {
namespace {

constexpr std::uint64_t kVolume = 32 * kMiB;
constexpr std::uint64_t kWrite = 16 * 1024;
constexpr int kWriters = 200;
const std::uint64_t kQueue = replica::ReplicaConfig().send_queue_bytes;
// What the primary may need beside the payload, which lies in the arena: what it notes of each write that waits.
constexpr std::uint64_t kNotes = 16 * kMiB;

class Directory {
 public:
  Directory() {
    char name[] = "/dev/shm/resilver-memory-XXXXXX";
    if (mkdtemp(name) == nullptr) ADD_FAILURE() << "no directory in /dev/shm";
    path_ = name;
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::uint64_t resident_bytes(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/statm");
  std::uint64_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

Task<void> write_on(Env& env, BlockDevice& volume, std::uint64_t first, Nanos until) {
  const Buffer data = env.buffers().allocate(kWrite);
  std::fill_n(data.data(), kWrite, std::byte{7});
  for (std::uint64_t i = first; env.scheduler().now() < until; ++i)
    (void)co_await Io::write(volume, i * kWrite % kVolume, data);
}

Task<int> write_for(Env& env, BlockDevice& volume, Nanos time) {
  TaskGroup writers(env.scheduler());
  const Nanos until = env.scheduler().now() + time;
  for (std::uint64_t i = 0; i < kWriters; ++i) writers.spawn(write_on(env, volume, i * 7, until));
  co_await writers.join();
  co_return 0;
}

TEST(ReplicaMemory, AFrozenPeerCostsItsPrimaryAtMostTheSendQueue) {
  Directory directory;
  bench::FleetOptions options;
  for (int i = 0; i < bench::kNodes; ++i) {
    std::string& image = options.images[static_cast<std::size_t>(i)] = directory.file("m" + std::to_string(i));
    ASSERT_TRUE(
        uring::create_image(image, kVolume + replica::Replica::metadata_bytes(), uring::Allocation::preallocated));
  }
  options.arbiter_state = directory.file("arbiter");
  options.volume_bytes = kVolume;
  options.ack = replica::AckMode::async;  // writes go on while the peer is silent
  options.detect_ms = 10'000;             // it is not the lease that ends it
  options.congestion_ms = 1500;
  options.arena_bytes = 2 * kQueue;  // the arena is not what bounds the queue
  // A node is forked from this process and begins with its pages: those that the tests before have left.
  const std::uint64_t inherited = resident_bytes(getpid());
  bench::Fleet fleet(options);
  const bench::Child client =
      fleet.start_client<int>([](Env& env, BlockDevice& volume) { return write_for(env, volume, 2500 * kMillisecond); });
  for (int i = 0; i < 2000 && fleet.report(0).writes < 1000; ++i) bench::pause_ms(10);
  ASSERT_GE(fleet.report(0).writes, 1000u);
  const std::uint64_t before = resident_bytes(fleet.pid(0));
  fleet.signal(2, SIGSTOP);
  std::uint64_t longest_queue = 0, most_resident = 0;
  bench::NodeReport now = fleet.report(0);
  for (int i = 0; i < 1000 && now.in_sync == 3; ++i, now = fleet.report(0)) {
    longest_queue = std::max(longest_queue, now.behind[2]);
    most_resident = std::max(most_resident, resident_bytes(fleet.pid(0)));
    bench::pause_ms(10);
  }
  EXPECT_EQ(now.in_sync, 2u) << "the frozen peer has left";
  EXPECT_TRUE(now.serving);
  EXPECT_EQ(now.behind[2], 0u) << "and nothing is kept for it";
  EXPECT_GE(longest_queue, kQueue / 2) << "the load was to fill the queue";
  EXPECT_LE(longest_queue, kQueue + replica::kMaxTransfer);
  EXPECT_LE(most_resident, before + kNotes);
  EXPECT_LE(before, inherited + options.arena_bytes + 64 * kMiB);
  std::printf("queue %llu KiB, resident %llu MiB inherited, %llu MiB before, %llu MiB at most\n",
              static_cast<unsigned long long>(longest_queue >> 10), static_cast<unsigned long long>(inherited >> 20),
              static_cast<unsigned long long>(before >> 20), static_cast<unsigned long long>(most_resident >> 20));
  fleet.finish_client<int>(client);
}

}  // namespace
}  // namespace resilver
