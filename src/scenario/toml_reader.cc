#include "scenario/toml_reader.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include <fmt/format.h>

#include "base/check.h"
#include "base/units.h"
#include "scenario/selector.h"

namespace resilver::scenario {

namespace {

const char* type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::none: return "nothing";
    case toml::node_type::table: return "a table";
    case toml::node_type::array: return "an array";
    case toml::node_type::string: return "a string";
    case toml::node_type::integer: return "an integer";
    case toml::node_type::floating_point: return "a floating-point number";
    case toml::node_type::boolean: return "true or false";
    default: return "a date or time";
  }
}

bool covers(const std::string& outer, const std::string& inner) {
  return inner == outer || (inner.size() > outer.size() && inner.starts_with(outer) && inner[outer.size()] == '.');
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i)
    text += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  return text;
}

}  // namespace

Position position_of(const toml::node& node) {
  const auto& begin = node.source().begin;
  return {begin.line, begin.column};
}

void Complaints::at(Position where, std::string message) {
  std::string text = where.line == 0 ? file_ : fmt::format("{}:{}:{}", file_, where.line, where.column);
  list_.push_back({where, {std::move(text), std::move(message)}});
}

void Complaints::at(const toml::node& node, const std::string& path, std::string message) {
  const Position where = position_of(node);
  if (where.line != 0) return at(where, std::move(message));
  for (const auto& key : set_keys_)
    if (covers(key, path) || covers(path, key)) return option("--set " + key, std::move(message));
  at(where, std::move(message));
}

void Complaints::option(std::string where, std::string message) {
  list_.push_back({{}, {std::move(where), std::move(message)}});
}

std::vector<Diagnostic> Complaints::take() {
  std::sort(list_.begin(), list_.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.where.line, a.where.column, a.diagnostic.message) <
           std::tie(b.where.line, b.where.column, b.diagnostic.message);
  });
  std::vector<Diagnostic> all;
  for (auto& entry : list_) {
    const bool known = std::any_of(all.begin(), all.end(), [&](const Diagnostic& other) {
      return other.where == entry.diagnostic.where && other.message == entry.diagnostic.message;
    });
    if (known) continue;
    if (all.size() == kMaxDiagnostics) {
      all.push_back({file_, "more errors follow; these first"});
      break;
    }
    all.push_back(std::move(entry.diagnostic));
  }
  return all;
}

const toml::node* TableReader::find(std::string_view key) {
  const auto is_it = [&](const std::string& other) { return other == key; };
  CHECK(section_ == nullptr || section_->has(key) || std::ranges::any_of(allowed_, is_it), "a key that keys.cc lacks");
  known_.emplace_back(key);
  return table_.get(key);
}

std::string description_of(const toml::parse_error& error) {
  const std::string_view words = error.description();
  if (words.find("TOML_MAX_NESTED_VALUES") == std::string_view::npos) return std::string(words);
  return fmt::format("values nested more than {} deep: nothing here needs more than two", kDeepestNesting);
}

bool TableReader::has(std::string_view key) { return find(key) != nullptr; }

void TableReader::complain(std::string_view key, std::string message) {
  const toml::node* node = table_.get(key);
  complaints_.at(node ? *node : table_, path(key), fmt::format("{}: {}", path(key), message));
}

bool TableReader::read(std::string_view key, std::string& into) {
  const toml::node* node = find(key);
  if (!node) return false;
  const auto* value = node->as_string();
  if (!value) {
    complain(key, fmt::format("a string expected, not {}", type_name(*node)));
    return false;
  }
  into = value->get();
  if (std::any_of(into.begin(), into.end(), [](unsigned char c) { return (c < 32 && c != '\n') || c == 127; })) {
    complain(key, "control characters are not allowed here");
    return false;
  }
  return true;
}

bool TableReader::read(std::string_view key, bool& into) {
  const toml::node* node = find(key);
  if (!node) return false;
  if (const auto* value = node->as_boolean()) {
    into = value->get();
    return true;
  }
  complain(key, fmt::format("true or false expected, not {}", type_name(*node)));
  return false;
}

bool TableReader::read(std::string_view key, std::uint64_t& into, std::uint64_t low, std::uint64_t high) {
  const toml::node* node = find(key);
  if (!node) return false;
  const auto* value = node->as_integer();
  if (!value) {
    complain(key, fmt::format("an integer expected, not {}", type_name(*node)));
    return false;
  }
  const std::int64_t number = value->get();
  if (number < 0 || static_cast<std::uint64_t>(number) < low || static_cast<std::uint64_t>(number) > high) {
    complain(key, fmt::format("{} is out of range: {} to {} expected", number, low, high));
    return false;
  }
  into = static_cast<std::uint64_t>(number);
  return true;
}

