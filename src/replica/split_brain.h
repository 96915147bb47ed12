// Two histories (rule 11): somebody promoted by force, an arbiter's file was restored, an image was put back.
//
// What must never happen: the writes of one side are thrown away or mixed with the other's without anybody's choice.
// Rule: what a peer knows must be an ancestor of the record that reigns (record.h), and what it proves to have had
// acknowledged must be there; else nothing is copied into it: it keeps its content, readable on a session that asks for
// this node's own copy, takes no writes and is not promoted except by force; the blocks that differ are listed.
// Discarding a side rolls its history back to the last point that both have and makes it durably inconsistent: from
// then on it is an ordinary joiner, and since no intent bit was cleared while the two were apart, the bits of both name
// all that differs.
#pragma once

#include "async/task.h"
#include "replica/core.h"

namespace resilver::replica {

// This copy gives up what it has since `base`, durably, and follows `record` from there.
Task<Errc> discard_since(Core& core, Head base, Record record);

// Reads of this node's own copy, whatever its role, one request after another; writes are refused (read_only).
Task<void> serve_copy(Core& core, Session& session, const ClientHello& hello);

}  // namespace resilver::replica
