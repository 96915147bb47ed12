// Memory is bounded by configuration, not by the size of the array: the same work over sparse images of 256 MiB and of
// 8 GiB: random writes, then 200 MiB of a scrub, then 200 MiB of a rebuild.
// Each size runs in a process of its own (a fork of this one, before it ever had a ring), so that both start alike.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task_group.h"
#include "base/random.h"
#include "base/units.h"
#include "raid/array.h"
#include "uring/image.h"
#include "uring/real_env.h"

namespace resilver {
namespace {

constexpr int kMembers = 4;
constexpr int kWrites = 4000;
constexpr int kWriters = 16;
constexpr std::uint64_t kRecovered = 200 * kMiB;  // of each member, before the pass is broken off

// What a child that cannot do its work exits with; the line on standard error says why.
[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "memory_test: %s\n", what.c_str());
  _exit(1);
}

std::uint64_t status_kib(const std::string& key) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key + ":")) return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10);
  return 0;
}

Task<void> write_randomly(uring::RealEnv& env, raid::Array& array, Random& random, int& left) {
  while (left-- > 0) {
    const std::uint64_t bytes = kBlockBytes * random.between(1, 4);
    Buffer buffer = env.buffers().allocate(bytes);
    if (!buffer) give_up("no buffer");
    std::fill_n(buffer.data(), bytes, static_cast<std::byte>(left));
    const std::uint64_t at = random.below((array.size_bytes() - bytes) / kBlockBytes + 1) * kBlockBytes;
    const Errc outcome = co_await Io::write(array, at, buffer.slice(0, bytes));
    if (outcome != Errc::ok) give_up(std::string("a write failed: ") + errc_name(outcome));
  }
}

Task<void> wait_for_pass(uring::RealEnv& env, raid::Array& array, raid::RecoveryKind kind) {
  for (;;) {
    const raid::RecoveryStatus pass = array.status().recovery;
    if (pass.kind == kind && pass.done_bytes >= kRecovered) co_return;
    co_await sleep_for(env.scheduler(), kMillisecond);
  }
}

Task<void> scrub(raid::Array& array) {
  // Broken off by the failure of a member.
  if (const auto ended = co_await array.scrub({}); ended || ended.error().code != Errc::cancelled)
    give_up("the scrub was to be broken off");
}

Task<void> scrub_and_rebuild(uring::RealEnv& env, raid::Array& array, const raid::MemberDisk& lost,
                             const raid::MemberDisk& spare) {
  TaskGroup scrubbing(env.scheduler());
  scrubbing.spawn(scrub(array));
  co_await wait_for_pass(env, array, raid::RecoveryKind::scrub);
  if (const auto failed = co_await array.fail_member(lost.name); !failed) give_up(to_string(failed.error()));
  co_await scrubbing.join();
  if (const auto added = co_await array.add_disk(spare); !added) give_up(to_string(added.error()));
  co_await wait_for_pass(env, array, raid::RecoveryKind::rebuild);
}

// A RAID 5 with a bitmap under random writes of parts of stripes, all over it.
Task<void> use_array(uring::RealEnv& env, std::vector<std::string> paths) {
  std::vector<std::unique_ptr<BlockDevice>> images;
  std::vector<raid::MemberDisk> members;
  for (const auto& path : paths) {
    auto image = co_await env.open_disk(path, env.scheduler().now() + kSecond);
    if (!image) give_up(to_string(image.error()));
    images.push_back(std::move(*image));
    members.push_back({path, images.back().get()});
  }
  const raid::MemberDisk spare = members.back();
  members.pop_back();
  raid::ArrayConfig config;
  config.level = raid::Level::raid5;
  config.consistency = raid::Consistency::bitmap;
  config.tuning.stripe_memory_bytes = 4 * kMiB;
  auto array =
      co_await raid::Array::create(env.scheduler(), env.buffers(), env.random(), config, {members, {}, {}}, true);
  if (!array) give_up(to_string(array.error()));
  {
    Random random(7);
    int left = kWrites;
    TaskGroup writers(env.scheduler());
    for (int i = 0; i < kWriters; ++i) writers.spawn(write_randomly(env, **array, random, left));
    co_await writers.join();
  }
  co_await scrub_and_rebuild(env, **array, members.front(), spare);
  co_await (*array)->stop();
}

// The largest resident size, in KiB, of a process that uses an array of images of `image_bytes`; 0 if it failed.
std::uint64_t resident_kib(const std::filesystem::path& directory, std::uint64_t image_bytes) {
  std::vector<std::string> paths;
  for (int i = 0; i < kMembers + 1; ++i) {  // and a spare
    paths.push_back(directory / ("disk" + std::to_string(i)));
    const auto made = uring::create_image(paths.back(), image_bytes, uring::Allocation::sparse);
    EXPECT_TRUE(made) << to_string(made.error());
  }
  int pipe_ends[2];
  EXPECT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    uring::RealOptions options;
    options.arena_bytes = 16 * kMiB;  // registered, and so resident, whatever the size: small, so that the rest counts
    auto env = uring::RealEnv::create(options);
    if (!env) give_up(to_string(env.error()));
    (*env)->ring().run(use_array(**env, paths));
    const std::uint64_t kib = status_kib("VmHWM");
    _exit(write(pipe_ends[1], &kib, sizeof kib) == sizeof kib ? 0 : 1);
  }
  close(pipe_ends[1]);
  std::uint64_t kib = 0;
  if (read(pipe_ends[0], &kib, sizeof kib) != sizeof kib) kib = 0;
  close(pipe_ends[0]);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  for (const auto& path : paths) std::filesystem::remove(path);
  return kib;
}

TEST(Memory, ResidentSizeDoesNotGrowWithTheImages) {
  // On a disk whose file system discards what is freed, removing images of so many extents takes longer than the test.
  const bool memory = access("/dev/shm", W_OK) == 0;
  std::string name = (memory ? "/dev/shm/" : testing::TempDir()) + "resilver-memory-XXXXXX";
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  const std::filesystem::path directory = name;
  const std::uint64_t small = resident_kib(directory, 256 * kMiB);
  const std::uint64_t large = resident_kib(directory, 8 * kGiB);
  std::filesystem::remove_all(directory);

  ASSERT_GT(small, 0u);
  ASSERT_GT(large, 0u);
  RecordProperty("small_kib", static_cast<int>(small));
  RecordProperty("large_kib", static_cast<int>(large));
  EXPECT_LE(large * 10, small * 11) << small << " KiB with images of 256 MiB, " << large << " KiB with 8 GiB";
  EXPECT_LE(small * 10, large * 11) << small << " KiB with images of 256 MiB, " << large << " KiB with 8 GiB";
}

}  // namespace
}  // namespace resilver
