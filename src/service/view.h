// A volume as its nodes tell of it, all asked at about the same time.
#pragma once

#include <optional>
#include <vector>

#include "base/error.h"
#include "service/config.h"
#include "service/control.h"

namespace resilver::service {

struct VolumeView {
  std::vector<Result<NodeStatus>> nodes;  // by place in the file
  // Whose word counts: the primary that serves, else another primary, else the highest epoch. Nothing: nobody answered.
  std::optional<replica::NodeId> authority;
  // Whether the arbiter takes connections; nothing: it was not asked.
  std::optional<bool> arbiter;

  const replica::ReplicaStatus* word() const { return authority ? &nodes[*authority]->replica : nullptr; }
  bool has_primary() const { return word() != nullptr && word()->role == replica::Role::primary; }
  // What the authority says of a peer; null: nothing.
  const replica::PeerStatus* peer(replica::NodeId id) const;
};
VolumeView view_of(std::vector<Result<NodeStatus>> nodes);

// "B"; "?" for a node that the file does not list.
std::string name_of(const VolumeConfig& config, replica::NodeId id);

}  // namespace resilver::service
