#include "tools/array_disks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string_view>

#include "base/endian.h"
#include "raid/discovery.h"
#include "tools/array_partition.h"
#include "tools/array_signature.h"

namespace resilver::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kMdMagic = 0xa92b4efc;
constexpr Nanos kLockPatience = 250 * kMillisecond;

bool holds_superblock(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  const off_t bytes = lseek(fd, 0, SEEK_END);
  std::vector<raid::MetadataPlace> places{{}};
  if (bytes >= 128 * 512) {
    for (const raid::MetadataPlace& place : raid::other_metadata(static_cast<std::uint64_t>(bytes) / kSectorBytes)) {
      places.push_back(place);
    }
  }
  const bool found = std::ranges::any_of(places, [fd](const raid::MetadataPlace& place) {
    std::array<std::byte, 512> sector{};
    const ssize_t got = pread(fd, sector.data(), sector.size(), static_cast<off_t>(place.sector * kSectorBytes));
    return got == 512 && raid::holds_metadata(sector, place);
  });
  close(fd);
  return found;
}

// disk2.img before disk10.img.
bool natural_less(const std::string& a, const std::string& b) {
  const auto number_at = [](const std::string& text) {
    const std::size_t dot = std::min(text.rfind('.'), text.size());
    std::size_t begin = dot;
    while (begin > 0 && std::isdigit(static_cast<unsigned char>(text[begin - 1])) != 0) --begin;
    return std::pair(text.substr(0, begin), text.substr(begin, std::min<std::size_t>(dot - begin, 9)));
  };
  const auto [a_stem, a_digits] = number_at(a);
  const auto [b_stem, b_digits] = number_at(b);
  if (a_stem != b_stem || a_digits.empty() || b_digits.empty()) return a < b;
  return std::pair(std::stoul(a_digits), a) < std::pair(std::stoul(b_digits), b);
}

std::string last_part(const std::string& path) { return fs::path(path).filename().string(); }

std::string folder_label(const std::string& folder) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(folder, error);
  const std::string name = whole.filename().string();
  return name.empty() ? folder : name;
}

Result<Place> find_in_folder(const std::string& folder) {
  Place place{folder_label(folder), folder, {}, {}};
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    names.push_back(entry->path().filename().string());
  if (error) return fail(Errc::io, fmt::format("{}: {}", folder, error.message()));
  std::ranges::sort(names, natural_less);
  for (const std::string& name : names) {
    const std::string path = (fs::path(folder) / name).string();
    struct stat status;
    if (stat(path.c_str(), &status) != 0 || !(S_ISREG(status.st_mode) || S_ISBLK(status.st_mode))) continue;
    if (name.ends_with(".img") || holds_superblock(path)) {
      place.paths.push_back(path);
    } else {
      place.ignored.push_back(name);
    }
  }
  if (place.paths.empty()) return fail(Errc::not_found, fmt::format("{}: no image of an array in this folder", folder));
  return place;
}

bool has_magic(const Disk& disk) { return load_le<std::uint32_t>(disk.block.data()) == kMdMagic; }

// What an image without a superblock is instead.
void tell_contents(Disk& disk) {
  if (disk.super || has_magic(disk)) return;
  const auto holds = what_it_holds(disk.path);
  const bool known = holds && *holds;
  disk.stray = known || is_blank(disk.path);
  if (!known) return;
  disk.holds = fmt::format("; it holds {}", **holds);
  if (const std::vector<int> numbers = member_partitions(disk.path); !numbers.empty()) {
    disk.holds += fmt::format(" with a member in partition {}: name it {}", fmt::join(numbers, ", "),
                              shell_word(fmt::format("{}:{}", disk.path, numbers.front())));
  }
}

Task<Status> read_superblock(uring::RealEnv& env, Disk& disk) {
  const raid::LeafPoolOwner leaves(new raid::LeafPool(env.scheduler()));  // a disk that hangs is a disk without one
  auto found = co_await raid::find_superblock(*leaves, *disk.image, kReadPatience);
  disk.super = std::move(found.super);
  disk.block = found.block;
  if (!disk.super && disk.super.error().code == Errc::limit) co_return fail(Errc::limit, "no memory for a buffer");
  tell_contents(disk);
  co_return Status{};
}

}  // namespace

