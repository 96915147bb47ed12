#include "env/buffer.h"

#include <cstring>
#include <set>
#include <vector>

#include "base/random.h"

namespace resilver {
namespace {

constexpr std::size_t kArena = std::size_t{2} << 20;

TEST(BufferPool, BlocksAreAlignedInsideTheArenaAndDisjoint) {
  BufferPool pool(kArena);
  const auto arena = pool.arena();
  EXPECT_EQ(arena.size(), kArena);
  std::vector<Buffer> buffers;
  std::set<const std::byte*> starts;
  for (std::size_t size :
       {std::size_t{1}, std::size_t{4096}, std::size_t{4097}, std::size_t{65536}, std::size_t{100'000}}) {
    Buffer buffer = pool.allocate(size);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % BufferPool::kAlignment, 0u);
    EXPECT_GE(buffer.data(), arena.data());
    EXPECT_LE(buffer.data() + size, arena.data() + arena.size());
    EXPECT_TRUE(starts.insert(buffer.data()).second);
    std::memset(buffer.data(), static_cast<int>(buffers.size() + 1), size);
    buffers.push_back(std::move(buffer));
  }
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    for (std::byte b : buffers[i].bytes()) ASSERT_EQ(b, static_cast<std::byte>(i + 1));
  }
}

TEST(BufferPool, GivesAnEmptyBufferWhenUsedUpAndRecovers) {
  BufferPool pool(kArena);
  std::vector<Buffer> buffers;
  for (std::size_t i = 0; i < kArena / 4096; ++i) {
    buffers.push_back(pool.allocate(4096));
    ASSERT_TRUE(buffers.back());
  }
  EXPECT_EQ(pool.bytes_in_use(), kArena);
  EXPECT_FALSE(pool.allocate(1));
  buffers.pop_back();
  EXPECT_TRUE(pool.allocate(4096));
  buffers.clear();
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(BufferPool, SplitsLargeIdleBlocksForSmallRequests) {
  BufferPool pool(kArena);
  {
    const Buffer a = pool.allocate(BufferPool::kMaxBlock);
    const Buffer b = pool.allocate(BufferPool::kMaxBlock);
    ASSERT_TRUE(a && b);
    EXPECT_FALSE(pool.allocate(4096));
  }
  std::vector<Buffer> small;
  while (Buffer buffer = pool.allocate(4096)) small.push_back(std::move(buffer));
  EXPECT_EQ(small.size(), kArena / 4096);
  std::set<const std::byte*> starts;
  for (const Buffer& buffer : small) starts.insert(buffer.data());
  EXPECT_EQ(starts.size(), small.size());
}

// What was once cut into small blocks is not lost for large ones.
TEST(BufferPool, PutsSmallIdleBlocksTogetherForLargeRequests) {
  BufferPool pool(kArena);
  Random random(3);
  std::vector<Buffer> small;
  while (Buffer buffer = pool.allocate(4096)) small.push_back(std::move(buffer));
  EXPECT_FALSE(pool.allocate(8192));
  for (std::size_t i = small.size(); i-- > 1;) std::swap(small[i], small[random.below(i + 1)]);
  Buffer kept = std::move(small.back());
  kept.data()[0] = std::byte{7};
  small.clear();
  std::vector<Buffer> large;
  while (Buffer buffer = pool.allocate(256 * 1024)) {
    std::memset(buffer.data(), 1, buffer.size());
    large.push_back(std::move(buffer));
  }
  EXPECT_GE(large.size(), kArena / (256 * 1024) - 2);
  EXPECT_EQ(kept.data()[0], std::byte{7});
  large.clear();
  kept = {};
  while (Buffer buffer = pool.allocate(BufferPool::kMaxBlock)) large.push_back(std::move(buffer));
  EXPECT_EQ(large.size(), kArena / BufferPool::kMaxBlock);
}

TEST(BufferPool, RandomUseOfAllSizesInATightArena) {
  BufferPool pool(kArena);
  Random random(12);
  std::vector<std::pair<Buffer, std::byte>> held;
  std::size_t large = 0;
  for (int step = 0; step < 200'000; ++step) {
    const bool phase_of_large = step / 10'000 % 2 == 1;
    if (held.empty() || random.below(held.size() + 8) < 8 || random.below(2) == 0) {
      const std::size_t size = 1 + random.below(phase_of_large ? BufferPool::kMaxBlock : 8192);
      Buffer buffer = pool.allocate(size);
      for (int tries = 0; held.empty() && !buffer && tries < 20; ++tries) buffer = pool.allocate(size);
      ASSERT_TRUE(buffer || !held.empty()) << "all is idle, and " << size << " bytes are not to be had";
      if (!buffer) {
        held.pop_back();
        continue;
      }
      large += buffer.size() > 512 * 1024 ? 1 : 0;
      const auto mark = static_cast<std::byte>(random.below(256));
      buffer.data()[0] = buffer.data()[buffer.size() - 1] = mark;
      held.emplace_back(std::move(buffer), mark);
    } else {
      const std::size_t at = random.below(held.size());
      ASSERT_EQ(held[at].first.data()[0], held[at].second);
      ASSERT_EQ(held[at].first.data()[held[at].first.size() - 1], held[at].second);
      std::swap(held[at], held.back());
      held.pop_back();
    }
  }
  EXPECT_GT(large, 1000u);
  held.clear();
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(Buffer, CopiesShareTheBytesAndTheLastOneGivesThemBack) {
  BufferPool pool(kArena);
  Buffer first = pool.allocate(8192);
  Buffer second = first;
  Buffer part = first.slice(4096, 4096);
  EXPECT_EQ(second.data(), first.data());
  EXPECT_EQ(part.data(), first.data() + 4096);
  first = {};
  second = Buffer();
  EXPECT_EQ(pool.bytes_in_use(), 8192u);
  part.data()[4095] = std::byte{9};
  part = {};
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(Buffer, MovingLeavesNothingBehind) {
  BufferPool pool(kArena);
  Buffer a = pool.allocate(4096);
  Buffer b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT: that is what is tested
  EXPECT_TRUE(b);
  Buffer& same = b;
  b = same;
  EXPECT_TRUE(b);
  EXPECT_EQ(pool.bytes_in_use(), 4096u);
}

TEST(BufferPool, RandomUseNeverHandsOutTheSameBytesTwice) {
  BufferPool pool(kArena);
  Random random(11);
  std::vector<std::pair<Buffer, std::byte>> held;
  for (int step = 0; step < 20'000; ++step) {
    if (held.empty() || random.below(2) == 0) {
      Buffer buffer = pool.allocate(1 + random.below(64 * 1024));
      if (!buffer) continue;
      const auto mark = static_cast<std::byte>(random.below(256));
      buffer.data()[0] = buffer.data()[buffer.size() - 1] = mark;
      held.emplace_back(std::move(buffer), mark);
    } else {
      const std::size_t at = random.below(held.size());
      ASSERT_EQ(held[at].first.data()[0], held[at].second);
      ASSERT_EQ(held[at].first.data()[held[at].first.size() - 1], held[at].second);
      std::swap(held[at], held.back());
      held.pop_back();
    }
  }
  held.clear();
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(BufferDeathTest, ASliceStaysInside) {
  BufferPool pool(kArena);
  const Buffer buffer = pool.allocate(4096);
  EXPECT_DEATH(buffer.slice(4096, 1), "");
}

TEST(BufferDeathTest, APoolOutlivesItsBuffers) {
  const auto leaks = [] {
    Buffer kept;
    BufferPool pool(kArena);
    kept = pool.allocate(1);
  };
  EXPECT_DEATH(leaks(), "outlives");
}

}  // namespace
}  // namespace resilver
