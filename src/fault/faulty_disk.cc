#include "fault/faulty_disk.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace resilver::fault {
namespace {

using Ranges = std::vector<BlockRange>;

// The first range that ends behind `offset`.
auto first_behind(Ranges& ranges, std::uint64_t offset) {
  return std::upper_bound(ranges.begin(), ranges.end(), offset,
                          [](std::uint64_t at, const BlockRange& range) { return at < range.offset + range.length; });
}

bool overlaps(Ranges& ranges, std::uint64_t offset, std::uint64_t length) {
  const auto range = first_behind(ranges, offset);
  return range != ranges.end() && range->offset < offset + length;
}

void subtract(Ranges& ranges, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = offset + length;
  auto range = first_behind(ranges, offset);
  while (range != ranges.end() && range->offset < end) {
    const std::uint64_t range_end = range->offset + range->length;
    if (range->offset < offset) {
      range->length = offset - range->offset;
      if (range_end > end) range = ranges.insert(range + 1, BlockRange{end, range_end - end});
      ++range;
    } else if (range_end > end) {
      *range = BlockRange{end, range_end - end};
      ++range;
    } else {
      range = ranges.erase(range);
    }
  }
}

// False: too many.
bool add(Ranges& ranges, const BlockRange& added) {
  subtract(ranges, added.offset, added.length);
  if (ranges.size() >= FaultyDisk::kMaxRanges) return false;
  ranges.insert(first_behind(ranges, added.offset), added);
  return true;
}

void check_range(const BlockDevice& device, const BlockRange& range) {
  CHECK(range.offset % kBlockBytes == 0 && range.length % kBlockBytes == 0 && range.length > 0);
  CHECK(range.offset <= device.size_bytes() && range.length <= device.size_bytes() - range.offset);
}

bool moves_data(IoOp op) noexcept { return op == IoOp::read || op == IoOp::write; }
bool rewrites(IoOp op) noexcept { return op == IoOp::write || op == IoOp::write_zeroes || op == IoOp::discard; }

}  // namespace

const char* fault_kind_name(FaultKind kind) noexcept {
  switch (kind) {
    case FaultKind::fail: return "fail";
    case FaultKind::latent: return "latent";
    case FaultKind::corrupt: return "corrupt";
    case FaultKind::slow: return "slow";
    case FaultKind::hang: return "hang";
    case FaultKind::lost_flush: return "lost_flush";
  }
  return "?";
}

struct FaultyDisk::Held : Proxy {
  explicit Held(FaultyDisk& o) noexcept : Proxy(&inner_completed), owner(o), timer(*this) {}

  struct Delay : Timer {
    explicit Delay(Held& h) noexcept : Timer(&expired), held(h) {}
    static void expired(Runnable& self) noexcept {
      Held& held = static_cast<Delay&>(self).held;
      held.owner.finish(held, held.status);
    }
    Held& held;
  };

  static void inner_completed(Runnable& self) noexcept {
    auto& held = static_cast<Held&>(self);
    held.owner.inner_done(held);
  }

  FaultyDisk& owner;
  Delay timer;
  Nanos started = 0;
};

FaultyDisk::FaultyDisk(Scheduler& scheduler, std::unique_ptr<BlockDevice> inner)
    : scheduler_(scheduler), inner_(std::move(inner)) {}

FaultyDisk::~FaultyDisk() {
  CHECK((proxies_.in_use() == 0 && hanging_.empty()) || scheduler_.killed(), "requests are in flight; see release()");
}

void FaultyDisk::submit(IoRequest& request) noexcept {
  if (!any_active_) [[likely]] {
    inner_->submit(request);
    return;
  }
  if (state_.failed) {
    hit(FaultKind::fail);
    request.complete(scheduler_, Errc::device_gone);
  } else if (state_.hung) {
    hit(FaultKind::hang);
    hanging_.push_back(&request);
  } else {
    pass_on(request);
  }
}

// Through this wrapper's hands only if its completion matters.
void FaultyDisk::pass_on(IoRequest& request) noexcept {
  const bool in_corrupted = overlaps(state_.corrupted, request.offset, request.length);
  if (in_corrupted && request.op == IoOp::read) hit(FaultKind::corrupt);
  const bool heals = rewrites(request.op) && in_corrupted;
  const bool in_latent = overlaps(state_.latent, request.offset, request.length);
  const bool lied_about = state_.loses_flushes && (request.op == IoOp::flush || request.fua);
  if (lied_about) hit(FaultKind::lost_flush);
  if (!state_.slow && !in_latent && !heals && !lied_about) {
    inner_->submit(request);
    return;
  }
  if (state_.slow) hit(FaultKind::slow);
  if (in_latent && request.op == IoOp::read) hit(FaultKind::latent);
  Held& held = proxies_.take(*this);
  held.stand_for(request);
  held.started = scheduler_.now();
  if (lied_about) held.fua = false;
  if (lied_about && request.op == IoOp::flush) {
    held.complete(scheduler_, Errc::ok);
  } else {
    inner_->submit(held);
  }
}

void FaultyDisk::inner_done(Held& held) noexcept {
  if (state_.failed) {
    hit(FaultKind::fail);
    finish(held, Errc::device_gone);
    return;
  }
  if (held.status == Errc::ok && rewrites(held.op)) {
    subtract(state_.latent, held.offset, held.length);
    subtract(state_.corrupted, held.offset, held.length);
    update_active();
  } else if (held.op == IoOp::read && overlaps(state_.latent, held.offset, held.length)) {
    held.status = Errc::medium;
  }
  const Nanos until = state_.slow ? slowed_until(held, held.started) : 0;
  if (until > scheduler_.now()) {
    scheduler_.arm(held.timer, until);
  } else {
    finish(held, held.status);
  }
}