Result<Place> find_place(const std::vector<std::string>& words) {
  if (words.empty()) return fail(Errc::invalid_argument, "expected a folder of images, or the images");
  Place place;
  std::set<std::pair<dev_t, ino_t>> seen;
  for (const std::string& word : words) {
    struct stat status;
    if (const auto partition = partition_name(word)) {
      const auto found = find_partition(*partition);
      if (!found) return std::unexpected(found.error());
      if (std::ranges::find(place.paths, word) != place.paths.end()) {
        return fail(Errc::bad_input, fmt::format("{}: the same partition is named twice", word));
      }
      place.paths.push_back(word);
      continue;
    }
    if (stat(word.c_str(), &status) != 0)
      return fail(Errc::not_found, fmt::format("{}: {}", word, std::strerror(errno)));
    if (S_ISDIR(status.st_mode)) {
      if (words.size() == 1) return find_in_folder(word);
      return fail(Errc::bad_input, fmt::format("{}: a folder among images; name one folder, or images only", word));
    }
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
      return fail(Errc::bad_input, fmt::format("{}: neither a file nor a block device", word));
    }
    if (!seen.emplace(status.st_dev, status.st_ino).second) {
      return fail(Errc::bad_input, fmt::format("{}: the same image is named twice", word));
    }
    place.paths.push_back(word);
  }
  place.label = last_part(words.front());
  return place;
}

std::optional<std::size_t> find_path(const std::vector<std::string>& paths, const std::string& word) {
  const std::vector<std::string> names = short_names(paths);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    if (word == paths[i] || word == names[i] || word + ".img" == names[i]) return i;
  }
  struct stat wanted;
  if (stat(word.c_str(), &wanted) != 0) return std::nullopt;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    struct stat there;
    if (stat(paths[i].c_str(), &there) == 0 && there.st_dev == wanted.st_dev && there.st_ino == wanted.st_ino) return i;
  }
  return std::nullopt;
}

std::vector<std::string> short_names(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const std::string& path : paths) {
    const auto same =
        std::ranges::count_if(paths, [&](const auto& other) { return last_part(other) == last_part(path); });
    names.push_back(same == 1 ? last_part(path) : path);
  }
  return names;
}

std::string shell_word(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  if (!word.empty() && word[0] == '-') return shell_word("./" + word);  // no option
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char letter : word) quoted += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return quoted + "'";
}

std::string place_words(const Place& place) {
  if (!place.folder.empty()) return shell_word(place.folder);
  std::string words;
  for (const std::string& path : place.paths) words += (words.empty() ? "" : " ") + shell_word(path);
  return words;
}

namespace {

// Opens what a path names. Partitions of one file share it, and its lock.
class Opener {
 public:
  Opener(uring::RealEnv& env, uring::Access access) : env_(env), access_(access) {}

  Task<Result<std::unique_ptr<BlockDevice>>> open(const std::string& path) {
    const auto partition = partition_name(path);
    if (!partition) {
      auto image = co_await open_image(path);
      if (!image) co_return std::unexpected(image.error());
      co_return std::unique_ptr<BlockDevice>(std::move(*image));
    }
    const auto range = find_partition(*partition);
    if (!range) co_return std::unexpected(range.error());
    std::shared_ptr<uring::Image>& whole = wholes_[partition->file];
    if (!whole) {
      auto image = co_await open_image(partition->file);
      if (!image) co_return std::unexpected(image.error());
      whole = std::move(*image);
    }
    co_return std::make_unique<Partition>(env_.scheduler(), whole, *range);
  }

 private:
  // The locks of a process that has ended are waited for, however long the kernel takes.
  Task<Result<std::unique_ptr<uring::Image>>> open_image(std::string path) {
    const auto now = [this] { return env_.scheduler().now(); };
    const Nanos deadline = now() + kEndedPatience;
    for (bool freed = false;;) {
      auto image = co_await uring::Image::open(env_.ring(), path, now() + kLockPatience, access_, uring::Grain::sector);
      if (image || image.error().code != Errc::busy || now() >= deadline) co_return image;
      const std::set<pid_t> holders = holders_of({path});
      // Nobody holds it: it was freed since the try, unless that was said the last time, too.
      if (holders.empty() ? freed : std::ranges::none_of(holders, has_ended)) co_return image;
      freed = holders.empty();
    }
  }

