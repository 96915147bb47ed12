#include "tools/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

namespace resilver::tools {
namespace {

// Errors are kept here, and the stream is told that all is well: fmt::print() throws at a stream that fails, and what ends a
// command is never what it prints.
struct Sink {
  int fd;
  int failed = 0;  // errno
};
Sink output{STDOUT_FILENO}, errors{STDERR_FILENO};

ssize_t write_all(void* cookie, const char* bytes, std::size_t size) {
  Sink& sink = *static_cast<Sink*>(cookie);
  std::size_t done = 0;
  while (sink.failed == 0 && done < size) {
    const ssize_t written = write(sink.fd, bytes + done, size - done);
    if (written >= 0) done += static_cast<std::size_t>(written);
    if (written < 0 && errno != EINTR) sink.failed = errno;
  }
  return static_cast<ssize_t>(size);
}

std::FILE* stream_on(Sink& sink) {
  cookie_io_functions_t calls{};
  calls.write = write_all;
  std::FILE* stream = fopencookie(&sink, "w", calls);
  if (stream == nullptr) std::abort();  // out of memory at the very start
  return stream;
}

// What cannot be had ends the process as a crash would: arrays and volumes survive that.
[[noreturn]] void out_of_memory() {
  constexpr std::string_view kLine = "resilver: out of memory (ulimit -v limits it)\n";
  [[maybe_unused]] const ssize_t told = write(STDERR_FILENO, kLine.data(), kLine.size());
  _exit(1);
}

}  // namespace

void prepare_standard_streams() {
  std::set_new_handler(out_of_memory);
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd) std::abort();
  }
  std::signal(SIGPIPE, SIG_IGN);
  stdout = stream_on(output);
  stderr = stream_on(errors);
  std::setvbuf(stdout, nullptr, isatty(STDOUT_FILENO) == 1 ? _IOLBF : _IOFBF, BUFSIZ);
  std::setvbuf(stderr, nullptr, _IOLBF, BUFSIZ);
}

int code_after_output(int code) {
  std::fflush(stdout);
  if (output.failed == 0 || output.failed == EPIPE) return code;
  fmt::print(stderr, "resilver: standard output: {}\n", std::strerror(output.failed));
  return code == 0 ? 1 : code;
}

}  // namespace resilver::tools
