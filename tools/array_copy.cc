// `resilver import` and `export`: a file into an array and back, any offset and length, many requests at a time.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/units.h"
#include "tools/array_command.h"
#include "tools/array_main.h"
#include "tools/array_progress.h"
#include "tools/array_session.h"

namespace resilver::tools {
namespace {

constexpr std::uint64_t kWorkers = 8;
constexpr std::uint64_t kMaxPiece = 4 * kMiB;
constexpr std::uint64_t kUnknown = ~std::uint64_t{0};  // length: until the input ends
constexpr Nanos kDrawEvery = 200 * kMillisecond;

struct Copy {
  Place place;
  StartOptions start;
  std::string file;  // "-": standard input or output
  std::uint64_t offset = 0;
  std::uint64_t length = kUnknown;
};

struct Descriptor {
  Descriptor() = default;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd > STDERR_FILENO) close(fd);
  }
  int fd = -1;
};

Error file_error(const std::string& file) {
  return {Errc::io, fmt::format("{}: {}", file == "-" ? "standard input or output" : file, std::strerror(errno))};
}

// One request over several buffers: a whole stripe may be larger than one.
struct PieceIo : IoRequest {
  PieceIo(BlockDevice& to, IoOp operation, std::uint64_t at, std::uint64_t bytes,
          std::span<const Buffer> buffers) noexcept
      : IoRequest(&resume), device(to) {
    op = operation;
    offset = at;
    length = bytes;
    segments = buffers;
  }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept {
    waiting = handle;
    device.submit(*this);
  }
  Errc await_resume() const noexcept { return status; }
  static void resume(Runnable& self) noexcept { static_cast<PieceIo&>(self).waiting.resume(); }

  BlockDevice& device;
  std::coroutine_handle<> waiting;
};

// Part of the array in whole blocks, and the memory for it.
struct Piece {
  std::uint64_t begin = 0;  // of the blocks
  std::uint64_t end = 0;
  std::uint64_t from = 0;  // of the bytes that count: begin <= from < to <= end
  std::uint64_t to = 0;
  std::vector<Buffer> buffers;

  std::span<std::byte> bytes_at(std::uint64_t at) const {  // to the end of its buffer
    const std::uint64_t skip = at - begin;
    const Buffer& buffer = buffers[skip / BufferPool::kMaxBlock];
    return buffer.bytes().subspan(skip % BufferPool::kMaxBlock);
  }
};

bool all_zero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

class Copier {
 public:
  Copier(ArraySession& session, const Copy& copy, int fd)
      : session_(session), copy_(copy), fd_(fd), turn_(session.env().scheduler()), reading_(session.env().scheduler()) {
    const std::uint64_t stripe = session.array().geometry().stripe_data_bytes();
    piece_bytes_ =
        stripe <= kMaxPiece ? std::max<std::uint64_t>(kMaxPiece / 4 / stripe, 1) * stripe : BufferPool::kMaxBlock;
    next_ = copy.offset;
    end_ = copy.length == kUnknown ? kUnknown : copy.offset + copy.length;
    struct stat status;
    seekable_ = fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
    regular_ = S_ISREG(status.st_mode);
  }

  // Copies everything in this direction. Errors: of the file, of the array, cancelled.
  Task<Status> run(bool import) {
    TaskGroup group(session_.env().scheduler());
    for (std::uint64_t i = 0; i < kWorkers; ++i) group.spawn(worker(import));
    ProgressLine line(session_.place().label, import ? "import" : "export");
    const Rate rate(session_.env().scheduler().now());
    while (group.running() > 0) {
      co_await turn_.wait_until(session_.env().scheduler().now() + kDrawEvery);
      const std::uint64_t total = end_ == kUnknown ? 0 : end_ - copy_.offset;
      line.show(done_, total, rate.of(done_, session_.env().scheduler().now()));
    }
    co_await group.join();
    if (outcome_ && session_.interrupted()) {
      outcome_ = fail(Errc::cancelled, fmt::format("interrupted after {} bytes", done_));
    }
    co_return outcome_;
  }
  std::uint64_t done() const noexcept { return done_; }

