#include "scenario/control_json.h"

#include <nlohmann/json.hpp>

#include "scenario/json_fields.h"

// nlohmann finds these by argument-dependent lookup, so they live beside the types.
namespace resilver {

using Json = nlohmann::json;

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DiskParameters, random_access, sequential_access, read_bandwidth, write_bandwidth,
                                   channels, flush)

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Traffic, reads, writes, read_bytes, write_bytes)

namespace raid {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(IoCounters, reads, writes, read_bytes, write_bytes, flushes)
}  // namespace raid

namespace scenario {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(NodeSpec, name, raid, disks, spares, chunk_bytes, layout, consistency, force,
                                   member_timeout)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(NodeDisk, path, blank, faults)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PeerAddress, name, address)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RebuildSpec, speed_min, speed_max)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ReplicateSpec, ack, primary, detect, lease, grace, congestion, clear_bits,
                                   min_in_sync, link)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VerbArguments, count, size_bytes, where, factor_percent, add, bandwidth, rate_ppm,
                                   repair, range_offset, range_bytes, force, discard_local, peer)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(NodeCommand, verb, clear, disk, arguments, path, used_begin, used_end, seed)

static void to_json(Json& json, const DiskReport& disk) {
  json = Json{{"role", disk.role}, {"hits", disk.hits}, {"faults", disk.faults}};
  put_optional(json, "first_hit", disk.first_hit);
}

static void from_json(const Json& json, DiskReport& disk) {
  json.at("role").get_to(disk.role);
  json.at("hits").get_to(disk.hits);
  json.at("faults").get_to(disk.faults);
  get_optional(json, "first_hit", disk.first_hit);
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(NodeReport, assembled, trouble, array_failed, redundancy_left, recovering,
                                   recovery_done, recovery_total, limited_by, restored_bytes, causes, at_disks, volume,
                                   scrubs_finished, mismatches, mismatches_named, unavailable_bytes, serving, epoch,
                                   in_sync, resync_peer, resync_done, resync_total, copied_bytes, disks)

static void to_json(Json& json, const NodeConfig& config) {
  json = Json{{"spec", config.spec},       {"volume", to_string(config.volume)},
              {"disks", config.disks},     {"volume_bytes", config.volume_bytes},
              {"rebuild", config.rebuild}, {"paced", config.paced},
              {"pace", config.pace},       {"withhold_writes", config.withhold_writes},
              {"self", config.self},       {"nodes", config.nodes},
              {"arbiter", config.arbiter}, {"listen", config.listen},
              {"control", config.control}, {"format", config.format}};
  put_optional(json, "replicate", config.replicate);
}

static void from_json(const Json& json, NodeConfig& config) {
  json.at("spec").get_to(config.spec);
  config.volume = id128_from(json.at("volume").get<std::string>()).value_or(Id128{});
  json.at("disks").get_to(config.disks);
  json.at("volume_bytes").get_to(config.volume_bytes);
  json.at("rebuild").get_to(config.rebuild);
  json.at("paced").get_to(config.paced);
  json.at("pace").get_to(config.pace);
  json.at("withhold_writes").get_to(config.withhold_writes);
  json.at("self").get_to(config.self);
  json.at("nodes").get_to(config.nodes);
  json.at("arbiter").get_to(config.arbiter);
  json.at("listen").get_to(config.listen);
  json.at("control").get_to(config.control);
  json.at("format").get_to(config.format);
  get_optional(json, "replicate", config.replicate);
}

std::string to_json(const NodeConfig& config) { return Json(config).dump(); }
std::string to_json(const NodeCommand& command) { return Json(command).dump(); }
std::string to_json(const NodeReport& report) { return Json(report).dump(); }

Result<NodeConfig> node_config_from_json(std::string_view text) {
  return parse_json<NodeConfig, Json>(text, "node configuration");
}
Result<NodeCommand> node_command_from_json(std::string_view text) {
  return parse_json<NodeCommand, Json>(text, "node command");
}
Result<NodeReport> node_report_from_json(std::string_view text) {
  return parse_json<NodeReport, Json>(text, "node report");
}

}  // namespace scenario
}  // namespace resilver
