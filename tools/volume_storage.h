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

  enum class Mode : std::uint8_t {
    read_write,
    read_only,  // nothing is written, an array is not even started
    by_force,   // an array also where blocks of it may be wrong (raid::AssembleOptions::force)
  };
  // Opens and locks what the node has. Errors: one line that names the device.
  Task<Status> open(const service::NodeEntry& node, Mode mode);
  // Stops the array and closes everything. To be awaited whatever open() gave.
  Task<Status> close();

  service::Storage storage();
  BlockDevice& device() { return *storage().device; }

 private:
  Task<Status> open_array(const service::NodeEntry& node, Mode mode);

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
