// What the interop tests share: shapes of arrays, image files, data, our command line and mdadm on the other side.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/interop/guest.h"
#include "tests/support/program.h"

namespace resilver::test {

// Whether the full matrix is asked for (make check-long sets RESILVER_INTEROP_FULL=1).
bool full_matrix();

struct Shape {
  int level = 5;
  int disks = 4;
  int chunk_kib = 64;                  // RAID 1: 0
  std::string layout;                  // as mdadm names it; empty: the default
  std::string consistency = "resync";  // resync, bitmap or journal

  int survives() const;  // losses at the worst place
  int data_disks() const { return level == 6 ? disks - 2 : level == 1 ? 1 : level == 0 ? disks : disks - 1; }
  std::string name() const;  // for gtest: letters, digits, underscores
};
void PrintTo(const Shape& shape, std::ostream* out);

// The matrix, small or full.
std::vector<Shape> shapes();

// Sets of members to lose, as "1" or "0 3": all single ones, and pairs if the array survives any two (small: a sample).
std::vector<std::string> losses(const Shape& shape);

// Deterministic bytes that look random.
void write_random(const std::string& path, std::uint64_t bytes, std::uint32_t seed);

// What is left of the images without those of `lost`.
std::vector<std::string> without(const std::vector<std::string>& images, const std::string& lost);

// "a b c" without b.
std::string without_word(const std::string& words, const std::string& word);

// Runs a shell command here; gives what it printed, and fails the test if it failed.
std::string host(const std::string& command);

bool same_content(const std::string& a, const std::string& b);

class InteropTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // ---- files ----
  std::string file(const std::string& name) const { return folder_ + "/" + name; }
  // New zeroed images of kMemberBytes (or `bytes`) in a folder of their own, named d0.img, d1.img, ...
  std::vector<std::string> new_images(const std::string& folder, int count, std::uint64_t bytes = kMemberBytes);
  std::string random_file(std::uint64_t bytes);

  // ---- md ----
  // Runs a script in the guest; anything but status 0 fails the test. Gives its output.
  std::string md(const std::string& script, int seconds = 60);
  // mdadm --create of these images for this shape; extra: more options.
  void md_create(const Shape& shape, const std::vector<std::string>& images, const std::string& extra = "");
  std::string devices_;  // of the images last plugged, joined by blanks
  void plug(const std::vector<std::string>& images);
  std::uint64_t md_array_bytes();

  // ---- GRUB ----
  // GRUB's own reader of md arrays gives this content (the first turns of the layout) without the members `lost` ("0 3").
  // It knows no parity-first and no parity-last, and of RAID 6 none that md has besides RAID 5's; nothing is asked of it there.
  void expect_grub_reads(const Shape& shape, const std::vector<std::string>& images, const std::string& lost,
                         const std::string& data);

  // ---- ours ----
  // Runs the program; anything but exit 0 fails the test. Gives its standard output.
  std::string ours(std::vector<std::string> arguments);
  // `resilver COMMAND IMAGE…`
  std::string ours_on(const std::string& command, const std::vector<std::string>& images);
  // `resilver create` in a new folder; gives the images in slot order, the journal last if there is one.
  std::vector<std::string> our_create(const Shape& shape, const std::string& folder);
  std::uint64_t our_array_bytes(const std::vector<std::string>& images);
  void our_export(const std::vector<std::string>& images, const std::string& to);
  // "clean", "active", "degraded" or "failed", as status --json has it.
  std::string our_state(const std::vector<std::string>& images);
  // Clean, nothing missing, this content, and a scrub finds nothing.
  void expect_ours_whole(const Shape& shape, const std::vector<std::string>& images, const std::string& data);
  // `resilver examine` and `mdadm --examine` say the same of each image, line by line.
  void expect_same_examine(const std::vector<std::string>& images);
  // A member fails and is removed, `data` is written, a new image under the same name takes its place.
  void our_exchange(const std::vector<std::string>& images, std::size_t member, const std::string& data);

  std::string folder_;
  int files_ = 0;
};

}  // namespace resilver::test
