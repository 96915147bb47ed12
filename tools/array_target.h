// The file that an export makes: it has its name only when it is whole.
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/error.h"

namespace resilver::tools {

// A file is written under a temporary name beside it, FILE.part-XXXXXX, and gets its name by commit(). Without that no file of
// this name is left behind, and one that was there stays as it was; a process that is killed leaves the temporary one. Standard
// output ("-"), block devices, pipes and the like are written as they are.
class Target {
 public:
  Target() = default;
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  ~Target();

  // Errors: io, with the file's name.
  Status open(const std::string& file);
  int fd() const noexcept { return fd_; }
  // What has this name now (or what is standard output): st_ino is 0 if nothing has.
  const struct stat& there() const noexcept { return there_; }
  // Makes the content durable and gives it its name.
  Status commit();

 private:
  Status make_beside();

  std::string file_;
  std::string temporary_;  // empty: written as it is
  struct stat there_{};
  int fd_ = -1;
};

}  // namespace resilver::tools
