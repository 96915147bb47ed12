// src/service: a volume for people with images, block devices or arrays of their own, without a scenario: its configuration
// file (this header), the node program that serves one copy of it (daemon.h), and how that program is asked (control.h).
// It stands above scenario, of which it uses the reader of TOML only, and below tools. It opens no disk: tools do.
//
// One file describes the volume, the same on every node, as a resource file of DRBD does: docs/volumes.md.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "replica/client.h"
#include "replica/replica.h"
#include "scenario/parse.h"

namespace resilver::service {

inline constexpr int kConfigSchema = 1;

using replica::VolumeId;

struct NodeEntry {
  std::string name;
  std::string listen;   // clients and peers
  std::string control;  // where `resilver volume` asks
  // One of them; paths are resolved against the file's folder.
  std::string device;              // an image or a block device
  std::vector<std::string> array;  // a folder, or the members
};

struct VolumeConfig {
  std::string file;  // where it was read
  std::string name;
  VolumeId id;         // none: `volume create` has not written it yet, or it is of an older version
  VolumeId former_id;  // while `volume reid` is under way: of the copies that have not been given the new one
  std::uint64_t size_bytes = 0;
  replica::AckMode ack = replica::AckMode::durable;  // of a new volume; then its record counts
  std::string arbiter;                               // empty with one node: stand-alone
  replica::NodeId first_primary = 0;
  std::uint32_t min_in_sync = 1;
  bool wait_after_arbiter_restart = false;
  Nanos detect = kSecond;
  Nanos congestion_timeout = 5 * kSecond;
  Nanos op_timeout = 30 * kSecond;
  std::uint64_t resync_min = 0;         // bytes/s while clients are busy; 0: no limit
  std::uint64_t resync_max = 0;         // while they are not
  std::optional<replica::NodeId> self;  // which node this machine is
  std::vector<NodeEntry> nodes;         // a node's id is its index
};

using ConfigResult = std::expected<VolumeConfig, std::vector<scenario::Diagnostic>>;

// Reads `text`; `file` names it in messages and is what relative paths start from. All errors that can be found, in the
// order of the file. Never throws, whatever the text is.
ConfigResult parse_volume(std::string_view text, const std::string& file);

// The same from a file.
ConfigResult load_volume(const std::string& path);

std::optional<replica::NodeId> find_node(const VolumeConfig& config, std::string_view name) noexcept;
// "A, B or C"
std::string node_names(const VolumeConfig& config);

// What a node's replica and a client of the volume are given.
replica::ReplicaConfig replica_config(const VolumeConfig& config, replica::NodeId self);
replica::ClientConfig client_config(const VolumeConfig& config);

// Bytes that a device should have, and must: the volume and the replica's metadata.
std::uint64_t device_bytes(const VolumeConfig& config) noexcept;
std::uint64_t least_device_bytes(const VolumeConfig& config) noexcept;

// The line for whoever needs the id and has none: what helps.
std::string missing_id(const VolumeConfig& config);

}  // namespace resilver::service
