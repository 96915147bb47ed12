// What an operator, a backup or a bad disk does to the files that copies and records lie in, while no process has them.
#pragma once

#include <cstdint>
#include <string>

namespace resilver::test {

// Nobody else has the file open while this lives: a killed process may have had writes under way, which land first.
class FileLock {
 public:
  explicit FileLock(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

bool exists(const std::string& path);
void copy_bytes(const std::string& from, const std::string& to);
// So many bytes from `at` on; fewer where the file ends.
std::string bytes_of(const std::string& path, std::uint64_t at, std::uint64_t length);
void put_bytes(const std::string& path, std::uint64_t at, const std::string& bytes);

enum class Damage : std::uint8_t { byte, block, three_bytes, half, everything };
inline constexpr std::uint64_t kDamages = 5;
// Flips or zeroes what is not zero from `begin` on, at places drawn from `seed`. What was done, for the report.
std::string damage(const std::string& path, std::uint64_t begin, Damage manner, std::uint64_t seed);

// A file system of so many bytes at `folder`, as long as this lives and for this process and its children alone. It
// needs root: good() tells.
class SmallFileSystem {
 public:
  SmallFileSystem(const std::string& folder, std::uint64_t bytes);
  ~SmallFileSystem();
  SmallFileSystem(const SmallFileSystem&) = delete;
  SmallFileSystem& operator=(const SmallFileSystem&) = delete;

  bool good() const noexcept { return mounted_; }
  void fill();
  void free();

 private:
  std::string folder_;
  bool mounted_ = false;
};

}  // namespace resilver::test
