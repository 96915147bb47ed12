#include "raid/parity.h"

#include <isa-l/erasure_code.h>
#include <isa-l/raid.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/vector_registers.h"

namespace resilver::raid {

namespace {

constexpr std::size_t kPiece = 32 * 1024;               // columns with nulls are worked off in pieces of at most this
constexpr std::size_t kLargest = std::size_t{1} << 30;  // ISA-L counts in int

// Stands for null (all zero) source columns. ISA-L takes non-const sources but never writes them.
alignas(64) const std::byte kZeroes[kPiece] = {};

using Pointers = std::array<void*, kMaxColumns + 1>;

void check_buffer(const void* pointer) {
  CHECK(reinterpret_cast<std::uintptr_t>(pointer) % kParityAlign == 0, "column is not aligned");
}

void check_length(std::size_t len) {
  CHECK(len > 0 && len % kParityUnit == 0 && len <= kLargest, "column length is not a multiple of 64");
}

void* writable(const std::byte* pointer) { return const_cast<std::byte*>(pointer); }

// Calls run(offset, length) over the whole length at once, or in pieces when zero columns must be stood in for.
template <typename Run>
void in_pieces(bool has_null, std::size_t len, Run run) {
  if (!has_null) return run(std::size_t{0}, len);
  for (std::size_t offset = 0; offset < len; offset += kPiece) run(offset, std::min(kPiece, len - offset));
}

std::uint8_t multiply(std::uint8_t a, std::uint8_t b) { return gf_mul(a, b); }

// g^exponent, exponent < 255.
std::uint8_t power(std::uint32_t exponent) {
  std::uint8_t value = 1;
  for (std::uint32_t i = 0; i < exponent; ++i) value = multiply(value, 2);
  return value;
}

}  // namespace

void xor_into(std::byte* __restrict dst, const std::byte* __restrict src, std::size_t len) {
  for (std::size_t i = 0; i < len; ++i) dst[i] ^= src[i];  // the compiler makes vectors of it
}

bool is_zero(const std::byte* data, std::size_t len) {
  constexpr std::size_t kBlock = 256;
  while (len >= kBlock) {
    std::uint64_t any = 0;
    for (std::size_t i = 0; i < kBlock; i += 8) {
      std::uint64_t word;
      std::memcpy(&word, data + i, 8);
      any |= word;
    }
    if (any != 0) return false;
    data += kBlock;
    len -= kBlock;
  }
  return std::all_of(data, data + len, [](std::byte b) { return b == std::byte{0}; });
}

void xor_gen(std::span<const std::byte* const> data, std::byte* p, std::size_t len) {
  CHECK(!data.empty() && data.size() <= kMaxColumns);
  check_length(len);
  check_buffer(p);
  Pointers pointers;
  std::size_t count = 0;
  for (const std::byte* column : data) {
    if (column == nullptr) continue;  // adding zeroes changes nothing
    check_buffer(column);
    pointers[count++] = writable(column);
  }
  if (count == 0) {
    std::memset(p, 0, len);
  } else if (count == 1) {
    std::memcpy(p, pointers[0], len);
  } else {
    pointers[count] = p;
    CHECK(::xor_gen(static_cast<int>(count + 1), static_cast<int>(len), pointers.data()) == 0);
    clear_vector_registers();
  }
}

void pq_gen(std::span<const std::byte* const> data, std::byte* p, std::byte* q, std::size_t len) {
  CHECK(data.size() >= 2 && data.size() <= kMaxRaid6Disks);
  check_length(len);
  check_buffer(p);
  check_buffer(q);
  // Zero columns after the last real one add nothing to P or Q and are left out, down to ISA-L's least of two.
  std::size_t count = data.size();
  while (count > 2 && data[count - 1] == nullptr) --count;
  bool has_null = false;
  for (const std::byte* column : data) {
    has_null |= column == nullptr;
    check_buffer(column);
  }
  in_pieces(has_null, len, [&](std::size_t offset, std::size_t length) {
    Pointers pointers;
    for (std::size_t i = 0; i < count; ++i) {
      pointers[i] = writable(data[i] == nullptr ? kZeroes : data[i] + offset);
    }
    pointers[count] = p + offset;
    pointers[count + 1] = q + offset;
    CHECK(::pq_gen(static_cast<int>(count + 2), static_cast<int>(length), pointers.data()) == 0);
    clear_vector_registers();
  });
}

// How to compute the wanted lost columns from the sources: one row of coefficients per output.
struct ParityCode::Decoder {
  ColumnSet lost;
  ColumnSet wanted;
  std::vector<std::uint32_t> sources;  // columns, with coefficients in the rows
  std::vector<std::uint32_t> outputs;  // columns
  bool only_xor = false;               // one output whose coefficients are all 1
  std::vector<std::uint8_t> tables;    // ISA-L's, 32 bytes per coefficient
};

namespace {

// Coefficients of one column in terms of all columns (only sources get non-zero ones).
using Row = std::array<std::uint8_t, kMaxQColumns>;

void add_scaled(Row& to, const Row& from, std::uint8_t factor) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] ^= multiply(from[i], factor);
}

