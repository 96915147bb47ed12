// Level x members x chunk x every failed set the level survives, against a flat model.
#include "tests/raid_array/rig.h"

namespace resilver::raid {
namespace {

struct Shape {
  Level level;
  std::uint32_t members;
  std::uint64_t chunk;
  std::uint32_t redundancy;
  std::optional<Layout> layout = {};
};

std::string text(const Shape& shape, std::uint32_t failed) {
  return std::string(name(shape.level)) + " " + (shape.layout ? name(*shape.layout) : "") + " of " +
         std::to_string(shape.members) + ", chunk " + std::to_string(shape.chunk) + ", failed set " +
         std::to_string(failed);
}

#define MATRIX_OK(expression)                                               \
  if (const Errc got = (expression); got != Errc::ok) {                     \
    ADD_FAILURE() << what << ": " << #expression << ": " << errc_name(got); \
    co_await lab.finish();                                                  \
    co_return;                                                              \
  }

Task<void> one_case(Env& env, Rig& rig, Shape shape, std::uint32_t failed) {
  const std::string what = text(shape, failed);
  Lab lab(env, rig);
  co_await lab.create({.level = shape.level, .layout = shape.layout, .chunk_bytes = shape.chunk, .tuning = {}},
                      shape.members);
  MATRIX_OK(co_await lab.write_all(1));
  for (std::uint32_t slot = 0; slot < std::min(shape.members, 32u); ++slot) {
    if ((failed >> slot & 1) == 0) continue;
    const Status done = co_await lab.array->fail_member("d" + std::to_string(slot));
    MATRIX_OK(done ? Errc::ok : done.error().code);
  }
  const std::uint64_t blocks = lab.array->size_bytes() / kBlockBytes;
  const std::uint64_t stripe = lab.array->geometry().stripe_data_bytes();
  Random random(failed * 1000 + shape.members);
  if (shape.level != Level::raid1) {
    MATRIX_OK(co_await lab.write(stripe, stripe, 2));                         // a full stripe
    MATRIX_OK(co_await lab.write(stripe - kBlockBytes, 2 * kBlockBytes, 3));  // over the end of one
  }
  for (std::uint64_t i = 0; i < 8; ++i) {
    const std::uint64_t length = 1 + random.below(std::min<std::uint64_t>(blocks, 40));
    const std::uint64_t at = random.below(blocks - length + 1);
    if (i == 5) {
      MATRIX_OK(co_await lab.zero(at * kBlockBytes, length * kBlockBytes));
    } else if (i % 3 == 2) {
      MATRIX_OK(co_await lab.verify(at * kBlockBytes, length * kBlockBytes));
    } else {
      MATRIX_OK(co_await lab.write(at * kBlockBytes, length * kBlockBytes, 10 + i, i == 1));
    }
  }
  MATRIX_OK(co_await lab.verify_all());
  std::uint32_t lost = static_cast<std::uint32_t>(std::popcount(failed));
  for (std::uint32_t slot = 0; slot < shape.members && lost < shape.redundancy; ++slot) {
    if (slot < 32 && (failed >> slot & 1) != 0) continue;
    const Status done = co_await lab.array->fail_member("d" + std::to_string(slot));
    MATRIX_OK(done ? Errc::ok : done.error().code);
    ++lost;
  }
  if (lost != static_cast<std::uint32_t>(std::popcount(failed))) MATRIX_OK(co_await lab.verify_all());
  co_await lab.finish();
}

void all_failed_sets(Level level, std::uint32_t members, std::uint64_t chunk, std::uint32_t redundancy,
                     std::optional<Layout> layout = {}) {
  const Shape shape{level, members, chunk, redundancy, layout};
  const std::uint64_t size = chunk == kMiB ? 3 * kMiB + 2 * chunk : kMiB + 4 * chunk;
  Rig rig(members, level == Level::raid1 ? kMiB + 256 * kKiB : size);
  for (std::uint32_t failed = 0; failed < (1u << members); ++failed) {
    if (static_cast<std::uint32_t>(std::popcount(failed)) > redundancy) continue;
    // Every set with the smallest chunk; with the others those that differ in kind.
    if (chunk == 64 * kKiB && members > 5 && failed % 3 == 1) continue;
    if (chunk == kMiB && (members > 6 || (members > 3 && failed % 5 != 0))) continue;
    if (level == Level::raid1 && members > 5 && failed % 7 != 0) continue;
    ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> { co_await one_case(env, rig, shape, failed); }))
        << text(shape, failed);
    if (::testing::Test::HasFailure()) return;
  }
}

