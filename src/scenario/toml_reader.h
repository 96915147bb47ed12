// A table of a TOML file, read key by key: types checked, unknown keys told with a hint, positions kept. Only for the .cc
// files that read TOML: parse.cc, verbs.cc, toml_reader.cc and service/config.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scenario/keys.h"
#include "scenario/parse.h"
#include "scenario/toml_only.h"

namespace resilver::scenario {

// Collects what is wrong, in the order of the file.
class Complaints {
 public:
  Complaints(std::string file, std::vector<std::string> set_keys)
      : file_(std::move(file)), set_keys_(std::move(set_keys)) {}

  void at(Position where, std::string message);                                   // line 0: the file as a whole
  void at(const toml::node& node, const std::string& path, std::string message);  // a node made by --set has no position
  void option(std::string where, std::string message);
  bool empty() const { return list_.empty(); }
  std::vector<Diagnostic> take();  // sorted, without duplicates, at most kMaxDiagnostics and a line that says so

 private:
  struct Entry {
    Position where;
    Diagnostic diagnostic;
  };
  std::string file_;
  std::vector<std::string> set_keys_;
  std::vector<Entry> list_;
};

Position position_of(const toml::node& node);
// Why a text is no TOML, in one line.
std::string description_of(const toml::parse_error& error);

class TableReader {
 public:
  // `section`: what may be read from it (keys.h); null: anything.
  TableReader(toml::table& table, std::string path, Complaints& complaints, const KeySection* section = nullptr)
      : table_(table), path_(std::move(path)), complaints_(complaints), section_(section) {}

  void allow(std::string_view key) { allowed_.emplace_back(key); }  // beside those of the section

  // Each marks the key as known; a wrong type or value is complained about and leaves `into` as it was.
  bool has(std::string_view key);
  bool read(std::string_view key, std::string& into);
  bool read(std::string_view key, bool& into);
  bool read(std::string_view key, std::uint32_t& into, std::uint32_t low, std::uint32_t high);
  bool read(std::string_view key, std::uint64_t& into, std::uint64_t low, std::uint64_t high);
  bool read_size(std::string_view key, std::uint64_t& into);
  bool read_duration(std::string_view key, Nanos& into);
  bool read_rate(std::string_view key, std::uint64_t& into);
  bool read_percent_factor(std::string_view key, std::uint32_t& into_percent);  // 2.5 or 10: how many times
  bool read_percent(std::string_view key, std::uint32_t& into);                 // "50%"
  // Index of the word within `words`.
  std::optional<std::size_t> read_word(std::string_view key, const std::vector<std::string>& words);
  toml::table* read_table(std::string_view key);
  std::vector<toml::node*> read_list(std::string_view key);  // an array's elements, or the value alone

  void require(std::string_view key, std::string_view what);  // complains if it is missing
  void finish();                                              // complains about keys that nobody asked for

  void complain(std::string_view key, std::string message);  // at the key's value, or at the table
  Position where() const { return position_of(table_); }
  std::string path(std::string_view key) const {
    return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  }
  Complaints& complaints() { return complaints_; }
  toml::table& table() { return table_; }

 private:
  const toml::node* find(std::string_view key);
  std::optional<std::string> read_unit(std::string_view key, std::string_view expected);

  toml::table& table_;
  std::string path_;
  Complaints& complaints_;
  const KeySection* section_;
  std::vector<std::string> allowed_;
  std::vector<std::string> known_;
};

}  // namespace resilver::scenario