// Solves for the lost data columns (at most two) from live data and the live parities, P first; fills their rows. The
// algebra is section 4 of Anvin's paper.
void solve_data(std::uint32_t data_disks, const ColumnSet& lost, std::array<Row, kMaxQColumns>& rows) {
  const std::uint32_t p = data_disks;
  const std::uint32_t q = data_disks + 1;
  const ColumnSet lost_data = lost & ColumnSet::first(data_disks);
  Row p_rest{};  // P plus all live data = the sum of lost data
  Row q_rest{};  // Q plus all live terms = the sum of g^d · lost data
  p_rest[p] = 1;
  q_rest[q] = 1;
  for (std::uint32_t d = 0; d < data_disks; ++d) {
    if (lost_data.contains(d)) continue;
    rows[d][d] = 1;
    p_rest[d] = 1;
    q_rest[d] = power(d);
  }
  if (lost_data.empty()) return;
  const std::uint32_t x = lost_data.lowest();
  if (lost_data.count() == 1) {
    if (lost.contains(p)) {
      add_scaled(rows[x], q_rest, gf_inv(power(x)));
    } else {
      rows[x] = p_rest;
    }
    return;
  }
  const std::uint32_t y = (lost_data - ColumnSet{x}).lowest();
  const std::uint8_t scale = gf_inv(static_cast<std::uint8_t>(power(x) ^ power(y)));
  add_scaled(rows[x], q_rest, scale);
  add_scaled(rows[x], p_rest, multiply(scale, power(y)));
  rows[y] = p_rest;
  add_scaled(rows[y], rows[x], 1);
}

}  // namespace

ParityCode::ParityCode(std::uint32_t data_disks, std::uint32_t parity_disks)
    : data_disks_(data_disks), parity_disks_(parity_disks) {
  CHECK(parity_disks == 1 || parity_disks == 2);
  CHECK(data_disks >= parity_disks && data_disks <= (parity_disks == 1 ? kMaxColumns - 1 : kMaxRaid6Disks));
  if (parity_disks == 1) return;
  update_tables_ = std::make_unique<std::uint8_t[]>(std::size_t{64} * data_disks);
  for (std::uint32_t d = 0; d < data_disks; ++d) {
    std::uint8_t coefficients[2] = {1, power(d)};
    ec_init_tables(1, 2, coefficients, &update_tables_[std::size_t{64} * d]);
  }
}

ParityCode::~ParityCode() = default;

void ParityCode::generate(std::span<const std::byte* const> data, std::byte* p, std::byte* q, std::size_t len) {
  CHECK(data.size() == data_disks_ && (q == nullptr || parity_disks_ == 2));
  if (q == nullptr) {
    if (p != nullptr) xor_gen(data, p, len);
  } else if (p != nullptr) {
    pq_gen(data, p, q, len);
  } else {  // Q alone: P's member is lost
    std::array<std::byte*, kMaxQColumns> columns;
    for (std::uint32_t d = 0; d < data_disks_; ++d) columns[d] = static_cast<std::byte*>(writable(data[d]));
    columns[data_disks_] = nullptr;
    columns[data_disks_ + 1] = q;
    recover({columns.data(), data_disks_ + std::size_t{2}}, ColumnSet{data_disks_, data_disks_ + 1}, len);
  }
}

