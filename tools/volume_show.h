// The state of a volume for people and for programs.
#pragma once

#include <string>
#include <vector>

#include "service/diagnosis.h"
#include "tools/volume_command.h"

namespace resilver::tools {

inline constexpr int kVolumeSchema = 1;

// One node's place, in words that status and JSON share; of a node that follows, by the word of the primary.
struct NodeWords {
  std::string role;   // "primary", "secondary", "joining", "idle", "failed", "unreachable"
  std::string state;  // "serving", "in sync", "resyncing 42 % (…): why", "split brain", …
};
NodeWords node_words(const service::VolumeConfig& config, const VolumeView& view, replica::NodeId id);

std::string status_text(const service::VolumeConfig& config, const VolumeView& view,
                        const std::vector<service::Told>& reasons);
std::string status_json(const service::VolumeConfig& config, const VolumeView& view,
                        const std::vector<service::Told>& reasons);

}  // namespace resilver::tools
