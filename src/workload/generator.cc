#include "workload/generator.h"

#include <algorithm>

#include "base/check.h"
#include "env/block_device.h"
#include "env/buffer.h"

namespace resilver::workload {

Generator::Generator(const LoadSpec& spec)
    : spec_(spec), places_(0), random_(spec.seed), detour_(random_.fork(1)), meeting_(Random(spec.seed).fork(2)) {
  CHECK(spec.bs >= kBlockBytes && spec.bs <= BufferPool::kMaxBlock && spec.bs % kBlockBytes == 0);
  CHECK(spec.begin % kBlockBytes == 0 && spec.end >= spec.begin + spec.bs);
  CHECK(spec.rwmixread <= 100 && spec.overlap <= 100 && spec.rate_iops > 0);
  places_ = (spec.end - spec.begin) / spec.bs;
}

bool Generator::pick_read() noexcept {
  switch (spec_.rw) {
    case Rw::read:
    case Rw::randread: return true;
    case Rw::write:
    case Rw::randwrite: return false;
    case Rw::rw:
    case Rw::randrw: return random_.percent(spec_.rwmixread);
  }
  return true;
}

LoadOp Generator::next() noexcept {
  if (spec_.flush_every != 0 && writes_ == spec_.flush_every) {
    writes_ = 0;
    return {LoadKind::flush, 0, 0, last_intended_};
  }
  const bool read = pick_read();
  std::uint64_t place;
  if (random()) {
    place = random_.below(places_);
  } else {
    std::uint64_t& cursor = cursor_[read ? 0 : 1];
    place = cursor;
    cursor = cursor + 1 == places_ ? 0 : cursor + 1;
  }
  if (!read) ++writes_;
  const auto since = static_cast<unsigned __int128>(index_++) * static_cast<std::uint64_t>(kSecond) / spec_.rate_iops;
  last_intended_ = anchor_ + static_cast<Nanos>(since);
  return {read ? LoadKind::read : LoadKind::write, spec_.begin + place * spec_.bs, spec_.bs, last_intended_};
}

bool Generator::redirect(LoadOp& op) noexcept {
  if (!random() || places_ < 2 || op.kind == LoadKind::flush) return false;
  op.offset = spec_.begin + detour_.below(places_) * spec_.bs;
  return true;
}

void Generator::meet(LoadOp& op, std::span<const LoadOp> others) noexcept {
  const LoadOp& other = others[meeting_.below(others.size())];
  const std::uint64_t last_begin = spec_.begin + places_ * spec_.bs - op.length;
  const std::uint64_t reach = op.length - kBlockBytes;
  const std::uint64_t lowest = std::max(spec_.begin, other.offset - std::min(other.offset, reach));
  const std::uint64_t highest = std::min(last_begin, other.offset + other.length - kBlockBytes);
  op.offset = lowest + meeting_.below((highest - lowest) / kBlockBytes + 1) * kBlockBytes;
}

void Generator::set_rate(std::uint64_t iops) noexcept {
  CHECK(iops > 0);
  const auto since = static_cast<unsigned __int128>(index_) * static_cast<std::uint64_t>(kSecond) / spec_.rate_iops;
  anchor_ += static_cast<Nanos>(since);
  index_ = 0;
  spec_.rate_iops = iops;
}

}  // namespace resilver::workload
