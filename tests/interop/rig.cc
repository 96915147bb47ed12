#include "tests/interop/rig.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <random>
#include <sstream>

namespace resilver::test {
namespace fs = std::filesystem;

bool full_matrix() {
  static const bool full = std::getenv("RESILVER_INTEROP_FULL") != nullptr;
  return full;
}

int Shape::survives() const {
  switch (level) {
    case -1:
    case 0: return 0;
    case 1: return disks - 1;
    case 6: return 2;
    case 10: return std::stoi(layout.substr(1)) - 1;
    default: return 1;
  }
}

std::string Shape::name() const {
  std::string text = "Raid" + std::to_string(level) + "_" + std::to_string(disks) + "disks";
  if (chunk_kib != 0) text += "_" + std::to_string(chunk_kib) + "K";
  if (!layout.empty()) text += "_" + layout;
  if (consistency != "resync" && !consistency.empty()) text += "_" + consistency;
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name(); }

std::vector<Shape> shapes() {
  if (!full_matrix()) {
    return {
        {0, 3, 16, "", ""},
        {1, 3, 0, "", "bitmap"},
        {4, 4, 64, "", "resync"},
        {5, 3, 4, "left-symmetric", "bitmap"},
        {5, 4, 64, "right-asymmetric", "resync"},
        {5, 4, 16, "right-symmetric", "resync"},
        {6, 4, 64, "left-asymmetric", "resync"},
        {5, 3, 64, "left-symmetric", "journal"},
        {10, 3, 16, "n2", "bitmap"},
        {10, 4, 64, "n2", "resync"},
        {0, 3, 48, "", ""},
        {1, 1, 0, "", "resync"},
        {4, 2, 64, "", "resync"},
        {5, 2, 64, "left-symmetric", "bitmap"},
        {10, 4, 64, "n3", "resync"},
        {6, 5, 16, "ddf-N-continue", "bitmap"},
    };
  }
  std::vector<Shape> all;
  for (const char* consistency : {"resync", "bitmap"}) {
    for (const int disks : {1, 2, 3, 4, 8}) all.push_back({1, disks, 0, "", consistency});
    for (const int chunk : {4, 64, 512}) {
      for (const int disks : {2, 3, 4, 7}) all.push_back({4, disks, chunk, "", consistency});
      for (const int disks : {2, 3, 4, 5, 8}) all.push_back({10, disks, chunk, "n2", consistency});
      for (const int disks : {3, 4, 5, 8}) all.push_back({10, disks, chunk, "n3", consistency});
      for (const int disks : {4, 7}) all.push_back({10, disks, chunk, "n4", consistency});
      for (const char* layout : {"left-symmetric-6", "left-asymmetric-6", "right-symmetric-6", "right-asymmetric-6",
                                 "parity-first-6", "ddf-zero-restart", "ddf-N-restart", "ddf-N-continue"}) {
        for (const int disks : {4, 5, 6, 9}) all.push_back({6, disks, chunk, layout, consistency});
      }
      for (const char* layout : {"left-symmetric", "left-asymmetric", "right-symmetric", "right-asymmetric",
                                 "parity-first", "parity-last"}) {
        for (const int disks : {2, 3, 4, 5, 8}) all.push_back({5, disks, chunk, layout, consistency});
        for (const int disks : {4, 5, 6, 9}) all.push_back({6, disks, chunk, layout, consistency});
      }
    }
  }
  for (const int disks : {4, 6}) {
    for (const int level : {4, 5, 6}) all.push_back({level, disks, 64, "", "journal"});
  }
  for (const int chunk : {4, 12, 48, 64, 100, 512}) {
    for (const int disks : {1, 2, 3, 5}) all.push_back({0, disks, chunk, "", ""});
  }
  return all;
}

std::vector<std::string> losses(const Shape& shape) {
  std::vector<std::string> sets;
  if (shape.survives() == 0) return sets;
  for (int one = 0; one < shape.disks; ++one) sets.push_back(std::to_string(one));
  if (shape.survives() < 2) return sets;
  for (int one = 0; one < shape.disks; ++one) {
    for (int other = one + 1; other < shape.disks; ++other) {
      // Small: neighbours at both ends, first and last, and one pair that is neither.
      const bool sample = (one == 0 && (other <= 2 || other == shape.disks - 1)) || one == shape.disks - 2;
      if (full_matrix() || sample) sets.push_back(std::to_string(one) + " " + std::to_string(other));
    }
  }
  return sets;
}

std::vector<std::string> without(const std::vector<std::string>& images, const std::string& lost) {
  std::vector<std::string> left;
  for (std::size_t slot = 0; slot < images.size(); ++slot) {
    if ((" " + lost + " ").find(" " + std::to_string(slot) + " ") == std::string::npos) left.push_back(images[slot]);
  }
  return left;
}

std::string without_word(const std::string& words, const std::string& word) {
  std::istringstream all(words);
  std::string left;
  for (std::string one; all >> one;) left += one == word ? "" : (left.empty() ? "" : " ") + one;
  return left;
}

std::string host(const std::string& command) {
  std::string said;
  FILE* out = popen(("exec 2>&1; " + command).c_str(), "r");
  if (out == nullptr) return said;
  char piece[4096];
  for (std::size_t got = 0; (got = fread(piece, 1, sizeof piece, out)) > 0;) said.append(piece, got);
  EXPECT_EQ(pclose(out), 0) << command << "\n" << said;
  return said;
}

void write_random(const std::string& path, std::uint64_t bytes, std::uint32_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> words(bytes / 8);
  for (auto& word : words) word = random();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(words.data()), static_cast<std::streamsize>(bytes));
}

