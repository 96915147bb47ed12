// A child process of the runner: this very program with other arguments. It dies with the runner, whatever happens; its
// standard output is a pipe on which it says where it listens; its standard error goes to a log file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "base/error.h"
#include "uring/ring.h"

namespace resilver::scenario {

class Child {
 public:
  // Starts `resilver ARGUMENTS…`. Errors: io (what the system said).
  static Result<std::unique_ptr<Child>> start(uring::Ring& ring, std::vector<std::string> arguments,
                                              std::string log_path);
  ~Child();  // precondition: it has ended, end() was awaited

  // The next line of its standard output. Errors: timeout, closed (it ended first: says how, with its last words).
  Task<Result<std::string>> read_line(Nanos deadline);

  // Sends a signal; does nothing if it has ended.
  void signal(int number) noexcept;
  // Waits for its end and reaps it; at `deadline` it is killed. May be called again.
  Task<void> end(Nanos deadline);

  // Has it ended by itself or by a signal (looks, does not wait)?
  bool ended() noexcept;
  // "exit 1", "killed by signal 6", and its last words: the CHECK that failed, else the last line of its log.
  std::string how_it_ended() const;
  // It ended by a signal that was not sent from here, as by a CHECK of its own. Precondition: ended().
  bool died() const noexcept;
  // It ended by itself, and not well, but in order: it has said why. Precondition: ended().
  bool gave_up() const noexcept;

 private:
  Child(uring::Ring& ring, int pidfd, int output, std::string log_path, std::uint64_t log_begin);
  std::string last_words() const;
  void reap() noexcept;

  uring::Ring& ring_;
  int pidfd_;
  int output_;
  std::string log_path_;
  std::uint64_t log_begin_;  // what is before is a predecessor's
  std::uint64_t sent_ = 0;   // signals, a bit each
  std::string buffered_;
  bool ended_ = false;
  int wait_code_ = 0;
  int wait_status_ = 0;
};

}  // namespace resilver::scenario
