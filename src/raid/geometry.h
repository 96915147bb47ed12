// README of src/raid
//
// What it is for: an array of block devices ("members") that survives the loss of some of them: linear and RAID 0, 1, 4,
// 5, 6 and 10 as Linux md lays them out, so that the kernel and mdadm read our images and we read theirs. From the bottom:
// geometry (where a byte lives), parity (the arithmetic), superblock, bitmap and bad-block formats (what is on the
// members), and above them the array itself.
// What it may assume: the seam in src/env (clock, block devices, scheduler), one thread per array. All that is read from
// a member is foreign input until it was decoded and checked.
// What it never does: include src/uring, src/sim or src/replica; ask a std clock, rand, a thread or a file; retry below the
// client; return data it knows to be wrong.
//
// This file: pure functions. Source: Linux md's layouts (drivers/md/raid5.c, raid5_compute_sector; raid6 syndrome order;
// raid10.c, near copies; raid0.c, zones; linear.c), verified against kernel-made images (docs/on-disk-format.md), mdadm(8),
// md(4).
//
// Words. A *member* is a slot 0 .. disks-1 of the array (md's "role").
//
// RAID 0, 4, 5, 6: a *stripe* is a row of chunks, one on each member, at the same offset. Its *columns* are what the parity
// code counts: 0 .. D-1 are data **in the order of md's syndrome** (from the member after the last parity on, wrapping, so
// the coefficient of column c in Q is g^c, g = 2 over GF(2^8), polynomial 0x11d), column D is P, column D+1 is Q. So columns
// go to the parity code as they are, in every layout. Which member holds which column changes from stripe to stripe.
//   The data of a stripe has an order of its own, the array's: *data index* i holds logical bytes [s·D·chunk + i·chunk,
// + chunk). In the symmetric layouts, parity-first, parity-last and RAID 0 and 4 column and data index are the same number.
// In the asymmetric ones (data on the non-parity members in rising order) the columns are rotated against it:
// column_at(stripe, i) and data_index(stripe, column) convert, column_logical() tells where a column's data lives in the
// array. Sets of columns (ColumnSet) never hold data indices.
//   RAID 6 as RAID 5 with Q on the last member (the layouts *_6), and as DDF has it (ddf_*): columns are the data members in
// rising order. With DDF the coefficient in Q is not g^c but g^(member), parity members counted too: see code_column().
//
// RAID 1 and 10 (is_mirrored()): a *stripe* is one piece of the logical address space with all its copies; it has one data
// column (D = 1), no P, no Q. RAID 1: a piece of kMirrorUnit bytes, at the same offset on every member; it is not on disk and
// only cuts the address space for locks and windows, and the last one may be short (column_bytes()). RAID 10: a chunk, with
// N copies (near-N). Copy c of chunk k is the (Nk + c)-th chunk of the array's space counted row by row over the members, so
// where N does not divide the number of members the copies may lie in different rows. Use copy_of() and logical_at(); for
// RAID 10 the functions that take a *stripe's* member offset or a member's column have no meaning.
//
// RAID 0 with members of unequal size has md's *zones*: zone 0 stripes over all members up to the end of the smallest, the
// next one over those that go on, and so on. A stripe is still a row of chunks at the same offset, over its zone's members.
//   Linear is the same with a zone for each member, in the order of slots: a stripe is one chunk, counted through the array,
// and a member ends with its last whole chunk (md's "rounding"; without one the chunk is a sector).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "raid/index_set.h"

