// What a volume must still hold: the oracle of a walk. It knows nothing of processes: it is told of writes and how they
// ended, of what lies on the copies, and of what was given up, and says what is missing.
//
// What is promised: an acknowledged write is lost only by an acknowledged write over it, by a copy that had it, or by
// somebody who asked for that. So there may be several contents of one block that must all be kept: the two sides of a
// split brain. Each of them is a *branch*: the newest write, and behind it what may be there instead, as long as that
// write was not acknowledged, or only by a mode that may lose the newest ones.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace resilver::test {

inline constexpr std::size_t kWalkBlock = 4096;

using BlockHash = std::uint64_t;
BlockHash hash_of_block(std::string_view bytes);
using CopyImage = std::vector<BlockHash>;  // of the volume's bytes, by block

// Of a file or of a part of a device. What it does not have of the last block counts as zeroes.
CopyImage image_of(std::string_view bytes);

enum class Promise : std::uint8_t {
  none,  // not acknowledged: it may be there or not
  soft,  // acknowledged; lost if a failure follows at once (async, received)
  firm,  // acknowledged
};

class Contents {
 public:
  // A volume of zeroes.
  explicit Contents(std::size_t blocks);

  std::size_t blocks() const noexcept { return kept_.size(); }

  // A write of `content` to the block at `now` (seconds). `before`: what the block was on the copies that may have taken
  // it; empty: nobody knows. False: no copy that may have taken it had anything that is kept, so the write was
  // acknowledged by an outdated one.
  bool write(std::size_t block, BlockHash content, Promise promise, std::span<const BlockHash> before, double now);
  // A failure of any kind: what was acknowledged softly within kSoftSeconds may be lost.
  void note_failure(double now);
  // Nothing is known of this block any more until the next acknowledged write.
  void forget(std::size_t block);
  // What only other copies than these had is given up.
  void give_up_all_but(const std::vector<CopyImage>& images);
  // Of what `changed` has not (any more) and others have, what was acknowledged after `since` is not promised any more.
  void soften(const CopyImage& changed, double since);

  // Whether a client may be given this. `outdated`: something was restored or forced, so it may be an old content.
  bool may_be_read(std::size_t block, BlockHash content, bool outdated) const;
  // A client has seen it: from now on it must stay.
  void was_read(std::size_t block, BlockHash content);
  // Blocks with a branch that is on none of these.
  std::vector<std::size_t> missing(const std::vector<CopyImage>& images) const;
  // "12: write of 3.100 s, not on any copy"
  std::string describe(std::size_t block) const;

  // By then the copies have it, or whoever has not left the set: congestion_timeout is 5 s.
  static constexpr double kSoftSeconds = 6;

 private:
  struct Entry {
    BlockHash content = 0;
    bool promised = false;
    bool soft = false;
    double at = 0;
  };
  using Branch = std::vector<Entry>;  // newest first; the first one that is promised is the last that counts
  static std::span<const Entry> allowed(const Branch& branch);
  static bool allows(const Branch& branch, BlockHash content);
  void add_unknown(std::vector<Branch>& branches, Entry entry, std::span<const BlockHash> before);
  static void settle(Branch& branch, double now);
  bool knows(std::size_t block, BlockHash content) const;
  static bool held(std::size_t block, const Branch& branch, const std::vector<CopyImage>& images);

  std::vector<std::vector<Branch>> kept_;   // by block; none: anything may be there
  std::vector<std::set<BlockHash>> known_;  // all that was ever written there; none: anything was
};

}  // namespace resilver::test
