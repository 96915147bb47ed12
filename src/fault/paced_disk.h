// Holds a device (an image on a disk shared by many) to a disk model, so that rates measured on it can be compared.
#pragma once

#include <memory>

#include "env/block_device.h"
#include "env/disk_model.h"
#include "fault/proxy.h"

namespace resilver::fault {

// Each request completes when the inner device has completed it, but not before the model says. Ratios hold as long as the
// inner device is faster than the model; overruns() tells when it was not.
class PacedDisk final : public BlockDevice {
 public:
  PacedDisk(Scheduler& scheduler, std::unique_ptr<BlockDevice> inner, const DiskParameters& model);
  ~PacedDisk() override;

  std::uint64_t size_bytes() const noexcept override { return inner_->size_bytes(); }
  void submit(IoRequest& request) noexcept override;
  bool busy() const noexcept override { return proxies_.in_use() != 0; }

  std::uint64_t requests() const noexcept { return requests_; }  // completed
  std::uint64_t overruns() const noexcept { return overruns_; }  // of which the inner device was later than the model

 private:
  struct Paced;
  void inner_done(Paced& paced) noexcept;
  void finish(Paced& paced) noexcept;

  Scheduler& scheduler_;
  std::unique_ptr<BlockDevice> inner_;
  DiskTimer timer_;
  std::uint64_t requests_ = 0;
  std::uint64_t overruns_ = 0;
  ProxyPool<Paced> proxies_;
};

}  // namespace resilver::fault
