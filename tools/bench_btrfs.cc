// btrfs as the peer of `resilver bench rebuild` and `scrub`. What is set up goes with this process, whatever ends it: the
// images have no names, the loop devices detach themselves, the mount is in a mount namespace of our own.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/random.h"
#include "tools/bench_work.h"

extern char** environ;

namespace resilver::tools {
namespace {

constexpr const char* kMountPoint = "/mnt";  // of our own namespace: nobody else sees it
constexpr unsigned kFilledPercent = 33;      // of what the data members hold: btrfs needs room to work in

Nanos monotonic() noexcept {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

std::unexpected<Error> failed(Errc code, const std::string& what) {
  return fail(code, fmt::format("{}: {}", what, std::strerror(errno)));
}

struct Descriptor {
  Descriptor() = default;
  explicit Descriptor(int number) noexcept : fd(number) {}
  Descriptor(Descriptor&& other) noexcept : fd(std::exchange(other.fd, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd, other.fd);
    return *this;
  }
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
  int fd = -1;
};

// The line that says ERROR, else the last one.
std::string what_it_means(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const std::size_t error = text.find("ERROR: ");
  const std::size_t begin = error == std::string::npos ? text.rfind('\n') + 1 : error;
  return text.substr(begin, text.find('\n', begin) - begin);
}

// Runs a command; what it said of its failure is the error.
Status run(const std::vector<std::string>& words) {
  const Descriptor said(memfd_create("said", MFD_CLOEXEC));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, said.fd, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, said.fd, STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return fail(Errc::not_found, words[0] + ": not installed (package btrfs-progs)");
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  std::string text(4096, '\0');
  const ssize_t size = pread(said.fd, text.data(), text.size(), 0);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return fail(Errc::io, words[0] + ": " + what_it_means(text));
}

struct Loop {
  Descriptor device;  // as long as it is open, or mounted, the loop device is there
  std::string path;
};

Result<Loop> attach(int image) {
  const Descriptor control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (control.fd < 0) return failed(Errc::unsupported, "no loop devices: /dev/loop-control");
  for (int tries = 0; tries < 16; ++tries) {
    const int number = ioctl(control.fd, LOOP_CTL_GET_FREE);
    if (number < 0) return failed(Errc::unsupported, "no free loop device");
    Loop loop;
    loop.path = fmt::format("/dev/loop{}", number);
    loop.device = Descriptor(open(loop.path.c_str(), O_RDWR | O_CLOEXEC));
    if (loop.device.fd < 0) return failed(Errc::unsupported, loop.path);
    loop_config config{};
    config.fd = static_cast<std::uint32_t>(image);
    config.block_size = 4096;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    if (ioctl(loop.device.fd, LOOP_CONFIGURE, &config) == 0) return loop;
    if (errno != EBUSY) return failed(Errc::unsupported, loop.path + ": direct I/O on this file system");
  }
  return fail(Errc::busy, "every loop device is taken at once by somebody else");
}

// A file without a name, every byte of it written once.
Result<Loop> make_disk(const std::string& directory, std::uint64_t bytes) {
  const Descriptor image(open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (image.fd < 0) return failed(Errc::unsupported, directory);
  const std::vector<char> zeroes(kMiB);
  for (std::uint64_t at = 0; at < bytes; at += zeroes.size()) {
    const std::size_t length = std::min<std::uint64_t>(zeroes.size(), bytes - at);
    if (pwrite(image.fd, zeroes.data(), length, static_cast<off_t>(at)) != static_cast<ssize_t>(length))
      return failed(Errc::no_space, directory);
  }
  if (fsync(image.fd) != 0) return failed(Errc::io, directory);
  return attach(image.fd);
}

Result<std::uint64_t> fill_file(std::uint64_t bytes) {
  const Descriptor file(open(fmt::format("{}/data", kMountPoint).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  if (file.fd < 0) return failed(Errc::io, "a file on btrfs");
  std::vector<std::uint64_t> block(kMiB / sizeof(std::uint64_t));
  Random random(1);
  for (std::uint64_t& word : block) word = random.next();
  std::uint64_t done = 0;
  for (; done + kMiB <= bytes; done += kMiB) {
    const ssize_t written = write(file.fd, block.data(), kMiB);
    if (written < 0 && errno == ENOSPC) break;
    if (written != static_cast<ssize_t>(kMiB)) return failed(Errc::io, "a file on btrfs");
  }
  if (fsync(file.fd) != 0) return failed(Errc::io, "a file on btrfs");
  if (done == 0) return fail(Errc::no_space, "images too small for btrfs");
  return done;
}

Status own_namespace() {
  if (unshare(CLONE_NEWNS) != 0) return failed(Errc::permission, "btrfs needs root: a mount namespace");
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return failed(Errc::permission, "private mounts");
  return {};
}

}  // namespace

struct BtrfsBench::Inside {
  ~Inside() {
    if (mounted) umount2(kMountPoint, 0);
  }
  Status set_up();
  Status mount_it();

  BenchPlan plan;
  std::vector<Loop> disks;  // members, then spares: a replace swaps two of them
  std::uint64_t file_bytes = 0;
  bool mounted = false;
};

Status BtrfsBench::Inside::mount_it() {
  const char* profile = plan.level == raid::Level::raid6 ? "raid6" : "raid5";
  std::vector<std::string> words = {"mkfs.btrfs", "-q", "-K", "-f", "-d", profile, "-m", profile};
  for (std::uint32_t i = 0; i < plan.disks; ++i) words.push_back(disks[i].path);
  if (auto made = run(words); !made) return made;
  if (auto own = own_namespace(); !own) return own;
  std::vector<std::string> scan = {"btrfs", "device", "scan"};
  for (std::uint32_t i = 0; i < plan.disks; ++i) scan.push_back(disks[i].path);
  if (auto scanned = run(scan); !scanned) return scanned;
  if (mount(disks[0].path.c_str(), kMountPoint, "btrfs", MS_NOATIME, nullptr) != 0)
    return failed(Errc::unsupported, "btrfs cannot be mounted");
  mounted = true;
  return {};
}

Status BtrfsBench::Inside::set_up() {
  if (geteuid() != 0) return fail(Errc::permission, "btrfs needs root, for loop devices and mounting");
  if (plan.level != raid::Level::raid5 && plan.level != raid::Level::raid6)
    return fail(Errc::unsupported, "against btrfs: level 5 or 6");
  const std::uint32_t spares = plan.kind == BenchKind::rebuild ? plan.lost : 0;
  for (std::uint32_t i = 0; i < plan.disks + spares; ++i) {
    auto disk = make_disk(plan.dir, plan.size);
    if (!disk) return std::unexpected(disk.error());
    disks.push_back(std::move(*disk));
  }
  if (auto ready = mount_it(); !ready) return ready;
  auto filled = fill_file(data_disks(plan) * plan.size / 100 * kFilledPercent);
  if (!filled) return std::unexpected(filled.error());
  file_bytes = *filled;
  return {};
}

BtrfsBench::BtrfsBench(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
BtrfsBench::~BtrfsBench() = default;

Result<std::unique_ptr<BtrfsBench>> BtrfsBench::create(const BenchPlan& plan) {
  std::unique_ptr<BtrfsBench> bench(new BtrfsBench(std::make_unique<Inside>()));
  bench->inside_->plan = plan;
  if (auto ready = bench->inside_->set_up(); !ready) return std::unexpected(ready.error());
  return bench;
}

Result<Measure> BtrfsBench::round() {
  Inside& inside = *inside_;
  Measure measure;
  const std::uint64_t per_disk = inside.file_bytes / data_disks(inside.plan);
  const Nanos started = monotonic();
  if (inside.plan.kind == BenchKind::scrub) {
    if (auto done = run({"btrfs", "scrub", "start", "-B", kMountPoint}); !done) return std::unexpected(done.error());
    measure.bytes = per_disk * inside.plan.disks;
  } else {
    for (std::uint32_t i = 0; i < inside.plan.lost; ++i) {
      // -r: from the others, as if the member were lost.
      Loop& from = inside.disks[i];
      Loop& to = inside.disks[inside.plan.disks + i];
      auto done = run({"btrfs", "replace", "start", "-B", "-f", "-K", "-r", from.path, to.path, kMountPoint});
      if (!done) return std::unexpected(done.error());
      std::swap(from, to);
    }
    measure.bytes = per_disk * inside.plan.lost;
  }
  measure.wall = monotonic() - started;
  return measure;
}

}  // namespace resilver::tools
