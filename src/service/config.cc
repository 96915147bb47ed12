#include "service/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/units.h"
#include "scenario/selector.h"
#include "scenario/toml_reader.h"
#include "uring/address.h"

namespace resilver::service {
namespace {

namespace fs = std::filesystem;
using replica::AckMode;
using scenario::Complaints;
using scenario::TableReader;

constexpr std::uint64_t kLeastBytes = kMiB;
constexpr std::uint64_t kMostBytes = 16 * kTiB;
constexpr std::size_t kMaxNameBytes = 64;
constexpr std::size_t kMaxFileBytes = 1 << 20;

// What may stand once only in the file: names, addresses, devices.
class Unique {
 public:
  explicit Unique(Complaints& complaints) : complaints_(complaints) {}

  void add(const std::string& kind, const std::string& value, const toml::node& node, const std::string& path) {
    const auto [known, fresh] = where_.try_emplace({kind, value}, path);
    if (fresh) return;
    complaints_.at(node, path, fmt::format("{}: {} is {} already: each {} once", path, value, known->second, kind));
  }

 private:
  Complaints& complaints_;
  std::map<std::pair<std::string, std::string>, std::string> where_;
};

class Parser {
 public:
  Parser(const std::string& file, toml::table& root)
      : complaints_(file, {}), unique_(complaints_), root_(root, "", complaints_) {
    config_.file = file;
  }

  ConfigResult read() {
    std::uint64_t schema = 0;
    root_.require("schema", "schema = 1");
    root_.read("schema", schema, kConfigSchema, kConfigSchema);
    root_.require("volume", "a table [volume]");
    if (toml::table* table = root_.read_table("volume")) {
      volume_.emplace(*table, "volume", complaints_);
      read_volume();
    }
    read_nodes();
    read_choices();
    if (volume_) volume_->finish();
    root_.finish();
    if (!complaints_.empty()) return std::unexpected(complaints_.take());
    return std::move(config_);
  }

 private:
  void read_volume() {
    volume_->require("name", "a name such as \"web\"");
    if (volume_->read("name", config_.name) &&
        (config_.name.empty() || config_.name.size() > kMaxNameBytes || config_.name.find('\n') != std::string::npos)) {
      volume_->complain("name", fmt::format("1 to {} characters on one line expected", kMaxNameBytes));
    }
    read_id("id", config_.id);
    read_id("former_id", config_.former_id);
    volume_->require("size", "a size such as \"64MiB\"");
    if (volume_->read_size("size", config_.size_bytes)) {
      if (config_.size_bytes % kBlockBytes != 0) {
        volume_->complain("size", fmt::format("{} bytes is not a multiple of {}", config_.size_bytes, kBlockBytes));
      } else if (config_.size_bytes < kLeastBytes || config_.size_bytes > kMostBytes) {
        volume_->complain("size", "from 1MiB to 16TiB expected");
      }
    }
    if (const auto index = volume_->read_word("ack", {"durable", "quorum", "received", "async"})) {
      config_.ack = static_cast<AckMode>(*index);
    }
    if (const auto index = volume_->read_word("after_arbiter_restart", {"go on", "wait"}))
      config_.wait_after_arbiter_restart = *index == 1;
    volume_->read("min_in_sync", config_.min_in_sync, 1, replica::kMaxNodes);
    read_duration("detect", config_.detect, 50 * kMillisecond, 5 * kMinute, "from 50ms to 5min");
    read_duration("congestion_timeout", config_.congestion_timeout, 10 * kMillisecond, kHour, "from 10ms to 1h");
    read_duration("op_timeout", config_.op_timeout, 100 * kMillisecond, kHour, "from 100ms to 1h");
    volume_->read_rate("resync_min", config_.resync_min);
    volume_->read_rate("resync_max", config_.resync_max);
    if (config_.resync_min != 0 && config_.resync_max != 0 && config_.resync_min > config_.resync_max) {
      volume_->complain("resync_min", "more than resync_max");
    }
  }

  void read_id(const char* key, VolumeId& into) {
    std::string text;
    if (!volume_->read(key, text)) return;
    const auto id = id128_from(text);
    if (!id) volume_->complain(key, "32 hexadecimal digits expected, as `resilver volume create` wrote them");
    into = id.value_or(VolumeId{});
  }

  void read_duration(const char* key, Nanos& into, Nanos low, Nanos high, const char* range) {
    if (volume_->read_duration(key, into) && (into < low || into > high || into % kMillisecond != 0)) {
      volume_->complain(key, fmt::format("whole milliseconds {} expected", range));
    }
  }

