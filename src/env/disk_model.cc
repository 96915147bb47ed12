#include "env/disk_model.h"

#include <algorithm>
#include <array>
#include <string>

namespace resilver {
namespace {

struct Preset {
  std::string_view name;
  DiskParameters parameters;
};

// Typical data sheets: a 7,200 rpm nearline disk, a SATA SSD behind a 6 Gbit/s port, a data-centre NVMe disk.
constexpr std::array<Preset, 4> kPresets = {{
    {"hdd", {8 * kMillisecond, 50 * kMicrosecond, 200'000'000, 200'000'000, 1, 10 * kMillisecond}},
    {"sata-ssd", {90 * kMicrosecond, 60 * kMicrosecond, 540'000'000, 500'000'000, 8, 400 * kMicrosecond}},
    {"nvme", {70 * kMicrosecond, 20 * kMicrosecond, 3'000'000'000, 2'000'000'000, 32, 30 * kMicrosecond}},
    {"ostep", {10 * kMillisecond, 100 * kMicrosecond, 0, 0, 1, 0}},
}};

Nanos transfer_time(std::uint64_t bytes, std::uint64_t bandwidth) {
  if (bandwidth == 0) return 0;  // included in the access time
  return static_cast<Nanos>(static_cast<unsigned __int128>(bytes) * kSecond / bandwidth);
}

}  // namespace

Result<DiskParameters> disk_preset(std::string_view name) {
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset.parameters;
  }
  return fail(Errc::not_found, "disk model '" + std::string(name) + "': expected hdd, sata-ssd, nvme or ostep");
}

DiskTimer::DiskTimer(const DiskParameters& parameters)
    : parameters_(parameters), channel_free_(std::max<std::uint32_t>(parameters.channels, 1), 0) {}

Nanos DiskTimer::complete_at(IoOp op, std::uint64_t offset, std::uint64_t length, Nanos now) noexcept {
  if (op == IoOp::flush) {
    Nanos busy = std::max(now, bus_free_);
    for (Nanos free : channel_free_) busy = std::max(busy, free);
    std::fill(channel_free_.begin(), channel_free_.end(), busy + parameters_.flush);
    return busy + parameters_.flush;
  }
  const bool moves_data = op == IoOp::read || op == IoOp::write;
  const bool sequential = offset == next_sequential_;
  next_sequential_ = offset + length;
  auto channel = std::min_element(channel_free_.begin(), channel_free_.end());
  const Nanos start = std::max(now, *channel);
  const Nanos accessed = start + (sequential ? parameters_.sequential_access : parameters_.random_access);
  Nanos done = accessed;
  if (moves_data) {
    const auto bandwidth = op == IoOp::read ? parameters_.read_bandwidth : parameters_.write_bandwidth;
    bus_free_ = std::max(accessed, bus_free_) + transfer_time(length, bandwidth);
    done = bus_free_;
  }
  *channel = done;
  return done;
}

}  // namespace resilver
