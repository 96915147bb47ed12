#include "uring/image_file.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace resilver::uring {
namespace {

constexpr std::uint32_t kInlineSegments = 8;
constexpr std::uint32_t kMaxSegments = 256;  // for one operation; a request of more is finished like a short transfer
constexpr std::uint32_t kMaxRetries = 16;    // without progress
// Below this, zeroes are written: cheaper than changing extents, and the image keeps extents that need no conversion.
constexpr std::uint64_t kWriteZeroesBelow = 256 * 1024;

constexpr std::size_t kZeroBytes = 64 * 1024;
alignas(kBlockBytes) constinit std::byte zeroes[kZeroBytes] = {};
constexpr std::uint32_t kZeroSegments = 16;

Errc errc_of(int error) noexcept {
  switch (error) {
    case ENODATA:  // the block layer's word for a medium error
    case EILSEQ:   // ... and for failed protection information
      return Errc::medium;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return Errc::no_space;
    case EROFS: return Errc::read_only;  // also one that became so under us
    case ENODEV:
    case ENXIO: return Errc::device_gone;
    case ETIMEDOUT: return Errc::timeout;
    case ECANCELED: return Errc::cancelled;
    case ENOMEM: return Errc::limit;  // ours, not the disk's
    default: return Errc::io;
  }
}

bool transient(int error) noexcept { return error == EINTR || error == EAGAIN; }

// How far a request is that has got `bytes` more: it goes on from an aligned offset, as O_DIRECT wants it; what is transferred
// twice is the same.
std::uint64_t reached(const IoRequest& request, std::uint64_t done, std::uint64_t bytes) noexcept {
  done += bytes;
  return done >= request.length ? request.length : done / kBlockBytes * kBlockBytes;
}

}  // namespace

// ---- requests that wait ----------------------------------------------------------------------------------------------

void ImageFile::Queue::push(IoRequest& request) noexcept {
  request.next_ready = nullptr;
  *tail = &request;
  tail = &request.next_ready;
}

IoRequest* ImageFile::Queue::pop() noexcept {
  if (first == nullptr) return nullptr;
  Runnable* request = first;
  first = request->next_ready;
  if (first == nullptr) tail = &first;
  return static_cast<IoRequest*>(request);
}

// ---- reads and writes ------------------------------------------------------------------------------------------------

struct ImageFile::Transfer : Op {
  explicit Transfer(ImageFile& owner) noexcept : Op(kKind), image(owner) {}

  // Describes what is left of the request from `done` on: one contiguous piece if it is one, else a list.
  void describe() noexcept {
    const auto segments = request->segments;
    if (segments.size() == 1) {
      pieces[0] = {segments[0].data() + done, request->length - done};
      piece = &pieces[0];
      piece_count = 1;
    } else {
      describe_list();
    }
    fixed = piece_count == 1 && image.ring_.fixed_buffer(piece->iov_base, piece->iov_len) >= 0;
  }
  void describe_list() noexcept;
  void restart() noexcept {
    describe();
    image.ring_.start(*this);
  }

  static void prepare_op(Op& op, io_uring_sqe& entry) noexcept;
  static void complete_op(Op& op, int result) noexcept;
  static const Kind kKind;

  ImageFile& image;
  IoRequest* request = nullptr;
  Transfer* next_free = nullptr;
  std::uint64_t done = 0;
  iovec* piece = nullptr;
  std::uint32_t piece_count = 0;
  std::uint32_t retries = 0;
  bool fixed = false;
  iovec pieces[kInlineSegments];
  std::vector<iovec> more;  // for longer lists; kept
};

constinit const Op::Kind ImageFile::Transfer::kKind = {&Transfer::prepare_op, &Transfer::complete_op};

void ImageFile::Transfer::describe_list() noexcept {
  if (request->segments.size() > kInlineSegments && more.empty()) more.resize(kMaxSegments);
  const std::uint32_t room = more.empty() ? kInlineSegments : kMaxSegments;
  piece = more.empty() ? pieces : more.data();
  piece_count = 0;
  std::uint64_t skip = done;
  for (const Buffer& segment : request->segments) {
    if (skip >= segment.size()) {
      skip -= segment.size();
      continue;
    }
    std::byte* data = segment.data() + skip;
    const std::size_t size = segment.size() - skip;
    skip = 0;
    iovec* last = piece_count > 0 ? &piece[piece_count - 1] : nullptr;
    if (last != nullptr && static_cast<std::byte*>(last->iov_base) + last->iov_len == data) {
      last->iov_len += size;
    } else if (piece_count < room) {
      piece[piece_count++] = {data, size};
    } else {
      break;
    }
  }
}

