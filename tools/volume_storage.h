// What a node of a volume keeps its copy on, opened: an image, a block device, or an array of ours.
#pragma once

#include <memory>
#include <string>

#include "service/config.h"
#include "service/daemon.h"
#include "tools/array_session.h"
#include "uring/image.h"

namespace resilver::tools {

class NodeStorage {
 public:
  NodeStorage(uring::RealEnv& env, uring::StopSignal& signal, std::string command)
      : env_(env), signal_(signal), command_(std::move(command)) {}

  // Opens and locks what the node has; an array is assembled, and with `read_only` nothing is written to it. Errors: one line
  // that names the device.
  Task<Status> open(const service::NodeEntry& node, bool read_only);
  // Stops the array and closes everything. To be awaited whatever open() gave.
  Task<Status> close();

  service::Storage storage();
  BlockDevice& device() { return *storage().device; }

 private:
  Task<Status> open_array(const service::NodeEntry& node, bool read_only);

  uring::RealEnv& env_;
  uring::StopSignal& signal_;
  std::string command_;
  std::string label_;
  std::unique_ptr<uring::Image> image_;
  std::unique_ptr<ArraySession> session_;
  bool assembled_ = false;
};

// How messages call a node's device: its path, or the array's folder or members.
std::string storage_label(const service::NodeEntry& node);

}  // namespace resilver::tools