namespace resilver::raid {

enum class Level : int {
  linear = -1,
  raid0 = 0,
  raid1 = 1,
  raid4 = 4,
  raid5 = 5,
  raid6 = 6,
  raid10 = 10
};  // md's numbers

// The level can keep redundancy. Where it cannot, each member is used as far as it goes.
constexpr bool is_redundant(Level level) { return level != Level::linear && level != Level::raid0; }

// The layouts that are offered; md's numbers (layout_number()) depend on the level. n members, stripe s; RAID 6: Q is on the
// member after P, wrapping.
//   left_*:       P on member n-1-(s mod n)          right_*:     P on member s mod n
//   *_symmetric:  data from the member after parity, wrapping        *_asymmetric: data on the other members, rising
//   parity_first: P (and Q) on the first members     parity_last: P (and Q) on the last
//   left_asymmetric_6 ..: RAID 6 as a RAID 5 of one member less, Q on the last
//   ddf_*:        RAID 6 as in SNIA's DDF. zero_restart: as right_asymmetric; n_restart: P on member n-1-((s+1) mod n), Q on
//                 the next, data rising; n_continue: P as left_*, Q on the member before, data from the member after P on,
//                 wrapping
//   near_2:       RAID 10 with two copies, next to each other; near_layout(N) has N
//   raid0_original, raid0_alternate: RAID 0. They differ only with unequal members: from which member a zone begins.
//   none:         linear; RAID 1; RAID 4 (P on the last member); allowed for RAID 0 with equal members.
enum class Layout : int {
  left_asymmetric,
  right_asymmetric,
  left_symmetric,
  right_symmetric,
  parity_first,
  parity_last,
  left_asymmetric_6,
  right_asymmetric_6,
  left_symmetric_6,
  right_symmetric_6,
  parity_first_6,
  ddf_zero_restart,
  ddf_n_restart,
  ddf_n_continue,
  raid0_original,
  raid0_alternate,
  none,
  near_2 = 0x100 + 2  // and the other numbers of copies
};

inline constexpr std::uint32_t kMaxCopies = 255;  // of RAID 10
// RAID 10 with 2 .. kMaxCopies copies; near_copies(): how many a layout has, 0 if it is none of these.
constexpr Layout near_layout(std::uint32_t copies) { return static_cast<Layout>(0x100 + copies); }
constexpr std::uint32_t near_copies(Layout layout) {
  const auto number = static_cast<std::uint32_t>(layout);
  return number >= 0x102 && number <= 0x100 + kMaxCopies ? number - 0x100 : 0;
}

inline constexpr std::uint64_t kMinChunk = 4096;
inline constexpr std::uint64_t kMaxChunk = 512ull << 30;  // md counts its sectors in a signed 32-bit number
inline constexpr std::uint64_t kMirrorUnit = 64 * 1024;   // RAID 1's unit of locks and windows, not on disk
inline constexpr std::uint64_t kMaxCapacity = std::uint64_t{1} << 62;

// The words used in files, messages and by mdadm: "raid5", "left-symmetric", "near-2". name(Layout::none) is "-".
const char* name(Level level) noexcept;
std::string name(Layout layout);
std::optional<Level> level_from_number(int number) noexcept;
std::optional<Layout> layout_from_name(std::string_view text) noexcept;
// Left-symmetric for RAID 5 and 6, near-2 for RAID 10, original for RAID 0, none for the others.
Layout default_layout(Level level) noexcept;
// The names of the layouts that a level has, for messages: "left-asymmetric, ... or near-N"; empty for linear, RAID 1, 4.
std::string layout_choices(Level level);
// md's number as in a superblock. none: 0.
int layout_number(Level level, Layout layout) noexcept;
// The inverse. Levels without a choice: none, whatever the number. RAID 0: 0 (not told) is none. Errors: unsupported for
// RAID 10's other layouts, by their names (far-2, offset-2); bad_input for numbers that md does not know.
Result<Layout> layout_from_number(Level level, int number);

// What a chunk of a member is. unused: places at the end that a RAID 10 has left over where the number of copies does not
// divide that of the members' chunks, and a RAID 0 with a chunk that is no power of two.
enum class RoleKind : std::uint8_t { data, p, q, unused };
struct Role {
  RoleKind kind = RoleKind::data;
  std::uint32_t data_index = 0;  // for data: 0 .. D-1 in logical order; else 0
  bool operator==(const Role&) const = default;
};

// Where a logical byte lives.
struct Location {
  std::uint64_t stripe = 0;
  std::uint32_t data_index = 0;     // which of the stripe's data chunks, in logical order
  std::uint32_t column = 0;         // the same in the order of columns
  std::uint32_t member = 0;         // RAID 1 and 10: of copy 0
  std::uint64_t member_offset = 0;  // bytes from the start of the member's data area
  std::uint64_t chunk_offset = 0;   // bytes from the start of the chunk
  std::uint64_t run_bytes = 0;      // so many from here on are contiguous on the member: to the chunk's or member's end
};

// What a byte of a member's data area holds.
struct MemberPlace {
  std::uint64_t stripe = 0;
  Role role;
  std::uint64_t chunk_offset = 0;
  std::optional<std::uint64_t> logical;  // empty for parity and unused places
};

// Where one copy of a logical byte lives (RAID 1 and 10).
struct CopyPlace {
  std::uint32_t member = 0;
  std::uint64_t member_offset = 0;
  bool operator==(const CopyPlace&) const = default;
};

// Bytes [begin, end) of the members' data areas.
struct MemberRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  bool operator==(const MemberRange&) const = default;
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
  //   disks: linear, RAID 0 and 1: 1 ..; RAID 4 and 5: 2 ..; RAID 6: 4 ..; RAID 10: as many as copies, and 2 ..; at most
  //   kMaxDisks, RAID 6 kMaxRaid6Disks.
  //   chunk_bytes: a power of two, kMinChunk .. kMaxChunk; RAID 0: any multiple of 512; linear: also 0 (a sector); for RAID 1
  //   ignored (kMirrorUnit).
  //   member_bytes: usable bytes of each member, a multiple of the chunk (RAID 1: of 512), > 0; data capacity at most
  //   kMaxCapacity.
  // Errors: invalid_argument.
  static Result<Geometry> make(Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk_bytes,
                               std::uint64_t member_bytes);
  // RAID 0 or linear of members of these sizes, each rounded down to the chunk (and then > 0), in the order of slots. layout:
  // RAID 0: raid0_original or raid0_alternate; with equal members also none. Errors: invalid_argument.
  static Result<Geometry> make_zoned(Level level, Layout layout, std::uint64_t chunk_bytes,
                                     std::span<const std::uint64_t> member_bytes);

