// README of src/raid
//
// What it is for: an array of block devices ("members") that survives the loss of some of them: RAID 0, 1, 4, 5 and 6 as
// Linux md lays them out, so that the kernel and mdadm read our images and we read theirs. From the bottom: geometry
// (where a byte lives), parity (the arithmetic), superblock, bitmap and bad-block formats (what is on the members), and
// above them the array itself.
// What it may assume: the seam in src/env (clock, block devices, scheduler), one thread per array. All that is read from
// a member is foreign input until it was decoded and checked.
// What it never does: include src/uring, src/sim or src/replica; ask a std clock, rand, a thread or a file; retry below the
// client; return data it knows to be wrong.
//
// This file: pure functions. Source: Linux md's layouts (drivers/md/raid5.c, raid5_compute_sector; raid6 syndrome order),
// verified against kernel-made images (docs), mdadm(8), md(4).
//
// Words. A *stripe* is a row of chunks, one on each member, at the same offset. Its *columns* are numbered by what they
// hold: columns 0 .. D-1 are the data chunks in logical order (column d of stripe s holds logical bytes
// [s·D·chunk + d·chunk, + chunk)), column D is P, column D+1 is Q. A *member* is a slot 0 .. disks-1 of the array (md's
// "role"). Which member holds which column changes from stripe to stripe; that is all that a layout is.
//
// Q is the sum of g^d · data_d over GF(2^8), g = 2, polynomial 0x11d: the coefficient of column d is g^d. In md the
// syndrome counts data disks from the one after Q; in the left-symmetric layout that one holds column 0, so both agree.
//
// RAID 1 in these words: every stripe has one data column (D = 1), which *every* member holds at its logical offset; there
// is no P or Q. It has no chunks on disk; chunk_bytes() is then kMirrorUnit and only cuts the address space into pieces for
// locks and windows, and the last stripe may be short (column_bytes()).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "raid/index_set.h"

namespace resilver::raid {

enum class Level : int { raid0 = 0, raid1 = 1, raid4 = 4, raid5 = 5, raid6 = 6 };  // md's numbers

// md's numbers. Where P of stripe s lies and where data begins:
//   left_symmetric:  P on member n-1-(s mod n), data from the member after P (RAID 6: Q after P, data after Q), wrapping.
//   left_asymmetric: P on the same member, data on the others in rising order.
// RAID 0, 1 and 4 have no choice of layout: they take `none` and ignore md's number (RAID 4: P on the last member).
enum class Layout : int {
  left_asymmetric = 0,
  right_asymmetric = 1,
  left_symmetric = 2,
  right_symmetric = 3,
  none = -1
};

inline constexpr std::uint32_t kMaxDisks = 32;
inline constexpr std::uint64_t kMinChunk = 4096;
inline constexpr std::uint64_t kMaxChunk = 16ull << 20;
inline constexpr std::uint64_t kMirrorUnit = 64 * 1024;  // RAID 1's unit of locks and windows, not on disk
inline constexpr std::uint64_t kMaxCapacity = std::uint64_t{1} << 62;

// The words used in files, messages and by mdadm: "raid5", "left-symmetric". name(Layout::none) is "-".
const char* name(Level level) noexcept;
const char* name(Layout layout) noexcept;
std::optional<Level> level_from_number(int number) noexcept;
std::optional<Layout> layout_from_name(std::string_view text) noexcept;
// Left-symmetric for RAID 5 and 6, none for the others.
Layout default_layout(Level level) noexcept;

// What one column of one stripe is.
enum class RoleKind : std::uint8_t { data, p, q };
struct Role {
  RoleKind kind = RoleKind::data;
  std::uint32_t data_index = 0;  // for data: 0 .. D-1; else 0
  bool operator==(const Role&) const = default;
};

// Where a logical byte lives.
struct Location {
  std::uint64_t stripe = 0;
  std::uint32_t data_index = 0;     // column within the stripe
  std::uint32_t member = 0;         // RAID 1: 0, standing for every member
  std::uint64_t member_offset = 0;  // bytes from the start of the member's data area
  std::uint64_t chunk_offset = 0;   // bytes from the start of the chunk
};

// What a byte of a member's data area holds.
struct MemberPlace {
  std::uint64_t stripe = 0;
  Role role;
  std::uint64_t chunk_offset = 0;
  std::optional<std::uint64_t> logical;  // empty for parity
};

// A part of a logical range that falls into one stripe. `begin` .. `end` is the range of column bytes (offsets within the
// chunk) that the part spans; `full` are those touched columns which it covers over all of begin .. end.
struct StripePart {
  std::uint64_t stripe = 0;
  std::uint64_t logical = 0;  // first byte of the part
  std::uint64_t length = 0;   // bytes of the part
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  ColumnSet touched;
  ColumnSet full;
};

class Geometry {
 public:
  // Validates everything that can be wrong about an array's shape; each refusal is one line that names the value.
  //   disks: RAID 0: 1 ..; RAID 1: 2 .. 8; RAID 4 and 5: 3 ..; RAID 6: 4 ..; at most kMaxDisks. (md itself would allow
  //   RAID 5 of 2; those are a mirror in disguise and are refused here.)
  //   chunk_bytes: a power of two, kMinChunk .. kMaxChunk; for RAID 1 ignored (kMirrorUnit).
  //   member_bytes: usable bytes of each member, a multiple of the chunk (RAID 1: of 4096), > 0; data capacity at most
  //   kMaxCapacity.
  // Errors: invalid_argument; unsupported for md layouts that are known and not offered (the right ones, and
  // left-asymmetric for RAID 6).
  static Result<Geometry> make(Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk_bytes,
                               std::uint64_t member_bytes);

