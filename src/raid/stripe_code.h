// The parity arithmetic of an array's stripes: ParityCode for the columns of geometry.h. Nearly always these are the parity
// code's own; in DDF's layouts of RAID 6 the coefficients change from stripe to stripe (Geometry::code_column()).
//
// All functions as in parity.h, with the stripe that the columns are of. Belongs to one thread.
#pragma once

#include <span>

#include "raid/geometry.h"
#include "raid/parity.h"

namespace resilver::raid {

class StripeCode {
 public:
  explicit StripeCode(const Geometry& geometry)
      : geometry_(geometry), code_(geometry.code_data_disks(), geometry.parity_disks()) {}

  void generate(std::uint64_t stripe, std::span<const std::byte* const> data, std::byte* p, std::byte* q,
                std::size_t len);
  void update(std::uint64_t stripe, std::uint32_t column, const std::byte* delta, std::byte* p, std::byte* q,
              std::size_t len) const {
    code_.update(geometry_.code_column(stripe, column), delta, p, q, len);
  }
  void recover(std::uint64_t stripe, std::span<std::byte* const> columns, const ColumnSet& lost, std::size_t len);
  bool consistent(std::uint64_t stripe, std::span<const std::byte* const> columns, std::size_t len) const;
  Located locate(std::uint64_t stripe, std::span<const std::byte* const> columns, std::size_t len) const;

 private:
  const Geometry& geometry_;
  ParityCode code_;
};

}  // namespace resilver::raid