 private:
  Task<void> worker(bool import) {
    while (outcome_ && !session_.interrupted()) {
      Piece piece;
      const Status done = import ? co_await import_piece(piece) : co_await export_piece(piece);
      if (piece.to == piece.from) break;
      if (done) done_ += piece.to - piece.from;
      if (outcome_ && !done) outcome_ = done;
    }
    turn_.wake_all();
  }

  // The next piece in order; empty at the end.
  Piece take() {
    Piece piece;
    piece.from = piece.to = next_;
    if (next_ >= end_) return piece;
    piece.to = std::min(end_, (next_ / piece_bytes_ + 1) * piece_bytes_);
    piece.to = std::min(piece.to, session_.array().size_bytes());
    piece.begin = piece.from / kBlockBytes * kBlockBytes;
    next_ = piece.to;
    cover(piece);
    return piece;
  }
  static void cover(Piece& piece) { piece.end = (piece.to + kBlockBytes - 1) / kBlockBytes * kBlockBytes; }

  Task<Status> give_memory(Piece& piece) {
    for (std::uint64_t at = piece.begin; at < piece.end; at += BufferPool::kMaxBlock) {
      Buffer buffer = session_.env().buffers().allocate(std::min<std::uint64_t>(piece.end - at, BufferPool::kMaxBlock));
      if (!buffer) co_return fail(Errc::limit, "no buffer");
      piece.buffers.push_back(std::move(buffer));
    }
    co_return Status{};
  }

  Task<Status> transfer(const Piece& piece, IoOp op) {
    const Errc status = co_await PieceIo(session_.array(), op, piece.begin, piece.end - piece.begin,
                                         std::span<const Buffer>(piece.buffers));
    if (status == Errc::ok) co_return Status{};
    co_return fail(status, fmt::format("{} of {} bytes at byte {} of the array: {}", io_op_name(op),
                                       piece.end - piece.begin, piece.begin, errc_name(status)));
  }

  // ---- import ----
  Task<Status> import_piece(Piece& piece) {
    if (Status got = co_await read_piece(piece); !got || piece.from == piece.to) co_return got;
    cover(piece);
    trim(piece);
    const bool edges = piece.from != piece.begin || piece.to != piece.end;
    if (edges || is_zero(piece)) co_return co_await merge_piece(piece);
    co_return co_await transfer(piece, IoOp::write);
  }

  // A shorter end needs less memory: the buffers must match the length.
  static void trim(Piece& piece) {
    const std::uint64_t bytes = piece.end - piece.begin;
    const std::size_t count = (bytes + BufferPool::kMaxBlock - 1) / BufferPool::kMaxBlock;
    piece.buffers.resize(count);
    const std::uint64_t last = bytes - (count - 1) * BufferPool::kMaxBlock;
    if (last != piece.buffers.back().size()) piece.buffers.back() = piece.buffers.back().slice(0, last);
  }

  static bool is_zero(const Piece& piece) {
    return std::ranges::all_of(piece.buffers, [](const Buffer& buffer) { return all_zero(buffer.bytes()); });
  }

  // Reads what is there first: for the blocks that the piece covers in part, and because zeroes over zeroes need no write
  // (sparse images stay sparse).
  Task<Status> merge_piece(const Piece& piece) {
    Piece there;
    there.begin = piece.begin;
    there.end = piece.end;
    if (Status memory = co_await give_memory(there); !memory) co_return memory;
    if (Status got = co_await transfer(there, IoOp::read); !got) co_return got;
    bool same = true;
    for (std::uint64_t at = piece.from; at < piece.to;) {
      const auto to = there.bytes_at(at);
      const auto from = piece.bytes_at(at);
      const std::size_t count = std::min<std::uint64_t>({to.size(), from.size(), piece.to - at});
      same = same && std::memcmp(to.data(), from.data(), count) == 0;
      std::memcpy(to.data(), from.data(), count);
      at += count;
    }
    if (same) co_return Status{};
    co_return co_await transfer(there, IoOp::write);
  }

