// The cost model of geometry.h: which columns an access to one stripe reads and writes.
#include "base/check.h"
#include "raid/geometry.h"

namespace resilver::raid {

namespace {

// As many of the stripe's live parities as needed, P first.
ColumnSet take_parities(ColumnSet live_parity, std::uint32_t needed) {
  ColumnSet taken;
  for (std::uint32_t column : live_parity) {
    if (taken.count() == needed) break;
    taken.add(column);
  }
  return taken;
}

WritePlan mirror_write(const Geometry& geometry, std::uint64_t stripe, MemberSet lost) {
  const std::uint32_t live = (geometry.members_of(stripe, {0}) - lost).count();
  if (live == 0) return {};
  return {WriteWay::data_only, {}, {}, ColumnSet{0}, {0, live}};
}

WritePlan finish(WriteWay way, ColumnSet reads, ColumnSet recovers, ColumnSet writes) {
  return {way, reads, recovers, writes, {reads.count(), writes.count()}};
}

}  // namespace

WritePlan plan_write(const Geometry& geometry, std::uint64_t stripe, ColumnSet touched, ColumnSet full, MemberSet lost) {
  CHECK(!touched.empty() && (touched - geometry.all_data()).empty() && (full - touched).empty());
  if (geometry.is_mirrored()) return mirror_write(geometry, stripe, lost);

  const ColumnSet lost_columns = geometry.columns_lost(stripe, lost);
  if (lost_columns.count() > geometry.redundancy()) return {};
  const ColumnSet data = geometry.all_data();
  const ColumnSet lost_data = lost_columns & data;
  const ColumnSet live_data = data - lost_data;
  const ColumnSet live_parity = ColumnSet::first(geometry.columns()) - data - lost_columns;
  const ColumnSet writes = (touched & live_data) | live_parity;

  if (live_parity.empty()) return finish(WriteWay::data_only, {}, {}, writes);
  if (full == data) return finish(WriteWay::full_stripe, {}, {}, writes);

  const ColumnSet not_given = data - full;
  const bool can_modify = (touched & lost_data).empty();
  const bool can_reconstruct = (not_given & lost_data).empty();
  const ColumnSet modify_reads = touched | live_parity;
  if (can_reconstruct && (!can_modify || not_given.count() <= modify_reads.count())) {
    return finish(WriteWay::reconstruct_write, not_given, {}, writes);
  }
  if (can_modify) return finish(WriteWay::read_modify_write, modify_reads, {}, writes);

  // A lost column that is not wholly given, and at least one lost column that is written: its old content must be known.
  const ColumnSet reads = live_data | take_parities(live_parity, lost_data.count());
  return finish(WriteWay::rebuild_write, reads, lost_data & not_given, writes);
}

ReadPlan plan_read(const Geometry& geometry, std::uint64_t stripe, ColumnSet wanted, MemberSet lost) {
  CHECK(!wanted.empty() && (wanted - geometry.all_data()).empty());
  const ColumnSet lost_columns = geometry.columns_lost(stripe, lost);
  const ColumnSet recovers = wanted & lost_columns;
  if (recovers.empty()) return {true, wanted, {}, {wanted.count(), 0}};

  const ColumnSet data = geometry.all_data();
  const ColumnSet lost_data = lost_columns & data;
  const ColumnSet live_parity = ColumnSet::first(geometry.columns()) - data - lost_columns;
  if (lost_data.count() > live_parity.count()) return {};
  const ColumnSet reads = (data - lost_data) | take_parities(live_parity, lost_data.count());
  return {true, reads, recovers, {reads.count(), 0}};
}

}  // namespace resilver::raid
