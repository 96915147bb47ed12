#include "raid/stripe_code.h"

#include <array>

namespace resilver::raid {
namespace {

// Columns of a stripe where the parity code wants them; what it has more are zeroes.
template <typename Byte>
class CodeColumns {
 public:
  CodeColumns(const Geometry& geometry, std::uint64_t stripe, std::span<Byte* const> columns) {
    for (std::uint32_t column = 0; column < columns.size(); ++column) {
      bytes_[geometry.code_column(stripe, column)] = columns[column];
    }
  }
  std::span<Byte* const> first(std::size_t count) const { return {bytes_.data(), count}; }

 private:
  std::array<Byte*, kMaxQColumns> bytes_{};
};

}  // namespace

void StripeCode::generate(std::uint64_t stripe, std::span<const std::byte* const> data, std::byte* p, std::byte* q,
                          std::size_t len) {
  if (!geometry_.is_ddf()) return code_.generate(data, p, q, len);
  const CodeColumns<const std::byte> in(geometry_, stripe, data);
  code_.generate(in.first(geometry_.code_data_disks()), p, q, len);
}

void StripeCode::recover(std::uint64_t stripe, std::span<std::byte* const> columns, const ColumnSet& lost,
                         std::size_t len) {
  if (!geometry_.is_ddf()) return code_.recover(columns, lost, len);
  ColumnSet lost_in_code;
  for (const std::uint32_t column : lost) lost_in_code.add(geometry_.code_column(stripe, column));
  const CodeColumns<std::byte> all(geometry_, stripe, columns);
  code_.recover(all.first(geometry_.code_data_disks() + geometry_.parity_disks()), lost_in_code, len);
}

bool StripeCode::consistent(std::uint64_t stripe, std::span<const std::byte* const> columns, std::size_t len) const {
  if (!geometry_.is_ddf()) return code_.consistent(columns, len);
  const CodeColumns<const std::byte> all(geometry_, stripe, columns);
  return code_.consistent(all.first(geometry_.code_data_disks() + geometry_.parity_disks()), len);
}

Located StripeCode::locate(std::uint64_t stripe, std::span<const std::byte* const> columns, std::size_t len) const {
  if (!geometry_.is_ddf()) return code_.locate(columns, len);
  const CodeColumns<const std::byte> all(geometry_, stripe, columns);
  Located located = code_.locate(all.first(geometry_.code_data_disks() + geometry_.parity_disks()), len);
  if (located.verdict != Located::Verdict::single) return located;
  for (std::uint32_t column = 0; column < geometry_.columns(); ++column) {
    if (geometry_.code_column(stripe, column) == located.column) return {Located::Verdict::single, column};
  }
  return {Located::Verdict::unknown, 0};  // a column that is always zero cannot be the culprit
}

}  // namespace resilver::raid