  // The next piece of the file; one that ends sooner makes it shorter. One at a time: a pipe is read in order.
  Task<Status> read_piece(Piece& piece) {
    co_await reading_.acquire();
    SemaphoreGuard turn(reading_);
    piece = take();
    if (Status memory = co_await give_memory(piece); !memory) co_return memory;
    std::uint64_t at = piece.from;
    while (at < piece.to) {
      if (!seekable_) {  // must not wait inside read(): a signal is to end us
        co_await session_.env().ring().wait_fd(fd_, POLLIN, session_.env().scheduler().now() + kDrawEvery);
        pollfd ready{fd_, POLLIN, 0};
        if (session_.interrupted()) co_return fail(Errc::cancelled, fmt::format("interrupted after {} bytes", done_));
        if (poll(&ready, 1, 0) == 0) continue;
      }
      const auto room = piece.bytes_at(at);
      const std::size_t want = std::min<std::uint64_t>(room.size(), piece.to - at);
      const auto place = static_cast<off_t>(at - copy_.offset);
      const ssize_t got = seekable_ ? pread(fd_, room.data(), want, place) : read(fd_, room.data(), want);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) co_return std::unexpected(file_error(copy_.file));
      if (got == 0) {
        end_ = std::min(end_, at);
        piece.to = at;
        break;
      }
      at += static_cast<std::uint64_t>(got);
    }
    co_return Status{};
  }

  // ---- export ----
  Task<Status> export_piece(Piece& piece) {
    piece = take();
    if (piece.from == piece.to) co_return Status{};
    if (Status memory = co_await give_memory(piece); !memory) co_return memory;
    if (Status got = co_await transfer(piece, IoOp::read); !got) co_return got;
    while (!seekable_ && written_ != piece.from - copy_.offset) {
      if (!outcome_ || session_.interrupted()) co_return Status{};
      co_await turn_.wait();
    }
    const Status put = write_file(piece);
    written_ = piece.to - copy_.offset;
    turn_.wake_all();
    co_return put;
  }

  Status write_file(const Piece& piece) {
    for (std::uint64_t at = piece.from; at < piece.to;) {
      // Block by block where zeroes can be left out, and as much at once as is data.
      const auto there = piece.bytes_at(at);
      const std::size_t most = std::min<std::uint64_t>(there.size(), piece.to - at);
      std::size_t count = regular_ ? std::min<std::size_t>(kBlockBytes, most) : most;
      const bool hole = regular_ && all_zero(there.first(count));
      while (regular_ && count < most) {
        const std::size_t more = std::min<std::size_t>(kBlockBytes, most - count);
        if (all_zero(there.subspan(count, more)) != hole) break;
        count += more;
      }
      if (!hole) {
        if (Status put = write_all(there.first(count), at - copy_.offset); !put) return put;
      }
      at += count;
    }
    return {};
  }

  Status write_all(std::span<const std::byte> bytes, std::uint64_t place) {
    while (!bytes.empty()) {
      const ssize_t put = seekable_ ? pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(place))
                                    : write(fd_, bytes.data(), bytes.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return std::unexpected(file_error(copy_.file));
      bytes = bytes.subspan(static_cast<std::size_t>(put));
      place += static_cast<std::uint64_t>(put);
    }
    return {};
  }

  ArraySession& session_;
  const Copy& copy_;
  int fd_;
  bool seekable_ = false;
  bool regular_ = false;
  std::uint64_t piece_bytes_ = kMaxPiece;
  std::uint64_t next_ = 0;  // first byte of the array that no worker has taken
  std::uint64_t end_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t written_ = 0;  // pipes: so far
  Status outcome_;
  Event turn_;
  Mutex reading_;
};

// ---- import ----

bool is_one_of(const std::vector<Disk>& disks, int fd) {
  struct stat file, image;
  if (fstat(fd, &file) != 0) return false;
  return std::ranges::any_of(disks, [&](const Disk& disk) {
    return stat(disk.path.c_str(), &image) == 0 && image.st_dev == file.st_dev && image.st_ino == file.st_ino;
  });
}