void ParityCode::update(std::uint32_t data_index, const std::byte* delta, std::byte* p, std::byte* q,
                        std::size_t len) const {
  CHECK(data_index < data_disks_ && (q == nullptr || parity_disks_ == 2));
  check_length(len);
  check_buffer(delta);
  check_buffer(p);
  check_buffer(q);
  if (q == nullptr) {
    if (p != nullptr) xor_into(p, delta, len);
    return;
  }
  std::uint8_t* const tables = &update_tables_[std::size_t{64} * data_index];
  auto* source = static_cast<unsigned char*>(writable(delta));
  if (p == nullptr) {
    gf_vect_mad(static_cast<int>(len), 1, 0, tables + 32, source, reinterpret_cast<unsigned char*>(q));
    clear_vector_registers();
    return;
  }
  unsigned char* outputs[2] = {reinterpret_cast<unsigned char*>(p), reinterpret_cast<unsigned char*>(q)};
  ec_encode_data_update(static_cast<int>(len), 1, 2, 0, tables, source, outputs);
  clear_vector_registers();
}

const ParityCode::Decoder& ParityCode::decoder_for(const ColumnSet& lost, const ColumnSet& wanted) {
  for (const auto& known : decoders_) {
    if (known && known->lost == lost && known->wanted == wanted) return *known;
  }
  std::array<Row, kMaxQColumns> rows{};  // each column in terms of the sources
  solve_data(data_disks_, lost, rows);
  for (std::uint32_t d = 0; d < data_disks_; ++d) {  // lost parity: of data, some of which is itself computed
    add_scaled(rows[data_disks_], rows[d], 1);
    add_scaled(rows[data_disks_ + 1], rows[d], power(d));
  }
  auto decoder = std::make_unique<Decoder>();
  decoder->lost = lost;
  decoder->wanted = wanted;
  for (std::uint32_t output : wanted) decoder->outputs.push_back(output);
  std::vector<std::uint8_t> coefficients;
  for (std::uint32_t column = 0; column < data_disks_ + parity_disks_; ++column) {
    if (lost.contains(column)) continue;
    if (std::ranges::any_of(decoder->outputs, [&](std::uint32_t output) { return rows[output][column] != 0; })) {
      decoder->sources.push_back(column);
    }
  }
  for (std::uint32_t output : decoder->outputs) {
    for (std::uint32_t source : decoder->sources) coefficients.push_back(rows[output][source]);
  }
  decoder->only_xor =
      decoder->outputs.size() == 1 && std::ranges::all_of(coefficients, [](std::uint8_t c) { return c == 1; });
  decoder->tables.resize(32 * coefficients.size());
  ec_init_tables(static_cast<int>(decoder->sources.size()), static_cast<int>(decoder->outputs.size()),
                 coefficients.data(), decoder->tables.data());
  auto& place = decoders_[next_decoder_];
  next_decoder_ = (next_decoder_ + 1) % kCachedDecoders;
  place = std::move(decoder);
  return *place;
}

void ParityCode::recover(std::span<std::byte* const> columns, const ColumnSet& lost, std::size_t len) {
  CHECK(columns.size() == data_disks_ + parity_disks_);
  CHECK(lost.count() <= parity_disks_ && (lost - ColumnSet::first(data_disks_ + parity_disks_)).empty());
  check_length(len);
  ColumnSet wanted;
  for (std::uint32_t column : lost) {
    check_buffer(columns[column]);
    if (columns[column] != nullptr) wanted.add(column);
  }
  if (wanted.empty()) return;
  if (parity_disks_ == 1) {  // whichever it is: the sum of all others
    std::array<const std::byte*, kMaxColumns> others;
    const std::uint32_t output = lost.lowest();
    std::copy_n(columns.begin(), output, others.begin());
    std::copy(columns.begin() + output + 1, columns.end(), others.begin() + output);
    return xor_gen({others.data(), columns.size() - 1}, columns[output], len);
  }
  if (wanted == ColumnSet{data_disks_, data_disks_ + 1}) {  // pq_gen is 2 to 3 times as fast as two general rows
    return pq_gen(columns.first(data_disks_), columns[data_disks_], columns[data_disks_ + 1], len);
  }

  const Decoder& decoder = decoder_for(lost, wanted);
  std::array<const std::byte*, kMaxQColumns> sources;
  const std::size_t count = decoder.sources.size();
  bool has_null = false;
  for (std::size_t i = 0; i < count; ++i) {
    sources[i] = columns[decoder.sources[i]];
    check_buffer(sources[i]);
    has_null |= sources[i] == nullptr;
  }
  if (decoder.only_xor) return xor_gen({sources.data(), count}, columns[decoder.outputs[0]], len);

  in_pieces(has_null, len, [&](std::size_t offset, std::size_t length) {
    std::array<unsigned char*, kMaxQColumns> in;
    for (std::size_t i = 0; i < count; ++i) {
      in[i] = static_cast<unsigned char*>(writable(sources[i] == nullptr ? kZeroes : sources[i] + offset));
    }
    unsigned char* out[2] = {};
    for (std::size_t i = 0; i < decoder.outputs.size(); ++i) {
      out[i] = reinterpret_cast<unsigned char*>(columns[decoder.outputs[i]] + offset);
    }
    ec_encode_data(static_cast<int>(length), static_cast<int>(count), static_cast<int>(decoder.outputs.size()),
                   const_cast<unsigned char*>(decoder.tables.data()), in.data(), out);
    clear_vector_registers();
  });
}