void ImageFile::Transfer::prepare_op(Op& op, io_uring_sqe& entry) noexcept {
  auto& self = static_cast<Transfer&>(op);
  const IoRequest& request = *self.request;
  const std::uint64_t offset = request.offset + self.done;
  const int target = 0;  // see aim()
  const bool read = request.op == IoOp::read;
  if (self.piece_count != 1) {
    io_uring_prep_rw(read ? IORING_OP_READV : IORING_OP_WRITEV, &entry, target, self.piece, self.piece_count, offset);
  } else {
    const auto length = static_cast<unsigned>(self.piece->iov_len);
    const int opcode =
        self.fixed ? (read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED) : (read ? IORING_OP_READ : IORING_OP_WRITE);
    io_uring_prep_rw(opcode, &entry, target, self.piece->iov_base, length, offset);
    if (self.fixed) entry.buf_index = 0;
  }
  if (request.fua && !read) entry.rw_flags = RWF_DSYNC;
  self.image.aim(entry, request);
}

void ImageFile::Transfer::complete_op(Op& op, int result) noexcept {
  auto& self = static_cast<Transfer&>(op);
  const std::uint64_t left = self.request->length - self.done;
  if (result >= 0 && static_cast<std::uint64_t>(result) == left) {
    self.image.end_transfer(self, Errc::ok);
    return;
  }
  if (result < 0 && !transient(-result)) {
    self.image.end_transfer(self, errc_of(-result));
    return;
  }
  if (result == 0 && self.request->op == IoOp::read) {  // the file was cut behind our back
    self.image.end_transfer(self, Errc::io);
    return;
  }
  const std::uint64_t before = self.done;
  if (result > 0) self.done = reached(*self.request, self.done, static_cast<std::uint64_t>(result));
  self.retries = self.done > before ? 0 : self.retries + 1;
  if (self.retries > kMaxRetries) {
    self.image.end_transfer(self, Errc::io);
    return;
  }
  self.restart();
}

void ImageFile::start_transfer(IoRequest& request) noexcept {
  Transfer* transfer = free_transfer_;
  if (transfer != nullptr) {
    free_transfer_ = transfer->next_free;
  } else {
    transfers_.push_back(std::make_unique<Transfer>(*this));
    transfer = transfers_.back().get();
  }
  ++transfers_in_flight_;
  transfer->request = &request;
  transfer->done = 0;
  transfer->retries = 0;
  transfer->restart();
}

void ImageFile::end_transfer(Transfer& transfer, Errc outcome) noexcept {
  IoRequest& request = *transfer.request;
  transfer.request = nullptr;
  transfer.next_free = free_transfer_;
  free_transfer_ = &transfer;
  --transfers_in_flight_;
  request.complete(ring_, outcome);
  if (IoRequest* next = waiting_transfers_.pop(); next != nullptr) start_transfer(*next);
  operation_ended();
}

// ---- discard and write_zeroes ----------------------------------------------------------------------------------------

struct ImageFile::Slow : Op {
  enum class Step : std::uint8_t { punch, zero_range, reserve, write, sync };

  explicit Slow(ImageFile& owner) noexcept : Op(kKind), image(owner) {}
  void start(Step next) noexcept {
    step = next;
    image.ring_.start(*this);
  }
  static void prepare_op(Op& op, io_uring_sqe& entry) noexcept;
  static void complete_op(Op& op, int result) noexcept;
  void step_done(std::uint64_t bytes) noexcept;
  static const Kind kKind;

  ImageFile& image;
  IoRequest* request = nullptr;  // null: idle
  Step step = Step::punch;
  std::uint64_t done = 0;
  std::uint32_t retries = 0;
  iovec pieces[kZeroSegments];
};

constinit const Op::Kind ImageFile::Slow::kKind = {&Slow::prepare_op, &Slow::complete_op};

