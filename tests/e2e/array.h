// An array of small sparse images in a folder of the test, made and changed by the program itself.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/e2e/small.h"

namespace resilver::test {

class ArrayTest : public testing::Test {
 protected:
  using Words = std::vector<std::string>;

  // `resilver WORDS...`; a test that expects success says so by done().
  static Ended run(const Words& words) { return run_program(words); }
  static Ended done(const Words& words) {
    Ended ended = run_program(words);
    EXPECT_EQ(ended.code, 0) << testing::PrintToString(words) << "\n" << ended.all();
    return ended;
  }
  void create(int level, int disks, const Words& more = {}, const std::string& size = "16M") {
    Words words = {"create", vm_, "--level", std::to_string(level), "--disks", std::to_string(disks), "--size", size};
    words.insert(words.end(), more.begin(), more.end());
    done(words);
  }
  std::string image(int index) const { return vm_ + "/disk" + std::to_string(index) + ".img"; }

  // `bytes` that look random, the same for the same seed.
  static std::string noise(std::size_t bytes, std::uint32_t seed = 1) {
    std::string text(bytes, '\0');
    std::uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
    for (char& byte : text) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      byte = static_cast<char>(state >> 56);
    }
    return text;
  }
  void import(const std::string& text, std::uint64_t offset = 0) {
    write_text(file_, text);
    done({"import", vm_, file_, "--offset", std::to_string(offset)});
  }
  std::string export_text(std::uint64_t offset, std::uint64_t length) {
    const std::string out = directory_ / "out";
    done({"export", vm_, out, "--offset", std::to_string(offset), "--length", std::to_string(length)});
    return read_text(out);
  }
  // A value of `status --json`, a string without its quotes.
  std::string status_of(const char* key) const;
  std::string slots() const { return status_of("slots"); }

  // Content and time of every file of the folder.
  std::map<std::string, std::pair<std::size_t, std::int64_t>> snapshot() const;
  // Exit code 1, one line that names each of `texts`, and every image as it was.
  void refuses(const Words& words, const Words& texts);

  static void overwrite(const std::string& path, std::uint64_t at, const std::string& bytes);
  // Changes a field of a superblock and makes the checksum right again.
  static void set_field(const std::string& path, std::size_t at, const std::string& bytes);
  static std::uint64_t field(const std::string& path, std::size_t at, int bytes);
  // Little endian, for set_field().
  static std::string le(std::uint64_t value, int bytes);

  Directory directory_;
  std::string vm_ = directory_ / "vm";
  std::string file_ = directory_ / "file";
};

}  // namespace resilver::test
