// Split brain (rule 11): two nodes were primary of one volume at the same time, because someone promoted by force.
//
// What must never happen: the writes of one side are thrown away or mixed with the other's without anybody's choice. Rule: a
// promotion by force marks its generation; where one copy has such a generation and the other has not, each has a history of
// its own. Nothing is copied into it; it keeps
// its content, readable on a session that asks for this node's own copy, takes no writes and is not promoted except by force;
// the blocks that differ are listed. Discarding a side rolls its history back to the last common generation and makes it
// durably inconsistent: from then on it is an ordinary joiner, and since no intent bit was cleared while the two were
// apart, the bits of both name all that differs.
#pragma once

#include <vector>

#include "async/task.h"
#include "replica/core.h"

namespace resilver::replica {

// Whether two consistent copies, the newest generation of the one unknown to the other, have histories of their own: one
// of them was promoted by force without the other. Without force every record continues the one before: a primary that does
// not know a generation has all that was acknowledged in it, and only did not hear of it.
bool has_diverged(const std::vector<Generation>& mine, const std::vector<Generation>& theirs) noexcept;

// The newest generation of `theirs` (newest first) that `mine` knows; epoch 0: none.
Generation common_generation(const Superblock& mine, const std::vector<Generation>& theirs) noexcept;

// This copy gives up what it has since `base`, durably.
Task<Errc> discard_since(Core& core, Generation base);

// Reads of this node's own copy, whatever its role, one request after another; writes are refused (read_only).
Task<void> serve_copy(Core& core, Session& session, const ClientHello& hello);

}  // namespace resilver::replica
