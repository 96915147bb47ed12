#include <nlohmann/json.hpp>

#include "scenario/json_fields.h"
#include "service/control.h"

// nlohmann finds these by argument-dependent lookup, so they live beside the types.
namespace resilver {

using Json = nlohmann::json;

namespace replica {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(NodeSet, bits)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Extent, offset, length)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PeerStatus, id, connected, in_sync, resyncing, why, behind_bytes, resync_done_bytes,
                                   resync_total_bytes, diverged, divergent_bytes, divergent)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ReplicaStatus, role, epoch, serving, in_sync, ack, primary, redundancy, peers,
                                   replication_bytes, resync_bytes, heal_bytes, reads_healed, writes, reads, dirty_bits,
                                   inconsistent, device_failed, verifying, verify_done_bytes, verify_total_bytes,
                                   diverged, lost_bytes, refusals)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VerifyReport::Difference, peer, extent)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VerifyReport, repairing, compared, compared_bytes, different_bytes, repaired_bytes,
                                   unreadable_bytes, different)

}  // namespace replica

namespace service {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, volume, verb, force, full, repair, discard_local, peer, ack, timeout_ms)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CopyRate, peer, bytes_per_second)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ArrayReport, state, recovery, done_bytes, total_bytes, lost_blocks, failed,
                                   redundancy_full)

using scenario::get_optional;
using scenario::parse_json;
using scenario::put_optional;

static void to_json(Json& json, const NodeStatus& status) {
  json = Json{{"volume", status.volume},
              {"node", status.node},
              {"size_bytes", status.size_bytes},
              {"replica", status.replica},
              {"rates", status.rates}};
  put_optional(json, "array", status.array);
}

static void from_json(const Json& json, NodeStatus& status) {
  json.at("volume").get_to(status.volume);
  json.at("node").get_to(status.node);
  json.at("size_bytes").get_to(status.size_bytes);
  json.at("replica").get_to(status.replica);
  json.at("rates").get_to(status.rates);
  get_optional(json, "array", status.array);
}

static void to_json(Json& json, const Answer& answer) {
  json = Json{{"error", answer.error}, {"what", answer.what}};
  put_optional(json, "status", answer.status);
  put_optional(json, "verify", answer.verify);
}

static void from_json(const Json& json, Answer& answer) {
  json.at("error").get_to(answer.error);
  json.at("what").get_to(answer.what);
  get_optional(json, "status", answer.status);
  get_optional(json, "verify", answer.verify);
}

namespace {

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

std::string to_json(const Order& order) { return dump(Json(order)); }
std::string to_json(const Answer& answer) { return dump(Json(answer)); }
Result<Order> order_from_json(std::string_view text) {
  return parse_json<Order, Json>(text, "an order of this version expected");
}
Result<Answer> answer_from_json(std::string_view text) {
  return parse_json<Answer, Json>(text, "an answer of a node of this version expected");
}

}  // namespace service
}  // namespace resilver
