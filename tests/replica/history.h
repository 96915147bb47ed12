// Histories by construction: a tree of records, each made from its parent as a primary, a candidate or somebody who forces
// makes it. What two of them are to each other is known from the tree alone.
#pragma once

#include <algorithm>
#include <vector>

#include "base/random.h"
#include "replica/record.h"

namespace resilver::replica {

class History {
 public:
  static constexpr int kRoot = 0;  // the virgin record

  explicit History(unsigned nodes, std::uint64_t seed = 1) : random_(seed) {
    Record root;
    root.volume = {9, 9};
    for (unsigned i = 0; i < nodes; ++i) root.slots.push_back({100 + i, {7, 1 + i}, 0, 0});
    records_.push_back({root, -1, false});
  }

  const Record& operator[](int at) const { return records_[static_cast<std::size_t>(at)].record; }
  int size() const { return static_cast<int>(records_.size()); }
  Random& random() { return random_; }

  // The primary of `from` changes the set. Precondition: nobody did yet.
  int change(int from, NodeSet in_sync) {
    Node& node = records_[static_cast<std::size_t>(from)];
    CHECK(!node.changed && from != kRoot);
    node.changed = true;
    return add(from, next_epoch(node.record, in_sync, random_.next()));
  }
  bool may_change(int from) const { return from != kRoot && !records_[static_cast<std::size_t>(from)].changed; }
  // Somebody is promoted; `forced`: a new seed.
  int promote(int from, NodeId primary, NodeSet in_sync, bool forced = false) {
    const Record& now = (*this)[from];
    Record next = now;
    Reign reign;
    reign.nonce = random_.next() | 1;
    reign.primary = primary;
    reign.seed = forced || now.virgin() ? random_.next() | 1 : now.seed();
    if (forced) {
      next.consulted = next.covered = NodeSet::of(primary);
      next.given_up.clear();
    }
    return add(from, next_reign(next, reign, in_sync | NodeSet::of(primary), random_.next()));
  }
  // Anything that may follow.
  int grow(int from) {
    const unsigned nodes = static_cast<unsigned>((*this)[kRoot].slots.size());
    const NodeSet all{(1u << nodes) - 1};
    const NodeSet some{static_cast<std::uint32_t>(random_.next()) & all.bits};
    if (may_change(from) && random_.percent(60)) return change(from, some | NodeSet::of((*this)[from].primary));
    return promote(from, static_cast<NodeId>(random_.below(nodes)), some, random_.percent(20));
  }

  // ---- the truth ----
  int parent(int at) const { return records_[static_cast<std::size_t>(at)].parent; }
  bool is_ancestor(int above, int below) const {  // or the same
    while (below != above && below > above) below = parent(below);
    return below == above;
  }
  int common(int one, int other) const {
    while (one != other) (one > other ? one : other) = parent(one > other ? one : other);
    return one;
  }
  // The reigns on the way from the root, newest first, each as it is known at `at`; those that a record may forget too.
  std::vector<Reign> path(int at) const {
    std::vector<Reign> reigns;
    for (; at != kRoot; at = parent(at)) {
      const Reign& own = (*this)[at].reign();
      if (reigns.empty() || reigns.back().nonce != own.nonce) reigns.push_back(own);
    }
    return reigns;
  }

 private:
  struct Node {
    Record record;
    int parent;
    bool changed;  // by its primary
  };
  int add(int from, Record record) {
    records_.push_back({std::move(record), from, false});
    return size() - 1;
  }

  Random random_;
  std::vector<Node> records_;
};

}  // namespace resilver::replica
