// What a device of a volume holds, and what helps where that is not the copy that is wanted: for nodes that do not
// start, and for commands that would overwrite it.
#pragma once

#include <string>

#include "async/task.h"
#include "env/env.h"
#include "replica/offline.h"
#include "service/config.h"

namespace resilver::service {

// "a copy of volume 'web' (id 1a2b3c4d, node B, epoch 7)"; empty: nothing of ours. What would be lost is named.
std::string held_words(const VolumeConfig& config, const replica::Held& held);

// bad_input, with what it holds instead, if that is no copy of this volume.
Status is_ours(const VolumeConfig& config, const replica::Held& held);

// The line of a node whose copy cannot be opened: what is there, and the command that helps. Never one that would
// destroy a copy.
Task<std::string> why_no_copy(Env& env, const VolumeConfig& config, replica::NodeId node, BlockDevice& device,
                              std::string label, Error error);

// What to add to the line of a node whose device is not there, or is no device; empty: nothing helps.
std::string what_helps_without(const VolumeConfig& config, replica::NodeId node, const Error& error);

// A finding in one line with what to do about it.
std::string told_line(const VolumeConfig& config, replica::NodeId at, const replica::Finding& finding);

}  // namespace resilver::service
