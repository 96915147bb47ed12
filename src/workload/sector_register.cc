#include "workload/sector_register.h"

#include <algorithm>
#include <utility>

namespace resilver::workload {

SectorRegister::SectorRegister(Version floor, Version base, Epoch epoch) {
  Stretch stretch;
  stretch.entries.push_back({base, epoch, 0, 0});
  if (floor < base) stretch.past.push_back({floor, floor, 0, epoch});
  if (floor + 1 < base) stretch.past.push_back({floor + 1, base - 1, 0, epoch});
  worlds_.push_back({std::move(stretch)});
}

// ---- one stretch -----------------------------------------------------------------------------------------------------

// The write of `version`, not what came back.
SectorRegister::Entry* SectorRegister::find(Stretch& stretch, Version version) noexcept {
  for (Entry& entry : stretch.entries) {
    if (entry.version == version && !entry.survivor) return &entry;
  }
  return nullptr;
}

const SectorRegister::Entry* SectorRegister::survivor_of(const Stretch& stretch) noexcept {
  for (const Entry& entry : stretch.entries) {
    if (entry.survivor) return &entry;
  }
  return nullptr;
}

// The earliest epoch in which another version was complete that must come after one that was complete at `finish`.
Epoch SectorRegister::expiry(const Stretch& stretch, Step finish, const Entry* self) noexcept {
  Epoch earliest = kNever;
  for (const Entry& other : stretch.entries) {
    if (&other != self && other.certain() && finish < other.start) earliest = std::min(earliest, other.epoch);
  }
  return earliest;
}

// Must `entry`, if it happened, come both before and after another version?
bool SectorRegister::impossible(const Stretch& stretch, const Entry& entry) noexcept {
  return std::ranges::any_of(stretch.entries, [&](const Entry& other) {
    return &other != &entry && other.certain() && entry.finish < other.start && other.finish < entry.start;
  });
}

void SectorRegister::retire(Stretch& stretch, Step oldest) {
  if (stretch.entries.size() < 2) return;
  std::vector<Entry> left;
  for (const Entry& entry : stretch.entries) {
    const bool superseded =
        entry.finish != kNoStep && std::ranges::any_of(stretch.entries, [&](const Entry& other) {
          return &other != &entry && other.certain() && entry.finish < other.start && other.finish < oldest;
        });
    if (!superseded) {
      left.push_back(entry);
    } else if (impossible(stretch, entry)) {
      stretch.excluded = std::max(stretch.excluded, entry.version);
    } else if (entry.version == kNotKnown) {
      const Epoch until = expiry(stretch, entry.finish, &entry);
      for (const Past& choice : stretch.choices) {
        stretch.past.push_back({choice.lo, choice.hi, entry.finish, until, true});
      }
      stretch.choices.clear();
    } else {
      stretch.past.push_back({entry.version, entry.version, entry.finish, expiry(stretch, entry.finish, &entry)});
    }
  }
  stretch.entries = std::move(left);
}

void SectorRegister::expire(Stretch& stretch, Epoch durable_before) {
  std::erase_if(stretch.past, [&](Past& past) {
    past.expiry = std::min(past.expiry, expiry(stretch, past.finish));
    if (past.expiry >= durable_before) return false;
    stretch.excluded = std::max(stretch.excluded, past.hi);
    return true;
  });
  while (stretch.past.size() > kMostPast) {
    const Past oldest = stretch.past.front();
    stretch.past.erase(stretch.past.begin());
    Past& next = stretch.past.front();
    next = {std::min(oldest.lo, next.lo), std::max(oldest.hi, next.hi), std::max(oldest.finish, next.finish),
            std::max(oldest.expiry, next.expiry)};
  }
}

// ---- losses ----------------------------------------------------------------------------------------------------------

// What the loss at the end of `stretch` may bring back; what it cannot is taken out of the stretch.
std::vector<SectorRegister::Past> SectorRegister::survivors(Stretch& stretch) {
  std::vector<Past> found;
  for (const Entry& entry : stretch.entries) {
    if (impossible(stretch, entry) || expiry(stretch, entry.finish, &entry) < stretch.durable_before) {
      stretch.excluded = std::max(stretch.excluded, entry.version == kNotKnown ? stretch.newest : entry.version);
    } else if (entry.version == kNotKnown) {
      found.insert(found.end(), stretch.choices.begin(), stretch.choices.end());
    } else {
      found.push_back({entry.version, entry.version, 0, 0});
    }
  }
  expire(stretch, stretch.durable_before);
  for (const Past& past : stretch.past) found.push_back({past.lo, past.hi, 0, 0});
  return found;
}

void SectorRegister::know_survivor(Stretch& stretch, Version version) {
  stretch.came_back = version;
  std::ranges::find(stretch.entries, true, &Entry::survivor)->version = version;
  for (const Past& choice : stretch.choices) {
    if (choice.hi != version) {
      stretch.excluded = std::max(stretch.excluded, choice.hi);
    } else if (choice.lo != version) {
      stretch.excluded = std::max(stretch.excluded, version - 1);
    }
  }
  stretch.choices.clear();
}

void SectorRegister::begin_stretch(World& world, const Loss& loss, std::span<const Version> in_flight) {
  Stretch& before = world.back();
  before.durable_before = loss.durable_before;
  Stretch next;
  next.begin = loss.step;
  next.newest = before.newest;
  next.entries.push_back({kNotKnown, loss.last_epoch + 1, 0, 0, false, false, true});
  for (const Past& past : before.past) next.newest = std::max(next.newest, past.hi);
  for (const Version version : in_flight) next.entries.push_back({version, 0, loss.step, kNoStep, true});
  for (const Entry& entry : before.entries) {
    const bool known = entry.version != kNotKnown;
    if (known && entry.certain()) next.newest = std::max(next.newest, entry.version);
    if (entry.finish != kNoStep || std::ranges::find(in_flight, entry.version) != in_flight.end()) continue;
    next.entries.push_back({entry.version, 0, loss.step, kNoStep, true, true});
  }
  world.push_back(std::move(next));
}

void SectorRegister::forget_first(World& world) {
  Stretch& first = world[0];
  Stretch& next = world[1];
  next.choices = survivors(first);
  next.excluded = std::max(next.excluded, first.excluded);
  const Entry* survivor = survivor_of(next);
  const bool one = next.choices.size() == 1 && next.choices.front().lo == next.choices.front().hi;
  if (survivor->version != kNotKnown) {
    know_survivor(next, survivor->version);
  } else if (one) {
    know_survivor(next, next.choices.front().lo);
  }
  world.erase(world.begin());
}

// Can `version` be what the loss at the end of stretch `at` brought back? May settle what came back before.
bool SectorRegister::may_survive(World& world, std::size_t at, Version version) {
  Stretch& stretch = world[at];
  const auto left = [&](Step finish, Epoch until, const Entry* self = nullptr) {
    return std::min(until, expiry(stretch, finish, self)) >= stretch.durable_before;
  };
  bool not_known = false;
  for (Entry& entry : stretch.entries) {
    if (entry.version == version && !impossible(stretch, entry) && left(entry.finish, kNever, &entry)) {
      if (entry.finish != kNoStep) entry.maybe = false;
      return true;
    }
    if (entry.version == kNotKnown && left(entry.finish, kNever, &entry)) not_known = true;
  }
  for (const Past& past : stretch.past) {
    if (past.lo > version || version > past.hi || !left(past.finish, past.expiry)) continue;
    if (past.choice) stretch.came_back = version;
    return true;
  }
  return not_known && comes_back(world, at, version);
}

// Makes `version` what came back at the beginning of stretch `at`. False: it cannot be.
bool SectorRegister::comes_back(World& world, std::size_t at, Version version) {
  Stretch& stretch = world[at];
  const bool possible = at > 0 ? may_survive(world, at - 1, version)
                               : std::ranges::any_of(stretch.choices, [version](const Past& choice) {
                                   return choice.lo <= version && version <= choice.hi;
                                 });
  if (possible) know_survivor(stretch, version);
  return possible;
}

// `version` was done before stretch `at`: where it had been given up unseen it does not come late again. False: it did.
bool SectorRegister::done_once(World& world, std::size_t at, Version version) {
  for (; at < world.size(); ++at) {
    const Entry* entry = find(world[at], version);
    if (entry == nullptr || !entry->late) return true;
    if (!entry->maybe) return false;
    std::erase_if(world[at].entries, [&](const Entry& other) { return other.version == version && !other.survivor; });
  }
  return true;
}

// Does what is known to have come back still follow from the stretches before?
bool SectorRegister::consistent(World& world) {
  for (std::size_t at = 1; at < world.size(); ++at) {
    const Version version = survivor_of(world[at])->version;
    if (version != kNotKnown && !may_survive(world, at - 1, version)) return false;
  }
  return true;
}

// ---- events ----------------------------------------------------------------------------------------------------------

void SectorRegister::begin_write(Version version, Step start) {
  for (World& world : worlds_) world.back().entries.push_back({version, 0, start, kNoStep});
}

void SectorRegister::acknowledge(Version version, Epoch epoch, Step now) {
  for (World& world : worlds_) {
    Entry* entry = find(world.back(), version);
    // Nothing: read, overwritten and forgotten before its acknowledgement came.
    if (entry == nullptr || entry->finish != kNoStep) continue;
    entry->finish = now;
    entry->epoch = epoch;
  }
}

void SectorRegister::lose(const Loss& loss, std::span<const Version> in_flight, Step oldest_read) {
  for (World& world : worlds_) {
    begin_stretch(world, loss, in_flight);
    while (world.size() > 1 && oldest_read > world[1].begin) forget_first(world);
  }
}

// All ways in which a read can have got `version` in stretch `at` of `world`.
void SectorRegister::read_in(World& world, std::size_t at, Version version, Step start, Step now, Epoch epoch,
                             std::vector<World>& found) {
  const bool present = at + 1 == world.size();
  const Step from = std::max(start, world[at].begin);
  const Step until = present ? now : world[at + 1].begin;
  if (start > until) return;
  for (std::size_t i = 0; i < world[at].entries.size(); ++i) {
    const bool not_known = world[at].entries[i].version == kNotKnown;
    if (!not_known && world[at].entries[i].version != version) continue;
    World next = world;
    if (not_known && !comes_back(next, at, version)) continue;
    Entry& entry = next[at].entries[i];
    entry.start = std::max(entry.start, from);
    if (entry.finish == kNoStep) {
      entry.finish = until;
      entry.epoch = present ? epoch : kNever;
    }
    entry.maybe = false;
    const std::size_t later = entry.survivor ? at : at + 1;
    if (impossible(next[at], entry) || !done_once(next, later, version) || !consistent(next)) continue;
    if (std::ranges::find(found, next) == found.end()) found.push_back(std::move(next));
  }
}

bool SectorRegister::read(Version version, Step start, Step now, Epoch epoch) {
  std::vector<World> found;
  for (World& world : worlds_) {
    for (std::size_t at = 0; at < world.size(); ++at) read_in(world, at, version, start, now, epoch, found);
  }
  if (found.empty()) return false;
  worlds_ = std::move(found);
  return true;
}

void SectorRegister::settle(Step oldest, Step oldest_read, Epoch durable_before) {
  for (World& world : worlds_) {
    while (world.size() > 1 && oldest_read > world[1].begin) forget_first(world);
    retire(world.back(), oldest);
    expire(world.back(), durable_before);
    if (durable_before == kNever) world.back().excluded = 0;  // nothing ever comes back
  }
  std::vector<World> different;
  for (World& world : worlds_) {
    if (std::ranges::find(different, world) == different.end()) different.push_back(std::move(world));
  }
  worlds_ = std::move(different);
  if (worlds_.size() == 1 && worlds_.front().size() == 1) forget_loss(worlds_.front().front());
}

// What came back is overwritten: sectors that were torn apart become alike again.
void SectorRegister::forget_loss(Stretch& stretch) {
  if (survivor_of(stretch) != nullptr) return;
  stretch.came_back = kNotKnown;
  stretch.newest = 0;
  stretch.told = 0;
  for (Past& past : stretch.past) past.choice = false;
  const auto newer = [&](const Entry& entry) { return entry.version > stretch.excluded; };
  if (stretch.past.empty() && std::ranges::all_of(stretch.entries, newer)) stretch.excluded = 0;
}

// ---- what is known ---------------------------------------------------------------------------------------------------

std::optional<SectorRegister::Survivor> SectorRegister::take_survivor() {
  for (std::size_t at = 0; at < worlds_.front().size(); ++at) {  // all worlds have the same stretches
    const Stretch& stretch = worlds_.front()[at];
    if (stretch.begin == 0) continue;
    Survivor survivor{{}, stretch.newest, stretch.begin};
    for (const World& world : worlds_) {
      const Version version = world[at].came_back;
      if (std::ranges::find(survivor.versions, version) == survivor.versions.end())
        survivor.versions.push_back(version);
    }
    const std::size_t left = survivor.versions.size();
    if (stretch.told == left || std::ranges::find(survivor.versions, kNotKnown) != survivor.versions.end()) continue;
    for (World& world : worlds_) world[at].told = left;
    return survivor;
  }
  return {};
}

Version SectorRegister::expected() const noexcept {
  const Stretch& present = worlds_.front().back();
  Version newest = 0;
  for (const Entry& entry : present.entries) {
    if (entry.certain()) newest = std::max(newest, entry.version == kNotKnown ? present.newest : entry.version);
  }
  return newest;
}

std::size_t SectorRegister::size() const noexcept {
  std::size_t entries = 0;
  for (const World& world : worlds_) {
    for (const Stretch& stretch : world) entries += stretch.entries.size();
  }
  return entries;
}

bool SectorRegister::simple(bool flushing) const noexcept {
  const Stretch& stretch = worlds_.front().front();
  if (worlds_.size() != 1 || worlds_.front().size() != 1 || stretch.entries.size() != 1) return false;
  const Entry& only = stretch.entries.front();
  if (!only.certain() || only.version == kNotKnown) return false;
  return stretch.excluded <= floor() && std::ranges::all_of(stretch.past, [&](const Past& past) {
           return past.hi < only.version && (past.expiry == only.epoch || !flushing);
         });
}

Version SectorRegister::floor() const noexcept {
  Version lowest = base();
  for (const Past& past : worlds_.front().front().past) lowest = std::min(lowest, past.lo);
  return lowest;
}

}  // namespace resilver::workload
