// What replication is measured against, in plain system calls and without anything that makes it safe:
//
// reference_replication write KIB DEPTH MS PLACE A B C
//     client -> primary -> two secondaries, a process each, over blocking TCP sockets: a durable write on all three images,
//     then the answer. The client has DEPTH requests under way, the primary one. PLACE: as in replication
// reference_replication disk KIB DEPTH MS A...
//     a process for each image, DEPTH sequential durable writes under way in each
// reference_replication tcp KIB MS
//     one TCP stream between two processes
// reference_replication copy KIB MIB A B S
//     MIB read from image A, over TCP, written durably to B: S streams of two processes each
//
// Prints a line as measure.h does; bytes are those of one copy. CPU time is that of all processes.
#include <arpa/inet.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "measure.h"

namespace {

using resilver::bench::die;
using resilver::bench::Meter;
using resilver::bench::place;
using resilver::bench::Placement;
using resilver::bench::wall_seconds;

constexpr std::size_t kPage = 4096;

// A request as it travels, and as O_DIRECT wants its data: the header lies right before an aligned page.
struct Header {
  std::uint64_t offset;
  std::uint64_t length;  // 0: the end
};
class Packet {
 public:
  explicit Packet(std::size_t data)
      : memory_(static_cast<char*>(std::aligned_alloc(kPage, kPage + data))), size_(data) {
    std::memset(memory_, 0x5a, kPage + data);
  }
  Header& header() { return *reinterpret_cast<Header*>(memory_ + kPage - sizeof(Header)); }
  char* data() { return memory_ + kPage; }
  char* wire() { return memory_ + kPage - sizeof(Header); }
  std::size_t wire_bytes() const { return sizeof(Header) + size_; }

 private:
  char* memory_;
  std::size_t size_;
};

void send_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
    if (n <= 0) die("cannot send");
    data += n;
    size -= static_cast<std::size_t>(n);
  }
}
// False: the other end has closed.
bool receive_all(int fd, char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = recv(fd, data, size, MSG_WAITALL);
    if (n < 0) die("cannot receive");
    if (n == 0) return false;
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

int open_image(const char* path) {
  const int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
  if (fd < 0) die("cannot open", path);
  return fd;
}
std::uint64_t size_of(int fd) {
  struct stat info{};
  fstat(fd, &info);
  return static_cast<std::uint64_t>(info.st_size);
}
void write_durably(int fd, const char* data, std::size_t size, std::uint64_t offset) {
  const iovec piece{const_cast<char*>(data), size};
  if (pwritev2(fd, &piece, 1, static_cast<off_t>(offset), RWF_DSYNC) != static_cast<ssize_t>(size))
    die("a write failed or was short");
}

// A connected pair of TCP sockets over the loopback.
struct Link {
  int near = -1, far = -1;
};
Link make_link() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, generic, sizeof address) != 0 || listen(listener, 1) != 0) die("cannot listen");
  getsockname(listener, generic, &length);
  Link link{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -1};
  if (connect(link.near, generic, sizeof address) != 0) die("cannot connect");
  link.far = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (link.far < 0) die("cannot accept");
  close(listener);
  const int on = 1;
  for (const int fd : {link.near, link.far}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return link;
}

template <typename F>
void spawn(F work) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) die("cannot fork");
  if (child != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  work();
  _exit(0);
}
void wait_for_all() {
  for (int status; wait(&status) > 0;)
    if (status != 0) die("a process failed");
}

// ---- one write at a time, on three nodes -----------------------------------------------------------------------------

void secondary(int from, int image, std::size_t bytes) {
  Packet packet(bytes);
  const char ack = 1;
  while (receive_all(from, packet.wire(), packet.wire_bytes())) {
    write_durably(image, packet.data(), bytes, packet.header().offset);
    send_all(from, &ack, 1);
  }
}

void primary(int from, int image, const std::vector<int>& secondaries, std::size_t bytes) {
  Packet packet(bytes);
  char ack = 1;
  while (receive_all(from, packet.wire(), packet.wire_bytes())) {
    for (const int to : secondaries) send_all(to, packet.wire(), packet.wire_bytes());
    write_durably(image, packet.data(), bytes, packet.header().offset);
    for (const int to : secondaries)
      if (!receive_all(to, &ack, 1)) die("a secondary has ended");
    send_all(from, &ack, 1);
  }
}

// Depth 1: at random, else in order.
void write_on_three(std::size_t bytes, std::uint64_t depth, int ms, Placement placement, char** images) {
  int fds[3];
  for (int i = 0; i < 3; ++i) fds[i] = open_image(images[i]);
  const std::uint64_t blocks = size_of(fds[0]) / bytes;
  const Link client = make_link(), first = make_link(), second = make_link();
  const auto close_but = [&](std::initializer_list<int> mine) {
    for (const int fd : {client.near, client.far, first.near, first.far, second.near, second.far})
      if (std::find(mine.begin(), mine.end(), fd) == mine.end()) close(fd);
  };
  spawn([&] {
    place(placement, false);
    close_but({client.far, first.near, second.near});
    primary(client.far, fds[0], {first.near, second.near}, bytes);
  });
  spawn([&] {
    place(placement, true);
    close_but({first.far});
    secondary(first.far, fds[1], bytes);
  });
  spawn([&] {
    place(placement, true);
    close_but({second.far});
    secondary(second.far, fds[2], bytes);
  });
  place(placement, false);
  close_but({client.near});

  Packet packet(bytes);
  std::uint64_t asked = 0, ops = 0, random = 1;
  char ack = 0;
  Meter meter;
  meter.start();
  for (const double end = wall_seconds() + ms * 1e-3;; ++ops) {
    for (; asked - ops < depth && wall_seconds() < end; ++asked) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      packet.header() = {(depth == 1 ? random >> 32 : asked) % blocks * bytes, bytes};
      send_all(client.near, packet.wire(), packet.wire_bytes());
    }
    if (asked == ops) break;
    if (!receive_all(client.near, &ack, 1)) die("the primary has ended");
  }
  close(client.near);
  wait_for_all();
  meter.stop();
  meter.print(ops, ops * bytes);
}

