// The work that the array's rebuild and scrub are measured against, shared by its two plain forms, reference_uring and
// reference_plain: RAID 5 of 4 or RAID 6 of 6 as prepare makes them; the first one or two members restored onto spares, or
// all members read and their parity compared. No locks, no foreground I/O, no metadata, no checkpoints, no error handling:
// what it costs at least. The restored bytes are exactly those that the array restores.
//
//   reference_… rebuild|scrub LEVEL(5|6) LOST(0|1|2) MEMBER... SPARE...
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <isa-l/erasure_code.h>
#include <isa-l/raid.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "measure.h"
#include "raid/superblock.h"

namespace resilver::bench {

using Byte = unsigned char;

inline constexpr std::uint64_t kChunk = 64 * 1024;
inline constexpr std::uint64_t kWindow = 128 * 1024;
inline constexpr unsigned kDepth = 4;
inline constexpr unsigned kMaxImages = 8;

struct StripeWork {
  bool scrub = false;
  bool raid6 = false;
  unsigned lost = 0;
  unsigned members = 0;
  std::vector<int> fds;  // members, then spares: spare i takes the place of member i
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  // What is read: all that are not lost.
  std::uint64_t bytes() const { return (end - begin) * (scrub ? members : lost); }
};

// O_NONBLOCK, as the ring's images: on tmpfs io_uring then does the I/O at once instead of handing it to a kernel worker.
inline int open_image(const std::string& path, int mode) {
  int fd = open(path.c_str(), mode | O_DIRECT | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fd = open(path.c_str(), mode | O_CLOEXEC);
  if (fd < 0) die("cannot open", path.c_str());
  return fd;
}

inline StripeWork stripe_work(int argc, char** argv) {
  StripeWork work;
  if (argc < 8) die("usage: rebuild|scrub LEVEL(5|6) LOST(0|1|2) MEMBER... SPARE...");
  work.scrub = std::strcmp(argv[1], "scrub") == 0;
  work.raid6 = std::strcmp(argv[2], "6") == 0;
  work.lost = static_cast<unsigned>(std::atoi(argv[3]));
  work.members = work.raid6 ? 6 : 4;
  const unsigned most = work.raid6 ? 2 : 1;
  if (work.lost > most || (work.lost == 0) != work.scrub || argc != static_cast<int>(4 + work.members + work.lost))
    die("LOST and the number of images do not fit");
  for (int i = 4; i < argc; ++i)
    work.fds.push_back(open_image(argv[i], i < static_cast<int>(4 + work.members) ? O_RDONLY : O_RDWR));
  struct stat info{};
  fstat(work.fds[0], &info);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  work.begin = raid::choose_data_offset(size / 512, kChunk / 512) * 512;
  work.end = work.begin + (size - work.begin) / kChunk * kChunk;
  return work;
}

// The arithmetic, by ISA-L. md's left-symmetric layout: P of stripe s on the last member less s, Q on the next one, data
// from there on (RAID 5: from after P); the pattern repeats after as many stripes as there are members.
class StripeMath {
 public:
  explicit StripeMath(const StripeWork& work) : work_(work), data_(work.members - (work.raid6 ? 2 : 1)) {
    scratch_ = static_cast<Byte*>(std::aligned_alloc(4096, 2 * kChunk));
    if (work.raid6 && work.lost == 2)
      for (unsigned turn = 0; turn < work.members; ++turn) make_tables(turn);
  }
  ~StripeMath() { std::free(scratch_); }
  StripeMath(const StripeMath&) = delete;
  StripeMath& operator=(const StripeMath&) = delete;

  // One window: buffers by file, members then spares. `at` is the offset in the images.
  void restore(Byte* const* buffers, std::uint64_t at, std::uint64_t length) {
    if (!work_.raid6) {  // no need to know who holds what
      void* vector[] = {buffers[1], buffers[2], buffers[3], buffers[4]};
      xor_gen(4, static_cast<int>(length), vector);
      return;
    }
    for (std::uint64_t skip = 0; skip < length; skip += kChunk) {
      const auto turn = static_cast<unsigned>((at + skip - work_.begin) / kChunk % work_.members);
      work_.lost == 2 ? restore_two(buffers, skip, turn) : restore_one(buffers, skip, turn);
    }
  }

  void check(Byte* const* buffers, std::uint64_t at, std::uint64_t length) {
    for (std::uint64_t skip = 0; skip < length; skip += kChunk) {
      const auto turn = static_cast<unsigned>((at + skip - work_.begin) / kChunk % work_.members);
      void* vector[kMaxImages];
      sort_columns(buffers, skip, turn, vector);
      Byte* p = static_cast<Byte*>(vector[data_]);
      vector[data_] = scratch_;
      bool same = false;
      if (work_.raid6) {
        Byte* q = static_cast<Byte*>(vector[data_ + 1]);
        vector[data_ + 1] = scratch_ + kChunk;
        pq_gen(static_cast<int>(data_ + 2), static_cast<int>(kChunk), vector);
        same = std::memcmp(p, scratch_, kChunk) == 0 && std::memcmp(q, scratch_ + kChunk, kChunk) == 0;
      } else {
        xor_gen(static_cast<int>(data_ + 1), static_cast<int>(kChunk), vector);
        same = std::memcmp(p, scratch_, kChunk) == 0;
      }
      if (!same) die("parity does not match");
    }
  }

 private:
  static constexpr unsigned kData6 = 4, kMembers6 = 6;

  // 0 … data columns, then P, then Q.
  unsigned column_of(unsigned turn, unsigned member) const {
    const unsigned p = work_.members - 1 - turn, parities = work_.raid6 ? 2 : 1;
    const unsigned after_p = (member + work_.members - p) % work_.members;
    return after_p < parities ? data_ + after_p : after_p - parities;
  }
  void sort_columns(Byte* const* buffers, std::uint64_t skip, unsigned turn, void** columns) const {
    for (unsigned member = 0; member < work_.members; ++member)
      columns[column_of(turn, member)] = buffers[member] + skip;
  }

  void restore_one(Byte* const* buffers, std::uint64_t skip, unsigned turn) {
    void* columns[kMaxImages];
    sort_columns(buffers, skip, turn, columns);
    const unsigned lost = column_of(turn, 0);
    columns[lost] = buffers[kMembers6] + skip;
    if (lost == kData6 + 1) {  // Q
      columns[kData6] = scratch_;
      pq_gen(kMembers6, static_cast<int>(kChunk), columns);
      return;
    }
    std::swap(columns[lost], columns[kData6]);  // all but Q, the lost one last
    xor_gen(kData6 + 1, static_cast<int>(kChunk), columns);
  }

  void restore_two(Byte* const* buffers, std::uint64_t skip, unsigned turn) {
    Byte* from[kData6];
    for (unsigned i = 0; i < kData6; ++i) from[i] = buffers[i + 2] + skip;
    Byte* to[] = {buffers[kMembers6] + skip, buffers[kMembers6 + 1] + skip};
    ec_encode_data(kChunk, kData6, 2, tables_[turn], from, to);
  }

  // How members 0 and 1 follow from the four others.
  void make_tables(unsigned turn) {
    Byte code[kMembers6 * kData6], left[kData6 * kData6], inverse[kData6 * kData6], rows[2 * kData6] = {};
    gf_gen_rs_matrix(code, kMembers6, kData6);
    for (unsigned i = 0; i < kData6; ++i)
      std::copy_n(code + column_of(turn, i + 2) * kData6, kData6, left + i * kData6);
    if (gf_invert_matrix(left, inverse, kData6) != 0) die("singular matrix");
    for (unsigned lost = 0; lost < 2; ++lost)
      for (unsigned to = 0; to < kData6; ++to)
        for (unsigned k = 0; k < kData6; ++k)
          rows[lost * kData6 + to] ^= gf_mul(code[column_of(turn, lost) * kData6 + k], inverse[k * kData6 + to]);
    ec_init_tables(kData6, 2, rows, tables_[turn]);
  }

  const StripeWork& work_;
  unsigned data_;
  Byte* scratch_;
  Byte tables_[kMembers6][32 * kData6 * 2];
};

}  // namespace resilver::bench
