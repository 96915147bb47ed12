// What a disk held, kept so that the same moment can be looked at again and again: copies share what they did not change.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"
#include "env/block_device.h"
#include "sim/disk.h"

namespace resilver::raid {

class DiskImage {
 public:
  DiskImage() = default;
  explicit DiskImage(const sim::Disk& disk) : pages_(disk.size_bytes() / kBlockBytes) {
    static constexpr Page kZeroes{};
    Page page;
    for (std::size_t i = 0; i < pages_.size(); ++i) {
      disk.peek(i * kBlockBytes, page);
      if (std::memcmp(page.data(), kZeroes.data(), kBlockBytes) != 0) pages_[i] = std::make_shared<const Page>(page);
    }
  }
  std::uint64_t size_bytes() const noexcept { return pages_.size() * kBlockBytes; }
  void read(std::uint64_t page, std::byte* to) const noexcept {
    if (pages_[page]) {
      std::memcpy(to, pages_[page]->data(), kBlockBytes);
    } else {
      std::memset(to, 0, kBlockBytes);
    }
  }
  void write(std::uint64_t page, const std::byte* from) {
    auto made = std::make_shared<Page>();
    std::memcpy(made->data(), from, kBlockBytes);
    pages_[page] = std::move(made);
  }
  void clear(std::uint64_t page) noexcept { pages_[page].reset(); }

 private:
  using Page = std::array<std::byte, kBlockBytes>;
  std::vector<std::shared_ptr<const Page>> pages_;  // null: zeroes
};

// A disk without latency over an image, which it changes.
class MemoryDisk final : public BlockDevice {
 public:
  MemoryDisk(Scheduler& scheduler, DiskImage& image) : scheduler_(scheduler), image_(image) {}
  std::uint64_t size_bytes() const noexcept override { return image_.size_bytes(); }
  void submit(IoRequest& request) noexcept override {
    check_request(*this, request);
    std::uint64_t page = request.offset / kBlockBytes;
    if (request.op == IoOp::discard || request.op == IoOp::write_zeroes) {
      for (std::uint64_t left = request.length; left > 0; left -= kBlockBytes) image_.clear(page++);
    }
    for (const Buffer& segment : request.segments) {
      CHECK(segment.size() % kBlockBytes == 0);
      for (std::size_t at = 0; at < segment.size(); at += kBlockBytes, ++page) {
        if (request.op == IoOp::read) image_.read(page, segment.data() + at);
        if (request.op == IoOp::write) image_.write(page, segment.data() + at);
      }
    }
    request.complete(scheduler_, Errc::ok);
  }

 private:
  Scheduler& scheduler_;
  DiskImage& image_;
};

}  // namespace resilver::raid
