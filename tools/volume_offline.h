// What the commands share that work on copies, and an arbiter's state, which no process has open.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "replica/arbiter.h"
#include "service/config.h"
#include "uring/real_env.h"

namespace resilver::tools {

// Called with a node's place in the file and what it keeps its copy on.
using CopyWork = std::function<Task<Status>(replica::NodeId, BlockDevice&)>;

struct Offline {
  uring::RealEnv& env;
  uring::StopSignal& signal;
  std::string command;
  const service::VolumeConfig& config;
  std::vector<replica::NodeId> nodes;

  // Opens what each node has, one after the other, and lets `work` at it. Stops at the first error, which names the
  // node and the device, and what helps.
  Task<Status> for_each_copy(bool read_only, CopyWork work) const;
  // Makes those that are images larger, up to `bytes`, with room reserved from `reserved_from` on.
  Status extend_images(std::uint64_t bytes, std::uint64_t reserved_from) const;
};

bool is_image(const service::NodeEntry& node);

// Writes a whole state to FILE.new and gives it the name FILE: what is interrupted leaves the old one, or none. A file
// of that name is replaced only where `replace` says so. Errors: exists, no_space, permission, io.
Task<Status> write_arbiter_state(uring::RealEnv& env, std::string path, replica::ArbiterState state, bool replace);

}  // namespace resilver::tools
