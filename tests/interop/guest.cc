#include "tests/interop/guest.h"

#include <fcntl.h>
#include <glob.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "tests/support/program.h"

namespace resilver::test {
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kGuestMemory = 192u << 20;
constexpr std::uint64_t kRoomNeeded = 3 * kGuestMemory;  // its memory is a file, and there are the images
constexpr int kPatience = 10;                            // times the silence that is allowed

std::string module_folder() {
  glob_t found{};
  std::string folder;
  if (glob("/usr/lib/uml/modules/*/kernel", 0, nullptr, &found) == 0) folder = found.gl_pathv[found.gl_pathc - 1];
  globfree(&found);
  return folder;
}

std::vector<std::uint64_t> common_sizes() {
  std::vector<std::uint64_t> sizes(kOddSlot, kMemberBytes);
  sizes.insert(sizes.end(), std::begin(kOddBytes), std::end(kOddBytes));
  return sizes;
}

// Each system call and page fault of the guest's processes is a switch between two processes here, which is twice as fast on
// one CPU. UML has only one CPU anyway. Which one goes by the process, so that several guests do not share one.
void stay_on_one_cpu() {
  cpu_set_t may;
  if (sched_getaffinity(0, sizeof may, &may) != 0) return;
  int cpu = 0;
  for (int skip = getpid() % CPU_COUNT(&may); skip > 0 || !CPU_ISSET(cpu, &may); ++cpu) {
    if (CPU_ISSET(cpu, &may)) --skip;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof one, &one);
}

std::string helper(const char* name) { return fs::absolute(std::string("build/interop/") + name); }

}  // namespace

const std::string& scratch_folder() {
  static const std::string folder = [] {
    struct statvfs room{};
    const std::string shared = "/dev/shm";
    const bool fits = statvfs(shared.c_str(), &room) == 0 && room.f_bavail * room.f_frsize > kRoomNeeded;
    return fits && access(shared.c_str(), W_OK) == 0 ? shared : fs::absolute("build").string();
  }();
  return folder;
}

Guest& Guest::only() {
  static Guest guest(common_sizes());
  return guest;
}

Guest& Guest::shared() {
  if (!only().alive()) only().boot();
  return only();
}

Guest* Guest::running() { return only().alive() ? &only() : nullptr; }

const std::string& Guest::why_not() {
  static const std::string reason = []() -> std::string {
    if (access("/usr/bin/linux.uml", X_OK) != 0) return "linux.uml is not installed (package user-mode-linux)";
    if (access("/sbin/mdadm", X_OK) != 0) return "mdadm is not installed";
    if (module_folder().empty()) return "no modules of user-mode-linux under /usr/lib/uml/modules";
    if (!shared().alive()) return "user-mode-linux does not boot here: " + shared().boot_log_;
    return "";
  }();
  return reason;
}

Guest::Guest(std::vector<std::uint64_t> slot_bytes)
    : slot_bytes_(std::move(slot_bytes)), folder_(scratch_folder() + "/resilver-guest-XXXXXX") {
  if (mkdtemp(folder_.data()) == nullptr) ADD_FAILURE() << folder_ << ": cannot be made";
  boot();
}