  void read_nodes() {
    root_.require("node", "a table [[node]] for each node");
    std::vector<toml::node*> list = root_.read_list("node");
    for (toml::node* node : list) {
      if (!node->is_table()) {
        complaints_.at(*node, "node", "node: tables [[node]] with name, listen, control and device expected");
        continue;
      }
      TableReader reader(*node->as_table(), fmt::format("node[{}]", config_.nodes.size()), complaints_);
      config_.nodes.push_back(read_node(reader));
      reader.finish();
    }
    if (list.size() > replica::kMaxNodes) {
      root_.complain("node", fmt::format("{} nodes: at most {} expected", list.size(), replica::kMaxNodes));
    }
  }

  NodeEntry read_node(TableReader& reader) {
    NodeEntry entry;
    reader.require("name", "a name such as \"A\"");
    if (reader.read("name", entry.name)) {
      if (!scenario::is_identifier(entry.name) || entry.name.size() > kMaxNameBytes)
        reader.complain("name", fmt::format("letters, digits and _ expected, at most {}", kMaxNameBytes));
      unique_.add("name", entry.name, *reader.table().get("name"), reader.path("name"));
    }
    read_address(reader, "listen", entry.listen);
    read_address(reader, "control", entry.control);
    read_storage(reader, entry);
    return entry;
  }

  void read_address(TableReader& reader, const char* key, std::string& into) {
    reader.require(key, "an address such as \"127.0.0.1:7401\"");
    if (!reader.read(key, into)) return;
    const auto address = uring::parse_address(into);
    if (!address) {
      reader.complain(key, address.error().what);
    } else if (!uring::is_loopback(*address)) {
      reader.complain(
          key, fmt::format("{} is not a loopback address; links are neither authenticated nor encrypted yet", into));
    } else if (into.ends_with(":0")) {
      reader.complain(key, "a port from 1 to 65535 expected: the other nodes must know it");
    } else {
      unique_.add("address", uring::to_string(*address), *reader.table().get(key), reader.path(key));
    }
  }

  void read_storage(TableReader& reader, NodeEntry& entry) {
    const bool array = reader.has("array");
    if (reader.has("device") == array) {
      reader.complain(array ? "array" : "name", array ? "device and array exclude each other"
                                                      : "device (an image or block device) or array is missing");
      return;
    }
    if (!array) {
      if (reader.read("device", entry.device)) entry.device = resolve(reader, "device", entry.device);
      return;
    }
    for (toml::node* node : reader.read_list("array")) {
      const auto* text = node->as_string();
      if (text == nullptr) {
        complaints_.at(*node, reader.path("array"),
                       fmt::format("{}: a folder or a list of members expected", reader.path("array")));
        continue;
      }
      entry.array.push_back(resolve(reader, "array", text->get()));
    }
    if (entry.array.empty()) reader.complain("array", "a folder or a list of members expected");
  }

  // Against the folder of the file; each device belongs to one node.
  std::string resolve(TableReader& reader, const char* key, const std::string& text) {
    if (text.empty()) {
      reader.complain(key, "a path expected");
      return text;
    }
    const std::string path = (fs::path(config_.file).parent_path() / text).lexically_normal().string();
    unique_.add("device", path, *reader.table().get(key), reader.path(key));
    return path;
  }

  // What names a node or depends on how many there are.
  void read_choices() {
    std::string name;
    if (root_.read("this_node", name)) config_.self = choose(root_, "this_node", name);
    if (!volume_) return;
    if (volume_->read("first_primary", name)) {
      config_.first_primary = choose(*volume_, "first_primary", name).value_or(0);
    }
    if (config_.min_in_sync > std::max<std::size_t>(config_.nodes.size(), 1)) {
      volume_->complain("min_in_sync",
                        fmt::format("{} of {} nodes: they are fewer", config_.min_in_sync, config_.nodes.size()));
    }
    if (volume_->has("arbiter")) read_address(*volume_, "arbiter", config_.arbiter);
    if (config_.nodes.size() > 1) {
      volume_->require("arbiter", "with several nodes the address of `resilver arbiter`");
    } else if (volume_->has("arbiter")) {
      volume_->complain("arbiter", "one node needs none: leave it out");
    }
  }

