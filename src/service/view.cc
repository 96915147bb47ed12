#include "service/view.h"

#include <utility>

namespace resilver::service {

std::string name_of(const VolumeConfig& config, replica::NodeId id) {
  return id < config.nodes.size() ? config.nodes[id].name : "?";
}

const replica::PeerStatus* VolumeView::peer(replica::NodeId id) const {
  if (word() == nullptr) return nullptr;
  for (const replica::PeerStatus& peer : word()->peers) {
    if (peer.id == id) return &peer;
  }
  return nullptr;
}

VolumeView view_of(std::vector<Result<NodeStatus>> nodes) {
  VolumeView view{std::move(nodes), {}, {}};
  const auto rank = [](const replica::ReplicaStatus& status) {
    const int role = status.role == replica::Role::primary ? (status.serving ? 2 : 1) : 0;
    return std::pair(role, status.epoch);
  };
  for (replica::NodeId id = 0; id < view.nodes.size(); ++id) {
    if (!view.nodes[id]) continue;
    const bool first = !view.authority;
    if (first || rank(view.nodes[id]->replica) > rank(view.nodes[*view.authority]->replica)) view.authority = id;
  }
  return view;
}

}  // namespace resilver::service
