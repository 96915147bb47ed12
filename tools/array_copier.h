// Copies between a file and a block device, many requests at a time: what `import` and `export` do once both are open, of
// arrays and of replicated volumes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/units.h"
#include "tools/array_session.h"
#include "tools/rescue_map.h"

namespace resilver::tools {

inline constexpr std::uint64_t kUnknown = ~std::uint64_t{0};  // length: until the input ends

struct FileCopy {
  std::string file;  // "-": standard input or output
  std::uint64_t offset = 0;
  std::uint64_t length = kUnknown;
};

// The other end of a copy.
struct CopyEnd {
  uring::RealEnv& env;
  BlockDevice& device;
  std::uint64_t size;         // of the device, to the byte
  std::string label;          // for messages and progress
  std::string kind;           // "array", "volume"
  std::uint64_t piece_bytes;  // of one request: a multiple of 4096, at most kMaxPiece
  std::function<bool()> interrupted;
};
inline constexpr std::uint64_t kMaxPiece = 4 * kMiB;

struct Descriptor {
  Descriptor() = default;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();  // closes all but the standard ones
  int fd = -1;
};

Error file_error(const std::string& file);  // by errno

Status open_source(const FileCopy& copy, Descriptor& file);
// Refused before anything is written where the size is known; else when the pipe has more than fits.
Status check_fits(const std::string& label, std::uint64_t size, FileCopy& copy, int fd);
// Errors: bad_input. Makes an open end the device's.
Status check_range(const std::string& label, std::uint64_t size, FileCopy& copy);
// Copies and flushes; gives the bytes. Errors: of the file, of the device, cancelled, no_space (a pipe had more).
Task<Result<std::uint64_t>> import_from(CopyEnd end, FileCopy copy, int fd);
// The file gets its size from the start. An error of the device names the first bytes that cannot be read.
Task<Result<std::uint64_t>> export_to(CopyEnd end, FileCopy copy, int fd);
// Copies what the map does not know as copied, into a file that has its size. A piece with an error is read again in smaller
// ones; what nobody can read stays as it is there, and is lost in the map, which is saved as `map_file` every so often and at
// the end, always after what it says is durable. Errors: of the files, cancelled, limit.
Task<Result<std::uint64_t>> rescue_to(CopyEnd end, FileCopy copy, int fd, RescueMap& map, std::string map_file);

// Part of the device in whole blocks, and the memory for it.
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

// `fd` is the open file; regular files and block devices are read and written at any place, others in order.
class Copier {
 public:
  Copier(const CopyEnd& end, const FileCopy& copy, int fd);

  // A rescue; `note` is called every so often.
  void follow(RescueMap& map, std::function<Status()> note);

  // Copies everything in this direction. Errors: of the file, of the device, cancelled.
  Task<Status> run(bool import);
  std::uint64_t done() const noexcept { return done_; }
  std::uint64_t next() const noexcept { return next_; }  // the first byte that nobody has begun with

 private:
  Task<void> worker(bool import);

  // The next piece in order; empty at the end.
  Piece take();
  void skip_hole();
  void cover(Piece& piece) const;
  Task<Status> give_memory(Piece& piece);
  Task<Status> transfer(const Piece& piece, IoOp op);

  // ---- import ----
  Task<Status> import_piece(Piece& piece);

  // A shorter end needs less memory: the buffers must match the length.
  static void trim(Piece& piece);
  static bool is_zero(const Piece& piece);

  // Reads what is there first: for the blocks that the piece covers in part, and because zeroes over zeroes need no write
  // (sparse images stay sparse).
  Task<Status> merge_piece(const Piece& piece);

  // The next piece of the file; one that ends sooner makes it shorter. One at a time: a pipe is read in order.
  Task<Status> read_piece(Piece& piece);

  // ---- export ----
  Task<Status> export_piece(Piece& piece);
  Task<Status> first_lost(Piece piece, Error error);
  Piece part_of(std::uint64_t from, std::uint64_t to) const;
  Task<Status> rescue_piece(Piece piece);
  Task<Status> rescue_parts(Piece piece, std::uint64_t part_bytes);
  bool make_hole(std::uint64_t place, std::uint64_t bytes);
  Status write_file(const Piece& piece);
  Status write_all(std::span<const std::byte> bytes, std::uint64_t place);

  const CopyEnd& other_;
  const FileCopy& copy_;
  int fd_;
  bool seekable_ = false;
  bool regular_ = false;
  bool exports_ = false;
  std::uint64_t piece_bytes_;
  std::uint64_t next_ = 0;  // first byte of the device that no worker has taken
  std::uint64_t end_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t written_ = 0;  // pipes: so far
  RescueMap* map_ = nullptr;
  std::function<Status()> note_;
  Nanos next_note_ = kNever;
  Piece unread_;  // export: the first piece with an error
  Error unread_error_;
  Status outcome_;
  Event turn_;
  Mutex reading_;
};

}  // namespace resilver::tools
