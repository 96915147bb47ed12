#include "uring/image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "async/sync.h"

namespace resilver::uring {

Image::Image(std::string path, std::unique_ptr<ImageFile> file, bool direct)
    : path_(std::move(path)), direct_(direct), file_(std::move(file)) {}

Image::~Image() { file_.release()->leave(); }

void Image::submit(IoRequest& request) noexcept {
  check_request(*this, request);
  file_->submit(request);
}

namespace {

constexpr Nanos kLockPoll = 2 * kMillisecond;
constexpr off_t kMaintainByte = off_t{1} << 62;

Result<std::uint64_t> size_of(int fd, const std::string& path) {
  struct stat status;
  if (fstat(fd, &status) != 0) return fail(Errc::io, fmt::format("{}: {}", path, std::strerror(errno)));
  std::uint64_t size = static_cast<std::uint64_t>(status.st_size);
  if (S_ISBLK(status.st_mode)) {
    if (ioctl(fd, BLKGETSIZE64, &size) != 0) return fail(Errc::io, fmt::format("{}: {}", path, std::strerror(errno)));
  } else if (!S_ISREG(status.st_mode)) {
    return fail(Errc::bad_input, fmt::format("{}: neither a file nor a block device", path));
  }
  if (size < kBlockBytes) return fail(Errc::bad_input, fmt::format("{}: its size is {} bytes", path, size));
  return size / kBlockBytes * kBlockBytes;
}

Errc open_errc(int error) noexcept {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return Errc::not_found;
    case EACCES:
    case EPERM:
    case EROFS: return Errc::permission;
    case EISDIR: return Errc::bad_input;
    case EBUSY: return Errc::busy;
    case ENXIO:
    case ENODEV: return Errc::device_gone;
    default: return Errc::io;
  }
}

// All locks are of the file description, so they end with the ring that uses it. 0, or why not; what was got is kept.
int lock(int fd, Access access) {
  if (access == Access::look) return 0;
  if (flock(fd, (access == Access::read_write ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) return errno;
  if (access != Access::maintain) return 0;
  struct flock byte{};
  byte.l_type = F_WRLCK;
  byte.l_whence = SEEK_SET;
  byte.l_start = kMaintainByte;
  byte.l_len = 1;
  return fcntl(fd, F_OFD_SETLK, &byte) == 0 ? 0 : errno;
}

struct Descriptor {
  explicit Descriptor(int number) noexcept : fd(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
  int release() noexcept { return std::exchange(fd, -1); }
  int fd;
};

}  // namespace

Task<Result<std::unique_ptr<Image>>> Image::open(Ring& ring, std::string path, Nanos deadline, Access access) {
  const bool writes = access == Access::read_write || access == Access::maintain;
  struct stat before;
  const bool block_device = stat(path.c_str(), &before) == 0 && S_ISBLK(before.st_mode);
  // O_NONBLOCK: opening a FIFO by mistake must not hang; it means nothing for files and block devices.
  const int flags = (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | (writes && block_device ? O_EXCL : 0);
  bool direct = true;
  Descriptor file(::open(path.c_str(), flags | O_DIRECT));
  if (file.fd < 0 && errno == EINVAL) {
    direct = false;
    file.fd = ::open(path.c_str(), flags);
  }
  if (file.fd < 0) {
    const char* why = errno == EBUSY ? "in use: mounted, or part of another device" : std::strerror(errno);
    co_return fail(open_errc(errno), fmt::format("{}: {}", path, why));
  }
  while (const int error = lock(file.fd, access)) {
    if (error != EWOULDBLOCK && error != EACCES && error != EINTR) {
      co_return fail(Errc::io, fmt::format("{}: lock: {}", path, std::strerror(error)));
    }
    if (ring.now() >= deadline) co_return fail(Errc::busy, fmt::format("{}: already open by another process", path));
    co_await sleep_for(ring, kLockPoll);
  }
  const auto size = size_of(file.fd, path);
  if (!size) co_return std::unexpected(size.error());
  if (!direct)
    ring.notice_slower("direct", fmt::format("{}: no O_DIRECT on this file system; going through the page cache", path));
  auto open_file = std::make_unique<ImageFile>(ring, file.release(), *size);
  co_return std::unique_ptr<Image>(new Image(std::move(path), std::move(open_file), direct));
}

}  // namespace resilver::uring
