// `resilver volume status --json`: docs/volumes.md names the keys.
#include <nlohmann/json.hpp>

#include "tools/volume_show.h"

namespace resilver::tools {
namespace {

using Json = nlohmann::json;
using replica::NodeId;

Json extents_json(const std::vector<replica::Extent>& extents) {
  Json list = Json::array();
  for (const replica::Extent& extent : extents) list.push_back({{"offset", extent.offset}, {"length", extent.length}});
  return list;
}

Json resync_json(const VolumeView& view, NodeId id) {
  const replica::PeerStatus* peer = view.peer(id);
  if (peer == nullptr || !peer->resyncing) return nullptr;
  std::uint64_t rate = 0;
  for (const service::CopyRate& copy : view.nodes[*view.authority]->rates) {
    if (copy.peer == id) rate = copy.bytes_per_second;
  }
  return {{"why", replica::resync_why_name(peer->why)},
          {"done_bytes", peer->resync_done_bytes},
          {"total_bytes", peer->resync_total_bytes},
          {"bytes_per_second", rate}};
}

Json array_json(const service::ArrayReport& array) {
  return {{"state", array.state},
          {"recovery", array.recovery},
          {"done_bytes", array.done_bytes},
          {"total_bytes", array.total_bytes},
          {"lost_blocks", array.lost_blocks},
          {"failed", array.failed},
          {"redundancy_full", array.redundancy_full}};
}

// What the node says of itself.
void put_own(Json& json, const service::NodeStatus& status) {
  const replica::ReplicaStatus& own = status.replica;
  json["serving"] = own.writable;
  json["readable"] = own.serving;
  json["epoch"] = own.epoch;
  json["copy"] = to_string(own.copy);
  json["mark"] = own.mark;
  json["inconsistent"] = own.inconsistent;
  json["device_failed"] = own.device_failed;
  json["lost_bytes"] = own.lost_bytes;
  json["dirty_bits"] = own.dirty_bits;
  json["writes"] = own.writes;
  json["reads"] = own.reads;
  json["replication_bytes"] = own.replication_bytes;
  json["resync_bytes"] = own.resync_bytes;
  json["heal_bytes"] = own.heal_bytes;
  json["reads_healed"] = own.reads_healed;
  json["refusals"] = own.refusals;
  json["verify"] =
      own.verifying ? Json{{"done_bytes", own.verify_done_bytes}, {"total_bytes", own.verify_total_bytes}} : Json();
  json["array"] = status.array ? array_json(*status.array) : Json();
}

Json node_json(const service::VolumeConfig& config, const VolumeView& view, NodeId id) {
  const NodeWords words = node_words(config, view, id);
  const replica::PeerStatus* peer = view.peer(id);
  const bool own_diverged = view.nodes[id] && view.nodes[id]->replica.diverged;
  Json json = {{"name", config.nodes[id].name},
               {"reachable", view.nodes[id].has_value()},
               {"role", words.role},
               {"state", words.state},
               {"in_sync", view.has_primary() && view.word()->in_sync.contains(id)},
               {"resync", resync_json(view, id)},
               {"why", peer == nullptr ? "none" : replica::resync_why_name(peer->why)},
               {"behind_bytes", peer == nullptr ? 0 : peer->behind_bytes},
               {"diverged", own_diverged || (peer != nullptr && peer->diverged)},
               {"divergent_bytes", peer == nullptr ? 0 : peer->divergent_bytes},
               {"divergent", peer == nullptr ? Json::array() : extents_json(peer->divergent)}};
  if (view.nodes[id]) {
    put_own(json, *view.nodes[id]);
  } else {
    json["error"] = view.nodes[id].error().what;
  }
  return json;
}

}  // namespace

std::string status_json(const service::VolumeConfig& config, const VolumeView& view,
                        const std::vector<service::Told>& reasons) {
  std::vector<std::string> next;
  Json list = Json::array();
  for (const service::Told& told : reasons) {
    next.push_back(service::to_do(told));
    list.push_back({{"code", replica::reason_name(told.reason)},
                    {"node", told.node},
                    {"text", told.text},
                    {"help", told.help},
                    {"command", told.command}});
  }
  const replica::ReplicaStatus* word = view.word();
  const bool primary = view.has_primary();
  Json json = {{"schema", kVolumeSchema},
               {"volume", config.name},
               {"size_bytes", view.authority ? view.nodes[*view.authority]->size_bytes : config.size_bytes},
               {"ack", primary ? Json(replica::ack_mode_name(word->ack)) : Json()},
               {"epoch", word == nullptr ? 0 : word->epoch},
               {"primary", primary ? Json(config.nodes[*view.authority].name) : Json()},
               {"id", to_string(config.id)},
               {"serving", primary && word->writable},
               {"readable", primary && word->serving},
               {"redundancy", primary ? word->redundancy : 0},
               {"nodes", Json::array()},
               {"in_sync", Json::array()},
               {"reasons", list},
               {"next", next}};
  for (NodeId id = 0; id < view.nodes.size(); ++id) {
    json["nodes"].push_back(node_json(config, view, id));
    if (primary && word->in_sync.contains(id)) json["in_sync"].push_back(config.nodes[id].name);
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace resilver::tools