  Level level() const { return level_; }
  Layout layout() const { return layout_; }
  std::uint32_t disks() const { return disks_; }
  std::uint64_t chunk_bytes() const { return std::uint64_t{1} << chunk_shift_; }
  std::uint64_t member_bytes() const { return member_bytes_; }

  bool is_mirror() const { return level_ == Level::raid1; }
  std::uint32_t data_disks() const { return data_disks_; }      // D: data columns per stripe; RAID 1: 1
  std::uint32_t parity_disks() const { return parity_disks_; }  // 0, 1 (P) or 2 (P, Q)
  std::uint32_t columns() const { return data_disks_ + parity_disks_; }
  std::uint32_t p_column() const { return data_disks_; }      // meaningful if parity_disks() ≥ 1
  std::uint32_t q_column() const { return data_disks_ + 1; }  // meaningful if parity_disks() = 2
  std::uint32_t redundancy() const { return is_mirror() ? disks_ - 1 : parity_disks_; }  // losses survived
  std::uint64_t capacity_bytes() const { return member_bytes_ * data_disks_; }
  std::uint64_t stripe_data_bytes() const { return chunk_bytes() * data_disks_; }
  std::uint64_t stripes() const { return (member_bytes_ + chunk_bytes() - 1) >> chunk_shift_; }
  // Bytes of each column in this stripe: the chunk, but for the last stripe of a RAID 1.
  std::uint64_t column_bytes(std::uint64_t stripe) const;
  // Offset of a stripe in every member's data area.
  std::uint64_t stripe_member_offset(std::uint64_t stripe) const { return stripe << chunk_shift_; }
  std::uint64_t stripe_of_member_offset(std::uint64_t member_offset) const { return member_offset >> chunk_shift_; }
  MemberSet all_members() const { return MemberSet::first(disks_); }
  ColumnSet all_data() const { return ColumnSet::first(data_disks_); }

  // Where logical byte `logical` (< capacity_bytes()) lives. One division by D, the rest are shifts.
  Location map(std::uint64_t logical) const;
  // The inverse; member < disks(), member_offset < member_bytes().
  MemberPlace at(std::uint32_t member, std::uint64_t member_offset) const;