void ImageFile::Slow::prepare_op(Op& op, io_uring_sqe& entry) noexcept {
  auto& self = static_cast<Slow&>(op);
  const IoRequest& request = *self.request;
  const int target = 0;  // see aim()
  switch (self.step) {
    case Step::punch:
    case Step::zero_range:
    case Step::reserve: {
      const int kind = self.step == Step::punch        ? FALLOC_FL_PUNCH_HOLE
                       : self.step == Step::zero_range ? FALLOC_FL_ZERO_RANGE
                                                       : 0;
      io_uring_prep_fallocate(&entry, target, kind | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(request.offset),
                              static_cast<off_t>(request.length));
      break;
    }
    case Step::write: {
      std::uint64_t left = request.length - self.done;
      std::uint32_t count = 0;
      for (; count < kZeroSegments && left > 0; ++count) {
        self.pieces[count] = {zeroes, std::min<std::uint64_t>(left, kZeroBytes)};
        left -= self.pieces[count].iov_len;
      }
      io_uring_prep_writev(&entry, target, self.pieces, count, request.offset + self.done);
      break;
    }
    case Step::sync: io_uring_prep_fsync(&entry, target, IORING_FSYNC_DATASYNC); break;
  }
  self.image.aim(entry, request);
}

void ImageFile::Slow::complete_op(Op& op, int result) noexcept {
  auto& self = static_cast<Slow&>(op);
  if (result < 0 && transient(-result) && self.retries++ < kMaxRetries) return self.start(self.step);
  const bool hint = self.step == Step::punch || self.step == Step::reserve;
  if (result == -EOPNOTSUPP && hint) return self.image.end_slow(self, Errc::ok);
  if (result == -EOPNOTSUPP && self.step == Step::zero_range) {
    self.image.zero_range_works_ = false;
    return self.start(Step::write);
  }
  if (result < 0) return self.image.end_slow(self, errc_of(-result));
  self.step_done(static_cast<std::uint64_t>(result));
}

void ImageFile::Slow::step_done(std::uint64_t bytes) noexcept {
  if (step == Step::write) {
    const std::uint64_t before = done;
    done = reached(*request, done, bytes);
    if (done == before && retries++ >= kMaxRetries) return image.end_slow(*this, Errc::io);
    if (done < request->length) return start(Step::write);
  }
  if ((step == Step::write || step == Step::zero_range) && request->fua) return start(Step::sync);
  image.end_slow(*this, Errc::ok);
}

void ImageFile::start_slow(IoRequest& request) noexcept {
  for (auto& slow : slow_) {
    if (slow->request != nullptr) continue;
    slow->request = &request;
    slow->done = 0;
    slow->retries = 0;
    if (request.op == IoOp::discard) data_end_ = 0;
    const bool ranges = request.length >= kWriteZeroesBelow && zero_range_works_;
    slow->start(request.op == IoOp::discard   ? Slow::Step::punch
                : request.op == IoOp::reserve ? Slow::Step::reserve
                : ranges                      ? Slow::Step::zero_range
                                              : Slow::Step::write);
    return;
  }
  waiting_slow_.push(request);
}

void ImageFile::end_slow(Slow& slow, Errc outcome) noexcept {
  IoRequest& request = *slow.request;
  slow.request = nullptr;
  request.complete(ring_, outcome);
  if (IoRequest* next = waiting_slow_.pop(); next != nullptr) start_slow(*next);
  operation_ended();
}

// ---- flush -----------------------------------------------------------------------------------------------------------

// One fdatasync at a time. A flush covers the writes that completed before it was submitted, so those that come while one
// runs need a new one; but one for all of them.
struct ImageFile::Flush : Op {
  explicit Flush(ImageFile& owner) noexcept : Op(kKind), image(owner) {}
  static void prepare_op(Op& op, io_uring_sqe& entry) noexcept {
    auto& self = static_cast<Flush&>(op);
    io_uring_prep_fsync(&entry, self.image.target_, IORING_FSYNC_DATASYNC);
    if (self.image.registered_) entry.flags |= IOSQE_FIXED_FILE;
  }
  static void complete_op(Op& op, int result) noexcept {
    auto& self = static_cast<Flush&>(op);
    if (result < 0 && transient(-result) && self.retries++ < kMaxRetries) return self.image.ring_.start(self);
    self.image.end_flush(result < 0 ? errc_of(-result) : Errc::ok);
  }
  static const Kind kKind;

  ImageFile& image;
  bool running = false;
  std::uint32_t retries = 0;
  Queue served;
};

constinit const Op::Kind ImageFile::Flush::kKind = {&Flush::prepare_op, &Flush::complete_op};

