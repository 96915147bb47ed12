#include "tests/support/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace resilver::test {
namespace fs = std::filesystem;

namespace {

constexpr int kUnprepared = 126;
constexpr int kNotStarted = 127;

std::string program_path() {
  const char* set = std::getenv("RESILVER_PROGRAM");
  return fs::absolute(set != nullptr ? set : "build/release/resilver");
}

std::string contents(int fd) {
  std::string text;
  char piece[4096];
  for (off_t at = 0;;) {
    const ssize_t got = pread(fd, piece, sizeof piece, at);
    if (got <= 0) return text;
    text.append(piece, static_cast<std::size_t>(got));
    at += got;
  }
}

[[noreturn]] void become(const std::string& path, char* const* arguments, int out, int err, const Prepare& prepare) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(open("/dev/null", O_RDONLY), 0);
  dup2(out, 1);
  dup2(err, 2);
  if (prepare && !prepare()) _exit(kUnprepared);
  execv(path.c_str(), arguments);
  _exit(kNotStarted);
}

bool install(std::vector<sock_filter> rules) {
  const sock_fprog program{static_cast<unsigned short>(rules.size()), rules.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

constexpr std::uint32_t kNumber = offsetof(seccomp_data, nr);

constexpr sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<__u32>(offset));
}
constexpr sock_filter give(std::uint32_t verdict) { return BPF_STMT(BPF_RET | BPF_K, verdict); }

}  // namespace

// ---- directories and files -------------------------------------------------------------------------------------------

Directory::Directory() : path_(fs::absolute("build/test-XXXXXX")) {
  fs::create_directories("build");
  if (mkdtemp(path_.data()) == nullptr) ADD_FAILURE() << path_ << ": cannot be made";
}

Directory::~Directory() {
  std::error_code ignored;
  fs::permissions(path_, fs::perms::owner_all, ignored);
  fs::remove_all(path_, ignored);
}

std::vector<std::string> Directory::names() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path_)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

void write_text(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// ---- the program -----------------------------------------------------------------------------------------------------

std::string Ended::all() const { return "exit " + std::to_string(code) + "\n" + out + err; }

Program::Program(const std::vector<std::string>& arguments, const Prepare& prepare)
    : out_(memfd_create("out", MFD_CLOEXEC)), err_(memfd_create("err", MFD_CLOEXEC)) {
  const std::string path = program_path();
  std::vector<std::string> words = arguments;
  words.insert(words.begin(), "resilver");
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) become(path, argv.data(), out_, err_, prepare);
  if (pid_ < 0) ADD_FAILURE() << "fork failed";
}

Program::~Program() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(out_);
  close(err_);
}

void Program::signal(int number) const {
  if (pid_ > 0) kill(pid_, number);
}

bool Program::running() const {
  siginfo_t end{};
  return pid_ > 0 && waitid(P_PID, static_cast<id_t>(pid_), &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid == 0;
}

std::string Program::out_so_far() const { return contents(out_); }
std::string Program::err_so_far() const { return contents(err_); }

Ended Program::wait(int seconds) {
  if (pid_ <= 0) return {};
  pollfd end{static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)), POLLIN, 0};
  if (poll(&end, 1, seconds * 1000) != 1) {
    ADD_FAILURE() << "the program did not end in " << seconds << " s";
    kill(pid_, SIGKILL);
  }
  close(end.fd);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  Ended ended{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), contents(out_), contents(err_)};
  if (ended.code == kUnprepared) ADD_FAILURE() << "the child could not be prepared for the test";
  if (ended.code == kNotStarted) ADD_FAILURE() << program_path() << ": cannot be run; build it first";
  return ended;
}

// ---- what a child can be denied --------------------------------------------------------------------------------------

bool forbid_io_uring() {
  return install({load(kNumber), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
                  give(SECCOMP_RET_ERRNO | EPERM), give(SECCOMP_RET_ALLOW)});
}

bool refuse_o_direct() {
  return install({load(kNumber), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
                  load(offsetof(seccomp_data, args[2])), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_DIRECT, 0, 1),
                  give(SECCOMP_RET_ERRNO | EINVAL), give(SECCOMP_RET_ALLOW)});
}

bool respect_permissions() {
  if (geteuid() != 0) return true;
  // What is not in the bounding set is not gained by the exec that follows.
  return prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE) == 0 && prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH) == 0;
}

// ---- processes -------------------------------------------------------------------------------------------------------

std::vector<pid_t> processes_naming(const std::string& text) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || pid == getpid()) continue;
    // A zombie's command line is empty.
    if (read_text(entry.path() / "cmdline").find(text) != std::string::npos) found.push_back(pid);
  }
  return found;
}

bool eventually(const std::function<bool()>& condition, int seconds) {
  for (int tries = 0; tries < seconds * 50; ++tries) {
    if (condition()) return true;
    usleep(20'000);
  }
  return condition();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace resilver::test