  Level level() const { return level_; }
  Layout layout() const { return layout_; }
  std::uint32_t disks() const { return disks_; }
  std::uint64_t chunk_bytes() const { return chunk_bytes_; }
  // Used bytes of every member's data area; with zones: of the largest.
  std::uint64_t member_bytes() const { return member_bytes_; }
  std::uint64_t member_bytes(std::uint32_t member) const {
    return zones_.empty() ? member_bytes_ : zoned_bytes_[member];
  }

  bool is_mirror() const { return level_ == Level::raid1; }
  bool is_mirrored() const { return level_ == Level::raid1 || level_ == Level::raid10; }
  bool has_zones() const { return !zones_.empty(); }  // linear, and RAID 0 with unequal members
  std::uint32_t copies() const { return copies_; }
  // A RAID 1 of one disk is, too: as soon as it has more slots.
  bool is_redundant() const { return raid::is_redundant(level_); }
  // D: data columns per stripe; RAID 1 and 10: 1; with zones: of the first one.
  std::uint32_t data_disks() const { return data_disks_; }
  std::uint32_t parity_disks() const { return parity_disks_; }  // 0, 1 (P) or 2 (P, Q)
  std::uint32_t columns() const { return data_disks_ + parity_disks_; }
  std::uint32_t p_column() const { return data_disks_; }      // meaningful if parity_disks() ≥ 1
  std::uint32_t q_column() const { return data_disks_ + 1; }  // meaningful if parity_disks() = 2
  // Losses that are always survived, at the worst place: a RAID 10 may survive more (survives()).
  std::uint32_t redundancy() const { return is_mirrored() ? copies() - 1 : parity_disks_; }
  // True if every byte can still be read when exactly these members are lost.
  bool survives(MemberSet lost) const;
  // RAID 0 with a chunk that is no power of two: what md offers, which is a little less than its members hold.
  std::uint64_t capacity_bytes() const { return capacity_; }
  std::uint64_t stripe_data_bytes() const { return chunk_bytes() * data_disks_; }  // without zones
  std::uint64_t stripes() const {
    const bool counted_through = is_mirrored() || level_ == Level::linear;
    return in_chunks((counted_through ? capacity_ : member_bytes_) + chunk_bytes() - 1);
  }
  // What md's resync offset and bitmap count: RAID 10: logical bytes; else bytes of the members' data areas.
  std::uint64_t sync_bytes() const { return level_ == Level::raid10 ? capacity_ : member_bytes_; }
  // Bytes of each column in this stripe: the chunk, but for the last stripe of a RAID 1.
  std::uint64_t column_bytes(std::uint64_t stripe) const;
  // Offset of a stripe in every member's data area. Not for linear and RAID 10, nor is the inverse.
  std::uint64_t stripe_member_offset(std::uint64_t stripe) const { return stripe * chunk_bytes_; }
  std::uint64_t stripe_of_member_offset(std::uint64_t member_offset) const { return in_chunks(member_offset); }
  MemberSet all_members() const { return MemberSet::first(disks_); }
  ColumnSet all_data() const { return ColumnSet::first(data_disks_); }