namespace {

constexpr std::size_t kScan = 4096;  // syndromes are computed on the stack, this much at a time

struct Syndromes {
  alignas(64) std::byte p[kScan];
  alignas(64) std::byte q[kScan];
};

// What stored parity differs from computed parity, for length bytes from offset; q only with two parity columns.
void compute_syndromes(std::span<const std::byte* const> columns, std::uint32_t data_disks, std::size_t offset,
                       std::size_t length, Syndromes& syndromes) {
  std::array<const std::byte*, kMaxColumns> data;
  for (std::uint32_t d = 0; d < data_disks; ++d) data[d] = columns[d] == nullptr ? nullptr : columns[d] + offset;
  const bool two = columns.size() == data_disks + std::size_t{2};
  const std::span<const std::byte* const> sources(data.data(), data_disks);
  if (two) {
    pq_gen(sources, syndromes.p, syndromes.q, length);
  } else {
    xor_gen(sources, syndromes.p, length);
  }
  if (const std::byte* p = columns[data_disks]) xor_into(syndromes.p, p + offset, length);
  if (!two) return;
  if (const std::byte* q = columns[data_disks + 1]) xor_into(syndromes.q, q + offset, length);
}

}  // namespace

bool ParityCode::consistent(std::span<const std::byte* const> columns, std::size_t len) const {
  CHECK(columns.size() == data_disks_ + parity_disks_);
  check_length(len);
  Syndromes syndromes;
  for (std::size_t offset = 0; offset < len; offset += kScan) {
    const std::size_t length = std::min(kScan, len - offset);
    compute_syndromes(columns, data_disks_, offset, length, syndromes);
    if (!is_zero(syndromes.p, length) || (parity_disks_ == 2 && !is_zero(syndromes.q, length))) return false;
  }
  return true;
}

Located ParityCode::locate(std::span<const std::byte* const> columns, std::size_t len) const {
  if (parity_disks_ == 1) {
    return {consistent(columns, len) ? Located::Verdict::consistent : Located::Verdict::unknown, 0};
  }
  CHECK(columns.size() == data_disks_ + parity_disks_);
  check_length(len);
  // Candidates: P explains bytes where only P differs, Q those where only Q does, data column d those where both differ
  // and Q's difference is g^d times P's.
  ColumnSet candidates = ColumnSet::first(data_disks_ + 2);
  std::array<std::uint8_t, kMaxQColumns> powers{};
  for (std::uint32_t d = 0; d < data_disks_; ++d) powers[d] = power(d);
  bool differs = false;
  Syndromes syndromes;
  for (std::size_t offset = 0; offset < len; offset += kScan) {
    const std::size_t length = std::min(kScan, len - offset);
    compute_syndromes(columns, data_disks_, offset, length, syndromes);
    for (std::size_t i = 0; i < length; ++i) {
      const auto p = static_cast<std::uint8_t>(syndromes.p[i]);
      const auto q = static_cast<std::uint8_t>(syndromes.q[i]);
      if ((p | q) == 0) continue;
      differs = true;
      if (q == 0) {
        candidates = candidates & ColumnSet{data_disks_};
      } else if (p == 0) {
        candidates = candidates & ColumnSet{data_disks_ + 1};
      } else {
        for (std::uint32_t d : candidates) {
          if (d >= data_disks_ || multiply(p, powers[d]) != q) candidates.remove(d);
        }
      }
      if (candidates.empty()) return {Located::Verdict::unknown, 0};
    }
  }
  if (!differs) return {};
  CHECK(candidates.count() == 1, "one differing byte leaves one candidate");
  return {Located::Verdict::single, candidates.lowest()};
}

}  // namespace resilver::raid
