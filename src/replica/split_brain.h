// Split brain (rule 11): two nodes were primary of one volume at the same time, because someone promoted by force.
//
// What must never happen: the writes of one side are thrown away or mixed with the other's without anybody's choice. Rule: a
// copy whose newest generation a primary should know and does not is a history of its own. Nothing is copied into it; it keeps
// its content, readable on a session that asks for this node's own copy, takes no writes and is not promoted except by force;
// the blocks that differ are listed. Discarding a side rolls its history back to the last common generation and makes it
// durably inconsistent: from then on it is an ordinary joiner, and since no intent bit was cleared while the two were
// apart, the bits of both name all that differs.
#pragma once

#include <vector>

#include "async/task.h"
#include "replica/core.h"

namespace resilver::replica {

// Whether a consistent copy with this newest generation, unknown to `mine`, has a history of its own; else it is older than
// what `mine` remembers.
bool has_diverged(const Superblock& mine, const Generation& theirs) noexcept;

// The newest generation of `theirs` (newest first) that `mine` knows; epoch 0: none.
Generation common_generation(const Superblock& mine, const std::vector<Generation>& theirs) noexcept;

// This copy gives up what it has since `base`, durably.
Task<Errc> discard_since(Core& core, Generation base);

// Reads of this node's own copy, whatever its role, one request after another; writes are refused (read_only).
Task<void> serve_copy(Core& core, Session& session, const ClientHello& hello);

}  // namespace resilver::replica
