// The words of src/replica that everything else here is said in: nodes, sets of them, modes of acknowledgement, positions,
// extents.
#pragma once

#include <compare>
#include <cstdint>

#include "base/id128.h"

namespace resilver::replica {

using VolumeId = Id128;
// Of one copy of a volume: drawn when it is made, replaced or copied from nothing. Membership is by it, never by a name, an
// address or a number.
using CopyId = Id128;

// A node's number in the volume's record, given when the record first lists it. Only a label: see Slot in record.h.
using NodeId = std::uint32_t;
inline constexpr NodeId kMaxNodes = 32;  // ids are 0 .. 31
inline constexpr NodeId kNoNode = 0xffffffff;

// A set of node ids.
struct NodeSet {
  std::uint32_t bits = 0;

  static NodeSet of(NodeId id) noexcept { return NodeSet{std::uint32_t{1} << id}; }
  bool contains(NodeId id) const noexcept { return id < kMaxNodes && (bits >> id & 1) != 0; }
  void add(NodeId id) noexcept { bits |= std::uint32_t{1} << id; }
  void remove(NodeId id) noexcept { bits &= ~(std::uint32_t{1} << id); }
  unsigned count() const noexcept { return static_cast<unsigned>(__builtin_popcount(bits)); }
  bool operator==(const NodeSet&) const = default;
  friend NodeSet operator|(NodeSet a, NodeSet b) noexcept { return {a.bits | b.bits}; }
  friend NodeSet operator-(NodeSet a, NodeSet b) noexcept { return {a.bits & ~b.bits}; }
};

// When a write is acknowledged (rule 3). N nodes are configured, I are in sync.
enum class AckMode : std::uint8_t {
  durable,   // durable on all of I
  quorum,    // durable on a majority of N, the primary among them
  received,  // durable on the primary, and all of I have it in memory
  async,     // durable on the primary
};
inline constexpr std::uint8_t kAckModeCount = 4;
const char* ack_mode_name(AckMode mode) noexcept;

// How much a copy has: all writes up to `seq` of the reign that began with the epoch `reign`, and of those before it what
// that reign's primary had. Compared as a pair, the higher one has more, as long as both are of one history (record.h).
struct Position {
  std::uint64_t reign = 0, seq = 0;
  auto operator<=>(const Position&) const = default;
};
// Of a primary that had restarted and only knew that it had at least what its superblock told.
inline constexpr std::uint64_t kUnknownSeq = ~std::uint64_t{0};

struct Extent {
  std::uint64_t offset = 0;  // bytes
  std::uint64_t length = 0;
  std::uint64_t end() const noexcept { return offset + length; }
  bool operator==(const Extent&) const = default;
};

// The number of a clearing of intent bits; a later one is higher.
struct Clearing {
  std::uint64_t epoch = 0, counter = 0;
  auto operator<=>(const Clearing&) const = default;
};

// Who answers as the arbiter: the record's file, and the process on it.
struct ArbiterKey {
  Id128 arbiter;              // drawn when the file was made
  std::uint64_t counter = 0;  // of starts on that file, durable
  std::uint64_t random = 0;   // drawn at the start
  bool operator==(const ArbiterKey&) const = default;
};

// How far a copy has come, as it told: marks.h.
struct PeerMark {
  CopyId copy;
  std::uint64_t counter = 0;
  bool operator==(const PeerMark&) const = default;
};

}  // namespace resilver::replica