// Refused before anything is written where the size is known; else when the pipe has more than fits.
Status check_fits(const ArraySession& session, const raid::Array& array, Copy& copy, int fd) {
  if (copy.offset > array.size_bytes()) {
    return fail(Errc::bad_input, fmt::format("--offset: {} is behind the end of {} ({} bytes)", copy.offset,
                                             session.place().label, array.size_bytes()));
  }
  struct stat status;
  const bool known = fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
  const off_t size = known ? lseek(fd, 0, SEEK_END) : -1;
  if (size >= 0) copy.length = std::min(copy.length, static_cast<std::uint64_t>(size));
  const std::uint64_t room = array.size_bytes() - copy.offset;
  if (copy.length != kUnknown && copy.length > room) {
    return fail(Errc::no_space, fmt::format("{}: {} bytes do not fit into the {} bytes of {} from byte {} on",
                                            copy.file, copy.length, room, session.place().label, copy.offset));
  }
  return {};
}

Status check_pipe_ended(const Copy& copy, const raid::Array& array, const Copier& copier, int fd) {
  std::byte more;
  if (copy.length != kUnknown || copier.done() < array.size_bytes() - copy.offset || read(fd, &more, 1) <= 0) return {};
  return fail(Errc::no_space,
              fmt::format("{}: more than the {} bytes that fit; the rest is left", copy.file, copier.done()));
}

Task<Status> import_file(ArraySession& session, Copy copy) {
  Descriptor file;
  file.fd = copy.file == "-" ? STDIN_FILENO : open(copy.file.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd < 0) co_return std::unexpected(file_error(copy.file));
  if (Status opened = co_await session.open(copy.place, uring::Access::read_write); !opened) co_return opened;
  if (is_one_of(session.disks(), file.fd)) co_return fail(Errc::bad_input, copy.file + ": is an image of this array");
  StartOptions start = copy.start;
  start.check = [&](const raid::Array& array) { return check_fits(session, array, copy, file.fd); };
  if (Status started = co_await session.start(std::move(start)); !started) co_return started;
  Copier copier(session, copy, file.fd);
  if (Status done = co_await copier.run(true); !done) co_return done;
  if (Status ended = check_pipe_ended(copy, session.array(), copier, file.fd); !ended) co_return ended;
  if (const Errc flushed = co_await Io::flush(session.array()); flushed != Errc::ok) {
    co_return fail(flushed, fmt::format("flush: {}", errc_name(flushed)));
  }
  if (Status stopped = co_await session.stop(); !stopped) co_return stopped;
  fmt::print("{} bytes into {} at byte {}: {}\n", copier.done(), session.place().label, copy.offset,
             state_text(session.array()));
  co_return Status{};
}

// ---- export ----

