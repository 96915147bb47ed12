// `assemble --update`: changes a field of every member's superblock before the array is started.
#pragma once

#include <string>

#include "base/error.h"
#include "tools/array_session.h"

namespace resilver::tools {

struct Update {
  std::string word;   // as mdadm names it; empty: none
  std::string name;   // with "name"
  raid::Uuid uuid{};  // with "uuid"
};

// Errors: bad_input (no such word, or its value is missing).
Status check_update(const Update& update);

// Writes the superblocks of all disks that are current in the array (members, spares, journal); all are checked before the
// first is written. Precondition: they are open for writing, and the array is not started. Errors: bad_input (as
// raid::line_up(), or what the word asks for cannot be), not_found (no superblock), io.
Task<Status> apply_update(ArraySession& session, const Update& update);

}  // namespace resilver::tools
