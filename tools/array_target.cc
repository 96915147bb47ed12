#include "tools/array_target.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "tools/array_copier.h"
#include "uring/image.h"

namespace resilver::tools {

Target::~Target() {
  if (fd_ > STDERR_FILENO) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

Status Target::open(const std::string& file) {
  file_ = file;
  if (file == "-") {
    fd_ = STDOUT_FILENO;
    fstat(fd_, &there_);
    return {};
  }
  const bool exists = stat(file.c_str(), &there_) == 0;
  if (!exists || S_ISREG(there_.st_mode)) return make_beside();
  fd_ = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd_ < 0) return std::unexpected(file_error(file));
  return {};
}

Status Target::make_beside() {
  const bool exists = there_.st_ino != 0;
  if (exists) {
    if (access(file_.c_str(), W_OK) != 0) return std::unexpected(file_error(file_));
    std::error_code error;  // a link stays one
    const auto whole = std::filesystem::canonical(file_, error);
    if (!error) file_ = whole.string();
  }
  std::string name = file_ + ".part-XXXXXX";
  fd_ = mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0) return std::unexpected(file_error(file_));
  temporary_ = std::move(name);
  const mode_t mask = umask(0);
  umask(mask);
  fchmod(fd_, exists ? there_.st_mode & 07777 : 0666 & ~mask);
  return {};
}

Status Target::commit() {
  if (temporary_.empty()) return {};
  if (fdatasync(fd_) != 0 || rename(temporary_.c_str(), file_.c_str()) != 0) return std::unexpected(file_error(file_));
  temporary_.clear();
  const std::string folder = std::filesystem::path(file_).parent_path().string();
  return uring::sync_directory(folder.empty() ? "." : folder);
}

}  // namespace resilver::tools