constexpr std::uint64_t kChunks[] = {4 * kKiB, 64 * kKiB, kMiB};

TEST(Matrix, Raid0KeepsWhatIsWritten) {
  for (std::uint32_t members = 3; members <= 9; ++members) {
    for (const std::uint64_t chunk : kChunks) all_failed_sets(Level::raid0, members, chunk, 0);
    all_failed_sets(Level::raid0, members, 12 * kKiB, 0);
  }
}

TEST(Matrix, LinearKeepsWhatIsWritten) {
  for (std::uint32_t members = 1; members <= 5; ++members) {
    for (const std::uint64_t rounding : {4 * kKiB, 12 * kKiB}) all_failed_sets(Level::linear, members, rounding, 0);
  }
}

TEST(Matrix, TheSmallestArraysWork) {
  for (const std::uint64_t chunk : kChunks) {
    all_failed_sets(Level::raid0, 1, chunk, 0);
    all_failed_sets(Level::raid4, 2, chunk, 1);
    all_failed_sets(Level::raid5, 2, chunk, 1);
  }
  all_failed_sets(Level::raid1, 1, 64 * kKiB, 0);
  all_failed_sets(Level::raid1, 2, 64 * kKiB, 1);
}

TEST(Matrix, EveryLayoutOfRaid6SurvivesAnyTwo) {
  for (const Layout layout :
       {Layout::left_symmetric_6, Layout::left_asymmetric_6, Layout::right_symmetric_6, Layout::right_asymmetric_6,
        Layout::parity_first_6, Layout::ddf_zero_restart, Layout::ddf_n_restart, Layout::ddf_n_continue}) {
    for (std::uint32_t members = 4; members <= 6; ++members)
      all_failed_sets(Level::raid6, members, 4 * kKiB, 2, layout);
  }
}

TEST(Matrix, Raid10OfMoreCopiesSurvivesAllButOne) {
  for (std::uint32_t members = 3; members <= 6; ++members) {
    all_failed_sets(Level::raid10, members, 16 * kKiB, 2, near_layout(3));
    if (members > 3) all_failed_sets(Level::raid10, members, 16 * kKiB, 3, near_layout(4));
  }
}

TEST(Matrix, WideArraysWork) {
  for (const Shape& shape : {Shape{Level::raid0, 130, 4 * kKiB, 0}, Shape{Level::raid0, 1000, 4 * kKiB, 0},
                             Shape{Level::raid5, 70, 4 * kKiB, 1}, Shape{Level::raid5, 400, 64 * kKiB, 1},
                             Shape{Level::raid4, 300, 4 * kKiB, 1}, Shape{Level::raid6, 255, 4 * kKiB, 2},
                             Shape{Level::raid6, 255, 4 * kKiB, 2, Layout::ddf_n_continue},
                             Shape{Level::raid1, 100, 64 * kKiB, 99}, Shape{Level::raid10, 101, 4 * kKiB, 1}}) {
    Rig rig(shape.members, kMiB + 256 * kKiB);
    for (const std::uint32_t failed : {0u, shape.redundancy > 1 ? 9u : shape.redundancy}) {
      ASSERT_TRUE(rig.run([&](Env& env) -> Task<void> { co_await one_case(env, rig, shape, failed); }))
          << text(shape, failed);
    }
  }
}

TEST(Matrix, Raid1SurvivesEveryLossButTheLast) {
  for (std::uint32_t members = 3; members <= 8; ++members) {
    all_failed_sets(Level::raid1, members, 64 * kKiB, members - 1);
  }
}

TEST(Matrix, Raid4SurvivesAnyOne) {
  for (std::uint32_t members = 3; members <= 9; ++members) {
    for (const std::uint64_t chunk : kChunks) all_failed_sets(Level::raid4, members, chunk, 1);
  }
}

TEST(Matrix, Raid5SurvivesAnyOne) {
  for (std::uint32_t members = 3; members <= 9; ++members) {
    for (const std::uint64_t chunk : kChunks) all_failed_sets(Level::raid5, members, chunk, 1);
  }
}

TEST(Matrix, Raid6SurvivesAnyTwo) {
  for (std::uint32_t members = 4; members <= 9; ++members) {
    for (const std::uint64_t chunk : kChunks) all_failed_sets(Level::raid6, members, chunk, 2);
  }
}

}  // namespace
}  // namespace resilver::raid
