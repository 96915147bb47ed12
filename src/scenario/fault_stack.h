// Faults that are active at one place at the same time are a stack, and what the place does is the fold over it: the end of one
// never ends another. One stack for each direction of a link, each disk, each node, the arbiter; the timeline keeps them, so
// that both worlds behave alike. An event is in a place's stack at most once: applied again (`every`) it replaces itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "scenario/fleet.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

// Latencies add; the narrowest bandwidth counts; messages are lost, doubled and damaged independently; one drop is enough.
LinkFault operator+(const LinkFault& one, const LinkFault& other);
// What a verb does to one direction.
LinkFault link_fault_of(Verb verb, const VerbArguments& arguments);

class LinkStacks {
 public:
  void put(std::size_t event, const LinkEnd& from, const LinkEnd& to, const LinkFault& fault);
  void take(std::size_t event, const LinkEnd& from, const LinkEnd& to);
  LinkFault fold(const LinkEnd& from, const LinkEnd& to) const;

 private:
  struct Entry {
    std::size_t event;
    LinkEnd from;
    LinkEnd to;
    LinkFault fault;
  };
  std::vector<Entry> entries_;
};

struct DiskPlace {
  std::uint32_t node = 0;
  std::uint32_t disk = 0;
  bool operator==(const DiskPlace&) const = default;
};

// disk.slow: factors multiply, additions add, the narrowest bandwidth counts. disk.hang and disk.fail: while there is one.
class DiskStacks {
 public:
  void put(std::size_t event, DiskPlace place, Verb verb, const VerbArguments& arguments);
  // False: the event has nothing there (any more).
  bool take(std::size_t event, DiskPlace place);
  void new_disk(DiskPlace place);  // its faults went with the old one
  // The arguments of the verb that stands for all of its kind there; nothing: none is active.
  std::optional<VerbArguments> fold(DiskPlace place, Verb verb) const;

 private:
  struct Entry {
    std::size_t event;
    DiskPlace place;
    Verb verb;
    VerbArguments arguments;
  };
  std::vector<Entry> entries_;
};

// What holds a node down, or frozen, and how its clock goes wrong. The arbiter is the node kArbiter.
class NodeStacks {
 public:
  static constexpr std::uint32_t kArbiter = ~std::uint32_t{0};
  enum class Kind : std::uint8_t { down, frozen, clock };

  void put(std::size_t event, std::uint32_t node, Kind kind, std::int32_t rate_ppm = 0);
  void take(std::size_t event, std::uint32_t node, Kind kind);
  // The node has been started by an order: nothing holds it down any more.
  void release(std::uint32_t node, Kind kind);
  bool any(std::uint32_t node, Kind kind) const;
  std::int32_t rate_ppm(std::uint32_t node) const;  // the sum, at most 10 % either way

 private:
  struct Entry {
    std::size_t event;
    std::uint32_t node;
    Kind kind;
    std::int32_t rate_ppm;
  };
  std::vector<Entry> entries_;
};

}  // namespace resilver::scenario
