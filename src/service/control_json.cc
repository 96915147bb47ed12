#include <nlohmann/json.hpp>

#include "scenario/json_fields.h"
#include "service/control.h"

// nlohmann finds these by argument-dependent lookup, so they live beside the types.
namespace resilver {

using Json = nlohmann::json;

static void to_json(Json& json, const Id128& id) { json = to_string(id); }
static void from_json(const Json& json, Id128& id) {
  id = id128_from(json.get_ref<const std::string&>()).value_or(Id128{});
}

namespace replica {

static void to_json(Json& json, const Finding& finding) {
  json = Json{{"code", reason_name(finding.reason)},
              {"reason", finding.reason},
              {"node", finding.node},
              {"since", finding.since},
              {"until", finding.until},
              {"detail", finding.detail}};
}

static void from_json(const Json& json, Finding& finding) {
  json.at("reason").get_to(finding.reason);
  json.at("node").get_to(finding.node);
  json.at("since").get_to(finding.since);
  json.at("until").get_to(finding.until);
  json.at("detail").get_to(finding.detail);
  if (static_cast<std::uint8_t>(finding.reason) >= kReasonCount)
    throw Json::other_error::create(501, "a reason", &json);
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ArbiterKey, arbiter, counter, random)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Promise, run, key, version, nonce)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(NodeSet, bits)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Extent, offset, length)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PeerStatus, id, connected, in_sync, resyncing, why, behind_bytes, resync_done_bytes,
                                   resync_total_bytes, diverged, divergent_bytes, divergent)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ReplicaStatus, role, epoch, serving, writable, in_sync, ack, primary, redundancy,
                                   peers, replication_bytes, resync_bytes, heal_bytes, reads_healed, writes, reads,
                                   dirty_bits, inconsistent, device_failed, verifying, verify_done_bytes,
                                   verify_total_bytes, diverged, lost_bytes, refusals, copy, mark, findings)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VerifyReport::Difference, node, extent, decided)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VerifyReport, repairing, compared, compared_bytes, different_bytes, undecided_bytes,
                                   repaired_bytes, unreadable_bytes, different)

}  // namespace replica

namespace service {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, volume, verb, force, full, repair, discard_local, peer, ack, timeout_ms,
                                   promise)
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

// What the replica encodes itself travels as hexadecimal digits.
static std::string hex_of(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte b : bytes) {
    text += kDigits[std::to_integer<unsigned>(b) >> 4];
    text += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

static std::vector<std::byte> bytes_of(std::string_view hex) {
  std::vector<std::byte> bytes;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<std::byte>((digit(hex[i]) << 4 | digit(hex[i + 1])) & 255));
  return bytes;
}

static void to_json(Json& json, const Answer& answer) {
  json = Json{{"error", answer.error}, {"what", answer.what}};
  put_optional(json, "status", answer.status);
  put_optional(json, "verify", answer.verify);
  if (answer.facts) json["facts"] = hex_of(replica::to_bytes(*answer.facts));
}

static void from_json(const Json& json, Answer& answer) {
  json.at("error").get_to(answer.error);
  json.at("what").get_to(answer.what);
  get_optional(json, "status", answer.status);
  get_optional(json, "verify", answer.verify);
  if (!json.contains("facts")) return;
  auto facts = replica::facts_from(bytes_of(json.at("facts").get_ref<const std::string&>()));
  if (!facts) throw Json::other_error::create(501, "facts of a copy of this version", &json);
  answer.facts = std::move(*facts);
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
