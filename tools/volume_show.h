// The state of a volume for people and for programs.
#pragma once

#include <string>
#include <vector>

#include "tools/volume_command.h"

namespace resilver::tools {

inline constexpr int kVolumeSchema = 1;

// One node's place, in words that status and JSON share.
struct NodeWords {
  std::string role;   // "primary", "secondary", "joining", "idle", "failed", "unreachable"
  std::string state;  // "serving", "in sync", "resyncing 42 % (…): why", "split brain", …
};
NodeWords node_words(const service::VolumeConfig& config, const VolumeView& view, replica::NodeId id);

// What the operator should do, one line each; empty: nothing.
std::vector<std::string> next_steps(const service::VolumeConfig& config, const VolumeView& view, bool arbiter_answers);

std::string status_text(const service::VolumeConfig& config, const VolumeView& view,
                        const std::vector<std::string>& next);
std::string status_json(const service::VolumeConfig& config, const VolumeView& view,
                        const std::vector<std::string>& next);

}  // namespace resilver::tools