Nanos FaultyDisk::slowed_until(const IoRequest& request, Nanos started) noexcept {
  const Nanos taken = scheduler_.now() - started;
  Nanos until = started + taken / 100 * state_.slow->factor_percent + taken % 100 * state_.slow->factor_percent / 100;
  until += state_.slow->add;
  if (state_.slow->bandwidth == 0 || !moves_data(request.op)) return until;
  const auto transfer = static_cast<unsigned __int128>(request.length) * kSecond / state_.slow->bandwidth;
  bus_free_ = std::max(bus_free_, started) + static_cast<Nanos>(transfer);
  return std::max(until, bus_free_);
}

void FaultyDisk::finish(Held& held, Errc status) noexcept {
  IoRequest& outer = *held.outer;
  proxies_.give_back(held);
  outer.complete(scheduler_, status);
}

// ---- controls --------------------------------------------------------------------------------------------------------

void FaultyDisk::fail() {
  applied(FaultKind::fail);
  state_.failed = true;
  update_active();
  fail_hanging();
  // Requests that wait out a slowness end at once. Those still inside the inner device end when it lets go of their
  // segments (inner_done), and those that are queued already as if they had got through.
  proxies_.for_each([&](Held& held) {
    if (!held.timer.armed()) return;
    hit(FaultKind::fail);
    scheduler_.disarm(held.timer);
    finish(held, Errc::device_gone);
  });
}

void FaultyDisk::hang() {
  applied(FaultKind::hang);
  state_.hung = true;
  update_active();
}

void FaultyDisk::lose_flushes() {
  applied(FaultKind::lost_flush);
  state_.loses_flushes = true;
  update_active();
}

void FaultyDisk::slow(const SlowFault& fault) {
  CHECK(fault.factor_percent >= 100 && fault.add >= 0);
  applied(FaultKind::slow);
  state_.slow = fault;
  update_active();
}

Status FaultyDisk::latent(BlockRange range) {
  check_range(*this, range);
  if (!add(state_.latent, range)) return fail_limit();
  applied(FaultKind::latent);
  update_active();
  return {};
}

Task<Status> FaultyDisk::corrupt(BlockRange range, BufferPool& buffers, Random& random) {
  check_range(*this, range);
  Buffer block = buffers.allocate(kBlockBytes);
  if (!block) co_return resilver::fail(Errc::limit, "no buffer to corrupt a disk with");
  for (std::uint64_t at = range.offset; at < range.offset + range.length; at += kBlockBytes) {
    if (const Errc read = co_await Io::read(*inner_, at, block); read != Errc::ok) co_return resilver::fail(read);
    for (std::uint64_t sector = 0; sector < kBlockBytes; sector += kSectorBytes) {
      block.data()[sector + random.below(kSectorBytes)] ^= static_cast<std::byte>(random.between(1, 255));
    }
    if (const Errc wrote = co_await Io::write(*inner_, at, block, true); wrote != Errc::ok)
      co_return resilver::fail(wrote);
  }
  if (!add(state_.corrupted, range)) co_return fail_limit();
  applied(FaultKind::corrupt);
  update_active();
  co_return Status{};
}

Status FaultyDisk::fail_limit() { return resilver::fail(Errc::limit, "too many faulty ranges on one disk"); }

bool FaultyDisk::active(FaultKind kind) const noexcept {
  switch (kind) {
    case FaultKind::fail: return state_.failed;
    case FaultKind::latent: return !state_.latent.empty();
    case FaultKind::corrupt: return !state_.corrupted.empty();
    case FaultKind::slow: return state_.slow.has_value();
    case FaultKind::hang: return state_.hung;
    case FaultKind::lost_flush: return state_.loses_flushes;
  }
  return false;
}

void FaultyDisk::clear(FaultKind kind) {
  if (!active(kind) || kind == FaultKind::corrupt) return;
  counters_of(kind).cleared_at = scheduler_.now();
  switch (kind) {
    case FaultKind::fail: state_.failed = false; break;
    case FaultKind::latent: state_.latent.clear(); break;
    case FaultKind::slow: state_.slow.reset(); break;
    case FaultKind::hang: state_.hung = false; break;
    case FaultKind::lost_flush: state_.loses_flushes = false; break;
    case FaultKind::corrupt: break;
  }
  update_active();
  if (kind != FaultKind::hang) return;
  for (IoRequest* request : std::exchange(hanging_, {})) submit(*request);
}

void FaultyDisk::fail_hanging() {
  for (IoRequest* request : std::exchange(hanging_, {})) request->complete(scheduler_, Errc::device_gone);
}

void FaultyDisk::release() {
  fail_hanging();
  proxies_.for_each([&](Held& held) {
    if (scheduler_.disarm(held.timer)) finish(held, held.status);
  });
}

void FaultyDisk::restore(const FaultState& state) {
  CHECK(hanging_.empty() && proxies_.in_use() == 0, "restore() comes before the first request");
  state_ = state;
  update_active();
}

void FaultyDisk::applied(FaultKind kind) noexcept {
  FaultCounters& counters = counters_of(kind);
  ++counters.applied;
  counters.applied_at = scheduler_.now();
  counters.first_hit = kNever;
  counters.cleared_at = kNever;
}

void FaultyDisk::hit(FaultKind kind) noexcept {
  FaultCounters& counters = counters_of(kind);
  ++counters.hits;
  if (counters.first_hit == kNever) counters.first_hit = scheduler_.now();
}

void FaultyDisk::update_active() noexcept {
  any_active_ = state_.failed || state_.hung || state_.slow || state_.loses_flushes || !state_.latent.empty() ||
                !state_.corrupted.empty();
}

}  // namespace resilver::fault