bool same_content(const std::string& a, const std::string& b) { return read_text(a) == read_text(b); }

void InteropTest::SetUp() {
  if (!Guest::why_not().empty()) GTEST_SKIP() << Guest::why_not();
  Guest::shared();
  folder_ = scratch_folder() + "/resilver-interop-XXXXXX";
  ASSERT_NE(mkdtemp(folder_.data()), nullptr) << folder_ << ": cannot be made";
}

void InteropTest::TearDown() {
  // Nothing of this test's images may be open when they are removed.
  if (Guest* guest = Guest::running()) guest->run("forget");
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

std::vector<std::string> InteropTest::new_images(const std::string& folder, int count, std::uint64_t bytes) {
  fs::create_directories(file(folder));
  std::vector<std::string> images;
  for (int i = 0; i < count; ++i) {
    images.push_back(file(folder) + "/d" + std::to_string(i) + ".img");
    write_text(images.back(), "");
    fs::resize_file(images.back(), bytes);
  }
  return images;
}

std::string InteropTest::random_file(std::uint64_t bytes) {
  const std::string path = file("random" + std::to_string(files_));
  write_random(path, bytes, static_cast<std::uint32_t>(++files_));
  return path;
}

static constexpr int kCrashesForgiven = 3;  // in one run of all tests

// user-mode-linux loses a process to SIGSEGV now and then (cmp, its shell: about one command in some thousands, no fixed one).
// That says nothing about images: such a test is skipped and tells why. Often, it is no accident any more, and a failure.
static void give_no_verdict_if_crashed(const Reply& reply) {
  static int crashes = 0;
  const bool crashed = reply.status == 139 || reply.out.find("Segmentation fault") != std::string::npos;
  if (!crashed || ++crashes > kCrashesForgiven) return;
  const char* reason = "no verdict: a program of the guest died of SIGSEGV, which user-mode-linux sometimes does";
  GTEST_MESSAGE_(reason, testing::TestPartResult::kSkip) << "\n" << reply.out;
  throw testing::AssertionException(testing::TestPartResult(testing::TestPartResult::kSkip, __FILE__, __LINE__,
                                                            reason));  // ends the test, no failure
}

std::string InteropTest::md(const std::string& script, int seconds) {
  const Reply reply = Guest::shared().run(script, seconds);
  give_no_verdict_if_crashed(reply);
  EXPECT_EQ(reply.status, 0) << "in the guest: " << script << "\n" << reply.out;
  return reply.out;
}

void InteropTest::plug(const std::vector<std::string>& images) {
  devices_.clear();
  for (const auto& device : Guest::shared().plug_all(images)) devices_ += (devices_.empty() ? "" : " ") + device;
}

void InteropTest::md_create(const Shape& shape, const std::vector<std::string>& images, const std::string& extra) {
  plug(images);
  std::string command = "mdadm --create /dev/md0 --config=none --run --metadata=1.2 --name=interop --level=" +
                        std::to_string(shape.level) + " --raid-devices=" + std::to_string(shape.disks);
  if (shape.chunk_kib != 0) command += " --chunk=" + std::to_string(shape.chunk_kib);
  if (!shape.layout.empty()) command += " --layout=" + shape.layout;
  if (shape.disks == 1) command += " --force";
  if (shape.consistency == "bitmap") command += " --bitmap=internal";
  if (shape.consistency == "resync") command += " --bitmap=none";
  std::string members = devices_;
  if (shape.consistency == "journal") {
    const std::string journal = Guest::device(images.size() - 1);
    command += " --write-journal=" + journal;
    members = without_word(devices_, journal);
  }
  md(command + " " + extra + " " + members);
}

std::uint64_t InteropTest::md_array_bytes() {
  return std::strtoull(md("cat /sys/block/md0/size").c_str(), nullptr, 10) * 512;
}

// ---- GRUB ------------------------------------------------------------------------------------------------------------

// RAID 6 left-asymmetric, rows whose P is on the last member and Q on the first: when one of GRUB's reads goes on from there
// to the next row, it takes that row's first chunk from member 1 instead of 0 (grub-core/disk/diskfilter.c, read_segment:
// `disknr -= seg->node_count` after next_level, which forgets that Q has wrapped). It reads 32 KiB at a time, so chunks of
// that size or more are never crossed. md reads the same images rightly.
static bool grub_misreads(const Shape& shape) {
  return shape.level == 6 && shape.layout == "left-asymmetric" && shape.chunk_kib < 32;
}

void InteropTest::expect_grub_reads(const Shape& shape, const std::vector<std::string>& images, const std::string& lost,
                                    const std::string& data) {
  if (shape.layout.starts_with("parity-") || shape.layout.ends_with("-6") || shape.layout.starts_with("ddf-")) return;
  if (grub_misreads(shape)) return;
  // It does not know journals; after a stop there is nothing in them.
  const auto left = without({images.begin(), images.begin() + shape.disks}, lost);
  std::string reader = "grub-fstest -c " + std::to_string(left.size());
  for (const auto& image : left) reader += " " + image;
  const std::string found = host(reader + " ls");
  const std::size_t from = found.find("(md/");
  ASSERT_NE(from, std::string::npos) << "GRUB sees no array without members " << lost << ": " << found;
  const std::string array = found.substr(from, found.find(')', from) - from + 1);
  // Every member has had every role twice: what follows repeats it, and GRUB's decoder is slow.
  const std::uint64_t turn =
      static_cast<std::uint64_t>(shape.disks) * shape.disks * std::max(shape.chunk_kib, 64) * 1024;
  const std::uint64_t bytes = std::min<std::uint64_t>(fs::file_size(data), 2 * turn);
  host(reader + " cat '" + array + "0+" + std::to_string(bytes / 512) + "' >" + file("grub") + " && cmp -n " +
       std::to_string(bytes) + " " + file("grub") + " " + data + " && [ $(stat -c %s " + file("grub") +
       ") = " + std::to_string(bytes) + " ]");
}

// ---- ours ------------------------------------------------------------------------------------------------------------

std::string InteropTest::ours(std::vector<std::string> arguments) {
  const Ended ended = run_program(arguments);
  std::string line;
  for (const auto& word : arguments) line += " " + word;
  EXPECT_EQ(ended.code, 0) << "resilver" << line << "\n" << ended.all();
  return ended.out;
}

std::string InteropTest::ours_on(const std::string& command, const std::vector<std::string>& images) {
  std::vector<std::string> words = {command};
  words.insert(words.end(), images.begin(), images.end());
  return ours(words);
}

std::vector<std::string> InteropTest::our_create(const Shape& shape, const std::string& folder) {
  std::vector<std::string> words = {"create",  file(folder),
                                    "--level", std::to_string(shape.level),
                                    "--disks", std::to_string(shape.disks),
                                    "--size",  std::to_string(kMemberBytes >> 20) + "M"};
  if (shape.chunk_kib != 0) words.insert(words.end(), {"--chunk", std::to_string(shape.chunk_kib) + "K"});
  if (!shape.layout.empty())
    words.insert(words.end(), {"--layout", shape.level == 10 ? "near-" + shape.layout.substr(1) : shape.layout});
  if (!shape.consistency.empty()) words.insert(words.end(), {"--consistency", shape.consistency});
  if (shape.consistency == "journal")
    words.insert(words.end(), {"--journal-size", std::to_string(kMemberBytes >> 20) + "M"});
  ours(words);
  std::vector<std::string> images;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(file(folder), none)) {
    if (entry.path().extension() == ".img") images.push_back(entry.path());
  }
  std::sort(images.begin(), images.end());
  return images;
}

