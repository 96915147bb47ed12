#include "tests/replica/volume_judge.h"

#include <algorithm>
#include <utility>

#include "tests/replica/cluster.h"

namespace resilver::replica {
namespace {

constexpr std::size_t kMostOlder = 128;  // versions of a block; older ones were acknowledged too long ago to come back

bool contains(const std::vector<std::uint64_t>& all, std::uint64_t one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}
void append(std::vector<std::uint64_t>& to, const std::vector<std::uint64_t>& more) {
  to.insert(to.end(), more.begin(), more.end());
}
std::string list(const std::vector<std::uint64_t>& versions) {
  std::string text;
  for (const std::uint64_t v : versions) text += (text.empty() ? "" : " or ") + std::to_string(v);
  return text;
}

}  // namespace

void VolumeJudge::rolled_back() {
  ++era_;
  floor_ = last_begin_ - kMostLost;
  kept_begin_ = 0;
  lost_acknowledged_ = kForever;
  for (Block& block : blocks_) {
    for (std::size_t s = 0; s < kSectors; ++s) {
      Sector& sector = block.sectors[s];
      sector.now = sector.older;
      sector.unsure = true;
      for (auto& [token, read] : block.reads) append(read.allowed[s], sector.older);
    }
  }
}

std::uint64_t VolumeJudge::begin_write(std::size_t i, std::uint64_t attachment, Nanos now) {
  Block& block = blocks_[i];
  const std::uint64_t version = ++block.last;
  if (!is_latest(attachment)) return version;  // never to be seen
  block.writes[version] = {.begin = now};
  block.open[version] = attachment;
  for (std::size_t s = 0; s < kSectors; ++s) {
    block.sectors[s].maybe.push_back(version);
    for (auto& [token, read] : block.reads) read.allowed[s].push_back(version);
  }
  return version;
}

// An answer to an older attachment may be late: it says nothing about what is there now.
void VolumeJudge::acknowledged(std::size_t i, std::uint64_t version, std::uint64_t attachment, Nanos now) {
  if (!is_latest(attachment)) return;
  Block& block = blocks_[i];
  given_up(i, version);
  Write& write = block.writes[version];
  write.acknowledged = now;
  write.era = era_;
  last_begin_ = std::max(last_begin_, write.begin);
  for (Sector& sector : block.sectors) {
    settle(block, sector, version);
  }
}

void VolumeJudge::given_up(std::size_t i, std::uint64_t version) { blocks_[i].open.erase(version); }

// Whatever else had begun when something was answered has happened before, or never will.
VolumeJudge::Versions VolumeJudge::still_open(const Block& block) const {
  Versions open;
  for (const auto& [version, attachment] : block.open) {
    if (is_latest(attachment)) open.push_back(version);
  }
  return open;
}

// `version` is there. Those of unknown outcome came before it, if at all: so a promotion may show them again.
void VolumeJudge::settle(const Block& block, Sector& sector, std::uint64_t version) {
  sector.now = {version};
  const Versions unknown = std::exchange(sector.maybe, still_open(block));
  Versions before;
  for (const std::uint64_t v : unknown) {
    if (v != version && !contains(sector.maybe, v)) before.push_back(v);
  }
  before.push_back(version);
  for (const std::uint64_t v : before) {
    if (!contains(sector.older, v)) sector.older.push_back(v);
  }
  if (sector.older.size() > kMostOlder) sector.older.erase(sector.older.begin(), sector.older.end() - kMostOlder);
  sector.unsure = false;
}

std::uint64_t VolumeJudge::begin_read(std::size_t i) {
  Block& block = blocks_[i];
  Read read{.latest = latest_, .era = era_, .allowed = {}};
  for (std::size_t s = 0; s < kSectors; ++s) {
    read.allowed[s] = block.sectors[s].now;
    append(read.allowed[s], block.sectors[s].maybe);
  }
  block.reads.emplace(++tokens_, std::move(read));
  return tokens_;
}

std::string VolumeJudge::end_read(std::size_t i, std::uint64_t token, std::uint64_t attachment,
                                  std::span<const std::byte> data) {
  Block& block = blocks_[i];
  const Read read = std::move(block.reads.at(token));
  block.reads.erase(token);
  const bool of_now = is_latest(attachment) && read.latest == latest_ && read.era == era_;
  std::string wrong;
  for (std::size_t s = 0; s < kSectors && wrong.empty(); ++s) {
    Sector& sector = block.sectors[s];
    const auto version = Cluster::version_of(data.subspan(s * kSectorBytes, kSectorBytes), addresses_[i]);
    if (!contains(read.allowed[s], version)) {
      wrong = "read version " + std::to_string(version) + ", not " + list(read.allowed[s]);
    } else if (of_now) {
      if (sector.unsure) wrong = survived(block, sector, version);
      if (sector.unsure) sector.older.clear();
      settle(block, sector, version);
    }
    if (!wrong.empty())
      wrong = "block " + std::to_string(addresses_[i]) + " sector " + std::to_string(s) + ": " + wrong;
  }
  return wrong;
}

// `version` is what a promotion has left of this sector.
std::string VolumeJudge::survived(const Block& block, const Sector& sector, std::uint64_t version) {
  const auto at = std::find(sector.older.begin(), sector.older.end(), version);
  if (at == sector.older.end()) return "";
  const auto acknowledged = [&](std::uint64_t v) -> const Write* {  // in the reign that this promotion ended
    const auto found = block.writes.find(v);
    const bool then =
        found != block.writes.end() && found->second.acknowledged != kForever && found->second.era + 1 == era_;
    return then ? &found->second : nullptr;
  };
  if (const Write* kept = acknowledged(version)) kept_begin_ = std::max(kept_begin_, kept->begin);
  for (auto after = at + 1; after != sector.older.end(); ++after) {
    const Write* gone = acknowledged(*after);
    if (gone == nullptr) continue;
    ++lost_;
    lost_acknowledged_ = std::min(lost_acknowledged_, gone->acknowledged);
    if (gone->acknowledged < floor_) return "lost version " + std::to_string(*after) + ", acknowledged long before";
  }
  if (kept_begin_ > lost_acknowledged_) return "what was kept is no prefix of what was acknowledged";
  return "";
}

std::string VolumeJudge::at_rest(std::size_t i, std::span<const std::byte> data) const {
  for (std::size_t s = 0; s < kSectors; ++s) {
    const Sector& sector = blocks_[i].sectors[s];
    const auto version = Cluster::version_of(data.subspan(s * kSectorBytes, kSectorBytes), addresses_[i]);
    if (contains(sector.now, version) || contains(sector.maybe, version)) continue;
    return "block " + std::to_string(addresses_[i]) + " sector " + std::to_string(s) + " ends with version " +
           std::to_string(version) + ", not " + list(sector.now);
  }
  return "";
}

}  // namespace resilver::replica