  // Where logical byte `logical` (< capacity_bytes()) lives. One division by D, the rest are shifts (but for RAID 0 with a
  // chunk that is no power of two).
  Location map(std::uint64_t logical) const;
  // The inverse; member < disks(), member_offset < member_bytes(member). RAID 1 and 10: of any copy.
  MemberPlace at(std::uint32_t member, std::uint64_t member_offset) const;
  std::optional<std::uint64_t> logical_at(std::uint32_t member, std::uint64_t member_offset) const {
    return at(member, member_offset).logical;
  }
  // The part of the members' data areas that holds logical bytes [begin, end) and what protects them; whole rows of chunks,
  // RAID 1: the same range. begin < end ≤ capacity_bytes(). Not for linear.
  MemberRange member_range(std::uint64_t begin, std::uint64_t end) const;

  // RAID 1 and 10. Copy 0 .. copies()-1 of a logical byte; the copies lie on distinct members.
  CopyPlace copy_of(std::uint64_t logical, std::uint32_t copy) const;
  // Bytes from `logical` to the end of its stripe: so much is contiguous in every copy.
  std::uint64_t mirrored_run(std::uint64_t logical) const;

  // The member that holds a column of a stripe (RAID 1 and 10: copy 0's).
  std::uint32_t member_of(std::uint64_t stripe, std::uint32_t column) const;
  std::uint32_t p_member(std::uint64_t stripe) const { return member_of(stripe, p_column()); }
  std::uint32_t q_member(std::uint64_t stripe) const { return member_of(stripe, q_column()); }
  // The column that a member holds in a stripe (RAID 1 and 10: 0). With zones: the member must reach that far.
  std::uint32_t column_of(std::uint64_t stripe, std::uint32_t member) const;
  Role role_of(std::uint64_t stripe, std::uint32_t member) const;
  // Between a stripe's data in logical order and its data columns.
  std::uint32_t column_at(std::uint64_t stripe, std::uint32_t data_index) const;
  std::uint32_t data_index(std::uint64_t stripe, std::uint32_t column) const;
  // The first logical byte of a data column; its chunk follows. Without zones.
  std::uint64_t column_logical(std::uint64_t stripe, std::uint32_t column) const {
    return stripe * stripe_data_bytes() + data_index(stripe, column) * chunk_bytes_;
  }
  // What the parity code calls a column: its coefficient in Q is g^(this). All but DDF: the same number. DDF: data columns are
  // code columns 0 .. disks-1 by member, and those of P's and Q's members are always zeroes; P and Q follow
  // (code_data_disks()).
  std::uint32_t code_data_disks() const { return is_ddf() ? disks_ : data_disks_; }
  std::uint32_t code_column(std::uint64_t stripe, std::uint32_t column) const {
    if (!is_ddf()) return column;
    return column < data_disks_ ? member_of(stripe, column) : disks_ + column - data_disks_;
  }
  bool is_ddf() const {
    return layout_ == Layout::ddf_zero_restart || layout_ == Layout::ddf_n_restart || layout_ == Layout::ddf_n_continue;
  }
  // Converts sets. RAID 1 and 10: column 0 is lost only when all its copies are, so columns_lost() says so.
  ColumnSet columns_lost(std::uint64_t stripe, MemberSet lost_members) const;
  MemberSet members_of(std::uint64_t stripe, ColumnSet columns) const;  // RAID 1 and 10: {0} → all that hold a copy

