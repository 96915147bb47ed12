#include "tests/walk/status.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace resilver::test {
namespace {

using Json = nlohmann::json;

Json object_from(const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  return json.is_object() ? json : Json::object();
}

std::string text_of(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

char letter(const std::string& name) { return name.size() == 1 ? name[0] : '-'; }

}  // namespace

bool VolumeStatus::tells(const std::string& code) const {
  return std::ranges::find(reasons, code, &ToldReason::code) != reasons.end();
}

VolumeStatus status_from(const std::string& text) {
  const Json json = object_from(text);
  VolumeStatus status;
  status.json = text;
  status.serving = json.value("serving", false);
  status.primary = letter(text_of(json, "primary"));
  status.redundancy = json.value("redundancy", std::uint64_t{0});
  for (const Json& name : json.value("in_sync", Json::array()))
    status.in_sync.push_back(letter(name.get<std::string>()));
  const Json nodes = json.value("nodes", Json::array());
  status.all_reachable = !nodes.empty();
  for (const Json& node : nodes) {
    status.all_reachable = status.all_reachable && node.value("reachable", false);
    if (!node["resync"].is_null()) status.copying += text_of(node, "name") + node["resync"].dump();
  }
  for (const Json& reason : json.value("reasons", Json::array())) {
    status.reasons.push_back({text_of(reason, "code"), text_of(reason, "node"), text_of(reason, "text"),
                              text_of(reason, "help"), text_of(reason, "command")});
  }
  return status;
}

std::optional<std::uint64_t> number_in(const std::string& text, const std::string& key) {
  const Json json = object_from(text);
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::uint64_t>();
}

std::string text_in(const std::string& json, const std::string& key) { return text_of(object_from(json), key); }

}  // namespace resilver::test
