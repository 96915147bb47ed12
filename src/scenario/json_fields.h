// What the files that turn messages into JSON and back share. `Json` is nlohmann::json; its header is left to them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace resilver::scenario {

// A field that is there only if there is a value.
template <typename Json, typename T>
void put_optional(Json& json, const char* key, const std::optional<T>& value) {
  if (value) json[key] = *value;
}

template <typename Json, typename T>
void get_optional(const Json& json, const char* key, std::optional<T>& value) {
  if (json.contains(key)) value = json.at(key).template get<T>();
}

// Errors: bad_input, "WHAT: …" with the parser's words.
template <typename T, typename Json>
Result<T> parse_json(std::string_view text, const char* what) {
  try {
    return Json::parse(text).template get<T>();
  } catch (const typename Json::exception& error) {
    return fail(Errc::bad_input, std::string(what) + ": " + error.what());
  }
}

}  // namespace resilver::scenario