// ---- streams to disks ------------------------------------------------------------------------------------------------

// Rounds of the whole image, DEPTH writes under way, until the time is over; tells how many it made.
void stream(const char* path, std::size_t bytes, unsigned depth, int ms, int result) {
  const int fd = open_image(path);
  const std::uint64_t blocks = size_of(fd) / bytes;
  Packet packet(bytes);
  io_uring ring;
  if (io_uring_queue_init(depth, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) != 0)
    die("no io_uring here");
  std::uint64_t started = 0, ended = 0;
  const double end = wall_seconds() + ms * 1e-3;
  for (;;) {
    while (started - ended < depth && wall_seconds() < end) {
      io_uring_sqe* sqe = io_uring_get_sqe(&ring);
      io_uring_prep_write(sqe, fd, packet.data(), static_cast<unsigned>(bytes), started++ % blocks * bytes);
      sqe->rw_flags = RWF_DSYNC;
    }
    if (ended == started) break;
    io_uring_submit_and_wait(&ring, 1);
    io_uring_cqe* cqe;
    for (; io_uring_peek_cqe(&ring, &cqe) == 0; ++ended) {
      if (cqe->res != static_cast<int>(bytes)) die("a write failed or was short");
      io_uring_cqe_seen(&ring, cqe);
    }
  }
  if (write(result, &ended, sizeof ended) != sizeof ended) die("cannot tell the result");
}

void streams_to_disks(std::size_t bytes, unsigned depth, int ms, char** begin, char** end) {
  int result[2];
  if (pipe2(result, O_CLOEXEC) != 0) die("no pipe");
  Meter meter;
  meter.start();
  for (char** path = begin; path != end; ++path) spawn([&] { stream(*path, bytes, depth, ms, result[1]); });
  wait_for_all();
  meter.stop();
  std::uint64_t least = ~std::uint64_t{0}, ops = 0;
  for (char** path = begin; path != end; ++path) {
    if (read(result[0], &ops, sizeof ops) != sizeof ops) die("a result is missing");
    least = std::min(least, ops);
  }
  meter.print(least, least * bytes);  // the slowest decides when copies are waited for
}

// ---- a TCP stream, and a copy ----------------------------------------------------------------------------------------

void stream_over_tcp(std::size_t bytes, int ms) {
  const Link link = make_link();
  spawn([&] {
    close(link.near);
    Packet packet(bytes);
    while (receive_all(link.far, packet.data(), bytes)) continue;
  });
  close(link.far);
  Packet packet(bytes);
  std::uint64_t ops = 0;
  Meter meter;
  meter.start();
  for (const double end = wall_seconds() + ms * 1e-3; wall_seconds() < end; ++ops)
    send_all(link.near, packet.data(), bytes);
  close(link.near);
  wait_for_all();
  meter.stop();
  meter.print(ops, ops * bytes);
}

// Stream `number` of `count` copies its part: a reader and a writer, so that both disks and the link work at a time.
void copy_part(const char* from, const char* to, std::size_t bytes, std::uint64_t first, std::uint64_t end) {
  const Link link = make_link();
  spawn([=] {
    close(link.near);
    const int image = open_image(to);
    Packet packet(bytes);
    for (std::uint64_t i = first; i < end; ++i) {
      if (!receive_all(link.far, packet.data(), bytes)) die("the reader has ended");
      write_durably(image, packet.data(), bytes, i * bytes);
    }
  });
  spawn([=] {
    close(link.far);
    const int image = open_image(from);
    Packet packet(bytes);
    for (std::uint64_t i = first; i < end; ++i) {
      if (pread(image, packet.data(), bytes, static_cast<off_t>(i * bytes)) != static_cast<ssize_t>(bytes))
        die("a read failed or was short");
      send_all(link.near, packet.data(), bytes);
    }
  });
  close(link.near);
  close(link.far);
}

void copy(std::size_t bytes, std::uint64_t mib, const char* from, const char* to, std::uint64_t streams) {
  const std::uint64_t count = (mib << 20) / bytes;
  Meter meter;
  meter.start();
  for (std::uint64_t s = 0; s < streams; ++s)
    copy_part(from, to, bytes, count * s / streams, count * (s + 1) / streams);
  wait_for_all();
  meter.stop();
  meter.print(count, count * bytes);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const std::size_t bytes = argc > 2 ? std::strtoull(argv[2], nullptr, 10) * 1024 : 0;
  if (mode == "write" && argc == 9) {
    write_on_three(bytes, std::strtoull(argv[3], nullptr, 10), std::atoi(argv[4]),
                   resilver::bench::placement_of(argv[5]), argv + 6);
  } else if (mode == "disk" && argc > 5) {
    streams_to_disks(bytes, static_cast<unsigned>(std::atoi(argv[3])), std::atoi(argv[4]), argv + 5, argv + argc);
  } else if (mode == "tcp" && argc == 4) {
    stream_over_tcp(bytes, std::atoi(argv[3]));
  } else if (mode == "copy" && argc == 7) {
    copy(bytes, std::strtoull(argv[3], nullptr, 10), argv[4], argv[5], std::strtoull(argv[6], nullptr, 10));
  } else {
    die("usage: reference_replication write KIB DEPTH MS PLACE A B C | disk KIB DEPTH MS IMAGE... | tcp KIB MS | copy "
        "KIB "
        "MIB A B "
        "STREAMS");
  }
}
