// A second judge of what a volume answered, against which the oracle is held: slow, and simple enough to be read in ten
// minutes. It follows every state that the volume may be in, one event after the other, and shares nothing with the oracle.
// Written from the promises in src/workload/oracle.h and docs/replication.md:
//
//  * The register judged is the sector; here a *cell*, one of the two halves of a block. Cells are judged one by one.
//  * A write, read or flush takes effect once, at one moment between its begin and its end. A write whose outcome is not
//    known may take effect at any time after its begin, or never.
//  * A loss (on_flush: of power; prefix: a failover) leaves any value that the cell had since the last flush (prefix: since
//    the last failover) took effect. That is there for good. A write that is in flight then may be sent again, and take
//    effect once more.
//  * prefix: a write precedes another if it was acknowledged before the other began. At a failover a write is kept if it is
//    what some cell is left with, and lost if a cell that it was written to is left with what precedes it (or with nothing,
//    or with something of an earlier reign). No lost write may precede a kept one. Only writes that began and were
//    acknowledged between the same two failovers count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "workload/oracle.h"

namespace resilver::workload::slow {

inline constexpr std::size_t kBlocks = 2;
inline constexpr std::size_t kCells = 2 * kBlocks;
inline constexpr std::size_t kMostOps = 12;
inline constexpr std::uint32_t kDamaged = 99;  // "version" of a cell whose bytes are no sector of ours

enum class Call { write, read, flush, power_loss, failover };

struct Op {
  Call call = Call::write;
  bool unknown = false;              // the outcome of a write or flush
  std::uint32_t version = 0;         // of a write: 1, 2, 3, … in the order of their begins
  std::size_t first = 0, last = 0;   // blocks
  std::uint32_t value[kCells] = {};  // what a read returned
  bool covers(std::size_t cell) const {
    return (call == Call::write || call == Call::read) && first <= cell / 2 && cell / 2 <= last;
  }
};

// A loss has one event, anything else two. An unknown end says that it is no longer in flight.
struct Event {
  std::size_t op;
  bool begins;
};

struct History {
  std::vector<Op> ops;
  std::vector<Event> events;
};

struct Verdict {
  std::size_t first_bad = kNone;  // the event that ends the first read which is stale or corrupt
  bool corrupt = false;           // that read is (also) corrupt
  bool not_a_prefix = false;      // the others are looked at only if no read is bad
  bool lost = false;
  static constexpr std::size_t kNone = ~std::size_t{0};
  bool operator==(const Verdict&) const = default;
};

Verdict judge(const History& history, Durability promise);

std::string describe(const History& history);

}  // namespace resilver::workload::slow
