#include "scenario/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace resilver::scenario {
namespace {

constexpr std::size_t kMaxLine = 4096;
constexpr std::size_t kMaxWords = 300;

Error system_error(const char* what) { return Error{Errc::io, fmt::format("{}: {}", what, std::strerror(errno))}; }

// Runs between fork and exec: only async-signal-safe calls.
[[noreturn]] void become(char* const* arguments, int output, int log, pid_t parent) {
  uring::StopSignal::reset_signals_in_child();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the runner died before the line above
  setpgid(0, 0);                        // Ctrl-C is for the runner, which then ends its children in order
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, 0);
  dup2(output, 1);
  dup2(log, 2);
  execv("/proc/self/exe", arguments);
  _exit(127);
}

}  // namespace

Child::Child(uring::Ring& ring, int pidfd, int output, std::string log_path, std::uint64_t log_begin)
    : ring_(ring), pidfd_(pidfd), output_(output), log_path_(std::move(log_path)), log_begin_(log_begin) {}

Result<std::unique_ptr<Child>> Child::start(uring::Ring& ring, std::vector<std::string> arguments, std::string log_path) {
  std::vector<char*> argv;
  std::string name = "resilver";
  argv.push_back(name.data());
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return std::unexpected(system_error("pipe"));
  const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) {
    const Error error = system_error(log_path.c_str());
    close(ends[0]);
    close(ends[1]);
    return std::unexpected(error);
  }
  const off_t log_begin = lseek(log, 0, SEEK_END);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) become(argv.data(), ends[1], log, parent);
  const Error fork_error = system_error("fork");
  close(ends[1]);
  close(log);
  if (pid < 0) {
    close(ends[0]);
    return std::unexpected(fork_error);
  }
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  CHECK(pidfd >= 0, "pidfd_open of an own child");
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return std::unique_ptr<Child>(
      new Child(ring, pidfd, ends[0], std::move(log_path), static_cast<std::uint64_t>(log_begin)));
}

Child::~Child() {
  CHECK(ended_, "a child process must be waited for");
  close(pidfd_);
  close(output_);
}

Task<Result<std::string>> Child::read_line(Nanos deadline) {
  while (true) {
    const std::size_t newline = buffered_.find('\n');
    if (newline != std::string::npos) {
      std::string line = buffered_.substr(0, newline);
      buffered_.erase(0, newline + 1);
      co_return line;
    }
    char piece[512];
    const ssize_t got = read(output_, piece, sizeof piece);
    if (got > 0 && buffered_.size() < kMaxLine) {
      buffered_.append(piece, static_cast<std::size_t>(got));
      continue;
    }
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
      co_await end(deadline);
      co_return fail(Errc::closed, how_it_ended());
    }
    if (got < 0 && errno == EINTR) continue;
    auto readable = co_await ring_.wait_fd(output_, POLLIN, deadline);
    if (!readable) co_return std::unexpected(readable.error());
  }
}

void Child::signal(int number) noexcept {
  if (ended_) return;
  sent_ |= std::uint64_t{1} << number;
  syscall(SYS_pidfd_send_signal, pidfd_, number, nullptr, 0);
}

void Child::reap() noexcept {
  siginfo_t info{};
  if (waitid(P_PIDFD, static_cast<id_t>(pidfd_), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) return;
  ended_ = true;
  wait_code_ = info.si_code;
  wait_status_ = info.si_status;
}

bool Child::ended() noexcept {
  if (!ended_) reap();
  return ended_;
}

Task<void> Child::end(Nanos deadline) {
  while (!ended()) {
    auto ready = co_await ring_.wait_fd(pidfd_, POLLIN, deadline);
    if (!ready) {
      signal(SIGKILL);
      deadline = kNever;
    }
  }
}

bool Child::died() const noexcept {
  const bool by_signal = wait_code_ == CLD_KILLED || wait_code_ == CLD_DUMPED;
  return by_signal && (sent_ >> wait_status_ & 1) == 0;
}

bool Child::gave_up() const noexcept { return wait_code_ == CLD_EXITED && wait_status_ != 0; }

std::string Child::last_words() const {
  std::ifstream log(log_path_);
  log.seekg(static_cast<std::streamoff>(log_begin_));
  std::string line, last, check;
  while (std::getline(log, line)) {
    if (!line.empty()) last = line.substr(0, kMaxWords);
    if (line.contains("CHECK failed")) check = last;
  }
  return check.empty() ? last : check;
}

std::string Child::how_it_ended() const {
  std::string text = wait_code_ == CLD_EXITED ? fmt::format("exit {}", wait_status_)
                                              : fmt::format("killed by signal {}", wait_status_);
  if (const std::string last = last_words(); !last.empty()) text += ": " + last;
  return text;
}

}  // namespace resilver::scenario