void InteropTest::our_export(const std::vector<std::string>& images, const std::string& to) {
  fs::remove(to);
  std::vector<std::string> words = {"export"};
  words.insert(words.end(), images.begin(), images.end());
  words.push_back(to);
  ours(words);
}

std::uint64_t InteropTest::our_array_bytes(const std::vector<std::string>& images) {
  our_export(images, file("empty"));
  std::error_code none;
  const std::uint64_t bytes = fs::file_size(file("empty"), none);
  return none ? 0 : bytes;
}

std::string InteropTest::our_state(const std::vector<std::string>& images) {
  std::vector<std::string> words = {"status", "--json"};
  words.insert(words.end(), images.begin(), images.end());
  const auto status = nlohmann::json::parse(ours(words), nullptr, false);
  return status.is_object() ? status.value("state", "no state given") : "no JSON given";
}

void InteropTest::expect_ours_whole(const Shape& shape, const std::vector<std::string>& images, const std::string& data) {
  EXPECT_EQ(our_state(images), "clean");
  our_export(images, file("export"));
  EXPECT_TRUE(same_content(data, file("export")));
  if (shape.survives() > 0) ours_on("scrub", images);
}

void InteropTest::expect_same_examine(const std::vector<std::string>& images) {
  for (const auto& image : images) {
    const std::string as_ours = ours({"examine", image});
    EXPECT_EQ(as_ours, host("mdadm --examine " + image));
    EXPECT_NE(as_ours.find("Device Role"), std::string::npos) << as_ours;
  }
}

void InteropTest::our_exchange(const std::vector<std::string>& images, std::size_t member, const std::string& data) {
  const std::string folder = fs::path(images[0]).parent_path();
  const std::string name = fs::path(images[member]).filename();
  ours({"fail", folder, name});
  ours({"remove", folder, name});
  ours({"import", folder, data});
  fs::resize_file(images[member], 0);
  fs::resize_file(images[member], kMemberBytes);
  ours({"add", folder, name});
  ours({"rebuild", folder});
}

}  // namespace resilver::test