  uring::RealEnv& env_;
  uring::Access access_;
  std::map<std::string, std::shared_ptr<uring::Image>> wholes_;
};

}  // namespace

Task<Result<std::vector<Disk>>> open_disks(uring::RealEnv& env, std::vector<std::string> paths, uring::Access access) {
  const std::vector<std::string> names = short_names(paths);
  Opener opener(env, access);
  std::vector<Disk> disks;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    auto image = co_await opener.open(paths[i]);
    if (!image && image.error().code == Errc::busy) co_return std::unexpected(image.error());
    Disk& disk = disks.emplace_back();
    disk.path = paths[i];
    disk.name = names[i];
    if (!image) {
      const std::string prefix = paths[i] + ": ";
      const std::string& what = image.error().what;
      disk.super = fail(image.error().code, what.starts_with(prefix) ? what.substr(prefix.size()) : what);
      continue;
    }
    disk.image = std::move(*image);
    if (Status read = co_await read_superblock(env, disk); !read) co_return std::unexpected(read.error());
  }
  co_return disks;
}

const raid::Superblock* freshest(const std::vector<Disk>& disks, const raid::Uuid& set_uuid) {
  const raid::Superblock* best = nullptr;
  for (const Disk& disk : disks) {
    if (!disk.super || disk.super->set_uuid != set_uuid) continue;
    if (best == nullptr || disk.super->events > best->events) best = &*disk.super;
  }
  return best;
}

void lay_over(Scheduler& scheduler, std::vector<Disk>& disks) {
  for (Disk& disk : disks) {
    if (disk.image) disk.overlay = std::make_unique<Overlay>(scheduler, *disk.image);
  }
}

Result<std::string> make_stand_in(std::uint64_t bytes) {
  const int fd = memfd_create("resilver", MFD_CLOEXEC);  // open until the process ends
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    return fail(Errc::io, fmt::format("an image in memory: {}", std::strerror(errno)));
  }
  return fmt::format("/proc/self/fd/{}", fd);
}

Status check_opened(const std::vector<Disk>& disks) {
  for (const Disk& disk : disks) {
    if (!disk.image) return fail(disk.super.error().code, fmt::format("{}: {}", disk.path, disk.super.error().what));
  }
  return {};
}

namespace {

// The processes with a lock of this kind on one of these files; those of a description (OFDLCK) have no process: -1.
std::set<pid_t> lockers_of(const std::vector<std::string>& paths, const std::string& wanted_kind) {
  std::set<std::string> wanted;
  for (const std::string& path : paths) {
    struct stat status;
    if (stat(file_of(path).c_str(), &status) != 0) continue;
    wanted.insert(fmt::format("{:02x}:{:02x}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino));
  }
  std::set<pid_t> lockers;
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream in(line);
    std::string number, kind, mode, access, file;
    pid_t pid = 0;
    if (in >> number >> kind >> mode >> access >> pid >> file && kind == wanted_kind && wanted.contains(file)) {
      lockers.insert(pid);
    }
  }
  lockers.erase(getpid());
  return lockers;
}

}  // namespace

std::set<pid_t> holders_of(const std::vector<std::string>& paths) { return lockers_of(paths, "FLOCK"); }

std::string name_of_process(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  const std::string text(std::istreambuf_iterator<char>(file), {});  // PID (NAME) STATE ...
  const std::size_t begin = text.find('('), end = text.rfind(") ");
  if (begin == std::string::npos || end == std::string::npos || text.substr(end + 2, 1) == "Z") return "";
  return text.substr(begin + 1, end - begin - 1);
}

bool has_ended(pid_t pid) { return name_of_process(pid).empty(); }

bool is_maintained(const std::vector<std::string>& paths) { return !lockers_of(paths, "OFDLCK").empty(); }

std::vector<raid::MemberDisk> member_disks(const std::vector<Disk>& disks) {
  std::vector<raid::MemberDisk> members;
  for (const Disk& disk : disks) {
    if (disk.image) members.push_back({disk.name, &disk.device()});
  }
  return members;
}

}  // namespace resilver::tools
