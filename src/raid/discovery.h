// Which of the disks given to assemble() make the array: the superblocks alone decide. Only
// find_superblock() does I/O.
//
// The freshest superblock says who belongs where (rule 2). A crash between two superblock writes leaves members one event
// behind, so these are current too; further behind is stale.
#pragma once

#include <span>
#include <vector>

#include "raid/array.h"
#include "raid/leaf.h"
#include "raid/superblock.h"

namespace resilver::raid {

struct GivenDisk {
  MemberDisk disk;
  Result<Superblock> super;
};

struct Lineup {
  Superblock fresh;
  bool forced = false;  // a stale disk was taken back: what it missed is lost
};

// Fills the report: one entry for each disk given, with the verdict. With `take_stale` the freshest of the stale disks are
// taken back while too few are current. Precondition: at least one disk has a superblock.
// Errors: bad_input (of two arrays, a disk twice, a slot twice, disks that diverged; both disks are named), unsupported (the
// shape).
Result<Lineup> line_up(std::span<const GivenDisk> given, bool take_stale, AssemblyReport& report);

// Did the member with superblock `other` go on without all who are members now, as they did without it? It holds what they
// lack, and the other way round; events, which each counted alone, say nothing. True too of a member that left a degraded
// array whose disks have all been exchanged since.
bool went_on_alone(const Superblock& other, const Superblock& fresh) noexcept;

// True if the superblock's own array of roles knows of its place. A spare that was just given a slot when a crash came may
// not: it holds nothing.
bool knows_its_slot(const Superblock& super, std::uint32_t slot) noexcept;

struct FoundSuperblock {
  Result<Superblock> super = fail(Errc::not_found);
  std::array<std::byte, kSuperblockBytes> block{};  // as it lies there; zeroes if it cannot be read
};

// Reads the superblock of a device: of version 1.2, or, where there is none, of another one. Errors: as decode_superblock(),
// with the version before it if it is not 1.2; bad_input (the device is too small), limit (no memory), or what reading gave.
Task<FoundSuperblock> find_superblock(LeafPool& leaves, BlockDevice& device, Nanos timeout);

}  // namespace resilver::raid
