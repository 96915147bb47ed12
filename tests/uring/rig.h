// What the tests of this room share: one environment on a ring, and a directory for images that is gone afterwards.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "async/sync.h"
#include "async/task_group.h"
#include "base/random.h"
#include "uring/real_env.h"

// ASSERT_TRUE for coroutines.
#define CO_ASSERT(condition)             \
  do {                                   \
    const bool co_holds = !!(condition); \
    EXPECT_TRUE(co_holds) << #condition; \
    if (!co_holds) co_return;            \
  } while (false)

namespace resilver::uring {

class Rig {
 public:
  explicit Rig(RealOptions options = {.arena_bytes = std::size_t{16} << 20, .seed = 1, .ring = {}}) {
    auto made = RealEnv::create(options);
    CHECK(made.has_value(), "no ring on this machine");
    env_ = std::move(*made);
  }
  RealEnv& env() noexcept { return *env_; }
  Ring& ring() noexcept { return env_->ring(); }
  Nanos in(Nanos duration) noexcept { return ring().now() + duration; }
  // The lambda's captures live as long as the call.
  template <typename Lambda>
  void run(Lambda&& lambda) {
    ring().run(lambda());
  }

 private:
  std::unique_ptr<RealEnv> env_;
};

// Under build/ where that is: a real file system, as /tmp may not be.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string name = std::filesystem::is_directory("build") ? "build/uring-test-XXXXXX" : "./uring-test-XXXXXX";
    CHECK(mkdtemp(name.data()) != nullptr, "no scratch directory");
    path_ = name;
  }
  ~ScratchDirectory() { std::filesystem::remove_all(path_); }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline void fill(Buffer& buffer, std::uint64_t seed) {
  Random random(seed);
  for (std::size_t i = 0; i < buffer.size(); ++i) buffer.data()[i] = static_cast<std::byte>(random.below(256));
}

inline bool filled(const Buffer& buffer, std::uint64_t seed) {
  Random random(seed);
  for (std::byte b : buffer.bytes()) {
    if (b != static_cast<std::byte>(random.below(256))) return false;
  }
  return true;
}

inline bool all_zero(const Buffer& buffer) {
  for (std::byte b : buffer.bytes()) {
    if (b != std::byte{0}) return false;
  }
  return true;
}

}  // namespace resilver::uring
