#include "tools/array_signature.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/endian.h"
#include "env/block_device.h"
#include "raid/superblock.h"
#include "tools/array_partition.h"

namespace resilver::tools {
namespace {

struct FreeProbe {
  void operator()(blkid_probe probe) const noexcept { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, FreeProbe>;

struct Descriptor {
  explicit Descriptor(int number) noexcept : fd(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
  int fd;
};

Result<Probe> make_probe(const std::string& path, int fd) {
  PartitionRange range;  // all of it
  if (const auto partition = partition_name(path)) {
    const auto found = find_partition(*partition);
    if (!found) return std::unexpected(found.error());
    range = *found;
  }
  Probe probe(fd < 0 ? nullptr : blkid_new_probe());
  const auto begin = static_cast<blkid_loff_t>(range.begin);
  if (!probe || blkid_probe_set_device(probe.get(), fd, begin, static_cast<blkid_loff_t>(range.size)) != 0) {
    return fail(Errc::io, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(probe.get(),
                                    BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_MAGIC);
  blkid_probe_enable_partitions(probe.get(), 1);
  blkid_probe_set_partitions_flags(probe.get(), BLKID_PARTS_MAGIC);
  return probe;
}

std::string value_of(blkid_probe probe, const char* name) {
  const char* value = nullptr;
  return blkid_probe_lookup_value(probe, name, &value, nullptr) == 0 ? value : "";
}

std::string describe(blkid_probe probe) {
  const std::string type = value_of(probe, "TYPE");
  const std::string label = value_of(probe, "LABEL");
  const std::string named = label.empty() ? "" : fmt::format(" labelled '{}'", label);
  if (type == "linux_raid_member") return fmt::format("a member of an md array{}", named);
  if (type.empty()) return fmt::format("a partition table ({})", value_of(probe, "PTTYPE"));
  const bool file_system = value_of(probe, "USAGE") == "filesystem";
  return fmt::format("{}{}{}", file_system ? "a file system: " : "", type, named);
}

}  // namespace

Result<std::optional<std::string>> what_it_holds(const std::string& path) {
  const Descriptor file(open(file_of(path).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  auto probe = make_probe(path, file.fd);
  if (!probe) return std::unexpected(probe.error());
  switch (blkid_do_safeprobe(probe->get())) {
    case 0: return describe(probe->get());
    case 1: return std::nullopt;
    case -2: return "several file systems or partition tables at once";
    default: return fail(Errc::io, fmt::format("{}: cannot be searched for file systems", path));
  }
}

std::vector<int> member_partitions(const std::string& path) {
  std::vector<int> numbers;
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const auto probe = make_probe(path, file.fd);
  const blkid_partlist list = probe ? blkid_probe_get_partitions(probe->get()) : nullptr;
  const int count = list == nullptr ? 0 : blkid_partlist_numof_partitions(list);
  for (int i = 0; i < count; ++i) {
    const blkid_partition partition = blkid_partlist_get_partition(list, i);
    const auto sector = static_cast<std::uint64_t>(blkid_partition_get_start(partition)) + raid::kSuperOffsetSectors;
    std::array<std::byte, 4> magic{};
    const ssize_t got = pread(file.fd, magic.data(), magic.size(), static_cast<off_t>(sector * kSectorBytes));
    if (got == 4 && load_le<std::uint32_t>(magic.data()) == raid::kSuperblockMagic) {
      numbers.push_back(blkid_partition_get_partno(partition));
    }
  }
  return numbers;
}

Result<std::pair<std::uint64_t, std::uint64_t>> partition_at(const std::string& path, int number) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.fd < 0) return fail(Errc::not_found, fmt::format("{}: {}", path, std::strerror(errno)));
  const auto probe = make_probe(path, file.fd);
  const blkid_partlist list = probe ? blkid_probe_get_partitions(probe->get()) : nullptr;
  if (list == nullptr) return fail(Errc::not_found, fmt::format("{}: it has no partition table", path));
  const blkid_partition partition = blkid_partlist_get_partition_by_partno(list, number);
  if (partition == nullptr) return fail(Errc::not_found, fmt::format("{}: it has no partition {}", path, number));
  return std::pair(static_cast<std::uint64_t>(blkid_partition_get_start(partition)) * kSectorBytes,
                   static_cast<std::uint64_t>(blkid_partition_get_size(partition)) * kSectorBytes);
}

bool is_blank(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status;
  if (file.fd < 0 || fstat(file.fd, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  return lseek(file.fd, 0, SEEK_DATA) < 0 && errno == ENXIO;
}

namespace {

// What a create writes before a superblock: an empty bad-block log, a bitmap without bits, a journal without records.
bool is_of_unfinished(std::string_view block) {
  const auto all = [](std::string_view text, char byte) {
    return text.find_first_not_of(byte) == std::string_view::npos;
  };
  if (all(block, '\0') || all(block, '\xff')) return true;
  constexpr std::size_t kBitmapHeader = 256, kJournalHeader = 32;
  if (block.starts_with("bitm")) return all(block.substr(kBitmapHeader), '\0');
  return block.starts_with("\x09\xc5\x33\x64") && all(block.substr(kJournalHeader), '\0');
}

}  // namespace

bool is_unfinished(const std::string& path) {
  constexpr int kMostBlocks = 32768;  // a journal is reserved whole, and what of it is in the page cache counts as data
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status;
  if (file.fd < 0 || fstat(file.fd, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  int blocks = 0;
  for (off_t at = 0; (at = lseek(file.fd, at, SEEK_DATA)) >= 0;) {
    const off_t end = lseek(file.fd, at, SEEK_HOLE);
    for (; at < end; at += 4096) {
      char block[4096];
      const ssize_t got = pread(file.fd, block, sizeof block, at);
      if (++blocks > kMostBlocks || got != sizeof block || !is_of_unfinished({block, sizeof block})) return false;
    }
  }
  return errno == ENXIO;
}

Status erase_signatures(const std::string& path) {
  const Descriptor file(open(file_of(path).c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  auto probe = make_probe(path, file.fd);
  if (!probe) return std::unexpected(probe.error());
  while (blkid_do_probe(probe->get()) == 0) {
    if (blkid_do_wipe(probe->get(), 0) != 0) return fail(Errc::io, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  return {};
}

}  // namespace resilver::tools
