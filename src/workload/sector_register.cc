#include "workload/sector_register.h"

#include <algorithm>

namespace resilver::workload {

void SectorRegister::Fallback::include(Version version) noexcept {
  if (empty()) {
    lo = hi = version;
    return;
  }
  lo = std::min(lo, version);
  hi = std::max(hi, version);
}

SectorRegister::SectorRegister(Version floor, Version base, Epoch epoch) : floor_(floor) {
  entries_.push_back({base, epoch, 0, 0});
  if (floor + 1 < base) fallback_ = {floor + 1, base - 1};
}

SectorRegister::Entry* SectorRegister::find(Version version) noexcept {
  for (Entry& entry : entries_) {
    if (entry.version == version) return &entry;
  }
  return nullptr;
}

bool SectorRegister::knows(Version version) const noexcept {
  if (lossy_ && (version == floor_ || (fallback_.lo <= version && version <= fallback_.hi))) return true;
  return std::ranges::any_of(entries_, [version](const Entry& entry) { return entry.version == version; });
}

Version SectorRegister::expected() const noexcept {
  Version newest = 0;
  if (lossy_) newest = fallback_.empty() ? floor_ : std::max(floor_, fallback_.hi);
  for (const Entry& entry : entries_) {
    if (entry.finish != kNoStep) newest = std::max(newest, entry.version);
  }
  return newest;
}

bool SectorRegister::simple() const noexcept {
  if (entries_.size() != 1 || entries_.front().finish == kNoStep || lossy_) return false;
  const Version base = entries_.front().version;
  return floor_ <= base && (fallback_.empty() || (fallback_.lo > floor_ && fallback_.hi < base));
}

void SectorRegister::begin_write(Version version, Step start) { entries_.push_back({version, 0, start, kNoStep}); }

void SectorRegister::forget_write(Version version) {
  std::erase_if(entries_, [version](const Entry& entry) { return entry.version == version && entry.finish == kNoStep; });
}

void SectorRegister::acknowledge(Version version, Epoch epoch, Step now, bool alone) {
  Entry* entry = find(version);
  if (entry == nullptr) return;  // read, overwritten and forgotten before its acknowledgement came
  if (entry->finish == kNoStep) {
    entry->finish = now;
    entry->epoch = epoch;
  }
  if (alone) {
    lossy_ = false;  // what came back is overwritten; it may come back again at the next loss
    spanning_ = false;
  }
}

void SectorRegister::acknowledge_across_loss(Version version, Step loss) {
  Entry* entry = find(version);
  if (entry == nullptr) return;
  // A version read after the loss is there for certain.
  if (entry->finish != kNoStep && entry->finish > loss) return;
  entry->finish = loss;
  retire_complete();
  lossy_ = true;
  spanning_ = true;
}

// All complete versions become such as may or may not be there.
void SectorRegister::retire_complete() {
  for (const Entry& entry : entries_) {
    if (entry.finish != kNoStep && entry.version != floor_) fallback_.include(entry.version);
  }
  std::erase_if(entries_, [](const Entry& entry) { return entry.finish != kNoStep; });
}

void SectorRegister::lose_power(const PowerLoss& loss) {
  settle(kNoStep, loss.durable_before);
  const auto complete = std::ranges::count_if(entries_, [](const Entry& entry) { return entry.finish != kNoStep; });
  const auto durable = [&](const Entry& entry) { return entry.version == floor_ && entry.finish != kNoStep; };
  if (!lossy_ && complete == 1 && fallback_.empty() && std::ranges::any_of(entries_, durable)) return;
  retire_complete();
  lossy_ = true;
}

// The first read after a power loss shows what came back.
bool SectorRegister::resolve(Version version, Step start, Step now, Epoch epoch) {
  if (version != floor_ && (version < fallback_.lo || version > fallback_.hi)) return false;
  entries_.push_back({version, epoch, start, now});
  if (!spanning_) {  // it survived, so it is durable
    floor_ = version;
    fallback_ = {};
  }
  lossy_ = false;
  spanning_ = false;
  return true;
}

bool SectorRegister::read(Version version, Step start, Step now, Epoch epoch, bool alone) {
  Entry* entry = find(version);
  if (entry == nullptr) return lossy_ && resolve(version, start, now, epoch);
  const Step latest_start = std::max(entry->start, start);
  for (const Entry& other : entries_) {
    if (&other != entry && entry->finish < other.start && other.finish < latest_start) return false;
  }
  entry->start = latest_start;
  if (entry->finish == kNoStep) {
    entry->finish = now;
    entry->epoch = epoch;
  }
  if (alone) {
    lossy_ = false;
    spanning_ = false;
  }
  return true;
}

void SectorRegister::settle(Step oldest, Epoch durable_before) {
  if (entries_.size() > 1) {
    // All are marked before any is taken out: one that is superseded still supersedes others.
    for (Entry& entry : entries_) {
      entry.superseded = entry.finish != kNoStep && std::ranges::any_of(entries_, [&](const Entry& other) {
                           return &other != &entry && entry.finish < other.start && other.finish < oldest;
                         });
      if (entry.superseded && entry.version != floor_) fallback_.include(entry.version);
    }
    std::erase_if(entries_, [](const Entry& entry) { return entry.superseded; });
  }
  Entry* only = nullptr;
  for (Entry& entry : entries_) {
    if (entry.finish == kNoStep) continue;
    if (only != nullptr) return;
    only = &entry;
  }
  if (only == nullptr || lossy_ || only->epoch >= durable_before) return;
  floor_ = only->version;
  fallback_ = {};
}

}  // namespace resilver::workload
