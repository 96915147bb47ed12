#include "tests/e2e/array.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

namespace resilver::test {
namespace {

std::size_t hash_of(const std::string& path, std::size_t size) {
  if (size == 0) return 0;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* bytes = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  EXPECT_NE(bytes, MAP_FAILED) << path;
  const std::size_t hash = std::hash<std::string_view>()({static_cast<const char*>(bytes), size});
  munmap(bytes, size);
  return hash;
}

}  // namespace

std::string ArrayTest::status_of(const char* key) const {
  const auto value = nlohmann::json::parse(done({"status", vm_, "--json"}).out).at(key);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::map<std::string, std::pair<std::size_t, std::int64_t>> ArrayTest::snapshot() const {
  std::map<std::string, std::pair<std::size_t, std::int64_t>> all;
  for (const auto& entry : std::filesystem::directory_iterator(vm_)) {
    struct stat status{};
    stat(entry.path().c_str(), &status);
    all[entry.path().filename()] = {hash_of(entry.path(), static_cast<std::size_t>(status.st_size)),
                                    status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
  }
  return all;
}

void ArrayTest::refuses(const Words& words, const Words& texts) {
  const auto before = snapshot();
  const Ended ended = run(words);
  EXPECT_EQ(ended.code, 1) << testing::PrintToString(words) << "\n" << ended.all();
  ASSERT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  for (const std::string& text : texts) EXPECT_NE(ended.err.find(text), std::string::npos) << ended.err << text;
  EXPECT_EQ(snapshot(), before) << "something was written";
}

void ArrayTest::overwrite(const std::string& path, std::uint64_t at, const std::string& bytes) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at)), static_cast<ssize_t>(bytes.size()));
  close(fd);
}

void ArrayTest::set_field(const std::string& path, std::size_t at, const std::string& bytes) {
  std::string block(4096, '\0');
  std::ifstream(path, std::ios::binary).seekg(4096).read(block.data(), 4096);
  block.replace(at, bytes.size(), bytes);
  const auto word = [&block](std::size_t place, std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(block[place + i]);
    return value;
  };
  block.replace(216, 4, 4, '\0');
  const std::size_t bytes_summed = 256 + 2 * word(220, 4);
  std::uint64_t sum = 0;
  std::size_t i = 0;
  for (; i + 4 <= bytes_summed; i += 4) sum += word(i, 4);
  if (i < bytes_summed) sum += word(i, 2);
  const auto folded = static_cast<std::uint32_t>((sum & 0xffffffff) + (sum >> 32));
  for (int b = 0; b < 4; ++b) block[216 + b] = static_cast<char>(folded >> (8 * b));
  overwrite(path, 4096, block);
}

std::uint64_t ArrayTest::field(const std::string& path, std::size_t at, int bytes) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(4096 + at));
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= static_cast<std::uint64_t>(file.get()) << (8 * i);
  return value;
}

std::string ArrayTest::le(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

}  // namespace resilver::test
