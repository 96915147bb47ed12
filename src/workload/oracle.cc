// Operations in flight, writes, flushes and power losses. Reads are judged in oracle_judge.cc.
#include "workload/oracle.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "base/crc32c.h"

namespace resilver::workload {

namespace {

constexpr std::size_t kMaxOpenVersions = 256;  // of one sector; more than that and its block is waived
constexpr std::uint64_t kSectorsPerBlock = kBlockBytes / kSectorBytes;

BlockIndex block_of(std::uint64_t offset) noexcept { return static_cast<BlockIndex>(offset / kBlockBytes); }

}  // namespace

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

OpHandle Oracle::open(Nanos now, Kind kind, std::uint64_t offset, std::uint64_t length, Version version) {
  std::uint32_t slot = slots_used_;
  if (!free_slots_.empty()) {
    slot = free_slots_.back();
    free_slots_.pop_back();
  } else {
    CHECK(slots_used_ < inflight_.size(), "more operations in flight than max_inflight");
    processes_[slots_used_++] = processes_used_++;
  }
  InFlight& op = inflight_[slot];
  op = {};
  op.kind = kind;
  op.version = version;
  op.start = ++step_;
  op.operation = ++operations_;
  if (kind != Kind::flush) {
    CHECK(offset % kBlockBytes == 0 && length % kBlockBytes == 0 && length > 0);
    CHECK(offset <= config_.volume_bytes && length <= config_.volume_bytes - offset, "beyond the end of the volume");
    op.first = block_of(offset);
    op.last = block_of(offset + length - 1);
  }
  const OpHandle handle{slot};
  if (history_ != nullptr)
    tell(HistoryType::invoke, handle, now, kind == Kind::write ? std::to_string(version) : std::string());
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

Step Oracle::oldest_inflight(BlockIndex block, const InFlight* except) const noexcept {
  Step oldest = kNoStep;
  for (std::uint32_t slot = 0; slot < slots_used_; ++slot) {
    const InFlight& other = inflight_[slot];
    if (other.first <= block && block <= other.last && &other != except) oldest = std::min(oldest, other.start);
  }
  return oldest;
}

bool Oracle::conflicts(std::uint64_t offset, std::uint64_t length, bool write) const noexcept {
  return overlaps_inflight(block_of(offset), block_of(offset + length - 1), write, nullptr);
}

// ---- blocks about which something is open ----------------------------------------------------------------------------

// Did a power loss hit what this (not tracked) block holds, before it was durable?
bool Oracle::power_was_lost(const BlockCell& cell) const noexcept {
  if (losses_.empty() || cell.base == cell.floor || cell.epoch > losses_.back().last_epoch) return false;
  const auto first = std::ranges::lower_bound(losses_, cell.epoch, {}, &PowerLoss::last_epoch);
  return cell.epoch >= first->durable_before;
}

Oracle::Tracked* Oracle::tracked(BlockIndex block) {
  const auto found = tracked_.find(block);
  CHECK(found != tracked_.end());
  catch_up(found->second);
  return &found->second;
}

void Oracle::catch_up(Tracked& block) {
  for (; block.losses_seen < losses_.size(); ++block.losses_seen) {
    for (SectorRegister& sector : block.sectors) sector.lose_power(losses_[block.losses_seen]);
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
  const auto first_loss = std::ranges::lower_bound(losses_, cell.epoch, {}, &PowerLoss::last_epoch);
  made.losses_seen = static_cast<std::uint32_t>(first_loss - losses_.begin());
  catch_up(made);
  for (std::uint32_t slot = 0; slot < slots_used_; ++slot) {
    const InFlight& op = inflight_[slot];
    if (op.kind == Kind::write && op.first <= block && block <= op.last) {
      made.sectors.front().begin_write(op.version, op.start);
    }
  }
  return &(tracked_[block] = std::move(made));
}

// After a change: forgets what can no longer be seen and goes back to the cell if that can say it all.
void Oracle::settle(BlockIndex block, const InFlight* except) {
  const auto found = tracked_.find(block);
  if (found == tracked_.end()) return;
  auto& sectors = found->second.sectors;
  const Step oldest = oldest_inflight(block, except);
  for (SectorRegister& sector : sectors) sector.settle(oldest, durable_before());
  if (sectors.size() > 1 && std::ranges::all_of(sectors, [&](const auto& s) { return s == sectors.front(); })) {
    sectors.erase(std::next(sectors.begin()), sectors.end());
  }
  auto entry = table_.insert(block);
  if (sectors.front().size() > kMaxOpenVersions) {
    *entry.cell = {expected(block), epoch_, 0};
    *entry.state = BlockState::waived;
    ++counts_.waived_blocks;
    tracked_.erase(found);
    return;
  }
  const auto plain = [&](const SectorRegister& s) { return s.simple() && s.base() == sectors.front().base(); };
  if (oldest != kNoStep || !std::ranges::all_of(sectors, plain)) return;
  BlockCell cell{sectors.front().base(), 0, sectors.front().floor()};
  for (const SectorRegister& sector : sectors) {
    cell.epoch = std::max(cell.epoch, sector.epoch());
    cell.floor = std::min(cell.floor, sector.floor());
  }
  *entry.cell = cell;
  *entry.state = BlockState::simple;
  tracked_.erase(found);
}

// ---- writes ----------------------------------------------------------------------------------------------------------

OpHandle Oracle::start_write(Nanos now, std::uint64_t offset, std::uint64_t length, Version version, SectorKind kind) {
  const OpHandle handle = open(now, Kind::write, offset, length, version);
  InFlight& op = inflight_[handle.slot];
  op.sector_kind = kind;
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
  const OpHandle handle = start_write(now, offset, length, next_version_++, kind);
  const InFlight& op = inflight_[handle.slot];
  if (config_.durability == Durability::prefix) prefix_.begin(op.version, op.start);
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
  return start_write(now, offset, data.size(), fill_version(offset / kSectorBytes), SectorKind::data);
}

void Oracle::acknowledge(const InFlight& op, BlockIndex block) {
  const auto entry = table_.insert(block);
  BlockCell& cell = *entry.cell;
  const bool across_loss = op.start < last_loss();
  if (*entry.state == BlockState::simple && !across_loss) {
    if (!power_was_lost(cell) && cell.epoch < durable_before()) cell.floor = cell.base;
    cell.base = op.version;
    cell.epoch = epoch_;
    return;
  }
  Tracked* state = track(block);
  if (state == nullptr) {
    cell.base = op.version;
    return;
  }
  const bool alone = oldest_inflight(block, &op) == kNoStep;
  for (SectorRegister& sector : state->sectors) {
    if (across_loss) {
      sector.acknowledge_across_loss(op.version, last_loss());
    } else {
      sector.acknowledge(op.version, epoch_, step_, alone);
    }
  }
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
    const auto entry = table_.find(block);
    if (outcome == WriteOutcome::unknown) {
      track(block);
    } else if (entry && *entry.state == BlockState::tracked) {
      for (SectorRegister& sector : tracked(block)->sectors) sector.forget_write(op.version);
    }
    settle(block, &op);
  }
  const bool unknown = outcome == WriteOutcome::unknown;
  if (unknown) ++counts_.unknown_writes;
  if (history_ != nullptr) {
    const auto type = outcome == WriteOutcome::acknowledged ? HistoryType::ok
                      : unknown                             ? HistoryType::info
                                                            : HistoryType::fail;
    tell(type, handle, now, std::to_string(op.version), error == Errc::ok ? "" : errc_name(error));
    if (unknown) processes_[handle.slot] = processes_used_++;
  }
  close(handle);
}

// ---- durability ------------------------------------------------------------------------------------------------------

OpHandle Oracle::begin_flush(Nanos now) {
  const OpHandle handle = open(now, Kind::flush, 0, 0, 0);
  inflight_[handle.slot].epoch = ++epoch_;
  return handle;
}

void Oracle::end_flush(OpHandle handle, Nanos now, Errc error) {
  const InFlight& op = inflight_[handle.slot];
  CHECK(op.kind == Kind::flush);
  ++step_;
  // A flush across a power loss may have been sent again after it: it proves nothing about what was there before.
  if (error == Errc::ok && op.start > last_loss()) durable_before_ = std::max(durable_before_, op.epoch);
  if (history_ != nullptr) {
    tell(error == Errc::ok ? HistoryType::ok : HistoryType::info, handle, now, {},
         error == Errc::ok ? "" : errc_name(error));
    if (error != Errc::ok) processes_[handle.slot] = processes_used_++;
  }
  close(handle);
}

void Oracle::note_power_loss(Nanos now) {
  if (history_ != nullptr) {
    HistoryEvent event;
    event.type = HistoryType::info;
    event.call = HistoryCall::power_loss;
    event.process = processes_used_++;
    event.time = now;
    history_->add(event);
  }
  if (config_.durability != Durability::on_flush) return;
  losses_.push_back({++step_, epoch_, durable_before_});
  ++epoch_;
}

void Oracle::note_failover(Nanos) {
  if (config_.durability != Durability::prefix) return;
  losses_.push_back({++step_, epoch_, 0});
  prefix_.failover(step_);
  ++epoch_;
}

}  // namespace resilver::workload