bool TableReader::read(std::string_view key, std::uint32_t& into, std::uint32_t low, std::uint32_t high) {
  std::uint64_t wide = 0;
  if (!read(key, wide, low, high)) return false;
  into = static_cast<std::uint32_t>(wide);
  return true;
}

std::optional<std::string> TableReader::read_unit(std::string_view key, std::string_view expected) {
  const toml::node* node = find(key);
  if (!node) return std::nullopt;
  if (const auto* value = node->as_string()) return value->get();
  complain(key, fmt::format("{} expected, not {}", expected, type_name(*node)));
  return std::nullopt;
}

bool TableReader::read_size(std::string_view key, std::uint64_t& into) {
  const auto text = read_unit(key, "a size with its unit, such as \"64K\" or \"1GiB\",");
  if (!text) return false;
  auto value = parse_size(*text);
  if (!value) {
    complain(key, value.error().what);
    return false;
  }
  into = *value;
  return true;
}

bool TableReader::read_duration(std::string_view key, Nanos& into) {
  const auto text = read_unit(key, "a duration with its unit, such as \"500ms\" or \"2min\",");
  if (!text) return false;
  auto value = parse_duration(*text);
  constexpr Nanos kLongest = 24 * 366 * kHour;
  if (!value || *value < 0 || *value > kLongest) {
    complain(key, value ? std::string("a duration from 0 to a year expected") : value.error().what);
    return false;
  }
  into = *value;
  return true;
}

bool TableReader::read_rate(std::string_view key, std::uint64_t& into) {
  const auto text = read_unit(key, "a rate with its unit, such as \"60MiB/s\" or \"10Gbit/s\",");
  if (!text) return false;
  auto value = parse_rate(*text);
  if (!value || *value == 0) {
    complain(key, value ? std::string("a rate above 0 expected") : value.error().what);
    return false;
  }
  into = *value;
  return true;
}

bool TableReader::read_percent_factor(std::string_view key, std::uint32_t& into_percent) {
  const toml::node* node = find(key);
  if (!node) return false;
  const auto value = node->is_number() ? node->value<double>() : std::nullopt;
  if (!value || !(*value >= 1.0 && *value <= 100'000.0)) {
    complain(key, value ? std::string("a factor from 1 to 100000 expected")
                        : fmt::format("a number such as 10 or 2.5 expected, not {}", type_name(*node)));
    return false;
  }
  into_percent = static_cast<std::uint32_t>(std::lround(*value * 100));
  return true;
}

bool TableReader::read_percent(std::string_view key, std::uint32_t& into) {
  const auto text = read_unit(key, "a share such as \"50%\"");
  if (!text) return false;
  std::uint32_t value = 0;
  const char* end = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc() || std::string_view(at, end) != "%" || value > 100) {
    complain(key, fmt::format("'{}': a share from \"0%\" to \"100%\" expected", *text));
    return false;
  }
  into = value;
  return true;
}

std::optional<std::size_t> TableReader::read_word(std::string_view key, const std::vector<std::string>& words) {
  std::string word;
  if (!read(key, word)) return std::nullopt;
  for (std::size_t i = 0; i < words.size(); ++i)
    if (words[i] == word) return i;
  complain(key, fmt::format("'{}' is not known: {} expected{}", word, join(words), hint(word, words)));
  return std::nullopt;
}

toml::table* TableReader::read_table(std::string_view key) {
  const toml::node* node = find(key);
  if (!node) return nullptr;
  if (toml::table* table = table_.get(key)->as_table()) return table;
  complain(key, fmt::format("a table expected, not {}", type_name(*node)));
  return nullptr;
}

std::vector<toml::node*> TableReader::read_list(std::string_view key) {
  std::vector<toml::node*> nodes;
  if (!find(key)) return nodes;
  toml::node* node = table_.get(key);
  if (toml::array* array = node->as_array()) {
    for (auto& element : *array) nodes.push_back(&element);
  } else {
    nodes.push_back(node);
  }
  return nodes;
}

void TableReader::require(std::string_view key, std::string_view what) {
  if (table_.get(key)) return;
  Position at = where();
  if (path_.empty()) at = {1, 1};
  complaints_.at(at, fmt::format("{} is missing: {} expected", path(key), what));
}

void TableReader::finish() {
  for (std::size_t i = 0; section_ != nullptr && i < section_->keys.size(); ++i)
    CHECK(std::ranges::find(known_, section_->keys[i].key) != known_.end(), "a key of keys.cc that nobody reads");
  for (auto&& [key, node] : table_) {
    const std::string name(key.str());
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    const std::string message = fmt::format("unknown key '{}'{}", path(name), hint(name, known_));
    const auto& begin = key.source().begin;
    if (begin.line != 0)
      complaints_.at(Position{begin.line, begin.column}, message);
    else
      complaints_.at(node, path(name), message);
  }
}

}  // namespace resilver::scenario
