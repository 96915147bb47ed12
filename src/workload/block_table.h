// What the oracle keeps of the blocks that were written: 16 bytes a block, in an open-addressing table of cache lines of
// four neighbouring blocks. Grows with the part of the volume that was written, never with its size or the run's length.
#pragma once

#include <cstdint>
#include <vector>

#include "workload/sector_register.h"

namespace resilver::workload {

using BlockIndex = std::uint32_t;  // offset / 4096: volumes of up to 16 TiB

// A block whose eight sectors hold the same acknowledged version and about which nothing is open.
struct BlockCell {
  Version base = 0;   // last acknowledged write, 0: never written
  Epoch epoch = 0;    // of its acknowledgement
  Version floor = 0;  // known to be durable: a power loss goes back no further
};

enum class BlockState : std::uint8_t {
  simple,   // the cell says all
  tracked,  // a SectorRegister says more
  waived,   // too much was open to be tracked: anything this run wrote there is let pass
};

class BlockTable {
 public:
  static constexpr std::uint32_t kGroupBlocks = 4;

  struct Entry {
    BlockCell* cell = nullptr;
    BlockState* state = nullptr;
    explicit operator bool() const noexcept { return cell != nullptr; }
  };

  BlockTable();

  // Nothing if no block of its group was written. Valid until the next insert().
  Entry find(BlockIndex block) noexcept;
  Entry insert(BlockIndex block);

  // Sorted numbers of the groups present: group g is blocks 4g..4g+3.
  std::vector<std::uint32_t> groups() const;

 private:
  struct alignas(64) Group {
    std::uint32_t key = 0;  // group number + 1, 0: empty slot
    BlockState state[kGroupBlocks] = {};
    BlockCell cells[kGroupBlocks];
  };
  static_assert(sizeof(Group) == 64);

  Group& slot(std::uint32_t key) noexcept;
  void grow();

  std::vector<Group> slots_;  // a power of two, at most three quarters full
  std::size_t used_ = 0;
};

}  // namespace resilver::workload