void ImageFile::start_flush() noexcept {
  if (flush_->running || waiting_flushes_.empty()) return;
  while (IoRequest* request = waiting_flushes_.pop()) flush_->served.push(*request);
  flush_->running = true;
  flush_->retries = 0;
  ring_.start(*flush_);
}

void ImageFile::end_flush(Errc outcome) noexcept {
  flush_->running = false;
  while (IoRequest* request = flush_->served.pop()) request->complete(ring_, outcome);
  start_flush();
  operation_ended();
}

// ---- open, submit, close ---------------------------------------------------------------------------------------------

ImageFile::ImageFile(Ring& ring, int fd, std::uint64_t size, int cached_fd)
    : ring_(ring), fd_(fd), cached_fd_(cached_fd), size_(size), target_(fd) {
  struct stat status;
  block_device_ = fstat(fd, &status) == 0 && S_ISBLK(status.st_mode);
  rlimit limit;
  if (!block_device_ && getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    limit_ = limit.rlim_cur;
  if (const auto slot = ring_.register_file(fd_)) {
    target_ = static_cast<int>(*slot);
    registered_ = true;
  }
  for (auto& slow : slow_) slow = std::make_unique<Slow>(*this);
  flush_ = std::make_unique<Flush>(*this);
}

ImageFile::~ImageFile() {
  CHECK(!busy(), "the kernel uses this image");
  if (registered_) ring_.release_file(static_cast<std::uint32_t>(target_));
  flock(fd_, LOCK_UN);  // at once: the ring may let go of the description later
  close(fd_);
  if (cached_fd_ >= 0) close(cached_fd_);
}

// Says which descriptor an operation is for.
void ImageFile::aim(io_uring_sqe& entry, const IoRequest& request) const noexcept {
  const bool blocks = request.offset % kBlockBytes == 0 && request.length % kBlockBytes == 0;
  if (!blocks && cached_fd_ >= 0) {
    entry.fd = cached_fd_;
    return;
  }
  entry.fd = target_;
  if (registered_) entry.flags |= IOSQE_FIXED_FILE;
}

bool ImageFile::busy() const noexcept {
  return transfers_in_flight_ != 0 || flush_->running || slow_[0]->request != nullptr || slow_[1]->request != nullptr;
}

// Block devices and file systems without holes answer `from`, or nothing that helps.
std::uint64_t ImageFile::next_data(std::uint64_t from) const noexcept {
  if (from >= size_) return size_;
  const off_t data = lseek(fd_, static_cast<off_t>(from), SEEK_DATA);
  if (data < 0) return errno == ENXIO ? size_ : from;
  return std::min(static_cast<std::uint64_t>(data), size_);
}

bool ImageFile::may_lack_room(std::uint64_t offset, std::uint64_t length) const noexcept {
  if (offset + length > limit_) return true;
  if (block_device_ || (offset >= data_begin_ && offset + length <= data_end_)) return false;
  const off_t hole = lseek(fd_, static_cast<off_t>(offset), SEEK_HOLE);
  if (hole < 0 || static_cast<std::uint64_t>(hole) < offset + length) return true;
  data_begin_ = offset;
  data_end_ = static_cast<std::uint64_t>(hole);
  return false;
}

void ImageFile::leave() noexcept {
  left_ = true;
  if (busy()) {
    ring_.leave_behind(*this);
  } else {
    delete this;
  }
}

// Comes last in each completion.
void ImageFile::operation_ended() noexcept {
  if (left_ && !busy()) delete this;
}

// What the kernel makes of a write over the limit depends on the limit's alignment, and a reservation does not look at it.
void ImageFile::submit(IoRequest& request) noexcept {
  const bool takes_room = request.op == IoOp::write || request.op == IoOp::write_zeroes || request.op == IoOp::reserve;
  if (takes_room && request.offset + request.length > limit_) return request.complete(ring_, Errc::no_space);
  switch (request.op) {
    case IoOp::read:
    case IoOp::write:
      if (transfers_in_flight_ < kMaxInFlight) {
        start_transfer(request);
      } else {
        waiting_transfers_.push(request);
      }
      break;
    case IoOp::discard:
    case IoOp::write_zeroes:
    case IoOp::reserve: start_slow(request); break;
    case IoOp::flush:
      waiting_flushes_.push(request);
      start_flush();
      break;
  }
}

}  // namespace resilver::uring
