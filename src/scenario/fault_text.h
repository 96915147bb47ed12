// The faults of a disk that outlive the process that simulates them, as one short text: "fail hang slow=200,0,0
// latent=4096+8192,65536+4096". The runner keeps it and gives it to the node's next process.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "fault/faulty_disk.h"

namespace resilver::scenario {

// Empty if nothing is wrong with the disk.
std::string fault_text(const fault::FaultState& state);
// Errors: bad_input.
Result<fault::FaultState> fault_from_text(std::string_view text);

}  // namespace resilver::scenario
