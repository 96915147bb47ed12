// Operations in flight, writes, flushes and power losses. Reads are judged in oracle_judge.cc.
#include "workload/oracle.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"

namespace resilver::workload {

namespace {

constexpr std::size_t kMaxOpenVersions = 256;  // of one sector; more than that and its block is waived
constexpr std::uint64_t kSectorsPerBlock = kBlockBytes / kSectorBytes;

BlockIndex block_of(std::uint64_t offset) noexcept { return static_cast<BlockIndex>(offset / kBlockBytes); }

}  // namespace

const char* durability_name(Durability durability) noexcept {
  switch (durability) {
    case Durability::on_ack: return "on_ack";
    case Durability::on_flush: return "on_flush";
    case Durability::prefix: return "prefix";
  }
  return "?";
}

Oracle::Oracle(const OracleConfig& config, History* history)
    : config_(config),
      history_(history),
      inflight_(config.max_inflight),
      processes_(config.max_inflight),
      fill_crc_(config.fill_bytes / kSectorBytes),
      stale_(config.max_listed_ranges),
      corrupt_(config.max_listed_ranges),
      lost_(config.max_listed_ranges),
      unreadable_(config.max_listed_ranges) {
  CHECK(config.volume_bytes % kBlockBytes == 0 && config.volume_bytes > 0 && config.volume_bytes <= kMaxVolumeBytes);
  CHECK(config.fill_offset % kBlockBytes == 0 && config.fill_bytes % kBlockBytes == 0);
  CHECK(config.fill_bytes <= config.volume_bytes && config.fill_offset <= config.volume_bytes - config.fill_bytes);
  fill_versions_ = static_cast<Version>((config.fill_bytes + kFillChunkBytes - 1) / kFillChunkBytes);
  next_version_ = fill_versions_ + 1;
}

// ---- operations in flight --------------------------------------------------------------------------------------------

OpHandle Oracle::open(Nanos now, const InFlight& what, std::uint64_t offset, std::uint64_t length) {
  std::uint32_t slot = slots_used_;
  if (!free_slots_.empty()) {
    slot = free_slots_.back();
    free_slots_.pop_back();
  } else {
    CHECK(slots_used_ < inflight_.size(), "more operations in flight than max_inflight");
    processes_[slots_used_++] = processes_used_++;
  }
  InFlight& op = inflight_[slot];
  op = what;
  op.start = ++step_;
  op.operation = ++operations_;
  if (op.kind != Kind::flush) {
    CHECK(offset % kBlockBytes == 0 && length % kBlockBytes == 0 && length > 0);
    CHECK(offset <= config_.volume_bytes && length <= config_.volume_bytes - offset, "beyond the end of the volume");
    op.first = block_of(offset);
    op.last = block_of(offset + length - 1);
  }
  const OpHandle handle{slot};
  if (history_ != nullptr) {
    const std::string version = op.kind == Kind::write ? std::to_string(op.version) : std::string();
    tell(HistoryType::invoke, handle, now, {.value = version});
  }
  return handle;
}

void Oracle::close(OpHandle op) noexcept {
  inflight_[op.slot] = {};
  free_slots_.push_back(op.slot);
  ++counts_.requests;
}

bool Oracle::overlaps_inflight(BlockIndex first, BlockIndex last, bool write, const InFlight* except) const noexcept {
  for (std::uint32_t slot = 0; slot < slots_used_; ++slot) {
    const InFlight& other = inflight_[slot];
    if (other.first <= last && first <= other.last && (write || other.kind == Kind::write) && &other != except &&
        other.kind != Kind::none && other.kind != Kind::flush) {
      return true;
    }
  }
  return false;
}

Oracle::Oldest Oracle::oldest_inflight(BlockIndex block, const InFlight* except) const noexcept {
  Oldest oldest;
  for (std::uint32_t slot = 0; slot < slots_used_; ++slot) {
    const InFlight& other = inflight_[slot];
    if (other.first > block || block > other.last || &other == except) continue;
    oldest.any = std::min(oldest.any, other.start);
    if (other.kind == Kind::read) oldest.read = std::min(oldest.read, other.start);
  }
  return oldest;
}

// Is a flush in flight that began in a later epoch?
bool Oracle::flushing_since(Epoch epoch) const noexcept {
  if (flushes_ == 0 || config_.durability != Durability::on_flush) return false;
  return std::any_of(inflight_.begin(), inflight_.begin() + slots_used_,
                     [&](const InFlight& op) { return op.kind == Kind::flush && op.epoch > epoch; });
}

bool Oracle::conflicts(std::uint64_t offset, std::uint64_t length, bool write) const noexcept {
  return overlaps_inflight(block_of(offset), block_of(offset + length - 1), write, nullptr);
}

// ---- blocks about which something is open ----------------------------------------------------------------------------

// Did a loss hit what this (not tracked) block holds, before it was durable?
bool Oracle::was_lost(const BlockCell& cell) const noexcept {
  if (losses_.empty() || cell.base == cell.floor || cell.epoch > losses_.back().last_epoch) return false;
  const auto first = std::ranges::lower_bound(losses_, cell.epoch, {}, &Loss::last_epoch);
  return cell.epoch >= first->durable_before;
}

Oracle::Tracked* Oracle::tracked(BlockIndex block) {
  const auto found = tracked_.find(block);
  CHECK(found != tracked_.end());
  while (found->second.losses_seen < losses_.size()) lose(block, found->second);
  return &found->second;
}

// The end of an operation touches its blocks, so whatever was in flight at a loss that a block has not seen still is.
void Oracle::lose(BlockIndex block, Tracked& state) {
  const Loss& loss = losses_[state.losses_seen++];
  std::vector<Version> writes;
  for (std::uint32_t slot = 0; slot < slots_used_; ++slot) {
    const InFlight& op = inflight_[slot];
    if (op.kind == Kind::write && op.first <= block && block <= op.last && op.start < loss.step) {
      writes.push_back(op.version);
    }
  }
  const Step oldest_read = oldest_inflight(block, nullptr).read;
  for (SectorRegister& sector : state.sectors) sector.lose(loss, writes, oldest_read);
}

// The writes in flight that began in (after, before).
void Oracle::begin_writes(BlockIndex block, SectorRegister& sector, Step after, Step before) const {
  for (std::uint32_t slot = 0; slot < slots_used_; ++slot) {
    const InFlight& op = inflight_[slot];
    const bool here = op.kind == Kind::write && op.first <= block && block <= op.last;
    if (here && after < op.start && op.start < before) sector.begin_write(op.version, op.start);
  }
}

// The registers of a block, made from its cell and the writes in flight if need be. Nothing if the block is waived.
Oracle::Tracked* Oracle::track(BlockIndex block) {
  auto entry = table_.insert(block);
  if (*entry.state == BlockState::waived) return nullptr;
  if (*entry.state == BlockState::tracked) return tracked(block);
  if (tracked_.size() >= config_.max_tracked_blocks) {
    *entry.state = BlockState::waived;
    ++counts_.waived_blocks;
    return nullptr;
  }
  *entry.state = BlockState::tracked;
  const BlockCell& cell = *entry.cell;
  Tracked made;
  made.sectors.emplace_back(cell.floor, cell.base, cell.epoch);
  const auto first_loss = std::ranges::lower_bound(losses_, cell.epoch, {}, &Loss::last_epoch);
  made.losses_seen = static_cast<std::uint32_t>(first_loss - losses_.begin());
  Step since = 0;
  while (made.losses_seen < losses_.size()) {
    const Step loss = losses_[made.losses_seen].step;
    begin_writes(block, made.sectors.front(), since, loss);
    lose(block, made);
    since = loss;
  }
  begin_writes(block, made.sectors.front(), since, kNoStep);
  return &(tracked_[block] = std::move(made));
}

// After a change: forgets what can no longer be seen and goes back to the cell if that can say it all.
void Oracle::settle(BlockIndex block, const InFlight* except) {
  const auto found = tracked_.find(block);
  if (found == tracked_.end()) return;
  auto& sectors = found->second.sectors;
  const Oldest oldest = oldest_inflight(block, except);
  for (SectorRegister& sector : sectors) sector.settle(oldest.any, oldest.read, durable_before());
  if (sectors.size() > 1 && std::ranges::all_of(sectors, [&](const auto& s) { return s == sectors.front(); })) {
    sectors.erase(std::next(sectors.begin()), sectors.end());
  }
  auto entry = table_.insert(block);
  const SectorRegister& sector = sectors.front();
  if (sector.size() > kMaxOpenVersions) {
    *entry.cell = {expected(block), epoch_, 0};
    *entry.state = BlockState::waived;
    ++counts_.waived_blocks;
    tracked_.erase(found);
    return;
  }
  if (oldest.any != kNoStep || sectors.size() > 1 || !sector.simple(false)) return;
  if (!sector.simple(flushing_since(0))) {
    awaiting_flush_.push_back(block);
    return;
  }
  *entry.cell = {sector.base(), sector.epoch(), sector.floor()};
  *entry.state = BlockState::simple;
  tracked_.erase(found);
}

// ---- writes ----------------------------------------------------------------------------------------------------------

OpHandle Oracle::start_write(Nanos now, std::uint64_t offset, std::uint64_t length, const InFlight& what) {
  const OpHandle handle = open(now, what, offset, length);
  const InFlight& op = inflight_[handle.slot];
  const bool overlapping = overlaps_inflight(op.first, op.last, true, &op);
  for (BlockIndex block = op.first; block <= op.last; ++block) {
    const auto entry = table_.find(block);
    if (entry && *entry.state == BlockState::tracked) {
      for (SectorRegister& sector : tracked(block)->sectors) sector.begin_write(op.version, op.start);
    } else if (overlapping) {
      track(block);
    }
  }
  return handle;
}

OpHandle Oracle::begin_write(Nanos now, std::uint64_t offset, std::uint64_t length, SectorKind kind) {
  CHECK(next_version_ != 0, "more than 2^32 writes in one run");
  const OpHandle handle =
      start_write(now, offset, length, {.kind = Kind::write, .sector_kind = kind, .version = next_version_++});
  const InFlight& op = inflight_[handle.slot];
  if (config_.durability == Durability::prefix) prefix_.begin(op.version, op.start, op.first, op.last);
  return handle;
}

void Oracle::encode(OpHandle handle, std::span<std::byte> data) const noexcept {
  const InFlight& op = inflight_[handle.slot];
  CHECK(op.kind == Kind::write && data.size() == (std::uint64_t{op.last} - op.first + 1) * kBlockBytes);
  SectorId id{config_.volume_id, op.first * kSectorsPerBlock, op.version, op.sector_kind, op.operation};
  for (std::size_t at = 0; at < data.size(); at += kSectorBytes, ++id.sector) encode_sector(id, data.data() + at);
}

OpHandle Oracle::begin_fill(Nanos now, std::uint64_t offset, std::span<const std::byte> data) {
  CHECK(offset >= config_.fill_offset && offset - config_.fill_offset < config_.fill_bytes);
  const std::uint64_t at = offset - config_.fill_offset;
  CHECK(at % kFillChunkBytes == 0 && data.size() == std::min(kFillChunkBytes, config_.fill_bytes - at));
  for (std::size_t byte = 0; byte < data.size(); byte += kSectorBytes) {
    fill_crc_[(at + byte) / kSectorBytes] = crc32c(data.subspan(byte, kSectorBytes));
  }
  const Version version = fill_version(offset / kSectorBytes);
  return start_write(now, offset, data.size(), {.kind = Kind::write, .fill = true, .version = version});
}

void Oracle::acknowledge(const InFlight& op, BlockIndex block) {
  const auto entry = table_.insert(block);
  BlockCell& cell = *entry.cell;
  if (*entry.state == BlockState::simple && op.start > last_loss()) {
    if (!was_lost(cell) && cell.epoch < durable_before()) cell.floor = cell.base;
    if (cell.floor == cell.base || !flushing_since(cell.epoch)) {
      cell.base = op.version;
      cell.epoch = epoch_;
      return;
    }
  }
  Tracked* state = track(block);
  if (state == nullptr) {
    cell.base = op.version;
    return;
  }
  for (SectorRegister& sector : state->sectors) sector.acknowledge(op.version, epoch_, step_);
  settle(block, &op);
}

void Oracle::end_write(OpHandle handle, Nanos now, WriteOutcome outcome, Errc error) {
  const InFlight& op = inflight_[handle.slot];
  CHECK(op.kind == Kind::write);
  ++step_;
  if (outcome == WriteOutcome::acknowledged) prefix_.acknowledge(op.version, step_);
  for (BlockIndex block = op.first; block <= op.last; ++block) {
    if (outcome == WriteOutcome::acknowledged) {
      acknowledge(op, block);
      continue;
    }
    track(block);
    settle(block, &op);
  }
  const bool unknown = outcome == WriteOutcome::unknown;
  if (unknown) ++counts_.unknown_writes;
  if (history_ != nullptr) {
    tell(unknown ? HistoryType::info : HistoryType::ok, handle, now,
         {.value = std::to_string(op.version), .error = error == Errc::ok ? "" : errc_name(error)});
    if (unknown) processes_[handle.slot] = processes_used_++;
  }
  close(handle);
}

// ---- durability ------------------------------------------------------------------------------------------------------

OpHandle Oracle::begin_flush(Nanos now) {
  const OpHandle handle = open(now, {.kind = Kind::flush}, 0, 0);
  inflight_[handle.slot].epoch = ++epoch_;
  ++flushes_;
  return handle;
}

void Oracle::end_flush(OpHandle handle, Nanos now, Errc error) {
  const InFlight& op = inflight_[handle.slot];
  CHECK(op.kind == Kind::flush);
  ++step_;
  // A flush across a power loss may have been sent again after it: it proves nothing about what was there before.
  if (error == Errc::ok && op.start > last_loss()) durable_before_ = std::max(durable_before_, op.epoch);
  if (history_ != nullptr) {
    tell(error == Errc::ok ? HistoryType::ok : HistoryType::info, handle, now,
         {.error = error == Errc::ok ? "" : errc_name(error)});
    if (error != Errc::ok) processes_[handle.slot] = processes_used_++;
  }
  close(handle);
  if (--flushes_ != 0) return;
  for (const BlockIndex block : std::exchange(awaiting_flush_, {})) {
    if (!tracked_.contains(block)) continue;
    tracked(block);
    settle(block, nullptr);
  }
}

void Oracle::note_power_loss(Nanos now, std::span<const std::string> nodes) {
  if (history_ != nullptr) tell(HistoryCall::power_loss, now, nodes);
  if (config_.durability != Durability::on_flush) return;
  losses_.push_back({++step_, epoch_, durable_before_});
  ++epoch_;
}

void Oracle::note_failover(Nanos now) {
  if (history_ != nullptr) tell(HistoryCall::failover, now);
  if (config_.durability != Durability::prefix) return;
  losses_.push_back({++step_, epoch_, 0});
  prefix_.failover(step_);
  ++epoch_;
}

// ---- history ---------------------------------------------------------------------------------------------------------

void Oracle::tell(HistoryType type, OpHandle handle, Nanos now, const Told& told) {
  const InFlight& op = inflight_[handle.slot];
  HistoryEvent event{.type = type,
                     .call = HistoryCall::flush,
                     .process = processes_[handle.slot],
                     .operation = op.operation,
                     .time = now,
                     .value = told.value,
                     .error = told.error,
                     .verdict = told.verdict};
  if (op.kind != Kind::flush) {
    event.call = op.kind == Kind::read ? HistoryCall::read : HistoryCall::write;
    event.offset = std::uint64_t{op.first} * kBlockBytes;
    event.length = (std::uint64_t{op.last} - op.first + 1) * kBlockBytes;
  }
  if (type == HistoryType::invoke) event.kind = op.fill ? "fill" : op.sector_kind == SectorKind::damage ? "damage" : "";
  history_->add(event);
}

void Oracle::tell(HistoryCall happened, Nanos now, std::span<const std::string> nodes) {
  history_->add({.type = HistoryType::info, .call = happened, .process = processes_used_++, .time = now, .nodes = nodes});
}

}  // namespace resilver::workload
