// A block device for dry runs: what is written to it stays in memory, over a device that is only read. So the very code that
// would write runs, and what it makes can be looked at, while every image stays as it is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "env/block_device.h"

namespace resilver::tools {

// Commands on metadata write some blocks of each member. Errors: those of the device underneath; no_space beyond kMaxBlocks.
class Overlay final : public BlockDevice {
 public:
  static constexpr std::size_t kMaxBlocks = 16384;  // 64 MiB

  Overlay(Scheduler& scheduler, BlockDevice& under) noexcept : scheduler_(scheduler), under_(under) {}

  std::uint64_t size_bytes() const noexcept override { return under_.size_bytes(); }
  void submit(IoRequest& request) noexcept override;
  bool busy() const noexcept override { return under_.busy(); }

 private:
  struct Reading;
  using Block = std::array<std::byte, kBlockBytes>;

  Errc keep(const IoRequest& request);
  void put_over(const IoRequest& request) const noexcept;

  Scheduler& scheduler_;
  BlockDevice& under_;
  std::map<std::uint64_t, std::unique_ptr<Block>> blocks_;  // by offset
};

}  // namespace resilver::tools