  // The leading part of [logical, logical + length) that lies in one stripe and is worth doing at once: the end of one chunk
  // and the start of the next make two parts if their column ranges leave a gap, else what falls into a stripe is one part.
  // length > 0, the range inside the array. Loop:
  // while (length > 0) { part = first_part(logical, length); ...; logical += part.length; length -= part.length; }
  StripePart first_part(std::uint64_t logical, std::uint64_t length) const;

 private:
  struct Zone {
    std::uint64_t first_stripe = 0;
    std::uint64_t first_row = 0;    // of its members, in chunks; RAID 0: the first stripe, linear: 0
    std::uint64_t first_chunk = 0;  // of the array
    std::uint64_t end_chunk = 0;
    std::uint32_t width = 0;     // members in it
    std::uint32_t rotation = 0;  // the member that holds the zone's first chunk, as an index into `members`
    std::vector<std::uint16_t> members;
  };

  Geometry() = default;
  static Result<Geometry> checked(Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk_bytes,
                                  std::uint64_t member_bytes);
  void make_zones(std::span<const std::uint64_t> member_chunks);
  void add_zone(std::uint64_t first_row, std::uint64_t end_row, std::vector<std::uint16_t> members);
  std::uint64_t striped_capacity() const;
  const Zone& zone_of_stripe(std::uint64_t stripe) const;
  const Zone& zone_of_chunk(std::uint64_t chunk) const;
  std::uint32_t member_in(const Zone& zone, std::uint32_t column) const {
    return zone.members[(column + zone.rotation) % zone.width];
  }
  Location map_zoned(std::uint64_t logical) const;
  std::uint64_t logical_chunk(std::uint64_t stripe, std::uint32_t data_index) const;
  std::uint64_t in_chunks(std::uint64_t bytes) const {
    return chunk_shift_ != 0 ? bytes >> chunk_shift_ : bytes / chunk_bytes_;
  }
  std::uint64_t within_chunk(std::uint64_t bytes) const { return bytes - in_chunks(bytes) * chunk_bytes_; }
  bool rises() const;
  std::uint32_t p_place(std::uint64_t stripe) const;
  std::uint32_t q_place(std::uint32_t p) const;
  std::uint32_t rotation(std::uint64_t stripe) const;
  std::uint64_t flat_of_copy(std::uint64_t logical, std::uint32_t copy) const;

  Level level_ = Level::raid0;
  Layout layout_ = Layout::none;
  std::uint32_t disks_ = 0;
  std::uint32_t data_disks_ = 0;
  std::uint32_t parity_disks_ = 0;
  std::uint32_t copies_ = 1;
  std::uint64_t chunk_bytes_ = 0;
  std::uint32_t chunk_shift_ = 0;  // 0: the chunk is no power of two
  std::uint64_t member_bytes_ = 0;
  std::uint64_t capacity_ = 0;
  std::vector<Zone> zones_;                 // RAID 0: none, or two and more; linear: one for each member
  std::vector<std::uint64_t> zoned_bytes_;  // of each member, if there are zones
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
  data_only,          // nothing to keep in step (RAID 0, 1, 10, or all parity of this stripe lost): write, read nothing
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
  ColumnSet writes;  // columns to write: touched data and parity, on live members; RAID 1 and 10: {0} = every live copy
  StripeCost cost;   // member I/Os
};

struct ReadPlan {
  bool possible = false;
  ColumnSet reads;     // columns to read, all on live members; RAID 1 and 10: {0} = any one live copy
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
