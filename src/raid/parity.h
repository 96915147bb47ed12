// Parity arithmetic of RAID 4, 5 and 6 over whole columns: P = sum of data, Q = sum of g^d · data_d in GF(2^8) with g = 2
// and polynomial 0x11d (H. P. Anvin, "The mathematics of RAID-6"; the same as Linux lib/raid6). parity.cc is the only file
// that includes ISA-L.
//
// Columns are numbered as in geometry.h: data 0 .. D-1, then P (= D), then Q (= D+1).
//
// Buffers: every pointer is aligned to kParityAlign, every length is a multiple of kParityUnit and > 0 (both CHECKed);
// columns do not overlap. A null pointer among *sources* means a column of zeroes.
//
// Concurrency: the free functions may run anywhere at once. A ParityCode caches tables, so it belongs to one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "raid/index_set.h"

namespace resilver::raid {

inline constexpr std::size_t kParityAlign = 32;
inline constexpr std::size_t kParityUnit = 64;

// p = sum of the data columns (1 .. kMaxColumns of them, null = zeroes).
void xor_gen(std::span<const std::byte* const> data, std::byte* p, std::size_t len);

// dst += src (exclusive or). Any alignment, any length; the buffers do not overlap.
void xor_into(std::byte* dst, const std::byte* src, std::size_t len);

// p and q from 2 .. kMaxRaid6Disks data columns (null = zeroes).
void pq_gen(std::span<const std::byte* const> data, std::byte* p, std::byte* q, std::size_t len);

// True if all bytes are zero. Any alignment, any length.
bool is_zero(const std::byte* data, std::size_t len);

// What locate() found.
struct Located {
  enum class Verdict : std::uint8_t {
    consistent,  // P and Q match the data
    single,      // exactly the bytes of `column` explain every mismatch
    unknown,     // they do not match and no single column explains it (or RAID 5, which cannot tell)
  };
  Verdict verdict = Verdict::consistent;
  std::uint32_t column = 0;
  bool operator==(const Located&) const = default;
};

// The code of one array: D data columns and 1 (P) or 2 (P, Q) parity columns.
class ParityCode {
 public:
  // parity_disks 1: data_disks 1 .. kMaxColumns - 1; parity_disks 2: data_disks 2 .. kMaxRaid6Disks.
  ParityCode(std::uint32_t data_disks, std::uint32_t parity_disks);
  ~ParityCode();
  ParityCode(const ParityCode&) = delete;
  ParityCode& operator=(const ParityCode&) = delete;

  std::uint32_t data_disks() const { return data_disks_; }
  std::uint32_t parity_disks() const { return parity_disks_; }

  // Parity anew from D data columns. p or q null: not wanted (its member is lost, or there is no Q).
  void generate(std::span<const std::byte* const> data, std::byte* p, std::byte* q, std::size_t len);

  // Read-modify-write: delta = old data + new data (exclusive or) of column data_index; p += delta, q += g^data_index · delta.
  // p or q null: not wanted. Call once for each changed column, with the same p and q.
  void update(std::uint32_t data_index, const std::byte* delta, std::byte* p, std::byte* q, std::size_t len) const;

  // Computes the lost columns. `columns` has D + parity_disks pointers. Of a column in `lost`, the pointer is the output, and
  // null means "lost, but not wanted"; of any other column it is the input, and null means zeroes. At most parity_disks
  // columns may be lost. A single lost data column is computed from P, and Q is then not read, unless P is lost too; so a
  // caller that has not read P says that P is lost, with a null pointer.
  void recover(std::span<std::byte* const> columns, const ColumnSet& lost, std::size_t len);

  // True if P (and Q) match the data.
  bool consistent(std::span<const std::byte* const> columns, std::size_t len) const;

  // RAID 6 scrub: which single wrong column explains every mismatch over len bytes. Call it for each block (4096), as
  // different blocks may be wrong in different columns. With one parity column the answer is never `single`.
  Located locate(std::span<const std::byte* const> columns, std::size_t len) const;

 private:
  struct Decoder;
  const Decoder& decoder_for(const ColumnSet& lost, const ColumnSet& wanted);

  static constexpr std::size_t kCachedDecoders = 16;  // lost sets remembered; the oldest makes room

  std::uint32_t data_disks_;
  std::uint32_t parity_disks_;
  std::unique_ptr<std::uint8_t[]> update_tables_;  // with Q, per data column 64 bytes: multiply by 1, multiply by g^d
  std::array<std::unique_ptr<Decoder>, kCachedDecoders> decoders_;
  std::size_t next_decoder_ = 0;
};

}  // namespace resilver::raid