Status open_target(const Copy& copy, const ArraySession& session, const std::vector<Disk>& disks, Descriptor& file) {
  file.fd = copy.file == "-" ? STDOUT_FILENO : open(copy.file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (file.fd < 0) return std::unexpected(file_error(copy.file));
  if (is_one_of(disks, file.fd)) {
    return fail(Errc::bad_input, fmt::format("{}: is an image of {}", copy.file, session.place().label));
  }
  struct stat status;
  const bool regular = fstat(file.fd, &status) == 0 && S_ISREG(status.st_mode) && copy.file != "-";
  // Its size from the start: what is zero is then left out, a hole.
  if (regular && (ftruncate(file.fd, 0) != 0 || ftruncate(file.fd, static_cast<off_t>(copy.length)) != 0)) {
    return std::unexpected(file_error(copy.file));
  }
  return {};
}

Task<Status> export_file(ArraySession& session, Copy copy) {
  if (Status opened = co_await session.open(copy.place, uring::Access::read_only); !opened) co_return opened;
  if (Status started = co_await session.start(copy.start); !started) co_return started;
  const std::uint64_t size = session.array().size_bytes();
  if (copy.offset > size || (copy.length != kUnknown && copy.length > size - copy.offset)) {
    co_return fail(Errc::bad_input,
                   fmt::format("--offset, --length: {} has only {} bytes", session.place().label, size));
  }
  if (copy.length == kUnknown) copy.length = size - copy.offset;
  Descriptor file;
  if (Status target = open_target(copy, session, session.disks(), file); !target) co_return target;
  Copier copier(session, copy, file.fd);
  if (Status done = co_await copier.run(false); !done) co_return done;
  if (copy.file != "-") {
    fmt::print("{} bytes from {} at byte {} into {}\n", copier.done(), session.place().label, copy.offset, copy.file);
  }
  co_return Status{};
}

constexpr OptionSpec kForce = {
    "force", nullptr, "leave out images that cannot be used; start a dirty and degraded array (blocks may be wrong)"};
constexpr OptionSpec kImportOptions[] = {{"offset", "SIZE", "first byte of the array, default 0"},
                                         {"length", "SIZE", "at most so many bytes, default to the end of FILE"},
                                         kForce};
constexpr CommandSpec kImport = {
    "import",
    "Usage: resilver import DIR|IMAGE... FILE [OPTIONS]\n\n"
    "Writes a file (-: standard input) into the array. Zeroes over zeroes are not written.",
    kImportOptions,
    "Examples:\n"
    "  resilver import vm debian.raw\n"
    "  tar c /etc | resilver import vm - --offset 1G\n\n"
    "Exit: 0 done, 1 refused (nothing was written) or failed, 2 bad usage, 130 interrupted.\n"};

constexpr OptionSpec kExportOptions[] = {{"offset", "SIZE", "first byte of the array, default 0"},
                                         {"length", "SIZE", "so many bytes, default to the end of the array"},
                                         kForce};
constexpr CommandSpec kExport = {
    "export",
    "Usage: resilver export DIR|IMAGE... FILE [OPTIONS]\n\n"
    "Reads the array into a file (-: standard output), with holes where it is zero. Lost members are\n"
    "computed from the others. Nothing is written to any image.",
    kExportOptions,
    "Examples:\n"
    "  resilver export vm copy.raw\n"
    "  resilver export vm/disk0.img vm/disk2.img - --offset 1G --length 10M | tar t\n\n"
    "Exit: 0 done, 1 refused or failed, 2 bad usage, 130 interrupted.\n"};

std::optional<Copy> read_copy(const CommandLine& line, int& code) {
  Copy copy;
  if (line.words.size() < 2) {
    code = refuse_usage(line.command, "expected a folder or images, then a file");
    return std::nullopt;
  }
  const auto offset = line.size_of("offset", 0);
  const auto length = line.size_of("length", kUnknown);
  if (!offset || !length) {
    code = refuse_usage(line.command, (offset ? length : offset).error().what);
    return std::nullopt;
  }
  const auto place = find_place({line.words.begin(), line.words.end() - 1});
  if (!place) {
    code = refuse(line.command, place.error());
    return std::nullopt;
  }
  copy.place = *place;
  copy.file = line.words.back();
  copy.offset = *offset;
  copy.length = *length;
  copy.start.force = line.has("force");
  copy.start.leave_out = copy.start.force;
  copy.start.tuning.hold_recovery = true;
  return copy;
}

}  // namespace

int import_main(int argc, char** argv) {
  int code = kDone;
  const auto line = read_command_line(argc, argv, kImport, code);
  if (!line) return code;
  const auto copy = read_copy(*line, code);
  if (!copy) return code;
  return run_session("import", [&copy](ArraySession& session) { return import_file(session, *copy); });
}

int export_main(int argc, char** argv) {
  int code = kDone;
  const auto line = read_command_line(argc, argv, kExport, code);
  if (!line) return code;
  auto copy = read_copy(*line, code);
  if (!copy) return code;
  copy->start.read_only = true;
  return run_session("export", [&copy](ArraySession& session) { return export_file(session, *copy); });
}

}  // namespace resilver::tools
