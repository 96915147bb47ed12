// Judges what clients saw of a volume, sector by sector, since a write of which nothing was heard may be there in part. Every
// answer must be legal for a register: the last acknowledged version, or one that is under way or of unknown outcome; what
// was shown once, or overwritten, does not come back. A newer attachment ends the older ones.
//
// With `async` a promotion may take acknowledged writes back, but then what is kept is a prefix: nothing is kept that began
// after something lost was acknowledged; and what was acknowledged long before the last acknowledgement is not lost.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "env/block_device.h"

namespace resilver::replica {

class VolumeJudge {
 public:
  // Of acknowledged writes, those acknowledged so long before the last one survive every promotion, also with `async`.
  static constexpr Nanos kMostLost = 700 * kMillisecond;
  static constexpr std::size_t kSectors = kBlockBytes / kSectorBytes;

  // The i-th block that is judged lies at addresses[i] of the volume; all hold version 0.
  explicit VolumeJudge(std::vector<std::uint64_t> addresses)
      : addresses_(std::move(addresses)), blocks_(addresses_.size()) {}

  std::uint64_t address(std::size_t i) const { return addresses_[i]; }
  std::size_t blocks() const { return blocks_.size(); }

  // This attachment was let in: older ones begin nothing from here on.
  void attached(std::uint64_t attachment) { latest_ = std::max(latest_, attachment); }
  bool is_latest(std::uint64_t attachment) const { return attachment >= latest_; }
  // Another primary serves, and may have lost the end of what was acknowledged.
  void rolled_back();

  // Overlapping requests of an attachment, writes among them, are served in the order in which they begin.
  std::uint64_t begin_write(std::size_t i, std::uint64_t attachment, Nanos now);  // the version to write
  void acknowledged(std::size_t i, std::uint64_t version, std::uint64_t attachment, Nanos now);
  void given_up(std::size_t i, std::uint64_t version);  // it has happened or never will, before the next request
  std::uint64_t begin_read(std::size_t i);              // a token
  // Empty when the content was legal. A read without an answer is ended by forget().
  std::string end_read(std::size_t i, std::uint64_t token, std::uint64_t attachment, std::span<const std::byte> data);
  void forget(std::size_t i, std::uint64_t token) { blocks_[i].reads.erase(token); }

  // What is on a disk when nothing is under way.
  std::string at_rest(std::size_t i, std::span<const std::byte> data) const;

  std::uint64_t rollbacks() const { return era_; }
  std::uint64_t lost() const { return lost_; }  // acknowledged writes seen to be gone, by sectors

 private:
  static constexpr Nanos kForever = std::numeric_limits<Nanos>::max();
  using Versions = std::vector<std::uint64_t>;
  struct Write {
    Nanos begin = 0, acknowledged = kForever;
    std::uint64_t era = 0;  // in which it was acknowledged
  };
  struct Sector {
    Versions now{0};      // what may be there while nothing is under way
    Versions maybe;       // under way or unknown
    Versions older{0};    // what a promotion may bring back, in order: acknowledged, or of unknown outcome before that
    bool unsure = false;  // of `now`, since a promotion
  };
  struct Read {
    std::uint64_t latest = 0, era = 0;  // when it began
    std::array<Versions, kSectors> allowed;
  };
  struct Block {
    std::uint64_t last = 0;
    std::map<std::uint64_t, std::uint64_t> open;  // writes under way, and of which attachment
    std::map<std::uint64_t, Write> writes;
    std::map<std::uint64_t, Read> reads;
    std::array<Sector, kSectors> sectors;
  };
  Versions still_open(const Block& block) const;
  void settle(const Block& block, Sector& sector, std::uint64_t version);
  std::string survived(const Block& block, const Sector& sector, std::uint64_t version);

  std::vector<std::uint64_t> addresses_;
  std::vector<Block> blocks_;
  std::uint64_t latest_ = 0;
  std::uint64_t tokens_ = 0;
  std::uint64_t era_ = 0;  // promotions that may have lost something
  std::uint64_t lost_ = 0;
  Nanos last_begin_ = 0;                // of an acknowledged write
  Nanos floor_ = 0;                     // what was acknowledged before it survived the last promotion
  Nanos kept_begin_ = 0;                // the latest begin of what the last promotion kept ...
  Nanos lost_acknowledged_ = kForever;  // ... and the first acknowledgement of what it lost
};

}  // namespace resilver::replica
