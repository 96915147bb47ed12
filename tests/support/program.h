// The program under test as a child process, and what tests of it need: a directory of their own, limits and refusals that
// a child gets before it becomes the program. Nothing here needs root.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace resilver::test {

// A directory under build/, removed with everything in it at the end.
class Directory {
 public:
  Directory();
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  const std::string& path() const noexcept { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // The names in it, sorted.
  std::vector<std::string> names() const;

 private:
  std::string path_;
};

void write_text(const std::string& path, const std::string& text);
std::string read_text(const std::string& path);

struct Ended {
  int code = -1;  // the exit code; 128 + N after signal N
  std::string out;
  std::string err;

  // For messages: the code and all that it said.
  std::string all() const;
};

// Runs in the child between fork and exec; gives false if the child cannot be prepared as the test needs it.
using Prepare = std::function<bool()>;

// `resilver ARGUMENTS…` ($RESILVER_PROGRAM), without input; dies with the test.
class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments, const Prepare& prepare = {});
  ~Program();  // kills it if it still runs
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const noexcept { return pid_; }
  void signal(int number) const;
  bool running() const;  // it has neither ended nor died
  std::string out_so_far() const;
  std::string err_so_far() const;
  // Waits for the end; a program that does not end in time is killed, which fails the test.
  Ended wait(int seconds = 120);

 private:
  pid_t pid_ = -1;
  int out_ = -1;  // files without a name
  int err_ = -1;
};

inline Ended run_program(const std::vector<std::string>& arguments, const Prepare& prepare = {}) {
  return Program(arguments, prepare).wait();
}

// ---- what a child can be denied (for Prepare) --------------------------------------------------------------------------

bool forbid_io_uring();      // io_uring_setup fails as in most containers
bool refuse_o_direct();      // opening with O_DIRECT fails as on file systems without it
bool respect_permissions();  // modes of files bind root too

// ---- processes -------------------------------------------------------------------------------------------------------

// Those whose command line names `text`, and neither zombies nor this process.
std::vector<pid_t> processes_naming(const std::string& text);
// Polls `condition` until it holds; false after `seconds`.
bool eventually(const std::function<bool()>& condition, int seconds = 20);

std::vector<std::string> lines_of(const std::string& text);

}  // namespace resilver::test
