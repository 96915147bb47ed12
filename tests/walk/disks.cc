#include "tests/walk/disks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/random.h"

namespace resilver::test {
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kBlock = 4096;

std::vector<std::uint64_t> blocks_with_content(const std::string& path, std::uint64_t begin) {
  const std::string bytes = bytes_of(path, begin, ~std::uint64_t{0});
  std::vector<std::uint64_t> places;
  for (std::size_t at = 0; at < bytes.size(); at += kBlock) {
    const auto block = std::string_view(bytes).substr(at, kBlock);
    if (std::ranges::any_of(block, [](char byte) { return byte != 0; })) places.push_back(begin + at);
  }
  return places;
}

void flip_byte(const std::string& path, std::uint64_t at) {
  std::string byte = bytes_of(path, at, 1);
  byte[0] = static_cast<char>(byte[0] ^ 0x5a);
  put_bytes(path, at, byte);
}

// This process alone sees what it mounts from here on.
bool private_mounts() {
  static const bool good = unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return good;
}

}  // namespace

FileLock::FileLock(const std::string& path) : fd_(open(path.c_str(), O_RDWR | O_CLOEXEC)) {
  if (fd_ >= 0) flock(fd_, LOCK_EX);
}

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

void copy_bytes(const std::string& from, const std::string& to) {
  fs::copy_file(from, to, fs::copy_options::overwrite_existing);
}

std::string bytes_of(const std::string& path, std::uint64_t at, std::uint64_t length) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const auto size = static_cast<std::uint64_t>(std::max<off_t>(lseek(fd, 0, SEEK_END), 0));
  std::string bytes(std::min(length, size - std::min(size, at)), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(at + done));
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  close(fd);
  bytes.resize(done);
  return bytes;
}

void put_bytes(const std::string& path, std::uint64_t at, const std::string& bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  const ssize_t put = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
  static_cast<void>(put);  // a file system that is full is one of the faults
  fdatasync(fd);
  close(fd);
}

std::string damage(const std::string& path, std::uint64_t begin, Damage manner, std::uint64_t seed) {
  const std::vector<std::uint64_t> places = blocks_with_content(path, begin);
  if (places.empty()) return "nothing is there";
  Random random(seed);
  const auto any = [&] { return places[random.below(places.size())]; };
  std::string what;
  const auto flip = [&](std::uint64_t at) {
    flip_byte(path, at);
    what += fmt::format(" flipped {}", at);
  };
  const auto zero = [&](std::uint64_t at) {
    put_bytes(path, at, std::string(kBlock, '\0'));
    what += fmt::format(" zeroed {}", at);
  };
  switch (manner) {
    case Damage::byte: flip(any() + random.below(kBlock)); break;
    case Damage::block: zero(any()); break;
    case Damage::three_bytes:
      for (int i = 0; i < 3; ++i) flip(any() + random.below(200));
      break;
    case Damage::half: {
      const std::size_t first = random.below(places.size());
      for (std::size_t i = 0; i < (places.size() + 1) / 2; ++i) zero(places[(first + i) % places.size()]);
      break;
    }
    case Damage::everything:
      for (const std::uint64_t at : places) zero(at);
      break;
  }
  return what.size() > 160 ? fmt::format(" zeroed {} blocks", places.size()) : what;
}

SmallFileSystem::SmallFileSystem(const std::string& folder, std::uint64_t bytes) : folder_(folder) {
  fs::create_directory(folder);
  const std::string size = fmt::format("size={}", bytes);
  mounted_ = geteuid() == 0 && private_mounts() && mount("walk", folder.c_str(), "tmpfs", 0, size.c_str()) == 0;
}

SmallFileSystem::~SmallFileSystem() {
  if (mounted_) umount2(folder_.c_str(), MNT_DETACH);
}

void SmallFileSystem::fill() {
  const int fd = open((folder_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const std::string zeroes(64 * kBlock, '\0');
  while (fd >= 0 && write(fd, zeroes.data(), zeroes.size()) > 0) {
  }
  if (fd >= 0) close(fd);
}

void SmallFileSystem::free() { unlink((folder_ + "/filler").c_str()); }

}  // namespace resilver::test
