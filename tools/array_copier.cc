#include "tools/array_copier.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/array_progress.h"

namespace resilver::tools {
namespace {

constexpr std::uint64_t kMaxWorkers = 8;
constexpr std::uint64_t kMemory = 8 * kMiB;  // of all pieces under way; twice that where they are merged
constexpr Nanos kDrawEvery = 200 * kMillisecond;
constexpr Nanos kNoteEvery = 5 * kSecond;
constexpr int kNoteShare = 20;  // saving the map takes at most so little of the time
constexpr std::uint64_t kRescuePart = 64 * kKiB;

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

// Errors of a read after which others may still succeed.
bool is_loss(Errc code) noexcept {
  return code == Errc::medium || code == Errc::unavailable || code == Errc::device_gone || code == Errc::io ||
         code == Errc::timeout || code == Errc::corrupt;
}

bool all_zero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

Error file_error(const std::string& file) {
  return {Errc::io, fmt::format("{}: {}", file == "-" ? "standard input or output" : file, std::strerror(errno))};
}

Copier::Copier(const CopyEnd& end, const FileCopy& copy, int fd)
    : other_(end),
      copy_(copy),
      fd_(fd),
      piece_bytes_(end.piece_bytes),
      turn_(end.env.scheduler()),
      reading_(end.env.scheduler()) {
  next_ = copy.offset;
  end_ = copy.length == kUnknown ? kUnknown : copy.offset + copy.length;
  struct stat status;
  seekable_ = fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
  regular_ = S_ISREG(status.st_mode) && copy.file != "-";  // what comes out there must have its full length
}

void Copier::follow(RescueMap& map, std::function<Status()> note) {
  map_ = &map;
  note_ = std::move(note);
  next_note_ = other_.env.scheduler().now() + kNoteEvery;
}

Task<Status> Copier::run(bool import) {
  exports_ = !import;
  TaskGroup group(other_.env.scheduler());
  const std::uint64_t workers = std::clamp<std::uint64_t>(kMemory / piece_bytes_, 2, kMaxWorkers);
  for (std::uint64_t i = 0; i < workers; ++i) group.spawn(worker(import));
  ProgressLine line(other_.label, import ? "import" : "export");
  const Rate rate(other_.env.scheduler().now());
  while (group.running() > 0) {
    co_await turn_.wait_until(other_.env.scheduler().now() + kDrawEvery);
    const std::uint64_t total = end_ == kUnknown ? 0 : end_ - copy_.offset;
    line.show(done_, total, rate.of(done_, other_.env.scheduler().now()));
    const Nanos now = other_.env.scheduler().now();
    if (now < next_note_) continue;
    if (Status noted = note_(); !noted && outcome_) outcome_ = noted;
    next_note_ = other_.env.scheduler().now() + std::max(kNoteEvery, kNoteShare * (other_.env.scheduler().now() - now));
  }
  co_await group.join();
  if (!unread_.buffers.empty() && !other_.interrupted())
    outcome_ = co_await first_lost(std::move(unread_), unread_error_);
  if (outcome_ && other_.interrupted()) {
    outcome_ = fail(Errc::cancelled, fmt::format("interrupted after {} bytes", done_));
  }
  co_return outcome_;
}

Task<void> Copier::worker(bool import) {
  while (outcome_ && !other_.interrupted()) {
    Piece piece;
    const Status done = import ? co_await import_piece(piece) : co_await export_piece(piece);
    if (piece.to == piece.from) break;
    if (done) done_ += piece.to - piece.from;
    if (outcome_ && !done) outcome_ = done;
  }
  turn_.wake_all();
}

Piece Copier::take() {
  if (map_ == nullptr) skip_hole();  // what a missing member held is no hole
  std::uint64_t end = end_;
  if (map_ != nullptr) {
    const RescueMap::Part open = map_->open_part(next_, end_);
    next_ = open.begin;
    end = open.end;
  }
  if (next_ >= end) return part_of(next_, next_);
  const std::uint64_t to = std::min({end, (next_ / piece_bytes_ + 1) * piece_bytes_, other_.size});
  return part_of(std::exchange(next_, to), to);
}

Piece Copier::part_of(std::uint64_t from, std::uint64_t to) const {
  Piece piece;
  piece.from = from;
  piece.to = to;
  piece.begin = from / kBlockBytes * kBlockBytes;
  cover(piece);
  return piece;
}

// A hole at both ends needs no copy; a file that is exported to is one to begin with.
void Copier::skip_hole() {
  if (!regular_ || next_ >= end_ || end_ == kUnknown) return;
  std::uint64_t data = other_.device.next_data(next_ / kBlockBytes * kBlockBytes);
  if (!exports_) {
    const off_t in_file = lseek(fd_, static_cast<off_t>(next_ - copy_.offset), SEEK_DATA);
    if (in_file < 0 && errno != ENXIO) return;
    if (in_file >= 0) data = std::min(data, static_cast<std::uint64_t>(in_file) + copy_.offset);
  }
  const std::uint64_t to = std::min(std::max(data, next_), end_);
  done_ += to - next_;
  next_ = to;
}

void Copier::cover(Piece& piece) const {
  piece.end = std::min((piece.to + kBlockBytes - 1) / kBlockBytes * kBlockBytes, other_.size);
}

Task<Status> Copier::give_memory(Piece& piece) {
  for (std::uint64_t at = piece.begin; at < piece.end; at += BufferPool::kMaxBlock) {
    Buffer buffer = other_.env.buffers().allocate(std::min<std::uint64_t>(piece.end - at, BufferPool::kMaxBlock));
    if (!buffer) co_return fail(Errc::limit, "no memory for a buffer");
    piece.buffers.push_back(std::move(buffer));
  }
  co_return Status{};
}

Task<Status> Copier::transfer(const Piece& piece, IoOp op) {
  const Errc status =
      co_await PieceIo(other_.device, op, piece.begin, piece.end - piece.begin, std::span<const Buffer>(piece.buffers));
  if (status == Errc::ok) co_return Status{};
  co_return fail(status, fmt::format("{} of {} bytes at byte {} of the {}: {}", io_op_name(op), piece.end - piece.begin,
                                     piece.begin, other_.kind, errc_name(status)));
}

Task<Status> Copier::import_piece(Piece& piece) {
  if (Status got = co_await read_piece(piece); !got || piece.from == piece.to) co_return got;
  cover(piece);
  trim(piece);
  const bool edges = piece.from != piece.begin || piece.to != piece.end;
  if (edges || is_zero(piece)) co_return co_await merge_piece(piece);
  co_return co_await transfer(piece, IoOp::write);
}

void Copier::trim(Piece& piece) {
  const std::uint64_t bytes = piece.end - piece.begin;
  const std::size_t count = (bytes + BufferPool::kMaxBlock - 1) / BufferPool::kMaxBlock;
  piece.buffers.resize(count);
  const std::uint64_t last = bytes - (count - 1) * BufferPool::kMaxBlock;
  if (last != piece.buffers.back().size()) piece.buffers.back() = piece.buffers.back().slice(0, last);
}

bool Copier::is_zero(const Piece& piece) {
  return std::ranges::all_of(piece.buffers, [](const Buffer& buffer) { return all_zero(buffer.bytes()); });
}

Task<Status> Copier::merge_piece(const Piece& piece) {
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

Task<Status> Copier::read_piece(Piece& piece) {
  co_await reading_.acquire();
  SemaphoreGuard turn(reading_);
  piece = take();
  if (Status memory = co_await give_memory(piece); !memory) co_return memory;
  std::uint64_t at = piece.from;
  while (at < piece.to) {
    if (!seekable_) {  // must not wait inside read(): a signal is to end us
      co_await other_.env.ring().wait_fd(fd_, POLLIN, other_.env.scheduler().now() + kDrawEvery);
      pollfd ready{fd_, POLLIN, 0};
      if (other_.interrupted()) co_return fail(Errc::cancelled, fmt::format("interrupted after {} bytes", done_));
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

Task<Status> Copier::export_piece(Piece& piece) {
  piece = take();
  if (piece.from == piece.to) co_return Status{};
  if (map_ != nullptr) co_return co_await rescue_piece(piece);
  if (Status memory = co_await give_memory(piece); !memory) co_return memory;
  if (Status got = co_await transfer(piece, IoOp::read); !got) {
    const bool tells = is_loss(got.error().code) && got.error().code != Errc::unavailable;
    if (!tells) co_return got;
    if (unread_.buffers.empty() || piece.from < unread_.from) {
      unread_ = piece;
      unread_error_ = got.error();
    }
    co_return got;
  }
  while (!seekable_ && written_ != piece.from - copy_.offset) {
    if (!outcome_ || other_.interrupted()) co_return Status{};
    co_await turn_.wait();
  }
  const Status put = write_file(piece);
  written_ = piece.to - copy_.offset;
  turn_.wake_all();
  co_return put;
}

// What of a piece with an error cannot be read, as far as it goes on from the first such block.
Task<Status> Copier::first_lost(Piece piece, Error error) {
  std::uint64_t begin = piece.end;
  std::uint64_t end = piece.end;
  for (std::uint64_t at = piece.begin; at < piece.end && !other_.interrupted(); at += kBlockBytes) {
    Piece block = part_of(at, at + kBlockBytes);
    if (Status memory = co_await give_memory(block); !memory) co_return std::unexpected(std::move(error));
    const bool read = (co_await transfer(block, IoOp::read)).has_value();
    if (read && begin == piece.end) continue;
    if (read) break;
    if (begin == piece.end) begin = at;
    end = at + kBlockBytes;
  }
  if (begin == piece.end) co_return std::unexpected(std::move(error));
  co_return fail(error.code, fmt::format("{}: {} bytes at byte {} of the {} cannot be read: {}", other_.label,
                                         end - begin, begin, other_.kind, errc_name(error.code)));
}

// What is lost costs no more than its own blocks. Each part is read into memory of its own: a late answer of a member that was
// given up on may still come into what was used before.
Task<Status> Copier::rescue_piece(Piece piece) {
  const std::uint64_t bytes = piece.to - piece.from;
  if (Status memory = co_await give_memory(piece); !memory) co_return memory;
  const Status got = co_await transfer(piece, IoOp::read);
  if (got) {
    if (Status put = write_file(piece); !put) co_return put;
    co_return map_->set(piece.from, piece.to, RescueMap::kCopied);
  }
  if (!is_loss(got.error().code)) co_return got;
  if (bytes > kRescuePart) co_return co_await rescue_parts(piece, kRescuePart);
  if (piece.end - piece.begin > kBlockBytes) co_return co_await rescue_parts(piece, kBlockBytes);
  co_return map_->set(piece.from, piece.to, RescueMap::kLost);
}

Task<Status> Copier::rescue_parts(Piece piece, std::uint64_t part_bytes) {
  piece.buffers.clear();
  for (std::uint64_t at = piece.from; at < piece.to && !other_.interrupted();) {
    const std::uint64_t to = std::min(piece.to, (at / part_bytes + 1) * part_bytes);
    if (Status done = co_await rescue_piece(part_of(at, to)); !done) co_return done;
    at = to;
  }
  co_return Status{};
}

// A file that an earlier rescue filled may hold something there.
bool Copier::make_hole(std::uint64_t place, std::uint64_t bytes) {
  constexpr int kKeepSize = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return map_ == nullptr || fallocate(fd_, kKeepSize, static_cast<off_t>(place), static_cast<off_t>(bytes)) == 0;
}

Status Copier::write_file(const Piece& piece) {
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
    if (!hole || !make_hole(at - copy_.offset, count)) {
      if (Status put = write_all(there.first(count), at - copy_.offset); !put) return put;
    }
    at += count;
  }
  return {};
}

Status Copier::write_all(std::span<const std::byte> bytes, std::uint64_t place) {
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

// ---- files -----------------------------------------------------------------------------------------------------------

Descriptor::~Descriptor() {
  if (fd > STDERR_FILENO) close(fd);
}

Status open_source(const FileCopy& copy, Descriptor& file) {
  file.fd = copy.file == "-" ? STDIN_FILENO : open(copy.file.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd < 0) return std::unexpected(file_error(copy.file));
  return {};
}

Status check_fits(const std::string& label, std::uint64_t size, FileCopy& copy, int fd) {
  if (copy.offset > size) {
    return fail(Errc::bad_input,
                fmt::format("--offset: {} is behind the end of {} ({} bytes)", copy.offset, label, size));
  }
  struct stat status;
  const bool known = fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
  const off_t bytes = known ? lseek(fd, 0, SEEK_END) : -1;
  if (bytes >= 0) copy.length = std::min(copy.length, static_cast<std::uint64_t>(bytes));
  const std::uint64_t room = size - copy.offset;
  if (copy.length != kUnknown && copy.length > room) {
    return fail(Errc::no_space, fmt::format("{}: {} bytes do not fit into the {} bytes of {} from byte {} on",
                                            copy.file, copy.length, room, label, copy.offset));
  }
  return {};
}

Status check_range(const std::string& label, std::uint64_t size, FileCopy& copy) {
  if (copy.offset > size || (copy.length != kUnknown && copy.length > size - copy.offset)) {
    return fail(Errc::bad_input, fmt::format("--offset, --length: {} has only {} bytes", label, size));
  }
  if (copy.length == kUnknown) copy.length = size - copy.offset;
  return {};
}

namespace {

// Its size from the start: what is zero is then left out, a hole.
Status set_size(const FileCopy& copy, int fd) {
  struct stat status;
  const bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && copy.file != "-";
  if (regular && (ftruncate(fd, 0) != 0 || ftruncate(fd, static_cast<off_t>(copy.length)) != 0)) {
    return std::unexpected(file_error(copy.file));
  }
  return {};
}

Status check_pipe_ended(const CopyEnd& end, const FileCopy& copy, const Copier& copier, int fd) {
  std::byte more;
  const bool filled = copier.done() >= end.size - copy.offset;
  if (copy.length != kUnknown || !filled || read(fd, &more, 1) <= 0) return {};
  return fail(Errc::no_space,
              fmt::format("{}: more than the {} bytes that fit; the rest is left", copy.file, copier.done()));
}

}  // namespace

Task<Result<std::uint64_t>> import_from(CopyEnd end, FileCopy copy, int fd) {
  Copier copier(end, copy, fd);
  if (Status done = co_await copier.run(true); !done) co_return std::unexpected(done.error());
  if (Status ended = check_pipe_ended(end, copy, copier, fd); !ended) co_return std::unexpected(ended.error());
  if (const Errc flushed = co_await Io::flush(end.device); flushed != Errc::ok) {
    co_return fail(flushed, fmt::format("flush: {}", errc_name(flushed)));
  }
  co_return copier.done();
}

Task<Result<std::uint64_t>> export_to(CopyEnd end, FileCopy copy, int fd) {
  if (Status sized = set_size(copy, fd); !sized) co_return std::unexpected(sized.error());
  Copier copier(end, copy, fd);
  if (Status done = co_await copier.run(false); !done) co_return std::unexpected(done.error());
  co_return copier.done();
}

Task<Result<std::uint64_t>> rescue_to(CopyEnd end, FileCopy copy, int fd, RescueMap& map, std::string map_file) {
  Copier copier(end, copy, fd);
  const auto note = [&](bool finished) -> Status {
    if (fdatasync(fd) != 0) return std::unexpected(file_error(copy.file));
    return map.save(map_file, finished ? 0 : copier.next(), finished);
  };
  copier.follow(map, [&note] { return note(false); });
  const Status done = co_await copier.run(false);
  const Status noted = note(done.has_value());
  if (!done) co_return std::unexpected(done.error());
  if (!noted) co_return std::unexpected(noted.error());
  co_return copier.done();
}

}  // namespace resilver::tools