  std::optional<replica::NodeId> choose(TableReader& reader, const char* key, const std::string& name) {
    const auto found = find_node(config_, name);
    if (found) return found;
    std::vector<std::string> names;
    for (const NodeEntry& node : config_.nodes) names.push_back(node.name);
    reader.complain(
        key, fmt::format("'{}' is no node here: {} expected{}", name, node_names(config_), scenario::hint(name, names)));
    return std::nullopt;
  }

  Complaints complaints_;
  Unique unique_;
  TableReader root_;
  std::optional<TableReader> volume_;
  VolumeConfig config_;
};

ConfigResult failed(const std::string& where, std::string message) {
  return std::unexpected(std::vector<scenario::Diagnostic>{{where, std::move(message)}});
}

std::uint64_t milliseconds(Nanos time) { return static_cast<std::uint64_t>(time / kMillisecond); }

}  // namespace

ConfigResult parse_volume(std::string_view text, const std::string& file) {
  toml::parse_result parsed = toml::parse(text, file);
  if (parsed) return Parser(file, parsed.table()).read();
  const auto& begin = parsed.error().source().begin;
  return failed(fmt::format("{}:{}:{}", file, begin.line, begin.column), scenario::description_of(parsed.error()));
}

ConfigResult load_volume(const std::string& path) {
  std::error_code error;
  const auto size = fs::is_regular_file(path, error) ? fs::file_size(path, error) : 0;
  if (error) return failed(path, "cannot be read: " + error.message());
  if (size == 0 || size > kMaxFileBytes) {
    return failed(path, size == 0 ? "is no file or empty: the configuration of a volume expected"
                                  : "is larger than 1 MiB: the configuration of a volume expected");
  }
  std::ifstream in(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(size), '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(size))) return failed(path, "cannot be read");
  return parse_volume(text, path);
}

std::optional<replica::NodeId> find_node(const VolumeConfig& config, std::string_view name) noexcept {
  for (replica::NodeId id = 0; id < config.nodes.size(); ++id) {
    if (config.nodes[id].name == name) return id;
  }
  return std::nullopt;
}

std::string node_names(const VolumeConfig& config) {
  std::string text;
  for (std::size_t i = 0; i < config.nodes.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == config.nodes.size() ? " or " : ", ") + config.nodes[i].name;
  }
  return text;
}

replica::ReplicaConfig replica_config(const VolumeConfig& config, replica::NodeId self) {
  replica::ReplicaConfig replica;
  replica.volume = config.id;
  replica.self = self;
  replica.name = config.nodes[self].name;
  replica.wait_after_arbiter_restart = config.wait_after_arbiter_restart;
  replica.arbiter = config.arbiter;
  replica.first_primary = config.first_primary;
  // What a device held before it was formatted is not known: a new volume's other copies are made by a full copy, which
  // sends nothing for blocks of zeroes.
  replica.blank_devices = false;
  replica.volume_bytes = config.size_bytes;
  replica.ack = config.ack;
  replica.set_detect(milliseconds(config.detect));
  replica.min_in_sync = config.min_in_sync;
  replica.resync_min_bytes_per_s = config.resync_min;
  replica.resync_max_bytes_per_s = config.resync_max;
  replica.congestion_ms = milliseconds(config.congestion_timeout);
  for (replica::NodeId id = 0; id < config.nodes.size(); ++id) {
    if (id != self) replica.peers.push_back({id, config.nodes[id].listen, config.nodes[id].name});
  }
  return replica;
}

replica::ClientConfig client_config(const VolumeConfig& config) {
  replica::ClientConfig client;
  client.volume = config.id;
  client.op_timeout_ms = milliseconds(config.op_timeout);
  client.detect_ms = milliseconds(config.detect);
  for (replica::NodeId id = 0; id < config.nodes.size(); ++id) client.nodes.push_back({id, config.nodes[id].listen});
  return client;
}

std::uint64_t device_bytes(const VolumeConfig& config) noexcept {
  return config.size_bytes + replica::Replica::metadata_bytes();
}

std::uint64_t least_device_bytes(const VolumeConfig& config) noexcept {
  return config.size_bytes + replica::Replica::least_metadata_bytes();
}

std::string missing_id(const VolumeConfig& config) {
  return fmt::format(
      "{}: volume: no id in it. A new volume: resilver volume create --config {}. One that was made by an older "
      "resilver: resilver volume upgrade --config {}. On the other machines: copy the file of the first one",
      config.file, config.file, config.file);
}

}  // namespace resilver::service
