// A partition inside an image, named FILE:NUMBER ("disk.img:3"), as a block device: a window over the image, which is locked as
// a whole. Partition tables are libblkid's matter.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "uring/image.h"

namespace resilver::tools {

struct PartitionName {
  std::string file;
  int number = 0;  // as the partition table counts, from 1
};

// Nothing: the path names a file that is there, or no partition.
std::optional<PartitionName> partition_name(const std::string& path);

// The file that a path names, or in which the partition lies.
std::string file_of(const std::string& path);

struct PartitionRange {
  std::uint64_t begin = 0;  // bytes
  std::uint64_t size = 0;
};

// Errors: not_found (no partition table, or not this partition), bad_input (it does not lie in the file), io.
Result<PartitionRange> find_partition(const PartitionName& name);

class Partition final : public BlockDevice {
 public:
  // Partitions of one file share it. `range` lies inside.
  Partition(Scheduler& scheduler, std::shared_ptr<uring::Image> whole, PartitionRange range) noexcept
      : scheduler_(scheduler), whole_(std::move(whole)), range_(range) {}

  std::uint64_t size_bytes() const noexcept override { return range_.size; }
  void submit(IoRequest& request) noexcept override;
  std::uint64_t next_data(std::uint64_t from) const noexcept override;
  bool may_lack_room(std::uint64_t offset, std::uint64_t length) const noexcept override {
    return whole_->may_lack_room(range_.begin + offset, length);
  }
  bool busy() const noexcept override { return whole_->busy(); }

 private:
  struct Shifted;

  Scheduler& scheduler_;
  std::shared_ptr<uring::Image> whole_;
  PartitionRange range_;
};

}  // namespace resilver::tools