  // The member that holds a column of a stripe (RAID 1: 0, standing for all).
  std::uint32_t member_of(std::uint64_t stripe, std::uint32_t column) const;
  std::uint32_t data_member(std::uint64_t stripe, std::uint32_t data_index) const {
    return member_of(stripe, data_index);
  }
  std::uint32_t p_member(std::uint64_t stripe) const { return member_of(stripe, p_column()); }
  std::uint32_t q_member(std::uint64_t stripe) const { return member_of(stripe, q_column()); }
  // The column that a member holds in a stripe (RAID 1: always 0).
  std::uint32_t column_of(std::uint64_t stripe, std::uint32_t member) const;
  Role role_of(std::uint64_t stripe, std::uint32_t member) const;
  // Converts sets. RAID 1: column 0 is lost only when all members are, so columns_lost() says so.
  ColumnSet columns_lost(std::uint64_t stripe, MemberSet lost_members) const;
  MemberSet members_of(std::uint64_t stripe, ColumnSet columns) const;  // RAID 1: {0} → all members

  // The leading part of [logical, logical + length) that lies in one stripe and is worth doing at once: the end of one chunk
  // and the start of the next make two parts if their column ranges leave a gap, else what falls into a stripe is one part.
  // length > 0, the range inside the array. Loop:
  // while (length > 0) { part = first_part(logical, length); ...; logical += part.length; length -= part.length; }
  StripePart first_part(std::uint64_t logical, std::uint64_t length) const;

 private:
  Geometry() = default;

  Level level_ = Level::raid0;
  Layout layout_ = Layout::none;
  std::uint32_t disks_ = 0;
  std::uint32_t data_disks_ = 0;
  std::uint32_t parity_disks_ = 0;
  std::uint32_t chunk_shift_ = 0;
  std::uint64_t member_bytes_ = 0;
};

// ---- What an access costs -------------------------------------------------------------------------------------------
// One member I/O is one read or one write of one member over the column range of a StripePart, however long. The array
// executes these plans and `resilver map` prints them, so what is shown is what is done.

struct StripeCost {
  std::uint32_t reads = 0;
  std::uint32_t writes = 0;
  bool operator==(const StripeCost&) const = default;
};

enum class WriteWay : std::uint8_t {
  impossible,         // more members lost than the level survives
  data_only,          // nothing to keep in step (RAID 0, 1, or all parity of this stripe lost): write, read nothing
  full_stripe,        // all data is given: compute parity from it, read nothing
  read_modify_write,  // read old data of touched columns and old parity, add the difference
  reconstruct_write,  // read the data columns not fully given, compute parity anew
  rebuild_write,      // degraded: read all that is left, recover the old data, then as reconstruct_write
};
const char* name(WriteWay way) noexcept;

struct WritePlan {
  WriteWay way = WriteWay::impossible;
  ColumnSet reads;     // columns to read over begin .. end, all on live members
  ColumnSet recovers;  // lost data columns whose old content must be computed first (rebuild_write only)
  ColumnSet writes;    // columns to write: touched data and parity, on live members; RAID 1: {0} = every live member
  StripeCost cost;     // member I/Os
};

struct ReadPlan {
  bool possible = false;
  ColumnSet reads;     // columns to read, all on live members; RAID 1: {0} = any one live member
  ColumnSet recovers;  // wanted columns to compute from `reads`
  StripeCost cost;
};

// How to write the touched columns of a stripe (`full` ⊆ `touched`: those given over the whole column range) while the
// members in `lost` can be neither read nor written there. The way with the fewest member I/Os; equal: reconstruct_write,
// which does not build on old parity (md's choice too). touched must not be empty.
WritePlan plan_write(const Geometry& geometry, std::uint64_t stripe, ColumnSet touched, ColumnSet full, MemberSet lost);

// How to read the wanted data columns of a stripe. A lost column needs every live data column and as many parities as
// data columns are lost (P before Q).
ReadPlan plan_read(const Geometry& geometry, std::uint64_t stripe, ColumnSet wanted, MemberSet lost);

}  // namespace resilver::raid
