#include "workload/block_table.h"

#include <algorithm>
#include <bit>

namespace resilver::workload {

BlockTable::BlockTable() : slots_(64) {}

// The slot of `key`, or the empty one where it would go (linear probing).
BlockTable::Group& BlockTable::slot(std::uint32_t key) noexcept {
  const std::size_t mask = slots_.size() - 1;
  const int shift = 64 - std::countr_zero(slots_.size());
  std::size_t at = (key * 0x9e3779b97f4a7c15ull) >> shift;  // Fibonacci hashing: the top bits are well mixed
  while (slots_[at].key != key && slots_[at].key != 0) at = (at + 1) & mask;
  return slots_[at];
}

BlockTable::Entry BlockTable::find(BlockIndex block) noexcept {
  const std::uint32_t key = block / kGroupBlocks + 1;
  Group& group = slot(key);
  if (group.key != key) return {};
  return {&group.cells[block % kGroupBlocks], &group.state[block % kGroupBlocks]};
}

BlockTable::Entry BlockTable::insert(BlockIndex block) {
  const std::uint32_t key = block / kGroupBlocks + 1;
  Group* group = &slot(key);
  if (group->key != key) {
    if ((used_ + 1) * 4 > slots_.size() * 3) {
      grow();
      group = &slot(key);
    }
    group->key = key;
    ++used_;
  }
  return {&group->cells[block % kGroupBlocks], &group->state[block % kGroupBlocks]};
}

void BlockTable::grow() {
  std::vector<Group> old(slots_.size() * 2);
  old.swap(slots_);
  for (const Group& group : old) {
    if (group.key != 0) slot(group.key) = group;
  }
}

std::vector<std::uint32_t> BlockTable::groups() const {
  std::vector<std::uint32_t> result;
  result.reserve(used_);
  for (const Group& group : slots_) {
    if (group.key != 0) result.push_back(group.key - 1);
  }
  std::ranges::sort(result);
  return result;
}

}  // namespace resilver::workload