Guest::~Guest() {
  kill();
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string Guest::slot_path(std::size_t slot) const { return folder_ + "/slot" + std::to_string(slot); }
std::string Guest::device(std::size_t slot) { return std::string("/dev/ubd") + static_cast<char>('a' + slot); }

bool Guest::boot() {
  // Slots that hold no image that is still there would be no devices.
  for (std::size_t slot = 0; slot < slot_bytes_.size(); ++slot) {
    const std::string empty = folder_ + "/empty" + std::to_string(slot);
    write_text(empty, "");
    fs::resize_file(empty, slot_bytes_[slot]);
    fs::remove(slot_path(slot));
    fs::create_symlink(empty, slot_path(slot));
  }
  std::vector<std::string> words = {"linux.uml",
                                    "mem=" + std::to_string(kGuestMemory >> 20) + "M",
                                    "root=/dev/root",
                                    "rootfstype=hostfs",
                                    "rootflags=/",
                                    "rw",
                                    "init=" + helper("guest_init"),
                                    "INTEROP_AGENT=" + fs::absolute("tests/interop/guest_agent.sh").string(),
                                    "INTEROP_MODULES=" + module_folder(),
                                    "uml_dir=" + folder_,
                                    "con=null",
                                    "con0=fd:0,fd:1",
                                    "quiet"};
  for (std::size_t slot = 0; slot < slot_bytes_.size(); ++slot) {
    words.push_back("ubd" + std::to_string(slot) + "=" + slot_path(slot));
  }
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string shim = helper("uml_shim.so");
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // kill() waits for all of UML's processes, not only for the first
  int to[2];
  int from[2];
  if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) return false;
  pid_ = fork();
  if (pid_ == 0) {
    stay_on_one_cpu();
    setsid();  // a group of its own: UML is many processes, which are ended together
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(to[0], 0);
    dup2(from[1], 1);
    dup2(from[1], 2);
    setenv("LD_PRELOAD", shim.c_str(), 1);
    setenv("TMPDIR", folder_.c_str(), 1);
    execv("/usr/bin/linux.uml", argv.data());
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  in_ = to[1];
  out_ = from[0];
  console_.clear();
  if (pid_ > 0 && read_until("@@ready", 60)) return true;
  boot_log_ = console_.size() > 400 ? console_.substr(console_.size() - 400) : console_;
  kill();
  return false;
}

std::string Guest::kill() {
  if (pid_ <= 0) return {};
  ::kill(-pid_, SIGKILL);
  while (waitpid(-pid_, nullptr, 0) >= 0 || errno == EINTR) {
  }
  pid_ = -1;
  close(in_);
  // What it had said and we had not read yet.
  read_until("@@end", 1);
  close(out_);
  return console_;
}

void Guest::plug(std::size_t slot, const std::string& image) {
  std::error_code wrong;
  EXPECT_EQ(fs::file_size(image, wrong), slot_bytes_[slot]) << image << ": not of the size of " << device(slot);
  const std::string path = slot_path(slot);
  fs::remove(path);
  fs::create_symlink(fs::absolute(image), path);
}

std::vector<std::string> Guest::plug_all(const std::vector<std::string>& images) {
  std::vector<std::string> devices;
  for (const auto& image : images) {
    plug(devices.size(), image);
    devices.push_back(device(devices.size()));
  }
  return devices;
}

bool Guest::read_until(const std::string& mark, int seconds, const std::string& unless) {
  using Clock = std::chrono::steady_clock;
  const std::chrono::seconds silence(seconds);
  const auto last_end = Clock::now() + kPatience * silence;
  for (;;) {
    if (console_.find(mark) != std::string::npos) return true;
    if (!unless.empty() && console_.find(unless) != std::string::npos) return false;
    const auto end = std::min(last_end, Clock::now() + silence);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    pollfd ready{out_, POLLIN, 0};
    if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) < 1) return false;
    char piece[4096];
    const ssize_t got = read(out_, piece, sizeof piece);
    if (got <= 0) return false;
    console_.append(piece, static_cast<std::size_t>(got));
  }
}

void Guest::send(const std::string& script) {
  const std::string path = folder_ + "/script" + std::to_string(scripts_++);
  write_text(path, script);
  console_.clear();
  const std::string line = path + "\n";
  if (write(in_, line.data(), line.size()) < 0) console_ = "the guest is gone";
}

Reply Guest::run(const std::string& script, int seconds) {
  if (!alive()) return {-1, "no guest"};
  send(script);
  if (!read_until("@@end", seconds)) {
    const Reply reply{
        -1, console_ + "\n(no end after " + std::to_string(seconds) + " s without a word, or the guest died)"};
    kill();
    return reply;
  }
  const std::size_t at = console_.find("@@status ");
  return {std::atoi(console_.c_str() + at + 9), console_.substr(0, at)};
}

bool Guest::start(const std::string& script, const std::string& until, int seconds) {
  if (!alive()) return false;
  send(script);
  return read_until(until, seconds, "@@end");
}

}  // namespace resilver::test
