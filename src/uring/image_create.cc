// Making images: everything that is done before there is a ring.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "uring/image.h"

namespace resilver::uring {
namespace {

Error create_error(const std::string& path, int error) {
  Errc code = Errc::io;
  switch (error) {
    case EEXIST: code = Errc::exists; break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: code = Errc::no_space; break;
    case EACCES:
    case EPERM:
    case EROFS: code = Errc::permission; break;
    case ENOENT:
    case ENOTDIR: code = Errc::not_found; break;
  }
  return {code, fmt::format("{}: {}", path, std::strerror(error))};
}

// The errno, 0 for success.
int write_zeroes_to(int fd, std::uint64_t size) {
  static constexpr std::size_t kChunk = std::size_t{1} << 20;
  const std::vector<std::byte> zeroes(kChunk);
  for (std::uint64_t at = 0; at < size;) {
    const ssize_t written =
        pwrite(fd, zeroes.data(), std::min<std::uint64_t>(kChunk, size - at), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    if (written == 0) return ENOSPC;
    at += static_cast<std::uint64_t>(written);
  }
  return fdatasync(fd) == 0 ? 0 : errno;
}

int allocate(int fd, std::uint64_t size, Allocation allocation) {
  if (ftruncate(fd, static_cast<off_t>(size)) != 0) return errno;
  if (allocation == Allocation::sparse) return 0;
  int result = 0;
  do {
    result = fallocate(fd, 0, 0, static_cast<off_t>(size)) == 0 ? 0 : errno;
  } while (result == EINTR);
  if (result != 0 && result != EOPNOTSUPP) return result;
  // Where room cannot be reserved it is taken.
  if (allocation == Allocation::zeroed || result == EOPNOTSUPP) return write_zeroes_to(fd, size);
  return 0;
}

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Status check_room(const std::string& directory, std::uint64_t bytes) {
  struct statvfs there;
  if (statvfs(directory.c_str(), &there) != 0) return std::unexpected(create_error(directory, errno));
  const std::uint64_t available = static_cast<std::uint64_t>(there.f_bavail) * there.f_frsize;
  if (available < bytes) {
    return fail(Errc::no_space, fmt::format("{}: {} MiB are needed and {} MiB are free", directory,
                                            (bytes + (1 << 20) - 1) >> 20, available >> 20));
  }
  return {};
}

Status reserve(const std::string& path, std::uint64_t offset, std::uint64_t bytes) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return std::unexpected(create_error(path, errno));
  int error = 0;
  do {
    error = fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  } while (error == EINTR);
  close(fd);
  if (error == 0 || error == EOPNOTSUPP) return {};
  return std::unexpected(create_error(path, error));
}

Status extend_image(const std::string& path, std::uint64_t size_bytes) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  struct stat now;
  int error = fd >= 0 && fstat(fd, &now) == 0 ? 0 : errno;
  if (error == 0 && static_cast<std::uint64_t>(now.st_size) < size_bytes) {
    if (ftruncate(fd, static_cast<off_t>(size_bytes)) != 0 || fsync(fd) != 0) error = errno;
  }
  if (fd >= 0) close(fd);
  if (error == 0) return {};
  return std::unexpected(create_error(path, error));
}

Status sync_directory(const std::string& path) {
  const std::string directory = directory_of(path);
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int error = fd >= 0 && fsync(fd) == 0 ? 0 : errno;
  if (fd >= 0) close(fd);
  if (error == 0) return {};
  return std::unexpected(create_error(directory, error));
}

Status create_image(const std::string& path, std::uint64_t size_bytes, Allocation allocation) {
  CHECK(size_bytes > 0 && size_bytes % kBlockBytes == 0);
  const std::string directory = directory_of(path);
  if (allocation != Allocation::sparse) {
    if (auto room = check_room(directory, size_bytes); !room) return room;
  }
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return std::unexpected(create_error(path, errno));
  const int error = allocate(fd, size_bytes, allocation);
  close(fd);
  if (error == 0) return {};
  unlink(path.c_str());
  return std::unexpected(create_error(path, error));
}

}  // namespace resilver::uring
