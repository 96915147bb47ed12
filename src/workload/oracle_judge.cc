// How an answer is judged, and the final reading.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "base/check.h"
#include "base/crc32c.h"
#include "workload/oracle.h"

namespace resilver::workload {

namespace {

constexpr std::uint32_t kSectorsPerBlock = kBlockBytes / kSectorBytes;

// The volume served and says that these blocks cannot be read; what is not here is a matter of service.
bool says_unreadable(Errc error) noexcept {
  switch (error) {
    case Errc::timeout:
    case Errc::cancelled:
    case Errc::closed:
    case Errc::not_primary:
    case Errc::fenced:
    case Errc::busy:
    case Errc::read_only:
    case Errc::limit: return false;
    default: return true;
  }
}

// [[version, sectors], ...] as the history wants it.
class Runs {
 public:
  void add(bool good, Version version) {
    if (count_ != 0 && good == good_ && version == version_) {
      ++count_;
      return;
    }
    end_run();
    good_ = good;
    version_ = version;
    count_ = 1;
  }
  std::string finish() {
    end_run();
    return text_ + "]";
  }

 private:
  void end_run() {
    if (count_ == 0) return;
    if (text_.size() > 1) text_ += ',';
    text_ += good_ ? fmt::format("[{},{}]", version_, count_) : fmt::format("[null,{}]", count_);
  }
  std::string text_ = "[";
  std::uint32_t count_ = 0;
  Version version_ = 0;
  bool good_ = false;
};

}  // namespace

// What was found in one block; the flags are those of the whole read.
struct Oracle::BlockRead {
  std::array<Seen, kSectorsPerBlock> seen;
  std::array<bool, kSectorsPerBlock> is_stale;
  bool any_stale = false;
  bool any_corrupt = false;
};

bool Oracle::in_fill(std::uint64_t sector) const noexcept {
  return sector - config_.fill_offset / kSectorBytes < fill_crc_.size();  // an address below wraps around to a large one
}

Version Oracle::fill_version(std::uint64_t sector) const noexcept {
  return 1 + static_cast<Version>((sector - config_.fill_offset / kSectorBytes) / (kFillChunkBytes / kSectorBytes));
}

// Which version do these bytes hold? Where a fill's bytes look like zeroes or like a sector of ours, `base` decides.
Oracle::Seen Oracle::look(const std::byte* data, std::uint64_t sector, Version base) const noexcept {
  const SectorCheck check = check_sector(data, config_.volume_id, sector);
  Seen seen;
  if (check.state == SectorState::never_written) {
    seen.good = true;
  } else if (check.state == SectorState::ok && check.id.version > fill_versions_ && check.id.version < next_version_) {
    seen = {true, check.id.kind, check.id.version};
  }
  if (!in_fill(sector) || (seen.good && seen.version == base)) return seen;
  if (crc32c({data, kSectorBytes}) == fill_crc_[sector - config_.fill_offset / kSectorBytes]) {
    return {true, SectorKind::data, fill_version(sector)};
  }
  return seen;
}

OpHandle Oracle::begin_read(Nanos now, std::uint64_t offset, std::uint64_t length) {
  const OpHandle handle = open(now, {.kind = Kind::read}, offset, length);
  const InFlight& op = inflight_[handle.slot];
  if (overlaps_inflight(op.first, op.last, false, &op)) {
    for (BlockIndex block = op.first; block <= op.last; ++block) track(block);
  }
  return handle;
}

// One register and what it shows: true if stale. Under Durability::prefix also the evidence for and against a prefix.
bool Oracle::read_sector(SectorRegister& sector, const InFlight& op, std::uint64_t address, std::uint64_t sectors,
                         Version version) {
  if (!sector.read(version, op.start, step_, epoch_)) return true;
  if (config_.durability != Durability::prefix) return false;
  bool good = true;
  const auto block = static_cast<BlockIndex>(address / kSectorsPerBlock);
  while (const auto survivor = sector.take_survivor()) {
    const auto evidence = prefix_.survived(survivor->versions, survivor->newest, block, survivor->loss);
    good = good && evidence.good;
    if (evidence.lost == 0) continue;
    count_lost_version(evidence.lost);
    lost_.add(address, address + sectors);
  }
  if (!good) ++counts_.prefix_breaks;
  return false;
}

void Oracle::judge_tracked(const InFlight& op, BlockIndex block, BlockRead& read) {
  auto& sectors = track(block)->sectors;
  const std::uint64_t address = std::uint64_t{block} * kSectorsPerBlock;
  const Seen& first = read.seen.front();
  const bool uniform =
      std::ranges::all_of(read.seen, [&](const Seen& s) { return s.good && s.version == first.version; });
  if (sectors.size() == 1 && uniform) {
    read.is_stale.fill(read_sector(sectors.front(), op, address, kSectorsPerBlock, first.version));
  } else {
    if (sectors.size() == 1) sectors.assign(kSectorsPerBlock, SectorRegister(sectors.front()));
    for (std::uint32_t i = 0; i < kSectorsPerBlock; ++i) {
      const Seen& seen = read.seen[i];
      read.is_stale[i] = seen.good && read_sector(sectors[i], op, address + i, 1, seen.version);
    }
  }
  settle(block, &op);
}

void Oracle::judge_block(const InFlight& op, BlockIndex block, const std::byte* data, BlockRead& read) {
  const auto entry = table_.find(block);
  const Version base = entry ? entry.cell->base : 0;
  const std::uint64_t sector = std::uint64_t{block} * kSectorsPerBlock;
  for (std::uint32_t i = 0; i < kSectorsPerBlock; ++i) read.seen[i] = look(data + i * kSectorBytes, sector + i, base);
  read.is_stale.fill(false);
  const BlockState state = entry ? *entry.state : BlockState::simple;
  if (state == BlockState::waived) return;
  if (state == BlockState::tracked || (entry && was_lost(*entry.cell))) {
    if (track(block) != nullptr) judge_tracked(op, block, read);
    return;
  }
  for (std::uint32_t i = 0; i < kSectorsPerBlock; ++i)
    read.is_stale[i] = read.seen[i].good && read.seen[i].version != base;
}

ReadVerdict Oracle::end_read(OpHandle handle, Nanos now, std::span<const std::byte> data) {
  const InFlight& op = inflight_[handle.slot];
  CHECK(op.kind == Kind::read && data.size() == (std::uint64_t{op.last} - op.first + 1) * kBlockBytes);
  ++step_;
  BlockRead read;
  Runs runs;
  for (BlockIndex block = op.first; block <= op.last; ++block) {
    judge_block(op, block, data.data() + (block - op.first) * kBlockBytes, read);
    bool lost = false;
    for (std::uint32_t i = 0; i < kSectorsPerBlock; ++i) {
      const Seen& seen = read.seen[i];
      const std::uint64_t sector = std::uint64_t{block} * kSectorsPerBlock + i;
      if (history_ != nullptr) runs.add(seen.good, seen.version);
      if (final_ && seen.good && seen.kind == SectorKind::damage) ++counts_.damaged_sectors;
      if (!seen.good) {
        read.any_corrupt = true;
        ++counts_.corrupt_sectors;
        corrupt_.add(sector, sector + 1);
      } else if (read.is_stale[i]) {
        read.any_stale = true;
        lost = final_;
        ++(final_ ? counts_.lost_sectors : counts_.stale_sectors);
        (final_ ? lost_ : stale_).add(sector, sector + 1);
      }
    }
    if (lost) count_lost(block);
  }
  if (final_) counts_.bytes_read_back += data.size();
  if (read.any_corrupt) ++counts_.corrupt_reads;
  if (read.any_stale && !final_) ++counts_.stale_reads;
  if (history_ != nullptr) {
    const char* verdict = read.any_corrupt ? "corrupt" : read.any_stale ? (final_ ? "lost" : "stale") : "";
    tell(HistoryType::ok, handle, now, {.value = runs.finish(), .verdict = verdict});
  }
  close(handle);
  return {read.any_stale, read.any_corrupt};
}

void Oracle::end_read_error(OpHandle handle, Nanos now, Errc error) {
  const InFlight& op = inflight_[handle.slot];
  CHECK(op.kind == Kind::read && error != Errc::ok);
  ++step_;
  if (final_ || says_unreadable(error)) {
    ++counts_.unreadable_reads;
    unreadable_.add(std::uint64_t{op.first} * kSectorsPerBlock, (std::uint64_t{op.last} + 1) * kSectorsPerBlock);
  } else {
    ++counts_.failed_reads;
  }
  if (final_) {
    counts_.unreadable_bytes += (std::uint64_t{op.last} - op.first + 1) * kBlockBytes;
    for (BlockIndex block = op.first; block <= op.last; ++block) count_lost(block);
  }
  if (history_ != nullptr) tell(HistoryType::fail, handle, now, {.error = errc_name(error)});
  close(handle);
}

// ---- the final reading -----------------------------------------------------------------------------------------------

Version Oracle::expected(BlockIndex block) {
  const auto entry = table_.find(block);
  if (!entry) return 0;
  if (*entry.state != BlockState::tracked) return entry.cell->base;
  Version newest = 0;
  for (const SectorRegister& sector : tracked(block)->sectors) newest = std::max(newest, sector.expected());
  return newest;
}

void Oracle::count_lost(BlockIndex block) { count_lost_version(expected(block)); }

void Oracle::count_lost_version(Version version) {
  if (version == 0) return;
  const std::size_t word = version / 64;
  if (word >= lost_versions_.size()) lost_versions_.resize(word + 1);
  const std::uint64_t bit = std::uint64_t{1} << (version % 64);
  if ((lost_versions_[word] & bit) == 0) ++counts_.lost_writes;
  lost_versions_[word] |= bit;
}

void Oracle::begin_final(Nanos now) {
  if (history_ != nullptr) tell(HistoryCall::final_reading, now);
  for (const InFlight& op : inflight_) CHECK(op.kind != Kind::write, "a write is still in flight");
  final_ = true;
  final_groups_ = table_.groups();
}

Oracle::Run Oracle::next_written(std::uint64_t offset, std::uint64_t max_bytes) const noexcept {
  constexpr std::uint64_t kGroupBytes = BlockTable::kGroupBlocks * kBlockBytes;
  CHECK(final_ && max_bytes >= kGroupBytes);
  // Up: the end of the last run may be the end of the volume, in the middle of a group.
  auto at =
      std::ranges::lower_bound(final_groups_, static_cast<std::uint32_t>((offset + kGroupBytes - 1) / kGroupBytes));
  if (at == final_groups_.end()) return {};
  const std::uint64_t begin = *at * kGroupBytes;
  std::uint64_t end = begin;
  while (at != final_groups_.end() && *at * kGroupBytes == end && end - begin + kGroupBytes <= max_bytes) {
    end += kGroupBytes;
    ++at;
  }
  return {begin, std::min(end, config_.volume_bytes) - begin};
}

}  // namespace resilver::workload
